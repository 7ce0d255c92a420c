//! How the broker's edges are doing, for readiness, `/status` and metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::lost_queues::LostQueues;
use crate::engine::pause::Tier;
use crate::lease::view::{LeaseStanding, LeaseView, SharedView};
use crate::shards::QueueIndex;

/// Shared by all parts of the edges; reading it never waits for the broker.
#[derive(Debug)]
pub struct Health {
    /// The health of each jobs queue.
    queues: Vec<Arc<QueueHealth>>,
    background: Arc<QueueHealth>,
    /// The connection for publishing is up.
    pub publishing: Flag,
    /// A resource alarm of the broker stops publishing; what was archived meanwhile waits to be answered.
    pub blocked: Flag,
    /// Why there is no connection for jobs.
    pub connection_trouble: Trouble,
    /// Messages wait to be published, and since the first of them failed the broker has taken none.
    pub publishing_stalled: Flag,
    /// Why messages do not go out.
    pub publishing_trouble: Trouble,
    /// Wakes whoever waits before the next try at the broker, each time that a connection is made anew.
    pub broker_is_back: Notify,
    /// Times that this worker has taken a lease, lost it or given it back.
    pub lease_changes: Count,
    /// What lies in the queues other than the jobs queues, and how long jobs have stood still in the jobs queues, when
    /// last looked (every 3 s).
    pub depths: Depths,
    /// Jobs lie in queues that nobody takes from.
    pub deserted: Trouble,
    /// Queues that were deleted and are declared again.
    pub lost_queues: LostQueues,
    /// Answers that were handed over to be published and are not yet confirmed by the broker.
    pub unpublished: Level,

    /// Connections made again after a loss.
    pub reconnects: Count,
    /// Subscriptions made again after a loss, whether or not the connection was lost too.
    pub resubscriptions: Count,
    /// Messages confirmed by the broker.
    pub published: Count,
    /// Messages that came back because no queue is bound to their route.
    pub returned: Count,
    /// Messages the broker refused, as a full queue does.
    pub refused: Count,
    /// Messages published again because nobody knows what became of them: possible copies, under the same id.
    pub unknown: Count,
    /// Deliveries acknowledged.
    pub acknowledged: Count,
    /// Deliveries given back to the queue.
    pub handed_back: Count,
    /// Acknowledgements that could not be sent; each stands for one delivery or several.
    pub failed_acknowledgements: Count,
    /// Deliveries settled too late, after their subscription was lost; the broker delivers them again.
    pub settled_too_late: Count,
}

/// One jobs queue, or the background queue.
#[derive(Debug, Default)]
pub struct QueueHealth {
    /// A consumer is subscribed.
    pub consuming: Flag,
    /// Consumers that this worker has on the queue: more than one where jobs are small.
    pub consumers: Level,
    /// The consumer was cancelled because the jobs in hand occupy too much memory.
    pub overfull: Flag,
    /// Why its jobs do not come in.
    pub trouble: Trouble,
    /// Who works on it; empty while `amqp.lease` is off.
    pub lease: SharedView,
    /// Why its lease cannot be taken or renewed.
    pub lease_trouble: Trouble,
    /// Since when nobody else has held the lease, or worked without one, if this worker holds it now. Where it was lost
    /// for a while and nobody else took it meanwhile, this goes on.
    pub taken_over: Moment,
    /// Ready messages, when last looked (every 3 s).
    pub ready: LastSeen,
    /// Times that messages came in, one or many at once.
    pub taken: Count,
}

impl Default for Health {
    fn default() -> Self {
        Self::of(1)
    }
}

impl Health {
    /// For this many jobs queues.
    pub fn of(queues: usize) -> Self {
        Self {
            queues: std::iter::repeat_with(Arc::default).take(queues).collect(),
            background: Arc::default(),
            publishing: Flag::default(),
            blocked: Flag::default(),
            connection_trouble: Trouble::default(),
            publishing_stalled: Flag::default(),
            publishing_trouble: Trouble::default(),
            broker_is_back: Notify::new(),
            lease_changes: Count::default(),
            depths: Depths::default(),
            deserted: Trouble::default(),
            lost_queues: LostQueues::default(),
            unpublished: Level::default(),
            reconnects: Count::default(),
            resubscriptions: Count::default(),
            published: Count::default(),
            returned: Count::default(),
            refused: Count::default(),
            unknown: Count::default(),
            acknowledged: Count::default(),
            handed_back: Count::default(),
            failed_acknowledgements: Count::default(),
            settled_too_late: Count::default(),
        }
    }

    pub fn queues(&self) -> &[Arc<QueueHealth>] {
        &self.queues
    }

    /// The background queue, whether there is one or not.
    pub fn background(&self) -> &QueueHealth {
        &self.background
    }

    pub(super) fn queue(&self, queue: QueueIndex) -> Arc<QueueHealth> {
        if queue == QueueIndex::BACKGROUND {
            return Arc::clone(&self.background);
        }
        self.queues.get(queue.as_usize()).cloned().unwrap_or_default()
    }

    /// Jobs come in from one queue at least.
    pub fn consuming(&self) -> bool {
        self.queues.iter().any(|queue| queue.consuming.get())
    }

    pub fn overfull(&self) -> bool {
        self.queues.iter().chain([&self.background]).any(|queue| queue.overfull.get())
    }

