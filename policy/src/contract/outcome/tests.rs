#![expect(clippy::unwrap_used)]

use std::num::NonZeroU64;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::contract::association::{LabelCategory, RecordId};
use crate::contract::job::MAX_LABELS_OF_ALL_PAIRS;
use crate::contract::plan::{Warning, Warnings};
use crate::contract::refusal::{Source, WorkerCategory};

/// An outcome as a strict consumer reads it.
#[derive(Deserialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    job_id: String,
    #[serde(deserialize_with = "present")]
    portal_id: Option<u64>,
    #[serde(deserialize_with = "present")]
    from_object_type: Option<String>,
    #[serde(deserialize_with = "present")]
    to_object_type: Option<String>,
    action: String,
    dry_run: bool,
    #[serde(deserialize_with = "present")]
    group: Option<String>,
    status: String,
    num_pairs: usize,
    num_archived: usize,
    num_restored: usize,
    num_errors: usize,
    verified: bool,
    journaled: bool,
    #[serde(deserialize_with = "present")]
    plan: Option<Vec<DocumentEntry>>,
    errors: Vec<DocumentError>,
    attempts: u32,
    received_at: Timestamp,
    #[serde(deserialize_with = "present")]
    started_at: Option<Timestamp>,
    completed_at: Timestamp,
}

#[derive(Deserialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DocumentEntry {
    from: Record,
    to: Record,
    present: bool,
    types: Vec<DocumentType>,
    more_types: usize,
    warnings: Vec<String>,
}

#[derive(Deserialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DocumentType {
    association_category: String,
    association_type_id: u64,
    #[serde(deserialize_with = "present")]
    label: Option<String>,
}

#[derive(Deserialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DocumentError {
    #[serde(deserialize_with = "present")]
    from: Option<Record>,
    #[serde(deserialize_with = "present")]
    to: Option<Record>,
    #[serde(deserialize_with = "present")]
    types: Option<Vec<DocumentLabel>>,
    source: String,
    category: String,
    #[serde(deserialize_with = "present")]
    sub_category: Option<String>,
    message: String,
    #[serde(deserialize_with = "present")]
    http_status: Option<u16>,
    #[serde(deserialize_with = "present")]
    correlation_id: Option<String>,
    retryable: bool,
}

#[derive(Deserialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DocumentLabel {
    association_category: String,
    association_type_id: u64,
}

#[derive(Deserialize, PartialEq, Debug)]
#[serde(deny_unknown_fields)]
struct Record {
    id: String,
}

/// A field that must be there, if only as `null`.
fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(value)
}

fn encoded(outcome: &Outcome) -> String {
    let mut out = Vec::new();
    outcome.encode(&mut out);
    String::from_utf8(out).unwrap()
}

fn read(outcome: &Outcome) -> Document {
    serde_json::from_str(&encoded(outcome)).unwrap()
}

fn record(id: u64) -> RecordId {
    RecordId(NonZeroU64::new(id).unwrap())
}

fn error(from: u64, to: u64, extent: Extent, refusal: Arc<Refusal>) -> PairError {
    PairError { from: record(from), to: Some(record(to)), extent, refusal }
}

fn at(millisecond: i64) -> Timestamp {
    Timestamp::from_millisecond(1_796_083_200_000 + millisecond).unwrap()
}

fn outcome(ending: Ending) -> Outcome {
    Outcome {
        head: Head {
            job_id: JobId::new("crm-sync-81f2").unwrap(),
            portal: NonZeroU64::new(4711).map(PortalId),
            from_type: Some(TypeText::new("contacts")),
            to_type: Some(TypeText::new("companies")),
            action: Action::Archive,
            dry_run: false,
            group: None,
        },
        ending,
        verified: false,
        journaled: false,
        attempts: 2,
        received_at: at(0),
        started_at: Some(at(7)),
        completed_at: at(1_234),
    }
}

fn refused() -> Arc<Refusal> {
    let refusal = Refusal::hubspot("VALIDATION_ERROR", "no such \"record\"", 400)
        .with_sub_category(Some("crm.associations.INVALID_OBJECT_IDS"))
        .with_correlation_id(Some("c0ffee"));
    Arc::new(refusal)
}

fn errors(count: u64) -> Vec<PairError> {
    (1..=count).map(|to| error(101, to, Extent::Whole, refused())).collect()
}

