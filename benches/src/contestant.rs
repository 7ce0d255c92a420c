//! The programs that empty the jobs queue, each as a process of its own.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::keeper::Keeper;
use harness::process::{Process, find_binary};
use harness::worker::WorkerBuilder;
use harness::{SimulatorProcess, Worker};

use crate::arena::{Arena, EXCHANGE, JOBS, RESULTS, RESULTS_KEY};
use crate::workload::FIRST_PORTAL;

const STOP_LIMIT: Duration = Duration::from_secs(40);

/// Never reached; the ceiling's case sets its own.
const NO_CEILING: u32 = 1_000_000;

/// Who is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contestant {
    /// RabbitMQ and lapin by themselves: an outcome-sized message for every job, nothing else.
    PassThrough,
    Worker,
    /// The pass-through and the worker with `amqp.exchange = ""`, as the rivals publish.
    PassThroughByQueue,
    WorkerByQueue,
    /// The worker that records in a stream of the broker what each request is about to remove.
    Journaled,
    /// The same with the record in a file, on the disk before the request leaves.
    JournaledInFile,
    /// With `amqp.lease` off.
    WithoutLease,
    /// The worker with an allocator that counts.
    CountedWorker,
    /// Another program that does the worker's job, in `benches/rivals/<name>/run`.
    Rival(String),
}

/// The worker's environment as its image and its unit have it: where glibc allocates, larger blocks go back to the system
/// when they are freed.
const MMAP_THRESHOLD: (&str, &str) = ("MALLOC_MMAP_THRESHOLD_", "131072");

/// A contestant at work.
#[derive(Debug)]
pub enum Running {
    Worker(Box<Worker>),
    Other(Box<Process>),
}

impl Contestant {
    pub fn name(&self) -> &str {
        match self {
            Self::PassThrough => "bare pass-through",
            Self::Worker => "association-archiver",
            Self::PassThroughByQueue => "pass-through, exchange \"\"",
            Self::WorkerByQueue => "archiver, exchange \"\"",
            Self::Journaled => "with the journal on",
            Self::JournaledInFile => "with the journal in a file",
            Self::WithoutLease => "amqp.lease off",
            Self::CountedWorker => "counted-worker",
            Self::Rival(name) => name,
        }
    }

    /// Starts it, on cores of its own where there are enough; `settings` are the worker's own, by dotted key.
    pub fn start(
        &self,
        arena: &Arena,
        simulator: &SimulatorProcess,
        portals: u64,
        settings: &[(&str, String)],
    ) -> Result<Running> {
        let start = || self.start_here(arena, simulator, portals, settings);
        match arena.cores() {
            Some(cores) => cores.start_contestant(start),
            None => start(),
        }
    }

    fn start_here(
        &self,
        arena: &Arena,
        simulator: &SimulatorProcess,
        portals: u64,
        settings: &[(&str, String)],
    ) -> Result<Running> {
        match self {
            Self::Worker
            | Self::WithoutLease
            | Self::WorkerByQueue
            | Self::Journaled
            | Self::JournaledInFile
            | Self::CountedWorker => {
                let (variable, bytes) = MMAP_THRESHOLD;
                let mut builder = worker(arena, simulator, portals).variable(variable, bytes);
                if *self == Self::Journaled {
                    builder = builder.set("safety.journal", "stream");
                }
                if *self == Self::JournaledInFile {
                    builder = builder.set("safety.journal", "file").set("safety.journal_file", "journal.ndjson");
                }
                if *self == Self::CountedWorker {
                    builder = builder.program(find_binary("counted-worker", "COUNTED_WORKER_BIN")?);
                }
                if *self == Self::WorkerByQueue {
                    builder = builder.set("amqp.exchange", "amq.default");
                }
                if *self == Self::WithoutLease {
                    builder = builder.set("amqp.lease", false);
                }
                for (key, value) in settings {
                    builder = builder.set(key, value);
                }
                Ok(Running::Worker(Box::new(builder.start()?)))
            }
            Self::PassThrough | Self::PassThroughByQueue => {
                self.spawn(&find_binary("pass-through", "PASS_THROUGH_BIN")?, arena, simulator)
            }
            Self::Rival(name) => self.spawn(&rival_program(name)?, arena, simulator),
        }
    }

    /// Whether it calls HubSpot.
    pub fn archives(&self) -> bool {
        match self {
            Self::PassThrough | Self::PassThroughByQueue => false,
            Self::Worker
            | Self::WithoutLease
            | Self::WorkerByQueue
            | Self::Journaled
            | Self::JournaledInFile
            | Self::CountedWorker
            | Self::Rival(_) => true,
        }
    }

    fn spawn(&self, program: &Path, arena: &Arena, simulator: &SimulatorProcess) -> Result<Running> {
        let (exchange, key) = if *self == Self::PassThrough { (EXCHANGE, RESULTS_KEY) } else { ("", RESULTS) };
        let mut command = Command::new(program);
        command
            .env("AMQP_URI", arena.uri())
            .env("EXCHANGE", exchange)
            .env("JOBS_QUEUE", JOBS)
            .env("RESULTS_KEY", key)
            .env("RESULTS_QUEUE", RESULTS)
            .env("HUBSPOT_BASE_URL", simulator.uri())
            .env("HUBSPOT_ACCESS_TOKEN", "pat-bench");
        Ok(Running::Other(Box::new(Process::start("contestant", command, Keeper::start("contestant")?)?)))
    }
}

impl Running {
    /// Ends it as an operator would; anything but 0 is an error.
    pub async fn stop(&self) -> Result<()> {
        self.term()?;
        let code = self.wait(STOP_LIMIT).await?;
        ensure!(code == 0, "it ended with code {code}\n{}", self.last_words());
        Ok(())
    }
}

impl Deref for Running {
    type Target = Process;

    fn deref(&self) -> &Process {
        match self {
            Self::Worker(worker) => worker,
            Self::Other(process) => process,
        }
    }
}

fn worker(arena: &Arena, simulator: &SimulatorProcess, portals: u64) -> WorkerBuilder {
    let mut builder = Worker::builder()
        .set("amqp.uri", arena.uri())
        .set("hubspot.base_url", simulator.uri())
        .set("rate_limit.requests", NO_CEILING)
        .set("log.filter", "warn");
    for index in 0..portals {
        builder = builder
            .set(&format!("hubspot.accounts.{index}.portal_id"), FIRST_PORTAL + index)
            .set(&format!("hubspot.accounts.{index}.access_token"), format!("pat-{index}"));
    }
    builder
}

fn rival_program(name: &str) -> Result<PathBuf> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("rivals").join(name).join("run");
    ensure!(program.is_file(), "there is no rival {name:?}: {} is not there", program.display());
    program.canonicalize().with_context(|| program.display().to_string())
}
