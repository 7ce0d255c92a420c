//! What the worker's loop tells the outside about itself, about once a second.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::dead_letters::DeadLetterCause;
use super::failures::FailureCount;
use super::parked::ByTier;
use super::pause_history::PauseSpan;
use super::throughput::ThroughputSeries;
use crate::engine::pause::Tier;
use crate::engine::status::{AccountStatus, Status};
use crate::lease::view::LeaseView;

/// The worker at one moment. The default is the moment before the first: nothing held, no broker.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Snapshot {
    pub at: Timestamp,
    pub status: Status,
    pub broker: BrokerState,
    /// Stopping: nothing new is taken.
    pub draining: bool,
    /// The last ten minutes.
    pub throughput: ThroughputSeries,
    /// The last hours, in longer intervals.
    pub history: ThroughputSeries,
    pub pauses: Vec<PauseSpan>,
    pub failures: Vec<FailureCount>,
    pub dead_letters: Vec<DeadLetterCause>,
}

/// How the broker's edges are doing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerState {
    /// A consumer is subscribed to a jobs queue.
    pub consuming: bool,
    /// The connection for outcomes is up.
    pub publishing: bool,
    /// Answers wait to be published, and the broker has taken none since.
    pub publishing_stalled: bool,
    /// A resource alarm of the broker stops publishing.
    pub blocked: bool,
    /// The consumer is cancelled for a while because the jobs in hand occupy too much memory.
    pub overfull: bool,
    /// Why jobs do not come in.
    pub consuming_trouble: Option<String>,
    /// Why outcomes do not go out.
    pub publishing_trouble: Option<String>,
    /// Ready messages in all jobs queues together when last looked, without the background queue.
    pub jobs_ready: Option<u64>,
    /// Likewise in the background queue; `None` as well where there is none.
    pub background_ready: Option<u64>,
    /// A consumer is subscribed to it.
    pub background_consuming: bool,
    /// Jobs in each delay queue.
    #[serde(serialize_with = "write_tiers")]
    pub parked: ByTier,
    /// Of the jobs queues that this worker works on, the longest time for which jobs have waited and none was taken.
    pub standstill_seconds: Option<u64>,
    /// Jobs whose outcome, or whose copy for a delay queue, the broker has not confirmed yet.
    pub unpublished: u64,
    /// Ready messages in the results queue, and its consumers, when last looked.
    pub results_ready: Option<u64>,
    pub results_consumers: Option<u64>,
    /// Ready messages in the dead-letter queue when last looked.
    pub dead_letters_ready: Option<u64>,
    /// The lease of each jobs queue; empty while `amqp.lease` is off.
    #[serde(skip)]
    pub leases: Vec<LeaseView>,
    /// Why a lease cannot be taken or renewed.
    pub lease_trouble: Option<String>,
    pub counts: BrokerCounts,
}

/// Counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerCounts {
    /// Connections made again after a loss.
    pub reconnects: u64,
    /// Subscriptions made again after a loss: the generation of the consumer, from 0.
    pub resubscriptions: u64,
    /// Messages confirmed by the broker.
    pub published: u64,
    /// Messages that came back because no queue is bound to their route.
    pub returned: u64,
    /// Messages the broker refused.
    pub refused: u64,
    /// Messages published again because nobody knows what became of them.
    pub unknown: u64,
    /// Times that this worker has taken a lease or lost it.
    #[serde(skip)]
    pub lease_changes: u64,
    /// Deliveries acknowledged.
    pub acknowledged: u64,
    /// Deliveries given back to the queue.
    pub handed_back: u64,
    /// Acknowledgements that could not be sent.
    pub failed_acknowledgements: u64,
    /// Deliveries settled after their subscription was lost; the broker delivers them again.
    pub settled_too_late: u64,
}

/// `{"10s":0,"1m":0,"10m":48774,"1h":0}`
fn write_tiers<S: Serializer>(parked: &ByTier, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(Tier::ALL.map(Tier::as_str).into_iter().zip(parked))
}

impl Snapshot {
    /// Jobs that wait in the delay queues; `None` where nobody can say of one of them.
    pub fn parked(&self) -> Option<u64> {
        self.broker.parked.iter().copied().sum()
    }

