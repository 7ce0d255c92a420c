//! `archive`: jobs as lines, without a broker: the same engine and the same loop.

use std::io::{BufWriter, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use tokio::io::{AsyncBufRead, BufReader};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::exit::Failure;
use super::signals;
use crate::config::Settings;
use crate::contract::job::JobLimits;
use crate::contract::outcome::{Outcome, Status};
use crate::engine::clock::Now;
use crate::engine::command::{ArchiveCall, CallResult, NewJob, Notice, Parked, Settled};
use crate::engine::reply::Reply;
use crate::engine::status::Status as EngineStatus;
use crate::engine::{Counters, Waiting};
use crate::telemetry::label::HttpResult;
use crate::telemetry::mend::Mends;
use crate::telemetry::repetition::Repetition;
use crate::worker::accounts::Portals;
use crate::worker::assembly::{Assembly, Outside};
use crate::worker::lines::{self, Line, Read};
use crate::worker::seams::{Arrival, Departure};
use crate::worker::service;
use crate::worker::stopping::LAST_REFRESH;
use crate::worker::watching::{self, REPEAT_AFTER, Watcher};

/// Jobs in hand at most, as the service's default prefetch.
const MAX_HELD_JOBS: usize = 10_000;

/// Bytes in hand at most, in KiB: 256 MiB.
const MAX_HELD_KIB: u32 = 256 * 1024;

/// An account refused for so long ends the command.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// Jobs given to the loop together at most.
const BUNDLE: usize = 256;

/// Bundles on their way, in and out.
const MAX_BUNDLES: usize = 16;

/// Outcomes on stdout, one a line.
pub fn archive(config: Option<&Path>, file: Option<&Path>) -> Result<ExitCode, Failure> {
    let settings = Settings::load(config)?;
    super::start_logging(&settings)?;
    let runtime = Runtime::new().map_err(|error| Failure::Running(format!("no runtime: {error}")))?;
    let tally = Arc::new(Tally::default());
    let done = runtime.block_on(run(&settings, file.filter(|file| *file != Path::new("-")), &tally));
    // A read of a terminal cannot be called off: the runtime must not wait for it.
    runtime.shutdown_background();
    done?;
    let unanswered = tally.unanswered();
    if unanswered > 0 {
        let _ = writeln!(
            std::io::stderr(),
            "{unanswered} lines were read and not answered; nothing is known of them, send them again"
        );
    }
    let archived = tally.archived.load(Ordering::Relaxed) == tally.read.load(Ordering::Relaxed);
    Ok(if archived { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

/// Lines and what became of them.
#[derive(Debug, Default)]
struct Tally {
    read: AtomicU64,
    answered: AtomicU64,
    archived: AtomicU64,
}

impl Tally {
    fn unanswered(&self) -> u64 {
        self.read.load(Ordering::Relaxed).saturating_sub(self.answered.load(Ordering::Relaxed))
    }
}

/// A line in hand, and its room.
#[derive(Debug)]
struct Held {
    line: Line,
    _job: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// What is written next.
enum Output {
    Departed(Vec<Departure<Held>>),
    Rejected(Vec<Outcome>),
}

async fn run(settings: &Settings, file: Option<&Path>, tally: &Arc<Tally>) -> Result<(), Failure> {
    let assembly = Assembly::new(settings, Waiting::InHand { give_up_after: GIVE_UP_AFTER })?;
    let portals = assembly.portals.clone();
    let input = open(file).await?;

    let stop = CancellationToken::new();
    let lines = Arc::clone(tally);
    signals::stop_on_signals(stop.clone(), move || {
        let unanswered = lines.unanswered();
        let _ = writeln!(std::io::stderr(), "{unanswered} lines were read and not answered");
    })
    .map_err(|error| Failure::Running(format!("no signals: {error}")))?;

    let (arrivals_in, arrivals) = mpsc::channel(MAX_BUNDLES);
    let (departures, mut departed) = mpsc::unbounded_channel();
    let (_orders, orders) = mpsc::channel(1);
    let (output, written) = mpsc::channel(MAX_BUNDLES);

    let bar = progress();
    let writer = {
        let (tally, bar) = (Arc::clone(tally), bar.clone());
        std::thread::spawn(move || write(written, &tally, &bar))
    };
    let reading = Reading {
        portals: portals.clone(),
        limits: service::limits(&settings.jobs),
        tally: Arc::clone(tally),
        output: output.clone(),
        arrivals: arrivals_in,
        room: (Arc::new(Semaphore::new(MAX_HELD_JOBS)), Arc::new(Semaphore::new(MAX_HELD_KIB as usize))),
    };
    let reading = {
        let stop = stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(reading.run(input)).await.unwrap_or(Ok(())) })
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
    let watcher = LineWatcher { portals, troubles: Repetition::new(REPEAT_AFTER) };
    let mut running = assembly.start(Outside { arrivals, departures, orders }, watcher, stop.clone());
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
        (_, Ok(Ok(Err(error)))) => Err(Failure::Running(format!("outcomes cannot be written to stdout: {error}"))),
        (Ok(Err(error)), _) => Err(Failure::Running(format!("the jobs cannot be read to the end: {error}"))),
        (Ok(Ok(())), Ok(Ok(Ok(())))) => Ok(()),
        _ => Err(Failure::Running("a part of the program failed; see the messages above".to_owned())),
    }
}

type Input = Box<dyn AsyncBufRead + Unpin + Send>;

async fn open(file: Option<&Path>) -> Result<Input, Failure> {
    let Some(path) = file else { return Ok(Box::new(BufReader::new(tokio::io::stdin()))) };
    let opened = tokio::fs::File::open(path).await;
    let opened = opened.map_err(|error| Failure::Usage(format!("{} cannot be read: {error}", path.display())))?;
    if opened.metadata().await.is_ok_and(|of_file| of_file.is_dir()) {
        return Err(Failure::Usage(format!("{} is a directory: name a file of jobs, one a line", path.display())));
    }
    Ok(Box::new(BufReader::new(opened)))
}

/// Lines in, as long as there is room.
struct Reading {
    portals: Portals,
    limits: JobLimits,
    tally: Arc<Tally>,
    output: mpsc::Sender<Output>,
    arrivals: mpsc::Sender<Arrival<Held>>,
    /// For jobs, and for their KiB.
    room: (Arc<Semaphore>, Arc<Semaphore>),
}

impl Reading {
    async fn run(self, mut input: Input) -> std::io::Result<()> {
        let mut line = Vec::new();
        let mut bundle: Vec<(NewJob, Held)> = Vec::new();
        for number in 1.. {
            let next = lines::next_line(&mut input, &mut line, self.limits.max_bytes);
            let Some(more) = self.without_holding_up(next, &mut bundle).await else { return Ok(()) };
            if !more? {
                break;
            }
            match lines::read(&line, number, &self.portals, &self.limits, Timestamp::now()) {
                Read::Blank => {}
                Read::Rejected(outcome) => {
                    self.tally.read.fetch_add(1, Ordering::Relaxed);
                    if self.output.send(Output::Rejected(vec![outcome])).await.is_err() {
                        return Ok(());
                    }
                }
                Read::Job(job, line) => {
                    self.tally.read.fetch_add(1, Ordering::Relaxed);
                    let Some(room) = self.room(job.weight, &mut bundle).await else { return Ok(()) };
                    bundle.push((job, Held { line, _job: room.0, _bytes: room.1 }));
                }
            }
            if bundle.len() >= BUNDLE && !self.hand_over(&mut bundle).await {
                return Ok(());
            }
        }
        self.hand_over(&mut bundle).await;
        Ok(())
    }

    /// Waits for the next line, but not with jobs in the bundle that could be sent meanwhile. `None`: the loop is gone.
    async fn without_holding_up<T>(
        &self,
        next: impl Future<Output = T>,
        bundle: &mut Vec<(NewJob, Held)>,
    ) -> Option<T> {
        let mut next = std::pin::pin!(next);
        if let Some(ready) = futures_util::FutureExt::now_or_never(next.as_mut()) {
            return Some(ready);
        }
        if !self.hand_over(bundle).await {
            return None;
        }
        Some(next.await)
    }

    /// Room for one more job; what is in the bundle goes ahead if there is none at once.
    async fn room(
        &self,
        weight: usize,
        bundle: &mut Vec<(NewJob, Held)>,
    ) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let kib = u32::try_from(weight / 1024 + 1).unwrap_or(u32::MAX).min(MAX_HELD_KIB);
        let (jobs, bytes) = (Arc::clone(&self.room.0), Arc::clone(&self.room.1));
        if let (Ok(job), Ok(bytes)) =
            (Arc::clone(&jobs).try_acquire_owned(), Arc::clone(&bytes).try_acquire_many_owned(kib))
        {
            return Some((job, bytes));
        }
        if !self.hand_over(bundle).await {
            return None;
        }
        Some((jobs.acquire_owned().await.ok()?, bytes.acquire_many_owned(kib).await.ok()?))
    }

    async fn hand_over(&self, bundle: &mut Vec<(NewJob, Held)>) -> bool {
        let jobs = std::mem::take(bundle);
        jobs.is_empty() || self.arrivals.send(Arrival::Jobs { generation: 0, jobs }).await.is_ok()
    }
}

/// Writes outcomes until there are no more; on a thread of its own, since stdout may block.
fn write(mut outputs: mpsc::Receiver<Output>, tally: &Tally, bar: &ProgressBar) -> std::io::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut buffer = Vec::new();
    while let Some(output) = outputs.blocking_recv() {
        let outcomes: Vec<Outcome> = match output {
            Output::Rejected(outcomes) => outcomes,
            Output::Departed(bundle) => bundle.into_iter().filter_map(outcome).collect(),
        };
        for outcome in outcomes {
            buffer.clear();
            outcome.encode(&mut buffer);
            buffer.push(b'\n');
            out.write_all(&buffer)?;
            tally.answered.fetch_add(1, Ordering::Relaxed);
            tally.archived.fetch_add(u64::from(outcome.status() == Status::Archived), Ordering::Relaxed);
        }
        if outputs.is_empty() {
            out.flush()?;
        }
        show(tally, bar);
    }
    out.flush()
}

fn outcome(departure: Departure<Held>) -> Option<Outcome> {
    match departure {
        Departure::Settled { delivery, settled, completed } => Some(lines::settled(delivery.line, settled, completed)),
        // Without a broker nothing is parked or forgotten; what is handed back stays unanswered, and is counted as such.
        Departure::Parked { .. } | Departure::HandedBack { .. } | Departure::Forgotten { .. } => None,
    }
}

fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise}  {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn show(tally: &Tally, bar: &ProgressBar) {
    let (answered, archived) = (tally.answered.load(Ordering::Relaxed), tally.archived.load(Ordering::Relaxed));
    let waiting = tally.unanswered();
    let others = answered.saturating_sub(archived);
    bar.set_message(format!("{archived} archived, {others} not, {waiting} in hand"));
}

/// Says on stderr what an operator must know.
struct LineWatcher {
    portals: Portals,
    troubles: Repetition<(crate::contract::ids::AccountIndex, CallResult)>,
}

impl Watcher<Held> for LineWatcher {
    fn sent(&mut self, _call: &ArchiveCall, _jobs: &mut dyn Iterator<Item = &Held>) {}

    fn archived(&mut self, call: &ArchiveCall, reply: &Reply, result: CallResult, took: Duration, now: Now) {
        watching::log_answer(&self.portals, &mut self.troubles, call, reply, result, took, now);
    }

    fn asked(&mut self, _result: HttpResult, _took: Duration) {}

    fn settled(&mut self, _held: &Held, _settled: &Settled, _now: Now) {}

    fn parked(&mut self, _parked: &Parked) {}

    fn notice(&mut self, notice: &Notice) {
        watching::log_notice(&self.portals, &Mends::default(), notice);
    }

    fn counted(&mut self, _counters: Counters, _status: EngineStatus, _draining: bool, _now: Now) {}
}
