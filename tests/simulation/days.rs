//! Days that are spent while clocks and time zones differ: what is lost is minutes, never a day.

use std::time::Duration;

use hubspot_simulator::limits::RetryAfterForm;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::calm::calm;
use crate::run::run;

/// Requests that HubSpot allows on each of the two days.
const DAILY: u64 = 20;

/// How long after HubSpot's midnight all is done that waited for it, at the latest.
const LATEST: Duration = Duration::from_secs(4 * 60);

/// The same where the time zone is not known.
const LATEST_WITHOUT_ZONE: Duration = Duration::from_secs(20 * 60);

struct Case {
    zone: &'static str,
    zone_is_set: bool,
    clock_behind: Duration,
    headers: bool,
    retry_after: Option<RetryAfterForm>,
}

/// Jobs of one request each, half of which must wait for midnight: how long after HubSpot's midnight the last is done.
fn late(case: &Case) -> Duration {
    let mut scenario = calm(2 * DAILY as usize - 5);
    let zone = TimeZone::get(case.zone).unwrap();
    let noon: Timestamp = "2026-11-20T09:10:00.123456Z".parse().unwrap();
    let midnight = noon.to_zoned_datetime(zone.clone()).tomorrow().unwrap().start_of_day().unwrap().timestamp();
    scenario.epoch = midnight - Duration::from_secs(600);
    scenario.policy.caps.from = 1;
    let portal = &mut scenario.portals[0];
    portal.time_zone = zone.clone();
    portal.policy.time_zone = case.zone_is_set.then_some(zone);
    portal.daily_allowed = Some(DAILY);
    portal.clock_behind = case.clock_behind;
    portal.limits.headers = case.headers;
    portal.limits.retry_after = case.retry_after;
    let summary = run(&scenario, false).unwrap();
    summary.lasted.saturating_sub(Duration::from_secs(600) + case.clock_behind)
}

#[test]
fn a_day_is_never_lost_to_a_clock_that_is_behind() {
    for seconds in [0, 1, 20, 60] {
        for (headers, retry_after) in [(true, None), (false, None), (true, Some(RetryAfterForm::Seconds))] {
            let clock_behind = Duration::from_secs(seconds);
            let late = late(&Case { zone: "Europe/Berlin", zone_is_set: true, clock_behind, headers, retry_after });
            assert!(late <= LATEST, "{late:?} lost to a clock that is {seconds} s behind");
        }
    }
}

#[test]
fn a_day_is_never_lost_where_no_time_zone_is_set() {
    for zone in ["America/Los_Angeles", "Europe/Berlin", "Asia/Kathmandu", "UTC"] {
        for headers in [true, false] {
            let clock_behind = Duration::from_secs(60);
            let late = late(&Case { zone, zone_is_set: false, clock_behind, headers, retry_after: None });
            assert!(late <= LATEST_WITHOUT_ZONE, "{late:?} lost in {zone}");
        }
    }
}
