//! A worker between a broker and a simulated HubSpot, with jobs coming in, and what came of them at the end.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::tally::Report;
use harness::worker::WorkerBuilder;
use harness::{Client, Message, SimulatorProcess, Status, Tally, Until, Worker, eventually};
use serde_json::Value;

use crate::traffic::{self, Pace, Traffic};

pub const JOBS: &str = "association-archiver.jobs";
pub const RESULTS: &str = "association-archiver.results";
pub const DEAD_LETTERS: &str = "association-archiver.dead-letters";
pub const EXCHANGE: &str = "association-archiver";
pub const TIERS: [&str; 4] = ["10s", "1m", "10m", "1h"];

/// Jobs that the worker holds at most.
pub const PREFETCH: u64 = 1_000;
/// Until something that needs no patience has happened.
pub const SOON: Duration = Duration::from_secs(45);
/// Until the worker has found its way back, its waits between tries included.
pub const RECOVERY: Duration = Duration::from_secs(90);
/// Until everything published is answered.
pub const ANSWERED: Duration = Duration::from_secs(180);
/// One look at the results queue ends when no outcome has come for this long.
pub const LULL: Duration = Duration::from_millis(400);
/// The worker's gauges are renewed once a second; what they say twice so far apart was true in between.
const GAUGE_AGE: Duration = Duration::from_millis(1_200);

/// Two lanes of one account, at a pace that no fault of a few seconds can hide in.
pub fn settings(uri: &str, simulator: &SimulatorProcess) -> WorkerBuilder {
    Worker::builder()
        .set("amqp.uri", uri)
        .set("amqp.prefetch", PREFETCH)
        .set("hubspot.base_url", simulator.uri())
        .set("hubspot.access_token", "secret-token")
        .set("rate_limit.requests", 10_000)
        .set("batch.linger", "50ms")
        .set("retry.base_delay", "50ms")
        .set("retry.max_delay", "1s")
}

/// HubSpot without limits, slow enough for requests to be on the wire when something breaks.
pub async fn hubspot() -> Result<SimulatorProcess> {
    SimulatorProcess::start(&["--limit", "off", "--latency", "30ms"]).await
}

#[derive(Debug)]
pub struct Stage {
    pub simulator: SimulatorProcess,
    pub worker: Worker,
    pub client: Client,
    settings: WorkerBuilder,
    pace: Pace,
    traffic: Traffic,
    gathered: Vec<Message>,
}

impl Stage {
    /// All at their usual settings, jobs coming.
    pub async fn open(uri: &str) -> Result<Self> {
        let simulator = hubspot().await?;
        let settings = settings(uri, &simulator);
        Self::open_with(uri, simulator, settings).await
    }

    /// `uri` is the test's own way to the broker, whatever way the worker takes.
    pub async fn open_with(uri: &str, simulator: SimulatorProcess, settings: WorkerBuilder) -> Result<Self> {
        Self::open_at(uri, simulator, settings, Pace::Brisk).await
    }

    pub async fn open_at(uri: &str, simulator: SimulatorProcess, settings: WorkerBuilder, pace: Pace) -> Result<Self> {
        let worker = settings.start()?;
        worker.ready(SOON).await?;
        Ok(Self {
            simulator,
            worker,
            client: Client::new(uri),
            settings,
            pace,
            traffic: Traffic::start(uri, pace),
            gathered: Vec::new(),
        })
    }

    /// A worker with the same settings in the place of one that has ended.
    pub fn start_again(&mut self) -> Result<()> {
        self.worker = self.settings.start()?;
        Ok(())
    }

    /// Waits until the broker has confirmed this many more outcomes than now.
    pub async fn flows(&self, more: u64) -> Result<()> {
        let goal = self.confirmed().await? + more as f64;
        let what = format!("{more} more outcomes");
        eventually(RECOVERY, &what, async || Ok((self.confirmed().await? >= goal).then_some(()))).await
    }

    /// Jobs published so far.
    pub fn published(&self) -> u64 {
        self.traffic.published()
    }

    /// Waits until `/readyz` answers 503 and gives a reason that contains `reason`.
    pub async fn unready(&self, reason: &str) -> Result<()> {
        self.readyz(503, "reasons", reason).await
    }

    /// Waits until `/readyz` answers 200 and gives a warning that contains `warning`.
    pub async fn warned(&self, warning: &str) -> Result<()> {
        self.readyz(200, "warnings", warning).await
    }

    async fn readyz(&self, code: u16, list: &str, part: &str) -> Result<()> {
        let what = format!("/readyz to answer {code} with {part:?} among its {list}");
        eventually(RECOVERY, &what, async || {
            let (status, body) = self.worker.readiness().await?;
            let told = body[list].as_array().into_iter().flatten().filter_map(Value::as_str);
            let said = told.into_iter().any(|sentence| sentence.contains(part));
            ensure!(status == code && said, "it answers {status}: {body}");
            Ok(Some(()))
        })
        .await
        .with_context(|| self.worker.last_words())
    }

    /// Outcomes that the broker has confirmed, of this worker's life.
    pub async fn confirmed(&self) -> Result<f64> {
        Ok(self.worker.metrics().await?.sum("association_archiver_outcomes_total", &[]))
    }

    /// Takes what the results queue holds now, so that it does not grow for as long as the test lasts.
    pub async fn gather(&mut self) -> Result<()> {
        gather(&self.client, &mut self.gathered).await
    }

