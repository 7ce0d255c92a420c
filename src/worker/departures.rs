//! Answers on their way to the broker: encoded off the loop, published in bulk, remembered.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::answer::{self, OutcomeWriter};
use super::delivery::Delivery;
use super::recent::Recent;
use super::seams::Departure;
use crate::amqp::acknowledge::Settler;
use crate::amqp::message::{Answer, Envelope};
use crate::amqp::publisher::Publisher;
use crate::amqp::route::Route;
use crate::telemetry::metrics::Metrics;

/// Takes departures until the loop and the intake are gone.
pub async fn run(
    mut departures: mpsc::UnboundedReceiver<Vec<Departure<Box<Delivery>>>>,
    mut ready: mpsc::Receiver<Vec<Answer>>,
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
            Some(answers) = ready.recv() => publisher.publish(answers).await,
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
            Departure::Settled { delivery, settled, completed } => writer.settled(*delivery, settled, completed),
            Departure::Parked { delivery, parked } => answers.push(answer::parked(*delivery, &parked)),
            Departure::HandedBack { delivery } => handed_back.push(delivery.receipt.hand_back()),
            Departure::Forgotten { delivery: _ } => {}
        }
    }
    answers.extend(writer.take());
    if !answers.is_empty() {
        publisher.publish(answers).await;
    }
    if !handed_back.is_empty() {
        settler.settle(handed_back).await;
    }
}

/// Remembers what was answered, for jobs that are delivered again.
pub async fn remember(publisher: Arc<Publisher>, recent: Arc<Recent>, metrics: Arc<Metrics>) {
    loop {
        let report = publisher.report().await;
        count(&report.published, &metrics);
        recent.published(report.published);
        recent.unpublished(report.stale);
    }
}

/// Counts what the broker has confirmed.
pub fn count(published: &[Answer], metrics: &Metrics) {
    for message in published.iter().flat_map(Answer::messages) {
        match (&message.envelope, message.route) {
            (Envelope::Outcome(outcome), _) => metrics.outcomes.of(outcome.status).increment(),
            (Envelope::Copy(_), Route::DeadLetters) => metrics.dead_letters.increment(),
            (Envelope::Copy(_), Route::Jobs | Route::Results | Route::Delay(_)) => {}
        }
    }
}
