//! When to try again: a function of the attempt, the bounds and a number the caller draws.

use std::time::Duration;

use super::clock::Tick;

/// The settings `retry.*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryPolicy {
    /// Quick tries of a batch before its jobs are parked, at least 1.
    pub max_attempts: u32,
    pub base_delay: Duration,
    pub max_delay: Duration,
    /// Time from a job's first transient failure to its end, pauses and waits for quota left out.
    pub max_age: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            base_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(30),
            max_age: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// Doublings that are reckoned with: the most that a factor of 32 bits can hold. `max_delay` is reached long before.
const MOST_DOUBLINGS: u32 = 31;

impl RetryPolicy {
    /// Full jitter: anything between nothing and `base_delay * 2^(failures - 1)`, capped; never under `least`.
    ///
    /// `failures` counts from 1; `drawn` lies in 0.0..1.0.
    pub fn delay(&self, failures: u32, drawn: f64, least: Duration) -> Duration {
        let doublings = failures.saturating_sub(1).min(MOST_DOUBLINGS);
        let bound = self.base_delay.saturating_mul(1 << doublings).min(self.max_delay);
        let share = if drawn.is_finite() { drawn.clamp(0.0, 1.0) } else { 1.0 };
        bound.mul_f64(share).max(least)
    }
}

/// Keeps retries to a small part of the load: an outage must not multiply it.
#[derive(Clone, Copy, Debug)]
pub struct RetryBudget {
    tokens: f64,
    filled: Tick,
}

impl RetryBudget {
    /// Most retries that may follow each other at once.
    const MOST: f64 = 20.0;
    /// Each success pays for a fifth of a retry.
    const PER_SUCCESS: f64 = 0.2;
    /// And so does each fifth of a second: one retry a second is always possible.
    const PER_SECOND: f64 = 1.0;

    pub fn new(now: Tick) -> Self {
        Self { tokens: Self::MOST, filled: now }
    }

    pub fn succeeded(&mut self) {
        self.tokens = (self.tokens + Self::PER_SUCCESS).min(Self::MOST);
    }

    /// Whether a retry may leave now; says when to ask again where not.
    pub fn affords(&mut self, now: Tick) -> Result<(), Tick> {
        let earned = now.since(self.filled).as_secs_f64() * Self::PER_SECOND;
        self.tokens = (self.tokens + earned).min(Self::MOST);
        self.filled = now;
        if self.tokens >= 1.0 {
            return Ok(());
        }
        let missing = Duration::from_secs_f64((1.0 - self.tokens) / Self::PER_SECOND);
        Err(now + missing + Duration::from_millis(1))
    }

    pub fn spend(&mut self) {
        self.tokens = (self.tokens - 1.0).max(0.0);
    }
}

/// An account pauses after this many failures in a row.
pub const BREAKER_FAILURES: u32 = 5;

/// An account pauses after this many failures in a row of trials, of which many fail in a search that goes well.
pub const BREAKER_TRIALS: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        max_attempts: 5,
        base_delay: Duration::from_millis(500),
        max_delay: Duration::from_secs(30),
        max_age: Duration::from_secs(86_400),
    };

    #[test]
    fn the_published_schedule() {
        let longest = |failures| POLICY.delay(failures, 1.0, Duration::ZERO).as_millis();
        assert_eq!([1, 2, 3, 4, 5, 6, 7, 8].map(longest), [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        assert_eq!(POLICY.delay(u32::MAX, 1.0, Duration::ZERO), POLICY.max_delay);
        assert_eq!(POLICY.delay(3, 0.0, Duration::ZERO), Duration::ZERO);
        assert_eq!(POLICY.delay(1, 0.5, Duration::from_secs(7)), Duration::from_secs(7));
        assert!(POLICY.delay(1, f64::NAN, Duration::ZERO) <= POLICY.base_delay);
    }

    #[test]
    fn without_successes_retries_are_limited_to_one_a_second() {
        let mut budget = RetryBudget::new(Tick::ZERO);
        let mut sent = 0;
        for milli in 0..60_000 {
            let now = Tick::from_micros(milli * 1_000);
            if budget.affords(now).is_ok() {
                budget.spend();
                sent += 1;
            }
        }
        assert!((70..=81).contains(&sent), "{sent}");
    }
}
