//! The worker's own messages come back to it as jobs: it stops instead of answering them without end.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::lapin::ExchangeKind;
use harness::lapin::options::ExchangeDeclareOptions;
use harness::lapin::types::FieldTable;
use harness::worker::Worker;
use harness::{Message, eventually, job};

use crate::stage::{DEAD_LETTERS, JOBS, RESULTS, Stage, stop};

const LIMIT: Duration = Duration::from_secs(60);
const EXCHANGE: &str = "association-archiver";

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_comes_back_stops_the_intake() -> Result<()> {
    let stage = Stage::set("outcome-back", &[]).await?;
    let worker = stage.start(&stage.worker()).await?;
    stage.client.bind(JOBS, EXCHANGE, "results").await?;
    stage.client.publish(JOBS, [job("first").pair(1, 1).to_message()?]).await?;
    stops(&worker, "an outcome of this worker has come back").await?;
    stage.client.count_becomes(RESULTS, 1).await?;
    assert_eq!(stage.client.count(DEAD_LETTERS).await?, 0);
    stop(&worker).await?;
    stage.client.count_becomes(JOBS, 1).await.context("it is left where it is")?;

    // Mended and started again, it goes on: what is left in the queue is put aside, without an outcome.
    stage.client.unbind(JOBS, EXCHANGE, "results").await?;
    // The times of outcomes are in seconds.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let worker = stage.start(&stage.worker()).await?;
    stage.client.publish(JOBS, [job("second").pair(2, 1).to_message()?]).await?;
    stage.outcomes_waiting(2, LIMIT).await?;
    eventually(LIMIT, "the old outcome in the dead letters", async || {
        Ok((stage.client.count_now(DEAD_LETTERS).await? == 1).then_some(()))
    })
    .await?;
    worker.ready(LIMIT).await?;
    stop(&worker).await?;
    stage.client.count_becomes(RESULTS, 2).await?;
    stage.client.count_becomes(JOBS, 0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_comes_back_stops_the_intake() -> Result<()> {
    let stage = Stage::set("letter-back", &[]).await?;
    let worker = stage.start(&stage.worker()).await?;
    stage.client.bind(JOBS, EXCHANGE, "dead-letters").await?;
    stage.client.publish(JOBS, [Message::new("no job").id("wrong")?]).await?;
    stops(&worker, "a dead letter of this worker has come back").await?;
    stage.client.count_becomes(RESULTS, 1).await?;
    stage.client.count_becomes(DEAD_LETTERS, 1).await?;
    stop(&worker).await
}

/// A program that empties the dead letters into the jobs queue, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_moved_back_without_end_stop_the_intake() -> Result<()> {
    let stage = Stage::set("letters-moved", &[]).await?;
    let worker = stage.start(&stage.worker()).await?;
    stage.client.publish(JOBS, [Message::new("no job").id("wrong")?]).await?;
    for _ in 1..=3 {
        let letters = eventually(LIMIT, "a dead letter", async || {
            let letters = stage.client.get_all(DEAD_LETTERS).await?;
            Ok((!letters.is_empty()).then_some(letters))
        })
        .await?;
        stage.client.publish(JOBS, letters).await?;
    }
    stops(&worker, "dead-letters redrive").await?;
    stage.client.count_becomes(RESULTS, 3).await?;
    stop(&worker).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_is_not_direct_is_refused_at_the_start() -> Result<()> {
    let stage = Stage::set("fanout", &[]).await?;
    let channel = stage.client.channel().await?;
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Fanout, options, FieldTable::default()).await?;
    let worker = stage.worker().start()?;
    assert_eq!(worker.wait(LIMIT).await?, 1, "{}", worker.last_words());
    let said = worker.stderr();
    assert!(said.contains("is not direct") && said.contains("amqp.exchange"), "{said}");
    assert!(!stage.client.exists(JOBS).await?);
    Ok(())
}

async fn stops(worker: &Worker, reason: &str) -> Result<()> {
    eventually(LIMIT, "the worker to say why it stopped", async || {
        let (status, said) = worker.readiness().await?;
        Ok((status == 503 && said.to_string().contains(reason)).then_some(()))
    })
    .await
}
