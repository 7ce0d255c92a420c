//! `archive`: jobs from a file, without a broker: the same engine and the same loop.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::answers::{Answers, Output, Written};
use self::failed_file::FailedFile;
use self::held::HeldLine;
use self::reading::{Read, Reading, Room};
use self::resume::Resume;
use self::unanswered::{Tally, WayOn};
use self::waits::LineWatcher;
use super::confirm;
use super::exit::Failure;
use super::introductions::Introductions;
use super::jobs_file::hints::Hints;
use super::jobs_file::rows::{Naming, Rows, RowsFault};
use super::jobs_file::source::{Input, Source, no_jobs};
use super::jobs_file::survey::{Repeats, Survey};
use super::output::remark;
use super::paint::harmless;
use super::report::NewFile;
use super::signals::{self, FirstWords};
use super::way_back::{self, Undo};
use crate::config::Settings;
use crate::contract::grouped::Grouped;
use crate::engine::Waiting;
use crate::telemetry::mend::{Mends, ToldBy};
use crate::telemetry::progress;
use crate::worker::assembly::{Assembly, Outside};
use crate::worker::service;
use crate::worker::stopping::LAST_REFRESH;

mod answers;
mod failed_file;
mod held;
mod reading;
mod resume;
mod unanswered;
mod waits;

#[derive(clap::Args, Debug)]
#[command(after_long_help = LONG_HELP)]
pub struct Arguments {
    /// CSV, or NDJSON with one job a line; - or nothing: stdin
    file: Option<PathBuf>,
    #[command(flatten)]
    hints: Hints,
    /// Writes the pairs for which the job was not done to this new CSV, which can be given to this command again
    #[arg(long, value_name = "FILE")]
    failed: Option<PathBuf>,
    /// Leaves out the jobs that this file, the stdout of an earlier run, says are done; may be given several times, once
    /// for each run
    #[arg(long, value_name = "OUTCOMES")]
    resume: Vec<PathBuf>,
    /// Does not ask
    #[arg(long, short)]
    yes: bool,
}

const LONG_HELP: &str = "\
Outcomes go to stdout as NDJSON, one for each job; a table by status and cause follows on stderr. Exit code 0: every job
is done; 3: some are not; 1: the question was answered with no. CSV is known by a name that ends with .csv or by its
header; `enqueue --help` names the columns, which are the same.

A file is read to its end before anything is sent. What is no text, or no CSV of jobs, is refused as a whole, with exit
code 2, and so is a FILE without a single row, or with none that has an id. A row that is no job, or not one for the
accounts in the settings, is answered REJECTED, and the others go ahead.
(`enqueue` publishes nothing where a row is no job.) On a terminal it then shows what the file asks for, and asks; it does
not ask where nothing can be changed, as with --plan. What comes through a pipe is archived as it comes, and nothing is
asked. --failed has the pairs in the order of the input, and its column line names the row there; a file of more than 256 MiB
has them in the order of the answers.

Interrupted, it finishes what is on its way to HubSpot, and says how many jobs are not answered and with which command to
go on. A second signal ends it at once, and --failed has what is known by then. On a terminal the log shows warnings only,
as sentences, unless log.format or log.filter is set.

Where only a person can help (a token refused, `paused = true`, an untrusted certificate), it waits for 30 s and then
ends: what is left is FAILED and retryable (in a plan it is
PLANNED, with an error for each pair that nobody could look at, and not done). Other waits are said every minute.

Examples:
  association-archiver archive pairs.csv --plan > plan.ndjson
  association-archiver archive pairs.csv > outcomes.ndjson
  association-archiver archive pairs.csv --failed failed.csv > outcomes.ndjson
  association-archiver archive failed.csv --failed failed-again.csv > more-outcomes.ndjson
  association-archiver archive pairs.csv --resume outcomes.ndjson > rest.ndjson     # after an interruption
  association-archiver archive pairs.csv --resume outcomes.ndjson --resume rest.ndjson > rest-2.ndjson
  association-archiver archive export.csv --from contacts --to companies            # HubSpot's own export";

/// Told to whoever interrupts it.
const FINISHED_FIRST: FirstWords = FirstWords::Said("what is on its way to HubSpot is finished first");

/// How long the command waits for what only a person can end.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// Rows that will be rejected, and are shown before anything is sent.
const MAX_FAULTS_SHOWN: usize = 5;

/// Bundles on their way, in and out.
const MAX_BUNDLES: usize = 16;

/// Outcomes on stdout, one a line.
pub fn archive(config: Option<&Path>, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let settings = Settings::load(config)?;
    super::start_logging_for_a_person(&settings)?;
    let runtime = Runtime::new().map_err(|error| Failure::Running(format!("no runtime: {error}")))?;
    let tally = Arc::new(Tally::default());
    let done = runtime.block_on(run(&settings, config, arguments, &tally));
    // A read of a terminal cannot be called off: the runtime must not wait for it.
    runtime.shutdown_background();
    Ok(match done? {
        Went::Refused => ExitCode::FAILURE,
        Went::Through { is_all_done: true } => ExitCode::SUCCESS,
        Went::Through { is_all_done: false } => ExitCode::from(3),
    })
}

