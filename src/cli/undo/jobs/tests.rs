#![expect(clippy::unwrap_used)]

use std::num::NonZeroU64;
use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::cli::journal::gathering::Gathered;
use crate::cli::journal::selection::Selection;
use crate::contract::association::{AssociationType, Extent, Label, LabelCategory, RecordId};
use crate::contract::ids::JobId;
use crate::contract::journal::{Completion, Entry, EntryId, EntryPair, JobName, Places, ReadFrom, Record};
use crate::contract::object_type::ObjectType;

const LIMITS: JobLimits = JobLimits { max_bytes: 1 << 20, max_pairs: 10_000 };

fn record(id: u64) -> RecordId {
    RecordId(NonZeroU64::new(id).unwrap())
}

fn label(category: LabelCategory, id: u64) -> Label {
    Label { category, type_id: NonZeroU64::new(id).unwrap() }
}

fn plain() -> AssociationType {
    AssociationType { label: label(LabelCategory::HubspotDefined, 279), name: None }
}

fn named(id: u64) -> AssociationType {
    AssociationType { label: label(LabelCategory::UserDefined, id), name: Some("a label".into()) }
}

fn entry(id: u64, pairs: &[(u64, u64, &[AssociationType])]) -> Entry {
    let pairs = pairs.iter().map(|(from, to, types)| EntryPair {
        pair: Pair { from: record(*from), to: record(*to) },
        types: Arc::from(*types),
        jobs: [0].as_slice().into(),
    });
    Entry {
        id: EntryId::from_random(id.into()),
        at: Timestamp::from_second(1_800_000_000).unwrap(),
        portal: NonZeroU64::new(4711).map(crate::contract::ids::PortalId),
        from_type: ObjectType::parse("contact").unwrap(),
        to_type: ObjectType::parse("0-2").unwrap(),
        read: ReadFrom::From,
        extent: Extent::Whole,
        jobs: vec![JobName { id: JobId::new("a").unwrap(), group: Group::new("g"), correlation_id: None }],
        first: 0,
        pairs: pairs.collect(),
    }
}

fn refused(id: u64, places: &[u32]) -> Record {
    Record::Completion(Completion {
        entry: EntryId::from_random(id.into()),
        at: Timestamp::from_second(1_800_000_001).unwrap(),
        archived: Places::default(),
        refused: Places::of(places.to_vec()),
        unknown: Places::default(),
    })
}

fn manner() -> Manner {
    Manner { group: Group::new("undo-g").unwrap(), include_primary: false, plan: false }
}

fn wanted(records: Vec<Record>) -> Wanted {
    let mut gathered = Gathered::default();
    records.into_iter().for_each(|record| gathered.note(record, &Selection::default()).unwrap());
    Wanted::of(&gathered)
}

fn bodies(wanted: &Wanted) -> Vec<Value> {
    let jobs = jobs(wanted, &manner(), &LIMITS).unwrap();
    jobs.iter().map(|job| serde_json::from_slice(&job.body).unwrap()).collect()
}

#[test]
fn what_went_comes_back_as_it_was() {
    let labelled = [plain(), named(37)];
    let wanted = wanted(vec![Record::Entry(entry(1, &[(1, 7, &[plain()]), (1, 8, &labelled), (2, 7, &[])]))]);
    assert_eq!((wanted.pairs(), wanted.absent), (2, 1));
    let bodies = bodies(&wanted);
    assert_eq!(bodies.len(), 1);
    let types = json!([
        {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 279},
        {"associationCategory": "USER_DEFINED", "associationTypeId": 37},
    ]);
    let expected = json!({
        "jobId": bodies[0]["jobId"], "portalId": 4711, "fromObjectType": "contacts", "toObjectType": "companies",
        "action": "restore", "group": "undo-g",
        "inputs": [
            {"from": {"id": "1"}, "to": [{"id": "7"}]},
            {"from": {"id": "1"}, "to": [{"id": "8"}], "types": types},
        ],
    });
    assert_eq!(bodies[0], expected);
}

