//! The service, tried by itself: what its sandbox keeps from it. A helper that a login starts is in none, and so cannot
//! know; the service does it at its start, for the log, and whenever `doctor` asks it to. The front end leaves out what is
//! amiss outside as well.

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

/// How long it may take to load libfido2.
const LOADED: Duration = Duration::from_secs(20);

/// What this process cannot do, and a conversation of its kind has to. `loads` tries libfido2.
pub fn look(host: &Host, loads: fn() -> Result<(), String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |id, what: String, remedy: String| findings.push(Finding::warning(id, UNIT, what, remedy));
    if let Err(why) = host.reaches_its_store() {
        found(STORE, why, reach_store(&host.loaded.policy.store));
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

/// What is wrong if the service turns root's logins away, before it could say why. The front end, which sees that it does,
/// believes it only then.
pub fn if_it_turns_away(host: &Host) -> Finding {
    let store = &host.loaded.policy.store;
    let what = format!(
        "the service turns root's logins away, and each starts a helper of its own: it cannot write to {store}"
    );
    Finding::warning(STORE, UNIT, what, reach_store(store))
}

/// As the process does that runs libpam. Where there is no such file there is nothing to be read.
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

/// Loads libfido2 without any program being executed: in a copy of this process that is nobody, and ends.
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

/// What lets the service write to a store that is elsewhere.
fn reach_store(store: &str) -> String {
    // ProtectHome= goes before ReadWritePaths=.
    let hidden = ["/home/", "/root/", "/run/user/"].iter().any(|home| store.starts_with(home));
    let home = if hidden { "\\nProtectHome=no" } else { "" };
    drop_in(&format!("ReadWritePaths={store}{home}"), "store")
}

/// The line that adds settings to the unit, for the printf of a shell.
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
