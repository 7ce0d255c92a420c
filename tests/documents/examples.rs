//! Jobs and outcomes shown in the documents.

use std::num::NonZeroU64;
use std::process::Command;
use std::sync::Arc;

use association_archiver::contract::action::Action;
use association_archiver::contract::association::{Extent, RecordId};
use association_archiver::contract::ids::JobId;
use association_archiver::contract::job::{JobLimits, JobProperties, parse};
use association_archiver::contract::outcome::{Ending, Head, Outcome, PairError};
use association_archiver::contract::refusal::Refusal;
use jiff::Timestamp;
use serde_json::Value;

use crate::corpus::{for_users, nothing_wrong, root};

/// The defaults of `jobs.max_bytes` and `jobs.max_pairs`.
const LIMITS: JobLimits = JobLimits { max_bytes: 1024 * 1024, max_pairs: 10_000 };

/// An outcome with everything in it, as the worker writes it.
pub fn real_outcome() -> Value {
    let id = |n| RecordId(NonZeroU64::new(n).unwrap());
    let refusal = Refusal::hubspot("VALIDATION_ERROR", "it is not there", 400).with_correlation_id(Some("c"));
    let error = PairError { from: id(101), to: Some(id(9002)), extent: Extent::Whole, refusal: Arc::new(refusal) };
    let outcome = Outcome {
        head: Head {
            job_id: JobId::new("job").unwrap(),
            portal: None,
            from_type: None,
            to_type: None,
            action: Action::Archive,
            dry_run: false,
            group: None,
        },
        verified: false,
        journaled: false,
        ending: Ending::Settled { num_pairs: 2, errors: vec![error] },
        attempts: 1,
        received_at: Timestamp::UNIX_EPOCH,
        started_at: None,
        completed_at: Timestamp::UNIX_EPOCH,
    };
    let mut text = Vec::new();
    outcome.encode(&mut text);
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn every_job_and_outcome_shown_is_one() {
    let real = real_outcome();
    let (job_schema, outcome_schema) = (schema("job"), schema("outcome"));
    let (mut jobs, mut outcomes) = (0, 0);
    let mut wrong = Vec::new();
    for document in for_users() {
        for fence in document.fences().into_iter().filter(|fence| fence.language == "json") {
            let place = format!("{}:{}", document.path, fence.line);
            let shown: Value = match serde_json::from_str(&fence.text) {
                Ok(shown) => shown,
                Err(error) => {
                    wrong.push(format!("{place}: {error}"));
                    continue;
                }
            };
            if shown.get("inputs").is_some() {
                jobs += 1;
                wrong.extend(fault_of_job(fence.text.as_bytes()).map(|fault| format!("{place}: {fault}")));
                wrong.extend(job_schema.iter_errors(&shown).map(|error| format!("{place}: by the schema, {error}")));
            } else if shown.get("status").is_some() {
                outcomes += 1;
                wrong.extend(faults_of_outcome(&shown, &real).into_iter().map(|fault| format!("{place}: {fault}")));
                wrong
                    .extend(outcome_schema.iter_errors(&shown).map(|error| format!("{place}: by the schema, {error}")));
            } else {
                wrong.push(format!("{place}: neither a job nor an outcome, and so not checked"));
            }
        }
    }
    assert!(jobs >= 3 && outcomes >= 2, "{jobs} jobs and {outcomes} outcomes were found");
    nothing_wrong(wrong);
}

#[test]
fn the_jobs_that_the_scripts_print_are_jobs() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("NOT RUN: the scripts of docs/migrating-from-scripts.md, python3 is not here");
        return;
    }
    let document = for_users().into_iter().find(|document| document.path == "docs/migrating-from-scripts.md").unwrap();
    let scripts = document.fences().into_iter().filter(|fence| fence.language == "python");
    let mut printed = 0;
    for script in scripts {
        let output = Command::new("python3").args(["-c", &script.text]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            printed += 1;
            assert_eq!(fault_of_job(line), None, "{}", String::from_utf8_lossy(line));
        }
    }
    assert!(printed > 0, "no script printed a job");
}

/// As it is committed.
fn schema(of: &str) -> jsonschema::Validator {
    let text = std::fs::read_to_string(root().join(format!("docs/contract/{of}.schema.json"))).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}

fn fault_of_job(text: &[u8]) -> Option<String> {
    parse(text, JobProperties::default(), &LIMITS).err().map(|malformed| malformed.message)
}

/// Fields, counts and status of an outcome, against one that the worker wrote.
fn faults_of_outcome(shown: &Value, real: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    same_fields("outcome", shown, real, &mut faults);
    let errors = shown["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    for error in errors {
        same_fields("error", error, &real["errors"][0], &mut faults);
    }
    let count = |field: &str| shown[field].as_u64();
    let (Some(pairs), Some(archived), Some(restored), Some(failed)) =
        (count("numPairs"), count("numArchived"), count("numRestored"), count("numErrors"))
    else {
        faults.push("a count is no number".to_owned());
        return faults;
    };
    let planned = shown["plan"].as_array().map(Vec::len);
    let done = planned.map_or(archived + restored, |planned| planned as u64);
    if pairs != done + failed || failed != errors.len() as u64 {
        faults.push(format!("{done} done and {failed} errors of {pairs}, and {} listed", errors.len()));
    }
    let status = match (planned, done, failed) {
        (Some(_), _, _) => "PLANNED",
        (None, _, 0) if shown["action"] == "restore" => "RESTORED",
        (None, _, 0) => "ARCHIVED",
        (None, 0, _) => "FAILED",
        (None, _, _) => "PARTIAL",
    };
    if shown["status"] != status {
        faults.push(format!("the counts make it {status}, not {}", shown["status"]));
    }
    faults.extend(harness::Outcome::from_json(&shown.to_string()).err().map(|error| format!("{error:#}")));
    faults
}

fn same_fields(what: &str, shown: &Value, real: &Value, faults: &mut Vec<String>) {
    let names = |value: &Value| value.as_object().map(|fields| fields.keys().cloned().collect::<Vec<_>>());
    let (mut shown, mut real) = (names(shown).unwrap_or_default(), names(real).unwrap_or_default());
    shown.sort();
    real.sort();
    if shown != real {
        faults.push(format!("the {what} has the fields {shown:?}, the worker's {real:?}"));
    }
}
