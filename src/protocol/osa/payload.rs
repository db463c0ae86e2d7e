//! Our own elements in [`ns::PUSH`], direct children of a message or of the initial presence. `docs/protocol.md` has
//! examples of each one.
//!
//! Unknown attributes and children are ignored (but signed); an element of unknown name is ignored by itself.

use std::time::Duration;

use minidom::Element;

use super::stanza::set;
use crate::domain::ids::{RequestNumber, RunId};
use crate::domain::push::client::{Announcement, ClientEvent, Refusal, RunEnd, RunReport, RunStart};
use crate::protocol::ns;

/// How many unacknowledged reports an announcement carries; older ones first. At 130 bytes each they leave most of a
/// stanza's 64 KiB free, also for an agent of several dispatchers.
pub const REPORTS_MAX: usize = 32;
/// How many elements of one message are looked at.
pub const ELEMENTS_MAX: usize = 16;
/// Longest program version that is accepted. Units: bytes.
const VERSION_LEN_MAX: usize = 64;
/// The revision of the elements that this program speaks; see `docs/protocol.md`, "Versions".
pub const REVISION: u32 = 1;

/// What a dispatcher says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToAgent {
    /// It knows the registration and takes reports: the answer to an announcement.
    Welcome,
    /// Start a check after this receipt, or say why not.
    Request(RequestNumber),
    /// Answer with a pong.
    Ping,
    /// The report of this run is recorded.
    Received(RunId),
}

/// What an agent says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToDispatcher {
    /// Who it is, in its initial presence.
    Agent(Hello),
    /// What happened, in messages.
    Event(ClientEvent),
}

/// How a new agent announces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The full JID of the dispatcher that it is signed for; presence is broadcast, so the stanza does not say it.
    pub recipient: String,
    /// The version of the program.
    pub version: String,
    /// The revision of the elements that the agent speaks.
    pub revision: u32,
    /// Its runs and reports.
    pub announcement: Announcement,
}

/// An element that cannot be understood. The sender is to blame; the element has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Not one of ours, or for the other side.
    #[error("unknown element")]
    UnknownElement,
    /// The attribute is absent, malformed, or has a value that is not known.
    #[error("absent or malformed attribute {0:?}")]
    Attribute(&'static str),
    /// More reports than [`REPORTS_MAX`].
    #[error("more than {REPORTS_MAX} reports in one announcement")]
    TooManyReports,
}

impl ToAgent {
    /// Reads an element of a dispatcher.
    ///
    /// # Errors
    /// [`PayloadError`], and the element must have no effect.
    pub fn parse(element: &Element) -> Result<Self, PayloadError> {
        if !element.has_ns(ns::PUSH) {
            return Err(PayloadError::UnknownElement);
        }
        match element.name() {
            "welcome" => Ok(Self::Welcome),
            "request" => match element.attr("action") {
                Some("checkin") => Ok(Self::Request(request_number(element, "number")?)),
                Some("ping") => Ok(Self::Ping),
                Some(_) | None => Err(PayloadError::Attribute("action")),
            },
            "received" => Ok(Self::Received(run_id(element)?)),
            _ => Err(PayloadError::UnknownElement),
        }
    }

    /// Writes the element, still without stamp and signature.
    pub fn to_element(self) -> Element {
        match self {
            Self::Welcome => Element::bare("welcome", ns::PUSH),
            Self::Request(number) => {
                let mut request = Element::bare("request", ns::PUSH);
                set(&mut request, "action", "checkin");
                set(&mut request, "number", number.to_string());
                request
            }
            Self::Ping => {
                let mut request = Element::bare("request", ns::PUSH);
                set(&mut request, "action", "ping");
                request
            }
            Self::Received(run) => {
                let mut received = Element::bare("received", ns::PUSH);
                set(&mut received, "run", run.to_string());
                received
            }
        }
    }
}

impl ToDispatcher {
    /// Reads an element of an agent.
    ///
    /// # Errors
    /// [`PayloadError`], and the element must have no effect.
    pub fn parse(element: &Element) -> Result<Self, PayloadError> {
        if !element.has_ns(ns::PUSH) {
            return Err(PayloadError::UnknownElement);
        }
        let event = match element.name() {
            "agent" => return Hello::parse(element).map(Self::Agent),
            "answer" => parse_answer(element)?,
            "started" => ClientEvent::Started(parse_started(element)?),
            "finished" => ClientEvent::Finished(parse_finished(element)?),
            "pong" => ClientEvent::Ponged,
            _ => return Err(PayloadError::UnknownElement),
        };
        Ok(Self::Event(event))
    }

    /// Writes the element, still without stamp and signature.
    pub fn to_element(&self) -> Element {
        match self {
            Self::Agent(hello) => hello.to_element(),
            Self::Event(event) => event_element(event),
        }
    }
}

/// Writes an event as the element it has in messages, still without stamp and signature.
pub fn event_element(event: &ClientEvent) -> Element {
    match event {
        ClientEvent::Accepted(number) => {
            let mut answer = Element::bare("answer", ns::PUSH);
            set(&mut answer, "number", number.to_string());
            set(&mut answer, "result", "accepted");
            answer
        }
        ClientEvent::Refused(number, refusal) => {
            let mut answer = Element::bare("answer", ns::PUSH);
            set(&mut answer, "number", number.to_string());
            set(&mut answer, "result", "refused");
            set(&mut answer, "reason", reason(*refusal));
            answer
        }
        ClientEvent::Started(start) => start_element("started", *start),
        ClientEvent::Finished(report) => report_element(report),
        ClientEvent::Ponged => Element::bare("pong", ns::PUSH),
    }
}

