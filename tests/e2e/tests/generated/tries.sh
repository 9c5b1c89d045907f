#!/bin/bash
# The real side: tries every way in at this host, one after the other. `generated.rs` puts it into the machine and
# reads its lines:
#
#     tries try SERVICES PERSON...     SERVICE PERSON FIRST CLASS    for each try
#     tries said SERVICES PERSON...    SERVICE PERSON LINE           for each line that `policy explain` says
#
# A person who is asked for a code gives one that is right: after each try the store is put back, so that a code of
# recovery is good again and nothing is owed.
set -u
export LC_ALL=C.UTF-8
here=/usr/local/lib/tries
now=/run/tries
main=$(systemctl show --value --property MainPID mfa-helper.service)

restore() {
    # Whoever was led through binding has gone away: the helper may still be writing what it makes of that.
    local children=
    for _ in {1..250}; do
        read -r children <"/proc/$main/task/$main/children" || :
        [ -n "$children" ] || break
        sleep 0.02
        children=
    done
    rm -rf /var/lib/mfa/users
    cp -a $here/users /var/lib/mfa/users
}

# What has come of it: $1 is whether somebody came in.
class() {
    if grep -q 'First verification code' $now/asked; then
        echo led
    elif ! $1; then
        echo refused
    elif grep -q '[Cc]ode:\? \?$' $now/asked; then
        echo asked
    else
        echo in
    fi
}

begin() { # PERSON PASSWORD
    : >$now/asked
    : >$now/text
    # Two lines of ours ask twice, and a code is good once.
    cat "$here/codes/$1" >$now/codes
    echo "$2" >$now/password
}

end() { # SERVICE PERSON FIRST IN
    { echo "== $1 $2 $3"; cat $now/asked $now/text; } >>$now/log
    echo "$1 $2 $3 $(class "$4")"
    restore
}

ssh_once() { # PERSON FIRST PASSWORD METHODS
    came=false
    begin "$1" "$3"
    env -i HOME=/root LC_ALL=$LC_ALL SSH_ASKPASS=$here/askpass SSH_ASKPASS_REQUIRE=force timeout 30 \
        ssh -v -F /dev/null -i $here/key -o IdentitiesOnly=yes -o PreferredAuthentications="$4" \
        -o NumberOfPasswordPrompts=1 "$1@127.0.0.1" echo came in </dev/null >$now/text 2>&1
    ! grep -qx 'came in' $now/text || came=true
    ! grep -q 'with partial success' $now/text || partial=yes
    # Who is let in before anything was shown has not come in by it, nor by a key that sshd never asked for. And a key
    # that is not enough for sshd has not had its say yet.
    if [ "$2" != nothing ] && grep -q 'using "none"' $now/text ||
        [ "$2" = both ] && ! grep -q 'using "publickey"' $now/text ||
        [ "$4" = publickey ] && [ -n "$partial" ]; then
        restore
    else
        end sshd "$1" "$2" $came
    fi
}

sshd_all() { # PERSON
    local came open partial=
    ssh_once "$1" password right keyboard-interactive,password
    ssh_once "$1" nothing '' keyboard-interactive,password
    open=$came
    ssh_once "$1" key right publickey
    # Where sshd is content with one of them it never asks for the other. Where it is not, the other may ask for nothing:
    # then it is the key alone, unless nobody needs it.
    if [ -n "$partial" ]; then
        $open || ssh_once "$1" key '' publickey,keyboard-interactive,password
        ssh_once "$1" both right publickey,keyboard-interactive,password
    fi
}

sudo_once() { # PERSON FIRST PASSWORD
    local came=false
    begin "$1" "$3"
    setpriv --reuid="$1" --regid="$1" --init-groups env -i PATH=/usr/bin:/bin LC_ALL=$LC_ALL SUDO_ASKPASS=$here/askpass \
        timeout 30 sudo -k -A -u root echo 'came in' </dev/null >$now/text 2>&1
    ! grep -qx 'came in' $now/text || came=true
    end sudo "$1" "$2" $came
}

sudo_all() { # PERSON
    sudo_once "$1" password right
    sudo_once "$1" nothing ''
}

su_once() { # PERSON FIRST PASSWORD
    local came=false chunk to from
    begin "$1" "$3"
    setpriv --reuid=visitor --regid=visitor --init-groups env -i PATH=/usr/bin:/bin LC_ALL=$LC_ALL \
        timeout 30 su "$1" -c 'echo came in' <$now/to >$now/from 2>&1 &
    exec {to}>$now/to {from}<$now/from
    # Each question ends with a colon.
    while IFS= read -r -d : chunk <&$from; do
        echo "$chunk:" >>$now/text
        case $chunk in
            *'First verification code'*) echo "$chunk" >>$now/asked; exec {to}>&- ;;
            *[Cc]ode) echo "$chunk:" >>$now/asked; sed -n "$(grep -c '[Cc]ode:$' $now/asked)p" $now/codes >&$to ;;
            *[Pp]assword) cat $now/password >&$to ;;
        esac
    done 2>/dev/null
    echo "$chunk" >>$now/text
    { exec {to}>&-; } 2>/dev/null
    exec {from}<&-
    wait
    # The shell of some says so, once they are in, or is not there.
    ! grep -q -e 'came in' -e 'This account is currently not available' -e 'failed to execute' $now/text || came=true
    end su "$1" "$2" $came
}

su_all() { # PERSON
    su_once "$1" password right
    su_once "$1" nothing ''
}

said() { # SERVICE PERSON
    set -- --service "$1" --user "$2"
    [ "$2" != sshd ] || set -- "$@" --rhost 127.0.0.1
    mfa-enroll policy explain "$@" 2>&1 | sed "s/^/$2 $4 /"
}

what=$1 services=$2
shift 2
mkdir -p $now
[ -e $now/to ] || mkfifo $now/to $now/from
touch $now/asked $now/codes $now/password
chmod 666 $now/asked
: >$now/log
restore
for person; do
    for service in $services; do
        if [ "$what" = try ]; then
            "${service}_all" "$person"
        else
            said "$service" "$person"
        fi
    done
done
