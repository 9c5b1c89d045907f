//! Programs other than OpenSSH that log in: PuTTY's for terminals, libraries for programs that sort prompts by their words
//! or know the password alone, and xrdp.
#![allow(missing_docs, clippy::expect_used)]

mod common;

use std::{process::Command, sync::LazyLock};

use common::{CODE, Door, Person};
use e2e::{Machine, Terminal};

/// sshd offers its method "password" to all but users of these names. Many may be on their way in at the same moment.
const SSHD: &str = "MaxStartups 100\nMatch User *_kbd\nPasswordAuthentication no\nMatch all";

static MACHINE: LazyLock<Machine> = LazyLock::new(|| {
    let machine = common::enabled(Machine::build().debian_packages(common::CLIENTS).package().sshd(SSHD).boot());
    for (name, script) in [
        ("paramiko-rule", [RULE, PARAMIKO, PARAMIKO_RULE].concat()),
        ("paramiko-both", [RULE, PARAMIKO, PARAMIKO_PASSWORD_FIRST, PARAMIKO_RULE].concat()),
        ("asyncssh-rule", [RULE, ASYNCSSH_RULE].concat()),
        ("paramiko-password", PARAMIKO_PASSWORD.to_owned()),
        ("asyncssh-password", ASYNCSSH_PASSWORD.to_owned()),
    ] {
        machine.write(&format!("/usr/local/lib/{name}.py"), script);
    }
    machine.sh_ok(ADDRESS);
    machine
});

/// The xrdp-sesrun of Debian 12 finds "localhost" only where there is an IPv6 address besides the loopback one. 0x8916 is
/// SIOCSIFADDR.
const ADDRESS: &str = r#"python3 -c 'import fcntl, socket, struct
loopback = socket.if_nametoindex("lo")
address = struct.pack("16sIi", socket.inet_pton(socket.AF_INET6, "2001:db8::1"), 128, loopback)
fcntl.ioctl(socket.socket(socket.AF_INET6), 0x8916, address)'"#;

/// The rule of clients that keep a password (web terminals, file managers): the words of a prompt say what it wants, and
/// one that they do not know gets an empty answer.
const RULE: &str = r#"
import re, sys
user, password, codes = sys.argv[1], sys.argv[2], sys.argv[3:]
def answer(text):
    print("asked:" + text)
    if re.search("verification code|token|otp|2fa", text, re.I):
        return codes.pop(0) if codes else ""
    return password if re.search("password", text, re.I) else ""
"#;

const PARAMIKO: &str = r#"
import paramiko
transport = paramiko.Transport(("localhost", 22))
transport.start_client(timeout=20)
"#;

/// Its order where the client has a password, and that of ssh2 too.
const PARAMIKO_PASSWORD_FIRST: &str = r#"
try:
    transport.auth_password(user, password, fallback=False)
except paramiko.AuthenticationException:
    pass
"#;

const PARAMIKO_RULE: &str = r#"
try:
    transport.auth_interactive(user, lambda title, text, prompts: [answer(prompt) for prompt, _ in prompts])
    channel = transport.open_session()
    channel.exec_command("id -un")
    print("in as:" + channel.makefile().read().decode())
except (paramiko.SSHException, OSError, EOFError):
    print("refused")
transport.close()
"#;

const ASYNCSSH_RULE: &str = r#"
import asyncio, asyncssh
class Client(asyncssh.SSHClient):
    tries = 0
    def kbdint_auth_requested(self):
        self.tries += 1
        return "" if self.tries == 1 else None
    def kbdint_challenge_received(self, name, text, lang, prompts):
        return [answer(prompt) for prompt, _ in prompts]
async def main():
    options = dict(username=user, known_hosts=None, client_keys=None, client_factory=Client)
    try:
        async with asyncssh.connect("localhost", **options) as connection:
            print("in as:" + (await connection.run("id -un")).stdout)
    except asyncssh.PermissionDenied:
        print("refused")
asyncio.run(main())
"#;

