//! What the request for a batch says besides its pairs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Holdings;
use crate::contract::association::{Extent, Label, Pair, RecordId};
use crate::engine::backlog::NodeKey;
use crate::engine::batch::{Batch, BatchKey, Reading};
use crate::engine::clock::Tick;
use crate::engine::command::{LaneId, Request};
use crate::engine::course::{Course, Look, Removal, Restoration, Restoring};
use crate::engine::expected::expected;
use crate::engine::sight::Note;
use crate::engine::step::{MAX_RECORDS, Step};
use crate::engine::verdict::LookAsked;

impl Holdings {
    /// The request for a batch that was put on the wire.
    pub fn request(&mut self, key: BatchKey, now: Tick) -> Option<Request> {
        let batch = expected(self.batches.get(key), "a batch that is sent is in hand")?;
        let lane = expected(self.lanes.get(batch.lane), "a batch keeps its lane open")?;
        let lane_creates = lane.id.step() == Step::Create;
        let (request, reading) = match lane.id.step() {
            Step::Archive if batch.turned.is_some() => (Request::ArchiveTurned, None),
            Step::Archive => (Request::Archive, None),
            Step::ArchiveLabels => (Request::ArchiveLabels, None),
            Step::Look(_) => self.look(&lane.id, batch),
            Step::Associate => (Request::Associate, None),
            Step::Create => match self.all_labels(&lane.id, batch, now) {
                Some(labels) => {
                    self.creating.left(&lane.id, &batch.wire, now);
                    (Request::Create { labels }, None)
                }
                // What the pairs are associated by is not known, or is known no longer: the batch looks before it
                // creates.
                None => self.look(&lane.id, batch),
            },
        };
        let batch = self.batches.get_mut(key)?;
        batch.looked_again = reading.is_some() && lane_creates;
        batch.reading = reading;
        Some(request)
    }

    /// A request that created the pairs of a batch is answered.
    pub fn creation_answered(&mut self, batch: &Batch, now: Tick) {
        if let Some(lane) = expected(self.lanes.get(batch.lane), "a batch keeps its lane open") {
            self.creating.answered(&lane.id, &batch.wire, now);
        }
    }

    /// Whether another request that creates one of the pairs of a batch is on the wire.
    pub fn is_being_created(&self, batch: &Batch) -> bool {
        let lane = self.lanes.get(batch.lane);
        lane.is_some_and(|lane| self.creating.is_on_wire(&lane.id, &batch.wire))
    }

    /// Whether the batch is to create, but some of its pairs have records of which more pages must be read before that.
    pub fn looks_on(&self, batch: &Batch) -> bool {
        let lane = self.lanes.get(batch.lane);
        let is_looked_at = |&node: &NodeKey| matches!(self.backlog.note(node), Some(Note::Sight(_)));
        lane.is_some_and(|lane| lane.id.step() == Step::Create) && batch.nodes.iter().any(is_looked_at)
    }

    fn all_labels(&self, lane: &LaneId, batch: &Batch, now: Tick) -> Option<Arc<[Arc<[Label]>]>> {
        let nodes = batch.nodes.iter().zip(batch.wire.iter());
        nodes.map(|(&node, &pair)| self.labels(lane, node, pair, now, batch.looked_again)).collect()
    }

    /// What a pair is to be associated by; `None` where it must be looked at before. `again`: the batch has just looked
    /// at it again. Then it goes on, however long that look took.
    fn labels(&self, lane: &LaneId, node: NodeKey, pair: Pair, now: Tick, again: bool) -> Option<Arc<[Label]>> {
        let creation = match self.backlog.note(node) {
            Some(Note::Creation(creation)) => creation,
            Some(Note::Sight(_) | Note::Seen(_)) | None => return None,
        };
        let is_known = creation.looked.is_some_and(|looked| !self.creating.may_be_missed(lane, pair, looked));
        (is_known && (again || creation.is_fresh(now))).then(|| Arc::clone(&creation.labels))
    }

    fn look(&self, lane: &LaneId, batch: &Batch) -> (Request, Option<Reading>) {
        let reading = self.reading(lane, batch);
        let request = Request::Look { records: Arc::clone(&reading.records), reversed: reading.reversed };
        (request, Some(reading))
    }

    /// Which records a look asks for, each with the place where its next page begins.
    fn reading(&self, lane: &LaneId, batch: &Batch) -> Reading {
        let begun = batch.nodes.iter().find_map(|&node| match self.backlog.note(node) {
            Some(Note::Sight(sight)) => Some(sight.reversed),
            Some(Note::Seen(_) | Note::Creation(_)) | None => None,
        });
        let back = matches!(lane.course, Course::Restore(Restoration { at: Restoring::LookBack, .. }));
        let reversed = begun.unwrap_or_else(|| back || (may_be_reversed(lane) && is_shorter_reversed(batch)));
        let mut records: BTreeMap<RecordId, Option<Arc<str>>> = BTreeMap::new();
        for (&node, pair) in batch.nodes.iter().zip(batch.wire.iter()) {
            let cursor = match self.backlog.note(node) {
                Some(Note::Sight(sight)) if sight.reversed == reversed => sight.cursor.clone(),
                Some(Note::Sight(_) | Note::Seen(_) | Note::Creation(_)) | None => None,
            };
            let record = if reversed { pair.to } else { pair.from };
            let known = records.entry(record).or_insert_with(|| cursor.clone());
            // A pair that came later has seen nothing yet: the record is read from its start.
            if *known != cursor {
                *known = None;
            }
        }
        let records = records.into_iter().map(|(from, after)| LookAsked { from, after }).collect();
        Reading { reversed, records }
    }
}

/// Whether a look may read the `to` records in place of the `from` records. It may not where types matter: those that a
/// job names, or is told in its plan, are the types of its own direction. Nor may a proof: it reads the direction that
/// was archived, since in a portal whose associations are not two-way the other direction proves nothing.
fn may_be_reversed(lane: &LaneId) -> bool {
    lane.course == Course::Remove(Removal::Look(Look::Pairs)) && lane.extent == Extent::Whole
}

/// Whether the pages are shorter if the `to` records are read: they are where there are more of these, since then each
/// of them has fewer associations.
fn is_shorter_reversed(batch: &Batch) -> bool {
    let distinct = |record: fn(&Pair) -> RecordId| {
        let mut records: Vec<RecordId> = batch.wire.iter().map(record).collect();
        records.sort_unstable();
        records.dedup();
        records.len()
    };
    let (from, to) = (distinct(|pair| pair.from), distinct(|pair| pair.to));
    from < to && to <= MAX_RECORDS
}
