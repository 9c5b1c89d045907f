//! The dialogue as a person sees it: the program on its own terminal, whose screen is kept by a foreign terminal
//! emulator and whose QR code is read by a foreign decoder.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test starts programs")]

mod fake;

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use fake::{RootsFolder, Service, mfa_enroll, ssh_key_blob, ssh_key_file};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;

const KEY: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
const URI: &str = "otpauth://totp/web1:alice?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=web1";

/// A program on a terminal.
struct Session {
    /// It leads no process group, so `setsid` does not fork, and this is the program itself.
    child: Child,
    master: File,
    slave: OwnedFd,
    before: Termios,
    screen: vt100::Parser,
    helper: PathBuf,
}

impl Session {
    fn start(behaviour: &str, arguments: &[&str], size: (u16, u16), environment: &[(&str, &str)]) -> Session {
        Session::of(&mfa_enroll(behaviour, arguments), size, environment)
    }

    /// Runs this command line on its own terminal.
    fn of(like: &Command, (cols, rows): (u16, u16), environment: &[(&str, &str)]) -> Session {
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        // The process that starts the tests may ignore signals, as nohup does, and we would inherit that.
        let mut command = Command::new("env");
        command.args(["--default-signal", "setsid", "--ctty"]).args(like.get_args()).env_clear();
        command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.envs(environment.iter().copied());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let screen = vt100::Parser::new(NonZero::new(rows).unwrap(), NonZero::new(cols).unwrap(), 1000);
        let helper = like.get_args().last().unwrap().into();
        Session { child, master: File::from(pty.master), slave: pty.slave, before, screen, helper }
    }

    /// Reads output until `there` returns true.
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

    /// Reads the available output, and waits a little for it.
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

    /// The QR code on the screen, as a camera in front of a terminal with this theme sees it. The decoder tries only
    /// this polarity.
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

    /// Waits for the end. After every end, the terminal is as it was before and the key is off the screen.
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
        assert!(!screen.contains("-efgh-"), "a recovery code is still there:\n{screen}");
        self.screen.screen_mut().set_scrollback(1000);
        assert_eq!(self.screen.screen().scrollback(), 0, "something went into the scrollback");
        (status, screen)
    }

    /// The recovery codes on the screen.
    fn codes(&self) -> usize {
        let is_code = |word: &&str| word.len() == 19 && word.ends_with("-efgh-ijkl-mnop");
        self.text().split_whitespace().filter(is_code).count()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }
}

/// If a test fails, no program stays behind waiting for a code.
impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const TOTP: [&str; 3] = ["totp", "--user", "alice"];