/// How far it went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Went {
    Through {
        is_all_done: bool,
    },
    /// Whoever was asked did not agree; nothing was sent.
    Refused,
}

async fn run(
    settings: &Settings,
    config: Option<&Path>,
    arguments: &Arguments,
    tally: &Arc<Tally>,
) -> Result<Went, Failure> {
    if let Some(failed) = &arguments.failed {
        NewFile::check(failed)?;
    }
    let mut assembly = Assembly::new(settings, Waiting::InHand { give_up_after: GIVE_UP_AFTER })?;
    let (limits, undo) = (service::limits(&settings.jobs), Undo::new(config));
    let mut source = Source::open(arguments.file.as_deref(), Naming::Required, limits, &arguments.hints).await?;
    let mut resume = Resume::default();
    if !arguments.resume.is_empty() {
        source = source.keep().await?;
        resume = Resume::of(&arguments.resume, &mut source).await?;
    }
    // What is no stream is read to its end before anything is sent.
    let is_file = source.is_repeatable();
    let (mut group, mut before, mut jobs) = (arguments.hints.group.clone(), None, None);
    if is_file {
        let survey = Survey::of(&mut source, 1, Some(&assembly.portals), |job| !resume.leaves_out(job)).await?;
        if survey.is_empty() {
            survey.remarks().iter().for_each(|line| remark(line));
            no_jobs(&source.name)?;
            return Ok(Went::Through { is_all_done: true });
        }
        resume.rewind();
        group = survey.group().cloned();
        jobs = Some(survey.jobs() - survey.unwanted);
        before = (!arguments.resume.is_empty()).then_some(Before { jobs: survey.jobs(), done: survey.unwanted });
        say_what_is_there(&survey, (!arguments.resume.is_empty(), resume.in_doubt()));
        if !arguments.yes
            && confirm::has_terminal()
            && !agrees(&survey, (settings, &undo), &source.name, &mut assembly).await?
        {
            return Ok(Went::Refused);
        }
    }
    let failed = arguments.failed.as_deref().map(FailedFile::create).transpose()?;
    let answers = Answers::new(Arc::clone(tally), failed.clone());

    let (stop, way_on) = (CancellationToken::new(), WayOn::new(arguments, (settings, &undo), (jobs, group.as_ref())));
    let last_words = {
        let (way_on, tally, failed) = (way_on.clone(), Arc::clone(tally), failed.clone());
        move || {
            remark(&tally.answered_in_words());
            failed.and_then(|failed| failed.cut_short()).iter().for_each(|line| remark(line));
            way_on.say(&tally);
        }
    };
    signals::stop_on_signals(stop.clone(), FINISHED_FIRST, last_words)
        .map_err(|error| Failure::Running(format!("no signals: {error}")))?;

    let mends = Mends::new(settings.hubspot.accounts()?).told_by(ToldBy::Archive);
    let worked = work_through(assembly, mends, (source.rows()?, is_file), resume, answers, tally, &stop).await;
    let (written, read) = worked.inspect_err(|_| {
        failed.and_then(|failed| failed.cut_short()).iter().for_each(|line| remark(line));
    })?;
    if let Ok(Some(done)) = &read
        && done.is_empty()
    {
        done.say();
        no_jobs(&source.name)?;
        return Ok(Went::Through { is_all_done: true });
    }
    written.summary.lines().iter().for_each(|line| remark(line));
    match before {
        Some(before) => remark(&before.with(written.summary.jobs_done())),
        None if matches!(&read, Ok(Some(read)) if read.has_no_jobs()) => {
            remark("no row asks for anything; nothing was done");
        }
        None => {}
    }
    written.failed.iter().for_each(|failed| remark(&failed.to_string()));
    match read {
        Ok(Some(done)) if !is_file => done.say(),
        Ok(_) => {}
        Err(fault) => return Err(Failure::Usage(format!("{} {fault}", source.name))),
    }
    way_on.say(tally);
    Ok(Went::Through { is_all_done: tally.is_all_done(is_file) })
}

/// What there was of the file before a run that is given outcomes of earlier ones.
#[derive(Clone, Copy, Debug)]
struct Before {
    jobs: u64,
    done: u64,
}

impl Before {
    /// The table is about this run alone: this is the whole.
    fn with(self, done_now: u64) -> String {
        let Self { jobs, done } = self;
        let left = Grouped(jobs.saturating_sub(done + done_now));
        let [jobs, done, done_now] = [jobs, done, done_now].map(Grouped);
        format!("all runs together: {jobs} jobs, {done} of them done before and {done_now} now, {left} left")
    }
}

