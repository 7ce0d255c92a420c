//! The body of a job. An accepted one asks for exactly the pairs that a reader without our rules finds in it.

use std::collections::{BTreeMap, BTreeSet};

use association_archiver::contract::action::Action;
use association_archiver::contract::association::{Extent, LabelCategory};
use association_archiver::contract::ids::{Group, JobId};
use association_archiver::contract::job::{Job, JobLimits, JobProperties, Malformed, parse};
use serde_json::Value;

use crate::campaign::{self, Taken};

const LIMITS: JobLimits = JobLimits { max_bytes: 4096, max_pairs: 20 };
const MESSAGE_MAX_BYTES: usize = 500;
const MOST_LABELS: usize = 100;

#[test]
fn a_job_is_taken_at_its_word_or_refused() {
    campaign::run("jobs", |body| {
        let bare = parse(body, JobProperties::default(), &LIMITS);
        let named = parse(body, JobProperties { message_id: Some("m-1"), content_encoding: None }, &LIMITS);
        let packed = parse(body, JobProperties { message_id: None, content_encoding: Some("gzip") }, &LIMITS);
        assert!(packed.is_err(), "accepted under a content encoding");
        assert_eq!(bare, parse(body, JobProperties::default(), &LIMITS), "the same body, the same judgement");
        if let Ok(job) = &bare {
            assert_eq!(named.as_ref(), Ok(job), "the body's id wins");
        }
        if let Err(malformed) = &bare {
            check_refusal(malformed, body);
        }
        match named {
            Ok(job) => {
                check_job(&job, body);
                Taken::Accepted
            }
            Err(malformed) => {
                assert!(malformed.job_id.is_some(), "refused without an answer, though the message has an id");
                Taken::Refused
            }
        }
    });
}

fn check_job(job: &Job, body: &[u8]) {
    assert!(body.len() <= LIMITS.max_bytes);
    assert!((1..=LIMITS.max_pairs).contains(&(job.num_pairs() + job.num_all_of())));
    assert!(JobId::new(job.id.as_str()).is_some());
    for object_type in [&job.from_type, &job.to_type] {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        assert!(!object_type.path_segment().is_empty() && object_type.path_segment().bytes().all(plain));
    }
    let mut asked: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for ask in &job.asks {
        assert!(!ask.pairs.is_empty() || !ask.all_of.is_empty());
        assert!(ask.pairs.is_sorted_by(|a, b| a < b) && ask.all_of.is_sorted_by(|a, b| a < b));
        let labels = match &ask.extent {
            Extent::Whole => BTreeSet::new(),
            Extent::Labels(labels) => {
                assert!((1..=MOST_LABELS).contains(&labels.len()) && labels.is_sorted_by(|a, b| a < b));
                labels.iter().map(|label| (label.category.as_str().to_owned(), label.type_id.get())).collect()
            }
        };
        let listed = ask.pairs.iter().map(|pair| (pair.from.0.get(), Some(pair.to.0.get())));
        for named in listed.chain(ask.all_of.iter().map(|from| (from.0.get(), None))) {
            assert!(asked.insert(named, labels.clone()).is_none(), "{named:?} is asked for twice");
        }
    }
    let document: Value = serde_json::from_slice(without_mark(body)).expect("an accepted job is JSON");
    assert_eq!(asked, written(&document));
    if let Some(id) = document.get("jobId") {
        assert_eq!(id, job.id.as_str());
    }
    assert_eq!(document.get("portalId").and_then(whole), job.portal.map(|portal| portal.0.get()));
    assert_eq!(document.get("notAfter").is_some(), job.not_after.is_some());
    assert_eq!(document["fromObjectType"], job.from_type.as_written());
    assert_eq!(document["toObjectType"], job.to_type.as_written());
    let flag = |name| document.get(name).map(|flag| flag.as_bool().expect("a boolean"));
    assert_eq!(flag("dryRun").unwrap_or(false), job.dry_run);
    assert_eq!(document.get("group").and_then(Value::as_str), job.group.as_ref().map(Group::as_str));
    assert_eq!(document.get("action").map_or("archive", |action| action.as_str().unwrap()), job.action.as_str());
    match job.action {
        Action::Archive => assert_eq!(flag("includePrimary"), None),
        Action::Restore { include_primary } => {
            assert_eq!(flag("includePrimary").unwrap_or(false), include_primary);
            assert_eq!(job.num_all_of(), 0);
        }
    }
}

