//! Counts and levels in each of the latest intervals, of which a fixed number is kept.

use std::collections::VecDeque;
use std::time::Duration;

use crate::engine::clock::Tick;

/// A count for each of a fixed number of intervals, the last of which is still open.
#[derive(Clone, Debug)]
pub struct Window {
    interval: Duration,
    counts: VecDeque<u64>,
    /// Number of the open interval since the clock's epoch.
    open: u64,
}

impl Window {
    /// `intervals` and `interval` are at least 1 and 1 µs.
    pub fn new(interval: Duration, intervals: usize) -> Self {
        Self { interval, counts: std::iter::repeat_n(0, intervals).collect(), open: 0 }
    }

    pub fn add(&mut self, amount: u64, now: Tick) {
        self.advance(now);
        if let Some(open) = self.counts.back_mut() {
            *open += amount;
        }
    }

    /// For a number that rises and falls: the open interval has the number that was set last.
    pub fn set(&mut self, level: u64, now: Tick) {
        self.advance(now);
        if let Some(open) = self.counts.back_mut() {
            *open = level;
        }
    }

    pub fn sum(&mut self, now: Tick) -> u64 {
        self.advance(now);
        self.counts.iter().sum()
    }

    /// Oldest first.
    pub fn series(&mut self, now: Tick) -> Vec<u64> {
        self.advance(now);
        self.counts.iter().copied().collect()
    }

    fn advance(&mut self, now: Tick) {
        let open = u128::from(now.as_micros()) / self.interval.as_micros().max(1);
        let open = u64::try_from(open).unwrap_or(u64::MAX);
        let passed = usize::try_from(open.saturating_sub(self.open)).unwrap_or(usize::MAX);
        for _ in 0..passed.min(self.counts.len()) {
            self.counts.pop_front();
            self.counts.push_back(0);
        }
        self.open = self.open.max(open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn counts_leave_when_their_interval_is_too_old() {
        let mut window = Window::new(Duration::from_secs(10), 3);
        window.add(1, at(5));
        window.add(2, at(12));
        window.add(4, at(19));
        assert_eq!(window.series(at(19)), [0, 1, 6]);
        assert_eq!(window.series(at(29)), [1, 6, 0]);
        assert_eq!(window.sum(at(39)), 6);
        assert_eq!(window.sum(at(40)), 0);
        window.add(8, at(1_000_000));
        assert_eq!(window.series(at(1_000_000)), [0, 0, 8]);
    }
}
