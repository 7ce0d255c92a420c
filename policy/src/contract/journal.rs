//! The journal: what was there before it was removed, so that it can be created again; and what was created again.
//!
//! An [`Entry`] is durable before the request leaves that changes its pairs; a [`Completion`] follows after the answer.
//! Where no completion says that a pair was refused, it counts as removed: a process may have died between the two.

use std::sync::Arc;

use jiff::Timestamp;
use smallvec::SmallVec;
use uuid::Uuid;

use super::association::{AssociationType, Extent, Pair};
use super::ids::{Group, JobId, PortalId};
use super::object_type::ObjectType;

mod places;
mod reading;
mod writing;

pub use places::Places;
pub use reading::{Unreadable, parse};
pub use writing::mark;

/// What the worker writes. A reader takes later versions too, as far as it knows their fields.
pub const VERSION: u32 = 1;

/// A record is split where it would be larger, in bytes. A record of 1,000 pairs has some 60 kB.
pub const MAX_RECORD_BYTES: usize = 1024 * 1024;

/// Most types of one pair that are recorded. HubSpot allows 50 labels between two object types.
pub const MAX_TYPES_OF_A_PAIR: usize = 1_000;

/// Names an entry; its parts share it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct EntryId(pub Uuid);

impl EntryId {
    /// From 128 random bits.
    pub fn from_random(bits: u128) -> Self {
        Self(uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid())
    }
}

/// One line of the journal, or one message of its stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    Entry(Entry),
    Completion(Completion),
    /// Written by a reader who wants to know where the journal ends.
    Mark(Uuid),
    /// Of a later version.
    Unknown,
}

/// What one request is about to change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub id: EntryId,
    pub kind: ChangeKind,
    pub at: Timestamp,
    /// `None` where the settings do not name it.
    pub portal: Option<PortalId>,
    /// As in the request.
    pub from_type: ObjectType,
    /// As in the request.
    pub to_type: ObjectType,
    pub read: ReadFrom,
    /// Of a removal: everything between the two records, or only these labels. Of a restoration: the plain association, or
    /// these labels.
    pub extent: Extent,
    /// Every job that has a pair here.
    pub jobs: Vec<JobName>,
    /// How many pairs of the entry stand in parts before this one.
    pub first: u32,
    pub pairs: Vec<EntryPair>,
}

/// What a request does to its pairs. On the wire each kind has its own word for `record`, so that a reader who knows of
/// removals only does not take another change for one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ChangeKind {
    Removal,
    Restoration,
}

impl ChangeKind {
    pub const ALL: [Self; 2] = [Self::Removal, Self::Restoration];

    /// As commands tell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Removal => "removal",
            Self::Restoration => "restoration",
        }
    }
}

/// The side from which the associations were read. Type ids are those of that direction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ReadFrom {
    From,
    To,
}

impl ReadFrom {
    pub const ALL: [Self; 2] = [Self::From, Self::To];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::From => "from",
            Self::To => "to",
        }
    }
}

/// How people find a job again.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct JobName {
    pub id: JobId,
    pub group: Option<Group>,
    /// That of the job's outcome; at most 255 bytes.
    pub correlation_id: Option<Arc<str>>,
}

/// A pair, and what is about to become of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntryPair {
    /// As in the request.
    pub pair: Pair,
    /// What was there before the request. In the entry of a removal: only the types that are about to be removed.
    /// Empty: nothing was there.
    pub types: Arc<[AssociationType]>,
    /// In the entry of a restoration: the types that are about to be created; where this is empty, the plain
    /// association. In the entry of a removal it is always empty.
    pub creates: Arc<[AssociationType]>,
    /// Indices into [`Entry::jobs`].
    pub jobs: SmallVec<[u32; 1]>,
}

/// What became of pairs of an entry; there may be several for one entry, since a request may be repeated in parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Completion {
    pub entry: EntryId,
    pub at: Timestamp,
    pub archived: Places,
    /// They are associated again.
    pub restored: Places,
    /// They are as they were: HubSpot refused them, or there was nothing to do after all.
    pub refused: Places,
    /// The request may have been obeyed, and nobody will find out.
    pub unknown: Places,
}

#[cfg(test)]
mod tests;
