//! XML-RPC documents, the calls and answers of registration, capability headers, and systemids.

use osa::domain::ids::SystemId;
use osa::domain::secret::Secret;
use osa::protocol::systemid::{Profile, SystemCertificate, SystemName, mint};
use osa::protocol::xmlrpc::capability::Capability;
use osa::protocol::xmlrpc::reader::{DEPTH_MAX, DOCUMENT_LEN_MAX, ReadError, read};
use osa::protocol::xmlrpc::registration::{Failure, OsadReply, Request};
use osa::protocol::xmlrpc::value::{Document, Value};
use osa::protocol::xmlrpc::writer::write;

/// Reads the bytes as a document, as a header and as a systemid.
pub fn run(data: &[u8]) {
    match read(data) {
        Ok(document) => check(document),
        Err(error) => assert!(error != ReadError::TooLong || data.len() > DOCUMENT_LEN_MAX),
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    check_systemid(text);
    for capability in text.lines().flat_map(Capability::parse_list) {
        let again = Capability::parse_list(&capability.to_string());
        assert_eq!(again, [capability]);
    }
}

fn check(document: Document) {
    let text = write(&document);
    let again = read(text.as_bytes());
    assert!(
        again.as_ref().is_ok_and(|again| *again == document),
        "{text}\n{again:?}"
    );
    match document {
        Document::Call(call) => {
            if let Ok(request) = Request::from_call(call) {
                let again = Request::from_call(request.to_call());
                assert!(again.is_ok_and(|again| again == request));
            }
        }
        Document::Response(Ok(value)) => {
            assert!(depth(&value) < DEPTH_MAX);
            let _ = OsadReply::from_value(&value);
        }
        Document::Response(Err(fault)) => {
            let _ = Failure::from_code(fault.code);
        }
        Document::Params(params) => assert!(params.iter().all(|value| depth(value) < DEPTH_MAX)),
    }
}

fn depth(value: &Value) -> usize {
    let deepest = match value {
        Value::Array(elements) => elements.iter().map(depth).max(),
        Value::Struct(members) => members.values().map(depth).max(),
        Value::Int(_)
        | Value::Boolean(_)
        | Value::String(_)
        | Value::Double(_)
        | Value::DateTime(_)
        | Value::Base64(_)
        | Value::Nil => None,
    };
    1 + deepest.unwrap_or(0)
}

/// Only the server's secret makes a valid one, whatever the text says.
fn check_systemid(text: &str) {
    let Ok(certificate) = SystemCertificate::parse(text) else {
        return;
    };
    let other = Secret::new("f".repeat(64));
    assert!(certificate.verify(&other).is_err());
    if let SystemName::Id(system) = certificate.system {
        check_minted(system, &other);
    }
}

fn check_minted(system: SystemId, secret: &Secret) {
    let profile = Profile {
        name: "client1.test",
        username: "admin",
        os_release: "12",
        operating_system: "debian",
        architecture: "x86_64",
    };
    let minted = mint(system, secret, profile).ok();
    let read = minted.and_then(|text| SystemCertificate::parse(text.expose()).ok());
    assert!(read.is_some_and(|read| read.verify(secret).is_ok() && read.system == SystemName::Id(system)));
}
