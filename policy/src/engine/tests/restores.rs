//! Restores: what is there is kept, and nobody's Primary is taken.

use std::cell::RefCell;
use std::rc::Rc;

use super::looks::{Shelf, labels, obey, planned, shelf};
use super::*;
use crate::contract::association::Label;
use crate::engine::command::Request;

const RESTORE: Action = Action::Restore { include_primary: false };
const INCLUDE_PRIMARY: Action = Action::Restore { include_primary: true };

fn bench_of(shelf: Shelf) -> (Bench, Rc<RefCell<Shelf>>) {
    let shelf = Rc::new(RefCell::new(shelf));
    let far_side = Rc::clone(&shelf);
    let mut bench = Bench::new(policy(), vec![account()], move |call, _| obey(&mut far_side.borrow_mut(), call));
    // What was removed before the process began is no longer shown.
    bench.advance(Tick::ZERO + Duration::from_secs(30));
    (bench, shelf)
}

fn errors(ending: &Ending) -> Vec<(Option<Pair>, &str)> {
    let Ending::Settled { errors, .. } = ending else { panic!("{ending:?}") };
    errors.iter().map(|error| (error.pair(), error.refusal.source.category())).collect()
}

#[test]
fn what_is_there_stays_and_what_is_missing_comes() {
    let mut there = shelf(&[(1, 1), (2, 1)]);
    there.insert((3, 1), vec![7, 279]);
    let (mut bench, shelf) = bench_of(there);
    let plain = bench.admit_asks(RESTORE, false, &[(Extent::Whole, &[pair(1, 1), pair(9, 1)])]);
    let labelled = bench.admit_asks(RESTORE, false, &[(labels(&[8]), &[pair(2, 1), pair(3, 1), pair(4, 1)])]);
    bench.run(Duration::from_secs(10));
    assert!(errors(&bench.endings[&plain]).is_empty() && errors(&bench.endings[&labelled]).is_empty());
    assert_eq!(bench.words()[..2], ["look", "look"]);
    assert!(bench.words()[2..] == ["associate", "create"] || bench.words()[2..] == ["create", "associate"]);
    let expected: Shelf = [
        ((1, 1), vec![279]),
        ((2, 1), vec![8, 279]),
        ((3, 1), vec![7, 8, 279]),
        ((4, 1), vec![8]),
        ((9, 1), vec![279]),
    ]
    .into();
    assert_eq!(*shelf.borrow(), expected);
    assert_eq!(bench.engine.counters().pairs_restored, 4);
    let again = bench.admit_asks(RESTORE, false, &[(labels(&[8]), &[pair(2, 1), pair(3, 1), pair(4, 1)])]);
    bench.run(Duration::from_secs(10));
    assert!(errors(&bench.endings[&again]).is_empty());
    assert_eq!(bench.words()[4..], ["look"], "a second time nothing is changed");
    assert_eq!(*shelf.borrow(), expected);
    assert_eq!(bench.engine.remains(), Remains::default());
}

#[test]
fn primary_is_not_taken_from_another_record_unless_that_is_wished() {
    // Contact 1 has company 2 as its primary one (type 1); contact 3 has none.
    let mut there = shelf(&[(1, 1), (3, 1)]);
    there.insert((1, 2), vec![1, 279]);
    let (mut bench, shelf) = bench_of(there);
    let pairs = [pair(1, 1), pair(3, 1)];
    let with_primary = [(labels(&[1, 9]), pairs.as_slice())];
    let planning = bench.admit_asks(RESTORE, true, &with_primary);
    let job = bench.admit_asks(RESTORE, false, &with_primary);
    bench.run(Duration::from_secs(10));
    assert_eq!(errors(&bench.endings[&job]), [(Some(pair(1, 1)), "NOT_RESTORABLE")]);
    assert_eq!(shelf.borrow()[&(1, 1)], [9, 279], "the rest of it is there");
    assert_eq!(shelf.borrow()[&(3, 1)], [1, 9, 279]);
    assert_eq!(planned(&bench.endings[&planning])[&pair(1, 1)], (true, 2));
    let anyhow = bench.admit_asks(INCLUDE_PRIMARY, false, &[(labels(&[1]), &[pair(1, 1)])]);
    bench.run(Duration::from_secs(10));
    assert!(errors(&bench.endings[&anyhow]).is_empty());
    assert_eq!(shelf.borrow()[&(1, 1)], [1, 9, 279]);
    assert_eq!(bench.engine.remains(), Remains::default());
}

