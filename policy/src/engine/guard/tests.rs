use super::*;
use jiff::Timestamp;
use proptest::prelude::*;

const WINDOW: Duration = Duration::from_secs(1_800);

fn at(seconds: u64) -> Now {
    let wall = Timestamp::from_second(1_800_000_000 + i64::try_from(seconds).unwrap()).unwrap();
    Now { tick: Tick::from_micros(seconds * 1_000_000), wall }
}

fn guard(max_pairs: u64) -> Guard {
    Guard::new(GuardPolicy { max_pairs: max_pairs.try_into().unwrap(), window: WINDOW })
}

/// Asks for up to `most` pairs and sends what is allowed.
fn send(guard: &mut Guard, most: u64, seconds: u64) -> u64 {
    match guard.ask(1, most, at(seconds)) {
        Passage::Pairs(pairs) => {
            guard.count(pairs, at(seconds).tick);
            pairs
        }
        Passage::Unwritten(_) | Passage::Closed => 0,
    }
}

#[test]
fn a_request_is_cut_to_what_is_left_and_then_a_person_must_say() {
    let mut guard = guard(500);
    assert_eq!((send(&mut guard, 300, 0), send(&mut guard, 300, 1)), (300, 200));
    assert_eq!(guard.state(at(2).tick), GuardState::Open, "nothing more has been asked for");
    assert_eq!(send(&mut guard, 1, 2), 0);
    assert_eq!(guard.state(at(2).tick), GuardState::Waiting);
    assert_eq!(guard.detail(at(2).tick), "500 pairs in the last 30m; safety.max_pairs is 500");
    assert_eq!(send(&mut guard, 1, 100_000), 0, "time alone says nothing");
    assert_eq!(guard.detail(at(100_000).tick), "safety.max_pairs, 500 in 30m, was reached");
}

#[test]
fn large_numbers_are_told_with_their_thousands_apart() {
    let mut guard = guard(100_000);
    assert_eq!(send(&mut guard, 100_001, 0), 100_000);
    assert_eq!(guard.detail(at(1).tick), "100,000 pairs in the last 30m; safety.max_pairs is 100,000");
    assert_eq!(guard.detail(at(100_000).tick), "safety.max_pairs, 100,000 in 30m, was reached");
}

#[test]
fn pairs_that_were_counted_go_again_at_the_limit() {
    let mut guard = guard(10);
    assert_eq!(send(&mut guard, 10, 0), 10);
    assert_eq!(guard.ask(0, 0, at(1)), Passage::Pairs(0));
    assert_eq!(guard.ask(3, 3, at(1)), Passage::Closed, "what cannot be cut must not leave in part");
}

#[test]
fn an_approval_opens_one_window_and_then_counting_begins_anew() {
    let mut guard = guard(10);
    send(&mut guard, 11, 0);
    assert_eq!(send(&mut guard, 1, 0), 0);
    guard.approve(at(10));
    assert_eq!(guard.approved_until(at(10).tick), Some(at(1_810).tick));
    assert_eq!(send(&mut guard, 1_000, 1_809), 1_000);
    assert_eq!((guard.state(at(1_809).tick), guard.used(at(1_809).tick)), (GuardState::Approved, 1_000));
    assert_eq!((guard.state(at(1_810).tick), guard.used(at(1_810).tick)), (GuardState::Open, 0));
    assert_eq!((send(&mut guard, 11, 1_810), send(&mut guard, 1, 1_811)), (10, 0));
}

#[test]
fn what_was_rejected_stays_so_until_it_is_approved() {
    let mut guard = guard(10);
    guard.reject(at(0));
    assert_eq!(send(&mut guard, 1, 100_000), 0);
    assert_eq!(guard.state(at(100_000).tick), GuardState::Rejected);
    guard.approve(at(100_000));
    assert_eq!(send(&mut guard, 11, 100_000), 11);
}

#[test]
fn with_several_workers_a_count_is_written_before_its_pairs_leave() {
    let mut guard = guard(1_000);
    guard.keep_to_what_is_written();
    assert_eq!(guard.memory(true, at(0)), None, "nothing is asked for, so nothing is counted");
    assert!(matches!(guard.ask(1, 100, at(0)), Passage::Unwritten(_)));
    assert!(guard.lacks_written(at(0).tick));
    let memory = guard.memory(true, at(0));
    assert!(guard.written(memory.as_ref(), at(0)));
    assert_eq!(guard.ask(1, 100, at(0)), Passage::Pairs(100));
    guard.count(100, at(0).tick);
    assert!(matches!(guard.ask(1, 100, at(0)), Passage::Unwritten(_)));

    let ahead: u64 = guard.memory(true, at(0)).unwrap().counted.iter().map(|&(_, pairs)| pairs).sum();
    assert_eq!(ahead, 200, "what waits, since it is more than a twentieth of the limit");
    let exactly: u64 = guard.memory(false, at(0)).unwrap().counted.iter().map(|&(_, pairs)| pairs).sum();
    assert_eq!(exactly, 100, "a worker that stops names what it sent");
}

#[test]
fn another_worker_goes_on_where_this_one_stood() {
    let mut first = guard(500);
    send(&mut first, 300, 0);
    let recalled = |memory: Option<&GuardMemory>, now| {
        let mut second = guard(500);
        second.recall(memory, now);
        second
    };
    let memory = first.memory(false, at(600));
    // Another process, whose ticks begin at another time.
    let later = Now { tick: Tick::from_micros(5), ..at(900) };
    let mut second = recalled(memory.as_ref(), later);
    assert_eq!(second.used(later.tick), 300);
    assert!(matches!(second.ask(1, 1_000, later), Passage::Pairs(200)));
    assert_eq!(second.used(later.tick + WINDOW), 0);

    send(&mut first, 200, 601);
    send(&mut first, 1, 602);
    let second = recalled(first.memory(false, at(603)).as_ref(), at(700));
    assert_eq!(second.state(at(700).tick), GuardState::Waiting);
    first.approve(at(700));
    let second = recalled(first.memory(false, at(701)).as_ref(), at(800));
    assert_eq!(second.approved_until(at(800).tick), Some(at(2_500).tick));
    first.reject(at(702));
    let second = recalled(first.memory(false, at(702)).as_ref(), at(800));
    assert_eq!(second.state(at(800).tick), GuardState::Rejected);
}

proptest! {
    /// However pairs are sent, and whoever goes on, no window holds more than the limit.
    #[test]
    fn no_window_holds_more_than_the_limit(
        steps in prop::collection::vec((0u64..400, 1u64..200, any::<bool>()), 1..60),
    ) {
        let (max, mut now, mut sent) = (300, 0, Vec::new());
        let mut guard = guard(max);
        for (wait, most, restart) in steps {
            now += wait;
            if restart {
                let memory = guard.memory(false, at(now));
                guard = self::guard(max);
                guard.recall(memory.as_ref(), at(now));
            }
            sent.push((now, send(&mut guard, most, now)));
            let in_window: u64 = sent.iter().filter(|(at, _)| at + 1_800 > now).map(|(_, pairs)| pairs).sum();
            prop_assert!(in_window <= max);
            prop_assert_eq!(in_window <= guard.used(at(now).tick), true, "a pair counts at least as long as it must");
            prop_assert!(guard.memory(false, at(now)).is_none_or(|memory| memory.counted.len() <= 14));
        }
    }
}
