//! What a dry run tells of a pair.

use std::sync::Arc;

use super::action::Action;
use super::association::{AssociationType, LabelCategory, Pair};
use super::object_type::ObjectType;
use super::primary::is_primary;

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
    /// Labels other than Primary go.
    LabelsGo,
    /// The label Primary goes, or would be taken from another record.
    PrimaryGoes,
    /// HubSpot may refuse to create this, so that what is removed may be gone for good.
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

/// What is known of a pair, for its warnings.
#[derive(Clone, Copy, Debug)]
pub struct Prospect<'a> {
    pub from_type: &'a ObjectType,
    pub to_type: &'a ObjectType,
    /// The pair is associated now.
    pub present: bool,
    /// What would be removed or added, in the direction from `from_type` to `to_type`.
    pub types: &'a [AssociationType],
    /// Where a Primary label would be added: another record is primary now.
    pub primary_elsewhere: bool,
}

/// What to warn of before a pair is archived or restored.
pub fn warnings(action: Action, prospect: &Prospect<'_>) -> Warnings {
    let Prospect { from_type, to_type, present, types, primary_elsewhere } = *prospect;
    let set = |warnings: Warnings, (warning, holds)| if holds { warnings.with(warning) } else { warnings };
    let primary = types.iter().any(|one| is_called_primary(from_type, to_type, one));
    let uncertain = types.iter().any(|one| is_of_others(one) || is_made_by_hubspot(from_type, to_type));
    match action {
        Action::Archive => [
            (Warning::NotPresent, !present),
            (Warning::LabelsGo, types.iter().any(|one| is_label(from_type, to_type, one))),
            (Warning::PrimaryGoes, primary),
            (Warning::MayNotBeRestorable, uncertain),
        ],
        Action::Restore { include_primary } => [
            (Warning::NotPresent, false),
            (Warning::LabelsGo, false),
            (Warning::PrimaryGoes, primary && primary_elsewhere && include_primary),
            (Warning::MayNotBeRestorable, uncertain || (primary && primary_elsewhere && !include_primary)),
        ],
    }
    .into_iter()
    .fold(Warnings::default(), set)
}

/// Whether a type is Primary: by the table, or by its name, since HubSpot may have such types that the table does not
/// have yet.
fn is_called_primary(from: &ObjectType, to: &ObjectType, one: &AssociationType) -> bool {
    let named = || one.name.as_deref().is_some_and(|name| name.to_ascii_lowercase().contains("primary"));
    is_primary(from, to, one.label) || (one.label.category == LabelCategory::HubspotDefined && named())
}

/// Whether a type is a label other than Primary. The plain association, which is HubSpot's and has no name, is no
/// label.
fn is_label(from: &ObjectType, to: &ObjectType, one: &AssociationType) -> bool {
    let plain = one.label.category == LabelCategory::HubspotDefined && one.name.is_none();
    !plain && !is_called_primary(from, to, one)
}

/// Whether a type belongs to another program or to a part of HubSpot: nobody knows whether this program may create it.
fn is_of_others(one: &AssociationType) -> bool {
    match one.label.category {
        LabelCategory::IntegratorDefined | LabelCategory::Work => true,
        LabelCategory::HubspotDefined | LabelCategory::UserDefined => false,
    }
}

/// Objects whose associations HubSpot makes by itself, such as those of an answer to a survey with its contact. That
/// the API refuses to create these again is likely, not known.
const MADE_BY_HUBSPOT: [(&str, &str); 2] = [("feedback_submissions", "0-19"), ("payments", "0-101")];

