//! Noise: anything in any order may end a stream, and must do nothing else.

use osa::protocol::stream::Output;
use osa::protocol::stream::server::{Answer, ServerEvent};
use proptest::prelude::*;

use crate::pair::{PASSWORD, verifiers};
use crate::scripted_client::{ALL_STATES, BIND, HEADER, REGISTER, SCRAM, STARTTLS, Scripted, plain};

#[derive(Clone, Debug)]
enum Step {
    Say(String),
    Cut(String, usize),
    Tls,
    Answer(Answer),
    Wait(u64),
}

fn text() -> impl Strategy<Value = String> {
    let known = vec![
        HEADER,
        STARTTLS,
        BIND,
        SCRAM,
        REGISTER,
        "</stream:stream>",
        "<presence/>",
        "<presence><a xmlns='urn:osa:push:1'/></presence>",
        "<presence type='subscribe' to='rhn-dispatcher-sat@sat.test'/>",
        "<message to='rhn-dispatcher-sat@sat.test/superclient'/>",
        "<message to='osad-other@sat.test/osad'/>",
        "<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>",
        "<iq type='get' id='1' to='osad-other@sat.test'><ping xmlns='urn:xmpp:ping'/></iq>",
        "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AAAA</response>",
        "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        " ",
        "<",
        "&",
        "]]>",
    ];
    prop_oneof![
        8 => prop::sample::select(known).prop_map(str::to_owned).boxed(),
        1 => Just(plain(PASSWORD)).boxed(),
        1 => "[<>/a-c='\" ]{0,12}".boxed(),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => text().prop_map(Step::Say),
        2 => (text(), 0_usize..200).prop_map(|(text, at)| Step::Cut(text, at)),
        1 => Just(Step::Tls),
        2 => prop::sample::select(vec![
            Answer::Verifiers(Some(Box::new(verifiers(PASSWORD)))),
            Answer::Verifiers(None),
            Answer::Created,
            Answer::Taken,
            Answer::Refused,
            Answer::Unavailable,
        ]).prop_map(Step::Answer),
        1 => (0_u64..100).prop_map(Step::Wait),
    ]
}

fn perform(server: &mut Scripted, step: Step) {
    match step {
        Step::Say(text) => server.stream.receive(text.as_bytes(), server.now),
        Step::Cut(text, at) => {
            let cut = &text.as_bytes()[..at.min(text.len())];
            server.stream.receive(cut, server.now);
        }
        Step::Tls => server.stream.tls_established(Some([6; 32]), server.now),
        Step::Answer(answer) => {
            if let Some(token) = server.last_token {
                server.stream.answer(token, answer, server.now);
            }
        }
        Step::Wait(secs) => {
            server.now += std::time::Duration::from_secs(secs);
            server.stream.handle_deadline(server.now);
        }
    }
}

proptest! {
    #[test]
    fn noise_ends_a_stream_at_most(
        state in prop::sample::select(&ALL_STATES[..]),
        steps in prop::collection::vec(step(), 1..25)
    ) {
        let mut server = Scripted::at(state);
        let mut logged_in = server.stream.is_open();
        let mut ended = state == crate::scripted_client::At::Closed;
        for step in steps {
            perform(&mut server, step);
            for output in server.outputs() {
                prop_assert!(!ended, "after the end: {output:?}");
                match output {
                    Output::Write(bytes) => prop_assert!(!String::from_utf8(bytes).unwrap().contains("code='409'")),
                    Output::StartTls => prop_assert!(!logged_in),
                    Output::Event(ServerEvent::Ask(token, _)) => {
                        prop_assert!(!logged_in);
                        server.last_token = Some(token);
                    }
                    Output::Event(ServerEvent::LoggedIn(_)) => {
                        prop_assert!(!logged_in);
                        logged_in = true;
                    }
                    Output::Event(ServerEvent::Client(_)) => prop_assert!(logged_in, "a stranger was heard"),
                    Output::Close(_) => ended = true,
                }
            }
            prop_assert_eq!(server.stream.next_deadline().is_none(), ended);
            prop_assert_eq!(server.stream.is_open(), logged_in && !ended);
        }
    }
}
