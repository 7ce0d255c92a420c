//! Where a message of ours goes: all of them through one exchange.

use crate::config::Exchange;
use crate::engine::pause::Tier;
use crate::shards::QueueIndex;

/// A destination within the topology.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Route {
    Jobs,
    Background,
    /// One of the jobs queues, by its name.
    Shard(QueueIndex),
    Results,
    DeadLetters,
    /// Back to the shared jobs queue by itself, after the tier's time.
    Delay(Tier),
    /// Back to the background queue by itself, after the tier's time.
    BackgroundDelay(Tier),
}

/// Name of the queue in which the jobs of a tier wait; it is its routing key too. `jobs_queue` is the one that they
/// come back to.
pub fn delay_queue(jobs_queue: &str, tier: Tier) -> String {
    format!("{jobs_queue}{DELAY_PART}{}", tier.as_str())
}

/// What stands between the name of a queue and the wait in the name of a delay queue.
const DELAY_PART: &str = ".delay.";

/// Whether it is this queue, or one of its delay queues.
pub fn is_of(name: &str, queue: &str) -> bool {
    name.strip_prefix(queue).is_some_and(|rest| rest.is_empty() || rest.starts_with(DELAY_PART))
}

/// Key of the jobs queue's binding, beside its own name.
pub const JOBS_KEY: &str = "jobs";
/// Key of the background queue's binding, beside its own name.
pub const BACKGROUND_KEY: &str = "jobs.background";
pub const RESULTS_KEY: &str = "results";
pub const DEAD_LETTERS_KEY: &str = "dead-letters";

/// The key under which `exchange` leads to `queue`, which is bound to `key` unless the exchange is the default one.
pub fn key_to<'a>(exchange: &Exchange, key: &'a str, queue: &'a str) -> &'a str {
    match exchange {
        Exchange::Default => queue,
        Exchange::Named(_) => key,
    }
}

/// What is missing where a message with this key comes back.
pub fn no_route(exchange: &Exchange, key: &str) -> String {
    match exchange {
        Exchange::Default => format!("queue {key:?} does not exist"),
        Exchange::Named(_) => format!("no queue is bound to {exchange} with key {key:?}"),
    }
}

/// Whether it is the key of an account's jobs: `jobs.4711`.
pub fn is_portal_key(key: &str) -> bool {
    let digits = key.strip_prefix(JOBS_KEY).and_then(|rest| rest.strip_prefix('.'));
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_delay_queue_is_named_after_its_wait() {
        for tier in Tier::ALL {
            assert_eq!(humantime::parse_duration(tier.as_str()), Ok(tier.wait()));
        }
        assert_eq!(delay_queue("jobs", Tier::OneMinute), "jobs.delay.1m");
    }

    #[test]
    fn a_queue_has_its_own_delay_queues_and_no_others() {
        assert!(["jobs", "jobs.delay.1m"].iter().all(|name| is_of(name, "jobs")));
        assert!(
            ["job", "jobs2", "jobs.background", "jobs.background.delay.1m"].iter().all(|name| !is_of(name, "jobs"))
        );
    }

    #[test]
    fn a_delay_queue_is_not_taken_for_an_accounts_key() {
        assert!(is_portal_key("jobs.4711"));
        assert!(
            ["jobs", "jobs.", BACKGROUND_KEY, "jobs.delay.1m", "jobs.1.delay.1m", "other.4711"]
                .iter()
                .all(|key| !is_portal_key(key))
        );
    }
}
