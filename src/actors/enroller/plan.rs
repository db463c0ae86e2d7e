//! What is still missing for a connection, and what has to be done over; pure.
//!
//! ```text
//! ReadSystemid ─► OpenAccount ─► Register ─► RegisterJid ─► Publish ─► Rest
//!      ▲               ▲             ▲            ▲
//!  systemid      other machine   link gone,   conflict,
//!  replaced                      clock off    other JID
//! ```

use std::sync::Arc;

use super::messages::{Cause, Enrolled};
use crate::ports::account_file::AgentAccount;
use crate::ports::registrar::Registration;
use crate::ports::systemid::Systemid;
use crate::protocol::osa::agent_talk::Enrolment;
use crate::protocol::systemid::SystemName;

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Read the systemid.
    ReadSystemid,
    /// Get the account of this system on this machine.
    OpenAccount(String),
    /// Make up another account.
    RenewAccount(String),
    /// Get a name and key.
    Register(Arc<Systemid>),
    /// Report this JID.
    RegisterJid(Arc<Systemid>, String),
    /// Tell the connector.
    Publish(Arc<Enrolled>),
    /// Nothing; wait for a cause.
    Rest,
}

/// What is known, and thereby what is missing.
#[derive(Debug)]
pub(super) struct Plan {
    /// The servers' domains, in the order they are tried.
    domains: Vec<String>,
    server: usize,
    systemid: Option<Arc<Systemid>>,
    account: Option<AgentAccount>,
    renews_account: bool,
    registration: Option<Registration>,
    /// The JID the server gave where it was not the expected one.
    given_jid: Option<String>,
    jid_registered: bool,
    published: Option<Arc<Enrolled>>,
}

impl Plan {
    pub(super) const fn new(domains: Vec<String>) -> Self {
        Self {
            domains,
            server: 0,
            systemid: None,
            account: None,
            renews_account: false,
            registration: None,
            given_jid: None,
            jid_registered: false,
            published: None,
        }
    }

    /// Goes on where an earlier generation had arrived.
    pub(super) fn resume(&mut self, enrolled: Arc<Enrolled>) {
        self.server = enrolled.server;
        self.systemid = Some(Arc::clone(&enrolled.systemid));
        self.account = Some(enrolled.account.clone());
        self.given_jid = Some(enrolled.jid.clone());
        self.jid_registered = true;
        let Enrolment {
            client,
            key,
            dispatchers,
            drift_millis,
        } = enrolled.enrolment.clone();
        self.registration = Some(Registration {
            client,
            key,
            dispatchers,
            drift_millis,
        });
        self.published = Some(enrolled);
    }

    pub(super) fn next(&self) -> Step {
        let Some(systemid) = &self.systemid else {
            return Step::ReadSystemid;
        };
        let system = system_text(&systemid.system);
        let Some(account) = &self.account else {
            return if self.renews_account {
                Step::RenewAccount(system)
            } else {
                Step::OpenAccount(system)
            };
        };
        let Some(registration) = &self.registration else {
            return Step::Register(Arc::clone(systemid));
        };
        let jid = self.jid(account);
        if !self.jid_registered {
            return Step::RegisterJid(Arc::clone(systemid), jid);
        }
        if self.published.is_some() {
            return Step::Rest;
        }
        let Registration {
            client,
            key,
            dispatchers,
            drift_millis,
        } = registration.clone();
        Step::Publish(Arc::new(Enrolled {
            server: self.server,
            systemid: Arc::clone(systemid),
            account: account.clone(),
            jid,
            enrolment: Enrolment {
                client,
                key,
                dispatchers,
                drift_millis,
            },
        }))
    }

    /// Which server is used.
    pub(super) const fn server(&self) -> usize {
        self.server
    }

    /// What the connector was told last, if that still holds.
    pub(super) fn published(&self) -> Option<Arc<Enrolled>> {
        self.published.clone()
    }

    /// The systemid in use.
    pub(super) fn systemid(&self) -> Option<&Systemid> {
        self.systemid.as_deref()
    }

    /// The systemid was read for the first time, or has changed: everything is done over.
    pub(super) fn systemid_read(&mut self, systemid: Systemid) {
        let domains = std::mem::take(&mut self.domains);
        let server = self.server;
        *self = Self::new(domains);
        self.server = server;
        self.systemid = Some(Arc::new(systemid));
    }

    pub(super) fn account_ready(&mut self, account: AgentAccount) {
        self.account = Some(account);
        self.renews_account = false;
    }

    pub(super) fn registered(&mut self, registration: Registration) {
        self.registration = Some(registration);
    }

    pub(super) fn jid_registered(&mut self) {
        self.jid_registered = true;
    }

    pub(super) fn published_to_connector(&mut self, enrolled: Arc<Enrolled>) {
        self.published = Some(enrolled);
    }

    /// Registration failed: the next server may do better.
    pub(super) fn try_next_server(&mut self) {
        if self.domains.len() > 1 {
            self.use_server((self.server + 1) % self.domains.len());
        }
    }

    /// The first server, which is the best, can be reached again.
    pub(super) fn return_to_first(&mut self) {
        self.use_server(0);
    }

    fn use_server(&mut self, server: usize) {
        self.server = server;
        self.registration = None;
        self.given_jid = None;
        self.jid_registered = false;
        self.published = None;
    }

    /// Something has to be done over.
    pub(super) fn reconsider(&mut self, cause: Cause) {
        match cause {
            Cause::Conflict | Cause::CredentialsTaken => {
                self.account = None;
                self.renews_account = true;
                self.given_jid = None;
            }
            Cause::LinkGone | Cause::ClockOff | Cause::MemoryLost => self.registration = None,
            Cause::OtherJid(jid) => self.given_jid = Some(jid),
            Cause::Unreachable => return self.try_next_server(),
        }
        self.jid_registered = false;
        self.published = None;
    }