impl Hello {
    fn parse(element: &Element) -> Result<Self, PayloadError> {
        let version = element
            .attr("version")
            .filter(|version| version.len() <= VERSION_LEN_MAX)
            .ok_or(PayloadError::Attribute("version"))?;
        let revision = element.attr("revision").and_then(|value| value.parse().ok());
        let mut announcement = Announcement::default();
        if element.attr("pending").is_some() {
            announcement.pending = Some(request_number(element, "pending")?);
        }
        for child in element.children().filter(|child| child.has_ns(ns::PUSH)) {
            match child.name() {
                "running" => announcement.running = Some(parse_started(child)?),
                "finished" if announcement.reports.len() == REPORTS_MAX => return Err(PayloadError::TooManyReports),
                "finished" => announcement.reports.push(parse_finished(child)?),
                _ => {}
            }
        }
        Ok(Self {
            recipient: element.attr("to").ok_or(PayloadError::Attribute("to"))?.to_owned(),
            version: version.to_owned(),
            revision: revision.ok_or(PayloadError::Attribute("revision"))?,
            announcement,
        })
    }

    fn to_element(&self) -> Element {
        let mut agent = Element::bare("agent", ns::PUSH);
        set(&mut agent, "to", self.recipient.as_str());
        set(&mut agent, "version", self.version.as_str());
        set(&mut agent, "revision", self.revision.to_string());
        if let Some(pending) = self.announcement.pending {
            set(&mut agent, "pending", pending.to_string());
        }
        if let Some(running) = self.announcement.running {
            agent.append_child(start_element("running", running));
        }
        for report in self.announcement.reports.iter().take(REPORTS_MAX) {
            agent.append_child(report_element(report));
        }
        agent
    }
}

fn start_element(name: &'static str, start: RunStart) -> Element {
    let mut element = Element::bare(name, ns::PUSH);
    set(&mut element, "run", start.run.to_string());
    set(&mut element, "covers", start.covers.to_string());
    element
}

fn report_element(report: &RunReport) -> Element {
    let start = RunStart {
        run: report.run,
        covers: report.covers,
    };
    let mut element = start_element("finished", start);
    let exit = match report.end {
        RunEnd::Exited(status) => status.to_string(),
        RunEnd::Lost => "lost".to_owned(),
    };
    set(&mut element, "exit", exit);
    set(&mut element, "run-time", whole_millis(report.run_time));
    element
}

fn whole_millis(time: Duration) -> String {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).to_string()
}

fn parse_answer(element: &Element) -> Result<ClientEvent, PayloadError> {
    let number = request_number(element, "number")?;
    match element.attr("result") {
        Some("accepted") => Ok(ClientEvent::Accepted(number)),
        Some("refused") => {
            let reason = element.attr("reason").and_then(refusal);
            let refusal = reason.ok_or(PayloadError::Attribute("reason"))?;
            Ok(ClientEvent::Refused(number, refusal))
        }
        Some(_) | None => Err(PayloadError::Attribute("result")),
    }
}

fn parse_started(element: &Element) -> Result<RunStart, PayloadError> {
    Ok(RunStart {
        run: run_id(element)?,
        covers: request_number(element, "covers")?,
    })
}

fn parse_finished(element: &Element) -> Result<RunReport, PayloadError> {
    let RunStart { run, covers } = parse_started(element)?;
    let end = match element.attr("exit") {
        Some("lost") => RunEnd::Lost,
        Some(status) => RunEnd::Exited(status.parse().map_err(|_| PayloadError::Attribute("exit"))?),
        None => return Err(PayloadError::Attribute("exit")),
    };
    let run_time = element.attr("run-time").and_then(|value| value.parse().ok());
    let run_time = run_time
        .map(Duration::from_millis)
        .ok_or(PayloadError::Attribute("run-time"))?;
    Ok(RunReport {
        run,
        covers,
        end,
        run_time,
    })
}

fn request_number(element: &Element, name: &'static str) -> Result<RequestNumber, PayloadError> {
    let number = element.attr(name).and_then(|value| value.parse().ok());
    number
        .filter(|number| *number >= 0)
        .map(RequestNumber)
        .ok_or(PayloadError::Attribute(name))
}

fn run_id(element: &Element) -> Result<RunId, PayloadError> {
    let run = element.attr("run").and_then(|value| value.parse().ok());
    run.ok_or(PayloadError::Attribute("run"))
}

const REFUSALS: [Refusal; 4] = [Refusal::Disabled, Refusal::Clock, Refusal::Signature, Refusal::Draining];

const fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Disabled => "disabled",
        Refusal::Clock => "clock",
        Refusal::Signature => "signature",
        Refusal::Draining => "draining",
    }
}

fn refusal(text: &str) -> Option<Refusal> {
    REFUSALS.into_iter().find(|refusal| reason(*refusal) == text)
}
