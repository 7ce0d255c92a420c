//! Queues are missing, full, deleted, unbound, or impatient.

use std::time::Duration;

use anyhow::Result;
use harness::lapin::types::AMQPValue;
use harness::{Broker, Client, Options, Tally, Until, Worker, eventually};
use serde_json::json;

use crate::stage::{DEAD_LETTERS, EXCHANGE, JOBS, RECOVERY, RESULTS, SOON, Stage, TIERS, hubspot, settings};
use crate::traffic;

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_results_queue_is_made_again() -> Result<()> {
    let vhost = Broker::shared().await?.vhost("results-deleted").await?;
    let client = Client::new(&vhost.uri);
    let simulator = hubspot().await?;
    let worker = settings(&vhost.uri, &simulator).start()?;
    worker.ready(SOON).await?;
    // Nothing has been answered when it is deleted, so nothing is deleted with it.
    client.delete(RESULTS).await?;
    client.publish(JOBS, traffic::jobs(0..2_000)?).await?;
    eventually(RECOVERY, "the results queue to be made again", async || {
        Ok(client.exists(RESULTS).await?.then_some(()))
    })
    .await?;
    let outcomes = client.collect(RESULTS, Until::Count(2_000), RECOVERY).await?;
    worker.ready(SOON).await?;
    worker.says(&["the queue was gone and is declared again", RESULTS]).await?;
    stop(&worker).await?;
    Tally::of_published((0..2_000).map(traffic::id)).outcomes(&outcomes)?.report().exactly_once()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_route_outcomes_wait_until_somebody_makes_one() -> Result<()> {
    let vhost = Broker::shared().await?.vhost("results-unbound").await?;
    let client = Client::new(&vhost.uri);
    let simulator = hubspot().await?;
    let founder = settings(&vhost.uri, &simulator).start()?;
    founder.ready(SOON).await?;
    drop(founder);
    client.unbind(RESULTS, EXCHANGE, "results").await?;
    let settings = settings(&vhost.uri, &simulator).set("amqp.declare_topology", false);
    let stage = Stage::open_with(&vhost.uri, simulator, settings).await?;
    stage.unready("no queue is bound to exchange").await?;
    client.bind(RESULTS, EXCHANGE, "results").await?;
    stage.flows(300).await?;
    client.unbind(RESULTS, EXCHANGE, "results").await?;
    stage.unready("no queue is bound to exchange").await?;
    client.bind(RESULTS, EXCHANGE, "results").await?;
    stage.conclude(2_000).await?.exactly_once()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_results_queue_holds_jobs_back_until_it_is_read() -> Result<()> {
    const ROOM: i32 = 300;
    let vhost = Broker::shared().await?.vhost("results-full").await?;
    let client = Client::new(&vhost.uri);
    let limits =
        [("x-max-length", AMQPValue::LongInt(ROOM)), ("x-overflow", AMQPValue::LongString("reject-publish".into()))];
    client.declare_quorum(RESULTS, &limits).await?;
    let stage = Stage::open(&vhost.uri).await?;
    stage.unready("their queue is full or at fault").await?;
    stage.conclude(2_000).await?.exactly_once()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_jobs_queue_is_made_again_and_what_was_in_hand_is_answered() -> Result<()> {
    let vhost = Broker::shared().await?.vhost("jobs-deleted").await?;
    let client = Client::new(&vhost.uri);
    let simulator = hubspot().await?;
    simulator.configure(&json!({"latency": "8s"})).await?;
    let worker = settings(&vhost.uri, &simulator).start()?;
    worker.ready(SOON).await?;
    client.publish(JOBS, traffic::jobs(0..800)?).await?;
    // All in hand and on the wire: the queue that is deleted is empty, and HubSpot will have done its part.
    eventually(SOON, "all jobs to be in hand", async || {
        let held = worker.metrics().await?.sum("association_archiver_jobs_held", &[]);
        Ok((held >= 800.0 && client.count_now(JOBS).await? == 0).then_some(()))
    })
    .await?;
    client.delete(JOBS).await?;
    eventually(RECOVERY, "the jobs queue to be made again", async || Ok(client.exists(JOBS).await?.then_some(())))
        .await?;
    client.publish(JOBS, traffic::jobs(800..2_000)?).await?;
    let outcomes = client.collect(RESULTS, Until::Count(2_000), RECOVERY).await?;
    let report = Tally::of_published((0..2_000).map(traffic::id)).outcomes(&outcomes)?.report();
    report.exactly_once()?;
    stop(&worker).await?;
    client.count_becomes(JOBS, 0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_reaches_the_delivery_limit_surfaces_in_the_dead_letters() -> Result<()> {
    const LIMIT: i32 = 3;
    let vhost = Broker::shared().await?.vhost("delivery-limit").await?;
    let client = Client::new(&vhost.uri);
    let limits = [
        ("x-dead-letter-exchange", text(EXCHANGE)),
        ("x-dead-letter-routing-key", text("dead-letters")),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
        ("x-delivery-limit", AMQPValue::LongInt(LIMIT)),
    ];
    client.declare_exchange(EXCHANGE).await?;
    client.declare_quorum(JOBS, &limits).await?;
    let simulator = hubspot().await?;
    simulator.configure(&json!({"latency": "60s"})).await?;
    let settings = settings(&vhost.uri, &simulator);
    client.publish(JOBS, traffic::jobs(0..500)?).await?;
    // Each worker dies with all of them in hand and none answered.
    for _ in 0..=LIMIT {
        let worker = settings.start()?;
        eventually(SOON, "the jobs to be in hand", async || {
            let held = worker.metrics().await?.sum("association_archiver_jobs_held", &[]);
            Ok((held >= 500.0).then_some(()))
        })
        .await?;
        worker.kill9().await?;
    }
    let dead = client.collect(DEAD_LETTERS, Until::Count(500), SOON).await?;
    simulator.configure(&json!({"latency": "10ms"})).await?;
    let worker = settings.start()?;
    client.publish(JOBS, traffic::jobs(500..1_000)?).await?;
    let outcomes = client.collect(RESULTS, Until::Count(500), SOON).await?;
    let report = Tally::of_published((0..1_000).map(traffic::id)).outcomes(&outcomes)?.dead_letters(&dead).report();
    assert_eq!((report.lost.len(), report.only_dead_lettered.len(), report.doubled.len()), (0, 500, 0), "{report}");
    stop(&worker).await
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_taken_back_by_an_impatient_broker_are_answered_all_the_same() -> Result<()> {
    let broker = Broker::start(Options::default().consumer_timeout(Duration::from_secs(3))).await?;
    let simulator = hubspot().await?;
    simulator.configure(&json!({"latency": "8s"})).await?;
    let settings = settings(&broker.uri(), &simulator);
    let stage = Stage::open_with(&broker.uri(), simulator, settings).await?;
    eventually(RECOVERY, "the broker to lose patience twice", async || {
        Ok((losses(&stage.worker).await? >= 2).then_some(()))
    })
    .await?;
    stage.simulator.configure(&json!({"latency": "30ms"})).await?;
    stage.worker.ready(RECOVERY).await?;
    stage.flows(300).await?;
    let losses = losses(&stage.worker).await?;
    stage.conclude(2_000).await?.doubled_only_by(losses)
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_parked_before_an_impatient_broker_takes_them_back() -> Result<()> {
    const NUMBER: u64 = 500;
    // The worker keeps a job for four seconds and then has five to park it, on however busy a machine.
    let broker = Broker::start(Options::default().consumer_timeout(Duration::from_secs(9))).await?;
    let client = Client::new(&broker.uri());
    let simulator = hubspot().await?;
    simulator.put_faults(&json!([{ "then": {"unauthorized": "invalid"} }])).await?;
    let settings = settings(&broker.uri(), &simulator).set("hubspot.request_timeout", "1s").set("amqp.max_hold", "4s");
    let worker = settings.start()?;
    worker.ready(SOON).await?;
    client.publish(JOBS, traffic::jobs(0..NUMBER)?).await?;
    let first_tier = format!("{JOBS}.delay.{}", TIERS[0]);
    eventually(SOON, "jobs to be parked", async || Ok((client.count_now(&first_tier).await? > 0).then_some(())))
        .await?;
    // Longer than the broker waits for any acknowledgement.
    tokio::time::sleep(Duration::from_secs(14)).await;
    assert_eq!(losses(&worker).await?, 0, "the broker closed the channel\n{}", worker.last_words());
    simulator.put_faults(&json!([])).await?;
    let outcomes = client.collect(RESULTS, Until::Count(NUMBER as usize), RECOVERY).await?;
    stop(&worker).await?;
    Tally::of_published((0..NUMBER).map(traffic::id)).outcomes(&outcomes)?.report().exactly_once()
}

/// Subscriptions made again.
async fn losses(worker: &Worker) -> Result<u64> {
    Ok(worker.metrics().await?.sum("association_archiver_consumer_generation", &[]) as u64)
}

async fn stop(worker: &Worker) -> Result<()> {
    worker.term()?;
    assert_eq!(worker.wait(RECOVERY).await?, 0, "{}", worker.last_words());
    Ok(())
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
