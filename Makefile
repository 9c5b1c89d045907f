# Everything that one does with this tree. `make demo` and `make test` set up what they need, as root
# or through sudo, on a fresh Debian with a Rust toolchain.

SHELL := /bin/bash
DESTDIR ?=
PREFIX ?= /usr
# The PAM modules' folder of this system: where pam_permit.so lives.
PAMDIR ?= $(shell for d in $(PREFIX)/lib/$$(cc -dumpmachine)/security $(PREFIX)/lib64/security $(PREFIX)/lib/security; do \
	[ -e $$d/pam_permit.so ] && echo $$d && break; done)
# Debian's; elsewhere mostly $(PREFIX)/share/zsh/site-functions.
ZSHDIR ?= $(PREFIX)/share/zsh/vendor-completions
export CARGO_TARGET_DIR ?= $(CURDIR)/target

.PHONY: all demo test test-long test-fresh lint measure unit pam kills race agree generated arms clients flood e2e e2e-12 e2e-13 test-forky test-vm vm deb install bench bench-keys bench-lists setup clean

all:
	cargo build --release --locked

## make demo: a disposable Debian with sshd on loopback and MFA on; log in, and bind inside the container
demo: setup
	tests/as-root tests/demo

## make test: lint, package, unit, pam, e2e and vm, with the seconds of each; of e2e in Debian 12 what tests/e2e-12.list
## names
test:
	tests/run

## what takes too long for each change: an hour or two, three at most; goes on where it was stopped
test-long: setup
	tests/long

## make demo and make test in a new Debian that has make, a Rust toolchain and apt, and nothing else, with the minutes of
## each
test-fresh: setup
	tests/as-root tests/fresh

lint:
	tests/lint

## how long files and functions are, what travels, and where rooms go round in a circle (BESIDE: other trees)
measure:
	cargo run --quiet --locked -p measure -- . $(BESIDE)

## Built by the caller, run by root: with the tests that `cargo test` alone ignores, because they need root
unit:
	cargo build --locked -p vkey -p vkey-sk
	cargo test --locked --no-run --workspace --exclude pam-tests --exclude e2e --exclude vm
	tests/as-root cargo test --locked --workspace --exclude pam-tests --exclude e2e --exclude vm -- --include-ignored

