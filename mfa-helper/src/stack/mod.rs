//! stub
/// stub
pub fn account_line_always_decides(_service: &str) -> Result<(), String> {
    Ok(())
}
