//! Signed elements, of existing and of new peers, as text and in both halves of the conversation.
//!
//! Nothing that was not signed with the key has an effect; what our own writers make of any content is read back as it
//! was and is valid. An attribute `seal` with the value `yes` asks for elements to be signed by the owner of the key first, so that
//! the fuzzer reaches what lies behind the signature.

use std::sync::Arc;

use minidom::Element;
use osa::domain::ids::{ClientName, SystemId};
use osa::domain::push::client::Client;
use osa::domain::secret::Secret;
use osa::domain::time::Timestamp;
use osa::protocol::osa::agent_talk::{self, AgentTalk, Enrolment};
use osa::protocol::osa::dispatcher_talk::{self, DispatcherTalk};
use osa::protocol::osa::payload::{ToAgent, ToDispatcher};
use osa::protocol::osa::seal::{Direction, Parties, Stamp, is_sealed, seal};
use osa::protocol::osa::signed::{Content, Signed};

use super::stanzas;

/// The dispatcher of the corpus.
pub const DISPATCHER: &str = "rhn-dispatcher-sat@satellite.test/superclient";
/// The agent of the corpus.
pub const AGENT: &str = "osad-0123456789@satellite.test/osad";
/// The name of its registration.
pub const NAME: &str = "000000003b9af111";
/// Its key.
pub const KEY: &str = "000000000000000000000000562f57d912ac6111";
/// The time of all that is signed here.
pub const NOW: Timestamp = Timestamp::from_secs(1_795_336_465);

/// Looks at every stanza among the bytes; counts what had an effect in one of the conversations.
pub fn run(data: &[u8]) -> usize {
    let stanzas = stanzas(data);
    for element in stanzas.iter().flat_map(|stanza| stanza.children()) {
        check_signed(element);
        check_payload(element);
        check_seal(element);
    }
    converse(&stanzas)
}

fn key() -> Secret {
    Secret::new(KEY)
}

fn check_signed(element: &Element) {
    let signed = Signed::from_element(element);
    assert_eq!(Signed::from_element(&signed.to_element()), signed);
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (serial, action) = (text(&signed.serial), text(&signed.action));
    let content = Content {
        timestamp: signed.unix_seconds().unwrap_or(0),
        serial: &serial,
        action: &action,
    };
    let (client, jid) = (text(&signed.client_id), text(&signed.jid));
    let request = Signed::request(&key(), AGENT, &jid, content);
    let response = Signed::response(&key(), DISPATCHER, &client, &jid, content);
    assert!(request.is_valid_request(&key(), AGENT));
    assert!(!request.is_valid_request(&key(), DISPATCHER));
    assert!(response.is_valid_response(&key(), DISPATCHER, &jid));
    assert!(!response.is_valid_response(&Secret::new("another"), DISPATCHER, &jid));
}

fn check_payload(element: &Element) {
    if let Ok(payload) = ToAgent::parse(element) {
        assert_eq!(ToAgent::parse(&payload.to_element()), Ok(payload));
    }
    if let Ok(payload) = ToDispatcher::parse(element) {
        assert_eq!(ToDispatcher::parse(&payload.to_element()), Ok(payload));
    }
}

fn check_seal(element: &Element) {
    let sealed = sealed_by_agent(element);
    assert!(is_sealed(&sealed, to_dispatcher(), &key()));
    assert!(!is_sealed(&sealed, to_agent(), &key()));
    assert!(!is_sealed(&sealed, to_dispatcher(), &Secret::new("another")));
    assert_eq!(Stamp::of(&sealed), Ok(stamp()));
}

fn to_dispatcher() -> Parties<'static> {
    Parties {
        direction: Direction::ToDispatcher,
        sender: AGENT,
        recipient: DISPATCHER,
    }
}

fn to_agent() -> Parties<'static> {
    Parties {
        direction: Direction::ToAgent,
        sender: DISPATCHER,
        recipient: AGENT,
    }
}

fn stamp() -> Stamp {
    Stamp {
        client: ClientName(NAME.into()),
        time: NOW,
        serial: "5451e0-5".into(),
    }
}

fn sealed_by_agent(element: &Element) -> Element {
    seal(element.clone(), stamp(), to_dispatcher(), &key())
}

