//! The dispatchers that a Satellite knows, and which of them are leftovers.
//!
//! `rhnPushDispatcher` has a row for each JID that a dispatcher ever had, and every client is told all of them at each
//! registration. After a change of the server's name the old row stays, unless the renaming tool removed it. Source:
//! compatibility contract, sections 2.2, 3.1 and 3.4.

use std::fmt;
use std::time::Duration;

use super::time::Timestamp;

/// What the node of a dispatcher's JID starts with.
pub const NODE: &str = "rhn-dispatcher-sat";
/// Its resource.
pub const RESOURCE: &str = "superclient";
/// So many leftovers are named, one line each; a table that has more is full of them.
pub const FINDINGS_MAX: usize = 8;

/// A row of `rhnPushDispatcher`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatcherRow {
    /// Full JID.
    pub jid: String,
    /// Name of the host at its last start.
    pub hostname: String,
    /// When a dispatcher last connected under this JID.
    pub last_checkin: Timestamp,
}

/// A row that is not this dispatcher's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowFinding {
    /// This dispatcher's, but for capitals or the resource: agents compare letter by letter.
    OtherSpelling {
        /// The row's JID.
        jid: String,
        /// This dispatcher's.
        own: String,
    },
    /// Another host name: an old one of this server, or a second dispatcher.
    OtherName {
        /// The row's JID.
        jid: String,
        /// Name of its host.
        hostname: String,
        /// Since when no dispatcher has connected under it. Units: whole days.
        silent_days: i64,
    },
}

impl fmt::Display for RowFinding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherSpelling { jid, own } => write!(
                formatter,
                "rhnPushDispatcher: {jid:?} is {own:?} but for its spelling, and clients are told both; \
                 `osa-dispatcher dispatchers remove {jid:?}` takes this row away"
            ),
            Self::OtherName {
                jid,
                hostname,
                silent_days,
            } => write!(
                formatter,
                "rhnPushDispatcher: {jid:?} of host {hostname:?} last connected {silent_days} days ago, and clients are \
                 still told of it; unless that dispatcher runs, `osa-dispatcher dispatchers remove {jid:?}` takes this \
                 row away"
            ),
        }
    }
}

/// How long after its last check-in a dispatcher may still run: ours check in each minute, others when they connect.
const ALIVE_MAX: Duration = Duration::from_secs(5 * 60);

/// Why a row is not removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeptRow {
    /// This dispatcher's own: it would be back at the next start, and until then no client would listen.
    #[error("{0:?} is this dispatcher's own row, without which existing agents do not listen to it; it stays")]
    Own(String),
    /// Another dispatcher may run.
    #[error(
        "a dispatcher checked in as {jid:?} {seconds} s ago; stop the one on {hostname:?}, and try again 5 min after that"
    )]
    Alive {
        /// The row's JID.
        jid: String,
        /// Name of its host.
        hostname: String,
        /// How long ago. Units: seconds.
        seconds: u64,
    },
    /// There is no such row.
    #[error("rhnPushDispatcher has no row {0:?}; `osa-dispatcher dispatchers list` shows those it has")]
    Absent(String),
}

/// The full JID of a Satellite's dispatcher.
pub fn jid(domain: &str) -> String {
    format!("{NODE}@{}/{RESOURCE}", domain.to_ascii_lowercase())
}

/// The row of this JID if it may go, `own` being this dispatcher's.
///
/// # Errors
/// [`KeptRow`].
pub fn removable<'a>(
    rows: &'a [DispatcherRow],
    wanted: &str,
    own: &str,
    now: Timestamp,
) -> Result<&'a DispatcherRow, KeptRow> {
    let Some(row) = rows.iter().find(|row| row.jid == wanted) else {
        return Err(KeptRow::Absent(wanted.to_owned()));
    };
    let silent = now.saturating_since(row.last_checkin);
    if row.jid == own {
        return Err(KeptRow::Own(row.jid.clone()));
    }
    if silent < ALIVE_MAX {
        return Err(KeptRow::Alive {
            jid: row.jid.clone(),
            hostname: row.hostname.clone(),
            seconds: silent.as_secs(),
        });
    }
    Ok(row)
}

