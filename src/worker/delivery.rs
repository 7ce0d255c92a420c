//! What must be kept of a job's message until it is answered.

use std::time::Duration;

use jiff::Timestamp;

use crate::amqp::message::Properties;
use crate::amqp::receipt::Receipt;
use crate::contract::expiry::{Expiry, GivenBy};
use crate::contract::journal::JobName;
use crate::contract::message::{
    BodyDigest, DEADLINE, MessageId, ORIGINAL_EXPIRATION, REDRIVEN, Request, correlation_id,
};
use crate::contract::outcome::Head;
use crate::engine::command::Carried;

/// See the module.
#[derive(Debug)]
pub struct Delivery {
    pub receipt: Receipt,
    pub body: Vec<u8>,
    pub properties: Properties,
    /// What the outcome repeats of the job.
    pub head: Head,
    /// The name of the outcome.
    pub message_id: MessageId,
    /// When the time to live that the producer gave the message is over. It travels with every copy of the message.
    pub deadline: Option<Timestamp>,
}

/// What people call the job, in the journal.
#[expect(clippy::borrowed_box, reason = "the loop holds its deliveries in boxes")]
pub fn job_name(delivery: &Box<Delivery>) -> JobName {
    let Delivery { head, properties, .. } = &**delivery;
    let correlation = correlation_id(properties.correlation_id(), properties.message_id(), &head.job_id);
    JobName { id: head.job_id.clone(), group: head.group.clone(), correlation_id: Some(correlation.into()) }
}

/// The name of the outcome of the job that a message asks for.
pub fn message_id(head: &Head, body: &[u8], properties: &Properties) -> MessageId {
    let redriven = properties.integer_header(REDRIVEN).and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
    MessageId::of_outcome(&Request {
        portal: head.portal,
        job_id: &head.job_id,
        body: &BodyDigest::of(body),
        redriven,
        message_id: properties.message_id(),
        timestamp: properties.timestamp(),
    })
}

/// Headers of a job that waited in a delay queue, or was moved. They are the worker's own; a value that makes no sense
/// counts as absent.
pub mod carried_headers {
    use crate::contract::message::{DEAD_LETTERED, OF_BACKGROUND, PARKED};

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
    /// How many times it was moved from the shared jobs queue to a shard since it was last worked on.
    pub const MOVED: &str = "x-archiver-moved";

    /// What a job that is redriven leaves behind: it is a new request. Its deadline is not among them.
    pub const LEFT_BEHIND: [&str; 10] =
        [RECEIVED, STARTED, ATTEMPTS, AGE, PARKS, TIER, MOVED, PARKED, DEAD_LETTERED, OF_BACKGROUND];
}

/// How many times the message was moved.
pub fn moves(properties: &Properties) -> u32 {
    let moves = properties.integer_header(carried_headers::MOVED);
    moves.and_then(|moves| u32::try_from(moves).ok()).unwrap_or(0)
}

/// What a job that waited in a delay queue brings back.
pub fn carried(properties: &Properties, now: Timestamp) -> Carried {
    use carried_headers::{AGE, ATTEMPTS, PARKS, RECEIVED, STARTED};
    let time = |name| properties.integer_header(name).and_then(|millis| Timestamp::from_millisecond(millis).ok());
    let count = |name| properties.integer_header(name).and_then(|count| u32::try_from(count).ok());
    let Some(received) = time(RECEIVED) else { return Carried::fresh(now) };
    let age = properties.integer_header(AGE).and_then(|millis| u64::try_from(millis).ok());
    Carried {
        received: received.min(now),
        started: time(STARTED),
        attempts: count(ATTEMPTS).unwrap_or(0),
        age: age.map(Duration::from_millis),
        parks: count(PARKS).unwrap_or(0),
    }
}

/// When the message's time to live is over. `expiration` counts from now. A copy that was made of the message has the
/// worker's own header instead, which says when the time to live is over that began with the first receipt.
pub fn expiry(properties: &Properties, now: Timestamp) -> Option<Expiry> {
    let carried = properties.integer_header(DEADLINE);
    let carried = carried.and_then(|millis| Timestamp::from_millisecond(millis).ok());
    let given = || properties.integer_header(ORIGINAL_EXPIRATION).and_then(|millis| u64::try_from(millis).ok());
    let carried = carried.map(|at| (at, given().map(Duration::from_millis)));
    // A time that no calendar has is never over.
    let fresh = properties.expiration().and_then(|span| Some((now.checked_add(span).ok()?, Some(span))));
    let (at, span) = carried.into_iter().chain(fresh).min_by_key(|(at, _)| *at)?;
    Some(Expiry { at, given_by: GivenBy::Expiration(span) })
}

/// The same of a dead letter, which the broker itself may have made of the message: then its note has the time to live.
///
/// What expired in the queue was over then. Where the broker gave a message up for another reason, nobody wrote down when
/// it was received first; it was received for the last time just before.
pub fn letters_expiry(properties: &Properties, now: Timestamp) -> Option<Expiry> {
    let by_broker = properties.last_death().and_then(|death| {
        let (died, span) = (Timestamp::from_second(death.seconds).ok()?, death.expiration?);
        let at = if death.expired { died } else { died.checked_add(span).ok()? };
        Some(Expiry { at, given_by: GivenBy::Expiration(Some(span)) })
    });
    expiry(properties, now).into_iter().chain(by_broker).min_by_key(|expiry| expiry.at)
}
