//! The day's budget of an account: counted here, corrected by what HubSpot says, renewed at the account's midnight.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::clock::{Now, Tick};
use crate::contract::grouped::Grouped;
use crate::contract::time::up_to_second;
use crate::lease::memory::DayMemory;

/// Requests of one calendar day in the account's time zone.
///
/// HubSpot shares the day among all private apps of an account and resets it at the account's midnight
/// (usage guidelines), so the count here is only what this process knows of it.
///
/// No clock agrees with HubSpot's to the second. What HubSpot says of the day shortly after midnight may still be about
/// the day before, so it stops the account for a short while only: then a request must find out.
#[derive(Clone, Debug)]
pub struct Day {
    zone: TimeZone,
    /// The zone is the account's own. Else it is UTC, because the account's is not known.
    zone_is_known: bool,
    /// The setting `rate_limit.daily`.
    budget: Option<u64>,
    used: u64,
    left: Option<Left>,
    /// Requests of a whole day, as HubSpot says.
    limit: Option<u64>,
    refusal: Option<Refused>,
    /// How many times the account was refused since the day began. Refusals that came during the wait for an earlier
    /// one do not count.
    refusals: u32,
    ends: Timestamp,
    /// Where several workers share the account: the count that is written down, where the worker that takes over will
    /// find it. No more requests of a budget than this may be sent. `None`: there is no other worker.
    written: Option<u64>,
}

/// A request may have to wait until its count is written. It asks again after this time, unless the news that the count
/// is written comes earlier.
const LOOK_FOR_WRITTEN: Duration = Duration::from_secs(1);

/// How long a day is as a rule.
const DAY: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// No day lasts longer than this, not even where clocks are set back. An end that is later is not believed.
const LONGEST_DAY_HOURS: i64 = 26;

/// Requests that HubSpot says are left.
#[derive(Clone, Copy, Debug)]
struct Left {
    requests: u64,
    /// Said so soon after midnight that it may be about the day before.
    doubtful: bool,
}

/// HubSpot refused a request because the day is spent.
#[derive(Clone, Copy, Debug)]
struct Refused {
    at: Timestamp,
    /// `Retry-After`.
    asked: Option<Duration>,
    until: Timestamp,
}

/// What HubSpot says of the day this soon after midnight may be about the day before.
const MIDNIGHT_SKEW: Duration = Duration::from_secs(30 * 60);

/// Wait before the first request that finds out whether HubSpot's day has turned; doubled for each further one.
const FIRST_WAIT: Duration = Duration::from_secs(30);

/// Longest such wait shortly after midnight.
const LONGEST_WAIT_AFTER_MIDNIGHT: Duration = Duration::from_secs(5 * 60);

/// Longest such wait where the time zone is not known: midnight may come at any time.
const LONGEST_WAIT_WITHOUT_ZONE: Duration = Duration::from_secs(15 * 60);

/// Where HubSpot keeps asking for short waits, they are lengthened up to this.
const LONGEST_WAIT_INSTEAD_OF_ASKED: Duration = Duration::from_secs(60 * 60);

/// Doublings after which every such wait has reached its longest.
const MOST_DOUBLINGS: u32 = 10;

impl Day {
    /// `zone` is `None` where the account's time zone is not known yet: until it is, the day is that of UTC.
    pub fn new(zone: Option<TimeZone>, budget: Option<u64>, now: Timestamp) -> Self {
        let zone_is_known = zone.is_some();
        let zone = zone.unwrap_or(TimeZone::UTC);
        let ends = next_midnight(&zone, now);
        Self {
            zone,
            zone_is_known,
            budget,
            used: 0,
            left: None,
            limit: None,
            refusal: None,
            refusals: 0,
            ends,
            written: None,
        }
    }

    /// Whether the account's time zone is known, and with it the time of its midnight.
    pub fn zone_is_known(&self) -> bool {
        self.zone_is_known
    }

    /// The account's time zone, or UTC where it is not known.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Takes over a time zone learned later.
    pub fn move_to(&mut self, zone: TimeZone, now: Timestamp) {
        // A day that has ended must not go on as part of the next.
        self.roll_over(now);
        self.ends = next_midnight(&zone, now);
        self.zone = zone;
        self.zone_is_known = true;
        if let Some(Refused { at, asked, until: _ }) = self.refusal {
            self.refusal = Some(Refused { at, asked, until: self.refused_until(at, asked) });
        }
    }

    /// Requests of today that this service sent: this process, and those whose count it took over.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// The setting `rate_limit.daily`.
    pub fn budget(&self) -> Option<u64> {
        self.budget
    }

    /// Requests of a whole day for all apps of the account together, as HubSpot said last.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// How many of the day's requests all apps of the account have used together, as HubSpot said last.
    pub fn used_by_all(&self) -> Option<u64> {
        self.limit.zip(self.left).map(|(limit, left)| limit.saturating_sub(left.requests))
    }

