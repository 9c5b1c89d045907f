//! The store: whether it can be used, and every record in it.

use std::path::Path;

use mfa_core::record::Damage;

use super::{Finding, quoted, remedy_in};
use crate::host::Host;
use crate::store::{Store, StoreError};

/// Tries to read all of it, as logins will.
pub fn check(host: &Host) -> Vec<Finding> {
    let place = host.policy().store.as_str();
    let (store, users) = match Store::open(Path::new(place)).and_then(|store| store.users().map(|users| (store, users)))
    {
        Ok(opened) => opened,
        Err(error) => return vec![unusable(place, &error)],
    };
    let damaged = |user: String| store.read(&user).err().map(|error| (user, error));
    users.into_iter().filter_map(damaged).map(|(user, error)| record(&user, place, &error)).collect()
}

fn unusable(place: &str, error: &StoreError) -> Finding {
    let what = format!("whoever has to give a code is refused: {error}");
    let path = quoted(place);
    match error {
        StoreError::Fault(fault) if fault.is_missing() => {
            let remedy = match Path::new(place).join("users").is_dir() {
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

fn record(user: &str, place: &str, error: &StoreError) -> Finding {
    let what = format!("{user} is refused wherever a code is asked: {error}");
    match error {
        StoreError::Fault(fault) => {
            let remedy = remedy_in(&fault.to_string(), || format!("ls -la {}", quoted(&fault.path)));
            Finding::grave("record-unsafe", fault.path.clone(), what, remedy)
        }
        // Dropping it would unbind everybody after a downgrade.
        StoreError::Damaged(_, Damage::Version | Damage::Line) => {
            let remedy = format!("ls -la {}  # install the version again that wrote it, or restore it", quoted(place));
            Finding::grave("record-version", user, what, remedy)
        }
        _ => {
            let name = quoted(user);
            let remedy = format!("mfa-enroll disable --user {name}  # then at once: mfa-enroll totp --user {name}");
            Finding::grave("record-damaged", user, what, remedy)
        }
    }
}
