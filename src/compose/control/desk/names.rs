//! What systems and actions may be called.

use super::super::answers::SystemName;
use super::super::envelope::{Rejection, RejectionKind};
use crate::ports::inventory::SystemRow;

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

/// Refuses what cannot name a system.
///
/// # Errors
/// [`Rejection`]: a bad request.
pub fn check_system_name(name: &str) -> Result<(), Rejection> {
    check_name("system", name)?;
    if is_file_name(name) {
        return Ok(());
    }
    let message =
        format!("{name:?} cannot name a system: use letters, digits, '.', '-' and '_', a letter or digit first");
    Err(Rejection::new(RejectionKind::BadRequest, message))
}

/// Longest name of a file on the usual file systems. Units: bytes.
const FILE_NAME_BYTES_MAX: usize = 255;

/// A system's bundle becomes a directory of its name.
fn is_file_name(name: &str) -> bool {
    name.len() <= FILE_NAME_BYTES_MAX
        && name.starts_with(char::is_alphanumeric)
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// That no system has these names.
pub(super) fn unknown_systems(names: &[&str]) -> Rejection {
    let shown: Vec<String> = names.iter().take(5).map(|name| format!("{name:?}")).collect();
    let more = match names.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!(
        "no system is named {}{more}; see `osa-dispatcher systems list`",
        shown.join(", ")
    );
    Rejection::new(RejectionKind::NotFound, message)
}

/// As it is named in answers.
pub(super) fn name_of(system: &SystemRow) -> SystemName {
    SystemName {
        id: system.id.0,
        name: system.name.clone(),
    }
}

/// The account in a JID.
pub(super) fn account_of(jid: &str) -> Option<&str> {
    jid.split_once('@').map(|(username, _)| username)
}
