//! Tests of security keys from outside: keys of ssh with an agent, and keys in another program's file.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test starts programs")]

mod fake;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use fake::{Service, Signs, agent, folder, mfa_enroll, ssh_key_blob, ssh_key_file};

const TOUCH: &str = "Touch your security key.\n";

/// Exit code, stdout, stderr.
fn run(behaviour: &str, arguments: &[&str], agent: Option<&Path>) -> (i32, String, String) {
    let mut command = mfa_enroll(behaviour, arguments);
    command.envs(agent.map(|agent| ("SSH_AUTH_SOCK", agent)));
    finish(&mut command)
}

fn finish(command: &mut Command) -> (i32, String, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn bind(agent: Option<&Path>) -> (i32, String, String) {
    let file = ssh_key_file();
    run("helper", &["u2f", "--user", "alice", "--ssh-key", file.to_str().unwrap()], agent)
}

#[test]
#[ignore = "needs root: make unit"]
fn a_key_of_ssh_is_bound_by_its_signature_from_the_agent() {
    let done = (0, String::new(), format!("{TOUCH}The security key of alice is bound.\n"));
    let held = agent(&[b"another", &ssh_key_blob()], Signs::Yes);
    assert_eq!(bind(Some(&held)), done);
    let file = ssh_key_file();
    let replace = ["replace", "u2f", "--user", "alice", "--ssh-key", file.to_str().unwrap()];
    assert_eq!(run("helper", &replace, Some(&held)), done);
    assert_eq!(run("helper", &["u2f", "--user", "alice"], None), done, "one that is plugged in");
}

#[test]
#[ignore = "needs root: make unit"]
fn without_a_signature_the_reason_is_said_and_nothing_is_bound() {
    let gone = folder().join("gone");
    let long = folder().join("x".repeat(120));
    for (agent, said) in [
        (None, "no ssh agent answers: "),
        (Some(gone.as_path()), "no ssh agent answers: "),
        (Some(long.as_path()), "no ssh agent answers: "),
        (Some(agent(&[b"another"], Signs::Yes).as_path()), "the ssh agent does not show this key"),
        (Some(agent(&[&ssh_key_blob()], Signs::No).as_path()), "the ssh agent did not sign: "),
        (Some(agent(&[&ssh_key_blob()], Signs::Never).as_path()), "what listens is no ssh agent: the agent hung up"),
    ] {
        let (code, stdout, stderr) = bind(agent);
        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        assert!(stderr.starts_with(&format!("{TOUCH}{said}")), "{stderr}");
        assert!(stderr.ends_with("mfa-enroll: No signature: nothing was bound.\n"), "{stderr}");
    }
}

#[test]
#[ignore = "needs root: make unit"]
fn a_bound_key_that_the_agent_does_not_hold_is_no_reason_not_to_ask_the_next() {
    let disable = |agent: Option<&Path>| run("keys", &["disable", "--user", "alice"], agent);
    let second = agent(&[b"two"], Signs::Yes);
    assert_eq!(disable(Some(&second)), (0, String::new(), format!("{TOUCH}Unbound by two and signed.\n")));
    let (code, _, stderr) = disable(None);
    assert_eq!(
        (code, stderr),
        (1, format!("{TOUCH}Verification code (a recovery code): \nmfa-enroll: Cancelled.\n")),
        "nothing in between"
    );
    let (code, _, stderr) = disable(Some(&agent(&[b"one", b"two"], Signs::No)));
    assert_eq!((code, stderr.matches("the ssh agent did not sign: ").count()), (1, 2), "{stderr}");
}

/// The command line is right, so nothing is said of usage.
#[test]
#[ignore = "needs root: make unit"]
fn a_file_without_a_key_of_use_is_told_what_to_give_instead_and_nobody_is_asked_anything() {
    let write = |name: &str, text: &str| {
        let file = folder().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    const MAKE_ONE: &str = "This ssh key is a file. Make one on your security key: ssh-keygen -t ed25519-sk\n";
    for (file, said) in [
        (folder().join("gone.pub"), "it cannot be read: "),
        (write("id.pub", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAcH me\n"), MAKE_ONE),
        (write("id.pub", "ssh-rsa AAAAB3NzaC1yc2E= me\n"), MAKE_ONE),
        (write("id.pub", "ecdsa-sha2-nistp384 AAAA me\n"), MAKE_ONE),
        (
            write("id-cert.pub", "sk-ssh-ed25519-cert-v01@openssh.com AAAA me\n"),
            "This is a certificate: give the public key that it is for.\n",
        ),
        (write("lonely", "-----BEGIN OPENSSH PRIVATE KEY-----\n"), "This is a private key, and "),
        (write("empty.pub", ""), "There is no key in this file: give that of ssh-keygen, ending in .pub.\n"),
        (write("two.pub", &format!("{0}\n{0}\n", fake::SSH_KEY)), "There are several lines in this file"),
        (write("long.pub", &format!("{}{}", fake::SSH_KEY, "x".repeat(1024))), "longer than 1024 bytes"),
    ] {
        for verb in [&["u2f"][..], &["replace", "u2f"]] {
            let arguments = [verb, &["--user", "alice", "--ssh-key", file.to_str().unwrap()]].concat();
            let (code, stdout, stderr) = run("helper", &arguments, None);
            let expected = if said.starts_with("it cannot be read") || said.contains("private") { 2 } else { 1 };
            assert_eq!((code, stdout.as_str()), (expected, ""), "{stderr}");
            assert!(stderr.starts_with(&format!("mfa-enroll: {}", file.display())), "{stderr}");
            assert!(stderr.contains(said) && !stderr.contains("Usage"), "{stderr}");
        }
    }
}

#[test]
#[ignore = "needs root: make unit"]
fn root_says_whose_key_it_is() {
    for (verb, name) in [(&["u2f"][..], "u2f"), (&["replace", "u2f"], "replace u2f")] {
        let (code, _, stderr) = run("helper", verb, None);
        assert_eq!((code, stderr.contains(&format!("mfa-enroll {name} --user NAME"))), (2, true), "{stderr}");
    }
}

#[test]
#[ignore = "needs root: make unit"]
fn keys_of_a_file_are_taken_over_user_by_user_and_the_worst_end_is_the_exit_code() {
    let file = folder().join("u2f_mappings");
    let import = |text: &str, more: &[&str]| {
        fs::write(&file, text).unwrap();
        run("helper", &[&["import", "pam-u2f", file.to_str().unwrap()], more].concat(), None)
    };
    let (alice, bob) = ("alice: pam-u2f None 2 lines.\n", "bob: pam-u2f None 1 lines.\n");
    assert_eq!(import("alice:1\nbob:2\nalice:3\n", &[]), (0, String::new(), format!("{alice}{bob}")));
    let of_bob = import("alice:1\nbob:2\n", &["--user", "bob", "--origin", "pam://old"]);
    assert_eq!(of_bob, (0, String::new(), "bob: pam-u2f Some(\"pam://old\") 1 lines.\n".into()));
    for (text, worst) in
        [("bound:1\nalice:1\n", 4), ("bound:1\nnobody:1\nalice:1\n", 3), ("broken:1\nbound:1\nnobody:1\nalice:1\n", 1)]
    {
        let (code, _, stderr) = import(text, &[]);
        assert_eq!(code, worst, "{stderr}");
        assert!(stderr.ends_with("alice: pam-u2f None 1 lines.\n"), "the next one has nothing to do with it: {stderr}");
    }
    assert_eq!(import("# nothing\n", &[]).0, 3);
    assert_eq!(import("alice:1\n", &["--user", "bob"]).0, 3);
    assert_eq!(import("hello\n", &[]).0, 2);
    let (code, _, stderr) = import(&format!("alice:{}\n", "x".repeat(12 * 1024)), &[]);
    assert_eq!((code, stderr.contains("longer than 12288 bytes")), (2, true), "{stderr}");

    let (code, _, stderr) = run("helper", &["import", "authorized-keys", "/etc/hostname", "--user", "alice"], None);
    assert_eq!((code, stderr.as_str()), (0, "alice: authorized-keys None 1 lines.\n"));
    assert_eq!(run("helper", &["import", "pam-u2f", "/no/such/file"], None).0, 2);
}

#[test]
#[ignore = "needs root: make unit"]
fn a_file_that_somebody_else_can_write_names_nobody_but_whom_root_names() {
    let file = folder().join("u2f_keys");
    fs::write(&file, "alice:1\nroot:2\n").unwrap();
    let path = file.to_str().unwrap();
    let everybody = || run("helper", &["import", "pam-u2f", path], None);
    chown(&file, Some(65534), None).unwrap();
    assert_eq!(everybody().0, 2);
    chown(&file, Some(0), None).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o664)).unwrap();
    let (code, _, stderr) = everybody();
    assert_eq!((code, stderr.contains("--user NAME")), (2, true), "{stderr}");
    let (code, _, stderr) = run("helper", &["import", "pam-u2f", path, "--user", "alice"], None);
    assert_eq!((code, stderr.as_str()), (0, "alice: pam-u2f None 1 lines.\n"));

    let service = Service::start("helper");
    let (code, _, stderr) = finish(&mut service.mfa_enroll(&["import", "pam-u2f", "/etc/hostname"]));
    assert_eq!((code, stderr.as_str()), (1, "mfa-enroll: Only root may do this.\n"));
}
