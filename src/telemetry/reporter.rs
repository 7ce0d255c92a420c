//! The loop's side of telemetry: collects what a snapshot needs and hands it out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::failures::RecentFailures;
use super::heartbeat::Heartbeat;
use super::metrics::Metrics;
use super::snapshot::{BrokerState, Snapshot};
use super::throughput::{Done, Throughput};
use crate::contract::refusal::Refusal;
use crate::engine::clock::{Now, Tick};
use crate::engine::status::Status;

/// Owned by the worker's loop.
#[derive(Debug)]
pub struct Reporter {
    metrics: Arc<Metrics>,
    heartbeat: Heartbeat,
    out: watch::Sender<Arc<Snapshot>>,
    throughput: Throughput,
    failures: RecentFailures,
    due: Tick,
}

impl Reporter {
    /// A snapshot is taken so often, which is also how often the loop must come round to beat.
    pub const PERIOD: Duration = Duration::from_secs(1);

    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            heartbeat: Heartbeat::new(Instant::now()),
            out: watch::Sender::default(),
            throughput: Throughput::default(),
            failures: RecentFailures::default(),
            due: Tick::ZERO,
        }
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.out.subscribe()
    }

    pub fn heartbeat(&self) -> Heartbeat {
        self.heartbeat.clone()
    }

    /// The loop has come round.
    pub fn beat(&self) {
        self.heartbeat.beat(Instant::now());
    }

    /// When the next snapshot is wanted.
    pub fn due(&self) -> Tick {
        self.due
    }

    /// Pairs of an outcome's errors.
    pub fn failed(&mut self, refusal: &Refusal, pairs: usize, now: Now) {
        self.failures.note(refusal, pairs as u64, now);
        self.metrics.pair_errors.of(super::label::ErrorLabel::of(&refusal.source)).add(pairs as u64);
    }

    /// Hands out a snapshot: when [`Reporter::due`] has come, and after a command that changed something.
    pub fn publish(&mut self, status: Status, broker: BrokerState, draining: bool, now: Now) {
        let done = Done {
            jobs: self.metrics.outcomes.sum(),
            pairs_archived: status.totals.pairs_archived,
            requests: status.totals.requests,
        };
        self.throughput.note(done, now.tick);
        let throughput = self.throughput.series(now.tick);
        let failures = self.failures.read(now);
        self.out.send_replace(Arc::new(Snapshot { at: now.wall, status, broker, draining, throughput, failures }));
        self.due = now.tick + Self::PERIOD;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::outcome::Status as OutcomeStatus;
    use crate::contract::refusal::WorkerCategory;
    use jiff::Timestamp;

    #[test]
    fn a_snapshot_reaches_those_who_subscribed() {
        let metrics = Arc::new(Metrics::new(Timestamp::UNIX_EPOCH));
        let mut reporter = Reporter::new(Arc::clone(&metrics));
        let snapshots = reporter.snapshots();
        let now = Now { tick: Tick::from_micros(7_000_000), wall: Timestamp::UNIX_EPOCH };
        metrics.outcomes.of(OutcomeStatus::Failed).increment();
        reporter.failed(&Refusal::worker(WorkerCategory::Expired, "late"), 3, now);
        assert!(reporter.due() <= now.tick);

        reporter.publish(Status::default(), BrokerState::default(), true, now);

        let snapshot = snapshots.borrow();
        assert!(snapshot.draining);
        assert_eq!(snapshot.failures[0].pairs, 3);
        assert_eq!(snapshot.throughput.jobs.last(), Some(&1));
        assert_eq!(metrics.pair_errors.sum(), 3);
        assert_eq!(reporter.due(), now.tick + Reporter::PERIOD);
        reporter.beat();
        assert!(reporter.heartbeat().age(Instant::now()) < Duration::from_secs(5));
    }
}
