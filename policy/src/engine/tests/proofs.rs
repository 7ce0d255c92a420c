//! Proofs: what was archived is read back until it is gone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::looks::{Shelf, serve, shelf};
use super::*;
use crate::engine::account::Safety;
use crate::engine::command::Request;

const VERIFY: Safety = Safety { journal: false, verify: true };

/// A HubSpot whose reads lag, and where another app may create again what was removed.
#[derive(Default)]
struct FarSide {
    shelf: Shelf,
    lag: Duration,
    /// Removed pairs that reads still show until then.
    shown: BTreeMap<(u64, u64), Tick>,
    /// Pairs that come back after their removal, how long after, and how many times they still do.
    come_back: BTreeMap<(u64, u64), (Duration, u32)>,
    coming: Vec<(Tick, (u64, u64))>,
}

impl FarSide {
    fn reply(&mut self, call: &BatchCall, now: Tick) -> Reply {
        let due: Vec<_> = self.coming.extract_if(.., |(at, _)| *at <= now).collect();
        self.shelf.extend(due.into_iter().map(|(_, pair)| (pair, vec![279])));
        match call.request {
            Request::Look { .. } => {
                let mut seen = self.shelf.clone();
                seen.extend(self.shown.iter().filter(|(_, until)| now < **until).map(|(pair, _)| (*pair, vec![279])));
                serve(&seen, call)
            }
            Request::Archive => {
                for pair in call.pairs.iter().map(|pair| (pair.from.0.get(), pair.to.0.get())) {
                    self.shelf.remove(&pair);
                    self.shown.insert(pair, now + self.lag);
                    if let Some((after, times)) = self.come_back.get_mut(&pair).filter(|(_, times)| *times > 0) {
                        *times -= 1;
                        self.coming.push((now + *after, pair));
                    }
                }
                answer(204, "")
            }
            Request::ArchiveTurned | Request::ArchiveLabels | Request::Associate | Request::Create { .. } => {
                panic!("{call:?}")
            }
        }
    }
}

fn bench_of(far_side: FarSide, accounts: Vec<AccountPolicy>) -> (Bench, Rc<RefCell<FarSide>>) {
    let far_side = Rc::new(RefCell::new(far_side));
    let shared = Rc::clone(&far_side);
    let bench = Bench::new(policy(), accounts, move |call, now| shared.borrow_mut().reply(call, now));
    (bench, far_side)
}

fn verified() -> Vec<AccountPolicy> {
    vec![AccountPolicy { safety: VERIFY, ..account() }]
}

const TYPES: (&str, &str) = ("contacts", "companies");

fn categories(ending: &Ending) -> Vec<(Option<Pair>, &str)> {
    let Ending::Settled { errors, .. } = ending else { panic!("{ending:?}") };
    errors.iter().map(|error| (error.pair(), error.refusal.source.category())).collect()
}

#[test]
fn what_is_archived_is_read_back_two_seconds_later() {
    let pairs: Vec<Pair> = (1..=10_000).map(|n| pair(n, n)).collect();
    let shelf = pairs.iter().map(|pair| ((pair.from.0.get(), pair.to.0.get()), vec![279])).collect();
    let (mut bench, _) = bench_of(FarSide { shelf, ..FarSide::default() }, verified());
    let job = bench.admit(TYPES, &pairs);
    bench.run(Duration::from_secs(30));
    assert!(bench.verified[&job]);
    let (reads, archives): (Vec<_>, Vec<_>) =
        bench.sent.iter().partition(|(_, call)| matches!(call.request, Request::Look { .. }));
    assert_eq!(archives.len(), 100);
    assert!(reads.len() <= 12, "{} readings for 100 removals", reads.len());
    for (at, call) in &reads {
        for pair in call.pairs.iter() {
            let archived = archives.iter().find(|(_, call)| call.pairs.contains(pair)).unwrap().0 + LATENCY;
            assert!(*at >= archived + Duration::from_secs(2), "{pair:?} is read too early");
        }
    }
    assert_eq!((bench.engine.counters().pairs_archived, bench.engine.counters().pairs_gone), (10_000, 10_000));
    assert_eq!(bench.engine.remains(), Remains::default());
}

#[test]
fn a_lag_is_waited_for_and_costs_no_second_removal() {
    let far_side = FarSide { shelf: shelf(&[(1, 1), (2, 1)]), lag: Duration::from_secs(12), ..FarSide::default() };
    let (mut bench, _) = bench_of(far_side, verified());
    let job = bench.admit(TYPES, &[pair(1, 1), pair(2, 1)]);
    bench.run(Duration::from_secs(60));
    assert!(bench.verified[&job]);
    assert_eq!(bench.words(), ["archive", "look", "look", "look"]);
    assert_eq!(bench.engine.remains(), Remains::default());
}

