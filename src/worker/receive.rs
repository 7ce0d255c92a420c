//! A message from the jobs queue: read and checked before it meets the engine, and answered at once if it is no job.

use jiff::Timestamp;

use super::accounts::Portals;
use super::answer;
use super::delivery::{self, Delivery, Identity};
use crate::amqp::message::{Answer, Delivered};
use crate::contract::job::{self, Envelope, Job, JobLimits, Malformed};
use crate::contract::message::OUTCOME_TYPE;
use crate::contract::refusal::{Refusal, WorkerCategory};
use crate::engine::command::NewJob;

/// What a message turned out to be.
#[derive(Debug)]
pub enum Received {
    Job(NewJob, Box<Delivery>),
    /// No job: its answer says so.
    Refused(Answer),
}

/// Reads a delivery.
pub fn receive(delivered: Delivered, portals: &Portals, limits: &JobLimits, now: Timestamp) -> Received {
    let Delivered { body, properties, redelivered: _, mut receipt } = delivered;
    if properties.kind() == Some(OUTCOME_TYPE) {
        // To answer an outcome would make another, and so on without end.
        let refusal = Refusal::worker(WorkerCategory::MalformedJob, OUTCOME_CAME_BACK);
        return Received::Refused(answer::rejected(body, properties, receipt, None, (None, None), refusal, now));
    }
    let envelope = Envelope { message_id: properties.message_id(), content_encoding: properties.content_encoding() };
    let job = match job::parse(&body, envelope, limits) {
        Ok(job) => job,
        Err(Malformed { job_id, portal, from_type, to_type, message }) => {
            let refusal = Refusal::worker(WorkerCategory::MalformedJob, &message);
            let identity = job_id.map(|id| Identity::of(id, portal, &body, &properties));
            let types = (from_type, to_type);
            return Received::Refused(answer::rejected(body, properties, receipt, identity, types, refusal, now));
        }
    };
    let weight = job.weight(body.len());
    let identity = Identity::of(job.id.clone(), job.portal, &body, &properties);
    let (from_text, to_text) = (Some(job.from_type.text().clone()), Some(job.to_type.text().clone()));
    match portals.resolve(job.portal) {
        Ok(account) => {
            receipt.weighs(weight);
            let carried = delivery::carried(&properties, now);
            let deadline = delivery::deadline(&properties, now);
            let Job { from_type, to_type, asks, not_after, .. } = job;
            let not_after = not_after.into_iter().chain(deadline).min();
            let new = NewJob { account, from_type, to_type, asks, not_after, weight, carried };
            let (from_type, to_type) = (from_text, to_text);
            let delivery = Delivery { receipt, body, properties, identity, from_type, to_type, deadline };
            Received::Job(new, Box::new(delivery))
        }
        Err(refusal) => {
            let types = (from_text, to_text);
            Received::Refused(answer::rejected(body, properties, receipt, Some(identity), types, refusal, now))
        }
    }
}

const OUTCOME_CAME_BACK: &str = "type: is that of an outcome of this worker, which is no job; something moves outcomes to the jobs queue, and must be stopped";
