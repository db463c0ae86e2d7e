//! The systemid: the certificate that a system proves itself with. Compatibility contract, section 2.3.
//!
//! It is an XML-RPC parameter document with one struct. Its checksum is a digest over the server's secret for the system,
//! then the values of the fields that it lists, then their names; so only the server can make or change one.

use std::fmt::Write;

use md5::Md5;
use sha2::Sha256;
use sha2::digest::Digest;
use subtle::ConstantTimeEq;

use crate::domain::ids::SystemId;
use crate::domain::secret::Secret;
use crate::protocol::xmlrpc::reader::{ReadError, read_params};
use crate::protocol::xmlrpc::value::{Document, Struct, Value};
use crate::protocol::xmlrpc::writer::write;

/// The fields that a certificate of ours lists, in the order of the original server's.
const FIELDS: [&str; 6] = [
    "system_id",
    "os_release",
    "operating_system",
    "architecture",
    "username",
    "type",
];
/// How many fields a certificate may list.
const FIELDS_MAX: usize = 32;
/// `type` of a certificate of no particular system.
const ANONYMOUS: &str = "ANONYMOUS";
/// Length of a secret that is used with SHA-256. Units: characters.
const SHA256_SECRET_LEN: usize = 64;
/// Length of an old secret, used with MD5. Units: characters.
const MD5_SECRET_LEN: usize = 32;

/// Which system a certificate is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SystemName {
    /// `ID-n`: `rhnServer.id`.
    Id(SystemId),
    /// Anything else: `rhnServer.digital_server_id`.
    DigitalServerId(String),
}

/// A certificate as read; not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemCertificate {
    /// Which system it says it is of. Believe it after [`verify`](Self::verify) only.
    pub system: SystemName,
    /// Whether it is of no particular system; such a certificate cannot be verified.
    pub is_anonymous: bool,
    checksum: Secret,
    /// Names and values of the listed fields, in order.
    fields: Vec<(String, String)>,
}

