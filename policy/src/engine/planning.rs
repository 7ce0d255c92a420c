//! What a dry run tells of a pair that was looked at.

use std::sync::Arc;

use super::command::LaneId;
use super::sight::Present;
use crate::contract::action::Action;
use crate::contract::association::{AssociationType, Extent, Label, Pair};
use crate::contract::plan::{PlanEntry, Warning, Warnings};

/// What would become of a pair of the lane.
pub fn entry(lane: &LaneId, action: Action, pair: Pair, present: &Present) -> PlanEntry {
    let is_present = *present != Present::No;
    let types = match action {
        Action::Archive => would_go(&lane.extent, present),
        Action::Restore { .. } => Arc::new([]),
    };
    let mut warnings = Warnings::default();
    if action == Action::Archive && !is_present {
        warnings = warnings.with(Warning::NotPresent);
    }
    PlanEntry { pair, present: is_present, types, warnings }
}

fn would_go(extent: &Extent, present: &Present) -> Arc<[AssociationType]> {
    match (present, extent) {
        (Present::No | Present::ByUnknown, _) => Arc::new([]),
        (Present::By(types), Extent::Whole) => Arc::clone(types),
        (Present::By(types), Extent::Labels(labels)) => named(types, labels),
    }
}

fn named(types: &[AssociationType], labels: &[Label]) -> Arc<[AssociationType]> {
    types.iter().filter(|one| labels.contains(&one.label)).cloned().collect()
}
