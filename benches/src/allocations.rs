//! Allocations a job: the worker with a counting allocator, at two numbers of jobs, so that its start falls out.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::SimulatorProcess;
use harness::deadline::eventually;

use crate::arena::{Arena, QueueKind};
use crate::contestant::Contestant;
use crate::measure::measure;
use crate::workload::Workload;

/// What `counted-worker` says when it ends.
pub const COUNTED: &str = "allocations: ";
const JOBS: [u64; 2] = [10_000, 60_000];
const LAST_LINE: Duration = Duration::from_secs(5);

pub async fn allocations_per_job(arena: &Arena) -> Result<f64> {
    let (few, many) = (counted(arena, JOBS[0]).await?, counted(arena, JOBS[1]).await?);
    Ok((many - few) / (JOBS[1] - JOBS[0]) as f64)
}

async fn counted(arena: &Arena, jobs: u64) -> Result<f64> {
    let workload = Workload::base(jobs);
    arena.renew(QueueKind::Quorum).await?;
    arena.fill(&workload).await?;
    let simulator = SimulatorProcess::start(&["--limit", "off", "--record", "off"]).await?;
    let gauge = arena.gauge().await?;
    let worker = Contestant::CountedWorker.start(arena, &simulator, workload.portals, &[])?;
    measure(arena, &workload, &gauge, &worker).await?;
    let count = eventually(LAST_LINE, "the count of allocations", async || {
        Ok(worker.stderr().lines().find_map(|line| line.strip_prefix(COUNTED).map(str::to_owned)))
    });
    Ok(count.await?.parse::<u64>().context("no number of allocations")? as f64)
}
