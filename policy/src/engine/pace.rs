//! When an account may send: never more than its ceiling in any rolling interval, and less once HubSpot says so.
//!
//! The law is a log of send times. HubSpot counts arrivals, and the way there varies, so a slot is free again only
//! a guard later than the interval. governor's GCRA spreads requests beneath the law; it cannot be the law itself,
//! since it admits its burst on top of its rate.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::clock::Tick;
use super::reply::RateHeaders;
use super::verdict::Policy;
use crate::lease::memory::Recent;

/// At most this many requests in every rolling interval of this length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ceiling {
    pub requests: NonZeroU32,
    pub interval: Duration,
}

impl Ceiling {
    /// The guard is this share of the interval ...
    const GUARD_DIVISOR: u32 = 100;
    /// ... but at least this long.
    const LEAST_GUARD: Duration = Duration::from_millis(20);

    fn hold(&self) -> Duration {
        self.interval + (self.interval / Self::GUARD_DIVISOR).max(Self::LEAST_GUARD)
    }

    fn per_request(&self) -> Duration {
        self.interval / self.requests.get()
    }
}

/// Marks one request in the log, so that its reply can be matched to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Slot(u64);

/// A limit found out by experience: it falls at once and rises slowly.
#[derive(Clone, Copy, Debug)]
struct Learned {
    ceiling: Ceiling,
    rises_at: Tick,
    /// Rises since it fell: each is twice as steep, so that a fall that went too far does not last.
    rises: u32,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Tick,
    throttled: bool,
}

/// What one account may send and when.
#[derive(Debug)]
pub struct Pace {
    /// The setting: never exceeded, whatever HubSpot says.
    setting: Ceiling,
    rolling: Option<Learned>,
    secondly: Option<Learned>,
    log: VecDeque<Sent>,
    /// The slot number of the log's first entry.
    first_slot: u64,
    /// A limit was lowered at this slot: refusals of earlier requests say nothing new.
    lowered_at: u64,
    closed_until: Tick,
    throttled_in_a_row: u32,
    /// The last refusal named a limit whose end nobody knows: until something is accepted, single requests find out.
    feels_its_way: bool,
    accepted: u64,
    smoother: Smoother,
    /// Until then requests leave evenly, since an earlier process may have used the interval before.
    even_until: Tick,
}

/// A limit learned rises by this share (a twentieth) after its first interval.
const RISE_DIVISOR: u32 = 20;

/// Each further rise is twice the last. It is doubled at most this many times.
const STEEPEST_RISE: u32 = 5;

/// After a refusal the limit is this share of what was accepted: 19/20.
const LOWERED: (u32, u32) = (19, 20);

/// One refusal leaves at least this share (a tenth) of the limit.
const DEEPEST_FALL: u32 = 10;

/// Wait after a 429 that names no time; doubled for each further one in a row, up to the interval.
const THROTTLE_WAIT: Duration = Duration::from_secs(1);

/// Longest such wait where the limit has no name that we know: it need not be one of seconds.
const LONGEST_UNKNOWN_WAIT: Duration = Duration::from_secs(5 * 60);

/// Doublings after which every such wait has reached its longest.
const MOST_DOUBLINGS: u32 = 16;

/// A fresh process starts with this many requests in flight, and one more for each four that were accepted.
const FIRST_IN_FLIGHT: u64 = 4;

/// After the first interval this share (a tenth) of the ceiling may leave at once.
const BURST_DIVISOR: u32 = 10;

/// Whoever hands over names its requests of the last interval in at most this many steps.
const RECENT_STEPS: u32 = 100;

impl Pace {
    pub fn new(setting: Ceiling, now: Tick) -> Self {
        Self {
            setting,
            rolling: None,
            secondly: None,
            log: VecDeque::new(),
            first_slot: 0,
            lowered_at: 0,
            closed_until: Tick::ZERO,
            throttled_in_a_row: 0,
            feels_its_way: false,
            accepted: 0,
            smoother: Smoother::new(setting, NonZeroU32::MIN, now),
            even_until: now + setting.interval,
        }
    }

    /// The ceiling in force now.
    pub fn ceiling(&self) -> Ceiling {
        self.rolling.map_or(self.setting, |learned| learned.ceiling)
    }

    /// Requests sent within the ceiling's interval before `now`.
    pub fn used(&self, now: Tick) -> u32 {
        count(self.log.iter().rev().take_while(|sent| now.since(sent.at) < self.ceiling().interval).count())
    }

