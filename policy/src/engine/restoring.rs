//! What a restoration still has to create, once it is known what is there.
//!
//! `batch/create` takes away the types that it does not name. So each request names the types that are there as well,
//! and where these are not known nothing is created.
//!
//! A record has at most one association with the label Primary. To give the label to another one would take it from the
//! association that has it now. So a look from the record that may have only one first shows which association that is.

use std::sync::Arc;

use super::command::LaneId;
use super::course::{Course, Restoration, Restoring};
use super::sight::{Journaled, Present, Sight, ToCreate};
use super::verdict::Found;
use crate::contract::action::Action;
use crate::contract::association::{AssociationType, Extent, Label};
use crate::contract::object_type::ObjectType;
use crate::contract::primary::{OnlyOne, is_primary, only_one};
use crate::contract::refusal::{Refusal, WorkerCategory};

/// What is to be done for a pair that is to be restored.
#[derive(Debug)]
pub enum Wanted {
    /// Everything is there.
    Nothing,
    /// The plain association, where nothing is there.
    Plain(ToCreate),
    /// These types: the wanted ones, and those that are there already.
    Types(ToCreate),
    /// A look from the other record, to see which of its associations has Primary.
    OtherSide(Present),
    /// Nothing of it can be done.
    Impossible(Arc<Refusal>),
}

/// What is to be done for a pair of the lane, by what looks have shown.
pub fn wanted(lane: &LaneId, restoration: Restoration, sight: &Sight) -> Wanted {
    let present = sight.present();
    let create = |labels: Arc<[Label]>, present, missing| {
        let (looked, again, journaled) = (Some(sight.began), sight.was.is_some(), Journaled::No);
        ToCreate { labels, present, looked, again, missing, journaled }.or_as_it_was(sight.was.as_deref())
    };
    let Extent::Labels(labels) = &lane.extent else {
        return match present {
            Present::No => Wanted::Plain(create(Arc::default(), Arc::default(), None)),
            Present::By(_) | Present::ByUnknown => Wanted::Nothing,
        };
    };
    let types = match &present {
        Present::No => Arc::default(),
        Present::By(types) => Arc::clone(types),
        Present::ByUnknown => return Wanted::Impossible(Arc::new(unknown_types())),
    };
    let there: Vec<Label> = types.iter().map(|one| one.label).collect();
    let absent = labels.iter().copied().filter(|label| !there.contains(label));
    let barred = sight.was.as_ref().and_then(|was| was.missing.clone());
    let asks_first = !restoration.include_primary || barred.is_some();
    let (primary, mut others): (Vec<Label>, Vec<Label>) =
        absent.partition(|&label| asks_first && is_primary(&lane.from_type, &lane.to_type, label));
    let of_to = |&label: &Label| only_one(&lane.from_type, &lane.to_type, label) == Some(OnlyOne::To);
    if restoration.at != Restoring::LookBack && barred.is_none() && primary.iter().any(of_to) {
        return Wanted::OtherSide(present);
    }
    let is_free = sight.others.is_empty() && barred.is_none();
    let refusal = || barred.unwrap_or_else(|| Arc::new(primary_elsewhere(&primary, sight)));
    let missing = (!primary.is_empty() && !is_free).then(refusal);
    if is_free {
        others.extend(primary);
    }
    match (others.is_empty(), missing) {
        (true, None) => Wanted::Nothing,
        (true, Some(refusal)) => Wanted::Impossible(refusal),
        (false, missing) => {
            let mut labels: Vec<Label> = there.into_iter().chain(others).collect();
            labels.sort_unstable();
            Wanted::Types(create(labels.into(), types, missing))
        }
    }
}

/// Whether a restoration relies on what a look shows of the pair. It does in three cases. The look shows some of what is
/// wanted, and at most Primary is missing: then perhaps no request creates what the look has shown. Or a creation would
/// repeat what the look shows beside what is wanted. Or the look shows types that are not known here, while the job names
/// types: the pair is then refused.
pub fn rests_on_what_is_shown(lane: &LaneId, sight: &Sight) -> bool {
    match lane.course {
        Course::Restore(Restoration { at: Restoring::Look | Restoring::Types, .. }) => {}
        Course::Restore(Restoration { at: Restoring::LookBack | Restoring::Plain, .. })
        | Course::Plan { .. }
        | Course::Remove(_) => return false,
    }
    match (sight.present(), &lane.extent) {
        (Present::No, _) => false,
        (Present::By(_) | Present::ByUnknown, Extent::Whole) | (Present::ByUnknown, Extent::Labels(_)) => true,
        (Present::By(types), Extent::Labels(labels)) => {
            let is_there = |label: &Label| types.iter().any(|one| one.label == *label);
            let may_lack = |label: &Label| is_primary(&lane.from_type, &lane.to_type, *label);
            let is_enough =
                labels.iter().any(is_there) && labels.iter().all(|label| is_there(label) || may_lack(label));
            is_enough || repeats(&lane.extent, &types)
        }
    }
}

