//! How it went, as a table at the end: jobs by status, what dry runs found, and the causes of what was not done.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::outcome_record::{ErrorRecord, OutcomeRecord, PlanRecord, PlanTypeRecord};
use super::paint::harmless;
use crate::contract::action::Action;
use crate::contract::grouped::Grouped;
use crate::contract::outcome::Status;
use crate::contract::plan::Warning;

/// Causes told apart; what comes after them is only counted.
const MAX_CAUSES: usize = 100;
/// Causes shown on a terminal.
const MAX_SHOWN: usize = 20;

/// Labels told apart that go by a plan; of what comes after them it is only told that there is more.
const MAX_LABELS: usize = 1_000;
/// Labels shown on a terminal.
const MAX_LABELS_SHOWN: usize = 10;

/// Counts outcomes.
#[derive(Default, Debug)]
pub struct Summary {
    /// By the word on the wire, since a newer service may have more of them.
    by_status: BTreeMap<String, Count>,
    causes: BTreeMap<CauseName, Cause>,
    /// There are causes beyond those told apart, of this many pairs.
    other_causes: bool,
    other_pairs: u64,
    jobs_done: u64,
    jobs_added: u64,
    /// How many of the counted pairs an earlier row asks for, too.
    repeated: u64,
    planned: Planned,
}

/// Pairs that dry runs told of.
#[derive(Clone, Default, Debug)]
struct Planned {
    pairs: u64,
    present: u64,
    /// Associated, but by none of the labels that are to be removed.
    unlabelled: u64,
    /// How many have each of [`Warning::ALL`].
    warned: [u64; Warning::ALL.len()],
    /// The labels that [`Warning::LabelsGo`] warns of, as people know them, each with its pairs.
    labels: BTreeMap<String, u64>,
    /// There are labels beyond those told apart, or in outcomes that do not list all types of a pair.
    other_labels: bool,
}

impl Planned {
    fn add_labels(&mut self, entry: &PlanRecord) {
        self.other_labels |= entry.more_types > 0;
        for label in entry.types.iter().filter_map(PlanTypeRecord::label_in_words) {
            match self.labels.len() < MAX_LABELS || self.labels.contains_key(&label) {
                true => *self.labels.entry(label).or_default() += 1,
                false => self.other_labels = true,
            }
        }
    }

    /// The most frequent labels, each with its pairs, and how many more there are.
    fn labels_in_words(&self) -> Vec<(Option<u64>, String)> {
        let mut labels: Vec<(&String, u64)> = self.labels.iter().map(|(label, pairs)| (label, *pairs)).collect();
        labels.sort_by_key(|(_, pairs)| std::cmp::Reverse(*pairs));
        let shown = labels.iter().take(MAX_LABELS_SHOWN);
        let mut lines: Vec<_> = shown.map(|(label, pairs)| (Some(*pairs), harmless(&format!("  {label}")))).collect();
        let more = match (labels.len().saturating_sub(MAX_LABELS_SHOWN), self.other_labels) {
            (0, false) => return lines,
            (0, true) => "perhaps others, which the outcomes do not list".to_owned(),
            (more, false) => format!("{more} more labels"),
            (more, true) => format!("{more} more labels, and perhaps others, which the outcomes do not list"),
        };
        lines.push((None, format!("  … and {more}")));
        lines
    }
}

#[derive(Clone, Copy, Default, Debug)]
struct Count {
    jobs: u64,
    pairs: u64,
    /// Pairs for which what was asked for is done.
    done: u64,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct CauseName {
    status: String,
    source: String,
    category: String,
    http_status: Option<u16>,
    /// What its message says, whatever records and values it says it of.
    gist: String,
}

#[derive(Clone, Debug)]
struct Cause {
    jobs: u64,
    /// Of a message that is no job, or not one for these accounts, no pairs are told.
    pairs: u64,
    /// The job it was counted for last, by its number among all that were added.
    last_job: u64,
    /// The first of them.
    example: Example,
    message: String,
}

/// Where a person finds a pair again.
#[derive(Clone, Debug)]
struct Example {
    line: Option<u64>,
    /// As `101 → 9001`.
    ends: Option<String>,
    /// One that somebody chose: an id that was made from a row's content says nothing.
    job_id: Option<String>,
}

impl Summary {
    /// A job that was done for all its pairs, of which there is nothing more to tell.
    pub fn done(&mut self, status: Status, pairs: u64) {
        self.jobs_done += 1;
        self.count(status.as_str(), pairs, pairs);
    }

