//! How it went, as a table at the end: jobs by status, and the causes of what was not archived.

use std::collections::BTreeMap;

use indicatif::HumanCount;
use serde_json::{Value, json};

use super::outcome_record::{ErrorRecord, OutcomeRecord};
use super::output::remark;
use super::paint::harmless;
use crate::contract::outcome::Status;

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
    /// A job whose pairs are all archived.
    pub fn archived(&mut self, pairs: u64) {
        self.count(Status::Archived.as_str(), pairs);
    }

    pub fn add(&mut self, outcome: &OutcomeRecord) {
        self.count(&outcome.status, outcome.num_pairs);
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

    pub fn jobs_archived(&self) -> u64 {
        self.by_status.get(Status::Archived.as_str()).map_or(0, |count| count.jobs)
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
        json!({
            "byStatus": by_status.collect::<serde_json::Map<_, _>>(),
            "causes": causes.collect::<Vec<_>>(),
            "pairsOfOtherCauses": self.other_pairs,
        })
    }
}