    fn jid(&self, account: &AgentAccount) -> String {
        let domain = self.domains.get(self.server).map_or("", String::as_str);
        let usual = || format!("{}@{domain}/{}", account.username, account.resource);
        self.given_jid.clone().unwrap_or_else(usual)
    }
}

fn system_text(system: &SystemName) -> String {
    match system {
        SystemName::Id(id) => format!("ID-{id}"),
        SystemName::DigitalServerId(text) => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{ClientName, SystemId};
    use crate::domain::secret::Secret;

    const JID: &str = "osad-1@one.test/osad";

    fn systemid(number: i64) -> Systemid {
        Systemid {
            text: Secret::new(number.to_string()),
            system: SystemName::Id(SystemId(number)),
        }
    }

    fn account(name: &str) -> AgentAccount {
        AgentAccount {
            username: name.into(),
            password: Secret::new("p"),
            resource: "osad".into(),
        }
    }

    fn registration() -> Registration {
        Registration {
            client: ClientName("c".into()),
            key: Secret::new("k"),
            dispatchers: vec!["d@one.test/superclient".into()],
            drift_millis: 5,
        }
    }

    fn plan(servers: &[&str]) -> Plan {
        Plan::new(servers.iter().map(|name| (*name).to_owned()).collect())
    }

    /// Does what is missing; what that was.
    fn complete(plan: &mut Plan) -> Vec<&'static str> {
        let mut done = Vec::new();
        loop {
            done.push(match plan.next() {
                Step::ReadSystemid => {
                    plan.systemid_read(systemid(1));
                    "systemid"
                }
                Step::OpenAccount(system) => {
                    assert_eq!(system, format!("ID-{}", plan.systemid().unwrap().text.expose()));
                    plan.account_ready(account("osad-1"));
                    "account"
                }
                Step::RenewAccount(_) => {
                    plan.account_ready(account("osad-2"));
                    "other account"
                }
                Step::Register(_) => {
                    plan.registered(registration());
                    "name and key"
                }
                Step::RegisterJid(..) => {
                    plan.jid_registered();
                    "jid"
                }
                Step::Publish(enrolled) => {
                    plan.published_to_connector(enrolled);
                    "publish"
                }
                Step::Rest => return done,
            });
        }
    }

    #[test]
    fn everything_is_done_once_and_in_order() {
        let mut plan = plan(&["one.test"]);

        assert_eq!(
            complete(&mut plan),
            ["systemid", "account", "name and key", "jid", "publish"]
        );
        assert_eq!(complete(&mut plan), [""; 0]);
        let enrolled = plan.published().unwrap();
        assert_eq!((enrolled.jid.as_str(), enrolled.enrolment.drift_millis), (JID, 5));
    }

    #[test]
    fn each_cause_repeats_what_it_must_and_no_more() {
        let cases: [(Cause, &[&str], &str); 7] = [
            (
                Cause::Conflict,
                &["other account", "jid", "publish"],
                "osad-2@one.test/osad",
            ),
            (
                Cause::CredentialsTaken,
                &["other account", "jid", "publish"],
                "osad-2@one.test/osad",
            ),
            (Cause::LinkGone, &["name and key", "jid", "publish"], JID),
            (Cause::ClockOff, &["name and key", "jid", "publish"], JID),
            (Cause::MemoryLost, &["name and key", "jid", "publish"], JID),
            (
                Cause::OtherJid("x@one.test/y".into()),
                &["jid", "publish"],
                "x@one.test/y",
            ),
            (Cause::Unreachable, &[], JID),
        ];
        for (cause, repeated, jid) in cases {
            let mut plan = plan(&["one.test"]);
            complete(&mut plan);

            plan.reconsider(cause.clone());

            assert_eq!(complete(&mut plan), repeated, "{cause:?}");
            assert_eq!(plan.published().unwrap().jid, jid, "{cause:?}");
        }
    }

    #[test]
    fn replaced_systemid_repeats_everything() {
        let mut plan = plan(&["one.test"]);
        complete(&mut plan);

        plan.systemid_read(systemid(2));

        assert_eq!(complete(&mut plan), ["account", "name and key", "jid", "publish"]);
    }

    #[test]
    fn unreachable_server_gives_way_to_the_next_one() {
        let mut plan = plan(&["one.test", "two.test"]);
        complete(&mut plan);

        plan.reconsider(Cause::Unreachable);

        assert_eq!(complete(&mut plan), ["name and key", "jid", "publish"]);
        assert_eq!(plan.published().unwrap().jid, "osad-1@two.test/osad");
        plan.reconsider(Cause::Unreachable);
        assert_eq!(plan.server(), 0);
    }

    #[test]
    fn first_server_is_returned_to_from_any_other() {
        let mut plan = plan(&["one.test", "two.test", "three.test"]);
        complete(&mut plan);
        for _ in 0..2 {
            plan.reconsider(Cause::Unreachable);
        }
        complete(&mut plan);

        plan.return_to_first();

        assert_eq!(complete(&mut plan), ["name and key", "jid", "publish"]);
        assert_eq!(plan.published().unwrap().jid, JID);
    }

    #[test]
    fn next_generation_goes_on_without_doing_anything_again() {
        let mut first = plan(&["one.test", "two.test"]);
        complete(&mut first);
        let mut second = plan(&["one.test", "two.test"]);

        second.resume(first.published().unwrap());

        assert_eq!(complete(&mut second), [""; 0]);
        second.reconsider(Cause::ClockOff);
        assert_eq!(complete(&mut second), ["name and key", "jid", "publish"]);
    }
}
