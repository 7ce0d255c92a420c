#![expect(clippy::unwrap_used)]

use std::num::NonZeroU64;
use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::contract::association::{Label, LabelCategory, RecordId};

fn record(id: u64) -> RecordId {
    RecordId(NonZeroU64::new(id).unwrap())
}

fn kind(category: LabelCategory, id: u64, name: Option<&str>) -> AssociationType {
    AssociationType { label: Label { category, type_id: NonZeroU64::new(id).unwrap() }, name: name.map(Arc::from) }
}

fn example() -> Entry {
    let types: Arc<[AssociationType]> = [
        kind(LabelCategory::HubspotDefined, 279, None),
        kind(LabelCategory::UserDefined, 37, Some("Billing \"contact\"")),
    ]
    .into();
    Entry {
        id: EntryId(Uuid::from_u128(7)),
        kind: ChangeKind::Removal,
        at: Timestamp::from_millisecond(1_800_000_000_123).unwrap(),
        portal: NonZeroU64::new(4711).map(PortalId),
        from_type: ObjectType::parse("Contacts").unwrap(),
        to_type: ObjectType::parse("companies").unwrap(),
        read: ReadFrom::From,
        extent: Extent::Whole,
        jobs: vec![JobName { id: JobId::new("crm-1").unwrap(), group: Group::new("import"), correlation_id: None }],
        first: 0,
        pairs: vec![
            EntryPair {
                pair: Pair { from: record(101), to: record(9001) },
                types: types.clone(),
                creates: Arc::default(),
                jobs: smallvec::smallvec![0],
            },
            EntryPair {
                pair: Pair { from: record(102), to: record(9001) },
                types: Arc::new([]),
                creates: Arc::default(),
                jobs: smallvec::smallvec![0],
            },
        ],
    }
}

