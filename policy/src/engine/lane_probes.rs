//! Probes of an account's paused lanes: together they take a small part of its requests, however many lanes there are.
//!
//! One is on the wire at a time. After one that found nothing out the next one waits; after one that found a lane to be
//! well it need not, since that request was no waste.

use std::time::Duration;

use super::backlog::LaneKey;
use super::clock::Tick;

/// See the module.
#[derive(Debug, Default)]
pub struct LaneProbes {
    on_wire: Option<LaneKey>,
    /// The next one leaves no sooner.
    from: Tick,
    /// Probes of today that found nothing out, and when today began.
    failed: u64,
    day_began: Tick,
}

/// What an account can spend on probes of its paused lanes.
#[derive(Clone, Copy, Debug)]
pub struct ProbeQuota {
    /// Time between two requests at the ceiling.
    pub per_request: Duration,
    /// Requests of a day, where that is known.
    pub daily: Option<u64>,
}

/// Probes get one of this many requests of the ceiling, and of the day.
const ONE_IN: u32 = 20;

/// A day's probes are counted for this long.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl ProbeQuota {
    fn wait(self) -> Duration {
        self.per_request * ONE_IN
    }
}

impl LaneProbes {
    /// When the next probe may leave, whichever lane it is of.
    pub fn next(&self, quota: ProbeQuota, now: Tick) -> Tick {
        let by_ceiling = if self.on_wire.is_some() { self.from.max(now + quota.wait()) } else { self.from };
        by_ceiling.max(self.by_day(quota))
    }

    /// The more of the day's probes have been spent, the further apart are the others, so that they last for the day.
    fn by_day(&self, quota: ProbeQuota) -> Tick {
        let Some(daily) = quota.daily else { return Tick::ZERO };
        let of_day = (daily / u64::from(ONE_IN)).max(1);
        let spent = self.failed as f64 / of_day as f64;
        self.day_began + DAY.mul_f64((spent * spent).min(1.0))
    }

    /// A probe of the lane leaves. Returns how long it takes until each of `waiting` lanes has had its turn.
    pub fn sent(&mut self, lane: LaneKey, waiting: usize, quota: ProbeQuota, now: Tick) -> Duration {
        if self.failed == 0 || now.since(self.day_began) >= DAY {
            (self.failed, self.day_began) = (0, now);
        }
        self.failed += 1;
        (self.on_wire, self.from) = (Some(lane), now + quota.wait());
        let next = self.from.max(self.by_day(quota));
        next.since(now).saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX))
    }

    /// The lane's probe is on the wire no longer, if it was.
    pub fn ended(&mut self, lane: LaneKey) {
        if self.on_wire == Some(lane) {
            self.on_wire = None;
        }
    }

    /// The last probe found out that its lane is well.
    pub fn succeeded(&mut self, now: Tick) {
        self.from = now;
        self.failed = self.failed.saturating_sub(1);
    }

    /// A person, or new credentials, may have mended what pauses lanes: what was spent does not count.
    pub fn begin_anew(&mut self, now: Tick) {
        (self.from, self.failed, self.day_began) = (now, 0, now);
    }
}
