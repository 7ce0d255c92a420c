//! `enqueue [FILE]`: jobs from a file onto the jobs queue, all of them or none unless the broker fails half-way.

use std::fs::File as StdFile;
use std::io::{IsTerminal, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, BufReader};
use tokio_util::sync::CancellationToken;

use self::rows::{Expected, RowJob, Rows, RowsFault};
use super::exit::Failure;
use super::output::remark;
use super::{output, runtime, signals};
use crate::amqp::message::{Envelope, Outgoing, Properties};
use crate::amqp::route::Route;
use crate::amqp::sender::{SendFault, Sender};
use crate::config::Settings;
use crate::contract::job::JobLimits;
use crate::worker::service;

mod columns;
pub mod rows;

#[derive(clap::Args, Debug)]
#[command(after_long_help = LONG_HELP)]
pub struct Arguments {
    /// NDJSON, one job a line, or CSV, one pair a row; - or nothing: stdin
    file: Option<PathBuf>,
    /// Leaves out the lines before this one, as after an interruption
    #[arg(long, value_name = "N", default_value_t = 1)]
    from_line: u64,
    /// Only checks the rows and publishes nothing
    #[arg(long)]
    dry_run: bool,
    /// The summary as JSON, on stdout
    #[arg(long)]
    json: bool,
}

const LONG_HELP: &str = "\
CSV is known by a name that ends with .csv or by its header line:

  from_object_type,from_id,to_object_type,to_id

with the optional columns job_id and portal_id. All rows are checked before the first is published; where one is bad,
the bad lines are listed, nothing is published, and the exit code is 2. What comes from stdin or a pipe is kept in a
temporary file until it has ended and is checked.

A row without a job id gets one that follows from its content, so that the same row is the same job whenever and from
whichever file it is sent; two equal rows are one job sent twice. After an interruption the same file can be sent again,
whole or with --from-line: archiving a pair again does no harm.";

/// Bad lines that are listed; the others are counted.
const MAX_LISTED: usize = 20;
/// Most bytes taken from stdin.
const MAX_SPOOLED_BYTES: u64 = 16 * 1024 * 1024 * 1024;
/// Messages published before their confirms are awaited.
const MAX_BATCH: usize = 1_000;
/// Bytes of bodies published before their confirms are awaited; a larger one goes alone.
const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Read at once.
const BUFFER_BYTES: usize = 256 * 1024;
/// How often the bar is drawn anew.
const BAR_TICK: Duration = Duration::from_millis(200);

/// Publishes every row, confirmed; exit code 2 and nothing published where a row is bad.
pub fn enqueue(config: Option<&Path>, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let settings = Settings::load(config)?;
    super::remark_on_settings(&settings);
    let limits = service::limits(&settings.jobs);
    runtime::block_on(async {
        let begun = Instant::now();
        let mut source = Source::open(arguments.file.as_deref(), limits).await?;
        let checked = check(&mut source, arguments.from_line).await?;
        if checked.bad > 0 {
            return Ok(checked.report(arguments.json));
        }
        let enqueued = if arguments.dry_run || checked.rows == 0 {
            0
        } else {
            publish(&settings, &mut source, arguments.from_line, checked.rows).await?
        };
        summarise(arguments, &settings, checked.rows, enqueued, begun.elapsed())
    })
}

/// A file that can be read twice.
struct Source {
    file: StdFile,
    expected: Expected,
    limits: JobLimits,
}

