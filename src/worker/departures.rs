//! Answers on their way to the broker: encoded off the loop, published in bulk, counted once the broker has them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::answer::{self, OutcomeWriter};
use super::delivery::Delivery;
use super::seams::Departure;
use crate::amqp::acknowledge::Settler;
use crate::amqp::message::{Deposit, Envelope, Properties};
use crate::amqp::publisher::Publisher;
use crate::amqp::route::Route;
use crate::contract::ids::JobId;
use crate::contract::message::{REJECT_CATEGORY, REJECT_MESSAGE};
use crate::telemetry::dead_letters::{LetterIds, Overdue};
use crate::telemetry::metrics::Metrics;

/// Between two looks for dead letters that are not in the log yet.
const TELL_OVERDUE: Duration = Duration::from_secs(1);

/// Takes departures until the loop and the intake are gone.
pub async fn run(
    mut departures: mpsc::UnboundedReceiver<Vec<Departure<Box<Delivery>>>>,
    mut ready: mpsc::Receiver<Vec<Deposit>>,
    publisher: Arc<Publisher>,
    settler: Settler,
) {
    let mut writer = OutcomeWriter::default();
    loop {
        tokio::select! {
            Some(first) = departures.recv() => {
                let mut bundle = first;
                while let Ok(more) = departures.try_recv() {
                    bundle.extend(more);
                }
                depart(bundle, &mut writer, &publisher, &settler).await;
            }
            Some(answers) = ready.recv() => publisher.publish_in_order(answers).await,
            else => return,
        }
    }
}

async fn depart(
    bundle: Vec<Departure<Box<Delivery>>>,
    writer: &mut OutcomeWriter,
    publisher: &Publisher,
    settler: &Settler,
) {
    let (mut answers, mut handed_back) = (Vec::with_capacity(bundle.len()), Vec::new());
    for departure in bundle {
        match departure {
            Departure::Settled { delivery, settled, completed } => {
                writer.settled(*delivery, settled, completed, &mut answers)
            }
            Departure::Parked { delivery, parked } => {
                answers.push(answer::parked(*delivery, &parked, Timestamp::now()))
            }
            Departure::HandedBack { delivery } => handed_back.push(delivery.receipt.hand_back()),
            Departure::Forgotten { delivery: _ } => {}
        }
    }
    writer.finish(&mut answers);
    if !answers.is_empty() {
        publisher.publish(answers).await;
    }
    if !handed_back.is_empty() {
        settler.settle(handed_back).await;
    }
}

/// Counts what the broker has confirmed. Nothing is remembered of it: a job that is delivered again is sent again.
pub async fn count_published(publisher: Arc<Publisher>, metrics: Arc<Metrics>) {
    let mut overdue = tokio::time::interval(TELL_OVERDUE);
    loop {
        tokio::select! {
            report = publisher.report() => count(&report.published, &metrics),
            _ = overdue.tick() => tell_overdue(&metrics),
        }
    }
}

fn count(published: &[Deposit], metrics: &Metrics) {
    let messages =
        published.iter().flat_map(|deposit| deposit.messages().iter().map(move |message| (deposit, message)));
    for (deposit, message) in messages {
        match (&message.envelope, message.route) {
            (Envelope::Outcome(outcome), _) => {
                metrics.outcomes.of(outcome.status).increment();
                if outcome.of_background {
                    metrics.background_outcomes.increment();
                }
            }
            (Envelope::Copy(properties), Route::DeadLetters) => {
                metrics.dead_letters.increment();
                tell_dead_letter(properties, deposit.dead_job.as_ref(), metrics);
            }
            (Envelope::Copy(_), Route::Delay(tier) | Route::BackgroundDelay(tier)) => {
                metrics.jobs_parked.of(tier).increment();
            }
            (Envelope::Copy(_), Route::Shard(_)) => metrics.jobs_moved.increment(),
            (Envelope::Copy(_), Route::Jobs | Route::Background | Route::Results) => {}
        }
    }
}

/// Dead letters that had no line when they came.
fn tell_overdue(metrics: &Metrics) {
    for Overdue { category, message, ids, repeated } in metrics.dead_letter_causes.overdue(Instant::now()) {
        log_dead_letter(&category, &message, &ids, repeated);
    }
}

fn log_dead_letter(category: &str, detail: &str, LetterIds { job, message }: &LetterIds, repeated: u64) {
    let (job_id, message_id) = (job.as_deref(), message.as_deref());
    tracing::warn!(category, detail, job_id, message_id, repeated, "a message went to the dead letters");
}

/// For each cause one line within some seconds: a producer with a fault may send a thousand a second.
fn tell_dead_letter(properties: &Properties, job: Option<&JobId>, metrics: &Metrics) {
    let category = properties.text_header(REJECT_CATEGORY).unwrap_or_default();
    let message = properties.text_header(REJECT_MESSAGE).unwrap_or_default();
    let message_id = properties.message_id().or_else(|| properties.correlation_id());
    let ids = LetterIds { job: job.map(JobId::to_string), message: message_id.map(str::to_owned) };
    let causes = &metrics.dead_letter_causes;
    if let Some(repeated) = causes.note(&category, &message, &ids, Timestamp::now(), Instant::now()) {
        log_dead_letter(&category, &message, &ids, repeated);
    }
}
