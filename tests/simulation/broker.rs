//! RabbitMQ as far as the policy depends on it: one jobs queue, its delay queues, and what is not acknowledged yet.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use association_archiver::engine::command::Carried;
use association_archiver::engine::pause::Tier;
use hashbrown::HashMap;

/// A message of the jobs queue.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// The job in it, by its index in the scenario.
    pub job: usize,
    /// Headers of a parked job.
    pub carried: Option<Carried>,
}

/// A message on its way to the consumer.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    pub tag: u64,
    pub message: Message,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Broker {
    ready: VecDeque<Message>,
    /// By delivery tag, which is never used again.
    unacked: BTreeMap<u64, Message>,
    last_tag: u64,
    delayed: HashMap<Tier, VecDeque<(Duration, Message)>>,
    /// A memory alarm: nothing published is taken before that time.
    pub blocked_until: Duration,
    /// Copies that were put into a delay queue.
    pub parked: u64,
    /// Messages that went back to the jobs queue without an acknowledgement.
    pub redelivered: u64,
}

impl Broker {
    pub fn produced(&mut self, job: usize) {
        self.ready.push_back(Message { job, carried: None });
    }

    /// What the consumer gets now, `prefetch` unacknowledged messages at most.
    pub fn deliver(&mut self, prefetch: usize) -> Vec<Delivery> {
        let free = prefetch.saturating_sub(self.unacked.len()).min(self.ready.len());
        let mut deliveries = Vec::with_capacity(free);
        for message in self.ready.drain(..free) {
            self.last_tag += 1;
            self.unacked.insert(self.last_tag, message);
            deliveries.push(Delivery { tag: self.last_tag, message });
        }
        deliveries
    }

    /// An acknowledgement of a delivery that is void already does nothing.
    pub fn ack(&mut self, tag: u64) {
        self.unacked.remove(&tag);
    }

    /// The consumer gives one message back.
    pub fn requeue(&mut self, tag: u64) {
        if let Some(message) = self.unacked.remove(&tag) {
            self.redelivered += 1;
            self.ready.push_front(message);
        }
    }

    /// The connection is gone: all that was not acknowledged is ready again, in its old order.
    pub fn requeue_all(&mut self) {
        self.redelivered += self.unacked.len() as u64;
        while let Some((_, message)) = self.unacked.pop_last() {
            self.ready.push_front(message);
        }
    }

    /// Returns when the message will be back.
    pub fn park(&mut self, job: usize, carried: Carried, tier: Tier, now: Duration) -> Duration {
        self.parked += 1;
        let due = now + tier.wait();
        let message = Message { job, carried: Some(carried) };
        self.delayed.entry(tier).or_default().push_back((due, message));
        due
    }

    pub fn due(&mut self, tier: Tier, now: Duration) {
        let queue = self.delayed.entry(tier).or_default();
        while queue.front().is_some_and(|&(due, _)| due <= now) {
            self.ready.extend(queue.pop_front().map(|(_, message)| message));
        }
    }

    pub fn is_unacked(&self, tag: u64) -> bool {
        self.unacked.contains_key(&tag)
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.unacked.is_empty() && self.delayed.values().all(VecDeque::is_empty)
    }
}
