//! Tests of the command line from outside: exit codes, data, messages, help texts.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test starts programs")]

mod fake;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use fake::{MFA_ENROLL, RootsFolder, Service, folder, mfa_enroll};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};

/// Exit code, stdout, stderr.
fn run(behaviour: &str, arguments: &[&str]) -> (i32, String, String) {
    finish(mfa_enroll(behaviour, arguments).stdin(Stdio::null()))
}

fn finish(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// Compares with a file in `tests/golden`; with UPDATE_GOLDEN=1 writes it.
fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert!(text == wanted, "{name} is now\n{text}\nand was\n{wanted}\nUPDATE_GOLDEN=1 accepts it");
}

#[test]
fn every_help_text_is_the_reviewed_one() {
    let users = [
        "",
        "totp",
        "u2f",
        "replace",
        "replace totp",
        "replace u2f",
        "disable",
        "recovery-codes",
        "status",
        "test",
        "tickets",
    ];
    let roots = [
        "confirm",
        "cancel",
        "unlock",
        "bypass",
        "resync",
        "list",
        "require",
        "unrequire",
        "invite",
        "rename",
        "policy check",
        "policy explain",
        "doctor",
        "import",
        "import pam-u2f",
        "import authorized-keys",
    ];
    let verbs = users.into_iter().chain(roots);
    assert_eq!(words(verbs.clone()), commands(), "the help of every command, and of no other");
    for verb in verbs {
        let mut command = Command::new(MFA_ENROLL);
        let (code, help, _) = finish(command.args(verb.split_terminator(' ')).arg("--help"));
        assert_eq!(code, 0);
        assert!(help.is_ascii() && help.lines().all(|line| line.len() <= 80), "{help}");
        let lower = help.to_lowercase();
        assert!(!lower.contains("password") && !lower.contains("passcode"), "{help}");
        let name = if verb.is_empty() { "mfa-enroll".into() } else { verb.replace(' ', "-") };
        golden(&format!("help-{name}.txt"), &help);
    }
}

