//! The ground that every contestant meets alike: one broker, queues declared and filled afresh for each run.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use harness::lapin::Channel;
use harness::lapin::options::{QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use harness::lapin::types::{AMQPValue, FieldTable};
use harness::{Broker, Client, Options};
use serde::Serialize;
use tokio::time::timeout;

use crate::pinning::Split;
use crate::workload::Workload;

pub const EXCHANGE: &str = "association-archiver";
pub const JOBS: &str = "association-archiver.jobs";
pub const RESULTS: &str = "association-archiver.results";
pub const RESULTS_KEY: &str = "results";
const DEAD_LETTERS: &str = "association-archiver.dead-letters";
const DEAD_LETTERS_KEY: &str = "dead-letters";
/// Of the worker whose journal is on, which declares it.
const JOURNAL: &str = "association-archiver.journal";
const REQUEST_LIMIT: Duration = Duration::from_secs(20);
/// Messages in a publishing round; bounds what lapin keeps.
const ROUND: usize = 20_000;

/// Erlang: begins a new log, then waits, for 5 s at most, until nothing of the old one is in memory.
const ROLL_OVER: &str = "ra_log_wal:force_roll_over(ra_log_wal), \
     Size = fun(Table) -> case ets:info(Table, size) of undefined -> 0; Rows -> Rows end end, \
     Wait = fun Wait(0) -> late; Wait(Tries) -> \
         case Size(ra_log_open_mem_tables) + Size(ra_log_closed_mem_tables) of \
             0 -> ok; _ -> timer:sleep(20), Wait(Tries - 1) end end, \
     Wait(250).";

/// Which of RabbitMQ's queues the jobs and the outcomes are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum QueueKind {
    Quorum,
    Classic,
}

/// Messages ready in both queues at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    pub jobs: u64,
    pub results: u64,
}

#[derive(Debug)]
pub struct Arena {
    broker: Broker,
    client: Client,
    cores: Option<Split>,
}

impl Arena {
    /// The broker stays off the contestants' cores, as the caller does.
    pub async fn start(cores: Option<Split>) -> Result<Self> {
        let broker = Broker::start(Options::default()).await?;
        let client = Client::new(&broker.uri());
        client.declare_exchange(EXCHANGE).await?;
        Ok(Self { broker, client, cores })
    }

    pub fn uri(&self) -> String {
        self.broker.uri()
    }

    /// `None` where contestants, broker and simulator share all cores.
    pub fn cores(&self) -> Option<Split> {
        self.cores
    }

    /// CPU time that the broker has used since its start, in microseconds.
    pub fn broker_cpu_micros(&self) -> Result<u64> {
        self.broker.cpu_micros()
    }

    pub async fn version(&self) -> Result<String> {
        Ok(self.broker.ctl(&["version"]).await?.trim().to_owned())
    }

    /// Deletes the queues with all they hold, and declares them again as the worker would.
    pub async fn renew(&self, kind: QueueKind) -> Result<()> {
        let channel = self.client.channel().await?;
        let delete = channel.queue_delete(JOURNAL.into(), QueueDeleteOptions::default());
        timeout(REQUEST_LIMIT, delete).await.with_context(|| format!("deleting {JOURNAL}"))??;
        // As on a broker that nobody has worked on.
        let delete = channel.queue_delete(format!("{JOBS}.lease").into(), QueueDeleteOptions::default());
        timeout(REQUEST_LIMIT, delete).await.context("deleting the lease queue")??;
        for (queue, key) in [(JOBS, "jobs"), (RESULTS, RESULTS_KEY), (DEAD_LETTERS, DEAD_LETTERS_KEY)] {
            let delete = channel.queue_delete(queue.into(), QueueDeleteOptions::default());
            timeout(REQUEST_LIMIT, delete).await.with_context(|| format!("deleting {queue}"))??;
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            let declare = channel.queue_declare(queue.into(), options, arguments(queue, kind));
            timeout(REQUEST_LIMIT, declare).await.with_context(|| format!("declaring {queue}"))??;
            let bind = channel.queue_bind(
                queue.into(),
                EXCHANGE.into(),
                key.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            );
            timeout(REQUEST_LIMIT, bind).await.with_context(|| format!("binding {queue}"))??;
        }
        Ok(())
    }

    /// Publishes all jobs of the workload.
    pub async fn fill(&self, workload: &Workload) -> Result<()> {
        let mut messages = workload.messages();
        loop {
            let round: Vec<_> = messages.by_ref().take(ROUND).collect::<Result<_>>()?;
            if round.is_empty() {
                return Ok(());
            }
            self.client.publish(JOBS, round).await?;
        }
    }

    /// Has the broker put into segment files all that its quorum queues have logged, so that every run begins alike: it
    /// does so by itself after 512 MB, which is every few runs, and a job then costs it a fifth less for a while.
    pub async fn roll_over(&self) -> Result<()> {
        self.broker.ctl(&["eval", ROLL_OVER]).await.map(drop)
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A channel of the arena's own connection.
    pub async fn channel(&self) -> Result<Channel> {
        self.client.channel().await
    }

    /// A cheap look at both queues, again and again.
    pub async fn gauge(&self) -> Result<Gauge> {
        Ok(Gauge { channel: self.client.channel().await? })
    }

    /// After a run: no job is left, and there are exactly this many outcomes.
    pub async fn emptied(&self, outcomes: u64) -> Result<()> {
        let (jobs, results) = (self.client.count(JOBS).await?, self.client.count(RESULTS).await?);
        ensure!(jobs == 0, "{jobs} jobs are still in the queue after the run");
        ensure!(u64::from(results) == outcomes, "{results} outcomes for {outcomes} jobs");
        Ok(())
    }
}

#[derive(Debug)]
pub struct Gauge {
    channel: Channel,
}

impl Gauge {
    pub async fn levels(&self) -> Result<Levels> {
        Ok(Levels { jobs: self.level(JOBS).await?, results: self.level(RESULTS).await? })
    }

    async fn level(&self, queue: &str) -> Result<u64> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let look = self.channel.queue_declare(queue.into(), options, FieldTable::default());
        Ok(timeout(REQUEST_LIMIT, look).await.with_context(|| format!("looking at {queue}"))??.message_count().into())
    }
}

fn arguments(queue: &str, kind: QueueKind) -> FieldTable {
    let mut table = FieldTable::default();
    let text = |text: &str| AMQPValue::LongString(text.into());
    if queue == JOBS {
        table.insert("x-dead-letter-exchange".into(), text(EXCHANGE));
        table.insert("x-dead-letter-routing-key".into(), text(DEAD_LETTERS_KEY));
    }
    match kind {
        QueueKind::Classic => {
            table.insert("x-queue-type".into(), text("classic"));
        }
        QueueKind::Quorum => {
            table.insert("x-queue-type".into(), text("quorum"));
            if queue == JOBS {
                table.insert("x-dead-letter-strategy".into(), text("at-least-once"));
                table.insert("x-overflow".into(), text("reject-publish"));
            }
            table.insert("x-delivery-limit".into(), AMQPValue::LongInt(if queue == JOBS { 1_000 } else { 1_000_000 }));
        }
    }
    table
}
