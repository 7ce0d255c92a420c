//! Pairs that exist, with their labels, for each direction by itself: some forty bytes a pair and direction.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

use hashbrown::HashMap;

use crate::label::Label;
use crate::label_set::{LabelSetId, LabelSets};
use crate::object_type::Lane;

/// See the module.
#[derive(Default, Debug)]
pub struct Links {
    lanes: HashMap<Lane, BTreeMap<(u64, u64), LabelSetId>>,
    sets: LabelSets,
}

impl Links {
    pub(crate) fn set_id(&mut self, labels: Vec<Label>) -> LabelSetId {
        self.sets.id_of(labels)
    }

    pub(crate) fn labels_of(&self, id: LabelSetId) -> &[Label] {
        self.sets.labels(id)
    }

    pub(crate) fn get(&self, lane: &Lane, from: u64, to: u64) -> Option<LabelSetId> {
        self.lanes.get(lane)?.get(&(from, to)).copied()
    }

    /// Sorted; empty where the pair does not exist.
    pub(crate) fn labels(&self, lane: &Lane, from: u64, to: u64) -> &[Label] {
        self.get(lane, from, to).map(|id| self.labels_of(id)).unwrap_or_default()
    }

    pub(crate) fn put(&mut self, lane: &Lane, from: u64, to: u64, labels: LabelSetId) {
        if let Some(pairs) = self.lanes.get_mut(lane) {
            pairs.insert((from, to), labels);
        } else {
            self.lanes.insert(lane.clone(), [((from, to), labels)].into());
        }
    }

    pub(crate) fn remove(&mut self, lane: &Lane, from: u64, to: u64) -> Option<LabelSetId> {
        self.lanes.get_mut(lane)?.remove(&(from, to))
    }

    /// The `to` records of one record, in order, from behind `after` on.
    pub(crate) fn of(
        &self,
        lane: &Lane,
        from: u64,
        after: Option<u64>,
    ) -> impl Iterator<Item = (u64, LabelSetId)> + use<'_> {
        let pairs = self.lanes.get(lane).map(|pairs| pairs.range(behind(from, after)));
        pairs.into_iter().flatten().map(|(&(_, to), &labels)| (to, labels))
    }

    /// All pairs of a direction, in order.
    pub(crate) fn all(&self, lane: &Lane) -> impl Iterator<Item = (u64, u64, LabelSetId)> + use<'_> {
        let pairs = self.lanes.get(lane).into_iter().flatten();
        pairs.map(|(&(from, to), &labels)| (from, to, labels))
    }

    /// Every direction between two object types in which there is a pair, in order.
    pub(crate) fn lanes(&self) -> Vec<&Lane> {
        let mut lanes: Vec<&Lane> =
            self.lanes.iter().filter(|(_, pairs)| !pairs.is_empty()).map(|(lane, _)| lane).collect();
        lanes.sort_unstable();
        lanes
    }

    /// Pairs, each counted in both of its directions.
    pub(crate) fn len(&self) -> usize {
        self.lanes.values().map(BTreeMap::len).sum()
    }

    /// Takes a label from every pair of a direction.
    pub(crate) fn strip(&mut self, lane: &Lane, label: Label) {
        let Self { lanes, sets } = self;
        for id in lanes.get_mut(lane).into_iter().flat_map(BTreeMap::values_mut) {
            if sets.labels(*id).contains(&label) {
                let rest = sets.labels(*id).iter().copied().filter(|one| *one != label).collect();
                *id = sets.id_of(rest);
            }
        }
    }
}

/// The keys of one record's pairs from behind `after` on.
pub(crate) fn behind(from: u64, after: Option<u64>) -> impl RangeBounds<(u64, u64)> {
    let start = after.map_or(Bound::Included((from, 0)), |after| Bound::Excluded((from, after)));
    (start, Bound::Included((from, u64::MAX)))
}
