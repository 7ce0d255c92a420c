//! Where a message of ours goes: all of them through the worker's own exchange.

use crate::engine::pause::Tier;

/// A destination within the topology.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Route {
    Jobs,
    Results,
    DeadLetters,
    /// Back to the jobs queue by itself, after the tier's time.
    Delay(Tier),
}

/// Name of the queue in which the jobs of a tier wait; it is its routing key too.
pub fn delay_queue(jobs_queue: &str, tier: Tier) -> String {
    format!("{jobs_queue}.delay.{}", tier.as_str())
}

/// Key of the jobs queue's binding, beside its own name.
pub const JOBS_KEY: &str = "jobs";
pub const RESULTS_KEY: &str = "results";
pub const DEAD_LETTERS_KEY: &str = "dead-letters";

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
}
