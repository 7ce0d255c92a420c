//! What the loop tells of itself, for logs and metrics.

use crate::engine::Counters;
use crate::engine::clock::Now;
use crate::engine::command::{ArchiveCall, CallResult, Notice, Parked, Settled};
use crate::engine::status::Status;

/// Logs what an operator may want to know.
#[derive(Debug, Default)]
pub struct LoopWatcher;

impl Watcher for LoopWatcher {
    fn admitted(&mut self, _jobs: usize) {}
    fn sent(&mut self, _call: &ArchiveCall) {}
    fn answered(&mut self, _result: CallResult) {}
    fn settled(&mut self, _settled: &Settled, _now: Now) {}
    fn parked(&mut self, _parked: &Parked) {}
    fn notice(&mut self, notice: &Notice) {
        tracing::info!(?notice, "notice");
    }
    fn counted(&mut self, _counters: Counters, _status: &Status) {}
}

/// Hears what happens; called on the loop, so it must not wait.
pub trait Watcher: Send {
    fn admitted(&mut self, jobs: usize);
    fn sent(&mut self, call: &ArchiveCall);
    fn answered(&mut self, result: CallResult);
    fn settled(&mut self, settled: &Settled, now: Now);
    fn parked(&mut self, parked: &Parked);
    fn notice(&mut self, notice: &Notice);
    /// Once a second.
    fn counted(&mut self, counters: Counters, status: &Status);
}
