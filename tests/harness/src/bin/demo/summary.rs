//! The table at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::Status;
use hubspot_simulator::State;

use crate::answers::Answers;
use crate::screen::{Screen, grouped};
use crate::settings::{CEILING, INTERVAL};
use crate::traffic::Traffic;

const LABEL_COLUMNS: usize = 20;
const NUMBER_COLUMNS: usize = 10;
/// Sentences about faults that are shown.
const FAULTS_SHOWN: usize = 12;

/// Prints what came of the run.
pub fn print(screen: Screen, traffic: &Traffic, answers: &Answers, far_side: &State, took: Duration) {
    let seconds = took.as_secs_f64();
    let rule = screen.faint(&format!("  {}", "─".repeat(74)));
    println!("{rule}");
    let mut by_status: BTreeMap<Status, u64> = BTreeMap::new();
    for outcome in &answers.outcomes {
        *by_status.entry(outcome.status).or_default() += 1;
    }
    for (status, count) in &by_status {
        row(screen, name(*status), &grouped(*count), why(*status));
    }
    if let Some(dead_letters) = &answers.dead_letters {
        row(
            screen,
            "dead letters",
            &grouped(dead_letters.len() as u64),
            "the rejected messages as they came, one of them without an id to answer",
        );
    }
    println!("{rule}");
    let requests = far_side.pairs_per_request.requests;
    let fewest = traffic.fewest_requests();
    row(screen, "requests", &grouped(requests), &format!("the fewest possible: {fewest}"));
    let mean = far_side.pairs_per_request.mean;
    row(
        screen,
        "pairs a request",
        &format!("{mean:.0}"),
        &format!("one by one it would have been {} requests", grouped(traffic.submissions.len() as u64)),
    );
    row(
        screen,
        "answered 429",
        &grouped(far_side.throttled),
        &format!("under a ceiling of {CEILING} requests in every {} s", INTERVAL.as_secs()),
    );
    row(screen, "seconds", &format!("{seconds:.1}"), "from the first job sent to the last answer read");
    let rate = answers.outcomes.len() as f64 / seconds;
    row(screen, "jobs a second", &grouped(rate as u64), "as many as the ceiling lets through");
    println!("{rule}");
}

/// Prints the verdict: everything right, or what is not.
pub fn verdict(screen: Screen, answers: &Answers, faults: &[String]) {
    if faults.is_empty() {
        let answered = grouped(answers.outcomes.len() as u64);
        println!(
            "  {} all {answered} answers are right, and HubSpot's associations are what they ought to be",
            screen.good("✓")
        );
        return;
    }
    println!("  {} {} things are not as they ought to be:", screen.bad("✗"), grouped(faults.len() as u64));
    for fault in faults.iter().take(FAULTS_SHOWN) {
        println!("    {fault:.300}");
    }
}

fn row(screen: Screen, label: &str, number: &str, remark: &str) {
    let number = screen.strong(&format!("{number:>NUMBER_COLUMNS$}"));
    println!("  {label:<LABEL_COLUMNS$}{number}   {}", screen.faint(remark));
}

fn name(status: Status) -> &'static str {
    match status {
        Status::Archived => "ARCHIVED",
        Status::Partial => "PARTIAL",
        Status::Failed => "FAILED",
        Status::Restored => "RESTORED",
        Status::Planned => "PLANNED",
        Status::Expired => "EXPIRED",
        Status::Rejected => "REJECTED",
    }
}

fn why(status: Status) -> &'static str {
    match status {
        Status::Archived => "duplicates among them: each job gets its own answer",
        Status::Partial => "one of the job's two records is refused by HubSpot",
        Status::Failed => "refused by HubSpot, with its category; their neighbours are not touched",
        Status::Restored => "created again",
        Status::Planned => "looked at, nothing changed",
        Status::Expired => "too late when they came, never sent",
        Status::Rejected => "not valid jobs; the answer names the field and the rule",
    }
}
