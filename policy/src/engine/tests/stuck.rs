//! Records that are stuck: every request with one of them fails as if HubSpot were in trouble.

use std::num::NonZeroU32;

use super::super::background::Urgency;
use super::*;
use crate::engine::pace::Ceiling;
use crate::engine::pack::Caps;

/// What HubSpot makes of a request with a stuck record.
const FAILURES: [(u16, &str); 9] = [
    (408, ""),
    (409, r#"{"status":"error","category":"CONFLICT","message":"busy"}"#),
    (423, ""),
    (500, r#"{"status":"error","message":"internal error"}"#),
    (502, "<html>"),
    (503, ""),
    (504, ""),
    (524, ""),
    (200, "<html>"),
];

fn failing(number: usize) -> Reply {
    FAILURES.get(number).map_or(Reply::Silence(Silence::Reset), |&(status, body)| answer(status, body))
}

/// A bench in which requests with a `from` of these fail in the way of that number.
fn bench_with_stuck(policy: EnginePolicy, stuck: Vec<u64>, number: usize) -> Bench {
    Bench::new(policy, vec![account()], move |call, _| {
        match call.pairs.iter().any(|pair| stuck.contains(&pair.from.0.get())) {
            true => failing(number),
            false => answer(204, ""),
        }
    })
}

/// Admits again what was parked, as the broker would: the jobs of one pair each that `of` names.
fn readmit(bench: &mut Bench, of: &BTreeMap<JobKey, u64>) -> BTreeMap<JobKey, u64> {
    let mut again = BTreeMap::new();
    for parked in std::mem::take(&mut bench.parked) {
        let from = of[&parked.job];
        again.insert(admit_carried(bench, from, parked.carried), from);
    }
    again
}

fn admit_carried(bench: &mut Bench, from: u64, carried: Carried) -> JobKey {
    bench.engine.admit(new_job(("contacts", "companies"), [whole(&[pair(from, 7)])], carried), bench.now)
}

#[test]
fn a_stuck_record_costs_its_neighbours_seconds_and_is_no_outage() {
    for number in 0..=FAILURES.len() {
        for stuck in [vec![1], vec![57], vec![100], vec![3, 50, 99]] {
            let what = format!("{:?}, {stuck:?}", failing(number));
            let mut bench = bench_with_stuck(policy(), stuck.clone(), number);
            for n in 1..=100u64 {
                bench.admit(("contacts", "companies"), &[pair(n, 7)]);
            }
            bench.run(Duration::from_secs(60));
            assert_eq!(bench.settled(Status::Archived), 100 - stuck.len(), "{what}");
            assert_eq!(bench.settled(Status::Failed), 0, "{what}");
            assert!(!bench.paused(PauseKind::Outage), "{what}");
            assert!(bench.sent.len() <= 30 + 40 * stuck.len(), "{} requests: {what}", bench.sent.len());
        }
    }
}

#[test]
fn a_job_that_is_all_there_is_and_stuck_is_no_outage() {
    let mut bench = bench_with_stuck(policy(), vec![1], 3);
    bench.admit(("contacts", "companies"), &[pair(1, 7)]);
    bench.run(Duration::from_secs(120));
    assert!(!bench.paused(PauseKind::Outage));
    assert_eq!((bench.sent.len(), bench.parked.len()), (5, 1));
}

/// Whoever looks at a pair that fails by itself sees when it goes again.
#[test]
fn the_next_try_of_a_pair_that_was_alone_is_told() {
    let mut bench = bench_with_stuck(policy(), vec![1], 3);
    bench.admit(("contacts", "companies"), &[pair(1, 7)]);
    let step = Duration::from_millis(10);
    for tries in 1..=4 {
        while bench.sent.len() < tries || !bench.on_wire.is_empty() {
            bench.run(step);
        }
        let lane = bench.sent[0].1.lane.clone();
        let next = bench.engine.next_try(&lane, pair(1, 7)).unwrap();
        assert_eq!(bench.engine.next_try(&lane, pair(2, 7)), None);
        while bench.sent.len() == tries {
            bench.run(step);
        }
        let went = bench.sent[tries].0;
        assert!(went >= next && went.since(next) <= Duration::from_secs(1), "{next:?}, {went:?}");
    }
    bench.run(Duration::from_secs(60));
    assert_eq!(bench.parked.len(), 1);
    assert_eq!(bench.engine.next_try(&bench.sent[0].1.lane, pair(1, 7)), None, "it comes back from the broker");
}

/// A live lane and one of the background have the same name.
#[test]
fn the_next_try_is_told_of_a_pair_in_either_lane_of_a_name() {
    let mut bench = bench_with_stuck(policy(), vec![1, 2], 3);
    bench.admit(("contacts", "companies"), &[pair(1, 7)]);
    let step = Duration::from_millis(10);
    while bench.sent.is_empty() || !bench.on_wire.is_empty() {
        bench.run(step);
    }
    let job = new_job(("contacts", "companies"), [whole(&[pair(2, 7)])], Carried::fresh(bench.now.wall));
    bench.engine.admit_as(Urgency::Background, job, bench.now);
    let lane = bench.sent[0].1.lane.clone();
    let both_wait = |bench: &Bench| [1, 2].iter().all(|n| bench.engine.next_try(&lane, pair(*n, 7)).is_some());
    let end = bench.now.tick + Duration::from_secs(20);
    while !both_wait(&bench) && bench.now.tick < end {
        bench.run(step);
    }
    assert!(both_wait(&bench));
}

#[test]
fn what_comes_back_from_the_delay_queue_does_not_sink_fresh_neighbours() {
    let stuck = vec![11, 12, 13];
    let mut bench = bench_with_stuck(policy(), stuck.clone(), 3);
    let mut jobs = BTreeMap::new();
    for n in 1..=100u64 {
        jobs.insert(bench.admit(("contacts", "companies"), &[pair(n, 7)]), n);
    }
    bench.run(Duration::from_secs(120));
    for round in 1..=5u64 {
        let came_back = readmit(&mut bench, &jobs);
        let mut parked: Vec<u64> = came_back.values().copied().collect();
        parked.sort_unstable();
        assert_eq!(parked, stuck, "only what is stuck was parked");
        jobs = came_back;
        let fresh = (1..=50).map(|n| bench.admit(("contacts", "companies"), &[pair(round * 1_000 + n, 7)]));
        let fresh: Vec<JobKey> = fresh.collect();
        let (began, sent) = (bench.now.tick, bench.sent.len());
        bench.run(Duration::from_secs(60));
        assert!(bench.sent.len() - sent <= 5, "{} requests", bench.sent.len() - sent);
        for job in fresh {
            let (at, end) = &bench.ends[&job];
            assert_eq!(
                *end,
                End::Settled { status: Status::Archived, failed: 0, attempts: 1 },
                "no failure because of a neighbour"
            );
            assert!(at.since(began) < Duration::from_secs(3));
        }
        assert!(!bench.paused(PauseKind::Outage));
    }
    let age = bench.parked.iter().map(|parked| parked.carried.parks).collect::<Vec<_>>();
    assert_eq!(age, [6, 6, 6], "and they are parked on");
}

#[test]
fn a_record_that_is_no_longer_stuck_is_archived() {
    let mended = Tick::ZERO + Duration::from_secs(300);
    let mut bench = Bench::new(policy(), vec![account()], move |call, now| {
        match now < mended && call.pairs.iter().any(|pair| pair.from.0.get() == 5) {
            true => answer(500, ""),
            false => answer(204, ""),
        }
    });
    let jobs: BTreeMap<JobKey, u64> =
        (1..=100).map(|n| (bench.admit(("contacts", "companies"), &[pair(n, 7)]), n)).collect();
    bench.run(Duration::from_secs(301));
    readmit(&mut bench, &jobs);
    bench.run(Duration::from_secs(60));
    assert_eq!(bench.settled(Status::Archived), 100);
    assert!(bench.engine.remains() == Remains::default());
}

/// The account is served again after ten minutes. Until then nothing is halved, whatever the answers are.
#[test]
fn an_outage_is_never_searched() {
    let end = Tick::ZERO + Duration::from_secs(600);
    for number in [3, 4, 5, 6, 7, 8, FAILURES.len()] {
        let mut bench = Bench::new(policy(), vec![account()], move |_, now| match now < end {
            true => failing(number),
            false => answer(204, ""),
        });
        let mut jobs: BTreeMap<JobKey, u64> =
            (1..=2_000).map(|n| (bench.admit(("contacts", "companies"), &[pair(n, 7)]), n)).collect();
        for _ in 0..70 {
            bench.run(Duration::from_secs(10));
            let came_back = readmit(&mut bench, &jobs);
            jobs.extend(came_back);
        }
        let during: Vec<_> = bench.sent.iter().filter(|(at, _)| *at < end).collect();
        assert!(during.len() <= 120, "{} requests in ten minutes: {:?}", during.len(), failing(number));
        assert!(
            !bench.notices.iter().any(|notice| matches!(notice, Notice::Isolating { .. })),
            "{:?}",
            failing(number)
        );
        assert!(bench.paused(PauseKind::Outage));
        assert_eq!(bench.settled(Status::Archived), 2_000, "{:?}", failing(number));
    }
}

#[test]
fn without_a_broker_a_stuck_record_is_tried_ever_more_rarely() {
    let waiting = Waiting::InHand { give_up_after: Duration::from_secs(30) };
    let mut bench = bench_with_stuck(EnginePolicy { waiting, ..policy() }, vec![42], 3);
    for n in 1..=100u64 {
        bench.admit(("contacts", "companies"), &[pair(n, 7)]);
    }
    bench.run(Duration::from_secs(60));
    assert_eq!(bench.settled(Status::Archived), 99);
    let sent = bench.sent.len();
    bench.run(Duration::from_secs(86_400 - 60));
    assert!(bench.sent.len() - sent <= 150, "{} requests", bench.sent.len() - sent);
    bench.run(Duration::from_secs(1_200));
    assert_eq!(bench.settled(Status::Failed), 1);
    assert!(!bench.paused(PauseKind::Outage));
}

/// What was done of a job that was parked is done again, but for the pair that is stuck before all others are.
#[test]
fn a_job_of_many_pairs_loses_only_its_stuck_one() {
    let retry = RetryPolicy { max_age: Duration::from_secs(30), ..policy().retry };
    let mut bench = bench_with_stuck(EnginePolicy { retry, ..policy() }, vec![57], 3);
    let pairs: Vec<Pair> = (1..=100).map(|from| pair(from, 7)).collect();
    let mut carried = Carried::fresh(bench.now.wall);
    for _ in 0..4 {
        let job = bench.engine.admit(new_job(("contacts", "companies"), [whole(&pairs)], carried), bench.now);
        bench.run(Duration::from_secs(60));
        match bench.ends.get(&job).map(|(_, end)| end) {
            Some(End::Settled { status, failed, .. }) => {
                assert_eq!((*status, *failed), (Status::Partial, 1));
                return;
            }
            _ => carried = bench.parked.pop().unwrap().carried,
        }
    }
    panic!("the job never ended");
}

/// The `from` of the first bad pair, in the answer's `context`.
fn names_the_first(call: &BatchCall, is_bad: impl Fn(u64) -> bool, status: u16) -> Reply {
    let bad = call.pairs.iter().map(|pair| pair.from).find(|from| is_bad(from.0.get()));
    bad.map_or(answer(204, ""), |bad| {
        let body = r#"{"status":"error","category":"VALIDATION_ERROR","message":"bad","context":{"fromObjectId":["#;
        answer(status, &format!("{body}\"{bad}\"]}}}}"))
    })
}

#[test]
fn one_named_an_answer_costs_no_more_than_a_search() {
    for requests in [10, 200] {
        let mut bench =
            Bench::new(EnginePolicy { isolation_requests: requests, ..policy() }, vec![account()], |call, _| {
                names_the_first(call, |_| true, 400)
            });
        let pairs: Vec<Pair> = (1..=100).flat_map(|from| (1..=10).map(move |to| pair(from, to))).collect();
        bench.admit(("contacts", "companies"), &pairs);
        bench.run(Duration::from_secs(300));
        assert_eq!(bench.settled(Status::Failed), 1);
        assert!(bench.sent.len() <= 1 + requests as usize, "{} requests, {requests} allowed", bench.sent.len());
    }
}

#[test]
fn a_few_bad_records_named_one_an_answer_are_all_that_fails() {
    for status in [400, 409] {
        let bad = |from: u64| from.is_multiple_of(15);
        let mut bench = Bench::new(policy(), vec![account()], move |call, _| names_the_first(call, bad, status));
        let jobs: Vec<(u64, JobKey)> =
            (1..=100).map(|n| (n, bench.admit(("contacts", "companies"), &[pair(n, 7)]))).collect();
        bench.run(Duration::from_secs(60));
        for (n, job) in jobs {
            let end = bench.ends.get(&job).map(|(_, end)| end);
            let archived = matches!(end, Some(End::Settled { status: Status::Archived, .. }));
            assert_eq!(archived, !bad(n), "{n}: {end:?}");
        }
        assert!(!bench.paused(PauseKind::Outage));
        assert!(bench.sent.len() <= 80, "{} requests", bench.sent.len());
    }
}

#[test]
fn a_pause_for_an_outage_says_how_many_requests_failed() {
    let why = |bench: &Bench| {
        let detail = bench.notices.iter().find_map(|notice| {
            if let Notice::Paused { kind: PauseKind::Outage, detail, .. } = notice {
                Some(detail.clone())
            } else {
                None
            }
        });
        detail.unwrap_or_default()
    };
    let mut bench = Bench::new(policy(), vec![account()], |_, _| answer(500, ""));
    for n in 1..=1_000 {
        bench.admit(("contacts", "companies"), &[pair(n, 7)]);
    }
    bench.run(Duration::from_secs(30));
    assert!(why(&bench).starts_with("it began with 5 failures in a row"), "{}", why(&bench));

    // While others are served, a batch of which all pairs fail is taken apart. Then only its parts are left.
    let mut bench = bench_with_stuck(policy(), (1..=100).collect(), 3);
    for n in 1..=100 {
        bench.admit(("contacts", "companies"), &[pair(n, 7)]);
    }
    for n in 0..20 {
        bench.admit(("contacts", "deals"), &[pair(1_000 + n, 7)]);
        bench.run(Duration::from_millis(100));
    }
    bench.run(Duration::from_secs(120));
    assert!(why(&bench).starts_with("it began with 20 failures in a row"), "{}", why(&bench));
}

/// The outage begins with 503, then requests time out, then HubSpot answers 429: the reason told is the latest, the pause
/// is one, and the log has one line.
#[test]
fn a_pause_for_an_outage_tells_the_latest_failure() {
    let second = |seconds: u64| Tick::from_micros(seconds * 1_000_000);
    let reply = move |_: &BatchCall, now: Tick| match now {
        early if early < second(10) => answer(503, ""),
        early if early < second(40) => Reply::Silence(Silence::TimedOut),
        _ => answer(429, ""),
    };
    let mut bench = Bench::new(policy(), vec![account()], reply);
    let pause = |bench: &Bench| bench.engine.status(bench.now).accounts[0].pause.clone().unwrap();
    for n in 1..=1_000 {
        bench.admit(("contacts", "companies"), &[pair(n, 7)]);
    }
    bench.run(Duration::from_secs(8));
    let first = pause(&bench);
    assert!(first.detail.starts_with("it began with 5 failures in a row; the latest: "), "{first:?}");
    assert!(first.detail.contains("503"), "{first:?}");
    for (seconds, latest) in [(30, "did not answer in time"), (30, "429")] {
        bench.run(Duration::from_secs(seconds));
        let now = pause(&bench);
        assert_eq!((now.kind, now.since), (PauseKind::Outage, first.since));
        assert!(now.detail.starts_with("it began with 5 failures in a row; the latest: "), "{now:?}");
        assert!(now.detail.contains(latest) && !now.detail.contains("503"), "{now:?}");
    }
    let paused = bench.notices.iter().filter(|notice| matches!(notice, Notice::Paused { .. }));
    assert_eq!(paused.count(), 1);
}

/// What HubSpot names can be a record with many pairs, of which one is stuck. With one quick try they must not be parked
/// together, to come back together.
#[test]
fn pairs_that_are_named_together_are_taken_apart_where_there_is_one_quick_try() {
    let retry = RetryPolicy { max_attempts: 1, ..policy().retry };
    let mut bench = Bench::new(EnginePolicy { retry, ..policy() }, vec![account()], |call, _| {
        let is_bad = |pair: &Pair| pair.from.0.get() == 3 && pair.to.0.get() == 5;
        names_the_first(call, |from| from == 3 && call.pairs.iter().any(is_bad), 502)
    });
    let mut jobs = Vec::new();
    for from in 1..=9 {
        let pairs: Vec<Pair> = (1..=8).map(|to| pair(from, to)).collect();
        jobs.push((from, bench.admit(("contacts", "companies"), &pairs[..4])));
        jobs.push((from, bench.admit(("contacts", "companies"), &pairs[4..])));
    }
    bench.run(Duration::from_secs(60));
    assert_eq!(bench.settled(Status::Archived), 17);
    assert_eq!(bench.parked.len(), 1, "only the job of the stuck pair");
}

/// Wherever the stuck pair stands among those that are named with it, and whichever half is tried first.
#[test]
fn only_the_stuck_one_of_those_that_are_named_together_is_parked() {
    for stuck in 1..=8 {
        let retry = RetryPolicy { max_attempts: 1, ..policy().retry };
        let mut bench = Bench::new(EnginePolicy { retry, ..policy() }, vec![account()], move |call, _| {
            let is_bad = |pair: &Pair| pair.from.0.get() == 3 && pair.to.0.get() == stuck;
            names_the_first(call, |from| from == 3 && call.pairs.iter().any(is_bad), 502)
        });
        for from in 1..=9 {
            for to in 1..=8 {
                bench.admit(("contacts", "companies"), &[pair(from, to)]);
            }
        }
        bench.run(Duration::from_secs(60));
        assert_eq!((bench.settled(Status::Archived), bench.parked.len()), (71, 1), "{stuck} is stuck");
    }
}

/// All that a request carries can be stuck, and HubSpot says so of each pair. That is no outage, and the other pairs of
/// the job are archived before it is parked, or it would come back to the same each time.
#[test]
fn a_batch_of_which_each_pair_is_named_does_not_take_its_job_away() {
    let retry = RetryPolicy { max_attempts: 1, max_age: Duration::from_secs(30), ..policy().retry };
    let caps = Caps { pairs: 10, ..policy().caps };
    let mut bench = Bench::new(EnginePolicy { retry, caps, ..policy() }, vec![account()], |call, _| {
        let stuck = call.pairs.iter().filter(|pair| pair.from.0.get() == 1);
        let errors: Vec<String> = stuck
            .map(|Pair { from, to }| {
                format!(r#"{{"status":"error","context":{{"fromObjectId":["{from}"],"toObjectId":["{to}"]}}}}"#)
            })
            .collect();
        match errors.is_empty() {
            true => answer(204, ""),
            false => answer(504, &format!(r#"{{"status":"error","message":"busy","errors":[{}]}}"#, errors.join(","))),
        }
    });
    let pairs: Vec<Pair> = (1..=9).flat_map(|from| (1..=10).map(move |to| pair(from, to))).collect();
    let mut carried = Carried::fresh(bench.now.wall);
    for _ in 0..4 {
        let job = bench.engine.admit(new_job(("contacts", "companies"), [whole(&pairs)], carried), bench.now);
        bench.run(Duration::from_secs(60));
        assert!(!bench.paused(PauseKind::Outage));
        match bench.ends.get(&job).map(|(_, end)| end) {
            Some(End::Settled { status, failed, .. }) => {
                assert_eq!((*status, *failed), (Status::Partial, 10));
                return;
            }
            _ => carried = bench.parked.pop().unwrap().carried,
        }
    }
    panic!("the job never ended");
}

/// Each record of the batch has a stuck pair and a good one, and an error that names the record alone.
#[test]
fn pairs_of_each_record_are_taken_apart_where_all_records_are_named() {
    for attempts in [1, 5] {
        let retry = RetryPolicy { max_attempts: attempts, ..policy().retry };
        let mut bench = Bench::new(EnginePolicy { retry, ..policy() }, vec![account()], |call, _| {
            let stuck = call.pairs.iter().filter(|pair| pair.to.0.get() == 1);
            let errors =
                stuck.map(|pair| format!(r#"{{"status":"error","context":{{"fromObjectId":["{}"]}}}}"#, pair.from));
            let errors: Vec<String> = errors.collect();
            match errors.is_empty() {
                true => answer(204, ""),
                false => {
                    answer(503, &format!(r#"{{"status":"error","message":"busy","errors":[{}]}}"#, errors.join(",")))
                }
            }
        });
        for from in 1..=3 {
            for to in 1..=2 {
                bench.admit(("contacts", "companies"), &[pair(from, to)]);
            }
        }
        bench.run(Duration::from_secs(120));
        assert_eq!((bench.settled(Status::Archived), bench.parked.len()), (3, 3), "{attempts} attempts");
    }
}

/// One pair is refused together with others, and fails by itself. The other half of the search waits for its answer, which
/// never comes.
#[test]
fn a_half_does_not_wait_for_the_answer_about_a_stuck_pair() {
    for waiting in [Waiting::InHand { give_up_after: Duration::from_secs(30) }, policy().waiting] {
        let mut bench = Bench::new(EnginePolicy { waiting, ..policy() }, vec![account()], |call, _| {
            match (call.pairs.iter().any(|pair| pair.from.0.get() == 1), call.pairs.len()) {
                (false, _) => answer(204, ""),
                (true, 1) => answer(500, ""),
                (true, _) => answer(400, r#"{"status":"error","category":"VALIDATION_ERROR","message":"bad"}"#),
            }
        });
        let pairs: Vec<Pair> = (1..=4).map(|from| pair(from, 7)).collect();
        bench.admit(("contacts", "companies"), &pairs[..2]);
        for &pair in &pairs[1..] {
            bench.admit(("contacts", "companies"), &[pair]);
        }
        bench.run(Duration::from_secs(60));
        assert_eq!(bench.settled(Status::Archived), 3, "{waiting:?}");
        if let Waiting::InHand { .. } = waiting {
            bench.run(Duration::from_secs(87_000));
            assert_eq!((bench.settled(Status::Partial), bench.engine.held_jobs()), (1, 0), "the job with it ends too");
        }
    }
}

/// A whole batch can be of one record, which each answer names, so that none of its pairs is ever told from the others.
#[test]
fn pairs_of_one_named_record_are_taken_apart_within_the_allowance() {
    for attempts in [1, 5] {
        let retry = RetryPolicy { max_attempts: attempts, ..policy().retry };
        let mut bench = Bench::new(EnginePolicy { retry, ..policy() }, vec![account()], |call, _| {
            let is_bad = |pair: &Pair| pair.to.0.get() == 5;
            names_the_first(call, |_| call.pairs.iter().any(is_bad), 409)
        });
        for to in 1..=64 {
            bench.admit(("contacts", "companies"), &[pair(3, to)]);
        }
        bench.run(Duration::from_secs(60));
        assert_eq!(bench.settled(Status::Archived), 63, "{attempts} attempts");
        assert!(bench.sent.len() <= 40, "{} requests", bench.sent.len());
    }
}

/// A trial that failed goes again like any batch that failed; what counts is how many are begun.
#[test]
fn a_search_for_what_fails_never_passes_its_allowance() {
    for requests in [1, 10, 50] {
        for named in [false, true] {
            let isolation = EnginePolicy { isolation_requests: requests, ..policy() };
            let mut bench =
                Bench::new(isolation, vec![account()], move |call, _| match (call.lane.to_type.as_written(), named) {
                    ("companies", true) => names_the_first(call, |_| true, 500),
                    ("companies", false) => answer(500, ""),
                    _ => answer(204, ""),
                });
            for from in 1..=100 {
                bench.admit(("contacts", "companies"), &[pair(from, 7)]);
            }
            // Others are served all the time.
            for from in 1..=120 {
                bench.admit(("contacts", "deals"), &[pair(from, 7)]);
                bench.run(Duration::from_millis(500));
            }
            let begun = |(_, call): &&(Tick, BatchCall)| call.sealed == Sealed::Trial && call.failures == 0;
            let trials = bench.sent.iter().filter(begun).count();
            assert!(trials <= requests as usize, "{trials} trials, {requests} allowed, named: {named}");
        }
    }
}

/// Requests until all pairs that are not stuck are archived, where the account may have one request at a time.
fn requests_beside(stuck: impl Fn(u64) -> bool + 'static, pairs: u64) -> usize {
    let slow = AccountPolicy { max_in_flight: 1, ..account() };
    let good = (1..=pairs).filter(|&from| !stuck(from)).count();
    let mut bench = Bench::new(policy(), vec![slow], move |call, _| {
        let fails = call.pairs.iter().any(|pair| stuck(pair.from.0.get()));
        if fails { answer(423, "") } else { answer(204, "") }
    });
    for from in 1..=pairs {
        bench.admit(("contacts", "companies"), &[pair(from, 7)]);
    }
    while bench.settled(Status::Archived) < good {
        bench.run(Duration::from_secs(1));
        assert!(bench.now.tick < Tick::ZERO + Duration::from_secs(3_600), "an hour has passed");
    }
    assert!(!bench.paused(PauseKind::Outage));
    bench.sent.len()
}

#[test]
fn the_more_pairs_are_stuck_the_fewer_go_together() {
    let few = requests_beside(|from| from == 177, 600);
    assert!(few <= 40, "one of 600: {few} requests");
    let some = requests_beside(|from| from % 20 == 0, 600);
    assert!(some <= 400, "one in twenty: {some} requests");
    let many = requests_beside(|from| from % 3 == 0, 600);
    assert!(many <= 1_300, "a third: {many} requests");
}

#[test]
fn while_others_wait_one_request_in_four_is_for_a_stuck_pair() {
    const STUCK: u64 = 200;
    let is_stuck = |call: &BatchCall| call.pairs.iter().any(|pair| pair.from.0.get() <= STUCK);
    let slow = AccountPolicy { max_in_flight: 1, ..account() };
    let mut bench =
        Bench::new(policy(), vec![slow], move |call, _| if is_stuck(call) { answer(503, "") } else { answer(204, "") });
    let mut jobs = BTreeMap::new();
    for n in 1..=STUCK + 20 {
        jobs.insert(bench.admit(("contacts", "companies"), &[pair(n, 7)]), n);
    }
    bench.run(Duration::from_secs(600));
    assert_eq!((bench.settled(Status::Archived), bench.parked.len()), (20, 200));
    // They come back all at once, and others come with them, in the same lane and in another one.
    readmit(&mut bench, &jobs);
    for n in 0..10_000u64 {
        let types = if n % 2 == 0 { ("contacts", "companies") } else { ("contacts", "deals") };
        bench.admit(types, &[pair(1_000 + n, 7)]);
    }
    let before = bench.sent.len();
    while bench.settled(Status::Archived) < 10_020 {
        bench.run(Duration::from_millis(100));
    }
    let during = &bench.sent[before..];
    let of_stuck = during.iter().filter(|(_, call)| is_stuck(call)).count();
    assert!(of_stuck * 4 <= during.len() + 4, "{of_stuck} of {} requests", during.len());
    assert!(of_stuck * 5 >= during.len(), "what may be over is found out: {of_stuck} of {} requests", during.len());
    let fresh = during.len() - of_stuck;
    assert!(fresh <= 102, "full batches: {fresh} requests for 10,000 pairs");
}

/// The connection is lost between two tries of a pair that was found to be stuck, and its job comes again.
#[test]
fn a_pair_found_stuck_is_known_though_its_job_leaves_before_the_next_try() {
    let mut bench = bench_with_stuck(policy(), vec![5], 3);
    let jobs: Vec<JobKey> = (1..=10).map(|n| bench.admit(("contacts", "companies"), &[pair(n, 7)])).collect();
    let failed_alone = |bench: &Bench| bench.sent.iter().any(|(_, call)| *call.pairs == [pair(5, 7)]);
    while !failed_alone(&bench) || !bench.on_wire.is_empty() {
        bench.run(Duration::from_millis(1));
    }
    bench.engine.forget(jobs[4], bench.now);
    bench.obey();
    assert_eq!(bench.ends[&jobs[4]].1, End::HandedBack);
    let sent = bench.sent.len();
    for n in 5..=20 {
        bench.admit(("contacts", "companies"), &[pair(n, 7)]);
    }
    bench.run(Duration::from_secs(5));
    let beside = |call: &BatchCall| call.pairs.len() > 1 && call.pairs.contains(&pair(5, 7));
    assert!(!bench.sent[sent..].iter().any(|(_, call)| beside(call)), "it leaves by itself");
}

/// Whichever of them has its turn first: else those behind it would never be seen to have been mended.
#[test]
fn each_stuck_pair_of_a_job_has_a_try_each_time_it_comes_back() {
    const STUCK: [u64; 3] = [3, 57, 99];
    let mended = Tick::ZERO + Duration::from_secs(3_000);
    let mut bench = Bench::new(policy(), vec![account()], move |call, now| {
        let is_stuck = |from: u64| from == STUCK[0] || (now < mended && STUCK.contains(&from));
        let fails = call.pairs.iter().any(|pair| is_stuck(pair.from.0.get()));
        if fails { answer(500, "") } else { answer(204, "") }
    });
    let pairs: Vec<Pair> = (1..=300).map(|from| pair(from, 7)).collect();
    let mut carried = Carried::fresh(bench.now.wall);
    for round in 0..10 {
        let sent = bench.sent.len();
        let began = bench.now.tick;
        bench.engine.admit(new_job(("contacts", "companies"), [whole(&pairs)], carried), bench.now);
        bench.run(Duration::from_secs(600));
        carried = bench.parked.pop().unwrap().carried;
        let alone = |from| bench.sent[sent..].iter().filter(|(_, call)| *call.pairs == [pair(from, 7)]).count();
        // A second one where the first came before all others had their verdict.
        let tried = STUCK.map(alone).map(|tries| (1..=2).contains(&tries));
        match began {
            // They are yet to be found.
            _ if round == 0 => {}
            began if began <= mended => assert_eq!(tried, [true; 3], "round {round}"),
            _ => assert_eq!(tried, [true, false, false], "round {round}"),
        }
    }
}

/// Requests until 2,000 pairs are archived while each request fails with this probability, whatever it carries.
fn requests_in_a_brownout(percent: u8) -> usize {
    let mut random = fastrand::Rng::with_seed(7);
    let mut bench = Bench::new(policy(), vec![account()], move |_, _| {
        if random.u8(..100) < percent { answer(503, "") } else { answer(204, "") }
    });
    let mut jobs = BTreeMap::new();
    for n in 1..=2_000u64 {
        jobs.insert(bench.admit(("contacts", "companies"), &[pair(n, 7)]), n);
    }
    while bench.settled(Status::Archived) < 2_000 {
        bench.run(Duration::from_secs(10));
        let came_back = readmit(&mut bench, &jobs);
        jobs.extend(came_back);
        assert!(bench.now.tick < Tick::ZERO + Duration::from_secs(3_600), "an hour has passed");
    }
    println!("{percent} %: {} requests in {:?}", bench.sent.len(), bench.now.tick);
    bench.sent.len()
}

#[test]
fn requests_that_fail_at_random_are_not_taken_for_stuck_pairs() {
    for (percent, most) in [(10, 30), (30, 60), (50, 400)] {
        let sent = requests_in_a_brownout(percent);
        assert!(sent <= most, "{percent} % fail: {sent} requests");
    }
}

/// A bench whose parked jobs come back after the time for which they were parked, as the broker would have it.
struct WithBroker {
    bench: Bench,
    jobs: BTreeMap<JobKey, Vec<Pair>>,
    outside: Vec<(Tick, Vec<Pair>, Carried)>,
}

impl WithBroker {
    fn new(bench: Bench) -> Self {
        Self { bench, jobs: BTreeMap::new(), outside: Vec::new() }
    }

    fn admit(&mut self, pairs: Vec<Pair>, carried: Carried) {
        let job = new_job(("contacts", "companies"), [whole(&pairs)], carried);
        self.jobs.insert(self.bench.engine.admit(job, self.bench.now), pairs);
    }

    fn admit_fresh(&mut self, pairs: Vec<Pair>) {
        self.admit(pairs, Carried::fresh(self.bench.now.wall));
    }

    fn run(&mut self, span: Duration) {
        let end = self.bench.now.tick + span;
        while self.bench.now.tick < end {
            self.bench.run(Duration::from_secs(1));
            for parked in std::mem::take(&mut self.bench.parked) {
                let pairs = self.jobs.remove(&parked.job).unwrap();
                self.outside.push((self.bench.now.tick + parked.tier.wait(), pairs, parked.carried));
            }
            let now = self.bench.now.tick;
            for (_, pairs, carried) in self.outside.extract_if(.., |(due, ..)| *due <= now).collect::<Vec<_>>() {
                self.admit(pairs, carried);
            }
        }
    }
}

/// How a stuck record's pairs stand before all others: nobody was served yet, so their failures look like an outage.
struct ComesFirst {
    /// Its 600 pairs.
    of_stuck: fn(u64) -> Pair,
    pairs_a_job: usize,
    caps: Caps,
    max_in_flight: usize,
    waiting: Waiting,
    /// When the others come.
    come_later: Duration,
}

/// Those of the tests below: records 1 to 12 are stuck, and nothing else has so low a number.
fn is_of_stuck(pair: &Pair) -> bool {
    pair.from.0.get() <= 12 || pair.to.0.get() <= 12
}

impl ComesFirst {
    const NEIGHBOURS: u16 = 61;

    /// How long the last neighbour waits.
    fn longest_wait(&self) -> Duration {
        let slow = AccountPolicy { max_in_flight: self.max_in_flight, ..account() };
        let policy = EnginePolicy { caps: self.caps, waiting: self.waiting, ..policy() };
        let mut broker = WithBroker::new(Bench::new(policy, vec![slow], |call, _| {
            if call.pairs.iter().any(is_of_stuck) { answer(500, "") } else { answer(204, "") }
        }));
        let stuck: Vec<Pair> = (0..600).map(self.of_stuck).collect();
        stuck.chunks(self.pairs_a_job).for_each(|pairs| broker.admit_fresh(pairs.to_vec()));
        broker.run(self.come_later);
        let came = broker.bench.now.tick;
        (1..=Self::NEIGHBOURS.into()).for_each(|n| broker.admit_fresh(vec![pair(20_000 + n, 10_000)]));
        while broker.bench.settled(Status::Archived) < usize::from(Self::NEIGHBOURS) {
            broker.run(Duration::from_secs(1));
            assert!(broker.bench.now.tick.since(came) < Duration::from_secs(1_200), "{}", self.described());
        }
        assert_eq!(broker.bench.settled(Status::Failed), 0, "{}", self.described());
        broker.bench.now.tick.since(came)
    }

    fn described(&self) -> String {
        let Self { of_stuck, pairs_a_job, caps, max_in_flight, waiting, come_later } = self;
        let (first, last) = (of_stuck(0), of_stuck(599));
        format!(
            "{first:?} to {last:?}, {pairs_a_job} pairs a job, {caps:?}, {max_in_flight} in flight, {waiting:?}, others \
             after {come_later:?}"
        )
    }
}

#[test]
fn whoever_comes_behind_a_stuck_record_does_not_wait_ten_minutes() {
    let in_hand = Waiting::InHand { give_up_after: Duration::from_secs(30) };
    let by_records: [fn(u64) -> Pair; 4] = [
        |n| pair(1, 10_000 + n),
        |n| pair(10_000 + n, 1),
        |n| pair(1 + n / 200, 10_000 + n),
        |n| pair(1 + n / 50, 10_000 + n),
    ];
    for of_stuck in by_records {
        for (pairs, max_in_flight) in [(5, 2), (1_000, 2), (1_000, 30)] {
            for (come_later, pairs_a_job) in [(0, 600), (0, 1), (60, 100)] {
                for waiting in [in_hand, policy().waiting] {
                    let caps = Caps { pairs, ..policy().caps };
                    let come_later = Duration::from_secs(come_later);
                    let first = ComesFirst { of_stuck, pairs_a_job, caps, max_in_flight, waiting, come_later };
                    let waited = first.longest_wait();
                    assert!(waited < Duration::from_secs(600), "{waited:?}: {}", first.described());
                }
            }
        }
    }
}

/// What fails has no record in common, so each probe of the outage is drawn beside those before it. It is still one at a
/// time, nothing is searched, and what follows costs little more than without the outage.
#[test]
fn an_outage_for_pairs_of_many_records_is_one_probe_at_a_time() {
    let end = Tick::ZERO + Duration::from_secs(600);
    for waiting in [Waiting::InHand { give_up_after: Duration::from_secs(30) }, policy().waiting] {
        let engine = EnginePolicy { waiting, ..policy() };
        let mut broker = WithBroker::new(Bench::new(engine, vec![account()], move |_, now| {
            if now < end { answer(500, "") } else { answer(204, "") }
        }));
        (1..=2_000).for_each(|n| broker.admit_fresh(vec![pair(n, 10_000 + n)]));
        while broker.bench.now.tick < end {
            broker.run(Duration::from_secs(1));
            broker.bench.run(Duration::from_millis(1));
            let held = broker.bench.engine.held_jobs();
            let is_early = broker.bench.now.tick < Tick::ZERO + Duration::from_secs(20);
            assert!(is_early || held <= 200 || waiting != policy().waiting, "{held} jobs in hand");
        }
        let bench = &broker.bench;
        let during: Vec<Tick> = bench.sent.iter().map(|(at, _)| *at).filter(|at| *at < end).collect();
        let paused = Tick::ZERO + Duration::from_secs(10);
        let probes: Vec<Tick> = during.iter().copied().filter(|at| *at > paused).collect();
        assert!(during.len() <= 100, "{} requests in ten minutes, {waiting:?}", during.len());
        assert!(probes.windows(2).all(|two| two[1].since(two[0]) >= Duration::from_secs(1)), "{waiting:?}: {probes:?}");
        assert!(!bench.notices.iter().any(|notice| matches!(notice, Notice::Isolating { .. })), "{waiting:?}");
        let requests = during.len();
        while broker.bench.settled(Status::Archived) < 2_000 {
            broker.run(Duration::from_secs(10));
            assert!(broker.bench.now.tick < end + Duration::from_secs(900), "{waiting:?}");
        }
        let after = broker.bench.sent.len() - requests;
        assert!(after <= 20 + requests, "{after} requests after {requests} during the outage, {waiting:?}");
    }
}

/// All that is left of an account in hand is stuck, and HubSpot names each pair of a request. Such requests must not use up the
/// quota for ever, nor may the wait for it keep their jobs from ageing.
#[test]
fn pairs_that_are_each_named_are_tried_ever_more_rarely_and_given_up() {
    let waiting = Waiting::InHand { give_up_after: Duration::from_secs(30) };
    let retry = RetryPolicy { max_age: Duration::from_secs(3_600), ..policy().retry };
    let slow = AccountPolicy { max_in_flight: 1, ceiling: per_interval(20), ..account() };
    let mut bench = Bench::new(EnginePolicy { waiting, retry, ..policy() }, vec![slow], |call, _| {
        let of_pair = |Pair { from, to }: &Pair| {
            format!(r#"{{"status":"error","context":{{"fromObjectId":["{from}"],"toObjectId":["{to}"]}}}}"#)
        };
        let errors: Vec<String> = call.pairs.iter().map(of_pair).collect();
        answer(503, &format!(r#"{{"status":"error","message":"busy","errors":[{}]}}"#, errors.join(",")))
    });
    for lane in 1..=40 {
        bench.admit((&format!("2-{lane}"), "companies"), &[pair(1, 7), pair(2, 7)]);
    }
    bench.run(Duration::from_secs(3_600 + 1_200));
    assert_eq!(bench.settled(Status::Failed), 40);
    assert!(bench.sent.len() <= 40 * 5 * 10, "{} requests", bench.sent.len());
}

/// This many requests in ten seconds.
fn per_interval(requests: u32) -> Ceiling {
    Ceiling { requests: NonZeroU32::new(requests).unwrap(), interval: Duration::from_secs(10) }
}

/// So many pairs are stuck that their tries, few as they are, use up all of the quota.
#[test]
fn waiting_for_quota_that_stuck_pairs_use_up_counts_towards_their_age() {
    const STUCK: u64 = 100;
    let waiting = Waiting::InHand { give_up_after: Duration::from_secs(30) };
    let retry = RetryPolicy { max_age: Duration::from_secs(7_200), ..policy().retry };
    let slow = AccountPolicy { ceiling: per_interval(1), ..account() };
    let mut bench = Bench::new(EnginePolicy { waiting, retry, ..policy() }, vec![slow], |call, _| {
        match call.pairs.iter().any(|pair| pair.from.0.get() <= STUCK) {
            true => answer(500, ""),
            false => answer(204, ""),
        }
    });
    for n in 1..=STUCK + 20 {
        bench.admit(("contacts", "companies"), &[pair(n, 7)]);
    }
    bench.run(Duration::from_secs(7_200 + 3_600));
    assert_eq!((bench.settled(Status::Archived), bench.settled(Status::Failed)), (20, 100));
}

#[test]
fn a_stuck_record_is_taken_out_though_there_is_one_quick_try_and_the_answer_is_504() {
    let retry = RetryPolicy { max_attempts: 1, ..policy().retry };
    let mut bench = bench_with_stuck(EnginePolicy { retry, ..policy() }, vec![17], 6);
    for n in 1..=40u64 {
        bench.admit(("contacts", "companies"), &[pair(n, 7)]);
    }
    bench.run(Duration::from_secs(30));
    assert_eq!((bench.settled(Status::Archived), bench.parked.len()), (39, 1));
}

/// Nothing but one record's pairs is there, so nothing tells this from an outage. It costs no more than one.
#[test]
fn where_all_is_of_one_stuck_record_it_costs_what_an_outage_costs() {
    let waiting = Waiting::InHand { give_up_after: Duration::from_secs(30) };
    let retry = RetryPolicy { max_age: Duration::from_secs(3_600), ..policy().retry };
    let caps = Caps { pairs: 5, ..policy().caps };
    let mut bench = bench_with_stuck(EnginePolicy { waiting, retry, caps, ..policy() }, vec![1], 3);
    for to in 1..=300 {
        bench.admit(("contacts", "companies"), &[pair(1, to)]);
    }
    bench.run(Duration::from_secs(3_600));
    assert!(bench.sent.len() <= 300, "{} requests in an hour", bench.sent.len());
    bench.run(Duration::from_secs(3 * 3_600));
    assert_eq!(bench.settled(Status::Failed), 300);
    assert!(bench.sent.len() <= 1_000, "{} requests", bench.sent.len());
}
