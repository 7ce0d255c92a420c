//! Time as a value: the engine never looks at a clock, it is told.

use std::ops::{Add, Sub};
use std::time::Duration;

use jiff::Timestamp;

/// Monotonic time in microseconds since an epoch the caller chose, the same for one life of the engine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Tick(u64);

impl Tick {
    pub const ZERO: Self = Self(0);

    pub fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    pub fn as_micros(self) -> u64 {
        self.0
    }

    /// Time since `earlier`, or nothing where `earlier` lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Tick {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Tick {
    type Output = Self;

    fn sub(self, wait: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// One moment on two clocks: the monotonic clock measures how long things take, the wall clock knows dates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    pub tick: Tick,
    pub wall: Timestamp,
}

impl Now {
    /// When the wall clock will show `date`, if nobody sets it meanwhile; never before.
    pub fn tick_of(self, date: Timestamp) -> Tick {
        let ahead = date.duration_since(self.wall);
        let micros = |nanos: u128| u64::try_from(nanos).unwrap_or(u64::MAX);
        match ahead.is_negative() {
            true => Tick(self.tick.0.saturating_sub(micros(ahead.unsigned_abs().as_nanos() / 1_000))),
            false => Tick(self.tick.0.saturating_add(micros(ahead.unsigned_abs().as_nanos().div_ceil(1_000)))),
        }
    }

    /// What the wall clock will show at `tick`, clamped to what a timestamp can hold.
    pub fn wall_at(self, tick: Tick) -> Timestamp {
        let (span, ahead) = match tick >= self.tick {
            true => (tick.since(self.tick), true),
            false => (self.tick.since(tick), false),
        };
        let moved = match ahead {
            true => self.wall.saturating_add(span),
            false => self.wall.saturating_sub(span),
        };
        moved.unwrap_or(self.wall)
    }
}

/// Adds up for how long something was the case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stopwatch {
    total: Duration,
    running_since: Option<Tick>,
}

impl Stopwatch {
    pub fn run(&mut self, now: Tick) {
        self.running_since.get_or_insert(now);
    }

    pub fn halt(&mut self, now: Tick) {
        if let Some(since) = self.running_since.take() {
            self.total += now.since(since);
        }
    }

    pub fn read(&self, now: Tick) -> Duration {
        self.total + self.running_since.map_or(Duration::ZERO, |since| now.since(since))
    }
}
