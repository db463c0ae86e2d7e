use osa::protocol::codec::{CodecError, Decoder, Escaped, Frame, Limits, StreamHeader, write_element};
use proptest::prelude::*;

const HEADER: &str = "<stream:stream to='sat.test' xmlns='jabber:client' \
                      xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";
/// Sent by existing agents, to the byte (transcript 01).
const EXISTING_AGENT_HEADER: &str = "<?xml version='1.0' encoding='UTF-8'?><stream:stream to='satellite.test' \
    xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";

fn decode_all(decoder: &mut Decoder, mut bytes: &[u8]) -> Result<Vec<Frame>, CodecError> {
    let mut frames = Vec::new();
    while let Some(frame) = decoder.decode(&mut bytes)? {
        frames.push(frame);
    }
    Ok(frames)
}

fn decode(text: &str) -> Result<Vec<Frame>, CodecError> {
    decode_all(&mut Decoder::new(Limits::BEFORE_LOGIN), text.as_bytes())
}

/// What the reader says to `text` inside an open stream.
fn fault(text: &str) -> CodecError {
    decode(&format!("{HEADER}{text}")).expect_err(text)
}

#[test]
fn header_of_an_existing_agent_is_read() {
    let frames = decode(EXISTING_AGENT_HEADER).unwrap();

    let expected = StreamHeader {
        to: Some("satellite.test".into()),
        version: Some("1.0".into()),
        ..StreamHeader::default()
    };
    assert_eq!(frames, [Frame::Open(expected)]);
}

#[test]
fn header_without_version_and_with_odd_attributes_is_read() {
    let frames = decode(
        "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
         id='7' xml:lang='cs' colour='red' xmlns:a='urn:a' a:b='c'>",
    )
    .unwrap();

    let expected = StreamHeader {
        id: Some("7".into()),
        lang: Some("cs".into()),
        ..StreamHeader::default()
    };
    assert_eq!(frames, [Frame::Open(expected)]);
}

#[test]
fn stanza_keeps_namespaces_attributes_and_text() {
    let frames = decode(&format!(
        "{HEADER}<message a='&lt;1'><x xmlns = 'urn:x'  b=\"2\" />t&amp;<y/></message>"
    ))
    .unwrap();

    let Some(Frame::Stanza(message)) = frames.get(1) else {
        panic!("{frames:?}")
    };
    assert_eq!(message.attr("a"), Some("<1"));
    assert_eq!(message.get_child("x", "urn:x").and_then(|x| x.attr("b")), Some("2"));
    assert!(message.has_child("y", "jabber:client"));
    assert_eq!(message.text(), "t&");
}

#[test]
fn closing_tag_is_a_frame() {
    let frames = decode(&format!("{HEADER}<a/> \n</stream:stream>")).unwrap();

    assert_eq!(frames.len(), 3);
    assert_eq!(frames.last(), Some(&Frame::Close));
}

#[test]
fn faults_have_their_conditions() {
    use CodecError::*;
    for (text, expected) in [
        ("<!DOCTYPE x>", Restricted),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]>", Restricted),
        ("<!-- c -->", Restricted),
        ("<a><!-- c --></a>", Restricted),
        ("<?php x?>", Restricted),
        ("<a><?xml-stylesheet href='x'?></a>", Restricted),
        ("<a>&bomb;</a>", Restricted),
        ("<a b='&lol;'/>", Restricted),
        ("<p:a/>", UndeclaredPrefix),
        ("<a p:b='1'/>", UndeclaredPrefix),
        ("<a></b>", NotWellFormed),
        ("<a b='1' b='2'/>", NotWellFormed),
        ("<a b=1/>", NotWellFormed),
        ("<a><</a>", NotWellFormed),
        ("<a>&#0;</a>", NotWellFormed),
        ("x", TextBetweenStanzas),
        ("<a/>x", TextBetweenStanzas),
    ] {
        assert_eq!(fault(text), expected, "{text}");
    }
}

#[test]
fn faults_before_the_header_have_their_conditions() {
    use CodecError::*;
    for (text, expected) in [
        ("<!DOCTYPE x><stream/>", Restricted),
        ("<?xml version='1.0' encoding='ISO-8859-1'?><a/>", Encoding),
        ("<?xml version='1.1'?><a/>", Restricted),
        ("GET / HTTP/1.1\r\n", NotWellFormed),
        ("<stream xmlns='jabber:client'>", NotAStreamNamespace),
        (
            "<s:stream xmlns:s='http://etherx.jabber.org/stream'>",
            NotAStreamNamespace,
        ),
        ("<s:strom xmlns:s='http://etherx.jabber.org/streams'>", NotAStream),
    ] {
        assert_eq!(decode(text), Err(expected), "{text}");
    }
}

