//! Archived pairs whose removal is to be proven.

use std::time::Duration;

use super::{Holdings, LastWord};
use crate::contract::ids::AccountIndex;
use crate::engine::backlog::{LaneKey, NodeKey, Place};
use crate::engine::clock::Tick;
use crate::engine::expected::expected;
use crate::engine::proof::{AfterReading, Proof, Shown};

impl Holdings {
    /// The pair was archived and is to be read back. `turned`: it was archived from its other side. Returns `false` if
    /// it was archived once before.
    pub fn removed(&mut self, node: NodeKey, account: AccountIndex, turned: bool) -> bool {
        let recorded = self.note_fate(node, account, &LastWord::Done);
        let proof = Proof::archived(self.backlog.proof(node), recorded, turned);
        self.backlog.set_proof(node, proof);
        !proof.is_repeated()
    }

    /// A pair that was archived or read leaves the lane of its request and waits until `due` to be read, in the open
    /// lane `to`. Jobs that are leaving leave it on the way. `uncounted` gives the readings of
    /// [`crate::engine::pauses::Pauses::uncounted`] for a lane.
    pub fn cool(&mut self, key: NodeKey, to: LaneKey, due: Tick, now: Tick, uncounted: impl Fn(LaneKey) -> Duration) {
        let waiters = self.waiters(key);
        let Some(lane) = expected(self.lanes.get_mut(to), "the lane was just opened") else { return };
        let joining = self.backlog.cool(key, to, &mut lane.queue);
        if let Some(proof) = expected(self.backlog.proof(key), "a removal that is proven was noted") {
            self.backlog.set_proof(key, proof.waiting_until(due));
        }
        for waiter in waiters {
            let Some(job) = expected(self.jobs.get_mut(waiter), "who waits for a pair is in hand") else { continue };
            job.pair_answered();
            job.moves_to(to, now, &uncounted);
        }
        for job in joining {
            if let Some(job) = expected(self.jobs.get_mut(job), "who waits for a pair is in hand") {
                job.nodes.push(key);
            }
        }
        self.withdraw_leaving(key);
    }

    /// A pair whose time was set to `due` may be read; returns its lane. `None` if it has another time by now, or is no
    /// longer there.
    pub fn end_cooling(&mut self, key: NodeKey, due: Tick, now: Tick) -> Option<LaneKey> {
        let node = self.backlog.node(key).filter(|node| node.place == Place::Cooling)?;
        let lane_key = node.lane;
        self.backlog.proof(key).filter(|proof| proof.due() == due)?;
        let lane = expected(self.lanes.get_mut(lane_key), "a pair keeps its lane open")?;
        self.backlog.end_cooling(&mut lane.queue, key, now);
        Some(lane_key)
    }

    /// A reading has ended.
    pub fn read_back(&mut self, key: NodeKey, shown: Shown) -> AfterReading {
        let Some(mut proof) = expected(self.backlog.proof(key), "a removal that is proven was noted") else {
            return AfterReading::Proven;
        };
        let next = proof.read(shown);
        self.backlog.set_proof(key, proof);
        next
    }
}
