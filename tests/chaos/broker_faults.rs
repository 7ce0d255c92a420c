//! The broker dies, freezes, runs out of memory, or throws its clients out.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::{Client, Cluster, eventually};
use tokio::time::sleep;

use crate::nodes::disturbed;
use crate::stage::{JOBS, RECOVERY, RESULTS, SOON, Stage, hubspot, settings};

/// RabbitMQ 3.10 can lose a quorum queue whose node is killed within a second of its declaration.
const QUEUE_SETTLED: Duration = Duration::from_secs(2);
/// Added to a worker's URI: a silent peer is given up after twice this many seconds.
const SHORT_HEARTBEAT: &str = "?heartbeat=2";

#[tokio::test(flavor = "multi_thread")]
async fn connections_closed_by_the_broker_are_made_again() -> Result<()> {
    const TIMES: u64 = 3;
    let node = disturbed().await?;
    let vhost = node.vhost("connections-closed").await?;
    let stage = Stage::open(&vhost.uri).await?;
    for _ in 0..TIMES {
        stage.flows(300).await?;
        node.close_all_connections().await?;
        stage.worker.ready(RECOVERY).await?;
    }
    stage.conclude(2_000).await?.doubled_only_by(TIMES)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_comes_back_with_everything() -> Result<()> {
    let node = disturbed().await?;
    let vhost = node.vhost("broker-killed").await?;
    let stage = Stage::open(&vhost.uri).await?;
    sleep(QUEUE_SETTLED).await;
    stage.flows(300).await?;
    node.kill9().await?;
    stage.unready("no jobs come in from the broker").await?;
    stage.unready("no outcomes can go out to the broker").await?;
    node.restart().await?;
    stage.worker.ready(RECOVERY).await?;
    stage.flows(300).await?;
    stage.conclude(2_000).await?.doubled_only_by(1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_frozen_beyond_two_heartbeats_is_noticed() -> Result<()> {
    let node = disturbed().await?;
    let vhost = node.vhost("broker-frozen").await?;
    let simulator = hubspot().await?;
    let settings = settings(&format!("{}{SHORT_HEARTBEAT}", vhost.uri), &simulator);
    let stage = Stage::open_with(&vhost.uri, simulator, settings).await?;
    stage.flows(300).await?;
    node.freeze()?;
    let noticed = stage.unready("no jobs come in from the broker").await;
    node.thaw()?;
    noticed?;
    stage.worker.ready(RECOVERY).await?;
    stage.flows(300).await?;
    stage.conclude(2_000).await?.doubled_only_by(1)
}

/// An alarm that ends before the lease does.
#[tokio::test(flavor = "multi_thread")]
async fn under_a_memory_alarm_nothing_is_lost_and_nothing_doubled() -> Result<()> {
    let node = disturbed().await?;
    let vhost = node.vhost("memory-alarm").await?;
    let simulator = hubspot().await?;
    let settings = settings(&vhost.uri, &simulator).set("amqp.lease_time", "10m");
    let stage = Stage::open_with(&vhost.uri, simulator, settings).await?;
    stage.flows(300).await?;
    node.raise_memory_alarm().await?;
    let told = stage.warned("a resource alarm of the broker holds outcomes back").await;
    node.clear_memory_alarm().await?;
    told?;
    stage.flows(300).await?;
    stage.conclude(2_000).await?.exactly_once()
}

/// An alarm stops the lease's own messages as well. When it has lasted for `amqp.lease_time` nothing is sent, by anybody,
/// until it is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_memory_alarm_that_outlasts_the_lease_loses_nothing_and_doubles_nothing() -> Result<()> {
    let node = disturbed().await?;
    let vhost = node.vhost("memory-alarm-long").await?;
    let simulator = hubspot().await?;
    let settings = settings(&vhost.uri, &simulator).set("amqp.lease_time", "1s");
    let stage = Stage::open_with(&vhost.uri, simulator, settings).await?;
    stage.flows(300).await?;
    node.raise_memory_alarm().await?;
    let told = stage.unready("the lease cannot be renewed: a resource alarm of the broker stops publishing").await;
    node.clear_memory_alarm().await?;
    told?;
    stage.flows(300).await?;
    stage.conclude(2_000).await?.exactly_once()
}

/// Nothing is published but the lease's own messages. The only worker must not say that another one works, and obeys an
/// order, which holds when the alarm is over.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_under_an_alarm_names_the_alarm_and_obeys() -> Result<()> {
    const TOKEN: &str = "open-sesame";
    let node = disturbed().await?;
    let vhost = node.vhost("memory-alarm-idle").await?;
    let simulator = hubspot().await?;
    let settings = settings(&vhost.uri, &simulator).set("amqp.lease_time", "1s").set("admin.token", TOKEN);
    let worker = settings.start()?;
    worker.ready(SOON).await?;
    node.raise_memory_alarm().await?;
    let told = async {
        eventually(RECOVERY, "the alarm to be shown", async || {
            let status = worker.status().await?;
            let standing = &status["leases"][0]["standing"];
            ensure!(standing == "notRenewed" && status["broker"]["blocked"] == true, "{status}");
            let (code, readyz) = worker.readiness().await?;
            ensure!(code == 503 && readyz["standby"].is_null() && readyz.to_string().contains("alarm"), "{readyz}");
            Ok(Some(()))
        })
        .await?;
        let client = reqwest::Client::builder().no_proxy().build()?;
        let pause = client.post(format!("{}/accounts/0/pause", worker.admin())).bearer_auth(TOKEN);
        let answer = pause.send().await?.text().await?;
        ensure!(answer.contains("carried out") && !answer.contains("stands by"), "{answer}");
        Ok(())
    }
    .await;
    node.clear_memory_alarm().await?;
    told?;
    eventually(RECOVERY, "the pause", async || {
        let status = worker.status().await?;
        ensure!(
            status["accounts"][0]["pause"]["kind"] == "operator" && status["broker"]["blocked"] == false,
            "{status}"
        );
        Ok(Some(()))
    })
    .await?;
    ensure!(worker.stderr().contains("rabbitmq-diagnostics alarms"), "{}", worker.last_words());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a freeze of over half a minute, as long as the usual heartbeats last"]
async fn a_broker_frozen_for_long_at_the_usual_heartbeat_is_noticed() -> Result<()> {
    let node = disturbed().await?;
    let vhost = node.vhost("broker-frozen-long").await?;
    let stage = Stage::open(&vhost.uri).await?;
    stage.flows(300).await?;
    node.freeze()?;
    let noticed = stage.unready("no jobs come in from the broker").await;
    sleep(Duration::from_secs(30)).await;
    node.thaw()?;
    noticed?;
    stage.worker.ready(RECOVERY).await?;
    stage.flows(300).await?;
    stage.conclude(2_000).await?.doubled_only_by(1)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "three nodes take half a minute to start"]
async fn the_leader_of_a_clusters_queues_is_killed() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let [first, second, _] = &cluster.nodes[..] else { anyhow::bail!("three nodes were asked for") };
    // The queues that the worker declares through the first node are led by it; worker and jobs go by the second.
    let founder = Stage::open(&first.uri()).await?;
    sleep(QUEUE_SETTLED).await;
    founder.conclude(100).await?.exactly_once()?;
    let leaders = first.ctl(&["list_queues", "--no-table-headers", "leader"]).await?;
    ensure!(leaders.lines().all(|leader| leader == first.name()), "the first node does not lead all queues: {leaders}");
    let stage = Stage::open(&second.uri()).await?;
    stage.flows(300).await?;
    first.kill9().await?;
    stage.flows(1_000).await?;
    first.restart().await?;
    let through_first = Client::new(&first.uri());
    harness::eventually(SOON, "the killed node to serve its queues", async || {
        Ok((through_first.exists(JOBS).await? && through_first.exists(RESULTS).await?).then_some(()))
    })
    .await?;
    stage.flows(300).await?;
    stage.conclude(5_000).await?.doubled_only_by(1)
}

/// Classic queues live on one node. While that is down, RabbitMQ says of them that they are not found.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "three nodes take half a minute to start"]
async fn a_worker_that_starts_while_the_node_of_its_queue_is_down_waits_for_it() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let [first, second, _] = &cluster.nodes[..] else { anyhow::bail!("three nodes were asked for") };
    Client::new(&second.uri()).declare_classic(JOBS).await?;
    let founder = Stage::open(&first.uri()).await?;
    founder.conclude(100).await?.exactly_once()?;
    sleep(QUEUE_SETTLED).await;
    second.kill9().await?;
    let simulator = hubspot().await?;
    let worker = settings(&first.uri(), &simulator).start()?;
    harness::eventually(SOON, "the broker's word for it", async || {
        Ok(worker.stderr().contains("down or inaccessible").then_some(()))
    })
    .await?;
    second.restart().await?;
    worker.ready(RECOVERY).await
}
