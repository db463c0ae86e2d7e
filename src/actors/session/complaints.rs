//! What sessions say of a database that fails them: a line a minute for each kind of question, not one for each agent.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::ports::store::StoreError;

/// How long after a line the next one of its kind is said at the level debug only.
const QUIET: Duration = Duration::from_secs(60);

/// When each kind was said last; shared by all sessions.
#[derive(Debug, Default)]
pub struct Complaints(Mutex<BTreeMap<&'static str, Instant>>);

impl Complaints {
    pub(super) fn account_not_read(&self, account: &str, error: &StoreError) {
        match self.is_due("account_read") {
            true => tracing::warn!(event = "account_read_failed", account, error = %error),
            false => tracing::debug!(event = "account_read_failed", account, error = %error),
        }
    }

    pub(super) fn account_not_created(&self, account: &str, error: &StoreError) {
        match self.is_due("account_create") {
            true => tracing::warn!(event = "account_create_failed", account, error = %error),
            false => tracing::debug!(event = "account_create_failed", account, error = %error),
        }
    }

    pub(super) fn client_not_read(&self, error: &StoreError) {
        match self.is_due("client_read") {
            true => tracing::warn!(event = "client_read_failed", error = %error),
            false => tracing::debug!(event = "client_read_failed", error = %error),
        }
    }

    fn is_due(&self, kind: &'static str) -> bool {
        let now = Instant::now();
        // A panic in between leaves a time that is right.
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = said.get(kind).is_none_or(|last| now.duration_since(*last) >= QUIET);
        if is_due {
            said.insert(kind, now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_kind_is_said_once_a_minute() {
        let complaints = Complaints::default();

        let mut said = 0;
        for _ in 0..180 {
            said += usize::from(complaints.is_due("account_read"));
            tokio::time::advance(Duration::from_secs(1)).await;
        }

        assert_eq!(said, 3);
        assert!(complaints.is_due("client_read"));
    }
}