    /// Whether a pause until then ends before the day does: a request finds out whether the day's limit still holds.
    pub fn only_tries_at(&self, until: Timestamp) -> bool {
        until < self.ends
    }

    /// Why the day is spent, with its figures: who set the limit, and who used it. And where the pause ends before the day
    /// does, what happens then.
    pub fn spent_words(&self, until: Timestamp) -> String {
        let why = self.why_spent();
        if !self.only_tries_at(until) {
            return why;
        }
        let until = up_to_second(until);
        match self.zone_is_known {
            true => format!(
                "{why}; it is tried again at {until}, and goes on at {}, the account's midnight, at the latest",
                up_to_second(self.ends)
            ),
            false => format!(
                "{why}; it is tried again at {until}, and again and again until the account's midnight, whose time is not known"
            ),
        }
    }

    fn why_spent(&self) -> String {
        let used = Grouped(self.used);
        match (self.budget.filter(|&budget| self.used >= budget), self.limit, self.used_by_all()) {
            (Some(budget), _, _) => format!("the {} requests of rate_limit.daily are sent", Grouped(budget)),
            (None, Some(limit), Some(all)) => {
                // HubSpot's count and ours are told separately, since they may differ: HubSpot's day, or its limit, may
                // have begun later.
                let (all, limit) = (Grouped(all), Grouped(limit));
                format!("HubSpot's limit of the day is used: {all} of {limit}; this service has sent {used}")
            }
            (None, _, _) => format!("HubSpot says that the day's requests are spent; this service has sent {used}"),
        }
    }

    /// A person says that the limit was raised, or is wrongly believed: what HubSpot said of the day is forgotten, and
    /// the next request finds out. The setting's budget stays.
    pub fn doubt(&mut self) {
        (self.left, self.limit, self.refusal) = (None, None, None);
    }

    /// How many requests this service may send on a whole day: the setting, or else what HubSpot says is left and what
    /// was sent already. `None` where neither is known.
    pub fn requests(&self) -> Option<u64> {
        self.budget.or(self.left.map(|left| left.requests.saturating_add(self.used)))
    }

