//! What a dry run tells of a pair that was looked at.

use std::sync::Arc;

use super::command::LaneId;
use super::restoring;
use super::sight::{Present, Sight};
use crate::contract::action::Action;
use crate::contract::association::{AssociationType, Extent, Label, Pair};
use crate::contract::plan::{PlanEntry, Prospect, warnings};

/// What would become of a pair of the lane.
pub fn entry(lane: &LaneId, action: Action, pair: Pair, sight: &Sight) -> PlanEntry {
    let present = sight.present();
    let is_present = present != Present::No;
    let types = match action {
        Action::Archive => would_go(&lane.extent, &present),
        Action::Restore { .. } => would_come(&lane.extent, &present),
    };
    let primary_elsewhere = types.iter().any(|one| restoring::is_held_elsewhere(sight, one.label));
    let (from_type, to_type) = (&lane.from_type, &lane.to_type);
    let prospect = Prospect { from_type, to_type, present: is_present, types: &types, primary_elsewhere };
    let warnings = warnings(action, &prospect);
    PlanEntry { pair, present: is_present, types, warnings }
}

fn would_go(extent: &Extent, present: &Present) -> Arc<[AssociationType]> {
    match present {
        Present::No | Present::ByUnknown => Arc::new([]),
        Present::By(types) => extent.taken_of(types),
    }
}

/// What a restoration would create. The plain association is not listed, since its type id is not known before it is
/// there.
fn would_come(extent: &Extent, present: &Present) -> Arc<[AssociationType]> {
    let is_there = |label: &Label| match present {
        Present::No | Present::ByUnknown => false,
        Present::By(types) => types.iter().any(|one| one.label == *label),
    };
    match extent {
        Extent::Whole => Arc::new([]),
        Extent::Labels(labels) => {
            let absent = labels.iter().filter(|label| !is_there(label));
            absent.map(|&label| AssociationType { label, name: None }).collect()
        }
    }
}
