//! The proving ground proves itself, without the product: who reads a red test must be able to trust
//! that the machine, the terminal and the scanner were right.
#![allow(missing_docs, clippy::expect_used)]

use std::{path::Path, process::Command, sync::LazyLock};

use e2e::{Machine, Theme, oath};

/// One for all tests here: users differ, and nobody breaks anything.
static MACHINE: LazyLock<Machine> = LazyLock::new(|| {
    let machine = Machine::build().sshd("MaxAuthTries 2").boot();
    machine.user("alice", "pw-alice");
    machine.user("bob", "pw-bob");
    machine.write("/etc/sudoers.d/bob", "bob ALL=(ALL:ALL) ALL\n");
    machine
});

#[test]
fn a_machine_runs_the_services_of_a_real_one() {
    assert_eq!(MACHINE.sh_ok("systemctl is-system-running"), "running\n");
    assert_eq!(MACHINE.sh_ok("systemctl is-active ssh systemd-logind cron atd dbus").matches("active\n").count(), 5);
    assert!(MACHINE.sh_ok("sshd -T").to_lowercase().contains("maxauthtries 2\n"));
}

#[test]
fn a_script_stops_where_it_fails_and_tells_everything() {
    let output = MACHINE.sh("echo one; echo two >&2; env; (exit 7); echo three");
    assert_eq!((output.code, output.stderr.as_str()), (7, "two\n"));
    assert!(output.stdout.starts_with("one\n") && !output.stdout.contains("CARGO"), "{output}");
    MACHINE.write("/root/deep/er/file", "content");
    assert_eq!(MACHINE.read("/root/deep/er/file"), "content");
}

#[test]
fn a_machine_cannot_change_the_clock_of_the_host() {
    assert_ne!(MACHINE.sh("date --set=@0").code, 0);
}

#[test]
fn machines_are_apart_and_a_reboot_keeps_the_disk() {
    let mut other = Machine::build().setup("echo web2 >/etc/hostname").boot();
    other.sh_ok("echo kept >/root/file; systemctl stop ssh");
    assert_eq!(MACHINE.sh_ok("hostname; systemctl is-active ssh"), "web1\nactive\n");
    other.reboot();
    assert_eq!(other.sh_ok("hostname; systemctl is-active ssh; cat /root/file"), "web2\nactive\nkept\n");
}

/// Since version 253 systemd says to whoever started it that it reloads; nspawn passes that on, and waits until it is
/// read.
#[test]
fn a_machine_that_reloads_its_units_many_times_reboots_and_ends() {
    let mut talkative = Machine::build().suite("trixie").boot();
    talkative.sh_ok("for n in $(seq 30); do systemctl daemon-reload; done; systemctl stop ssh");
    talkative.reboot();
    assert_eq!(talkative.sh_ok("systemctl is-active ssh"), "active\n");
}

#[test]
fn a_machine_that_does_not_boot_says_why() {
    for (broken, why) in [("echo out of paper; exit 1", "out of paper"), ("rm /sbin/init /lib/systemd/systemd", "init")]
    {
        let panic = std::panic::catch_unwind(|| drop(Machine::build().setup(broken).boot())).expect_err("it booted");
        let message = panic.downcast_ref::<String>().expect("a message");
        assert!(message.contains("it ended") && message.contains(why), "{message}");
    }
}

