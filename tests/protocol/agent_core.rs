//! A whole agent against our server stream and our dispatcher's half of the conversation.

use std::sync::Arc;
use std::time::{Duration, Instant};

use minidom::Element;
use osa::domain::check::{CheckInput, Dispatcher, EndedRun, Recovered};
use osa::domain::ids::{ClientName, RequestNumber, RunId, SystemId};
use osa::domain::push::client::{AgentKind, Announcement, Client, ClientEvent, Refusal, RunEnd, RunReport, RunStart};
use osa::domain::secret::Secret;
use osa::domain::time::Timestamp;
use osa::protocol::agent::{AgentCore, CoreOutput, Moment};
use osa::protocol::osa::agent_talk::{AgentTalk, Enrolment};
use osa::protocol::osa::dispatcher_talk::{DispatcherTalk, Output as TalkOutput};
use osa::protocol::stream::server::{Answer, ClientActivity, Question, ServerEvent, ServerStream};
use osa::protocol::stream::{Output, Seed};

use crate::dialogue::JID;
use crate::pair::{PASSWORD, client_config, server_config, verifiers};

const DISPATCHER: &str = "rhn-dispatcher-sat@sat.test/superclient";

fn enrolment() -> Enrolment {
    Enrolment {
        client: ClientName("aabbccddeeff0011".into()),
        key: Secret::new("0123456789abcdef0123456789abcdef01234567"),
        dispatchers: vec![DISPATCHER.into()],
        drift_millis: 0,
    }
}

fn row() -> Client {
    let Enrolment { client, key, .. } = enrolment();
    Client {
        system: SystemId(7),
        name: client,
        shared_key: key,
        jid: JID.into(),
        announced: false,
    }
}

/// Agent, server and dispatcher in memory.
struct World {
    now: Moment,
    agent: AgentCore,
    stream: ServerStream,
    talk: DispatcherTalk,
    starts: Vec<RunStart>,
    remembered: Vec<RequestNumber>,
    agent_writes: usize,
    agent_said: String,
    pushable: Option<(AgentKind, Announcement)>,
    events: Vec<ClientEvent>,
    links: Vec<Dispatcher>,
    announcements: usize,
}

impl World {
    fn new() -> Self {
        let now = Moment {
            wall: Timestamp::from_secs(1_795_336_465),
            steady: Instant::now(),
        };
        Self {
            now,
            agent: AgentCore::new(true, Seed::new([1; 32]), now),
            stream: ServerStream::new(Arc::new(server_config()), Seed::new([2; 32]), now.steady),
            talk: DispatcherTalk::new(Arc::from(DISPATCHER), JID, 3),
            starts: Vec::new(),
            remembered: Vec::new(),
            agent_writes: 0,
            agent_said: String::new(),
            pushable: None,
            events: Vec::new(),
            links: Vec::new(),
            announcements: 0,
        }
    }

    fn connect(&mut self) {
        self.stream = ServerStream::new(Arc::new(server_config()), Seed::new([2; 32]), self.now.steady);
        self.talk = DispatcherTalk::new(Arc::from(DISPATCHER), JID, 3);
        let talk = AgentTalk::new(JID.into(), enrolment(), 4);
        self.agent
            .connected(client_config(), talk, Seed::new([5; 32]), self.now);
        self.run();
    }

    fn check(&mut self, input: CheckInput) {
        self.agent.handle_check(input, self.now);
        self.run();
    }

    fn request(&mut self, number: i64) {
        self.talk.request(self.now.wall, RequestNumber(number), &row()).unwrap();
        self.run();
    }

    /// A server tells the agent how this dispatcher is.
    fn show_dispatcher(&mut self, kind: &str) {
        let presence: Element = format!("<presence xmlns='jabber:client' {kind}/>").parse().unwrap();
        self.stream.send(&stamped(presence), self.now.steady);
        self.run();
    }

    fn pass(&mut self, time: Duration) {
        self.now.steady += time;
        self.now.wall = self.now.wall + time;
        self.agent.handle_deadline(self.now);
        self.run();
    }

    fn end_run(&mut self, start: RunStart) -> RunReport {
        let run_time = Duration::from_secs(2);
        let end = RunEnd::Exited(0);
        let RunStart { run, covers } = start;
        self.check(CheckInput::RunEnded(EndedRun { run, end, run_time }));
        RunReport {
            run,
            covers,
            end,
            run_time,
        }
    }

    fn run(&mut self) {
        while self.perform_agent() | self.perform_talk() | self.perform_stream() {}
    }

