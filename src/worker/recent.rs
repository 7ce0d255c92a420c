//! A bounded memory of recent outcomes: a job that is delivered again is given the same answer, without a second
//! request to HubSpot.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use hashbrown::HashMap;

use crate::amqp::message::{Answer, Envelope, Outgoing};
use crate::amqp::receipt::Receipt;
use crate::contract::message::MessageId;

/// Shared by the intake, which asks, and the publisher's reports, which tell.
#[derive(Debug)]
pub struct Recent {
    most: usize,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    by_id: HashMap<MessageId, Remembered>,
    order: VecDeque<(MessageId, usize)>,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Remembered {
    outcome: Outgoing,
    /// Where the broker may not have it yet.
    dead_letter: Option<Box<Outgoing>>,
}

/// Bodies remembered at most, in bytes.
const MAX_BYTES: usize = 16 * 1024 * 1024;

impl Recent {
    /// Remembers at most `most` outcomes. As many as the prefetch are enough: no more can be delivered again.
    pub fn new(most: usize) -> Self {
        Self { most, memory: Mutex::default() }
    }

    /// What was answered under this id, as the answer to another delivery; the receipt back where nothing is known.
    pub fn answer(&self, id: &MessageId, receipt: Receipt) -> Result<Answer, Receipt> {
        let Some(Remembered { outcome, dead_letter }) = self.remembered(id) else { return Err(receipt) };
        let answer = Answer::new(0, Some(receipt), outcome);
        Ok(match dead_letter {
            Some(dead_letter) => answer.and(*dead_letter),
            None => answer,
        })
    }

    fn remembered(&self, id: &MessageId) -> Option<Remembered> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(id).cloned()
    }

    /// The broker has these: a dead letter that goes with one need not be published again.
    pub fn published(&self, answers: Vec<Answer>) {
        self.remember(answers, |_| None);
    }

    /// The broker may have none of what belongs to these.
    pub fn unpublished(&self, answers: Vec<Answer>) {
        self.remember(answers, |copy| Some(Box::new(copy)));
    }

    fn remember(&self, answers: Vec<Answer>, dead_letter: impl Fn(Outgoing) -> Option<Box<Outgoing>>) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        for answer in answers {
            let (mut told, mut kept) = (None, None);
            for message in answer.into_messages() {
                match &message.envelope {
                    Envelope::Outcome(envelope) => told = Some((envelope.message_id, message)),
                    Envelope::Copy(_) => kept = dead_letter(message),
                }
            }
            let Some((id, outcome)) = told else { continue };
            let bytes = outcome.body.len() + kept.as_ref().map_or(0, |copy| copy.body.len());
            if memory.by_id.insert(id, Remembered { outcome, dead_letter: kept }).is_none() {
                memory.bytes += bytes;
                memory.order.push_back((id, bytes));
            }
        }
        while memory.order.len() > self.most || memory.bytes > MAX_BYTES {
            let Some((oldest, bytes)) = memory.order.pop_front() else { break };
            memory.by_id.remove(&oldest);
            memory.bytes -= bytes;
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use smallvec::SmallVec;

    use super::*;
    use crate::amqp::message::OutcomeEnvelope;
    use crate::amqp::message::Properties;
    use crate::amqp::route::Route;
    use crate::contract::ids::JobId;
    use crate::contract::message::BodyDigest;
    use crate::contract::outcome::Status;

    static LARGE: [u8; MAX_BYTES / 2] = [0; MAX_BYTES / 2];

    fn id(job: &str, body: &[u8], redriven: u64) -> MessageId {
        MessageId::of_outcome(None, &JobId::new(job).unwrap(), &BodyDigest::of(body), redriven)
    }

    fn outcome(message_id: MessageId, body: &'static [u8]) -> Answer {
        let envelope = OutcomeEnvelope {
            message_id,
            correlation_id: String::new(),
            status: Status::Archived,
            timestamp: 0,
            trace: SmallVec::new(),
        };
        let message = Outgoing { route: Route::Results, body: body.into(), envelope: Envelope::Outcome(envelope) };
        Answer::new(0, None, message)
    }

    fn known(recent: &Recent, ids: &[MessageId]) -> Vec<bool> {
        ids.iter().map(|id| recent.remembered(id).is_some()).collect()
    }

    #[test]
    fn only_the_same_id_body_and_redrive_count_are_answered_again() {
        let recent = Recent::new(10);
        recent.published(vec![outcome(id("a", b"{}", 0), b"first")]);
        let told = recent.remembered(&id("a", b"{}", 0)).unwrap();
        assert_eq!(told.outcome.body.as_ref(), b"first");
        let others = [id("b", b"{}", 0), id("a", b"{ }", 0), id("a", b"{}", 1)];
        assert_eq!(known(&recent, &others), [false; 3]);
    }

    #[test]
    fn the_oldest_are_forgotten_by_count_and_by_bytes() {
        let recent = Recent::new(3);
        let ids: Vec<MessageId> = (0..5).map(|n| id("a", b"{}", n)).collect();
        for &id in &ids {
            recent.published(vec![outcome(id, b"body")]);
        }
        assert_eq!(known(&recent, &ids), [false, false, true, true, true]);
        recent.published(vec![outcome(ids[0], &LARGE), outcome(ids[1], &LARGE)]);
        assert_eq!(known(&recent, &ids), [true, true, false, false, false]);
    }

    #[test]
    fn an_outcome_remembered_twice_is_counted_once() {
        let recent = Recent::new(2);
        let ids = [id("a", b"{}", 0), id("b", b"{}", 0)];
        for _ in 0..5 {
            recent.published(vec![outcome(ids[0], &LARGE)]);
        }
        recent.published(vec![outcome(ids[1], b"body")]);
        assert_eq!(known(&recent, &ids), [true, true]);
    }

    #[test]
    fn a_dead_letter_that_the_broker_may_not_have_is_part_of_the_answer() {
        let copy = Envelope::Copy(Properties::of_job("a").republished([]));
        let dead_letter = Outgoing { route: Route::DeadLetters, body: b"{}".as_slice().into(), envelope: copy };
        let (recent, id) = (Recent::new(2), id("a", b"{}", 0));
        recent.unpublished(vec![outcome(id, b"body").and(dead_letter.clone())]);
        let route = |recent: &Recent| recent.remembered(&id).unwrap().dead_letter.map(|letter| letter.route);
        assert_eq!(route(&recent), Some(Route::DeadLetters));
        recent.published(vec![outcome(id, b"body").and(dead_letter)]);
        assert_eq!(route(&recent), None, "once the broker has it");
    }
}
