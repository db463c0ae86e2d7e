//! The part of a Satellite that clients enrol with.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::super::error::SwarmError;
use super::super::site::HOSTNAME;
use super::Satellite;
use crate::domain::dispatcher_rows;
use crate::domain::ids::{ClientName, SystemId};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::host::clock::{OsEntropy, SystemClock};
use crate::net::listener::listen_on;
use crate::net::registration::{Registrar, RegistrationEndpoint};
use crate::net::tls::{ServerFiles, ServerTls};
use crate::ports::clock::Clock;
use crate::ports::registrations::{RegistrationObserver, Registrations};
use crate::ports::service::Service;
use crate::ports::store::{DatabaseLabel, StoreError};

/// Serves until the program ends.
pub(in super::super) fn serve_registration(
    satellite: &Arc<Satellite>,
    address: SocketAddr,
    tls: &Path,
) -> Result<(), SwarmError> {
    let files = ServerFiles {
        certificate: tls.join("server.crt"),
        key: tls.join("server.key"),
        hostname: HOSTNAME.to_owned(),
        authority: None,
    };
    let registrar = Registrar {
        registrations: Arc::new(Web(Arc::clone(satellite))),
        observer: Arc::new(Nobody),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(OsEntropy),
        jabber_server: HOSTNAME.to_owned(),
        dispatcher: dispatcher_rows::jid(HOSTNAME),
        domains: vec![HOSTNAME.to_owned()],
    };
    let tls = Arc::new(ServerTls::load_all(vec![files], SystemClock.now())?);
    let listener = listen_on(address, &tls).map_err(|error| SwarmError::Rejected(error.to_string()))?;
    let endpoint = RegistrationEndpoint::new(registrar, vec![listener], Arc::new(Semaphore::new(8)));
    tokio::task::spawn_local(async move { endpoint.serve().await });
    Ok(())
}

struct Nobody;

impl RegistrationObserver for Nobody {
    fn registration_changed(&self, _: SystemId) {}
}

struct Web(Arc<Satellite>);

impl Web {
    fn unreachable(error: &tokio_postgres::Error) -> StoreError {
        StoreError::Unreachable {
            database: DatabaseLabel::new("the Satellite's"),
            reason: error.to_string(),
        }
    }
}

/// Compatibility contract, sections 2.5 and 2.6.
#[async_trait]
impl Registrations for Web {
    async fn system_secret(&self, system: SystemId) -> Result<Option<Secret>, StoreError> {
        let text = "SELECT secret FROM rhnServer WHERE id = $1::bigint::numeric";
        let rows = self.0.checks.query(text, &[&system.0]).await;
        let rows = rows.map_err(|error| Self::unreachable(&error))?;
        Ok(rows.first().map(|row| Secret::new(row.get::<_, String>(0))))
    }

    async fn check_in(&self, _: SystemId, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    async fn register_osad(
        &self,
        system: SystemId,
        name: &ClientName,
        key: &Secret,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        // Each of these systems enrols once.
        let text = "INSERT INTO rhnPushClient (id, name, shared_key, server_id, state_id) \
             SELECT nextval('rhn_pclient_id_seq'), $1, $2, $3::bigint, s.id FROM rhnPushClientState s \
             WHERE s.label = 'offline'";
        let done = self.0.checks.execute(text, &[&name.0, &key.expose(), &system.0]).await;
        done.map(drop).map_err(|error| Self::unreachable(&error))
    }

    async fn register_osad_jid(&self, system: SystemId, jid: &str, _: Timestamp) -> Result<(), StoreError> {
        let text = "UPDATE rhnPushClient SET jabber_id = $1 WHERE server_id = $2::bigint::numeric";
        let done = self.0.checks.execute(text, &[&jid, &system.0]).await;
        done.map(drop).map_err(|error| Self::unreachable(&error))
    }
}