#[test]
fn what_may_have_been_created_is_looked_at_before_it_is_created_again() {
    let shelf = Rc::new(RefCell::new(shelf(&[(1, 1)])));
    let far_side = Rc::clone(&shelf);
    let mut creations = 0;
    let mut bench = Bench::new(policy(), vec![account()], move |call, _| {
        let mut shelf = far_side.borrow_mut();
        if matches!(call.request, Request::Create { .. }) {
            creations += 1;
            if creations == 1 {
                // Somebody else adds a label before the repeat.
                obey(&mut shelf, call);
                shelf.entry((1, 1)).or_default().push(50);
                shelf.remove(&(2, 1));
                return answer(502, "");
            }
        }
        obey(&mut shelf, call)
    });
    bench.advance(Tick::ZERO + Duration::from_secs(30));
    let job = bench.admit_asks(RESTORE, false, &[(labels(&[8]), &[pair(1, 1), pair(2, 1)])]);
    bench.run(Duration::from_secs(60));
    assert!(errors(&bench.endings[&job]).is_empty());
    assert_eq!(bench.words(), ["look", "create", "look", "create"]);
    assert_eq!(shelf.borrow()[&(1, 1)], [8, 279, 50]);
    assert_eq!(shelf.borrow()[&(2, 1)], [8]);
    assert_eq!(bench.engine.remains(), Remains::default());
}

#[test]
fn a_creation_that_waited_long_looks_again() {
    let (mut bench, shelf) = bench_of(shelf(&[(1, 1)]));
    let job = bench.admit_asks(RESTORE, false, &[(labels(&[8]), &[pair(1, 1)])]);
    bench.run(Duration::from_millis(350));
    assert_eq!(bench.words(), ["look"]);
    bench.engine.pause(AccountIndex(0), bench.now);
    bench.run(Duration::from_secs(60));
    shelf.borrow_mut().insert((1, 1), vec![50, 279]);
    bench.engine.resume(AccountIndex(0), bench.now);
    bench.run(Duration::from_secs(10));
    assert!(errors(&bench.endings[&job]).is_empty());
    assert_eq!(bench.words(), ["look", "look", "create"]);
    assert_eq!(shelf.borrow()[&(1, 1)], [8, 50, 279]);
}

/// HubSpot's reads lag: for some seconds they show what was just removed, as if there were nothing to restore.
#[test]
fn what_was_removed_a_moment_ago_is_restored_though_reads_still_show_it() {
    for removed_by_this_process in [false, true] {
        let shelf = Rc::new(RefCell::new(shelf(&[(1, 1), (2, 1), (3, 1)])));
        let (far_side, removed_at) = (Rc::clone(&shelf), Rc::new(RefCell::new(None)));
        let removed = Rc::clone(&removed_at);
        let mut bench = Bench::new(policy(), vec![account()], move |call, now| {
            let mut shelf = far_side.borrow_mut();
            let mut seen = shelf.clone();
            match (&call.request, *removed.borrow()) {
                (Request::Look { .. }, Some(at)) if now < at + Duration::from_secs(12) => {
                    seen.insert((1, 1), vec![279]);
                    obey(&mut seen, call)
                }
                _ => obey(&mut shelf, call),
            }
        });
        if removed_by_this_process {
            bench.advance(Tick::ZERO + Duration::from_secs(3_600));
            bench.admit(("contacts", "companies"), &[pair(1, 1)]);
            bench.run(Duration::from_secs(1));
        }
        shelf.borrow_mut().remove(&(1, 1));
        *removed_at.borrow_mut() = Some(bench.now.tick);
        let began = bench.now.tick;
        let job = bench.admit_asks(RESTORE, false, &[(Extent::Whole, &[pair(1, 1), pair(2, 1), pair(3, 1)])]);
        bench.run(Duration::from_secs(60));
        assert!(errors(&bench.endings[&job]).is_empty());
        assert!(shelf.borrow().contains_key(&(1, 1)), "it is said to be restored, but is not there");
        let (ended, _) = bench.ends[&job];
        assert!(ended.since(began) <= Duration::from_secs(25), "only a lag is waited for: {:?}", ended.since(began));
        // Long after the removal what is shown is believed at once.
        let (began, again) =
            (bench.now.tick, bench.admit_asks(RESTORE, false, &[(Extent::Whole, &[pair(1, 1), pair(2, 1)])]));
        bench.run(Duration::from_secs(60));
        assert!(bench.ends[&again].0.since(began) <= Duration::from_secs(1));
        assert_eq!(bench.words().last(), Some(&"look"));
        assert_eq!(bench.engine.remains(), Remains::default());
    }
}

