//! The journal: nothing is archived of what is not recorded, and what is recorded says what went.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use super::looks::{Shelf, bench_of, labels, obey, serve, shelf};
use super::*;

use crate::contract::association::AssociationType;
use crate::contract::journal::{ChangeKind, EntryId, ReadFrom};
use crate::engine::command::Request;

const JOURNAL: Safety = Safety { journal: true, verify: false };

fn archives(call: &BatchCall) -> bool {
    matches!(call.request, Request::Archive | Request::ArchiveLabels)
}

fn ids(types: &[AssociationType]) -> Vec<u64> {
    types.iter().map(|of| of.label.type_id.get()).collect()
}

impl Bench {
    /// The pairs that were recorded, each with the ids of its types, seen from its `from`.
    fn journal_has(&self) -> BTreeMap<(Pair, ReadFrom), Vec<u64>> {
        let entries = self.recorded.iter().flat_map(|(_, call)| &call.entries);
        let pairs = entries.flat_map(|entry| entry.pairs.iter().map(|pair| (entry.read, pair)));
        pairs.map(|(read, of)| ((of.pair, read), ids(&of.types))).collect()
    }

    /// The restorations that were recorded, in their order: of each pair what was there and what was about to come.
    fn restorations(&self) -> Vec<(Pair, Vec<u64>, Vec<u64>)> {
        let calls = self.recorded.iter().filter(|(_, call)| call.kind == ChangeKind::Restoration);
        let pairs = calls.flat_map(|(_, call)| &call.entries).flat_map(|entry| &entry.pairs);
        pairs.map(|of| (of.pair, ids(&of.types), ids(&of.creates))).collect()
    }

    /// Every pair that was changed had been recorded by then.
    fn assert_recorded_before(&self) {
        for (sent, call) in self.sent.iter().filter(|(_, call)| !matches!(call.request, Request::Look { .. })) {
            let before = self.recorded.iter().filter(|(at, _)| at <= sent).flat_map(|(_, call)| &call.entries);
            let before: BTreeSet<Pair> = before.flat_map(|entry| entry.pairs.iter().map(|pair| pair.pair)).collect();
            assert!(call.pairs.iter().all(|pair| before.contains(pair)), "{:?} was not recorded", call.pairs);
        }
    }

    /// How many pairs the journal was told of: archived, refused, unknown.
    fn told(&self) -> [usize; 3] {
        let [archived, _, refused, unknown] = self.told_of_all();
        [archived, refused, unknown]
    }

    /// The same, with those that were restored in the second place.
    fn told_of_all(&self) -> [usize; 4] {
        let mut entries: BTreeMap<EntryId, u32> = BTreeMap::new();
        for entry in self.recorded.iter().flat_map(|(_, call)| &call.entries) {
            entries.insert(entry.entry, u32::try_from(entry.pairs.len()).unwrap());
        }
        let mut told = [0; 4];
        for completion in &self.completions {
            let pairs = entries[&completion.entry];
            let Completion { archived, restored, refused, unknown, .. } = completion;
            for (told, places) in told.iter_mut().zip([archived, restored, refused, unknown]) {
                *told += (0..pairs).filter(|place| places.contains(*place)).count();
            }
        }
        told
    }
}