fn sealed_by_dispatcher(element: &Element) -> Element {
    seal(element.clone(), stamp(), to_agent(), &key())
}

/// The stanza with the children that ask for it signed, and whether there were any.
fn sealed(stanza: &Element, seal: fn(&Element) -> Element) -> (Element, bool) {
    let mut copy = Element::bare(stanza.name(), stanza.ns());
    *copy.attrs_mut() = stanza.attrs().clone();
    let asks = |child: &Element| child.attr("seal") == Some("yes");
    for child in stanza.children() {
        copy.append_child(if asks(child) { seal(child) } else { child.clone() });
    }
    (copy, stanza.children().any(asks))
}

fn converse(stanzas: &[Element]) -> usize {
    let mut dispatcher = DispatcherTalk::new(Arc::from(DISPATCHER), AGENT, 1);
    let enrolment = Enrolment {
        client: ClientName(NAME.into()),
        key: key(),
        dispatchers: vec![DISPATCHER.into()],
        drift_millis: 0,
    };
    let mut agent = AgentTalk::new(AGENT.into(), enrolment, 2);
    let mut effects = 0;
    for stanza in stanzas {
        let (to_dispatcher, is_signed) = sealed(stanza, sealed_by_agent);
        effects += tell_dispatcher(&mut dispatcher, &to_dispatcher, is_signed || is_response(stanza));
        let (to_agent, is_signed) = sealed(stanza, sealed_by_dispatcher);
        effects += tell_agent(&mut agent, &to_agent, is_signed || is_request(stanza));
    }
    effects
}

/// Whether the stanza carries a signature of the client with the key: the vectors of the corpus do.
fn is_response(stanza: &Element) -> bool {
    let is_valid = |signed: Signed| signed.is_valid_response(&key(), DISPATCHER, AGENT);
    Signed::in_message(stanza).is_some_and(is_valid) || has_sealed(stanza, to_dispatcher())
}

fn is_request(stanza: &Element) -> bool {
    let is_valid = |signed: Signed| signed.is_valid_request(&key(), AGENT);
    Signed::in_message(stanza).is_some_and(is_valid) || has_sealed(stanza, to_agent())
}

fn has_sealed(stanza: &Element, parties: Parties<'_>) -> bool {
    stanza.children().any(|child| is_sealed(child, parties, &key()))
}

fn tell_dispatcher(talk: &mut DispatcherTalk, stanza: &Element, may_act: bool) -> usize {
    let mut effects = 0;
    if stanza.name() == "presence" {
        talk.handle_presence(NOW, stanza);
    } else {
        talk.handle_message(NOW, stanza);
    }
    while let Some(output) = talk.poll_output() {
        match output {
            dispatcher_talk::Output::Ask(question) => talk.handle_client(NOW, &question, Some(client())),
            dispatcher_talk::Output::Event(system, event) => {
                assert_eq!(system, client().system);
                assert!(may_act, "an event without a signature: {event:?}");
                effects += 1;
            }
            dispatcher_talk::Output::Write(_)
            | dispatcher_talk::Output::Pushable { .. }
            | dispatcher_talk::Output::Ignored(_) => {}
        }
    }
    effects
}

fn client() -> Client {
    Client {
        system: SystemId(7),
        name: ClientName(NAME.into()),
        shared_key: key(),
        jid: AGENT.into(),
        announced: false,
    }
}

fn tell_agent(talk: &mut AgentTalk, stanza: &Element, may_act: bool) -> usize {
    let has_effect = |output: &agent_talk::Output| match output {
        agent_talk::Output::RequestReceived(_)
        | agent_talk::Output::LinkUp(_)
        | agent_talk::Output::Acknowledged(_) => true,
        agent_talk::Output::Write(_)
        | agent_talk::Output::ClockOff
        | agent_talk::Output::KeyVoid
        | agent_talk::Output::DispatcherCame(_)
        | agent_talk::Output::DispatcherLeft(_)
        | agent_talk::Output::DispatcherUnknown(_)
        | agent_talk::Output::Ignored(_) => false,
    };
    let outputs = talk.handle_message(NOW, stanza);
    let effects = outputs.iter().filter(|output| has_effect(output)).count();
    assert!(may_act || effects == 0, "an effect without a signature: {outputs:?}");
    effects
}