/// The same for a pair that has lost everything, of which reads show all that is asked for but Primary, which another
/// record has by now.
#[test]
fn what_was_removed_a_moment_ago_is_restored_though_primary_cannot_be() {
    let mut there = shelf(&[]);
    there.insert((1, 2), vec![1, 279]);
    let shelf = Rc::new(RefCell::new(there));
    let far_side = Rc::clone(&shelf);
    // The process before this one has removed the pair.
    let lags_until = Tick::ZERO + Duration::from_secs(12);
    let mut bench = Bench::new(policy(), vec![account()], move |call, now| {
        let mut shelf = far_side.borrow_mut();
        let is_look = matches!(call.request, Request::Look { .. });
        if !is_look || now >= lags_until {
            return obey(&mut shelf, call);
        }
        let mut seen = shelf.clone();
        seen.insert((1, 1), vec![9, 279]);
        obey(&mut seen, call)
    });
    let job = bench.admit_asks(RESTORE, false, &[(labels(&[1, 9, 279]), &[pair(1, 1)])]);
    bench.run(Duration::from_secs(60));
    assert_eq!(errors(&bench.endings[&job]), [(Some(pair(1, 1)), "NOT_RESTORABLE")]);
    assert_eq!(shelf.borrow().get(&(1, 1)), Some(&vec![9, 279]), "the rest is said to be there");
    assert_eq!(bench.engine.remains(), Remains::default());
}

/// Of Primary alone nothing rests on what is shown: it is not waited for.
#[test]
fn primary_alone_is_restored_at_once() {
    let shelf = Rc::new(RefCell::new(shelf(&[(1, 1)])));
    let far_side = Rc::clone(&shelf);
    let mut bench = Bench::new(policy(), vec![account()], move |call, _| obey(&mut far_side.borrow_mut(), call));
    let job = bench.admit_asks(RESTORE, false, &[(labels(&[1]), &[pair(1, 1)])]);
    bench.run(Duration::from_secs(5));
    assert!(errors(&bench.endings[&job]).is_empty());
    assert_eq!((bench.words(), &shelf.borrow()[&(1, 1)]), (vec!["look", "create"], &vec![1, 279]));
}

