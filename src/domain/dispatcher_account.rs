//! The account by which the dispatcher logs in to a site's own XMPP server.
//!
//! `rhnPushDispatcher` holds it: the row's JID is what the Satellite tells its clients, its password what the server knows. An
//! account whose password is lost cannot be had again (the server answers 409 to who registers it), so another name takes its
//! place in the row. Source: compatibility contract, sections 1.6, 1.7 and 3.4.

use std::fmt::Write as _;

use super::dispatcher_rows::{NODE, RESOURCE};
use super::secret::Secret;

/// Random bytes of a password: 32 characters, as many as the column has.
pub const PASSWORD_ENTROPY: usize = 16;
/// Random bytes of a name that is not the first: so many that no two dispatchers ever draw the same.
pub const NAME_ENTROPY: usize = 4;

/// Name and password; the domain is the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatcherAccount {
    /// The node of its JID.
    pub username: String,
    /// Its password.
    pub password: Secret,
}

impl DispatcherAccount {
    /// The usual name with a new password.
    pub fn first(password: [u8; PASSWORD_ENTROPY]) -> Self {
        Self {
            username: NODE.to_owned(),
            password: hex_secret(password),
        }
    }

    /// Another name with a new password, for when the server does not give the present one back.
    pub fn another(name: [u8; NAME_ENTROPY], password: [u8; PASSWORD_ENTROPY]) -> Self {
        Self {
            username: format!("{NODE}-{}", hex(&name)),
            password: hex_secret(password),
        }
    }

    /// The full JID on the server of this name.
    pub fn jid(&self, domain: &str) -> String {
        format!("{}@{}/{RESOURCE}", self.username, domain.to_ascii_lowercase())
    }
}

/// The name of the dispatcher's account in this full JID; `None` if it is of another server, or nobody's of ours. Agents compare
/// letter by letter, so capitals make another JID.
pub fn username<'a>(jid: &'a str, domain: &str) -> Option<&'a str> {
    let name = jid.strip_suffix(RESOURCE)?.strip_suffix('/')?;
    let name = name.strip_suffix(domain)?.strip_suffix('@')?;
    let further = name.strip_prefix(NODE)?;
    (further.is_empty() || further.starts_with('-')).then_some(name)
}

/// Which of several names of one server counts; the one that checked in last comes first. One that is not the usual was made
/// because the usual could not be had, and is back in the table only because somebody wrote it there anew.
pub fn in_force<T>(rows: Vec<T>, username: impl Fn(&T) -> &str) -> Option<T> {
    rows.into_iter().min_by_key(|row| username(row) == NODE)
}

fn hex_secret(bytes: [u8; PASSWORD_ENTROPY]) -> Secret {
    let bytes = zeroize::Zeroizing::new(bytes);
    Secret::new(hex(&*bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "sat.example";

    #[test]
    fn accounts_fit_the_columns_and_are_recognised() {
        let first = DispatcherAccount::first([0xab; PASSWORD_ENTROPY]);
        let another = DispatcherAccount::another([1, 2, 3, 0xff], [0; PASSWORD_ENTROPY]);

        assert_eq!(first.jid("Sat.Example"), "rhn-dispatcher-sat@sat.example/superclient");
        assert_eq!(first.password.expose().len(), 32);
        assert_eq!(another.username, "rhn-dispatcher-sat-010203ff");
        for account in [first, another] {
            assert_eq!(username(&account.jid(HOST), HOST), Some(account.username.as_str()));
        }
    }

    #[test]
    fn accounts_of_others_are_not_the_dispatchers() {
        for jid in [
            "rhn-dispatcher-sat@old.sat.example/superclient",
            "rhn-dispatcher-sat@Sat.Example/superclient",
            "rhn-dispatcher-sat@sat.example/other",
            "rhn-dispatcher-sat@sat.example",
            "rhn-dispatcher-satellite@sat.example/superclient",
            "osad-0123@sat.example/superclient",
            "",
        ] {
            assert_eq!(username(jid, HOST), None, "{jid}");
        }
    }

    #[test]
    fn name_that_was_made_later_counts_before_the_usual_one() {
        let chosen = |rows: &[&'static str]| in_force(rows.to_vec(), |row| row);

        assert_eq!(
            chosen(&[NODE, "rhn-dispatcher-sat-b", "rhn-dispatcher-sat-a"]),
            Some("rhn-dispatcher-sat-b")
        );
        assert_eq!(chosen(&[NODE]), Some(NODE));
        assert_eq!(chosen(&[]), None);
    }
}
