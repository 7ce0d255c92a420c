//! The real clocks.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::seams::Clock;
use crate::engine::clock::{Now, Tick};

/// The runtime's monotonic clock, counted from when it was made, beside the machine's wall clock.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    pub epoch: Instant,
}

/// The clock shows this time when it is made, and not zero: so what another worker sent before that has a time on it,
/// too.
const BEFORE: Duration = Duration::from_secs(60 * 60);

impl WallClock {
    pub fn new() -> Self {
        let now = Instant::now();
        Self { epoch: now.checked_sub(BEFORE).unwrap_or(now) }
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for WallClock {
    fn now(&self) -> Now {
        let micros = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now { tick: Tick::from_micros(micros), wall: Timestamp::now() }
    }
}
