//! TLS as the existing agent reads it: one record at a time.

use std::fs;
use std::io::{self, Cursor, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// Type and length of a record (RFC 8446, section 5.1).
const HEADER: usize = 5;

/// How often a wait looks whether the agent was told to stop.
const GLANCE: Duration = Duration::from_millis(50);

/// What one look at the socket gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Glance {
    /// The plaintext of exactly one record; empty for one that carries none.
    Record(Vec<u8>),
    Nothing,
    Gone,
}

/// A connection, in the clear until [`Socket::secure`].
pub struct Socket {
    tcp: TcpStream,
    tls: Option<ClientConnection>,
    /// The start of a record whose rest has not come.
    partial: Vec<u8>,
}

impl Socket {
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let tcp = TcpStream::connect(address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(GLANCE))?;
        Ok(Self {
            tcp,
            tls: None,
            partial: Vec::new(),
        })
    }

    /// Shakes hands, without a server name on the wire, which the existing agent never sends; the certificate must be
    /// for `host` nevertheless.
    pub fn secure(&mut self, host: &str, ca: &Path, sends_name: bool) -> Result<(), rustls::Error> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(ca))
            .with_no_client_auth();
        config.enable_sni = sends_name;
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let mut tls = ClientConnection::new(Arc::new(config), name)?;
        while tls.is_handshaking() {
            match tls.complete_io(&mut self.tcp) {
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                Err(error) => {
                    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
                    return Err(inner.cloned().unwrap_or(rustls::Error::General(error.to_string())));
                }
            }
        }
        self.tls = Some(tls);
        Ok(())
    }

    pub fn write(&mut self, text: &str) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return self.tcp.write_all(text.as_bytes());
        };
        tls.writer().write_all(text.as_bytes())?;
        while tls.wants_write() {
            tls.write_tls(&mut self.tcp)?;
        }
        Ok(())
    }

    /// Reads one record if one comes before `until`.
    pub fn read_record(&mut self, until: Instant, stop: &dyn Fn() -> bool) -> Glance {
        loop {
            match self.glance() {
                Ok(Glance::Nothing) if Instant::now() < until && !stop() => {}
                Ok(glance) => return glance,
                Err(_) => return Glance::Gone,
            }
        }
    }

    fn glance(&mut self) -> io::Result<Glance> {
        let Some(tls) = &mut self.tls else {
            let mut buffer = [0; 1024];
            return match self.tcp.read(&mut buffer) {
                Ok(0) => Ok(Glance::Gone),
                Ok(count) => Ok(Glance::Record(buffer[..count].to_vec())),
                Err(error) if is_timeout(&error) => Ok(Glance::Nothing),
                Err(error) => Err(error),
            };
        };
        // What came with the end of the handshake.
        if let Some(plain) = plaintext(tls)? {
            return Ok(Glance::Record(plain));
        }
        let wanted = match self.partial.get(3..HEADER) {
            Some(length) => HEADER + usize::from(u16::from_be_bytes([length[0], length[1]])),
            None => HEADER,
        };
        if self.partial.len() < wanted {
            let mut buffer = vec![0; wanted - self.partial.len()];
            match self.tcp.read(&mut buffer) {
                Ok(0) => return Ok(Glance::Gone),
                Ok(count) => self.partial.extend_from_slice(&buffer[..count]),
                Err(error) if is_timeout(&error) => return Ok(Glance::Nothing),
                Err(error) => return Err(error),
            }
            return self.glance();
        }
        if wanted == HEADER {
            return self.glance();
        }
        let record = std::mem::take(&mut self.partial);
        let mut record = Cursor::new(record);
        tls.read_tls(&mut record)?;
        let state = tls.process_new_packets().map_err(io::Error::other)?;
        if state.peer_has_closed() {
            return Ok(Glance::Gone);
        }
        Ok(Glance::Record(plaintext(tls)?.unwrap_or_default()))
    }
}

fn plaintext(tls: &mut ClientConnection) -> io::Result<Option<Vec<u8>>> {
    let mut plain = vec![0; 32 * 1024];
    match tls.reader().read(&mut plain) {
        Ok(0) => Ok(None),
        Ok(count) => {
            plain.truncate(count);
            Ok(Some(plain))
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn roots(ca: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let pem = fs::read(ca).unwrap();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.unwrap()).unwrap();
    }
    roots
}
