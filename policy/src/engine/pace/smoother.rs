//! Spreads requests over the interval, within the limit that the log of send times sets.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::Ceiling;
use crate::engine::clock::Tick;

/// governor's GCRA on the engine's clock. A live quota cannot be changed, so a new one is made where it must.
#[derive(Debug)]
pub struct Smoother {
    clock: EngineClock,
    limiter: RateLimiter<NotKeyed, InMemoryState, EngineClock, NoOpMiddleware<Nanos>>,
    /// How much time a request takes, and how many may leave at once.
    of: (Duration, NonZeroU32),
}

#[derive(Clone, Debug)]
struct EngineClock(Arc<AtomicU64>);

impl Clock for EngineClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.load(Ordering::Relaxed))
    }
}

impl Smoother {
    pub fn new(ceiling: Ceiling, burst: NonZeroU32, now: Tick) -> Self {
        let clock = EngineClock(Arc::new(AtomicU64::new(nanos(now))));
        let period = ceiling.per_request();
        let quota = Quota::with_period(period).unwrap_or(Quota::per_second(NonZeroU32::MAX)).allow_burst(burst);
        Self { limiter: RateLimiter::direct_with_clock(quota, clock.clone()), clock, of: (period, burst) }
    }

    /// From now on requests are spread under this ceiling.
    pub fn allow(&mut self, ceiling: Ceiling, burst: NonZeroU32, now: Tick) {
        if self.of != (ceiling.per_request(), burst) {
            *self = Self::new(ceiling, burst, now);
        }
    }

    /// Takes a place for a request that leaves now, or says when to ask again.
    pub fn pass(&mut self, now: Tick) -> Result<(), Tick> {
        self.clock.0.store(nanos(now), Ordering::Relaxed);
        self.limiter.check().map_err(|early| {
            let wait = early.wait_time_from(self.clock.now());
            now + wait.max(Duration::from_micros(1)) + Duration::from_micros(1)
        })
    }
}

fn nanos(at: Tick) -> u64 {
    at.as_micros().saturating_mul(1_000)
}
