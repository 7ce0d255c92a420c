//! `--follow`: the outcomes of what was enqueued, to the last one.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use hashbrown::HashMap;
use indicatif::ProgressBar;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at};
use tokio_util::sync::CancellationToken;

use super::message_id::Run;
use super::outcomes_file::OutcomesFile;
use crate::amqp::follower::Follower;
use crate::cli::bar::{ReadingBar, bar};
use crate::cli::exit::Failure;
use crate::cli::jobs_file::columns::{ALL, UNANSWERED};
use crate::cli::jobs_file::rows::RowJob;
use crate::cli::jobs_file::source::Source;
use crate::cli::outcome_record::{ErrorRecord, OutcomeRecord, PlanRecord, extent_in_words};
use crate::cli::output::remark;
use crate::cli::report::{PairRow, Report, unwritable};
use crate::cli::summary::Summary;
use crate::config::Settings;
use crate::contract::association::RecordId;
use crate::contract::grouped::Grouped;
use crate::contract::job::{Ask, Job};
use crate::telemetry::progress;

/// Time between two lines about the progress, where there is no terminal.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Errors kept with their messages until the CSV is written, some 300 bytes each; later ones without.
const MAX_MESSAGES_KEPT: usize = 1_000_000;

/// Outcomes are taken in a task of its own, from before the first job is published.
#[derive(Debug)]
pub struct Following {
    taking: JoinHandle<Result<Followed, Failure>>,
    /// How many outcomes are to come, once that is known.
    expected: watch::Sender<Option<u64>>,
    stop: CancellationToken,
    outcomes: OutcomesFile,
}

/// The outcomes that came.
#[derive(Debug)]
pub struct Followed {
    summary: Summary,
    outcomes: OutcomesFile,
    /// By the line of the job. `None`: it is done for all its pairs, and there is nothing more to tell.
    answers: HashMap<u64, Option<Box<OutcomeRecord>>>,
    messages_kept: usize,
}

impl Following {
    /// From here on no outcome is missed. `path`: of the file that gets them, as `outcomes`.
    pub async fn begin(
        settings: &Settings,
        run: &Run,
        path: Option<&Path>,
        outcomes: &OutcomesFile,
    ) -> Result<Self, Failure> {
        let follower = Follower::open(&settings.amqp, run.as_str()).await;
        let follower = follower.map_err(|fault| Failure::Running(fault.to_string()))?;
        // Not before: a run that could not begin leaves no file, by which the next one would be refused.
        path.map_or(Ok(()), |path| outcomes.create(path))?;
        let followed = Followed {
            summary: Summary::default(),
            outcomes: outcomes.clone(),
            answers: HashMap::new(),
            messages_kept: 0,
        };
        let (expected, told) = watch::channel(None);
        let stop = CancellationToken::new();
        let taking = tokio::spawn(followed.take(follower, run.clone(), told, stop.clone()));
        Ok(Self { taking, expected, stop, outcomes: outcomes.clone() })
    }

    /// Waits for this many outcomes, or until `stop`.
    pub async fn wait_for(self, expected: u64, stop: &CancellationToken) -> Result<Followed, Failure> {
        let Self { mut taking, expected: tell, stop: stop_taking, outcomes: _ } = self;
        tell.send_replace(Some(expected));
        let taken = tokio::select! {
            taken = &mut taking => taken,
            () = stop.cancelled() => {
                stop_taking.cancel();
                taking.await
            }
        };
        taken.map_err(|error| Failure::Running(format!("the outcomes could not be taken: {error}")))?
    }

    /// Nobody waits for them any more. A file in which nothing stands is taken away.
    pub async fn abandon(self) {
        self.stop.cancel();
        // Whatever went wrong there, the command fails for what went wrong before.
        let _ = self.taking.await;
        let told = match self.outcomes.has_lines() {
            true => self.outcomes.cut_short(),
            false => self.outcomes.discard().err().map(Failure::into_message),
        };
        told.iter().for_each(|line| remark(line));
    }
}

