//! The login to a site's own server, and what that server can do to it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use minidom::Element;
use osa::actors::poller::messages::SessionEvent;
use osa::actors::session::SendStanza;
use osa::actors::supervision::{ChildSpec, Crash, Intensity, LiveAddr, Policy, Supervisor};
use osa::actors::upstream::{Component, DescribeUpstream, LoginReport, Upstream, UpstreamParts, UpstreamReport};
use osa::domain::dispatcher_account::DispatcherAccount;
use osa::domain::ids::SystemId;
use osa::ports::store::StoreError;
use osa::ports::transport::Dialer;
use osa::ports::upstream::UpstreamAccounts;
use tokio::sync::oneshot;
use tokio::time::Instant;

use actix::{Actor, Addr, Arbiter};

use crate::sessions::{deliver, not_sent};
use crate::support::client::{TestClient, jid_of};
use crate::support::dispatcher::{Dispatcher, settle};
use crate::support::foreign::{ForeignServer, LOGIN};

const SYSTEM: SystemId = SystemId(1000);

/// The rows of a Satellite.
#[derive(Default)]
pub struct Rows {
    pub account: Mutex<Option<DispatcherAccount>>,
    pub jids: Mutex<Vec<String>>,
}

#[async_trait]
impl UpstreamAccounts for Rows {
    async fn dispatcher_account(&self, _: &str, fresh: &DispatcherAccount) -> Result<DispatcherAccount, StoreError> {
        let mut account = self.account.lock().expect("not poisoned");
        Ok(account.get_or_insert_with(|| fresh.clone()).clone())
    }

    async fn check_in_dispatcher_account(
        &self,
        hostname: &str,
        fresh: &DispatcherAccount,
    ) -> Result<DispatcherAccount, StoreError> {
        self.dispatcher_account(hostname, fresh).await
    }

    async fn rotate_dispatcher_account(
        &self,
        _: &str,
        _: &DispatcherAccount,
        next: &DispatcherAccount,
    ) -> Result<DispatcherAccount, StoreError> {
        *self.account.lock().expect("not poisoned") = Some(next.clone());
        Ok(next.clone())
    }

    async fn known_jids(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.jids.lock().expect("not poisoned").clone())
    }
}

pub struct Scene {
    pub server: ForeignServer,
    pub dispatcher: Dispatcher,
    pub rows: Arc<Rows>,
    pub upstream: LiveAddr<Upstream>,
    _supervisor: Addr<Supervisor>,
}

impl Scene {
    async fn start() -> Self {
        Self::start_as(None, ForeignServer::new()).await
    }

    /// As a component of this server, or as a client.
    pub async fn start_as(component: Option<Component>, (server, dialer): (ForeignServer, Arc<dyn Dialer>)) -> Self {
        let dispatcher = Dispatcher::for_relayed().await;
        let rows = Arc::new(Rows::default());
        let parts = UpstreamParts {
            dialer,
            component,
            accounts: Arc::clone(&rows) as _,
            sessions: dispatcher.sessions.clone(),
            silence_timeout: Duration::from_secs(80),
            entropy: Arc::clone(&dispatcher.sessions.parts.entropy),
        };
        let upstream = LiveAddr::vacant();
        let factory = move |guard| Upstream::new(parts.clone(), guard);
        let spec = ChildSpec::new(
            "upstream",
            Policy::Permanent,
            Arbiter::current(),
            upstream.clone(),
            factory,
        );
        let intensity = Intensity {
            restarts: 5,
            window: Duration::from_secs(60),
        };
        let supervisor = Supervisor::new(vec![spec], intensity, oneshot::channel().0).start();
        Self {
            server,
            dispatcher,
            rows,
            upstream,
            _supervisor: supervisor,
        }
    }

    /// The next connection, logged in; this registered client is there.
    async fn with_client(&self, name: &str) -> TestClient {
        let jid = jid_of(name);
        self.dispatcher.store.add_client(SYSTEM, &jid);
        self.rows.jids.lock().expect("not poisoned").push(jid.clone());
        let mut client = self.server.connected(LOGIN.len()).await;
        client.hear("<presence").await;
        client.say(&format!("<presence from='{jid}'/>")).await;
        settle().await;
        client
    }

