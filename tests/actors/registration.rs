//! The registration endpoint over real TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use actix::prelude::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use osa::actors::endpoint::Endpoint;
use osa::actors::supervision::{ChildExited, ChildId, ExitGuard, Generation};
use osa::domain::ids::SystemId;
use osa::domain::secret::Secret;
use osa::host::clock::{OsEntropy, SystemClock};
use osa::net::listener::listen_on;
use osa::net::registration::{Registrar, RegistrationEndpoint};
use osa::ports::push::PushStore;
use osa::ports::registrations::RegistrationObserver;
use osa::protocol::systemid::{Profile, mint};
use osa::protocol::xmlrpc::reader::read_response;
use osa::protocol::xmlrpc::registration::{OsadReply, Request};
use osa::protocol::xmlrpc::value::{Call, Fault, Value};
use osa::protocol::xmlrpc::writer::write_call;
use tokio::sync::Semaphore;

use crate::support::site::{HOST, Site, now};
use crate::support::store::FakeStore;

const SYSTEM: SystemId = SystemId(1000);
const JID: &str = "osad-1a2b3c4d5e@sat.example.com/osad";

#[derive(Default)]
struct Changes(Mutex<Vec<SystemId>>);

impl RegistrationObserver for Changes {
    fn registration_changed(&self, system: SystemId) {
        self.0.lock().expect("not poisoned").push(system);
    }
}

struct Nobody;

impl Actor for Nobody {
    type Context = Context<Self>;
}

impl Handler<ChildExited> for Nobody {
    type Result = ();

    fn handle(&mut self, _: ChildExited, _: &mut Self::Context) {}
}

struct Server {
    site: Site,
    address: SocketAddr,
    store: Arc<FakeStore>,
    changes: Arc<Changes>,
    secret: Secret,
}

impl Server {
    fn start() -> Self {
        let site = Site::new();
        let listener = listen_on(SocketAddr::from(([127, 0, 0, 1], 0)), &site.tls()).expect("listens");
        let address = listener.local_addr();
        let (store, changes) = (Arc::new(FakeStore::default()), Arc::new(Changes::default()));
        let secret = Secret::new("0123456789abcdef".repeat(4));
        store.add_system(SYSTEM, &secret);
        let registrar = Registrar {
            registrations: Arc::clone(&store) as _,
            observer: Arc::clone(&changes) as _,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            jabber_server: HOST.to_owned(),
            dispatcher: format!("rhn-dispatcher-sat@{HOST}/superclient"),
            domains: vec![HOST.to_owned(), "proxy.example.com".to_owned()],
        };
        let service = RegistrationEndpoint::new(registrar, vec![listener], Arc::new(Semaphore::new(4)));
        let guard = ExitGuard::new(ChildId(0), Generation(1), Nobody.start().recipient());
        Endpoint::new(Arc::new(service), guard).start();
        Self {
            site,
            address,
            store,
            changes,
            secret,
        }
    }

    fn systemid(&self, secret: &Secret) -> Secret {
        let profile = Profile {
            name: "client.example.com",
            architecture: "x86_64",
            operating_system: "Debian",
            os_release: "12",
            username: "admin",
        };
        mint(SYSTEM, secret, profile).expect("minted")
    }

    /// Sends these bytes over TLS; everything that comes back.
    async fn exchange(&self, request: String) -> String {
        let mut stream = self.site.client(self.address);
        let exchange = move || {
            stream.write_all(request.as_bytes()).expect("written");
            let mut response = Vec::new();
            // The server may close without a word of TLS.
            stream.read_to_end(&mut response).ok();
            String::from_utf8_lossy(&response).into_owned()
        };
        tokio::task::spawn_blocking(exchange).await.expect("a client")
    }

