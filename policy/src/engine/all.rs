//! A record of which all associations are asked for, as an item of a lane.
//!
//! Lanes hold pairs. In a lane whose look is at all associations, such a record stands as the pair of itself with
//! itself: only here is one made of the other.

use super::verdict::Found;
use crate::contract::association::{Extent, Pair, RecordId};

/// The item for a record.
pub fn item(record: RecordId) -> Pair {
    Pair { from: record, to: record }
}

/// The record of an item.
pub fn record(item: Pair) -> RecordId {
    item.from
}

/// Whether an association that was found is one that is asked for: where only labels are to go, one that carries any of
/// them. Of one whose types are told in unknown words this is not known, and to take a label away that is not there is
/// harmless.
pub fn is_asked_for(extent: &Extent, found: &Found) -> bool {
    match (extent, &found.types) {
        (Extent::Whole, _) | (Extent::Labels(_), None) => true,
        (Extent::Labels(labels), Some(types)) => types.iter().any(|one| labels.contains(&one.label)),
    }
}