#[test]
fn bytes_that_are_not_utf8_are_refused() {
    for bytes in [&b"<a>\xff</a>"[..], b"<a b='\xc3\x28'/>", b"<\xe9/>"] {
        let mut decoder = Decoder::new(Limits::BEFORE_LOGIN);
        decode_all(&mut decoder, HEADER.as_bytes()).unwrap();

        assert_eq!(decode_all(&mut decoder, bytes), Err(CodecError::Encoding), "{bytes:?}");
    }
}

#[test]
fn nesting_is_allowed_up_to_the_limit_only() {
    let nested = |levels: usize| format!("{HEADER}{}{}", "<a>".repeat(levels), "</a>".repeat(levels));

    assert_eq!(decode(&nested(15)).map(|frames| frames.len()), Ok(2));
    assert_eq!(decode(&nested(16)), Err(CodecError::TooDeep { limit: 16 }));
    assert_eq!(decode(&nested(20_000)), Err(CodecError::TooDeep { limit: 16 }));
}

#[test]
fn stanza_is_allowed_up_to_the_limit_only() {
    let frame = "<a></a>".len();
    let stanza = |bytes: usize| format!("{HEADER}<a>{}</a>", "x".repeat(bytes - frame));

    assert_eq!(decode(&stanza(10_000)).map(|frames| frames.len()), Ok(2));
    assert_eq!(decode(&stanza(10_001)), Err(CodecError::TooLong { limit: 10_000 }));
}

#[test]
fn header_that_never_ends_is_refused() {
    let text = format!("<stream:stream a='{}", "x".repeat(20_000));

    assert_eq!(decode(&text), Err(CodecError::TooLong { limit: 10_000 }));
}

#[test]
fn limits_can_be_raised_between_stanzas() {
    let mut decoder = Decoder::new(Limits::BEFORE_LOGIN);
    decode_all(&mut decoder, HEADER.as_bytes()).unwrap();

    decoder.set_limits(Limits::AFTER_LOGIN);

    let long = format!("<a>{}</a>", "x".repeat(65_000));
    assert_eq!(
        decode_all(&mut decoder, long.as_bytes()).map(|frames| frames.len()),
        Ok(1)
    );
    let longer = format!("<a>{}</a>", "x".repeat(65_536));
    assert_eq!(
        decode_all(&mut decoder, longer.as_bytes()),
        Err(CodecError::TooLong { limit: 65_536 })
    );
}

#[test]
fn flood_of_attributes_is_refused() {
    let with = |count: usize| {
        let attributes: String = (0..count).map(|n| format!(" a{n}=''")).collect();
        format!("{HEADER}<a{attributes}/>")
    };

    assert_eq!(decode(&with(32)).map(|frames| frames.len()), Ok(2));
    assert_eq!(decode(&with(33)), Err(CodecError::TooManyAttributes { limit: 32 }));
}

#[test]
fn stanza_of_one_among_many_loses_its_excess_and_not_the_stream() {
    let many: String = (0..33).map(|n| format!(" a{n}=''")).collect();
    let deep = format!("<m id='1'>{}x{}<b>y</b></m>", "<a>".repeat(40), "</a>".repeat(40));
    let text = format!("{HEADER}{deep}<m{many}/><m id='2'/>");

    let frames = decode_all(&mut Decoder::new(Limits::FROM_SERVER), text.as_bytes()).unwrap();

    let [
        Frame::Open(_),
        Frame::Stanza(first),
        Frame::Stanza(second),
        Frame::Stanza(third),
    ] = frames.as_slice()
    else {
        panic!("{frames:?}");
    };
    assert_eq!(
        (first.attr("id"), first.get_child("b", "jabber:client").unwrap().text()),
        (Some("1"), "y".into())
    );
    assert_eq!(levels(first), 15);
    assert_eq!(second.attrs().len(), 0);
    assert_eq!(third.attr("id"), Some("2"));
}

fn levels(element: &minidom::Element) -> usize {
    1 + element.children().map(levels).max().unwrap_or_default()
}

#[test]
fn flood_of_small_elements_is_refused() {
    let with = |count: usize| format!("{HEADER}<a>{}</a>", "<b/>".repeat(count));

    assert_eq!(decode(&with(999)).map(|frames| frames.len()), Ok(2));
    assert_eq!(decode(&with(1_000)), Err(CodecError::TooManyElements { limit: 1_000 }));
}

#[test]
fn elements_are_counted_for_each_stanza_and_those_beyond_are_left_out_where_excess_is() {
    let stanza = format!("<a>{}<c><d/></c>x</a>", "<b/>".repeat(200_000));
    let text = format!("{HEADER}<a/>{stanza}{stanza}");

    let frames = decode_all(&mut Decoder::new(Limits::FROM_SERVER), text.as_bytes()).unwrap();

    let [Frame::Open(_), Frame::Stanza(_), stanzas @ ..] = frames.as_slice() else {
        panic!("{} frames", frames.len());
    };
    assert_eq!(stanzas.len(), 2);
    for stanza in stanzas {
        let Frame::Stanza(stanza) = stanza else {
            panic!("{stanza:?}")
        };
        assert_eq!(stanza.children().count(), 159_999);
        assert_eq!(stanza.text(), "x");
    }
}

