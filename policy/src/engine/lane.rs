//! A lane: what waits for one account, one pair of object types and one kind of removal.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use slotmap::new_key_type;

use super::backlog::{NodeKey, Queue};
use super::clock::{Stopwatch, Tick};
use super::command::LaneId;
use super::pack::Caps;
use super::pause::Pause;
use crate::contract::association::{Pair, Removal};
use crate::contract::refusal::Refusal;

new_key_type! {
    /// A batch in hand: on the wire, or waiting to go again.
    pub struct BatchKey;
}

/// Pairs that leave, or left, in one request.
#[derive(Debug)]
pub struct Batch {
    pub lane: super::backlog::LaneKey,
    pub nodes: Vec<NodeKey>,
    /// What the request carried; made when the batch is sent.
    pub wire: Arc<[Pair]>,
    /// Transient failures so far.
    pub failures: u32,
    pub trial: Option<Trial>,
}

/// A batch that is sent to find out which pair is at fault.
#[derive(Debug)]
pub struct Trial {
    pub allowance: Allowance,
    /// The other half of a set known to hold a bad pair: if this half is good, that one is bad.
    pub sibling: Option<Suspects>,
}

/// Pairs among which at least one is refused.
#[derive(Debug)]
pub struct Suspects {
    pub nodes: Vec<NodeKey>,
    pub refusal: Arc<Refusal>,
}

/// The extra requests that one refused batch may cost; shared by all parts of the search for the pair at fault.
#[derive(Clone, Debug)]
pub struct Allowance {
    left: Arc<AtomicU32>,
    /// When the search began.
    begun: Tick,
}

impl Allowance {
    pub fn new(requests: u32, begun: Tick) -> Self {
        Self { left: Arc::new(AtomicU32::new(requests)), begun }
    }

    /// Reserves one request; `false` when none is left.
    pub fn spend(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// A batch to go again, in the order of their turns.
///
/// Of searches, the one that began first goes on first: taken in turns, all would end late, and a crowd of them later
/// than their jobs may be held.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Return {
    pub due: Tick,
    begun: Tick,
    pub batch: BatchKey,
}

impl Return {
    /// `batch`, which is `key`, may go again from `due` on.
    pub fn new(key: BatchKey, batch: &Batch, due: Tick, now: Tick) -> Self {
        let begun = batch.trial.as_ref().map_or(now, |trial| trial.allowance.begun);
        Self { due: if due <= now { begun } else { due }, begun, batch: key }
    }

    /// The same, but not before `due`.
    pub fn deferred(self, due: Tick) -> Self {
        Self { due, ..self }
    }
}

/// Where a lane stands in its account's order of turns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Nothing to send, or nothing that may be sent yet.
    Idle,
    /// Waits for company until then.
    Lingering(Tick),
    /// Has a turn in the ring.
    Ripe,
}

#[derive(Debug)]
pub struct Lane {
    pub id: LaneId,
    pub queue: Queue,
    /// Batches to go again, by the time they are due.
    pub returned: BTreeSet<Return>,
    pub in_flight: usize,
    pub pause: Option<Pause>,
    pub probing: bool,
    pub standing: Standing,
    /// When the account will look at the lane again.
    pub reminder: Option<Tick>,
    /// Time paused, which does not count towards a job's age.
    pub paused: Stopwatch,
    /// The pairs a request may have after one was too large or took too long.
    shrunk_to: Option<usize>,
    /// Index in the account's list of lanes.
    pub position: usize,
}

/// `labels/archive` takes so many inputs, each a single pair (HubSpot's associations guide).
const MAX_LABEL_INPUTS: usize = 100;

impl Lane {
    pub fn new(id: LaneId, position: usize) -> Self {
        Self {
            id,
            queue: Queue::default(),
            returned: BTreeSet::new(),
            in_flight: 0,
            pause: None,
            probing: false,
            standing: Standing::Idle,
            reminder: None,
            paused: Stopwatch::default(),
            shrunk_to: None,
            position,
        }
    }

    /// How large this lane's next request may be.
    pub fn caps(&self, of_settings: Caps) -> Caps {
        let pairs = match &self.id.removal {
            Removal::Association => of_settings.pairs,
            Removal::Labels(_) => of_settings.pairs.min(MAX_LABEL_INPUTS),
        };
        Caps { from: of_settings.from, pairs: self.shrunk_to.map_or(pairs, |shrunk| shrunk.min(pairs)) }
    }

    pub fn is_full(&self, of_settings: Caps) -> bool {
        let caps = self.caps(of_settings);
        self.queue.groups() >= caps.from || self.queue.pairs() >= caps.pairs
    }

    /// Nothing waits, and nothing is on the wire.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.returned.is_empty() && self.in_flight == 0
    }

    /// A request of `pairs` pairs was too large, or HubSpot took too long over it.
    pub fn shrink(&mut self, pairs: usize) {
        let half = (pairs / 2).max(1);
        self.shrunk_to = Some(self.shrunk_to.map_or(half, |shrunk| shrunk.min(half)));
    }

    /// A request went through: the size grows back by a tenth.
    pub fn regrow(&mut self, of_settings: Caps) {
        self.shrunk_to =
            self.shrunk_to.map(|pairs| pairs + (pairs / 10).max(1)).filter(|&pairs| pairs < of_settings.pairs);
    }

    pub fn next_due(&self) -> Option<Return> {
        self.returned.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::super::backlog::LaneKey;
    use super::*;

    #[test]
    fn of_searches_the_one_that_began_first_goes_on_first() {
        let at = Tick::from_micros;
        let mut batches: SlotMap<BatchKey, Batch> = SlotMap::with_key();
        let mut returned = BTreeSet::new();
        let mut give_back = |begun: Option<u64>, due: u64, now: u64| {
            let allowance = begun.map(|begun| Allowance::new(1, at(begun)));
            let trial = allowance.map(|allowance| Trial { allowance, sibling: None });
            let lane = LaneKey::default();
            let key = batches.insert(Batch { lane, nodes: Vec::new(), wire: Arc::new([]), failures: 0, trial });
            returned.insert(Return::new(key, &batches[key], at(due), at(now)));
            key
        };
        let younger = give_back(Some(20), 30, 30);
        let failed = give_back(None, 90, 31);
        let older = give_back(Some(10), 40, 40);
        let throttled = give_back(None, 41, 41);
        let order = |returned: &BTreeSet<Return>| returned.iter().map(|back| back.batch).collect::<Vec<_>>();
        assert_eq!(order(&returned), [older, younger, throttled, failed]);
        let deferred = returned.iter().map(|back| back.deferred(at(100))).collect();
        assert_eq!(order(&deferred), [older, younger, failed, throttled]);
    }
}
