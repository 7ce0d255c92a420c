//! One contestant, one run: from the first job taken to the last outcome in the results queue.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use harness::process::Process;
use serde::Serialize;

use crate::arena::{Arena, Gauge};
use crate::contestant::Running;
use crate::workload::Workload;

const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
/// A contestant that has not finished by then is stuck.
const RUN_LIMIT: Duration = Duration::from_secs(240);

/// What a run has cost.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    pub seconds: f64,
    pub jobs_per_second: f64,
    /// User and system time of the contestant alone, its start included, in microseconds.
    pub cpu_micros_per_job: f64,
    /// The same of the broker, from the first job taken to the last outcome.
    pub broker_cpu_micros_per_job: f64,
    /// How often one of the contestant's threads waited: for a socket, a lock, another thread.
    pub switches_per_job: f64,
    pub peak_rss_mb: f64,
}

/// Watches a contestant that has just been started at its work, then stops it and takes its exit code for part of the
/// result.
pub async fn measure(arena: &Arena, workload: &Workload, gauge: &Gauge, process: &Running) -> Result<Sample> {
    let began = first_taken(workload, gauge, process).await?;
    let broker_before = arena.broker_cpu_micros()?;
    let end = began + RUN_LIMIT;
    while gauge.levels().await?.results < workload.jobs {
        alive(process)?;
        ensure!(Instant::now() < end, "not done after {RUN_LIMIT:?}\n{}", process.last_words());
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let broker_cpu_micros = arena.broker_cpu_micros()?.saturating_sub(broker_before);
    let cpu_micros = settled_cpu(process).await?;
    let peak_rss = process.peak_rss_bytes()?;
    let switches = voluntary_switches(process.id())?;
    process.stop().await?;
    Ok(Sample {
        seconds,
        jobs_per_second: workload.jobs as f64 / seconds,
        cpu_micros_per_job: cpu_micros as f64 / workload.jobs as f64,
        broker_cpu_micros_per_job: broker_cpu_micros as f64 / workload.jobs as f64,
        switches_per_job: switches as f64 / workload.jobs as f64,
        peak_rss_mb: peak_rss as f64 / 1e6,
    })
}

/// Start-up is not what is compared here.
async fn first_taken(workload: &Workload, gauge: &Gauge, process: &Process) -> Result<Instant> {
    let end = Instant::now() + RUN_LIMIT;
    loop {
        let levels = gauge.levels().await?;
        if levels.jobs < workload.jobs {
            return Ok(Instant::now());
        }
        alive(process)?;
        ensure!(Instant::now() < end, "no job taken after {RUN_LIMIT:?}\n{}", process.last_words());
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// The last acknowledgements may still be under way when the last outcome has arrived.
async fn settled_cpu(process: &Process) -> Result<u64> {
    let mut before = process.cpu_micros()?;
    loop {
        tokio::time::sleep(BETWEEN_LOOKS * 10).await;
        let now = process.cpu_micros()?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
}

/// Of all threads that there still are.
fn voluntary_switches(process: u32) -> Result<u64> {
    let mut switches = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end while it is looked at.
        let status = fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        switches += count.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(switches)
}

fn alive(process: &Process) -> Result<()> {
    match process.ended()? {
        None => Ok(()),
        Some(code) => bail!("it ended with code {code} in the middle of the run\n{}", process.last_words()),
    }
}
