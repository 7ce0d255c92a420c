//! The conductor, for proofs: archived pairs wait until they may be read back, and what a reading showed decides what
//! follows.

use std::sync::Arc;
use std::time::Duration;

use super::background::Urgency;
use super::backlog::{LaneKey, NodeKey};
use super::batch::Batch;
use super::clock::{Now, Tick};
use super::command::LaneId;
use super::course::{Course, Removal};
use super::engine::Engine;
use super::expected::expected;
use super::holdings::LastWord;
use super::proof::{AfterReading, Shown, not_gone, reappeared};
use super::sight::{Note, Present, Seen, Sight};
use crate::contract::association::Extent;

impl Engine {
    /// These pairs were just archived, and count as archived only when that is proven. `each`: each of them is to be
    /// read back; else witnesses of them are, which `turned.rs` chooses.
    pub(super) fn begin_proof(&mut self, archived: &LaneId, urgency: Urgency, nodes: &[NodeKey], each: bool, now: Now) {
        let lane = self.lane(archived.at(Course::Remove(Removal::Prove)), urgency);
        for &node in nodes {
            let due = if each { self.cooling.add(node, 0, now.tick) } else { Tick::default() };
            let account = archived.account;
            let pauses = &self.pauses;
            self.holdings.cool(node, lane, due, now.tick, |lane| pauses.uncounted(account, lane, now.tick));
        }
        self.finish(now);
        // An equal pair that waited in this lane to be read may have become one with a pair that is not due yet. So the
        // lane may have nothing to read for now.
        self.place(lane, now.tick);
        self.tidy(lane);
    }

    /// Pairs that have waited long enough may be read.
    pub(super) fn read_back_due(&mut self, now: Now) {
        while let Some((node, due)) = self.cooling.take_due(now.tick) {
            if let Some(lane) = self.holdings.end_cooling(node, due, now.tick) {
                self.place(lane, now.tick);
                if let Some(lane) = self.holdings.lane(lane) {
                    self.turns.mark_ready(lane.id.account);
                }
            }
        }
    }

    /// A look in a lane of proofs has shown a page of the record of each of these pairs.
    pub(super) fn read_back(&mut self, id: &LaneId, key: LaneKey, nodes: &[NodeKey], now: Now) {
        let mut unfinished = Vec::new();
        for &node in nodes {
            let note = expected(self.holdings.take_note(node), "a look leaves a note");
            let Some(Note::Sight(sight)) = note else { continue };
            match sight.ended {
                true => self.proved(id, key, node, &sight, now),
                false => {
                    self.holdings.set_note(node, Note::Sight(sight));
                    unfinished.push(node);
                }
            }
        }
        if !unfinished.is_empty() {
            self.give_back(Batch::new(key, unfinished), now.tick, now);
        }
        self.settle_proven(id, now);
    }

    fn proved(&mut self, id: &LaneId, key: LaneKey, node: NodeKey, sight: &Sight, now: Now) {
        let shown = shown(&id.extent, &sight.present());
        let next = match self.turned_was_read(id, node, shown == Shown::Gone) {
            true => AfterReading::ArchiveAgain,
            false => self.holdings.read_back(node, shown),
        };
        match next {
            AfterReading::Proven => {
                self.counters.pairs_gone += 1;
                let verifies = self.accounts[id.account].policy.safety.verify;
                self.holdings.settle(node, if verifies { &LastWord::Proven } else { &LastWord::Done });
            }
            AfterReading::ReadAgain(wait) => {
                let due = self.cooling.add(node, wait, now.tick);
                self.holdings.cool(node, key, due, now.tick, |_| Duration::ZERO);
            }
            AfterReading::ArchiveAgain => {
                if self.holdings.was_turned(node) {
                    self.unfold(id, STILL_THERE.to_owned(), now);
                }
                let note = Note::Seen(Seen::new(sight.present(), sight.reversed));
                let urgency = self.holdings.lane(key).map_or(Urgency::Live, |lane| lane.urgency);
                self.advance(id.at(Removal::Prove.archive().course()), urgency, vec![(node, note)], now);
            }
            AfterReading::NotGone => {
                self.counters.pairs_not_gone += 1;
                self.holdings.settle(node, &LastWord::Disproved(Arc::new(not_gone())));
            }
            AfterReading::Reappeared => {
                self.counters.pairs_reappeared += 1;
                self.holdings.settle(node, &LastWord::Disproved(Arc::new(reappeared())));
            }
        }
    }
}

/// Why folding ends.
const STILL_THERE: &str = "what was archived from its other side is still there when it is read from the job's own";

/// Whether what was to be removed is gone. Where HubSpot describes an association by types that are not known here,
/// nothing counts as gone.
fn shown(extent: &Extent, present: &Present) -> Shown {
    let gone = match (extent, present) {
        (_, Present::No) => true,
        (Extent::Whole, Present::By(_)) | (_, Present::ByUnknown) => false,
        (Extent::Labels(labels), Present::By(types)) => {
            !types.iter().any(|found| labels.binary_search(&found.label).is_ok())
        }
    };
    if gone { Shown::Gone } else { Shown::StillThere }
}
