//! Where a message of ours goes: all of them through the worker's own exchange.

use std::time::Duration;

/// A destination within the topology.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Route {
    Jobs,
    Results,
    DeadLetters,
    /// Back to the jobs queue by itself, after the tier's time.
    Delay(DelayTier),
}

/// The queues in which a job waits outside the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum DelayTier {
    TenSeconds,
    OneMinute,
    TenMinutes,
    OneHour,
}

impl DelayTier {
    pub const ALL: [Self; 4] = [Self::TenSeconds, Self::OneMinute, Self::TenMinutes, Self::OneHour];

    pub fn wait(self) -> Duration {
        Duration::from_secs(match self {
            Self::TenSeconds => 10,
            Self::OneMinute => 60,
            Self::TenMinutes => 600,
            Self::OneHour => 3600,
        })
    }

    /// The end of the queue's name, and the name the tier has in headers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TenSeconds => "10s",
            Self::OneMinute => "1m",
            Self::TenMinutes => "10m",
            Self::OneHour => "1h",
        }
    }

    pub fn queue(self, jobs_queue: &str) -> String {
        format!("{jobs_queue}.delay.{}", self.as_str())
    }
}

/// Key of the jobs queue's binding, beside its own name.
pub const JOBS_KEY: &str = "jobs";
pub const RESULTS_KEY: &str = "results";
pub const DEAD_LETTERS_KEY: &str = "dead-letters";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tier_is_named_after_its_wait() {
        for tier in DelayTier::ALL {
            assert_eq!(humantime::parse_duration(tier.as_str()), Ok(tier.wait()));
        }
        assert_eq!(DelayTier::OneMinute.queue("jobs"), "jobs.delay.1m");
    }
}
