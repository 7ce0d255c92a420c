//! Associations as jobs name them: pairs of records, and perhaps only some of the labels between them.

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

impl Pair {
    /// The same association, seen from its `to` record.
    #[must_use]
    pub fn turned(self) -> Self {
        Self { from: self.to, to: self.from }
    }
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

/// How much of an association a job is about.
///
/// The whole association and single labels never share a lane, so neither can be sent as the other.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Extent {
    /// Every association type between the two records; where it is created, the plain association.
    Whole,
    /// Only these labels: sorted, distinct, never empty.
    Labels(Arc<[Label]>),
}

/// One of the types by which two records are associated, as HubSpot shows it in one direction.
///
/// The type ids of the two directions differ, and the same number can exist in two categories: a type is known only by
/// direction, category and id together.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AssociationType {
    pub label: Label,
    /// What people call it; `None` for the plain association, which has no name.
    pub name: Option<Arc<str>>,
}

impl AssociationType {
    /// The association itself, which HubSpot lists beside all labels of the pair.
    pub fn is_plain(&self) -> bool {
        self.name.is_none() && self.label.category == LabelCategory::HubspotDefined
    }
}

impl Extent {
    /// What a removal of this extent takes away where these types are present. With the plain association everything goes,
    /// also where only its type was named: without it there are no labels (HubSpot's guide to the associations API).
    pub fn taken_of(&self, present: &Arc<[AssociationType]>) -> Arc<[AssociationType]> {
        let Self::Labels(labels) = self else { return Arc::clone(present) };
        let named = || present.iter().filter(|one| labels.contains(&one.label));
        if named().any(AssociationType::is_plain) { Arc::clone(present) } else { named().cloned().collect() }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    fn of(category: LabelCategory, id: u64, name: Option<&str>) -> AssociationType {
        AssociationType { label: Label { category, type_id: id.try_into().unwrap() }, name: name.map(Arc::from) }
    }

    #[test]
    fn with_the_plain_association_every_label_goes() {
        let (plain, primary) =
            (of(LabelCategory::HubspotDefined, 279, None), of(LabelCategory::HubspotDefined, 1, Some("Primary")));
        let manager = of(LabelCategory::UserDefined, 37, Some("Manager"));
        let present: Arc<[AssociationType]> = [plain.clone(), primary.clone(), manager.clone()].into();
        let taken = |labels: &[&AssociationType]| {
            Extent::Labels(labels.iter().map(|one| one.label).collect()).taken_of(&present)
        };
        assert_eq!(Extent::Whole.taken_of(&present), present);
        assert_eq!(taken(&[&plain]), present);
        assert_eq!(taken(&[&manager, &plain]), present);
        assert_eq!(taken(&[&manager]).len(), 1);
        assert_eq!(taken(&[&primary]).len(), 1);
        assert_eq!(*taken(&[&of(LabelCategory::UserDefined, 99, None)]), []);
    }
}
