//! The settings that the engine works by.

use std::sync::Arc;
use std::time::Duration;

use super::pack::Caps;
use super::retry::RetryPolicy;
use crate::contract::object_type::TypePair;

/// The settings of the whole engine; those of one account are [`super::account::AccountPolicy`]. The default is what
/// the worker does where its settings say nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnginePolicy {
    /// The largest request that may be sent.
    pub caps: Caps,
    /// Types between which a pair may be sent from either side: `batch.fold`.
    pub fold: Arc<[TypePair]>,
    /// How long a job waits for company before a request leaves that is not full.
    pub linger: Duration,
    pub retry: RetryPolicy,
    /// Extra requests that may be spent on finding the bad pairs of one refused batch.
    pub isolation_requests: u32,
    /// Pairs that a job may have, where what was found for its records counts too: `jobs.max_pairs`.
    pub max_pairs: usize,
    /// Requests on the wire of all accounts together, at least 1.
    pub max_in_flight: usize,
    pub waiting: Waiting,
}

impl Default for EnginePolicy {
    fn default() -> Self {
        Self {
            caps: Caps { from: 100, pairs: 1_000 },
            fold: [].into(),
            linger: Duration::from_millis(200),
            retry: RetryPolicy::default(),
            isolation_requests: 200,
            max_pairs: 10_000,
            max_in_flight: 64,
            waiting: Waiting::Outside { longest_hold: Duration::from_secs(490), prefetch: 10_000 },
        }
    }
}

/// Where a job waits when it must wait for long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// In the broker's delay queues. A job stays in hand for at most `longest_hold` from its admission until its last
    /// request leaves. Jobs of paused accounts and lanes never take up so much of the `prefetch` that the other jobs
    /// find no room.
    Outside { longest_hold: Duration, prefetch: usize },
    /// In hand, since there is no broker. Jobs are given up once their account or lane has been paused for this long
    /// for a reason that only a person can mend.
    InHand { give_up_after: Duration },
}
