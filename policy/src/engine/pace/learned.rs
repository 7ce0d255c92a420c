//! A limit that is below the setting because HubSpot said so, or refused what was sent.

use std::time::Duration;

use super::Ceiling;
use crate::engine::clock::Tick;

/// A limit found out by experience: it falls at once and rises slowly.
#[derive(Clone, Copy, Debug)]
pub struct Learned {
    pub ceiling: Ceiling,
    rises_at: Tick,
    /// Rises since it fell: each is twice as steep, so that a fall that went too far does not last.
    rises: u32,
    /// Falls in a row that each came after a rise. Two rises without a fall between them begin the count anew.
    failed_rises: u32,
}

/// A limit learned rises by this share (a twentieth) after its first interval.
const RISE_DIVISOR: u32 = 20;

/// Each further rise is twice the last. It is doubled at most this many times.
const STEEPEST_RISE: u32 = 5;

/// Where a rise was refused, the next one waits twice as long, but no longer than this many requests take under the limit
/// (and an interval at least). A rise that goes too far costs a refused request: so in the long run at most one request in
/// twenty is spent on finding out, also where the limit is one request a second.
const REQUESTS_BETWEEN_RISES: u32 = 20;

/// The wait is doubled at most this many times.
const MOST_DOUBLINGS: u32 = 5;

impl Learned {
    pub fn new(ceiling: Ceiling, now: Tick) -> Self {
        Self::after(0, ceiling, now)
    }

    /// HubSpot has refused a request under `before`, and the limit falls to `ceiling`.
    pub fn fallen(before: Option<Self>, ceiling: Ceiling, now: Tick) -> Self {
        let failed_rises = before.map_or(0, |before| before.failed_rises + u32::from(before.rises > 0));
        Self::after(failed_rises, ceiling, now)
    }

    fn after(failed_rises: u32, ceiling: Ceiling, now: Tick) -> Self {
        Self { ceiling, rises_at: now + until_rise(ceiling, failed_rises), rises: 0, failed_rises }
    }

    /// Rises by a step, if it is long enough ago that the limit fell or rose last.
    pub fn rise(&mut self, now: Tick) {
        if now < self.rises_at {
            return;
        }
        if self.rises > 0 {
            // HubSpot has let the rise before this one stand.
            self.failed_rises = 0;
        }
        let step = (self.ceiling.requests.get() / RISE_DIVISOR).max(1) << self.rises.min(STEEPEST_RISE);
        self.rises += 1;
        self.ceiling.requests = self.ceiling.requests.saturating_add(step);
        self.rises_at = now + until_rise(self.ceiling, self.failed_rises);
    }
}

fn until_rise(ceiling: Ceiling, failed_rises: u32) -> Duration {
    let longest = ceiling.interval.max(ceiling.per_request() * REQUESTS_BETWEEN_RISES);
    ceiling.interval.saturating_mul(1 << failed_rises.min(MOST_DOUBLINGS)).min(longest)
}