/// It sends the password to the method "password", or else to each prompt that stands alone.
const PARAMIKO_PASSWORD: &str = r#"
import sys, paramiko
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
try:
    client.connect("localhost", username=sys.argv[1], password=sys.argv[2], look_for_keys=False, allow_agent=False)
    print("in as:" + client.exec_command("id -un")[1].read().decode())
except paramiko.AuthenticationException:
    print("refused")
"#;

/// It sends the password to each prompt with the word "password", and gives up at others.
const ASYNCSSH_PASSWORD: &str = r#"
import sys, asyncio, asyncssh
async def main():
    options = dict(username=sys.argv[1], password=sys.argv[2], known_hosts=None, client_keys=None)
    try:
        async with asyncssh.connect("localhost", **options) as connection:
            print("in as:" + (await connection.run("id -un")).stdout)
    except asyncssh.PermissionDenied:
        print("refused")
asyncio.run(main())
"#;

/// A program of the visitor that logs in as this person, with what it knows.
fn script(name: &str, who: &Person, codes: &[&str]) -> Terminal {
    let command = format!("exec python3 /usr/local/lib/{name}.py {} '{}' {}", who.name, who.password, codes.join(" "));
    MACHINE.terminal().user("visitor").run(&command)
}

/// PuTTY's client for terminals.
#[test]
fn plink_asks_for_the_password_and_the_code() {
    let (who, app) = Person::bound(&MACHINE, "paula");
    let fingerprint = MACHINE.sh_ok("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f2");
    let plink = format!("exec plink -ssh -no-antispoof -hostkey {} paula@localhost", fingerprint.trim());
    let mut t = MACHINE.terminal().user("visitor").run(&plink);
    for code in [app.wrong(), app.good] {
        t.wait_for("Password: ");
        assert!(!t.echoes());
        t.type_line(&who.password);
        t.wait_for(CODE);
        assert!(t.echoes());
        t.type_line(&code);
    }
    Door::Ssh.is_open(&who, &mut t);
    who.logged(&["event=verify", "verdict=refused", "reason=\"wrong code\""]);
    assert_eq!(who.count_logged(&["event=verify", "verdict=accepted", "reason=code"]), 1);
}

/// A code that was used is asked for again below a sentence, which leaves the words of the question as they are.
#[test]
fn programs_that_sort_prompts_by_words_find_the_question_for_the_code() {
    for (program, name) in [("paramiko-rule", "rita"), ("asyncssh-rule", "rosa")] {
        let (who, app) = Person::bound(&MACHINE, name);
        let mut t = script(program, &who, &[&app.burnt, &app.good]);
        t.wait_for("asked:Password: ");
        t.wait_for(CODE);
        t.wait_for("asked:That code was used already. Wait for the next one.\nVerification code: ");
        t.wait_for(&format!("in as:{name}\n"));
        assert_eq!(t.exit_code(), 0);
        assert_eq!(who.state().failures, 0);
        assert_eq!(who.count_logged(&["event=verify", "verdict=accepted", "reason=code"]), 1);
    }
}

/// One try is one guess.
#[test]
fn programs_that_give_a_wrong_code_are_refused_and_count_once() {
    for (program, name) in [("paramiko-rule", "ruth"), ("asyncssh-rule", "romy")] {
        let (who, app) = Person::bound(&MACHINE, name);
        let wrong = app.wrong();
        let mut t = script(program, &who, &[&wrong, &wrong]);
        t.wait_for("refused");
        assert_eq!(t.exit_code(), 0);
        assert_eq!(t.text().matches(CODE).count(), 1, "{}", t.screen());
        assert_eq!(who.state().failures, 1);
        assert!(!who.got_in());
    }
}

