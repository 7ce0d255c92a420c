//! `archive`: jobs from a file, without a broker: the same engine and the same loop.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::HumanCount;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::answers::{Answers, Output};
use self::held::HeldLine;
use self::reading::{Read, Reading, Room};
use self::resume::Resume;
use self::waits::LineWatcher;
use super::confirm;
use super::exit::Failure;
use super::introductions::Introductions;
use super::jobs_file::hints::Hints;
use super::jobs_file::rows::{Naming, Rows, RowsFault};
use super::jobs_file::source::{Input, Source};
use super::jobs_file::survey::Survey;
use super::output::remark;
use super::report::{NewFile, Report};
use super::summary::Summary;
use super::{signals, way_back};
use crate::config::Settings;
use crate::engine::Waiting;
use crate::telemetry::mend::Mends;
use crate::worker::assembly::{Assembly, Outside};
use crate::worker::service;
use crate::worker::stopping::LAST_REFRESH;

mod answers;
mod held;
mod reading;
mod resume;
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
    /// Leaves out the jobs that this file, the stdout of an earlier run, says are done
    #[arg(long, value_name = "OUTCOMES")]
    resume: Option<PathBuf>,
    /// Does not ask
    #[arg(long, short)]
    yes: bool,
}

const LONG_HELP: &str = "\
Outcomes go to stdout as NDJSON, one for each job; a table by status and cause follows on stderr. Exit code 0: every job
is done; 3: some are not. CSV is known by a name that ends with .csv or by its header; see `enqueue --help`, which
reads the same files. On a terminal it first shows what the file asks for, and asks; it does not ask where nothing is to
be changed, as with --plan.

Where only a person can help (a token refused, `paused = true`, an untrusted certificate), it waits for 30 s and then
ends: what is left is FAILED and retryable. Other waits are said every minute.

Examples:
  association-archiver archive pairs.csv --plan > plan.ndjson
  association-archiver archive pairs.csv > outcomes.ndjson
  association-archiver archive pairs.csv --failed failed.csv > outcomes.ndjson
  association-archiver archive failed.csv --failed failed-again.csv > more-outcomes.ndjson
  association-archiver archive pairs.csv --resume outcomes.ndjson > rest.ndjson     # after an interruption
  association-archiver archive export.csv --from contacts --to companies            # HubSpot's own export";

/// How long the command waits for what only a person can end.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// Bundles on their way, in and out.
const MAX_BUNDLES: usize = 16;

/// Outcomes on stdout, one a line.
pub fn archive(config: Option<&Path>, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let settings = Settings::load(config)?;
    super::start_logging(&settings)?;
    let runtime = Runtime::new().map_err(|error| Failure::Running(format!("no runtime: {error}")))?;
    let tally = Arc::new(Tally::default());
    let done = runtime.block_on(run(&settings, arguments, &tally));
    // A read of a terminal cannot be called off: the runtime must not wait for it.
    runtime.shutdown_background();
    let went = done?;
    tell_of_unanswered(tally.unanswered());
    Ok(match went {
        Went::Refused => ExitCode::FAILURE,
        Went::Through if tally.done.load(Ordering::Relaxed) == tally.read.load(Ordering::Relaxed) => ExitCode::SUCCESS,
        Went::Through => ExitCode::from(3),
    })
}

fn tell_of_unanswered(lines: u64) {
    if lines > 0 {
        let lines = HumanCount(lines);
        remark(&format!(
            "{lines} lines were read and not answered, and nothing is known of them: the same command with --resume and the outcomes so far goes on"
        ));
    }
}

/// How far it went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Went {
    Through,
    /// Whoever was asked did not agree; nothing was sent.
    Refused,
}

/// Lines and what became of them.
#[derive(Debug, Default)]
pub struct Tally {
    read: AtomicU64,
    answered: AtomicU64,
    /// Jobs that were done for all their pairs.
    done: AtomicU64,
}

impl Tally {
    fn unanswered(&self) -> u64 {
        self.read.load(Ordering::Relaxed).saturating_sub(self.answered.load(Ordering::Relaxed))
    }
}

