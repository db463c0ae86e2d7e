//! What systems and actions may be called.

use super::super::envelope::{Rejection, RejectionKind};

/// Longest name of a system or an action: `rhnServer.name`. Units: characters.
const NAME_CHARS_MAX: usize = 128;

/// Refuses what cannot name a system or an action.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), Rejection> {
    if (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    let message = format!("a name of {what}s has 1 to {NAME_CHARS_MAX} characters, none of them control characters");
    Err(Rejection::new(RejectionKind::BadRequest, message))
}

/// A system's bundle becomes a directory of its name.
pub(super) fn is_file_name(name: &str) -> bool {
    name.starts_with(char::is_alphanumeric)
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'))
}
