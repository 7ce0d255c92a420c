//! The line between the worker and the broker is slow, breaks, or swallows what is sent.

use std::time::Duration;

use anyhow::Result;
use harness::{Broker, Relay, Way};

use crate::stage::{RECOVERY, Stage, hubspot, settings};

/// Added to the worker's URI: a silent peer is given up after twice this many seconds.
const SHORT_HEARTBEAT: &str = "?heartbeat=2";

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_line_costs_time_only() -> Result<()> {
    // With the usual heartbeat: nothing may be doubled, and a busy machine must not cost the line.
    let (stage, relay) = behind_a_relay("slow-line", "").await?;
    relay.delay(Duration::from_millis(80));
    stage.flows(1_000).await?;
    stage.conclude(2_000).await?.exactly_once()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_cut_in_the_middle_of_frames_is_made_again() -> Result<()> {
    const CUTS: u64 = 6;
    let (stage, relay) = behind_a_relay("cut-line", SHORT_HEARTBEAT).await?;
    for cut in 0..CUTS {
        let way = if cut.is_multiple_of(2) { Way::ToServer } else { Way::ToClient };
        stage.flows(100).await?;
        relay.cut_after(way, fastrand::u64(1..20_000));
        stage.flows(200).await?;
    }
    stage.worker.ready(RECOVERY).await?;
    stage.conclude(3_000).await?.doubled_only_by(CUTS)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_no_longer_hears_the_worker_is_given_up() -> Result<()> {
    swallowed("unheard", Way::ToServer).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_no_longer_heard_is_given_up() -> Result<()> {
    swallowed("unhearing", Way::ToClient).await
}

async fn swallowed(name: &str, way: Way) -> Result<()> {
    let (stage, relay) = behind_a_relay(name, SHORT_HEARTBEAT).await?;
    stage.flows(200).await?;
    relay.black_hole(way);
    stage.unready("no jobs come in from the broker").await?;
    relay.resume();
    stage.worker.ready(RECOVERY).await?;
    stage.flows(200).await?;
    stage.conclude(2_000).await?.doubled_only_by(1)
}

async fn behind_a_relay(name: &str, heartbeat: &str) -> Result<(Stage, Relay)> {
    let broker = Broker::shared().await?;
    let vhost = broker.vhost(name).await?;
    let relay = Relay::start(broker.address()).await?;
    let simulator = hubspot().await?;
    let settings = settings(&format!("{}{heartbeat}", relay.through(&vhost.uri)), &simulator);
    Ok((Stage::open_with(&vhost.uri, simulator, settings).await?, relay))
}
