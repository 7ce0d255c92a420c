//! When an account may send: never more than its ceiling in any rolling interval, and less once HubSpot says so.
//!
//! A log of send times decides. HubSpot counts requests when they arrive, and the way there takes now more time, now
//! less. So a request counts here until its interval has passed and a little more ([`Ceiling::hold`]). governor's GCRA
//! spreads requests within that limit. It cannot be the limit itself, since it admits its burst on top of its rate.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use super::clock::Tick;
use super::reply::RateHeaders;
use super::verdict::Policy;

mod ceiling;
mod learned;
mod smoother;

pub use ceiling::Ceiling;

use learned::Learned;
use smoother::Smoother;

/// Marks one request in the log, so that its reply can be matched to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Slot(u64);

/// `count` requests, which left this `age` before they were told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recent {
    pub age: Duration,
    pub count: u32,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Tick,
    throttled: bool,
    /// Another worker sent it, or may have.
    by_others: bool,
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
    /// The last refusal named a limit whose end nobody knows, or a person doubts what HubSpot said of the day: until
    /// something is accepted, single requests find out.
    feels_its_way: bool,
    accepted: u64,
    smoother: Smoother,
    /// Until then requests leave evenly, since an earlier process may have used the interval before.
    even_until: Tick,
}

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

/// A fresh process starts with this many requests in flight ...
const FIRST_IN_FLIGHT: u64 = 4;

/// ... and one more for each few that were accepted.
const ACCEPTED_FOR_ONE_MORE: u64 = 4;

/// After the first interval this share (a tenth) of the ceiling may leave at once.
const BURST_DIVISOR: u32 = 10;

/// The interval of a limit that HubSpot's headers give without one: the usual one.
const USUAL_INTERVAL: Duration = Duration::from_secs(10);

/// Requests that arrive at HubSpot within one interval may have left further apart. They may have by this time, since
/// the way there takes now more time, now less, and by this share (a twentieth) of the interval.
const WAY_THERE: Duration = Duration::from_millis(500);
const WAY_THERE_DIVISOR: u32 = 20;

/// How far apart two requests may have left that HubSpot counts in the same `interval`: what was sent shortly before
/// the interval may have arrived within it.
fn arrives_within(interval: Duration) -> Duration {
    interval + interval / WAY_THERE_DIVISOR + WAY_THERE
}

/// An answer that took longer says nothing of what others use.
const LONGEST_ANSWER: Duration = Duration::from_secs(20);

/// Others are taken to use the same limit where more than this share (a twentieth) of it went to them, and more than a
/// few requests: fewer may be a matter of counting.
const OTHERS_DIVISOR: u32 = 20;
const FEW_OF_OTHERS: u32 = 2;

/// Whatever others use, this share (a tenth) of the limit remains.
const LEAST_LEFT_DIVISOR: u32 = 10;

