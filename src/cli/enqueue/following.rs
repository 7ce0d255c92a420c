//! `--follow`: the outcomes of what was enqueued, to the last one.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hashbrown::HashMap;
use indicatif::{HumanCount, ProgressBar};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at};
use tokio_util::sync::CancellationToken;

use super::message_id::Run;
use super::publishing::bar;
use crate::amqp::follower::Follower;
use crate::cli::exit::Failure;
use crate::cli::jobs_file::columns::ARCHIVED;
use crate::cli::jobs_file::rows::RowJob;
use crate::cli::jobs_file::source::Source;
use crate::cli::outcome_record::{ErrorRecord, OutcomeRecord, removal_in_words};
use crate::cli::output::remark;
use crate::cli::report::{NewFile, PairRow, Report, unwritable};
use crate::cli::summary::Summary;
use crate::config::Settings;
use crate::contract::job::{Ask, Job};

/// Without a terminal, progress is said so often.
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
}

/// The outcomes that came.
#[derive(Debug)]
pub struct Followed {
    summary: Summary,
    target: Target,
    /// By the line of the job. `None`: all its pairs are archived.
    answers: HashMap<u64, Option<Box<OutcomeRecord>>>,
    messages_kept: usize,
}

#[derive(Debug)]
enum Target {
    Nothing,
    /// Written as they come.
    Ndjson(NewFile),
    /// Written at the end, when the pairs are read from the input again.
    Csv(PathBuf, Option<NewFile>),
}

impl Following {
    /// From here on no outcome is missed.
    pub async fn begin(settings: &Settings, run: &Run, outcomes: Option<&Path>) -> Result<Self, Failure> {
        let target = match outcomes {
            None => Target::Nothing,
            Some(path) if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) => {
                Target::Csv(path.to_owned(), Some(NewFile::create(path)?))
            }
            Some(path) => Target::Ndjson(NewFile::create(path)?),
        };
        let follower = Follower::open(&settings.amqp, run.as_str()).await;
        let follower = follower.map_err(|fault| Failure::Running(fault.to_string()))?;
        let followed = Followed { summary: Summary::default(), target, answers: HashMap::new(), messages_kept: 0 };
        let (expected, told) = watch::channel(None);
        let stop = CancellationToken::new();
        let taking = tokio::spawn(followed.take(follower, run.clone(), told, stop.clone()));
        Ok(Self { taking, expected, stop })
    }

    /// Waits for this many outcomes, or until `stop`.
    pub async fn wait_for(self, expected: u64, stop: &CancellationToken) -> Result<Followed, Failure> {
        let Self { mut taking, expected: tell, stop: stop_taking } = self;
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

    /// Nobody waits for them any more.
    pub async fn abandon(self) {
        self.stop.cancel();
        let _ = self.taking.await;
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
                shown.get_or_insert_with(|| bar(total, "answered")).set_position(self.answered());
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
        if let Some(bar) = shown {
            bar.finish_and_clear();
        }
        follower.close().await;
        taken?;
        self.target = match self.target {
            Target::Ndjson(file) => {
                file.finish()?;
                Target::Nothing
            }
            target @ (Target::Nothing | Target::Csv(..)) => target,
        };
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
        self.summary.add(&outcome);
        match &mut self.target {
            Target::Nothing => {}
            Target::Ndjson(file) => {
                let written = file.write_all(body).and_then(|()| file.write_all(b"\n"));
                written.map_err(|error| unwritable(file.path(), &error))?;
            }
            Target::Csv(..) => {
                for error in &mut outcome.errors {
                    self.messages_kept += 1;
                    if self.messages_kept > MAX_MESSAGES_KEPT {
                        error.message = String::new();
                    }
                }
            }
        }
        let is_kept = matches!(self.target, Target::Csv(..)) && !outcome.is_archived();
        self.answers.insert(line, is_kept.then(|| Box::new(outcome)));
        Ok(())
    }

    fn answered(&self) -> u64 {
        self.answers.len() as u64
    }

    fn say(&self, total: Option<u64>) {
        if let Some(total) = total {
            remark(&format!("{} of {} jobs are answered", HumanCount(self.answered()), HumanCount(total)));
        }
    }

    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    pub fn unanswered(&self, enqueued: u64) -> u64 {
        enqueued.saturating_sub(self.answered())
    }

    /// Writes the CSV, for which the input is read once more.
    pub async fn write_rows(&mut self, source: &mut Source, from_line: u64) -> Result<(), Failure> {
        let Target::Csv(path, file) = &mut self.target else { return Ok(()) };
        let (path, Some(file)) = (path.clone(), file.take()) else { return Ok(()) };
        let failure = |error: std::io::Error| unwritable(&path, &error);
        let mut report = Report::new(file).map_err(failure)?;
        let name = source.name.clone();
        let mut rows = source.rows()?;
        while let Some(row) = rows.next().await.map_err(|fault| Failure::Usage(format!("{name} {fault}")))? {
            if row.line < from_line {
                continue;
            }
            if let Ok(RowJob { job, .. }) = row.job {
                let answer = self.answers.get(&row.line).map(Option::as_deref);
                write_job(&mut report, row.line, &job, answer).map_err(failure)?;
            }
        }
        report.into_inner().map_err(failure)?.finish()
    }
}

/// Stands in the column `status` for a job whose outcome was not waited for.
const UNANSWERED: &str = "UNANSWERED";

/// A row for each pair. `answer`: `None` if none came.
fn write_job(
    report: &mut Report<NewFile>,
    line: u64,
    job: &Job,
    answer: Option<Option<&OutcomeRecord>>,
) -> std::io::Result<()> {
    let described = OutcomeRecord::of_job(job);
    let failed = answer.flatten();
    let by_pair: HashMap<_, &ErrorRecord> =
        failed.iter().flat_map(|outcome| &outcome.errors).filter_map(|error| Some((error.pair()?, error))).collect();
    let of_all = failed.and_then(|outcome| outcome.errors.iter().find(|error| error.pair().is_none()));
    for Ask { extent, pairs, all_of: _ } in &job.asks {
        let types = removal_in_words(extent);
        for pair in pairs {
            let error = by_pair.get(pair).copied().or(of_all);
            let status = match (answer, failed, error) {
                (None, _, _) => UNANSWERED,
                (Some(_), Some(outcome), Some(_)) => outcome.status_of_errors(),
                (Some(_), _, _) => ARCHIVED,
            };
            report.row(&PairRow {
                line: Some(line),
                outcome: &described,
                from_id: &pair.from.to_string(),
                to_id: &pair.to.to_string(),
                types: &types,
                not_after: job.not_after,
                status,
                error,
            })?;
        }
    }
    Ok(())
}
