//! The dialogue as a person sees it: the program on a terminal of its own, whose screen is kept by a
//! foreign terminal emulator and whose QR code is read by a foreign decoder.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod fake;

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use fake::{can_run, folder, mfa_enroll};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;

const KEY: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
const URI: &str = "otpauth://totp/web1:alice?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=web1";

/// A program on a terminal.
struct Session {
    /// It leads no process group, so `setsid` does not fork: this is the program itself.
    child: Child,
    master: File,
    slave: OwnedFd,
    before: Termios,
    screen: vt100::Parser,
    helper: PathBuf,
}

impl Session {
    fn start(behaviour: &str, arguments: &[&str], (cols, rows): (u16, u16), environment: &[(&str, &str)]) -> Session {
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let like = mfa_enroll(behaviour, arguments);
        // Whoever starts the tests may ignore signals, as nohup does, and we would inherit that.
        let mut command = Command::new("env");
        command.args(["--default-signal", "setsid", "--ctty"]).args(like.get_args()).env_clear();
        command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.envs(environment.iter().copied());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let screen = vt100::Parser::new(NonZero::new(rows).unwrap(), NonZero::new(cols).unwrap(), 1000);
        let helper = like.get_args().last().unwrap().into();
        Session { child, master: File::from(pty.master), slave: pty.slave, before, screen, helper }
    }

    /// Reads what is written until `there` is so.
    fn until(&mut self, what: &str, there: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !there(&self.text()) {
            assert!(Instant::now() < deadline, "no {what} on the screen:\n{}", self.text());
            self.read();
        }
    }

    fn until_text(&mut self, text: &str) {
        self.until(text, |screen| screen.contains(text));
    }

    /// Reads what is there, waiting a little for it.
    fn read(&mut self) {
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(100u16)).unwrap() > 0 {
            let mut bytes = [0; 4096];
            let n = self.master.read(&mut bytes).unwrap_or(0);
            self.screen.process(&bytes[..n]);
        }
    }

    fn text(&self) -> String {
        self.screen.screen().contents()
    }

    fn type_in(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// The QR code on the screen, as a camera in front of a terminal of that theme sees it. Only
    /// what looks right to a decoder that does not try both polarities counts.
    fn code(&self, dark_theme: bool) -> Option<String> {
        const ZOOM: usize = 4;
        let (rows, cols) = self.screen.screen().size();
        let (ink, ground) = if dark_theme { (true, false) } else { (false, true) };
        let light = |colour, default: bool| match colour {
            vt100::Color::Idx(231) => true,
            vt100::Color::Idx(16) => false,
            _ => default,
        };
        let pixel = |x: usize, y: usize| {
            let cell = self.screen.screen().cell((y / ZOOM / 2) as u16, (x / ZOOM) as u16).unwrap();
            let drawn = matches!((cell.contents(), y / ZOOM % 2), ("█", _) | ("▀", 0) | ("▄", 1));
            if drawn { light(cell.fgcolor(), ink) } else { light(cell.bgcolor(), ground) }
        };
        let (wide, high) = (usize::from(cols.get()) * ZOOM, usize::from(rows.get()) * 2 * ZOOM);
        let shade = |x, y| if pixel(x, y) { 255 } else { 0 };
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(wide, high, shade);
        image.detect_grids().first()?.decode().ok().map(|(_, text)| text)
    }

    /// Waits for the end. Whatever the end, the terminal is as it was and the key is off the screen.
    fn end(self) -> (Option<i32>, String) {
        let (status, screen) = self.end_status();
        (status.code(), screen)
    }

    fn end_status(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let status = loop {
            self.read();
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.text());
        };
        self.read();
        assert_eq!(tcgetattr(&self.slave).unwrap(), self.before, "the terminal is not as it was");
        let screen = self.text();
        assert!(!screen.contains(&KEY[..4]) && !screen.contains('█'), "the key is still there:\n{screen}");
        self.screen.screen_mut().set_scrollback(1000);
        assert_eq!(self.screen.screen().scrollback(), 0, "something went into the scrollback");
        (status, screen)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }
}

/// A test that fails leaves nobody waiting for a code.
impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const TOTP: [&str; 3] = ["totp", "--user", "alice"];