async fn run(settings: &Settings, arguments: &Arguments, tally: &Arc<Tally>) -> Result<Went, Failure> {
    let assembly = Assembly::new(settings, Waiting::InHand { give_up_after: GIVE_UP_AFTER })?;
    let limits = service::limits(&settings.jobs);
    let mut source = Source::open(arguments.file.as_deref(), Naming::Required, limits, &arguments.hints).await?;
    let resume = match &arguments.resume {
        None => Resume::default(),
        Some(outcomes) => {
            source = source.keep().await?;
            Resume::of(outcomes, &mut source).await?
        }
    };
    if source.is_repeatable() && !arguments.yes && confirm::has_terminal() {
        let survey = Survey::of(&mut source, 1, Some(&assembly.portals), |job| !resume.is_done(job)).await?;
        if !agrees(&survey, settings, &source.name).await? {
            return Ok(Went::Refused);
        }
    }
    let failed = arguments.failed.as_deref().map(NewFile::create).transpose()?.map(Report::new).transpose();
    let failed = failed.map_err(|error| Failure::Running(format!("--failed cannot be written: {error}")))?;
    let answers = Answers::new(Arc::clone(tally), failed);

    let stop = CancellationToken::new();
    let lines = Arc::clone(tally);
    signals::stop_on_signals(stop.clone(), move || {
        tell_of_unanswered(lines.unanswered());
    })
    .map_err(|error| Failure::Running(format!("no signals: {error}")))?;

    let mends = Mends::new(settings.hubspot.accounts()?);
    let (summary, read) = work_through(assembly, mends, source.rows()?, resume, answers, tally, &stop).await?;
    summary.show();
    if let (Some(path), true) = (&arguments.failed, summary.jobs() > summary.jobs_done()) {
        remark(&format!("the pairs that are not done are in {}", path.display()));
    }
    match read {
        Ok(Some(done)) => {
            done.say(&source.name);
            Ok(Went::Through)
        }
        Ok(None) => Ok(Went::Through),
        Err(fault) => Err(Failure::Usage(format!("{} {fault}", source.name))),
    }
}

/// How far the rows were read; `None` if a signal or the end of the loop stopped that.
type HowFar = Result<Option<Read>, RowsFault>;

/// Reads the rows, runs the loop, and writes the answers, until all of these have ended.
async fn work_through(
    assembly: Assembly,
    mends: Mends,
    rows: Rows<Input>,
    resume: Resume,
    answers: Answers,
    tally: &Arc<Tally>,
    stop: &CancellationToken,
) -> Result<(Summary, HowFar), Failure> {
    let (arrivals_in, arrivals) = mpsc::channel(MAX_BUNDLES);
    let (departures, mut departed) = mpsc::unbounded_channel();
    let (_orders, orders) = mpsc::channel(1);
    let (output, written) = mpsc::channel(MAX_BUNDLES);

    let portals = assembly.portals.clone();
    let reading = Reading {
        portals: portals.clone(),
        tally: Arc::clone(tally),
        resume,
        output: output.clone(),
        arrivals: arrivals_in,
        room: Room::default(),
    };
    let bar = answers.bar();
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
    let watcher = LineWatcher::new(portals, mends);
    let outside = Outside { arrivals, departures, orders, lease: None, background: None, name: HeldLine::job_name };
    let mut running = assembly.start(outside, watcher, stop.clone());
    let looped = (&mut running.looping).await;
    // Also where the loop failed: then nobody reads on.
    stop.cancel();
    running.finish(LAST_REFRESH).await;
    let read = reading.await;
    let _ = passing_on.await;
    let wrote = tokio::task::spawn_blocking(move || writer.join()).await;
    bar.finish_and_clear();
    match (read, wrote) {
        _ if looped.is_err() => Err(Failure::Running("the loop failed; see the messages above".to_owned())),
        (_, Ok(Ok(Err(failure)))) => Err(failure),
        (Ok(read), Ok(Ok(Ok(summary)))) => Ok((summary, read)),
        _ => Err(Failure::Running("a part of the program failed; see the messages above".to_owned())),
    }
}

/// Shows what the file asks for, and asks whether that is meant.
async fn agrees(survey: &Survey, settings: &Settings, name: &str) -> Result<bool, Failure> {
    if survey.rows == 0 {
        return Ok(true);
    }
    survey.remarks().iter().for_each(|line| remark(line));
    if survey.bad + survey.rejected > 0 {
        let count = HumanCount(survey.bad + survey.rejected);
        remark(&format!("rows that will be answered REJECTED: {count}"));
    }
    let introductions = Introductions::of(survey.portals(), settings).await;
    remark(&survey.amount(settings, &introductions));
    if survey.only_looks() {
        remark("nothing will be changed");
        return Ok(true);
    }
    let question = match survey.archives() {
        true => format!("Archive what is in {name}? {}", way_back::of_archive(survey, settings)),
        false => format!("Restore what is in {name}?"),
    };
    if confirm::agrees(&question).await? {
        return Ok(true);
    }
    remark("nothing was changed");
    Ok(false)
}