#[test]
fn white_space_between_stanzas_is_never_counted() {
    let mut decoder = Decoder::new(Limits::BEFORE_LOGIN);
    decode_all(&mut decoder, HEADER.as_bytes()).unwrap();

    for _ in 0..100_000 {
        assert_eq!(decode_all(&mut decoder, b" \r\n"), Ok(vec![]));
    }

    assert!(decoder.is_between_frames());
    assert_eq!(decode_all(&mut decoder, b"<a/>").map(|frames| frames.len()), Ok(1));
}

#[test]
fn decoder_knows_when_it_is_inside_a_stanza() {
    let mut decoder = Decoder::new(Limits::BEFORE_LOGIN);

    decode_all(&mut decoder, format!("{HEADER}<a><b/>").as_bytes()).unwrap();
    assert!(!decoder.is_between_frames());
    decoder.release_memory();
    decode_all(&mut decoder, b"</a>").unwrap();

    assert!(decoder.is_between_frames());
}

/// Text that XML can carry.
fn xml_text() -> impl Strategy<Value = String> {
    "([ -~\t\n\r]|[\u{80}-\u{d7ff}]|[\u{e000}-\u{fffd}]|[\u{10000}-\u{10ffff}]){0,12}"
}

fn element() -> impl Strategy<Value = minidom::Element> {
    let name = "[a-zA-Z_][a-zA-Z0-9_.-]{0,8}";
    let namespace = prop_oneof![
        Just("jabber:client".to_owned()),
        Just("urn:osa:push:1".to_owned()),
        "urn:[a-z'&<>]{1,6}"
    ];
    let attributes = prop::collection::btree_map((any::<bool>(), "[a-wyzA-Z_][a-z0-9-]{0,6}"), xml_text(), 0..4);
    let leaf = (name, namespace, attributes, xml_text()).prop_map(|(name, namespace, attributes, text)| {
        let mut element = minidom::Element::bare(name, namespace);
        for ((foreign, name), value) in attributes {
            let space = if foreign {
                rxml::Namespace::from("urn:attr")
            } else {
                rxml::Namespace::NONE
            };
            element
                .attrs_mut()
                .insert(space.into_static(), name.try_into().unwrap(), value);
        }
        if !text.is_empty() {
            element.append_text(text);
        }
        element
    });
    leaf.prop_recursive(5, 24, 4, |inner| {
        (inner.clone(), prop::collection::vec(inner, 0..4)).prop_map(|(mut parent, children)| {
            for child in children {
                parent.append_child(child);
            }
            parent
        })
    })
}

/// Cuts `bytes` where `cuts` say and reads the pieces one by one.
fn decode_split(bytes: &[u8], cuts: &[prop::sample::Index]) -> Result<Vec<Frame>, CodecError> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    let mut decoder = Decoder::new(Limits::AFTER_LOGIN);
    let mut frames = Vec::new();
    for pair in places.windows(2) {
        frames.extend(decode_all(&mut decoder, &bytes[pair[0]..pair[1]])?);
        decoder.release_memory();
    }
    Ok(frames)
}

proptest! {
    #[test]
    fn written_element_is_read_back_from_any_split(
        element in element(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40)
    ) {
        let mut text = HEADER.to_owned();
        write_element(&element, &mut text);

        let frames = decode_split(text.as_bytes(), &cuts);

        prop_assert_eq!(frames.as_ref().map(|frames| frames.get(1)), Ok(Some(&Frame::Stanza(element))));
    }

    #[test]
    fn any_split_of_any_bytes_gives_the_same_frames(
        tail in prop::collection::vec(prop::sample::select(b"<>/ab='\"& ;#x!-[]?:\xc3\xa9\xff".as_slice()), 0..60),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40)
    ) {
        let mut bytes = HEADER.as_bytes().to_vec();
        bytes.extend(tail);
        // Makes the reader decide about text it may still hold back.
        bytes.extend(b"<a/>");

        let whole = decode_split(&bytes, &[]);
        let pieces = decode_split(&bytes, &cuts);

        prop_assert_eq!(whole.is_ok(), pieces.is_ok());
        if whole.is_ok() {
            prop_assert_eq!(whole, pieces);
        }
    }

    #[test]
    fn any_text_can_be_escaped(text in any::<String>()) {
        let frames = decode(&format!("{HEADER}<a b='{0}'>{0}</a>", Escaped(&text)));

        prop_assert!(frames.is_ok(), "{:?}", frames);
    }
}
