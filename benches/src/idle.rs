//! The worker with next to nothing to do: how soon it starts, how little it holds, how long a lone job takes.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::SimulatorProcess;
use harness::process::find_binary;
use hubspot_simulator::State;
use serde::Serialize;

use crate::arena::{Arena, QueueKind};
use crate::contestant::{Contestant, Running};
use crate::echo::{Echo, Latency};
use crate::spread::Spread;
use crate::workload::Workload;

const STARTS: usize = 5;
/// More than a request holds, so that the first leaves at once.
const JOBS_AT_START: u64 = 1_000;
const LONGEST_START: Duration = Duration::from_secs(20);
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);
/// Until then an idle process has given back what its start needed.
const TO_SETTLE: Duration = Duration::from_secs(2);
const STOP_LIMIT: Duration = Duration::from_secs(40);
/// HubSpot's latency for lone jobs as the simulator is told it; what it takes in truth is measured.
const FAR_SIDE: &str = "50ms";
/// Requests that tell HubSpot's latency, one after the other over one connection, after one that opens it.
const FAR_SIDE_REQUESTS: usize = 21;
/// What broker and worker may add to linger and HubSpot.
const OWN_SHARE: Duration = Duration::from_millis(10);
const LONE: [(Duration, u64); 2] = [(Duration::from_millis(200), 100), (Duration::ZERO, 300)];

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Idle {
    /// From the start of the process to its first request to HubSpot, the broker being there.
    pub start_up_ms: Spread,
    pub idle_rss_mb: f64,
    /// The program that was measured; a release is smaller.
    pub binary_mb: f64,
    pub lone_jobs: Vec<LoneJobs>,
    /// Lone jobs through the bare pass-through: the broker's part of it.
    pub lone_at_floor: Latency,
}

const LONE_AT_FLOOR: u64 = 300;

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoneJobs {
    pub linger_ms: f64,
    /// What HubSpot takes as a client without a worker sees it: the median of [`FAR_SIDE_REQUESTS`].
    pub far_side_ms: f64,
    /// linger + HubSpot + 10 ms.
    pub allowed_ms: f64,
    pub latency: Latency,
}

pub async fn idle(arena: &Arena) -> Result<Idle> {
    let mut start_up = Vec::new();
    for _ in 0..STARTS {
        start_up.push(first_request(arena).await?.as_secs_f64() * 1e3);
    }
    let mut lone_jobs = Vec::new();
    for (linger, jobs) in LONE {
        lone_jobs.push(lone(arena, linger, jobs).await?);
    }
    let binary = find_binary("association-archiver", "ARCHIVER_BIN")?;
    Ok(Idle {
        start_up_ms: Spread::of(start_up),
        idle_rss_mb: resident(arena).await? as f64 / 1e6,
        binary_mb: fs::metadata(&binary).with_context(|| binary.display().to_string())?.len() as f64 / 1e6,
        lone_jobs,
        lone_at_floor: lone_at_floor(arena).await?,
    })
}

async fn first_request(arena: &Arena) -> Result<Duration> {
    arena.renew(QueueKind::Quorum).await?;
    arena.fill(&Workload { lanes: 1, ..Workload::base(JOBS_AT_START) }).await?;
    let simulator = SimulatorProcess::start(&["--limit", "off", "--record", "off"]).await?;
    let began = Instant::now();
    let worker = Contestant::Worker.start(arena, &simulator, 1, &[])?;
    loop {
        let state: State = serde_json::from_value(simulator.state().await?)?;
        if state.requests > 0 {
            break;
        }
        ensure!(began.elapsed() < LONGEST_START, "no request in {LONGEST_START:?}\n{}", worker.last_words());
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    let taken = began.elapsed();
    stop(&worker).await?;
    Ok(taken)
}

async fn resident(arena: &Arena) -> Result<u64> {
    arena.renew(QueueKind::Quorum).await?;
    let simulator = SimulatorProcess::start(&["--limit", "off", "--record", "off"]).await?;
    let worker = Contestant::Worker.start(arena, &simulator, 1, &[])?;
    tokio::time::sleep(TO_SETTLE).await;
    let bytes = worker.rss_bytes()?;
    stop(&worker).await?;
    Ok(bytes)
}

/// The worker's lone jobs.
async fn lone(arena: &Arena, linger: Duration, jobs: u64) -> Result<LoneJobs> {
    let simulator = SimulatorProcess::start(&["--limit", "off", "--record", "off", "--latency", FAR_SIDE]).await?;
    let far_side = far_side(&simulator).await?;
    let settings = [("batch.linger", format!("{}ms", linger.as_millis()))];
    let latency = lone_through(arena, &Contestant::Worker, &simulator, &settings, jobs).await?;
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(LoneJobs {
        linger_ms: millis(linger),
        far_side_ms: millis(far_side),
        allowed_ms: millis(linger + far_side + OWN_SHARE),
        latency,
    })
}

async fn lone_at_floor(arena: &Arena) -> Result<Latency> {
    let simulator = SimulatorProcess::start(&["--limit", "off", "--record", "off"]).await?;
    lone_through(arena, &Contestant::PassThrough, &simulator, &[], LONE_AT_FLOOR).await
}

async fn lone_through(
    arena: &Arena,
    contestant: &Contestant,
    simulator: &SimulatorProcess,
    settings: &[(&str, String)],
    jobs: u64,
) -> Result<Latency> {
    arena.renew(QueueKind::Quorum).await?;
    let running = contestant.start(arena, simulator, 1, settings)?;
    let latency = Echo::open(arena).await?.lone_jobs(jobs).await.with_context(|| running.last_words())?;
    stop(&running).await?;
    Ok(latency)
}

async fn far_side(simulator: &SimulatorProcess) -> Result<Duration> {
    let mut times = Vec::with_capacity(FAR_SIDE_REQUESTS);
    for _ in 0..=FAR_SIDE_REQUESTS {
        let began = Instant::now();
        simulator.identify("pat-0").await?;
        times.push(began.elapsed());
    }
    let mut times = times.split_off(1);
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

async fn stop(worker: &Running) -> Result<()> {
    worker.term()?;
    let code = worker.wait(STOP_LIMIT).await?;
    ensure!(code == 0, "the worker ended with code {code}\n{}", worker.last_words());
    Ok(())
}