impl Followed {
    async fn take(
        mut self,
        mut follower: Follower,
        run: Run,
        mut expected: watch::Receiver<Option<u64>>,
        stop: CancellationToken,
    ) -> Result<Self, Failure> {
        let mut shown: Option<ProgressBar> = None;
        let mut minutes = interval_at(Instant::now() + SAY_EVERY, SAY_EVERY);
        let taken = loop {
            let total = *expected.borrow_and_update();
            if let Some(total) = total {
                let begin = || bar(total, self.answered(), "answered");
                shown.get_or_insert_with(begin).set_position(self.answered());
                if self.answered() >= total {
                    break Ok(());
                }
            }
            tokio::select! {
                followed = follower.next() => match followed {
                    Ok(followed) => {
                        let line = followed.properties.correlation_id().and_then(|id| run.line_of(id));
                        if let Some(line) = line && let Err(failure) = self.outcome(line, &followed.body) {
                            break Err(failure);
                        }
                    }
                    Err(fault) => break Err(Failure::Running(fault.to_string())),
                },
                // The sender lives as long as anybody waits.
                _ = expected.changed(), if total.is_none() => {}
                _ = minutes.tick(), if !std::io::stderr().is_terminal() => self.say(total),
                () = stop.cancelled() => break Ok(()),
            }
        };
        progress::end();
        follower.close().await;
        taken?;
        Ok(self)
    }

    /// An outcome that came before is the same one again.
    fn outcome(&mut self, line: u64, body: &[u8]) -> Result<(), Failure> {
        if self.answers.contains_key(&line) {
            return Ok(());
        }
        let Some(mut outcome) = OutcomeRecord::parse(body) else {
            return Err(Failure::Running(format!(
                "the outcome of line {line} cannot be read; is the worker of another version? {}",
                String::from_utf8_lossy(body)
            )));
        };
        self.summary.add(&outcome, Some(line));
        self.outcomes.outcome(body)?;
        let is_csv = self.outcomes.is_csv();
        if is_csv {
            for error in &mut outcome.errors {
                self.messages_kept += 1;
                if self.messages_kept > MAX_MESSAGES_KEPT {
                    error.message = String::new();
                }
            }
        }
        let is_kept = is_csv && (outcome.plan.is_some() || !outcome.is_done());
        self.answers.insert(line, is_kept.then(|| Box::new(outcome)));
        Ok(())
    }

    fn answered(&self) -> u64 {
        self.answers.len() as u64
    }

    fn say(&self, total: Option<u64>) {
        if let Some(total) = total {
            remark(&format!("{} of {} jobs are answered", Grouped(self.answered()), Grouped(total)));
        }
    }

    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    pub fn repeated(&mut self, pairs: u64) {
        self.summary.repeated(pairs);
    }

    pub fn unanswered(&self, enqueued: u64) -> u64 {
        enqueued.saturating_sub(self.answered())
    }

    /// Ends the file. For a CSV the input is read once more. `false`: nothing came that could stand in it.
    pub async fn finish(&mut self, source: &mut Source, from_line: u64) -> Result<bool, Failure> {
        let Some(file) = self.outcomes.take_csv() else { return self.outcomes.end_lines() };
        let path = file.path().to_owned();
        let failure = |error: std::io::Error| unwritable(&path, &error);
        let mut report = Report::new(file).map_err(failure)?;
        let name = source.name.clone();
        let mut rows = source.rows()?;
        let bar = ReadingBar::begin(&name, "rows");
        while let Some(row) = rows.next().await.map_err(|fault| Failure::Usage(format!("{name} {fault}")))? {
            bar.one_more();
            if row.line < from_line {
                continue;
            }
            if let Ok(RowJob { job, .. }) = row.job {
                let answer = self.answers.get(&row.line).map(Option::as_deref);
                write_job(&mut report, row.line, &job, answer).map_err(failure)?;
            }
        }
        report.into_inner().map_err(failure)?.finish()?;
        self.outcomes.written();
        Ok(true)
    }
}

