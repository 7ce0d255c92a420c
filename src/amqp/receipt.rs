//! The right to settle one delivery, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::barrier::Published;

/// One subscription's life: from the moment the broker accepts the consumer until its channel is gone.
///
/// Delivery tags start again with each generation, so a tag says nothing without it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Generation(pub u32);

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

    /// What the delivery is counted for.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the delivery takes, now that it is read.
    pub fn weighs(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.held.take(0, bytes);
        self.held.release(0, std::mem::replace(&mut self.bytes, bytes));
    }

    /// The broker may forget the message: everything that answers it is confirmed.
    pub fn ack(self, proof: Published) -> Settlement {
        proof.spend();
        Settlement { receipt: self, verdict: Verdict::Ack }
    }

    /// The broker is to deliver the message again, to whomever it likes; the caller has dropped it.
    pub fn hand_back(mut self) -> Settlement {
        self.held.release(0, std::mem::take(&mut self.bytes));
        Settlement { receipt: self, verdict: Verdict::HandBack }
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
    verdict: Verdict,
}

impl Settlement {
    pub fn generation(&self) -> Generation {
        self.receipt.generation
    }

    pub(super) fn tag(&self) -> u64 {
        self.receipt.tag
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.verdict
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Ack,
    HandBack,
}

/// How many deliveries the process holds, and how many bytes they occupy, of all generations together.
#[derive(Debug, Default)]
pub struct Held {
    jobs: AtomicU64,
    bytes: AtomicU64,
}

impl Held {
    pub fn jobs(&self) -> u64 {
        self.jobs.load(Ordering::Relaxed)
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn take(&self, jobs: u64, bytes: u64) {
        self.jobs.fetch_add(jobs, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn release(&self, jobs: u64, bytes: u64) {
        self.jobs.fetch_sub(jobs, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Which generation can still be settled; shared by the consumer, which sets it, and those who must not work for the dead.
#[derive(Clone, Debug, Default)]
pub struct CurrentGeneration(Arc<AtomicU32>);

impl CurrentGeneration {
    /// `None` while there is no subscription.
    pub fn get(&self) -> Option<Generation> {
        match self.0.load(Ordering::Acquire) {
            Self::NONE => None,
            number => Some(Generation(number)),
        }
    }

    const NONE: u32 = 0;

    pub(super) fn set(&self, generation: Generation) {
        self.0.store(generation.0, Ordering::Release);
    }

    pub(super) fn clear(&self) {
        self.0.store(Self::NONE, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_follows_the_receipts() {
        let held = Arc::new(Held::default());
        let first = Receipt::new(Generation(1), 1, 700, &held);
        let second = Receipt::new(Generation(1), 2, 40, &held);
        assert_eq!((held.jobs(), held.bytes()), (2, 740));
        drop(first);
        assert_eq!((held.jobs(), held.bytes()), (1, 40));
        let settlement = second.hand_back();
        assert_eq!((held.jobs(), held.bytes(), settlement.verdict()), (1, 0, Verdict::HandBack));
        drop(settlement);
        assert_eq!((held.jobs(), held.bytes()), (0, 0));
    }

    #[test]
    fn without_a_subscription_no_generation_is_current() {
        let current = CurrentGeneration::default();
        assert_eq!(current.get(), None);
        current.set(Generation(3));
        assert_eq!(current.clone().get(), Some(Generation(3)));
        current.clear();
        assert_eq!(current.get(), None);
    }
}
