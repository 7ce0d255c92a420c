//! A record of which all associations are asked for, as an item of a lane.
//!
//! Lanes hold pairs. In a lane that looks at all associations of its records, each record is kept as the pair of the
//! record with itself: this is its *item*. Only this file makes items of records and records of items.

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

/// Whether an association that was found is one that is asked for. Where only labels are to be removed, it must have
/// one of them. Where HubSpot describes its types in words that are not known here, it counts as asked for: to remove a
/// label that is not there is harmless.
pub fn is_asked_for(extent: &Extent, found: &Found) -> bool {
    match (extent, &found.types) {
        (Extent::Whole, _) | (Extent::Labels(_), None) => true,
        (Extent::Labels(labels), Some(types)) => types.iter().any(|one| labels.contains(&one.label)),
    }
}