    fn perform_agent(&mut self) -> bool {
        let mut acted = false;
        while let Some(output) = self.agent.poll_output() {
            acted = true;
            match output {
                CoreOutput::Write(bytes) => {
                    self.agent_writes += 1;
                    self.agent_said += std::str::from_utf8(&bytes).unwrap();
                    self.stream.receive(&bytes, self.now.steady);
                }
                CoreOutput::StartTls => {}
                CoreOutput::LinkUp(dispatcher) => self.links.push(dispatcher),
                CoreOutput::Start(start) => {
                    self.starts.push(start);
                    self.agent.handle_check(CheckInput::RunStarted(start.run), self.now);
                }
                CoreOutput::Remember(number) => self.remembered.push(number),
                CoreOutput::Close(end) => panic!("{end}"),
                CoreOutput::LoggedIn(jid) => assert_eq!(jid, JID),
                CoreOutput::ClockOff | CoreOutput::KeyVoid | CoreOutput::Forget(_) | CoreOutput::ForgetNumbers => {}
            }
        }
        acted
    }

    fn perform_stream(&mut self) -> bool {
        let mut acted = false;
        while let Some(output) = self.stream.poll_output() {
            acted = true;
            match output {
                Output::Write(bytes) => self.agent.receive(&bytes, self.now),
                Output::StartTls => {
                    self.perform_agent();
                    self.stream.tls_established(None, self.now.steady);
                    self.agent.tls_established(None, self.now);
                }
                Output::Event(ServerEvent::Ask(token, question)) => {
                    let answer = match question {
                        Question::Verifiers(_) => Answer::Verifiers(Some(Box::new(verifiers(PASSWORD)))),
                        Question::CreateAccount { .. } => Answer::Taken,
                    };
                    self.stream.answer(token, answer, self.now.steady);
                }
                Output::Event(ServerEvent::LoggedIn(jid)) => assert_eq!(jid, JID),
                Output::Event(ServerEvent::Client(activity)) => self.hear(activity),
                Output::Close(end) => panic!("{end:?}"),
            }
        }
        acted
    }

    fn hear(&mut self, activity: ClientActivity) {
        match activity {
            ClientActivity::Available(stanza) => {
                self.announcements += 1;
                self.talk.handle_presence(self.now.wall, &stanza);
            }
            ClientActivity::Message(stanza) => self.talk.handle_message(self.now.wall, &stanza),
            ClientActivity::Unavailable => panic!("nobody leaves"),
        }
    }

    fn perform_talk(&mut self) -> bool {
        let mut acted = false;
        while let Some(output) = self.talk.poll_output() {
            acted = true;
            match output {
                TalkOutput::Write(stanza) => self.stream.send(&stamped(stanza), self.now.steady),
                TalkOutput::Ask(question) => self.talk.handle_client(self.now.wall, &question, Some(row())),
                TalkOutput::Pushable { kind, announcement, .. } => {
                    self.pushable = announcement.map(|announcement| (kind, announcement));
                }
                TalkOutput::Event(_, event) => self.events.push(event),
                other => panic!("{other:?}"),
            }
        }
        acted
    }
}

fn stamped(mut stanza: Element) -> Element {
    stanza.set_attr(
        rxml::Namespace::NONE,
        rxml::xml_ncname!("from").into(),
        DISPATCHER.to_owned(),
    );
    stanza
}

fn first_run(world: &World) -> RunStart {
    world.starts[0]
}

#[test]
fn push_goes_from_request_to_acknowledged_report() {
    let mut world = World::new();
    world.check(CheckInput::AgentStarted(Recovered::default()));
    let after_start = first_run(&world);
    world.connect();
    let announced = Announcement {
        running: Some(after_start),
        ..Announcement::default()
    };
    assert_eq!(world.pushable, Some((AgentKind::New, announced)));
    assert_eq!(world.links, [Dispatcher::Ours]);
    let first = world.end_run(after_start);
    world.talk.acknowledge(world.now.wall, first.run);
    world.run();

    world.request(1);
    let pushed = world.starts[1];
    let second = world.end_run(pushed);

    assert_eq!(pushed.covers, RequestNumber(1));
    let expected = [
        ClientEvent::Finished(first),
        ClientEvent::Accepted(RequestNumber(1)),
        ClientEvent::Started(pushed),
        ClientEvent::Finished(second),
    ];
    assert_eq!(world.events, expected);
    world.connect();
    let (_, announcement) = world.pushable.unwrap();
    assert_eq!(announcement.reports, [second], "the acknowledged one is forgotten");
}