/// How far the rows were read; `None` if a signal or the end of the loop stopped that.
type HowFar = Result<Option<Read>, RowsFault>;

/// Reads the rows, runs the loop, and writes the answers, until all of these have ended.
async fn work_through(
    assembly: Assembly,
    mends: Mends,
    (rows, is_surveyed): (Rows<Input>, bool),
    resume: Resume,
    answers: Answers,
    tally: &Arc<Tally>,
    stop: &CancellationToken,
) -> Result<(Written, HowFar), Failure> {
    let (arrivals_in, arrivals) = mpsc::channel(MAX_BUNDLES);
    let (departures, mut departed) = mpsc::unbounded_channel();
    let (_orders, orders) = mpsc::channel(1);
    let (output, written) = mpsc::channel(MAX_BUNDLES);

    let portals = assembly.portals.clone();
    let reading = Reading {
        portals: portals.clone(),
        tally: Arc::clone(tally),
        resume,
        repeats: Repeats::default(),
        bar: answers.bar(),
        output: output.clone(),
        arrivals: arrivals_in,
        room: Room::default(),
        is_surveyed,
        lag_is_said: false,
    };
    let writer = std::thread::spawn(move || answers.write(written));
    let reading = {
        let stop = stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(reading.run(rows)).await.unwrap_or(Ok(None)) })
    };
    let passing_on = {
        let stop = stop.clone();
        tokio::spawn(async move {
            while let Some(bundle) = departed.recv().await {
                if output.send(Output::Departed(bundle)).await.is_err() {
                    // Nobody can be told any more: archiving on would be archiving in silence.
                    stop.cancel();
                }
            }
        })
    };
    let watcher = LineWatcher::new(portals, mends, Arc::clone(tally));
    let outside = Outside { arrivals, departures, orders, lease: None, background: None, name: HeldLine::job_name };
    let mut running = assembly.start(outside, watcher, stop.clone());
    let looped = (&mut running.looping).await;
    // Also where the loop failed: then nobody reads on.
    stop.cancel();
    running.finish(LAST_REFRESH).await;
    let read = reading.await;
    let _ = passing_on.await;
    let wrote = tokio::task::spawn_blocking(move || writer.join()).await;
    progress::end();
    match (read, wrote) {
        _ if looped.is_err() => Err(Failure::Running("the loop failed; see the messages above".to_owned())),
        (_, Ok(Ok(Err(failure)))) => Err(failure),
        (Ok(read), Ok(Ok(Ok(written)))) => Ok((written, read)),
        _ => Err(Failure::Running("a part of the program failed; see the messages above".to_owned())),
    }
}

/// Says what the first reading of the rows has found, before anything is sent.
fn say_what_is_there(survey: &Survey, (is_resumed, in_doubt): (bool, u64)) {
    if is_resumed {
        remark(&format!("jobs left out because they were done before: {}", Grouped(survey.unwanted)));
        if in_doubt > 0 {
            remark(&format!(
                "jobs sent again although some of them were done, since they share their id and nothing tells which: {}",
                Grouped(in_doubt)
            ));
        }
    }
    survey.remarks().iter().for_each(|line| remark(line));
    let mut faults: Vec<_> = survey.bad.listed.iter().chain(&survey.rejected.listed).collect();
    faults.sort_unstable();
    let count = survey.bad.count + survey.rejected.count;
    if count > 0 {
        remark(&format!("rows that will be answered REJECTED: {}", Grouped(count)));
    }
    for (line, fault) in faults.iter().take(MAX_FAULTS_SHOWN) {
        remark(&harmless(&format!("  line {line}: {fault}")));
    }
    if count > MAX_FAULTS_SHOWN as u64 {
        remark(&format!("  … and {} more", Grouped(count - MAX_FAULTS_SHOWN as u64)));
    }
}

/// Shows what the file asks for, and asks whether that is meant.
async fn agrees(
    survey: &Survey,
    (settings, undo): (&Settings, &Undo),
    name: &str,
    assembly: &mut Assembly,
) -> Result<bool, Failure> {
    if survey.acceptable() == 0 {
        return Ok(true);
    }
    let introductions = Introductions::of(survey.portals(), settings).await;
    assembly.count(introductions.sent());
    if let [first, ..] = introductions.mismatches() {
        return Err(Failure::Usage(first.clone()));
    }
    remark(&survey.amount(settings, &introductions));
    introductions.troubles().iter().for_each(|trouble| remark(trouble));
    if survey.only_looks() {
        remark("nothing will be changed");
        return Ok(true);
    }
    let question = match survey.archives() {
        true => format!("Archive what is in {name}? {}", way_back::of_archive(survey, settings, undo)),
        false => format!("Restore what is in {name}?"),
    };
    if confirm::agrees(&question).await? {
        return Ok(true);
    }
    remark("nothing was changed");
    Ok(false)
}
