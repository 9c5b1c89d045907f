#!/bin/sh
# Prints name, version, licence and notices of every crate that is linked into
# the programs, from the sources that cargo compiles. Run inside the workspace.
set -eu

registry=${CARGO_HOME:-$HOME/.cargo}/registry/src

echo 'The programs of this package are linked with the Rust standard library
(MIT OR Apache-2.0, the Rust Project developers) and these crates.'
cargo tree --locked --edges normal,no-proc-macro --prefix none --format '{p}|{l}|{r}' |
    sed -e '/ (\//d' -e '/^$/d' -e 's/ (\*)$//' | sort -u |
    while IFS='|' read -r crate licence repository; do
        printf '\n== %s ==\nLicence: %s\nSource: %s\n' "$crate" "$licence" "$repository"
        set -- "$registry"/*/"${crate% v*}-${crate#* v}"
        # Of "MIT OR Apache-2.0" we take MIT: its notice is what has to be kept.
        for file in "$1"/LICENSE-MIT* "$1"/LICEN[CS]E* "$1"/COPYING*; do
            [ -f "$file" ] || continue
            printf '\n'
            cat "$file"
            break
        done
    done