#[test]
fn request_during_a_run_is_remembered_and_runs_once_more() {
    let mut world = World::new();
    world.check(CheckInput::AgentStarted(Recovered::default()));
    world.connect();

    world.request(1);
    world.request(2);
    world.end_run(first_run(&world));

    assert_eq!(world.remembered, [RequestNumber(1), RequestNumber(2)]);
    assert_eq!(world.starts.len(), 2);
    assert_eq!(world.starts[1].covers, RequestNumber(2));
}

#[test]
fn draining_agent_refuses_and_says_so() {
    let mut world = World::new();
    world.connect();
    world.check(CheckInput::DrainRequested);

    world.request(1);

    assert_eq!(
        world.events,
        [ClientEvent::Refused(RequestNumber(1), Refusal::Draining)]
    );
    assert_eq!(world.starts, []);
}

#[test]
fn answer_and_start_travel_in_two_records_at_most() {
    let mut world = World::new();
    world.connect();
    let before = world.agent_writes;

    world.request(1);

    assert_eq!(world.events.len(), 2);
    assert!(world.agent_writes - before <= 2, "{}", world.agent_writes - before);
}

#[test]
fn report_without_acknowledgement_is_repeated_when_its_deadline_comes() {
    let mut world = World::new();
    world.check(CheckInput::AgentStarted(Recovered::default()));
    world.connect();
    let report = world.end_run(first_run(&world));
    let report_again_at = world.now.steady + Duration::from_secs(60);
    assert!(world.agent.next_deadline().unwrap() <= report_again_at);

    world.now.steady = report_again_at;
    world.now.wall = world.now.wall + Duration::from_secs(60);
    world.agent.handle_deadline(world.now);
    world.run();

    assert_eq!(
        world.events,
        [ClientEvent::Finished(report), ClientEvent::Finished(report)]
    );
}

#[test]
fn run_ids_differ() {
    let mut world = World::new();
    world.check(CheckInput::AgentStarted(Recovered::default()));
    world.end_run(first_run(&world));
    world.connect();

    world.request(1);

    let runs: Vec<RunId> = world.starts.iter().map(|start| start.run).collect();
    assert_ne!(runs[0], runs[1]);
}

#[test]
fn dispatcher_that_comes_back_hears_the_announcement_again() {
    let mut world = World::new();
    world.connect();
    world.pass(Duration::from_secs(5));
    assert_eq!(world.announcements, 1);

    world.show_dispatcher("type='unavailable'");
    world.show_dispatcher("");

    assert_eq!(world.announcements, 2);
    assert_eq!(world.links, [Dispatcher::Ours, Dispatcher::Ours]);
}

#[test]
fn announcements_keep_their_distance_and_none_is_lost() {
    let mut world = World::new();
    world.connect();
    world.pass(Duration::from_secs(3));

    for _ in 0..10 {
        world.show_dispatcher("");
    }
    world.pass(Duration::from_millis(1_999));
    assert_eq!(world.announcements, 1);
    world.pass(Duration::from_millis(1));

    assert_eq!(world.announcements, 2);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.announcements, 2);
}

#[test]
fn dispatcher_that_answers_after_it_came_needs_no_other_announcement() {
    let mut world = World::new();
    world.connect();
    world.pass(Duration::from_secs(3));

    world.show_dispatcher("type='unavailable'");
    world.show_dispatcher("");
    world.request(1);
    world.pass(Duration::from_secs(5));

    assert_eq!(world.announcements, 1);
}

#[test]
fn reports_of_a_dispatchers_absence_reach_its_successor() {
    let mut world = World::new();
    world.check(CheckInput::AgentStarted(Recovered::default()));
    world.connect();
    world.pass(Duration::from_secs(5));
    world.show_dispatcher("type='unavailable'");
    let report = world.end_run(first_run(&world));
    assert_eq!(world.events, []);

    world.show_dispatcher("");

    let (_, announcement) = world.pushable.unwrap();
    assert_eq!(announcement.reports, [report]);
}

#[test]
fn embedded_server_gets_no_subscription_ping_or_second_announcement() {
    let mut world = World::new();
    world.connect();

    for _ in 0..10 {
        world.now.steady += Duration::from_secs(60);
        world.now.wall = world.now.wall + Duration::from_secs(60);
        world.stream.handle_deadline(world.now.steady);
        world.run();
        world.pass(Duration::ZERO);
    }

    let said = &world.agent_said;
    assert_eq!(said.matches("<presence").count(), 1, "{said}");
    assert!(!said.contains("subscribe") && !said.contains("<ping"), "{said}");
}
