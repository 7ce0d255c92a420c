//! One test's ground: a virtual host, a simulated HubSpot, and the worker's settings for both.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::simulator::SimulatorProcess;
use harness::tally::Report;
use harness::worker::{Worker, WorkerBuilder};
use harness::{Broker, Client, Message, Outcome, Tally, Until, eventually, job};
use serde_json::Value;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

pub const JOBS: &str = "association-archiver.jobs";
pub const RESULTS: &str = "association-archiver.results";
pub const DEAD_LETTERS: &str = "association-archiver.dead-letters";
pub const BACKGROUND: &str = "association-archiver.jobs.background";
pub const TIERS: [&str; 4] = ["10s", "1m", "10m", "1h"];

/// A worker starts within a second; the rest is for a busy machine.
pub const START_LIMIT: Duration = Duration::from_secs(60);
/// `shutdown.grace`, and the time to publish and close.
pub const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Until the broker has back what a worker held that has ended.
const BACK_LIMIT: Duration = Duration::from_secs(60);

/// Held by every test; alone by the one whose requests must not be late because another test has the processor.
static PROCESSOR: RwLock<()> = RwLock::const_new(());

#[derive(Debug)]
pub struct Stage {
    pub simulator: SimulatorProcess,
    pub client: Client,
    pub uri: String,
    _processor: Share,
}

