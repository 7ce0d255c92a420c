//! The day's budget of an account: counted here, corrected by what HubSpot says, renewed at the account's midnight.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::clock::{Now, Tick};
use crate::lease::memory::DayMemory;

/// Requests of one calendar day in the account's time zone.
///
/// HubSpot shares the day among all private apps of an account and resets it at the account's midnight
/// (usage guidelines), so the count here is only what this process knows of it.
#[derive(Clone, Debug)]
pub struct Day {
    zone: TimeZone,
    /// The setting `rate_limit.daily`.
    budget: Option<u64>,
    used: u64,
    /// Requests that HubSpot says are left.
    left: Option<u64>,
    /// HubSpot refused a request because the day is spent.
    refused: bool,
    refused_runs: u32,
    ends: Timestamp,
    /// With several workers: up to this count is written down where the next one finds it, and no more of a budget may
    /// be used. `None`: nobody else would look.
    written: Option<u64>,
}

/// How soon a request is looked at again that waits for its count to be written, if nobody says earlier that it is.
const LOOK_FOR_WRITTEN: Duration = Duration::from_secs(1);

/// A day lasts at most this many hours, also where clocks are set back; what ends later is no day.
const LONGEST_DAY_HOURS: i64 = 26;

/// A refusal this soon after midnight, in seconds, is taken for a clock that differs, not for a day spent.
const MIDNIGHT_SKEW_SECONDS: i64 = 1_800;

/// Longest wait, in seconds, after such a refusal.
const SKEW_WAIT_SECONDS: i64 = 300;

impl Day {
    pub fn new(zone: TimeZone, budget: Option<u64>, now: Timestamp) -> Self {
        let ends = next_midnight(&zone, now);
        Self { zone, budget, used: 0, left: None, refused: false, refused_runs: 0, ends, written: None }
    }

    /// Takes over a time zone learned later.
    pub fn move_to(&mut self, zone: TimeZone, now: Timestamp) {
        // A day that has ended must not go on as part of the next.
        self.roll_over(now);
        self.ends = next_midnight(&zone, now);
        self.zone = zone;
    }

    /// Requests of today that this process sent.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Requests left of today, as far as anything is known.
    pub fn left(&self) -> Option<u64> {
        let of_budget = self.budget.map(|budget| budget.saturating_sub(self.used));
        match (of_budget, self.left) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, theirs) => ours.or(theirs),
        }
    }

    pub fn sent(&mut self, now: Timestamp) {
        self.roll_over(now);
        self.used += 1;
        self.left = self.left.map(|left| left.saturating_sub(1));
    }

    /// `X-HubSpot-RateLimit-Daily-Remaining` of a reply.
    pub fn told(&mut self, left: u64, now: Timestamp) {
        self.roll_over(now);
        self.left = Some(left);
    }

    /// A 429 of the policy `DAILY`.
    pub fn refused(&mut self, now: Timestamp) {
        self.roll_over(now);
        if !self.refused {
            self.refused_runs = self.refused_runs.saturating_add(1);
        }
        self.refused = true;
    }

    /// When the account may send again, or `None` while something of the day is left.
    pub fn spent_until(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.roll_over(now);
        (self.refused || self.left() == Some(0)).then_some(self.ends)
    }

    fn roll_over(&mut self, now: Timestamp) {
        if now < self.ends {
            return;
        }
        self.ends = next_midnight(&self.zone, now);
        self.used = 0;
        self.left = None;
        self.refused = false;
        self.written = self.written.map(|_| 0);
    }

    /// From now on the count is written down before it is used.
    pub fn keep_to_what_is_written(&mut self) {
        self.written = Some(0);
    }

    /// What the next worker must know, with this many requests counted ahead where there is a budget.
    pub fn memory(&self, ahead: u64, now: Timestamp) -> Option<DayMemory> {
        let today = if now < self.ends { self.used } else { 0 };
        let used = self.budget.map_or(today, |budget| today.max((today + ahead).min(budget)));
        let ends = if now < self.ends { self.ends } else { next_midnight(&self.zone, now) };
        (used > 0).then_some(DayMemory { ends, used })
    }

    /// A memory with this count is safe. True where requests may leave that could not before.
    pub fn written(&mut self, day: DayMemory, now: Timestamp) -> bool {
        self.roll_over(now);
        let Some(written) = self.written.filter(|&written| day.ends == self.ends && day.used > written) else {
            return false;
        };
        self.written = Some(day.used);
        self.budget.is_some() && self.used >= written
    }

    /// At most half of what is counted ahead is left.
    pub fn is_nearly_written_off(&self, ahead: u64, now: Timestamp) -> bool {
        let today = if now < self.ends { self.used } else { 0 };
        let is_short = |budget, written: u64| written < budget && written <= today + ahead / 2;
        self.budget.zip(self.written).is_some_and(|(budget, written)| is_short(budget, written))
    }

    /// When to look again, if the next request's count is not written yet.
    pub fn unwritten_until(&self, now: Now) -> Option<Tick> {
        let unwritten = self.budget.is_some() && self.written.is_some_and(|written| self.used >= written);
        unwritten.then(|| now.tick + LOOK_FOR_WRITTEN)
    }

    /// Takes over a count. `zone_is_set`: where the day ends is known better here.
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

    /// A refusal just after midnight means that HubSpot's day has not turned yet: the wait is short then.
    pub fn refused_near_midnight(&self, now: Timestamp) -> Option<Timestamp> {
        let began = now.to_zoned_datetime(self.zone.clone()).start_of_day().ok()?.timestamp();
        let age = now.as_second() - began.as_second();
        let wait = SKEW_WAIT_SECONDS.min(15 << self.refused_runs.min(5));
        (age < MIDNIGHT_SKEW_SECONDS).then(|| now + jiff::SignedDuration::from_secs(wait))
    }
}

