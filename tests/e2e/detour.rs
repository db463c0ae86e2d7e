//! A way to a site's XMPP server on which anything can befall a connection, in clear and inside TLS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::servers::XmppServer;

const HEADER: &str = "<?xml version='1.0'?><stream:stream from='localhost' id='detour' xmlns='jabber:client' \
                      xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";
/// What is too long for anybody. Units: bytes.
const FLOOD: usize = 100 * 1024 * 1024;
const PIECE: usize = 64 * 1024;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing was said.
    Accepted,
    /// The server has offered TLS.
    Offered,
    /// The client may shake hands.
    Proceeding,
    /// TLS is established.
    Secured,
    /// The client is logged in. Later connections wait until something else is ordered.
    LoggedIn,
}

/// What the server does from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It takes everything, and says nothing.
    Silence,
    /// It says what is no XML.
    Garbage,
    /// It says why it ends the stream.
    StreamError,
    /// One stanza of 100 MiB of text.
    LongText,
    /// One stanza of 100 MiB, of elements that are as small as can be.
    ManyElements,
}

/// What befalls connections, if anything.
type Order = Option<(Place, Fault)>;

/// Where the dispatcher finds the server.
pub struct Detour {
    address: SocketAddr,
    orders: watch::Sender<Order>,
    accepted: Arc<AtomicUsize>,
    befallen: Arc<Mutex<Vec<usize>>>,
}

impl Detour {
    /// Everything passes, for now. Its certificate is the server's.
    pub fn to(server: &dyn XmppServer) -> Self {
        let (orders, _) = watch::channel(None);
        let (accepted, befallen) = (Arc::default(), Arc::default());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Connections {
            server: server.address(),
            ends: ends(&server.tls(), &server.ca()),
            orders: orders.subscribe(),
            number: 0,
            befallen: Arc::clone(&befallen),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let counter = Arc::clone(&accepted);
        // Ends with the test's process.
        thread::spawn(move || runtime.block_on(connections.accept(listener, &counter)));
        Self {
            address,
            orders,
            accepted,
            befallen,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this befalls each connection that has come so far.
    pub fn order(&self, place: Place, fault: Fault) {
        self.orders.send_replace(Some((place, fault)));
    }

    /// Everything passes again.
    pub fn pass(&self) {
        self.orders.send_replace(None);
    }

    /// How many connections there were.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// The numbers of those that something has befallen, from 1 on.
    pub fn befallen(&self) -> Vec<usize> {
        self.befallen.lock().unwrap().clone()
    }
}

/// TLS with either side.
fn ends(tls: &Path, ca: &Path) -> (TlsAcceptor, TlsConnector) {
    let provider = || Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&tls.join("server.crt"));
    let key = PrivateKeyDer::from_pem_file(tls.join("server.key")).unwrap();
    let server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(&PathBuf::from(ca)));
    let client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server).into(), Arc::new(client).into())
}

