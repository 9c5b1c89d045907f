//! The security keys that other programs know, taken over by root.

#![allow(clippy::unwrap_used)]

use std::fs;

use pam_tests::{Bound, System, add_user};

/// The base point of P-256, and the public key of RFC 8032's first test, as pamu2fcfg writes them.
const ES256: &str =
    "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==,es256,+presence";
const EDDSA: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=,eddsa,+presence+pin";
/// The second one as a key of ssh.
const SSH: &str = "sk-ssh-ed25519@openssh.com \
                   AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1EaAAAABHNzaDo= blue";

const MAPPING: &str = "/tmp/u2f_mappings";

/// Exit code and messages of an import of that text.
fn import(system: &System, form: &str, text: &str, more: &[&str]) -> (i32, String) {
    fs::write(MAPPING, text).unwrap();
    let output = system.enroll(&[&["import", form, MAPPING], more].concat(), "");
    assert_eq!(output.stdout, b"");
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn status(system: &System, user: &str) -> String {
    String::from_utf8(system.enroll(&["status", "--user", user, "--json"], "").stdout).unwrap()
}

/// What the store keeps of that user.
fn kept(system: &System, user: &str) -> String {
    fs::read_to_string(system.store().join("users").join(user).join("credentials")).unwrap_or_default()
}

fn people() -> System {
    add_user("importa");
    add_user("importb");
    System::fresh()
}

#[test]
fn each_users_keys_are_bound_for_where_they_were_made_or_none_of_them() {
    let system = people();
    let origin = format!("pam://{}", fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    let text =
        format!("importa:b25l,{ES256}:dHdv,{EDDSA}\nimportb:b25l,{ES256}:*,{EDDSA}\nno-such-user:b25l,{ES256}\n");
    let (code, said) = import(&system, "pam-u2f", &text, &[]);
    let expected = "importa: 2 security keys taken over.\n\
                    Recovery codes: mfa-enroll recovery-codes --user importa\n\
                    mfa-enroll: importb: key 2 of the line lives on the key itself (\"*\"): bind it by mfa-enroll u2f.\n  \
                    Nothing was taken over.\n\
                    mfa-enroll: No user is called no-such-user.\n";
    assert_eq!((code, said.as_str()), (1, expected));
    assert_eq!(kept(&system, "importb"), "");
    assert!(status(&system, "importb").contains("\"kind\":null"));

    let record = kept(&system, "importa");
    for line in [
        "created-from root\n",
        &format!("rp-id {origin}\n"),
        "key-label pam_u2f\n",
        "credential 6f6e65\n",
        "credential 74776f\n",
        "public EdDSA d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\n",
        " touched 0\n",
        " verified 0\n",
        "latest bound\n",
    ] {
        assert!(record.contains(line), "{line}\n{record}");
    }
    let known = status(&system, "importa");
    assert!(known.contains("\"kind\":\"u2f\"") && known.contains("\"recovery_codes_left\":0"), "{known}");
    assert_eq!(known.matches("\"label\":\"pam_u2f\"").count(), 2, "{known}");
}

#[test]
fn what_is_bound_stays_and_the_same_key_is_bound_once() {
    let system = people();
    let one = format!("importa:b25l,{ES256}\n");
    assert_eq!(import(&system, "pam-u2f", &one, &["--origin", "pam://fleet"]).0, 0);
    let before = kept(&system, "importa");
    assert!(before.contains("rp-id pam://fleet\n"), "{before}");
    let (code, said) = import(&system, "pam-u2f", &one, &[]);
    assert_eq!((code, said.as_str()), (4, "mfa-enroll: importa: all of these keys are bound already.\n"));
    assert_eq!(kept(&system, "importa"), before);

    let file = format!("ssh-rsa AAAA laptop\n{SSH}\nno-touch-required {SSH}\n");
    let (code, said) = import(&system, "authorized-keys", &file, &["--user", "importa"]);
    let text = "importa: 1 security key taken over, 1 other line passed over, 1 without a touch refused.\n";
    assert_eq!((code, said.as_str()), (0, text));
    let after = kept(&system, "importa");
    assert!(
        after.contains("keys 2\n") && after.contains("rp-id ssh:\n") && after.contains("key-label blue\n"),
        "{after}"
    );
    assert!(after.contains("latest bound\n") && after.contains("credential 6f6e65\n"), "{after}");

    let (code, said) = import(&system, "authorized-keys", "ssh-rsa AAAA\n", &["--user", "importa"]);
    assert_eq!(
        (code, said.as_str()),
        (3, "mfa-enroll: importa: there is no security key, 1 other line passed over.\n")
    );
    let (code, said) =
        import(&system, "authorized-keys", &SSH.replace("AAAABHNzaDo=", "AAAABHNzaDo"), &["--user", "importa"]);
    assert_eq!((code, said.contains("line 1 is damaged.\n  Nothing was taken over.")), (1, true), "{said}");
    assert_eq!(kept(&system, "importa"), after);
}

/// How base64 begins of points of Ed25519: with the first y after the trivial ones. The rest of them is zeros.
const POINTS: [&str; 11] = ["Aw", "BA", "BQ", "Bg", "CQ", "Cg", "Dg", "Dw", "EA", "Eg", "Ew"];

/// So many keys that nobody has.
fn keys(points: &[&str]) -> String {
    points.iter().map(|begin| format!(":b25l,{begin}{}=,eddsa,+presence", "A".repeat(41))).collect()
}

#[test]
fn too_many_keys_are_none_and_an_app_stays_what_it_is() {
    let system = people();
    let (code, said) = import(&system, "pam-u2f", &format!("importa{}\n", keys(&POINTS)), &[]);
    assert_eq!((code, said.contains("importa: at most 10 keys can be bound")), (1, true), "{said}");
    assert_eq!(kept(&system, "importa"), "");
    assert_eq!(import(&system, "pam-u2f", &format!("importa{}\n", keys(&POINTS[..10])), &[]).0, 0);
    let before = kept(&system, "importa");
    assert_eq!(import(&system, "pam-u2f", &format!("importa{}\n", keys(&POINTS[10..])), &[]).0, 1);
    assert_eq!(kept(&system, "importa"), before);
    drop(system);

    let bound = Bound::fresh("importapp");
    let before = kept(&bound.system, "importapp");
    let (code, said) = import(&bound.system, "pam-u2f", &format!("importapp{}\n", keys(&POINTS[10..])), &[]);
    assert_eq!((code, said.contains("importapp has a device already.")), (4, true), "{said}");
    assert_eq!(kept(&bound.system, "importapp"), before);
}