/// The next midnight of the zone: on a day that skips it, the first moment that exists.
pub fn next_midnight(zone: &TimeZone, now: Timestamp) -> Timestamp {
    let in_a_day = || now + jiff::SignedDuration::from_hours(24);
    let today = now.to_zoned_datetime(zone.clone());
    today.tomorrow().and_then(|tomorrow| tomorrow.start_of_day()).map_or_else(|_| in_a_day(), |start| start.timestamp())
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn midnight_is_the_zones_own_also_across_daylight_saving() {
        let cases = [
            ("UTC", "2026-11-25T18:00:00Z", "2026-11-26T00:00:00Z"),
            // A day of 25 hours, and one of 23.
            ("Europe/Berlin", "2026-10-24T22:30:00Z", "2026-10-25T23:00:00Z"),
            ("Europe/Berlin", "2026-03-28T23:30:00Z", "2026-03-29T22:00:00Z"),
            ("America/New_York", "2026-11-01T04:30:00Z", "2026-11-02T05:00:00Z"),
            // A day that begins at one o'clock.
            ("America/Sao_Paulo", "2018-11-03T12:00:00Z", "2018-11-04T03:00:00Z"),
        ];
        for (zone, now, midnight) in cases {
            let found = next_midnight(&TimeZone::get(zone).unwrap(), now.parse().unwrap());
            assert_eq!(found, midnight.parse::<Timestamp>().unwrap(), "{zone} at {now}");
        }
    }

    /// Whoever dies has not used more than is written, and the next one goes on from there.
    #[test]
    fn no_more_of_a_budget_is_used_than_is_written() {
        let wall: Timestamp = "2026-11-25T18:00:00Z".parse().unwrap();
        let now = Now { tick: Tick::ZERO, wall };
        let mut day = Day::new(TimeZone::UTC, Some(10), wall);
        assert_eq!(day.unwritten_until(now), None, "alone");
        day.keep_to_what_is_written();
        assert!(day.unwritten_until(now).is_some() && day.is_nearly_written_off(4, wall));
        let first = day.memory(4, wall).unwrap();
        assert!(day.written(first, wall));
        for _ in 0..4 {
            assert_eq!(day.unwritten_until(now), None);
            day.sent(wall);
        }
        assert!(day.unwritten_until(now).is_some());

        let mut next = Day::new(TimeZone::UTC, Some(10), wall);
        next.recall(first, false, wall);
        assert_eq!(next.used(), 4);
        let tomorrow = first.ends;
        next.recall(first, false, tomorrow);
        assert_eq!((next.left(), next.memory(4, tomorrow).unwrap().used), (Some(10), 4), "a day of its own");
        assert_eq!(day.memory(0, wall).unwrap().used, 4, "exact where nothing more is sent");
        assert_eq!(day.memory(100, wall).unwrap().used, 10, "never more than the budget");
    }
}
