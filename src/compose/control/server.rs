//! Takes callers of the control socket, a few at a time.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::answers::Answer;
use super::desk::Desk;
use super::envelope::{Rejection, RejectionKind, read_request, write_answer};
use super::requests::Request;
use crate::net::control::{ANSWER_TIMEOUT, Caller, ControlConnection, ControlError, ControlListener};
use crate::ports::service::Service;

/// Callers served at once; further ones wait in the kernel's queue.
const CALLERS_MAX: usize = 8;
/// Pause after a failure to accept: no descriptors are left, and nobody tells us when there are.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// The dispatcher's side of the control socket. The socket outlives each run.
pub struct ControlServer {
    /// Where callers come from.
    pub listener: Arc<ControlListener>,
    /// Who carries out what they ask.
    pub desk: Desk,
}

impl Service for ControlServer {
    fn serve(&self) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(accept(Arc::clone(&self.listener), self.desk.clone()))
    }
}

async fn accept(listener: Arc<ControlListener>, desk: Desk) {
    let places = Arc::new(Semaphore::new(CALLERS_MAX));
    // Callers end with the set.
    let mut callers = JoinSet::new();
    // Nobody closes this semaphore.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok(connection) => {
                let desk = desk.clone();
                callers.spawn_local(async move {
                    serve_caller(connection, &desk).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(event = "control_accept_failed", error = %error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while callers.try_join_next().is_some() {}
    }
}

async fn serve_caller(mut connection: ControlConnection, desk: &Desk) {
    let caller = connection.caller();
    let outcome = match connection.read_request().await {
        Ok(line) => carry_out(&line, caller, desk).await,
        Err(error @ ControlError::TooLong { .. }) => Err(Rejection::new(RejectionKind::BadRequest, error.to_string())),
        Err(error) => return log_failure(caller, &error),
    };
    if let Err(error) = connection.answer(&write_answer(outcome)).await {
        log_failure(caller, &error);
    }
}

async fn carry_out(line: &[u8], caller: Caller, desk: &Desk) -> Result<Answer, Rejection> {
    let request = read_request(line)?;
    log(caller, &request);
    let busy = Rejection::new(RejectionKind::Busy, "the dispatcher is too busy to answer; try again");
    timeout(ANSWER_TIMEOUT, desk.handle(request)).await.unwrap_or(Err(busy))
}

/// Who changed something is worth a line; who only looked is not.
fn log(caller: Caller, request: &Request) {
    let (uid, pid, command) = (caller.uid, caller.pid, request.name());
    match request.only_looks() {
        true => tracing::debug!(event = "command_received", uid, pid, command),
        false => tracing::info!(event = "command_received", uid, pid, command),
    }
}

fn log_failure(caller: Caller, error: &ControlError) {
    tracing::debug!(
        event = "control_caller_failed",
        uid = caller.uid,
        pid = caller.pid,
        error = %error
    );
}
