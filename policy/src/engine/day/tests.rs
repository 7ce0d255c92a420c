use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn utc(text: &str) -> Day {
    Day::new(Some(TimeZone::UTC), None, at(text))
}

#[test]
fn a_refusal_shortly_after_midnight_is_tried_again_until_hubspots_day_turns() {
    let mut day = utc("2026-12-01T18:00:00Z");
    assert_eq!(day.refused(None, at("2026-12-01T18:00:00Z")), at("2026-12-02T00:00:00Z"));
    // HubSpot's clock is 60 s behind: each try before that is refused.
    let (mut now, mut tries) = (at("2026-12-02T00:00:00Z"), 0);
    while now < at("2026-12-02T00:01:00Z") {
        assert_eq!(day.spent_until(now), None, "a request may find out at {now}");
        day.told(0, None, now);
        let until = day.refused(None, now);
        assert_eq!(day.spent_until(now), Some(until));
        (now, tries) = (until, tries + 1);
    }
    assert_eq!(day.spent_until(now), None);
    assert!(tries <= 2 && now < at("2026-12-02T00:03:00Z"), "{tries} tries until {now}");
}

#[test]
fn a_day_spent_for_certain_waits_for_midnight_after_a_few_tries() {
    let mut day = utc("2026-12-01T00:00:00Z");
    let (mut now, mut tries) = (at("2026-12-01T00:00:00Z"), 0);
    while now < at("2026-12-02T00:00:00Z") {
        now = day.refused(None, now);
        tries += 1;
    }
    assert_eq!(now, at("2026-12-02T00:00:00Z"));
    assert!(tries <= 10, "{tries} tries");
}

#[test]
fn half_a_day_may_be_used_at_once_and_then_no_more_than_is_over_of_it() {
    let mut day = Day::new(Some(TimeZone::UTC), Some(100), at("2026-12-01T00:00:00Z"));
    (0..49).for_each(|_| day.sent(at("2026-12-01T06:00:00Z")));
    assert_eq!(day.spare_from(at("2026-12-01T06:00:00Z")), None);
    day.sent(at("2026-12-01T06:00:00Z"));
    assert_eq!(day.spare_from(at("2026-12-01T06:00:00Z")), Some(at("2026-12-01T12:00:00Z")));
    assert_eq!(day.spare_from(at("2026-12-01T12:00:00Z")), None);
    assert_eq!(day.spare_from(at("2026-12-02T00:00:00Z")), None, "that day is over");
    day.told(25, None, at("2026-12-01T12:00:00Z"));
    let even = day.spare_from(at("2026-12-01T12:00:00Z"));
    assert_eq!(even, Some(at("2026-12-01T18:00:00Z")), "others use the day as well");
    assert_eq!(utc("2026-12-01T00:00:00Z").spare_from(at("2026-12-01T00:00:00Z")), None, "no limit is known");
}

#[test]
fn requests_refused_together_are_one_refusal() {
    let mut day = utc("2026-12-01T00:00:00Z");
    let until = day.refused(None, at("2026-12-01T00:00:10Z"));
    for _ in 0..15 {
        assert_eq!(day.refused(None, at("2026-12-01T00:00:11Z")), until);
    }
    assert_eq!(until, at("2026-12-01T00:00:40Z"));
}

#[test]
fn what_is_left_says_nothing_shortly_after_midnight() {
    let mut day = utc("2026-12-01T00:00:00Z");
    day.told(1, None, at("2026-12-01T00:00:05Z"));
    day.sent(at("2026-12-01T00:00:06Z"));
    assert_eq!(day.spent_until(at("2026-12-01T00:00:07Z")), None, "it may have been yesterday's");
    day.told(0, None, at("2026-12-01T12:00:00Z"));
    assert_eq!(day.spent_until(at("2026-12-01T12:00:01Z")), Some(at("2026-12-02T00:00:00Z")));
}

#[test]
fn without_a_time_zone_no_day_is_lost_wherever_the_account_is() {
    for zone in ["America/Los_Angeles", "Europe/Berlin", "Asia/Kathmandu", "Pacific/Kiritimati"] {
        let theirs = TimeZone::get(zone).unwrap();
        let mut now = at("2026-12-01T09:40:00Z");
        let midnight = next_midnight(&theirs, now);
        let (mut day, mut tries) = (Day::new(None, None, now), 0);
        while now < midnight {
            now = day.refused(None, now);
            assert_eq!(day.spent_until(now), None);
            tries += 1;
        }
        assert!(now.duration_since(midnight).as_mins() <= 15, "{zone}: {now}, midnight at {midnight}");
        assert!(tries <= 110, "{zone}: {tries} tries");
    }
}

