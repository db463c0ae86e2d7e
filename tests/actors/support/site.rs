//! Certificates of a throw-away site.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use osa::domain::time::Timestamp;
use osa::net::ca::{AuthorityFiles, ensure, issue_server};
use osa::net::tls::{ServerFiles, ServerTls, client_tls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CipherSuite, ClientConfig, ClientConnection, RootCertStore};

pub const HOST: &str = "sat.example.com";

/// rustls looks at the real clock when it verifies.
pub fn now() -> Timestamp {
    let since = UNIX_EPOCH.elapsed().expect("the clock is past 1970");
    Timestamp::from_secs(since.as_secs().try_into().expect("fits"))
}

pub struct Site {
    pub dir: tempfile::TempDir,
    pub authority: AuthorityFiles,
    pub server: ServerFiles,
}

impl Site {
    pub fn new() -> Self {
        Self::certified_for(HOST)
    }

    pub fn certified_for(hostname: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        let authority = AuthorityFiles {
            certificate: path("ca.crt"),
            key: path("ca.key"),
        };
        let server = ServerFiles {
            certificate: path("server.crt"),
            key: path("server.key"),
            hostname: hostname.to_owned(),
            authority: Some(path("ca.crt")),
        };
        ensure(&authority, &server, now()).expect("certificates are made");
        Self { dir, authority, server }
    }

    /// Another server of the same authority; its certificate was valid at `at`, and for some years around it.
    pub fn beside(&self, hostname: &str, at: Timestamp) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let server = ServerFiles {
            certificate: dir.path().join("server.crt"),
            key: dir.path().join("server.key"),
            hostname: hostname.to_owned(),
            authority: None,
        };
        issue_server(&self.authority, &server, at).expect("a certificate is made");
        let authority = self.authority.clone();
        Self { dir, authority, server }
    }

    /// What a server with this certificate uses, were it valid or not.
    pub fn unchecked_tls(&self) -> Arc<rustls::ServerConfig> {
        let read = |path| std::fs::read(path).expect("readable");
        let chain = CertificateDer::pem_slice_iter(&read(&self.server.certificate)).collect::<Result<_, _>>();
        let key = PrivateKeyDer::from_pem_slice(&read(&self.server.key)).expect("PEM");
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain.expect("PEM"), key);
        Arc::new(config.expect("a pair"))
    }

    pub fn tls(&self) -> Arc<ServerTls> {
        Arc::new(self.load().expect("material loads"))
    }

    pub fn load(&self) -> Result<ServerTls, osa::ports::tls::TlsError> {
        ServerTls::load(self.server.clone(), now())
    }

    pub fn error(&self) -> String {
        let error = self.load().err().expect("it is refused").to_string();
        assert!(!error.contains('\n'), "one line: {error}");
        error
    }

    pub fn client(&self, address: SocketAddr) -> rustls::StreamOwned<ClientConnection, TcpStream> {
        let trust = client_tls(&self.authority.certificate, now()).expect("the CA loads");
        self.client_with(trust.config, address)
    }

    pub fn client_with(
        &self,
        config: Arc<ClientConfig>,
        address: SocketAddr,
    ) -> rustls::StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from(HOST).expect("a name");
        let tls = ClientConnection::new(config, name).expect("a client");
        rustls::StreamOwned::new(tls, TcpStream::connect(address).expect("connects"))
    }

    /// A client that offers one version only, and one cipher suite if it is given.
    pub fn client_config(
        &self,
        version: &'static rustls::SupportedProtocolVersion,
        suite: Option<CipherSuite>,
    ) -> Arc<ClientConfig> {
        let mut provider = rustls::crypto::ring::default_provider();
        provider
            .cipher_suites
            .retain(|offered| suite.is_none_or(|suite| offered.suite() == suite));
        let mut roots = RootCertStore::empty();
        let pem = std::fs::read(&self.authority.certificate).expect("readable");
        roots
            .add(CertificateDer::from_pem_slice(&pem).expect("PEM"))
            .expect("a CA");
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}
