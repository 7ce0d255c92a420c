//! How fast jobs are moved from the shared jobs queue to their account's.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::lapin::options::{BasicConsumeOptions, BasicQosOptions};
use harness::lapin::types::FieldTable;
use harness::{SimulatorProcess, eventually};
use serde::Serialize;

use crate::arena::{Arena, JOBS, QueueKind};
use crate::contestant::Contestant;
use crate::workload::{FIRST_PORTAL, Workload};

const LONGEST: Duration = Duration::from_secs(300);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forwarding {
    pub jobs: u64,
    /// From the first job in the account's queue to the last.
    pub jobs_per_second: f64,
}

/// Somebody else reads the account's queue, so the worker does nothing but move.
pub async fn forwarding(arena: &Arena, jobs: u64) -> Result<Forwarding> {
    let shard = format!("{JOBS}.{FIRST_PORTAL}");
    let settings = [("amqp.shards", "per-account".to_owned())];
    arena.renew(QueueKind::Quorum).await?;
    let simulator = SimulatorProcess::start(&["--limit", "off", "--record", "off"]).await?;
    // A first life declares the account's queue.
    let worker = Contestant::Worker.start(arena, &simulator, 1, &settings)?;
    eventually(LONGEST, "the account's queue", async || Ok(arena.client().exists(&shard).await?.then_some(()))).await?;
    worker.stop().await?;
    let channel = arena.channel().await?;
    // It takes one job and leaves the others.
    channel.basic_qos(1, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let _reader = channel.basic_consume(shard.as_str().into(), "".into(), options, FieldTable::default()).await?;
    arena.fill(&Workload::base(jobs)).await?;
    let worker = Contestant::Worker.start(arena, &simulator, 1, &settings)?;
    let (begun, mut first) = (Instant::now(), None);
    loop {
        let moved = u64::from(arena.client().count_now(&shard).await?);
        let (since, before) = *first.get_or_insert((Instant::now(), moved));
        if moved + 1 >= jobs {
            worker.stop().await?;
            channel.close(200, "OK".into()).await.context("the reader")?;
            return Ok(Forwarding { jobs, jobs_per_second: (moved - before) as f64 / since.elapsed().as_secs_f64() });
        }
        if moved == 0 {
            first = None;
        }
        ensure!(begun.elapsed() < LONGEST, "{moved} of {jobs} jobs were moved\n{}", worker.last_words());
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}