#[test]
fn a_package_is_installed_before_the_boot() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("package-{}", std::process::id()));
    let unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n[Install]\nWantedBy=multi-user.target\n";
    let script = r#"
        mkdir -p "$0/tree/DEBIAN" "$0/tree/usr/lib/systemd/system"
        printf %s "$1" >"$0/tree/usr/lib/systemd/system/probe.service"
        printf '%s\n' 'Package: probe' 'Version: 1' 'Architecture: all' 'Maintainer: x <x@localhost>' 'Description: x' \
            >"$0/tree/DEBIAN/control"
        printf '%s\n' '#!/bin/sh' 'systemctl enable probe.service' >"$0/tree/DEBIAN/postinst"
        chmod 755 "$0/tree/DEBIAN/postinst"
        dpkg-deb --build --root-owner-group "$0/tree" "$0/probe.deb"
    "#;
    let built = Command::new("sh")
        .env("SOURCE_DATE_EPOCH", "0")
        .args(["-euc", script])
        .arg(&folder)
        .arg(unit)
        .output()
        .expect("sh");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let machine = Machine::build().deb(folder.join("probe.deb")).boot();
    assert_eq!(machine.sh_ok("systemctl is-active probe.service"), "active\n");
    assert_ne!(MACHINE.sh("systemctl is-active probe.service").code, 0);
    std::fs::remove_dir_all(folder).expect("our own folder");
}

#[test]
fn a_terminal_is_a_tty_of_the_machine() {
    let mut t =
        MACHINE.terminal().user("alice").env("LC_ALL", "C").run("tty; id -un; stty size; env; echo end; exec cat");
    let seen = t.wait_for("end\n");
    assert!(
        seen.starts_with("/dev/pts/") && seen.contains("\nalice\n24 80\n") && seen.contains("LC_ALL=C\n"),
        "{seen}"
    );
    t.type_line("typed");
    t.wait_for("typed\n");
    t.wait_for("typed\n");
    t.send("\x03");
    assert_eq!(t.exit_code(), 130);

    let mut t = MACHINE.terminal().size(100, 30).run("printf 'Name: '; read name; stty size; exit 3");
    t.wait_for("Name: ");
    assert!(t.echoes());
    t.type_line("zoe");
    t.wait_for("30 100");
    assert_eq!(t.exit_code(), 3);
    assert_eq!(t.screen().text(), "Name: zoe\n30 100");
}

#[test]
fn ssh_asks_for_the_password_by_keyboard_interactive() {
    let journal = MACHINE.journal_from_here();
    let mut t =
        MACHINE.terminal().user("bob").run("ssh -o PreferredAuthentications=keyboard-interactive alice@localhost");
    t.wait_for("(alice@localhost) Password: ");
    assert!(!t.echoes());
    t.type_line("wrong");
    t.wait_for("(alice@localhost) Password: ");
    t.type_line("pw-alice");
    t.wait_for("alice@web1:~$ ");
    t.type_line("loginctl --no-pager show-session --property=Remote --property=Service self; exit 3");
    t.wait_for("Remote=yes");
    assert_eq!(t.exit_code(), 3);
    journal.wait_for(|line| line.contains("Accepted keyboard-interactive/pam for alice"));
    assert!(
        journal.text().contains("Failed keyboard-interactive/pam") || journal.text().contains("authentication failure")
    );
}

#[test]
fn ssh_refuses_a_wrong_password() {
    let mut t = MACHINE.terminal().user("bob").run("ssh alice@localhost id");
    t.wait_for("Password: ");
    t.type_line("wrong");
    t.wait_for("Password: ");
    t.type_line("wrong again");
    t.wait_for("Too many authentication failures");
    assert_eq!(t.exit_code(), 255);
}

#[test]
fn sudo_asks_for_the_password_of_who_calls() {
    let mut t = MACHINE.terminal().user("bob").run("sudo id -un");
    t.wait_for("[sudo] password for bob: ");
    t.type_line("wrong");
    t.wait_for("[sudo] password for bob: ");
    t.type_line("pw-bob");
    t.wait_for("root");
    assert_eq!(t.exit_code(), 0);
}

#[test]
fn su_asks_for_the_password_of_who_it_becomes() {
    let mut t = MACHINE.terminal().user("bob").run("su alice -c 'id -un'");
    t.wait_for("Password: ");
    t.type_line("pw-alice");
    t.wait_for("alice");
    assert_eq!(t.exit_code(), 0);

    let mut t = MACHINE.terminal().user("bob").run("su alice -c 'id -un'");
    t.wait_for("Password: ");
    t.type_line("wrong");
    t.wait_for("Authentication failure");
    assert_eq!(t.exit_code(), 1);
}