/// The rows of dispatchers that are not this one, `own` being its full JID; at most [`FINDINGS_MAX`].
pub fn leftovers(rows: &[DispatcherRow], own: &str, now: Timestamp) -> Vec<RowFinding> {
    let is_dispatcher = |row: &&DispatcherRow| row.jid.to_ascii_lowercase().starts_with(NODE);
    let others = rows.iter().filter(is_dispatcher).filter(|row| row.jid != own);
    let finding = |row: &DispatcherRow| match bare(&row.jid).eq_ignore_ascii_case(bare(own)) {
        true => RowFinding::OtherSpelling {
            jid: row.jid.clone(),
            own: own.to_owned(),
        },
        false => RowFinding::OtherName {
            jid: row.jid.clone(),
            hostname: row.hostname.clone(),
            silent_days: now.saturating_since(row.last_checkin).as_secs().cast_signed() / 86_400,
        },
    };
    others.map(finding).take(FINDINGS_MAX).collect()
}

fn bare(jid: &str) -> &str {
    jid.split_once('/').map_or(jid, |(bare, _)| bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "rhn-dispatcher-sat@sat.example/superclient";

    fn row(jid: &str, day: i64) -> DispatcherRow {
        DispatcherRow {
            jid: jid.to_owned(),
            hostname: "host.example".to_owned(),
            last_checkin: Timestamp::from_secs(day * 86_400),
        }
    }

    fn found(jids: &[&str]) -> Vec<RowFinding> {
        let rows: Vec<_> = jids.iter().map(|jid| row(jid, 10)).collect();
        leftovers(&rows, OWN, Timestamp::from_secs(17 * 86_400))
    }

    #[test]
    fn own_row_and_foreign_accounts_are_no_leftovers() {
        assert_eq!(found(&[OWN, "osad-0123@sat.example/osad"]), []);
        assert_eq!(found(&[]), []);
    }

    #[test]
    fn row_of_an_old_name_is_named_with_its_age() {
        let findings = found(&[OWN, "rhn-dispatcher-sat@old.example/superclient"]);

        assert_eq!(findings.len(), 1);
        assert_eq!(
            findings[0].to_string(),
            "rhnPushDispatcher: \"rhn-dispatcher-sat@old.example/superclient\" of host \"host.example\" last connected 7 \
             days ago, and clients are still told of it; unless that dispatcher runs, `osa-dispatcher dispatchers \
             remove \"rhn-dispatcher-sat@old.example/superclient\"` takes this row away"
        );
    }

    #[test]
    fn only_rows_of_dispatchers_that_are_gone_are_removed() {
        let old = "rhn-dispatcher-sat@old.example/superclient";
        let rows = [row(OWN, 1), row(old, 10)];
        let at = |seconds: i64| Timestamp::from_secs(10 * 86_400 + seconds);

        assert_eq!(removable(&rows, old, OWN, at(300)), Ok(&rows[1]));
        let alive = removable(&rows, old, OWN, at(299));
        assert!(matches!(alive, Err(KeptRow::Alive { seconds: 299, .. })), "{alive:?}");
        assert_eq!(removable(&rows, OWN, OWN, at(300)), Err(KeptRow::Own(OWN.to_owned())));
        let absent = removable(&rows, "x", OWN, at(300));
        assert_eq!(absent, Err(KeptRow::Absent("x".to_owned())));
        assert_eq!(jid("Sat.Example"), OWN);
    }

    #[test]
    fn own_row_in_other_letters_is_told_apart_from_another_host() {
        let findings = found(&[
            "rhn-dispatcher-sat@Sat.Example/superclient",
            "rhn-dispatcher-sat@sat.example/x",
        ]);

        assert!(
            matches!(
                &findings[..],
                [RowFinding::OtherSpelling { .. }, RowFinding::OtherSpelling { .. }]
            ),
            "{findings:?}"
        );
    }

    #[test]
    fn several_rows_of_several_names_are_all_named_up_to_a_limit() {
        let names: Vec<String> = (0..20)
            .map(|n| format!("rhn-dispatcher-sat@old{n}.example/superclient"))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();

        assert_eq!(found(&names[..3]).len(), 3);
        assert_eq!(found(&names).len(), FINDINGS_MAX);
    }

    #[test]
    fn check_in_of_the_future_is_no_age() {
        let rows = [row("rhn-dispatcher-sat@old.example/superclient", 99)];

        let findings = leftovers(&rows, OWN, Timestamp::from_secs(0));

        assert!(matches!(findings[..], [RowFinding::OtherName { silent_days: 0, .. }]));
    }
}