#[test]
fn what_goes_is_recorded_first_and_costs_no_request() {
    let pairs: Vec<Pair> = (1..=10_000).map(|n| pair(n, 1 + n % 10)).collect();
    let mut shelf: Shelf = pairs.iter().map(|pair| ((pair.from.0.get(), pair.to.0.get()), vec![279])).collect();
    shelf.insert((1, 2), vec![7, 9, 279]);
    let mut bench = bench_of(shelf, JOURNAL);
    let job = bench.admit_asks(Action::Archive, false, &[(Extent::Whole, &pairs)]);
    let nothing = bench.admit_asks(Action::Archive, false, &[(Extent::Whole, &[pair(7, 99_999)])]);
    bench.run(Duration::from_secs(60));
    assert_eq!(bench.settled(Status::Archived), 2);
    assert!(bench.journaled[&job] && bench.journaled[&nothing]);
    bench.assert_recorded_before();
    let journal = bench.journal_has();
    assert_eq!(journal.len(), 10_001);
    assert_eq!(journal[&(pair(1, 2), ReadFrom::From)], [7, 9, 279]);
    assert_eq!(journal[&(pair(2, 3), ReadFrom::From)], [279]);
    assert_eq!(journal[&(pair(7, 99_999), ReadFrom::From)], [0; 0]);
    assert_eq!(bench.told(), [10_001, 0, 0]);
    assert_eq!(bench.engine.counters().pairs_journaled, 10_001);
    let requests = bench.sent.iter().filter(|(_, call)| archives(call)).count();
    assert!(
        requests <= 102 && bench.recorded.len() == requests,
        "{requests} requests, {} records",
        bench.recorded.len()
    );
    let sealed = bench.sent.iter().filter(|(_, call)| call.sealed == Sealed::Retry).count();
    assert_eq!(sealed, 0, "what was recorded leaves for the reason for which it was formed");
    assert_eq!(bench.engine.remains(), Remains::default());
}

#[test]
fn the_side_that_was_read_is_recorded_too() {
    let mut bench = bench_of(shelf(&[(1, 1), (1, 2), (1, 3)]), JOURNAL);
    bench.admit_asks(Action::Archive, false, &[(Extent::Whole, &[pair(1, 1), pair(1, 2)])]);
    bench.run(Duration::from_secs(5));
    assert_eq!(
        bench.journal_has().into_keys().collect::<Vec<_>>(),
        [(pair(1, 1), ReadFrom::To), (pair(1, 2), ReadFrom::To)]
    );
    bench.assert_recorded_before();
}

#[test]
fn of_labels_only_those_are_recorded_that_go() {
    let mut shelf = shelf(&[(2, 1)]);
    shelf.insert((1, 1), vec![7, 9, 279]);
    let mut bench = bench_of(shelf, JOURNAL);
    let pairs = [pair(1, 1), pair(2, 1)];
    let job = bench.admit_asks(Action::Archive, false, &[(labels(&[7, 8]), &pairs)]);
    bench.run(Duration::from_secs(5));
    assert!(bench.journaled[&job]);
    let expected = [((pairs[0], ReadFrom::From), vec![7]), ((pairs[1], ReadFrom::From), vec![])];
    assert_eq!(bench.journal_has(), expected.into());
    bench.assert_recorded_before();
}

#[test]
fn with_the_type_of_the_plain_association_all_labels_are_recorded() {
    let mut shelf = shelf(&[]);
    shelf.insert((1, 1), vec![7, 9, 279]);
    let mut bench = bench_of(shelf, JOURNAL);
    bench.admit_asks(Action::Archive, false, &[(labels(&[279]), &[pair(1, 1)])]);
    bench.run(Duration::from_secs(5));
    assert_eq!(bench.journal_has(), [((pair(1, 1), ReadFrom::From), vec![7, 9, 279])].into());
}

#[test]
fn while_it_cannot_be_recorded_nothing_is_archived_and_nothing_is_lost() {
    let pairs: Vec<Pair> = (1..=300).map(|n| pair(n, n)).collect();
    let mut bench =
        bench_of(shelf(&pairs.iter().map(|pair| (pair.from.0.get(), pair.to.0.get())).collect::<Vec<_>>()), JOURNAL);
    let tries = Rc::new(Cell::new(0));
    let counted = Rc::clone(&tries);
    let mended = Tick::ZERO + Duration::from_secs(9);
    bench.journal = Box::new(move |_, now| {
        counted.set(counted.get() + 1);
        if now < mended { Err("the disk is full".to_owned()) } else { Ok(()) }
    });
    let job = bench.admit_asks(Action::Archive, false, &[(Extent::Whole, &pairs)]);
    bench.run(Duration::from_secs(8));
    assert!(bench.paused(PauseKind::Journal), "{:?}", bench.notices);
    assert!(!bench.sent.iter().any(|(_, call)| archives(call)));
    assert!(tries.get() <= 12, "{} tries", tries.get());
    let late = bench.admit_asks(Action::Archive, false, &[(Extent::Whole, &[pair(500, 500)])]);
    bench.run(Duration::from_secs(60));
    assert_eq!(bench.ends[&late].1, End::archived(2));
    assert!(bench.journaled[&job] && bench.settled(Status::Archived) == 2);
    bench.assert_recorded_before();
    assert!(bench.notices.iter().any(|notice| matches!(notice, Notice::Resumed { kind: PauseKind::Journal, .. })));
    assert_eq!(bench.engine.remains(), Remains::default());
}