/// A byte order mark is skipped, once.
fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// A whole number, be it written as `111` or as `111.0`.
fn whole(number: &Value) -> Option<u64> {
    let of_double = |number: f64| (number.fract() == 0.0).then(|| format!("{number:.0}").parse().ok()).flatten();
    number.as_u64().or_else(|| of_double(number.as_f64()?))
}

type Asked = BTreeMap<(u64, Option<u64>), BTreeSet<(String, u64)>>;

/// The pairs in a job's `inputs`, with the labels asked for; without any the whole association is. A record with all
/// its pairs has no `to`; pairs of its own are left out, since they may not ask for more.
fn written(document: &Value) -> Asked {
    let number = |record: &Value| match &record["id"] {
        Value::String(digits) => digits.parse().expect("digits"),
        other => whole(other).expect("a positive integer"),
    };
    let label = |entry: &Value| {
        let category = entry["associationCategory"].as_str().expect("a category").to_owned();
        assert!(LabelCategory::ALL.iter().any(|known| known.as_str() == category));
        (category, whole(&entry["associationTypeId"]).expect("a type id"))
    };
    let mut asked = Asked::new();
    for input in document["inputs"].as_array().expect("inputs") {
        let labels: BTreeSet<_> =
            input.get("types").iter().flat_map(|types| types.as_array().unwrap()).map(label).collect();
        let tos = match &input["to"] {
            Value::String(all) => {
                assert_eq!(all, "all");
                vec![None]
            }
            to => to.as_array().expect("to").iter().map(|to| Some(number(to))).collect(),
        };
        for to in tos {
            asked.entry((number(&input["from"]), to)).or_default().extend(labels.iter().cloned());
        }
    }
    let all = asked.clone();
    asked.retain(|(from, to), labels| match all.get(&(*from, None)) {
        Some(of_all) if to.is_some() => {
            assert!(labels.is_subset(of_all) && labels.is_empty() == of_all.is_empty());
            false
        }
        _ => true,
    });
    asked
}

fn check_refusal(malformed: &Malformed, body: &[u8]) {
    let Malformed { job_id, portal, from_type, to_type, action, dry_run, group, message } = malformed;
    assert!((1..=MESSAGE_MAX_BYTES).contains(&message.len()), "{message}");
    assert!(!message.contains(char::is_control) && message.contains(": "), "{message:?}");
    // What was salvaged is in the body, unless the body is too broken to be read by others.
    let Ok(Value::Object(document)) = serde_json::from_slice(without_mark(body)) else { return };
    let count = |name: &str| body.windows(name.len()).filter(|window| *window == name.as_bytes()).count();
    let says_once = |name| count(name) == 1 && count("\\u") == 0;
    if says_once("jobId") {
        let written = document.get("jobId").and_then(Value::as_str).and_then(JobId::new);
        assert_eq!(*job_id, written);
    }
    if says_once("portalId") && portal.is_some() {
        assert_eq!(portal.map(|portal| portal.0.get()), document.get("portalId").and_then(whole));
    }
    if says_once("group") {
        let written = document.get("group").and_then(Value::as_str).and_then(Group::new);
        assert_eq!(*group, written);
    }
    if says_once("action") {
        let written = document.get("action").and_then(Value::as_str).and_then(Action::of_word);
        assert_eq!(*action, written.unwrap_or_default());
    }
    if says_once("dryRun") {
        assert_eq!(*dry_run, document.get("dryRun").and_then(Value::as_bool).unwrap_or(false));
    }
    for (name, found) in [("fromObjectType", from_type), ("toObjectType", to_type)] {
        if says_once(name)
            && let Some(found) = found
        {
            assert!(document.get(name).and_then(Value::as_str).is_some_and(|text| text.starts_with(found.as_str())));
        }
    }
}
