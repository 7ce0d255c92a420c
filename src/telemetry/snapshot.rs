//! What the worker's loop tells the outside about itself, about once a second.

use jiff::Timestamp;
use serde::Serialize;

use super::failures::FailureCount;
use super::throughput::ThroughputSeries;
use crate::engine::status::Status;

/// The worker at one moment. The default is the moment before the first: nothing held, no broker.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Snapshot {
    pub at: Timestamp,
    pub status: Status,
    pub broker: BrokerState,
    /// Stopping: nothing new is taken.
    pub draining: bool,
    pub throughput: ThroughputSeries,
    pub failures: Vec<FailureCount>,
}

/// How the broker's edges are doing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerState {
    /// A consumer is subscribed to the jobs queue.
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
    /// Ready messages in the jobs queue when last looked.
    pub jobs_ready: Option<u64>,
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
    /// Deliveries acknowledged.
    pub acknowledged: u64,
    /// Deliveries given back to the queue.
    pub handed_back: u64,
    /// Acknowledgements that could not be sent.
    pub failed_acknowledgements: u64,
    /// Deliveries settled after their subscription was lost; the broker delivers them again.
    pub settled_too_late: u64,
}

impl Snapshot {
    /// Seconds until the jobs in hand and those ready in the queue are done, if the ceilings in force are all that
    /// limits and the queue's jobs are like those in hand; `None` where nothing says so.
    pub fn drain_seconds(&self) -> Option<f64> {
        let of_held = self.status.held.drain_seconds?;
        let (held, ready) = (self.status.held.jobs as f64, self.broker.jobs_ready? as f64);
        match (held > 0.0, ready > 0.0) {
            (true, true | false) => Some(of_held * (held + ready) / held),
            (false, false) => Some(of_held),
            (false, true) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_taken_to_be_like_what_is_held() {
        let snapshot = |jobs, drain_seconds, jobs_ready| {
            let mut snapshot = Snapshot::default();
            (snapshot.status.held.jobs, snapshot.status.held.drain_seconds) = (jobs, drain_seconds);
            snapshot.broker.jobs_ready = jobs_ready;
            snapshot.drain_seconds()
        };
        assert_eq!(snapshot(1_000, Some(5.0), Some(9_000)), Some(50.0));
        assert_eq!(snapshot(1_000, Some(5.0), Some(0)), Some(5.0));
        assert_eq!(snapshot(1_000, None, Some(9_000)), None);
        assert_eq!(snapshot(1_000, Some(5.0), None), None);
        assert_eq!(snapshot(0, Some(0.0), Some(0)), Some(0.0));
        assert_eq!(snapshot(0, Some(0.0), Some(9)), None);
    }
}
