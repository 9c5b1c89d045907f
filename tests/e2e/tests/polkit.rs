//! polkit runs the stack of whoever has to prove who they are: up to version 126 in a setuid program that the agent
//! starts, since 127 in a service of systemd that is root and can write nothing.
#![allow(missing_docs, clippy::expect_used)]

mod common;

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use common::{CODE, Door, Person, newer_than_trixie};
use e2e::{Key, Machine, Terminal};

/// Each proves to be themself, as at many actions: with administrators, polkit asks which one of them.
const RULE: &str = "polkit.addRule(function(action, subject) { return polkit.Result.AUTH_SELF; });\n";

fn with_polkit() -> Machine {
    let machine = common::enabled(Machine::build().debian_packages("polkitd,pkexec").package().boot());
    machine.write("/etc/polkit-1/rules.d/00-test.rules", RULE);
    machine.sh_ok("chmod -R a+rX /etc/polkit-1; systemctl restart polkit");
    let sandboxed = machine.sh("systemctl is-active polkit-agent-helper.socket").code == 0;
    // bookworm has polkit 122, trixie 126, forky 128.
    assert_eq!(sandboxed, newer_than_trixie(), "not the polkit that this Debian is known for");
    if !sandboxed {
        machine.sh_ok("[ -u /usr/lib/polkit-1/polkit-agent-helper-1 ]");
    }
    machine
}

/// A program wants to be root's. The agent is one of the user's own: that of pkexec, which is root, gets no user in at
/// all since the service is there ("No session for cookie", with and without our module).
fn knock(who: &Person) -> Terminal {
    up_to_the_device(who.machine.terminal().user(&who.name).run(PROGRAM), who)
}

/// The same, from a session of logind's at the seat.
fn knock_at_the_seat(who: &Person) -> Terminal {
    let command = format!("XDG_SEAT=seat0 exec runuser -l {} --session-command '{PROGRAM}'", who.name);
    up_to_the_device(who.machine.terminal().run(&command), who)
}

const PROGRAM: &str = "mkfifo ready; pkttyagent --notify-fd 3 --process $$ 3>ready & read -r _ <ready; rm ready; \
    pkexec --disable-internal-agent id -un; echo \"exit $?\"";

fn up_to_the_device(mut t: Terminal, who: &Person) -> Terminal {
    t.wait_for("Password: ");
    answer(&mut t, &who.password);
    t
}

/// The agent shows no answer, and drops what comes before it has seen to that.
fn answer(t: &mut Terminal, text: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while t.echoes() {
        assert!(Instant::now() < deadline, "nobody reads:\n{}", t.screen());
        std::thread::yield_now();
    }
    t.type_line(text);
}

#[test]
fn polkit_asks_for_the_code_after_the_password() {
    static MACHINE: LazyLock<Machine> = LazyLock::new(with_polkit);
    let (who, app) = Person::bound(&MACHINE, "petra");
    let before = who.state();
    // Nobody can start one now, so whoever judges these codes came with the listener that runs.
    MACHINE.sh_ok("systemctl start mfa-helper.service; mv /usr/libexec/mfa-helper /root");

    let mut t = knock(&who);
    t.wait_for(CODE);
    answer(&mut t, &app.wrong());
    t.wait_for("That code is wrong.");
    t.wait_for("exit 127\n");
    who.logged(&["event=verify", "service=polkit-1", "verdict=refused", "reason=\"wrong code\""]);
    assert_eq!(who.state().failures, before.failures + 1, "the guess is not counted");

    let mut t = knock(&who);
    t.wait_for(CODE);
    answer(&mut t, &app.good);
    t.wait_for("root\nexit 0\n");
    who.logged(&["event=verify", "service=polkit-1", "verdict=accepted", "reason=code"]);
    assert_eq!(who.state().last_step, before.last_step + 1, "the code is not used up");

    let mut t = knock(&who);
    t.wait_for(CODE);
    answer(&mut t, &app.good);
    t.wait_for("That code was used already.");
    t.wait_for(CODE);
    answer(&mut t, &app.good);
    t.wait_for("exit 127\n");

    // Who has no device is asked for none.
    let plain = Person::new(&MACHINE, "paul");
    let mut t = knock(&plain);
    t.wait_for("root\nexit 0\n");
    assert!(!t.text().contains(CODE), "{}", t.screen());
}