/// A row for each pair. `answer`: `None` if none came.
fn write_job(
    report: &mut Report<impl Write>,
    line: u64,
    job: &Job,
    answer: Option<Option<&OutcomeRecord>>,
) -> std::io::Result<()> {
    let described = OutcomeRecord::of_job(job);
    let outcome = answer.flatten();
    let errors = outcome.map(|outcome| outcome.errors.as_slice()).unwrap_or_default();
    let plan = outcome.and_then(|outcome| outcome.plan.as_deref()).unwrap_or_default();
    let of_job = errors.iter().find(|error| error.ends().is_none());
    let mut errors: BTreeMap<Ends, &ErrorRecord> =
        errors.iter().filter_map(|error| Some((Ends::of(error.ends()?)?, error))).collect();
    let mut plan: BTreeMap<Ends, &PlanRecord> =
        plan.iter().filter_map(|entry| Some((Ends::of((&entry.from.id, &entry.to.id))?, entry))).collect();
    let mut write = |ends: Ends, types: &str, error: Option<&ErrorRecord>, plan: Option<&PlanRecord>| {
        let status = match (answer, outcome, error) {
            (None, _, _) => UNANSWERED,
            (Some(_), Some(outcome), Some(_)) => outcome.status_of_errors(),
            (Some(_), _, _) => &described.status,
        };
        report.row(&PairRow {
            line: Some(line),
            outcome: &described,
            from_id: &ends.from.to_string(),
            to_id: &ends.to.map_or_else(|| ALL.to_owned(), |to| to.to_string()),
            types,
            not_after: job.not_after,
            status,
            error,
            plan,
        })
    };
    for Ask { extent, pairs, all_of } in &job.asks {
        let types = extent_in_words(extent);
        for pair in pairs {
            let ends = Ends { from: pair.from, to: Some(pair.to) };
            write(ends, &types, errors.remove(&ends).or(of_job), plan.remove(&ends))?;
        }
        for &from in all_of {
            let all = Ends { from, to: None };
            let of_record = all..=Ends { from, to: Some(RecordId(NonZeroU64::MAX)) };
            let error = errors.remove(&all).or(of_job);
            // What was found is listed in a plan; else one row stands for all that is done.
            if error.is_some() || plan.range(of_record.clone()).next().is_none() {
                write(all, &types, error, None)?;
            }
            for (ends, entry) in plan.extract_if(of_record, |_, _| true) {
                write(ends, &types, None, Some(entry))?;
            }
        }
    }
    // Pairs that nobody listed: they were found for a record of which all are asked for.
    for (ends, error) in errors {
        write(ends, &error.types_in_words(), Some(error), None)?;
    }
    Ok(())
}

/// A pair, or a record with all that it is associated with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Ends {
    from: RecordId,
    to: Option<RecordId>,
}

