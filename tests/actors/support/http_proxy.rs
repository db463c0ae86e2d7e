//! An HTTP proxy that knows one network: every name is a port of this machine.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use osa::domain::secret::Secret;
use osa::net::access::HttpProxy;
use osa::settings::names::ProxyAddress;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::httpd::read_request;

/// How it is set up.
#[derive(Clone)]
pub enum Rule {
    /// Everybody may use it.
    Open,
    /// Who says this behind `Proxy-Authorization: ` may use it.
    Login(&'static str),
    /// It says this to everybody, and hangs up.
    Says(String),
}

pub struct ProxyStandIn {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ProxyStandIn {
    pub async fn start(rule: Rule) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("it listens");
        let proxy = Self {
            address: listener.local_addr().expect("it has an address"),
            asked: Arc::default(),
        };
        let asked = Arc::clone(&proxy.asked);
        actix::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                actix::spawn(serve(socket, rule.clone(), Arc::clone(&asked)));
            }
        });
        proxy
    }

    /// What it was asked for.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }

    pub fn used_by(&self, login: Option<(&str, &str)>) -> Option<HttpProxy> {
        proxy_at(self.address, login)
    }
}

/// What an agent knows of it.
pub fn proxy_at(address: SocketAddr, login: Option<(&str, &str)>) -> Option<HttpProxy> {
    Some(HttpProxy {
        address: ProxyAddress::parse(&address.to_string()).expect("an address"),
        login: login.map(|(user, password)| (user.to_owned(), Secret::new(password))),
    })
}

async fn serve(mut socket: TcpStream, rule: Rule, asked: Arc<Mutex<Vec<String>>>) -> Option<()> {
    let request = read_request(&mut socket).await?;
    asked.lock().expect("no panic").push(request.clone());
    let authorised = |login: &str| request.contains(&format!("\r\nProxy-Authorization: {login}\r\n"));
    let refusal = match rule {
        Rule::Open => None,
        Rule::Login(login) if authorised(login) => None,
        Rule::Login(_) => Some(
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\
             Content-Length: 4\r\n\r\nno!\n"
                .to_owned(),
        ),
        Rule::Says(words) => Some(words),
    };
    if let Some(words) = refusal {
        socket.write_all(words.as_bytes()).await.ok()?;
        return socket.shutdown().await.ok();
    }
    let port = request.split(' ').nth(1)?.rsplit(':').next()?.parse::<u16>().ok()?;
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    socket
        .write_all(b"HTTP/1.0 200 Connection established\r\nVia: a stand-in\r\n\r\n")
        .await
        .ok()?;
    copy_bidirectional(&mut socket, &mut server).await.ok().map(drop)
}
