//! A limit that is below the setting because HubSpot said so, or refused what was sent.

use super::Ceiling;
use crate::engine::clock::Tick;

/// A limit found out by experience: it falls at once and rises slowly.
#[derive(Clone, Copy, Debug)]
pub struct Learned {
    pub ceiling: Ceiling,
    rises_at: Tick,
    /// Rises since it fell: each is twice as steep, so that a fall that went too far does not last.
    rises: u32,
}

/// A limit learned rises by this share (a twentieth) after its first interval.
const RISE_DIVISOR: u32 = 20;

/// A limit learned stays as it is for the time that this many requests take under it, and for an interval at least. A rise
/// that goes too far costs a refused request. So at most one request in twenty is spent on finding out, also where the
/// limit is one request a second.
const REQUESTS_BETWEEN_RISES: u32 = 20;

/// Each further rise is twice the last. It is doubled at most this many times.
const STEEPEST_RISE: u32 = 5;

impl Learned {
    pub fn new(ceiling: Ceiling, now: Tick) -> Self {
        Self { ceiling, rises_at: rises_at(ceiling, now), rises: 0 }
    }

    /// Rises by a step, if it is long enough ago that the limit fell or rose last.
    pub fn rise(&mut self, now: Tick) {
        if now < self.rises_at {
            return;
        }
        let step = (self.ceiling.requests.get() / RISE_DIVISOR).max(1) << self.rises.min(STEEPEST_RISE);
        self.rises += 1;
        self.ceiling.requests = self.ceiling.requests.saturating_add(step);
        self.rises_at = rises_at(self.ceiling, now);
    }
}

fn rises_at(ceiling: Ceiling, now: Tick) -> Tick {
    now + ceiling.interval.max(ceiling.per_request() * REQUESTS_BETWEEN_RISES)
}