#[test]
fn what_comes_back_is_archived_once_more_and_told_if_it_stays() {
    let come_back = BTreeMap::from([
        ((1, 1), (Duration::from_secs(1), 1)),
        ((2, 1), (Duration::from_secs(1), 9)),
        ((3, 1), (Duration::from_secs(1), 1)),
    ]);
    let far_side = FarSide { shelf: shelf(&[(1, 1), (2, 1), (3, 1), (4, 1)]), come_back, ..FarSide::default() };
    let (mut bench, far_side) = bench_of(far_side, verified());
    let job = bench.admit(TYPES, &[pair(1, 1), pair(2, 1), pair(3, 1), pair(4, 1)]);
    bench.run(Duration::from_secs(20));
    // Of the third pair, the second removal holds for some seconds only.
    far_side.borrow_mut().come_back.insert((3, 1), (Duration::from_secs(4), 1));
    bench.run(Duration::from_secs(60));
    assert_eq!(
        categories(&bench.endings[&job]),
        [(Some(pair(2, 1)), "NOT_GONE"), (Some(pair(3, 1)), "REAPPEARED")],
        "the first pair needed two removals, the fourth one"
    );
    assert!(bench.verified[&job], "what counts as archived is proven");
    let counters = bench.engine.counters();
    assert_eq!((counters.pairs_gone, counters.pairs_not_gone, counters.pairs_reappeared), (2, 1, 1));
    assert_eq!(counters.pairs_archived, 4, "a pair is counted once");
    assert_eq!(bench.engine.remains(), Remains::default());
}

#[test]
fn a_job_that_ends_before_its_proof_is_archived_but_not_verified() {
    let far_side = FarSide { shelf: shelf(&[(1, 1)]), ..FarSide::default() };
    let (mut bench, _) = bench_of(far_side, verified());
    let not_after = bench.now.wall + Duration::from_secs(1);
    let job = bench.admit_to(AccountIndex(0), TYPES, &[pair(1, 1)], Some(not_after));
    bench.run(Duration::from_secs(10));
    assert_eq!(bench.ends[&job].1, End::archived(1));
    assert!(!bench.verified[&job]);
    assert_eq!(bench.words(), ["archive"]);
    assert_eq!(bench.engine.remains(), Remains::default());
}

#[test]
fn a_pair_that_is_archived_again_while_it_waits_to_be_read_is_read_once() {
    let (mut bench, _) = bench_of(FarSide { shelf: shelf(&[(1, 1)]), ..FarSide::default() }, verified());
    let first = bench.admit(TYPES, &[pair(1, 1)]);
    bench.run(Duration::from_millis(2_050));
    let second = bench.admit(TYPES, &[pair(1, 1)]);
    bench.run(Duration::from_secs(30));
    assert_eq!(bench.words(), ["archive", "archive", "look"], "and nothing is asked of no pair");
    assert!(bench.verified[&first] && bench.verified[&second]);
}

#[test]
fn a_refused_reading_does_not_undo_a_removal() {
    let mut bench = Bench::new(policy(), verified(), |call, _| match call.request {
        Request::Look { .. } => {
            answer(400, r#"{"status":"error","category":"VALIDATION_ERROR","message":"something is wrong"}"#)
        }
        Request::Archive
        | Request::ArchiveTurned
        | Request::ArchiveLabels
        | Request::Associate
        | Request::Create { .. } => answer(204, ""),
    });
    let job = bench.admit(TYPES, &[pair(1, 1), pair(2, 2)]);
    bench.run(Duration::from_secs(60));
    assert_eq!(categories(&bench.endings[&job]), []);
    assert!(!bench.verified[&job]);
}

#[test]
fn a_drained_job_goes_back_and_equal_jobs_share_a_proof() {
    let far_side = FarSide { shelf: shelf(&[(1, 1)]), lag: Duration::from_secs(5), ..FarSide::default() };
    let (mut bench, _) = bench_of(far_side, verified());
    let first = bench.admit(TYPES, &[pair(1, 1)]);
    bench.run(Duration::from_secs(1));
    let second = bench.admit(TYPES, &[pair(1, 1)]);
    bench.run(Duration::from_secs(30));
    assert!(bench.verified[&first] && bench.verified[&second]);
    let third = bench.admit(TYPES, &[pair(1, 1)]);
    bench.run(Duration::from_secs(1));
    bench.engine.drain(bench.now);
    bench.run(Duration::from_secs(1));
    assert_eq!(bench.ends[&third].1, End::HandedBack);
    assert_eq!(bench.engine.remains(), Remains::default());
}

/// What was removed, and is still shown, was removed for a job that came before.
#[test]
fn a_job_for_which_nothing_has_left_is_not_told_that_its_pair_is_not_gone() {
    let far_side = FarSide { shelf: shelf(&[(1, 1)]), lag: Duration::from_secs(3_600), ..FarSide::default() };
    let (mut bench, _) = bench_of(far_side, verified());
    let first = bench.admit(TYPES, &[pair(1, 1)]);
    while bench.words().iter().filter(|word| **word == "look").count() < 3 {
        bench.run(Duration::from_millis(10));
    }
    // The answer comes: the pair waits to be archived once more.
    bench.run(Duration::from_millis(90));
    bench.engine.pause(AccountIndex(0), bench.now);
    let not_after = bench.now.wall + Duration::from_secs(10);
    let second = bench.admit_to(AccountIndex(0), TYPES, &[pair(1, 1)], Some(not_after));
    bench.run(Duration::from_secs(11));
    assert!(matches!(bench.endings[&second], Ending::Expired { .. }), "{:?}", bench.endings[&second]);
    bench.engine.resume(AccountIndex(0), bench.now);
    bench.run(Duration::from_secs(60));
    assert_eq!(categories(&bench.endings[&first]), [(Some(pair(1, 1)), "NOT_GONE")]);
    assert_eq!(bench.engine.remains(), Remains::default());
}
