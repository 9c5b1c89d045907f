#!/bin/sh
# Builds the Debian package of this checkout; "make deb" calls it. The .deb is
# left in deb/ of the cargo target folder. packaging/apt-packages says what has
# to be installed beside a Rust toolchain.
set -eu
umask 022

MFA_SOURCE=$(cd "$(dirname "$0")/.." && pwd)
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-$MFA_SOURCE/target}")
# debhelper gives the build another HOME.
CARGO_HOME=${CARGO_HOME:-$HOME/.cargo}
RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$MFA_SOURCE" log -1 --format=%ct 2>/dev/null || date +%s)}
export MFA_SOURCE CARGO_TARGET_DIR CARGO_HOME RUSTUP_HOME SOURCE_DATE_EPOCH

version=$(sed -n '/^\[workspace\.package\]/,/^\[/s/^version *= *"\(.*\)"$/\1/p' "$MFA_SOURCE/Cargo.toml")
[ -n "$version" ] || { echo "build-deb.sh: Cargo.toml has no workspace version" >&2; exit 1; }

out=$CARGO_TARGET_DIR/deb
tree=$out/build/pam-mfa
rm -rf "$out"
mkdir -p "$tree"

cd "$MFA_SOURCE"
for item in config packaging LICENSE-MIT LICENSE-APACHE README.md README.zh-CN.md CHANGELOG.md; do
    [ ! -e "$item" ] || cp -R "$item" "$tree"
done
mv "$tree/packaging/debian" "$tree/debian"

# One place for the version, Cargo.toml, and one for the news, CHANGELOG.md.
cat >"$tree/debian/changelog" <<EOF
pam-mfa ($version) unstable; urgency=medium

  * Release $version; CHANGELOG.md in this folder says what is new.

 -- $(sed -n 's/^Maintainer: //p' "$tree/debian/control")  $(LC_ALL=C date -R -u -d "@$SOURCE_DATE_EPOCH")
EOF

cd "$tree"
dpkg-buildpackage --build=binary --no-sign
mv ../*.deb "$out"

# Debian 12's lintian will not run as root without being told to.
! command -v lintian >/dev/null ||
    lintian --allow-root --fail-on error "$out"/*.deb
ls "$out"/*.deb
