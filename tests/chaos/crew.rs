//! Several workers on one jobs queue, each with a line of its own to the broker, while things happen to them.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use harness::worker::WorkerBuilder;
use harness::{Broker, Client, Relay, SimulatorProcess, Way, Worker, eventually};
use tokio::time::sleep;

use crate::ledger::Ledger;
use crate::stage::{DEAD_LETTERS, JOBS, RECOVERY, SOON, waiting};

/// The broker notices a dead or frozen peer after twice this many seconds.
const SHORT_HEARTBEAT: &str = "?heartbeat=2";
pub const LEASE_TIME: Duration = Duration::from_secs(3);
/// RabbitMQ 3.10 can lose a quorum queue whose node is killed within a second of its declaration.
const QUEUE_SETTLED: Duration = Duration::from_secs(2);

/// What an account may send, on the workers' side and on HubSpot's.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    pub requests: u32,
    pub interval: Duration,
    /// HubSpot lets through this many requests more, since requests arrive unevenly on a busy machine. Two workers that
    /// send at the same time would send twice the quota, which is far more.
    pub slack: u32,
}

/// Where a worker finds its broker.
#[derive(Clone, Debug)]
pub struct Place {
    pub address: SocketAddr,
    pub uri: String,
}

impl Place {
    pub fn on(node: &Broker) -> Self {
        Self { address: node.address(), uri: node.uri() }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Crew {
    pub simulator: SimulatorProcess,
    pub ledger: Ledger,
    client: Client,
    quota: Quota,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    worker: Worker,
    line: Relay,
    settings: WorkerBuilder,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    HolderKilled,
    StandbyKilled,
    HolderFrozen,
    /// The holder's line is silent in one direction.
    LineDark(Way),
    LineCut,
    HolderDrained,
    /// Each worker is stopped in good order and started again, one after the other.
    RollingUpdate,
    /// The node that leads the jobs queue: `kill -9`, and a while later it is started again.
    LeaderKilled,
}

impl Fault {
    pub const OF_WORKERS: [Self; 8] = [
        Self::HolderKilled,
        Self::StandbyKilled,
        Self::HolderFrozen,
        Self::LineDark(Way::ToServer),
        Self::LineDark(Way::ToClient),
        Self::LineCut,
        Self::HolderDrained,
        Self::RollingUpdate,
    ];
}

impl Crew {
    /// A worker for each place to connect to. As many jobs as `backlog` says are kept waiting.
    pub async fn muster(places: &[Place], quota: Quota, backlog: u64) -> Result<Self> {
        let limit = format!("{}/{}ms", quota.requests + quota.slack, quota.interval.as_millis());
        let simulator = SimulatorProcess::start(&["--limit", &limit, "--latency", "100ms"]).await?;
        let mut members = Vec::new();
        for Place { address, uri } in places {
            let line = Relay::start(*address).await?;
            let settings = Worker::builder()
                .set("amqp.uri", format!("{}{SHORT_HEARTBEAT}", line.through(uri)))
                .set("amqp.lease_time", format!("{}s", LEASE_TIME.as_secs()))
                .set("hubspot.base_url", simulator.uri())
                .set("hubspot.access_token", "secret-token")
                .set("rate_limit.requests", quota.requests)
                .set("rate_limit.interval", format!("{}ms", quota.interval.as_millis()));
            let worker = settings.start()?;
            worker.ready(RECOVERY).await?;
            members.push(Member { worker, line, settings });
        }
        sleep(QUEUE_SETTLED).await;
        let Place { uri, .. } = places.first().context("a crew needs a broker")?;
        Ok(Self { simulator, ledger: Ledger::open(uri, backlog), client: Client::new(uri), quota, members })
    }

    /// Who holds the lease now, as the workers say it but for `not`, which may be frozen.
    async fn holder(&self, not: Option<usize>) -> Option<usize> {
        for (index, Member { worker, .. }) in self.members.iter().enumerate().filter(|(index, _)| Some(*index) != not) {
            let status = worker.status().await.unwrap_or_default();
            if status["leases"][0]["standing"] == "held" {
                return Some(index);
            }
        }
        None
    }

    /// Waits until somebody other than `not` holds the lease.
    async fn held_by_another_than(&self, not: Option<usize>) -> Result<usize> {
        eventually(RECOVERY, "a worker to hold the lease", async || Ok(self.holder(not).await))
            .await
            .with_context(|| self.last_words())
    }

    pub async fn held(&self) -> Result<usize> {
        self.held_by_another_than(None).await
    }

    /// Waits until HubSpot has had this many more requests.
    pub async fn works(&self, requests: u64) -> Result<()> {
        let goal = self.requests().await? + requests;
        eventually(RECOVERY, "more requests", async || Ok((self.requests().await? >= goal).then_some(())))
            .await
            .with_context(|| self.last_words())
    }

    pub async fn requests(&self) -> Result<u64> {
        self.simulator.state().await?["requests"].as_u64().context("a state without requests")
    }

    /// The share of the ceiling that is used while nothing happens for this many intervals.
    pub async fn share_of_ceiling(&self, intervals: u32) -> Result<f64> {
        let (before, begun) = (self.requests().await?, Instant::now());
        sleep(self.quota.interval * intervals).await;
        let (requests, took) = (self.requests().await? - before, begun.elapsed());
        let most = f64::from(self.quota.requests) * took.as_secs_f64() / self.quota.interval.as_secs_f64();
        Ok(requests as f64 / most)
    }

    /// Back when it is over and somebody works.
    pub async fn strike(&mut self, fault: Fault, nodes: &[&Broker], rng: &mut Rng) -> Result<()> {
        let holder = self.held().await?;
        let other = (holder + 1 + rng.usize(..self.members.len() - 1)) % self.members.len();
        sleep(Duration::from_millis(rng.u64(..1_000))).await;
        match fault {
            Fault::HolderKilled => self.kill(holder).await?,
            Fault::StandbyKilled => self.kill(other).await?,
            Fault::HolderFrozen => {
                self.members[holder].worker.freeze()?;
                let next = self.held_by_another_than(Some(holder)).await;
                sleep(Duration::from_millis(rng.u64(..2_000))).await;
                self.members[holder].worker.thaw()?;
                next?;
            }
            Fault::LineDark(way) => {
                self.members[holder].line.black_hole(way);
                let next = self.held_by_another_than(Some(holder)).await;
                self.members[holder].line.resume();
                next?;
            }
            Fault::LineCut => self.members[holder].line.cut(),
            Fault::HolderDrained => self.drain(holder).await?,
            Fault::RollingUpdate => {
                for index in 0..self.members.len() {
                    self.drain(index).await?;
                }
            }
            Fault::LeaderKilled => self.kill_leader(nodes).await?,
        }
        for Member { worker, .. } in &self.members {
            worker.ready(RECOVERY).await?;
        }
        self.held().await?;
        self.works(u64::from(self.quota.requests / 4)).await
    }

    pub async fn kill_holder(&mut self) -> Result<()> {
        let holder = self.held().await?;
        self.kill(holder).await
    }

    async fn kill(&mut self, index: usize) -> Result<()> {
        self.members[index].worker.kill9().await?;
        self.start_again(index)
    }

    async fn drain(&mut self, index: usize) -> Result<()> {
        let worker = &self.members[index].worker;
        worker.term()?;
        let code = worker.wait(RECOVERY).await?;
        ensure!(code == 0, "SIGTERM ended the worker with code {code}\n{}", worker.last_words());
        self.start_again(index)?;
        self.members[index].worker.ready(RECOVERY).await
    }

    fn start_again(&mut self, index: usize) -> Result<()> {
        let member = &mut self.members[index];
        member.worker = member.settings.start()?;
        Ok(())
    }

    async fn kill_leader(&self, nodes: &[&Broker]) -> Result<()> {
        let first = nodes.first().context("no node")?;
        let queues = first.ctl(&["list_queues", "--no-table-headers", "name", "leader", "members"]).await?;
        let line = queues.lines().find(|line| line.split('\t').next() == Some(JOBS)).context("no jobs queue")?;
        let leader = line.split('\t').nth(1).context("a queue without a leader")?;
        let members = line.matches('@').count() - 1;
        ensure!(members == nodes.len(), "the jobs queue has {members} members: {line}");
        let leader = nodes.iter().find(|node| node.name() == leader).with_context(|| format!("no node {leader}"))?;
        leader.kill9().await?;
        let worked = self.works(1).await;
        leader.restart().await?;
        worked
    }

    fn last_words(&self) -> String {
        self.members.iter().map(|member| member.worker.last_words()).collect()
    }

    /// Waits for all answers, stops the workers, and holds what HubSpot has seen against it.
    pub async fn conclude(self, patience: Duration) -> Result<Ending> {
        let Self { simulator, ledger, client, quota: _, members } = self;
        let balance = ledger.close(patience).await;
        for Member { worker, .. } in &members {
            worker.term()?;
            let code = worker.wait(SOON * 3).await?;
            ensure!(code == 0, "SIGTERM ended the worker with code {code}\n{}", worker.last_words());
        }
        let said = || members.iter().map(|member| member.worker.last_words()).collect::<String>();
        let balance = balance.with_context(said)?;
        let state = simulator.state().await?;
        let number = |name: &str| state[name].as_u64().with_context(|| format!("a state without {name}"));
        ensure!(state["violations"] == serde_json::json!({}), "violations: {state}");
        ensure!(number("pairsArchivedDistinct")? == balance.published, "pairs are left: {state}");
        let left = (waiting(&client).await?, client.count(DEAD_LETTERS).await?);
        ensure!(left == (0, 0), "jobs and dead letters that are left: {left:?}");
        let most = state["accounts"][0]["maxRequestsInInterval"].as_u64().context("no maxRequestsInInterval")?;
        Ok(Ending {
            published: balance.published,
            copies: balance.copies,
            requests: number("requests")?,
            throttled: number("throttled")?,
            most_in_an_interval: most,
        })
    }
}

/// What came of it all; nothing was lost, and no two answers to one job disagree.
#[derive(Clone, Copy)]
pub struct Ending {
    pub published: u64,
    pub copies: u64,
    pub requests: u64,
    pub throttled: u64,
    pub most_in_an_interval: u64,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { published, copies, requests, throttled, most_in_an_interval } = self;
        write!(
            f,
            "{published} jobs, {copies} answered again, {requests} requests, {throttled} of them answered 429, at most \
             {most_in_an_interval} in an interval"
        )
    }
}
