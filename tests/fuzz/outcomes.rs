//! Texts from anywhere in an outcome: it stays JSON, says what was said, and fits into a message.
//!
//! A sample is a list of texts, one a line.

use std::sync::Arc;

use association_archiver::contract::action::Action;
use association_archiver::contract::association::{AssociationType, Extent, Label, LabelCategory, Pair, RecordId};
use association_archiver::contract::ids::{Group, JobId};
use association_archiver::contract::object_type::TypeText;
use association_archiver::contract::outcome::{Ending, Head, Outcome, PairError};
use association_archiver::contract::plan::{PlanEntry, Warning, Warnings};
use association_archiver::contract::refusal::{Refusal, WorkerCategory};
use jiff::Timestamp;
use serde_json::Value;

use crate::campaign::{self, Taken};

/// An error, escaped and all, and what stands around it.
const ERROR_MAX_BYTES: usize = 1_200;
const FRAME_MAX_BYTES: usize = 3_000;

#[test]
fn any_text_makes_a_good_outcome() {
    campaign::run("outcomes", |sample| {
        let texts: Vec<_> = sample.split(|byte| *byte == b'\n').map(String::from_utf8_lossy).collect();
        let text = |index: usize| texts.get(index).map(|text| &**text);
        let job_id = text(0).and_then(JobId::new);
        let taken = if job_id.is_some() { Taken::Accepted } else { Taken::Refused };
        let refusal = Refusal::hubspot(text(1).unwrap_or_default(), text(2).unwrap_or_default(), 400)
            .with_sub_category(text(3))
            .with_correlation_id(text(4));
        let refusals = [Arc::new(refusal), Arc::new(Refusal::worker(WorkerCategory::Expired, text(2).unwrap_or("-")))];
        let errors: Vec<_> =
            (1..=texts.len() as u64).zip(refusals.iter().cycle()).map(|(to, refusal)| error(to, refusal)).collect();
        let endings = [
            Ending::Settled { num_pairs: texts.len() + 1, errors: errors.clone() },
            Ending::Planned { plan: vec![entry(text(1))], errors: errors.clone() },
            Ending::Expired { errors },
            Ending::Rejected(Arc::clone(&refusals[0])),
        ];
        for ending in endings {
            check(&Outcome {
                head: Head {
                    job_id: job_id.clone().or_else(|| JobId::new("none")).unwrap(),
                    portal: None,
                    from_type: text(5).map(TypeText::new),
                    to_type: text(6).map(TypeText::new),
                    action: Action::Archive,
                    dry_run: false,
                    group: text(7).and_then(Group::new),
                },
                verified: true,
                journaled: false,
                ending,
                attempts: u32::MAX,
                received_at: Timestamp::UNIX_EPOCH,
                started_at: None,
                completed_at: Timestamp::MAX,
            });
        }
        taken
    });
}

fn error(to: u64, refusal: &Arc<Refusal>) -> PairError {
    let record = |id: u64| RecordId(id.try_into().unwrap());
    PairError { from: record(u64::MAX), to: Some(record(to)), extent: Extent::Whole, refusal: Arc::clone(refusal) }
}

fn entry(name: Option<&str>) -> PlanEntry {
    let record = |id: u64| RecordId(id.try_into().unwrap());
    let label = Label { category: LabelCategory::UserDefined, type_id: u64::MAX.try_into().unwrap() };
    PlanEntry {
        pair: Pair { from: record(1), to: record(2) },
        present: true,
        types: [AssociationType { label, name: name.map(Arc::from) }].into(),
        warnings: Warnings::default().with(Warning::LabelsGo),
    }
}

fn check(outcome: &Outcome) {
    let mut json = Vec::new();
    outcome.encode(&mut json);
    assert!(!json.contains(&b'\n'), "an outcome is one line");
    let document: Value = serde_json::from_slice(&json).expect("an outcome is JSON");
    let errors = document["errors"].as_array().unwrap();
    assert!(json.len() <= FRAME_MAX_BYTES + errors.len() * ERROR_MAX_BYTES, "{} bytes", json.len());
    assert_eq!(document["jobId"], outcome.head.job_id.as_str());
    assert_eq!(document["status"], outcome.status().as_str());
    assert_eq!(document["fromObjectType"].as_str(), outcome.head.from_type.as_ref().map(TypeText::as_str));
    assert_eq!(document["toObjectType"].as_str(), outcome.head.to_type.as_ref().map(TypeText::as_str));
    if let Ending::Planned { plan, .. } = &outcome.ending {
        let (written, name) = (&document["plan"][0]["types"][0]["label"], &plan[0].types[0].name);
        assert_eq!(written.is_null(), name.is_none());
        assert!(name.as_deref().unwrap_or_default().starts_with(written.as_str().unwrap_or_default()));
    }
    let said: Vec<&Refusal> = match &outcome.ending {
        Ending::Settled { errors, .. } | Ending::Planned { errors, .. } | Ending::Expired { errors } => {
            errors.iter().map(|error| &*error.refusal).collect()
        }
        Ending::Rejected(refusal) => vec![refusal],
    };
    assert_eq!(errors.len(), said.len());
    for (written, said) in errors.iter().zip(said) {
        assert!(said.message.starts_with(written["message"].as_str().unwrap()));
        assert!(said.source.category().starts_with(written["category"].as_str().unwrap()));
        let starts = |whole: &Option<Box<str>>, field: &str| match (whole, written[field].as_str()) {
            (Some(whole), Some(written)) => whole.starts_with(written),
            (whole, written) => whole.is_none() && written.is_none(),
        };
        assert!(starts(&said.sub_category, "subCategory") && starts(&said.correlation_id, "correlationId"));
    }
}