/// A worker that hands over tells what it sent in the last interval. It puts requests that left shortly one after the
/// other into one entry, so that the list has at most this many entries.
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
        usize::try_from(FIRST_IN_FLIGHT + self.accepted / ACCEPTED_FOR_ONE_MORE).unwrap_or(usize::MAX)
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
        self.log.push_back(Sent { at: now, throttled: false, by_others: false });
        Ok(Slot(self.first_slot + self.log.len() as u64 - 1))
    }

    /// A limit learned by the worker before.
    pub fn recall(&mut self, ceiling: Ceiling, now: Tick) {
        if ceiling.per_request() > self.ceiling().per_request() {
            self.rolling = Some(Learned::new(ceiling, now));
        }
    }

    /// The limit learned, where it is below the setting.
    pub fn learned(&self) -> Option<Ceiling> {
        self.rolling.map(|learned| learned.ceiling)
    }

    /// What was sent within the last interval, youngest first. Requests that left within a hundredth of the interval
    /// are one entry; so the next worker waits at most that much longer than it must.
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
        // Requests beyond the ceiling would say no more than the ceiling does.
        let sent: Vec<Tick> = ages.take(self.setting.requests.get() as usize).map(|age| now - age).collect();
        self.add(sent, now);
    }

    /// Another worker may have sent as much as it was allowed until now: a burst at the end, evenly before. What is
    /// known or assumed of others from before is part of that, so that nothing counts twice.
    pub fn assume_spent(&mut self, now: Tick) {
        let requests = self.setting.requests.get();
        let burst = self.burst();
        let before = (0..requests.saturating_sub(burst)).map(|nth| now - self.setting.per_request() * nth);
        let others = before.chain(std::iter::repeat_n(now, burst as usize)).collect();
        self.first_slot += self.log.len() as u64;
        self.log.retain(|sent| !sent.by_others);
        self.add(others, now);
    }

    fn add(&mut self, others: Vec<Tick>, now: Tick) {
        // The log is made anew, and replies to what was sent before find no entry in it.
        self.first_slot += self.log.len() as u64;
        self.log.extend(others.into_iter().map(|at| Sent { at, throttled: false, by_others: true }));
        self.log.make_contiguous().sort_by_key(|sent| sent.at);
        self.even_until = self.even_until.max(now + self.setting.interval);
        self.smoother = Smoother::new(self.ceiling(), NonZeroU32::MIN, now);
    }

    fn burst(&self) -> u32 {
        (self.ceiling().requests.get() / BURST_DIVISOR).max(1)
    }

    /// The earliest time at which the log allows a request.
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
        let longest = longest.fold(self.setting.hold().max(arrives_within(USUAL_INTERVAL)), Duration::max);
        let longest = longest + LONGEST_ANSWER;
        while let Some(first) = self.log.front()
            && now.since(first.at) > longest
        {
            self.log.pop_front();
            self.first_slot += 1;
        }
    }

    /// HubSpot took the request, whatever it said about the content.
    pub fn accepted(&mut self, slot: Option<Slot>, headers: &RateHeaders, now: Tick) {
        self.accepted += 1;
        self.throttled_in_a_row = 0;
        self.feels_its_way = false;
        for learned in [&mut self.rolling, &mut self.secondly].into_iter().flatten() {
            learned.rise(now);
        }
        if self.rolling.is_some_and(|learned| learned.ceiling.per_request() <= self.setting.per_request()) {
            self.rolling = None;
        }
        if self.secondly.is_some_and(|learned| learned.ceiling.per_request() <= self.setting.per_request() / 2) {
            self.secondly = None;
        }
        self.hear(slot, headers, now);
    }

    /// `X-HubSpot-RateLimit-Max`, `-Remaining`, `-Interval-Milliseconds`: others may be using the same limit.
    fn hear(&mut self, slot: Option<Slot>, headers: &RateHeaders, now: Tick) {
        let Some(max) = headers.max.and_then(|max| u32::try_from(max).ok()).filter(|&max| max > 0) else { return };
        let interval = headers.interval.filter(|interval| !interval.is_zero()).unwrap_or(USUAL_INTERVAL);
        let remaining = headers.remaining.and_then(|left| u32::try_from(left).ok()).unwrap_or(max);
        let ours = self.sent_before(slot, interval, now);
        let others = ours.map_or(0, |ours| max.saturating_sub(remaining).saturating_sub(ours));
        let others = if others > (max / OTHERS_DIVISOR).max(FEW_OF_OTHERS) { others } else { 0 };
        let left = max.saturating_sub(others).max(max / LEAST_LEFT_DIVISOR);
        let left = NonZeroU32::new(left).unwrap_or(NonZeroU32::MIN);
        let told = Ceiling { requests: left, interval };
        if told.per_request() > self.ceiling().per_request() {
            self.rolling = Some(Learned::new(told, now));
        }
    }

    /// Own requests that HubSpot may have counted in the interval before it took this one; `None` where not all of them
    /// are known any more. HubSpot counted when the request arrived, which may be long ago: the answer may have taken
    /// seconds, and this process may have been frozen.
    fn sent_before(&self, slot: Option<Slot>, interval: Duration, now: Tick) -> Option<u32> {
        let index = slot.and_then(|slot| usize::try_from(slot.0.checked_sub(self.first_slot)?).ok())?;
        let sent = self.log.get(index)?.at;
        let reach = arrives_within(interval);
        if now.since(sent) > LONGEST_ANSWER || reach > arrives_within(USUAL_INTERVAL).max(self.setting.hold()) {
            return None;
        }
        Some(count(self.log.iter().rev().take_while(|before| sent.since(before.at) < reach).count()))
    }

    /// Until something is accepted, one request at a time finds out what is allowed.
    pub fn feel_the_way(&mut self) {
        self.feels_its_way = true;
    }

    /// HubSpot answered 429. Returns until when the account is closed. How long a day's limit holds is decided by the
    /// day alone (`day.rs`), so that a person can doubt it.
    pub fn throttled(&mut self, slot: Slot, policy: Policy, wait: Option<Duration>, now: Tick) -> Tick {
        let wait = wait.filter(|_| policy != Policy::Daily);
        let index = slot.0.checked_sub(self.first_slot).and_then(|index| usize::try_from(index).ok());
        if let Some(sent) = index.and_then(|index| self.log.get_mut(index)) {
            sent.throttled = true;
        }
        let fresh = slot.0 >= self.lowered_at;
        match policy {
            Policy::Secondly => {
                let second = Ceiling { requests: self.setting.requests, interval: Duration::from_secs(1) };
                self.secondly = Some(self.lowered(self.secondly, second, fresh, now));
            }
            Policy::TenSecondly | Policy::Unknown => {
                self.rolling = Some(self.lowered(self.rolling, self.setting, fresh, now));
            }
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

    /// A limit that lies just under the number of requests that were accepted in the last interval, and also under the
    /// limit in force until now.
    fn lowered(&self, before: Option<Learned>, unlearned: Ceiling, fresh: bool, now: Tick) -> Learned {
        let ceiling = before.map_or(unlearned, |learned| learned.ceiling);
        let recent = self.log.iter().rev().take_while(|sent| now.since(sent.at) < ceiling.interval);
        let accepted = count(recent.filter(|sent| !sent.throttled).count());
        let of_before = if fresh { ceiling.requests.get() * LOWERED.0 / LOWERED.1 } else { ceiling.requests.get() };
        let requests = of_before.min(accepted.saturating_mul(LOWERED.0) / LOWERED.1);
        // Soon after the start little was accepted yet, which says little of the limit.
        let requests = requests.max(ceiling.requests.get() / DEEPEST_FALL);
        let requests = NonZeroU32::new(requests).unwrap_or(NonZeroU32::MIN);
        Learned::fallen(before, Ceiling { requests, ..ceiling }, now)
    }
}

fn count(entries: usize) -> u32 {
    u32::try_from(entries).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