#[test]
fn login_takes_the_terminal() {
    let mut t = MACHINE.terminal().run("exec login alice");
    t.wait_for("Password: ");
    t.type_line("wrong");
    t.wait_for("Login incorrect");
    t.wait_for("web1 login: ");
    t.type_line("alice");
    t.wait_for("Password: ");
    t.type_line("pw-alice");
    t.wait_for("alice@web1:~$ ");
    t.type_line("tty; loginctl --no-pager show-session --property=Remote --property=Service self");
    t.wait_for("/dev/pts/");
    t.wait_for("Remote=no");
    t.type_line("exit");
    assert_eq!(t.exit_code(), 0);
}

#[test]
fn codes_are_those_of_rfc_6238() {
    let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    assert_eq!(oath::totp(secret, 59), "287082");
    assert_eq!(oath::totp(secret, 1_111_111_109), "081804");
    let codes = oath::Codes::at(secret, 60);
    assert_eq!((codes.previous, codes.present), (oath::totp(secret, 59), oath::totp(secret, 89)));
    assert_eq!(oath::Codes::now(secret).next.len(), 6);
}

/// The key, long enough for the usual symbol (version 4: 41 columns, 19 rows and a prompt).
const URI: &str = "otpauth://totp/Acme:alice?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Acme";

#[test]
fn a_qr_code_with_colours_is_read_in_every_theme() {
    for colours in ["\x1b[38;5;231;48;5;16m", "\x1b[97;40m", "\x1b[30;107;7m"] {
        let screen = shown(&qr(colours, ["█", "▀", "▄", " "]));
        assert_eq!(screen.decode_qr(Theme::Dark).as_deref(), Some(URI), "{screen}");
        assert_eq!(screen.decode_qr(Theme::Light).as_deref(), Some(URI), "{screen}");
    }
}

#[test]
fn a_qr_code_without_colours_is_read_in_its_own_theme_only() {
    let light_ink = shown(&qr("", ["█", "▀", "▄", " "]));
    assert_eq!(light_ink.decode_qr(Theme::Dark).as_deref(), Some(URI), "{light_ink}");
    assert_eq!(light_ink.decode_qr(Theme::Light), None);
    let dark_ink = shown(&qr("", [" ", "▄", "▀", "█"]));
    assert_eq!(dark_ink.decode_qr(Theme::Light).as_deref(), Some(URI), "{dark_ink}");
    assert_eq!(dark_ink.decode_qr(Theme::Dark), None);
}

#[test]
fn a_qr_code_that_scrolled_off_is_not_read() {
    let screen = shown(&format!("{}\n\n\n\n\n\n\n\n", qr("", ["█", "▀", "▄", " "])));
    assert_eq!(screen.decode_qr(Theme::Dark), None, "{screen}");
}

fn shown(file: &str) -> e2e::Screen {
    let path = format!("/home/alice/{:?}", std::thread::current().id());
    MACHINE.write(&path, file);
    let mut t =
        MACHINE.terminal().user("alice").run(&format!("cat '{path}'; printf 'First 6-digit code: '; read code"));
    t.wait_for("First 6-digit code: ");
    t.screen()
}

/// Half blocks: light over light, light over dark, dark over light, dark over dark.
fn qr(colours: &str, blocks: [&str; 4]) -> String {
    let code = qrcode::QrCode::with_error_correction_level(URI, qrcode::EcLevel::L).expect("short enough");
    let width = code.width() as i32;
    let light = |x, y| {
        let inside = (0..width).contains(&x) && (0..width).contains(&y);
        !inside || code[(x as usize, y as usize)] == qrcode::Color::Light
    };
    let mut text = String::new();
    for y in (-2..width + 2).step_by(2) {
        text += colours;
        for x in -4..width + 4 {
            text += blocks[usize::from(!light(x, y)) * 2 + usize::from(!light(x, y + 1))];
        }
        text += if colours.is_empty() { "\n" } else { "\x1b[0m\n" };
    }
    text
}
