//! What is counted, and the page that Prometheus reads.
//!
//! Rates and distributions are counted here as they happen. What the worker is at the moment comes from its latest
//! snapshot when the page is asked for.

use std::time::Duration;

use jiff::Timestamp;

use super::dead_letters::DeadLetterCauses;
use super::exposition::{Description, Exposition};
use super::gauges;
use super::instrument::{Counter, CounterOf, Instrument, Numbers, Times};
use super::label::{ErrorLabel, HttpResult, ProofResult, SpanFate};
use super::process;
use super::snapshot::{JobCounts, Snapshot};
use crate::contract::outcome::Status;
use crate::engine::Counters;
use crate::engine::command::{BatchCall, Notice, Sealed};
use crate::engine::pause::{PauseKind, Tier};
use crate::engine::verdict::Policy;

/// Declares [`Metrics`]: each metric is named once, with its type, its name and its sentence on the page, and is made,
/// kept and written from there, in this order.
macro_rules! metrics {
    ($($visibility:vis $field:ident: $kind:ty = ($($part:expr),+);)+) => {
        /// Every count and distribution; shared. What happens often is counted without a lock.
        #[derive(Debug)]
        pub struct Metrics {
            $($visibility $field: $kind,)+
            /// What went to the dead letters, by cause.
            pub dead_letter_causes: DeadLetterCauses,
            started: Timestamp,
        }

        impl Metrics {
            /// `started` is when the process began.
            pub fn new(started: Timestamp) -> Self {
                Self {
                    $($field: <$kind>::new($($part),+),)+
                    dead_letter_causes: DeadLetterCauses::default(),
                    started,
                }
            }

            fn instruments(&self) -> impl Iterator<Item = &dyn Instrument> {
                [$(&self.$field as &dyn Instrument),+].into_iter()
            }
        }
    };
}

metrics! {
    pub jobs_received: Counter = (
        "association_archiver_jobs_received_total",
        "Job messages received, valid or not, redelivered ones included."
    );
    pub jobs_redelivered: Counter = (
        "association_archiver_jobs_redelivered_total",
        "Of the job messages received, those that the broker had delivered before."
    );
    pub outcomes: CounterOf<Status> = (
        "association_archiver_outcomes_total",
        "Outcomes published and confirmed by the broker, by status."
    );
    pub background_outcomes: Counter = (
        "association_archiver_background_outcomes_total",
        "Of the outcomes published and confirmed, those of jobs that came through the background queue."
    );
    pub pair_errors: CounterOf<ErrorLabel> = (
        "association_archiver_pair_errors_total",
        "Pairs not archived that outcomes told of: refused by HubSpot, or by the worker for the cause named."
    );
    pub dead_letters: Counter = (
        "association_archiver_dead_letters_total",
        "Copies of messages published to the dead-letter queue."
    );
    pub jobs_parked: CounterOf<Tier> = (
        "association_archiver_jobs_parked_total",
        "Jobs put into a delay queue of the broker to wait there, by the queue's wait."
    );
    pub jobs_moved: Counter = (
        "association_archiver_jobs_moved_total",
        "Jobs moved from the shared jobs queue to their account's shard."
    );
    pub job_duration: Times = (
        "association_archiver_job_duration_seconds",
        "Time from receiving a job for the first time to its outcome.", JOB_MICROS
    );
    http_requests: CounterOf<HttpResult> = (
        "association_archiver_http_requests_total",
        "Requests to HubSpot that ended, by what they came to."
    );
    http_request_duration: Times = (
        "association_archiver_http_request_duration_seconds",
        "Time from sending a request to HubSpot to its answer or failure.", REQUEST_MICROS
    );
    batches: CounterOf<Sealed> = (
        "association_archiver_batches_total",
        "Requests sent for batches of pairs, by why the batch left as it was."
    );
    batch_pairs: Numbers = (
        "association_archiver_batch_pairs",
        "Pairs in a request that changes HubSpot.", PAIRS
    );
    retries: Counter = (
        "association_archiver_retries_total",
        "Requests for batches sent again after a transient failure."
    );
    throttled: CounterOf<Policy> = (
        "association_archiver_throttled_total",
        "Answers 429, by the limit that HubSpot named."
    );
    pauses: CounterOf<PauseKind> = (
        "association_archiver_pauses_total",
        "Times that an account or a lane came to a standstill, by reason."
    );
    pairs_archived: Counter = (
        "association_archiver_pairs_archived_total",
        "Pairs that HubSpot archived. A pair counts once a request, and so again where a later request archives it again."
    );
    pairs_looked_up: Counter = (
        "association_archiver_pairs_looked_up_total",
        "Pairs of which it was read from HubSpot what they are associated by."
    );
    pairs_verified: CounterOf<ProofResult> = (
        "association_archiver_pairs_verified_total",
        "Archived pairs that were read back, by what was seen (safety.verify)."
    );
    pairs_restored: Counter = (
        "association_archiver_pairs_restored_total",
        "Pairs that HubSpot associated again."
    );
    journal_pairs: Counter = (
        "association_archiver_journal_pairs_total",
        "Pairs that were recorded in the journal, with what they are associated by, before they were archived or restored."
    );
    pairs_merged: Counter = (
        "association_archiver_pairs_merged_total",
        "Pairs that joined an equal pair of another job, and so needed no request of their own."
    );
    isolation_requests: Counter = (
        "association_archiver_isolation_requests_total",
        "Requests sent to find the bad pairs of a refused batch."
    );
    refused_requests: Counter = (
        "association_archiver_refused_requests_total",
        "Answers 4xx other than 429; HubSpot expects them under 5 % of a day's requests."
    );
    pub spans: CounterOf<SpanFate> = (
        "association_archiver_spans_total",
        "Spans for telemetry.otlp_endpoint, by whether the collector took them."
    );
}