impl Source {
    async fn open(path: Option<&Path>, limits: JobLimits) -> Result<Self, Failure> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            let file = spool(tokio::io::stdin(), "stdin").await?;
            return Ok(Self { file, expected: Expected::Either, limits });
        };
        let name = path.display().to_string();
        let unreadable = |error: std::io::Error| Failure::Usage(format!("{name} cannot be read: {error}"));
        let file = File::open(path).await.map_err(unreadable)?;
        let metadata = file.metadata().await.map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(Failure::Usage(format!("{name} is a directory: name a file of jobs")));
        }
        let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        let expected = if is_csv { Expected::Csv } else { Expected::Either };
        // A pipe gives what it has only once.
        let file = if metadata.is_file() { file.into_std().await } else { spool(file, &name).await? };
        Ok(Self { file, expected, limits })
    }

    /// All rows from the first.
    fn rows(&mut self) -> Result<Rows<BufReader<File>>, Failure> {
        let again = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.try_clone());
        let file = again.map_err(|error| Failure::Usage(format!("the jobs cannot be read from the start: {error}")))?;
        Ok(Rows::new(BufReader::with_capacity(BUFFER_BYTES, File::from_std(file)), self.expected, self.limits))
    }
}

async fn spool(input: impl tokio::io::AsyncRead + Unpin, name: &str) -> Result<StdFile, Failure> {
    let kept = tempfile::tempfile();
    let kept = kept.map_err(|error| Failure::Running(format!("no temporary file for {name}: {error}; see TMPDIR")))?;
    let mut file = File::from_std(kept);
    let copied = tokio::io::copy(&mut input.take(MAX_SPOOLED_BYTES + 1), &mut file).await;
    let copied = copied.map_err(|error| Failure::Usage(format!("{name} cannot be read to the end: {error}")))?;
    if copied > MAX_SPOOLED_BYTES {
        return Err(Failure::Usage(format!("{name} gives more than {MAX_SPOOLED_BYTES} bytes: use a file instead")));
    }
    Ok(file.into_std().await)
}

/// What a first reading found.
#[derive(Default)]
struct Checked {
    rows: u64,
    bad: u64,
    /// Line and fault, of the first of them.
    listed: Vec<(u64, String)>,
}

async fn check(source: &mut Source, from_line: u64) -> Result<Checked, Failure> {
    let mut checked = Checked::default();
    let mut rows = source.rows()?;
    while let Some(row) = rows.next().await.map_err(unusable)? {
        if row.line < from_line {
            continue;
        }
        match row.job {
            Ok(_) => checked.rows += 1,
            Err(fault) => {
                checked.bad += 1;
                if checked.listed.len() < MAX_LISTED {
                    checked.listed.push((row.line, fault));
                }
            }
        }
    }
    Ok(checked)
}

impl Checked {
    fn report(&self, as_json: bool) -> ExitCode {
        if as_json {
            let bad: Vec<_> = self.listed.iter().map(|(line, fault)| json!({"line": line, "fault": fault})).collect();
            let summary = json!({"rows": self.rows, "bad": self.bad, "badLines": bad, "enqueued": 0});
            // Whoever does not read it sees the exit code.
            let _ = output::print(format!("{summary}\n").as_bytes());
        }
        for (line, fault) in &self.listed {
            remark(&format!("line {line}: {fault}"));
        }
        let more = self.bad - self.listed.len() as u64;
        if more > 0 {
            remark(&format!("… and {more} more"));
        }
        let lines = if self.bad == 1 { "line is no job" } else { "lines are no jobs" };
        Failure::Usage(format!("{} {lines}, nothing was published: mend or remove them", self.bad)).report()
    }
}

/// How far it has come.
struct Progress {
    enqueued: u64,
    /// The last line that is surely on the queue.
    last_line: u64,
    bar: ProgressBar,
}

async fn publish(settings: &Settings, source: &mut Source, from_line: u64, total: u64) -> Result<u64, Failure> {
    let stop = CancellationToken::new();
    signals::stop_on_signals(stop.clone(), || {}).map_err(|error| Failure::Running(format!("no signals: {error}")))?;
    let sender = Sender::open(&settings.amqp, &stop).await.map_err(|fault| Failure::Running(fault.to_string()))?;
    let mut progress = Progress { enqueued: 0, last_line: from_line.saturating_sub(1), bar: bar(total) };
    let mut rows = source.rows()?;
    let done = loop {
        let batch = match next_batch(&mut rows, from_line).await {
            Ok(batch) if batch.is_empty() => break Ok(progress.enqueued),
            Ok(batch) => batch,
            Err(failure) => break Err(failure),
        };
        if let Err(fault) = send(&sender, batch, &mut progress).await {
            break Err(progress.broken_off(&fault));
        }
        if stop.is_cancelled() && progress.enqueued < total {
            break Err(progress.broken_off("stopped by a signal"));
        }
    };
    progress.bar.finish_and_clear();
    sender.close().await;
    done
}