#[test]
fn the_code_is_read_off_the_usual_screen_on_dark_and_light_and_two_codes_bind() {
    if !can_run("the_code_is_read_off_the_usual_screen_on_dark_and_light_and_two_codes_bind") {
        return;
    }
    let mut session = Session::start("helper", &TOTP, (80, 24), &[]);
    session.until_text("First code (the app shows ");
    assert_eq!(session.code(true).as_deref(), Some(URI), "on a dark terminal");
    assert_eq!(session.code(false).as_deref(), Some(URI), "on a light terminal");
    assert!(session.text().contains("JBSW Y3DP EHPK 3PXP"));
    session.type_in("492 039\n");
    session.until_text("Second code (the app shows ");
    assert_eq!(session.code(true).as_deref(), Some(URI), "while the second code is asked");
    session.type_in("123456\n");
    let (code, screen) = session.end();
    assert_eq!(code, Some(0));
    assert_eq!(
        screen,
        "Your device's clock is about 30 s behind this host's: set it to automatic time.\n\
         The device of alice is bound. From the next login on its code is asked."
    );
}

#[test]
fn a_long_host_name_and_a_message_still_leave_a_readable_code() {
    if !can_run("a_long_host_name_and_a_message_still_leave_a_readable_code") {
        return;
    }
    let mut session = Session::start("wide", &TOTP, (80, 24), &[]);
    session.until_text("First code");
    assert!(session.code(true).is_some());
    session.type_in("111111\n");
    session.until_text("Second code");
    session.type_in("111111\n");
    session.until_text("Both codes are from the same 30 seconds");
    session.until_text("First code");
    assert!(session.code(true).is_some());
    session.type_in("\u{3}");
    assert_eq!(session.end(), (Some(1), "mfa-enroll: Cancelled.".into()));
}

#[test]
fn a_small_window_gets_a_smaller_border_or_the_reason_and_the_code_comes_when_it_grows() {
    if !can_run("a_small_window_gets_a_smaller_border_or_the_reason_and_the_code_comes_when_it_grows") {
        return;
    }
    let mut session = Session::start("helper", &TOTP, (60, 20), &[]);
    session.until_text("First code");
    assert_eq!(session.code(true).as_deref(), Some(URI));
    session.type_in("\u{3}");
    session.end();

    let mut session = Session::start("helper", &TOTP, (60, 12), &[]);
    session.until_text("Your window is too small for the QR code: it needs");
    session.until_text("JBSW Y3DP");
    session.until_text("First code");
    session.type_in("49");
    session.screen.screen_mut().set_size(NonZero::new(30).unwrap(), NonZero::new(100).unwrap());
    let larger =
        Command::new("stty").args(["rows", "30", "cols", "100"]).stdin(session.slave.try_clone().unwrap()).status();
    assert!(larger.unwrap().success());
    session.until("typed digits below the QR code", |text| text.contains('█') && text.ends_with(": 49"));
    assert_eq!(session.code(true).as_deref(), Some(URI));
    session.type_in("\u{3}");
    assert_eq!(session.end().0, Some(1));
}

#[test]
fn the_countdown_runs_and_leaves_what_is_typed() {
    if !can_run("the_countdown_runs_and_leaves_what_is_typed") {
        return;
    }
    let mut session = Session::start("helper", &TOTP, (80, 24), &[]);
    session.until_text("First code (the app shows ");
    session.type_in("4920");
    session.until("digits", |text| text.ends_with(": 4920"));
    let prompt = |text: &str| text.lines().last().unwrap_or_default().to_owned();
    let first = prompt(&session.text());
    session.until("a later second", |text| prompt(text) != first && text.ends_with(": 4920"));
    session.type_in("\u{7f}\u{7f}39");
    session.until("corrected digits", |text| text.ends_with(": 4939"));
    session.type_in("\u{4}");
    assert_eq!(session.end(), (Some(1), "mfa-enroll: Cancelled.".into()));
}

#[test]
fn a_code_that_changes_while_it_is_typed_does_not_cost_a_step() {
    if !can_run("a_code_that_changes_while_it_is_typed_does_not_cost_a_step") {
        return;
    }
    let mut session = Session::start("quick", &TOTP, (80, 24), &[]);
    session.until_text("First code (the app shows a new one in 2 s)");
    session.type_in("4920");
    session.until_text("First code (the app shows a new one in 5 s)");
    session.type_in("39\n");
    session.until_text("Second code (the app shows it now; ");
    session.type_in("\u{3}");
    assert_eq!(session.end().0, Some(1));
}

#[test]
fn a_signal_finds_the_terminal_as_it_was_and_no_file() {
    if !can_run("a_signal_finds_the_terminal_as_it_was_and_no_file") {
        return;
    }
    let file = folder().join("qr.svg");
    let with_file = ["totp", "--user", "alice", "--qr-svg", file.to_str().unwrap()];
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        for arguments in [&TOTP[..], &with_file] {
            let mut session = Session::start("helper", arguments, (80, 24), &[]);
            session.until_text("First code");
            assert_eq!(file.exists(), arguments == with_file);
            session.signal(signal);
            let (status, screen) = session.end_status();
            assert_eq!(status.signal(), Some(signal as i32), "{status}");
            assert_eq!(screen, "mfa-enroll: Cancelled.");
            assert!(!file.exists(), "{signal}");
        }
    }
}

