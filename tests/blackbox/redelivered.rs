//! What the broker delivers again is no proof of anything: each message has a request of its own.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use harness::lapin::options::{BasicGetOptions, BasicNackOptions};
use harness::worker::{Worker, WorkerBuilder};
use harness::{Broker, Message, Outcome, Relay, Status, Until, Way, eventually, job};
use serde_json::json;

use crate::stage::{DEAD_LETTERS, JOBS, Stage, clean, ids, number, single_pairs, stop};

const LIMIT: Duration = Duration::from_secs(60);

/// A worker whose lines to HubSpot and to the broker can be held up and cut.
struct Lines {
    stage: Stage,
    hubspot: Relay,
    broker: Relay,
    worker: Worker,
}

impl Lines {
    async fn set(name: &str, settings: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> Result<Self> {
        let stage = Stage::set(name, &["--limit", "off"]).await?;
        let address: SocketAddr = stage.simulator.uri().trim_start_matches("http://").parse()?;
        let hubspot = Relay::start(address).await?;
        let broker = Relay::start(Broker::shared().await?.address()).await?;
        let builder = stage.worker().set("hubspot.base_url", hubspot.through(stage.simulator.uri()));
        let worker = stage.start(&settings(builder.set("amqp.uri", broker.through(&stage.uri)))).await?;
        Ok(Self { stage, hubspot, broker, worker })
    }

    async fn answered(&self, message: &Message) -> Result<Outcome> {
        self.stage.client.publish(JOBS, [message.clone()]).await?;
        self.stage.outcomes(1, LIMIT).await?.pop().context("no outcome")
    }

    /// The next outcome of this job; others are passed over.
    async fn outcome_of(&self, job_id: &str) -> Result<Outcome> {
        loop {
            let outcome = self.stage.outcomes(1, LIMIT).await?.pop().context("no outcome")?;
            if outcome.job_id == job_id {
                return Ok(outcome);
            }
        }
    }

    async fn requests(&self) -> Result<u64> {
        let state = self.stage.simulator.state().await?;
        clean(&state);
        Ok(number(&state, "/requestsByKind/archive"))
    }

    async fn requests_reach(&self, count: u64) -> Result<()> {
        eventually(LIMIT, &format!("{count} requests"), async || Ok((self.requests().await? >= count).then_some(())))
            .await
    }

    /// The answer to a message that is on the wire is lost, with the connection that brought the message.
    async fn lose_the_broker(&self) -> Result<()> {
        let reconnects = async || {
            let metrics = self.worker.metrics().await?;
            Ok::<f64, anyhow::Error>(metrics.sum("association_archiver_broker_reconnects_total", &[]))
        };
        let before = reconnects().await?;
        self.broker.cut();
        eventually(LIMIT, "a new connection", async || Ok((reconnects().await? > before).then_some(()))).await?;
        self.hubspot.resume();
        Ok(())
    }
}

/// Looking into a queue without taking anything, as the broker's own page does, marks messages as delivered before.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_published_again_are_sent_again_after_a_look_into_the_queue() -> Result<()> {
    let lines = Lines::set("same-bytes", |builder| builder.set("amqp.prefetch", 3)).await?;
    let message = job("again").pair(1, 1).to_message()?;
    let first = lines.answered(&message).await?;

    // As many jobs as it may have keep the worker busy, so that the next one stays in the queue. One of them goes on when
    // the test says so, the others later.
    let later = |from: &str| json!({"when": {"from": from}, "then": {"latency": "5s"}});
    lines.stage.simulator.put_faults(&json!([later("deals"), later("tickets")])).await?;
    lines.hubspot.black_hole(Way::ToClient);
    let busy = |types: &str| job(types).types(types, "companies").pair(1_000, 1).to_message();
    lines.stage.client.publish(JOBS, [busy("contacts")?, busy("deals")?, busy("tickets")?]).await?;
    lines.requests_reach(4).await?;

    lines.stage.client.publish(JOBS, [message.clone()]).await?;
    let channel = lines.stage.client.channel().await?;
    let seen = channel.basic_get(JOBS.into(), BasicGetOptions::default()).await?.context("nothing there")?;
    seen.delivery.acker.nack(BasicNackOptions { multiple: false, requeue: true }).await?;
    lines.hubspot.resume();
    let second = lines.outcome_of("again").await?;
    assert!(lines.requests().await? >= 5, "the second was answered without a request");
    assert_eq!(first.message.message_id(), second.message.message_id(), "they cannot be told apart");

