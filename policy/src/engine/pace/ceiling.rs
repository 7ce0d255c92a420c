//! A limit, as the settings or HubSpot give it: a number of requests in an interval.

use std::num::NonZeroU32;
use std::time::Duration;

/// At most this many requests in every rolling interval of this length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ceiling {
    pub requests: NonZeroU32,
    pub interval: Duration,
}

impl Default for Ceiling {
    fn default() -> Self {
        const HUNDRED: NonZeroU32 = NonZeroU32::new(100).unwrap();
        Self { requests: HUNDRED, interval: Duration::from_secs(10) }
    }
}

impl Ceiling {
    /// The guard is this share of the interval ...
    const GUARD_DIVISOR: u32 = 100;
    /// ... but at least this long.
    const LEAST_GUARD: Duration = Duration::from_millis(20);

    /// How long a request counts: the interval, and a guard, since HubSpot counts when requests arrive.
    pub(super) fn hold(&self) -> Duration {
        self.interval + (self.interval / Self::GUARD_DIVISOR).max(Self::LEAST_GUARD)
    }

    pub(super) fn per_request(&self) -> Duration {
        self.interval / self.requests.get()
    }
}
