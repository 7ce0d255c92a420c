//! Answers to deliveries: outcomes, dead letters, and copies that are parked or moved, as messages on their way out.

use bytes::Bytes;
use jiff::Timestamp;
use smallvec::SmallVec;

use super::delivery::{self, Delivery, carried_headers};
use crate::amqp::message::{Deposit, Envelope, HeaderValue, OutcomeEnvelope, Outgoing, Properties};
use crate::amqp::receipt::Receipt;
use crate::amqp::route::Route;
use crate::contract::ids::JobId;
use crate::contract::message::{
    DEAD_LETTERED, MessageId, OF_BACKGROUND, PARKED, REJECT_CATEGORY, REJECT_MESSAGE, REJECTED_AT, TRACE_CONTEXT,
    TRACE_MAX_BYTES, correlation_id,
};
use crate::contract::outcome::{Head, Outcome};
use crate::contract::refusal::Refusal;
use crate::contract::time;
use crate::engine::command::{Parked, Settled};
use crate::engine::pause::Tier;
use crate::shards::QueueIndex;

/// About this many bytes of outcomes share a buffer. A buffer that grew to a whole crowd's size would be copied at each
/// doubling, and the kernel would have to clear new pages for it; one of this size is taken from what was freed just
/// now.
const BUFFER_BYTES: usize = 32 * 1024;

/// Writes outcomes one behind the other into buffers, which their messages then share.
#[derive(Debug, Default)]
pub struct OutcomeWriter {
    buffer: Vec<u8>,
    /// What is written into the buffer.
    pending: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    end: usize,
    receipt: Receipt,
    envelope: OutcomeEnvelope,
    dead_letter: Option<(Outgoing, JobId)>,
}

impl OutcomeWriter {
    /// Writes a job's outcome. Once a buffer is full, the answers in it are added to `answers`.
    pub fn settled(&mut self, delivery: Delivery, settled: Settled, completed: Timestamp, answers: &mut Vec<Deposit>) {
        let Delivery { receipt, body, properties, head, message_id, deadline } = delivery;
        let (outcome, dead_letter) = settled.outcome(head, completed);
        let queue = receipt.generation().queue;
        let envelope = envelope(message_id, &properties, queue, &outcome, completed);
        log_job(&outcome, &envelope.correlation_id);
        outcome.encode(&mut self.buffer);
        let dead_letter = dead_letter.map(|refusal| {
            let copy = dead_letter_of(body.into(), (&properties, deadline), queue, &refusal, completed);
            (copy, outcome.head.job_id.clone())
        });
        self.pending.push(Pending { end: self.buffer.len(), receipt, envelope, dead_letter });
        if self.buffer.len() >= BUFFER_BYTES {
            self.finish(answers);
        }
    }

    /// Adds the answers that are left to `answers`, in the order in which they were written.
    pub fn finish(&mut self, answers: &mut Vec<Deposit>) {
        // The next buffer will be as full as this one, and has room for the outcome that goes beyond it.
        let expected = self.buffer.len().min(BUFFER_BYTES);
        let next = Vec::with_capacity(expected + expected / 8);
        let whole = Bytes::from(std::mem::replace(&mut self.buffer, next));
        let mut start = 0;
        answers.extend(self.pending.drain(..).map(|pending| {
            let Pending { end, receipt, envelope, dead_letter } = pending;
            let body = whole.slice(start..end);
            start = end;
            let outcome = Outgoing { route: Route::Results, body, envelope: Envelope::Outcome(envelope) };
            let answer = Deposit::new(0, Some(receipt), outcome);
            match dead_letter {
                Some((dead_letter, job)) => answer.and_dead_letter(dead_letter, job),
                None => answer,
            }
        }));
    }
}

/// Logs the job, for people who follow single jobs. There may be a thousand a second, so the level is one that is off
/// by default.
fn log_job(outcome: &Outcome, job_correlation_id: &str) {
    tracing::debug!(
        job_id = outcome.head.job_id.as_str(),
        group = outcome.head.group.as_ref().map(|group| group.as_str()),
        job_correlation_id,
        portal_id = outcome.head.portal.map(|portal| portal.0.get()),
        attempt = outcome.attempts,
        status = outcome.status().as_str(),
        "job answered"
    );
}