    /// How many requests this account may have in flight while it still learns what it is allowed.
    pub fn in_flight_allowed(&self) -> usize {
        if self.feels_its_way {
            return 1;
        }
        usize::try_from(FIRST_IN_FLIGHT + self.accepted / 4).unwrap_or(usize::MAX)
    }

    /// Takes a permit for a request that leaves now, or says when to ask again.
    pub fn permit(&mut self, now: Tick) -> Result<Slot, Tick> {
        let free = self.free_at();
        if free > now {
            return Err(free);
        }
        if now >= self.even_until {
            let burst = NonZeroU32::new(self.burst()).unwrap_or(NonZeroU32::MIN);
            self.smoother.allow(self.ceiling(), burst, now);
        }
        self.smoother.pass(now)?;
        self.forget_old(now);
        self.log.push_back(Sent { at: now, throttled: false });
        Ok(Slot(self.first_slot + self.log.len() as u64 - 1))
    }

    /// A limit learned by the worker before.
    pub fn recall(&mut self, ceiling: Ceiling, now: Tick) {
        if ceiling.per_request() > self.ceiling().per_request() {
            self.rolling = Some(Learned { ceiling, rises_at: now + ceiling.interval, rises: 0 });
        }
    }

    /// The limit learned, where it is below the setting.
    pub fn learned(&self) -> Option<Ceiling> {
        self.rolling.map(|learned| learned.ceiling)
    }

    /// What was sent within the last interval, youngest first. The steps are so short that the next worker waits no longer
    /// than a hundredth of the interval more than it must.
    pub fn recent(&self, now: Tick) -> Vec<Recent> {
        let step = (self.setting.hold() / RECENT_STEPS).max(Duration::from_millis(1));
        let mut recent: Vec<Recent> = Vec::new();
        for sent in self.log.iter().rev().take_while(|sent| now.since(sent.at) < self.setting.hold()) {
            let age = now.since(sent.at);
            match recent.last_mut() {
                Some(last) if age < last.age + step => last.count += 1,
                Some(_) | None => recent.push(Recent { age, count: 1 }),
            }
        }
        recent
    }

    /// Another worker has sent these requests, which count like own ones.
    pub fn follow(&mut self, recent: &[Recent], now: Tick) {
        let ages = recent.iter().flat_map(|recent| std::iter::repeat_n(recent.age, recent.count as usize));
        // More than the ceiling allows says no more than the ceiling.
        let sent: Vec<Tick> = ages.take(self.setting.requests.get() as usize).map(|age| now - age).collect();
        self.add(sent, now);
    }

    /// Another worker may have sent as much as it was allowed until now: a burst at the end, evenly before.
    pub fn assume_spent(&mut self, now: Tick) {
        let requests = self.setting.requests.get();
        let burst = self.burst();
        let before = (0..requests.saturating_sub(burst)).map(|nth| now - self.setting.per_request() * nth);
        self.add(before.chain(std::iter::repeat_n(now, burst as usize)).collect(), now);
    }

    fn add(&mut self, others: Vec<Tick>, now: Tick) {
        // The log is made anew, and replies to what was sent before find no entry in it.
        self.first_slot += self.log.len() as u64;
        self.log.extend(others.into_iter().map(|at| Sent { at, throttled: false }));
        self.log.make_contiguous().sort_by_key(|sent| sent.at);
        self.even_until = self.even_until.max(now + self.setting.interval);
        self.smoother = Smoother::new(self.ceiling(), NonZeroU32::MIN, now);
    }

    fn burst(&self) -> u32 {
        (self.ceiling().requests.get() / BURST_DIVISOR).max(1)
    }

    /// The earliest time at which the law allows a request.
    fn free_at(&self) -> Tick {
        let learned = [self.rolling, self.secondly].into_iter().flatten().map(|learned| learned.ceiling);
        let ceilings = std::iter::once(self.setting).chain(learned);
        ceilings.map(|ceiling| self.free_under(ceiling)).fold(self.closed_until, Tick::max)
    }

    fn free_under(&self, ceiling: Ceiling) -> Tick {
        let nth_last = self.log.len().checked_sub(ceiling.requests.get() as usize);
        nth_last.and_then(|index| self.log.get(index)).map_or(Tick::ZERO, |sent| sent.at + ceiling.hold())
    }

    fn forget_old(&mut self, now: Tick) {
        let longest = [self.rolling, self.secondly].into_iter().flatten().map(|learned| learned.ceiling.hold());
        let longest = longest.fold(self.setting.hold(), Duration::max);
        while let Some(first) = self.log.front()
            && now.since(first.at) > longest
        {
            self.log.pop_front();
            self.first_slot += 1;
        }
    }

