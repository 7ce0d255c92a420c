//! The step that a lane's pairs are at: what its requests ask of HubSpot, how large they may be, and how their answers
//! are judged.
//!
//! All that differs between kinds of requests stands here and in the encoding of `hubspot`; everything else in the
//! engine is the same for every step.

use super::pack::Caps;
use super::reply::Reply;
use super::verdict::{Judgement, judge};
use crate::contract::association::{Extent, Pair};

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// `batch/archive`: removes the whole association.
    Archive,
    /// `batch/labels/archive`: removes some labels only.
    ArchiveLabels,
}

/// `batch/labels/archive` takes this many inputs at most, each a single pair (HubSpot's associations guide).
const MAX_LABEL_INPUTS: usize = 100;

impl Step {
    pub fn of(extent: &Extent) -> Self {
        match extent {
            Extent::Whole => Self::Archive,
            Extent::Labels(_) => Self::ArchiveLabels,
        }
    }

    /// How large a request may be.
    pub fn caps(self, of_settings: Caps) -> Caps {
        match self {
            Self::Archive => of_settings,
            Self::ArchiveLabels => Caps { pairs: of_settings.pairs.min(MAX_LABEL_INPUTS), ..of_settings },
        }
    }

    /// Judges the reply to a request that carried `pairs`.
    pub fn judge(self, reply: &Reply, pairs: &[Pair]) -> Judgement {
        match self {
            Self::Archive | Self::ArchiveLabels => judge(reply, pairs),
        }
    }
}
