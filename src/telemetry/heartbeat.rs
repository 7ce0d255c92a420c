//! The sign of life of the worker's loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Beaten by the loop, read by whoever asks whether the process still works; clones share one heart.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    origin: Instant,
    /// Milliseconds from `origin` to the last beat.
    last: Arc<AtomicU64>,
}

impl Heartbeat {
    /// Counts as beaten at `origin`.
    pub fn new(origin: Instant) -> Self {
        Self { origin, last: Arc::new(AtomicU64::new(0)) }
    }

    pub fn beat(&self, now: Instant) {
        self.last.fetch_max(millis(now.saturating_duration_since(self.origin)), Ordering::Relaxed);
    }

    /// Time since the last beat.
    pub fn age(&self, now: Instant) -> Duration {
        let alive = millis(now.saturating_duration_since(self.origin));
        Duration::from_millis(alive.saturating_sub(self.last.load(Ordering::Relaxed)))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_age_counts_from_the_last_beat() {
        let origin = Instant::now();
        let after = |seconds| origin + Duration::from_secs(seconds);
        let heartbeat = Heartbeat::new(origin);
        assert_eq!(heartbeat.age(after(40)), Duration::from_secs(40));
        heartbeat.clone().beat(after(41));
        heartbeat.beat(after(20));
        assert_eq!(heartbeat.age(after(42)), Duration::from_secs(1), "a late beat of an earlier time changes nothing");
    }
}
