//! How it went, as a table at the end: jobs by status, what dry runs found, and the causes of what was not done.

use std::collections::BTreeMap;

use indicatif::HumanCount;
use serde_json::{Value, json};

use super::outcome_record::{ErrorRecord, OutcomeRecord};
use super::output::remark;
use super::paint::harmless;
use crate::contract::outcome::Status;
use crate::contract::plan::Warning;

/// Causes told apart; what comes after them is only counted.
const MAX_CAUSES: usize = 100;
/// Causes shown on a terminal.
const MAX_SHOWN: usize = 20;

/// Counts outcomes.
#[derive(Default, Debug)]
pub struct Summary {
    /// By the word on the wire, since a newer service may have more of them.
    by_status: BTreeMap<String, Count>,
    causes: BTreeMap<CauseName, Cause>,
    /// Pairs of causes beyond those told apart.
    other_pairs: u64,
    jobs_done: u64,
    planned: Planned,
}

/// Pairs that dry runs told of.
#[derive(Clone, Copy, Default, Debug)]
struct Planned {
    pairs: u64,
    present: u64,
    /// How many have each of [`Warning::ALL`].
    warned: [u64; Warning::ALL.len()],
}

#[derive(Clone, Copy, Default, Debug)]
struct Count {
    jobs: u64,
    pairs: u64,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct CauseName {
    status: String,
    source: String,
    category: String,
    http_status: Option<u16>,
}

#[derive(Clone, Debug)]
struct Cause {
    pairs: u64,
    /// The first of them.
    job_id: String,
    message: String,
}

impl Summary {
    /// A job that was done for all its pairs, of which there is nothing more to tell.
    pub fn done(&mut self, status: Status, pairs: u64) {
        self.jobs_done += 1;
        self.count(status.as_str(), pairs);
    }

    pub fn add(&mut self, outcome: &OutcomeRecord) {
        self.jobs_done += u64::from(outcome.is_done());
        self.count(&outcome.status, outcome.num_pairs);
        for entry in outcome.plan.iter().flatten() {
            self.planned.pairs += 1;
            self.planned.present += u64::from(entry.present);
            for (count, warning) in self.planned.warned.iter_mut().zip(Warning::ALL) {
                *count += u64::from(entry.warns_of(warning));
            }
        }
        for error in &outcome.errors {
            self.add_cause(outcome, error);
        }
    }

    fn count(&mut self, status: &str, pairs: u64) {
        if !self.by_status.contains_key(status) {
            self.by_status.insert(status.to_owned(), Count::default());
        }
        if let Some(count) = self.by_status.get_mut(status) {
            count.jobs += 1;
            count.pairs += pairs;
        }
    }

    fn add_cause(&mut self, outcome: &OutcomeRecord, error: &ErrorRecord) {
        let name = CauseName {
            status: outcome.status_of_errors().to_owned(),
            source: error.source.clone(),
            category: error.category.clone(),
            http_status: error.http_status,
        };
        if self.causes.len() >= MAX_CAUSES && !self.causes.contains_key(&name) {
            self.other_pairs += 1;
            return;
        }
        let first = || Cause { pairs: 0, job_id: outcome.job_id.clone(), message: error.message.clone() };
        self.causes.entry(name).or_insert_with(first).pairs += 1;
    }

    pub fn jobs(&self) -> u64 {
        self.by_status.values().map(|count| count.jobs).sum()
    }

    /// Jobs that were done for all their pairs: archived, restored or looked at.
    pub fn jobs_done(&self) -> u64 {
        self.jobs_done
    }

    /// The table, on stderr.
    pub fn show(&self) {
        if self.by_status.is_empty() {
            return;
        }
        remark(&format!("{:<10} {:>12} {:>12}", "STATUS", "JOBS", "PAIRS"));
        for (status, Count { jobs, pairs }) in &self.by_status {
            let (jobs, pairs) = (HumanCount(*jobs).to_string(), HumanCount(*pairs).to_string());
            remark(&format!("{:<10} {jobs:>12} {pairs:>12}", harmless(status)));
        }
        self.show_planned();
        if self.causes.is_empty() {
            return;
        }
        remark(&format!("{:<10} {:>12} CAUSE", "", "PAIRS"));
        let mut causes: Vec<_> = self.causes.iter().collect();
        causes.sort_by_key(|(_, cause)| std::cmp::Reverse(cause.pairs));
        for (name, cause) in causes.iter().take(MAX_SHOWN) {
            let status = name.http_status.map(|status| format!(" {status}")).unwrap_or_default();
            let pairs = HumanCount(cause.pairs).to_string();
            let line = format!(
                "{:<10} {pairs:>12} {} {}{status}: {} (first in job {})",
                name.status, name.source, name.category, cause.message, cause.job_id
            );
            remark(&harmless(&line));
        }
        let more = causes.len().saturating_sub(MAX_SHOWN);
        if more > 0 || self.other_pairs > 0 {
            remark(&format!("{:<10} {:>12} and {} causes more", "", "", more + usize::from(self.other_pairs > 0)));
        }
    }

