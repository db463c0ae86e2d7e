//! A host on which checks can be started, in memory.

use std::collections::HashMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use osa::domain::check::{EndedRun, Recovered};
use osa::domain::ids::{RequestNumber, RunId};
use osa::domain::push::client::{RunEnd, RunReport, RunStart};
use osa::ports::check_launcher::{CheckLauncher, LaunchError, Recovery, RunEnding, RunWait};
use tokio::sync::oneshot;

/// Runs that end when the test says so, and outlive the actors.
#[derive(Default)]
pub struct FakeLauncher {
    pub started: Mutex<Vec<RunStart>>,
    live: Mutex<Option<RunStart>>,
    ended: Mutex<Vec<RunReport>>,
    promised: Mutex<Option<RequestNumber>>,
    waiters: Mutex<HashMap<RunId, oneshot::Sender<EndedRun>>>,
    pub unreadable: AtomicUsize,
}

impl FakeLauncher {
    pub fn end(&self, status: i32) -> RunReport {
        let start = self
            .live
            .lock()
            .expect("not poisoned")
            .take()
            .expect("a run is in progress");
        let report = RunReport {
            run: start.run,
            covers: start.covers,
            end: RunEnd::Exited(status),
            run_time: Duration::from_secs(2),
        };
        self.ended.lock().expect("not poisoned").push(report);
        if let Some(waiter) = self.waiters.lock().expect("not poisoned").remove(&start.run) {
            waiter
                .send(EndedRun {
                    run: start.run,
                    end: report.end,
                    run_time: report.run_time,
                })
                .ok();
        }
        report
    }

    pub fn starts(&self) -> Vec<i64> {
        let started = self.started.lock().expect("not poisoned");
        started.iter().map(|start| start.covers.0).collect()
    }

    pub fn unacknowledged(&self) -> usize {
        self.ended.lock().expect("not poisoned").len()
    }
}

impl CheckLauncher for FakeLauncher {
    fn recover(&self) -> Result<Recovery, LaunchError> {
        let fails = |left: usize| left.checked_sub(1);
        if self
            .unreadable
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails)
            .is_ok()
        {
            return Err(LaunchError::Spawn(io::ErrorKind::PermissionDenied.into()));
        }
        Ok(Recovery {
            recovered: Recovered {
                live: *self.live.lock().expect("not poisoned"),
                ended: self.ended.lock().expect("not poisoned").clone(),
                promised: *self.promised.lock().expect("not poisoned"),
            },
            moved_aside: Vec::new(),
        })
    }

    fn start(&self, start: RunStart) -> Result<(), LaunchError> {
        let before = self.live.lock().expect("not poisoned").replace(start);
        assert_eq!(before, None, "two runs at once");
        self.started.lock().expect("not poisoned").push(start);
        Ok(())
    }

    fn wait(&self, run: RunId) -> Result<RunWait, LaunchError> {
        let (sender, receiver) = oneshot::channel();
        self.waiters.lock().expect("not poisoned").insert(run, sender);
        Ok(Box::pin(async move {
            let gone = LaunchError::Spawn(io::ErrorKind::Other.into());
            let ended = receiver.await.map_err(|_| gone)?;
            Ok(RunEnding { ended, trouble: None })
        }))
    }

    fn remember(&self, number: RequestNumber) -> Result<(), LaunchError> {
        *self.promised.lock().expect("not poisoned") = Some(number);
        Ok(())
    }

    fn forget(&self, run: RunId) -> Result<(), LaunchError> {
        self.ended
            .lock()
            .expect("not poisoned")
            .retain(|report| report.run != run);
        Ok(())
    }

    fn forget_numbers(&self) -> Result<(), LaunchError> {
        *self.promised.lock().expect("not poisoned") = None;
        Ok(())
    }
}