/// Every metric there is, as the page has it.
pub fn documented_metrics() -> Vec<Description> {
    let mut page = Exposition::default();
    Metrics::new(Timestamp::UNIX_EPOCH).write(&Snapshot::default(), &mut page);
    page.families().to_vec()
}

/// Pairs of a request, up to the most that one may have.
const PAIRS: &[u64] = &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000];

/// Microseconds: from 25 ms to beyond the 100 s after which HubSpot times out.
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
    /// A batch leaves.
    pub fn sent(&self, call: &BatchCall) {
        self.batches.of(call.sealed).increment();
        if call.lane.step().changes() {
            self.batch_pairs.observe(call.pairs.len() as u64);
        }
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
            | Notice::Unattributed { .. }
            | Notice::Unfolded { .. } => {}
        }
    }

    /// Takes over what the engine counted so far; to be called with each snapshot.
    pub fn follow(&self, counters: Counters) {
        let Counters { pairs_archived, pairs_looked_up, pairs_restored, trials, refusals, merged, .. } = counters;
        let Counters { pairs_journaled, pairs_gone, pairs_not_gone, pairs_reappeared, .. } = counters;
        self.pairs_archived.follow(pairs_archived);
        self.pairs_looked_up.follow(pairs_looked_up);
        self.pairs_restored.follow(pairs_restored);
        self.journal_pairs.follow(pairs_journaled);
        self.pairs_verified.of(ProofResult::Gone).follow(pairs_gone);
        self.pairs_verified.of(ProofResult::NotGone).follow(pairs_not_gone);
        self.pairs_verified.of(ProofResult::Reappeared).follow(pairs_reappeared);
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

    pub fn jobs(&self) -> JobCounts {
        let outcomes = Status::ALL.map(|status| self.outcomes.of(status).read());
        let of_background = self.background_outcomes.read();
        JobCounts { received: self.jobs_received.read(), outcomes, of_background }
    }

    pub fn started(&self) -> Timestamp {
        self.started
    }

    fn write(&self, snapshot: &Snapshot, page: &mut Exposition) {
        for instrument in self.instruments() {
            instrument.write(page);
        }
        gauges::write(snapshot, page);
        process::write(self.started, page);
    }
}

#[cfg(test)]
mod tests;
