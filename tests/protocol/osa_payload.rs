//! Our own elements and their signature.

use std::time::Duration;

use minidom::Element;
use osa::domain::ids::{ClientName, RequestNumber, RunId};
use osa::domain::push::client::{Announcement, ClientEvent, Refusal, RunEnd, RunReport, RunStart};
use osa::domain::secret::Secret;
use osa::domain::time::Timestamp;
use osa::protocol::osa::payload::{Hello, PayloadError, REPORTS_MAX, ToAgent, ToDispatcher, event_element};
use osa::protocol::osa::replay::{DRIFT_MAX, Overflow, REMEMBERED_MAX, ReplayGuard, Stale};
use osa::protocol::osa::seal::{Direction, Parties, Stamp, is_sealed, seal};
use proptest::prelude::*;

use crate::osa_parties::{AGENT, DISPATCHER, KEY, NAME, NOW};

const TO_AGENT: Parties<'static> = Parties {
    direction: Direction::ToAgent,
    sender: DISPATCHER,
    recipient: AGENT,
};

fn stamp() -> Stamp {
    Stamp {
        client: ClientName(NAME.into()),
        time: NOW,
        serial: "d-0".into(),
    }
}

fn sealed() -> Element {
    seal(
        ToAgent::Request(RequestNumber(7)).to_element(),
        stamp(),
        TO_AGENT,
        &Secret::new(KEY),
    )
}

#[test]
fn signature_of_the_documented_example_stays_the_same() {
    let element: Element = DOCUMENTED.parse().unwrap();

    assert!(is_sealed(&element, TO_AGENT, &Secret::new(KEY)));
    assert_eq!(ToAgent::parse(&element), Ok(ToAgent::Request(RequestNumber(7))));
    assert_eq!(Stamp::of(&element), Ok(stamp()));
    assert_eq!(sealed().attr("signature"), element.attr("signature"));
}

/// The example of `docs/protocol.md`.
const DOCUMENTED: &str = "<request xmlns='urn:osa:push:1' action='checkin' number='7' client-id='aabbccddeeff0011' timestamp='1795336465' serial='d-0' signature='d5fE2sjSXPuRK1kaeRosqgX8drFRMvsNl8iVa9YNLSw='/>";

#[test]
fn signature_is_bound_to_key_direction_and_both_addresses() {
    let element = sealed();
    let key = Secret::new(KEY);
    let other = "other@sat.example.com/osad";

    assert!(is_sealed(&element, TO_AGENT, &key));
    assert!(!is_sealed(&element, TO_AGENT, &Secret::new("another key")));
    assert!(!is_sealed(
        &element,
        Parties {
            direction: Direction::ToDispatcher,
            ..TO_AGENT
        },
        &key
    ));
    assert!(!is_sealed(
        &element,
        Parties {
            sender: other,
            ..TO_AGENT
        },
        &key
    ));
    assert!(!is_sealed(
        &element,
        Parties {
            recipient: other,
            ..TO_AGENT
        },
        &key
    ));
    assert!(!is_sealed(
        &element,
        Parties {
            sender: AGENT,
            recipient: DISPATCHER,
            ..TO_AGENT
        },
        &key
    ));
}

#[test]
fn signature_covers_name_attributes_and_children_of_an_element() {
    let key = Secret::new(KEY);
    let text = String::from(&sealed());
    let forged = [
        text.replace("<request", "<answer"),
        text.replace("number='7'", "number='8'"),
        text.replace("number='7'", "number='7' more=''"),
        text.replace(" number='7'", ""),
        text.replace("checkin", "ping"),
        text.replace(NAME, "aabbccddeeff0012"),
        text.replace("d-0", "d-1"),
        text.replace("1795336465", "1795336466"),
        text.replace("/>", "><finished/></request>"),
        text.replace("signature=", "sign="),
        text.replace("urn:osa:push:1", "urn:osa:push:2"),
    ];

    for forged in forged {
        assert_ne!(forged, text);
        let element: Element = forged.parse().unwrap();
        assert!(
            !is_sealed(&element, TO_AGENT, &key) || ToAgent::parse(&element).is_err(),
            "{forged}"
        );
    }
}

#[test]
fn unknown_attributes_and_foreign_children_are_ignored() {
    let mut element = ToAgent::Request(RequestNumber(7)).to_element();
    element.set_attr(rxml::Namespace::NONE, "newer".try_into().unwrap(), "yes");
    element.append_child(Element::bare("newer", "urn:osa:push:1"));
    let mut element = seal(element, stamp(), TO_AGENT, &Secret::new(KEY));
    element.append_child(Element::bare("stamp", "urn:some:server"));

    assert!(
        is_sealed(&element, TO_AGENT, &Secret::new(KEY)),
        "what is newer is signed, what a server adds is not"
    );
    assert_eq!(ToAgent::parse(&element), Ok(ToAgent::Request(RequestNumber(7))));
}

