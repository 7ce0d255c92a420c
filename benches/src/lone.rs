//! Jobs by themselves, each published when the last one's outcome is there; worker and floor take turns.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use harness::SimulatorProcess;
use serde::Serialize;

use crate::arena::{Arena, QueueKind};
use crate::contestant::Contestant;
use crate::echo::{Echo, Latency};
use crate::spread::Spread;

const TURNS: usize = 3;
const JOBS_A_TURN: u64 = 100;
const LINGERS: [Duration; 2] = [Duration::from_millis(200), Duration::ZERO];
/// HubSpot's latency as the simulator is told it; what it takes in truth is measured.
const FAR_SIDE: &str = "50ms";
/// Requests that tell HubSpot's latency, one after the other over one connection, after one that opens it.
const FAR_SIDE_REQUESTS: usize = 21;
/// What broker and worker may add to linger and HubSpot.
const OWN_SHARE_MS: f64 = 10.0;

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lone {
    pub worker: Vec<LoneJobs>,
    /// Through the bare pass-through: the broker's part of it.
    pub floor: Turns,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoneJobs {
    pub linger_ms: f64,
    /// What HubSpot takes as a client without a worker sees it.
    pub far_side_ms: f64,
    /// linger + HubSpot + 10 ms.
    pub allowed_ms: f64,
    pub latency: Turns,
}

/// Percentiles of each turn, over all turns.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Turns {
    pub turns: usize,
    pub jobs_a_turn: u64,
    pub p50_ms: Spread,
    pub p99_ms: Spread,
}

impl Turns {
    fn of(turns: &[Latency]) -> Self {
        Self {
            turns: turns.len(),
            jobs_a_turn: JOBS_A_TURN,
            p50_ms: Spread::of(turns.iter().map(|turn| turn.p50_ms)),
            p99_ms: Spread::of(turns.iter().map(|turn| turn.p99_ms)),
        }
    }
}

pub async fn lone(arena: &Arena) -> Result<Lone> {
    let prompt = SimulatorProcess::start(&["--limit", "off", "--record", "off"]).await?;
    let slow = SimulatorProcess::start(&["--limit", "off", "--record", "off", "--latency", FAR_SIDE]).await?;
    let far_side_ms = far_side_ms(&slow).await?;
    let (mut floor, mut worker) = (Vec::new(), LINGERS.map(|linger| (linger, Vec::new())));
    for _ in 0..TURNS {
        floor.push(turn(arena, &Contestant::PassThrough, &prompt, &[]).await?);
        for (linger, turns) in &mut worker {
            let settings = [("batch.linger", format!("{}ms", linger.as_millis()))];
            turns.push(turn(arena, &Contestant::Worker, &slow, &settings).await?);
        }
    }
    let of_linger = |(linger, turns): (Duration, Vec<Latency>)| {
        let linger_ms = linger.as_secs_f64() * 1e3;
        let allowed_ms = linger_ms + far_side_ms + OWN_SHARE_MS;
        LoneJobs { linger_ms, far_side_ms, allowed_ms, latency: Turns::of(&turns) }
    };
    Ok(Lone { worker: worker.into_iter().map(of_linger).collect(), floor: Turns::of(&floor) })
}

async fn turn(
    arena: &Arena,
    contestant: &Contestant,
    simulator: &SimulatorProcess,
    settings: &[(&str, String)],
) -> Result<Latency> {
    arena.renew(QueueKind::Quorum).await?;
    let running = contestant.start(arena, simulator, 1, settings)?;
    let latency = Echo::open(arena).await?.lone_jobs(JOBS_A_TURN).await.with_context(|| running.last_words())?;
    running.stop().await?;
    Ok(latency)
}

async fn far_side_ms(simulator: &SimulatorProcess) -> Result<f64> {
    let mut times = Vec::with_capacity(FAR_SIDE_REQUESTS);
    for _ in 0..=FAR_SIDE_REQUESTS {
        let began = Instant::now();
        simulator.identify("pat-0").await?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Spread::of(times.split_off(1)).median)
}
