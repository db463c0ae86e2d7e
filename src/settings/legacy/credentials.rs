//! `osad-auth.conf`: the agent's XMPP account, which the agent itself writes.
//!
//! Source: compatibility contract, section 5.2.

use super::ini::{Ini, IniError, InterpolationError};
use crate::domain::secret::Secret;

/// Section of the file.
const SECTION: &str = "osad-auth";

/// The agent's XMPP account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Local part of the address.
    pub username: String,
    /// Password.
    pub password: Secret,
    /// Resource of the address.
    pub resource: String,
}

/// A credentials file that cannot be used; writing new credentials mends it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// Not in the format of the file.
    #[error("line {line}: {0}", line = .0.line())]
    Syntax(#[from] IniError),
    /// A value that cannot be interpolated.
    #[error(transparent)]
    Interpolation(#[from] InterpolationError),
}

/// A value that would not read back as it was: it contains control characters or starts or ends with white space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {field} cannot be written to a credentials file")]
pub struct UnwritableCredentials {
    /// Name of the key.
    pub field: &'static str,
}

impl Credentials {
    /// Reads the text of the file; `None` if the section or one of its values is missing, as in the packaged
    /// placeholder.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn parse(text: &str) -> Result<Option<Self>, CredentialsError> {
        let ini = Ini::parse(text)?;
        let value = |key: &str| Ok::<_, InterpolationError>(ini.value(SECTION, key)?.filter(|text| !text.is_empty()));
        let (username, password, resource) = (value("username")?, value("password")?, value("resource")?);
        Ok(match (username, password, resource) {
            (Some(username), Some(password), Some(resource)) => Some(Self {
                username,
                password: Secret::new(password),
                resource,
            }),
            (_, _, _) => None,
        })
    }

    /// Writes the text of the file. The file must have mode 0600.
    ///
    /// # Errors
    /// [`UnwritableCredentials`].
    pub fn render(&self) -> Result<Secret, UnwritableCredentials> {
        let mut text = format!("# Automatically generated. Do not edit!\n\n[{SECTION}]\n");
        let values = [
            ("username", self.username.as_str()),
            ("password", self.password.expose()),
            ("resource", self.resource.as_str()),
        ];
        for (field, value) in values {
            let reads_back = !value.is_empty() && value.trim() == value && !value.contains(char::is_control);
            if !reads_back {
                return Err(UnwritableCredentials { field });
            }
            text.push_str(&format!("{field} = {}\n", value.replace('%', "%%")));
        }
        Ok(Secret::new(text))
    }
}
