//! What sessions say that would be one line for each agent: of new accounts, and of a database that fails them. A line a minute
//! for each kind.

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

    pub(super) fn account_created(&self, account: &str) {
        match self.is_due("account_created") {
            true => tracing::info!(event = "account_created", account),
            false => tracing::debug!(event = "account_created", account),
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

    /// What is written from the level info on.
    #[derive(Clone, Default)]
    struct Written(std::sync::Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_new_accounts_are_a_line_a_minute() {
        let (complaints, written) = (Complaints::default(), Written::default());
        let sink = written.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || sink.clone()).finish();

        let _guard = tracing::subscriber::set_default(subscriber);
        for account in 0..3_000 {
            complaints.account_created(&format!("osad-{account}"));
            tokio::time::advance(Duration::from_millis(40)).await;
        }

        let written = written.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&written);
        assert_eq!(text.matches("account_created").count(), 2, "{text}");
    }
}