    fn show_planned(&self) {
        let Planned { pairs, present, warned } = self.planned;
        if pairs == 0 {
            return;
        }
        remark(&format!("{:<10} {:>12} PLAN", "", "PAIRS"));
        let line =
            |count: u64, words: &str| remark(&format!("{:<10} {:>12} {words}", "", HumanCount(count).to_string()));
        line(present, "associated now");
        line(pairs - present, "not associated now");
        for (warning, count) in Warning::ALL.into_iter().zip(warned) {
            let words = match warning {
                // Told above, of every plan.
                Warning::NotPresent => continue,
                Warning::LabelsGo => "LABELS_GO: with labels that go",
                Warning::PrimaryGoes => "PRIMARY_GOES: the label Primary goes",
                Warning::MayNotBeRestorable => "MAY_NOT_BE_RESTORABLE: HubSpot may refuse to create them again",
            };
            if count > 0 {
                line(count, words);
            }
        }
    }

    pub fn to_json(&self) -> Value {
        let by_status = self
            .by_status
            .iter()
            .map(|(status, Count { jobs, pairs })| (status.clone(), json!({"jobs": jobs, "pairs": pairs})));
        let causes = self.causes.iter().map(|(name, cause)| {
            json!({
                "status": name.status, "source": name.source, "category": name.category,
                "httpStatus": name.http_status, "pairs": cause.pairs, "message": cause.message,
            })
        });
        let warned = Warning::ALL.into_iter().zip(self.planned.warned);
        let warned = warned.map(|(warning, count)| (warning.as_str().to_owned(), count.into()));
        json!({
            "plan": {
                "pairs": self.planned.pairs,
                "present": self.planned.present,
                "warnings": warned.collect::<serde_json::Map<_, _>>(),
            },
            "byStatus": by_status.collect::<serde_json::Map<_, _>>(),
            "causes": causes.collect::<Vec<_>>(),
            "pairsOfOtherCauses": self.other_pairs,
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_done_and_what_a_plan_found_are_counted() {
        let mut summary = Summary::default();
        summary.done(Status::Archived, 3);
        for (fields, is_done) in [
            (json!({"status": "RESTORED"}), true),
            (json!({"status": "PLANNED", "plan": []}), true),
            (json!({"status": "PARTIAL"}), false),
            (json!({"status": "SOMETHING_NEW"}), false),
        ] {
            let before = summary.jobs_done();
            summary.add(&outcome(&fields));
            assert_eq!(summary.jobs_done() - before, u64::from(is_done), "{fields}");
        }
        let entry = |present: bool, warnings: Value| {
            json!({
                "from": {"id": "1"}, "to": {"id": "2"}, "present": present, "types": [], "moreTypes": 0, "warnings": warnings,
            })
        };
        let plan = json!([entry(true, json!(["LABELS_GO", "NEW"])), entry(false, json!(["NOT_PRESENT"]))]);
        summary.add(&outcome(&json!({"status": "PLANNED", "plan": plan})));
        let told = summary.to_json();
        let warnings = json!({"NOT_PRESENT": 1, "LABELS_GO": 1, "PRIMARY_GOES": 0, "MAY_NOT_BE_RESTORABLE": 0});
        assert_eq!(told["plan"], json!({"pairs": 2, "present": 1, "warnings": warnings}));
        assert_eq!((summary.jobs(), summary.jobs_done()), (6, 4));
    }

    fn outcome(fields: &Value) -> OutcomeRecord {
        let mut outcome = json!({
            "jobId": "j", "portalId": null, "fromObjectType": "contacts", "toObjectType": "0-2",
            "numPairs": 1, "numArchived": 0, "errors": [], "completedAt": "2026-01-01T00:00:00.000Z",
        });
        outcome.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        OutcomeRecord::parse(outcome.to_string().as_bytes()).unwrap()
    }
}