/// A disk with little room takes small records and refuses large ones. The pause is over when what could not be recorded
/// is, so there is one standstill, and not one for each small record.
#[test]
fn a_small_record_that_finds_room_does_not_end_the_pause() {
    let large: Vec<Pair> = (1..=900).map(|n| pair(n, n)).collect();
    let all: Vec<(u64, u64)> = (1..=2_000).map(|n| (n, n)).collect();
    let mut bench = bench_of(shelf(&all), JOURNAL);
    let mended = Tick::ZERO + Duration::from_secs(30);
    bench.journal = Box::new(move |call, now| {
        let pairs: usize = call.entries.iter().map(|entry| entry.pairs.len()).sum();
        if now < mended && pairs > 10 { Err("the disk is full".to_owned()) } else { Ok(()) }
    });
    // The lane of labels comes first.
    for n in 0..10 {
        bench.admit_asks(Action::Archive, false, &[(labels(&[279]), &[pair(1_000 + n, 1_000 + n)])]);
        if n == 0 {
            bench.admit_asks(Action::Archive, false, &[(Extent::Whole, &large)]);
        }
        bench.run(Duration::from_millis(600));
    }
    bench.run(Duration::from_secs(20));
    let news = |bench: &Bench| {
        let of_journal = |notice: &&Notice| {
            matches!(
                notice,
                Notice::Paused { kind: PauseKind::Journal, .. } | Notice::Resumed { kind: PauseKind::Journal, .. }
            )
        };
        bench.notices.iter().filter(of_journal).count()
    };
    assert_eq!(news(&bench), 1, "{:?}", bench.notices);
    bench.run(Duration::from_secs(120));
    assert_eq!((news(&bench), bench.settled(Status::Archived)), (2, 11), "{:?}", bench.notices);
    bench.assert_recorded_before();
    assert_eq!(bench.engine.remains(), Remains::default());
}

/// A pause for another reason is ended by a request, not by a record.
#[test]
fn an_outage_ends_though_its_probe_must_be_recorded_first() {
    let pairs: Vec<Pair> = (1..=900).map(|n| pair(n, n)).collect();
    let shelf = shelf(&pairs.iter().map(|pair| (pair.from.0.get(), pair.to.0.get())).collect::<Vec<_>>());
    let up = Tick::ZERO + Duration::from_secs(8);
    let mut bench = Bench::new(policy(), vec![AccountPolicy { safety: JOURNAL, ..account() }], move |call, now| {
        if now < up && archives(call) { answer(503, "") } else { serve(&shelf, call) }
    });
    bench.admit_asks(Action::Archive, false, &[(Extent::Whole, &pairs)]);
    bench.run(Duration::from_secs(120));
    assert!(bench.paused(PauseKind::Outage) && !bench.paused(PauseKind::Journal));
    assert_eq!(bench.settled(Status::Archived), 1);
    bench.assert_recorded_before();
    assert_eq!(bench.journal_has().len(), 900);
    assert_eq!(
        bench.recorded.iter().flat_map(|(_, call)| &call.entries).map(|entry| entry.pairs.len()).sum::<usize>(),
        900,
        "what failed is not recorded again"
    );
    assert_eq!(bench.told(), [900, 0, 0]);
    assert_eq!(bench.engine.remains(), Remains::default());
}

