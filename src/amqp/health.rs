//! How the broker's edges are doing, for readiness, `/status` and metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::engine::pause::Tier;
use crate::lease::view::SharedView;

/// Shared by all parts of the edges; reading it never waits for the broker.
#[derive(Debug, Default)]
pub struct Health {
    /// A consumer is subscribed.
    pub consuming: Flag,
    /// Consumers that this worker has on the queue: more than one where jobs are small.
    pub consumers: Level,
    /// The connection for publishing is up.
    pub publishing: Flag,
    /// A resource alarm of the broker stops publishing; what was archived meanwhile waits to be answered.
    pub blocked: Flag,
    /// The consumer was cancelled because the jobs in hand occupy too much memory.
    pub overfull: Flag,
    /// Why jobs do not come in.
    pub consuming_trouble: Trouble,
    /// Messages wait to be published, and since the first of them failed the broker has taken none.
    pub publishing_stalled: Flag,
    /// Why messages do not go out.
    pub publishing_trouble: Trouble,
    /// Who works on the jobs queue; empty while `amqp.lease` is off.
    pub lease: SharedView,
    /// Why the lease cannot be taken or renewed.
    pub lease_trouble: Trouble,
    /// Times that this worker has taken the lease or lost it.
    pub lease_changes: Count,
    /// Ready messages in the queue that is consumed, when last looked (every 3 s).
    pub jobs_ready: LastSeen,
    /// What lies in the other queues, looked at together with it.
    pub depths: Depths,
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

/// Messages in the queues that the worker fills; unknown where nobody can say.
#[derive(Debug, Default)]
pub struct Depths {
    /// Looks so far: whoever counts what went into a queue since the last look can tell when that was.
    pub looks: Count,
    /// Jobs in each delay queue, in the order of [`Tier::ALL`].
    pub parked: [LastSeen; Tier::ALL.len()],
    pub results: LastSeen,
    /// Consumers of the results queue.
    pub results_consumers: LastSeen,
    pub dead_letters: LastSeen,
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
