//! The configuration files of existing installations, read as the programs they were written for read them.
//!
//! Everything here takes texts, not paths. Source: compatibility contract, section 5.

pub mod credentials;
pub mod ini;
#[cfg(feature = "agent")]
pub mod osad;
#[cfg(feature = "dispatcher")]
pub mod places;
pub mod rhn_conf;
#[cfg(feature = "dispatcher")]
pub mod satellite;
#[cfg(feature = "dispatcher")]
pub mod satellite_keys;
pub mod up2date;

/// Reads a switch of a legacy file: `0`, `no`, `false`, `off` and the empty text are off, `1`, `yes`, `true` and `on`
/// are on. `None` for anything else.
pub fn switch(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "" | "0" | "no" | "false" | "off" => Some(false),
        "1" | "yes" | "true" | "on" => Some(true),
        _ => None,
    }
}
