//! The loop's side of telemetry: collects what a snapshot needs and hands it out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use super::behind_guards::BehindGuards;
use super::conditions::Begun;
use super::failing_alone::FailingAlone;
use super::failures::{FailedJob, Failures};
use super::heartbeat::Heartbeat;
use super::metrics::Metrics;
use super::pause_history::PauseHistory;
use super::snapshot::{BrokerState, Snapshot};
use super::throttled::ThrottledAccounts;
use super::throughput::{Done, Throughput, ThroughputSeries, Unanswered};
use crate::engine::clock::{Now, Tick};
use crate::engine::status::Status;

/// Owned by the worker's loop.
#[derive(Debug)]
pub struct Reporter {
    metrics: Arc<Metrics>,
    heartbeat: Heartbeat,
    out: watch::Sender<Arc<Snapshot>>,
    throughput: Throughput,
    history: Throughput,
    pauses: PauseHistory,
    failures: Failures,
    failing_alone: FailingAlone,
    behind_guards: BehindGuards,
    throttled: ThrottledAccounts,
    begun: Begun,
    /// How long a stop waits for what is in flight.
    grace: Option<Duration>,
    grace_until: Option<Timestamp>,
    due: Tick,
}

impl Reporter {
    /// Time between two snapshots, and between two beats of the loop.
    pub const PERIOD: Duration = Duration::from_secs(1);

    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            heartbeat: Heartbeat::new(Instant::now()),
            out: watch::Sender::default(),
            throughput: Throughput::new(Throughput::SHORT),
            history: Throughput::new(Throughput::LONG),
            pauses: PauseHistory::default(),
            failures: Failures::default(),
            failing_alone: FailingAlone::default(),
            behind_guards: BehindGuards::default(),
            throttled: ThrottledAccounts::default(),
            begun: Begun::default(),
            grace: None,
            grace_until: None,
            due: Tick::ZERO,
        }
    }

    /// With the time for which a stop waits for what is in flight.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Self {
        Self { grace: Some(grace), ..self }
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

    /// Some pairs of a job have failed for one cause, as its outcome says.
    pub fn failed(&mut self, job: FailedJob, now: Now) {
        self.metrics.pair_errors.of(super::label::ErrorLabel::of(&job.refusal.source)).add(job.pairs);
        self.failures.note(job, now);
    }

    /// Pairs that fail though nothing else was in their requests.
    pub fn failing_alone(&mut self) -> &mut FailingAlone {
        &mut self.failing_alone
    }

    /// Jobs that wait for a person's word to a guard.
    pub fn behind_guards(&mut self) -> &mut BehindGuards {
        &mut self.behind_guards
    }

    /// Hands out a snapshot: when [`Reporter::due`] has come, and after a command that changed something.
    pub fn publish(&mut self, status: Status, broker: BrokerState, draining: bool, now: Now) {
        let snapshot = self.snapshot(status, broker, draining, now);
        self.out.send_replace(Arc::new(snapshot));
        self.due = now.tick + Self::PERIOD;
    }

    /// Hands out a snapshot of a worker that has not reached the broker yet.
    pub fn publish_start(&mut self, status: Status, broker: BrokerState, now: Now) {
        let snapshot = Snapshot { starting: true, ..self.snapshot(status, broker, false, now) };
        self.out.send_replace(Arc::new(snapshot));
    }

    fn snapshot(&mut self, mut status: Status, broker: BrokerState, draining: bool, now: Now) -> Snapshot {
        let done = Done {
            jobs: self.metrics.outcomes.sum(),
            background_jobs: self.metrics.background_outcomes.read(),
            pairs_archived: status.totals.pairs_archived,
            pairs_failed: self.metrics.pair_errors.sum(),
            requests: status.totals.requests,
        };
        self.pauses.note(&mut status, now.wall);
        if draining && self.grace_until.is_none() {
            self.grace_until = self.grace.and_then(|grace| now.wall.checked_add(grace).ok());
        }
        let mut snapshot = Snapshot {
            at: now.wall,
            starting: false,
            throttled: self.throttled.note(&status.accounts, now.wall),
            failing_alone: self.failing_alone.read(&status.accounts, now.wall),
            behind_guards: self.behind_guards.read(&status.accounts),
            status,
            jobs: self.metrics.jobs(),
            broker,
            draining,
            grace_until: self.grace_until,
            throughput: ThroughputSeries::default(),
            history: ThroughputSeries::default(),
            pauses: self.pauses.read(),
            failures: self.failures.read(now),
            dead_letters: self.metrics.dead_letter_causes.read(),
            begun: Begun::default(),
        };
        let Snapshot { broker, status, .. } = &snapshot;
        // What is done while an account stands still does not show how fast all of it is done.
        let goes_on = snapshot.drain_seconds().is_ok();
        let own_live = broker.own_jobs_ready.unwrap_or_default() + status.held.live_jobs() as u64;
        let unanswered = Unanswered {
            ready: broker.jobs_ready.unwrap_or_default(),
            held: status.held.jobs as u64,
            parked: broker.parked.iter().flatten().sum(),
            unpublished: broker.unpublished,
            background: broker.background_ready.unwrap_or_default() + status.held.background_jobs as u64,
            own_live: if goes_on { own_live } else { 0 },
        };
        self.throughput.note(done, unanswered, now.tick);
        self.history.note(done, unanswered, now.tick);
        snapshot.throughput = self.throughput.series(now.tick);
        snapshot.history = self.history.series(now.tick);
        self.begun.note(|condition| snapshot.shows(condition), now.wall);
        snapshot.begun = self.begun.clone();
        snapshot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::outcome::Status as OutcomeStatus;
    use crate::contract::refusal::{Refusal, WorkerCategory};

    #[test]
    fn a_snapshot_reaches_those_who_subscribed() {
        let metrics = Arc::new(Metrics::new(Timestamp::UNIX_EPOCH));
        let mut reporter = Reporter::new(Arc::clone(&metrics));
        let snapshots = reporter.snapshots();
        let now = Now { tick: Tick::from_micros(7_000_000), wall: Timestamp::UNIX_EPOCH };
        metrics.outcomes.of(OutcomeStatus::Failed).increment();
        let refusal = Arc::new(Refusal::worker(WorkerCategory::Expired, "late"));
        reporter
            .failed(FailedJob { at: now.wall, job_id: "j".into(), portal: None, pair: None, pairs: 3, refusal }, now);
        assert!(reporter.due() <= now.tick);

        reporter.publish(Status::default(), BrokerState::default(), true, now);

        let snapshot = snapshots.borrow();
        assert!(snapshot.draining);
        assert_eq!(snapshot.failures[0].pairs, 3);
        assert_eq!(snapshot.jobs.outcomes, [0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(snapshot.throughput.jobs.last(), Some(&1));
        assert_eq!(snapshot.history.pairs_failed.last(), Some(&3));
        assert_eq!(metrics.pair_errors.sum(), 3);
        assert_eq!(reporter.due(), now.tick + Reporter::PERIOD);
        reporter.beat();
        assert!(reporter.heartbeat().age(Instant::now()) < Duration::from_secs(5));
    }
}
