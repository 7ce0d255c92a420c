//! Pairs that were archived from their other side, or are to be archived from there.

use super::Holdings;
use crate::engine::backlog::{LaneKey, NodeKey, Place};
use crate::engine::batch::Batch;
use crate::engine::clock::Tick;
use crate::engine::expected::expected;
use crate::engine::pack::Caps;
use crate::engine::sight::{Note, Present};

impl Holdings {
    /// Whether the pair was archived and is still in hand.
    pub fn was_removed(&self, node: NodeKey) -> bool {
        self.backlog.proof(node).is_some()
    }

    /// Whether the pair was last archived from its other side and is still in hand.
    pub fn was_turned(&self, node: NodeKey) -> bool {
        self.backlog.proof(node).is_some_and(|proof| proof.is_turned())
    }

    /// Whether a look has shown, before the pair was archived, that there was nothing to archive.
    pub fn was_absent(&self, node: NodeKey) -> bool {
        matches!(self.backlog.note(node), Some(Note::Seen(seen)) if seen.present == Present::No)
    }

    /// Whether the pair was archived and now waits to be read back, outside of any queue and request.
    pub fn cools(&self, node: NodeKey) -> bool {
        self.backlog.node(node).is_some_and(|node| node.place == Place::Cooling)
    }

    /// A pair that waits to be read back is to be read at `due`.
    pub fn cool_until(&mut self, node: NodeKey, due: Tick) {
        if let Some(proof) = self.backlog.proof(node) {
            self.backlog.set_proof(node, proof.waiting_until(due));
        }
    }

    pub fn lane_of(&self, node: NodeKey) -> Option<LaneKey> {
        self.backlog.node(node).map(|node| node.lane)
    }

    /// Takes a pair that is to be read back out of its lane, so that it can advance to another one; `false` where it
    /// cannot be taken out now.
    pub fn recall(&mut self, node: NodeKey) -> bool {
        let Some(lane) = self.backlog.node(node).map(|node| node.lane) else { return false };
        let Some(lane) = expected(self.lanes.get_mut(lane), "a pair keeps its lane open") else { return false };
        if !self.backlog.recall(&mut lane.queue, node) {
            return false;
        }
        for waiter in self.waiters(node) {
            if let Some(job) = expected(self.jobs.get_mut(waiter), "who waits for a pair is in hand") {
                job.pair_held();
            }
        }
        true
    }

    /// These pairs of a batch, as batches that can be sent from their own side.
    pub fn straight(&self, batch: &Batch, mut nodes: Vec<NodeKey>, caps: Caps) -> Vec<Batch> {
        let Some(lane) = expected(self.lanes.get(batch.lane), "a batch keeps its lane open") else { return Vec::new() };
        let caps = lane.caps(caps);
        let from = |node: NodeKey| self.backlog.node(node).map(|node| node.pair.from);
        nodes.retain(|&node| self.backlog.node(node).is_some());
        nodes.sort_by_key(|&node| self.backlog.node(node).map(|node| node.pair));
        let mut batches: Vec<Batch> = Vec::new();
        let (mut records, mut last) = (0, None);
        for node in nodes {
            let is_new = last != Some(from(node));
            last = Some(from(node));
            match batches.last_mut() {
                Some(batch) if batch.nodes.len() < caps.pairs && records + usize::from(is_new) <= caps.from => {
                    records += usize::from(is_new);
                    batch.nodes.push(node);
                }
                Some(_) | None => {
                    let (failures, failing_since) = (batch.failures, batch.failing_since);
                    batches.push(Batch { failures, failing_since, ..Batch::new(batch.lane, vec![node]) });
                    records = 1;
                }
            }
        }
        batches
    }
}
