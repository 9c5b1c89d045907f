#!/bin/sh
# test-install.sh DEB ROOTFS: the life of the package in a throw-away Debian root
# file system that has libpam-runtime. One line for each check; ends at the first
# that fails. Needs root and no network.
set -eu

deb=$1 root=$2
store=$root/var/lib/mfa
module=$root/$(dpkg-deb -c "$deb" | sed -n 's|.* \./\(.*/pam_mfa\.so\)$|\1|p')
work=$(mktemp -d)
watcher=
trap 'kill $watcher 2>/dev/null || :; rm -rf "$work"' EXIT
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
        [ -z "$(ls -A "$store/users")" ] && echo 'mfa-store 1' | cmp - "$store/FORMAT"
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
never_missing() { while [ -e "$module" ]; do :; done; touch "$work/gap"; }
newer_deb() {
    dpkg-deb -R "$deb" "$work/tree"
    sed -i 's/^Version: .*/&+next/' "$work/tree/DEBIAN/control"
    dpkg-deb --root-owner-group -b "$work/tree" "$work/next.deb"
}
warns_and_leaves_alone() {
    grep 'is damaged' "$work/said" && [ ! -e "$store/FORMAT" ]
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
echo bound >"$store/users/somebody"
echo '# mine' >>"$root/etc/mfa/mfa.toml"

check 'a newer package' newer_deb
never_missing & watcher=$!
check 'upgrade' install "$work/next.deb"
kill "$watcher" || :
check 'the module was there all the time' [ ! -e "$work/gap" ]
check 'upgrade keeps the stack' still_enabled
check 'upgrade keeps the bindings' [ "$(cat "$store/users/somebody")" = bound ]
check 'upgrade keeps the edited mfa.toml' grep '# mine' "$root/etc/mfa/mfa.toml"

echo 'auth required pam_mfa.so' >"$root/etc/pam.d/mine"
echo 'auth required pam_mfa.so' >"$root/etc/pam.d/common-auth.pam-old"
check 'not removed while a stack of one'\''s own names the module' not in_root dpkg -r libpam-mfa
check 'nothing was changed by that' still_enabled
rm "$root/etc/pam.d/mine"
check 'remove, in spite of a backup that names it' in_root dpkg -r libpam-mfa
check 'the stack is as before, to the byte' stack_as_before
rm "$root/etc/pam.d/common-auth.pam-old"
check 'the module is gone' [ ! -e "$module" ]
check 'the bindings are not' [ -e "$store/users/somebody" ]

check 'install again' install "$deb"
check 'not enabled again by that' stack_as_before
check 'bindings still there' [ -e "$store/users/somebody" ]

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
check 'purge while enabled' in_root dpkg -P libpam-mfa
check 'the stack is as before, to the byte' stack_as_before
check 'nothing is left' [ ! -e "$store" -a ! -e "$root/etc/mfa" -a ! -e "$root/etc/pam.d/mfa-enroll" ]

mkdir "$store"
check 'install over an empty folder' install "$deb"
check 'store is made' fresh_store
check 'purge' in_root dpkg -P libpam-mfa

mkdir "$store" && touch "$store/other"
check 'install over a folder of somebody else' install_noting "$deb"
check 'says so and leaves it alone' warns_and_leaves_alone
check 'purge' in_root dpkg -P libpam-mfa
check 'the stack is as before, to the byte' stack_as_before
