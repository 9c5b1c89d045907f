//! Where tests make their files.

use std::path::PathBuf;

/// A folder that only root and we can write, and all above it, too: the helper refuses files that stand elsewhere. The
/// build folder need not be such a one: it may be below /tmp, or open to the developer's group (umask 002).
pub fn folder() -> PathBuf {
    let user = nix::unistd::geteuid();
    let own = if user.is_root() { PathBuf::from("/run") } else { PathBuf::from(format!("/run/user/{user}")) };
    if own.is_dir() { own } else { PathBuf::from(env!("CARGO_TARGET_TMPDIR")) }
}
