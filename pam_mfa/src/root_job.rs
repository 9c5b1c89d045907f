//! Root's jobs, which have no person in front of them: they go on if no helper can be reached, or if it breaks off.

use mfa_wire::{AuthHook, Login, Request};

use crate::sys::spawn;

/// Services that start jobs of root or of a crontab. Nobody is asked there, with a helper or without.
const JOBS: [&str; 4] = ["cron", "crond", "atd", "systemd-user"];

/// Whether a working helper would ask nothing and let pass: in an account phase without an auth phase before it, for
/// a job, or for `su` by root, which pam_rootok accepts. Root could do the same without PAM, and needs both to repair
/// a host whose helper is broken. sshd under such a service name would let in with a key alone, so it is excluded.
pub(crate) fn never_asks(login: &Login, request: &Request) -> bool {
    let service = login.service.as_str();
    matches!(request, Request::Account(_, AuthHook::NotRun))
        && !login.came_by_sshd()
        && spawn::are_we_root()
        && (JOBS.contains(&service) || (matches!(service, "su" | "su-l") && spawn::did_root_call()))
}
