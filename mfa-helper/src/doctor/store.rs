//! The store: whether it can be used, and every record in it.

use std::path::Path;

use mfa_core::record::Damage;
use mfa_wire::Account;

use super::people::listed;
use super::{Finding, of_user, quoted, remedy_in};
use crate::flow::manage::standing::account;
use crate::host::Host;
use crate::identity;
use crate::store::{Store, StoreError};

/// Tries to read all of it, as logins will.
pub fn check(host: &Host) -> Vec<Finding> {
    let place = host.policy().store.as_str();
    let (store, users) = match Store::open(Path::new(place)).and_then(|store| store.users().map(|users| (store, users)))
    {
        Ok(opened) => opened,
        Err(error) => return vec![unusable(place, &error)],
    };
    let is_gone = |user: &str| account(user, &identity::find(user)) == Account::Gone;
    let mut findings = Vec::new();
    let mut gone = Vec::new();
    for user in &users {
        match store.read(user) {
            Err(error) => findings.push(record(user, place, &error)),
            Ok((record, _)) if record.credentials.is_some() && is_gone(user) => gone.push(user.as_str()),
            Ok(_) => {}
        }
    }
    findings.extend(accounts_gone(&gone));
    findings
}

/// A device that waits for the next account of that name, which may be somebody else's.
fn accounts_gone(names: &[&str]) -> Option<Finding> {
    let first = *names.first()?;
    let what = format!(
        "a device is kept for names that no account has any more, and a new one would get it: {}",
        listed(names)
    );
    // It begins with a look: while a directory cannot be asked, its users look as if they were gone.
    let remedy = format!(
        "getent passwd -- {name}  # gone for good? mfa-enroll disable {user}; a new name: mfa-enroll rename -- {name} NEW; \
         all of them: mfa-enroll list",
        name = quoted(first),
        user = of_user(first)
    );
    Some(Finding::warning("account-gone", first, what, remedy).naming(names))
}

fn unusable(place: &str, error: &StoreError) -> Finding {
    let what = format!("whoever has to give a code is refused: {error}");
    let path = quoted(place);
    match error {
        StoreError::Fault(fault) if fault.is_missing() => {
            // An empty folder may be the one on which a lost file system is mounted.
            let users = std::fs::read_dir(Path::new(place).join("users"));
            let remedy = match users.is_ok_and(|mut entries| entries.next().is_some()) {
                true => format!("(umask 077; echo 'mfa-store 1' >{path}/FORMAT)"),
                // An empty store would ask nothing of those whose devices were in the lost one.
                false => format!(
                    "ls -la {path}  # mount or restore it; only if nobody was bound: umask 077; \
                     mkdir -p {path}/users && echo 'mfa-store 1' >{path}/FORMAT"
                ),
            };
            Finding::grave("store-missing", place, what, remedy)
        }
        StoreError::Fault(fault) => {
            let remedy = remedy_in(&fault.to_string(), || format!("ls -la {path}"));
            Finding::grave("store-unsafe", fault.path.clone(), what, remedy)
        }
        _ => Finding::grave(
            "store-format",
            format!("{place}/FORMAT"),
            what,
            format!("ls -la {path}  # mfa-helper(8), \"The store\""),
        ),
    }
}

fn record(name: &str, place: &str, error: &StoreError) -> Finding {
    let what = format!("{name} is refused wherever a code is asked: {error}");
    match error {
        StoreError::Fault(fault) => {
            let remedy = remedy_in(&fault.to_string(), || format!("ls -la {}", quoted(&fault.path)));
            Finding::grave("record-unsafe", fault.path.clone(), what, remedy)
        }
        // Dropping it would unbind everybody after a downgrade.
        StoreError::Damaged(_, Damage::Version | Damage::Line) => {
            let remedy = format!("ls -la {}  # install the version again that wrote it, or restore it", quoted(place));
            Finding::grave("record-version", name, what, remedy)
        }
        _ => {
            let user = of_user(name);
            let remedy = format!("mfa-enroll disable {user}  # then at once: mfa-enroll totp {user}");
            Finding::grave("record-damaged", name, what, remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs root: make unit"]
    fn a_store_is_marked_as_one_only_if_a_record_is_left() {
        let place = format!("/run/mfa-test-doctor-store-{}", std::process::id());
        let users = Path::new(&place).join("users");
        std::fs::create_dir_all(&users).unwrap();
        let remedy = || {
            let error = Store::open(Path::new(&place)).err().unwrap();
            let finding = unusable(&place, &error);
            assert_eq!(finding.id, "store-missing");
            finding.remedy
        };
        assert!(remedy().starts_with(&format!("ls -la {place}  # mount or restore it")), "{}", remedy());
        std::fs::create_dir(users.join("alice")).unwrap();
        assert_eq!(remedy(), format!("(umask 077; echo 'mfa-store 1' >{place}/FORMAT)"));
        std::fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn accounts_that_are_gone_are_one_finding_with_all_names() {
        assert_eq!(accounts_gone(&[]), None);
        let finding = accounts_gone(&["al ice", "bob"]).unwrap();
        assert_eq!(
            finding.remedy,
            "getent passwd -- 'al ice'  # gone for good? mfa-enroll disable --user 'al ice'; a new name: \
             mfa-enroll rename -- 'al ice' NEW; all of them: mfa-enroll list"
        );
        assert_eq!((finding.place.as_str(), finding.names), ("al ice", vec!["al ice".into(), "bob".into()]));
    }
}
