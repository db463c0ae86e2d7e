//! The registration endpoint: HTTPS, `POST /XMLRPC`. Compatibility contract, section 2.
//!
//! Whoever connects is a stranger until a systemid proves the contrary, so everything a stranger can make grow is
//! bounded: connections, handshakes at once, time for each step, bytes of header and body.

mod answering;
mod encoding;
mod http;
mod refusals;

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use answering::Registrar;
use refusals::Refusals;

use crate::domain::admission::{Admission, AdmissionLimits, Origin};
use crate::ports::service::Service;
use crate::ports::transport::{Connection, HANDSHAKE_TURN, Handshake, LinkError, Listener};

/// Connections at once. A connection costs at most its TLS state, header and body: 64 MiB together.
const LIMITS: AdmissionLimits = AdmissionLimits {
    connections: 1_024,
    logging_in: 1_024,
    logging_in_per_address: 512,
};
/// Time for TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for all requests of one connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// Pause after a failure to accept, mostly because descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// The server. Its listeners outlive each run.
pub struct RegistrationEndpoint {
    registrar: Arc<Registrar>,
    refusals: Arc<Refusals>,
    listeners: Vec<Arc<dyn Listener>>,
    handshakes: Arc<Semaphore>,
}

impl RegistrationEndpoint {
    /// Serves `registrar` on `listeners`; at most as many handshakes run at once as `handshakes` has permits.
    pub fn new(registrar: Registrar, listeners: Vec<Arc<dyn Listener>>, handshakes: Arc<Semaphore>) -> Self {
        Self {
            registrar: Arc::new(registrar),
            refusals: Arc::default(),
            listeners,
            handshakes,
        }
    }
}

impl Service for RegistrationEndpoint {
    fn serve(&self) -> Pin<Box<dyn Future<Output = ()>>> {
        let run = Run {
            registrar: Arc::clone(&self.registrar),
            refusals: Arc::clone(&self.refusals),
            handshakes: Arc::clone(&self.handshakes),
            admission: Arc::new(Mutex::new(Admission::new(LIMITS))),
        };
        let mut accepting = JoinSet::new();
        let refusals = Arc::clone(&self.refusals);
        accepting.spawn_local(async move { refusals.tell().await });
        for listener in &self.listeners {
            accepting.spawn_local(run.clone().accept(Arc::clone(listener)));
        }
        // Accepting never ends, except by a panic, after which all begins anew. What is spawned ends with the sets.
        Box::pin(async move {
            accepting.join_next().await;
        })
    }
}

#[derive(Clone)]
struct Run {
    registrar: Arc<Registrar>,
    refusals: Arc<Refusals>,
    handshakes: Arc<Semaphore>,
    admission: Arc<Mutex<Admission>>,
}

/// A place among the connections, given up when dropped.
struct Place {
    admission: Arc<Mutex<Admission>>,
    origin: Origin,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut admission = self.admission.lock().unwrap_or_else(PoisonError::into_inner);
        admission.left(self.origin, false);
    }
}

impl Run {
    async fn accept(self, listener: Arc<dyn Listener>) {
        let mut connections = JoinSet::new();
        loop {
            // Those that have ended.
            while connections.try_join_next().is_some() {}
            match std::future::poll_fn(|cx| listener.poll_accept(cx)).await {
                Ok(connection) => match self.admit(&*connection) {
                    Some(place) => drop(connections.spawn_local(self.clone().serve(connection, place))),
                    None => tracing::debug!(event = "registration_turned_away", peer_addr = %connection.peer_addr()),
                },
                Err(error) => {
                    tracing::error!(event = "accept_failed", error = %error, listener = %listener.local_addr());
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, connection: &dyn Connection) -> Option<Place> {
        let origin = Origin::from(connection.peer_addr().ip());
        let mut admission = self.admission.lock().unwrap_or_else(PoisonError::into_inner);
        admission.admit(origin).ok().map(|()| Place {
            admission: Arc::clone(&self.admission),
            origin,
        })
    }

    async fn serve(self, mut connection: Box<dyn Connection>, _place: Place) {
        let peer = connection.peer_addr();
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, self.shake_hands(&mut *connection)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                return tracing::debug!(event = "registration_tls_failed", peer_addr = %peer, error = %error);
            }
            Err(_) => return,
        }
        let served = tokio::time::timeout(
            CONNECTION_TIMEOUT,
            http::serve(connection, self.registrar, self.refusals),
        )
        .await;
        if let Ok(Err(error)) = served {
            tracing::debug!(event = "registration_http_failed", peer_addr = %peer, error = %error);
        }
    }

    async fn shake_hands(&self, connection: &mut dyn Connection) -> Result<Handshake, LinkError> {
        let turn = self.handshakes.acquire().await;
        let mut handshake = std::pin::pin!(std::future::poll_fn(|cx| connection.poll_handshake(cx)));
        let in_turn = tokio::time::timeout(HANDSHAKE_TURN, &mut handshake).await;
        drop(turn);
        match in_turn {
            Ok(done) => done,
            Err(_) => handshake.await,
        }
    }
}
