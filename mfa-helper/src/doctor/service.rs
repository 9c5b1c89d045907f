//! What the service's sandbox keeps it from doing, tried by the service itself. A helper that a login starts has no
//! sandbox, so it cannot know. The service checks at its start, for the log, and whenever `doctor` asks. The front
//! end drops findings that also apply outside the sandbox.

use std::fs::File;
use std::io::ErrorKind;
use std::time::Duration;

use super::{Finding, quoted};
use crate::audit;
use crate::host::Host;
use crate::sys::child::{answer_of_a_copy, become_nobody};
use crate::sys::fido::Library;
use crate::sys::{caps, names};

const UNIT: &str = "mfa-helper.service";
const STORE: &str = "service-store";

/// The longest time for loading libfido2.
const LOADED: Duration = Duration::from_secs(20);

/// The things that a conversation in this process needs and cannot do. `loads` tries to load libfido2.
pub fn look(host: &Host, loads: fn() -> Result<(), String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |id, what: String, remedy: String| findings.push(Finding::warning(id, UNIT, what, remedy));
    if let Err(why) = host.reaches_its_store() {
        found(STORE, why, reach_store(&host.policy().store));
    }
    if let Some(error) = &host.loaded.error {
        let what = format!("the service cannot load the policy: {}", error.0);
        found("service-policy", what, by_hand());
    }
    match names::user_of(0) {
        Ok(Some(_)) => {}
        Ok(None) => found("service-names", String::from("the service finds no name of root"), by_hand()),
        Err(e) => found("service-names", format!("the service gets no names: {}", e.desc()), by_hand()),
    }
    if let Err(why) = reads_shadow(host) {
        let what = format!("the service cannot read /etc/shadow ({why}): nobody can prove who they are to mfa-enroll");
        found("service-shadow", what, drop_in("CapabilityBoundingSet=CAP_DAC_READ_SEARCH", "shadow"));
    }
    if !audit::can_be_reached() {
        let what = String::from("the service reaches no log: nobody learns what it decides");
        found("service-log", what, by_hand());
    }
    if let Err(why) = loads()
        && is_installed(b"libfido2.so.1")
    {
        found("service-libfido2", format!("the service can ask no security key: {why}"), by_hand());
    }
    findings
}

/// The finding for a service that turns root's logins away before it can say why. The front end uses it only if it
/// sees that the service does so.
pub fn if_it_turns_away(host: &Host) -> Finding {
    let store = &host.policy().store;
    let what = format!(
        "the service turns root's logins away, and each starts a helper of its own: it cannot write to {store}"
    );
    Finding::warning(STORE, UNIT, what, reach_store(store))
}

/// As the process that runs libpam does. If the file does not exist, nothing has to be read.
fn reads_shadow(host: &Host) -> Result<(), String> {
    let raised = if host.in_service { caps::take_up() } else { Ok(()) };
    let read = File::open("/etc/shadow");
    let lowered = if host.in_service { caps::set_aside() } else { Ok(()) };
    raised.and(lowered).map_err(|e| e.desc().to_owned())?;
    match read {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e.to_string()),
        _ => Ok(()),
    }
}

/// Loads libfido2 without executing a program: in a copy of this process that becomes nobody, and ends.
pub fn loads_as_nobody() -> Result<(), String> {
    match answer_of_a_copy(|| u8::from(become_nobody().is_ok() && Library::load().is_ok()), LOADED) {
        Some(1) => Ok(()),
        Some(_) => Err(String::from("libfido2.so.1 cannot be loaded")),
        None => Err(String::from("the process that would load it does not answer")),
    }
}

/// Whether the loader has found this library on the system (ld.so(8)).
fn is_installed(library: &[u8]) -> bool {
    let cache = std::fs::read("/etc/ld.so.cache").unwrap_or_default();
    cache.windows(library.len()).any(|window| window == library)
}

/// The settings that let the service write to a store elsewhere.
fn reach_store(store: &str) -> String {
    // ProtectHome= takes precedence over ReadWritePaths=.
    let hidden = ["/home/", "/root/", "/run/user/"].iter().any(|home| store.starts_with(home));
    let home = if hidden { "\\nProtectHome=no" } else { "" };
    drop_in(&format!("ReadWritePaths={store}{home}"), "store")
}

/// A shell command that uses printf to add settings to the unit.
fn drop_in(settings: &str, name: &str) -> String {
    let folder = format!("/etc/systemd/system/{UNIT}.d");
    let text = quoted(&format!("[Service]\\n{}\\n", settings.replace('%', "%%%%")));
    format!(
        "mkdir -p {folder} && printf {text} >{folder}/90-{name}.conf && systemctl daemon-reload && \
         systemctl restart {UNIT}"
    )
}

fn by_hand() -> String {
    format!("ls /etc/systemd/system/{UNIT}.d  # which of these settings takes it away? then: systemctl restart {UNIT}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs root: make unit"]
    fn the_library_is_loaded_in_a_process_that_is_nobody_and_not_in_this_one() {
        assert!(nix::unistd::geteuid().is_root(), "only root can become nobody: make unit");
        assert_eq!(loads_as_nobody().is_ok(), is_installed(b"libfido2.so.1"));
        assert!(nix::unistd::geteuid().is_root());
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert!(!maps.contains("libfido2"));
    }

    #[test]
    fn the_remedy_is_a_drop_in_that_names_the_folder() {
        let typed = reach_store("/srv/it's mfa");
        assert!(
            typed.contains(r"printf '[Service]\nReadWritePaths=/srv/it'\''s mfa\n' >/etc/systemd/system/"),
            "{typed}"
        );
        assert!(!typed.contains("ProtectHome") && reach_store("/home/mfa").contains("\\nProtectHome=no\\n"));
    }
}
