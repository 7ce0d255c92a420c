//! `enqueue [FILE]`: jobs from a file onto the jobs queue, or onto the background queue. If a row is wrong, none of
//! them; else all, unless the command is interrupted or the broker fails half-way.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::following::{Followed, Following};
use self::outcomes_file::OutcomesFile;
use self::publishing::{Reached, publish};
use self::takers::Watch;
use super::confirm;
use super::exit::Failure;
use super::introductions::Introductions;
use super::jobs_file::hints::Hints;
use super::jobs_file::rows::Naming;
use super::jobs_file::source::{Source, no_jobs};
use super::jobs_file::survey::{self, Survey};
use super::output::remark;
use super::report::NewFile;
use super::signals::{self, FirstWords};
use super::way_back::{self, Undo};
use super::{output, runtime};
use crate::amqp::route::Route;
use crate::config::{QueueName, Settings};
use crate::contract::grouped::Grouped;
use crate::worker::service;

mod following;
pub(super) mod message_id;
mod outcomes_file;
pub(super) mod publishing;
mod takers;

#[derive(clap::Args, Debug)]
#[command(after_long_help = LONG_HELP)]
pub struct Arguments {
    /// CSV, one row a job, or NDJSON, one line a job; - or nothing: stdin
    file: Option<PathBuf>,
    #[command(flatten)]
    hints: Hints,
    /// Leaves out the lines before this one, as after an interruption
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = line_number)]
    from_line: u64,
    /// Only checks the rows, also against the accounts in the settings, and publishes nothing
    #[arg(long)]
    dry_run: bool,
    /// Waits for the outcomes and ends with a table of them; exit code 3 where not every job is done
    #[arg(long)]
    follow: bool,
    /// Writes the outcomes to this new file as they come, as NDJSON. A file whose name ends with .csv is written when
    /// the last one has come, as CSV: one row a pair with the input's line number
    #[arg(long, value_name = "FILE", requires = "follow")]
    outcomes: Option<PathBuf>,
    /// Puts the jobs on the background queue: they only use what live jobs leave, and a small share
    #[arg(long)]
    background: bool,
    /// Does not ask
    #[arg(long, short)]
    yes: bool,
    /// The summary as JSON, on stdout
    #[arg(long)]
    json: bool,
}

const LONG_HELP: &str = "\
CSV is known by a name that ends with .csv or by its header line:

  from_object_type,from_id,to_object_type,to_id

with the optional columns job_id, portal_id, types, not_after, action (archive or restore), dry_run (true: looks and
changes nothing) and group. types has the labels to remove, as \"USER_DEFINED 37; USER_DEFINED 38\", or all for the whole
association; once the column is there, every row needs it. A HUBSPOT_DEFINED type without a name is the association
itself, with which all goes. to_id may hold several ids, separated by semicolons, or all: whatever the record is
associated with when its turn comes. A row whose to_id is empty asks for nothing: it is left out and counted. Fields are
separated by commas, semicolons or tabs; the text is UTF-8 or UTF-16. HubSpot's own export is known by its columns
Record ID and Associated ... IDs, and needs --from; --map says which column is which in any other file. Where the header
names the type of the ids, as Record ID - Contact does, --from and --to need not, and may not say another one.

--plan only looks: with --follow the table says how many pairs are associated now, and what would go with them. The CSV of
--outcomes keeps the column dry_run, so that it can be sent again without harm; take that column out to do what it says.

All rows are checked before the first is published; where one is no job, the bad lines are listed, nothing is published,
and the exit code is 2, as it is where a FILE has no row at all, or none with an id. A row for a portal that is not in
the settings here is published all the same, since the worker's settings decide; --dry-run fails then. What comes
through a pipe is kept until the pipe has ended and all rows are checked. At a terminal the command then shows what the
file asks for, and asks whether to go on.

A row without a job id gets one that follows from its content, so that the same row is the same job whenever and from
whichever file it is sent; each message has an id of its own all the same. After an interruption the same file can be
sent again, whole or with --from-line: archiving a pair again does no harm.