/// They send the password to whatever asks, or to nothing else. That is no guess (decision 4): more tries than lock
/// somebody out change nothing, and the log says what went on.
#[test]
fn programs_that_know_the_password_alone_are_refused_and_lock_nobody() {
    const BLIND: &str = "reason=\"the program cannot ask\"";
    const SECRET: &str = "reason=\"the program answered with the login secret\"";
    const GONE: &str = "reason=\"no answer: the other side closed the conversation\"";
    // All at once, because each takes the two seconds after which pam_unix says no.
    let tries = [
        ("paramiko-password", "sara", BLIND),
        ("paramiko-password", "sara_kbd", SECRET),
        ("asyncssh-password", "sina", GONE),
    ]
    .map(|(program, name, reason)| {
        let (who, _app) = Person::bound(&MACHINE, name);
        let six: Vec<_> = (0..6).map(|_| script(program, &who, &[])).collect();
        (who, reason, six)
    });
    for (who, reason, six) in tries {
        for mut t in six {
            t.wait_for("refused");
            assert_eq!(t.exit_code(), 0);
        }
        assert_eq!(who.count_logged(&["event=verify", "verdict=no-interaction", reason]), 6);
        assert!(!who.got_in());
        assert_eq!(who.state().failures, 0);
        Door::Ssh.lets_in(&who, &who.rebind().good);
    }
}

/// A refused try of sshd's method "password" ends all that follows on that connection, with whatever module: by the code
/// sshd lets in, and then it dies, because libpam holds that try against the credentials that are to be set.
#[test]
fn clients_that_try_the_password_method_first_come_in_where_sshd_does_not_offer_it() {
    let (who, app) = Person::bound(&MACHINE, "tina_kbd");
    let mut t = script("paramiko-both", &who, &[&app.good]);
    t.wait_for("in as:tina_kbd\n");
    assert_eq!(t.exit_code(), 0);
    assert_eq!(who.count_logged(&["event=verify"]), 1);

    let (who, app) = Person::bound(&MACHINE, "tina");
    let mut t = script("paramiko-both", &who, &[&app.good]);
    t.wait_for("refused");
    who.logged(&["event=verify", "verdict=no-interaction", "reason=\"the program cannot ask\""]);
    who.logged(&["event=verify", "verdict=accepted", "reason=code"]);
    assert!(who.log.wait_for(|line| line.contains("fatal: PAM: pam_setcred(): ")).contains("sshd"));
    assert!(!who.log.text().contains("session opened for user tina("));
    assert_eq!(who.state().failures, 0);
    Door::Ssh.lets_in(&who, &who.rebind().good);

    let said = MACHINE.sh("mfa-enroll doctor").stdout;
    assert!(said.contains("clients that try it first come in by no other method on that connection either"), "{said}");
}

/// xrdp asks for the password in a window of its own, before there is a session, and for nothing else.
#[test]
fn xrdp_cannot_ask_and_doctor_says_whom_that_locks_out() {
    let (who, app) = Person::bound(&MACHINE, "xenia");
    let sesrun = |who: &Person| {
        let mut t = MACHINE.terminal().user("visitor").run(&format!("exec xrdp-sesrun {}", who.name));
        t.wait_for("Password: ");
        t.type_line(&who.password);
        t
    };
    let let_in = |who: &Person| {
        let _session = sesrun(who);
        let opened = format!("pam_unix(xrdp-sesman:session): session opened for user {}(", who.name);
        who.log.wait_for(|line| line.contains(&opened))
    };
    // doctor names those who are locked out of it.
    let named = || {
        let doctor = MACHINE.sh("mfa-enroll doctor --json").stdout;
        let doctor: serde_json::Value = serde_json::from_str(&doctor).expect("JSON");
        doctor.as_array().expect("a list").iter().any(|finding| {
            let names = finding["names"].as_array().expect("names");
            finding["where"] == "/etc/pam.d/xrdp-sesman" && names.iter().any(|name| name == "xenia")
        })
    };
    // A login without a device goes as ever.
    let plain = Person::new(&MACHINE, "xaver");
    let_in(&plain);

    for _ in 0..2 {
        // The sentence of Debian 13 and that of Debian 12.
        let _ = sesrun(&who).wait_for_any(&["Login failed", "Connection denied (authentication error)"]);
    }
    let asked = ["event=verify", "service=xrdp-sesman", "verdict=no-interaction", "reason=\"the program cannot ask\""];
    assert_eq!(who.count_logged(&asked), 2);
    assert!(!who.got_in());
    assert_eq!(who.state().failures, 0);
    assert!(named());

    // The remedy of doctor.
    common::rule(&MACHINE, "10-xrdp-sesman", "services = [\"xrdp-sesman\"]\nrequire = \"off\"");
    assert!(!named());
    let_in(&who);
    Door::Ssh.lets_in(&who, &app.good);
}

