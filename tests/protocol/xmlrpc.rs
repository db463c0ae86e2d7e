//! XML-RPC documents and the calls of `registration.*`.

use osa::domain::ids::ClientName;
use osa::domain::secret::Secret;
use osa::protocol::xmlrpc::capability::{Capability, REGISTER_OSAD};
use osa::protocol::xmlrpc::reader::{
    DEPTH_MAX, DOCUMENT_LEN_MAX, ELEMENTS_MAX, ReadError, read, read_call, read_params, read_response,
};
use osa::protocol::xmlrpc::registration::{Failure, OsadReply, Reply, ReplyError, Request};
use osa::protocol::xmlrpc::value::{Call, Document, Fault, Struct, Value};
use osa::protocol::xmlrpc::writer::{write, write_call, write_fault, write_result};
use proptest::prelude::*;

fn one(inner: &str) -> Result<Value, ReadError> {
    read_params(format!("<params><param><value>{inner}</value></param></params>").as_bytes())
        .map(|mut params| params.remove(0))
}

#[test]
fn recorded_calls_are_read() {
    let welcome = read_call(include_bytes!("recorded/welcome_message.xml")).unwrap();
    let osad = read_call(include_bytes!("recorded/register_osad.xml")).unwrap();
    let jid = read_call(include_bytes!("recorded/register_osad_jid.xml")).unwrap();

    assert_eq!(Request::from_call(welcome), Ok(Request::WelcomeMessage));
    let Ok(Request::RegisterOsad {
        systemid,
        client_timestamp,
    }) = Request::from_call(osad)
    else {
        panic!("register_osad")
    };
    assert!(systemid.expose().starts_with("<?xml version=\"1.0\"?>\n<params>"));
    assert!(systemid.expose().ends_with("</params>\n"));
    assert_eq!(client_timestamp, Some(1_795_336_465));
    let Ok(Request::RegisterOsadJid { jabber_id, .. }) = Request::from_call(jid) else {
        panic!("register_osad_jid")
    };
    assert_eq!(jabber_id, "osad-0123456789@satellite.test/osad");
}

#[test]
fn recorded_responses_are_read() {
    let welcome = read_response(include_bytes!("recorded/welcome_message_response.xml"))
        .unwrap()
        .unwrap();
    let osad = read_response(include_bytes!("recorded/register_osad_response.xml"))
        .unwrap()
        .unwrap();
    let jid = read_response(include_bytes!("recorded/register_osad_jid_response.xml"))
        .unwrap()
        .unwrap();

    assert_eq!(welcome.as_str(), Some("Red Hat Satellite Welcome Message"));
    assert_eq!(jid, Value::Struct(Struct::new()));
    let reply = OsadReply::from_value(&osad).unwrap().unwrap();
    assert_eq!(reply.client_name, ClientName("000000003b9af111".into()));
    assert_eq!(
        reply.shared_key,
        Secret::new("000000000000000000000000562f57d912ac6111")
    );
    assert_eq!(reply.jabber_server, "satellite.test");
    assert_eq!(reply.dispatchers, ["rhn-dispatcher-sat@satellite.test/superclient"]);
    assert_eq!(
        (reply.server_timestamp, reply.client_timestamp),
        (1_795_336_465, Some(1_795_336_465))
    );
}

#[test]
fn what_is_written_has_the_layout_of_the_original_peers() {
    let recorded = [
        include_str!("recorded/welcome_message.xml"),
        include_str!("recorded/register_osad_jid.xml"),
        include_str!("recorded/welcome_message_response.xml"),
        include_str!("recorded/register_osad_jid_response.xml"),
    ];

    for text in recorded {
        assert_eq!(write(&read(text.as_bytes()).unwrap()), text);
    }
}

