//! A dispatcher's and an agent's half, joined by the codec: what one writes, the other reads from its bytes.

use std::sync::Arc;

use minidom::Element;
use osa::domain::ids::{ClientName, RequestNumber, RunId, SystemId};
use osa::domain::push::client::{Client, ClientEvent, RunEnd, RunReport};
use osa::domain::secret::Secret;
use osa::domain::time::Timestamp;
use osa::protocol::codec::write_element;
use osa::protocol::osa::action::Action;
use osa::protocol::osa::agent_talk::{self, AgentTalk, Enrolment};
use osa::protocol::osa::dispatcher_talk::{self, DispatcherTalk, Question};
use osa::protocol::osa::signed::{Content, Signed};

pub const DISPATCHER: &str = "rhn-dispatcher-sat@sat.example.com/superclient";
pub const AGENT: &str = "osad-1a2b3c4d5e@sat.example.com/osad";
pub const KEY: &str = "0123456789abcdef0123456789abcdef01234567";
pub const NAME: &str = "aabbccddeeff0011";
pub const NOW: Timestamp = Timestamp::from_secs(1_795_336_465);

pub fn client() -> Client {
    Client {
        system: SystemId(1_000_010_001),
        name: ClientName(NAME.into()),
        shared_key: Secret::new(KEY),
        jid: AGENT.into(),
        announced: false,
    }
}

pub fn enrolment() -> Enrolment {
    Enrolment {
        client: ClientName(NAME.into()),
        key: Secret::new(KEY),
        dispatchers: vec![DISPATCHER.into()],
        drift_millis: 0,
    }
}

pub fn agent() -> AgentTalk {
    AgentTalk::new(AGENT.into(), enrolment(), 0xa)
}

pub fn dispatcher() -> DispatcherTalk {
    DispatcherTalk::new(Arc::from(DISPATCHER), AGENT, 0xd)
}

/// Carries a stanza over the wire, stamped with its sender by a server.
pub fn carry(stanza: &Element, from: &str) -> Element {
    let mut text = String::new();
    write_element(stanza, &mut text);
    let name = stanza.name();
    let stamped = text.replacen(
        &format!("<{name}"),
        &format!("<{name} xmlns='jabber:client' from='{from}'"),
        1,
    );
    stamped.parse().unwrap()
}

/// Everything the dispatcher's half has to do.
pub fn drain(talk: &mut DispatcherTalk) -> Vec<dispatcher_talk::Output> {
    std::iter::from_fn(|| talk.poll_output()).collect()
}

/// The stanzas among it, as the agent gets them.
pub fn stanzas(outputs: &[dispatcher_talk::Output]) -> Vec<Element> {
    let written = outputs.iter().filter_map(|output| match output {
        dispatcher_talk::Output::Write(stanza) => Some(carry(stanza, DISPATCHER)),
        _ => None,
    });
    written.collect()
}

/// The stanzas an agent writes of its own accord, as the dispatcher gets them.
pub fn replies(outputs: &[agent_talk::Output]) -> Vec<Element> {
    let written = outputs.iter().filter_map(|output| match output {
        agent_talk::Output::Write(stanza) => Some(carry(stanza, AGENT)),
        _ => None,
    });
    written.collect()
}

pub fn by_jid() -> Question {
    Question::ClientByJid(AGENT.into())
}

pub fn by_name(name: &str) -> Question {
    Question::ClientByName(ClientName(name.into()))
}

pub fn available() -> Element {
    "<presence xmlns='jabber:client'/>".parse().unwrap()
}

/// A session of an existing agent that is pushable.
pub fn existing_session() -> DispatcherTalk {
    let mut talk = dispatcher();
    talk.handle_presence(NOW, &available());
    talk.handle_client(NOW, &by_jid(), Some(client()));
    drain(&mut talk);
    talk
}

/// A session of a new agent that is pushable, and the agent, welcomed.
pub fn new_session() -> (DispatcherTalk, AgentTalk) {
    let (mut talk, mut agent) = (dispatcher(), agent());
    let presence = agent.presence(NOW, "0.1.0", &Default::default());
    talk.handle_presence(NOW, &carry(&presence, AGENT));
    drain(&mut talk);
    talk.handle_client(NOW, &by_jid(), Some(client()));
    for stanza in stanzas(&drain(&mut talk)) {
        agent.handle_message(NOW, &stanza);
    }
    (talk, agent)
}

pub fn report(run: u8, covers: i64) -> RunReport {
    RunReport {
        run: RunId([run; 16]),
        covers: RequestNumber(covers),
        end: RunEnd::Exited(0),
        run_time: std::time::Duration::from_millis(1_500),
    }
}

/// What the clients of these outputs said.
pub fn events(outputs: &[dispatcher_talk::Output]) -> Vec<ClientEvent> {
    let events = outputs.iter().filter_map(|output| match output {
        dispatcher_talk::Output::Event(system, event) => {
            assert_eq!(*system, client().system);
            Some(event.clone())
        }
        _ => None,
    });
    events.collect()
}

/// What the dispatcher makes of a message.
pub fn heard(talk: &mut DispatcherTalk, message: &Element) -> Vec<dispatcher_talk::Output> {
    talk.handle_message(NOW, message);
    drain(talk)
}

/// An existing agent's answer.
pub fn existing_answer(name: &str, key: &str, action: Action) -> Element {
    let content = Content {
        timestamp: 1,
        serial: "d4e5f6-12",
        action: action.response(),
    };
    let signed = Signed::response(&Secret::new(key), DISPATCHER, name, AGENT, content);
    let mut message: Element = format!("<message xmlns='jabber:client' from='{AGENT}' type='normal'/>")
        .parse()
        .unwrap();
    message.append_child(signed.to_element());
    message
}