#[test]
fn the_wire_shape_of_each_status() {
    insta::assert_snapshot!(encoded(&outcome(Ending::Settled { num_pairs: 2, errors: vec![] })), @r#"{"jobId":"crm-sync-81f2","portalId":4711,"fromObjectType":"contacts","toObjectType":"companies","action":"archive","dryRun":false,"group":null,"status":"ARCHIVED","numPairs":2,"numArchived":2,"numRestored":0,"numErrors":0,"verified":false,"journaled":false,"plan":null,"errors":[],"attempts":2,"receivedAt":"2026-12-01T00:00:00.000Z","startedAt":"2026-12-01T00:00:00.007Z","completedAt":"2026-12-01T00:00:01.234Z"}"#);
    insta::assert_snapshot!(encoded(&outcome(Ending::Settled { num_pairs: 2, errors: errors(1) })), @r#"{"jobId":"crm-sync-81f2","portalId":4711,"fromObjectType":"contacts","toObjectType":"companies","action":"archive","dryRun":false,"group":null,"status":"PARTIAL","numPairs":2,"numArchived":1,"numRestored":0,"numErrors":1,"verified":false,"journaled":false,"plan":null,"errors":[{"from":{"id":"101"},"to":{"id":"1"},"types":null,"source":"HUBSPOT","category":"VALIDATION_ERROR","subCategory":"crm.associations.INVALID_OBJECT_IDS","message":"no such \"record\"","httpStatus":400,"correlationId":"c0ffee","retryable":false}],"attempts":2,"receivedAt":"2026-12-01T00:00:00.000Z","startedAt":"2026-12-01T00:00:00.007Z","completedAt":"2026-12-01T00:00:01.234Z"}"#);
    insta::assert_snapshot!(encoded(&outcome(Ending::Settled { num_pairs: 2, errors: errors(2) })), @r#"{"jobId":"crm-sync-81f2","portalId":4711,"fromObjectType":"contacts","toObjectType":"companies","action":"archive","dryRun":false,"group":null,"status":"FAILED","numPairs":2,"numArchived":0,"numRestored":0,"numErrors":2,"verified":false,"journaled":false,"plan":null,"errors":[{"from":{"id":"101"},"to":{"id":"1"},"types":null,"source":"HUBSPOT","category":"VALIDATION_ERROR","subCategory":"crm.associations.INVALID_OBJECT_IDS","message":"no such \"record\"","httpStatus":400,"correlationId":"c0ffee","retryable":false},{"from":{"id":"101"},"to":{"id":"2"},"types":null,"source":"HUBSPOT","category":"VALIDATION_ERROR","subCategory":"crm.associations.INVALID_OBJECT_IDS","message":"no such \"record\"","httpStatus":400,"correlationId":"c0ffee","retryable":false}],"attempts":2,"receivedAt":"2026-12-01T00:00:00.000Z","startedAt":"2026-12-01T00:00:00.007Z","completedAt":"2026-12-01T00:00:01.234Z"}"#);
    let expired = Arc::new(Refusal::worker(WorkerCategory::Expired, "notAfter passed before the pair was sent"));
    let expired = Outcome {
        attempts: 0,
        started_at: None,
        ..outcome(Ending::Expired { errors: vec![error(1, u64::MAX, Extent::Whole, expired)] })
    };
    insta::assert_snapshot!(encoded(&expired), @r#"{"jobId":"crm-sync-81f2","portalId":4711,"fromObjectType":"contacts","toObjectType":"companies","action":"archive","dryRun":false,"group":null,"status":"EXPIRED","numPairs":1,"numArchived":0,"numRestored":0,"numErrors":1,"verified":false,"journaled":false,"plan":null,"errors":[{"from":{"id":"1"},"to":{"id":"18446744073709551615"},"types":null,"source":"WORKER","category":"EXPIRED","subCategory":null,"message":"notAfter passed before the pair was sent","httpStatus":null,"correlationId":null,"retryable":false}],"attempts":0,"receivedAt":"2026-12-01T00:00:00.000Z","startedAt":null,"completedAt":"2026-12-01T00:00:01.234Z"}"#);
    let malformed = Arc::new(Refusal::worker(WorkerCategory::MalformedJob, "inputs: is missing"));
    let rejected = outcome(Ending::Rejected(malformed));
    let head = Head { portal: None, from_type: None, to_type: None, ..rejected.head };
    let rejected = Outcome { head, attempts: 0, started_at: None, ..rejected };
    insta::assert_snapshot!(encoded(&rejected), @r#"{"jobId":"crm-sync-81f2","portalId":null,"fromObjectType":null,"toObjectType":null,"action":"archive","dryRun":false,"group":null,"status":"REJECTED","numPairs":0,"numArchived":0,"numRestored":0,"numErrors":0,"verified":false,"journaled":false,"plan":null,"errors":[{"from":null,"to":null,"types":null,"source":"WORKER","category":"MALFORMED_JOB","subCategory":null,"message":"inputs: is missing","httpStatus":null,"correlationId":null,"retryable":false}],"attempts":0,"receivedAt":"2026-12-01T00:00:00.000Z","startedAt":null,"completedAt":"2026-12-01T00:00:01.234Z"}"#);
}

#[test]
fn the_wire_shape_of_a_restore_and_of_a_plan() {
    let settled = |num_pairs, errors| outcome(Ending::Settled { num_pairs, errors });
    let restore = |outcome: Outcome| Outcome {
        head: Head { action: Action::Restore { include_primary: true }, group: Group::new("import 7"), ..outcome.head },
        ..outcome
    };
    insta::assert_snapshot!(encoded(&restore(settled(2, vec![]))), @r#"{"jobId":"crm-sync-81f2","portalId":4711,"fromObjectType":"contacts","toObjectType":"companies","action":"restore","dryRun":false,"group":"import 7","status":"RESTORED","numPairs":2,"numArchived":0,"numRestored":2,"numErrors":0,"verified":false,"journaled":false,"plan":null,"errors":[],"attempts":2,"receivedAt":"2026-12-01T00:00:00.000Z","startedAt":"2026-12-01T00:00:00.007Z","completedAt":"2026-12-01T00:00:01.234Z"}"#);
    let counts = |outcome: &Outcome| {
        let document = read(outcome);
        (document.status, document.num_archived, document.num_restored, document.num_errors)
    };
    assert_eq!(counts(&restore(settled(3, errors(1)))), ("PARTIAL".to_owned(), 0, 2, 1));
    assert_eq!(counts(&restore(settled(1, errors(1)))), ("FAILED".to_owned(), 0, 0, 1));
    // All associations of a record that has none.
    assert_eq!(counts(&settled(0, vec![])), ("ARCHIVED".to_owned(), 0, 0, 0));
    let label = |category, type_id| Label { category, type_id: NonZeroU64::new(type_id).unwrap() };
    let plan = vec![
        PlanEntry {
            pair: Pair { from: record(101), to: record(1) },
            present: true,
            types: [
                AssociationType { label: label(LabelCategory::HubspotDefined, 279), name: None },
                AssociationType { label: label(LabelCategory::UserDefined, 37), name: Some("\"Billing\"".into()) },
            ]
            .into(),
            warnings: Warnings::default().with(Warning::LabelsGo).with(Warning::MayNotBeRestorable),
        },
        PlanEntry {
            pair: Pair { from: record(101), to: record(2) },
            present: false,
            types: [].into(),
            warnings: Warnings::default().with(Warning::NotPresent),
        },
    ];
    let error = PairError { to: None, ..error(9, 1, Extent::Whole, refused()) };
    let planned = outcome(Ending::Planned { plan, errors: vec![error] });
    let planned = Outcome { head: Head { dry_run: true, ..planned.head }, ..planned };
    insta::assert_snapshot!(encoded(&planned), @r#"{"jobId":"crm-sync-81f2","portalId":4711,"fromObjectType":"contacts","toObjectType":"companies","action":"archive","dryRun":true,"group":null,"status":"PLANNED","numPairs":3,"numArchived":0,"numRestored":0,"numErrors":1,"verified":false,"journaled":false,"plan":[{"from":{"id":"101"},"to":{"id":"1"},"present":true,"types":[{"associationCategory":"HUBSPOT_DEFINED","associationTypeId":279,"label":null},{"associationCategory":"USER_DEFINED","associationTypeId":37,"label":"\"Billing\""}],"moreTypes":0,"warnings":["LABELS_GO","MAY_NOT_BE_RESTORABLE"]},{"from":{"id":"101"},"to":{"id":"2"},"present":false,"types":[],"moreTypes":0,"warnings":["NOT_PRESENT"]}],"errors":[{"from":{"id":"9"},"to":null,"types":null,"source":"HUBSPOT","category":"VALIDATION_ERROR","subCategory":"crm.associations.INVALID_OBJECT_IDS","message":"no such \"record\"","httpStatus":400,"correlationId":"c0ffee","retryable":false}],"attempts":2,"receivedAt":"2026-12-01T00:00:00.000Z","startedAt":"2026-12-01T00:00:00.007Z","completedAt":"2026-12-01T00:00:01.234Z"}"#);
    let document = read(&planned);
    assert_eq!((document.num_pairs, document.plan.unwrap()[0].types.len()), (3, 2));
    assert!(document.errors[0].from.is_some() && document.errors[0].to.is_none());
}

#[test]
fn an_error_names_the_labels_that_were_to_go() {
    let label = |category, type_id| Label { category, type_id: NonZeroU64::new(type_id).unwrap() };
    let labels = [label(LabelCategory::HubspotDefined, 1), label(LabelCategory::UserDefined, u64::MAX)];
    let error = error(101, 1, Extent::Labels(labels.into()), refused());
    let text = encoded(&outcome(Ending::Settled { num_pairs: 1, errors: vec![error] }));
    let types = r#""types":[{"associationCategory":"HUBSPOT_DEFINED","associationTypeId":1},{"associationCategory":"USER_DEFINED","associationTypeId":18446744073709551615}],"source""#;
    assert!(text.contains(types), "{text}");
    assert_eq!(serde_json::from_str::<Document>(&text).unwrap().errors[0].types.as_ref().unwrap().len(), 2);
}

#[test]
fn the_status_follows_from_the_errors() {
    for (ending, status, counts) in [
        (Ending::Settled { num_pairs: 3, errors: errors(0) }, Status::Archived, (3, 3, 0)),
        (Ending::Settled { num_pairs: 3, errors: errors(1) }, Status::Partial, (3, 2, 1)),
        (Ending::Settled { num_pairs: 3, errors: errors(3) }, Status::Failed, (3, 0, 3)),
        (Ending::Expired { errors: errors(3) }, Status::Expired, (3, 0, 3)),
        (Ending::Rejected(refused()), Status::Rejected, (0, 0, 0)),
    ] {
        let outcome = outcome(ending);
        let document = read(&outcome);
        assert_eq!(outcome.status(), status);
        assert_eq!(document.status, status.as_str());
        assert_eq!((document.num_pairs, document.num_archived, document.num_errors), counts);
    }
}

#[test]
fn it_appends_to_what_is_there() {
    let outcome = outcome(Ending::Settled { num_pairs: 1, errors: vec![] });
    let mut out = b"before".to_vec();
    outcome.encode(&mut out);
    assert_eq!(out, [b"before", encoded(&outcome).as_bytes()].concat());
}

#[test]
fn ten_thousand_errors_of_the_worst_kind_fit_into_a_message() {
    let nasty = "\u{1}".repeat(500);
    let refusal =
        Refusal::hubspot(&nasty, &nasty, 400).with_sub_category(Some(&nasty)).with_correlation_id(Some(&nasty));
    let refusal = Arc::new(refusal);
    let label = |type_id| Label { category: LabelCategory::IntegratorDefined, type_id };
    let labels = (0..MAX_LABELS_OF_ALL_PAIRS as u64 / 10_000).filter_map(|n| NonZeroU64::new(u64::MAX - n).map(label));
    let extent = Extent::Labels(labels.collect());
    let errors = vec![error(u64::MAX, u64::MAX, extent, refusal); 10_000];
    let text = encoded(&outcome(Ending::Settled { num_pairs: 10_000, errors }));
    assert!(text.len() < 15 << 20, "{} bytes", text.len());
    assert_eq!(serde_json::from_str::<Document>(&text).unwrap().errors.len(), 10_000);
}

#[test]
fn ten_thousand_entries_of_the_worst_kind_fit_into_a_message() {
    let nasty: Arc<str> = "\u{1}".repeat(500).into();
    let label =
        |id| Label { category: LabelCategory::IntegratorDefined, type_id: NonZeroU64::new(u64::MAX - id).unwrap() };
    let types: Arc<[_]> =
        (0..100).map(|id| AssociationType { label: label(id), name: Some(Arc::clone(&nasty)) }).collect();
    let warnings = Warning::ALL.into_iter().fold(Warnings::default(), Warnings::with);
    let pair = Pair { from: record(u64::MAX), to: record(u64::MAX) };
    let entry = PlanEntry { pair, present: false, types, warnings };
    let refusal =
        Refusal::hubspot(&nasty, &nasty, 400).with_sub_category(Some(&nasty)).with_correlation_id(Some(&nasty));
    let error = error(u64::MAX, u64::MAX, Extent::Labels((0..4).map(label).collect()), Arc::new(refusal));
    for planned in [10_000, 5_000, 1] {
        let plan = vec![entry.clone(); planned];
        let text = encoded(&outcome(Ending::Planned { plan, errors: vec![error.clone(); 10_000 - planned] }));
        assert!(text.len() < 15 << 20, "{} bytes with {planned} entries", text.len());
        let plan = serde_json::from_str::<Document>(&text).unwrap().plan.unwrap();
        assert!(plan.len() == planned && plan.iter().all(|entry| entry.types.len() + entry.more_types == 100));
    }
}

fn any_refusal() -> impl Strategy<Value = Refusal> {
    let text = || any::<Option<String>>().prop_map(|text| text.map(String::into_boxed_str));
    let source = prop_oneof![
        any::<String>().prop_map(|category| Source::Hubspot { category: category.into() }),
        proptest::sample::select(WorkerCategory::ALL.to_vec()).prop_map(Source::Worker),
    ];
    (source, text(), ".{0,700}", any::<Option<u16>>(), text(), any::<bool>()).prop_map(
        |(source, sub_category, message, http_status, correlation_id, retryable)| Refusal {
            source,
            sub_category,
            message: message.into(),
            http_status,
            correlation_id,
            retryable,
        },
    )
}

fn is_start_of(part: &str, whole: &str, max_bytes: usize) -> bool {
    whole.starts_with(part)
        && part.len() <= max_bytes
        && (part.len() == whole.len() || serde_json::to_string(whole).unwrap().len() > max_bytes)
}

proptest! {
    #[test]
    fn what_is_encoded_can_be_read_again(
        job_id in "[^\\p{Cc}]{1,32}",
        portal in proptest::option::of(1..=u64::MAX),
        type_text in any::<Option<String>>(),
        refusals in proptest::collection::vec(any_refusal(), 0..4),
        archived in 0..3_usize,
        attempts in any::<u32>(),
        times in (0..10_i64, proptest::option::of(0..10_i64), 0..1_000_000_i64),
    ) {
        let num_pairs = refusals.len() + archived;
        let errors: Vec<_> = (1..).zip(&refusals)
            .map(|(to, refusal)| error(u64::MAX, to, Extent::Whole, Arc::new(refusal.clone())))
            .collect();
        let type_text = type_text.as_deref().map(TypeText::new);
        let document = read(&Outcome {
            head: Head {
                job_id: JobId::new(&job_id).unwrap(),
                portal: portal.and_then(NonZeroU64::new).map(PortalId),
                from_type: type_text.clone(),
                to_type: type_text.clone(),
                action: Action::Archive,
                dry_run: false,
                group: None,
            },
            ending: Ending::Settled { num_pairs, errors },
            verified: false,
            journaled: false,
            attempts,
            received_at: at(times.0),
            started_at: times.1.map(at),
            completed_at: at(times.2),
        });
        prop_assert_eq!(document.job_id, job_id);
        prop_assert_eq!(document.portal_id, portal);
        prop_assert_eq!(document.from_object_type.as_deref(), type_text.as_ref().map(TypeText::as_str));
        prop_assert_eq!(document.from_object_type, document.to_object_type);
        prop_assert_eq!((document.num_pairs, document.num_archived), (num_pairs, archived));
        prop_assert_eq!(document.attempts, attempts);
        prop_assert_eq!(document.received_at, at(times.0));
        prop_assert_eq!(document.started_at, times.1.map(at));
        prop_assert_eq!(document.completed_at, at(times.2));
        prop_assert_eq!(document.errors.len(), refusals.len());
        for ((error, refusal), to) in document.errors.iter().zip(&refusals).zip(1..) {
            prop_assert_eq!(error.from.as_ref().map(|from| from.id.clone()), Some(u64::MAX.to_string()));
            prop_assert_eq!(error.to.as_ref().map(|to| to.id.clone()), Some(to.to_string()));
            prop_assert_eq!(&error.source, refusal.source.as_str());
            prop_assert!(is_start_of(&error.category, refusal.source.category(), 128));
            prop_assert!(is_start_of(&error.message, &refusal.message, 500));
            prop_assert_eq!(error.sub_category.is_some(), refusal.sub_category.is_some());
            prop_assert_eq!(error.http_status, refusal.http_status);
            prop_assert_eq!(error.correlation_id.is_some(), refusal.correlation_id.is_some());
            prop_assert_eq!(error.retryable, refusal.retryable);
        }
    }
}
