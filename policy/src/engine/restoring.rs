//! What a restoration still has to create, once it is known what is there.

use std::sync::Arc;

use super::command::LaneId;
use super::course::Restoration;
use super::sight::{Present, Sight, ToCreate};
use super::verdict::Found;
use crate::contract::association::{Extent, Label};
use crate::contract::refusal::{Refusal, WorkerCategory};

/// What is to be done for a pair that is to be restored.
#[derive(Debug)]
pub enum Wanted {
    /// Everything is there.
    Nothing,
    /// The plain association, where nothing is there.
    Plain(ToCreate),
    /// These types, which include those that are there: a request that creates takes the others away.
    Types(ToCreate),
    /// Nothing of it can be done.
    Impossible(Arc<Refusal>),
}

/// What a pair of the lane needs, by what a look has shown.
pub fn wanted(lane: &LaneId, restoration: Restoration, sight: &Sight) -> Wanted {
    let present = sight.present();
    let Extent::Labels(labels) = &lane.extent else {
        return match present {
            Present::No => Wanted::Plain(ToCreate { labels: Arc::new([]), missing: None }),
            Present::By(_) | Present::ByUnknown => Wanted::Nothing,
        };
    };
    let there: Vec<Label> = match present {
        Present::No => Vec::new(),
        Present::By(types) => types.iter().map(|one| one.label).collect(),
        Present::ByUnknown => return Wanted::Impossible(Arc::new(unknown_types())),
    };
    let _ = restoration;
    let absent = labels.iter().filter(|label| !there.contains(label));
    let mut union = there.clone();
    union.extend(absent);
    if union.len() == there.len() {
        return Wanted::Nothing;
    }
    union.sort_unstable();
    Wanted::Types(ToCreate { labels: union.into(), missing: None })
}

/// To create types takes those away that the request does not name.
fn unknown_types() -> Refusal {
    let message = "the two records are associated by types that this version does not know, and to create others \
                   would take these away";
    Refusal::worker(WorkerCategory::Unattributed, message)
}

/// Whether it matters for the pairs of a lane which other records are primary for a record.
pub fn minds_primary(_lane: &LaneId) -> bool {
    false
}

/// Whether another record is primary.
pub fn is_primary_elsewhere(_lane: &LaneId, _found: &Found) -> bool {
    false
}
