//! What a dry run tells of a pair.

use std::sync::Arc;

use super::association::{AssociationType, Pair};

/// One pair of a job with `dryRun`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlanEntry {
    pub pair: Pair,
    /// The pair is associated now.
    pub present: bool,
    /// What would be removed, or for a restore what would be added; in the direction of the job.
    pub types: Arc<[AssociationType]>,
    pub warnings: Warnings,
}

/// What a person should know before the job is sent without `dryRun`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Warning {
    /// The pair is not associated: there is nothing to remove.
    NotPresent,
    /// Labels go with the association.
    LabelsGo,
    /// The label Primary goes, or would be taken from another record.
    PrimaryGoes,
    /// HubSpot may refuse to create this again.
    MayNotBeRestorable,
}

impl Warning {
    pub const ALL: [Self; 4] = [Self::NotPresent, Self::LabelsGo, Self::PrimaryGoes, Self::MayNotBeRestorable];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotPresent => "NOT_PRESENT",
            Self::LabelsGo => "LABELS_GO",
            Self::PrimaryGoes => "PRIMARY_GOES",
            Self::MayNotBeRestorable => "MAY_NOT_BE_RESTORABLE",
        }
    }
}

/// A set of warnings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Warnings(u8);

impl Warnings {
    #[must_use]
    pub fn with(self, warning: Warning) -> Self {
        Self(self.0 | 1 << warning as u8)
    }

    pub fn has(self, warning: Warning) -> bool {
        self.0 & 1 << warning as u8 != 0
    }

    /// In the order of [`Warning::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Warning> {
        Warning::ALL.into_iter().filter(move |&warning| self.has(warning))
    }
}
