//! What the pairs of a job go through step by step, and which step they are at.
//!
//! A plan has no step but its look, and nothing here leads from a look of a plan to any other step. So nothing that
//! changes HubSpot can be sent for a dry run.

use super::step::Step;
use crate::contract::action::Action;
use crate::contract::association::Extent;

pub use super::step::Look;

/// What the pairs of a lane are for, and the step that they are at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Course {
    /// A dry run.
    Plan {
        action: Action,
        look: Look,
    },
    Remove(Removal),
    Restore(Restoration),
}

/// The steps of a removal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Removal {
    Look(Look),
    Archive,
    /// Pairs that were archived are read back.
    Prove,
}

/// A restoration at one of its steps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Restoration {
    pub include_primary: bool,
    pub at: Restoring,
}

/// The steps of a restoration.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Restoring {
    Look,
    /// A look from the pair's other record, where that record may have only one association of a wanted type.
    LookBack,
    /// Creates the plain association, where the two records are not associated.
    Plain,
    /// Creates the types that are wanted, and names those that are there.
    Types,
}

/// What is done besides archiving, so that nothing goes without a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Safety {
    /// `safety.journal`: pairs are looked at, and what they are associated by is recorded, before they are archived or
    /// restored.
    pub journal: bool,
    /// `safety.verify`: pairs are read back after they were archived.
    pub verify: bool,
}

/// A step that changes HubSpot. It can be made only from a step of a removal or of a restoration: nothing makes one
/// from a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change(Course);

impl Removal {
    pub fn archive(self) -> Change {
        Change(Course::Remove(Self::Archive))
    }
}

impl Restoration {
    pub fn plain(self) -> Change {
        Change(Course::Restore(Self { at: Restoring::Plain, ..self }))
    }

    /// The look from the other side: it changes nothing, and so it is no [`Change`].
    pub fn look_back(self) -> Course {
        Course::Restore(Self { at: Restoring::LookBack, ..self })
    }

    pub fn types(self) -> Change {
        Change(Course::Restore(Self { at: Restoring::Types, ..self }))
    }
}

impl Change {
    pub fn course(self) -> Course {
        self.0
    }
}

impl Course {
    /// The only step of a plain removal.
    pub const ARCHIVE: Self = Self::Remove(Removal::Archive);

    /// The step at which the listed pairs of a job begin.
    pub fn of_pairs(action: Action, dry_run: bool, safety: Safety) -> Self {
        match (action, dry_run) {
            (_, true) => Self::Plan { action, look: Look::Pairs },
            (Action::Archive, false) if safety.journal => Self::Remove(Removal::Look(Look::Pairs)),
            (Action::Archive, false) => Self::Remove(Removal::Archive),
            (Action::Restore { include_primary }, false) => {
                Self::Restore(Restoration { include_primary, at: Restoring::Look })
            }
        }
    }

    /// The step at which those records of a job begin of which it asks for all associations. `None` for an action that
    /// cannot be asked for in this way.
    pub fn of_records(action: Action, dry_run: bool) -> Option<Self> {
        match (action, dry_run) {
            (Action::Archive, true) => Some(Self::Plan { action, look: Look::All }),
            (Action::Archive, false) => Some(Self::Remove(Removal::Look(Look::All))),
            (Action::Restore { .. }, _) => None,
        }
    }

    /// The items of its lanes are records; see [`super::all`].
    pub fn is_of_records(self) -> bool {
        matches!(self, Self::Plan { look: Look::All, .. } | Self::Remove(Removal::Look(Look::All)))
    }

    /// Its requests read back what was archived.
    pub fn is_proof(self) -> bool {
        matches!(self, Self::Remove(Removal::Prove))
    }

    /// What the requests of a lane ask of HubSpot.
    pub fn step(self, extent: &Extent) -> Step {
        match (self, extent) {
            (Self::Plan { look, .. } | Self::Remove(Removal::Look(look)), _) => Step::Look(look),
            (Self::Remove(Removal::Prove), _) => Step::Look(Look::Pairs),
            (Self::Remove(Removal::Archive), Extent::Whole) => Step::Archive,
            (Self::Remove(Removal::Archive), Extent::Labels(_)) => Step::ArchiveLabels,
            (Self::Restore(Restoration { at, .. }), _) => match at {
                Restoring::Look | Restoring::LookBack => Step::Look(Look::Pairs),
                Restoring::Plain => Step::Associate,
                Restoring::Types => Step::Create,
            },
        }
    }
}
