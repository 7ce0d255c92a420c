//! The right to settle one delivery, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::barrier::Published;
pub use crate::shards::Generation;
use crate::shards::QueueIndex;

/// Must be settled by [`Receipt::ack`] or [`Receipt::hand_back`]. A receipt that is merely dropped leaves its
/// message unacknowledged, and the broker delivers it again when the subscription ends.
#[derive(Debug)]
#[must_use = "a delivery that is not settled comes back only when the subscription ends"]
pub struct Receipt {
    generation: Generation,
    tag: u64,
    bytes: u64,
    held: Arc<Held>,
}

impl Receipt {
    /// `bytes`: what the delivery occupies in memory, counted in `held` for as long as the receipt lives.
    pub fn new(generation: Generation, tag: u64, bytes: u64, held: &Arc<Held>) -> Self {
        held.take(1, bytes);
        Self { generation, tag, bytes, held: Arc::clone(held) }
    }

    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// How many bytes are counted for the delivery.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The delivery is read, and is known to take this many bytes.
    pub fn weighs(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.held.take(0, bytes);
        self.held.release(0, std::mem::replace(&mut self.bytes, bytes));
    }

    /// The broker may forget the message: everything that answers it is confirmed.
    pub fn ack(self, proof: Published) -> Settlement {
        proof.spend();
        Settlement { receipt: self, settling: Settling::Ack }
    }

    /// The broker is to deliver the message again, to whomever it likes; the caller has dropped it.
    pub fn hand_back(mut self) -> Settlement {
        self.held.release(0, std::mem::take(&mut self.bytes));
        Settlement { receipt: self, settling: Settling::HandBack }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.held.release(1, self.bytes);
    }
}

/// What is to become of a delivery; made only from its receipt.
#[derive(Debug)]
pub struct Settlement {
    receipt: Receipt,
    settling: Settling,
}

impl Settlement {
    pub fn generation(&self) -> Generation {
        self.receipt.generation
    }

    pub(super) fn tag(&self) -> u64 {
        self.receipt.tag
    }

    pub(super) fn settling(&self) -> Settling {
        self.settling
    }
}

/// How a delivery is settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settling {
    Ack,
    HandBack,
}

/// How many deliveries are held, and how many bytes they occupy, of all generations together: of one queue, or of the
/// whole process.
#[derive(Debug, Default)]
pub struct Held {
    jobs: AtomicU64,
    bytes: AtomicU64,
    whole: Option<Arc<Held>>,
}

impl Held {
    /// The count for one queue; `whole` counts for all of them.
    pub fn part_of(whole: &Arc<Self>) -> Self {
        Self { whole: Some(Arc::clone(whole)), ..Self::default() }
    }

    /// What is held of all queues together.
    pub fn whole(&self) -> &Self {
        self.whole.as_deref().unwrap_or(self)
    }

    pub fn jobs(&self) -> u64 {
        self.jobs.load(Ordering::Relaxed)
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn take(&self, jobs: u64, bytes: u64) {
        self.jobs.fetch_add(jobs, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.take(jobs, bytes);
        }
    }

    fn release(&self, jobs: u64, bytes: u64) {
        self.jobs.fetch_sub(jobs, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.release(jobs, bytes);
        }
    }
}

/// Which generation of each queue can still be settled. It is shared by the consumers, which set it, and by those who
/// must not answer deliveries that are lost.
#[derive(Clone, Debug)]
pub struct CurrentGeneration(Arc<Current>);

#[derive(Debug)]
struct Current {
    /// The number of the present generation of each queue.
    numbers: Vec<AtomicU32>,
    background: AtomicU32,
    changes: AtomicU64,
}

impl Current {
    fn of(&self, queue: QueueIndex) -> Option<&AtomicU32> {
        match queue {
            QueueIndex::BACKGROUND => Some(&self.background),
            _ => self.numbers.get(queue.as_usize()),
        }
    }
}

impl CurrentGeneration {
    /// For this many queues.
    pub fn new(queues: usize) -> Self {
        let numbers = std::iter::repeat_with(|| AtomicU32::new(Self::NONE)).take(queues).collect();
        let background = AtomicU32::new(Self::NONE);
        Self(Arc::new(Current { numbers, background, changes: AtomicU64::new(0) }))
    }

    /// False for every generation of a queue without a subscription.
    pub fn is(&self, generation: Generation) -> bool {
        let number = self.0.of(generation.queue);
        number.is_some_and(|number| number.load(Ordering::Acquire) == generation.number)
    }

    /// Grows with each change.
    pub fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Acquire)
    }

    const NONE: u32 = 0;

    pub(super) fn set(&self, generation: Generation) {
        self.store(generation.queue, generation.number);
    }

    pub(super) fn clear(&self, queue: QueueIndex) {
        self.store(queue, Self::NONE);
    }

    fn store(&self, queue: QueueIndex, number: u32) {
        if let Some(current) = self.0.of(queue) {
            current.store(number, Ordering::Release);
            self.0.changes.fetch_add(1, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(number: u32) -> Generation {
        Generation::shared(number)
    }

    #[test]
    fn what_is_held_follows_the_receipts() {
        let whole = Arc::<Held>::default();
        let (held, other) = (Arc::new(Held::part_of(&whole)), Arc::new(Held::part_of(&whole)));
        let first = Receipt::new(generation(1), 1, 700, &held);
        let second = Receipt::new(generation(1), 2, 40, &held);
        let of_another_queue = Receipt::new(generation(1), 1, 1_000, &other);
        assert_eq!((held.jobs(), held.bytes()), (2, 740));
        assert_eq!((whole.jobs(), held.whole().bytes()), (3, 1_740));
        drop(of_another_queue);
        drop(first);
        assert_eq!((held.jobs(), held.bytes()), (1, 40));
        let settlement = second.hand_back();
        assert_eq!((held.jobs(), held.bytes(), settlement.settling()), (1, 0, Settling::HandBack));
        drop(settlement);
        assert_eq!((held.jobs(), held.bytes(), whole.jobs(), whole.bytes()), (0, 0, 0, 0));
    }

    #[test]
    fn without_a_subscription_no_generation_is_current() {
        let current = CurrentGeneration::new(1);
        assert!(!current.is(generation(1)));
        current.set(generation(3));
        assert!(current.clone().is(generation(3)) && !current.is(generation(2)));
        current.clear(QueueIndex::SHARED);
        assert!(!current.is(generation(3)));
        assert_eq!(current.changes(), 2);
    }
}
