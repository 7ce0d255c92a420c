//! The worker dies.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::worker::WorkerBuilder;
use harness::{Broker, Client, Message, Tally, Until, Worker};
use tokio::time::{sleep, timeout};

use crate::stage::{ANSWERED, JOBS, LULL, RESULTS, SOON, Stage, hubspot, settings};
use crate::traffic;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_at_random_times_loses_nothing() -> Result<()> {
    const KILLS: u64 = 6;
    let vhost = Broker::shared().await?.vhost("worker-killed").await?;
    let mut stage = Stage::open(&vhost.uri).await?;
    for _ in 0..KILLS {
        stage.worker.ready(SOON).await?;
        sleep(Duration::from_millis(fastrand::u64(0..700))).await;
        stage.worker.kill9().await?;
        stage.start_again()?;
    }
    stage.conclude(3_000).await?.doubled_only_by(KILLS)
}

/// The same bytes again, under another message id, are other jobs: none of them is answered by what was done for the
/// first, whatever dies in between.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_twice_are_sent_twice_though_workers_die() -> Result<()> {
    const JOBS_OF_ROUND: u64 = 400;
    const ROUNDS: u64 = 2;
    let vhost = Broker::shared().await?.vhost("worker-killed-repeats").await?;
    let simulator = hubspot().await?;
    let settings = settings(&vhost.uri, &simulator);
    let client = Client::new(&vhost.uri);
    let mut worker = settings.start()?;
    worker.ready(SOON).await?;
    let mut outcomes = Vec::new();
    for round in 0..ROUNDS {
        let copies = traffic::jobs(0..JOBS_OF_ROUND)?.into_iter().enumerate();
        let copies = copies.map(|(number, job)| job.id(&format!("copy-{round}-{number}")));
        client.publish(JOBS, copies.collect::<Result<Vec<_>>>()?).await?;
        worker = killed_and_started(&worker, &settings).await?;
        let answered = (round + 1) * JOBS_OF_ROUND;
        timeout(ANSWERED, answers(&client, answered, &mut outcomes)).await??;
    }
    let ids = (0..ROUNDS).flat_map(|_| (0..JOBS_OF_ROUND).map(traffic::id));
    Tally::of_published(ids).outcomes(&outcomes)?.report().at_least_once()?;
    let state = simulator.state().await?;
    let archived = ["pairsArchivedDistinct", "pairsArchivedTotal"].map(|name| state[name].as_u64().unwrap_or(0));
    ensure!(archived[0] == JOBS_OF_ROUND && archived[1] >= ROUNDS * JOBS_OF_ROUND, "{archived:?} pairs were archived");
    worker.term()?;
    ensure!(worker.wait(SOON).await? == 0, "{}", worker.last_words());
    Ok(())
}

async fn killed_and_started(worker: &Worker, settings: &WorkerBuilder) -> Result<Worker> {
    sleep(Duration::from_millis(fastrand::u64(50..400))).await;
    worker.kill9().await?;
    let next = settings.start()?;
    next.ready(SOON).await?;
    Ok(next)
}

/// Reads outcomes until this many messages have one.
async fn answers(client: &Client, messages: u64, outcomes: &mut Vec<Message>) -> Result<()> {
    loop {
        let answered: HashSet<&str> = outcomes.iter().filter_map(Message::correlation_id).collect();
        if answered.len() as u64 >= messages {
            return Ok(());
        }
        outcomes.extend(client.collect(RESULTS, Until::Idle(LULL), ANSWERED).await?);
    }
}
