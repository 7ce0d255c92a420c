//! The broker closes channels of the worker, and leaves its connections if it can.

use anyhow::{Result, ensure};
use harness::{Broker, ChannelUse, Rights};

use crate::stage::{RECOVERY, Stage, hubspot, settings};

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_channel_of_jobs_is_made_again() -> Result<()> {
    closed("channel-of-jobs", ChannelUse::Consuming).await
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_channels_of_outcomes_are_made_again() -> Result<()> {
    closed("channels-of-outcomes", ChannelUse::Other).await
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_taken_back_from_a_cancelled_consumer_are_answered_all_the_same() -> Result<()> {
    const TIMES: u64 = 3;
    let (stage, broker) = as_a_user("taken-back").await?;
    for _ in 0..TIMES {
        stage.flows(300).await?;
        ensure!(broker.take_jobs_back("taken-back").await? > 0, "the worker has no consumer");
        stage.flows(300).await?;
        stage.worker.ready(RECOVERY).await?;
    }
    stage.conclude(2_000).await?.doubled_only_by(TIMES)
}

async fn closed(name: &str, of: ChannelUse) -> Result<()> {
    const TIMES: u64 = 3;
    let (stage, broker) = as_a_user(name).await?;
    let connections = connections_made_again(&stage).await?;
    for _ in 0..TIMES {
        stage.flows(300).await?;
        ensure!(broker.close_channels(name, of).await? > 0, "the worker has no such channel");
        stage.flows(300).await?;
        stage.worker.ready(RECOVERY).await?;
    }
    // What was on its way to a channel that is gone by then is a fault of the whole connection (504 in AMQP 0-9-1).
    let again = connections_made_again(&stage).await? - connections;
    assert!(again <= TIMES as f64, "{TIMES} times a channel was closed, {again} times a connection was made");
    stage.conclude(2_000).await?.doubled_only_by(TIMES)
}

/// A worker with a user of its own, so that the channels of the test and of other cases are left alone.
async fn as_a_user(name: &str) -> Result<(Stage, &'static Broker)> {
    let broker = Broker::shared().await?;
    let vhost = broker.vhost(name).await?;
    broker.add_user(name, "password", &vhost.name, Rights::ALL).await?;
    let simulator = hubspot().await?;
    let settings = settings(&broker.uri_as(name, "password", &vhost.name), &simulator);
    Ok((Stage::open_with(&vhost.uri, simulator, settings).await?, broker))
}

async fn connections_made_again(stage: &Stage) -> Result<f64> {
    Ok(stage.worker.metrics().await?.sum("association_archiver_broker_reconnects_total", &[]))
}
