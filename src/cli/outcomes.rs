//! `outcomes`: what became of jobs, by the outcomes that lie in the results queue; they stay where they are.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use jiff::Timestamp;

use self::mended::{Mended, Origin};
use super::bar::bar;
use super::enqueue::message_id::origin;
use super::exit::Failure;
use super::jobs_file::columns::UNKNOWN_TYPES;
use super::latest_names::LatestNames;
use super::outcome_record::{ErrorRecord, OutcomeRecord};
use super::output::{Output, Reader, remark};
use super::paint::{Paint, Tone, harmless};
use super::report::{PairRow, Report};
use super::summary::Summary;
use super::{age, option_values, runtime};
use crate::amqp::browser::{Browser, Shelf};
use crate::config::Settings;
use crate::contract::grouped::Grouped;
use crate::contract::outcome::Status;
use crate::telemetry::progress;

mod mended;

#[derive(clap::Args, Debug)]
#[command(after_long_help = LONG_HELP)]
pub struct Arguments {
    /// Only outcomes of jobs that were not done for every pair
    #[arg(long)]
    failed: bool,
    /// Only outcomes since then: a time, as 2026-11-28T09:00:00Z, or how long ago, as 1h
    #[arg(long, value_name = "TIME", value_parser = age::parse_since)]
    since: Option<Timestamp>,
    /// Only outcomes of jobs of this group
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// At most this many: those that lie first in the queue
    #[arg(long, value_name = "N", value_parser = option_values::limit)]
    limit: Option<u64>,
    /// As CSV, a row for each pair that was not done, and that no later attempt has mended: `enqueue` and `archive` take it
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// The outcomes as they are, one JSON object a line
    #[arg(long)]
    json: bool,
}

const LONG_HELP: &str = "\
Looks through the results queue and takes nothing from it. So it shows only what no other program has taken from there.
Where one does, look at what that program has kept, or let `enqueue --follow --outcomes FILE` keep a copy.

While the command looks, it holds the messages, and then gives them back in their order. The broker counts each look as a
delivery; a queue that the worker has declared allows 1,000,000 of each message.

The oldest outcome comes first. Where jobs of one file were done in the same millisecond, the file's order counts. In the CSV
the column `line` is the line of that file.

Each message has an outcome of its own. So where a job failed, was mended and was sent again, both its outcomes are listed.
Only --csv leaves out, and counts, a failure after which jobs with the same id, portal, object types and action have done as
many pairs, and the rows of earlier attempts that left the same pair undone. Where other jobs did it, leave the earlier
outcomes out: give the time of the last attempt with --since.

Examples:
  association-archiver outcomes --failed
  association-archiver outcomes --failed --since 1day --csv > failed.csv
  association-archiver enqueue failed.csv --follow";

/// At most this many bytes of outcomes are put in order at once.
const MOST_BYTES_IN_ORDER: usize = 256 * 1024 * 1024;

/// What the line of progress counts while nothing can be shown yet.
const LOOKED_AT: &str = "messages looked at";

/// A table, NDJSON or CSV on stdout; a summary on stderr.
pub fn outcomes(config: Option<&Path>, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let settings = Settings::load(config)?;
    super::remark_on_settings(&settings);
    runtime::block_on(look(&settings, arguments))
}

async fn look(settings: &Settings, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let opened = Browser::open(&settings.amqp, Shelf::Results).await;
    let mut browser = opened.map_err(|fault| Failure::Running(fault.to_string()))?;
    let shown = show(&mut browser, arguments).await;
    progress::end();
    let there = browser.there();
    let waiting = match (&arguments.group, arguments.json) {
        (Some(_), false) => browser.waiting(&settings.amqp).await,
        (Some(_) | None, _) => None,
    };
    browser.close().await;
    let Shown { outcomes, parts, others, groups, of_unknown_labels, mended, superseded, summary } = shown?;
    if !arguments.json {
        let queue = &settings.amqp.results_queue;
        let order = match parts {
            0 => "",
            1 => ", the oldest first",
            _ => ", too many to put them in order as a whole: in parts, each with the oldest first",
        };
        match there {
            0 => remark(&format!("{queue} is empty: nothing was answered, or a program has taken the outcomes")),
            _ => remark(&format!("{} of {} messages in {queue}{order}", Grouped(outcomes), Grouped(there.into()))),
        }
        summary.lines().iter().for_each(|line| remark(line));
        if let Some(waiting) = waiting.filter(|waiting| *waiting > 0 || outcomes > 0) {
            remark(&format!(
                "more may come: jobs of whatever group that still wait in the queues: {}; how many a worker has in hand is not \
                 known here",
                Grouped(waiting)
            ));
        }
    }
    if let (Some(group), 0, false) = (&arguments.group, outcomes, groups.is_empty()) {
        remark(&format!("none of these is of the group {group:?}; the latest groups there are: {}", groups.in_words()));
    }
    if others > 0 {
        remark(&format!("{} messages are no outcomes", Grouped(others)));
    }
    if mended > 0 {
        remark(&format!("jobs left out, since a later attempt has mended them: {}", Grouped(mended)));
    }
    if superseded > 0 {
        remark(&format!(
            "rows left out, since a later attempt of the same job left the same pair undone too: {}",
            Grouped(superseded)
        ));
    }
    if of_unknown_labels > 0 {
        remark(&format!(
            "{} rows have {UNKNOWN_TYPES} in the column types, since their outcomes do not tell whether only labels were to be \
             removed; write there the labels, or all for the whole association, before you send them again",
            Grouped(of_unknown_labels)
        ));
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Default)]
struct Shown {
    outcomes: u64,
    /// In how many parts the outcomes were put in order and shown.
    parts: u64,
    others: u64,
    /// The groups of outcomes that are not meant.
    groups: LatestNames,
    of_unknown_labels: u64,
    /// Outcomes that are left out, since a later attempt has mended what failed.
    mended: u64,
    /// Rows that are left out, since a later attempt of their job has one for the same pair.
    superseded: u64,
    summary: Summary,
}