/// The commands that `mfa-enroll --help` lists.
fn commands() -> BTreeSet<String> {
    let (_, help, _) = finish(Command::new(MFA_ENROLL).arg("--help"));
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    list.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// The first words of these command lines.
fn words<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn every_command_is_tried_with_hostile_text() {
    // doctor takes no text, and is tried beside the others.
    let tried = words(LINES.into_iter().chain(["doctor"]));
    assert!(commands().is_subset(&tried), "{:?}", commands().difference(&tried));
}

#[test]
fn nonsense_on_the_command_line_is_usage() {
    for line in [
        "frobnicate",
        "totp --json",
        "confirm",
        "confirm --user alice 492039",
        "cancel",
        "unlock",
        "bypass",
        "bypass --user alice --for 10",
        "resync --user alice 492039",
        "replace",
        "replace totp --json",
        "replace u2f --invitation",
        "u2f --json",
        "import",
        "import authorized-keys /etc/hostname",
        "list --user alice",
        "doctor --user alice",
        "rename bob",
        "rename --user bob robert",
        "test --user alice",
        "totp --user alice --json --ascii",
        "status --user=",
    ] {
        let (code, stdout, stderr) = finish(Command::new(MFA_ENROLL).args(line.split(' ')));
        assert_eq!((code, stdout.as_str()), (2, ""), "{line}");
        assert!(!stderr.is_empty(), "{line}");
    }
}

#[test]
#[ignore = "needs root: make unit"]
fn root_has_to_say_whose_device_is_changed() {
    for verb in ["totp", "replace totp", "disable", "recovery-codes"] {
        let words: Vec<&str> = verb.split(' ').collect();
        let (code, stdout, stderr) = run("helper", &words);
        let said = format!("mfa-enroll: whose? root has to name the user: mfa-enroll {verb} --user NAME\n");
        assert_eq!((code, stdout.as_str(), stderr), (2, "", said));
    }
    assert_eq!(run("helper", &["status"]).0, 0, "what changes nothing is root's own");
    assert_eq!(run("none", &[]).0, 0, "and nobody is asked");
}

/// Every form of the command line; `NAME` stands for a name and `FILE` for a file.
const LINES: [&str; 38] = [
    "",
    "totp --user NAME --label NAME",
    "totp --user NAME --json",
    "totp --user NAME --qr-svg NAME/NAME",
    "u2f --user NAME --label NAME",
    "u2f --user NAME --ssh-key FILE",
    "u2f --user NAME --ssh-key NAME",
    "confirm --user NAME 492039 123456",
    "cancel --user NAME",
    "replace totp --user NAME --json",
    "replace u2f --user NAME",
    "disable --user NAME --device NAME",
    "recovery-codes --user NAME",
    "recovery-codes --user NAME --json",
    "status --user NAME",
    "status --user NAME --json",
    "test --service NAME",
    "unlock --user NAME",
    "bypass --user NAME",
    "bypass --user NAME --for NAME",
    "resync --user NAME 492039 123456",
    "list",
    "list --group NAME --missing",
    "list --json",
    "tickets --user NAME --revoke NAME",
    "tickets --user NAME --json",
    "require --group NAME --kinds NAME",
    "require --group NAME --except NAME",
    "unrequire --user NAME",
    "invite --user NAME",
    "rename NAME NAME",
    "import pam-u2f FILE",
    "import pam-u2f NAME --user NAME",
    "import authorized-keys FILE --user NAME",
    "policy check",
    "policy explain --user NAME --service NAME --rhost NAME",
    "NAME",
    "status --NAME=NAME NAME",
];

/// No byte of hostile text in names, labels, files or arguments, or in the helper's messages, reaches the terminal of
/// root, who reads the output.
#[test]
#[ignore = "needs root: make unit"]
fn nothing_that_a_verb_writes_steers_a_terminal() {
    let is_roots = |path: &std::path::Path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o644));
    // The first and the last character of each kind; the full table is tested where it is defined.
    let steering = [
        "\x1b[2J\x1b]0;x\x07",
        "\u{1}\r\t\x08\x7f",
        "\u{80}\u{9b}31m\u{9f}",
        "\u{ad}\u{61c}\u{600}",
        "\u{115f}\u{1160}\u{3164}",
        "\u{200b}\u{200f}\u{feff}",
        "\u{2028}\u{2029}\u{202e}",
        "\u{2066}\u{2069}",
        "\u{fe0f}\u{e0100}",
        "\u{e0041}\u{e007f}\u{ffa0}",
    ];
    for hostile in steering {
        let name = format!("a{hostile}b\"c\\\u{e9}");
        let file = folder().join("file");
        fs::write(&file, format!("# {name}\n{name}:{name}:{name}\n{name}\n")).unwrap();
        is_roots(&file).unwrap();
        for line in LINES.into_iter().chain(["doctor"].into_iter().filter(|_| hostile == steering[0])) {
            let arguments: Vec<String> = line
                .split_terminator(' ')
                .map(|word| word.replace("NAME", &name).replace("FILE", file.to_str().unwrap()))
                .collect();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let mut command = mfa_enroll("hostile", &arguments);
            let helper = command.get_args().last().unwrap();
            fs::write(std::path::Path::new(helper).with_file_name("text"), &name).unwrap();
            let (_, stdout, stderr) = finish(command.stdin(Stdio::null()));
            assert!(!(stdout.clone() + &stderr).is_empty() || line.is_empty(), "{line}");
            for text in [stdout, stderr] {
                let steers = |c: &char| *c != '\n' && mfa_wire::printable(&c.to_string(), 9).starts_with("\\u{");
                assert_eq!(text.chars().find(steers), None, "{line}:\n{}", text.escape_debug());
            }
        }
    }
}

/// An id is text of the helper's as well. The file is beside the configuration, so this host's is left alone.
#[test]
#[ignore = "needs root: make unit"]
fn what_doctor_is_to_ignore_steers_no_terminal_and_is_written_where_it_was_found() {
    let config = folder().join("mfa.toml");
    let doctor = |id: &str| {
        let mut command = mfa_enroll("hostile", &["doctor", "--config", config.to_str().unwrap(), "--ignore", id]);
        let helper = command.get_args().last().unwrap();
        fs::write(std::path::Path::new(helper).with_file_name("text"), "an\u{9b}id").unwrap();
        finish(command.stdin(Stdio::null()))
    };
    let (code, _, stderr) = doctor("other\u{9b}");
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("under other\\u{9b}:") && stderr.contains("nearest is"), "{stderr}");
    assert!(!config.with_file_name("doctor.ignore").exists());
    let (_, stdout, stderr) = doctor("an\u{9b}id");
    assert!(stdout.ends_with("ignored: an\\u{9b}id (1)\n"), "{stdout}{stderr}");
    assert!(fs::read_to_string(config.with_file_name("doctor.ignore")).unwrap().ends_with("an\u{9b}id an\u{9b}id\n"));
}