#[test]
fn every_type_is_read() {
    let cases = [
        ("<i4> -7 </i4>", Value::Int(-7)),
        ("<int>7</int>", Value::Int(7)),
        ("<i8>4294967296</i8>", Value::Int(1 << 32)),
        ("<boolean>1</boolean>", Value::Boolean(true)),
        ("<boolean>0</boolean>", Value::Boolean(false)),
        ("untyped &amp; <![CDATA[<raw>]]>", "untyped & <raw>".into()),
        ("", "".into()),
        ("  ", "  ".into()),
        ("<string> kept </string>", " kept ".into()),
        ("<double>-1.5e3</double>", Value::Double(-1_500.0)),
        (
            "<base64>aGk\n gdGhlcmU=\n</base64>",
            Value::Base64(b"hi there".to_vec()),
        ),
        (
            "<dateTime.iso8601>20261122T08:34:25</dateTime.iso8601>",
            Value::DateTime("20261122T08:34:25".into()),
        ),
        ("<nil/>", Value::Nil),
        ("\n <struct></struct> \n", Value::Struct(Struct::new())),
        ("<array><data/></array>", Value::Array(Vec::new())),
        (
            "<array> <data> <value>a</value> <value><i4>1</i4></value> </data> </array>",
            Value::Array(vec!["a".into(), Value::Int(1)]),
        ),
    ];

    for (text, value) in cases {
        assert_eq!(one(text), Ok(value), "{text}");
    }
}

#[test]
fn malformed_values_name_the_element_to_blame() {
    let cases = [
        ("<int>one</int>", "int"),
        ("<int/>", "int"),
        ("<boolean>2</boolean>", "boolean"),
        ("<double>inf</double>", "double"),
        ("<base64>a</base64>", "base64"),
        ("<nil>0</nil>", "nil"),
        ("text<int>1</int>", "value"),
        ("<int>1</int><int>2</int>", "value"),
        ("<value>1</value>", "value"),
        ("<string><int>1</int></string>", "string"),
        ("<array/>", "array"),
        ("<array><data/><data/></array>", "array"),
        ("<array><data><int>1</int></data></array>", "data"),
        ("<array><data>text</data></array>", "data"),
        ("<struct><value/></struct>", "struct"),
        ("<struct><member><name>a</name></member></struct>", "member"),
        ("<struct><member><value/><name>a</name></member></struct>", "member"),
        (
            "<struct><member><name>a</name><value/></member><member><name>a</name><value/></member></struct>",
            "struct",
        ),
    ];

    for (text, tag) in cases {
        assert_eq!(one(text), Err(ReadError::Malformed(tag)), "{text}");
    }
    assert_eq!(one("<script/>"), Err(ReadError::UnknownElement));
}

#[test]
fn documents_that_are_none_are_refused() {
    let malformed = [
        "<methodCall/>",
        "<methodCall><params/></methodCall>",
        "<methodResponse><params/></methodResponse>",
    ];
    for text in malformed {
        assert!(matches!(read(text.as_bytes()), Err(ReadError::Malformed(_))), "{text}");
    }
    for text in ["", "<params>", "<params><param>"] {
        assert_eq!(read(text.as_bytes()), Err(ReadError::Incomplete), "{text}");
    }
    let restricted = [
        "<!DOCTYPE a [<!ENTITY b 'c'>]><params/>",
        "<params/><params/>",
        "<params>&undeclared;</params>",
        "<params><!-- --></params>",
        "<params><?php ?></params>",
        "GET / HTTP/1.1\r\n\r\n",
        "<params></param>",
    ];
    for text in restricted {
        assert!(
            matches!(read(text.as_bytes()), Err(ReadError::Xml(_))),
            "{text}: {:?}",
            read(text.as_bytes())
        );
    }
    assert!(matches!(read(b"<params>\xff</params>"), Err(ReadError::Xml(_))));
    assert_eq!(read(b"<value/>"), Err(ReadError::OtherDocument));
    assert_eq!(read_call(b"<params/>"), Err(ReadError::OtherDocument));
}

