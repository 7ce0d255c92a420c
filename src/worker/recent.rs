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

    pub fn remember(&self, answers: &[Answer]) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        for message in answers.iter().flat_map(Answer::messages) {
            if let Envelope::Outcome(envelope) = &message.envelope
                && memory.by_id.insert(envelope.message_id, message.clone()).is_none()
            {
                memory.bytes += message.body.len();
                memory.order.push_back((envelope.message_id, message.body.len()));
            }
        }
        while memory.order.len() > self.most || memory.bytes > MAX_BYTES {
            let Some((oldest, bytes)) = memory.order.pop_front() else { break };
            memory.by_id.remove(&oldest);
            memory.bytes -= bytes;
        }
    }
}