    /// Why jobs of a queue do not come in.
    pub fn consuming_trouble(&self) -> Option<String> {
        let mut queues = self.queues.iter().chain([&self.background]);
        self.connection_trouble.get().or_else(|| queues.find_map(|queue| queue.trouble.get()))
    }

    /// Ready messages in all jobs queues together, without the background queue.
    pub fn jobs_ready(&self) -> Option<u64> {
        self.queues.iter().map(|queue| queue.ready.get()).sum()
    }

    /// Of these, the messages in the jobs queues that this worker works on, or is about to: all of them while
    /// `amqp.lease` is off.
    pub fn own_jobs_ready(&self) -> Option<u64> {
        let is_own = |queue: &&Arc<QueueHealth>| {
            queue.lease.get().is_none_or(|lease| matches!(lease.standing, LeaseStanding::Held | LeaseStanding::Waiting))
        };
        self.queues.iter().filter(is_own).map(|queue| queue.ready.get()).sum()
    }

    /// Empty while `amqp.lease` is off.
    pub fn leases(&self) -> Vec<LeaseView> {
        self.queues.iter().filter_map(|queue| queue.lease.get()).collect()
    }

    /// Since when no other worker works on any jobs queue: this one holds all leases. `None` while another one may, and
    /// while `amqp.lease` is off.
    pub fn alone_since(&self) -> Option<Timestamp> {
        let since = self.queues.iter().map(|queue| {
            let is_held = queue.lease.get()?.standing == LeaseStanding::Held;
            queue.taken_over.get().filter(|_| is_held)
        });
        since.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    pub fn lease_trouble(&self) -> Option<String> {
        self.queues.iter().find_map(|queue| queue.lease_trouble.get())
    }
}

/// Messages in the queues that the worker fills, and the standstill of the jobs queues; unknown where nobody can say.
#[derive(Debug, Default)]
pub struct Depths {
    /// Looks so far: whoever counts what went into a queue since the last look notices by this number that there was a
    /// new one.
    pub looks: Count,
    /// Jobs in the delay queues of each wait, in the order of [`Tier::ALL`].
    pub parked: [LastSeen; Tier::ALL.len()],
    /// Of these, jobs of the background; unknown also where there is no background queue.
    pub background_parked: LastSeen,
    pub results: LastSeen,
    /// Consumers of the results queue.
    pub results_consumers: LastSeen,
    pub dead_letters: LastSeen,
    /// Of the jobs queues that this worker works on, the longest time for which jobs have waited and none was taken.
    pub standstill_seconds: LastSeen,
}

#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// True where this changed it.
    pub(super) fn set(&self, value: bool) -> bool {
        self.0.swap(value, Ordering::Relaxed) != value
    }
}

/// Counts up from the start of the process.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, number: usize) {
        self.0.fetch_add(number as u64, Ordering::Relaxed);
    }
}

/// A number that has to be asked for; unknown until then.
#[derive(Debug, Default)]
pub struct LastSeen(AtomicU64);

impl LastSeen {
    pub fn get(&self) -> Option<u64> {
        self.0.load(Ordering::Relaxed).checked_sub(1)
    }

    /// `None`: nobody can say any more.
    pub(super) fn learn(&self, number: Option<u64>) {
        self.0.store(number.map_or(0, |number| number.saturating_add(1)), Ordering::Relaxed);
    }
}

/// A number that rises and falls.
#[derive(Debug, Default)]
pub struct Level(AtomicU64);

impl Level {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn raise(&self, by: usize) {
        self.0.fetch_add(by as u64, Ordering::Relaxed);
    }

    pub(super) fn lower(&self, by: usize) {
        self.0.fetch_sub(by as u64, Ordering::Relaxed);
    }
}

/// When something happened, if it has.
#[derive(Debug, Default)]
pub struct Moment(Mutex<Option<Timestamp>>);

impl Moment {
    pub fn get(&self) -> Option<Timestamp> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only the first time counts.
    pub(super) fn begin(&self, at: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(at);
    }

    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// One sentence for people, while there is something to say.
#[derive(Debug, Default)]
pub struct Trouble(Mutex<Option<String>>);

impl Trouble {
    pub fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, sentence: impl ToString) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sentence.to_string());
    }

    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_alone_while_it_holds_all_leases() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap_or_default();
        let lease = |standing| LeaseView { jobs_queue: String::new(), standing, since: at(9_000), holder: None };
        let health = Health::of(2);
        assert_eq!(health.alone_since(), None, "without leases anybody may work");
        for (queue, seconds) in health.queues().iter().zip([1_000, 1_500]) {
            queue.lease.set(lease(LeaseStanding::Held));
            queue.taken_over.begin(at(seconds));
            // Lost, and held again by the same worker.
            queue.taken_over.begin(at(9_000));
        }
        assert_eq!(health.alone_since(), Some(at(1_500)));
        let others = [
            LeaseStanding::StandingBy,
            LeaseStanding::NotRenewed,
            LeaseStanding::Waiting,
            LeaseStanding::Away,
            LeaseStanding::Left,
        ];
        for standing in others {
            health.queues()[0].lease.set(lease(standing));
            assert_eq!(health.alone_since(), None, "{standing:?}: another worker may work");
        }
    }
}