--follow reads copies of the outcomes through a queue of its own, which is deleted at the end. If it is interrupted, it
waits no longer; the jobs stay where they are, and `outcomes` shows their outcomes, which are in the results queue. Where
nobody takes jobs from the queue, it says so.

Examples:
  association-archiver enqueue pairs.csv --dry-run
  association-archiver enqueue pairs.csv --plan --follow --outcomes plan.csv
  association-archiver enqueue pairs.csv --follow --outcomes outcomes.csv
  association-archiver enqueue outcomes.csv --follow            # again those pairs that are not done
  association-archiver enqueue export.csv --from contacts --to companies --portal 4711
  association-archiver enqueue backfill.csv --background
  association-archiver enqueue list.csv --map \"Contact=from_id,Company=to_id\" --from contacts --to companies";

/// Told to whoever interrupts it.
const FINISHED_FIRST: FirstWords = FirstWords::Said("what is on its way to the broker is finished first");

/// Publishes every row, confirmed; exit code 2 and nothing published where a row is bad.
pub fn enqueue(config: Option<&Path>, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let settings = Settings::load(config)?;
    super::remark_on_settings(&settings);
    runtime::block_on(run(&settings, config, arguments))
}

async fn run(settings: &Settings, config: Option<&Path>, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (begun, undo) = (Instant::now(), Undo::new(config));
    if let (Some(outcomes), false) = (&arguments.outcomes, arguments.dry_run) {
        NewFile::check(outcomes)?;
    }
    let target = Target::of(settings, arguments.background)?;
    let limits = service::limits(&settings.jobs);
    let source = Source::open(arguments.file.as_deref(), Naming::ByContent, limits, &arguments.hints).await?;
    let mut source = source.keep().await?;
    let portals = survey::portals(settings);
    let survey = Survey::of(&mut source, arguments.from_line, portals.as_ref(), |_| true).await?;
    check(&survey, &source.name, arguments)?;
    survey.remarks().iter().for_each(|line| remark(line));
    if arguments.dry_run && portals.is_none() {
        remark("the settings here have no account, so whether one takes the jobs is not checked");
    }
    if arguments.dry_run || survey.rows == 0 {
        return summarise(arguments, &target.queue, &survey, 0, begun.elapsed(), None);
    }
    if let Some((line, why)) = survey.rejected.listed.first() {
        let count = Grouped(survey.rejected.count);
        remark(&format!(
            "rows that a worker with the settings here will reject: {count}, the first in line {line}: {why}"
        ));
    }
    if !arguments.yes
        && confirm::has_terminal()
        && !agrees(&survey, (settings, &undo), &source.name, &target.queue).await?
    {
        remark("nothing was published");
        return Ok(ExitCode::FAILURE);
    }
    // The time that somebody took to answer does not count.
    send(settings, arguments, target, source, &survey, Instant::now()).await
}

/// Fails where the file must not be sent as it is.
fn check(survey: &Survey, name: &str, arguments: &Arguments) -> Result<(), Failure> {
    let from_line = arguments.from_line;
    if from_line > 1 && from_line > survey.last_line {
        return Err(Failure::Usage(format!("--from-line {from_line}: {name} ends with line {}", survey.last_line)));
    }
    if survey.bad.count > 0 {
        return Err(report_bad(survey, arguments.json));
    }
    if survey.is_empty() && from_line > 1 {
        print_nothing_enqueued(survey, arguments.json);
        return Err(Failure::Usage(format!("--from-line {from_line}: {name} has no row from that line on")));
    }
    if survey.is_empty() {
        survey.left_out.in_words().for_each(|line| remark(&line));
        if let Err(failure) = no_jobs(name) {
            print_nothing_enqueued(survey, arguments.json);
            return Err(failure);
        }
    }
    match survey.rejected.listed.first() {
        Some((line, why)) if arguments.dry_run => {
            let count = Grouped(survey.rejected.count);
            Err(Failure::Usage(format!("rows that would be rejected: {count}, the first in line {line}: {why}")))
        }
        Some(_) | None => Ok(()),
    }
}