#[test]
fn documents_beyond_the_limits_are_refused() {
    let deep = |levels: usize| format!("{}{}", "<value>".repeat(levels), "</value>".repeat(levels));
    assert_eq!(read(deep(DEPTH_MAX + 1).as_bytes()), Err(ReadError::TooDeep));
    assert_ne!(read(deep(DEPTH_MAX).as_bytes()), Err(ReadError::TooDeep));

    let endless = "<value>".repeat(100_000);
    assert_eq!(read(endless.as_bytes()), Err(ReadError::TooDeep));

    let many = format!(
        "<params><param><value><array><data>{}</data></array></value></param></params>",
        "<value/>".repeat(ELEMENTS_MAX)
    );
    assert_eq!(read(many.as_bytes()), Err(ReadError::TooManyElements));

    let long = format!("<params>{}</params>", " ".repeat(DOCUMENT_LEN_MAX));
    assert_eq!(read(long.as_bytes()), Err(ReadError::TooLong));

    let fits = format!(
        "<params><param><value>{}</value></param></params>",
        "x".repeat(DOCUMENT_LEN_MAX - 100)
    );
    assert!(read(fits.as_bytes()).is_ok());
}

#[test]
fn requests_survive_the_wire() {
    let systemid = Secret::new("<?xml version=\"1.0\"?>\n<params>\n</params>\n");
    let requests = [
        Request::WelcomeMessage,
        Request::RegisterOsad {
            systemid: systemid.clone(),
            client_timestamp: Some(1),
        },
        Request::RegisterOsad {
            systemid: systemid.clone(),
            client_timestamp: None,
        },
        Request::RegisterOsadJid {
            systemid,
            jabber_id: "osad-1@a/osad".into(),
        },
    ];

    for request in requests {
        let text = write_call(&request.to_call());
        assert_eq!(Request::from_call(read_call(text.as_bytes()).unwrap()), Ok(request));
    }
}

#[test]
fn wrong_calls_are_answered_with_the_original_codes() {
    let call = |method: &str, params: Vec<Value>| {
        Request::from_call(Call {
            method: method.into(),
            params,
        })
    };
    let jid = |jid: &str| Value::Struct(Struct::from([("jabber-id".to_owned(), Value::from(jid))]));
    let empty = || Value::Struct(Struct::new());
    let register_jid = "registration.register_osad_jid";

    assert_eq!(call("registration.new_system", vec![]), Err(Failure::UnknownMethod));
    assert_eq!(call("registration.register_osad", vec![]), Err(Failure::WrongArguments));
    assert_eq!(
        call("registration.register_osad", vec![Value::Int(1), empty()]),
        Err(Failure::WrongArguments)
    );
    assert_eq!(
        call(register_jid, vec!["".into(), empty()]),
        Err(Failure::JabberIdMissing)
    );
    assert_eq!(
        call(register_jid, vec!["".into(), jid("")]),
        Err(Failure::JabberIdMissing)
    );
    assert_eq!(
        call(register_jid, vec!["".into(), jid(&"x".repeat(129))]),
        Err(Failure::JabberIdMissing)
    );
    assert!(call("registration.welcome_message", vec!["en".into()]).is_ok());

    let codes = [
        (Failure::InvalidCredentials, -9),
        (Failure::AnonymousCertificate, -28),
        (Failure::JabberIdMissing, -160),
        (Failure::UnknownMethod, -1),
        (Failure::WrongArguments, 1),
        (Failure::Internal, 1),
    ];
    for (failure, code) in codes {
        let fault = failure.to_fault();
        assert_eq!(fault.code, code);
        assert_eq!(read_response(write_fault(&fault).as_bytes()), Ok(Err(fault)));
    }
    assert_eq!(Failure::from_code(-9), Failure::InvalidCredentials);
    assert_eq!(Failure::from_code(1), Failure::Internal);
    assert_eq!(Failure::from_code(-31), Failure::Internal);
}