#[test]
#[ignore = "needs root: make unit"]
fn others_than_root_reach_the_helper_by_its_service() {
    let service = Service::start("helper");
    let nobody = |arguments: &[&str]| finish(service.mfa_enroll(arguments).stdin(Stdio::null()));
    let (code, stdout, stderr) = nobody(&["status", "--json"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("{\"user\":\"alice\","), "{stdout}");
    let (code, _, stderr) = nobody(&["cancel", "--user", "alice"]);
    assert_eq!(code, 3, "the helper judges who may do what: {stderr}");
    assert_eq!(nobody(&[]).0, 0);
    let (code, stdout, stderr) = nobody(&["status", "--config", "/etc/shadow"]);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (2, "", "mfa-enroll: --config is for root only\n"));
}

#[test]
#[ignore = "needs root: make unit"]
fn a_service_that_is_of_no_use_is_unavailable_and_the_remedy_is_told() {
    let complaint = |service: &Service| {
        // With such a service a program that waits is stopped by `timeout`.
        let mut command = Command::new("timeout");
        command.args(["20", "setsid"]).args(service.mfa_enroll(&["status"]).get_args());
        let (code, stdout, stderr) = finish(command.stdin(Stdio::null()));
        assert_eq!((code, stdout.as_str()), (5, ""), "{stderr}");
        stderr
    };
    for (behaviour, why) in [
        ("mute", "too many conversations at once: try again in a minute"),
        ("silent", "the helper's service does not answer: try again in a minute"),
        ("stranger", "mfa-helper is of no use: the other side speaks another version; the system log may say more"),
    ] {
        assert_eq!(complaint(&Service::start(behaviour)), format!("mfa-enroll: {why}\n"));
    }
    let service = Service::start("helper");
    let not_running =
        "mfa-enroll: the helper's service is not running; as root:\n  systemctl start mfa-helper.socket\n";
    fs::remove_file(service.socket()).unwrap();
    assert_eq!(complaint(&service), not_running, "no socket");
    drop(UnixListener::bind(service.socket()).unwrap());
    fs::set_permissions(service.socket(), PermissionsExt::from_mode(0o666)).unwrap();
    assert_eq!(complaint(&service), not_running, "a file that nobody listens at");
    fs::set_permissions(service.socket(), PermissionsExt::from_mode(0o600)).unwrap();
    assert!(complaint(&service).contains("cannot be used: Permission denied"));

    // There is room for one connection, which is made and never accepted.
    fs::remove_file(service.socket()).unwrap();
    let address = UnixAddr::new(&service.socket()).unwrap();
    let full = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(full.as_raw_fd(), &address).unwrap();
    listen(&full, Backlog::new(0).unwrap()).unwrap();
    fs::set_permissions(service.socket(), PermissionsExt::from_mode(0o666)).unwrap();
    let _first = UnixStream::connect(service.socket()).unwrap();
    assert_eq!(complaint(&service), "mfa-enroll: the helper's service is busy: try again in a minute\n");
}