/// Another record gets Primary between the look and the creation, and HubSpot does not take it from there.
#[test]
fn where_hubspot_refuses_primary_the_rest_is_restored() {
    for action in [RESTORE, INCLUDE_PRIMARY] {
        let shelf = Rc::new(RefCell::new(shelf(&[(3, 1)])));
        let far_side = Rc::clone(&shelf);
        let mut bench = Bench::new(policy(), vec![account()], move |call, _| {
            let mut shelf = far_side.borrow_mut();
            if let Request::Create { labels } = &call.request {
                shelf.insert((1, 2), vec![1, 279]);
                let is_primary = |label: &Label| label.type_id.get() == 1;
                let first = |index: usize| call.pairs[index].from.0.get() == 1 && labels[index].iter().any(is_primary);
                if (0..call.pairs.len()).any(first) {
                    return answer(400, r#"{"category":"VALIDATION_ERROR","message":"The primary is 2 already."}"#);
                }
            }
            obey(&mut shelf, call)
        });
        bench.advance(Tick::ZERO + Duration::from_secs(30));
        let whole = bench.admit_asks(action, false, &[(labels(&[1, 9, 279]), &[pair(1, 1), pair(3, 1)])]);
        bench.run(Duration::from_secs(60));
        assert_eq!(errors(&bench.endings[&whole]), [(Some(pair(1, 1)), "NOT_RESTORABLE")]);
        assert_eq!(shelf.borrow().get(&(1, 1)), Some(&vec![9, 279]));
        assert_eq!(shelf.borrow().get(&(3, 1)), Some(&vec![1, 9, 279]));
        // Where nothing else is asked for, HubSpot's word is the last.
        let only = bench.admit_asks(INCLUDE_PRIMARY, false, &[(labels(&[1]), &[pair(1, 1)])]);
        bench.run(Duration::from_secs(60));
        assert_eq!(errors(&bench.endings[&only]), [(Some(pair(1, 1)), "VALIDATION_ERROR")]);
        assert_eq!(bench.engine.remains(), Remains::default());
    }
}

/// HubSpot's reads lag: for some seconds they show the labels that were just removed. A creation of another label, which
/// names what is there, does not bring them back.
#[test]
fn a_label_that_was_removed_a_moment_ago_does_not_come_back_with_another_one() {
    for whole in [false, true] {
        let mut there = shelf(&[(1, 1), (2, 1)]);
        for labels in there.values_mut() {
            labels.insert(0, 7);
        }
        let shelf = Rc::new(RefCell::new(there));
        let far_side = Rc::clone(&shelf);
        let mut removed = None;
        let mut bench = Bench::new(policy(), vec![account()], move |call, now| {
            let mut shelf = far_side.borrow_mut();
            match (&call.request, removed) {
                (Request::Look { .. }, Some(at)) if now < at + Duration::from_secs(12) => {
                    let mut seen = shelf.clone();
                    seen.insert((1, 1), vec![7, 279]);
                    obey(&mut seen, call)
                }
                (Request::ArchiveLabels | Request::Archive, _) => {
                    removed = Some(now);
                    obey(&mut shelf, call)
                }
                _ => obey(&mut shelf, call),
            }
        });
        bench.advance(Tick::ZERO + Duration::from_secs(3_600));
        let gone = if whole { Extent::Whole } else { labels(&[7]) };
        let removal = bench.admit_asks(Action::Archive, false, &[(gone, &[pair(1, 1)])]);
        bench.run(Duration::from_secs(1));
        assert!(bench.ends.contains_key(&removal));
        let began = bench.now.tick;
        let job = bench.admit_asks(RESTORE, false, &[(labels(&[8]), &[pair(1, 1), pair(2, 1)])]);
        let same = bench.admit_asks(RESTORE, false, &[(labels(&[7, 9]), &[pair(2, 1)])]);
        bench.run(Duration::from_secs(60));
        assert!(errors(&bench.endings[&job]).is_empty() && errors(&bench.endings[&same]).is_empty());
        let rest: &[u64] = if whole { &[8] } else { &[8, 279] };
        assert_eq!(shelf.borrow()[&(1, 1)], rest);
        assert_eq!(shelf.borrow()[&(2, 1)], [7, 8, 9, 279], "of what was not removed everything stays");
        assert!(
            bench.ends[&same].0.since(began) <= Duration::from_secs(5),
            "a pair that was not removed waits for nothing"
        );
        assert!(bench.ends[&job].0.since(began) <= Duration::from_secs(25), "only a lag is waited for");
        assert_eq!(bench.engine.remains(), Remains::default());
    }
}

/// A removal leaves between a look and the creation that names what it showed.
#[test]
fn what_is_being_removed_does_not_come_back_with_another_label() {
    let mut there = shelf(&[]);
    there.insert((1, 1), vec![7, 279]);
    let (mut bench, shelf) = bench_of(there);
    // The removal leaves just after the look, and its answer takes longer than the creation would.
    bench.latency =
        |call| if call.request == Request::ArchiveLabels { Duration::from_secs(3) } else { Duration::from_millis(80) };
    let job = bench.admit_asks(RESTORE, false, &[(labels(&[8]), &[pair(1, 1)])]);
    bench.run(Duration::from_millis(100));
    let removal = bench.admit_asks(Action::Archive, false, &[(labels(&[7]), &[pair(1, 1)])]);
    bench.run(Duration::from_secs(90));
    assert_eq!(bench.words()[..2], ["look", "archive labels"]);
    assert!(errors(&bench.endings[&job]).is_empty() && errors(&bench.endings[&removal]).is_empty());
    assert_eq!(shelf.borrow()[&(1, 1)], [8, 279]);
    assert_eq!(bench.engine.remains(), Remains::default());
}

/// Answers as HubSpot does that moves Primary, of which a contact has one.
fn obey_and_move(shelf: &mut Shelf, call: &BatchCall) -> Reply {
    if let Request::Create { labels } = &call.request {
        for (pair, labels) in call.pairs.iter().zip(labels.iter()) {
            if labels.iter().any(|label| label.type_id.get() == 1) {
                let of_record =
                    shelf.iter_mut().filter(|((from, to), _)| *from == pair.from.0.get() && *to != pair.to.0.get());
                of_record.for_each(|(_, labels)| labels.retain(|id| *id != 1));
            }
            let types = labels.iter().map(|label| label.type_id.get()).collect();
            shelf.insert((pair.from.0.get(), pair.to.0.get()), types);
        }
    }
    obey(shelf, call)
}

/// Neither of two restores sees that the other one gives Primary to the same record: only one of them does, and the other
/// one says so.
#[test]
fn of_two_restores_that_meet_at_one_record_one_gives_primary_and_the_other_says_that_it_does_not() {
    // In one request; in two that leave together; in two of which the second one's look was sent before the first one
    // was answered.
    let pairs = [pair(1, 1), pair(1, 2), pair(3, 1)];
    let together: &[&[(Extent, &[Pair])]] = &[&[(labels(&[1]), pairs.as_slice())]];
    let apart: &[&[(Extent, &[Pair])]] = &[&[(labels(&[1]), &pairs[..1])], &[(labels(&[1, 9]), &pairs[1..])]];
    for (jobs, gap) in [(together, 0), (apart, 0), (apart, 150), (apart, 350)] {
        let shelf = Rc::new(RefCell::new(shelf(&[(1, 1), (1, 2), (3, 1)])));
        let far_side = Rc::clone(&shelf);
        let mut bench =
            Bench::new(policy(), vec![account()], move |call, _| obey_and_move(&mut far_side.borrow_mut(), call));
        bench.advance(Tick::ZERO + Duration::from_secs(30));
        let mut ids = Vec::new();
        for asks in jobs {
            ids.push(bench.admit_asks(RESTORE, false, asks));
            bench.run(Duration::from_millis(gap));
        }
        bench.run(Duration::from_secs(60));
        let failed: Vec<_> = ids.iter().flat_map(|job| errors(&bench.endings[job])).collect();
        let holder = [pairs[0], pairs[1]].into_iter().find(|pair| shelf.borrow()[&(1, pair.to.0.get())].contains(&1));
        let [(Some(other), "NOT_RESTORABLE")] = failed[..] else { panic!("{failed:?}") };
        assert!(holder.is_some_and(|holder| holder != other), "{other:?} is told not to have it: {shelf:?}");
        assert!(shelf.borrow()[&(3, 1)].contains(&1));
        assert!(bench.sent.len() <= 8, "{:?}", bench.words());
        assert_eq!(bench.engine.remains(), Remains::default());
    }
}

/// A restore that may take Primary gives it to another record; a look that lags still shows it at the one before.
#[test]
fn a_label_beside_primary_does_not_take_primary_back_to_where_it_was() {
    let mut there = shelf(&[(1, 2)]);
    there.insert((1, 1), vec![1, 279]);
    let shelf = Rc::new(RefCell::new(there));
    let far_side = Rc::clone(&shelf);
    let mut moved = None;
    let mut bench = Bench::new(policy(), vec![account()], move |call, now| {
        let mut shelf = far_side.borrow_mut();
        let is_look = matches!(call.request, Request::Look { .. });
        match moved {
            Some(at) if is_look && now < at + Duration::from_secs(12) => {
                let mut seen = shelf.clone();
                seen.insert((1, 1), vec![1, 279]);
                obey(&mut seen, call)
            }
            _ => {
                moved = moved.or((!is_look).then_some(now));
                obey_and_move(&mut shelf, call)
            }
        }
    });
    bench.advance(Tick::ZERO + Duration::from_secs(30));
    bench.admit_asks(INCLUDE_PRIMARY, false, &[(labels(&[1]), &[pair(1, 2)])]);
    bench.run(Duration::from_secs(1));
    let beside = bench.admit_asks(RESTORE, false, &[(labels(&[9]), &[pair(1, 1)])]);
    let again = bench.admit_asks(RESTORE, false, &[(labels(&[1]), &[pair(1, 1)])]);
    bench.run(Duration::from_secs(60));
    assert!(errors(&bench.endings[&beside]).is_empty());
    assert_eq!(errors(&bench.endings[&again]), [(Some(pair(1, 1)), "NOT_RESTORABLE")]);
    assert_eq!(shelf.borrow()[&(1, 2)], [1, 279]);
    assert_eq!(shelf.borrow()[&(1, 1)], [9, 279]);
}
