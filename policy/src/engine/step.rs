//! The step that a lane's pairs are at: what its requests ask of HubSpot and how large they may be.
//!
//! What differs between kinds of requests stands here, in `verdict`, which judges the answers, and in the encoding of
//! `hubspot`. The rest of the engine is the same for every step.

use super::pack::Caps;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// `batch/archive`: removes the whole association.
    Archive,
    /// `batch/labels/archive`: removes some labels only.
    ArchiveLabels,
    /// `batch/read`: shows what records are associated with, and by what.
    Look(Look),
    /// `batch/associate/default`: makes the plain association.
    Associate,
    /// `batch/create`: makes an association of some types, in place of those that are there.
    Create,
}

/// What a look is at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Look {
    /// Pairs that the job lists: what is each associated by?
    Pairs,
    /// Records whose `to` is `"all"`: what are they associated with? The items of such a lane are records.
    All,
}

/// `batch/labels/archive` takes this many inputs at most, each a single pair (HubSpot's associations guide).
const MAX_LABEL_INPUTS: usize = 100;

/// `batch/read` takes this many records at most (the same guide).
pub const MAX_RECORDS: usize = 1_000;

/// Pairs that one look is for at most: the looks of a lane are then never fewer than a tenth of its archives.
const MAX_PAIRS_OF_LOOK: usize = 10_000;

/// `batch/associate/default` publishes no limit; that of `batch/create` is 2,000. Where it is lower after all, HubSpot
/// refuses the request, which is then halved until the halves fit.
const MAX_ASSOCIATE_INPUTS: usize = 1_000;

/// `batch/create` takes this many inputs at most, each a single pair (the same guide).
const MAX_CREATE_INPUTS: usize = 2_000;

impl Step {
    /// How large a request may be.
    pub fn caps(self, of_settings: Caps) -> Caps {
        match self {
            Self::Archive => of_settings,
            Self::ArchiveLabels => Caps { pairs: of_settings.pairs.min(MAX_LABEL_INPUTS), ..of_settings },
            Self::Look(Look::Pairs) => Caps { from: MAX_RECORDS, pairs: MAX_PAIRS_OF_LOOK },
            Self::Look(Look::All) => Caps { from: MAX_RECORDS, pairs: MAX_RECORDS },
            Self::Associate => Caps { from: MAX_ASSOCIATE_INPUTS, pairs: MAX_ASSOCIATE_INPUTS },
            Self::Create => Caps { from: MAX_CREATE_INPUTS, pairs: MAX_CREATE_INPUTS },
        }
    }

    /// Whether its requests change anything at HubSpot.
    pub fn changes(self) -> bool {
        match self {
            Self::Archive | Self::ArchiveLabels | Self::Associate | Self::Create => true,
            Self::Look(_) => false,
        }
    }

    /// Whether its requests take associations away from HubSpot: these are what the guard counts.
    pub fn removes(self) -> bool {
        match self {
            Self::Archive | Self::ArchiveLabels => true,
            Self::Look(_) | Self::Associate | Self::Create => false,
        }
    }
}
