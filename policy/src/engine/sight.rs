//! What is known of pairs besides their names, while they go through a course of several steps: how far a look has come
//! and what it saw, or what is to be created. A pair that is only archived has no note.

use std::sync::Arc;
use std::time::Duration;

use slotmap::SparseSecondaryMap;

use super::clock::Tick;
use super::keys::NodeKey;
use super::verdict::{Found, RecordView};
use crate::contract::association::{AssociationType, Label, RecordId};
use crate::contract::journal::EntryId;
use crate::contract::refusal::Refusal;

/// What is known of some of the pairs in hand.
pub type Notes = SparseSecondaryMap<NodeKey, Note>;

/// What is known of a pair, or of a record of which all pairs are asked for.
#[derive(Clone, Debug)]
pub enum Note {
    /// A look has begun, and goes on with the next page.
    Sight(Sight),
    /// A look has ended.
    Seen(Seen),
    /// The next request creates the pair.
    Creation(ToCreate),
}

/// A creation gives a pair its types in place of those it has, so a type that somebody adds between look and creation
/// is lost. Therefore a pair whose look is older than this is looked at again before it is created.
const SIGHT_KEPT: Duration = Duration::from_secs(30);

impl ToCreate {
    pub fn is_fresh(&self, now: Tick) -> bool {
        self.again || self.looked.is_some_and(|looked| now.since(looked) <= SIGHT_KEPT)
    }
}

/// How far a look has come.
#[derive(Clone, Default, Debug)]
pub struct Sight {
    /// Where the next page of the record begins; `None` before the first one, and when all is read.
    pub cursor: Option<Arc<str>>,
    /// The pair; `None` while it was not seen.
    pub pair: Option<Found>,
    /// What the pair is associated by in the job's direction, where that was seen in an earlier look.
    pub before: Option<Present>,
    /// What else the record is associated with, as far as that matters.
    pub others: Vec<Found>,
    /// When the look was sent that showed the first of this.
    pub began: Tick,
    /// What was to be created by what an earlier look has shown, where the pair must be looked at again.
    pub was: Option<Box<ToCreate>>,
    /// The record is the pair's `to`.
    pub reversed: bool,
    /// There is nothing more to learn.
    pub ended: bool,
    /// An earlier look was sent too soon after a removal; see [`super::lag`].
    pub confirms: bool,
}

/// What a pair was associated by when it was looked at.
#[derive(Clone, Debug)]
pub struct Seen {
    pub present: Present,
    /// The types are those of the direction from `to` to `from`.
    pub reversed: bool,
    pub journaled: Journaled,
}

impl Seen {
    /// What a look has shown, and the journal does not have yet.
    pub fn new(present: Present, reversed: bool) -> Self {
        Self { present, reversed, journaled: Journaled::No }
    }
}

/// Whether the journal has what is known of a pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Journaled {
    No,
    /// It was given out to be written there, and is not known to be there.
    Given(EntryPosition),
    Yes(EntryPosition),
}

impl Journaled {
    pub fn is_yes(self) -> bool {
        matches!(self, Self::Yes(_))
    }
}

/// A pair in an entry of the journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryPosition {
    pub entry: EntryId,
    pub index: u32,
}

/// Whether a pair is associated, and by what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Present {
    No,
    By(Arc<[AssociationType]>),
    /// HubSpot told it in words that are not known here.
    ByUnknown,
}

/// What a pair is to be associated by.
#[derive(Clone, Debug)]
pub struct ToCreate {
    pub labels: Arc<[Label]>,
    /// What it was associated by when it was looked at.
    pub present: Arc<[AssociationType]>,
    /// When the look was sent that told what is there; `None` where it must be looked at again.
    pub looked: Option<Tick>,
    /// That was not the first look. It is believed however slow it was: else a pair of which looks take long would be
    /// looked at for ever.
    pub again: bool,
    /// Why something that was asked for cannot be created: said once the rest is there.
    pub missing: Option<Arc<Refusal>>,
    pub journaled: Journaled,
}

impl Note {
    /// Whether the journal has a record of the pair; `None` where nothing of the pair is about to be changed.
    pub fn journaled(&self) -> Option<Journaled> {
        match self {
            Self::Seen(seen) => Some(seen.journaled),
            Self::Creation(creation) => Some(creation.journaled),
            Self::Sight(_) => None,
        }
    }

    pub fn set_journaled(&mut self, journaled: Journaled) {
        match self {
            Self::Seen(seen) => seen.journaled = journaled,
            Self::Creation(creation) => creation.journaled = journaled,
            Self::Sight(_) => {}
        }
    }
}

impl ToCreate {
    /// If it is the same as what an earlier look found was to be created (`was`), keeps the note of whether the journal
    /// has that already.
    pub fn or_as_it_was(self, was: Option<&Self>) -> Self {
        let same = was.filter(|was| was.labels == self.labels && was.present == self.present);
        let journaled = same.map_or(Journaled::No, |was| was.journaled);
        Self { journaled, ..self }
    }

    /// The types that the request will add: those that the pair does not have yet.
    pub fn created(&self) -> Arc<[AssociationType]> {
        let is_there = |label: &Label| self.present.iter().any(|one| one.label == *label);
        let absent = self.labels.iter().filter(|label| !is_there(label));
        absent.map(|&label| AssociationType { label, name: None }).collect()
    }
}

impl Sight {
    /// Takes over a page of a record, seen from which the pair's other end is `to`. `matters`: which other associations
    /// of the record must be known, if any; the look then goes on to the record's end.
    pub fn take(&mut self, view: &RecordView, to: RecordId, matters: Option<&dyn Fn(&Found) -> bool>) {
        if let Ok(index) = view.found.binary_search_by_key(&to, |found| found.to) {
            self.pair = Some(view.found[index].clone());
        }
        self.cursor.clone_from(&view.next);
        self.ended = self.cursor.is_none() || (self.pair.is_some() && matters.is_none());
        let others = view.found.iter().filter(|found| found.to != to && matters.is_some_and(|matters| matters(found)));
        self.others.extend(others.cloned());
    }

    /// Takes over a page of a record of which all associations are asked for, as far as they matter.
    pub fn take_all(&mut self, view: &RecordView, matters: impl Fn(&Found) -> bool) {
        self.cursor.clone_from(&view.next);
        self.others.extend(view.found.iter().filter(|found| matters(found)).cloned());
        self.ended = self.cursor.is_none();
    }

    pub fn present(&self) -> Present {
        if let Some(before) = &self.before {
            return before.clone();
        }
        match &self.pair {
            None => Present::No,
            Some(Found { types: Some(types), .. }) => Present::By(Arc::clone(types)),
            Some(Found { types: None, .. }) => Present::ByUnknown,
        }
    }
}
