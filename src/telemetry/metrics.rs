//! What is counted, and the page that Prometheus reads.
//!
//! Rates and distributions are counted here as they happen. What the worker is at the moment comes from its latest
//! snapshot when the page is asked for.

use std::time::Duration;

use jiff::Timestamp;

use super::exposition::{Description, Exposition};
use super::gauges;
use super::instrument::{Counter, CounterOf, Instrument, Numbers, Times};
use super::label::{ErrorLabel, HttpResult, SpanFate};
use super::process;
use super::snapshot::Snapshot;
use crate::contract::outcome::Status;
use crate::engine::Counters;
use crate::engine::command::{ArchiveCall, Notice, Sealed};
use crate::engine::pause::{PauseKind, Tier};
use crate::engine::verdict::Policy;

/// Every count and distribution; shared, and counted into without a lock.
#[derive(Debug)]
pub struct Metrics {
    pub jobs_received: Counter,
    pub jobs_redelivered: Counter,
    pub outcomes: CounterOf<Status>,
    pub pair_errors: CounterOf<ErrorLabel>,
    pub duplicates_answered: Counter,
    pub dead_letters: Counter,
    pub jobs_parked: CounterOf<Tier>,
    pub job_duration: Times,
    http_requests: CounterOf<HttpResult>,
    http_request_duration: Times,
    batches: CounterOf<Sealed>,
    batch_pairs: Numbers,
    retries: Counter,
    throttled: CounterOf<Policy>,
    pauses: CounterOf<PauseKind>,
    pairs_archived: Counter,
    pairs_merged: Counter,
    isolation_requests: Counter,
    refused_requests: Counter,
    pub spans: CounterOf<SpanFate>,
    started: Timestamp,
}

/// Every metric there is, as the page has it.
pub fn documented_metrics() -> Vec<Description> {
    let mut page = Exposition::default();
    Metrics::new(Timestamp::UNIX_EPOCH).write(&Snapshot::default(), &mut page);
    page.families().to_vec()
}

/// Up to the cap of a request.
const PAIRS: &[u64] = &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000];

/// Microseconds: from 25 ms to beyond the 100 s after which HubSpot gives up.
const REQUEST_MICROS: &[u64] = &[
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    110_000_000,
];

/// Microseconds: from 10 ms to a day, the longest that a job is retried by default.
const JOB_MICROS: &[u64] = &[
    10_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    900_000_000,
    3_600_000_000,
    21_600_000_000,
    86_400_000_000,
];

impl Metrics {
    /// `started` is when the process began.
    pub fn new(started: Timestamp) -> Self {
        Self {
            jobs_received: Counter::new(
                "association_archiver_jobs_received_total",
                "Job messages received, valid or not, redelivered ones included.",
            ),
            jobs_redelivered: Counter::new(
                "association_archiver_jobs_redelivered_total",
                "Of the job messages received, those that the broker had delivered before.",
            ),
            outcomes: CounterOf::new(
                "association_archiver_outcomes_total",
                "Outcomes published and confirmed by the broker, by status.",
            ),
            pair_errors: CounterOf::new(
                "association_archiver_pair_errors_total",
                "Pairs not archived that outcomes told of: refused by HubSpot, or by the worker for the cause named.",
            ),
            duplicates_answered: Counter::new(
                "association_archiver_duplicates_answered_total",
                "Redelivered jobs answered with the outcome they already had.",
            ),
            dead_letters: Counter::new(
                "association_archiver_dead_letters_total",
                "Copies of messages published to the dead-letter queue.",
            ),
            jobs_parked: CounterOf::new(
                "association_archiver_jobs_parked_total",
                "Jobs put into a delay queue of the broker to wait there, by the queue's wait.",
            ),
            job_duration: Times::new(
                "association_archiver_job_duration_seconds",
                "Time from receiving a job for the first time to its outcome.",
                JOB_MICROS,
            ),
            http_requests: CounterOf::new(
                "association_archiver_http_requests_total",
                "Requests to HubSpot that ended, by what they came to.",
            ),
            http_request_duration: Times::new(
                "association_archiver_http_request_duration_seconds",
                "Time from sending a request to HubSpot to its answer or failure.",
                REQUEST_MICROS,
            ),
            batches: CounterOf::new(
                "association_archiver_batches_total",
                "Archive requests sent, by why the batch left as it was.",
            ),
            batch_pairs: Numbers::new("association_archiver_batch_pairs", "Pairs in an archive request.", PAIRS),
            retries: Counter::new(
                "association_archiver_retries_total",
                "Archive requests sent again after a transient failure.",
            ),
            throttled: CounterOf::new(
                "association_archiver_throttled_total",
                "Answers 429, by the limit that HubSpot named.",
            ),
            pauses: CounterOf::new(
                "association_archiver_pauses_total",
                "Times that an account or a lane came to a standstill, by reason.",
            ),
            pairs_archived: Counter::new(
                "association_archiver_pairs_archived_total",
                "Distinct pairs that HubSpot archived.",
            ),
            pairs_merged: Counter::new(
                "association_archiver_pairs_merged_total",
                "Pairs that joined an equal pair of another job, and so cost no place in a request.",
            ),
            isolation_requests: Counter::new(
                "association_archiver_isolation_requests_total",
                "Requests sent to find the bad pairs of a refused batch.",
            ),
            refused_requests: Counter::new(
                "association_archiver_refused_requests_total",
                "Answers 4xx other than 429; HubSpot expects them under 5 % of a day's requests.",
            ),
            spans: CounterOf::new(
                "association_archiver_spans_total",
                "Spans for telemetry.otlp_endpoint, by whether the collector took them.",
            ),
            started,
        }
    }

