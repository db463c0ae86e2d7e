//! Answers as the original server sends them: compatibility contract, section 2.1.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};

use crate::protocol::xmlrpc::capability::{Capability, REGISTER_OSAD, SERVER_HEADER};
use crate::protocol::xmlrpc::registration::{Failure, Reply};
use crate::protocol::xmlrpc::writer::{write_fault, write_result};

const TRANSFER_ENCODING: HeaderName = HeaderName::from_static("content-transfer-encoding");

/// The response to a call. The greeting is always compressed; everything else never is.
pub(super) fn respond(outcome: Result<Reply, Failure>, speaks_binary: bool) -> Response<Full<Bytes>> {
    let (text, is_compressed) = match &outcome {
        Ok(reply) => (write_result(&reply.to_value()), matches!(reply, Reply::Welcome(_))),
        Err(failure) => (write_fault(&failure.to_fault()), false),
    };
    let mut response = match compress(&text).filter(|_| is_compressed) {
        Some(zlib) if speaks_binary => compressed(zlib, "application/binary", "binary"),
        Some(zlib) => compressed(STANDARD.encode(zlib).into_bytes(), "text/base64", "base64"),
        None => {
            let mut response = Response::new(Full::new(text.into()));
            let xml = HeaderValue::from_static("text/xml");
            response.headers_mut().insert(CONTENT_TYPE, xml);
            response
        }
    };
    let name = HeaderName::from_bytes(SERVER_HEADER.as_bytes());
    let value = HeaderValue::try_from(Capability::new(REGISTER_OSAD).to_string());
    if let (Ok(name), Ok(value)) = (name, value) {
        response.headers_mut().append(name, value);
    }
    response
}

fn compress(text: &str) -> Option<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).ok()?;
    encoder.finish().ok()
}

fn compressed(body: Vec<u8>, kind: &'static str, transfer: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("x-zlib"));
    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static(transfer));
    response
}