fn is_made_by_hubspot(from: &ObjectType, to: &ObjectType) -> bool {
    MADE_BY_HUBSPOT.iter().any(|(plural, id)| from.is_standard(plural, id) || to.is_standard(plural, id))
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

/// The entries of a plan list at most this many types on average. So the outcome of a job with as many pairs as are
/// allowed still fits into a message of the broker.
pub const MAX_TYPES_OF_A_PAIR: usize = 5;

/// Types that a plan may list however few its entries are.
pub const MIN_TYPES_OF_A_PLAN: usize = 100;

/// How many types of each entry an outcome lists: all of them, unless they are too many. Then every entry has its
/// first [`MAX_TYPES_OF_A_PAIR`] at least, and the first entries have what is left over.
pub fn listed(plan: &[PlanEntry]) -> impl Iterator<Item = usize> {
    let least = |entry: &PlanEntry| entry.types.len().min(MAX_TYPES_OF_A_PAIR);
    let allowed = (plan.len() * MAX_TYPES_OF_A_PAIR).max(MIN_TYPES_OF_A_PLAN);
    let mut spare = allowed - plan.iter().map(least).sum::<usize>();
    plan.iter().map(move |entry| {
        let more = (entry.types.len() - least(entry)).min(spare);
        spare -= more;
        least(entry) + more
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use std::num::NonZeroU64;

    use super::*;
    use crate::contract::association::{Label, RecordId};

    fn association(category: LabelCategory, type_id: u64, name: Option<&str>) -> AssociationType {
        let label = Label { category, type_id: NonZeroU64::new(type_id).unwrap() };
        AssociationType { label, name: name.map(Arc::from) }
    }

    /// The warnings for contact to company, as words.
    fn told(action: Action, types: &[AssociationType], present: bool, primary_elsewhere: bool) -> Vec<&'static str> {
        let (from, to) = (ObjectType::parse("contacts").unwrap(), ObjectType::parse("companies").unwrap());
        let prospect = Prospect { from_type: &from, to_type: &to, present, types, primary_elsewhere };
        warnings(action, &prospect).iter().map(Warning::as_str).collect()
    }

    #[test]
    fn an_archive_is_warned_of_what_goes_with_it() {
        use LabelCategory::{HubspotDefined, IntegratorDefined, UserDefined, Work};
        let archive = |types: &[AssociationType]| told(Action::Archive, types, true, true);
        let plain = association(HubspotDefined, 279, None);
        assert_eq!(told(Action::Archive, &[], false, false), ["NOT_PRESENT"]);
        assert_eq!(archive(&[]), [""; 0]);
        assert_eq!(archive(std::slice::from_ref(&plain)), [""; 0]);
        assert_eq!(archive(&[plain.clone(), association(UserDefined, 1, Some("Billing"))]), ["LABELS_GO"]);
        assert_eq!(archive(&[plain.clone(), association(UserDefined, 1, None)]), ["LABELS_GO"]);
        assert_eq!(archive(&[association(HubspotDefined, 931, Some("Billing Contact"))]), ["LABELS_GO"]);
        assert_eq!(archive(&[plain.clone(), association(HubspotDefined, 1, None)]), ["PRIMARY_GOES"]);
        let new_primary = association(HubspotDefined, 5_000, Some("Contact with Primary Company"));
        assert_eq!(archive(&[plain.clone(), new_primary]), ["PRIMARY_GOES"]);
        assert_eq!(archive(&[association(UserDefined, 9, Some("Primary school"))]), ["LABELS_GO"]);
        for category in [IntegratorDefined, Work] {
            assert_eq!(archive(&[association(category, 4, Some("x"))]), ["LABELS_GO", "MAY_NOT_BE_RESTORABLE"]);
        }
        let (from, to) = (ObjectType::parse("contacts").unwrap(), ObjectType::parse("0-101").unwrap());
        let prospect =
            Prospect { from_type: &from, to_type: &to, present: true, types: &[plain], primary_elsewhere: false };
        assert!(warnings(Action::Archive, &prospect).has(Warning::MayNotBeRestorable));
    }

    #[test]
    fn a_restore_is_warned_of_what_it_takes_and_of_what_may_fail() {
        use LabelCategory::{HubspotDefined, UserDefined, Work};
        let restore = |include_primary| Action::Restore { include_primary };
        let labels = [association(HubspotDefined, 279, None), association(UserDefined, 1, Some("Billing"))];
        assert_eq!(told(restore(false), &labels, false, true), [""; 0]);
        let primary = [association(HubspotDefined, 1, Some("Primary"))];
        assert_eq!(told(restore(false), &primary, false, false), [""; 0]);
        assert_eq!(told(restore(false), &primary, false, true), ["MAY_NOT_BE_RESTORABLE"]);
        assert_eq!(told(restore(true), &primary, false, true), ["PRIMARY_GOES"]);
        let work = [association(Work, 1, None)];
        assert_eq!(told(restore(true), &work, true, false), ["MAY_NOT_BE_RESTORABLE"]);
    }

    #[test]
    fn the_types_that_are_listed_are_bounded_and_fairly_shared() {
        let record = |id| RecordId(NonZeroU64::new(id).unwrap());
        let entry = |types: usize| PlanEntry {
            pair: Pair { from: record(1), to: record(2) },
            present: true,
            types: vec![association(LabelCategory::Work, 1, None); types].into(),
            warnings: Warnings::default(),
        };
        let of =
            |types: &[usize]| listed(&types.iter().map(|&types| entry(types)).collect::<Vec<_>>()).collect::<Vec<_>>();
        assert_eq!(of(&[]), [0; 0]);
        assert_eq!(of(&[2, 98]), [2, 98]);
        assert_eq!(of(&[2, 120, 3]), [2, 95, 3]);
        assert_eq!(of(&[120, 120, 3]), [92, 5, 3]);
        let many = of(&[50; 1_000]);
        assert_eq!(many.iter().sum::<usize>(), 5_000);
        assert!(many.iter().all(|&listed| listed == 5));
    }
}
