//! An account's limits: rolling windows kept exactly, and a budget for the day.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// What an account allows, and how it says no.
#[derive(Clone, Debug)]
pub struct Limits {
    /// HubSpot's ten-second policy.
    pub rolling: Option<Window>,
    /// HubSpot's one-second policy.
    pub secondly: Option<Window>,
    pub daily: Option<DayBudget>,
    /// A request answered 429 counts against the windows too.
    pub count_refused: bool,
    /// Send `X-HubSpot-RateLimit-*`.
    pub headers: bool,
    /// Send `Retry-After` with a 429.
    pub retry_after: Option<RetryAfterForm>,
}

/// The two forms HTTP has for `Retry-After`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryAfterForm {
    Seconds,
    Date,
}

/// `policyName` of a 429.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    TenSecondlyRolling,
    Secondly,
    Daily,
}

impl Policy {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::TenSecondlyRolling => "TEN_SECONDLY_ROLLING",
            Self::Secondly => "SECONDLY",
            Self::Daily => "DAILY",
        }
    }

    /// The word in "You have reached your … limit."
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::TenSecondlyRolling => "ten_secondly_rolling",
            Self::Secondly => "secondly",
            Self::Daily => "daily",
        }
    }
}

/// A request over a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OverLimit {
    pub policy: Policy,
    /// When the limit would have room again.
    pub free_in: Duration,
}

impl Default for Limits {
    /// 100 requests in every rolling 10 s, no other limit, headers sent.
    fn default() -> Self {
        Self {
            rolling: Some(Window::new(100, Duration::from_secs(10))),
            secondly: None,
            daily: None,
            count_refused: false,
            headers: true,
            retry_after: None,
        }
    }
}

impl Limits {
    /// No limit at all.
    pub fn none() -> Self {
        Self { rolling: None, ..Self::default() }
    }

    /// Lets one request in, or says which limit forbids it; the day's budget speaks first.
    pub fn admit(&mut self, now: Duration, wall: Timestamp, zone: &TimeZone) -> Result<(), OverLimit> {
        let over = self.over(now, wall, zone);
        if over.is_none() || self.count_refused {
            for window in [&mut self.rolling, &mut self.secondly].into_iter().flatten() {
                window.count(now);
            }
            if let Some(day) = &mut self.daily {
                day.used += 1;
            }
        }
        over.map_or(Ok(()), Err)
    }

    fn over(&mut self, now: Duration, wall: Timestamp, zone: &TimeZone) -> Option<OverLimit> {
        let day = self.daily.as_mut().and_then(|day| day.free_in(wall, zone)).map(|wait| (Policy::Daily, wait));
        let rolling = self.rolling.as_mut().and_then(|window| window.free_in(now));
        let secondly = self.secondly.as_mut().and_then(|window| window.free_in(now));
        let windows = [(Policy::Secondly, secondly), (Policy::TenSecondlyRolling, rolling)];
        let first = windows.into_iter().find_map(|(policy, wait)| wait.map(|wait| (policy, wait)));
        day.or(first).map(|(policy, free_in)| OverLimit { policy, free_in })
    }
}

/// At most `requests` in every rolling `interval`: a request at `t` no longer counts at `t + interval`.
#[derive(Clone, Debug)]
pub struct Window {
    pub requests: usize,
    pub interval: Duration,
    arrivals: VecDeque<Duration>,
}

impl Window {
    pub fn new(requests: usize, interval: Duration) -> Self {
        Self { requests, interval, arrivals: VecDeque::new() }
    }

    /// Requests counted in the interval that ends now.
    pub fn used(&mut self, now: Duration) -> usize {
        while self.arrivals.front().is_some_and(|&at| at + self.interval <= now) {
            self.arrivals.pop_front();
        }
        self.arrivals.len()
    }

    pub fn count(&mut self, now: Duration) {
        self.arrivals.push_back(now);
    }

    /// `None` where there is room; else how long until there is.
    fn free_in(&mut self, now: Duration) -> Option<Duration> {
        let excess = (self.used(now) + 1).checked_sub(self.requests).filter(|&excess| excess > 0)?;
        let leaves = self.arrivals.get(excess - 1).map_or(now, |&at| at);
        Some((leaves + self.interval).saturating_sub(now))
    }
}

/// Requests a day, reset at midnight in the account's time zone.
#[derive(Clone, Debug)]
pub struct DayBudget {
    pub requests: u64,
    pub used: u64,
    resets_at: Option<Timestamp>,
}

impl DayBudget {
    pub fn new(requests: u64) -> Self {
        Self { requests, used: 0, resets_at: None }
    }

    /// `None` where there is room; else how long until midnight.
    fn free_in(&mut self, wall: Timestamp, zone: &TimeZone) -> Option<Duration> {
        let resets_at = match self.resets_at {
            Some(at) if wall < at => at,
            passed => {
                if passed.is_some() {
                    self.used = 0;
                }
                let at = next_midnight(wall, zone);
                self.resets_at = Some(at);
                at
            }
        };
        let wait = Duration::try_from(wall.duration_until(resets_at)).unwrap_or_default();
        (self.used >= self.requests).then_some(wait)
    }
}