#[test]
fn malformed_elements_name_the_attribute_to_blame() {
    let cases = [
        ("<answer number='1' result='maybe'/>", "result"),
        ("<answer number='-1' result='accepted'/>", "number"),
        ("<answer number='1' result='refused' reason='mood'/>", "reason"),
        ("<answer result='accepted'/>", "number"),
        ("<started run='0' covers='1'/>", "run"),
        (
            "<finished run='01010101010101010101010101010101' covers='1' exit='fine' run-time='1'/>",
            "exit",
        ),
        (
            "<finished run='01010101010101010101010101010101' covers='1' exit='0' run-time='-1'/>",
            "run-time",
        ),
        (
            "<finished run='01010101010101010101010101010101' covers='1' exit='0'/>",
            "run-time",
        ),
        ("<agent version='1' revision='1'/>", "to"),
        ("<agent to='x' revision='1'/>", "version"),
        ("<agent to='x' version='1' revision='x'/>", "revision"),
        ("<agent to='x' version='1' revision='1'><running/></agent>", "run"),
    ];

    for (text, attribute) in cases {
        let element: Element = text.replacen(' ', " xmlns='urn:osa:push:1' ", 1).parse().unwrap();
        assert_eq!(
            ToDispatcher::parse(&element),
            Err(PayloadError::Attribute(attribute)),
            "{text}"
        );
    }
    for name in ["welcome", "request", "received", "x"] {
        let element = Element::bare(name, "urn:osa:push:1");
        assert_eq!(ToDispatcher::parse(&element), Err(PayloadError::UnknownElement));
    }
    assert_eq!(
        ToAgent::parse(&Element::bare("pong", "urn:osa:push:1")),
        Err(PayloadError::UnknownElement)
    );
    assert_eq!(
        ToDispatcher::parse(&Element::bare("pong", "urn:other")),
        Err(PayloadError::UnknownElement)
    );
}

#[test]
fn announcement_with_too_many_reports_is_refused_and_never_written() {
    let report = RunReport {
        run: RunId([1; 16]),
        covers: RequestNumber(1),
        end: RunEnd::Lost,
        run_time: Duration::ZERO,
    };
    let announcement = Announcement {
        reports: vec![report; REPORTS_MAX + 1],
        ..Announcement::default()
    };
    let hello = Hello {
        recipient: DISPATCHER.into(),
        version: "0.1.0".into(),
        revision: 1,
        announcement,
    };

    let mut element = ToDispatcher::Agent(hello).to_element();
    assert_eq!(element.children().count(), REPORTS_MAX);
    assert!(ToDispatcher::parse(&element).is_ok());

    element.append_child(event_element(&ClientEvent::Finished(report)));
    assert_eq!(ToDispatcher::parse(&element), Err(PayloadError::TooManyReports));
}

#[test]
fn element_counts_once_within_the_drift_window() {
    let mut guard = ReplayGuard::strict();
    let edge = NOW + DRIFT_MAX;

    assert_eq!(guard.admit(edge, NOW, "signature-of-some-length"), Ok(()));
    assert_eq!(guard.admit(edge, NOW, "signature-of-some-length"), Err(Stale::Replayed));
    assert_eq!(guard.admit(edge, NOW, "Signature-of-some-length"), Ok(()));
    let later = edge + Duration::from_millis(1);
    assert_eq!(guard.admit(later, NOW, "c"), Err(Stale::Clock { off_secs: -120 }));
    assert_eq!(guard.admit(NOW, edge, "d"), Ok(()), "a clock that is ahead is as good");
    assert_eq!(guard.admit(NOW, later, "e"), Err(Stale::Clock { off_secs: 120 }));
    assert!(guard.admit(NOW, Timestamp::from_millis(i64::MIN), "f").is_err());
}

#[test]
fn full_memory_refuses_or_forgets_and_heals_with_time() {
    let mut strict = ReplayGuard::strict();
    let mut lenient = ReplayGuard::new(DRIFT_MAX, Overflow::ForgetOldest);
    for number in 0..REMEMBERED_MAX {
        assert_eq!(strict.admit(NOW, NOW, &number.to_string()), Ok(()));
        assert_eq!(lenient.admit(NOW, NOW, &number.to_string()), Ok(()));
    }

    assert_eq!(strict.admit(NOW, NOW, "one more"), Err(Stale::TooMany));
    assert_eq!(lenient.admit(NOW, NOW, "one more"), Ok(()));
    assert_eq!(lenient.admit(NOW, NOW, "1"), Err(Stale::Replayed));
    assert_eq!(lenient.admit(NOW, NOW, "0"), Ok(()), "forgotten");
    let later = NOW + DRIFT_MAX + Duration::from_millis(1);
    assert_eq!(strict.admit(later, later, "one more"), Ok(()));
}

