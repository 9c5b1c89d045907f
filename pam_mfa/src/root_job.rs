//! Root's jobs that have nobody in front of them: they go on where no helper can be reached, or it breaks off.

use mfa_wire::{AuthHook, Login, Request};

use crate::sys::spawn;

/// Services that start what root or a crontab has ordered. Nobody is asked there, with a helper or without.
const JOBS: [&str; 4] = ["cron", "crond", "atd", "systemd-user"];

/// Whether the helper, were it there, would ask nothing and let pass: in the account phase, without an auth phase before
/// it, of a job, or of `su` by root, whom pam_rootok lets by. Root can be stopped from neither, and a host whose helper is
/// broken is mended by them. sshd under such a name lets in by a key alone.
pub(crate) fn never_asks(login: &Login, request: &Request) -> bool {
    let service = login.service.as_str();
    matches!(request, Request::Account(_, AuthHook::NotRun))
        && !login.came_by_sshd()
        && spawn::are_we_root()
        && (JOBS.contains(&service) || (matches!(service, "su" | "su-l") && spawn::did_root_call()))
}
