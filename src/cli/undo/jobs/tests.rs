#![expect(clippy::unwrap_used, clippy::panic)]

use std::num::NonZeroU64;
use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::cli::journal::gathering::{Gathered, Meant};
use crate::cli::journal::selection::Selection;
use crate::contract::association::{AssociationType, Extent, Label, LabelCategory, RecordId};
use crate::contract::ids::JobId;
use crate::contract::journal::{ChangeKind, Completion, Entry, EntryId, EntryPair, JobName, Places, ReadFrom, Record};
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
        creates: Arc::default(),
        jobs: [0].as_slice().into(),
    });
    Entry {
        id: EntryId::from_random(id.into()),
        kind: ChangeKind::Removal,
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
        restored: Places::default(),
        refused: Places::of(places.to_vec()),
        unknown: Places::default(),
    })
}

fn manner() -> Manner {
    Manner { kind: ChangeKind::Removal, group: Group::new("undo-g").unwrap(), include_primary: false, plan: false }
}

fn gathered(kind: ChangeKind, records: Vec<Record>, selection: &Selection) -> Gathered {
    let mut gathered = Gathered::new(Meant::OfKind(kind));
    records.into_iter().for_each(|record| gathered.note(record, selection).unwrap());
    gathered
}

fn wanted(records: Vec<Record>) -> Wanted {
    Wanted::of_removals(&gathered(ChangeKind::Removal, records, &Selection::default()))
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
fn the_labels_that_come_back_are_told_by_the_names_that_the_journal_has() {
    let [labelled, unnamed] = [[plain(), named(37)], [plain(), AssociationType { name: None, ..named(38) }]];
    let pairs: [(u64, u64, &[AssociationType]); 4] =
        [(1, 7, &labelled), (2, 7, &labelled), (3, 7, &unnamed), (4, 7, &labelled[..1])];
    let wanted = wanted(vec![Record::Entry(entry(1, &pairs))]);
    let lanes: Vec<&LaneName> = wanted.lanes.keys().collect();
    let told = |words: &str, pairs: u64| (words.to_owned(), pairs);
    let expected = [told("USER_DEFINED 37 (a label)", 2), told("USER_DEFINED 38 (name not known)", 1)];
    assert_eq!(wanted.labels_in_words(lanes[0]), expected);
}

/// HubSpot keeps no label without the plain association, so all labels went with its type.
#[test]
fn with_the_type_of_the_plain_association_all_labels_come_back() {
    let extent = Extent::Labels([plain().label].into());
    let of_plain = Entry { extent, ..entry(1, &[(1, 7, &[plain(), named(37), named(38)])]) };
    let wanted = wanted(vec![Record::Entry(of_plain)]);
    assert_eq!(of_pair(&wanted, 1, 7), Some(&types(&[plain(), named(37), named(38)])));
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

fn types(labels: &[AssociationType]) -> What {
    What::Types(labels.iter().map(|of| of.label).collect())
}

/// The pair of a contact and a company, of the only lane.
fn of_pair(wanted: &Wanted, from: u64, to: u64) -> Option<&What> {
    let lane = wanted.lanes.get(&LaneName { portal: portal(), from: "contacts".into(), to: "companies".into() })?;
    lane.get(&Pair { from: record(from), to: record(to) })
}

fn portal() -> Option<crate::contract::ids::PortalId> {
    entry(1, &[]).portal
}

/// A restoration with what was there and what came, of another group.
fn restoration(id: u64, pairs: &[(u64, u64, &[AssociationType], &[AssociationType])]) -> Entry {
    let made = pairs.iter().map(|(.., creates)| *creates);
    let pairs: Vec<(u64, u64, &[AssociationType])> =
        pairs.iter().map(|(from, to, types, _)| (*from, *to, *types)).collect();
    let mut entry = of_group("undo-g", entry(id, &pairs));
    entry.kind = ChangeKind::Restoration;
    entry.pairs.iter_mut().zip(made).for_each(|(pair, made)| pair.creates = made.into());
    entry
}

fn of_group(group: &str, entry: Entry) -> Entry {
    Entry {
        jobs: vec![JobName { id: JobId::new("b").unwrap(), group: Group::new(group), correlation_id: None }],
        ..entry
    }
}

fn restored(id: u64, places: &[u32]) -> Record {
    let Record::Completion(completion) = refused(id, &[]) else { panic!("a completion") };
    Record::Completion(Completion { restored: Places::of(places.to_vec()), ..completion })
}

fn of(group: &str) -> Selection {
    Selection { group: Some(group.to_owned()), ..Selection::default() }
}

fn to_come(records: Vec<Record>) -> Wanted {
    Wanted::of_removals(&gathered(ChangeKind::Removal, records, &of("g")))
}

/// Removed, brought back, changed by somebody, and removed again: the latest state is what the latest removal found.
#[test]
fn what_was_brought_back_and_removed_again_comes_back_as_it_was_the_last_time() {
    let both = [plain(), named(37)];
    let first = Record::Entry(entry(1, &[(1, 7, &both), (2, 7, &[plain()]), (3, 7, &both)]));
    let back = Record::Entry(restoration(2, &[(1, 7, &[], &both), (2, 7, &[], &[]), (3, 7, &[], &both)]));
    let again = Record::Entry(entry(3, &[(1, 7, &[plain()]), (2, 7, &[plain(), named(38)]), (3, 7, &[])]));
    // Of the third one nobody knows whether it came back.
    let wanted = to_come(vec![first.clone(), back.clone(), restored(2, &[0, 1]), again]);
    assert_eq!(of_pair(&wanted, 1, 7), Some(&What::Whole));
    assert_eq!(of_pair(&wanted, 2, 7), Some(&types(&[plain(), named(38)])));
    assert_eq!(of_pair(&wanted, 3, 7), Some(&types(&both)));
    assert_eq!(
        (wanted.pairs(), wanted.absent, wanted.changed),
        (3, 0, 0),
        "a second removal found nothing, and the first one is undone"
    );
    // What is back is looked at once more by the same jobs, so that an undo can be given again.
    let once = to_come(vec![first.clone()]);
    assert_eq!(bodies(&once), bodies(&to_come(vec![first.clone(), back.clone(), restored(2, &[0, 1, 2])])));
    // A restoration that was refused brought nothing back.
    let wanted = to_come(vec![first, back, refused(2, &[0]), Record::Entry(entry(3, &[(1, 7, &[plain()])]))]);
    assert_eq!(of_pair(&wanted, 1, 7), Some(&types(&both)));
}

#[test]
fn what_was_brought_back_in_part_misses_the_rest_after_a_second_removal() {
    let all = [plain(), named(37), named(38)];
    let first = Record::Entry(entry(1, &[(1, 7, &all)]));
    let back = Record::Entry(restoration(2, &[(1, 7, &[], &all[..2])]));
    let again = Record::Entry(entry(3, &[(1, 7, &all[..1])]));
    let wanted = to_come(vec![first, back, restored(2, &[0]), again]);
    assert_eq!(of_pair(&wanted, 1, 7), Some(&types(&[named(38)])), "the plain association comes with it");
}

/// A job that is not meant has its own undo.
#[test]
fn what_another_job_removed_after_it_came_back_stays_away() {
    let both = [plain(), named(37)];
    let first = Record::Entry(entry(1, &[(1, 7, &both), (2, 7, &[plain()]), (3, 7, &both), (4, 7, &both)]));
    let back = Record::Entry(restoration(2, &[(1, 7, &[], &both), (2, 7, &[], &[]), (3, 7, &[], &both)]));
    let others = of_group("other", entry(3, &[(1, 7, &both), (2, 7, &[plain()]), (4, 7, &[])]));
    let only_a_label = Extent::Labels([label(LabelCategory::UserDefined, 37)].into());
    let label = Entry { extent: only_a_label, ..of_group("other", entry(4, &[(3, 7, &both[1..])])) };
    let records =
        vec![first.clone(), back.clone(), restored(2, &[0, 1, 2]), Record::Entry(others), Record::Entry(label)];
    let wanted = to_come(records.clone());
    assert_eq!((of_pair(&wanted, 1, 7), of_pair(&wanted, 2, 7)), (None, None));
    assert_eq!(of_pair(&wanted, 3, 7), Some(&What::Types([plain().label].into())));
    assert_eq!(of_pair(&wanted, 4, 7), Some(&types(&both)), "it never came back");
    assert_eq!(wanted.changed, 2);
    // What HubSpot refused to another job is still as it came back.
    let failed = of_group("other", entry(5, &[(1, 7, &both)]));
    let came_back = [first, back, restored(2, &[0, 1, 2])];
    let refused_to_another = to_come([came_back.to_vec(), vec![Record::Entry(failed), refused(5, &[0])]].concat());
    assert_eq!((of_pair(&refused_to_another, 1, 7), refused_to_another.changed), (Some(&types(&both)), 0));
    // Together with the other job's, all of it is meant.
    let all = Wanted::of_removals(&gathered(ChangeKind::Removal, records, &Selection::default()));
    assert_eq!(of_pair(&all, 1, 7), Some(&types(&both)));
    assert_eq!(of_pair(&all, 2, 7), Some(&What::Whole));
}

/// The second removal was read from the other side, where types have other ids.
#[test]
fn a_second_removal_that_was_read_from_the_other_side_counts_as_well() {
    let both = [plain(), named(37)];
    let first = Record::Entry(entry(1, &[(1, 7, &both)]));
    let back = Record::Entry(restoration(2, &[(1, 7, &[], &both)]));
    let again = Record::Entry(Entry { read: ReadFrom::To, ..entry(3, &[(1, 7, &[plain()])]) });
    let wanted = to_come(vec![first, back, restored(2, &[0]), again]);
    assert_eq!((of_pair(&wanted, 1, 7), wanted.pairs()), (None, 1));
}

#[test]
fn a_restoration_is_taken_back_as_far_as_it_made_anything() {
    let both = [plain(), named(37)];
    let made = restoration(
        1,
        &[(1, 7, &[], &both), (2, 7, &[], &[]), (3, 7, &both[..1], &both[1..]), (4, 7, &[], &[]), (5, 7, &[], &[])],
    );
    let made = vec![Record::Entry(made), restored(1, &[0, 1, 2, 4]), Record::Entry(entry(9, &[(9, 9, &both)]))];
    let to_go =
        |records: Vec<Record>| Wanted::of_restorations(&gathered(ChangeKind::Restoration, records, &of("undo-g")));
    let wanted = to_go(made.clone());
    assert_eq!((wanted.pairs(), wanted.unknown, wanted.refused), (4, 1, 0));
    let manner = Manner { kind: ChangeKind::Restoration, ..manner() };
    let jobs = jobs(&wanted, &manner, &LIMITS).unwrap();
    let body: Value = serde_json::from_slice(&jobs[0].body).unwrap();
    let inputs = json!([
        {"from": {"id": "1"}, "to": [{"id": "7"}]},
        {"from": {"id": "2"}, "to": [{"id": "7"}]},
        {"from": {"id": "5"}, "to": [{"id": "7"}]},
        {
            "from": {"id": "3"}, "to": [{"id": "7"}],
            "types": [{"associationCategory": "USER_DEFINED", "associationTypeId": 37}],
        },
    ]);
    assert_eq!((&body["action"], &body["inputs"], jobs.len()), (&json!("archive"), &inputs, 1));

    // Whatever was changed since is left alone: removed, or given something more by a job that is not meant.
    let removal = of_group("other", entry(2, &[(1, 7, &both), (2, 7, &[plain()])]));
    let more = of_group("other", restoration(3, &[(5, 7, &both[..1], &both[1..])]));
    let since = [Record::Entry(removal), refused(2, &[1]), Record::Entry(of_group("other", more))];
    let wanted = to_go([made, since.into()].concat());
    assert_eq!((of_pair(&wanted, 1, 7), of_pair(&wanted, 5, 7)), (None, None));
    assert_eq!((wanted.pairs(), wanted.changed), (2, 2));
}

/// Very many jobs asked for a pair, so its entry is two records, and only one of them names the jobs that are meant.
/// That record was written twice, since it was not known whether the first time had succeeded.
#[test]
fn the_other_records_of_a_restoration_are_no_later_change() {
    let made = restoration(1, &[(1, 7, &[], &[])]);
    let others = of_group("other", restoration(1, &[(1, 7, &[], &[])]));
    let lost = restoration(2, &[(1, 7, &[], &[])]);
    let records = [lost, made, others].map(Record::Entry).into_iter().chain([restored(1, &[0])]);
    let gathered = gathered(ChangeKind::Restoration, records.collect(), &of("undo-g"));
    let wanted = Wanted::of_restorations(&gathered);
    assert_eq!((of_pair(&wanted, 1, 7), wanted.changed, wanted.unknown), (Some(&What::Whole), 0, 0));
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