#[test]
fn the_journal_is_told_what_was_refused() {
    let shelf = shelf(&[(1, 1), (2, 2), (3, 3)]);
    let mut bench = Bench::new(policy(), vec![AccountPolicy { safety: JOURNAL, ..account() }], move |call, _| {
        if !archives(call) {
            return serve(&shelf, call);
        }
        match call.pairs.contains(&pair(2, 2)) {
            true => answer(400, r#"{"status":"error","category":"VALIDATION_ERROR","message":"something is wrong"}"#),
            false => answer(204, ""),
        }
    });
    let job = bench.admit_asks(Action::Archive, false, &[(Extent::Whole, &[pair(1, 1), pair(2, 2), pair(3, 3)])]);
    bench.run(Duration::from_secs(60));
    assert_eq!(bench.settled(Status::Partial), 1);
    assert!(bench.journaled[&job], "what is archived was recorded");
    assert_eq!(bench.recorded.len(), 1, "the parts of a batch need not be recorded again");
    assert_eq!(bench.told(), [2, 1, 0]);
    assert_eq!(bench.engine.remains(), Remains::default());
}

/// Who joins a pair that waits to go again saw it later: what is recorded must name the job and what was there by then.
#[test]
fn whoever_joins_what_was_recorded_has_it_recorded_again() {
    let shelf = shelf(&[(1, 1)]);
    let up = Tick::ZERO + Duration::from_secs(2);
    let mut bench = Bench::new(policy(), vec![AccountPolicy { safety: JOURNAL, ..account() }], move |call, now| {
        if now < up && archives(call) { answer(503, "") } else { serve(&shelf, call) }
    });
    let first = bench.admit_asks(Action::Archive, false, &[(Extent::Whole, &[pair(1, 1)])]);
    bench.run(Duration::from_millis(320));
    let second = bench.admit_asks(Action::Archive, false, &[(Extent::Whole, &[pair(1, 1)])]);
    bench.run(Duration::from_secs(30));
    assert_eq!(bench.settled(Status::Archived), 2);
    assert!(bench.journaled[&first] && bench.journaled[&second]);
    let named: Vec<BTreeSet<JobKey>> =
        bench.recorded.iter().map(|(_, call)| call.entries[0].pairs[0].jobs.iter().copied().collect()).collect();
    assert_eq!(named.first(), Some(&BTreeSet::from([first])));
    assert_eq!(named.last(), Some(&BTreeSet::from([first, second])));
    bench.assert_recorded_before();
}

#[test]
fn a_job_that_leaves_while_it_is_recorded_is_not_archived() {
    let mut bench = bench_of(shelf(&[(1, 1)]), JOURNAL);
    let job = bench.admit_asks(Action::Archive, false, &[(Extent::Whole, &[pair(1, 1)])]);
    while bench.to_journal.is_empty() {
        bench.run(Duration::from_millis(5));
    }
    bench.engine.forget(job, bench.now);
    bench.run(Duration::from_secs(5));
    assert_eq!(bench.ends[&job].1, End::HandedBack);
    assert_eq!((bench.recorded.len(), bench.sent.iter().filter(|(_, call)| archives(call)).count()), (1, 0));
    assert_eq!(bench.engine.remains(), Remains::default());
}

#[test]
fn a_drain_waits_for_the_journal_and_sends_nothing_after_it() {
    let mut bench = bench_of(shelf(&[(1, 1)]), JOURNAL);
    let job = bench.admit_asks(Action::Archive, false, &[(Extent::Whole, &[pair(1, 1)])]);
    while bench.to_journal.is_empty() {
        bench.run(Duration::from_millis(5));
    }
    bench.engine.drain(bench.now);
    bench.run(Duration::from_secs(5));
    assert_eq!(bench.ends[&job].1, End::HandedBack);
    assert!(!bench.sent.iter().any(|(_, call)| archives(call)));
    assert_eq!(bench.engine.remains(), Remains::default());
}

#[test]
fn what_cannot_be_written_down_is_not_archived() {
    let body = r#"{"status":"COMPLETE","results":[{"from":{"id":"1"},"to":[{"toObjectId":1,"associationTypes":[{"category":"NEW_KIND","typeId":1,"label":null}]}]}],"numErrors":0,"errors":[]}"#;
    let mut bench = Bench::new(policy(), vec![AccountPolicy { safety: JOURNAL, ..account() }], move |call, _| {
        if archives(call) { answer(204, "") } else { answer(200, body) }
    });
    bench.admit_asks(Action::Archive, false, &[(Extent::Whole, &[pair(1, 1)])]);
    bench.run(Duration::from_secs(5));
    assert_eq!(bench.settled(Status::Failed), 1);
    assert!(!bench.sent.iter().any(|(_, call)| archives(call)) && bench.journal_has().is_empty());
}

#[test]
fn an_account_without_a_journal_records_nothing() {
    let mut bench = bench_of(shelf(&[(1, 1)]), Safety::default());
    let job = bench.admit_asks(Action::Archive, false, &[(Extent::Whole, &[pair(1, 1)])]);
    bench.run(Duration::from_secs(5));
    assert_eq!(bench.ends[&job].1, End::archived(1));
    assert!(!bench.journaled[&job] && bench.recorded.is_empty() && bench.completions.is_empty());
}

const RESTORE: Action = Action::Restore { include_primary: false };

/// An account with a journal whose HubSpot does what is asked for, unless `instead` answers in its place.
fn restoring(
    there: Shelf,
    mut instead: impl FnMut(&mut Shelf, &BatchCall) -> Option<Reply> + 'static,
) -> (Bench, Rc<RefCell<Shelf>>) {
    let shelf = Rc::new(RefCell::new(there));
    let far_side = Rc::clone(&shelf);
    let mut bench = Bench::new(policy(), vec![AccountPolicy { safety: JOURNAL, ..account() }], move |call, _| {
        let mut shelf = far_side.borrow_mut();
        instead(&mut shelf, call).unwrap_or_else(|| obey(&mut shelf, call))
    });
    // What was removed before the process began is no longer shown.
    bench.advance(Tick::ZERO + Duration::from_secs(30));
    (bench, shelf)
}

#[test]
fn what_comes_back_is_recorded_with_what_was_there() {
    let mut there = shelf(&[(1, 1), (2, 1)]);
    there.insert((3, 1), vec![8, 279]);
    let (mut bench, _) = restoring(there, |_, _| None);
    let plain = bench.admit_asks(RESTORE, false, &[(Extent::Whole, &[pair(1, 1), pair(9, 1)])]);
    let labelled = bench.admit_asks(RESTORE, false, &[(labels(&[8]), &[pair(2, 1), pair(3, 1), pair(4, 1)])]);
    bench.run(Duration::from_secs(10));
    let mut restorations = bench.restorations();
    restorations.sort();
    let expected = [(pair(2, 1), vec![279], vec![8]), (pair(4, 1), vec![], vec![8]), (pair(9, 1), vec![], vec![])];
    assert_eq!(restorations, expected);
    assert!(bench.journaled[&plain] && bench.journaled[&labelled]);
    bench.assert_recorded_before();
    assert_eq!(bench.told_of_all(), [0, 3, 0, 0]);
    assert_eq!((bench.recorded.len(), bench.words().len()), (2, 4), "one record a request, and no request more");

    // Where everything is there, nothing is changed, and there is nothing to record.
    let again = bench.admit_asks(RESTORE, false, &[(labels(&[8]), &[pair(2, 1), pair(4, 1)])]);
    let planned = bench.admit_asks(RESTORE, true, &[(labels(&[9]), &[pair(2, 1)])]);
    bench.run(Duration::from_secs(10));
    assert!(bench.journaled[&again] && !bench.journaled[&planned]);
    assert_eq!(bench.recorded.len(), 2);
    assert_eq!(bench.engine.remains(), Remains::default());
}

#[test]
fn while_it_cannot_be_recorded_nothing_is_restored() {
    let (mut bench, shelf) = restoring(shelf(&[(1, 1)]), |_, _| None);
    let mended = bench.now.tick + Duration::from_secs(60);
    bench.journal = Box::new(move |_, now| if now < mended { Err("the disk is full".to_owned()) } else { Ok(()) });
    let pairs = [pair(1, 1), pair(2, 1)];
    let job = bench.admit_asks(RESTORE, false, &[(labels(&[8]), &pairs), (Extent::Whole, &[pair(3, 1)])]);
    bench.run(Duration::from_secs(50));
    assert!(bench.paused(PauseKind::Journal), "{:?}", bench.notices);
    assert!(bench.words().iter().all(|word| *word == "look"), "{:?}", bench.words());
    // Somebody gives the pair another label meanwhile: that stays, and the journal says that it was there.
    shelf.borrow_mut().insert((1, 1), vec![50, 279]);
    bench.run(Duration::from_secs(60));
    assert_eq!(bench.settled(Status::Archived), 1);
    assert!(bench.journaled[&job]);
    assert_eq!(shelf.borrow()[&(1, 1)], [8, 50, 279]);
    let last = bench.restorations().into_iter().rfind(|(of, ..)| *of == pairs[0]).unwrap();
    assert_eq!(last, (pairs[0], vec![50, 279], vec![8]));
    bench.assert_recorded_before();
    assert_eq!(bench.engine.remains(), Remains::default());
}

/// Nobody knows whether the request was obeyed, or somebody else did the same: the journal does not say that it was.
#[test]
fn what_is_found_there_after_a_request_without_an_answer_is_not_told_as_restored() {
    let mut creations = 0;
    let (mut bench, _) = restoring(shelf(&[(1, 1)]), move |shelf, call| {
        creations += u32::from(matches!(call.request, Request::Create { .. }));
        (creations == 1 && matches!(call.request, Request::Create { .. })).then(|| {
            obey(shelf, call);
            shelf.remove(&(2, 1));
            answer(502, "")
        })
    });
    let job = bench.admit_asks(RESTORE, false, &[(labels(&[8]), &[pair(1, 1), pair(2, 1)])]);
    bench.run(Duration::from_secs(60));
    assert_eq!(bench.words(), ["look", "create", "look", "create"]);
    assert!(bench.journaled[&job]);
    assert_eq!(bench.recorded.len(), 1, "what is to come is the same as before");
    assert_eq!(bench.told_of_all(), [0, 1, 0, 1]);
    bench.assert_recorded_before();
    assert_eq!(bench.engine.remains(), Remains::default());
}

/// Of the types that come some can be there already, with pages that are read once more before the creation.
#[test]
fn a_restoration_that_has_to_read_on_is_recorded_when_it_has_read_all() {
    let mut there: Shelf = (1..=9).map(|to| ((1, to), vec![279])).collect();
    there.insert((1, 9), vec![7, 279]);
    let (mut bench, shelf) = restoring(there, |_, _| None);
    let job = bench.admit_asks(RESTORE, false, &[(labels(&[8]), &[pair(1, 9)])]);
    bench.run(Duration::from_millis(700));
    bench.engine.pause(AccountIndex(0), bench.now);
    bench.run(Duration::from_secs(60));
    bench.engine.resume(AccountIndex(0), bench.now);
    bench.run(Duration::from_secs(20));
    assert_eq!(bench.settled(Status::Archived), 1);
    assert!(bench.journaled[&job]);
    assert_eq!(shelf.borrow()[&(1, 9)], [7, 8, 279]);
    assert_eq!(bench.restorations().last(), Some(&(pair(1, 9), vec![7, 279], vec![8])));
    assert_eq!(bench.told_of_all(), [0, 1, 0, 0]);
    bench.assert_recorded_before();
    assert_eq!(bench.engine.remains(), Remains::default());
}

#[test]
fn what_hubspot_refuses_to_create_is_told_as_refused() {
    let (mut bench, _) = restoring(shelf(&[]), |_, call| {
        let body = r#"{"status":"error","category":"VALIDATION_ERROR","message":"no such record"}"#;
        matches!(call.request, Request::Associate).then(|| answer(400, body))
    });
    let job = bench.admit_asks(RESTORE, false, &[(Extent::Whole, &[pair(1, 1)])]);
    bench.run(Duration::from_secs(60));
    assert_eq!(bench.settled(Status::Failed), 1);
    assert!(!bench.journaled[&job]);
    assert_eq!(bench.told_of_all(), [0, 0, 1, 0]);
    assert_eq!(bench.engine.remains(), Remains::default());
}