#[test]
fn a_signal_while_the_helper_judges_waits_for_the_verdict() {
    if !can_run("a_signal_while_the_helper_judges_waits_for_the_verdict") {
        return;
    }
    let mut session = Session::start("slow", &TOTP, (80, 24), &[]);
    let fifo = session.helper.with_file_name("judge");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    session.until_text("First code");
    session.type_in("492039\n");
    session.until_text("Second code");
    session.type_in("123456\n");
    let judging = File::options().write(true).open(&fifo).unwrap();
    session.signal(Signal::SIGINT);
    drop(judging);
    let (status, screen) = session.end_status();
    assert_eq!(status.signal(), Some(Signal::SIGINT as i32), "{status}");
    assert!(screen.ends_with("The device of alice is bound. From the next login on its code is asked."), "{screen}");
}

#[test]
fn a_stop_leaves_the_terminal_and_a_continue_brings_all_back() {
    if !can_run("a_stop_leaves_the_terminal_and_a_continue_brings_all_back") {
        return;
    }
    let mut session = Session::start("helper", &TOTP, (80, 24), &[]);
    session.until_text("First code");
    session.type_in("49");
    session.until("digits", |text| text.ends_with(": 49"));
    // Nobody's job: with SIGTSTP the kernel spares an orphaned process group, so it does not stop,
    // and all is drawn again; the way there is the same.
    session.signal(Signal::SIGTSTP);
    session.until("all again", |text| text.contains('█') && text.ends_with(": 49"));
    session.signal(Signal::SIGSTOP);
    session.signal(Signal::SIGCONT);
    session.until("all again", |text| text.contains('█') && text.ends_with(": 49"));
    session.type_in("\u{3}");
    assert_eq!(session.end().0, Some(1));
}

#[test]
fn without_colours_each_polarity_suits_its_theme() {
    if !can_run("without_colours_each_polarity_suits_its_theme") {
        return;
    }
    let mut session = Session::start("helper", &TOTP, (80, 24), &[("NO_COLOR", "1")]);
    session.until_text("First code");
    assert_eq!(session.code(true).as_deref(), Some(URI));
    assert!(session.text().contains("--invert"));
    session.type_in("\u{3}");
    session.end();
    let mut session = Session::start("helper", &["totp", "--user", "alice", "--invert"], (80, 24), &[]);
    session.until_text("First code");
    assert_eq!(session.code(false).as_deref(), Some(URI));
    session.type_in("\u{3}");
    session.end();
}

#[test]
fn a_locale_without_utf8_gets_ascii_alone() {
    if !can_run("a_locale_without_utf8_gets_ascii_alone") {
        return;
    }
    let mut session = Session::start("helper", &TOTP, (80, 24), &[("LANG", "C")]);
    session.until_text("This locale is not UTF-8");
    session.until_text("First code");
    assert!(session.text().is_ascii());
    session.type_in("\u{3}");
    session.end();
}

#[test]
fn on_a_dumb_terminal_the_dialogue_is_plain_lines() {
    if !can_run("on_a_dumb_terminal_the_dialogue_is_plain_lines") {
        return;
    }
    let mut session = Session::start("helper", &["confirm", "--user", "alice"], (80, 24), &[("TERM", "dumb")]);
    session.until_text("First code:");
    session.type_in("492 038\u{7f}9\n");
    session.until_text("Second code:");
    session.type_in(" 123456\n");
    let (code, screen) = session.end();
    assert_eq!(code, Some(0));
    assert_eq!(
        screen,
        "First code: 492 039\nSecond code:  123456\n\
         The device of alice is bound. From the next login on its code is asked."
    );
}

#[test]
fn who_leaves_a_dumb_terminal_leaves_no_file() {
    if !can_run("who_leaves_a_dumb_terminal_leaves_no_file") {
        return;
    }
    let file = folder().join("qr.svg");
    let arguments = ["totp", "--user", "alice", "--key-only", "--qr-svg", file.to_str().unwrap()];
    for (keys, signal) in [("\u{3}", Some(Signal::SIGINT as i32)), ("\u{4}", None)] {
        let mut session = Session::start("helper", &arguments, (80, 24), &[("TERM", "dumb")]);
        session.until_text("First code: ");
        assert!(file.exists());
        session.type_in(keys);
        session.until_text("mfa-enroll: Cancelled.");
        assert_eq!(session.child.wait().unwrap().signal(), signal);
        assert!(!file.exists());
    }
}
