//! What is known of pairs that are recorded before they are removed.

use std::sync::Arc;

use super::{Holdings, LastWord};
use crate::contract::association::{AssociationType, Extent, Pair};
use crate::contract::ids::AccountIndex;
use crate::contract::journal::ReadFrom;
use crate::engine::backlog::NodeKey;
use crate::engine::sight::{EntryPlace, Note, Present, Seen};

/// What is known in the end of a pair that was recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordedFate {
    Archived,
    Refused,
    /// A request that carried it got no answer.
    Unknown,
}

impl Holdings {
    /// Whether the journal has what all these pairs are associated by.
    pub fn are_recorded(&self, nodes: &[NodeKey]) -> bool {
        nodes.iter().filter(|&&node| self.backlog.node(node).is_some()).all(|&node| self.is_recorded(node))
    }

    fn is_recorded(&self, node: NodeKey) -> bool {
        matches!(self.backlog.note(node), Some(Note::Seen(Seen { recorded: true, .. })))
    }

    /// The pair, the side it was read from, and what is about to go of what was seen. `None` where that is not known.
    pub fn to_record(&self, node: NodeKey) -> Option<(Pair, ReadFrom, Arc<[AssociationType]>)> {
        let (lane, pair) = self.name(node)?;
        let Some(Note::Seen(seen)) = self.backlog.note(node) else { return None };
        let read = if seen.reversed { ReadFrom::To } else { ReadFrom::From };
        let types = match (&seen.present, &lane.extent) {
            (Present::ByUnknown, _) => return None,
            (Present::No, _) => [].into(),
            (Present::By(types), Extent::Whole) => Arc::clone(types),
            (Present::By(types), Extent::Labels(labels)) => {
                types.iter().filter(|of| labels.contains(&of.label)).cloned().collect()
            }
        };
        Some((pair, read, types))
    }

    /// Where the journal is about to have a pair.
    pub fn set_place(&mut self, node: NodeKey, place: EntryPlace) {
        if let Some(Note::Seen(seen)) = self.backlog.note_mut(node) {
            seen.place = Some(place);
        }
    }

    /// The journal has these pairs.
    pub fn note_recorded(&mut self, nodes: &[NodeKey]) {
        for &node in nodes {
            if let Some(Note::Seen(seen)) = self.backlog.note_mut(node) {
                seen.recorded = true;
            }
        }
    }

    /// A pair is about to have its last word: notes what the journal is to be told. Returns whether the pair was recorded.
    pub(super) fn note_fate(&mut self, node: NodeKey, account: AccountIndex, word: &LastWord) -> bool {
        let Some(Note::Seen(Seen { recorded: true, place: Some(place), .. })) = self.backlog.note(node) else {
            return false;
        };
        let in_doubt = self.backlog.node(node).is_some_and(|node| node.in_doubt);
        let fate = match word {
            LastWord::Done | LastWord::Proven | LastWord::Disproved(_) => RecordedFate::Archived,
            LastWord::Refused(_) if in_doubt => RecordedFate::Unknown,
            LastWord::Refused(_) | LastWord::Planned(_) => RecordedFate::Refused,
        };
        self.fates.push_back((account, *place, fate));
        true
    }

    /// What is known by now of a pair that was recorded.
    pub fn next_fate(&mut self) -> Option<(AccountIndex, EntryPlace, RecordedFate)> {
        self.fates.pop_front()
    }
}