    /// Lets the number of jobs grow to `at_least`, waits for all answers, stops the worker and says what came of the
    /// jobs.
    pub async fn conclude(mut self, at_least: u64) -> Result<Ending> {
        let published = self.traffic.finish(at_least).await?;
        // Where the results queue is full, the worker is not ready before somebody reads it.
        eventually(RECOVERY, "the worker to be ready", async || {
            let ready = self.worker.readiness().await?.0 == 200;
            if !ready {
                gather(&self.client, &mut self.gathered).await?;
            }
            Ok(ready.then_some(()))
        })
        .await
        .with_context(|| self.worker.last_words())?;
        let mut outcomes = self.gathered;
        let correlated = |message: &Message| message.correlation_id().map(str::to_owned);
        let mut answered: HashSet<String> = outcomes.iter().filter_map(correlated).collect();
        let mut quiet = Quiet::default();
        let end = Instant::now() + ANSWERED;
        while Instant::now() < end {
            let more = self.client.collect(RESULTS, Until::Idle(LULL), ANSWERED).await?;
            answered.extend(more.iter().filter_map(correlated));
            outcomes.extend(more);
            if answered.len() as u64 >= published && quiet.lasts(&self.worker, &self.client).await? {
                break;
            }
        }
        let state = self.simulator.state().await?;
        self.worker.term()?;
        let code = self.worker.wait(RECOVERY).await?;
        ensure!(code == 0, "the worker ended with code {code}\n{}", self.worker.last_words());
        outcomes.extend(self.client.collect(RESULTS, Until::Idle(LULL), ANSWERED).await?);
        let dead = self.client.get_all(DEAD_LETTERS).await?;
        let ids = (0..published).map(traffic::id);
        let report = Tally::of_published(ids).outcomes(&outcomes)?.dead_letters(&dead).report();
        let left = waiting(&self.client).await?;
        Ok(Ending { published, wave: self.pace.wave(), report, state, left, said: self.worker.last_words() })
    }
}

async fn gather(client: &Client, gathered: &mut Vec<Message>) -> Result<()> {
    let ready = client.count_now(RESULTS).await?;
    gathered.extend(client.collect(RESULTS, Until::Count(ready as usize), SOON).await?);
    Ok(())
}

/// Whether nothing goes on any more.
#[derive(Default)]
struct Quiet {
    since: Option<(Instant, f64)>,
}

impl Quiet {
    async fn lasts(&mut self, worker: &Worker, client: &Client) -> Result<bool> {
        let metrics = worker.metrics().await?;
        let received = metrics.sum("association_archiver_jobs_received_total", &[]);
        if metrics.sum("association_archiver_jobs_held", &[]) > 0.0 || waiting(client).await? > 0 {
            self.since = None;
            return Ok(false);
        }
        let (since, at_first) = *self.since.get_or_insert((Instant::now(), received));
        if received != at_first {
            self.since = None;
        }
        Ok(self.since.is_some() && since.elapsed() >= GAUGE_AGE)
    }
}

/// Jobs ready in the jobs queue and parked in the delay queues.
pub async fn waiting(client: &Client) -> Result<u32> {
    let mut sum = client.count_now(JOBS).await?;
    for tier in TIERS {
        sum += client.count_now(&format!("{JOBS}.delay.{tier}")).await?;
    }
    Ok(sum)
}

/// What came of it all.
#[derive(Debug)]
pub struct Ending {
    pub published: u64,
    /// Jobs that were published together.
    wave: u64,
    pub report: Report,
    /// What the simulator has seen.
    pub state: Value,
    /// Jobs still in the broker.
    pub left: u32,
    pub said: String,
}

impl Ending {
    /// Where requests to HubSpot had to be repeated: one outcome for each job all the same.
    pub fn answered_once(&self) -> Result<()> {
        self.nothing_lost()?;
        self.report.exactly_once().with_context(|| self.said.clone())
    }

    /// Where nothing that happened can double anything: one outcome and one removal for each job.
    pub fn exactly_once(&self) -> Result<()> {
        self.answered_once()?;
        let repeated = self.state["pairsArchivedRepeatedly"].as_u64();
        ensure!(repeated == Some(0), "{repeated:?} pairs were archived more than once");
        Ok(())
    }

    /// After `faults` that each cost a connection: what was in hand then, and what was just being published, may have
    /// been answered twice, in the same words.
    pub fn doubled_only_by(&self, faults: u64) -> Result<()> {
        self.nothing_lost()?;
        let explained = faults * (PREFETCH + self.wave);
        let doubled = self.report.doubled.len();
        ensure!(doubled as u64 <= explained, "{doubled} jobs doubled, {explained} explained\n{}", self.report);
        Ok(())
    }

    fn nothing_lost(&self) -> Result<()> {
        let Self { published, wave: _, report, state, left, said } = self;
        let doubled = report.doubled.len();
        let requests = state["requests"].as_u64();
        let repeated = state["pairsArchivedRepeatedly"].as_u64();
        eprintln!(
            "{published} jobs answered, {doubled} of them twice; {requests:?} requests, {repeated:?} pairs repeated"
        );
        report.at_least_once().with_context(|| said.clone())?;
        let statuses: Vec<Status> = report.by_status.keys().copied().collect();
        ensure!(statuses == [Status::Archived], "not all were archived\n{report}\n{said}");
        ensure!(report.dead_letters + report.dead_letters_without_id == 0, "dead letters\n{report}\n{said}");
        let archived = state["pairsArchivedDistinct"].as_u64();
        ensure!(archived == Some(*published), "{archived:?} of {published} pairs are gone\n{said}");
        ensure!(state["violations"].as_object().is_none_or(serde_json::Map::is_empty), "violations: {state}");
        ensure!(*left == 0, "{left} jobs are still in the broker\n{said}");
        Ok(())
    }
}
