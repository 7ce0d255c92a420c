//! Outcomes out: to stdout, into the report of what failed, and into the table at the end.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use tokio::sync::mpsc;

use super::failed_file::{Ended, FailedFile};
use super::held::{HeldLine, Origin};
use super::unanswered::Tally;
use crate::cli::exit::Failure;
use crate::cli::jobs_file::columns::ALL;
use crate::cli::outcome_record::{OutcomeRecord, extent_in_words};
use crate::cli::report::{NewFile, PairRow, Report};
use crate::cli::summary::Summary;
use crate::contract::outcome::{Ending, Outcome, Status};
use crate::telemetry::progress;
use crate::worker::seams::Departure;

/// What is written next.
pub enum Output {
    Departed(Vec<Departure<HeldLine>>),
    Rejected(Box<Rejected>),
}

/// A line that is no job, or not one for these accounts.
pub struct Rejected {
    pub outcome: Outcome,
    pub origin: Origin,
}

/// A line that is answered.
struct Answer {
    outcome: Outcome,
    origin: Origin,
    /// HubSpot may have changed something for it.
    was_sent: bool,
}

/// What has been written.
pub struct Written {
    pub summary: Summary,
    /// The report of what failed, if there was to be one.
    pub failed: Option<Ended>,
}

/// See the module.
pub struct Answers {
    tally: Arc<Tally>,
    failed: Option<FailedFile>,
    summary: Summary,
    bar: ProgressBar,
}

impl Answers {
    pub fn new(tally: Arc<Tally>, failed: Option<FailedFile>) -> Self {
        let bar = bar(Arc::clone(&tally));
        Self { tally, failed, summary: Summary::default(), bar }
    }

    pub fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    /// Writes until there is no more; to be called on a thread of its own, since stdout may block.
    pub fn write(mut self, mut outputs: mpsc::Receiver<Output>) -> Result<Written, Failure> {
        let unwritable = |error: io::Error| Failure::Running(format!("outcomes cannot be written to stdout: {error}"));
        // On a terminal outcomes and progress share the screen.
        let on_a_terminal = io::stdout().is_terminal();
        let mut out = BufWriter::new(io::stdout().lock());
        let mut buffer = Vec::new();
        while let Some(output) = outputs.blocking_recv() {
            let outcomes: Vec<Answer> = match output {
                Output::Rejected(rejected) => {
                    let Rejected { outcome, origin } = *rejected;
                    vec![Answer { outcome, origin, was_sent: false }]
                }
                Output::Departed(bundle) => bundle.into_iter().filter_map(answer).collect(),
            };
            for Answer { outcome, .. } in &outcomes {
                buffer.clear();
                outcome.encode(&mut buffer);
                buffer.push(b'\n');
                let written = match on_a_terminal {
                    true => progress::beside(|| out.write_all(&buffer).and_then(|()| out.flush())),
                    false => out.write_all(&buffer),
                };
                written.map_err(unwritable)?;
            }
            // What is counted as answered can be read, also if the command is ended at once.
            out.flush().map_err(unwritable)?;
            for Answer { outcome, origin, was_sent } in outcomes {
                self.count(&outcome, &origin, was_sent)?;
            }
        }
        let failed = self.failed.map_or(Ok(None), |failed| failed.end())?;
        Ok(Written { summary: self.summary, failed })
    }

    fn count(&mut self, outcome: &Outcome, origin: &Origin, was_sent: bool) -> Result<(), Failure> {
        self.summary.repeated(origin.repeated);
        let sent = was_sent.then_some(outcome.head.action);
        if let (status @ (Status::Archived | Status::Restored), Ending::Settled { num_pairs, .. }) =
            (outcome.status(), &outcome.ending)
        {
            self.tally.answered(true, sent);
            self.summary.done(status, *num_pairs as u64);
            return Ok(());
        }
        let outcome = OutcomeRecord::of(outcome);
        self.tally.answered(outcome.is_done(), sent);
        self.summary.add(&outcome, Some(origin.line));
        if let Some(failed) = &self.failed {
            failed.write(|report| report_failed(report, &outcome, origin))?;
        }
        Ok(())
    }
}

fn answer(departure: Departure<HeldLine>) -> Option<Answer> {
    match departure {
        Departure::Settled { delivery, settled, completed } => {
            let was_sent = delivery.may_be_changed();
            let HeldLine { head, origin, .. } = delivery;
            Some(Answer { outcome: settled.outcome(head, completed).0, origin, was_sent })
        }
        // Without a broker nothing is parked or forgotten; what is handed back stays unanswered, and is counted as such.
        Departure::Parked { .. } | Departure::HandedBack { .. } | Departure::Forgotten { .. } => None,
    }
}

/// Writes a row for each pair for which the job was not done. A line that is no job gets one row without a pair.
fn report_failed(report: &mut Report<NewFile>, outcome: &OutcomeRecord, origin: &Origin) -> io::Result<()> {
    let status = outcome.status_of_errors();
    for error in &outcome.errors {
        if let Some(cells) = &origin.cells {
            report.rejected_row(origin.line, cells, status, error)?;
            continue;
        }
        let mut write = |from_id: &str, to_id: &str, types: &str| {
            report.row(&PairRow {
                line: Some(origin.line),
                outcome,
                from_id,
                to_id,
                types,
                not_after: origin.not_after,
                status,
                error: Some(error),
                plan: None,
            })
        };
        match error.ends() {
            Some((from_id, to_id)) => write(from_id, to_id, &error.types_in_words())?,
            None if origin.rejected.is_empty() => write("", "", "")?,
            None => {
                for ask in &origin.rejected {
                    let types = extent_in_words(&ask.extent);
                    for pair in &ask.pairs {
                        write(&pair.from.to_string(), &pair.to.to_string(), &types)?;
                    }
                    ask.all_of.iter().try_for_each(|from| write(&from.to_string(), ALL, &types))?;
                }
            }
        }
    }
    Ok(())
}

/// The line of progress. Each time it is drawn it shows the tally as it is at that moment.
fn bar(tally: Arc<Tally>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise}  {tally}") {
        let counts = move |_: &ProgressState, out: &mut dyn fmt::Write| {
            // Nobody reads a bar that cannot be drawn.
            let _ = write!(out, "{tally}");
        };
        bar.set_style(style.with_key("tally", counts));
    }
    bar
}
