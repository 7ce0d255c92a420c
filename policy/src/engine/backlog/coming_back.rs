//! What becomes of a pair after a request, up to its verdict: it goes again, goes on to another lane, or waits to be
//! read back.

use std::hash::BuildHasher;

use smallvec::SmallVec;

use super::groups::Queue;
use super::{Backlog, JobKey, LaneKey, Node, NodeKey, Place};
use crate::contract::association::Pair;
use crate::engine::clock::Tick;
use crate::engine::expected::expected;
use crate::engine::sight::Note;

impl Backlog {
    /// A pair that came back goes on the wire again: no job may join it from here on.
    pub fn put_on_wire(&mut self, key: NodeKey) {
        let Some(node) = self.nodes.get_mut(key).filter(|node| node.place == Place::Returned) else { return };
        node.place = Place::OnWire;
        let (lane, pair) = (node.lane, node.pair);
        self.close(key, lane, pair);
    }

    /// The pair comes back without a verdict. Jobs that asked for an equal pair meanwhile join it; returns these jobs.
    pub fn take_off_wire(&mut self, queue: &mut Queue, key: NodeKey) -> SmallVec<[JobKey; 1]> {
        let Some(node) = self.nodes.get_mut(key).filter(|node| node.place == Place::OnWire) else {
            return SmallVec::new();
        };
        node.place = Place::Returned;
        self.join_twin(queue, key)
    }

    /// A pair that comes back goes on to another lane, where `queue` waits: it joins an equal pair there, with what is
    /// known of it, or keeps its key. Returns the key under which it waits now.
    pub fn advance(
        &mut self,
        key: NodeKey,
        lane: LaneKey,
        queue: &mut Queue,
        note: Option<Note>,
        now: Tick,
    ) -> NodeKey {
        let Some(node) = self.nodes.get_mut(key).filter(|node| node.place == Place::OnWire) else { return key };
        let pair = node.pair;
        let hash = self.hashing.hash_one((lane, pair.from));
        let group = self.find_group(hash, lane, pair.from);
        if let Some(twin) = self.find_equal(group, lane, pair) {
            let waiters = self.nodes.remove(key).map(|node| node.waiters).unwrap_or_default();
            self.take_note(key);
            self.join_proofs(twin, key);
            if let Some(twin) = self.nodes.get_mut(twin) {
                twin.waiters.extend(waiters);
            }
            self.set_note(twin, note);
            return twin;
        }
        if let Some(node) = self.nodes.get_mut(key) {
            (node.lane, node.in_doubt, node.stuck) = (lane, false, false);
        }
        let group = group.unwrap_or_else(|| self.new_group(hash, lane, queue, pair.from, now));
        self.enter(group, key, pair);
        queue.pairs += 1;
        self.set_note(key, note);
        key
    }

    /// An archived pair leaves the request for `lane`, whose queue this is, and waits there outside the queue. Jobs of
    /// an equal pair that waits there join it; returns these jobs.
    pub fn cool(&mut self, key: NodeKey, lane: LaneKey, queue: &mut Queue) -> SmallVec<[JobKey; 1]> {
        let Some(node) = self.nodes.get_mut(key).filter(|node| node.place == Place::OnWire) else {
            return SmallVec::new();
        };
        (node.lane, node.place, node.in_doubt, node.stuck) = (lane, Place::Cooling, false, false);
        self.take_note(key);
        queue.cooling += 1;
        self.join_twin(queue, key)
    }

    /// A cooling pair may leave with the next request of its lane, whose queue this is.
    pub fn end_cooling(&mut self, queue: &mut Queue, key: NodeKey, now: Tick) {
        let Some(node) = self.nodes.get(key).filter(|node| node.place == Place::Cooling) else { return };
        let (lane, pair) = (node.lane, node.pair);
        self.close(key, lane, pair);
        queue.cooling -= 1;
        let hash = self.hashing.hash_one((lane, pair.from));
        let group = self.find_group(hash, lane, pair.from);
        let group = group.unwrap_or_else(|| self.new_group(hash, lane, queue, pair.from, now));
        self.enter(group, key, pair);
        queue.pairs += 1;
    }

    /// Takes a pair that is to be read back out of its lane, as if it had come back from there; `false` if it is on the
    /// wire, or in a batch.
    pub fn recall(&mut self, queue: &mut Queue, key: NodeKey) -> bool {
        let Some(node) = self.nodes.get_mut(key) else { return false };
        match node.place {
            Place::Queued { .. } => self.take(queue, key),
            Place::Cooling => {
                node.place = Place::OnWire;
                let (lane, pair) = (node.lane, node.pair);
                queue.cooling -= 1;
                self.close(key, lane, pair);
            }
            Place::Returned | Place::OnWire => return false,
        }
        true
    }

    /// A pair that waits in the queue of one lane goes to the queue of another, where no equal one waits, with the jobs
    /// that wait for it and with what is known of it. A pair that came back stays with its batch.
    pub fn move_queued(
        &mut self,
        pair: Pair,
        (from_lane, from): (LaneKey, &mut Queue),
        (to_lane, to): (LaneKey, &mut Queue),
        now: Tick,
    ) {
        let group = self.find_group(self.hashing.hash_one((from_lane, pair.from)), from_lane, pair.from);
        let Some(key) = self.find_equal(group, from_lane, pair) else { return };
        let Some(Node { place: Place::Queued { group, position }, .. }) = self.nodes.get(key) else { return };
        if self.leave_group(from, *group, *position) {
            self.close(key, from_lane, pair);
        }
        if let Some(node) = self.nodes.get_mut(key) {
            node.lane = to_lane;
        }
        let hash = self.hashing.hash_one((to_lane, pair.from));
        let group = self.find_group(hash, to_lane, pair.from);
        let group = group.unwrap_or_else(|| self.new_group(hash, to_lane, to, pair.from, now));
        self.enter(group, key, pair);
        to.pairs += 1;
    }

    /// A pair that is in no queue can be found by equal ones from now on. Jobs of an equal pair that waits in its lane
    /// join it; returns these jobs.
    fn join_twin(&mut self, queue: &mut Queue, key: NodeKey) -> SmallVec<[JobKey; 1]> {
        let Some(node) = expected(self.nodes.get(key), "the pair has just come back") else { return SmallVec::new() };
        let (lane, pair) = (node.lane, node.pair);
        let group = self.find_group(self.hashing.hash_one((lane, pair.from)), lane, pair.from);
        let twin = self.find_equal(group, lane, pair);
        let joining = twin.and_then(|twin| self.nodes.get_mut(twin)).map(|twin| std::mem::take(&mut twin.waiters));
        if let Some(twin) = twin {
            // The twin's note is the newer one. If the twin has none, the other note goes too: it was made before the
            // twin's jobs came, and so says nothing to them.
            let note = self.take_note(twin);
            self.set_note(key, note);
            self.join_proofs(key, twin);
            self.discard(queue, twin);
        }
        self.open(key, lane, pair);
        let joining = joining.unwrap_or_default();
        if let Some(node) = self.nodes.get_mut(key) {
            node.waiters.extend(joining.iter().copied());
        }
        joining
    }

    fn join_proofs(&mut self, key: NodeKey, gone: NodeKey) {
        if let Some(theirs) = self.take_proof(gone) {
            let proof = self.proof(key).map_or(theirs, |ours| ours.join(theirs));
            self.set_proof(key, proof);
        }
    }
}