#[derive(Debug)]
enum Share {
    Some { _guard: RwLockReadGuard<'static, ()> },
    Whole { _guard: RwLockWriteGuard<'static, ()> },
}

impl Stage {
    /// In a virtual host of this name on the node that all tests share.
    pub async fn set(name: &str, simulator_flags: &[&str]) -> Result<Self> {
        let share = Share::Some { _guard: PROCESSOR.read().await };
        let vhost = Broker::shared().await?.vhost(name).await?;
        Self::with(share, &vhost.uri, simulator_flags).await
    }

    /// The same while no other test of this program runs.
    pub async fn set_alone(name: &str, simulator_flags: &[&str]) -> Result<Self> {
        let share = Share::Whole { _guard: PROCESSOR.write().await };
        let vhost = Broker::shared().await?.vhost(name).await?;
        Self::with(share, &vhost.uri, simulator_flags).await
    }

    /// At a broker of the test's own.
    pub async fn at(uri: &str, simulator_flags: &[&str]) -> Result<Self> {
        Self::with(Share::Some { _guard: PROCESSOR.read().await }, uri, simulator_flags).await
    }

    async fn with(share: Share, uri: &str, simulator_flags: &[&str]) -> Result<Self> {
        let simulator = SimulatorProcess::start(simulator_flags).await?;
        Ok(Self { simulator, client: Client::new(uri), uri: uri.to_owned(), _processor: share })
    }

    /// A worker for both ends, with one account of any portal.
    pub fn worker(&self) -> WorkerBuilder {
        self.worker_without_account().set("hubspot.access_token", "pat-of-the-stage")
    }

    /// A worker for both ends whose accounts are yet to be given.
    pub fn worker_without_account(&self) -> WorkerBuilder {
        Worker::builder().set("amqp.uri", &self.uri).set("hubspot.base_url", self.simulator.uri())
    }

    /// Starts a worker and waits until it has declared the last of its queues.
    pub async fn start(&self, builder: &WorkerBuilder) -> Result<Worker> {
        let worker = self.start_sharded(builder).await?;
        let of_background = [BACKGROUND.to_owned(), format!("{BACKGROUND}.delay.1h")];
        self.are_there(of_background).await.with_context(|| worker.last_words())?;
        Ok(worker)
    }

    /// The same with `amqp.shards`, where there is no background queue.
    pub async fn start_sharded(&self, builder: &WorkerBuilder) -> Result<Worker> {
        let worker = builder.start()?;
        let queues = [JOBS, RESULTS, DEAD_LETTERS].map(str::to_owned).into_iter().chain(TIERS.map(delay_queue));
        self.are_there(queues).await.with_context(|| worker.last_words())?;
        Ok(worker)
    }

    async fn are_there(&self, queues: impl IntoIterator<Item = String>) -> Result<()> {
        for queue in queues {
            eventually(START_LIMIT, &format!("queue {queue}"), async || {
                Ok(self.client.exists(&queue).await?.then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// Declares the topology by a short life of a worker, so that jobs can wait before the one of the test begins.
    pub async fn declare(&self) -> Result<()> {
        let worker = self.start(&self.worker()).await?;
        // Where the queues were there already, the process may be too young to have heard of SIGTERM.
        worker.ready(START_LIMIT).await?;
        stop(&worker).await
    }

    /// Waits until this many outcomes lie in the results queue, and leaves them there.
    pub async fn outcomes_waiting(&self, count: u32, deadline: Duration) -> Result<()> {
        eventually(deadline, &format!("{count} outcomes in the queue"), async || {
            Ok((self.client.count_now(RESULTS).await? >= count).then_some(()))
        })
        .await
    }

    /// Reads this many outcomes.
    pub async fn outcomes(&self, count: usize, deadline: Duration) -> Result<Vec<Outcome>> {
        let messages = self.client.collect(RESULTS, Until::Count(count), deadline).await?;
        messages.iter().map(Outcome::from_message).collect()
    }

    /// Reads outcomes until those of all these jobs are there or the deadline has passed, and compares.
    pub async fn tally(&self, ids: &[String], deadline: Duration) -> Result<Report> {
        let mut messages = self.client.collect(RESULTS, Until::Count(ids.len()), deadline).await?;
        // Where something was answered twice, the last ones are still to come.
        while let report = Tally::of_published(ids).outcomes(&messages)?.report()
            && !(report.lost.is_empty() || report.doubled.is_empty())
        {
            let more = self.client.collect(RESULTS, Until::Count(report.doubled.len()), deadline).await?;
            ensure!(!more.is_empty(), "{report}");
            messages.extend(more);
        }
        Ok(Tally::of_published(ids).outcomes(&messages)?.report())
    }

    /// What waits at the broker: in the jobs queue and in all delay queues.
    pub async fn jobs_waiting(&self) -> Result<u32> {
        let mut waiting = self.client.count(JOBS).await?;
        for tier in TIERS {
            waiting += self.client.count(&delay_queue(tier)).await?;
        }
        Ok(waiting)
    }

    /// Waits until this many jobs wait at the broker. What a worker that has ended held is there again only when the
    /// broker has noticed that end, and what is parked moves from queue to queue meanwhile.
    pub async fn jobs_wait(&self, wanted: u64) -> Result<()> {
        eventually(BACK_LIMIT, &format!("{wanted} jobs to wait"), async || {
            let waiting = self.jobs_waiting().await?;
            ensure!(u64::from(waiting) == wanted, "there are {waiting}");
            Ok(Some(()))
        })
        .await
    }

    /// Takes all that waits at the broker, and gives the ids: as many as are expected, as soon as the broker has them
    /// back from a worker that has ended, and whatever lies there beyond them.
    pub async fn take_waiting(&self, expected: usize) -> Result<Vec<String>> {
        let end = Instant::now() + BACK_LIMIT;
        let mut ids = Vec::new();
        loop {
            for queue in [JOBS.to_owned()].into_iter().chain(TIERS.map(delay_queue)) {
                let messages = self.client.collect(&queue, Until::Idle(Duration::from_secs(1)), START_LIMIT).await?;
                ids.extend(messages.iter().filter_map(Message::message_id).map(str::to_owned));
            }
            if ids.len() >= expected || Instant::now() >= end {
                return Ok(ids);
            }
        }
    }
}

/// What an operator orders of a worker's endpoints, with the token that its settings have: the status and the answer. An
/// order that a busy broker has not written down in time is given again, as the answer says.
pub async fn order(worker: &Worker, account: u64, what: &str, token: &str) -> Result<(u16, Value)> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut last = None;
    let given = eventually(START_LIMIT, "an order that is written down", async || {
        let request = client.post(format!("{}/accounts/{account}/{what}", worker.admin())).bearer_auth(token);
        let response = request.send().await?;
        let answer: (u16, Value) = (response.status().as_u16(), response.json().await?);
        last = Some(answer.clone());
        Ok((answer.0 != 503 && answer.1["giveAgain"] != true).then_some(answer))
    });
    given.await.with_context(|| format!("{last:?}\n{}", worker.last_words()))
}

/// Ends a worker in good order.
pub async fn stop(worker: &Worker) -> Result<()> {
    worker.term()?;
    let code = worker.wait(STOP_LIMIT).await?;
    anyhow::ensure!(code == 0, "SIGTERM ended the worker with code {code}\n{}", worker.last_words());
    // Or the next one waits for the lease time. Whether the broker's confirm of the last message or that message comes
    // first is chance, so every test that stops a worker looks.
    anyhow::ensure!(!worker.stderr().contains("the lease could not be handed over"), "{}", worker.last_words());
    Ok(())
}

pub fn delay_queue(tier: &str) -> String {
    format!("{JOBS}.delay.{tier}")
}

/// Ids of that many jobs.
pub fn ids(prefix: &str, count: u64) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}-{n}")).collect()
}

/// Jobs of one pair each from contacts to companies, whose ids are [`ids`] and whose `from` records follow each other.
pub fn single_pairs(prefix: &str, froms: RangeInclusive<u64>) -> Result<Vec<Message>> {
    let first = *froms.start();
    froms.map(|from| job(&format!("{prefix}-{}", from - first)).pair(from, 1).to_message()).collect()
}

/// A number of the simulator's state, by its JSON pointer; absent counts as 0.
pub fn number(state: &Value, pointer: &str) -> u64 {
    state.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

/// What HubSpot must have seen: this many pairs, each archived once, and nothing that it would refuse.
pub fn archived_once(state: &Value, pairs: u64) {
    assert_eq!(number(state, "/pairsArchivedTotal"), pairs, "{state}");
    assert_eq!(number(state, "/pairsArchivedDistinct"), pairs, "{state}");
    assert_eq!(number(state, "/pairsArchivedRepeatedly"), 0, "{state}");
    clean(state);
}

/// Nothing that a well-behaved caller never does.
pub fn clean(state: &Value) {
    assert_eq!(state["violations"], serde_json::json!({}), "{state}");
}

/// None of the secrets stands in what the worker has written so far, nor, while it runs, in what its endpoints tell.
pub async fn keeps_secrets(worker: &Worker, secrets: &[&str]) -> Result<()> {
    let mut said = vec![worker.stdout(), worker.stderr()];
    if worker.ended()?.is_none() {
        said.push(worker.status().await?.to_string());
        said.push(worker.readiness().await?.1.to_string());
        said.push(format!("{:?}", worker.metrics().await?));
    }
    for secret in secrets {
        for text in &said {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "the worker tells {secret:?}");
        }
    }
    Ok(())
}

/// Each of `published` is in `outcomes` or in `waiting`, once.
pub fn nothing_lost(published: &[String], outcomes: &[Outcome], waiting: &[String]) {
    let found: Vec<&str> =
        outcomes.iter().map(|outcome| outcome.job_id.as_str()).chain(waiting.iter().map(String::as_str)).collect();
    let distinct: BTreeSet<&str> = found.iter().copied().collect();
    let lost: Vec<&String> = published.iter().filter(|id| !distinct.contains(id.as_str())).take(5).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_eq!(found.len(), published.len(), "{} outcomes and {} waiting", outcomes.len(), waiting.len());
}
