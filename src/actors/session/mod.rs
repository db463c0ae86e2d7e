//! One client: what it says to the protocol machines, their wishes to the store, the router and the poller.
//!
//! ```text
//!             bytes            stanzas
//! Connection ◄────► ServerStream ◄────► DispatcherTalk        (both pure)
//!     ▲                │ questions         ▲ │ rows, events
//!     └── Pump ─── Session ───► store      │ ├──► poller
//!                   ▲  ▲  └───► router     │ └──► router
//!                   │  └─ SessionOrder     │ stanzas
//!                   │     (router, parent) │
//!                   └── Relayed, SendStanza ◄────► the connection to the site's own server
//! ```
//!
//! A client is at a socket, or relayed by the site's own server: its session has one `Way`, and all else in common.
//!
//! A session reads no more from its client while it waits for the store, the router or the poller: so one chunk is in
//! flight, and a slow dispatcher slows its clients instead of filling its memory. Of a client that is relayed a few
//! stanzas wait instead. It is never restarted, since its socket is gone with it, and a relayed client is met again; its
//! parent cleans up after it.

mod complaints;
mod delivery;
mod messages;
mod orders;
mod pump;
mod questions;
mod relay;
mod sessions;
mod socket;
mod totals;
mod way;

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, Context};
use minidom::Element;
use tokio::sync::Semaphore;

pub use complaints::Complaints;
pub use messages::{Audience, EndCause, Relayed, SendStanza, SessionOrder};
pub use sessions::{Relay, Sessions};

use self::delivery::Notices;
use self::totals::{Ending, Totals};
use self::way::Way;
use crate::actors::poller::messages::{SessionEvent, SessionOpened};
use crate::actors::router::Router;
use crate::actors::supervision::{LiveAddr, LiveRecipient};
use crate::actors::tls_supervisor::Ticket;
use crate::domain::ids::{ClientName, SystemId};
use crate::domain::push::client::{AgentKind, ClientEvent};
use crate::ports::accounts::Accounts;
use crate::ports::clock::{Clock, Entropy};
use crate::ports::push::PushStore;
use crate::ports::vault::Vault;
use crate::protocol::ns;
use crate::protocol::osa::dispatcher_talk::{self, DispatcherTalk};
use crate::protocol::stream::server::{ClientActivity, ServerConfig};

/// Orders that wait for a session: a request, a ping, and some acknowledgements.
const MAILBOX: usize = 8;

/// What all sessions share.
pub struct SessionParts {
    /// Settings of their streams.
    pub config: Arc<ServerConfig>,
    /// The full JID of the dispatcher where clients connect to it.
    pub dispatcher: Arc<str>,
    /// Accounts.
    pub accounts: Arc<dyn Accounts>,
    /// Keeps the passwords of new accounts, where agents may log in by digest.
    pub vault: Option<Arc<dyn Vault>>,
    /// Registrations, by JID and by name.
    pub registrations: Arc<dyn PushStore>,
    /// How far an existing agent's clock may be off; `None` is any.
    pub existing_drift_max: Option<Duration>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Where sessions are found.
    pub router: LiveAddr<Router>,
    /// Who pushes.
    pub poller: LiveRecipient<SessionEvent>,
    /// TLS handshakes at once.
    pub handshakes: Arc<Semaphore>,
    /// Derivations of password verifiers at once.
    pub derivations: Arc<Semaphore>,
    /// What they say of a database that fails.
    pub complaints: Complaints,
}

/// The actor of one connection; see the [module](self).
pub struct Session {
    parts: Arc<SessionParts>,
    way: Way,
    /// Begins with login.
    talk: Option<Box<DispatcherTalk>>,
    jid: Option<Arc<str>>,
    pushable: Option<(SystemId, AgentKind)>,
    /// The client name in the announcement of the last presence.
    greeted: Option<ClientName>,
    notices: Notices,
    /// Questions to the store that have no answer yet.
    questions: u8,
    totals: Totals,
    ticket: Ticket,
    /// Wakes the pump.
    waker: Waker,
}

impl Session {
    fn new(parts: Arc<SessionParts>, way: Way, ticket: Ticket) -> Self {
        Self {
            way,
            talk: None,
            jid: None,
            pushable: None,
            greeted: None,
            notices: Notices::default(),
            questions: 0,
            totals: Totals::new(now()),
            ticket,
            waker: Waker::noop().clone(),
            parts,
        }
    }

    /// Whether what the client says next may be taken.
    fn may_read(&self) -> bool {
        self.questions == 0 && self.notices.is_idle() && !self.way.is_congested()
    }

    /// Does what is wanted, from a future that the pump does not know of: it must look at the way to the client again.
    fn resume(&mut self, ctx: &mut Context<Self>) {
        self.perform(ctx);
        self.waker.wake_by_ref();
    }

    /// Does everything that the machines want done.
    fn perform(&mut self, ctx: &mut Context<Self>) {
        loop {
            self.perform_talk(ctx);
            let goes_on = match &self.way {
                Way::Socket(_) => self.perform_stream(ctx),
                Way::Relay(_) => self.take_relayed(ctx),
            };
            if !goes_on {
                return;
            }
        }
    }

