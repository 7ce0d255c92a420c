//! A bounded memory of recent outcomes: a job that is delivered again is given the same answer, without a second
//! request to HubSpot.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use hashbrown::HashMap;

use crate::amqp::message::{Answer, Envelope, Outgoing};
use crate::contract::message::MessageId;

/// Shared by the intake, which asks, and the publisher's reports, which tell.
#[derive(Debug)]
pub struct Recent {
    most: usize,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    by_id: HashMap<MessageId, Outgoing>,
    order: VecDeque<(MessageId, usize)>,
    bytes: usize,
}

/// Bodies remembered at most, in bytes.
const MAX_BYTES: usize = 16 * 1024 * 1024;

impl Recent {
    /// Remembers at most `most` outcomes. As many as the prefetch are enough: no more can be delivered again.
    pub fn new(most: usize) -> Self {
        Self { most, memory: Mutex::default() }
    }

    /// The outcome that was given under this id.
    pub fn outcome(&self, id: &MessageId) -> Option<Outgoing> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(id).cloned()
    }

    pub fn remember(&self, answers: Vec<Answer>) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        for message in answers.into_iter().flat_map(Answer::into_messages) {
            let id = match &message.envelope {
                Envelope::Outcome(envelope) => envelope.message_id,
                Envelope::Copy(_) => continue,
            };
            let bytes = message.body.len();
            if memory.by_id.insert(id, message).is_none() {
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
