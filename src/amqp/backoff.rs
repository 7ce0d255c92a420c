//! How long to wait before the next try at the broker.

use std::time::Duration;

/// Upper end of the first wait.
const BASE: Duration = Duration::from_millis(200);
/// Doublings after which the ceiling has reached its highest.
const MOST_DOUBLINGS: u32 = 16;
/// No wait is shorter. Without this, tries that fail at once would follow each other in a busy loop.
const MIN: Duration = Duration::from_millis(20);

/// Counts the tries since the last success. Each wait is drawn at random between nothing and its ceiling (full jitter);
/// the tries never end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    /// No wait is longer, however long the broker has been away.
    pub const LONGEST_WAIT: Duration = Duration::from_secs(30);

    /// The next wait, drawn from zero to the present ceiling, which doubles from 200 ms to 30 s.
    pub fn next_wait(&mut self) -> Duration {
        self.tries = self.tries.saturating_add(1);
        wait(self.tries, fastrand::f64())
    }

    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Whether the log is to tell of this try: often at first, and about once a minute however long it lasts.
    pub fn is_told(&self) -> bool {
        self.tries.is_power_of_two() || self.tries.is_multiple_of(4)
    }

    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

/// `attempt` counts from 1; `jitter` from 0 to 1.
pub fn wait(attempt: u32, jitter: f64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(MOST_DOUBLINGS);
    let ceiling = BASE.saturating_mul(1 << doublings).min(Backoff::LONGEST_WAIT);
    ceiling.mul_f64(jitter.clamp(0.0, 1.0)).max(MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_and_then_stays() {
        let ceilings: Vec<u128> = (1..=10).map(|attempt| wait(attempt, 1.0).as_millis()).collect();
        assert_eq!(ceilings, [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
        assert_eq!(wait(u32::MAX, 1.0), Backoff::LONGEST_WAIT);
    }

    #[test]
    fn a_broker_that_stays_away_is_told_of_again_and_again() {
        let mut backoff = Backoff::default();
        let told = (1..=40).filter(|_| {
            backoff.next_wait();
            backoff.is_told()
        });
        assert_eq!(told.collect::<Vec<u32>>(), [1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40]);
    }

    #[test]
    fn no_draw_makes_a_busy_loop() {
        assert_eq!(wait(1, 0.0), MIN);
        assert_eq!(wait(40, -1.0), MIN);
    }
}