    /// `line`: of the job in the input, where that is known.
    pub fn add(&mut self, outcome: &OutcomeRecord, line: Option<u64>) {
        self.jobs_done += u64::from(outcome.is_done());
        self.jobs_added += 1;
        let planned = outcome.plan.as_ref().map_or(0, |plan| plan.len() as u64);
        self.count(&outcome.status, outcome.num_pairs, outcome.num_archived + outcome.num_restored + planned);
        let archives = outcome.action == Action::Archive.as_str();
        for entry in outcome.plan.iter().flatten() {
            self.planned.pairs += 1;
            self.planned.present += u64::from(entry.present);
            // Whole associations have a type at least, and only labels that are to be removed are listed.
            let is_unlabelled = archives && entry.present && entry.types.is_empty() && entry.more_types == 0;
            self.planned.unlabelled += u64::from(is_unlabelled);
            for (count, warning) in self.planned.warned.iter_mut().zip(Warning::ALL) {
                *count += u64::from(entry.warns_of(warning));
            }
            if entry.warns_of(Warning::LabelsGo) {
                self.planned.add_labels(entry);
            }
        }
        for error in &outcome.errors {
            self.add_cause(outcome, error, line);
        }
    }

    fn count(&mut self, status: &str, pairs: u64, done: u64) {
        if !self.by_status.contains_key(status) {
            self.by_status.insert(status.to_owned(), Count::default());
        }
        if let Some(count) = self.by_status.get_mut(status) {
            count.jobs += 1;
            count.pairs += pairs;
            count.done += done;
        }
    }

    fn add_cause(&mut self, outcome: &OutcomeRecord, error: &ErrorRecord, line: Option<u64>) {
        let name = CauseName {
            status: outcome.status_of_errors().to_owned(),
            source: error.source.clone(),
            category: error.category.clone(),
            http_status: error.http_status,
            gist: gist(&error.message),
        };
        let pairs = u64::from(error.ends().is_some());
        if self.causes.len() >= MAX_CAUSES && !self.causes.contains_key(&name) {
            self.other_causes = true;
            self.other_pairs += pairs;
            return;
        }
        let first = || Cause {
            jobs: 0,
            pairs: 0,
            last_job: 0,
            example: Example::of(outcome, error, line),
            message: error.message.clone(),
        };
        let cause = self.causes.entry(name).or_insert_with(first);
        cause.pairs += pairs;
        cause.jobs += u64::from(cause.last_job != self.jobs_added);
        cause.last_job = self.jobs_added;
    }

    /// Adds a number of pairs that an earlier row asks for, too. They are counted with each of these rows, since each
    /// row has an answer of its own.
    pub fn repeated(&mut self, pairs: u64) {
        self.repeated += pairs;
    }

    pub fn jobs(&self) -> u64 {
        self.by_status.values().map(|count| count.jobs).sum()
    }

    /// Jobs that were done for all their pairs: archived, restored or looked at.
    pub fn jobs_done(&self) -> u64 {
        self.jobs_done
    }

