//! The login to a site's own server as a component of it.

use std::net::SocketAddr;
use std::time::Duration;

use osa::actors::supervision::Shutdown;
use osa::actors::upstream::{Component, LoginReport};
use osa::domain::ids::SystemId;
use osa::domain::secret::Secret;
use osa::protocol::iq_auth::digest;
use tokio::time::Instant;

use crate::support::client::{TestClient, jid_of};
use crate::support::dispatcher::settle;
use crate::support::foreign::{ForeignServer, pass};
use crate::upstream::Scene;

const SYSTEM: SystemId = SystemId(1000);
const JID: &str = "rhn-dispatcher-sat@osa.sat.example.com/superclient";
const HEADER: &str = "<?xml version='1.0'?><stream:stream from='osa.sat.example.com' id='s1' \
                      xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'>";

/// What the server waits for, and then says; at the end the dispatcher is logged in.
const LOGIN: [(&str, &str); 2] = [
    ("to='osa.sat.example.com' xmlns='jabber:component:accept'", HEADER),
    ("</handshake>", "<handshake/>"),
];

fn component() -> Option<Component> {
    Some(Component {
        domain: "osa.sat.example.com".to_owned(),
        secret: Secret::new("hunter2"),
    })
}

/// Of a server on this machine.
async fn here() -> Scene {
    let address = SocketAddr::from(([127, 0, 0, 1], 5347));
    Scene::start_as(component(), ForeignServer::without_tls(address)).await
}

/// The next connection, so far into the login.
async fn connected(scene: &Scene, steps: usize) -> TestClient {
    let mut server = scene.server.next().await;
    for (hear, say) in &LOGIN[..steps] {
        server.hear(hear).await;
        server.say(say).await;
    }
    server
}

/// A client that is registered, there, and was shown that we are.
async fn with_client(scene: &Scene) -> (TestClient, String) {
    let jid = jid_of("osad-a");
    scene.dispatcher.store.add_client(SYSTEM, &jid);
    scene.rows.jids.lock().expect("not poisoned").push(jid.clone());
    let mut server = connected(scene, LOGIN.len()).await;
    server.hear("type='probe'").await;
    server.say(&format!("<presence from='{jid}' to='{JID}'/>")).await;
    let account = jid.split('/').next().expect("an account");
    server.hear(&format!("<presence from='{JID}' to='{account}'/>")).await;
    settle().await;
    (server, jid)
}

#[actix::test]
async fn secret_makes_the_login_and_presence_the_sessions() {
    let scene = here().await;

    let (mut server, jid) = with_client(&scene).await;

    let report = scene.report().await;
    assert_eq!(report.login, LoginReport::LoggedIn { jid: JID.to_owned() });
    assert_eq!(report.server, "sat.example.com");
    assert_eq!((report.registrations, report.available), (1, 1));
    assert!(scene.dispatcher.opened(SYSTEM).is_some());
    server
        .say(&format!("<presence type='unavailable' from='{jid}' to='{JID}'/>"))
        .await;
    settle().await;
    assert_eq!((scene.closings(), scene.report().await.available), (1, 0));
}

#[actix::test]
async fn proof_is_of_the_secret_and_not_of_the_accounts_password() {
    let scene = here().await;
    let mut server = connected(&scene, 1).await;

    let said = server.hear("</handshake>").await;

    let proof = format!("<handshake>{}</handshake>", digest("s1", &Secret::new("hunter2")));
    assert!(said.ends_with(&proof), "{said}");
}

#[actix::test]
async fn client_that_was_shown_that_we_are_there_is_told_at_the_end_that_we_are_not() {
    let scene = here().await;
    let (mut server, jid) = with_client(&scene).await;
    let account = jid.split('/').next().expect("an account");

    let within = Duration::from_secs(5);
    scene.upstream.try_send(Shutdown { within }).expect("it lives");

    let farewell = format!("<presence from='{JID}' to='{account}' type='unavailable'/></stream:stream>");
    server.hear(&farewell).await;
}

