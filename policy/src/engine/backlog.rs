//! The pairs in hand: which jobs wait for each, and where it is between its arrival and its verdict.
//!
//! Jobs that ask for equal pairs of one lane share a [`Node`], as long as the pair is not on the wire. All waiting
//! pairs of one `from` record form a group. Every operation costs the same however much is in hand.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use slotmap::SlotMap;
use smallvec::SmallVec;

use super::clock::Tick;
use super::expected::expected;
use super::proof::{Proof, Proofs};
use super::sight::{Note, Notes};
use crate::contract::association::Pair;

mod coming_back;
mod finding;
mod gathering;
mod groups;

pub use super::keys::{JobKey, LaneKey, NodeKey};
pub use groups::Queue;
use groups::{Group, GroupKey};

/// One pair and the jobs that wait for it.
#[derive(Debug)]
pub struct Node {
    pub lane: LaneKey,
    pub pair: Pair,
    pub place: Place,
    pub waiters: SmallVec<[JobKey; 1]>,
    /// A request that carried the pair got no answer, so nobody knows whether it was archived.
    pub in_doubt: bool,
    /// Its requests fail though others are served.
    pub stuck: bool,
    /// The guard has counted it.
    pub guarded: bool,
}

/// Where a pair stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In its lane's queue. `position` is its index in the group, counted from the first member that the group ever
    /// had.
    Queued { group: GroupKey, position: u32 },
    /// Back from a request: part of a batch that waits to go again, or of the sibling of a trial.
    Returned,
    /// Archived, and not to be read back yet; in no queue and in no batch.
    Cooling,
    /// Part of a request that has no answer yet: no job may join the pair or be taken off it.
    OnWire,
}

/// All pairs in hand, of all lanes.
#[derive(Debug, Default)]
pub struct Backlog {
    nodes: SlotMap<NodeKey, Node>,
    groups: SlotMap<GroupKey, Group>,
    /// The waiting groups by lane and record. Both tables hold only keys and look up what these stand for: tables of
    /// a million pairs are then small enough to miss the processor's caches far less often.
    waiting: HashTable<GroupKey>,
    /// By lane and pair, the nodes that an equal pair may join but does not find by walking a group: those in large
    /// groups, and those that came back.
    open: HashTable<NodeKey>,
    hashing: DefaultHashBuilder,
    notes: Notes,
    proofs: Proofs,
}

impl Backlog {
    /// Pairs in hand, waiting or on the wire.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Nothing is kept of any pair.
    pub fn is_empty(&self) -> bool {
        let tables = self.groups.is_empty() && self.open.is_empty() && self.waiting.is_empty();
        self.nodes.is_empty() && tables && self.notes.is_empty() && self.proofs.is_empty()
    }

    pub fn node(&self, key: NodeKey) -> Option<&Node> {
        self.nodes.get(key)
    }

    pub fn node_mut(&mut self, key: NodeKey) -> Option<&mut Node> {
        self.nodes.get_mut(key)
    }

    /// What is known of a pair besides its name.
    pub fn note(&self, key: NodeKey) -> Option<&Note> {
        self.notes.get(key)
    }

    pub fn note_mut(&mut self, key: NodeKey) -> Option<&mut Note> {
        self.notes.get_mut(key)
    }

    pub fn take_note(&mut self, key: NodeKey) -> Option<Note> {
        if self.notes.is_empty() { None } else { self.notes.remove(key) }
    }

    pub fn set_note(&mut self, key: NodeKey, note: Option<Note>) {
        match note {
            Some(note) if self.nodes.contains_key(key) => {
                self.notes.insert(key, note);
            }
            Some(_) | None => {
                self.take_note(key);
            }
        }
    }

    /// How far the proof of a pair's removal has come; `None` where it was not archived, or is not read back.
    pub fn proof(&self, key: NodeKey) -> Option<Proof> {
        self.proofs.get(key).copied()
    }

    pub fn set_proof(&mut self, key: NodeKey, proof: Proof) {
        if self.nodes.contains_key(key) {
            self.proofs.insert(key, proof);
        }
    }

    fn take_proof(&mut self, key: NodeKey) -> Option<Proof> {
        if self.proofs.is_empty() { None } else { self.proofs.remove(key) }
    }

    /// When the oldest pair of the queue arrived.
    pub fn oldest_arrival(&self, queue: &Queue) -> Option<Tick> {
        queue.oldest.and_then(|group| self.groups.get(group)).map(|group| group.arrived)
    }

    /// Notes that `job` wants `pair`: joins an equal pair that is not on the wire, or queues it.
    pub fn ask(&mut self, lane: LaneKey, queue: &mut Queue, pair: Pair, job: JobKey, now: Tick) -> NodeKey {
        let hash = self.hashing.hash_one((lane, pair.from));
        let group = self.find_group(hash, lane, pair.from);
        if let Some(key) = self.find_equal(group, lane, pair)
            && let Some(node) = self.nodes.get_mut(key)
        {
            node.waiters.push(job);
            return key;
        }
        let group = group.unwrap_or_else(|| self.new_group(hash, lane, queue, pair.from, now));
        let waiters = SmallVec::from_elem(job, 1);
        let place = Place::Queued { group, position: 0 };
        let key = self.nodes.insert(Node { lane, pair, place, waiters, in_doubt: false, stuck: false, guarded: false });
        self.enter(group, key, pair);
        queue.pairs += 1;
        key
    }

    /// Whether an equal pair waits in the lane, so that `pair` can join it.
    pub fn has_waiting(&self, lane: LaneKey, pair: Pair) -> bool {
        let group = self.find_group(self.hashing.hash_one((lane, pair.from)), lane, pair.from);
        self.find_equal(group, lane, pair).is_some()
    }

    /// Takes `job` off a pair that is not on the wire. A pair that no job waits for any more is removed.
    pub fn withdraw(&mut self, queue: &mut Queue, key: NodeKey, job: JobKey) -> bool {
        let Some(node) = expected(self.nodes.get_mut(key), "a job is withdrawn from a pair that is there") else {
            return false;
        };
        let Some(index) = node.waiters.iter().position(|&waiter| waiter == job) else { return false };
        if node.place == Place::OnWire {
            return false;
        }
        node.waiters.swap_remove(index);
        if node.waiters.is_empty() {
            self.discard(queue, key);
        }
        true
    }

    /// Removes a pair that is not on the wire.
    fn discard(&mut self, queue: &mut Queue, key: NodeKey) {
        let Some(node) = expected(self.nodes.remove(key), "a pair is discarded once") else { return };
        self.take_note(key);
        self.take_proof(key);
        match node.place {
            Place::Queued { group, position } => {
                if self.leave_group(queue, group, position) {
                    self.close(key, node.lane, node.pair);
                }
            }
            Place::Returned => self.close(key, node.lane, node.pair),
            Place::Cooling => {
                queue.cooling -= 1;
                self.close(key, node.lane, node.pair);
            }
            Place::OnWire => {}
        }
    }

    /// The pair has its verdict. Returns the jobs that waited for it.
    pub fn settle(&mut self, queue: &mut Queue, key: NodeKey) -> SmallVec<[JobKey; 1]> {
        let waiters = self.nodes.get_mut(key).map(|node| std::mem::take(&mut node.waiters)).unwrap_or_default();
        self.discard(queue, key);
        waiters
    }
}

#[cfg(test)]
mod tests;
