//! What the calls do: compatibility contract, sections 2.2 to 2.6.

use std::fmt::Write;
use std::sync::Arc;

use crate::domain::ids::{ClientName, SystemId};
use crate::domain::secret::Secret;
use crate::ports::clock::{Clock, Entropy};
use crate::ports::registrations::{RegistrationObserver, Registrations};
use crate::ports::store::StoreError;
use crate::protocol::systemid::{SystemCertificate, SystemName};
use crate::protocol::xmlrpc::reader::{ReadError, read_call};
use crate::protocol::xmlrpc::registration::{Failure, OsadReply, Reply, Request};

/// Random bytes of a client name: 16 hex digits.
const NAME_BYTES: usize = 8;
/// Random bytes of a shared key: 40 hex digits.
const KEY_BYTES: usize = 20;
/// What the greeting says; clients only look at the header beside it.
const GREETING: &str = "osa-dispatcher";

/// Answers the calls from the database.
pub struct Registrar {
    /// Systems and their registrations.
    pub registrations: Arc<dyn Registrations>,
    /// Who must know of changes.
    pub observer: Arc<dyn RegistrationObserver>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness for names and keys.
    pub entropy: Arc<dyn Entropy>,
    /// The host name that clients are told to connect to.
    pub jabber_server: String,
    /// The dispatcher's full JID.
    pub dispatcher: String,
    /// The domains of the XMPP server: clients have JIDs of these.
    pub domains: Vec<String>,
}

impl Registrar {
    /// Answers one call.
    pub(super) async fn answer(&self, body: &[u8]) -> Result<Result<Reply, Failure>, ReadError> {
        let call = read_call(body)?;
        let outcome = match Request::from_call(call) {
            Ok(request) => self.perform(request).await,
            Err(failure) => Err(failure),
        };
        Ok(outcome)
    }

    async fn perform(&self, request: Request) -> Result<Reply, Failure> {
        match request {
            Request::WelcomeMessage => Ok(Reply::Welcome(GREETING.to_owned())),
            Request::RegisterOsad {
                systemid,
                client_timestamp,
            } => {
                let system = self.authenticate(&systemid).await?;
                self.register_osad(system, client_timestamp).await
            }
            Request::RegisterOsadJid { systemid, jabber_id } => {
                let system = self.authenticate(&systemid).await?;
                self.register_osad_jid(system, &jabber_id).await
            }
        }
    }

    /// Whose systemid it is. A stranger learns nothing but that it is not valid, and costs one look-up.
    async fn authenticate(&self, systemid: &Secret) -> Result<SystemId, Failure> {
        let certificate = SystemCertificate::parse(systemid.expose()).map_err(|_| Failure::InvalidCredentials)?;
        if certificate.is_anonymous {
            return Err(Failure::AnonymousCertificate);
        }
        let system = match certificate.system {
            SystemName::Id(system) => system,
            // Only Satellites that are older than their database's last migration know these.
            SystemName::DigitalServerId(_) => return Err(Failure::InvalidCredentials),
        };
        let secret = self.registrations.system_secret(system).await;
        let Some(secret) = secret.map_err(|error| failure(system, &error))? else {
            return Err(Failure::InvalidCredentials);
        };
        certificate.verify(&secret).map_err(|_| Failure::InvalidCredentials)?;
        let checked_in = self.registrations.check_in(system, self.clock.now()).await;
        checked_in.map_err(|error| failure(system, &error))?;
        Ok(system)
    }

    async fn register_osad(&self, system: SystemId, client_timestamp: Option<i64>) -> Result<Reply, Failure> {
        let now = self.clock.now();
        let client_name = ClientName(self.random_hex(NAME_BYTES));
        let shared_key = Secret::new(self.random_hex(KEY_BYTES));
        let registered = self
            .registrations
            .register_osad(system, &client_name, &shared_key, now)
            .await;
        registered.map_err(|error| failure(system, &error))?;
        self.observer.registration_changed(system);
        tracing::info!(event = "osad_registered", system_id = system.0, client = %client_name);
        Ok(Reply::Osad(Some(OsadReply {
            client_name,
            shared_key,
            server_timestamp: now.as_secs(),
            jabber_server: self.jabber_server.clone(),
            dispatchers: vec![self.dispatcher.clone()],
            client_timestamp,
        })))
    }

    async fn register_osad_jid(&self, system: SystemId, jid: &str) -> Result<Reply, Failure> {
        if !self.can_be_a_client(jid) {
            return Err(Failure::JabberIdMissing);
        }
        let recorded = self
            .registrations
            .register_osad_jid(system, jid, self.clock.now())
            .await;
        recorded.map_err(|error| failure(system, &error))?;
        self.observer.registration_changed(system);
        tracing::debug!(event = "osad_jid_registered", system_id = system.0, jid);
        Ok(Reply::JidRecorded)
    }

    /// Whether somebody under this JID can log in here. Existing agents report the host as it stands in their
    /// configuration, be it in capitals, and any name and resource: compatibility contract, section 1.7.
    fn can_be_a_client(&self, jid: &str) -> bool {
        let bare = jid.split('/').next().unwrap_or_default();
        bare.split_once('@').is_some_and(|(name, domain)| {
            !name.is_empty() && self.domains.iter().any(|served| served.eq_ignore_ascii_case(domain))
        })
    }

    fn random_hex(&self, count: usize) -> String {
        let mut bytes = vec![0; count];
        self.entropy.fill(&mut bytes);
        bytes.iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            write!(text, "{byte:02x}").ok();
            text
        })
    }
}

fn failure(system: SystemId, error: &StoreError) -> Failure {
    tracing::warn!(event = "registration_failed", system_id = system.0, error = %error);
    Failure::Internal
}
