//! Outcomes out: to stdout, into the report of what failed, and into the table at the end.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use super::Tally;
use super::reading::{Held, Origin};
use crate::cli::exit::Failure;
use crate::cli::outcome_record::{OutcomeRecord, removal_in_words};
use crate::cli::report::{NewFile, PairRow, Report};
use crate::cli::summary::Summary;
use crate::contract::association::Pair;
use crate::contract::outcome::{Ending, Outcome, Status};
use crate::worker::seams::Departure;

/// How often the bar is drawn anew.
const BAR_TICK: Duration = Duration::from_millis(200);

/// What is written next.
pub enum Output {
    Departed(Vec<Departure<Held>>),
    Rejected(Box<Rejected>),
}

/// A line that is no job, or not one for these accounts.
pub struct Rejected {
    pub outcome: Outcome,
    pub origin: Origin,
}

/// See the module.
pub struct Answers {
    tally: Arc<Tally>,
    failed: Option<Report<NewFile>>,
    summary: Summary,
    bar: ProgressBar,
}

impl Answers {
    pub fn new(tally: Arc<Tally>, failed: Option<Report<NewFile>>) -> Self {
        Self { tally, failed, summary: Summary::default(), bar: progress() }
    }

    pub fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    /// Writes until there is no more; to be called on a thread of its own, since stdout may block.
    pub fn write(mut self, mut outputs: mpsc::Receiver<Output>) -> Result<Summary, Failure> {
        let unwritable = |error: io::Error| Failure::Running(format!("outcomes cannot be written to stdout: {error}"));
        let mut out = BufWriter::new(io::stdout().lock());
        let mut buffer = Vec::new();
        while let Some(output) = outputs.blocking_recv() {
            let outcomes: Vec<(Outcome, Origin)> = match output {
                Output::Rejected(rejected) => vec![(rejected.outcome, rejected.origin)],
                Output::Departed(bundle) => bundle.into_iter().filter_map(outcome).collect(),
            };
            for (outcome, origin) in outcomes {
                buffer.clear();
                outcome.encode(&mut buffer);
                buffer.push(b'\n');
                out.write_all(&buffer).map_err(unwritable)?;
                self.count(&outcome, &origin)?;
            }
            if outputs.is_empty() {
                out.flush().map_err(unwritable)?;
            }
            self.show();
        }
        out.flush().map_err(unwritable)?;
        if let Some(failed) = self.failed {
            failed.into_inner().map_err(|error| unwritable_report(&error))?.finish()?;
        }
        Ok(self.summary)
    }

    fn count(&mut self, outcome: &Outcome, origin: &Origin) -> Result<(), Failure> {
        self.tally.answered.fetch_add(1, Ordering::Relaxed);
        if let (Status::Archived, Ending::Settled { num_pairs, .. }) = (outcome.status(), &outcome.ending) {
            self.tally.archived.fetch_add(1, Ordering::Relaxed);
            self.summary.archived(*num_pairs as u64);
            return Ok(());
        }
        let outcome = OutcomeRecord::of(outcome);
        self.summary.add(&outcome);
        if let Some(report) = &mut self.failed {
            report_failed(report, &outcome, origin).map_err(|error| unwritable_report(&error))?;
        }
        Ok(())
    }

    fn show(&self) {
        let (answered, archived) =
            (self.tally.answered.load(Ordering::Relaxed), self.tally.archived.load(Ordering::Relaxed));
        let others = HumanCount(answered.saturating_sub(archived));
        let (archived, waiting) = (HumanCount(archived), HumanCount(self.tally.unanswered()));
        self.bar.set_message(format!("{archived} archived, {others} not, {waiting} in hand"));
    }
}

fn unwritable_report(error: &io::Error) -> Failure {
    Failure::Running(format!("--failed cannot be written: {error}"))
}

fn outcome(departure: Departure<Held>) -> Option<(Outcome, Origin)> {
    match departure {
        Departure::Settled { delivery, settled, completed } => {
            let Held { head, origin, .. } = delivery;
            Some((settled.outcome(head, completed).0, origin))
        }
        // Without a broker nothing is parked or forgotten; what is handed back stays unanswered, and is counted as such.
        Departure::Parked { .. } | Departure::HandedBack { .. } | Departure::Forgotten { .. } => None,
    }
}

/// A row for each pair that is not archived; for what is no job, one without a pair.
fn report_failed(report: &mut Report<NewFile>, outcome: &OutcomeRecord, origin: &Origin) -> io::Result<()> {
    let status = outcome.status_of_errors();
    for error in &outcome.errors {
        let mut write = |pair: Option<Pair>, types: &str| {
            let id = |id: Option<u64>| id.map(|id| id.to_string()).unwrap_or_default();
            let (from_id, to_id) = (id(pair.map(|pair| pair.from.0.get())), id(pair.map(|pair| pair.to.0.get())));
            report.row(&PairRow {
                line: Some(origin.line),
                outcome,
                from_id: &from_id,
                to_id: &to_id,
                types,
                not_after: origin.not_after,
                status,
                error: Some(error),
            })
        };
        match error.pair() {
            Some(pair) => write(Some(pair), &error.types_in_words())?,
            None if origin.rejected.is_empty() => write(None, "")?,
            None => {
                for ask in &origin.rejected {
                    let types = removal_in_words(&ask.extent);
                    ask.pairs.iter().try_for_each(|pair| write(Some(*pair), &types))?;
                }
            }
        }
    }
    Ok(())
}

fn progress() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise}  {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(BAR_TICK);
    bar
}