/// Where the outcomes are shown.
enum Target {
    Table(Output, Paint),
    Json(Output),
    Csv(Box<Report<io::BufWriter<io::Stdout>>>),
}

/// An outcome that is meant.
struct Kept {
    completed_at: Timestamp,
    origin: Origin,
    body: Vec<u8>,
}

async fn show(browser: &mut Browser, arguments: &Arguments) -> Result<Shown, Failure> {
    let mut target = Target::of(arguments)?;
    let mut shown = Shown::default();
    let (mut kept, mut bytes, mut mended) = (Vec::new(), 0, Mended::default());
    let (there, mut seen) = (browser.there().into(), 0);
    let mut looking = bar(there, seen, LOOKED_AT);
    while arguments.limit.is_none_or(|limit| shown.outcomes + (kept.len() as u64) < limit)
        && let Some(found) = browser.next().await.map_err(|fault| Failure::Running(fault.to_string()))?
    {
        seen += 1;
        looking.set_position(seen);
        let Some(outcome) = OutcomeRecord::parse(&found.body) else {
            shown.others += 1;
            continue;
        };
        let (body, properties, _) = found.into_parts();
        let origin = properties.correlation_id().and_then(origin).map(|(run, line)| (run.to_owned(), line));
        if arguments.csv {
            mended.note(&outcome, &origin);
        }
        if !is_meant(&outcome, arguments, &mut shown.groups) {
            continue;
        }
        if arguments.csv {
            mended.note_undone(&outcome, &origin);
        }
        bytes += body.len();
        kept.push(Kept { completed_at: outcome.completed_at, origin, body });
        if bytes > MOST_BYTES_IN_ORDER {
            bytes = 0;
            progress::end();
            if target.write_all(&mut kept, &mended, &mut shown)? == Reader::Gone {
                break;
            }
            looking = bar(there, seen, LOOKED_AT);
        }
    }
    progress::end();
    target.write_all(&mut kept, &mended, &mut shown)?;
    target.finish()?;
    Ok(shown)
}

fn is_meant(outcome: &OutcomeRecord, arguments: &Arguments, other_groups: &mut LatestNames) -> bool {
    if let Some(wanted) = &arguments.group
        && outcome.group.as_ref() != Some(wanted)
    {
        outcome.group.iter().for_each(|group| other_groups.note(group));
        return false;
    }
    arguments.since.is_none_or(|since| outcome.completed_at >= since)
        && !(outcome.is_done() && (arguments.failed || arguments.csv))
}

impl Target {
    fn of(arguments: &Arguments) -> Result<Self, Failure> {
        if arguments.csv {
            let report = Report::new(io::BufWriter::new(io::stdout()));
            return Ok(Self::Csv(Box::new(report.map_err(|error| unwritable(&error))?)));
        }
        Ok(if arguments.json {
            Self::Json(Output::stdout())
        } else {
            Self::Table(Output::stdout(), Paint::for_stdout())
        })
    }