#[test]
#[ignore = "needs root: make unit"]
fn the_code_is_read_off_the_usual_screen_on_dark_and_light_and_two_codes_bind() {
    let mut session = Session::start("helper", &TOTP, (80, 24), &[]);
    session.until_text("First verification code (the app shows ");
    assert_eq!(session.code(true).as_deref(), Some(URI), "on a dark terminal");
    assert_eq!(session.code(false).as_deref(), Some(URI), "on a light terminal");
    assert!(session.text().contains("JBSW Y3DP EHPK 3PXP"));
    session.type_in("492 039\n");
    session.until_text("Second verification code (the app shows ");
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
#[ignore = "needs root: make unit"]
fn a_long_host_name_and_a_message_still_leave_a_readable_code() {
    let mut session = Session::start("wide", &TOTP, (80, 24), &[]);
    session.until_text("First verification code");
    assert!(session.code(true).is_some());
    session.type_in("111111\n");
    session.until_text("Second verification code");
    session.type_in("111111\n");
    session.until_text("Both codes are from the same 30 seconds");
    session.until_text("First verification code");
    assert!(session.code(true).is_some());
    session.type_in("\u{3}");
    assert_eq!(session.end(), (Some(1), "mfa-enroll: Cancelled.".into()));
}

#[test]
#[ignore = "needs root: make unit"]
fn a_small_window_gets_a_smaller_border_or_the_reason_and_the_code_comes_when_it_grows() {
    let mut session = Session::start("helper", &TOTP, (60, 20), &[]);
    session.until_text("First verification code");
    assert_eq!(session.code(true).as_deref(), Some(URI));
    session.type_in("\u{3}");
    session.end();

    let mut session = Session::start("helper", &TOTP, (60, 12), &[]);
    session.until_text("Your window is too small for the QR code: it needs");
    session.until_text("JBSW Y3DP");
    session.until_text("First verification code");
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
#[ignore = "needs root: make unit"]
fn the_countdown_runs_and_leaves_what_is_typed() {
    let mut session = Session::start("helper", &TOTP, (80, 24), &[]);
    session.until_text("First verification code (the app shows ");
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
#[ignore = "needs root: make unit"]
fn a_code_that_changes_while_it_is_typed_does_not_cost_a_step() {
    let mut session = Session::start("quick", &TOTP, (80, 24), &[]);
    session.until_text("First verification code (the app shows a new one in 2 s)");
    session.type_in("4920");
    session.until_text("First verification code (the app shows a new one in 5 s)");
    session.type_in("39\n");
    session.until_text("Second verification code (the app shows it now; ");
    session.type_in("\u{3}");
    assert_eq!(session.end().0, Some(1));
}

#[test]
#[ignore = "needs root: make unit"]
fn a_signal_finds_the_terminal_as_it_was_and_no_file() {
    let folder = RootsFolder::new();
    let file = folder.join("qr.svg");
    let with_file = ["totp", "--user", "alice", "--qr-svg", file.to_str().unwrap()];
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        for arguments in [&TOTP[..], &with_file] {
            let mut session = Session::start("helper", arguments, (80, 24), &[]);
            session.until_text("First verification code");
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
#[ignore = "needs root: make unit"]
fn a_signal_while_the_helper_judges_waits_for_the_verdict() {
    let mut session = Session::start("slow", &TOTP, (80, 24), &[]);
    let fifo = session.helper.with_file_name("judge");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    session.until_text("First verification code");
    session.type_in("492039\n");
    session.until_text("Second verification code");
    session.type_in("123456\n");
    let judging = File::options().write(true).open(&fifo).unwrap();
    session.signal(Signal::SIGINT);
    drop(judging);
    let (status, screen) = session.end_status();
    assert_eq!(status.signal(), Some(Signal::SIGINT as i32), "{status}");
    assert!(screen.ends_with("The device of alice is bound. From the next login on its code is asked."), "{screen}");
}

#[test]
#[ignore = "needs root: make unit"]
fn a_stop_leaves_the_terminal_and_a_continue_brings_all_back() {
    let mut session = Session::start("helper", &TOTP, (80, 24), &[]);
    session.until_text("First verification code");
    session.type_in("49");
    session.until("digits", |text| text.ends_with(": 49"));
    // An orphaned process group is not stopped by SIGTSTP (the kernel spares it), so the program goes on and draws
    // all again. The further digit distinguishes the new drawing from the old one.
    session.signal(Signal::SIGTSTP);
    session.type_in("2");
    session.until("all again", |text| text.contains('█') && text.ends_with(": 492"));
    session.signal(Signal::SIGSTOP);
    session.signal(Signal::SIGCONT);
    session.type_in("0");
    session.until("all again", |text| text.contains('█') && text.ends_with(": 4920"));
    session.type_in("\u{3}");
    assert_eq!(session.end().0, Some(1));
}

#[test]
#[ignore = "needs root: make unit"]
fn without_colours_each_polarity_suits_its_theme() {
    let mut session = Session::start("helper", &TOTP, (80, 24), &[("NO_COLOR", "1")]);
    session.until_text("First verification code");
    assert_eq!(session.code(true).as_deref(), Some(URI));
    assert!(session.text().contains("--invert"));
    session.type_in("\u{3}");
    session.end();
    let mut session = Session::start("helper", &["totp", "--user", "alice", "--invert"], (80, 24), &[]);
    session.until_text("First verification code");
    assert_eq!(session.code(false).as_deref(), Some(URI));
    session.type_in("\u{3}");
    session.end();
}

#[test]
#[ignore = "needs root: make unit"]
fn a_locale_without_utf8_gets_ascii_alone() {
    let mut session = Session::start("helper", &TOTP, (80, 24), &[("LANG", "C")]);
    session.until_text("This locale is not UTF-8");
    session.until_text("First verification code");
    assert!(session.text().is_ascii());
    session.type_in("\u{3}");
    session.end();
}

#[test]
#[ignore = "needs root: make unit"]
fn a_chinese_locale_gets_chinese_beside_the_same_picture() {
    let mut session = Session::start("helper", &TOTP, (80, 24), &[("LANG", "C.UTF-8"), ("LC_MESSAGES", "zh_CN.UTF-8")]);
    session.until_text("(应用将在 ");
    assert_eq!(session.code(true).as_deref(), Some(URI));
    for words in ["用身份验证器应用扫描此二维码", "密钥    JBSW Y3DP EHPK 3PXP", "账户    alice"] {
        assert!(session.text().contains(words), "{words}:\n{}", session.text());
    }
    session.type_in("\u{3}");
    assert_eq!(session.end(), (Some(1), "mfa-enroll: Cancelled.".into()), "errors are English");
}

#[test]
#[ignore = "needs root: make unit"]
fn on_a_dumb_terminal_the_dialogue_is_plain_lines() {
    let mut session = Session::start("helper", &["confirm", "--user", "alice"], (80, 24), &[("TERM", "dumb")]);
    session.until_text("First verification code:");
    session.type_in("492 038\u{7f}9\n");
    session.until_text("Second verification code:");
    session.type_in(" 123456\n");
    let (code, screen) = session.end();
    assert_eq!(code, Some(0));
    assert_eq!(
        screen,
        "First verification code: 492 039\nSecond verification code:  123456\n\
         The device of alice is bound. From the next login on its code is asked."
    );
}

#[test]
#[ignore = "needs root: make unit"]
fn who_leaves_a_dumb_terminal_leaves_no_file() {
    let folder = RootsFolder::new();
    let file = folder.join("qr.svg");
    let arguments = ["totp", "--user", "alice", "--key-only", "--qr-svg", file.to_str().unwrap()];
    for (keys, signal) in [("\u{3}", Some(Signal::SIGINT as i32)), ("\u{4}", None)] {
        let mut session = Session::start("helper", &arguments, (80, 24), &[("TERM", "dumb")]);
        session.until_text("First verification code: ");
        assert!(file.exists());
        session.type_in(keys);
        session.until_text("mfa-enroll: Cancelled.");
        assert_eq!(session.child.wait().unwrap().signal(), signal);
        assert!(!file.exists());
    }
}

const WRITTEN: &str = "Type ok when you have written them down: ";

#[test]
#[ignore = "needs root: make unit"]
fn after_the_proof_and_two_codes_ten_recovery_codes_are_shown_and_taken_off_again() {
    let service = Service::start("proof");
    let mut session = Session::of(&service.mfa_enroll(&["totp"]), (80, 24), &[]);
    session.until_text("Password: ");
    assert_eq!(session.text(), "Hello from a PAM module.\nPassword: ", "what PAM tells, and no device yet");
    session.type_in("open sesamee");
    session.type_in("\u{7f}\n");
    session.until_text("First verification code (the app shows ");
    assert_eq!(session.code(true).as_deref(), Some(URI));
    session.type_in("111111\n");
    session.until_text("Second verification code (");
    session.type_in("222222\n");
    session.until_text(WRITTEN);
    assert_eq!(session.codes(), 10, "{}", session.text());
    assert!(!session.text().contains(&KEY[..4]) && session.code(true).is_none(), "the device is off the screen");
    for words in ["lets you in once, when the device is lost", "shown only now", "Your device's clock is about"] {
        assert!(session.text().contains(words), "{words}: {}", session.text());
    }
    session.type_in("\n");
    session.type_in("ok");
    session.until("ok", |text| text.ends_with(": ok"));
    assert_eq!(session.codes(), 10, "until there is an answer");
    session.type_in("\n");
    let (code, screen) = session.end();
    assert_eq!(code, Some(0));
    assert_eq!(
        screen,
        "Hello from a PAM module.\nPassword: \n\
         Your device's clock is about 30 s behind this host's: set it to automatic time.\n\
         The device of alice is bound. From the next login on its code is asked."
    );
}

#[test]
#[ignore = "needs root: make unit"]
fn what_is_hidden_is_shown_on_no_terminal() {
    for term in ["xterm-256color", "dumb"] {
        let mut session = Session::start("proof", &["disable", "--user", "alice"], (80, 24), &[("TERM", term)]);
        session.until_text("Password: ");
        let mut all = String::new();
        for key in "open sesame".chars() {
            session.type_in(&key.to_string());
            session.read();
            all += &session.text();
        }
        assert!(!all.contains("open") && !all.contains("sesame") && !all.contains('*'), "{all}");
        session.type_in("\n");
        let (code, screen) = session.end();
        assert_eq!(code, Some(0), "{screen}");
        assert!(screen.starts_with("Hello from a PAM module.\nPassword: \nThe device of alice is unbound"), "{screen}");
    }
}

#[test]
#[ignore = "needs root: make unit"]
fn an_empty_line_gives_up_a_hidden_question() {
    for term in ["xterm-256color", "dumb"] {
        let mut session = Session::start("proof", &["disable", "--user", "alice"], (80, 24), &[("TERM", term)]);
        session.until_text("Password: ");
        session.type_in("\n");
        let (code, screen) = session.end();
        assert_eq!((code, screen.ends_with("\nmfa-enroll: Cancelled.")), (Some(1), true), "{term}: {screen}");
    }
}

#[test]
#[ignore = "needs root: make unit"]
fn sixty_four_codes_stand_in_the_usual_window() {
    let mut session = Session::start("many", &["recovery-codes", "--user", "alice"], (80, 24), &[]);
    session.until_text(WRITTEN);
    assert_eq!(session.codes(), 64, "{}", session.text());
    assert!(session.text().contains("keep them where the device is not."));
    session.type_in("ok\n");
    let (code, screen) = session.end();
    assert_eq!((code, screen.as_str()), (Some(0), "These recovery codes hold; the ones before are void."));
}

#[test]
#[ignore = "needs root: make unit"]
fn a_window_too_small_for_the_codes_says_so_and_shows_them_when_it_grows() {
    let mut session = Session::start("many", &["recovery-codes", "--user", "alice"], (60, 12), &[]);
    session.until_text(WRITTEN);
    assert!(session.text().contains("too small for 64 recovery codes"), "{}", session.text());
    assert_eq!(session.codes(), 0);
    session.screen.screen_mut().set_size(NonZero::new(24).unwrap(), NonZero::new(80).unwrap());
    let larger =
        Command::new("stty").args(["rows", "24", "cols", "80"]).stdin(session.slave.try_clone().unwrap()).status();
    assert!(larger.unwrap().success());
    session.until("all codes", |text| text.matches("-efgh-").count() == 64 && text.ends_with(WRITTEN));
    session.type_in("\u{3}");
    let (code, screen) = session.end();
    assert_eq!((code, screen.as_str()), (Some(1), "mfa-enroll: The codes shown are void; the ones before hold."));
}

#[test]
#[ignore = "needs root: make unit"]
fn whoever_leaves_at_the_codes_or_is_sent_away_leaves_none_on_the_screen() {
    for signal in [None, Some(Signal::SIGTERM), Some(Signal::SIGHUP), Some(Signal::SIGINT), Some(Signal::SIGQUIT)] {
        let mut session = Session::start("many", &TOTP, (80, 24), &[]);
        session.until_text("First verification code");
        session.type_in("111111\n");
        session.until_text("Second verification code");
        session.type_in("222222\n");
        session.until_text(WRITTEN);
        assert_eq!(session.codes(), 64);
        match signal {
            Some(signal) => session.signal(signal),
            None => session.type_in("\u{3}"),
        }
        let (status, screen) = session.end_status();
        assert_eq!(status.signal(), signal.map(|signal| signal as i32), "{status}");
        assert!(
            screen.ends_with("The device of alice is bound. From the next login on its code is asked."),
            "{screen}"
        );
    }
}

#[test]
#[ignore = "needs root: make unit"]
fn on_a_dumb_terminal_the_codes_are_plain_lines() {
    let arguments = ["recovery-codes", "--user", "alice"];
    let mut session = Session::start("proof", &arguments, (80, 24), &[("TERM", "dumb")]);
    session.until_text("Password: ");
    session.type_in("open sesame\n");
    session.until_text(WRITTEN);
    assert!(session.text().contains("\nab00-efgh-ijkl-mnop\nab01-efgh-ijkl-mnop\n"), "{}", session.text());
    session.type_in("ok\n");
    session.until_text("These recovery codes hold");
    assert_eq!(session.child.wait().unwrap().code(), Some(0));
}

#[test]
#[ignore = "needs root: make unit"]
fn without_a_verb_who_has_nothing_bound_is_offered_to_bind() {
    const OFFER: &str = "Bind an authenticator app now? [Y/n] ";
    for (keys, binds) in [
        ("\n", true),
        ("y\n", true),
        ("Yes\n", true),
        ("n\n", false),
        ("\u{3}", false),
        ("\u{4}", false),
        ("what\n", false),
    ] {
        for term in ["xterm-256color", "dumb"] {
            let service = Service::start("none");
            // High enough for the status and the device, so that nothing has to scroll away.
            let mut session = Session::of(&service.mfa_enroll(&[]), (80, 40), &[("TERM", term)]);
            session.until_text(OFFER);
            assert!(session.text().starts_with("user            alice\ndevice          none\n"), "{}", session.text());
            assert!(session.text().contains("A security key is bound by: mfa-enroll u2f\n"), "{}", session.text());
            session.type_in(keys);
            if binds {
                session.until_text("First verification code");
                session.type_in("\u{4}");
            }
            if term == "dumb" {
                // On a dumb terminal nothing can be erased.
                assert_eq!(session.child.wait().unwrap().code(), Some(binds.into()), "{keys:?}");
                continue;
            }
            let (code, screen) = session.end();
            assert_eq!(code, Some(binds.into()), "{keys:?}: {screen}");
            assert_eq!(screen.ends_with("mfa-enroll: Cancelled."), binds, "{keys:?}: {screen}");
        }
    }
}

#[test]
#[ignore = "needs root: make unit"]
fn without_a_verb_nobody_else_is_asked_anything() {
    let root = Session::start("none", &[], (80, 24), &[]);
    assert!(root.end().1.ends_with("locked          no"), "root");
    let bound = Service::start("helper");
    let (code, screen) = Session::of(&bound.mfa_enroll(&[]), (80, 24), &[]).end();
    assert_eq!(code, Some(0));
    assert!(screen.contains("device          totp") && screen.ends_with("locked          no"), "{screen}");
}

/// The form of `ssh-keygen -Y sign`'s output, by this key. The fake helper checks no more than the form.
fn armoured(key: &[u8]) -> String {
    let put = |blob: &mut Vec<u8>, part: &[u8]| {
        blob.extend((part.len() as u32).to_be_bytes());
        blob.extend(part);
    };
    let mut signature = Vec::new();
    put(&mut signature, b"sk-ssh-ed25519@openssh.com");
    put(&mut signature, &[3; 64]);
    signature.extend([1, 0, 0, 0, 7]);
    let mut blob = b"SSHSIG\0\0\0\x01".to_vec();
    for part in [key, b"mfa@pam_mfa", b"", b"sha512", &signature] {
        put(&mut blob, part);
    }
    let base64 = data_encoding::BASE64.encode(&blob);
    let lines: Vec<&str> = base64.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
}

#[test]
#[ignore = "needs root: make unit"]
fn without_an_agent_a_signature_is_made_elsewhere_and_pasted() {
    const PASTE: &str = "Paste here what it prints, to its END line; Ctrl-C leaves:";
    let file = ssh_key_file();
    let arguments = ["u2f", "--user", "alice", "--ssh-key", file.to_str().unwrap()];
    let other = ssh_key_blob().iter().map(|byte| if *byte == 7 { 8 } else { *byte }).collect::<Vec<u8>>();
    for term in ["xterm-256color", "dumb"] {
        let mut session = Session::start("helper", &arguments, (80, 40), &[("TERM", term)]);
        session.until_text(PASTE);
        let asked = "Touch your security key.\n\
             no ssh agent answers: No such file or directory; start one, or log in by ssh -A\n\
             Where the security key is plugged in, run:\n  \
             echo //////////////////////////////////////////8= | base64 -d |\n    \
             ssh-keygen -Y sign -n mfa@pam_mfa -f ~/.ssh/id_ed25519_sk\n";
        assert!(session.text().starts_with(asked), "{}", session.text());
        session.type_in(&armoured(&other));
        session.until_text("That is the signature of another key.");
        // As it is copied, with the line that ssh-keygen prints before.
        session.type_in(&format!("Signing data on standard input\n{}", armoured(&ssh_key_blob())));
        session.until_text("The security key of alice is bound.");
        assert_eq!(session.end().0, Some(0));

        let mut session = Session::start("helper", &arguments, (80, 40), &[("TERM", term)]);
        session.until_text(PASTE);
        session.type_in("-----BEGIN\n\u{3}");
        let (status, screen) = session.end_status();
        assert_eq!(status.signal(), Some(Signal::SIGINT as i32), "{status}");
        assert!(screen.ends_with("mfa-enroll: Cancelled."), "{screen}");
    }
}

#[test]
#[ignore = "needs root: make unit"]
fn a_key_is_asked_for_on_the_terminal_and_ctrl_c_does_not_wait_for_it() {
    let mut session = Session::start("proof", &["u2f", "--user", "alice"], (80, 24), &[]);
    session.until_text("Password: ");
    session.type_in("open sesame\n");
    session.until_text("Touch your security key.");
    session.type_in("\u{3}");
    let (status, screen) = session.end_status();
    assert_eq!(status.signal(), Some(Signal::SIGINT as i32), "{status}: {screen}");
    assert!(screen.contains("Hello from a PAM module."), "{screen}");
}

/// It is gone before the first row, and at the end.
#[test]
fn what_takes_long_says_so_on_the_terminal_until_it_ends() {
    for (arguments, last) in [(["list", "--missing"].as_slice(), "late: required"), (&["list"], "alice")] {
        let mut session = Session::start("slow", arguments, (80, 24), &[]);
        session.until_text("list: 2 s");
        session.until_text(last);
        assert!(!session.text().contains("list: "), "{}", session.text());
        let (code, screen) = session.end();
        assert_eq!((code, screen.contains("list: ")), (Some(0), false), "{screen}");
    }
}