fn certificates(pem: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(pem)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

#[derive(Clone)]
struct Connections {
    server: SocketAddr,
    ends: (TlsAcceptor, TlsConnector),
    orders: watch::Receiver<Order>,
    /// Of the connection.
    number: usize,
    befallen: Arc<Mutex<Vec<usize>>>,
}

/// The connection is over, for either side.
type Over = std::io::Result<()>;

impl Connections {
    async fn accept(self, listener: std::net::TcpListener, counter: &AtomicUsize) {
        let listener = TcpListener::from_std(listener).unwrap();
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let mut connections = self.clone();
            connections.number = counter.fetch_add(1, Ordering::SeqCst) + 1;
            // How it ends is for the dispatcher to say.
            tokio::spawn(async move { connections.carry(client).await.ok() });
        }
    }

    async fn carry(mut self, mut client: TcpStream) -> Over {
        client.set_nodelay(true)?;
        let is_over = |order: &Order| !matches!(order, Some((Place::LoggedIn, _)));
        self.orders.wait_for(is_over).await.map_err(std::io::Error::other)?;
        if let Some(fault) = self.ordered(Place::Accepted) {
            return self.befall(&mut client, HEADER, fault).await;
        }
        let mut server = TcpStream::connect(self.server).await?;
        server.set_nodelay(true)?;
        relay(&mut client, &mut server, "", "</stream:features>").await?;
        if let Some(fault) = self.ordered(Place::Offered) {
            return self.befall(&mut client, "", fault).await;
        }
        relay(&mut client, &mut server, "", "<proceed").await?;
        if let Some(fault) = self.ordered(Place::Proceeding) {
            // Its first words are out, so that what it hears next is the answer to them.
            client.readable().await?;
            return self.befall(&mut client, "", fault).await;
        }
        let name = ServerName::try_from("localhost").unwrap();
        let mut server = self.ends.1.connect(name, server).await?;
        let mut client = self.ends.0.accept(client).await?;
        if let Some(fault) = self.ordered(Place::Secured) {
            return self.befall(&mut client, HEADER, fault).await;
        }
        relay(&mut client, &mut server, "jabber:iq:roster", "").await?;
        let mut orders = self.orders.clone();
        let is_ordered = orders.wait_for(|order| matches!(order, Some((Place::LoggedIn, _))));
        tokio::select! {
            over = relay(&mut client, &mut server, "", "") => return over,
            _ = is_ordered => {}
        }
        let Some(fault) = self.ordered(Place::LoggedIn) else {
            return Ok(());
        };
        self.befall(&mut client, "", fault).await
    }

    fn ordered(&self, here: Place) -> Option<Fault> {
        self.orders
            .borrow()
            .filter(|(place, _)| *place == here)
            .map(|(_, fault)| fault)
    }

    /// Returns when the client has had enough.
    async fn befall<C: AsyncRead + AsyncWrite + Unpin>(&self, client: &mut C, header: &str, fault: Fault) -> Over {
        self.befallen.lock().unwrap().push(self.number);
        match fault {
            Fault::Silence => {}
            Fault::Garbage => {
                client
                    .write_all(b"\0\xff\xfe<<< 220 mail.example.com ESMTP\r\n")
                    .await?
            }
            Fault::StreamError => {
                let error = "<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
                             </stream:error></stream:stream>";
                client.write_all(format!("{header}{error}").as_bytes()).await?;
            }
            Fault::LongText => flood(client, &format!("{header}<message><body>"), "x").await?,
            Fault::ManyElements => flood(client, &format!("{header}<message>"), "<a/>").await?,
        }
        client.flush().await?;
        let mut ignored = vec![0; PIECE];
        while client.read(&mut ignored).await? > 0 {}
        Ok(())
    }
}

async fn flood<C: AsyncWrite + Unpin>(client: &mut C, start: &str, drop: &str) -> Over {
    client.write_all(start.as_bytes()).await?;
    let piece = drop.repeat(PIECE / drop.len());
    for _ in 0..FLOOD / PIECE {
        client.write_all(piece.as_bytes()).await?;
    }
    Ok(())
}

/// Carries bytes both ways until the client, or the server, has said these words; if they are none, until one hangs up.
async fn relay<C, S>(client: &mut C, server: &mut S, of_client: &str, of_server: &str) -> Over
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut asked, mut told) = (Vec::new(), Vec::new());
    let (mut from_client, mut from_server) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        tokio::select! {
            count = client.read(&mut from_client) => {
                let bytes = heard(&from_client, count?)?;
                server.write_all(bytes).await?;
                server.flush().await?;
                if has_said(&mut asked, bytes, of_client) {
                    return Ok(());
                }
            }
            count = server.read(&mut from_server) => {
                let bytes = heard(&from_server, count?)?;
                client.write_all(bytes).await?;
                client.flush().await?;
                if has_said(&mut told, bytes, of_server) {
                    return Ok(());
                }
            }
        }
    }
}

fn heard(buffer: &[u8], count: usize) -> std::io::Result<&[u8]> {
    match count {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        count => Ok(&buffer[..count]),
    }
}

fn has_said(so_far: &mut Vec<u8>, bytes: &[u8], words: &str) -> bool {
    if words.is_empty() {
        return false;
    }
    so_far.extend_from_slice(bytes);
    so_far.windows(words.len()).any(|window| window == words.as_bytes())
}
