#!/bin/sh
# Answers what ssh and sudo ask, as tries.sh has written down.
now=/run/tries
printf '%s\n' "$1" >>$now/asked
case $1 in
    # The page on which a device is bound. A client of ssh would ask again and again.
    *'First verification code'*) [ "$(cat /proc/$PPID/comm)" != ssh ] || kill $PPID; exit 1 ;;
    *[Cc]ode:\ ) sed -n "$(grep -c '[Cc]ode: $' $now/asked)p" $now/codes ;;
    *) cat $now/password ;;
esac
