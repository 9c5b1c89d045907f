//! The virtual key as libfido2's own tools see it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use vkey::Key;

/// The hash of the client data, base64.
const CHALLENGE: &str = "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=";

/// Runs a tool of fido2-tools without a terminal, so that it takes the PIN from where it finds it; for `seconds` at most.
fn tool(seconds: u32, args: &[&str], input: &str) -> Output {
    let mut tool = Command::new("setsid");
    tool.args(["--wait", "sh", "-c", r#""$@"; exit $?"#, "sh", "timeout"]).arg(seconds.to_string()).args(args);
    let mut tool = tool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // a tool that refuses early reads no input
    let _ = tool.stdin.take().unwrap().write_all(input.as_bytes());
    let output = tool.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(!words.contains("No such file"), "apt-get install fido2-tools: {words}");
    output
}

/// What a tool that must succeed prints.
fn good(args: &[&str], input: &str) -> String {
    let output = tool(20, args, input);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The complaint of a tool that must fail.
fn bad(args: &[&str], input: &str) -> String {
    let output = tool(20, args, input);
    assert!(!output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

fn path(key: &Key) -> String {
    key.path().to_str().unwrap().to_owned()
}

const CREDENTIAL: &str = "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=\nrp.example\nalice\nq6urqw==\n";

/// The id and the public key (PEM) of a credential that libfido2 has verified.
struct Credential {
    id: String,
    public: String,
    kind: &'static str,
}

impl Credential {
    fn make(key: &Key, flags: &[&str], kind: &'static str) -> Self {
        let made = good(&[&["fido2-cred", "-M"], flags, &[&path(key), kind]].concat(), CREDENTIAL);
        let verified = good(&["fido2-cred", "-V", kind], &made);
        let (id, public) = verified.split_once('\n').unwrap();
        Self { id: id.to_owned(), public: public.to_owned(), kind }
    }

    fn request(&self) -> String {
        format!("{CHALLENGE}\nrp.example\n{}\n", self.id)
    }

    fn assert(&self, key: &Key) -> String {
        good(&["fido2-assert", "-G", &path(key), self.kind], &self.request())
    }

    /// Whether libfido2 takes the assertion for one with a touch.
    fn verify(&self, key: &Key, assertion: &str) -> bool {
        let public = key.control().with_file_name("public");
        fs::write(&public, &self.public).unwrap();
        let args = ["fido2-assert", "-V", "-p", public.to_str().unwrap(), self.kind];
        tool(20, &args, assertion).status.success()
    }
}

#[test]
fn says_what_it_is() {
    let key = Key::start(&["--aaguid", "00112233-4455-6677-8899-aabbccddeeff"]);
    let info = good(&["fido2-token", "-I", &path(&key)], "");
    for line in [
        "version strings: U2F_V2, FIDO_2_0, FIDO_2_1",
        "aaguid: 00112233445566778899aabbccddeeff",
        "algorithms: es256 (public-key), eddsa (public-key)",
        "pin protocols: 2, 1",
        "caps: 0x05 (wink, cbor, msg)",
    ] {
        assert!(info.contains(line), "{info}");
    }
    assert!(info.contains("noclientPin"), "{info}");
}

#[test]
fn makes_and_uses_credentials_of_both_kinds() {
    let key = Key::start(&[]);
    for kind in ["es256", "eddsa"] {
        let credential = Credential::make(&key, &[], kind);
        let assertion = credential.assert(&key);
        assert!(credential.verify(&key, &assertion), "{kind}");
    }
    assert_eq!((key.count("touches"), key.count("signatures")), (4, 4));
}

#[test]
fn is_the_same_key_with_the_same_seed() {
    let first = Key::start(&["--seed", "one"]);
    let credential = Credential::make(&first, &[], "es256");
    drop(first);
    let again = Key::start(&["--seed", "one"]);
    assert!(credential.verify(&again, &credential.assert(&again)));
    let other = Key::start(&["--seed", "two"]);
    let complaint = bad(&["fido2-assert", "-G", &path(&other)], &credential.request());
    assert!(complaint.contains("FIDO_ERR_NO_CREDENTIALS"), "{complaint}");
}

#[test]
fn speaks_u2f_alone() {
    let key = Key::start(&["--u2f-only"]);
    let info = good(&["fido2-token", "-I", &path(&key)], "");
    assert!(info.contains("nocbor"), "{info}");
    let credential = Credential::make(&key, &["-u"], "es256");
    key.command("touch wait");
    std::thread::scope(|scope| {
        let assertion = scope.spawn(|| credential.assert(&key));
        key.command("await touch");
        key.command("touch");
        assert!(credential.verify(&key, &assertion.join().unwrap()));
    });
}

#[test]
fn waits_for_a_touch_or_is_denied_one() {
    let key = Key::start(&[]);
    let credential = Credential::make(&key, &[], "es256");
    key.command("touch wait");
    std::thread::scope(|scope| {
        let assertion = scope.spawn(|| credential.assert(&key));
        key.command("await touch");
        assert_eq!(key.count("signatures"), 1);
        key.command("touch");
        assert!(credential.verify(&key, &assertion.join().unwrap()));
    });
    key.command("touch");
    credential.assert(&key);
    key.command("touch deny");
    let complaint = bad(&["fido2-assert", "-G", &path(&key)], &credential.request());
    assert!(complaint.contains("FIDO_ERR_OPERATION_DENIED"), "{complaint}");
}

#[test]
fn keeps_a_pin() {
    for options in [&[][..], &["--ctap20"]] {
        let key = Key::start(options);
        good(&["fido2-token", "-S", &path(&key)], "1234\n1234\n");
        let parameters = key.control().with_file_name("parameters");
        fs::write(&parameters, CREDENTIAL).unwrap();
        let make = ["fido2-cred", "-M", "-i", parameters.to_str().unwrap(), &path(&key)];
        assert!(bad(&make, "4321\n").contains("FIDO_ERR_PIN_INVALID"));
        assert_eq!(key.command("retries"), "7");
        let made = good(&make, "1234\n");
        good(&["fido2-cred", "-V", "-v"], &made);
        assert_eq!(key.command("retries"), "8");
        good(&["fido2-token", "-C", &path(&key)], "1234\n567890\n567890\n");
        good(&make, "567890\n");

        assert!(bad(&make, "1234\n").contains("FIDO_ERR_PIN_INVALID"));
        assert!(bad(&make, "1234\n").contains("FIDO_ERR_PIN_INVALID"));
        assert!(bad(&make, "1234\n").contains("FIDO_ERR_PIN_AUTH_BLOCKED"));
        assert!(bad(&make, "567890\n").contains("FIDO_ERR_PIN_AUTH_BLOCKED"));
        key.command("unplug");
        key.command("plug");
        good(&["fido2-cred", "-M", "-i", parameters.to_str().unwrap(), &path(&key)], "567890\n");
        key.command("retries 0");
        let blocked = bad(&["fido2-cred", "-M", "-i", parameters.to_str().unwrap(), &path(&key)], "567890\n");
        assert!(blocked.contains("FIDO_ERR_PIN_BLOCKED"), "{blocked}");
        assert_eq!(key.count("pins"), 8, "a blocked key refuses unseen");
    }
}

#[test]
fn counts_signatures() {
    let key = Key::start(&[]);
    let credential = Credential::make(&key, &[], "es256");
    // The authenticator data ends in the counter; it is a byte string of 37 bytes in CBOR, base64.
    let counter = |assertion: &str| {
        let data = assertion.lines().nth(2).unwrap();
        data[data.len() - 5..].to_owned()
    };
    let counters = |commands: &[&str]| -> Vec<String> {
        commands.iter().map(|command| (key.command(command), counter(&credential.assert(&key))).1).collect()
    };
    assert_eq!(counters(&["counter", "counter", "counter 65", "counter frozen"]), ["AAAAC", "AAAAD", "AAABB", "AAABB"]);
    assert_eq!(counters(&["counter 0", "counter"]), ["AAAAA", "AAAAA"]);
}

#[test]
fn does_wrong_when_told_to() {
    let key = Key::start(&[]);
    let credential = Credential::make(&key, &[], "es256");
    for fault in ["bad-signature", "no-up", "wrong-rpid"] {
        key.command(&format!("fault {fault}"));
        let assertion = credential.assert(&key);
        assert!(!credential.verify(&key, &assertion), "{fault}");
    }
    key.command("fault none");
    let assertion = credential.assert(&key);
    key.command("fault replay");
    assert_eq!(credential.assert(&key), assertion);

    key.command("fault die");
    bad(&["fido2-assert", "-G", &path(&key)], &credential.request());
    key.command("fault none");
    key.command("plug");
    assert!(credential.verify(&key, &credential.assert(&key)));
}

#[test]
fn talks_nonsense_when_told_to() {
    let nonsense =
        ["bad-cbor", "huge-cbor", "garbage", "wrong-channel", "short-frame", "oversize-length", "error-frame"];
    std::thread::scope(|scope| {
        for stage in ["open", "info", "silent", "touch"] {
            scope.spawn(move || {
                let key = Key::start(&[]);
                let credential = Credential::make(&key, &[], "es256");
                for fault in ["hang", "keepalive"].into_iter().chain(nonsense) {
                    key.command(&format!("fault {fault} {stage}"));
                    // The tools wait for an answer for ever.
                    let output = tool(3, &["fido2-assert", "-G", &path(&key)], &credential.request());
                    assert!(!output.status.success(), "{fault} {stage}");
                    key.command("fault none");
                    assert!(credential.verify(&key, &credential.assert(&key)), "after {fault}");
                }
            });
        }
    });
}
