//! Waiting for what can only be asked for.

use std::path::Path;
use std::time::{Duration, Instant};

use super::error::SwarmError;

/// How often it is asked.
const ASK_INTERVAL: Duration = Duration::from_millis(20);

/// Asks until something holds; how long that took.
pub(super) async fn until(
    what: &'static str,
    log: &Path,
    limit: Duration,
    holds: impl AsyncFn() -> Result<bool, SwarmError>,
) -> Result<Duration, SwarmError> {
    let began = Instant::now();
    let asking = async {
        while !holds().await? {
            tokio::time::sleep(ASK_INTERVAL).await;
        }
        Ok(began.elapsed())
    };
    let timed_out = |_| SwarmError::TimedOut(what, limit.as_secs(), log.to_owned());
    tokio::time::timeout(limit, asking).await.map_err(timed_out)?
}
