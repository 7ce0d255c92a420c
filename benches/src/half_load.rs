//! How long jobs take while the worker has half of what it can do.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::SimulatorProcess;
use serde::Serialize;

use crate::arena::{Arena, QueueKind};
use crate::contestant::Contestant;
use crate::echo::{Echo, Latency};

const SPAN: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HalfLoad {
    pub contestant: String,
    pub jobs_per_second: f64,
    pub latency: Latency,
}

/// Half of `jobs_per_second` for ten seconds; no HubSpot latency, no ceiling.
pub async fn half_load(arena: &Arena, contestant: &Contestant, jobs_per_second: f64) -> Result<HalfLoad> {
    arena.renew(QueueKind::Quorum).await?;
    let simulator = SimulatorProcess::start(&["--limit", "off", "--record", "off"]).await?;
    let running = contestant.start(arena, &simulator, 1, &[])?;
    let rate = jobs_per_second / 2.0;
    let latency = Echo::open(arena).await?.steady_load(rate, SPAN).await.with_context(|| running.last_words())?;
    running.stop().await?;
    Ok(HalfLoad { contestant: contestant.name().to_owned(), jobs_per_second: rate, latency })
}
