//! The four messages' grammar (RFC 5802, section 7).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::protocol::sasl::SaslFault;

/// What the client says about channel binding (RFC 5802, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gs2Binding {
    /// `n`: the client cannot bind.
    Unsupported,
    /// `y`: the client could, and believes that the server cannot.
    ServerLacksIt,
    /// `p=tls-exporter`: the exchange is bound.
    TlsExporter,
}

impl Gs2Binding {
    /// Its text in the message.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unsupported => "n",
            Self::ServerLacksIt => "y",
            Self::TlsExporter => "p=tls-exporter",
        }
    }

    fn parse(text: &str) -> Result<Self, SaslFault> {
        match text {
            "n" => Ok(Self::Unsupported),
            "y" => Ok(Self::ServerLacksIt),
            "p=tls-exporter" => Ok(Self::TlsExporter),
            // A kind of binding we do not offer.
            _ if text.starts_with("p=") => Err(SaslFault::NotAuthorized),
            _ => Err(SaslFault::MalformedRequest),
        }
    }
}

/// The client's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFirst {
    /// What it says about channel binding.
    pub binding: Gs2Binding,
    /// The identity to act as; empty means the account's own.
    pub authzid: String,
    /// The account, unescaped.
    pub username: String,
    /// The client's nonce.
    pub nonce: String,
    /// The part before the bare message, verbatim; repeated in the last message.
    pub gs2_header: String,
    /// The rest, verbatim; signed by both ends.
    pub bare: String,
}

impl ClientFirst {
    /// Reads the message.
    ///
    /// # Errors
    ///
    /// The fault to answer with.
    pub fn parse(bytes: &[u8]) -> Result<Self, SaslFault> {
        let text = std::str::from_utf8(bytes).map_err(|_| SaslFault::MalformedRequest)?;
        let malformed = SaslFault::MalformedRequest;
        let (binding, rest) = text.split_once(',').ok_or(malformed)?;
        let (authzid, bare) = rest.split_once(',').ok_or(malformed)?;
        let gs2_header = text.get(..text.len() - bare.len()).ok_or(malformed)?;
        let mut fields = bare.split(',');
        // A leading `m=` would be a mandatory extension; we know none.
        let username = field(fields.next(), "n=")?;
        let nonce = field(fields.next(), "r=")?;
        if nonce.is_empty() || !nonce.bytes().all(|byte| matches!(byte, b'!'..=b'~')) {
            return Err(malformed);
        }
        Ok(Self {
            binding: Gs2Binding::parse(binding)?,
            authzid: match authzid {
                "" => String::new(),
                _ => unescape_name(field(Some(authzid), "a=")?)?,
            },
            username: unescape_name(username)?,
            nonce: nonce.to_owned(),
            gs2_header: gs2_header.to_owned(),
            bare: bare.to_owned(),
        })
    }
}

/// The server's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFirst {
    /// The client's nonce with the server's behind it.
    pub nonce: String,
    /// The account's salt.
    pub salt: Vec<u8>,
    /// The number of iterations.
    pub iterations: u32,
}

impl ServerFirst {
    /// Reads the message.
    ///
    /// # Errors
    ///
    /// [`SaslFault::MalformedRequest`].
    pub fn parse(bytes: &[u8]) -> Result<Self, SaslFault> {
        let text = std::str::from_utf8(bytes).map_err(|_| SaslFault::MalformedRequest)?;
        let mut fields = text.split(',');
        let nonce = field(fields.next(), "r=")?.to_owned();
        let salt = base64_field(fields.next(), "s=")?;
        let iterations = field(fields.next(), "i=")?;
        Ok(Self {
            nonce,
            salt,
            iterations: iterations.parse().map_err(|_| SaslFault::MalformedRequest)?,
        })
    }

    /// Writes the message.
    pub fn text(&self) -> String {
        format!(
            "r={},s={},i={}",
            self.nonce,
            STANDARD.encode(&self.salt),
            self.iterations
        )
    }
}

/// The client's last message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFinal<'a> {
    /// The GS2 header again, and the binding data if any.
    pub binding: Vec<u8>,
    /// Both nonces.
    pub nonce: &'a str,
    /// The proof.
    pub proof: Vec<u8>,
    /// The message less the proof; signed by both ends.
    pub without_proof: &'a str,
}

impl<'a> ClientFinal<'a> {
    /// Reads the message.
    ///
    /// # Errors
    ///
    /// [`SaslFault::MalformedRequest`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SaslFault> {
        let text = std::str::from_utf8(bytes).map_err(|_| SaslFault::MalformedRequest)?;
        let (without_proof, _) = text.rsplit_once(",p=").ok_or(SaslFault::MalformedRequest)?;
        let proof = text.get(without_proof.len() + 1..);
        let mut fields = without_proof.split(',');
        Ok(Self {
            binding: base64_field(fields.next(), "c=")?,
            nonce: field(fields.next(), "r=")?,
            proof: base64_field(proof, "p=")?,
            without_proof,
        })
    }
}

/// Reads the server's last message: its signature, or `None` when it reports an error instead.
///
/// # Errors
///
/// [`SaslFault::MalformedRequest`].
pub fn parse_server_final(bytes: &[u8]) -> Result<Option<Vec<u8>>, SaslFault> {
    let text = std::str::from_utf8(bytes).map_err(|_| SaslFault::MalformedRequest)?;
    let first = text.split(',').next();
    if first.is_some_and(|field| field.starts_with("e=")) {
        return Ok(None);
    }
    base64_field(first, "v=").map(Some)
}

/// Escapes a name (`saslname`).
pub fn escape_name(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

fn unescape_name(name: &str) -> Result<String, SaslFault> {
    let mut pieces = name.split('=');
    let mut result = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (character, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (None, Some(rest)) => ('=', rest),
            (None, None) => return Err(SaslFault::MalformedRequest),
        };
        result.push(character);
        result.push_str(rest);
    }
    if result.is_empty() || result.contains('\0') {
        return Err(SaslFault::MalformedRequest);
    }
    Ok(result)
}

fn field<'a>(field: Option<&'a str>, prefix: &str) -> Result<&'a str, SaslFault> {
    field
        .and_then(|field| field.strip_prefix(prefix))
        .ok_or(SaslFault::MalformedRequest)
}

fn base64_field(text: Option<&str>, prefix: &str) -> Result<Vec<u8>, SaslFault> {
    STANDARD
        .decode(field(text, prefix)?)
        .map_err(|_| SaslFault::MalformedRequest)
}
