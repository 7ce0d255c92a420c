//! A message from the jobs queue: read and checked before it meets the engine, and answered at once if it is no job.

use jiff::Timestamp;

use super::accounts::Portals;
use super::answer;
use super::delivery::{self, Delivery};
use crate::amqp::message::{Delivered, Deposit};
use crate::contract::job::{self, JobLimits, JobProperties};
use crate::contract::message::OUTCOME_TYPE;
use crate::contract::refusal::{Refusal, WorkerCategory};
use crate::engine::command::NewJob;

/// What a message turned out to be.
#[derive(Debug)]
pub enum Received {
    Job(NewJob, Box<Delivery>),
    /// No job: its answer says so.
    Refused(Deposit),
}

/// Reads a delivery.
pub fn receive(delivered: Delivered, portals: &Portals, limits: &JobLimits, now: Timestamp) -> Received {
    let Delivered { body, properties, redelivered: _, mut receipt } = delivered;
    if properties.kind() == Some(OUTCOME_TYPE) {
        // To answer an outcome would make another, and so on without end.
        let refusal = Refusal::worker(WorkerCategory::MalformedJob, OUTCOME_CAME_BACK);
        return Received::Refused(answer::rejected(body, properties, receipt, None, refusal, now));
    }
    let envelope =
        JobProperties { message_id: properties.message_id(), content_encoding: properties.content_encoding() };
    let job = match job::parse(&body, envelope, limits) {
        Ok(job) => job,
        Err(malformed) => {
            let refusal = Refusal::worker(WorkerCategory::MalformedJob, &malformed.message);
            return Received::Refused(answer::rejected(body, properties, receipt, malformed.head(), refusal, now));
        }
    };
    let weight = job.weight(body.len());
    let head = job.head();
    let carried = delivery::carried(&properties, now);
    match portals.resolve(job.portal).map(|account| NewJob::of(job, account, weight, carried)) {
        Ok(mut new) => {
            receipt.weighs(weight);
            let expiry = delivery::expiry(&properties, now);
            new.expiry = new.expiry.into_iter().chain(expiry).min_by_key(|expiry| expiry.at);
            let deadline = expiry.map(|expiry| expiry.at);
            let message_id = delivery::message_id(&head, &body, &properties);
            let delivery = Delivery { receipt, body, properties, head, message_id, deadline };
            Received::Job(new, Box::new(delivery))
        }
        Err(refusal) => Received::Refused(answer::rejected(body, properties, receipt, Some(head), refusal, now)),
    }
}

const OUTCOME_CAME_BACK: &str = "type: is that of an outcome of this worker, which is no job; something moves outcomes to the jobs queue, and must be stopped";