/// Type ids have a meaning in one direction only.
#[test]
fn what_was_read_from_the_other_side_is_restored_from_there() {
    let reversed = Entry { read: ReadFrom::To, ..entry(1, &[(1, 7, &[plain(), named(38)])]) };
    let bodies = bodies(&wanted(vec![Record::Entry(reversed)]));
    assert_eq!(bodies[0]["fromObjectType"], "companies");
    assert_eq!(bodies[0]["inputs"][0]["from"]["id"], "7");
    assert_eq!(bodies[0]["inputs"][0]["to"][0]["id"], "1");
}

#[test]
fn of_labels_only_those_that_were_removed_come_back() {
    let extent = Extent::Labels([label(LabelCategory::UserDefined, 37), label(LabelCategory::UserDefined, 39)].into());
    let of_labels = Entry { extent, ..entry(1, &[(1, 7, &[plain(), named(37), named(38)]), (2, 7, &[plain()])]) };
    let wanted = wanted(vec![Record::Entry(of_labels)]);
    assert_eq!((wanted.pairs(), wanted.absent), (1, 1));
    let bodies = bodies(&wanted);
    assert_eq!(
        bodies[0]["inputs"][0]["types"],
        json!([{"associationCategory": "USER_DEFINED", "associationTypeId": 37}])
    );
}

#[test]
fn what_was_refused_stays_and_what_is_not_known_comes_back() {
    let pairs: [(u64, u64, &[AssociationType]); 3] = [(1, 7, &[plain()]), (2, 7, &[plain()]), (3, 7, &[plain()])];
    let wanted = wanted(vec![Record::Entry(entry(1, &pairs)), refused(1, &[1]), refused(9, &[0, 2])]);
    assert_eq!((wanted.pairs(), wanted.refused), (2, 1));
    let lane = wanted.lanes.values().next().unwrap();
    assert_eq!(lane.keys().map(|pair| pair.from.0.get()).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn a_pair_that_was_removed_twice_gets_all_that_went() {
    let first = entry(1, &[(1, 7, &[plain(), named(37)])]);
    let second = entry(2, &[(1, 7, &[plain(), named(38)])]);
    let third = entry(3, &[(1, 7, &[plain()])]);
    let bodies = bodies(&wanted([first, second, third].map(Record::Entry).into()));
    assert_eq!(bodies[0]["inputs"].as_array().unwrap().len(), 1);
    assert_eq!(bodies[0]["inputs"][0]["types"].as_array().unwrap().len(), 3);
}

#[test]
fn the_same_is_undone_by_the_same_jobs_and_by_as_few_as_may_be() {
    let types = [plain(), named(37)];
    let pairs: Vec<(u64, u64, &[AssociationType])> =
        (1..=1_000).map(|from| (from, 7, if from % 2 == 0 { &types[..] } else { &types[..1] })).collect();
    let forwards = wanted(vec![Record::Entry(entry(1, &pairs))]);
    let backwards: Vec<_> = pairs.iter().rev().copied().collect();
    let (some, others) = backwards.split_at(300);
    let again = wanted(vec![Record::Entry(entry(2, some)), Record::Entry(entry(3, others))]);
    let (jobs_of, limits) = (|wanted: &Wanted| jobs(wanted, &manner(), &LIMITS).unwrap(), LIMITS);
    assert_eq!(jobs_of(&forwards), jobs_of(&again));
    assert_eq!(jobs_of(&forwards).len(), 3);
    let other = Manner { plan: true, ..manner() };
    assert_ne!(jobs(&forwards, &other, &limits).unwrap()[0].id, jobs_of(&forwards)[0].id);

    let narrow = JobLimits { max_bytes: 4_096, max_pairs: 100 };
    let small = jobs(&forwards, &manner(), &narrow).unwrap();
    assert!(small.iter().all(|job| job.body.len() <= 4_096));
    let ids: std::collections::HashSet<&str> = small.iter().map(|job| job.id.as_str()).collect();
    assert_eq!(ids.len(), small.len());
}

#[test]
fn a_record_that_was_written_twice_counts_once() {
    let once = Record::Entry(entry(1, &[(1, 7, &[plain()])]));
    let mut gathered = Gathered::default();
    for record in [once.clone(), once] {
        gathered.note(record, &Selection::default()).unwrap();
    }
    assert_eq!((gathered.pairs, gathered.entries.len()), (1, 1));
}