/// A certificate that cannot be accepted.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum SystemidError {
    /// It is not a parameter document.
    #[error("damaged document: {0}")]
    Document(#[from] ReadError),
    /// The document holds something else than one struct.
    #[error("damaged: not one struct")]
    NotOneStruct,
    /// The member is absent, empty or not text.
    #[error("damaged: no usable {0:?}")]
    Member(&'static str),
    /// `fields` is absent, too long, or lists what is not there.
    #[error("damaged: the list of fields does not fit")]
    Fields,
    /// `fields` leaves out `system_id`, so the checksum says nothing about whose it is.
    #[error("damaged: the checksum does not cover the system_id")]
    SystemIdNotCovered,
    /// It was changed, or made with another secret.
    #[error("wrong checksum")]
    Checksum,
    /// The server's secret for the system has neither 32 nor 64 characters.
    #[error("the server's secret for this system has neither 32 nor 64 characters")]
    Secret,
}

impl SystemCertificate {
    /// Reads the text of a systemid file.
    ///
    /// # Errors
    /// [`SystemidError`] names what is damaged.
    pub fn parse(text: &str) -> Result<Self, SystemidError> {
        let params = read_params(text.trim_start().as_bytes())?;
        let Ok([Value::Struct(members)]) = <[Value; 1]>::try_from(params) else {
            return Err(SystemidError::NotOneStruct);
        };
        let system_id = member(&members, "system_id")?;
        let fields = listed_fields(&members)?;
        if !fields.iter().any(|(name, _)| name == "system_id") {
            return Err(SystemidError::SystemIdNotCovered);
        }
        let kind = members.get("type").and_then(Value::as_str);
        Ok(Self {
            system: SystemName::parse(system_id),
            is_anonymous: kind == Some(ANONYMOUS),
            checksum: Secret::new(member(&members, "checksum")?),
            fields,
        })
    }

    /// Whether it was made with this secret of the system that it names.
    ///
    /// # Errors
    /// [`SystemidError::Checksum`] if not, [`SystemidError::Secret`] if the secret cannot have made any.
    pub fn verify(&self, secret: &Secret) -> Result<(), SystemidError> {
        let expected = checksum(secret, &self.fields)?;
        let is_equal = expected.as_bytes().ct_eq(self.checksum.expose().as_bytes());
        if is_equal.into() {
            Ok(())
        } else {
            Err(SystemidError::Checksum)
        }
    }
}

impl SystemName {
    fn parse(text: &str) -> Self {
        let number = text.strip_prefix("ID-").and_then(|number| number.parse().ok());
        number.map_or_else(|| Self::DigitalServerId(text.to_owned()), |id| Self::Id(SystemId(id)))
    }
}

fn member<'a>(members: &'a Struct, name: &'static str) -> Result<&'a str, SystemidError> {
    let text = members.get(name).and_then(Value::as_str);
    text.filter(|text| !text.is_empty()).ok_or(SystemidError::Member(name))
}

fn listed_fields(members: &Struct) -> Result<Vec<(String, String)>, SystemidError> {
    let listed = members.get("fields").and_then(Value::as_array);
    let listed = listed
        .filter(|listed| listed.len() <= FIELDS_MAX)
        .ok_or(SystemidError::Fields)?;
    let field = |name: &Value| {
        let name = name.as_str()?;
        let value = members.get(name)?.as_str()?;
        Some((name.to_owned(), value.to_owned()))
    };
    listed
        .iter()
        .map(|name| field(name).ok_or(SystemidError::Fields))
        .collect()
}

fn checksum(secret: &Secret, fields: &[(String, String)]) -> Result<String, SystemidError> {
    match secret.expose().len() {
        SHA256_SECRET_LEN => Ok(digest::<Sha256>(secret, fields)),
        MD5_SECRET_LEN => Ok(digest::<Md5>(secret, fields)),
        _ => Err(SystemidError::Secret),
    }
}

fn digest<D: Digest>(secret: &Secret, fields: &[(String, String)]) -> String {
    let mut digest = D::new();
    digest.update(secret.expose());
    fields.iter().for_each(|(_, value)| digest.update(value));
    fields.iter().for_each(|(name, _)| digest.update(name));
    let mut hex = String::new();
    for byte in digest.finalize().iter() {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// What a new certificate says beside the system's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile<'a> {
    /// The system's name.
    pub name: &'a str,
    /// The administrator who adds it.
    pub username: &'a str,
    /// The release of its operating system, or what stands for it.
    pub os_release: &'a str,
    /// Its operating system.
    pub operating_system: &'a str,
    /// Its processor architecture.
    pub architecture: &'a str,
}

/// Makes the certificate of a system: the text of its systemid file.
///
/// # Errors
/// [`SystemidError::Secret`] unless the secret has 64 characters (or 32, for a system of old).
pub fn mint(system: SystemId, secret: &Secret, profile: Profile<'_>) -> Result<Secret, SystemidError> {
    let system_id = format!("ID-{system}");
    let values = [
        ("system_id", system_id.as_str()),
        ("os_release", profile.os_release),
        ("operating_system", profile.operating_system),
        ("architecture", profile.architecture),
        ("username", profile.username),
        ("type", "REAL"),
        ("profile_name", profile.name),
        ("description", profile.name),
    ];
    let values = values.map(|(name, value)| (name.to_owned(), value.replace(is_unwritable, " ")));
    let covered = FIELDS
        .iter()
        .filter_map(|field| values.iter().find(|(name, _)| name == field));
    let covered: Vec<(String, String)> = covered.cloned().collect();
    let mut members: Struct = values.into_iter().map(|(name, value)| (name, value.into())).collect();
    members.insert("checksum".to_owned(), checksum(secret, &covered)?.into());
    members.insert("fields".to_owned(), Value::Array(FIELDS.map(Value::from).to_vec()));
    let document = Document::Params(vec![Value::Struct(members)]);
    Ok(Secret::new(write(&document)))
}

/// Whether XML might not carry the character: the checksum must be over what a reader gets.
fn is_unwritable(character: char) -> bool {
    character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}')
}