/// No dialogue is led here: the refusal names the remedy.
#[test]
fn who_must_have_a_device_and_has_none_is_refused_by_polkit() {
    static MACHINE: LazyLock<Machine> = LazyLock::new(with_polkit);
    let who = Person::required(&MACHINE, "ronja", "");
    let mut t = knock(&who);
    t.wait_for("MFA is required of ronja and no device is bound.");
    t.wait_for("exit 127\n");
    assert_eq!(who.devices(), 0);
}

/// Without the socket, root in a sandbox has a helper that cannot write: nobody comes in. Any other has one that can.
#[test]
fn without_the_socket_a_sandboxed_polkit_lets_nobody_in() {
    static MACHINE: LazyLock<Machine> = LazyLock::new(with_polkit);
    let (who, app) = Person::bound(&MACHINE, "selma");
    let before = who.state();
    MACHINE.sh_ok("systemctl stop mfa-helper.socket mfa-helper.service");
    let mut t = knock(&who);
    t.wait_for(CODE);
    answer(&mut t, &app.good);
    if newer_than_trixie() {
        t.wait_for("MFA is unavailable; the system log says why.");
        t.wait_for("exit 127\n");
        who.logged(&["event=verify", "verdict=unavailable", "Read-only file system"]);
        assert_eq!(who.state(), before);
    } else {
        t.wait_for("root\nexit 0\n");
        assert_eq!(who.state().last_step, before.last_step + 1);
    }
}

/// The key is asked by the service behind the socket: polkit's own helper, where it is one of systemd's services, sees no
/// device at all, nor does any module that is loaded into it.
#[test]
fn polkit_asks_for_the_touch_of_a_key_wherever_its_helper_runs() {
    static MACHINE: LazyLock<Machine> = LazyLock::new(with_polkit);
    const TOUCH: &str = "Touch your security key.";
    let key = Key::plugged(&MACHINE, "one", &[]);
    let who = Person::new(&MACHINE, "peggy");
    MACHINE.sh_ok("mfa-enroll u2f --user peggy");
    key.tell("touch wait");
    let mut t = knock_at_the_seat(&who);
    t.wait_for(TOUCH);
    key.tell("await touch");
    let seen = MACHINE.sh("nsenter --target $(pgrep --exact polkit-agent-he) --mount ls /dev | grep hidraw");
    assert_eq!(seen.code == 0, !newer_than_trixie(), "{seen}");
    key.tell("touch");
    t.wait_for("root\nexit 0\n");
    who.logged(&["event=verify", "service=polkit-1", "factor=u2f", "verdict=accepted"]);

    key.tell("touch deny");
    let mut t = knock_at_the_seat(&who);
    t.wait_for(TOUCH);
    t.wait_for("The security key has refused.");
    t.wait_for("exit 127\n");
    drop(t);

    // Who is logged in by ssh as well may be the one who asks, where its helper is in no session that could tell.
    let json = MACHINE.sh_ok("mfa-enroll recovery-codes --user peggy --json");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let code = |n: usize| json["recovery_codes"][n].as_str().expect("a code");
    let mut away = Door::Ssh.knock(&who);
    away.wait_for(&Door::Ssh.password_prompt(&who));
    away.type_line(&who.password);
    away.wait_for("Verification code (a recovery code): ");
    away.type_line(code(0));
    away.wait_for("$ ");
    key.tell("touch auto");
    let touches = key.count("touches");
    let mut t = knock_at_the_seat(&who);
    if newer_than_trixie() {
        t.wait_for("Your security key cannot be asked from here.");
        t.wait_for("Verification code (a recovery code): ");
        answer(&mut t, code(1));
    } else {
        t.wait_for(TOUCH);
    }
    t.wait_for("root\nexit 0\n");
    assert_eq!(key.count("touches") > touches, !newer_than_trixie());
}
