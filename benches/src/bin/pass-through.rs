//! The floor: takes jobs, publishes an outcome-sized message for each with a confirm, acknowledges in bulk. No parsing, no
//! HTTP, no reconnecting: what RabbitMQ and lapin cost by themselves, used in the fastest way known.

use std::env;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, PublisherConfirm};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Beyond it nothing is gained.
const PREFETCH: u16 = 5_000;
const CHUNK: usize = 256;
/// Chunks whose confirms are waited for.
const CHUNKS_OPEN: usize = 16;
/// Acknowledgements sent right before a close can be lost on quorum queues.
const BEFORE_CLOSE: Duration = Duration::from_millis(250);

/// The worker's.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

struct Published {
    confirms: Vec<PublisherConfirm>,
    last_tag: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let uri = variable("AMQP_URI")?;
    // Two connections as the worker has them; one is as fast.
    let consuming = Connection::connect(&uri, ConnectionProperties::default()).await?;
    let publishing = Connection::connect(&uri, ConnectionProperties::default()).await?;
    let intake = consuming.create_channel().await?;
    let outlet = publishing.create_channel().await?;
    outlet.confirm_select(ConfirmSelectOptions::default()).await?;

    let (sender, receiver) = mpsc::channel(CHUNKS_OPEN);
    let settling = tokio::spawn(settle(intake.clone(), receiver));
    pass(&intake, &outlet, sender).await?;
    settling.await??;
    tokio::time::sleep(BEFORE_CLOSE).await;
    publishing.close(200, "done".into()).await?;
    consuming.close(200, "done".into()).await?;
    Ok(())
}

async fn pass(intake: &Channel, outlet: &Channel, sender: mpsc::Sender<Published>) -> Result<()> {
    let (exchange, key) = (variable("EXCHANGE")?, variable("RESULTS_KEY")?);
    intake.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let consumer = intake
        .basic_consume(variable("JOBS_QUEUE")?.into(), "pass-through".into(), options, FieldTable::default())
        .await?;
    let mut chunks = consumer.ready_chunks(CHUNK);
    let mut stop = signal(SignalKind::terminate())?;
    let (body, properties) = (outcome(), properties());
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    loop {
        let chunk = tokio::select! {
            chunk = chunks.next() => chunk.context("the broker cancelled the consumer")?,
            _ = stop.recv() => break,
        };
        let chunk: Vec<Delivery> = chunk.into_iter().collect::<Result<_, _>>()?;
        let publishes = chunk.iter().map(|delivery| {
            let properties = properties.clone();
            let properties = match delivery.properties.message_id() {
                Some(id) => properties.with_correlation_id(id.clone()),
                None => properties,
            };
            outlet.basic_publish(exchange.as_str().into(), key.as_str().into(), options, &body, properties)
        });
        let confirms = try_join_all(publishes).await?;
        let last_tag = chunk.last().map_or(0, |delivery| delivery.delivery_tag);
        if sender.send(Published { confirms, last_tag }).await.is_err() {
            bail!("the settling task has ended");
        }
    }
    intake.basic_cancel("pass-through".into(), BasicCancelOptions::default()).await?;
    Ok(())
}

async fn settle(intake: Channel, mut published: mpsc::Receiver<Published>) -> Result<()> {
    while let Some(Published { confirms, last_tag }) = published.recv().await {
        for confirm in confirms {
            if !confirm.await?.is_ack() {
                bail!("the broker refused a message");
            }
        }
        intake.basic_ack(last_tag, BasicAckOptions { multiple: true }).await?;
    }
    Ok(())
}

/// As long as the worker's own for a job of one pair.
fn outcome() -> Vec<u8> {
    br#"{"jobId":"job-0000000","portalId":4711,"fromObjectType":"contacts","toObjectType":"companies","action":"archive","dryRun":false,"group":null,"status":"ARCHIVED","numPairs":1,"numArchived":1,"numRestored":0,"numErrors":0,"verified":false,"journaled":false,"plan":null,"errors":[],"attempts":1,"receivedAt":"2026-01-01T00:00:00.000Z","startedAt":"2026-01-01T00:00:00.000Z","completedAt":"2026-01-01T00:00:00.000Z"}"#.to_vec()
}

/// The same as on the worker's outcomes, but for the job's id.
fn properties() -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("x-job-status".into(), AMQPValue::LongString("ARCHIVED".into()));
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(2)
        .with_type("association-archive.outcome.v1".into())
        .with_app_id("association-archiver".into())
        .with_message_id("00000000-0000-5000-8000-000000000000".into())
        .with_timestamp(1_800_000_000)
        .with_headers(headers)
}

fn variable(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("the environment variable {name} is missing"))
}
