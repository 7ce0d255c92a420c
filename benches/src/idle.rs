//! The worker with next to nothing to do: how soon it starts, how little it holds, how long a lone job takes.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::SimulatorProcess;
use harness::process::find_binary;
use hubspot_simulator::State;
use serde::Serialize;

use crate::arena::{Arena, QueueKind};
use crate::contestant::Contestant;
use crate::lone::{Lone, lone};
use crate::spread::Spread;
use crate::workload::Workload;

const STARTS: usize = 5;
/// More than a request holds, so that the first leaves at once.
const JOBS_AT_START: u64 = 1_000;
const LONGEST_START: Duration = Duration::from_secs(20);
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);
/// Until then an idle process has given back what its start needed.
const TO_SETTLE: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Idle {
    /// From the start of the process to its first request to HubSpot, the broker being there.
    pub start_up_ms: Spread,
    pub idle_rss_mb: f64,
    /// The program that was measured; a release is smaller.
    pub binary_mb: f64,
    pub lone: Lone,
}

pub async fn idle(arena: &Arena) -> Result<Idle> {
    let mut start_up = Vec::new();
    for _ in 0..STARTS {
        start_up.push(first_request(arena).await?.as_secs_f64() * 1e3);
    }
    let binary = find_binary("association-archiver", "ARCHIVER_BIN")?;
    Ok(Idle {
        start_up_ms: Spread::of(start_up),
        idle_rss_mb: resident(arena).await? as f64 / 1e6,
        binary_mb: fs::metadata(&binary).with_context(|| binary.display().to_string())?.len() as f64 / 1e6,
        lone: lone(arena).await?,
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
    worker.stop().await?;
    Ok(taken)
}

async fn resident(arena: &Arena) -> Result<u64> {
    arena.renew(QueueKind::Quorum).await?;
    let simulator = SimulatorProcess::start(&["--limit", "off", "--record", "off"]).await?;
    let worker = Contestant::Worker.start(arena, &simulator, 1, &[])?;
    tokio::time::sleep(TO_SETTLE).await;
    let bytes = worker.rss_bytes()?;
    worker.stop().await?;
    Ok(bytes)
}