const NODE: &str = r#"
const [user, password, ...codes] = process.argv.slice(2);
const answer = ({ prompt }) => {
    console.log("asked:" + prompt);
    if (/verification code|token|otp|2fa/i.test(prompt)) return codes.shift() ?? "";
    return /password/i.test(prompt) ? password : "";
};
const client = new (require("ssh2").Client)();
client.on("keyboard-interactive", (name, text, lang, prompts, finish) => finish(prompts.map(answer)));
client.on("error", (error) => console.log("refused: " + error.message));
client.on("ready", () => client.exec("id -un", (error, stream) => {
    if (error) throw error;
    stream.on("data", (data) => console.log("in as:" + data)).on("close", () => client.end());
}));
client.connect({ host: "localhost", username: user, password, tryKeyboard: codes.length > 0 });
"#;

/// Fetches the library, as package-lock.json fixes it by hashes, and packs it: the machine has no network.
const FETCH: &str = "
    command -v npm >/dev/null || { echo 'npm is missing: apt-get install npm' >&2; exit 1; }
    folder=$(mktemp -d)
    trap 'rm -r \"$folder\"' EXIT
    cp package.json package-lock.json \"$folder\"
    cd \"$folder\"
    npm ci --omit=optional --ignore-scripts --no-audit --no-fund >&2
    tar -c node_modules";

/// ssh2, which web terminals and editors use. It tries the method "password" first, where sshd offers it.
#[test]
#[ignore = "fetches 105 MB of Node.js, and ssh2 by npm: make clients"]
fn ssh2_of_node_finds_the_question_for_the_code() {
    static NODEJS: LazyLock<Machine> =
        LazyLock::new(|| common::enabled(Machine::build().debian_packages("nodejs").package().sshd(SSHD).boot()));
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ssh2");
    let fetched = Command::new("sh").args(["-euc", FETCH]).current_dir(folder).output().expect("sh");
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    NODEJS.write("/usr/local/lib/ssh2.tar", fetched.stdout);
    NODEJS.sh_ok("cd /usr/local/lib; tar --no-same-owner -xf ssh2.tar");
    NODEJS.write("/usr/local/lib/login.js", NODE);
    let node = |who: &Person, codes: &[&str]| {
        let command = format!("exec node /usr/local/lib/login.js {} '{}' {}", who.name, who.password, codes.join(" "));
        NODEJS.terminal().user("visitor").run(&command)
    };

    let (who, app) = Person::bound(&NODEJS, "nora_kbd");
    let mut t = node(&who, &[&app.burnt, &app.good]);
    t.wait_for("asked:Password: ");
    t.wait_for("asked:That code was used already. Wait for the next one.\nVerification code: ");
    t.wait_for("in as:nora_kbd\n");
    assert_eq!(t.exit_code(), 0);
    assert_eq!(who.count_logged(&["event=verify"]), 1);

    // With the password alone it has no other method.
    let (who, app) = Person::bound(&NODEJS, "nora");
    let mut t = node(&who, &[]);
    t.wait_for("refused: All configured authentication methods failed");
    who.logged(&["event=verify", "verdict=no-interaction", "reason=\"the program cannot ask\""]);
    assert!(!who.got_in());
    assert_eq!(who.state().failures, 0);

    let mut t = node(&who, &[&app.good]);
    t.wait_for("asked:Password: ");
    assert_ne!(t.exit_code(), 0);
    assert!(!t.text().contains("in as:"), "{}", t.screen());
}
