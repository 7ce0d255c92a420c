//! A message from the jobs queue: read and checked before it meets the engine, and answered at once if it is no job.

use jiff::Timestamp;
use smallvec::SmallVec;

use super::accounts::Portals;
use super::answer::{self, Identity};
use super::recent::Recent;
use crate::amqp::message::{Answer, Delivered, Properties};
use crate::amqp::receipt::Receipt;
use crate::contract::ids::JobId;
use crate::contract::job::{self, Envelope, Job, JobLimits, Malformed};
use crate::contract::message::{BodyDigest, MessageId, REDRIVEN};
use crate::contract::object_type::TypeText;
use crate::contract::refusal::{Refusal, WorkerCategory};
use crate::engine::command::{Carried, NewJob};

/// What must be kept of a job's message until it is answered.
#[derive(Debug)]
pub struct Delivery {
    pub receipt: Receipt,
    pub body: Vec<u8>,
    pub properties: Properties,
    pub identity: Identity,
    pub from_type: Option<TypeText>,
    pub to_type: Option<TypeText>,
}

/// What a message turned out to be.
#[derive(Debug)]
pub enum Received {
    Job(NewJob, Box<Delivery>),
    /// No job: its answer says so.
    Refused(Answer),
    /// Delivered again after it was answered: the same answer again.
    Repeated(Answer),
}

/// Bytes counted for a job beside its body and its pairs.
const JOB_OVERHEAD_BYTES: usize = 600;

/// Bytes counted for each pair in hand.
const PAIR_BYTES: usize = 160;

/// Reads a delivery.
pub fn receive(
    delivered: Delivered,
    portals: &Portals,
    limits: &JobLimits,
    recent: &Recent,
    now: Timestamp,
) -> Received {
    let Delivered { body, properties, redelivered, mut receipt } = delivered;
    let envelope = Envelope { message_id: properties.message_id(), content_encoding: properties.content_encoding() };
    let job = match job::parse(&body, envelope, limits) {
        Ok(job) => job,
        Err(malformed) => {
            let refusal = Refusal::worker(WorkerCategory::MalformedJob, &malformed.message);
            let identity = malformed.job_id.clone().map(|id| Identity::of(id, malformed.portal, &body, &properties));
            let Malformed { from_type, to_type, .. } = malformed;
            return Received::Refused(answer::rejected(
                body,
                properties,
                receipt,
                identity,
                (from_type, to_type),
                refusal,
                now,
            ));
        }
    };
    let identity = Identity::of(job.id.clone(), job.portal, &body, &properties);
    let types = (Some(job.from_type.text().clone()), Some(job.to_type.text().clone()));
    if redelivered {
        match recent.answer(&identity.message_id, receipt) {
            Ok(answer) => return Received::Repeated(answer),
            Err(unanswered) => receipt = unanswered,
        }
    }
    match portals.resolve(job.portal) {
        Ok(account) => {
            let weight = body.len() + JOB_OVERHEAD_BYTES + job.num_pairs() * PAIR_BYTES;
            let carried = carried(&properties, now);
            let Job { from_type, to_type, asks, not_after, .. } = job;
            let asks: SmallVec<[job::Ask; 1]> = asks;
            let new = NewJob { account, from_type, to_type, asks, not_after, weight, carried };
            let (from_type, to_type) = types;
            Received::Job(new, Box::new(Delivery { receipt, body, properties, identity, from_type, to_type }))
        }
        Err(refusal) => {
            Received::Refused(answer::rejected(body, properties, receipt, Some(identity), types, refusal, now))
        }
    }
}

impl Identity {
    fn of(job_id: JobId, portal: Option<crate::contract::ids::PortalId>, body: &[u8], properties: &Properties) -> Self {
        let redriven = properties.integer_header(REDRIVEN).and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
        let message_id = MessageId::of_outcome(portal, &job_id, &BodyDigest::of(body), redriven);
        Self { job_id, portal, message_id }
    }
}

/// Headers of a job that waited in a delay queue. They are the worker's own; a value that makes no sense counts as absent.
pub mod carried_headers {
    /// Milliseconds since 1970: when the job was received for the first time.
    pub const RECEIVED: &str = "x-archiver-received";
    /// Milliseconds since 1970: when its first request left.
    pub const STARTED: &str = "x-archiver-started";
    /// Requests that carried any pair of it.
    pub const ATTEMPTS: &str = "x-archiver-attempts";
    /// Milliseconds towards `retry.max_age`.
    pub const AGE: &str = "x-archiver-age";
    /// How often it was parked for failures.
    pub const PARKS: &str = "x-archiver-parks";
    /// The delay queue it waited in last.
    pub const TIER: &str = "x-archiver-tier";

    pub const ALL: [&str; 6] = [RECEIVED, STARTED, ATTEMPTS, AGE, PARKS, TIER];
}

fn carried(properties: &Properties, now: Timestamp) -> Carried {
    use carried_headers::{AGE, ATTEMPTS, PARKS, RECEIVED, STARTED};
    let time = |name| properties.integer_header(name).and_then(|millis| Timestamp::from_millisecond(millis).ok());
    let count = |name| properties.integer_header(name).and_then(|count| u32::try_from(count).ok());
    let Some(received) = time(RECEIVED) else { return Carried::fresh(now) };
    let age = properties.integer_header(AGE).and_then(|millis| u64::try_from(millis).ok());
    Carried {
        received: received.min(now),
        started: time(STARTED),
        attempts: count(ATTEMPTS).unwrap_or(0),
        age: age.map(std::time::Duration::from_millis),
        parks: count(PARKS).unwrap_or(0),
    }
}
