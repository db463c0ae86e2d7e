//! The connection to a site's own server, as relayed sessions see it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use actix::prelude::*;
use minidom::Element;
use osa::actors::session::{Relay, Relayed, SendStanza, Session};
use osa::actors::supervision::Crash;
use osa::protocol::stream::server::ClientActivity;
use tokio::sync::watch;

use super::client::jid_of;
use super::dispatcher::{Dispatcher, settle};

type Sent = Arc<Mutex<Vec<Element>>>;

/// Writes down what its sessions send.
pub struct Parent {
    sent: Sent,
    congested: watch::Sender<bool>,
}

impl Actor for Parent {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // A session that has a message here must wait before it sends another.
        ctx.set_mailbox_capacity(1);
    }
}

impl Handler<SendStanza> for Parent {
    type Result = ();

    fn handle(&mut self, SendStanza(stanza): SendStanza, _: &mut Self::Context) {
        self.sent.lock().expect("not poisoned").push(stanza);
    }
}

#[derive(Message)]
#[rtype(result = "watch::Receiver<bool>")]
struct Lend;

impl Handler<Lend> for Parent {
    type Result = MessageResult<Lend>;

    fn handle(&mut self, _: Lend, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.congested.subscribe())
    }
}

/// Take nothing until the permit comes back.
#[derive(Message)]
#[rtype(result = "()")]
struct Stall(Arc<tokio::sync::Notify>);

impl Handler<Stall> for Parent {
    type Result = ();

    fn handle(&mut self, Stall(end): Stall, ctx: &mut Self::Context) {
        ctx.wait(async move { end.notified().await }.into_actor(self));
    }
}

impl Handler<Crash> for Parent {
    type Result = ();

    fn handle(&mut self, _: Crash, _: &mut Self::Context) {
        panic!("told to");
    }
}

/// Much waits, or nothing does any more.
#[derive(Message)]
#[rtype(result = "()")]
struct Congest(bool);

impl Handler<Congest> for Parent {
    type Result = ();

    fn handle(&mut self, Congest(is_congested): Congest, _: &mut Self::Context) {
        self.congested.send_replace(is_congested);
    }
}

/// Hang up.
#[derive(Message)]
#[rtype(result = "()")]
struct HangUp;

impl Handler<HangUp> for Parent {
    type Result = ();

    fn handle(&mut self, _: HangUp, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

pub struct Upstream {
    pub parent: Addr<Parent>,
    sent: Sent,
}

impl Upstream {
    pub fn start() -> Self {
        let sent = Sent::default();
        let parent = Parent {
            sent: Arc::clone(&sent),
            congested: watch::channel(false).0,
        };
        Self {
            parent: parent.start(),
            sent,
        }
    }

    /// A client that has become known, and said nothing yet.
    pub async fn meet(&self, dispatcher: &Dispatcher, name: &str) -> Client {
        let relay = Relay {
            jid: jid_of(name).into(),
            dispatcher: Arc::clone(&dispatcher.sessions.parts.dispatcher),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 5222)),
            out: self.parent.clone().recipient(),
            congested: self.parent.send(Lend).await.expect("it lives"),
        };
        Client {
            session: dispatcher.sessions.relay(relay).expect("admitted"),
            jid: jid_of(name),
        }
    }

    /// The stanzas for a client, so far.
    pub fn sent_to(&self, name: &str) -> Vec<String> {
        let sent = self.sent.lock().expect("not poisoned");
        let ours = sent.iter().filter(|stanza| stanza.attr("to") == Some(&jid_of(name)));
        ours.map(String::from).collect()
    }

    /// Takes nothing more from sessions, until the returned value is told to go on.
    pub async fn stall(&self) -> Arc<tokio::sync::Notify> {
        let end = Arc::new(tokio::sync::Notify::new());
        self.parent.send(Stall(Arc::clone(&end))).await.expect("it lives");
        end
    }

    pub async fn congest(&self, is_congested: bool) {
        self.parent.send(Congest(is_congested)).await.expect("it lives");
        settle().await;
    }

    pub async fn hang_up(&self) {
        self.parent.send(HangUp).await.expect("it lives");
    }
}

/// A client behind the site's own server.
pub struct Client {
    pub session: Addr<Session>,
    jid: String,
}

impl Client {
    pub async fn tell(&self, activity: ClientActivity) {
        // A session that is ending may not answer.
        self.session.send(Relayed(activity)).await.ok();
    }

    pub async fn appear(&self) {
        self.tell(ClientActivity::Available(self.stanza("<presence/>"))).await;
        settle().await;
    }

    /// An element as the client's server hands it on.
    pub fn stanza(&self, text: &str) -> Element {
        let name = text
            .trim_start_matches('<')
            .split(['/', ' ', '>'])
            .next()
            .unwrap_or_default();
        let stamped = text.replacen(name, &format!("{name} xmlns='jabber:client' from='{}'", self.jid), 1);
        stamped.parse().expect("an element")
    }
}
