//! Looks: dry runs, pages, and what is looked at before it is archived.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::contract::association::{Label, LabelCategory};
use crate::engine::account::Safety;
use crate::engine::command::Request;

/// Associations of contacts with companies, each with the ids of its labels.
pub(super) type Shelf = BTreeMap<(u64, u64), Vec<u64>>;

/// Associations that a page shows of one record.
const PAGE: usize = 2;

pub(super) fn shelf(pairs: &[(u64, u64)]) -> Shelf {
    pairs.iter().map(|&pair| (pair, vec![279])).collect()
}

/// Does what is asked for.
pub(super) fn obey(shelf: &mut Shelf, call: &BatchCall) -> Reply {
    let key = |pair: &Pair| (pair.from.0.get(), pair.to.0.get());
    let mut results = Vec::new();
    match &call.request {
        Request::Look { .. } => return serve(shelf, call),
        Request::Archive | Request::ArchiveTurned => {
            shelf.retain(|pair, _| !call.pairs.iter().any(|gone| key(gone) == *pair))
        }
        Request::ArchiveLabels => {
            let Extent::Labels(gone) = &call.lane.extent else { panic!("{call:?}") };
            for pair in call.pairs.iter() {
                let is_gone = |id: &u64| gone.iter().any(|label| label.type_id.get() == *id);
                shelf.entry(key(pair)).or_default().retain(|id| !is_gone(id));
            }
        }
        Request::Associate => {
            for pair in call.pairs.iter() {
                shelf.entry(key(pair)).or_insert_with(|| vec![279]);
                results.push(format!(r#"{{"from":{{"id":"{}"}},"to":{{"id":"{}"}}}}"#, pair.from, pair.to));
            }
        }
        Request::Create { labels } => {
            for (pair, labels) in call.pairs.iter().zip(labels.iter()) {
                shelf.insert(key(pair), labels.iter().map(|label| label.type_id.get()).collect());
                results.push(format!(r#"{{"fromObjectId":{},"toObjectId":{}}}"#, pair.from, pair.to));
            }
        }
    }
    answer(200, &format!(r#"{{"status":"COMPLETE","results":[{}]}}"#, results.join(",")))
}

/// Serves reads from the shelf, page by page, and says yes to everything else.
pub(super) fn serve(shelf: &Shelf, call: &BatchCall) -> Reply {
    let Request::Look { records, reversed } = &call.request else { return answer(204, "") };
    let (mut results, mut errors) = (Vec::new(), Vec::new());
    for asked in records.iter() {
        let id = asked.from.0.get();
        let of_record = |&(&(from, to), _): &(&(u64, u64), &Vec<u64>)| if *reversed { to == id } else { from == id };
        let other = |&(&(from, to), _): &(&(u64, u64), &Vec<u64>)| if *reversed { from } else { to };
        let after: u64 = asked.after.as_deref().map_or(0, |after| after.parse().unwrap());
        let all: Vec<_> = shelf.iter().filter(of_record).collect();
        // A page begins behind the last record that was shown, whatever was removed meanwhile.
        let rest: Vec<_> = all.iter().copied().filter(|found| other(found) > after).collect();
        if all.is_empty() {
            errors.push(format!(
                r#"{{"status":"error","category":"OBJECT_NOT_FOUND","subCategory":"crm.associations.NO_ASSOCIATIONS_FOUND","message":"none","context":{{"fromObjectId":["{id}"]}}}}"#
            ));
            continue;
        }
        let to = rest.iter().take(PAGE).map(|found| {
            let labels = found.1;
            let name = |id: &u64| if *id == 279 { "null".to_owned() } else { format!(r#""label {id}""#) };
            let types: Vec<String> = labels
                .iter()
                .map(|id| format!(r#"{{"category":"HUBSPOT_DEFINED","typeId":{id},"label":{}}}"#, name(id)))
                .collect();
            let other = other(found);
            format!(r#"{{"toObjectId":{other},"associationTypes":[{}]}}"#, types.join(","))
        });
        let to: Vec<String> = to.collect();
        let paging = match rest.get(PAGE - 1).filter(|_| rest.len() > PAGE) {
            Some(last) => format!(r#","paging":{{"next":{{"after":"{}"}}}}"#, other(last)),
            None => String::new(),
        };
        results.push(format!(r#"{{"from":{{"id":"{id}"}},"to":[{}]{paging}}}"#, to.join(",")));
    }
    let (results, number, errors) = (results.join(","), errors.len(), errors.join(","));
    answer(207, &format!(r#"{{"status":"COMPLETE","results":[{results}],"numErrors":{number},"errors":[{errors}]}}"#))
}

pub(super) fn bench_of(shelf: Shelf, safety: Safety) -> Bench {
    Bench::new(policy(), vec![AccountPolicy { safety, ..account() }], move |call, _| serve(&shelf, call))
}

impl Bench {
    pub(super) fn admit_asks(&mut self, action: Action, dry_run: bool, asks: &[(Extent, &[Pair])]) -> JobKey {
        let asks = asks.iter().map(|(extent, pairs)| Ask {
            extent: extent.clone(),
            pairs: pairs.iter().copied().collect(),
            all_of: Vec::new(),
        });
        let job = NewJob { action, dry_run, ..new_job(("contacts", "companies"), asks, Carried::fresh(self.now.wall)) };
        self.engine.admit(job, self.now)
    }

    pub(super) fn words(&self) -> Vec<&'static str> {
        let word = |call: &BatchCall| match call.request {
            Request::Archive => "archive",
            Request::ArchiveTurned => "archive from the other side",
            Request::ArchiveLabels => "archive labels",
            Request::Look { reversed: false, .. } => "look",
            Request::Look { reversed: true, .. } => "look from the other side",
            Request::Associate => "associate",
            Request::Create { .. } => "create",
        };
        self.sent.iter().map(|(_, call)| word(call)).collect()
    }
}

pub(super) fn labels(ids: &[u64]) -> Extent {
    let label = |id: &u64| Label { category: LabelCategory::HubspotDefined, type_id: NonZeroU64::new(*id).unwrap() };
    Extent::Labels(ids.iter().map(label).collect())
}

/// The pairs of a plan: whether each is there, and by how many types it would go.
pub(super) fn planned(ending: &Ending) -> BTreeMap<Pair, (bool, usize)> {
    let Ending::Planned { plan, errors } = ending else { panic!("{ending:?}") };
    assert!(errors.is_empty(), "{errors:?}");
    plan.iter().map(|entry| (entry.pair, (entry.present, entry.types.len()))).collect()
}

#[test]
fn a_dry_run_tells_what_would_go_and_sends_nothing_but_looks() {
    let mut shelf = shelf(&[(1, 1), (2, 1)]);
    shelf.insert((2, 2), vec![279, 7]);
    let mut bench = bench_of(shelf, Safety::default());
    let pairs = [pair(1, 1), pair(1, 9), pair(2, 2), pair(3, 1)];
    let whole = bench.admit_asks(Action::Archive, true, &[(Extent::Whole, &pairs)]);
    let some = bench.admit_asks(Action::Archive, true, &[(labels(&[7]), &pairs[2..])]);
    bench.run(Duration::from_secs(5));
    assert_eq!(bench.words(), ["look", "look"]);
    let expected = [(true, 1), (false, 0), (true, 2), (false, 0)];
    assert_eq!(planned(&bench.endings[&whole]), pairs.into_iter().zip(expected).collect());
    assert_eq!(planned(&bench.endings[&some]), [(pairs[2], (true, 1)), (pairs[3], (false, 0))].into());
    assert_eq!(bench.engine.remains(), Remains::default());
    assert_eq!(bench.engine.counters().pairs_looked_up, 6);
    assert_eq!(bench.engine.counters().pairs_archived, 0);
}

#[test]
fn a_record_is_read_on_until_its_pairs_are_seen() {
    let shelf = shelf(&[(1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (2, 1)]);
    let mut bench = bench_of(shelf, Safety::default());
    let job = bench.admit_asks(Action::Archive, true, &[(Extent::Whole, &[pair(1, 3), pair(1, 1), pair(2, 1)])]);
    let absent = bench.admit_asks(Action::Archive, true, &[(labels(&[279]), &[pair(1, 9)])]);
    bench.run(Duration::from_secs(5));
    let asked = |call: &BatchCall| match &call.request {
        Request::Look { records, .. } => records.iter().map(|one| (one.from.0.get(), one.after.clone())).collect(),
        Request::Archive
        | Request::ArchiveTurned
        | Request::ArchiveLabels
        | Request::Associate
        | Request::Create { .. } => Vec::new(),
    };
    let whole = bench.sent.iter().map(|(_, call)| call).filter(|call| call.lane.extent == Extent::Whole);
    let whole: Vec<_> = whole.map(asked).collect();
    assert_eq!(whole, [vec![(1, None), (2, None)], vec![(1, Some("2".into()))]], "the other pages are not needed");
    assert_eq!(bench.sent.len(), 2 + 3, "to be sure that a pair is not there takes all pages");
    assert!(planned(&bench.endings[&job]).values().all(|seen| *seen == (true, 1)));
    assert_eq!(planned(&bench.endings[&absent])[&pair(1, 9)], (false, 0));
    assert_eq!(bench.engine.remains(), Remains::default());
}

#[test]
fn with_a_journal_pairs_are_looked_at_before_they_are_archived() {
    let journal = Safety { journal: true, verify: false };
    let pairs: Vec<Pair> = (1..=10_000).map(|n| pair(n, 1 + n % 10)).collect();
    let mut bench =
        bench_of(pairs.iter().map(|pair| ((pair.from.0.get(), pair.to.0.get()), vec![279])).collect(), journal);
    let job = bench.admit_asks(Action::Archive, false, &[(Extent::Whole, &pairs)]);
    bench.run(Duration::from_secs(60));
    assert_eq!(bench.settled(Status::Archived), 1);
    let looks = bench.words().iter().filter(|word| **word == "look").count();
    assert_eq!((looks, bench.sent.len()), (10, 110), "at most a fifth more");
    let of_looks = bench.sent.iter().filter(|(_, call)| matches!(call.request, Request::Look { .. }));
    let seen: BTreeSet<Pair> = of_looks.flat_map(|(_, call)| call.pairs.to_vec()).collect();
    assert_eq!(seen.len(), pairs.len());
    assert!(matches!(bench.endings[&job], Ending::Settled { num_pairs: 10_000, .. }));
    assert_eq!(bench.engine.remains(), Remains::default());
}

/// Of a hundred jobs that may be in hand: a look of twelve is enough when a quarter of them is there.
#[test]
fn a_look_does_not_wait_for_company_that_has_no_room_to_come() {
    let journal = Safety { journal: true, verify: false };
    let lanes = ["companies", "deals", "tickets"];
    for (lanes, jobs, leaves) in [(&lanes[..2], 12, 200), (&lanes, 11, 200), (&lanes[..2], 13, 0)] {
        let waiting = Waiting::Outside { longest_hold: Duration::from_secs(490), prefetch: 100 };
        let policy = EnginePolicy { waiting, ..policy() };
        let mut bench = Bench::new(policy, vec![AccountPolicy { safety: journal, ..account() }], |call, _| {
            serve(&Shelf::new(), call)
        });
        for n in 0..jobs {
            for lane in lanes {
                bench.admit(("contacts", lane), &[pair(1 + n, 1)]);
            }
        }
        bench.run(Duration::from_secs(1));
        let looks = bench.sent.iter().filter(|(_, call)| matches!(call.request, Request::Look { .. }));
        let looks: Vec<usize> = looks.map(|(_, call)| call.pairs.len()).collect();
        assert_eq!(looks, vec![usize::try_from(jobs).unwrap(); lanes.len()], "{jobs} jobs in each lane");
        assert_eq!(bench.sent[0].0, Tick::from_micros(leaves * 1_000), "{jobs} jobs in each of {} lanes", lanes.len());
        bench.run(Duration::from_secs(5));
        assert_eq!(bench.ends.len(), lanes.len() * usize::try_from(jobs).unwrap());
    }
}

#[test]
fn the_side_with_more_records_is_read_whose_pages_are_short() {
    let journal = Safety { journal: true, verify: false };
    let pairs: Vec<Pair> = (1..=900).map(|n| pair(1, n)).collect();
    let mut bench = bench_of(pairs.iter().map(|pair| ((1, pair.to.0.get()), vec![279])).collect(), journal);
    bench.admit_asks(Action::Archive, false, &[(Extent::Whole, &pairs)]);
    bench.run(Duration::from_secs(60));
    assert_eq!(bench.settled(Status::Archived), 1);
    assert_eq!(bench.words(), ["look from the other side", "archive"]);
}

#[test]
fn what_is_not_seen_from_the_other_side_is_looked_at_from_its_own() {
    let journal = Safety { journal: true, verify: false };
    let pairs: Vec<Pair> = (1..=9).map(|n| pair(1, n)).collect();
    let shelf: Shelf = pairs.iter().map(|pair| ((1, pair.to.0.get()), vec![279])).collect();
    // Seen from a company nothing is there: such a portal's associations are not two-way.
    let mut bench = Bench::new(policy(), vec![AccountPolicy { safety: journal, ..account() }], move |call, _| {
        match &call.request {
            Request::Look { reversed: true, .. } => serve(&Shelf::new(), call),
            Request::Look { .. } | Request::Archive | Request::ArchiveLabels | Request::Associate => {
                serve(&shelf, call)
            }
            Request::ArchiveTurned | Request::Create { .. } => panic!("{call:?}"),
        }
    });
    bench.admit_asks(Action::Archive, false, &[(Extent::Whole, &pairs)]);
    bench.run(Duration::from_secs(60));
    assert_eq!(bench.settled(Status::Archived), 1);
    let words = bench.words();
    assert_eq!((words[0], words[1], words.last()), ("look from the other side", "look", Some(&"archive")), "{words:?}");
    let entries = bench.recorded.iter().flat_map(|(_, call)| &call.entries);
    let types = entries.flat_map(|entry| &entry.pairs).map(|pair| pair.types.len());
    assert_eq!(types.sum::<usize>(), 9, "what was there is recorded");
    assert_eq!(bench.engine.remains(), Remains::default());
}

#[test]
fn a_job_that_leaves_during_its_look_is_not_archived() {
    let journal = Safety { journal: true, verify: false };
    let mut bench = bench_of(shelf(&[(1, 1)]), journal);
    let gone = bench.admit_asks(Action::Archive, false, &[(Extent::Whole, &[pair(1, 1), pair(1, 2)])]);
    bench.run(Duration::from_millis(250));
    let stays = bench.admit_asks(Action::Archive, false, &[(Extent::Whole, &[pair(1, 2)])]);
    bench.engine.forget(gone, bench.now);
    bench.run(Duration::from_secs(10));
    assert_eq!(bench.ends[&gone].1, End::HandedBack);
    assert_eq!(bench.ends[&stays].1, End::archived(2));
    assert_eq!(bench.words(), ["look from the other side", "look", "archive"]);
    assert_eq!(bench.engine.remains(), Remains::default());
}

#[test]
fn looks_are_repeated_and_searched_like_archives() {
    let shelf = shelf(&[(1, 1), (2, 1), (3, 1)]);
    let mut tries = 0;
    let mut bench = Bench::new(policy(), vec![account()], move |call, _| {
        tries += 1;
        let Request::Look { records, .. } = &call.request else { return answer(204, "") };
        match tries {
            1 => answer(503, ""),
            2 => answer(429, r#"{"policyName":"TEN_SECONDLY_ROLLING"}"#),
            _ if records.iter().any(|record| record.from.0.get() == 2) => {
                answer(400, r#"{"status":"error","category":"VALIDATION_ERROR","message":"something is wrong"}"#)
            }
            _ => serve(&shelf, call),
        }
    });
    let job = bench.admit_asks(Action::Archive, true, &[(Extent::Whole, &[pair(1, 1), pair(2, 1), pair(3, 1)])]);
    bench.run(Duration::from_secs(60));
    let Ending::Planned { plan, errors } = &bench.endings[&job] else { panic!() };
    assert_eq!(plan.len(), 2);
    assert_eq!(errors.iter().map(|error| error.pair()).collect::<Vec<_>>(), [Some(pair(2, 1))]);
}