    fn log_in(&mut self, jid: Arc<str>, ctx: &mut Context<Self>) {
        let mut random = [0; 8];
        self.parts.entropy.fill(&mut random);
        let dispatcher = self.way.dispatcher().unwrap_or(&self.parts.dispatcher);
        let dispatcher = Arc::clone(dispatcher);
        let talk = DispatcherTalk::new(dispatcher, &jid, u64::from_ne_bytes(random));
        self.talk = Some(Box::new(talk.with_existing_drift_max(self.parts.existing_drift_max)));
        tracing::debug!(event = "client_logged_in", jid = %jid, peer_addr = %self.way.peer_addr());
        self.jid = Some(jid);
        self.ticket.log_in();
        self.register(ctx);
    }

    fn handle_activity(&mut self, activity: ClientActivity, ctx: &mut Context<Self>) {
        self.totals.stanzas_in += 1;
        let now = self.parts.clock.now();
        let Some(talk) = &mut self.talk else { return };
        match activity {
            ClientActivity::Available(presence) => {
                self.greeted = greeted_name(&presence);
                talk.handle_presence(now, &presence);
            }
            ClientActivity::Message(message) => talk.handle_message(now, &message),
            ClientActivity::Unavailable => {
                let presence =
                    Element::builder("presence", ns::CLIENT).attr(rxml::xml_ncname!("type").into(), "unavailable");
                talk.handle_presence(now, &presence.build());
                self.become_unavailable(ctx);
            }
        }
    }

    fn become_unavailable(&mut self, ctx: &mut Context<Self>) {
        if let Some((system, _)) = self.pushable.take() {
            // The ticket keeps the system: many clients say so and hang up at once, and then the parent tells it.
            let closed = vec![(system, self.ticket.connection())];
            self.tell_poller(SessionEvent::Closed(closed), ctx);
        }
    }

    /// Does everything that the conversation wants done.
    fn perform_talk(&mut self, ctx: &mut Context<Self>) {
        while let Some(output) = self.talk.as_mut().and_then(|talk| talk.poll_output()) {
            self.perform_output(output, ctx);
        }
    }

    fn perform_output(&mut self, output: dispatcher_talk::Output, ctx: &mut Context<Self>) {
        match output {
            dispatcher_talk::Output::Write(mut stanza) => {
                // Agents answer the sender that their server vouches for: us, or the upstream server, which says the same.
                let from = rxml::xml_ncname!("from").into();
                let dispatcher = self.way.dispatcher().unwrap_or(&self.parts.dispatcher);
                stanza.set_attr(rxml::Namespace::NONE, from, dispatcher.to_string());
                self.totals.stanzas_out += 1;
                self.way.send(stanza, now());
            }
            dispatcher_talk::Output::Ask(question) => self.ask_for_client(question, ctx),
            dispatcher_talk::Output::Pushable {
                client,
                kind,
                announcement,
            } => self.become_pushable(
                SessionOpened {
                    system: client.system,
                    connection: self.ticket.connection(),
                    client,
                    kind,
                    announcement,
                    at: self.parts.clock.now(),
                },
                ctx,
            ),
            dispatcher_talk::Output::Event(system, event) => self.hear(system, event, ctx),
            dispatcher_talk::Output::Ignored(why) => {
                tracing::debug!(event = "stanza_ignored", jid = self.jid.as_deref(), reason = %why);
            }
        }
    }

    fn hear(&mut self, system: SystemId, event: ClientEvent, ctx: &mut Context<Self>) {
        if self.pushable.is_some_and(|(taken_for, _)| taken_for != system) {
            return self.become_system(system, event, ctx);
        }
        self.report_event(system, event, ctx);
    }

    fn report_event(&mut self, system: SystemId, event: ClientEvent, ctx: &mut Context<Self>) {
        let reported = SessionEvent::Reported {
            system,
            connection: self.ticket.connection(),
            events: vec![event],
        };
        self.tell_poller(reported, ctx);
    }

    fn become_pushable(&mut self, opened: SessionOpened, ctx: &mut Context<Self>) {
        self.pushable = Some((opened.system, opened.kind));
        self.ticket.open(opened.system);
        self.open(opened, ctx);
    }

    /// Says what keeps an old agent out; of many, the parent tells how many.
    fn tell_legacy(&self) {
        let peer = self.way.peer_addr();
        if let Some(error) = self.totals.legacy_tls()
            && self.ticket.leave_as_legacy(peer)
        {
            tracing::warn!(
                event = "legacy_tls_refused",
                peer_addr = %peer,
                error,
                "an agent without TLS 1.2 cannot be served: update it, or leave it on a jabberd (docs/existing-agents.md)"
            );
        }
    }

    /// Ends at once, without another word to the client.
    fn end(&mut self, ending: Ending, ctx: &mut Context<Self>) {
        self.totals.ended(ending);
        ctx.stop();
    }
}

/// Under which name a new agent announces itself.
fn greeted_name(presence: &Element) -> Option<ClientName> {
    let agent = presence.children().find(|child| child.is("agent", ns::PUSH))?;
    agent.attr("client-id").map(|name| ClientName(name.to_owned()))
}

/// The runtime's clock, as the machines take it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        match &self.way {
            Way::Socket(_) => self.start_socket(ctx),
            Way::Relay(relay) => {
                let (jid, congested) = (Arc::clone(&relay.jid), relay.congested.clone());
                self.start_relay(jid, congested, ctx);
            }
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        // While a panic unwinds, the parent writes the line.
        if !std::thread::panicking() {
            if self.jid.is_none() {
                self.ticket.leave_as_stranger(self.totals.cause());
            }
            self.tell_legacy();
            let system = self.pushable.map(|(system, _)| system);
            self.totals
                .log(self.way.peer_addr(), self.jid.as_deref(), system, now());
        }
    }
}