#[test]
fn an_entry_is_written_like_this() {
    let records = example().encode();
    insta::assert_snapshot!(String::from_utf8(records[0].clone()).unwrap(), @r#"{"version":1,"record":"entry","id":"00000000-0000-0000-0000-000000000007","at":"2027-01-15T08:00:00.123Z","portalId":4711,"fromObjectType":"Contacts","toObjectType":"companies","readFrom":"from","labels":null,"types":[{"associationCategory":"HUBSPOT_DEFINED","associationTypeId":279,"label":null},{"associationCategory":"USER_DEFINED","associationTypeId":37,"label":"Billing \"contact\""}],"jobs":[{"jobId":"crm-1","group":"import","correlationId":null}],"first":0,"pairs":[{"from":"101","to":"9001","types":[0,1],"jobs":[0]},{"from":"102","to":"9001","types":[],"jobs":[0]}]}"#);
}

#[test]
fn a_completion_is_written_like_this() {
    let completion = Completion {
        entry: EntryId(Uuid::from_u128(7)),
        at: Timestamp::from_millisecond(1_800_000_000_123).unwrap(),
        archived: Places::of((0..998).chain([999]).collect()),
        restored: Places::default(),
        refused: Places::of(vec![998]),
        unknown: Places::default(),
    };
    insta::assert_snapshot!(String::from_utf8(completion.encode()).unwrap(), @r#"{"version":1,"record":"completion","entry":"00000000-0000-0000-0000-000000000007","at":"2027-01-15T08:00:00.123Z","archived":[[0,997],[999,999]],"refused":[[998,998]],"unknown":[]}"#);
}

/// A reader who knows of removals only passes it over as a record of a later version.
#[test]
fn a_restoration_is_written_like_this() {
    let mut entry = Entry { kind: ChangeKind::Restoration, ..example() };
    entry.pairs[0].creates = [kind(LabelCategory::UserDefined, 39, None)].into();
    let records = entry.encode();
    insta::assert_snapshot!(String::from_utf8(records[0].clone()).unwrap(), @r#"{"version":1,"record":"restoration","id":"00000000-0000-0000-0000-000000000007","at":"2027-01-15T08:00:00.123Z","portalId":4711,"fromObjectType":"Contacts","toObjectType":"companies","readFrom":"from","labels":null,"types":[{"associationCategory":"HUBSPOT_DEFINED","associationTypeId":279,"label":null},{"associationCategory":"USER_DEFINED","associationTypeId":37,"label":"Billing \"contact\""},{"associationCategory":"USER_DEFINED","associationTypeId":39,"label":null}],"jobs":[{"jobId":"crm-1","group":"import","correlationId":null}],"first":0,"pairs":[{"from":"101","to":"9001","types":[0,1],"creates":[2],"jobs":[0]},{"from":"102","to":"9001","types":[],"creates":[],"jobs":[0]}]}"#);
    let completion = Completion {
        entry: EntryId(Uuid::from_u128(7)),
        at: Timestamp::from_millisecond(1_800_000_000_123).unwrap(),
        archived: Places::default(),
        restored: Places::of(vec![0]),
        refused: Places::of(vec![1]),
        unknown: Places::default(),
    };
    insta::assert_snapshot!(String::from_utf8(completion.encode()).unwrap(), @r#"{"version":1,"record":"completion","entry":"00000000-0000-0000-0000-000000000007","at":"2027-01-15T08:00:00.123Z","archived":[],"restored":[[0,0]],"refused":[[1,1]],"unknown":[]}"#);
    assert_eq!(parse(&completion.encode()), Ok(Record::Completion(completion)));
}

#[test]
fn what_a_later_version_adds_is_no_fault() {
    let written = String::from_utf8(example().encode().remove(0)).unwrap();
    let later = written.replace(r#""version":1"#, r#""version":2,"new":{"a":[1]}"#);
    assert_eq!(parse(later.as_bytes()), Ok(Record::Entry(example())));
    assert_eq!(parse(br#"{"record":"summary","x":1}"#), Ok(Record::Unknown));
    assert_eq!(parse(&writing::mark(Uuid::from_u128(9))), Ok(Record::Mark(Uuid::from_u128(9))));
}

#[test]
fn what_is_no_record_is_told_so() {
    let good = String::from_utf8(example().encode().remove(0)).unwrap();
    for (from, to) in [
        (r#""jobs":[0]"#, r#""jobs":[1]"#),
        (r#""types":[0,1]"#, r#""types":[2]"#),
        (r#""from":"101""#, r#""from":"0101""#),
        ("USER_DEFINED", "OTHER_DEFINED"),
        ("Contacts", "a/b"),
        (r#""readFrom":"from""#, r#""readFrom":"both""#),
        (r#""labels":null"#, r#""labels":[]"#),
        (r#""first":0"#, r#""first":4294967295"#),
        ("}", ""),
    ] {
        let bad = good.replace(from, to);
        assert!(parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

/// The types are few and shared, so a thousand pairs of a thousand jobs stay far below the limit.
#[test]
fn a_thousand_pairs_of_a_thousand_jobs_are_one_small_record() {
    let of_one = example();
    let entry = Entry {
        jobs: (0..1_000)
            .map(|n| JobName {
                id: JobId::new(&format!("crm-sync-2026-11-28-{n}")).unwrap(),
                group: Group::new("import of november"),
                correlation_id: Some(format!("crm-sync-2026-11-28-{n}").into()),
            })
            .collect(),
        pairs: (0..1_000)
            .map(|n| EntryPair {
                pair: Pair { from: record(10_000_000_000 + n), to: record(20_000_000_000 + n) },
                types: of_one.pairs[0].types.clone(),
                creates: Arc::default(),
                jobs: smallvec::smallvec![u32::try_from(n).unwrap()],
            })
            .collect(),
        ..of_one
    };
    let records = entry.encode();
    assert_eq!(records.len(), 1);
    assert!(records[0].len() < MAX_RECORD_BYTES / 4, "{} bytes", records[0].len());
    assert_eq!(parse(&records[0]), Ok(Record::Entry(entry)));
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 \"\\\\äß€😀]{1,24}"
}

fn entries() -> impl Strategy<Value = Entry> {
    let category = prop::sample::select(LabelCategory::ALL.to_vec());
    let label =
        (category, 1..5_u64).prop_map(|(category, id)| Label { category, type_id: NonZeroU64::new(id).unwrap() });
    let kinds = (label.clone(), prop::option::of(name()))
        .prop_map(|(label, name)| AssociationType { label, name: name.map(Arc::from) })
        .boxed();
    let jobs =
        (name(), prop::option::of(name()), prop::option::of(name())).prop_map(|(id, group, correlation)| JobName {
            id: JobId::new(&id).unwrap(),
            group: group.and_then(|group| Group::new(&group)),
            correlation_id: correlation.map(Arc::from),
        });
    let pairs = (
        1..u64::MAX,
        1..u64::MAX,
        prop::collection::vec(kinds.clone(), 0..4),
        prop::collection::vec(kinds, 0..3),
        prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    );
    let types = prop::sample::select(vec!["contacts", "Company", "0-5", "2-123456", "p_tree", "p77_tree"]);
    let labels = prop::option::of(prop::collection::btree_set(label, 1..4));
    let head = (
        any::<u128>(),
        0..253_402_207_200_000_i64,
        prop::option::of(1..u64::MAX),
        (types.clone(), types),
        (any::<bool>(), prop::sample::select(ChangeKind::ALL.to_vec())),
    );
    (head, labels, prop::collection::vec(jobs, 0..6), prop::collection::vec(pairs, 0..12), 0..1_000_u32).prop_map(
        |((id, at, portal, (from, to), (reversed, kind)), labels, jobs, pairs, first)| Entry {
            id: EntryId::from_random(id),
            kind,
            at: Timestamp::from_millisecond(at).unwrap(),
            portal: portal.and_then(NonZeroU64::new).map(PortalId),
            from_type: ObjectType::parse(from).unwrap(),
            to_type: ObjectType::parse(to).unwrap(),
            read: if reversed { ReadFrom::To } else { ReadFrom::From },
            extent: labels.map_or(Extent::Whole, |labels| Extent::Labels(labels.into_iter().collect())),
            first,
            pairs: pairs
                .into_iter()
                .map(|(from, to, types, creates, of)| EntryPair {
                    pair: Pair { from: record(from), to: record(to) },
                    types: types.into(),
                    creates: if kind == ChangeKind::Restoration { creates.into() } else { Arc::default() },
                    jobs: if jobs.is_empty() {
                        smallvec::smallvec![]
                    } else {
                        of.iter().map(|index| u32::try_from(index.index(jobs.len())).unwrap()).collect()
                    },
                })
                .collect(),
            jobs,
        },
    )
}

/// Each pair with the jobs that asked for it, wherever it stands.
fn meaning(entries: &[Entry]) -> Vec<(u32, EntryPair, Vec<JobName>)> {
    let mut all: Vec<(u32, EntryPair, Vec<JobName>)> = Vec::new();
    for entry in entries {
        for (place, pair) in (entry.first..).zip(&entry.pairs) {
            let names = pair.jobs.iter().map(|job| entry.jobs[*job as usize].clone());
            match all.last_mut() {
                Some((last, _, jobs)) if *last == place => jobs.extend(names),
                _ => all.push((place, EntryPair { jobs: SmallVec::new(), ..pair.clone() }, names.collect())),
            }
        }
    }
    all
}

fn read_entries(records: &[Vec<u8>]) -> Vec<Entry> {
    let read = records.iter().filter_map(|json| match parse(json).unwrap() {
        Record::Entry(entry) => Some(entry),
        Record::Completion(_) | Record::Mark(_) | Record::Unknown => None,
    });
    read.collect()
}

proptest! {
    #[test]
    fn an_entry_is_read_as_it_was_written(entry in entries()) {
        let records = entry.encode();
        prop_assert_eq!(records.len(), 1);
        let read = read_entries(&records);
        prop_assert_eq!(meaning(&read), meaning(std::slice::from_ref(&entry)));
        let head = |entry: &Entry| Entry { pairs: Vec::new(), jobs: Vec::new(), ..entry.clone() };
        prop_assert_eq!(head(&read[0]), head(&entry));
    }

    #[test]
    fn a_split_entry_says_the_same_and_its_parts_are_small(entry in entries(), limit in 500..2_000_usize) {
        let records = entry.encode_within(limit);
        let read = read_entries(&records);
        prop_assert!(read.iter().all(|part| part.id == entry.id && part.extent == entry.extent));
        prop_assert_eq!(meaning(&read), meaning(std::slice::from_ref(&entry)));
        for (record, part) in records.iter().zip(&read) {
            prop_assert!(record.len() <= limit || part.pairs.len() <= 1 && part.jobs.len() <= 1);
        }
    }

    #[test]
    fn nothing_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn a_damaged_record_never_makes_the_reader_panic(entry in entries(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut json = entry.encode().remove(0);
        let at = at.index(json.len());
        json[at] = byte;
        let _ = parse(&json);
    }

    #[test]
    fn a_completion_is_read_as_it_was_written(id in any::<u128>(), sets in prop::collection::vec(prop::collection::vec(0..60_u32, 0..40), 4)) {
        let places = |index: usize| Places::of(sets[index].clone());
        let completion = Completion {
            entry: EntryId(Uuid::from_u128(id)),
            at: Timestamp::from_millisecond(1_800_000_000_000).unwrap(),
            archived: places(0),
            refused: places(1),
            unknown: places(2),
            restored: places(3),
        };
        prop_assert_eq!(parse(&completion.encode()), Ok(Record::Completion(completion)));
        for place in 0..70 {
            prop_assert_eq!(places(0).contains(place), sets[0].contains(&place));
            prop_assert_eq!(places(0).and(&places(1)).contains(place), sets[0].contains(&place) || sets[1].contains(&place));
        }
    }
}
