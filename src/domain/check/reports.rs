//! Reports of ended runs, kept until the dispatcher has recorded them.

use crate::domain::ids::{RequestNumber, RunId};
use crate::domain::push::client::RunReport;

/// Reports kept at once. Runs follow each other, so this many mean hours without a dispatcher that records them; the
/// oldest goes first, and its requests are covered by every later run.
pub const REPORTS_MAX: usize = 32;

/// A report, and whether the dispatcher was told of it on this connection.
#[derive(Clone, Copy, Debug)]
struct Kept {
    report: RunReport,
    told: bool,
}

/// Unacknowledged reports, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Reports(Vec<Kept>);

impl Reports {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Keeps a report; returns the run whose report had to go for it.
    pub(super) fn keep(&mut self, report: RunReport) -> Option<RunId> {
        let evicted = (self.0.len() >= REPORTS_MAX).then(|| self.0.remove(0).report.run);
        self.0.push(Kept { report, told: false });
        evicted
    }

    /// Removes a report; false if it is not there.
    pub(super) fn acknowledge(&mut self, run: RunId) -> bool {
        let before = self.0.len();
        self.0.retain(|kept| kept.report.run != run);
        self.0.len() < before
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All reports, which count as told from now on.
    pub(super) fn tell_all(&mut self) -> impl Iterator<Item = RunReport> + '_ {
        self.0.iter_mut().map(|kept| {
            kept.told = true;
            kept.report
        })
    }

    /// The reports not told on this connection, which count as told from now on.
    pub(super) fn tell_untold(&mut self) -> impl Iterator<Item = RunReport> + '_ {
        self.0.iter_mut().filter(|kept| !kept.told).map(|kept| {
            kept.told = true;
            kept.report
        })
    }

    /// A new connection: nothing was told on it.
    pub(super) fn untell(&mut self) {
        self.0.iter_mut().for_each(|kept| kept.told = false);
    }

    /// Removes all reports, yielding their runs.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = RunId> + '_ {
        self.0.drain(..).map(|kept| kept.report.run)
    }

    /// The highest number any of the runs covers.
    pub(super) fn highest(&self) -> RequestNumber {
        self.0.iter().map(|kept| kept.report.covers).max().unwrap_or_default()
    }
}
