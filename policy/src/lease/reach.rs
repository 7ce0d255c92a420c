//! How long a lease lasts, on the holder's own clocks.

use std::time::Duration;

use jiff::Timestamp;

use crate::engine::clock::{Now, Tick};

/// A moment on both clocks, past which nothing is sent.
///
/// The monotonic clock of a machine that was suspended stands still, its wall clock does not: whichever comes first
/// counts. A wall clock that is set forward ends a lease early, which costs no more than taking it again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reach {
    pub tick: Tick,
    pub wall: Timestamp,
}

impl Reach {
    pub fn new(from: Now, time: Duration) -> Self {
        let tick = from.tick + time;
        Self { tick, wall: from.wall_at(tick) }
    }

    pub fn covers(self, now: Now) -> bool {
        now.tick < self.tick && now.wall < self.wall
    }
}