    /// The oldest first; equals stay in the queue's order.
    fn write_all(&mut self, kept: &mut Vec<Kept>, mended: &Mended, shown: &mut Shown) -> Result<Reader, Failure> {
        shown.parts += u64::from(!kept.is_empty());
        kept.sort_by(|a, b| (a.completed_at, &a.origin).cmp(&(b.completed_at, &b.origin)));
        for Kept { body, origin, .. } in kept.drain(..) {
            let Some(mut outcome) = OutcomeRecord::parse(&body) else { continue };
            if mended.has(&outcome, &origin) {
                shown.mended += 1;
                continue;
            }
            let there = outcome.errors.len();
            let superseded = |error: &ErrorRecord| mended.supersedes(&outcome, &origin, error);
            let errors: Vec<_> = outcome.errors.iter().filter(|error| !superseded(error)).cloned().collect();
            shown.superseded += (there - errors.len()) as u64;
            if errors.is_empty() && there > 0 {
                continue;
            }
            outcome.errors = errors;
            let line = origin.map(|(_, line)| line);
            if self.write(&outcome, (line, &body), shown)? == Reader::Gone {
                return Ok(Reader::Gone);
            }
            shown.outcomes += 1;
            shown.summary.add(&outcome, None);
        }
        Ok(Reader::Listens)
    }

    fn write(
        &mut self,
        outcome: &OutcomeRecord,
        (line, body): (Option<u64>, &[u8]),
        shown: &mut Shown,
    ) -> Result<Reader, Failure> {
        match self {
            Self::Table(output, paint) => {
                if shown.outcomes == 0 {
                    output.line(&paint.text(Tone::Heading, &row(HEADINGS)))?;
                }
                output.line(&table_line(outcome))
            }
            Self::Json(output) => output.line(&String::from_utf8_lossy(body)),
            Self::Csv(report) => match write_rows(report, outcome, line, shown) {
                Ok(()) => Ok(Reader::Listens),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
                Err(error) => Err(unwritable(&error)),
            },
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Table(mut output, _) | Self::Json(mut output) => output.flush().map(drop),
            Self::Csv(report) => match report.into_inner().and_then(|mut stdout| stdout.flush()) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(unwritable(&error)),
                Ok(()) | Err(_) => Ok(()),
            },
        }
    }
}

fn unwritable(error: &io::Error) -> Failure {
    Failure::Running(format!("stdout cannot be written: {error}"))
}

/// A row for each pair for which the job was not done. What was no job has none, since there is nothing to send again.
fn write_rows(
    report: &mut Report<impl Write>,
    outcome: &OutcomeRecord,
    line: Option<u64>,
    shown: &mut Shown,
) -> io::Result<()> {
    for error in &outcome.errors {
        let Some((from_id, to_id)) = error.ends() else { continue };
        let types = error.types_in_words();
        shown.of_unknown_labels += u64::from(types == UNKNOWN_TYPES);
        report.row(&PairRow {
            line,
            outcome,
            from_id,
            to_id,
            types: &types,
            not_after: None,
            status: outcome.status_of_errors(),
            error: Some(error),
            plan: None,
        })?;
    }
    Ok(())
}

const HEADINGS: [&str; 7] = ["COMPLETED AT", "STATUS", "PORTAL", "LANE", "DONE", "JOB", "CAUSE"];
/// Most texts fit; longer ones push their line to the right. The last column is as wide as it is.
const WIDTHS: [usize; 6] = [20, 8, 10, 24, 12, 36];

fn table_line(outcome: &OutcomeRecord) -> String {
    let shown = |text: Option<&str>| harmless(text.unwrap_or("-"));
    let lane = format!("{}/{}", shown(outcome.from_object_type.as_deref()), shown(outcome.to_object_type.as_deref()));
    let portal = outcome.portal_id.map_or_else(|| "-".to_owned(), |portal| portal.to_string());
    let done = match &outcome.plan {
        Some(plan) => plan.len() as u64,
        None => outcome.num_archived + outcome.num_restored,
    };
    // Of what was no job nobody knows how many pairs it was for.
    let is_counted = outcome.status != Status::Rejected.as_str();
    let done = if is_counted { format!("{} of {}", Grouped(done), Grouped(outcome.num_pairs)) } else { "-".to_owned() };
    let cause = outcome.errors.first().map(|error| {
        let ends = error.ends().map(|(from, to)| format!("{from} → {to} ")).unwrap_or_default();
        harmless(&format!("{ends}{}: {}", error.category, error.message))
    });
    let completed_at = format!("{:.0}", outcome.completed_at);
    let status = harmless(&outcome.status);
    row([
        &completed_at,
        &status,
        &portal,
        &lane,
        &done,
        &harmless(&outcome.job_id),
        cause.as_deref().unwrap_or_default(),
    ])
}

fn row(cells: [&str; 7]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(WIDTHS) {
        line.push_str(&format!("{cell:width$}  "));
    }
    line.push_str(cells[6]);
    line.trim_end().to_owned()
}