    /// HubSpot took the request, whatever it said about the content.
    pub fn accepted(&mut self, headers: &RateHeaders, now: Tick) {
        self.accepted += 1;
        self.throttled_in_a_row = 0;
        self.feels_its_way = false;
        for learned in [&mut self.rolling, &mut self.secondly] {
            learned.rise(now);
        }
        if self.rolling.is_some_and(|learned| learned.ceiling.per_request() <= self.setting.per_request()) {
            self.rolling = None;
        }
        if self.secondly.is_some_and(|learned| learned.ceiling.per_request() <= self.setting.per_request() / 2) {
            self.secondly = None;
        }
        self.hear(headers, now);
    }

    /// `X-HubSpot-RateLimit-Max`, `-Remaining`, `-Interval-Milliseconds`: others may be using the same limit.
    fn hear(&mut self, headers: &RateHeaders, now: Tick) {
        let Some(max) = headers.max.and_then(|max| u32::try_from(max).ok()).filter(|&max| max > 0) else { return };
        let interval = headers.interval.filter(|interval| !interval.is_zero()).unwrap_or(Duration::from_secs(10));
        // What was sent shortly before the interval may have arrived within it.
        let reach = interval + interval / 20 + Duration::from_millis(500);
        let ours = count(self.log.iter().rev().take_while(|sent| now.since(sent.at) < reach).count());
        let remaining = headers.remaining.and_then(|left| u32::try_from(left).ok()).unwrap_or(max);
        let others = max.saturating_sub(remaining).saturating_sub(ours);
        let others = if others > (max / 20).max(2) { others } else { 0 };
        let Some(left) = NonZeroU32::new(max.saturating_sub(others).max(max / 10).max(1)) else { return };
        let told = Ceiling { requests: left, interval };
        if told.per_request() > self.ceiling().per_request() {
            self.rolling = Some(Learned { ceiling: told, rises_at: now + interval, rises: 0 });
        }
    }

    /// HubSpot answered 429. Returns until when the account is closed; the day's limit is not decided here.
    pub fn throttled(&mut self, slot: Slot, policy: Policy, wait: Option<Duration>, now: Tick) -> Tick {
        let index = slot.0.checked_sub(self.first_slot).and_then(|index| usize::try_from(index).ok());
        if let Some(sent) = index.and_then(|index| self.log.get_mut(index)) {
            sent.throttled = true;
        }
        let fresh = slot.0 >= self.lowered_at;
        match policy {
            Policy::Secondly => {
                let second = Ceiling { requests: self.setting.requests, interval: Duration::from_secs(1) };
                self.secondly = Some(self.lowered(self.secondly.map_or(second, |learned| learned.ceiling), fresh, now));
            }
            Policy::TenSecondly | Policy::Unknown => self.rolling = Some(self.lowered(self.ceiling(), fresh, now)),
            Policy::Daily => {}
        }
        let longest = match policy {
            Policy::TenSecondly | Policy::Secondly | Policy::Daily => self.setting.interval,
            Policy::Unknown => self.setting.interval.max(LONGEST_UNKNOWN_WAIT),
        };
        self.feels_its_way = matches!(policy, Policy::Unknown | Policy::Daily);
        if fresh {
            self.lowered_at = self.first_slot + self.log.len() as u64;
            let doubled = THROTTLE_WAIT.saturating_mul(1 << self.throttled_in_a_row.min(MOST_DOUBLINGS));
            let own = doubled.min(longest);
            self.throttled_in_a_row = self.throttled_in_a_row.saturating_add(1);
            self.closed_until = self.closed_until.max(now + wait.unwrap_or(own));
        } else if let Some(wait) = wait {
            self.closed_until = self.closed_until.max(now + wait);
        }
        self.closed_until
    }

    /// A limit just under what was accepted in its interval, and under what it was.
    fn lowered(&self, ceiling: Ceiling, fresh: bool, now: Tick) -> Learned {
        let recent = self.log.iter().rev().take_while(|sent| now.since(sent.at) < ceiling.interval);
        let accepted = count(recent.filter(|sent| !sent.throttled).count());
        let of_before = if fresh { ceiling.requests.get() * LOWERED.0 / LOWERED.1 } else { ceiling.requests.get() };
        let requests = of_before.min(accepted.saturating_mul(LOWERED.0) / LOWERED.1);
        // Soon after the start little was accepted yet, which says little of the limit.
        let requests = requests.max(ceiling.requests.get() / DEEPEST_FALL);
        let requests = NonZeroU32::new(requests).unwrap_or(NonZeroU32::MIN);
        Learned { ceiling: Ceiling { requests, ..ceiling }, rises_at: now + ceiling.interval, rises: 0 }
    }
}