#[actix::test]
async fn nothing_is_said_to_a_server_elsewhere_before_tls() {
    let address = SocketAddr::from(([192, 0, 2, 2], 5347));
    let scene = Scene::start_as(component(), ForeignServer::without_tls(address)).await;

    let mut server = scene.server.next().await;

    let heard = server.try_hear("<").await;
    assert!(heard.is_err(), "{heard:?}");
}

#[actix::test]
async fn server_elsewhere_is_logged_in_to_inside_tls() {
    let scene = Scene::start_as(component(), ForeignServer::new()).await;

    let _server = connected(&scene, LOGIN.len()).await;
    settle().await;

    assert_eq!(
        scene.report().await.login,
        LoginReport::LoggedIn { jid: JID.to_owned() }
    );
}

#[actix::test]
async fn refusals_are_told_with_what_to_do_about_them() {
    let scene = here().await;
    for (condition, words) in [
        (
            "not-authorized",
            "refuses the secret of the component osa.sat.example.com",
        ),
        ("host-unknown", "has no component osa.sat.example.com: add it"),
        ("invalid-namespace", "correct upstream.server"),
        ("system-shutdown", "system-shutdown"),
    ] {
        let mut server = connected(&scene, 1).await;
        server
            .say(&format!(
                "<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
            ))
            .await;
        settle().await;
        scene.is_down_because(words).await;
    }
}

#[actix::test]
async fn component_that_another_program_is_is_not_fought_for() {
    let scene = here().await;
    let mut server = connected(&scene, LOGIN.len()).await;
    server
        .say("<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>")
        .await;
    settle().await;
    scene
        .is_down_because("another program is the component osa.sat.example.com")
        .await;
    let began = Instant::now();

    let _server = connected(&scene, LOGIN.len()).await;

    assert!(began.elapsed() >= Duration::from_secs(45), "{:?}", began.elapsed());
}

#[actix::test]
async fn silence_in_any_state_ends() {
    let scene = here().await;
    for steps in 0..=LOGIN.len() {
        let began = Instant::now();
        let _silent = connected(&scene, steps).await;

        // 80 s of silence, and up to 30 s before the next connection.
        let _next = scene.server.next().await;

        let elapsed = began.elapsed();
        assert!(elapsed <= Duration::from_secs(150), "{steps}: {elapsed:?}");
        scene.is_down_because("").await;
    }
}

#[actix::test]
async fn connection_that_ends_ends_its_sessions_and_presence_brings_them_back() {
    let scene = here().await;
    drop(with_client(&scene).await);
    settle().await;
    assert_eq!(scene.closings(), 1);
    scene.is_down_because("hung up").await;

    scene.dispatcher.forget_events();
    let _server = with_client(&scene).await;

    assert!(scene.dispatcher.opened(SYSTEM).is_some());
}

#[actix::test]
async fn strangers_cost_nothing_whatever_they_send() {
    let scene = here().await;
    let (mut server, jid) = with_client(&scene).await;
    let deep = format!("{}{}", "<a>".repeat(200), "</a>".repeat(200));

    for stanza in [
        format!("<message from='s@sat.example.com/x' to='{JID}'>{deep}</message>"),
        format!("<presence from='s@sat.example.com' to='{JID}' type='subscribe'/>"),
        format!("<presence from='s@sat.example.com/x' to='{JID}' type='probe'/>"),
        format!("<presence from='s@sat.example.com/x' to='{JID}'/>"),
        format!("<presence from='{jid}' to='other@osa.sat.example.com' type='unavailable'/>"),
        "<message/><presence/><iq/>".to_owned(),
    ] {
        server.say(&stanza).await;
    }
    let answers = pass(&mut server, Duration::from_secs(5)).await;

    assert_eq!((scene.report().await.available, scene.closings()), (1, 0));
    assert_eq!(answers, "");
}