    /// The table, a string a line.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.by_status.is_empty() {
            return lines;
        }
        lines.push(format!("{:<10} {:>12} {:>12} {:>12}", "STATUS", "JOBS", "PAIRS", "DONE"));
        for (status, Count { jobs, pairs, done }) in &self.by_status {
            let jobs = Grouped(*jobs).to_string();
            // What is rejected as a whole has no pairs that anybody has counted.
            let is_counted = status != Status::Rejected.as_str() || *pairs > 0;
            let [pairs, done] = [pairs, done].map(|count| in_column(*count, is_counted));
            lines.push(format!("{:<10} {jobs:>12} {pairs:>12} {done:>12}", harmless(status)));
        }
        if self.repeated > 0 {
            let repeated = Grouped(self.repeated).to_string();
            lines.push(format!(
                "{:<10} {:>12} {repeated:>12} of all these repeated: a row before asks for the same pair",
                "", ""
            ));
        }
        self.add_planned(&mut lines);
        if self.causes.is_empty() {
            return lines;
        }
        // A job may have several causes, and of one that is done in part only some pairs have any.
        lines.push(format!("{:<10} {:>12} {:>12} CAUSE", "NOT DONE", "JOBS", "PAIRS"));
        let mut causes: Vec<_> = self.causes.iter().collect();
        causes.sort_by_key(|(_, cause)| std::cmp::Reverse(cause.pairs.max(cause.jobs)));
        for (name, cause) in causes.iter().take(MAX_SHOWN) {
            let status = name.http_status.map(|status| format!(" {status}")).unwrap_or_default();
            let (jobs, pairs) = (Grouped(cause.jobs).to_string(), in_column(cause.pairs, cause.pairs > 0));
            let such_as = if cause.pairs.max(cause.jobs) > 1 { "such as " } else { "" };
            let example = cause.example.in_words().map(|place| format!(" ({such_as}{place})")).unwrap_or_default();
            let line = format!(
                "{:<10} {jobs:>12} {pairs:>12} {} {}{status}: {}{example}",
                "", name.source, name.category, cause.message
            );
            lines.push(harmless(&line));
        }
        let more = causes.len().saturating_sub(MAX_SHOWN);
        if more > 0 || self.other_causes {
            lines.push(format!(
                "{:<10} {:>12} {:>12} and {} causes more",
                "",
                "",
                "",
                more + usize::from(self.other_causes)
            ));
        }
        lines
    }

    fn add_planned(&self, lines: &mut Vec<String>) {
        let Planned { pairs, present, unlabelled, warned, labels: _, other_labels: _ } = self.planned;
        if pairs == 0 {
            return;
        }
        let repeated = if self.repeated > 0 { ", repeated pairs as often as they are asked for" } else { "" };
        lines.push(format!("{:<10} {:>12} {:>12} PLAN{repeated}", "", "", "PAIRS"));
        let mut line = |count: Option<u64>, words: &str| {
            let count = count.map(|count| Grouped(count).to_string()).unwrap_or_default();
            lines.push(format!("{:<10} {:>12} {count:>12} {words}", "", ""));
        };
        line(Some(present), "associated now");
        line(Some(pairs - present), "not associated now");
        if unlabelled > 0 {
            line(Some(unlabelled), "associated, but without the labels that are to be removed: nothing would go");
        }
        for (warning, count) in Warning::ALL.into_iter().zip(warned) {
            let words = match warning {
                // Told above, of every plan.
                Warning::NotPresent => continue,
                Warning::LabelsGo => "LABELS_GO: with labels that go",
                Warning::PrimaryGoes => "PRIMARY_GOES: the label Primary goes",
                Warning::MayNotBeRestorable => "MAY_NOT_BE_RESTORABLE: HubSpot may refuse to create them again",
            };
            if count > 0 {
                line(Some(count), words);
            }
            if warning == Warning::LabelsGo {
                self.planned.labels_in_words().iter().for_each(|(pairs, label)| line(*pairs, label));
            }
        }
    }

    pub fn to_json(&self) -> Value {
        let by_status = self.by_status.iter().map(|(status, Count { jobs, pairs, done })| {
            (status.clone(), json!({"jobs": jobs, "pairs": pairs, "done": done}))
        });
        let causes = self.causes.iter().map(|(name, cause)| {
            json!({
                "status": name.status, "source": name.source, "category": name.category,
                "httpStatus": name.http_status, "jobs": cause.jobs, "pairs": cause.pairs, "message": cause.message,
            })
        });
        let warned = Warning::ALL.into_iter().zip(self.planned.warned);
        let warned = warned.map(|(warning, count)| (warning.as_str().to_owned(), count.into()));
        json!({
            "plan": {
                "pairs": self.planned.pairs,
                "present": self.planned.present,
                "withoutTheLabels": self.planned.unlabelled,
                "warnings": warned.collect::<serde_json::Map<_, _>>(),
            },
            "byStatus": by_status.collect::<serde_json::Map<_, _>>(),
            "causes": causes.collect::<Vec<_>>(),
            "pairsOfOtherCauses": self.other_pairs,
        })
    }
}