trait Rise {
    fn rise(&mut self, now: Tick);
}

impl Rise for Option<Learned> {
    fn rise(&mut self, now: Tick) {
        let Some(learned) = self.as_mut().filter(|learned| now >= learned.rises_at) else { return };
        let step = (learned.ceiling.requests.get() / RISE_DIVISOR).max(1) << learned.rises.min(STEEPEST_RISE);
        learned.rises += 1;
        learned.ceiling.requests = learned.ceiling.requests.saturating_add(step);
        learned.rises_at = now + learned.ceiling.interval;
    }
}

fn count(entries: usize) -> u32 {
    u32::try_from(entries).unwrap_or(u32::MAX)
}

/// governor's GCRA on the engine's clock. A live quota cannot be changed, so a new one is made where it must.
#[derive(Debug)]
struct Smoother {
    clock: EngineClock,
    limiter: RateLimiter<NotKeyed, InMemoryState, EngineClock, NoOpMiddleware<Nanos>>,
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
    fn new(ceiling: Ceiling, burst: NonZeroU32, now: Tick) -> Self {
        let clock = EngineClock(Arc::new(AtomicU64::new(nanos(now))));
        let period = ceiling.per_request();
        let quota = Quota::with_period(period).unwrap_or(Quota::per_second(NonZeroU32::MAX)).allow_burst(burst);
        Self { limiter: RateLimiter::direct_with_clock(quota, clock.clone()), clock, of: (period, burst) }
    }

    fn allow(&mut self, ceiling: Ceiling, burst: NonZeroU32, now: Tick) {
        if self.of != (ceiling.per_request(), burst) {
            *self = Self::new(ceiling, burst, now);
        }
    }

    fn pass(&mut self, now: Tick) -> Result<(), Tick> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ceiling(requests: u32, interval: Duration) -> Ceiling {
        Ceiling { requests: NonZeroU32::new(requests).unwrap_or(NonZeroU32::MIN), interval }
    }

    /// Sends whenever it may for `span`, looking `late` after each time it was told to.
    fn send_for(pace: &mut Pace, span: Duration, late: impl Fn(usize) -> Duration) -> Vec<Tick> {
        let (mut now, mut sent) = (Tick::ZERO, Vec::new());
        while now < Tick::ZERO + span {
            match pace.permit(now) {
                Ok(_) => {
                    sent.push(now);
                    pace.accepted(&RateHeaders::default(), now);
                }
                Err(until) => {
                    assert!(until > now);
                    now = until + late(sent.len());
                }
            }
        }
        sent
    }

    fn most_in(sent: &[Tick], interval: Duration) -> usize {
        sent.iter()
            .map(|&start| sent.iter().filter(|&&at| at >= start && at.since(start) < interval).count())
            .max()
            .unwrap_or(0)
    }

    #[test]
    fn a_backlog_uses_98_per_cent_of_the_ceiling_after_the_first_interval() {
        for (requests, interval) in
            [(100, Duration::from_secs(10)), (40, Duration::from_secs(2)), (1_000, Duration::from_secs(10))]
        {
            let mut pace = Pace::new(ceiling(requests, interval), Tick::ZERO);
            let sent = send_for(&mut pace, interval * 16, |_| Duration::from_micros(1_300));
            let counted = sent.iter().filter(|&&at| at >= Tick::ZERO + interval).count();
            assert!(counted * 100 >= 98 * 15 * requests as usize, "{counted} of {}", 15 * requests);
        }
    }

    #[test]
    fn a_fresh_process_paces_evenly_for_its_first_interval() {
        let mut pace = Pace::new(ceiling(100, Duration::from_secs(10)), Tick::ZERO);
        let sent = send_for(&mut pace, Duration::from_secs(9), |_| Duration::ZERO);
        assert!(most_in(&sent, Duration::from_secs(1)) <= 11);
    }

    #[test]
    fn a_second_limit_far_below_the_setting_is_learned_from_one_refusal() {
        let mut pace = Pace::new(ceiling(1_000, Duration::from_secs(10)), Tick::ZERO);
        let (mut now, mut arrivals, mut refused, mut accepted) = (Tick::ZERO, Vec::<Tick>::new(), 0, 0);
        while accepted < 600 {
            match pace.permit(now) {
                Ok(slot) => {
                    let recent =
                        arrivals.iter().rev().take_while(|&&at| now.since(at) < Duration::from_secs(1)).count();
                    if recent < 20 {
                        arrivals.push(now);
                        accepted += 1;
                        pace.accepted(&RateHeaders::default(), now);
                    } else {
                        refused += 1;
                        pace.throttled(slot, Policy::Secondly, None, now);
                    }
                }
                Err(until) => now = until,
            }
        }
        assert!(refused * 20 <= accepted, "{refused} refused of {}", refused + accepted);
        assert!(now < Tick::ZERO + Duration::from_secs(600 / 20 * 2), "and most of the limit is used");
    }

