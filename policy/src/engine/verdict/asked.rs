//! What a request asked of HubSpot: what its answer is read by.

use crate::contract::association::{Pair, RecordId};
use crate::engine::verdict::record::LookAsked;

/// What the errors and results of an answer can mean, in the request's order: distinct, and at least one.
#[derive(Clone, Copy)]
pub(super) enum Asked<'a> {
    /// Pairs, to be removed.
    Archive(&'a [Pair]),
    /// Records, whose associations are to be shown.
    Look(&'a [LookAsked]),
    /// Pairs, to be made.
    Create(&'a [Pair]),
}

impl<'a> Asked<'a> {
    /// How many pairs or records each have a verdict of their own.
    pub(super) fn len(self) -> usize {
        match self {
            Self::Archive(pairs) | Self::Create(pairs) => pairs.len(),
            Self::Look(records) => records.len(),
        }
    }

    pub(super) fn from(self, index: usize) -> Option<RecordId> {
        match self {
            Self::Archive(pairs) | Self::Create(pairs) => pairs.get(index).map(|pair| pair.from),
            Self::Look(records) => records.get(index).map(|record| record.from),
        }
    }

    /// `None` for a look, which names no other end.
    pub(super) fn to(self, index: usize) -> Option<RecordId> {
        match self {
            Self::Archive(pairs) | Self::Create(pairs) => pairs.get(index).map(|pair| pair.to),
            Self::Look(_) => None,
        }
    }

    /// Whether the request names both ends, so that an error's `to` tells its pairs apart.
    pub(super) fn names_pairs(self) -> bool {
        match self {
            Self::Archive(_) | Self::Create(_) => true,
            Self::Look(_) => false,
        }
    }

    /// Whether "no associations found" is as good as done: it is for who removes and who looks, and not for who
    /// creates.
    pub(super) fn is_done_where_nothing_is(self) -> bool {
        match self {
            Self::Archive(_) | Self::Look(_) => true,
            Self::Create(_) => false,
        }
    }

    /// What nobody knows while there is no answer that can be read.
    pub(super) fn unknown(self) -> &'static str {
        match self {
            Self::Archive(_) => "whether the association was archived is unknown",
            Self::Look(_) => "what the record is associated with is unknown",
            Self::Create(_) => "whether the association was restored is unknown",
        }
    }
}

/// Which of the pairs or records an answer's `results` report as done.
pub(super) enum Shown {
    /// The results are not read: a pair that no error can mean is done. This is so for archives, whose success has no
    /// body.
    Unsaid,
    /// Results that answer another question, or that cannot be read at all.
    Unreadable,
    /// One for each pair or record that was asked for.
    Each(Vec<Showing>),
}

/// What the results say of one pair or record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Showing {
    /// Nothing. Silence is no proof of anything.
    Not,
    /// Something that cannot be read.
    Unreadable,
    Done,
}

impl Shown {
    pub(super) fn of(&self, index: usize) -> Showing {
        match self {
            Self::Unsaid => Showing::Done,
            Self::Unreadable => Showing::Unreadable,
            Self::Each(each) => each.get(index).copied().unwrap_or(Showing::Not),
        }
    }
}