    pub async fn report(&self) -> UpstreamReport {
        self.upstream.send(DescribeUpstream).await.expect("it lives")
    }

    pub async fn is_down_because(&self, words: &str) {
        let report = self.report().await;
        assert!(
            matches!(&report.login, LoginReport::Down { reason } if reason.contains(words)),
            "{words}: {report:?}"
        );
    }

    pub fn closings(&self) -> usize {
        let events = self.dispatcher.events();
        events
            .iter()
            .filter(|event| matches!(event, SessionEvent::Closed(_)))
            .count()
    }
}

#[actix::test]
async fn presence_begins_and_ends_a_session() {
    let scene = Scene::start().await;
    let mut client = scene.with_client("osad-a").await;

    assert!(scene.dispatcher.opened(SYSTEM).is_some());
    let report = scene.report().await;
    assert_eq!((report.registrations, report.available), (1, 1));
    let jid = "rhn-dispatcher-sat@sat.example.com/superclient".to_owned();
    assert_eq!(report.login, LoginReport::LoggedIn { jid });

    client
        .say(&format!("<presence type='unavailable' from='{}'/>", jid_of("osad-a")))
        .await;
    settle().await;
    assert_eq!((scene.closings(), scene.report().await.available), (1, 0));
}

#[actix::test]
async fn stream_that_ends_in_any_state_is_told_and_begun_again() {
    let error = "<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";
    let scene = Scene::start().await;
    // Nothing may come between the offer of TLS and its handshake.
    for steps in (1..=LOGIN.len()).filter(|steps| *steps != 4) {
        for (fault, words) in [
            (error, "system-shutdown"),
            ("<<<", "well-formed"),
            ("</stream:stream>", "closed"),
        ] {
            let mut client = scene.server.connected(steps).await;

            client.say(fault).await;
            settle().await;

            scene.is_down_because(words).await;
        }
    }
    scene.server.connected(LOGIN.len()).await.hear("<presence").await;
}

#[actix::test]
async fn silence_in_any_state_ends() {
    let scene = Scene::start().await;
    for steps in 0..=LOGIN.len() {
        let began = Instant::now();
        let _silent = scene.server.connected(steps).await;

        // 80 s of silence, and up to 30 s before the next connection.
        let _next = scene.server.next().await;

        assert!(
            began.elapsed() <= Duration::from_secs(150),
            "{steps}: {:?}",
            began.elapsed()
        );
        scene.is_down_because("").await;
    }
}

#[actix::test]
async fn connection_that_ends_ends_its_sessions_and_presence_brings_them_back() {
    let scene = Scene::start().await;
    drop(scene.with_client("osad-a").await);
    settle().await;
    assert_eq!(scene.closings(), 1);
    scene.is_down_because("hung up").await;

    scene.dispatcher.forget_events();
    scene.with_client("osad-a").await;

    assert!(scene.dispatcher.opened(SYSTEM).is_some());
}

