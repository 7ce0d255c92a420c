//! The demo over RabbitMQ: a throwaway broker, and the worker as `association-archiver run`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::metrics::Metrics;
use harness::{Broker, Client, Message, Options, Outcome, Status, Until, Worker};

use crate::answers::Answers;
use crate::live::Live;
use crate::settings::Settings;
use crate::traffic::Traffic;

pub const JOBS: &str = "association-archiver.jobs";
pub const RESULTS: &str = "association-archiver.results";
const DEAD_LETTERS: &str = "association-archiver.dead-letters";
pub const READY_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(40);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// A broker that is up, with nothing in it.
pub async fn broker() -> Result<Broker> {
    Broker::start(Options::default()).await.context("the throwaway broker did not start")
}

/// Sends everything, waits for every answer, and stops the worker in good order.
pub async fn run(traffic: &Traffic, broker: &Broker, settings: &Settings, live: &mut Live) -> Result<Answers> {
    let mut builder = Worker::builder().set("amqp.uri", broker.uri());
    for (key, value) in settings.pairs() {
        builder = builder.set(key, value);
    }
    let worker = builder.start()?;
    worker.ready(READY_LIMIT).await?;

    let owed = owed(traffic);
    let expected = owed.values().map(Vec::len).sum();
    let client = Client::new(&broker.uri());
    let messages: Vec<Message> = traffic.submissions.iter().map(|one| one.to_message()).collect::<Result<_>>()?;
    live.begin(expected);
    let sending = client.publish(JOBS, messages);
    let reader = Client::new(&broker.uri());
    let reading = reader.collect(RESULTS, Until::Count(expected), settings.deadline());
    let watching = watch(&worker, live);
    let results = tokio::select! {
        both = async { tokio::try_join!(sending, reading) } => both.with_context(|| worker.last_words())?.1,
        ended = watching => return Err(ended.context(worker.last_words())),
    };
    live.end(results.len());
    // Anything more than was owed would come right behind.
    let surplus = reader.collect(RESULTS, Until::Idle(Duration::from_millis(500)), STOP_LIMIT).await?;

    worker.term()?;
    let code = worker.wait(STOP_LIMIT).await?;
    ensure!(code == 0, "the worker ended with code {code}\n{}", worker.last_words());
    let left = client.count(JOBS).await?;
    let outcomes = results.iter().chain(&surplus).map(Outcome::from_message).collect::<Result<_>>()?;
    Ok(Answers { owed, outcomes, left, dead_letters: Some(client.get_all(DEAD_LETTERS).await?) })
}

/// Shows how far the worker is, until it is dropped; returns only when the worker has ended.
async fn watch(worker: &Worker, live: &mut Live) -> anyhow::Error {
    loop {
        tokio::time::sleep(BETWEEN_LOOKS).await;
        match worker.ended() {
            Ok(None) => {}
            Ok(Some(code)) => return anyhow::anyhow!("the worker ended with code {code} in the middle of the work"),
            Err(error) => return error,
        }
        // A look that fails is made up for by the next.
        if let Ok(metrics) = worker.metrics().await {
            let answered = count(&metrics, "association_archiver_outcomes_total");
            live.show(answered, count(&metrics, "association_archiver_http_requests_total"));
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "counters of a run of 20,000 jobs")]
fn count(metrics: &Metrics, counter: &str) -> usize {
    metrics.sum(counter, &[]) as usize
}

fn owed(traffic: &Traffic) -> BTreeMap<String, Vec<Status>> {
    let mut owed: BTreeMap<String, Vec<Status>> = BTreeMap::new();
    for submission in &traffic.submissions {
        // The body's own id comes first, as the worker has it.
        if let Some(id) = submission.job_id().or_else(|| submission.message_id.clone()) {
            owed.entry(id).or_default().push(submission.answer);
        }
    }
    owed
}
