//! The share of an account's requests that HubSpot refuses, which it expects to stay under 5 % of a day's (marketplace
//! rules). While the share is higher, searches for bad pairs are slowed: each of their requests may be refused.

use std::time::Duration;

use super::clock::Tick;
use super::pace::Ceiling;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct ErrorShare {
    requests: u64,
    refused: u64,
    day_began: Tick,
    /// While the share is too high, the next trial waits until then.
    trial_from: Tick,
}

impl ErrorShare {
    /// Up to this many refusals a day, nothing is ever slowed.
    const FREE: u64 = 2_000;
    /// A twentieth: 5 %.
    const DIVISOR: u64 = 20;
    /// While it is slowed, one permit in five goes to a trial.
    const ONE_IN: u32 = 5;
    const DAY: Duration = Duration::from_secs(86_400);

    pub fn new(now: Tick) -> Self {
        Self { requests: 0, refused: 0, day_began: now, trial_from: now }
    }

    pub fn counted(&mut self, refused: bool, now: Tick) {
        if now.since(self.day_began) >= Self::DAY {
            *self = Self { trial_from: self.trial_from, ..Self::new(now) };
        }
        self.requests += 1;
        self.refused += u64::from(refused);
    }

    fn is_high(&self) -> bool {
        self.refused > Self::FREE && self.refused * Self::DIVISOR > self.requests
    }

    /// When the next trial may leave.
    pub fn trial_from(&self) -> Tick {
        if self.is_high() { self.trial_from } else { Tick::ZERO }
    }

    pub fn trial_sent(&mut self, ceiling: Ceiling, now: Tick) {
        self.trial_from = now + ceiling.interval * Self::ONE_IN / ceiling.requests.get();
    }
}