fn number() -> impl Strategy<Value = RequestNumber> {
    (0..=i64::MAX).prop_map(RequestNumber)
}

fn start() -> impl Strategy<Value = RunStart> {
    (any::<[u8; 16]>(), number()).prop_map(|(run, covers)| RunStart {
        run: RunId(run),
        covers,
    })
}

fn run_report() -> impl Strategy<Value = RunReport> {
    let end = prop_oneof![any::<i32>().prop_map(RunEnd::Exited), Just(RunEnd::Lost)];
    (start(), end, any::<u64>()).prop_map(|(start, end, millis)| RunReport {
        run: start.run,
        covers: start.covers,
        end,
        run_time: Duration::from_millis(millis),
    })
}

fn to_dispatcher() -> impl Strategy<Value = ToDispatcher> {
    let refusal = prop_oneof![
        Just(Refusal::Disabled),
        Just(Refusal::Clock),
        Just(Refusal::Signature),
        Just(Refusal::Draining)
    ];
    let event = prop_oneof![
        number().prop_map(ClientEvent::Accepted),
        (number(), refusal).prop_map(|(number, refusal)| ClientEvent::Refused(number, refusal)),
        start().prop_map(ClientEvent::Started),
        run_report().prop_map(ClientEvent::Finished),
        Just(ClientEvent::Ponged),
    ];
    let reports = prop::collection::vec(run_report(), 0..4);
    let announcement =
        (prop::option::of(start()), prop::option::of(number()), reports).prop_map(|(running, pending, reports)| {
            Announcement {
                running,
                pending,
                reports,
            }
        });
    let hello = (announcement, "[ -~]{0,64}", any::<u32>()).prop_map(|(announcement, version, revision)| Hello {
        recipient: DISPATCHER.into(),
        version,
        revision,
        announcement,
    });
    prop_oneof![event.prop_map(ToDispatcher::Event), hello.prop_map(ToDispatcher::Agent)]
}

proptest! {
    #[test]
    fn every_element_survives_the_wire_and_verifies(payload in to_dispatcher(), key in "[0-9a-f]{40}") {
        let key = Secret::new(key);
        let parties = Parties { direction: Direction::ToDispatcher, sender: AGENT, recipient: DISPATCHER };
        let element = seal(payload.to_element(), stamp(), parties, &key);

        let read: Element = String::from(&element).parse().unwrap();

        prop_assert!(is_sealed(&read, parties, &key));
        prop_assert_eq!(ToDispatcher::parse(&read), Ok(payload));
        prop_assert_eq!(Stamp::of(&read), Ok(stamp()));
    }

    #[test]
    fn two_different_elements_never_share_a_signature(
        one in prop::collection::btree_map("[a-c]{1,2}", "[a-c]{0,3}", 0..4),
        other in prop::collection::btree_map("[a-c]{1,2}", "[a-c]{0,3}", 0..4),
    ) {
        prop_assume!(one != other);
        let signature = |attributes: &std::collections::BTreeMap<String, String>| {
            let mut element = Element::bare("request", "urn:osa:push:1");
            for (name, value) in attributes {
                element.set_attr(rxml::Namespace::NONE, name.as_str().try_into().unwrap(), value);
            }
            let sealed = seal(element, stamp(), TO_AGENT, &Secret::new(KEY));
            sealed.attr("signature").unwrap().to_owned()
        };

        prop_assert_ne!(signature(&one), signature(&other));
    }
}

#[test]
fn clock_that_is_set_back_lets_nothing_count_again() {
    let mut guard = ReplayGuard::strict();
    let later = NOW + DRIFT_MAX + Duration::from_millis(1);
    assert_eq!(guard.admit(NOW, NOW, "a"), Ok(()));
    assert_eq!(guard.admit(later, later, "b"), Ok(()), "the first one is forgotten");

    assert_eq!(guard.admit(NOW, NOW, "a"), Err(Stale::Clock { off_secs: 0 }));
    assert_eq!(guard.admit(later, later, "b"), Err(Stale::Replayed));
    assert_eq!(guard.admit(NOW, NOW + Duration::from_millis(1), "c"), Ok(()));
}
