//! The end of the service: first the loop, by the end of `shutdown.grace`; then, one after the other, what is left to
//! publish and to acknowledge, for which a least time is kept even beyond it. A token refresh and the last traces are
//! waited for beside these, each for a time of its own. What has not ended in its time is named.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::assembly::Running;
use crate::amqp::edges::Closer;
use crate::amqp::publisher::Publisher;
use crate::contract::grouped::Grouped;
use crate::telemetry::snapshot::Snapshot;

/// Where requests have used up all of `shutdown.grace`, the last answers still get this time to be published...
const LEAST_TO_PUBLISH: Duration = Duration::from_secs(5);

/// ...and their acknowledgements this time to be sent. Both are quick where the broker is well.
const LEAST_TO_ACKNOWLEDGE: Duration = Duration::from_secs(2);

/// How long a token refresh on the wire is waited for. This wait begins when the loop has ended, and goes on beside the
/// waits for the broker. It is no longer than the most that these may take together beyond `shutdown.grace`.
pub const LAST_REFRESH: Duration = Duration::from_secs(10);

/// How long the last traces are waited for, beside them too.
const LAST_EXPORT: Duration = Duration::from_secs(3);

/// How long the end takes beyond `shutdown.grace` at most: to publish (5 s), to acknowledge (2 s), and to close the
/// broker's connections (3 s), the endpoints (1 s) and the runtime (1 s). The chart, the systemd unit and the compose
/// file kill 15 s after the grace, the latter two for its default of 30 s.
pub const LONGEST_AFTER_GRACE: Duration = Duration::from_secs(12);

/// What has to end.
#[derive(Debug)]
pub struct Parts {
    pub running: Running,
    pub taking_in: JoinHandle<()>,
    pub departing: JoinHandle<()>,
    pub counting: JoinHandle<()>,
    pub publisher: Arc<Publisher>,
    pub closer: Closer,
    pub exporting: Option<JoinHandle<()>>,
    /// What the loop has said of itself last.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
}

/// What did not end in time. Its jobs were not acknowledged, and so the broker delivers them again.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Unfinished {
    /// Requests that HubSpot has not answered.
    pub requests: usize,
    /// The broker has not ended the subscription to the jobs queue.
    pub subscription: bool,
    /// Answers that the broker has not confirmed.
    pub answers: usize,
    /// The broker has not taken the last acknowledgements.
    pub acknowledgements: bool,
}

impl Unfinished {
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, subscription, answers, acknowledgements } = *self;
        let parts = [
            (requests > 0).then(|| format!("requests that HubSpot has not answered: {}", Grouped(requests as u64))),
            subscription.then(|| "the broker has not ended the subscription to the jobs queue".to_owned()),
            (answers > 0)
                .then(|| format!("answers to jobs that the broker has not confirmed: {}", Grouped(answers as u64))),
            acknowledgements.then(|| "the broker has not taken the last acknowledgements".to_owned()),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
    }
}

impl Parts {
    /// Returns when the loop ends by itself, which it must not: a fault of the program.
    pub async fn loop_failed(&mut self) {
        let _ = (&mut self.running.looping).await;
    }

    /// Waits for what is in flight until `grace` is over, then ends everything, no later than [`LONGEST_AFTER_GRACE`]
    /// after it. The stop signal has been given before.
    pub async fn end(self, grace: Duration) -> Unfinished {
        let Self { mut running, taking_in, departing, counting, publisher, closer, exporting, snapshots } = self;
        let deadline = Instant::now() + grace;
        let mut unfinished = Unfinished::default();
        if !running.looping.is_finished() && timeout_at(deadline, &mut running.looping).await.is_err() {
            unfinished.requests = snapshots.borrow().status.held.in_flight;
            unfinished.subscription = !taking_in.is_finished();
        }
        // Their ends of the channels tell the others that nothing more comes.
        running.looping.abort();
        taking_in.abort();
        let at_broker = async {
            let left = |least| deadline.saturating_duration_since(Instant::now()).max(least);
            let answers = publish_the_rest(departing, counting, publisher, left(LEAST_TO_PUBLISH)).await;
            (answers, !closer.close(left(LEAST_TO_ACKNOWLEDGE)).await)
        };
        // It ends with the loop, whose spans it sends meanwhile.
        let last_traces = async {
            match exporting {
                Some(exporting) => timeout(LAST_EXPORT, exporting).await.is_ok(),
                None => true,
            }
        };
        let (at_broker, refreshed, exported) = tokio::join!(at_broker, running.finish(LAST_REFRESH), last_traces);
        (unfinished.answers, unfinished.acknowledgements) = at_broker;
        if !refreshed {
            tracing::warn!(
                "a token refresh is still without an answer; if HubSpot changed the refresh token, it is lost"
            );
        }
        if !exported {
            tracing::warn!("the last traces have not reached telemetry.otlp_endpoint in time");
        }
        unfinished
    }
}

/// Publishes what is left, and says how many answers are not published when `patience` is over.
async fn publish_the_rest(
    mut departing: JoinHandle<()>,
    counting: JoinHandle<()>,
    publisher: Arc<Publisher>,
    patience: Duration,
) -> usize {
    let until = Instant::now() + patience;
    if timeout_at(until, &mut departing).await.is_err() {
        departing.abort();
        let _ = departing.await;
    }
    counting.abort();
    let _ = counting.await;
    let waiting = publisher.waiting();
    // Both tasks have ended: the publisher is ours alone.
    let Some(publisher) = Arc::into_inner(publisher) else { return waiting };
    let report = publisher.close(until.saturating_duration_since(Instant::now())).await;
    waiting.saturating_sub(report.published.len() + report.stale.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::connection::CLOSE_TIMEOUT;

    #[test]
    fn the_whole_goodbye_is_as_long_as_documented() {
        let of_endpoints_and_runtime = Duration::from_secs(2);
        let at_broker = LEAST_TO_PUBLISH + LEAST_TO_ACKNOWLEDGE + CLOSE_TIMEOUT;
        assert_eq!(at_broker.max(LAST_REFRESH).max(LAST_EXPORT) + of_endpoints_and_runtime, LONGEST_AFTER_GRACE);
    }

    #[test]
    fn only_what_is_stuck_is_named() {
        assert!(Unfinished::default().is_nothing());
        let stuck = Unfinished { answers: 7, ..Unfinished::default() };
        assert_eq!(stuck.to_string(), "answers to jobs that the broker has not confirmed: 7");
    }
}