    #[test]
    fn a_refusal_that_nobody_knows_is_tried_ever_more_rarely_and_by_one_request_at_a_time() {
        let mut pace = Pace::new(ceiling(100, Duration::from_secs(10)), Tick::ZERO);
        let (mut now, mut tries) = (Tick::ZERO, 0);
        while now < Tick::ZERO + Duration::from_secs(86_400) {
            match pace.permit(now) {
                Ok(slot) => {
                    pace.throttled(slot, Policy::Unknown, None, now);
                    assert_eq!(pace.in_flight_allowed(), 1);
                    tries += 1;
                }
                Err(until) => now = until,
            }
        }
        assert!(tries <= 300, "{tries} requests in a day");
        pace.accepted(&RateHeaders::default(), now);
        assert!(pace.in_flight_allowed() > 1, "one that is accepted ends it");
    }

    #[test]
    fn a_limit_of_seconds_is_never_waited_for_longer_than_its_interval() {
        let mut pace = Pace::new(ceiling(100, Duration::from_secs(10)), Tick::ZERO);
        for _ in 0..40 {
            let mut now = pace.closed_until;
            let slot = loop {
                match pace.permit(now) {
                    Ok(slot) => break slot,
                    Err(until) => now = until,
                }
            };
            let until = pace.throttled(slot, Policy::TenSecondly, None, now);
            assert!(until.since(now) <= Duration::from_secs(10));
        }
    }

    #[test]
    fn headers_lower_the_ceiling_and_it_rises_again() {
        let mut pace = Pace::new(ceiling(100, Duration::from_secs(10)), Tick::ZERO);
        let told = RateHeaders { max: Some(40), remaining: Some(39), ..RateHeaders::default() };
        pace.accepted(&told, Tick::ZERO);
        assert_eq!(pace.ceiling().requests.get(), 40);
        let later = (1..80).fold(Tick::ZERO, |at, _| {
            pace.accepted(&RateHeaders::default(), at);
            at + Duration::from_secs(10)
        });
        pace.accepted(&RateHeaders::default(), later);
        assert_eq!(pace.ceiling().requests.get(), 100, "never above the setting");
    }

    /// One worker after another, each of which sends as soon and as much as it may.
    fn relay(requests: u32, told: bool, gaps: &[u64]) -> usize {
        let interval = Duration::from_secs(10);
        let limit = ceiling(requests, interval);
        // A clock that has run for some time when the first one starts, as every clock has.
        let mut now = Tick::ZERO + Duration::from_secs(1_000);
        let (mut pace, mut sent) = (Pace::new(limit, now), Vec::new());
        for &gap in gaps {
            let end = now + Duration::from_millis(gap);
            while now < end {
                match pace.permit(now) {
                    Ok(_) => sent.push(now),
                    Err(until) => now = until.min(end),
                }
            }
            let recent = pace.recent(now);
            pace = Pace::new(limit, now);
            if told { pace.follow(&recent, now) } else { pace.assume_spent(now) }
        }
        most_in(&sent, interval + Duration::from_millis(19))
    }

    proptest! {
        #[test]
        fn no_rolling_interval_holds_more_than_the_ceiling_when_workers_follow_each_other(
            requests in 1u32..60, told in any::<bool>(), gaps in prop::collection::vec(0u64..20_000, 1..8),
        ) {
            prop_assert!(relay(requests, told, &gaps) <= requests as usize);
        }

        /// The promise itself: whatever the pattern of asking, no interval holds more than the ceiling.
        #[test]
        fn no_rolling_interval_holds_more_than_the_ceiling(
            requests in 1u32..50, millis in 100u64..3_000, pauses in prop::collection::vec(0u64..400, 1..400),
        ) {
            let interval = Duration::from_millis(millis);
            let mut pace = Pace::new(ceiling(requests, interval), Tick::ZERO);
            let (mut now, mut sent) = (Tick::ZERO, Vec::new());
            for pause in pauses {
                now = now + Duration::from_millis(pause);
                while pace.permit(now).is_ok() {
                    sent.push(now);
                }
            }
            prop_assert!(most_in(&sent, interval + Duration::from_millis(19)) <= requests as usize);
        }
    }
}
