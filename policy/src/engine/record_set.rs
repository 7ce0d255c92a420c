//! A set of records, each with its object type.

use hashbrown::HashSet;

use super::command::LaneId;
use crate::contract::association::{Pair, RecordId};
use crate::contract::object_type::ObjectType;

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecordSet(HashSet<(ObjectType, RecordId)>);

impl RecordSet {
    /// The records that all these pairs of a lane have: at most one of each side.
    pub fn shared_by(lane: &LaneId, pairs: &[Pair]) -> Self {
        let Some((first, others)) = pairs.split_first() else { return Self::default() };
        let from = others.iter().all(|pair| pair.from == first.from).then_some((&lane.from_type, first.from));
        let to = others.iter().all(|pair| pair.to == first.to).then_some((&lane.to_type, first.to));
        Self(from.into_iter().chain(to).map(|(object_type, record)| (object_type.clone(), record)).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of these is a record of the pair.
    pub fn has_one_of(&self, lane: &LaneId, pair: Pair) -> bool {
        let has = |object_type: &ObjectType, record| self.0.contains(&(object_type.clone(), record));
        !self.is_empty() && (has(&lane.from_type, pair.from) || has(&lane.to_type, pair.to))
    }

    pub fn add(&mut self, others: &Self) {
        self.0.extend(others.0.iter().cloned());
    }

    /// Those that are in both sets.
    pub fn common_with(&self, other: &Self) -> Self {
        Self(&self.0 & &other.0)
    }
}

impl FromIterator<(ObjectType, RecordId)> for RecordSet {
    fn from_iter<I: IntoIterator<Item = (ObjectType, RecordId)>>(records: I) -> Self {
        Self(records.into_iter().collect())
    }
}