#[test]
#[ignore = "needs root: make unit"]
fn who_listens_must_be_root() {
    let service = Service::start("helper");
    let path = std::env::temp_dir().join(format!("theirs-{}.sock", std::process::id()));
    let mut other = Command::new("setpriv");
    other.args(["--reuid=65534", "--regid=65534", "--clear-groups", "perl", "-MIO::Socket::UNIX", "-e"]);
    other.arg(
        r#"$| = 1; $SIG{PIPE} = "IGNORE";
           my $l = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 9) or die; print "ready\n";
           my $c = $l->accept; syswrite $c, pack("H*", "00000003200101"); print sysread($c, my $x, 999) || 0, "\n""#,
    );
    let mut other = other.arg(&path).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(other.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "ready");
    let (code, stdout, stderr) = finish(service.mfa_enroll_at(&path, &["status"]).stdin(Stdio::null()));
    fs::remove_file(&path).unwrap();
    assert_eq!((code, stdout.as_str()), (5, ""));
    assert!(stderr.contains("no program of root's listens"), "{stderr}");
    assert_eq!(said.next().unwrap().unwrap(), "0", "nothing was sent to it");
    other.wait().unwrap();
}

#[test]
#[ignore = "needs root: make unit"]
fn a_test_says_what_a_login_would() {
    let service = Service::start("helper");
    let tests = [
        ("login", "123456", 0, "That is right: login would let you in.\nOne recovery code is left."),
        ("su", "000000", 1, "mfa-enroll: Too many wrong codes: locked for 2 min."),
        ("su", "111111", 1, "mfa-enroll: That code of nobody for su is wrong."),
        ("sudo", "", 0, "sudo asks no second factor of you."),
        ("login", "", 1, "mfa-enroll: Cancelled."),
    ];
    for (door, code, exit, said) in tests {
        let mut command = service.mfa_enroll(&["test", "--service", door]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(code.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(exit), &b""[..]), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
}

#[test]
#[ignore = "needs root: make unit"]
fn recovery_codes_are_printed_as_json_once_they_hold() {
    let (code, stdout, stderr) = run("many", &["recovery-codes", "--user", "alice", "--json"]);
    assert_eq!((code, stderr.as_str()), (0, "These recovery codes hold; the ones before are void.\n"));
    let value: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&value["user"], value.as_object().unwrap().len()), (&"alice".into(), 2));
    assert_eq!(value["recovery_codes"].as_array().unwrap().len(), 64);
    assert_eq!(value["recovery_codes"][63], "ab63-efgh-ijkl-mnop");

    let (code, stdout, stderr) = run("late", &["recovery-codes", "--user", "alice", "--json"]);
    assert_eq!((code, stdout.as_str()), (1, ""), "codes that do not hold are not printed: {stderr}");

    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = mfa_enroll("many", &["recovery-codes", "--user", "alice", "--json"]);
    let output = command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let output = output.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&output.stderr).contains("make new ones once more"));

    // A person who must prove something needs a terminal for it, whatever is piped.
    let input = folder().join("input");
    fs::write(&input, "open sesame\nok\n").unwrap();
    let service = Service::start("proof");
    let mut command = service.mfa_enroll(&["recovery-codes", "--json"]);
    let (code, stdout, stderr) = finish(command.stdin(File::open(&input).unwrap()));
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("No code could be asked"), "{stderr}");
    let mut command = service.mfa_enroll(&["recovery-codes"]);
    let (code, stdout, stderr) = finish(command.stdin(File::open(&input).unwrap()));
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    let codes: String = (0..10).map(|n| format!("ab{n:02}-efgh-ijkl-mnop\n")).collect();
    assert!(stderr.contains(&codes), "{stderr}");
    assert!(!stderr.contains("sesame"), "{stderr}");
}

#[test]
#[ignore = "needs root: make unit"]
fn who_does_not_take_new_recovery_codes_keeps_the_old_ones() {
    let (code, stdout, stderr) = run("proof", &["recovery-codes", "--user", "alice"]);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    let input = folder().join("input");
    fs::write(&input, "open sesame\n").unwrap();
    let mut command = mfa_enroll("proof", &["recovery-codes", "--user", "alice"]);
    let (code, _, stderr) = finish(command.stdin(File::open(&input).unwrap()));
    assert_eq!(code, 1);
    assert!(stderr.ends_with("mfa-enroll: The codes shown are void; the ones before hold.\n"), "{stderr}");
}

#[test]
#[ignore = "needs root: make unit"]
fn a_lock_is_ended() {
    let (code, stdout, stderr) = run("helper", &["unlock", "--user", "alice"]);
    let said = "alice is not locked; all wrong codes are forgotten.\n";
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "", said));
}