    /// Seconds until every job is answered, wherever it is now, if the ceilings in force are all that limits and the
    /// jobs elsewhere are like those in hand; `None` while anything that it depends on is unknown.
    pub fn drain_seconds(&self) -> Option<f64> {
        let (ready, parked) = (self.broker.jobs_ready?, self.parked()?);
        // Nobody can say how long an account stands still, nor whose the parked jobs are.
        let stands = |account: &AccountStatus| account.drain_seconds.is_none() && (account.held_jobs > 0 || parked > 0);
        if self.status.accounts.iter().any(stands) {
            return None;
        }
        if self.broker.unpublished > 0 && !self.broker.takes_answers() {
            return None;
        }
        let of_held = self.status.held.drain_seconds?;
        let (held, elsewhere) = (self.status.held.jobs as f64, (ready + parked) as f64);
        match (held > 0.0, elsewhere > 0.0) {
            (true, true | false) => Some(of_held * (held + elsewhere) / held),
            (false, false) => Some(of_held),
            (false, true) => None,
        }
    }
}

impl BrokerState {
    /// Whether answers that wait to be published go out.
    fn takes_answers(&self) -> bool {
        self.publishing && !self.publishing_stalled && !self.blocked && self.publishing_trouble.is_none()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::engine::status::{AccountTotalsStatus, DayStatus, RateStatus, SafetyStatus};

    /// An account that does nothing.
    pub fn account(index: u32, portal_id: Option<u64>) -> AccountStatus {
        AccountStatus {
            index,
            portal_id,
            stands_by: false,
            pause: None,
            rate: RateStatus {
                requests: 100,
                interval_seconds: 10.0,
                configured_requests: 100,
                configured_interval_seconds: 10.0,
                used: 25,
            },
            in_flight: 0,
            max_in_flight: 16,
            day: DayStatus { used: 0, left: None },
            guard: None,
            safety: SafetyStatus { journal: false, verify: false },
            totals: AccountTotalsStatus::default(),
            background_window: None,
            held_jobs: 0,
            held_pairs: 0,
            lanes: 0,
            paused_lanes: 0,
            drain_seconds: Some(0.0),
        }
    }

    fn snapshot(jobs: usize, drain_seconds: Option<f64>, jobs_ready: Option<u64>) -> Snapshot {
        let mut snapshot = Snapshot::default();
        (snapshot.status.held.jobs, snapshot.status.held.drain_seconds) = (jobs, drain_seconds);
        snapshot.broker = BrokerState { publishing: true, jobs_ready, parked: [Some(0); 4], ..BrokerState::default() };
        snapshot
    }

    #[test]
    fn jobs_elsewhere_are_taken_to_be_like_those_in_hand() {
        let seconds = |jobs, drain_seconds, jobs_ready| snapshot(jobs, drain_seconds, jobs_ready).drain_seconds();
        assert_eq!(seconds(1_000, Some(5.0), Some(9_000)), Some(50.0));
        assert_eq!(seconds(1_000, Some(5.0), Some(0)), Some(5.0));
        assert_eq!(seconds(1_000, None, Some(9_000)), None);
        assert_eq!(seconds(1_000, Some(5.0), None), None);
        assert_eq!(seconds(0, Some(0.0), Some(0)), Some(0.0));
        assert_eq!(seconds(0, Some(0.0), Some(9)), None);
    }

    #[test]
    fn parked_jobs_count_and_an_unknown_number_of_them_is_no_estimate() {
        let mut busy = snapshot(1_000, Some(5.0), Some(0));
        busy.broker.parked = [Some(0), Some(8_000), Some(1_000), Some(0)];
        assert_eq!((busy.parked(), busy.drain_seconds()), (Some(9_000), Some(50.0)));
        busy.broker.parked[3] = None;
        assert_eq!((busy.parked(), busy.drain_seconds()), (None, None));

        let mut idle = snapshot(0, Some(0.0), Some(0));
        idle.broker.parked[2] = Some(48_774);
        assert_eq!(idle.drain_seconds(), None, "nobody knows what they will cost");
    }

    #[test]
    fn a_standing_account_or_answers_that_cannot_go_out_are_no_estimate() {
        let mut paused = snapshot(0, Some(0.0), Some(0));
        paused.status.accounts = vec![account(0, Some(1)), account(1, Some(2))];
        paused.status.accounts[1].drain_seconds = None;
        assert_eq!(paused.drain_seconds(), Some(0.0), "there is nothing to do");
        paused.broker.parked[1] = Some(1);
        assert_eq!(paused.drain_seconds(), None);

        let mut blocked = snapshot(0, Some(0.0), Some(0));
        blocked.broker.unpublished = 3_800;
        assert_eq!(blocked.drain_seconds(), Some(0.0), "they are on their way");
        blocked.broker.publishing_trouble = Some("the broker refuses messages".to_owned());
        assert_eq!(blocked.drain_seconds(), None);
    }
}
