//! Compressed and encoded bodies of a Satellite's answers (compatibility contract, section 2.1).

use std::io::{self, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::{GzDecoder, ZlibDecoder};

/// Why a body cannot be read. The server is to blame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// A name nobody agreed on.
    #[error("unknown encoding {0:?}")]
    Unknown(String),
    /// Not base64.
    #[error("damaged base64")]
    Base64,
    /// Not what its name says.
    #[error("damaged compressed data")]
    Compression,
    /// Larger than allowed once unpacked.
    #[error("more than {0} bytes once unpacked")]
    TooLarge(u64),
}

/// Unpacks `body` as its two headers say, to at most `bytes_max`.
///
/// # Errors
/// [`EncodingError`].
pub fn unpack(
    body: Vec<u8>,
    content_encoding: Option<&str>,
    transfer_encoding: Option<&str>,
    bytes_max: u64,
) -> Result<Vec<u8>, EncodingError> {
    let bytes = match transfer_encoding.map(str::to_ascii_lowercase).as_deref() {
        None | Some("binary" | "identity" | "") => body,
        // The original's encoder breaks lines.
        Some("base64") => {
            let text: Vec<u8> = body.into_iter().filter(|byte| !byte.is_ascii_whitespace()).collect();
            STANDARD.decode(text).map_err(|_| EncodingError::Base64)?
        }
        Some(other) => return Err(EncodingError::Unknown(other.to_owned())),
    };
    match content_encoding.map(str::to_ascii_lowercase).as_deref() {
        None | Some("identity" | "") if bytes.len() as u64 <= bytes_max => Ok(bytes),
        None | Some("identity" | "") => Err(EncodingError::TooLarge(bytes_max)),
        Some("x-zlib" | "deflate") => read_up_to(bytes_max, ZlibDecoder::new(bytes.as_slice())),
        Some("x-gzip" | "gzip") => read_up_to(bytes_max, GzDecoder::new(bytes.as_slice())),
        Some(other) => Err(EncodingError::Unknown(other.to_owned())),
    }
}

fn read_up_to(bytes_max: u64, reader: impl Read) -> Result<Vec<u8>, EncodingError> {
    let mut bytes = Vec::new();
    let read: io::Result<usize> = reader.take(bytes_max + 1).read_to_end(&mut bytes);
    read.map_err(|_| EncodingError::Compression)?;
    if bytes.len() as u64 > bytes_max {
        return Err(EncodingError::TooLarge(bytes_max));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    const TEXT: &[u8] = b"<?xml version='1.0'?><methodResponse/>";
    const MAX: u64 = 100;

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn base64_lines(bytes: &[u8]) -> Vec<u8> {
        let text = STANDARD.encode(bytes);
        let lines: Vec<&[u8]> = text.as_bytes().chunks(20).collect();
        lines.join(&b"\r\n"[..])
    }

    #[test]
    fn every_encoding_of_a_satellite_is_understood() {
        for (body, content, transfer) in [
            (TEXT.to_vec(), None, None),
            (zlib(TEXT), Some("x-zlib"), Some("binary")),
            (zlib(TEXT), Some("deflate"), None),
            (base64_lines(&zlib(TEXT)), Some("X-Zlib"), Some("base64")),
            (gzip(TEXT), Some("x-gzip"), None),
            (base64_lines(TEXT), None, Some("base64")),
        ] {
            assert_eq!(
                unpack(body, content, transfer, MAX).as_deref(),
                Ok(TEXT),
                "{content:?} {transfer:?}"
            );
        }
    }

    #[test]
    fn bodies_that_explode_are_damaged_or_unknown_are_refused() {
        let bomb = zlib(&[b'a'; 10_000]);
        let refused = |body: &[u8], content, transfer| unpack(body.to_vec(), content, transfer, MAX).unwrap_err();

        assert_eq!(refused(&bomb, Some("x-zlib"), None), EncodingError::TooLarge(MAX));
        assert_eq!(refused(&[b'a'; 101], None, None), EncodingError::TooLarge(MAX));
        assert_eq!(refused(TEXT, Some("x-zlib"), None), EncodingError::Compression);
        assert_eq!(refused(b"a*b", None, Some("base64")), EncodingError::Base64);
        assert_eq!(refused(TEXT, Some("br"), None), EncodingError::Unknown("br".to_owned()));
    }
}