impl Ends {
    /// `None` for what is no id.
    fn of((from, to): (&str, &str)) -> Option<Self> {
        let to = if to == ALL { None } else { Some(RecordId::parse(to)?) };
        Some(Self { from: RecordId::parse(from)?, to })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;
    use crate::contract::job::{JobLimits, JobProperties, parse};

    /// The rows of a job with these inputs and fields: `to_id`, `types`, `status` and what follows from a plan.
    fn rows(inputs: &Value, fields: &str, outcome: Option<&Value>) -> Vec<String> {
        let limits = JobLimits { max_bytes: 1_000, max_pairs: 10 };
        let body =
            format!(r#"{{"jobId":"j","fromObjectType":"contacts","toObjectType":"0-2"{fields},"inputs":{inputs}}}"#);
        let job = parse(body.as_bytes(), JobProperties::default(), &limits).unwrap();
        let outcome = outcome.map(|fields| {
            let mut outcome = json!({
                "jobId": "j", "portalId": null, "fromObjectType": "contacts", "toObjectType": "0-2",
                "numPairs": 1, "numArchived": 0, "errors": [], "completedAt": "2026-01-01T00:00:00.000Z",
            });
            outcome.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            OutcomeRecord::parse(outcome.to_string().as_bytes()).unwrap()
        });
        let mut report = Report::new(Vec::new()).unwrap();
        write_job(&mut report, 2, &job, outcome.as_ref().map(Some)).unwrap();
        let text = String::from_utf8(report.into_inner().unwrap()).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let names = reader.headers().unwrap().clone();
        let shown =
            ["from_id", "to_id", "types", "status", "action", "dry_run", "present", "types_present", "warnings"];
        let cells = |record: csv::StringRecord| {
            let cell = |name| record[names.iter().position(|known| known == name).unwrap()].to_owned();
            shown.map(cell).join(",")
        };
        reader.records().map(|record| cells(record.unwrap())).collect()
    }

    fn error(to: Option<u64>) -> Value {
        json!({
            "from": {"id": "1"}, "to": to.map(|to| json!({"id": to.to_string()})), "types": null, "source": "WORKER",
            "category": "TOO_MANY_PAIRS", "subCategory": null, "message": "m", "httpStatus": null, "correlationId": null,
            "retryable": false,
        })
    }

    #[test]
    fn a_plan_has_a_row_for_each_pair_with_what_would_go() {
        let entry = |to: &str, present: bool, types: Value, warnings: Value| json!({"from": {"id": "1"}, "to": {"id": to}, "present": present, "types": types, "moreTypes": 2, "warnings": warnings});
        let types = json!([
            {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 279, "label": null},
            {"associationCategory": "USER_DEFINED", "associationTypeId": 37, "label": "Billing"},
        ]);
        let plan = json!([
            entry("3", true, types, json!(["LABELS_GO", "PRIMARY_GOES"])),
            entry("2", false, json!([]), json!(["NOT_PRESENT"]))
        ]);
        let outcome = json!({"status": "PLANNED", "dryRun": true, "plan": plan, "errors": [error(Some(4))]});
        let present = "true,HUBSPOT_DEFINED 279; USER_DEFINED 37 (Billing); and 2 more,LABELS_GO; PRIMARY_GOES";
        let expected = [
            "1,2,all,PLANNED,archive,true,false,and 2 more,NOT_PRESENT".to_owned(),
            format!("1,3,all,PLANNED,archive,true,{present}"),
            "1,4,all,FAILED,archive,true,,,".to_owned(),
        ];
        let listed = json!([{"from": {"id": 1}, "to": [{"id": 2}, {"id": 3}, {"id": 4}]}]);
        assert_eq!(rows(&listed, r#","dryRun":true"#, Some(&outcome)), expected);
        // The same pairs, found for a record.
        let all = json!([{"from": {"id": 1}, "to": "all"}, {"from": {"id": 9}, "to": "all"}]);
        let nothing_found = "9,all,all,PLANNED,archive,true,,,".to_owned();
        let [first, second, third] = expected;
        assert_eq!(rows(&all, r#","dryRun":true"#, Some(&outcome)), [first, second, nothing_found, third]);
    }

    #[test]
    fn what_is_sent_again_asks_for_what_was_asked_for() {
        let all = json!([{"from": {"id": 1}, "to": "all"}]);
        let too_many = json!({"status": "FAILED", "errors": [error(None)]});
        assert_eq!(rows(&all, "", Some(&too_many)), ["1,all,all,FAILED,archive,false,,,"]);
        assert_eq!(rows(&all, "", None), ["1,all,all,UNANSWERED,archive,false,,,"]);
        let in_part = json!({"status": "PARTIAL", "errors": [error(Some(5))]});
        let done_but_one = ["1,all,all,ARCHIVED,archive,false,,,", "1,5,all,FAILED,archive,false,,,"];
        assert_eq!(rows(&all, "", Some(&in_part)), done_but_one);
        let listed = json!([{"from": {"id": 1}, "to": [{"id": 5}, {"id": 6}]}]);
        let restored = ["1,5,all,FAILED,restore,false,,,", "1,6,all,RESTORED,restore,false,,,"];
        assert_eq!(rows(&listed, r#","action":"restore""#, Some(&in_part)), restored);
    }
}