    /// How many requests this service may still send today, by the setting and by what HubSpot says. `None` where
    /// neither is known.
    pub fn left(&self) -> Option<u64> {
        let of_budget = self.budget.map(|budget| budget.saturating_sub(self.used));
        match (of_budget, self.left.map(|left| left.requests)) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, theirs) => ours.or(theirs),
        }
    }

    /// When requests that can wait may leave; `None` means at once. They may leave at once while less than half of the
    /// day's requests is used, or no limit is known. After that, the share of the day that is over must reach the share
    /// of its requests that is used: with three quarters of them used, they wait until 18:00.
    pub fn spare_from(&self, now: Timestamp) -> Option<Timestamp> {
        let (requests, left) = self.requests().zip(self.left())?;
        let used = requests.saturating_sub(left);
        if used.saturating_mul(2) < requests {
            return None;
        }
        let over = u128::from(DAY.as_secs().unsigned_abs()) * u128::from(used) / u128::from(requests.max(1));
        let began = self.ends.saturating_sub(DAY).ok()?;
        let even = began.saturating_add(Duration::from_secs(u64::try_from(over).ok()?)).ok()?;
        (even > now && now < self.ends).then_some(even)
    }

    pub fn sent(&mut self, now: Timestamp) {
        self.roll_over(now);
        self.used += 1;
        self.left = self.left.map(|left| Left { requests: left.requests.saturating_sub(1), ..left });
    }

    /// `X-HubSpot-RateLimit-Daily-Remaining` of a reply, and `X-HubSpot-RateLimit-Daily` where it has one.
    pub fn told(&mut self, requests: u64, limit: Option<u64>, now: Timestamp) {
        self.roll_over(now);
        self.limit = limit.or(self.limit);
        self.left = Some(Left { requests, doubtful: !self.zone_is_known || self.is_near_midnight(now) });
    }

    /// A 429 of the policy `DAILY`, with the wait that it asked for. Returns when the next request may find out whether
    /// that is over.
    pub fn refused(&mut self, asked: Option<Duration>, now: Timestamp) -> Timestamp {
        self.roll_over(now);
        let earlier = self.refusal.filter(|refusal| refusal.until > now);
        // Requests that were in flight together are refused together.
        if earlier.is_none() {
            self.refusals = self.refusals.saturating_add(1);
        }
        let until = match (earlier, asked) {
            (Some(earlier), None) => earlier.until,
            (Some(earlier), Some(_)) => earlier.until.max(self.refused_until(now, asked)),
            (None, _) => self.refused_until(now, asked),
        };
        self.refusal = Some(Refused { at: now, asked, until });
        until
    }

    /// When the account may send again, or `None` while something of the day is left.
    pub fn spent_until(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.roll_over(now);
        let by_budget = self.budget.is_some_and(|budget| self.used >= budget);
        let by_telling = self.left.is_some_and(|left| left.requests == 0 && !left.doubtful);
        let refused = self.refusal.map(|refusal| refusal.until).filter(|&until| until > now);
        let spent = (by_budget || by_telling).then_some(self.ends);
        spent.max(refused)
    }

    fn refused_until(&self, now: Timestamp, asked: Option<Duration>) -> Timestamp {
        let doubled = FIRST_WAIT.saturating_mul(1 << self.refusals.saturating_sub(1).min(MOST_DOUBLINGS));
        let wait = match asked {
            Some(asked) => asked.max(doubled.min(LONGEST_WAIT_INSTEAD_OF_ASKED)),
            None if self.is_near_midnight(now) => doubled.min(LONGEST_WAIT_AFTER_MIDNIGHT),
            None if !self.zone_is_known => doubled.min(LONGEST_WAIT_WITHOUT_ZONE),
            None => return self.ends,
        };
        now.saturating_add(wait).unwrap_or(self.ends)
    }

    fn is_near_midnight(&self, now: Timestamp) -> bool {
        let began = now.to_zoned_datetime(self.zone.clone()).start_of_day();
        began.is_ok_and(|began| now.duration_since(began.timestamp()).unsigned_abs() < MIDNIGHT_SKEW)
    }

    fn roll_over(&mut self, now: Timestamp) {
        if now < self.ends {
            return;
        }
        // HubSpot's limit is that of the next day as well.
        let Self { zone, zone_is_known: _, budget: _, used, left, limit: _, refusal, refusals, ends, written } = self;
        *ends = next_midnight(zone, now);
        (*used, *left, *refusal, *refusals) = (0, None, None, 0);
        *written = written.map(|_| 0);
    }

    /// From now on, where there is a budget, a request leaves only when its count is written down.
    pub fn keep_to_what_is_written(&mut self) {
        self.written = Some(0);
    }

    /// What the next worker must know. Where there is a budget, the count is by `ahead` requests higher than what was
    /// sent, so that these may be sent once it is written.
    pub fn memory(&self, ahead: u64, now: Timestamp) -> Option<DayMemory> {
        let today = if now < self.ends { self.used } else { 0 };
        let used = self.budget.map_or(today, |budget| today.max((today + ahead).min(budget)));
        let ends = if now < self.ends { self.ends } else { next_midnight(&self.zone, now) };
        (used > 0).then_some(DayMemory { ends, used })
    }

    /// A memory with this count is safe at the broker. Returns true where requests may leave that could not before.
    pub fn written(&mut self, day: DayMemory, now: Timestamp) -> bool {
        self.roll_over(now);
        let Some(written) = self.written.filter(|&written| day.ends == self.ends && day.used > written) else {
            return false;
        };
        self.written = Some(day.used);
        self.budget.is_some() && self.used >= written
    }

    /// Whether the count must be written again soon: at most half of the requests that were counted ahead are still to
    /// be sent.
    pub fn lacks_written(&self, ahead: u64, now: Timestamp) -> bool {
        let today = if now < self.ends { self.used } else { 0 };
        let is_short = |budget, written: u64| written < budget && written <= today + ahead / 2;
        self.budget.zip(self.written).is_some_and(|(budget, written)| is_short(budget, written))
    }

    /// When to look again, if the next request's count is not written yet.
    pub fn unwritten_until(&self, now: Now) -> Option<Tick> {
        let unwritten = self.budget.is_some() && self.written.is_some_and(|written| self.used >= written);
        unwritten.then(|| now.tick + LOOK_FOR_WRITTEN)
    }

    /// Takes over the count of another worker. `zone_is_set`: the settings name the time zone, so this worker knows
    /// better than the other when the day ends.
    pub fn recall(&mut self, day: DayMemory, zone_is_set: bool, now: Timestamp) {
        self.roll_over(now);
        if day.ends <= now {
            return;
        }
        self.used = self.used.max(day.used);
        if !zone_is_set && day.ends <= now + jiff::SignedDuration::from_hours(LONGEST_DAY_HOURS) {
            self.ends = day.ends;
        }
    }
}

/// The next midnight of the zone: on a day that skips it, the first moment that exists.
pub fn next_midnight(zone: &TimeZone, now: Timestamp) -> Timestamp {
    let in_a_day = || now + DAY;
    let today = now.to_zoned_datetime(zone.clone());
    today.tomorrow().and_then(|tomorrow| tomorrow.start_of_day()).map_or_else(|_| in_a_day(), |start| start.timestamp())
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests;
