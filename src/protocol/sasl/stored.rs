//! Verifiers as one line of text, for a database column.
//!
//! `1;SCRAM-SHA-256=4096:SALT:STOREDKEY:SERVERKEY;SCRAM-SHA-1=4096:SALT:STOREDKEY:SERVERKEY;FAST=SALT:MAC;SEALED=TEXT`,
//! binary values in base64; `FAST` may be absent, and so may `SEALED`, the encrypted password. The leading number is the
//! version of the form.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::scram::hash::{Digest, ScramHash};
use super::verifiers::{FastVerifier, Kept, ScramVerifier, Verifiers};

const VERSION: &str = "1";
const SEALED: &str = ";SEALED=";

/// A stored text that holds no verifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseVerifiersError {
    /// Written by a newer release, or not by us.
    #[error("the verifiers have a form that this release does not know")]
    Version,
    /// A part is missing.
    #[error("the verifiers lack their {0} part")]
    Missing(&'static str),
    /// A part is damaged.
    #[error("the verifiers' {0} part is damaged")]
    Damaged(&'static str),
    /// Something stands behind the last part.
    #[error("the verifiers have an unknown part")]
    Unknown,
}

impl Verifiers {
    /// Writes the text form; [`FromStr`] reads it.
    pub fn to_stored(&self) -> String {
        let mut text = format!("{VERSION};{};{}", scram_text(&self.sha256), scram_text(&self.sha1));
        if let Some(fast) = &self.fast {
            text.push_str(&format!(
                ";FAST={}:{}",
                STANDARD.encode(fast.salt),
                STANDARD.encode(&*fast.mac)
            ));
        }
        if let Some(sealed) = self.sealed_password() {
            text.push_str(SEALED);
            text.push_str(sealed);
        }
        text
    }
}

impl FromStr for Verifiers {
    type Err = ParseVerifiersError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (text, password) = match text.split_once(SEALED) {
            Some((text, sealed)) => (text, parse_sealed(sealed)?),
            None => (text, Kept::No),
        };
        let mut parts = text.split(';');
        if parts.next() != Some(VERSION) {
            return Err(ParseVerifiersError::Version);
        }
        let verifiers = Self {
            sha256: parse_scram(ScramHash::Sha256, parts.next())?,
            sha1: parse_scram(ScramHash::Sha1, parts.next())?,
            fast: parts.next().map(parse_fast).transpose()?,
            password,
        };
        match parts.next() {
            Some(_) => Err(ParseVerifiersError::Unknown),
            None => Ok(verifiers),
        }
    }
}

const fn part_name(hash: ScramHash) -> &'static str {
    match hash {
        ScramHash::Sha1 => "SCRAM-SHA-1",
        ScramHash::Sha256 => "SCRAM-SHA-256",
    }
}

fn scram_text(verifier: &ScramVerifier) -> String {
    format!(
        "{}={}:{}:{}:{}",
        part_name(verifier.hash),
        verifier.iterations,
        STANDARD.encode(&verifier.salt),
        STANDARD.encode(&*verifier.stored_key),
        STANDARD.encode(&*verifier.server_key)
    )
}

fn parse_scram(hash: ScramHash, part: Option<&str>) -> Result<ScramVerifier, ParseVerifiersError> {
    let name = part_name(hash);
    let values = part
        .and_then(|part| part.strip_prefix(name)?.strip_prefix('='))
        .ok_or(ParseVerifiersError::Missing(name))?;
    let damaged = ParseVerifiersError::Damaged(name);
    let mut values = values.split(':');
    let (Some(iterations), Some(salt), Some(stored_key), Some(server_key), None) = (
        values.next(),
        values.next(),
        values.next(),
        values.next(),
        values.next(),
    ) else {
        return Err(damaged);
    };
    let key = |text: &str| Digest::from_slice(hash, &STANDARD.decode(text).ok()?);
    Ok(ScramVerifier {
        hash,
        iterations: iterations.parse().ok().filter(|count| *count > 0).ok_or(damaged)?,
        salt: STANDARD.decode(salt).map_err(|_| damaged)?,
        stored_key: key(stored_key).ok_or(damaged)?,
        server_key: key(server_key).ok_or(damaged)?,
    })
}

fn parse_sealed(part: &str) -> Result<Kept, ParseVerifiersError> {
    if part.contains(';') {
        return Err(ParseVerifiersError::Unknown);
    }
    Ok(Kept::Sealed(part.to_owned()))
}

fn parse_fast(part: &str) -> Result<FastVerifier, ParseVerifiersError> {
    let values = part.strip_prefix("FAST=").ok_or(ParseVerifiersError::Unknown)?;
    let damaged = ParseVerifiersError::Damaged("FAST");
    let (salt, mac) = values.split_once(':').ok_or(damaged)?;
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| damaged);
    Ok(FastVerifier {
        salt: decode(salt)?.try_into().map_err(|_| damaged)?,
        mac: Digest::from_slice(ScramHash::Sha256, &decode(mac)?).ok_or(damaged)?,
    })
}