    async fn post(&self, body: &str) -> String {
        self.exchange(format!(
            "POST /XMLRPC HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await
    }

    async fn call(&self, call: &Call) -> Result<Value, Fault> {
        let response = self.post(&write_call(call)).await;
        assert!(response.contains("registration.register_osad(1)=1"), "{response}");
        let (_, body) = response.split_once("\r\n\r\n").expect("a body");
        read_response(body.as_bytes()).expect("a response")
    }

    async fn register(&self, systemid: Secret) -> Result<Value, Fault> {
        let request = Request::RegisterOsad {
            systemid,
            client_timestamp: Some(42),
        };
        self.call(&request.to_call()).await
    }
}

#[actix::test]
async fn client_registers_and_gets_a_name_and_a_key() {
    let server = Server::start();

    let value = server
        .register(server.systemid(&server.secret))
        .await
        .expect("no fault");
    let reply = OsadReply::from_value(&value).expect("usable").expect("push");

    assert_eq!(reply.client_name.0.len(), 16);
    assert_eq!(reply.shared_key.expose().len(), 40);
    assert_eq!(reply.client_timestamp, Some(42));
    assert!((reply.server_timestamp - now().as_secs()).abs() < 60);
    assert_eq!(reply.dispatchers, [format!("rhn-dispatcher-sat@{HOST}/superclient")]);
    let client = server.store.client_by_name(&reply.client_name).await.expect("works");
    assert_eq!(client.expect("recorded").shared_key, reply.shared_key);
    assert_eq!(*server.changes.0.lock().expect("not poisoned"), [SYSTEM]);
    assert_eq!(*server.store.check_ins.lock().expect("not poisoned"), [SYSTEM]);
}

#[actix::test]
async fn every_registration_rotates_name_and_key() {
    let server = Server::start();

    let first = server
        .register(server.systemid(&server.secret))
        .await
        .expect("no fault");
    let second = server
        .register(server.systemid(&server.secret))
        .await
        .expect("no fault");

    assert_ne!(
        first.as_struct().expect("struct").get("client-name"),
        second.as_struct().expect("struct").get("client-name")
    );
    assert_ne!(
        first.as_struct().expect("struct").get("shared-key"),
        second.as_struct().expect("struct").get("shared-key")
    );
}

/// Whatever an agent that can log in here may report; and what nobody here can be.
#[actix::test]
async fn jids_of_other_servers_are_refused_and_odd_ones_of_ours_taken() {
    let server = Server::start();
    server
        .register(server.systemid(&server.secret))
        .await
        .expect("no fault");
    let register = async |jid: &str| {
        let request = Request::RegisterOsadJid {
            systemid: server.systemid(&server.secret),
            jabber_id: jid.to_owned(),
        };
        server.call(&request.to_call()).await.map_err(|fault| fault.code)
    };

    for jid in [
        JID,
        "osad-1a2b3c4d5e@sat.example.com",
        "osad-1a2b3c4d5e@SAT.Example.COM/osad",
        "Osad_1.x@proxy.example.com/osad",
        "osad-1a2b3c4d5e@sat.example.com/another resource/with a slash@and more",
    ] {
        assert!(register(jid).await.is_ok(), "{jid}");
    }
    for jid in [
        "osad-1a2b3c4d5e@sat.example.org/osad",
        "osad-1a2b3c4d5e@sat.example.com.evil.org/osad",
        "@sat.example.com/osad",
        "sat.example.com",
        "osad/x@sat.example.com",
        "nonsense",
        "",
    ] {
        assert_eq!(register(jid).await, Err(-160), "{jid}");
    }
    let kept = "osad-1a2b3c4d5e@sat.example.com/another resource/with a slash@and more";
    let clients = server.store.clients_by_jid(kept).await.expect("works");
    assert_eq!(clients.len(), 1, "what was refused changed nothing");
}

#[actix::test]
async fn jid_is_recorded_for_its_system() {
    let server = Server::start();
    server
        .register(server.systemid(&server.secret))
        .await
        .expect("no fault");

    let request = Request::RegisterOsadJid {
        systemid: server.systemid(&server.secret),
        jabber_id: JID.to_owned(),
    };
    let value = server.call(&request.to_call()).await.expect("no fault");

    assert_eq!(value, Value::Struct(std::collections::BTreeMap::new()));
    let clients = server.store.clients_by_jid(JID).await.expect("works");
    assert_eq!(clients.first().map(|client| client.system), Some(SYSTEM));
}

#[actix::test]
async fn forged_systemid_gets_fault_minus_9_and_changes_nothing() {
    let server = Server::start();
    let forged = server.systemid(&Secret::new("f".repeat(64)));

    let fault = server.register(forged).await.expect_err("refused");

    assert_eq!(fault.code, -9);
    assert!(server.store.check_ins.lock().expect("not poisoned").is_empty());
    assert!(server.changes.0.lock().expect("not poisoned").is_empty());
}

#[actix::test]
async fn unknown_method_gets_fault_minus_1() {
    let server = Server::start();
    let call = Call {
        method: "registration.new_system".to_owned(),
        params: Vec::new(),
    };

    assert_eq!(server.call(&call).await.expect_err("refused").code, -1);
}

#[actix::test]
async fn greeting_is_compressed_in_the_form_the_client_understands() {
    let server = Server::start();
    let body = write_call(&Request::WelcomeMessage.to_call());

    let response = server.post(&body).await;

    assert!(response.contains("content-encoding: x-zlib"), "{response}");
    assert!(response.contains("content-transfer-encoding: base64"), "{response}");
    let (_, base64) = response.split_once("\r\n\r\n").expect("a body");
    let mut text = String::new();
    ZlibDecoder::new(&*STANDARD.decode(base64).expect("base64"))
        .read_to_string(&mut text)
        .expect("zlib");
    assert!(
        matches!(read_response(text.as_bytes()), Ok(Ok(Value::String(_)))),
        "{text}"
    );
}

#[actix::test]
async fn other_paths_methods_and_bodies_are_refused() {
    let server = Server::start();
    let head = format!("HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n");
    let requests = [
        (format!("GET /XMLRPC {head}\r\n"), "405"),
        (format!("POST / {head}Content-Length: 0\r\n\r\n"), "404"),
        (format!("POST /XMLRPC {head}Content-Length: 0\r\n\r\n"), "400"),
        (format!("POST /XMLRPC {head}Content-Length: 1000000000\r\n\r\n"), "413"),
        (
            format!("GET /XMLRPC {head}X-Long: {}\r\n\r\n", "x".repeat(17_000)),
            "431",
        ),
    ];

    for (request, status) in requests {
        let response = server.exchange(request.clone()).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status}")), "{response}");
    }
}

#[actix::test]
async fn body_without_a_length_is_refused_before_it_comes() {
    let server = Server::start();

    // A gigabyte is announced, and nothing of it sent.
    let response = server
        .exchange(format!(
            "POST /XMLRPC HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n40000000\r\n"
        ))
        .await;

    assert!(response.starts_with("HTTP/1.1 411"), "{response}");
}

#[actix::test]
async fn endpoint_answers_beside_clients_that_say_nothing_and_peers_without_tls() {
    let server = Server::start();
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(server.address).expect("connects"));
    }
    let mut plain = TcpStream::connect(server.address).expect("connects");
    plain.write_all(b"POST /XMLRPC HTTP/1.1\r\n\r\n").expect("written");

    // The silent ones hold every turn at a handshake until their time is up.
    let answered = server.register(server.systemid(&server.secret));

    answered.await.expect("no fault");
}