#[actix::test]
async fn server_that_reads_slowly_gets_no_requests_until_it_has_read() {
    let scene = Scene::start().await;
    let mut client = scene.with_client("osad-a").await;
    let long = "x".repeat(2_000_000);
    let message = Element::builder("message", "jabber:client").append(long.as_str());
    scene
        .upstream
        .send(SendStanza(message.build()))
        .await
        .expect("it lives");

    deliver(&scene.dispatcher, SYSTEM, 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(not_sent(&scene.dispatcher).len(), 1);

    client.hear_bytes(long.len()).await;
    client.hear("</message>").await;
    deliver(&scene.dispatcher, SYSTEM, 2).await;
    client.hear("message/request/checkin").await;
}

#[actix::test]
async fn crash_costs_the_login_and_nothing_else() {
    let scene = Scene::start().await;
    let _client = scene.with_client("osad-a").await;

    scene.upstream.try_send(Crash).expect("it lives");
    settle().await;
    assert_eq!(scene.closings(), 1);

    scene.dispatcher.forget_events();
    let _client = scene.with_client("osad-a").await;
    assert!(scene.dispatcher.opened(SYSTEM).is_some());
}

#[actix::test]
async fn stranger_costs_nothing_whatever_it_sends() {
    let scene = Scene::start().await;
    let mut client = scene.with_client("osad-a").await;
    let deep = format!("{}{}", "<a>".repeat(200), "</a>".repeat(200));
    let attributes: String = (0..200).map(|n| format!(" a{n}='x'")).collect();
    let long = "x".repeat(300_000);

    for stanza in [
        format!("<message from='s@sat.example.com/x'>{deep}</message>"),
        format!("<message from='s@sat.example.com/x'{attributes}/>"),
        format!("<message from='s@sat.example.com/x'><body>{long}</body></message>"),
        format!("<presence from='s@sat.example.com/x'><status a='{long}'/></presence>"),
        "<presence type='subscribe' from='s@sat.example.com'/>".to_owned(),
        "<iq type='set' id='1' from='s@sat.example.com/x'><query xmlns='jabber:iq:roster'>\
         <item jid='osad-a@sat.example.com' subscription='remove'/></query></iq>"
            .to_owned(),
        "<iq type='result' id='roster' from='s@sat.example.com/x'><query xmlns='jabber:iq:roster'/></iq>".to_owned(),
        "<message/><presence/>".to_owned(),
    ] {
        client.say(&stanza).await;
    }
    settle().await;

    let report = scene.report().await;
    assert!(matches!(report.login, LoginReport::LoggedIn { .. }), "{report:?}");
    assert_eq!((report.available, scene.closings()), (1, 0));
    let said = client.heard_so_far();
    assert!(!said.contains("subscribed"), "{said}");
}

#[actix::test]
async fn stanza_beyond_all_bounds_ends_the_connection() {
    let scene = Scene::start().await;
    let mut client = scene.with_client("osad-a").await;

    client
        .pester(&"x".repeat(64 * 1024).replacen('x', "<message>", 1))
        .await;
    settle().await;

    scene.is_down_because("longer than").await;
}

#[actix::test]
async fn account_in_use_elsewhere_is_not_fought_for() {
    let scene = Scene::start().await;
    let mut client = scene.server.connected(LOGIN.len()).await;
    client.hear("<presence").await;
    client
        .say("<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>")
        .await;
    settle().await;
    scene
        .is_down_because("another program logged in as rhn-dispatcher-sat@sat.example.com")
        .await;
    let began = Instant::now();

    scene.server.connected(LOGIN.len()).await.hear("<presence").await;

    assert!(began.elapsed() >= Duration::from_secs(45), "{:?}", began.elapsed());
}

/// A server that knows the account with another password.
async fn refuse(scene: &Scene) -> String {
    let mut client = scene.server.connected(6).await;
    let asked = client.hear("id='auth-get'").await + &client.hear("</iq>").await;
    client
        .say("<iq type='error' id='auth-get'><error code='401'/></iq>")
        .await;
    client.hear("id='register-get'").await;
    client
        .say(
            "<iq type='result' id='register-get'><query xmlns='jabber:iq:register'><username/><password/></query></iq>",
        )
        .await;
    client.hear("id='register-set'").await;
    client
        .say("<iq type='error' id='register-set'><error code='409'/></iq>")
        .await;
    asked
}

#[actix::test]
async fn password_that_is_lost_leads_to_another_account_once_an_hour() {
    let scene = Scene::start().await;
    let names: VecDeque<String> = [refuse(&scene).await, refuse(&scene).await, refuse(&scene).await].into();
    settle().await;

    assert!(names[0].contains("<username>rhn-dispatcher-sat<"), "{names:?}");
    assert!(names[1].contains("<username>rhn-dispatcher-sat-"), "{names:?}");
    assert_eq!(names[1], names[2]);
    scene.is_down_because("and so it did with the account before").await;
}
