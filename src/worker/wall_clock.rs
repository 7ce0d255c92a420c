//! The real clocks.

use jiff::Timestamp;
use tokio::time::Instant;

use super::seams::Clock;
use crate::engine::clock::{Now, Tick};

/// The runtime's monotonic clock, counted from when it was made, beside the machine's wall clock.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    pub epoch: Instant,
}

impl WallClock {
    pub fn new() -> Self {
        Self { epoch: Instant::now() }
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
