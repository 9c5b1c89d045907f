//! Taking over the keys of other programs.

use super::Decision;
use crate::host::Host;

/// Not yet.
pub fn import(_: &str, _: &str, _: Option<&str>, _: &str, _: &Host) -> Result<Decision, Decision> {
    Err(Decision::not_allowed("Not yet."))
}