#[test]
fn replies_survive_the_wire() {
    let reply = OsadReply {
        client_name: ClientName("aabbccddeeff0011".into()),
        shared_key: Secret::new("0123456789abcdef0123456789abcdef01234567"),
        server_timestamp: 1_795_336_465,
        jabber_server: "sat.example.com".into(),
        dispatchers: vec!["rhn-dispatcher-sat@sat.example.com/superclient".into()],
        client_timestamp: Some(1_795_336_000),
    };
    let carry = |reply: Reply| {
        read_response(write_result(&reply.to_value()).as_bytes())
            .unwrap()
            .unwrap()
    };

    assert_eq!(
        OsadReply::from_value(&carry(Reply::Osad(Some(reply.clone())))),
        Ok(Some(reply))
    );
    assert_eq!(OsadReply::from_value(&carry(Reply::Osad(None))), Ok(None));
    assert_eq!(carry(Reply::JidRecorded), Value::Struct(Struct::new()));
    assert_eq!(carry(Reply::Welcome("hello".into())).as_str(), Some("hello"));
    assert_eq!(OsadReply::from_value(&Value::Nil), Err(ReplyError::NotAStruct));
    let partial = Value::Struct(Struct::from([("dispatchers".to_owned(), Value::Array(vec![]))]));
    assert_eq!(OsadReply::from_value(&partial), Err(ReplyError::Member("client-name")));
}

#[test]
fn debug_output_shows_no_text() {
    let request = Request::RegisterOsad {
        systemid: Secret::new("hunter2"),
        client_timestamp: None,
    };

    assert!(!format!("{:?}", request.to_call()).contains("hunter2"));
}

#[test]
fn capabilities_are_read_and_written() {
    let osad = Capability::new(REGISTER_OSAD);
    let profile = Capability {
        name: "xmlrpc.packages.extended_profile".into(),
        version: "1-2".into(),
        value: "1".into(),
    };

    assert_eq!(osad.to_string(), "registration.register_osad(1)=1");
    assert_eq!(" registration.register_osad(1)=1 ".parse(), Ok(osad.clone()));
    assert_eq!("xmlrpc.packages.extended_profile(1-2)=1".parse(), Ok(profile.clone()));
    let list = "registration.register_osad(1)=1, nonsense, xmlrpc.packages.extended_profile(1-2)=1";
    assert_eq!(Capability::parse_list(list), [osad, profile]);
    for text in [
        "",
        "a",
        "a=1",
        "a(1)",
        "a(1=1",
        "(1)=1",
        "a()=1",
        "a(1)=",
        "a(1)=1\r\nX-Evil: 1",
        "a b(1)=1",
    ] {
        assert!(text.parse::<Capability>().is_err(), "{text}");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let text = "[ -~\t\n\r\u{80}-\u{d7ff}\u{10000}-\u{10ffff}]{0,8}";
    let scalar = prop_oneof![
        any::<i64>().prop_map(Value::Int),
        any::<bool>().prop_map(Value::Boolean),
        text.prop_map(Value::String),
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(Value::Double),
        "[0-9]{8}T[0-9:]{8}".prop_map(Value::DateTime),
        any::<Vec<u8>>().prop_map(Value::Base64),
        Just(Value::Nil),
    ];
    scalar.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(text, inner, 0..4).prop_map(Value::Struct),
        ]
    })
}

proptest! {
    #[test]
    fn every_document_survives_the_wire(params in prop::collection::vec(value(), 0..3), fault: bool, code: i64) {
        let response = if fault { Err(Fault { code, text: "text".into() }) } else { Ok(Value::Array(params.clone())) };
        let documents = [
            Document::Call(Call { method: "a.b".into(), params: params.clone() }),
            Document::Response(response),
            Document::Params(params),
        ];

        for document in documents {
            prop_assert_eq!(read(write(&document).as_bytes()), Ok(document));
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, cut in 0_usize..2_300, garbage in ".{0,4}") {
        let _ = read(&bytes);
        let recorded = include_bytes!("recorded/register_osad.xml");
        let mut damaged = recorded[..cut.min(recorded.len())].to_vec();
        damaged.extend(garbage.as_bytes());
        let _ = read(&damaged);
    }
}