#[test]
#[ignore = "needs root: make unit"]
fn a_pending_device_is_printed_as_json_and_as_a_picture() {
    let folder = RootsFolder::new();
    let picture = folder.join("qr.svg");
    let (code, stdout, stderr) =
        run("helper", &["totp", "--user", "alice", "--json", "--qr-svg", picture.to_str().unwrap()]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let value: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(value["user"], "alice");
    assert_eq!(value["expires"], "2026-11-21T22:40:00Z");
    assert!(value["uri"].as_str().unwrap().contains(value["secret"].as_str().unwrap()));
    assert_eq!(fs::metadata(&picture).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(fs::read_to_string(&picture).unwrap().ends_with("</svg>\n"));
}

#[test]
#[ignore = "needs root: make unit"]
fn a_picture_never_takes_the_place_of_a_file_or_follows_a_link() {
    let folder = RootsFolder::new();
    let (there, link, gone) = (folder.join("there"), folder.join("link"), folder.join("gone/qr.svg"));
    fs::write(&there, "mine").unwrap();
    symlink(folder.join("elsewhere"), &link).unwrap();
    for path in [&there, &link, &gone] {
        let (code, stdout, stderr) =
            run("helper", &["totp", "--user", "alice", "--json", "--qr-svg", path.to_str().unwrap()]);
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        assert!(stderr.contains(path.to_str().unwrap()), "{stderr}");
    }
    assert_eq!(fs::read_to_string(&there).unwrap(), "mine");
    assert!(!folder.join("elsewhere").exists());
}

#[test]
#[ignore = "needs root: make unit"]
fn a_picture_of_nothing_is_not_left_behind() {
    for (behaviour, user, code) in [("helper", "nobody", 3), ("helper", "bound", 4), ("mute", "alice", 5)] {
        let folder = RootsFolder::new();
        let picture = folder.join("qr.svg");
        let outcome = run(behaviour, &["totp", "--user", user, "--qr-svg", picture.to_str().unwrap()]);
        assert_eq!(outcome.0, code, "{outcome:?}");
        assert!(!picture.exists());
    }
}

#[test]
#[ignore = "needs root: make unit"]
fn codes_from_the_command_line_arrive_as_they_are() {
    let (code, stdout, stderr) = run("helper", &["confirm", "--user", "alice", "492 039", " 123456"]);
    assert_eq!((code, stdout.as_str()), (0, ""));
    assert_eq!(stderr, "The device of alice is bound. From the next login on its code is asked.\n");
    let (code, stdout, stderr) = run("helper", &["confirm", "--user", "alice", "492039", "123456"]);
    let wrong = "mfa-enroll: Neither code belongs to this key: scan it, or type it, again. Nothing was bound.\n";
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (1, "", wrong));
}

#[test]
#[ignore = "needs root: make unit"]
fn a_bypass_code_is_all_the_data_and_a_replacement_pends_as_a_first_device_does() {
    let (code, stdout, stderr) = run("helper", &["bypass", "--user", "alice", "--for", "10m"]);
    assert_eq!(
        (code, stdout.as_str(), stderr.as_str()),
        (0, "abcd-efgh-ijkl-mnop\n", "Good once for alice, for 600 s.\n")
    );
    assert_eq!(run("helper", &["resync", "--user", "alice", "492 039", " 123456"]).0, 0);
    assert_eq!(run("helper", &["resync", "--user", "alice"]).0, 1, "nobody to ask");
    let pending = run("helper", &["replace", "totp", "--user", "alice", "--json"]);
    assert_eq!(pending, run("helper", &["totp", "--user", "alice", "--json"]));
    assert_eq!(pending.0, 0);
}

#[test]
#[ignore = "needs root: make unit"]
fn codes_from_a_pipe_arrive_one_by_one() {
    let codes = folder().join("codes");
    fs::write(&codes, "492 039\n 123456\n").unwrap();
    let (code, _, stderr) =
        finish(mfa_enroll("helper", &["confirm", "--user", "alice"]).stdin(File::open(&codes).unwrap()));
    assert_eq!(code, 0, "{stderr}");
    let (code, _, stderr) = run("helper", &["confirm", "--user", "alice"]);
    assert_eq!((code, stderr.as_str()), (1, "First verification code: \nmfa-enroll: Cancelled.\n"), "an empty stdin");
    fs::write(&codes, [b'4'; 300]).unwrap();
    let (code, _, stderr) =
        finish(mfa_enroll("helper", &["confirm", "--user", "alice"]).stdin(File::open(&codes).unwrap()));
    assert_eq!(code, 1);
    assert!(stderr.contains("No code could be asked:"), "{stderr}");
}

#[test]
#[ignore = "needs root: make unit"]
fn what_is_not_there_and_what_is_so_already_have_codes_of_their_own() {
    let (code, _, stderr) = run("helper", &["cancel", "--user", "alice"]);
    assert_eq!(code, 3);
    assert!(stderr.starts_with("mfa-enroll: No device is pending for alice."), "{stderr}");
    let (code, _, stderr) = run("helper", &["totp", "--user", "nobody"]);
    assert_eq!(
        (code, stderr.as_str()),
        (3, "mfa-enroll: No user is called \\u{1b}[31m.\n"),
        "and nothing steers a terminal"
    );
    let (code, _, stderr) = run("helper", &["totp", "--user", "bound"]);
    assert_eq!(code, 4);
    assert!(stderr.starts_with("mfa-enroll: bound has a device already."), "{stderr}");
}

#[test]
#[ignore = "needs root: make unit"]
fn disabling_says_what_happened_and_asks_nothing() {
    let (code, stdout, stderr) = run("helper", &["disable", "--user", "alice"]);
    assert_eq!((code, stdout.as_str()), (0, ""));
    assert!(stderr.starts_with("The device of alice is unbound and its key destroyed"), "{stderr}");
}

#[test]
#[ignore = "needs root: make unit"]
fn a_refusal_without_a_reason_points_to_the_log() {
    let (code, _, stderr) = run("wordless", &["cancel", "--user", "alice"]);
    assert_eq!((code, stderr.as_str()), (1, "mfa-enroll: refused; the system log says why\n"));
}

#[test]
#[ignore = "needs root: make unit"]
fn a_helper_that_makes_no_sense_is_unavailable() {
    for behaviour in ["mute", "stranger", "half"] {
        let (code, stdout, stderr) = run(behaviour, &["status", "--user", "alice", "--json"]);
        assert_eq!((code, stdout.as_str()), (5, ""), "{behaviour}");
        assert!(stderr.starts_with("mfa-enroll: mfa-helper "), "{behaviour}: {stderr}");
    }
    let missing = folder().join("missing");
    let (code, _, stderr) = finish(Command::new(MFA_ENROLL).arg("status").arg("--helper").arg(&missing));
    assert_eq!(code, 5);
    assert!(stderr.starts_with("mfa-enroll: cannot start mfa-helper: "), "{stderr}");
}

#[test]
#[ignore = "needs root: make unit"]
fn the_configuration_is_named_to_the_helper_by_its_full_path() {
    let folder = folder();
    let mut command = mfa_enroll("config", &["status", "--config", "mfa.toml"]);
    let (code, _, stderr) = finish(command.current_dir(&folder).stdin(Stdio::null()));
    assert_eq!((code, stderr), (1, format!("mfa-enroll: --config={}/mfa.toml\n", folder.display())));
}

#[test]
#[ignore = "needs root: make unit"]
fn a_hundred_thousand_users_are_listed() {
    let (code, stdout, stderr) = run("crowd", &["list", "--json"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let value: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(value.as_array().unwrap().len(), 100_000);
    assert_eq!(value[99_999]["user"], "user99999");
    let (code, stdout, _) = run("helper", &["list"]);
    assert_eq!((code, stdout.lines().count()), (0, 4), "{stdout}");
}

#[test]
#[ignore = "needs root: make unit"]
fn an_answer_that_cannot_be_written_is_not_done() {
    for arguments in [&["list", "--json"][..], &["status"], &["totp", "--user", "alice", "--json"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut command = mfa_enroll("helper", arguments);
        let child = command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{arguments:?}: {stderr}");
        assert!(stderr.contains("cannot write the answer"), "{stderr}");
        assert_eq!(stderr.contains("mfa-enroll cancel --user alice"), arguments[0] == "totp", "{stderr}");
    }
}
