#!/bin/sh
# test-install.sh DEB ROOTFS: the life of the package in a throw-away Debian root
# file system that has libpam-runtime. One line for each check; ends at the first
# that fails. Needs root and no network.
set -eu

deb=$1 root=$2
store=$root/var/lib/mfa
memory=$root/var/lib/mfa-package
module=$root/$(dpkg-deb -c "$deb" | sed -n 's|.* \./\(.*/pam_mfa\.so\)$|\1|p')
work=$(mktemp -d)
watcher=
trap 'kill $watcher 2>/dev/null || :; umount "$store" 2>/dev/null || :; rm -rf "$work"' EXIT
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

check() {
    what=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        echo "ok   $what"
    else
        echo "FAIL $what: $*"
        cat "$work/log"
        exit 1
    fi
}
not() { ! "$@"; }
in_root() { chroot "$root" "$@"; }
install() { cp "$1" "$root/tmp/mfa.deb" && in_root dpkg -i /tmp/mfa.deb; }
install_noting() { install "$1" 2>"$work/said"; }
stack() { (cd "$root/etc/pam.d" && sha256sum common-auth common-account common-password common-session common-session-noninteractive); }
stack_as_before() { stack | diff "$work/stack" -; }
still_enabled() { stack | diff "$work/enabled" -; }
mode_is() { [ "$(stat -c '%a %U:%G' "$1")" = "$2 root:root" ]; }
fresh_store() {
    mode_is "$store" 700 && mode_is "$store/users" 700 && mode_is "$store/FORMAT" 600 &&
        [ -z "$(ls -A "$store/users")" ] && 
        [ -z "$(find "$store" -mindepth 1 -maxdepth 1 ! -name FORMAT ! -name users ! -name lost+found)" ] && echo 'mfa-store 1' | cmp - "$store/FORMAT"
}
# In auth the module comes after the block that checks the password. In account it comes before: pam_unix ends the
# stack there when the password has expired.
enabled() {
    sed -n '/pam_permit\.so/,$p' "$root/etc/pam.d/common-auth" |
        grep -E '^auth[[:space:]]+required[[:space:]]+pam_mfa\.so stack=complete' &&
        sed '/pam_unix\.so/,$d' "$root/etc/pam.d/common-account" |
        grep -E '^account[[:space:]]+required[[:space:]]+pam_mfa\.so'
}
# As the shell calls it: what it offers for "mfa-enroll WORD<TAB>".
bash_completes() {
    [ "$(in_root bash -c '
        . /usr/share/bash-completion/completions/mfa-enroll
        function=$(complete -p mfa-enroll)
        function=${function##*-F }
        COMP_WORDS=(mfa-enroll "$1") COMP_CWORD=1
        ${function%% *} mfa-enroll "$1" mfa-enroll
        echo "${COMPREPLY[@]}"' bash "$1")" = "$2" ]
}
never_missing() {
    while [ -e "$module" ] && grep -q pam_mfa "$root/etc/pam.d/common-auth" && grep -q pam_mfa "$root/etc/pam.d/common-account"; do :; done
    touch "$work/gap"
}
newer_deb() {
    dpkg-deb -R "$deb" "$work/tree"
    sed -i 's/^Version: .*/&+next/' "$work/tree/DEBIAN/control"
    dpkg-deb --root-owner-group -b "$work/tree" "$work/next.deb"
}
warns_and_leaves_alone() {
    grep 'is damaged' "$work/said" && [ ! -e "$store/FORMAT" ]
}
# bind NAME KIND [KEYS]: as much of a record as the package looks at.
bind() {
    mkdir -p "$store/users/$1"
    { echo "mfa-credentials 1"; echo "user $1"; echo "kind $2"; } >"$store/users/$1/credentials"
    for key in $(seq "${3:-0}"); do echo "security-key 00 $key touched 0"; done >>"$store/users/$1/credentials"
}
bound() { grep -qx 'kind totp' "$store/users/somebody/credentials"; }
# Removing fails, says which file is to blame, and has done nothing.
refuses_because_of() {
    stack >"$work/before"
    # By itself, as another package manager would call it, and by dpkg, which calls "abort-remove" after that.
    ! in_root /usr/libexec/mfa-package remove && stack | diff "$work/before" - || return 1
    ! in_root dpkg -r libpam-mfa 2>"$work/said" || return 1
    cat "$work/said"
    grep -x "$1" "$work/said" && grep 'Nothing has been changed' "$work/said" && stack | diff "$work/before" - &&
        [ ! -e "$memory/profile" ] && [ "$(in_root dpkg-query -Wf '${db:Status-Status}' libpam-mfa)" = installed ]
}
removed_noting() { in_root dpkg -r libpam-mfa 2>"$work/said"; }
purged_noting() { in_root dpkg -P libpam-mfa 2>"$work/said"; }
said() { grep -e "$1" "$work/said"; }
# Each command of the script that makes the store is the last one once, counted from the first, until none is: "cut N"
# fails then.
cut() {
    for command in mkdir chmod sync mv; do
        printf '#!/bin/sh\nn=$(($(cat /tmp/cut/left) - 1))\necho $n >/tmp/cut/left\n%s\nexec /bin/%s "$@"\n' \
            '[ $n != 0 ] || { kill -9 $PPID; exit 1; }' "$command" >"$root/tmp/cut/$command"
    done
    chmod 755 "$root"/tmp/cut/*
    echo "$1" >"$root/tmp/cut/left"
    shift
    ! in_root env PATH=/tmp/cut:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}
without_store() {
    rm -rf "$memory"
    if mountpoint -q "$store"; then find "$store" -mindepth 1 -delete; mkdir "$store/lost+found"; else rm -rf "$store"; fi
}
mended_wherever_it_is_cut() {
    n=1
    without_store
    while cut $n /usr/libexec/mfa-package store; do
        in_root /usr/libexec/mfa-package store && fresh_store && [ -e "$memory/store-made" ] || return 1
        without_store
        n=$((n + 1))
    done
    echo "$n cuts"
    [ $n -gt 8 ] && fresh_store
}
never_made_twice() {
    find "$store" -mindepth 1 -delete
    in_root /usr/libexec/mfa-package store 2>"$work/said" && warns_and_leaves_alone
}

stack >"$work/stack"

check 'installs' install "$deb"
check 'installing changes no stack' stack_as_before
check 'module is 0644' mode_is "$module" 644
check 'helper is 0755, not setuid' mode_is "$root/usr/libexec/mfa-helper" 755
check 'mfa.toml is 0644' mode_is "$root/etc/mfa/mfa.toml" 644
check 'mfa.d is 0755' mode_is "$root/etc/mfa/mfa.d" 755
check 'store is made' fresh_store
for file in bash-completion/completions/mfa-enroll zsh/vendor-completions/_mfa-enroll fish/vendor_completions.d/mfa-enroll.fish; do
    check "/usr/share/$file is 0644" mode_is "$root/usr/share/$file" 644
done
check 'bash completes a verb' bash_completes req require
check 'bash completes no option that is not shipped' bash_completes --he --help

check 'enable' in_root pam-auth-update --enable mfa
check 'enabled: after the password in auth, before it in account' enabled
stack >"$work/enabled"
bind somebody totp
echo '# mine' >>"$root/etc/mfa/mfa.toml"

check 'a newer package' newer_deb
never_missing & watcher=$!
check 'upgrade' install "$work/next.deb"
kill "$watcher" || :
check 'module and lines were there all the time' [ ! -e "$work/gap" ]
check 'upgrade keeps the stack' still_enabled
check 'upgrade keeps the bindings' bound
check 'upgrade keeps the edited mfa.toml' grep '# mine' "$root/etc/mfa/mfa.toml"

# Each place in which a line can be somebody's own, with the profile on.
mkdir -p "$root/usr/lib/pam.d" "$root/srv"
line='auth required pam_mfa.so'
for file in /etc/pam.d/mine /usr/lib/pam.d/mine /etc/pam.conf /etc/pam.d/common-mine /etc/pam.d/common-auth; do
    [ ! -e "$root$file" ] || cp -p "$root$file" "$work/kept"
    echo "$line" >>"$root$file"
    check "not removed while $file names the module" refuses_because_of "$file"
    check 'nor switched off for a moment' not said 'switched on again'
    rm "$root$file"
    [ ! -e "$work/kept" ] || mv "$work/kept" "$root$file"
done
echo 'auth include /srv/stack' >"$root/etc/pam.d/mine"
echo "$line" >"$root/srv/stack"
check 'not removed while a file that is included names the module' refuses_because_of /srv/stack
rm "$root/etc/pam.d/mine" "$root/srv/stack"
# Here pam-auth-update itself gives up: at once, and half-way.
cp -p "$root/etc/pam.d/common-account" "$work/kept"
sed -i '/pam_unix/a account required pam_mfa.so' "$root/etc/pam.d/common-account"
check 'not removed while a line is among those of pam-auth-update' refuses_because_of /etc/pam.d/common-account
cp -p "$work/kept" "$root/etc/pam.d/common-account"
sed -i '/^# end of pam-auth-update/d' "$root/etc/pam.d/common-account"
check 'not removed while pam-auth-update cannot finish' refuses_because_of /etc/pam.d/common-account
check 'but put back' said 'switched on again'
mv "$work/kept" "$root/etc/pam.d/common-account"
check 'nothing was changed by all that' still_enabled

echo "# $line" >"$root/etc/pam.d/mine"
echo "$line" >"$root/etc/pam.d/common-auth.pam-old"
check 'remove, in spite of a backup and a comment that name it' removed_noting
check 'says that nobody is asked any more' said 'from now on nobody is asked'
check 'and who would have been' said '^    accounts that have bound a device: 1 '
check 'the stack is as before, to the byte' stack_as_before
rm "$root/etc/pam.d/mine" "$root/etc/pam.d/common-auth.pam-old"
check 'the module is gone' [ ! -e "$module" ]
check 'the bindings are not' bound

check 'install again' install_noting "$deb"
check 'enabled again by that' still_enabled
check 'says so' said 'switched on again'
check 'which is remembered once' [ ! -e "$memory/profile" ]
check 'bindings still there' bound

in_root pam-auth-update --disable mfa
check 'remove while it is off' removed_noting
check 'no word about that' not said ATTENTION
check 'install again' install_noting "$deb"
check 'not enabled by that' stack_as_before
check 'says that nobody is asked' said 'nobody is asked'
check 'and how that is mended' said 'pam-auth-update --enable mfa'
mv "$store/users/somebody" "$work/somebody"
echo '   require = "mfa"' >"$root/etc/mfa/mfa.d/50-require-all.toml"
check 'upgrade with a rule and nobody bound' install_noting "$work/next.deb"
check 'names the rule' said '50-require-all.toml'
rm "$root/etc/mfa/mfa.d/50-require-all.toml"
check 'install with neither' install_noting "$deb"
check 'no word then' not said ATTENTION
mv "$work/somebody" "$store/users/somebody"

# What cannot be put back is said.
in_root pam-auth-update --enable mfa
check 'remove' removed_noting
cp -p "$root/etc/pam.d/common-auth" "$work/kept"
sed -i '/pam_unix/a auth optional pam_echo.so' "$root/etc/pam.d/common-auth"
check 'install where somebody has edited the stacks meanwhile' install_noting "$deb"
check 'not enabled by that' not grep pam_mfa "$root/etc/pam.d/common-auth"
check 'says that it could not' said 'not put it back'
mv "$work/kept" "$root/etc/pam.d/common-auth"
check 'what somebody edited by hand is said to be lost' in_root sh -euc '
    pam-auth-update --enable mfa
    sed -i "s/pam_mfa.so stack=complete/& debug/" /etc/pam.d/common-auth
    dpkg -r libpam-mfa
    dpkg -i /tmp/mfa.deb 2>&1 | grep -x "common-auth: auth required pam_mfa.so stack=complete debug"'
check 'enabled all the same' still_enabled

in_root pam-auth-update --enable mfa
in_root pam-auth-update --disable mfa
check 'enable and disable: as before, to the byte' stack_as_before

rm "$store/FORMAT"
check 'upgrade over a store without FORMAT' install_noting "$work/next.deb"
check 'says so and leaves it alone' warns_and_leaves_alone
mv "$store" "$work/store"
check 'upgrade over a lost store' install_noting "$deb"
check 'says so and makes none' warns_and_leaves_alone
mv "$work/store" "$store"

touch "$root/etc/mfa/mfa.d/50-require-user-somebody.toml"
in_root pam-auth-update --enable mfa
bind keys u2f 3
bind nobody none
check 'purge while enabled' purged_noting
check 'says what it destroys' said 'destroying bound devices: 4 (accounts: 2)'
check 'the stack is as before, to the byte' stack_as_before
check 'nothing is left' [ ! -e "$store" -a ! -e "$memory" -a ! -e "$root/etc/mfa" -a ! -e "$root/etc/pam.d/mfa-enroll" ]

mkdir "$store"
check 'install over an empty folder' install "$deb"
check 'store is made' fresh_store
check 'not enabled by that' stack_as_before
check 'purge' purged_noting
check 'destroys no device' not said destroying

mkdir "$store" "$store/users"
check 'install over a store that an earlier release left half made' install "$deb"
check 'store is made' fresh_store
mkdir -p "$root/tmp/cut"
check 'making it is mended wherever it is cut' mended_wherever_it_is_cut
check 'a lost one is not' never_made_twice
mount -t tmpfs tmpfs "$store"
check 'the same on a disk of its own' mended_wherever_it_is_cut
check 'a lost one is not' never_made_twice
check 'purge' in_root dpkg -P libpam-mfa
check 'unpack' in_root dpkg --unpack /tmp/mfa.deb
check 'a cut in the midst of dpkg' cut 5 dpkg --configure libpam-mfa
check 'was one' [ -e "$store/users" -a ! -e "$store/FORMAT" ]
check 'dpkg goes on' in_root dpkg --configure -a
check 'store is made' fresh_store
check 'purge' in_root dpkg -P libpam-mfa
umount "$store"
rmdir "$store"

mkdir "$store" && touch "$store/other"
check 'install over a folder of somebody else' install_noting "$deb"
check 'says so and leaves it alone' warns_and_leaves_alone
check 'purge' in_root dpkg -P libpam-mfa
check 'the stack is as before, to the byte' stack_as_before
