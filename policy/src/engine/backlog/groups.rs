//! The waiting pairs of a lane, one group for each record.

use slotmap::new_key_type;
use smallvec::SmallVec;

use crate::contract::association::RecordId;
use crate::engine::clock::Tick;
use crate::engine::keys::{LaneKey, NodeKey};

new_key_type! {
    /// The waiting pairs of one lane that share a `from`.
    pub struct GroupKey;
}

/// The waiting pairs of one record.
#[derive(Debug)]
pub struct Group {
    pub(super) lane: LaneKey,
    pub(super) from: RecordId,
    /// The oldest first, unless some were withdrawn.
    pub(super) members: SmallVec<[Member; 1]>,
    /// How many members have left in requests, and so the position of the first of `members`. It wraps around.
    pub(super) left: u32,
    /// Its members are in the table of [`Backlog::open`].
    pub(super) indexed: bool,
    pub(super) arrived: Tick,
    pub(super) older: Option<GroupKey>,
    pub(super) newer: Option<GroupKey>,
}

impl Group {
    /// The position of the member at `index`.
    pub(super) fn position(&self, index: usize) -> u32 {
        self.left.wrapping_add(u32::try_from(index).unwrap_or(u32::MAX))
    }
}

/// A waiting pair within its group. It repeats the node's `to`, so that a pair is found without a look at each node.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub(super) to: RecordId,
    pub(super) node: NodeKey,
}

/// In a group of more members than this an equal pair is looked up in a table, else the members are walked.
pub(super) const WALKED: usize = 16;

/// A lane's waiting groups, oldest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queue {
    pub(super) oldest: Option<GroupKey>,
    pub(super) newest: Option<GroupKey>,
    pub(super) groups: usize,
    pub(super) pairs: usize,
    pub(super) cooling: usize,
}

impl Queue {
    /// Unique `from` records waiting.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Pairs waiting.
    pub fn pairs(&self) -> usize {
        self.pairs
    }

    /// Pairs that will wait here once they may be read back.
    pub fn cooling(&self) -> usize {
        self.cooling
    }

    pub fn is_empty(&self) -> bool {
        self.pairs == 0
    }
}
