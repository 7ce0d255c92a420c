//! What a job asks to be archived: pairs of records, and perhaps only some of the labels between them.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

/// A CRM record: digits without a leading zero, 1 to 2^64 - 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RecordId(pub NonZeroU64);

impl RecordId {
    /// Reads a record id as HubSpot writes it; `None` for anything but plain digits in range.
    pub fn parse(digits: &str) -> Option<Self> {
        let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
        plain.then(|| digits.parse().ok().map(Self)).flatten()
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One association, seen from its `from` record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Pair {
    pub from: RecordId,
    pub to: RecordId,
}

/// HubSpot's `associationCategory`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum LabelCategory {
    HubspotDefined,
    UserDefined,
    IntegratorDefined,
    Work,
}

impl LabelCategory {
    pub const ALL: [Self; 4] = [Self::HubspotDefined, Self::UserDefined, Self::IntegratorDefined, Self::Work];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HubspotDefined => "HUBSPOT_DEFINED",
            Self::UserDefined => "USER_DEFINED",
            Self::IntegratorDefined => "INTEGRATOR_DEFINED",
            Self::Work => "WORK",
        }
    }
}

/// One entry of an input's `types`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Label {
    pub category: LabelCategory,
    pub type_id: NonZeroU64,
}

/// What is to be removed between the records of a pair.
///
/// The whole association and a removal of labels never share a lane, so neither can be sent as the other.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Removal {
    /// Every association type between the two records (`batch/archive`).
    Association,
    /// Only these labels (`batch/labels/archive`): sorted, distinct, never empty.
    Labels(Arc<[Label]>),
}
