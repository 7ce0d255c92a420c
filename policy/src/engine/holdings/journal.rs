//! What is known of pairs that are recorded before they are changed.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Holdings, LastWord};
use crate::contract::ids::AccountIndex;
use crate::contract::journal::ReadFrom;
use crate::engine::backlog::NodeKey;
use crate::engine::command::RecordedPair;
use crate::engine::sight::{EntryPosition, Journaled, Note, Present, Seen, ToCreate};

/// What became of a pair that was recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordedFate {
    Archived,
    Restored,
    /// Nothing was changed: HubSpot refused, or there was nothing to do.
    Refused,
    /// A request that carried it got no answer.
    Unknown,
}

impl Holdings {
    /// Whether the journal has a record of all these pairs, so that they may be changed.
    pub fn are_recorded(&self, nodes: &[NodeKey]) -> bool {
        nodes.iter().filter(|&&node| self.backlog.node(node).is_some()).all(|&node| self.is_recorded(node))
    }

    fn is_recorded(&self, node: NodeKey) -> bool {
        self.backlog.note(node).and_then(Note::journaled).is_some_and(Journaled::is_yes)
    }

    /// What is to be recorded of a pair, still without its jobs, and the side from which the pair was read. `None`
    /// where that is not known.
    pub fn to_record(&self, node: NodeKey) -> Option<(ReadFrom, RecordedPair)> {
        let (lane, pair) = self.name(node)?;
        let jobs = SmallVec::new();
        let seen = match self.backlog.note(node)? {
            Note::Seen(seen) => seen,
            Note::Creation(creation) => {
                let (types, creates) = (Arc::clone(&creation.present), creation.created());
                return Some((ReadFrom::From, RecordedPair { pair, types, creates, jobs }));
            }
            Note::Sight(_) => return None,
        };
        let read = if seen.reversed { ReadFrom::To } else { ReadFrom::From };
        let types = match &seen.present {
            Present::ByUnknown => return None,
            Present::No => Arc::default(),
            Present::By(types) => lane.extent.taken_of(types),
        };
        Some((read, RecordedPair { pair, types, creates: Arc::default(), jobs }))
    }

    /// The pair is on its way to the journal, as this pair of an entry.
    pub fn set_position(&mut self, node: NodeKey, position: EntryPosition) {
        if let Some(note) = self.backlog.note_mut(node) {
            note.set_journaled(Journaled::Given(position));
        }
    }

    /// The journal has these pairs.
    pub fn note_recorded(&mut self, nodes: &[NodeKey]) {
        for &node in nodes {
            if let Some(note) = self.backlog.note_mut(node)
                && let Some(Journaled::Given(position)) = note.journaled()
            {
                note.set_journaled(Journaled::Yes(position));
            }
        }
    }

    /// A pair is about to be settled with `word`: notes what the journal is to be told of it. Returns whether the pair
    /// was recorded.
    pub(super) fn note_fate(&mut self, node: NodeKey, account: AccountIndex, word: &LastWord) -> bool {
        let (position, done) = match self.backlog.note(node) {
            Some(Note::Seen(Seen { journaled: Journaled::Yes(position), .. })) => (*position, RecordedFate::Archived),
            Some(Note::Creation(ToCreate { journaled: Journaled::Yes(position), .. })) => {
                (*position, RecordedFate::Restored)
            }
            Some(Note::Seen(_) | Note::Creation(_) | Note::Sight(_)) | None => return false,
        };
        let in_doubt = self.backlog.node(node).is_some_and(|node| node.in_doubt);
        let fate = match word {
            LastWord::Done | LastWord::Proven | LastWord::Disproved(_) | LastWord::DoneInPart(_) => done,
            LastWord::Refused(_) | LastWord::Unchanged { .. } if in_doubt => RecordedFate::Unknown,
            LastWord::Refused(_) | LastWord::Unchanged { .. } | LastWord::Planned(_) => RecordedFate::Refused,
        };
        self.fates.push_back((account, position, fate));
        true
    }

    /// What is known by now of a pair that was recorded.
    pub fn next_fate(&mut self) -> Option<(AccountIndex, EntryPosition, RecordedFate)> {
        self.fates.pop_front()
    }
}