fn envelope(
    message_id: MessageId,
    job: &Properties,
    queue: QueueIndex,
    outcome: &Outcome,
    now: Timestamp,
) -> OutcomeEnvelope {
    let text = |name: &'static str| {
        let value = job.text_header(name).filter(|value| value.len() <= TRACE_MAX_BYTES)?;
        Some((name, value.into_owned()))
    };
    let trace: SmallVec<[(&'static str, String); 0]> = TRACE_CONTEXT.into_iter().filter_map(text).collect();
    OutcomeEnvelope {
        message_id,
        correlation_id: correlation_id(job.correlation_id(), job.message_id(), &outcome.head.job_id).to_owned(),
        status: outcome.status(),
        timestamp: u64::try_from(now.as_second()).unwrap_or(0),
        of_background: queue == QueueIndex::BACKGROUND,
        trace,
    }
}

/// Answers a message that is no valid job: an outcome if it can be matched to anything, and a dead letter.
pub fn rejected(
    body: Vec<u8>,
    properties: Properties,
    receipt: Receipt,
    head: Option<Head>,
    refusal: Refusal,
    now: Timestamp,
) -> Deposit {
    let queue = receipt.generation().queue;
    let deadline = delivery::expiry(&properties, now).map(|expiry| expiry.at);
    let dead_letter = dead_letter_of(body.into(), (&properties, deadline), queue, &refusal, now);
    let Some(head) = head else { return Deposit::new(0, Some(receipt), dead_letter) };
    let message_id = delivery::message_id(&head, &dead_letter.body, &properties);
    let job = head.job_id.clone();
    let outcome = Outcome::rejected(head, refusal, now);
    let envelope = envelope(message_id, &properties, queue, &outcome, now);
    log_job(&outcome, &envelope.correlation_id);
    let mut body = Vec::new();
    outcome.encode(&mut body);
    let envelope = Envelope::Outcome(envelope);
    let outcome = Outgoing { route: Route::Results, body: body.into(), envelope };
    Deposit::new(0, Some(receipt), outcome).and_dead_letter(dead_letter, job)
}

fn dead_letter_of(
    body: Bytes,
    (properties, deadline): (&Properties, Option<Timestamp>),
    queue: QueueIndex,
    refusal: &Refusal,
    now: Timestamp,
) -> Outgoing {
    let before = properties.integer_header(DEAD_LETTERED).unwrap_or(0);
    let headers = [
        (REJECT_CATEGORY, HeaderValue::Text(refusal.source.category().to_owned())),
        (REJECT_MESSAGE, HeaderValue::Text(refusal.message.to_string())),
        (REJECTED_AT, HeaderValue::Text(rejected_at(now))),
        (DEAD_LETTERED, HeaderValue::Integer(before.saturating_add(1))),
    ];
    let of_background =
        (queue == QueueIndex::BACKGROUND).then(|| (OF_BACKGROUND, HeaderValue::Text("true".to_owned())));
    // Since it was last a dead letter, a person may have put it on another queue.
    let bare = properties.clone().without_headers(&[OF_BACKGROUND]);
    let envelope = Envelope::Copy(bare.republished(deadline, headers.into_iter().chain(of_background)));
    Outgoing { route: Route::DeadLetters, body, envelope }
}

fn rejected_at(now: Timestamp) -> String {
    let mut text = Vec::with_capacity(24);
    time::write(now, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The copy of a job that waits in a delay queue. Its headers keep what must not be forgotten meanwhile.
pub fn parked(delivery: Delivery, parked: &Parked, now: Timestamp) -> Deposit {
    use carried_headers::{AGE, ATTEMPTS, MOVED, PARKS, RECEIVED, STARTED, TIER};
    let Delivery { receipt, body, properties, deadline, .. } = delivery;
    let carried = parked.carried;
    let millis = |time: Timestamp| HeaderValue::Integer(time.as_millisecond());
    let age = carried.age.map(|age| HeaderValue::Integer(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)));
    let headers = [
        (RECEIVED, Some(millis(carried.received))),
        (STARTED, carried.started.map(millis)),
        (ATTEMPTS, Some(HeaderValue::Integer(carried.attempts.into()))),
        (AGE, age),
        (PARKS, Some(HeaderValue::Integer(carried.parks.into()))),
        (TIER, Some(HeaderValue::Text(parked.tier.as_str().to_owned()))),
        (PARKED, Some(millis(now))),
    ];
    let headers = headers.into_iter().filter_map(|(name, value)| Some((name, value?)));
    // The job was worked on here, so earlier moves no longer count.
    let envelope = Envelope::Copy(properties.republished(deadline, headers).without_headers(&[MOVED]));
    let route = match receipt.generation().queue {
        QueueIndex::BACKGROUND => Route::BackgroundDelay(parked.tier),
        _ => Route::Delay(parked.tier),
    };
    Deposit::new(0, Some(receipt), Outgoing { route, body: body.into(), envelope })
}

/// The copy of a job on its way to its account's shard.
pub fn moved(delivery: Delivery, route: Route, moves: u32) -> Deposit {
    passed_on(delivery, route, [(carried_headers::MOVED, HeaderValue::Integer(moves.into()))])
}

/// The copy of a job that was on the wrong shard, and waits in a delay queue to come back through the shared queue.
pub fn misplaced(delivery: Delivery, tier: Tier, now: Timestamp) -> Deposit {
    passed_on(delivery, Route::Delay(tier), [(PARKED, HeaderValue::Integer(now.as_millisecond()))])
}

fn passed_on<const N: usize>(delivery: Delivery, route: Route, headers: [(&'static str, HeaderValue); N]) -> Deposit {
    let Delivery { receipt, body, properties, deadline, .. } = delivery;
    let envelope = Envelope::Copy(properties.republished(deadline, headers));
    Deposit::new(0, Some(receipt), Outgoing { route, body: body.into(), envelope })
}
