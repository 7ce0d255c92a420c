//! Hours of the day, in an account's local time.
//!
//! Only local time decides. Where daylight saving time skips an hour of the window, the window is shorter on that day;
//! where an hour comes twice, the window is longer.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

/// See the module. Both ends are minutes, and differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    from: Time,
    /// The first minute after the window. It is before `from` where the window reaches over midnight.
    to: Time,
}

/// Whether the window is open, and until when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stand {
    OpenUntil(Timestamp),
    ClosedUntil(Timestamp),
}

impl Stand {
    pub fn is_open(self) -> bool {
        matches!(self, Self::OpenUntil(_))
    }

    /// When it changes next.
    pub fn until(self) -> Timestamp {
        let (Self::OpenUntil(until) | Self::ClosedUntil(until)) = self;
        until
    }
}

/// Days that are searched for the next end of a window: clocks that are set forward may skip an end on one of them.
const DAYS_AHEAD: i8 = 3;

impl Window {
    /// Reads `22:00-06:00`; `24:00` may end it.
    pub fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        let to = to.trim();
        let window = Self { from: minute(from.trim())?, to: minute(if to == "24:00" { "00:00" } else { to })? };
        (window.from != window.to).then_some(window)
    }

    pub fn stand(&self, zone: &TimeZone, now: Timestamp) -> Stand {
        let is_open = self.is_open(zone, now);
        let until = self.next_change(zone, now, is_open);
        if is_open { Stand::OpenUntil(until) } else { Stand::ClosedUntil(until) }
    }

    fn is_open(&self, zone: &TimeZone, at: Timestamp) -> bool {
        let time = zone.to_datetime(at).time();
        match self.from < self.to {
            true => (self.from..self.to).contains(&time),
            false => time >= self.from || time < self.to,
        }
    }

    /// When the window opens or closes next. It can do so at one of its ends, or where the clocks change.
    fn next_change(&self, zone: &TimeZone, now: Timestamp, is_open: bool) -> Timestamp {
        let mut day = zone.to_datetime(now).date();
        let mut moments = Vec::new();
        for _ in 0..DAYS_AHEAD {
            for end in [self.from, self.to] {
                let end = zone.to_ambiguous_timestamp(day.to_datetime(end));
                moments.extend(end.earlier());
                moments.extend(end.later());
            }
            let Ok(next) = day.tomorrow() else { break };
            day = next;
        }
        let last = moments.iter().max().copied().unwrap_or(Timestamp::MAX);
        let clock_changes = zone.following(now).map(|change| change.timestamp());
        moments.extend(clock_changes.take_while(|&at| at <= last));
        moments.sort_unstable();
        moments.into_iter().find(|&at| at > now && self.is_open(zone, at) != is_open).unwrap_or(last)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from.hour(), from.minute(), to.hour(), to.minute())
    }
}

/// Reads `06:00`: two digits, a colon and two digits.
fn minute(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let number = |digits: &str| match digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse::<i8>().ok(),
        false => None,
    };
    Time::new(number(hour)?, number(minute)?, 0, 0).ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[track_caller]
    fn changes(window: &str, zone: &str, from: &str, expected: &[(&str, bool)]) {
        let (window, zone) = (Window::parse(window).unwrap(), TimeZone::get(zone).unwrap());
        let mut now = at(from);
        for &(change, opens) in expected {
            let stand = window.stand(&zone, now);
            assert_eq!((stand.until(), stand.is_open()), (at(change), !opens), "from {now}");
            now = stand.until();
        }
    }

    #[test]
    fn it_opens_and_closes_by_the_accounts_clock() {
        changes(
            "22:00-06:00",
            "America/New_York",
            "2026-06-10T12:00:00Z",
            &[("2026-06-11T02:00:00Z", true), ("2026-06-11T10:00:00Z", false), ("2026-06-12T02:00:00Z", true)],
        );
        changes("08:00-24:00", "UTC", "2026-06-10T08:00:00Z", &[("2026-06-11T00:00:00Z", false)]);
    }

    #[test]
    fn a_night_is_an_hour_shorter_or_longer_when_the_clocks_change() {
        let berlin = "Europe/Berlin";
        // 02:00 becomes 03:00: seven hours.
        changes(
            "22:00-06:00",
            berlin,
            "2026-03-28T20:00:00Z",
            &[("2026-03-28T21:00:00Z", true), ("2026-03-29T04:00:00Z", false), ("2026-03-29T20:00:00Z", true)],
        );
        // 03:00 becomes 02:00: nine hours.
        changes(
            "22:00-06:00",
            berlin,
            "2026-10-24T12:00:00Z",
            &[("2026-10-24T20:00:00Z", true), ("2026-10-25T05:00:00Z", false), ("2026-10-25T21:00:00Z", true)],
        );
    }

    #[test]
    fn hours_that_are_skipped_are_not_had_and_hours_that_come_twice_count_twice() {
        let berlin = "Europe/Berlin";
        // It begins within the hour that is skipped: it is open as soon as the clock shows a time of it.
        changes(
            "02:30-03:30",
            berlin,
            "2026-03-29T00:00:00Z",
            &[("2026-03-29T01:00:00Z", true), ("2026-03-29T01:30:00Z", false), ("2026-03-30T00:30:00Z", true)],
        );
        // It lies within that hour.
        changes("02:10-02:50", berlin, "2026-03-29T00:00:00Z", &[("2026-03-30T00:10:00Z", true)]);
        // It lies within the hour that comes twice.
        changes(
            "02:10-02:50",
            berlin,
            "2026-10-25T00:00:00Z",
            &[
                ("2026-10-25T00:10:00Z", true),
                ("2026-10-25T00:50:00Z", false),
                ("2026-10-25T01:10:00Z", true),
                ("2026-10-25T01:50:00Z", false),
                ("2026-10-26T01:10:00Z", true),
            ],
        );
        // It ends there: the clock goes back into it.
        changes(
            "01:00-02:30",
            berlin,
            "2026-10-24T23:10:00Z",
            &[("2026-10-25T00:30:00Z", false), ("2026-10-25T01:00:00Z", true), ("2026-10-25T01:30:00Z", false)],
        );
    }

    /// Two years of windows in zones of all kinds, against a look at each quarter of an hour.
    #[test]
    fn between_two_changes_nothing_changes() {
        let quarter = Duration::from_secs(900);
        for zone in ["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu"] {
            let zone = TimeZone::get(zone).unwrap();
            for window in ["22:00-06:00", "02:00-03:00", "01:45-02:15", "00:00-12:00"] {
                let window = Window::parse(window).unwrap();
                let mut now = at("2026-01-01T00:00:00Z");
                let end = at("2027-01-01T00:00:00Z");
                let mut stand = window.stand(&zone, now);
                while now < end {
                    if now >= stand.until() {
                        stand = window.stand(&zone, now);
                    }
                    assert_eq!(stand.is_open(), window.is_open(&zone, now), "{window} at {now}");
                    now = now.saturating_add(quarter).unwrap();
                }
            }
        }
    }

    #[test]
    fn only_two_different_minutes_are_a_window() {
        for text in ["22:00-06:00", "00:00 - 24:00x", "7:00-08:00", "22:00", "22:00-22:00", "22:60-23:00", "-", ""] {
            assert_eq!(Window::parse(text).is_some(), text == "22:00-06:00", "{text}");
        }
        assert_eq!(Window::parse("08:00-24:00").unwrap().to_string(), "08:00-00:00");
        assert!(Window::parse("00:00-24:00").is_none(), "that is no window at all: leave the setting out");
    }
}