/// Shows what the file asks for, and asks whether that is meant.
async fn agrees(
    survey: &Survey,
    (settings, undo): (&Settings, &Undo),
    name: &str,
    queue: &QueueName,
) -> Result<bool, Failure> {
    if survey.acceptable() == 0 {
        // The settings of the worker decide, and these may differ from the settings here.
        return confirm::agrees(&format!("Put the jobs of {name} on {queue}?")).await;
    }
    let introductions = Introductions::of(survey.portals(), settings).await;
    remark(&survey.amount(settings, &introductions));
    introductions.troubles().iter().chain(introductions.mismatches()).for_each(|trouble| remark(trouble));
    if survey.only_looks() && survey.rejected.count == 0 {
        remark("nothing will be changed");
        return Ok(true);
    }
    let question = format!("Put the jobs of {name} on {queue}?");
    match survey.archives() {
        true => confirm::agrees(&format!("{question} {}", way_back::of_enqueue(survey, settings, undo))).await,
        false => confirm::agrees(&question).await,
    }
}

/// Publishes the jobs and, with --follow, waits for their outcomes.
async fn send(
    settings: &Settings,
    arguments: &Arguments,
    target: Target,
    mut source: Source,
    survey: &Survey,
    begun: Instant,
) -> Result<ExitCode, Failure> {
    let Target { route, queue } = target;
    let (stop, reached) = (CancellationToken::new(), Reached::new(survey.rows, arguments.from_line));
    let outcomes = OutcomesFile::default();
    let last_words = {
        let (reached, outcomes) = (reached.clone(), outcomes.clone());
        move || {
            outcomes.cut_short().iter().for_each(|line| remark(line));
            remark(&format!("error: a second signal; {reached}"));
        }
    };
    signals::stop_on_signals(stop.clone(), FINISHED_FIRST, last_words)
        .map_err(|error| Failure::Running(format!("no signals: {error}")))?;
    let run = message_id::Run::new();
    let following = match arguments.follow {
        true => Some(Following::begin(settings, &run, arguments.outcomes.as_deref(), &outcomes).await?),
        false => None,
    };
    let published = publish(settings, &mut source, &run, (route, arguments.from_line), &reached, &stop).await;
    let enqueued = match published {
        Ok(enqueued) => enqueued,
        Err(failure) => {
            if let Some(following) = following {
                following.abandon().await;
            }
            return Err(failure);
        }
    };
    let Some(following) = following else {
        return summarise(arguments, &queue, survey, enqueued, begun.elapsed(), None);
    };
    if !arguments.json {
        remark(&told_enqueued(&queue, enqueued, begun.elapsed()));
    }
    let watch = Watch::begin(&settings.amqp, queue.clone());
    let followed = following.wait_for(enqueued, &stop).await;
    let taken = watch.end(stop.is_cancelled()).await;
    let say_what_became_of_the_file = |_: &Failure| outcomes.cut_short().iter().for_each(|line| remark(line));
    let mut followed = followed.inspect_err(say_what_became_of_the_file)?;
    let made = followed.finish(&mut source, arguments.from_line).await;
    let is_made = made.inspect_err(say_what_became_of_the_file)?;
    if followed.unanswered(survey.rows) == 0 {
        // Repeated pairs were counted for all rows together, so their number says nothing of a part of the rows.
        followed.repeated(survey.repeated);
    }
    let code = summarise(arguments, &queue, survey, enqueued, begun.elapsed(), Some(&followed))?;
    if let Some(path) = arguments.outcomes.as_ref().map(|path| path.display()).filter(|_| !arguments.json) {
        match is_made {
            true => remark(&format!("the outcomes are in {path}")),
            false => remark(&format!("no outcome came, so {path} is not made")),
        }
    }
    match followed.unanswered(enqueued) {
        0 => Ok(code),
        unanswered => Err(Failure::Running(format!(
            "stopped by a signal; jobs without an answer: {}; {}, and `association-archiver outcomes` shows what becomes of them",
            Grouped(unanswered),
            taken.of_the_rest(&queue)
        ))),
    }
}