## real libpam, in a throw-away copy of this machine. The tests of one copy go one after the other, because there is one
## store in it, so those that take the most time have copies of their own.
PAM_TESTS := $(basename $(notdir $(wildcard tests/pam/tests/*.rs)))
PAM_KEYS := life life_u2f plugged usb
PAM_SLOW := kills long
pam: all
	cargo build --locked --workspace
	cargo test --locked --no-run -p pam-tests
	tests/beside \
		"tests/as-root tests/sandbox cargo test --locked -p pam-tests --lib $(addprefix --test ,$(filter-out $(PAM_SLOW) $(PAM_KEYS),$(PAM_TESTS)))" \
		"tests/as-root tests/sandbox cargo test --locked -p pam-tests $(addprefix --test ,$(PAM_KEYS))" \
		"tests/as-root tests/sandbox cargo test --locked -p pam-tests $(addprefix --test ,$(PAM_SLOW))"

## logins at the same moment, again and again (ROUNDS, else 1000), and the same beside other modules
race: all
	cargo build --locked --workspace
	cargo test --locked --no-run -p pam-tests
	tests/as-root env MFA_TEST_ROUNDS=$(or $(ROUNDS),1000) tests/sandbox cargo test --locked -p pam-tests --test races -- --nocapture
	tests/as-root tests/sandbox cargo test --locked -p pam-tests --test races -- --nocapture --ignored beside_the_peers

## the helper killed at every system call, and every call failing, where `make pam` has a choice of them
kills: all
	cargo build --locked --workspace
	cargo test --locked --no-run -p pam-tests
	tests/as-root env MFA_TEST_EVERY_CALL=1 tests/sandbox cargo test --locked -p pam-tests --test kills

## what `policy explain` and the stack reader say, and what logins and libpam then do, for 10,000 policies and stacks
agree: all
	cargo build --locked --workspace
	cargo test --locked --no-run -p pam-tests
	tests/as-root env MFA_TEST_ROUNDS=$(or $(ROUNDS),10000) tests/sandbox cargo test --locked -p pam-tests --test agree --test stack -- --nocapture

## what `policy explain` says of each way in, and what logins by sshd, sudo and su do, at 500 hosts by chance
generated: deb
	cargo test --locked --no-run -p e2e --test generated
	tests/as-root env MFA_TEST_SUITE=trixie MFA_TEST_HOSTS=$(or $(HOSTS),new) MFA_TEST_ROUNDS=$(or $(ROUNDS),500) cargo test --locked -p e2e --test generated -- --nocapture

## each arm of the model of ways in taken out: what sees it, of HOSTS hosts by chance (else 100) and the tests beside it
arms: deb
	HOSTS="$(HOSTS)" SEED="$(SEED)" tests/arms/run

## a client that is too big for each change: ssh2 with Node.js, for which npm has to be there
clients: deb
	cargo test --locked --no-run -p e2e --test programs
	tests/as-root env MFA_TEST_SUITE=trixie cargo test --locked -p e2e --test programs -- --ignored

## others' logins while somebody floods the sockets, with figures
flood: all
	cargo build --locked --workspace
	cargo test --locked --no-run -p pam-tests
	tests/as-root tests/sandbox cargo test --locked -p pam-tests --test floods -- --nocapture --ignored

## the installed package in a fresh Debian 12, and in a fresh Debian 13, booted
e2e: deb
	$(MAKE) --no-print-directory e2e-12
	$(MAKE) --no-print-directory e2e-13

## in one of them, with the package that `make deb` has left
e2e-12: SUITE := bookworm
e2e-13: SUITE := trixie
## in the Debian to come, which changes from day to day and so is no part of `make test`
test-forky: SUITE := forky
test-forky: deb
e2e-12 e2e-13 test-forky:
	cargo build --locked -p vkey -p vkey-sk
	cargo test --locked --no-run -p e2e
	tests/as-root env MFA_TEST_SUITE=$(SUITE) cargo test --locked -p e2e -- --test-threads 6

## the installed package on a kernel of its own, emulated, with security keys to plug in (make vm, with the package that
## `make deb` has left)
test-vm: deb
	$(MAKE) --no-print-directory vm
vm:
	[ -n "$$MFA_VKEY" ] || cargo build --locked -p vkey
	cargo test --locked --no-run -p vm
	tests/as-root cargo test --locked -p vm -- --test-threads 2

deb:
	packaging/build-deb.sh

## without a package manager: copies the files, and makes the store at the first installation; changes nobody's login
install: all
	test -n "$(PAMDIR)" || { echo "no folder of PAM modules found: make install PAMDIR=..." >&2; exit 1; }
	# Makes it at the first one only: a store that is empty says that nobody is bound, so one that is missing must be
	# noticed. Where a helper is, this was done before.
	packaging/mfa-package --root "$(DESTDIR)" store "$$(! test -e $(DESTDIR)$(PREFIX)/libexec/mfa-helper || echo before)"
	install -D -m 0755 packaging/mfa-package $(DESTDIR)$(PREFIX)/libexec/mfa-package
	install -D -m 0755 $(CARGO_TARGET_DIR)/release/mfa-helper $(DESTDIR)$(PREFIX)/libexec/mfa-helper
	install -D -m 0755 $(CARGO_TARGET_DIR)/release/mfa-enroll $(DESTDIR)$(PREFIX)/bin/mfa-enroll
	# A rename, so that no login finds half a module.
	install -D -m 0644 $(CARGO_TARGET_DIR)/release/libpam_mfa.so $(DESTDIR)$(PAMDIR)/pam_mfa.so.new
	mv -f $(DESTDIR)$(PAMDIR)/pam_mfa.so.new $(DESTDIR)$(PAMDIR)/pam_mfa.so
	install -d -m 0755 $(DESTDIR)/etc/mfa $(DESTDIR)/etc/mfa/mfa.d
	test -e $(DESTDIR)/etc/mfa/mfa.toml || install -m 0644 config/mfa.toml $(DESTDIR)/etc/mfa/mfa.toml
	# These two are Debian's ways; elsewhere the stacks are the administrator's to write.
	if [ -d $(DESTDIR)$(PREFIX)/share/pam-configs ]; then \
		install -m 0644 config/pam-configs/mfa $(DESTDIR)$(PREFIX)/share/pam-configs/mfa; \
		test -e $(DESTDIR)/etc/pam.d/mfa-enroll || install -m 0644 config/pam.d/mfa-enroll $(DESTDIR)/etc/pam.d/mfa-enroll; fi
	# The jail is off, and what was changed in it stays.
	if [ -d $(DESTDIR)/etc/fail2ban ]; then for file in filter.d/mfa.conf jail.d/mfa.conf; do \
		test -e $(DESTDIR)/etc/fail2ban/$$file || \
			install -D -m 0644 config/fail2ban/$$file $(DESTDIR)/etc/fail2ban/$$file; done; fi
	# Not switched on: systemctl enable --now mfa-helper.socket
	if [ -d $(DESTDIR)$(PREFIX)/lib/systemd/system ]; then \
		install -m 0644 packaging/systemd/mfa-helper.service packaging/systemd/mfa-helper.socket \
			packaging/systemd/mfa-helper-root.socket $(DESTDIR)$(PREFIX)/lib/systemd/system; fi
	install -D -m 0644 packaging/completions/mfa-enroll.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/mfa-enroll
	install -D -m 0644 packaging/completions/_mfa-enroll $(DESTDIR)$(ZSHDIR)/_mfa-enroll
	install -D -m 0644 packaging/completions/mfa-enroll.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/mfa-enroll.fish
	for page in packaging/man/*.[1-8]; do \
		install -D -m 0644 $$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/}; done

## what a login costs, beside its peers: docs/performance.md
bench: all
	cargo build --release --locked -p bench
	tests/as-root env USERS="$(USERS)" ROUNDS="$(ROUNDS)" N="$(N)" DISK="$(DISK)" $(CARGO_TARGET_DIR)/release/bench

## a login with a security key, beside pam_u2f, in a machine of tests/vm: docs/performance.md
bench-keys: deb
	cargo build --release --locked -p vkey -p bench
	tests/as-root env MFA_VKEY="$(CARGO_TARGET_DIR)/release/vkey" ROUNDS="$(or $(ROUNDS),60)" \
		$(CARGO_TARGET_DIR)/release/bench keys

## list and doctor where there are many users: docs/performance.md
bench-lists: all
	cargo build --release --locked -p bench
	tests/as-root env USERS="$(USERS)" DISK="$(DISK)" $(CARGO_TARGET_DIR)/release/bench lists

setup:
	tests/setup

clean:
	cargo clean
