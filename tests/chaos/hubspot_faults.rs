//! HubSpot, or the way to it, breaks: what was asked is asked again, and answered once.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use harness::{Broker, Relay, SimulatorProcess, Way, eventually};
use serde_json::json;

use crate::stage::{PREFETCH, RECOVERY, SOON, Stage, hubspot, settings};
use crate::tls_front::{Certificate, TlsFront};

#[tokio::test(flavor = "multi_thread")]
async fn resets_and_broken_answers_are_repeated_and_answered_once() -> Result<()> {
    let vhost = Broker::shared().await?.vhost("hubspot-resets").await?;
    let stage = Stage::open(&vhost.uri).await?;
    stage
        .simulator
        .put_faults(&json!([
            { "when": {"probability": 0.05}, "then": {"reset": "unread"} },
            { "when": {"probability": 0.05}, "then": {"reset": "undone"} },
            { "when": {"probability": 0.05}, "then": {"reset": "done"} },
            { "when": {"probability": 0.05}, "then": {"cut": {"afterBytes": 9}} },
            { "when": {"probability": 0.05}, "then": {"answer": {"status": 502, "body": "html"}} },
        ]))
        .await?;
    stage.flows(1_500).await?;
    stage.simulator.put_faults(&json!([])).await?;
    stage.conclude(2_000).await?.answered_once()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_stall_are_given_up_and_repeated() -> Result<()> {
    let vhost = Broker::shared().await?.vhost("hubspot-stalls").await?;
    let simulator = hubspot().await?;
    let settings = settings(&vhost.uri, &simulator).set("hubspot.request_timeout", "1s");
    let stage = Stage::open_with(&vhost.uri, simulator, settings).await?;
    stage
        .simulator
        .put_faults(&json!([
            { "when": {"probability": 0.1}, "then": {"stall": {"afterBytes": 9, "lasting": "20s"}} },
            { "when": {"probability": 0.1}, "then": {"latency": "20s"} },
        ]))
        .await?;
    stage.flows(1_000).await?;
    stage.simulator.put_faults(&json!([])).await?;
    stage.conclude(2_000).await?.answered_once()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hubspot_that_cannot_be_reached_is_waited_for() -> Result<()> {
    let vhost = Broker::shared().await?.vhost("hubspot-away").await?;
    let simulator = hubspot().await?;
    let relay = Relay::start(address(&simulator)?).await?;
    let settings = settings(&vhost.uri, &simulator).set("hubspot.base_url", relay.through(simulator.uri()));
    let stage = Stage::open_with(&vhost.uri, simulator, settings).await?;
    stage.flows(300).await?;
    relay.refuse().await;
    relay.cut();
    eventually(SOON, "as many jobs as may be to be in hand", async || {
        let held = stage.worker.metrics().await?.sum("association_archiver_jobs_held", &[]);
        Ok((held >= PREFETCH as f64).then_some(()))
    })
    .await?;
    stage.unready("every account is paused").await?;
    relay.resume();
    stage.worker.ready(RECOVERY).await?;
    stage.flows(300).await?;
    stage.conclude(2_000).await?.answered_once()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_trickle_are_given_up_and_repeated() -> Result<()> {
    let vhost = Broker::shared().await?.vhost("hubspot-trickles").await?;
    let simulator = hubspot().await?;
    let relay = Relay::start(address(&simulator)?).await?;
    let settings = settings(&vhost.uri, &simulator)
        .set("hubspot.base_url", relay.through(simulator.uri()))
        .set("hubspot.request_timeout", "1s");
    let stage = Stage::open_with(&vhost.uri, simulator, settings).await?;
    stage.flows(300).await?;
    // A byte within every second, so that no look at a single read finds the line dead.
    relay.trickle(Way::ToClient, Duration::from_millis(100));
    stage.unready("every account is paused").await?;
    relay.resume();
    stage.worker.ready(RECOVERY).await?;
    stage.flows(300).await?;
    stage.conclude(2_000).await?.answered_once()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_trusted_stops_everything_until_it_can() -> Result<()> {
    let vhost = Broker::shared().await?.vhost("hubspot-distrusted").await?;
    let simulator = hubspot().await?;
    let front = TlsFront::start(address(&simulator)?).await?;
    let settings = settings(&vhost.uri, &simulator)
        .set("hubspot.base_url", &front.uri)
        .set("hubspot.ca_file", front.ca_file().display());
    let stage = Stage::open_with(&vhost.uri, simulator, settings).await?;
    for certificate in [Certificate::Expired, Certificate::OfAnotherHost] {
        stage.flows(300).await?;
        front.show(certificate)?;
        stage.unready("every account is paused").await?;
        front.show(Certificate::Good)?;
        stage.worker.ready(RECOVERY).await?;
    }
    stage.flows(300).await?;
    stage.conclude(2_000).await?.answered_once()
}

fn address(simulator: &SimulatorProcess) -> Result<SocketAddr> {
    Ok(simulator.uri().trim_start_matches("http://").parse()?)
}