/// Where the jobs go.
#[derive(Debug)]
struct Target {
    route: Route,
    queue: QueueName,
}

impl Target {
    fn of(settings: &Settings, background: bool) -> Result<Self, Failure> {
        if !background {
            return Ok(Self { route: Route::Jobs, queue: settings.amqp.jobs_queue.clone() });
        }
        let none = |cause| Failure::Usage(format!("--background: there is no background queue, since {cause}"));
        let queue = settings.amqp.background().map_err(none)?;
        Ok(Self { route: Route::Background, queue })
    }
}

fn line_number(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Err("lines are counted from 1, such as 5001".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("write the number of a line, counted from 1, such as 5001".to_owned()),
    }
}

/// Lists the bad lines, and says how many they are.
fn report_bad(survey: &Survey, as_json: bool) -> Failure {
    print_nothing_enqueued(survey, as_json);
    for (line, fault) in &survey.bad.listed {
        remark(&format!("line {line}: {fault}"));
    }
    let more = survey.bad.count - survey.bad.listed.len() as u64;
    if more > 0 {
        remark(&format!("… and {more} more"));
    }
    let lines = if survey.bad.count == 1 { "line is no job" } else { "lines are no jobs" };
    Failure::Usage(format!("{} {lines}, nothing was published: mend or remove them", survey.bad.count))
}

/// With --json, where the exit code says that something is wrong with the file.
fn print_nothing_enqueued(survey: &Survey, as_json: bool) {
    if as_json {
        let bad: Vec<_> = survey.bad.listed.iter().map(|(line, fault)| json!({"line": line, "fault": fault})).collect();
        let summary = json!({"rows": survey.rows, "bad": survey.bad.count, "badLines": bad, "enqueued": 0});
        // Whoever does not read it sees the exit code.
        let _ = output::result(&summary.to_string());
    }
}

fn summarise(
    arguments: &Arguments,
    queue: &QueueName,
    survey: &Survey,
    enqueued: u64,
    took: Duration,
    followed: Option<&Followed>,
) -> Result<ExitCode, Failure> {
    let Survey { rows, repeated, .. } = survey;
    let summary = followed.map(Followed::summary);
    let all_done = summary.is_none_or(|summary| summary.jobs() == summary.jobs_done());
    let code = if all_done { ExitCode::SUCCESS } else { ExitCode::from(3) };
    if arguments.json {
        let mut told = json!({
            "rows": rows, "repeatedPairs": repeated, "bad": 0, "enqueued": enqueued, "queue": queue.as_str(),
            "seconds": took.as_secs_f64(),
        });
        if let (Some(summary), Value::Object(told)) = (summary, &mut told) {
            told.insert("outcomes".to_owned(), summary.to_json());
        }
        return output::result(&told.to_string()).map(|_| code);
    }
    let told = match summary {
        // Interrupted before any outcome.
        Some(summary) if summary.lines().is_empty() => return Ok(code),
        Some(summary) => summary.lines().join("\n"),
        None if *rows == 0 => "no row asks for anything; nothing was published".to_owned(),
        None if arguments.dry_run => {
            let jobs = if *rows == 1 { "job is" } else { "jobs are" };
            format!("{} {jobs} valid; nothing was published", Grouped(*rows))
        }
        None => told_enqueued(queue, enqueued, took),
    };
    output::result(&told).map(|_| code)
}

fn told_enqueued(queue: &QueueName, enqueued: u64, took: Duration) -> String {
    let jobs = if enqueued == 1 { "job" } else { "jobs" };
    format!("{} {jobs} enqueued on {queue} in {:.1} s", Grouped(enqueued), took.as_secs_f64())
}
