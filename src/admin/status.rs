//! The body of `/status`: the worker as people and scripts want to see it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::readiness::{Paused, Readiness};
use crate::contract::outcome;
use crate::engine::status::{AccountStatus, InHand, LaneStatus, Status, Totals, write_time};
use crate::lease::view::LeaseView;
use crate::telemetry::background::BackgroundProgress;
use crate::telemetry::dead_letters::DeadLetterCause;
use crate::telemetry::failing_alone::FailingPair;
use crate::telemetry::failures::FailureCount;
use crate::telemetry::mend::RUNBOOK;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::pause_history::PauseSpan;
use crate::telemetry::snapshot::{BrokerState, Snapshot};
use crate::telemetry::throughput::ThroughputSeries;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusBody<'a> {
    version: &'static str,
    #[serde(serialize_with = "write_time")]
    started_at: Timestamp,
    /// When the worker was looked at.
    #[serde(serialize_with = "write_time")]
    at: Timestamp,
    ready: bool,
    reasons: &'a [String],
    warnings: &'a [String],
    standby: Option<&'a str>,
    draining: bool,
    /// Address of the runbook.
    runbook: &'static str,
    backlog: Backlog,
    /// `None` where no job of the background is there, nor was.
    background: Option<BackgroundProgress>,
    requests: Requests,
    jobs: Jobs,
    totals: Totals,
    broker: &'a BrokerState,
    /// The lease of each jobs queue; empty while `amqp.lease` is off.
    leases: &'a [LeaseView],
    /// The last ten minutes.
    throughput: &'a ThroughputSeries,
    /// The last six hours.
    history: &'a ThroughputSeries,
    /// What stands still now, with the mend.
    paused: &'a [Paused],
    paused_left_out: usize,
    /// What stood still within the hours of `history`.
    pauses: &'a [PauseSpan],
    failures: &'a [FailureCount],
    failing_alone: &'a [FailingPair],
    dead_letters: &'a [DeadLetterCause],
    accounts: &'a [AccountStatus],
    lanes: &'a [LaneStatus],
    lanes_left_out: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Backlog {
    jobs_held: usize,
    /// Of these, jobs of the background.
    background_held: usize,
    /// Waiting in the background queue, beside `jobs_ready`.
    background_ready: Option<u64>,
    bytes_held: usize,
    pairs_held: usize,
    lanes: usize,
    jobs_ready: Option<u64>,
    /// In all delay queues together; each of them is in the broker's part.
    jobs_parked: Option<u64>,
    jobs_unpublished: u64,
    drain_seconds: Option<f64>,
    /// Why nobody can tell.
    drain_unknown: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Requests {
    in_flight: usize,
    max_in_flight: usize,
}

#[derive(Debug, Serialize)]
struct Jobs {
    received: u64,
    outcomes: BTreeMap<&'static str, u64>,
}

impl<'a> StatusBody<'a> {
    pub fn new(snapshot: &'a Snapshot, readiness: &'a Readiness, metrics: &Metrics) -> Self {
        let Snapshot {
            at,
            starting: _,
            throttled: _,
            begun: _,
            status,
            jobs: counts,
            broker,
            draining,
            grace_until: _,
            throughput,
            history,
            pauses,
            failures,
            failing_alone,
            behind_guards: _,
            dead_letters,
        } = snapshot;
        let Status { held, totals, paused_accounts: _, paused_lanes: _, accounts, lanes, lanes_left_out } = status;
        let InHand {
            jobs,
            background_jobs,
            bytes,
            pairs,
            lanes: lanes_held,
            in_flight,
            max_in_flight,
            drain_seconds: _,
        } = *held;
        let drains = snapshot.drain_seconds();
        let backlog = Backlog {
            jobs_held: jobs,
            background_held: background_jobs,
            background_ready: broker.background_ready,
            bytes_held: bytes,
            pairs_held: pairs,
            lanes: lanes_held,
            jobs_ready: broker.jobs_ready,
            jobs_parked: snapshot.parked(),
            jobs_unpublished: broker.unpublished,
            drain_seconds: drains.as_ref().ok().copied(),
            drain_unknown: drains.err(),
        };
        let outcomes = outcome::Status::ALL.map(outcome::Status::as_str).into_iter().zip(counts.outcomes);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            started_at: metrics.started(),
            at: *at,
            ready: readiness.ready,
            reasons: &readiness.reasons,
            warnings: &readiness.warnings,
            standby: readiness.standby.as_deref(),
            draining: *draining,
            runbook: RUNBOOK,
            backlog,
            background: snapshot.background(),
            requests: Requests { in_flight, max_in_flight },
            jobs: Jobs { received: counts.received, outcomes: outcomes.collect() },
            totals: *totals,
            broker,
            leases: &broker.leases,
            throughput,
            history,
            paused: &readiness.paused,
            paused_left_out: readiness.paused_left_out,
            pauses,
            failures,
            failing_alone,
            dead_letters,
            accounts,
            lanes,
            lanes_left_out: *lanes_left_out,
        }
    }
}