type Batch = Vec<(u64, RowJob)>;

async fn next_batch(rows: &mut Rows<BufReader<File>>, from_line: u64) -> Result<Batch, Failure> {
    let (mut batch, mut bytes) = (Batch::new(), 0);
    while batch.len() < MAX_BATCH && bytes < MAX_BATCH_BYTES {
        let Some(row) = rows.next().await.map_err(unusable)? else { break };
        if row.line < from_line {
            continue;
        }
        let changed = |fault| Failure::Running(format!("line {} was changed after it was checked: {fault}", row.line));
        let job = row.job.map_err(changed)?;
        bytes += job.body.len();
        batch.push((row.line, job));
    }
    Ok(batch)
}

async fn send(sender: &Sender, batch: Batch, progress: &mut Progress) -> Result<(), String> {
    let mut lines = Vec::with_capacity(batch.len());
    let messages = batch.into_iter().map(|(line, RowJob { id, body })| {
        lines.push(line);
        let envelope = Envelope::Copy(Properties::of_job(id.as_str()));
        Outgoing { route: Route::Jobs, body: Bytes::from(body), envelope }
    });
    let messages: Vec<Outgoing> = messages.collect();
    let sent = sender.send(&messages).await.map_err(|fault: SendFault| fault.to_string())?;
    // Those behind a gap are published too, and published again when the command is repeated from the gap.
    let safe = sent.proofs.iter().take_while(|proof| proof.is_some()).count();
    progress.enqueued += safe as u64;
    if let Some(line) = lines[..safe].last() {
        progress.last_line = *line;
    }
    progress.bar.set_position(progress.enqueued);
    sent.fault.map_or(Ok(()), |fault| Err(fault.to_string()))
}

impl Progress {
    fn broken_off(&self, cause: impl std::fmt::Display) -> Failure {
        self.bar.finish_and_clear();
        Failure::Running(format!(
            "{cause}; {} jobs are enqueued, go on with --from-line {}",
            self.enqueued,
            self.last_line + 1
        ))
    }
}

fn summarise(
    arguments: &Arguments,
    settings: &Settings,
    rows: u64,
    enqueued: u64,
    took: Duration,
) -> Result<ExitCode, Failure> {
    let queue = settings.amqp.jobs_queue.as_str();
    if arguments.json {
        let summary =
            json!({"rows": rows, "bad": 0, "enqueued": enqueued, "queue": queue, "seconds": took.as_secs_f64()});
        return output::print(format!("{summary}\n").as_bytes());
    }
    let rows_in_words = HumanCount(rows);
    if arguments.dry_run {
        remark(&format!("{rows_in_words} jobs are valid; nothing was published"));
    } else {
        let jobs = if enqueued == 1 { "job" } else { "jobs" };
        remark(&format!("{} {jobs} enqueued on {queue} in {:.1} s", HumanCount(enqueued), took.as_secs_f64()));
    }
    Ok(ExitCode::SUCCESS)
}

fn bar(total: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} jobs, {per_sec}, {eta} left") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(BAR_TICK);
    bar
}

fn unusable(fault: RowsFault) -> Failure {
    match fault {
        RowsFault::Read(error) => Failure::Usage(format!("the jobs cannot be read to the end: {error}")),
        RowsFault::Header(fault) => Failure::Usage(format!("this is no CSV of jobs: {fault}")),
    }
}