/// The next start of a day; where a calendar cannot say (the end of time), a day later.
fn next_midnight(wall: Timestamp, zone: &TimeZone) -> Timestamp {
    let next = wall.to_zoned_datetime(zone.clone()).tomorrow().and_then(|day| day.start_of_day());
    next.map(|day| day.timestamp()).unwrap_or_else(|_| wall.saturating_add(24.hours()).unwrap_or(Timestamp::MAX))
}

/// The most requests seen in any rolling interval, refused ones included.
#[derive(Clone, Debug)]
pub struct Busiest {
    window: Window,
    most: usize,
}

impl Busiest {
    pub fn new(interval: Duration) -> Self {
        Self { window: Window::new(0, interval), most: 0 }
    }

    /// Counts a request. A new interval starts the figure afresh.
    pub fn count(&mut self, now: Duration, interval: Duration) {
        if interval != self.window.interval {
            *self = Self::new(interval);
        }
        self.window.count(now);
        self.most = self.most.max(self.window.used(now));
    }

    pub fn most(&self) -> usize {
        self.most
    }

    pub fn interval(&self) -> Duration {
        self.window.interval
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn admit(limits: &mut Limits, at: Duration) -> Result<(), OverLimit> {
        limits.admit(at, Timestamp::UNIX_EPOCH, &TimeZone::UTC)
    }

    fn two_a_second() -> Limits {
        Limits { rolling: Some(Window::new(2, 1000 * MS)), ..Limits::default() }
    }

    #[test]
    fn a_request_counts_for_exactly_its_interval() {
        let mut limits = two_a_second();
        assert_eq!(admit(&mut limits, Duration::ZERO), Ok(()));
        assert_eq!(admit(&mut limits, 600 * MS), Ok(()));
        let over = OverLimit { policy: Policy::TenSecondlyRolling, free_in: MS };
        assert_eq!(admit(&mut limits, 999 * MS), Err(over));
        assert_eq!(admit(&mut limits, 1000 * MS), Ok(()));
        assert_eq!(admit(&mut limits, 1599 * MS), Err(over));
        assert_eq!(admit(&mut limits, 1600 * MS), Ok(()));
    }

    #[test]
    fn refused_requests_count_only_when_told_to() {
        let mut limits = two_a_second();
        limits.count_refused = true;
        for at in [0, 0, 900] {
            let _ = admit(&mut limits, at * MS);
        }
        let at_1000 = admit(&mut limits, 1000 * MS);
        assert_eq!(at_1000, Ok(()), "two left, one refused at 900 still counts");
        assert!(admit(&mut limits, 1001 * MS).is_err());
    }

    #[test]
    fn no_rolling_interval_ever_holds_more_than_the_limit() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut limits = Limits { rolling: Some(Window::new(10, 100 * MS)), ..Limits::default() };
        let mut admitted = Vec::new();
        let mut now = Duration::ZERO;
        for _ in 0..5000 {
            now += rng.u32(0..20) * MS;
            if admit(&mut limits, now).is_ok() {
                admitted.push(now);
            }
        }
        let fewest = admitted.windows(11).map(|eleven| eleven[10] - eleven[0]).min().unwrap();
        assert!(fewest >= 100 * MS, "eleven within {fewest:?}");
        let mut busiest = Busiest::new(100 * MS);
        admitted.iter().for_each(|&at| busiest.count(at, 100 * MS));
        assert_eq!(busiest.most(), 10);
    }

    #[test]
    fn the_secondly_limit_has_its_own_name() {
        let mut limits = Limits { secondly: Some(Window::new(1, 1000 * MS)), ..Limits::default() };
        assert_eq!(admit(&mut limits, Duration::ZERO), Ok(()));
        assert_eq!(admit(&mut limits, MS).unwrap_err().policy, Policy::Secondly);
    }

    #[test]
    fn the_day_ends_at_the_accounts_midnight_on_a_day_of_23_hours() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let wall: Timestamp = "2026-03-28T23:30:00Z".parse().unwrap();
        let mut limits = Limits { daily: Some(DayBudget::new(1)), ..Limits::none() };
        assert_eq!(limits.admit(Duration::ZERO, wall, &zone), Ok(()));
        let over = limits.admit(Duration::ZERO, wall, &zone).unwrap_err();
        assert_eq!(over, OverLimit { policy: Policy::Daily, free_in: Duration::from_secs(22 * 3600 + 1800) });
        let midnight: Timestamp = "2026-03-29T22:00:00Z".parse().unwrap();
        assert!(limits.admit(Duration::ZERO, midnight - 1.second(), &zone).is_err());
        assert_eq!(limits.admit(Duration::ZERO, midnight, &zone), Ok(()));
    }
}
