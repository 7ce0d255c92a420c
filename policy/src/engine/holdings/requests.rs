//! What the request for a batch says besides its pairs.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use super::Holdings;
use crate::contract::association::{AssociationType, Extent, Label, Pair, RecordId};
use crate::contract::ids::AccountIndex;
use crate::engine::backlog::NodeKey;
use crate::engine::batch::{Batch, BatchKey, Reading};
use crate::engine::clock::Tick;
use crate::engine::command::{LaneId, Request};
use crate::engine::course::{Course, Look, Removal, Restoration, Restoring};
use crate::engine::creating::Claims;
use crate::engine::expected::expected;
use crate::engine::lag;
use crate::engine::restoring;
use crate::engine::sight::{Note, ToCreate};
use crate::engine::step::{MAX_RECORDS, Step};
use crate::engine::verdict::LookAsked;

impl Holdings {
    /// The request for a batch that was put on the wire.
    pub fn request(&mut self, key: BatchKey, now: Tick) -> Option<Request> {
        let batch = expected(self.batches.get(key), "a batch that is sent is in hand")?;
        let lane = expected(self.lanes.get(batch.lane), "a batch keeps its lane open")?;
        let lane_creates = lane.id.step() == Step::Create;
        let (request, reading) = match lane.id.step() {
            Step::Archive | Step::ArchiveLabels => {
                self.lag.left(&lane.id, &batch.wire);
                (removal(&lane.id, batch), None)
            }
            Step::Look(_) => self.look(&lane.id, batch),
            Step::Associate => (Request::Associate, None),
            Step::Create => match self.all_labels(&lane.id, batch, now) {
                Some(labels) => {
                    self.creating.left(&lane.id, &batch.wire, &labels);
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

    /// A request for a batch is answered. If it was to change the pairs, it may have done so.
    pub fn change_answered(&mut self, batch: &Batch, now: Tick) {
        let Some(lane) = expected(self.lanes.get(batch.lane), "a batch keeps its lane open") else { return };
        match lane.id.step() {
            Step::Archive | Step::ArchiveLabels => self.lag.answered(&batch.wire, now),
            Step::Create if batch.reading.is_none() => self.creating.answered(&batch.wire, now),
            Step::Create | Step::Associate | Step::Look(_) => {}
        }
    }

    /// Whether another request is on the wire that creates one of the pairs of a batch, or that gives Primary to a record
    /// for which one of them claims it.
    pub fn is_being_created(&self, batch: &Batch) -> bool {
        let Some(lane) = self.lanes.get(batch.lane) else { return false };
        self.creations(batch).any(|(pair, creation)| self.creating.is_on_wire(&lane.id, pair, &creation.labels))
    }

    /// What is to be created of a batch.
    fn creations<'a>(&'a self, batch: &'a Batch) -> impl Iterator<Item = (Pair, &'a ToCreate)> {
        batch.nodes.iter().filter_map(|&node| match self.backlog.note(node)? {
            Note::Creation(creation) => Some((self.backlog.node(node)?.pair, creation)),
            Note::Sight(_) | Note::Seen(_) => None,
        })
    }

    /// Which pairs of a batch are to get the Primary of a record that an earlier one of them is to get.
    pub fn rivals(&self, batch: &Batch) -> Vec<NodeKey> {
        let lane = self.lanes.get(batch.lane).filter(|lane| lane.id.step() == Step::Create);
        let Some(lane) = lane else { return Vec::new() };
        let mut claims = Claims::default();
        let is_rival = |node: &NodeKey| match (self.backlog.node(*node), self.backlog.note(*node)) {
            (Some(of), Some(Note::Creation(creation))) => !claims.admit(&lane.id, of.pair, &creation.labels),
            (Some(_), Some(Note::Sight(_) | Note::Seen(_)) | None) | (None, _) => false,
        };
        batch.nodes.iter().copied().filter(is_rival).collect()
    }

    /// Another process may have removed something of the account until now.
    pub fn takes_over(&mut self, account: AccountIndex, now: Tick) {
        self.lag.takes_over(account, now);
    }

    /// From when on a look is believed as far as it is not known which pairs of the account were removed.
    pub fn believed_from(&self, account: AccountIndex) -> Tick {
        lag::believed_after(self.lag.known_from(account))
    }

    /// Which of these pairs of the lane were removed so late that a look that was sent at `looked` or later may show
    /// them all the same, and from when on a look is believed.
    pub fn removed_late(&self, lane: &LaneId, nodes: &[NodeKey], looked: Tick, now: Tick) -> HashMap<Pair, Tick> {
        let pairs = nodes.iter().filter_map(|&node| self.backlog.node(node)).map(|node| node.pair);
        self.lag.of_pairs(lane, pairs, looked, now)
    }

    /// From when on a look is believed that shows the pair with these types, if Primary is among them and was given to
    /// another pair of the record.
    pub fn primary_moved(&self, lane: &LaneId, pair: Pair, types: &[AssociationType], now: Tick) -> Option<Tick> {
        let labels = types.iter().map(|one| one.label);
        self.creating.primary_taken(lane, pair, labels, now).map(lag::believed_after)
    }

    /// Whether the batch is to create, but some of its pairs have records of which more pages must be read before that.
    pub fn looks_on(&self, batch: &Batch) -> bool {
        let lane = self.lanes.get(batch.lane);
        let is_looked_at = |&node: &NodeKey| matches!(self.backlog.note(node), Some(Note::Sight(_)));
        lane.is_some_and(|lane| lane.id.step() == Step::Create) && batch.nodes.iter().any(is_looked_at)
    }

    /// What each pair of a batch is to be associated by, if that is known well enough of all of them.
    fn all_labels(&self, lane: &LaneId, batch: &Batch, now: Tick) -> Option<Arc<[Arc<[Label]>]>> {
        let mut oldest = now;
        let mut repeating = Vec::new();
        let mut claims = Claims::default();
        let mut all = Vec::with_capacity(batch.nodes.len());
        for (&node, &pair) in batch.nodes.iter().zip(batch.wire.iter()) {
            let Some(Note::Creation(creation)) = self.backlog.note(node) else { return None };
            let looked = self.believed(lane, pair, creation, now, batch.looked_again)?;
            if !claims.admit(lane, pair, &creation.labels) {
                return None;
            }
            if restoring::repeats(&lane.extent, &creation.present) {
                oldest = oldest.min(looked);
                repeating.push((pair, looked));
            }
            all.push(Arc::clone(&creation.labels));
        }
        let removed = match repeating.is_empty() {
            true => HashMap::new(),
            false => self.lag.of_pairs(lane, repeating.iter().map(|(pair, _)| *pair), oldest, now),
        };
        let is_late = |(pair, looked): &(Pair, Tick)| removed.get(pair).is_some_and(|believed| believed > looked);
        (!repeating.iter().any(is_late)).then(|| all.into())
    }

    /// When the look was sent that a creation rests on; `None` where the pair must be looked at before. `again`: the batch
    /// has just looked at it again. Then it goes on, however long that look took.
    fn believed(&self, lane: &LaneId, pair: Pair, creation: &ToCreate, now: Tick, again: bool) -> Option<Tick> {
        let looked = creation.looked.filter(|_| again || creation.is_fresh(now))?;
        let missed = self.creating.may_be_missed(lane, pair, &creation.labels, looked);
        (!missed && looked >= self.lag.known_from(lane.account)).then_some(looked)
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

fn removal(lane: &LaneId, batch: &Batch) -> Request {
    match lane.extent {
        Extent::Whole if batch.turned.is_some() => Request::ArchiveTurned,
        Extent::Whole => Request::Archive,
        Extent::Labels(_) => Request::ArchiveLabels,
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