    /// A batch leaves.
    pub fn sent(&self, call: &ArchiveCall) {
        self.batches.of(call.sealed).increment();
        self.batch_pairs.observe(call.pairs.len() as u64);
        if call.failures > 0 {
            self.retries.increment();
        }
    }

    /// A request to HubSpot has ended.
    pub fn ended(&self, result: HttpResult, took: Duration) {
        self.http_requests.of(result).increment();
        self.http_request_duration.observe(took);
    }

    pub fn noticed(&self, notice: &Notice) {
        match notice {
            Notice::Paused { kind, .. } => self.pauses.of(*kind).increment(),
            Notice::Slowed { policy, .. } => self.throttled.of(*policy).increment(),
            Notice::Resumed { .. }
            | Notice::Unidentified { .. }
            | Notice::Isolating { .. }
            | Notice::Unattributed { .. } => {}
        }
    }

    /// Takes over what the engine counted; to be called after each answer.
    pub fn follow(&self, counters: Counters) {
        let Counters { pairs_archived, trials, refusals, parked: _, merged } = counters;
        self.pairs_archived.follow(pairs_archived);
        self.isolation_requests.follow(trials);
        self.refused_requests.follow(refusals);
        self.pairs_merged.follow(merged);
    }

    /// The page, to be sent as [`super::exposition::CONTENT_TYPE`].
    pub fn render(&self, snapshot: &Snapshot) -> String {
        let mut page = Exposition::default();
        self.write(snapshot, &mut page);
        page.into_text()
    }

    pub fn started(&self) -> Timestamp {
        self.started
    }

    fn write(&self, snapshot: &Snapshot, page: &mut Exposition) {
        let Self {
            jobs_received,
            jobs_redelivered,
            outcomes,
            pair_errors,
            duplicates_answered,
            dead_letters,
            jobs_parked,
            job_duration,
            http_requests,
            http_request_duration,
            batches,
            batch_pairs,
            retries,
            throttled,
            pauses,
            pairs_archived,
            pairs_merged,
            isolation_requests,
            refused_requests,
            spans,
            started,
        } = self;
        let instruments: [&dyn Instrument; 20] = [
            jobs_received,
            jobs_redelivered,
            outcomes,
            pair_errors,
            duplicates_answered,
            dead_letters,
            jobs_parked,
            job_duration,
            http_requests,
            http_request_duration,
            batches,
            batch_pairs,
            retries,
            throttled,
            pauses,
            pairs_archived,
            pairs_merged,
            isolation_requests,
            refused_requests,
            spans,
        ];
        for instrument in instruments {
            instrument.write(page);
        }
        gauges::write(snapshot, page);
        process::write(*started, page);
    }
}

#[cfg(test)]
mod tests;