    let mut named = message.id("another message")?;
    lines.stage.client.publish(JOBS, [named.clone()]).await?;
    let third = lines.outcome_of("again").await?;
    named.properties = named.properties.with_timestamp(1_800_000_000);
    lines.stage.client.publish(JOBS, [named]).await?;
    let fourth = lines.outcome_of("again").await?;
    let ids = [&second, &third, &fourth].map(|outcome| outcome.message.message_id());
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "their own id and time tell them apart: {ids:?}");
    stop(&lines.worker).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_published_again_are_sent_again_after_a_lost_connection() -> Result<()> {
    let lines = Lines::set("line-lost", |builder| builder).await?;
    let message = job("again").pair(1, 1).to_message()?;
    lines.answered(&message).await?;
    lines.hubspot.black_hole(Way::ToClient);
    lines.stage.client.publish(JOBS, [message]).await?;
    lines.requests_reach(2).await?;
    lines.lose_the_broker().await?;
    assert_eq!(lines.outcome_of("again").await?.status, Status::Archived);
    // The one whose answer was lost, and another; on a busy machine the silent line may cost one more.
    assert!(lines.requests().await? >= 3);
    stop(&lines.worker).await
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_another_worker_hands_back_are_sent() -> Result<()> {
    const COUNT: u64 = 20;
    let stage = Stage::set("handed-over", &["--limit", "off"]).await?;
    let side_by_side = stage.worker().set("amqp.lease", false);
    let worker = stage.start(&side_by_side).await?;
    let jobs = single_pairs("job", 1..=COUNT)?;
    stage.client.publish(JOBS, jobs.clone()).await?;
    stage.tally(&ids("job", COUNT), LIMIT).await?.exactly_once()?;

    // Whatever the other one is given waits, since nobody listens where it looks for HubSpot.
    let nobody = format!("http://127.0.0.1:{}", harness::port::free_port()?);
    let other = side_by_side.set("hubspot.base_url", nobody).start()?;
    other.ready(LIMIT).await?;
    stage.client.publish(JOBS, jobs).await?;
    eventually(LIMIT, "jobs in the other worker's hand", async || {
        Ok((other.metrics().await?.sum("association_archiver_jobs_held", &[]) >= 1.0).then_some(()))
    })
    .await?;
    stop(&other).await?;
    stage.tally(&ids("job", COUNT), LIMIT).await?.exactly_once()?;
    let archived = number(&stage.simulator.state().await?, "/pairsArchivedTotal");
    assert_eq!(archived, 2 * COUNT, "some were answered without a request");
    stop(&worker).await
}

/// What was once answered `FAILED` and put back by hand is a job like any other, also when it is delivered again.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_put_back_by_hand_is_sent_and_not_answered_as_before() -> Result<()> {
    let quick = |builder: WorkerBuilder| {
        let builder = builder.set("retry.max_age", "1s").set("retry.base_delay", "50ms");
        builder.set("retry.max_delay", "100ms")
    };
    let lines = Lines::set("by-hand", quick).await?;
    let fault = json!([{"when": {"from": "deals"}, "then": {"answer": {"status": 502, "body": "html"}}}]);
    lines.stage.simulator.put_faults(&fault).await?;
    let failed = lines.answered(&job("again").types("deals", "contacts").pair(1, 1).to_message()?).await?;
    assert_eq!(failed.status, Status::Failed);
    lines.stage.simulator.put_faults(&json!([])).await?;

    let requests = lines.requests().await?;
    lines.hubspot.black_hole(Way::ToClient);
    let letters = lines.stage.client.collect(DEAD_LETTERS, Until::Count(1), LIMIT).await?;
    assert_eq!(letters.len(), 1);
    lines.stage.client.publish(JOBS, letters).await?;
    lines.requests_reach(requests + 1).await?;
    lines.lose_the_broker().await?;
    assert_eq!(lines.outcome_of("again").await?.status, Status::Archived);
    // One of its own. On a busy machine the silent line may cost it a second try, which is as it should be.
    assert!(lines.requests().await? >= requests + 2);
    stop(&lines.worker).await
}