/// A number, or a dash where there is nothing to count.
fn in_column(count: u64, is_counted: bool) -> String {
    if is_counted { Grouped(count).to_string() } else { "-".to_owned() }
}

impl Example {
    fn of(outcome: &OutcomeRecord, error: &ErrorRecord, line: Option<u64>) -> Self {
        let is_chosen = Uuid::parse_str(&outcome.job_id).is_err()
            && line.is_none_or(|line| outcome.job_id != format!("line-{line}"));
        Self {
            line,
            ends: error.ends().map(|(from, to)| format!("{from} → {to}")),
            job_id: is_chosen.then(|| outcome.job_id.clone()),
        }
    }

    fn in_words(&self) -> Option<String> {
        let line = self.line.map(|line| format!("line {line}"));
        let job = self.job_id.as_ref().map(|id| format!("job {id}"));
        let words: Vec<String> = [line, self.ends.clone(), job].into_iter().flatten().collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
}

/// A message without what differs from record to record: what stands in quotes, and words with digits in them.
fn gist(message: &str) -> String {
    let parts = message.split('"').enumerate();
    let unquoted: Vec<&str> = parts.map(|(index, part)| if index % 2 == 0 { part } else { "…" }).collect();
    let unquoted = unquoted.join("\"");
    let words =
        unquoted.split_whitespace().map(|word| if word.contains(|c: char| c.is_ascii_digit()) { "#" } else { word });
    words.collect::<Vec<_>>().join(" ")
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
            summary.add(&outcome(&fields), None);
            assert_eq!(summary.jobs_done() - before, u64::from(is_done), "{fields}");
        }
        let entry = |present: bool, types: Value, warnings: Value| {
            json!({
                "from": {"id": "1"}, "to": {"id": "2"}, "present": present, "types": types, "moreTypes": 0, "warnings": warnings,
            })
        };
        let label = json!([{"associationCategory": "USER_DEFINED", "associationTypeId": 37, "label": null}]);
        let none = json!([]);
        let plan = json!([
            entry(true, label, json!(["LABELS_GO", "NEW"])),
            entry(true, none.clone(), none.clone()),
            entry(false, none, json!(["NOT_PRESENT"])),
        ]);
        summary.add(&outcome(&json!({"status": "PLANNED", "plan": plan})), None);
        let told = summary.to_json();
        let warnings = json!({"NOT_PRESENT": 1, "LABELS_GO": 1, "PRIMARY_GOES": 0, "MAY_NOT_BE_RESTORABLE": 0});
        assert_eq!(told["plan"], json!({"pairs": 3, "present": 2, "withoutTheLabels": 1, "warnings": warnings}));
        assert_eq!((summary.jobs(), summary.jobs_done()), (6, 4));
        assert_eq!(told["byStatus"]["ARCHIVED"], json!({"jobs": 1, "pairs": 3, "done": 3}));
    }

    #[test]
    fn a_plan_names_the_labels_that_go() {
        let told = |labels: &[(&str, u64, Option<&str>)], more_types: u64| {
            let types = labels.iter().map(|(category, id, label)| {
                json!({"associationCategory": category, "associationTypeId": id, "label": label})
            });
            let entry = |types: Vec<Value>| {
                json!({
                    "from": {"id": "1"}, "to": {"id": "2"}, "present": true, "types": types, "moreTypes": more_types,
                    "warnings": ["LABELS_GO"],
                })
            };
            let all: Vec<Value> = types.collect();
            let plan = json!([entry(all.clone()), entry(all[..1].to_vec())]);
            let mut summary = Summary::default();
            summary.add(&outcome(&json!({"status": "PLANNED", "plan": plan})), None);
            let lines = summary.lines();
            let labels = lines.iter().skip_while(|line| !line.contains("LABELS_GO")).skip(1);
            labels.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
        };
        let user = "USER_DEFINED";
        let few = [
            (user, 38, Some("Manager")),
            ("HUBSPOT_DEFINED", 279, None),
            ("HUBSPOT_DEFINED", 1, Some("Primary")),
            ("HUBSPOT_DEFINED", 931, Some("Billing")),
            (user, 37, Some("Primary school\u{1b}[2J")),
        ];
        let shown = [
            "2 USER_DEFINED 38 (Manager)",
            "1 HUBSPOT_DEFINED 931 (Billing)",
            "1 USER_DEFINED 37 (Primary school [2J)",
        ];
        assert_eq!(told(&few, 0), shown);
        let cut = ["2 USER_DEFINED 38 (Manager)", "… and perhaps others, which the outcomes do not list"];
        assert_eq!(told(&few[..1], 3), cut);
        let many: Vec<_> = (1..=12).map(|id| (user, id, None)).collect();
        let shown = told(&many, 0);
        assert_eq!(shown.len(), 11);
        assert_eq!((&*shown[0], &*shown[10]), ("2 USER_DEFINED 1 (name not known)", "… and 2 more labels"));
    }

    #[test]
    fn a_cause_is_what_went_wrong_and_not_the_record_it_went_wrong_for() {
        let mut summary = Summary::default();
        let made = "6e8a05e9-44b5-5c4c-9b2d-6599d4fa1419";
        for (line, job_id, message) in [
            (2, made, "901 is not a valid company id"),
            (3, "crm-7", "902 is not a valid company id"),
            (4, "line-4", "to_id: \"9.01E+11\" is not a string of digits"),
            (5, "line-5", "to_id: \"1,234\" is not a string of digits"),
            (6, "crm-8", "from_id: \"x\" is not a string of digits"),
        ] {
            let error = json!({
                "from": {"id": "1"}, "to": {"id": "901"}, "types": null, "source": "WORKER", "category": "X",
                "subCategory": null, "message": message, "httpStatus": null, "correlationId": null, "retryable": false,
            });
            summary.add(&outcome(&json!({"status": "FAILED", "jobId": job_id, "errors": [error]})), Some(line));
        }
        let causes = summary.causes.values().map(|cause| (cause.pairs, cause.example.in_words().unwrap()));
        let mut causes: Vec<_> = causes.collect();
        causes.sort_unstable();
        let words = |pairs: u64, words: &str| (pairs, words.to_owned());
        let expected =
            [words(1, "line 6, 1 → 901, job crm-8"), words(2, "line 2, 1 → 901"), words(2, "line 4, 1 → 901")];
        assert_eq!(causes, expected);
    }

    #[test]
    fn jobs_and_pairs_that_are_not_done_are_counted_apart() {
        let error = |to: Option<&str>, message: &str| {
            json!({
                "from": to.map(|_| json!({"id": "1"})), "to": to.map(|to| json!({"id": to})), "types": null,
                "source": "WORKER", "category": "X", "subCategory": null, "message": message, "httpStatus": null,
                "correlationId": null, "retryable": false,
            })
        };
        let mut summary = Summary::default();
        for (status, errors) in [
            ("PARTIAL", vec![error(Some("2"), "bad"), error(Some("3"), "bad"), error(Some("4"), "odd")]),
            ("FAILED", vec![error(Some("5"), "bad")]),
            ("REJECTED", vec![error(None, "no job")]),
            ("REJECTED", vec![error(None, "no job")]),
        ] {
            let num_pairs = if status == "REJECTED" { 0 } else { errors.len() };
            summary.add(&outcome(&json!({"status": status, "numPairs": num_pairs, "errors": errors})), None);
        }
        let told = summary.to_json();
        let causes = told["causes"].as_array().unwrap();
        let counts = |message: &str| {
            let cause = causes.iter().find(|cause| cause["message"] == message).unwrap();
            (cause["jobs"].as_u64().unwrap(), cause["pairs"].as_u64().unwrap())
        };
        assert_eq!([counts("bad"), counts("odd"), counts("no job")], [(2, 3), (1, 1), (2, 0)]);
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
