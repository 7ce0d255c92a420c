use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

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
                pace.accepted(None, &RateHeaders::default(), now);
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
fn a_second_limit_far_below_the_setting_is_learned_and_few_requests_are_spent_on_finding_out() {
    // Where the limit is small, what the first refusals cost weighs more.
    for (limit, accepted_for_a_refusal) in [(20u32, 20), (5, 15), (1, 15)] {
        let mut pace = Pace::new(ceiling(1_000, Duration::from_secs(10)), Tick::ZERO);
        let (mut now, mut arrivals, mut refused, mut accepted) = (Tick::ZERO, Vec::<Tick>::new(), 0, 0);
        while accepted < 600 {
            match pace.permit(now) {
                Ok(slot) => {
                    let recent =
                        arrivals.iter().rev().take_while(|&&at| now.since(at) < Duration::from_secs(1)).count();
                    if recent < limit as usize {
                        arrivals.push(now);
                        accepted += 1;
                        pace.accepted(None, &RateHeaders::default(), now);
                    } else {
                        refused += 1;
                        pace.throttled(slot, Policy::Secondly, None, now);
                    }
                }
                Err(until) => now = until,
            }
        }
        assert!(
            refused * accepted_for_a_refusal <= accepted,
            "{refused} refused of {} under {limit} a second",
            refused + accepted
        );
        let most = Duration::from_secs(600 * 2) / limit;
        assert!(now < Tick::ZERO + most, "most of {limit} a second is used: {now:?}");
    }
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
    pace.accepted(None, &RateHeaders::default(), now);
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
    pace.accepted(None, &told, Tick::ZERO);
    assert_eq!(pace.ceiling().requests.get(), 40);
    let later = (1..80).fold(Tick::ZERO, |at, _| {
        pace.accepted(None, &RateHeaders::default(), at);
        at + Duration::from_secs(10)
    });
    pace.accepted(None, &RateHeaders::default(), later);
    assert_eq!(pace.ceiling().requests.get(), 100, "never above the setting");
}

/// A worker that is alone on its limit, whose answers take their time: the span of the log's interval need not be that of
/// the limit, and now and then the process stands still.
fn ceiling_alone(setting: Ceiling, latencies: &[u64], freezes: &[(u64, u64)]) -> u32 {
    const LIMIT: u64 = 100;
    const COUNTED: usize = 200;
    const INTERVAL: Duration = Duration::from_secs(10);
    let mut pace = Pace::new(setting, Tick::ZERO);
    // When each answer comes, to which request, and what it says.
    let mut answers: BTreeMap<(Tick, usize), (Slot, u64)> = BTreeMap::new();
    let (mut now, mut arrivals) = (Tick::ZERO, Vec::<Tick>::new());
    let mut freezes = freezes.iter().peekable();
    while now < Tick::ZERO + Duration::from_secs(120) {
        if let Some((_, lasting)) = freezes.next_if(|(at, _)| Tick::ZERO + Duration::from_millis(*at) <= now) {
            now = now + Duration::from_millis(*lasting);
        }
        while let Some(((_, _), (slot, remaining))) =
            answers.first_entry().filter(|one| one.key().0 <= now).map(|one| one.remove_entry())
        {
            let told = RateHeaders { max: Some(LIMIT), remaining: Some(remaining), ..RateHeaders::default() };
            pace.accepted(Some(slot), &told, now);
        }
        let next = match pace.permit(now) {
            Ok(slot) => {
                let latency = Duration::from_millis(latencies[arrivals.len() % latencies.len()]);
                // It arrives soon, and is dealt with at leisure.
                let arrival = now + (latency / 2).min(Duration::from_millis(80));
                arrivals.push(arrival);
                // Not quite in their order.
                let latest = arrivals.iter().rev().take(COUNTED);
                let counted = latest.filter(|&&at| at <= arrival && arrival.since(at) < INTERVAL).count();
                answers.insert((now + latency, arrivals.len()), (slot, LIMIT.saturating_sub(counted as u64)));
                now
            }
            Err(until) => until,
        };
        let answer = answers.first_key_value().map(|((at, _), _)| *at);
        now = answer.filter(|&at| at > now && at < next).unwrap_or(next);
    }
    pace.ceiling().requests.get()
}

#[test]
fn slow_answers_are_not_taken_for_others_requests() {
    let ten_seconds = ceiling(100, Duration::from_secs(10));
    for latency in [50, 300, 700, 1_500, 4_000, 15_000] {
        assert_eq!(ceiling_alone(ten_seconds, &[latency], &[]), 100, "{latency} ms");
    }
    assert_eq!(ceiling_alone(ceiling(10, Duration::from_secs(1)), &[200], &[]), 10, "an interval of the user's own");
    assert_eq!(
        ceiling_alone(ten_seconds, &[100], &[(30_000, 9_000), (70_000, 30_000)]),
        100,
        "a process that stood still"
    );
}

/// What a worker knows of whoever sent before it.
#[derive(Clone, Copy, Debug)]
enum Takeover {
    Told,
    Unknown,
    /// And this many milliseconds later it finds that somebody may have sent until then.
    ToldThenUnknown {
        later: u64,
    },
}

fn takeover() -> impl Strategy<Value = Takeover> {
    prop_oneof![
        Just(Takeover::Told),
        Just(Takeover::Unknown),
        (0u64..12_000).prop_map(|later| Takeover::ToldThenUnknown { later }),
    ]
}

/// The last holder's consumer is still counted when the next one looks: that it may have sent until now says no more than
/// what it told, or than was assumed of it.
#[test]
fn what_others_may_have_sent_counts_once() {
    let limit = ceiling(100, Duration::from_secs(10));
    let begun = Tick::ZERO + Duration::from_secs(1_000);
    let mut before = Pace::new(limit, begun);
    before.assume_spent(begun);
    for told in [true, false] {
        let mut pace = Pace::new(limit, begun);
        if told {
            pace.follow(&before.recent(begun), begun)
        } else {
            pace.assume_spent(begun)
        }
        let now = begun + Duration::from_millis(250);
        pace.assume_spent(now);
        let first = pace.permit(now).err().map(|until| until.since(now));
        assert!(first.is_some_and(|wait| wait < Duration::from_millis(1_500)), "{first:?}");
    }
}

/// One worker after another, each of which sends as soon and as much as it may.
fn relay(requests: u32, takeover: Takeover, gaps: &[u64]) -> usize {
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
        match takeover {
            Takeover::Told => pace.follow(&recent, now),
            Takeover::Unknown => pace.assume_spent(now),
            Takeover::ToldThenUnknown { later } => {
                pace.follow(&recent, now);
                now = now + Duration::from_millis(later);
                pace.assume_spent(now);
            }
        }
    }
    most_in(&sent, interval + Duration::from_millis(19))
}

proptest! {
    #[test]
    fn no_rolling_interval_holds_more_than_the_ceiling_when_workers_follow_each_other(
        requests in 1u32..60, takeover in takeover(), gaps in prop::collection::vec(0u64..20_000, 1..8),
    ) {
        prop_assert!(relay(requests, takeover, &gaps) <= requests as usize);
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