/// Whether a creation of what is wanted would also name what is there beside that, which would then come back if it was
/// removed meanwhile. The plain association does not count: it comes with whatever is created.
pub fn repeats(extent: &Extent, there: &[AssociationType]) -> bool {
    match extent {
        Extent::Whole => false,
        Extent::Labels(labels) => there.iter().any(|one| !one.is_plain() && !labels.contains(&one.label)),
    }
}

/// HubSpot refused a creation. If the creation was to give Primary beside other types, those may be possible without
/// it: then this is what is to be created instead.
pub fn without_primary(lane: &LaneId, creation: &ToCreate, refusal: &Refusal) -> Option<ToCreate> {
    let is_there = |label: &Label| creation.present.iter().any(|one| one.label == *label);
    let absent = creation.labels.iter().copied().filter(|label| !is_there(label));
    let (primary, others): (Vec<Label>, Vec<Label>) =
        absent.partition(|&label| is_primary(&lane.from_type, &lane.to_type, label));
    if creation.missing.is_some() || primary.is_empty() || others.is_empty() {
        return None;
    }
    let message = format!(
        "the Primary label (type {}) was not restored, since HubSpot refused to create it: {} What else the job asks for \
         between the two records is there",
        type_ids(&primary),
        as_sentence(&refusal.message)
    );
    let missing = Refusal {
        http_status: refusal.http_status,
        correlation_id: refusal.correlation_id.clone(),
        ..Refusal::worker(WorkerCategory::NotRestorable, &message)
    };
    let labels = creation.labels.iter().copied().filter(|label| !primary.contains(label)).collect();
    let present = Arc::clone(&creation.present);
    let missing = Some(Arc::new(missing));
    Some(ToCreate { labels, present, looked: None, again: false, missing, journaled: Journaled::No })
}

fn type_ids(labels: &[Label]) -> String {
    let ids: Vec<String> = labels.iter().map(|label| label.type_id.to_string()).collect();
    ids.join(", ")
}

fn as_sentence(words: &str) -> String {
    format!("{}.", words.trim_end_matches('.'))
}

/// Nothing can be created beside types that are not known here: a creation takes away what it does not name.
fn unknown_types() -> Refusal {
    let message = "the two records are associated by types that this version does not know, and to create others \
                   would take these away";
    Refusal::worker(WorkerCategory::NotRestorable, message)
}

fn primary_elsewhere(labels: &[Label], sight: &Sight) -> Refusal {
    let holders: Vec<String> = sight.others.iter().take(1).map(|found| found.to.to_string()).collect();
    let message = format!(
        "the Primary label (type {}) was not restored, since record {} has it by now; `includePrimary` takes it from \
         there. What else the job asks for between the two records is there",
        type_ids(labels),
        holders.join(", ")
    );
    Refusal::worker(WorkerCategory::NotRestorable, &message)
}

/// Whether a look in this lane must also show which other associations have the Primary label that its pairs are to
/// get.
pub fn minds_primary(lane: &LaneId) -> bool {
    match lane.course {
        Course::Restore(Restoration { at: Restoring::LookBack, .. }) => true,
        Course::Restore(Restoration { include_primary: false, .. })
        | Course::Plan { action: Action::Restore { .. }, .. } => names_primary(lane, OnlyOne::From),
        Course::Restore(_) | Course::Plan { .. } | Course::Remove(_) => false,
    }
}

fn names_primary(lane: &LaneId, of: OnlyOne) -> bool {
    let Extent::Labels(labels) = &lane.extent else { return false };
    labels.iter().any(|&label| only_one(&lane.from_type, &lane.to_type, label) == Some(of))
}

/// Whether another association of a record that was looked at has Primary, so that this record may have no second one.
pub fn is_primary_elsewhere(lane: &LaneId, found: &Found) -> bool {
    let (from, to): (&ObjectType, &ObjectType) = match lane.course {
        Course::Restore(Restoration { at: Restoring::LookBack, .. }) => (&lane.to_type, &lane.from_type),
        Course::Restore(_) | Course::Plan { .. } | Course::Remove(_) => (&lane.from_type, &lane.to_type),
    };
    let mut types = found.types.iter().flat_map(|types| types.iter());
    types.any(|one| only_one(from, to, one.label) == Some(OnlyOne::From))
}

/// Whether a look has shown that another record has this label.
pub fn is_held_elsewhere(sight: &Sight, label: Label) -> bool {
    let mut types = sight.others.iter().flat_map(|found| found.types.iter()).flat_map(|types| types.iter());
    types.any(|one| one.label == label)
}
