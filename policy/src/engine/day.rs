//! The day's budget of an account: counted here, corrected by what HubSpot says, renewed at the account's midnight.

use jiff::Timestamp;
use jiff::tz::TimeZone;

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
}

/// A refusal this soon after midnight, in seconds, is taken for a clock that differs, not for a day spent.
const MIDNIGHT_SKEW_SECONDS: i64 = 1_800;

/// Longest wait, in seconds, after such a refusal.
const SKEW_WAIT_SECONDS: i64 = 300;

impl Day {
    pub fn new(zone: TimeZone, budget: Option<u64>, now: Timestamp) -> Self {
        let ends = next_midnight(&zone, now);
        Self { zone, budget, used: 0, left: None, refused: false, refused_runs: 0, ends }
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
}