#[test]
fn a_zone_learned_during_a_refusal_says_when_it_ends() {
    let mut day = Day::new(None, None, at("2026-12-01T14:00:00Z"));
    day.refused(None, at("2026-12-01T14:00:00Z"));
    assert!(!day.zone_is_known());
    day.move_to(TimeZone::get("America/New_York").unwrap(), at("2026-12-01T14:00:01Z"));
    assert_eq!(day.spent_until(at("2026-12-01T14:00:01Z")), Some(at("2026-12-02T05:00:00Z")));
}

#[test]
fn the_wait_that_hubspot_asks_for_goes_before_our_own_midnight() {
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3_600));
    let mut day = utc("2026-12-01T20:00:00Z");
    assert_eq!(day.refused(hours(9), at("2026-12-01T20:00:00Z")), at("2026-12-02T05:00:00Z"));
    // A wait that is always short must not become thousands of requests.
    let mut day = utc("2026-12-01T00:00:00Z");
    let (mut now, mut tries) = (at("2026-12-01T01:00:00Z"), 0);
    while now < at("2026-12-02T00:00:00Z") {
        now = day.refused(Some(Duration::from_secs(1)), now);
        tries += 1;
    }
    assert!(tries <= 35, "{tries} tries");
}

#[test]
fn what_is_spent_is_told_with_its_figures_and_a_person_may_doubt_it() {
    let noon = at("2026-12-01T12:00:00Z");
    let mut day = utc("2026-12-01T11:00:00Z");
    day.sent(noon);
    day.told(0, Some(250_000), noon);
    assert_eq!((day.used(), day.used_by_all(), day.limit()), (1, Some(250_000), Some(250_000)));
    assert_eq!(day.why_spent(), "HubSpot's limit of the day is used: 250,000 of 250,000; this service has sent 1");
    assert!(day.spent_until(noon).is_some());
    day.doubt();
    assert_eq!((day.spent_until(noon), day.used_by_all()), (None, None));
    day.refused(None, noon);
    assert_eq!(day.why_spent(), "HubSpot says that the day's requests are spent; this service has sent 1");
    let until = |day: &mut Day| day.spent_until(noon);
    let midnight = until(&mut day);
    assert_eq!(day.spent_words(midnight.unwrap()), day.why_spent(), "it ends with the day");
    day.doubt();
    assert_eq!(day.spent_until(noon), None);

    let soon = day.refused(Some(Duration::from_secs(60)), noon);
    assert_eq!(
        day.spent_words(soon),
        "HubSpot says that the day's requests are spent; this service has sent 1; it is tried again at \
         2026-12-01T12:01:00Z, and goes on at 2026-12-02T00:00:00Z, the account's midnight, at the latest"
    );
    let mut unknown = Day::new(None, None, noon);
    let soon = unknown.refused(None, noon);
    assert!(unknown.spent_words(soon).ends_with(
        "it is tried again at 2026-12-01T12:00:30Z, and again and again until the account's midnight, whose time is not known"
    ));

    let mut day = Day::new(Some(TimeZone::UTC), Some(1), noon);
    day.sent(noon);
    assert_eq!(day.why_spent(), "the 1 requests of rate_limit.daily are sent");
    day.doubt();
    assert!(day.spent_until(noon).is_some(), "the setting's budget is no belief");
}

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
    let mut day = Day::new(Some(TimeZone::UTC), Some(10), wall);
    assert_eq!(day.unwritten_until(now), None, "alone");
    day.keep_to_what_is_written();
    assert!(day.unwritten_until(now).is_some() && day.lacks_written(4, wall));
    let first = day.memory(4, wall).unwrap();
    assert!(day.written(first, wall));
    for _ in 0..4 {
        assert_eq!(day.unwritten_until(now), None);
        day.sent(wall);
    }
    assert!(day.unwritten_until(now).is_some());

    let mut next = Day::new(Some(TimeZone::UTC), Some(10), wall);
    next.recall(first, false, wall);
    assert_eq!(next.used(), 4);
    let tomorrow = first.ends;
    next.recall(first, false, tomorrow);
    assert_eq!((next.left(), next.memory(4, tomorrow).unwrap().used), (Some(10), 4), "a day of its own");
    assert_eq!(day.memory(0, wall).unwrap().used, 4, "exact where nothing more is sent");
    assert_eq!(day.memory(100, wall).unwrap().used, 10, "never more than the budget");
}
