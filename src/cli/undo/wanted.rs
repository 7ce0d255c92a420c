//! What is to be restored, from what is known to have been removed: for each pair the types that went, all of them
//! together.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::journal::gathering::{Chosen, Gathered, State};
use crate::contract::association::{AssociationType, Extent, Label, LabelCategory, Pair};
use crate::contract::ids::PortalId;
use crate::contract::journal::{EntryPair, ReadFrom};

/// Pairs by the direction in which their types have a meaning.
#[derive(Debug, Default)]
pub struct Wanted {
    pub lanes: BTreeMap<LaneName, BTreeMap<Pair, What>>,
    /// Pairs that HubSpot refused to remove.
    pub refused: u64,
    /// Pairs of which nothing was there to be removed.
    pub absent: u64,
}

/// The object types as a job may name them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LaneName {
    pub portal: Option<PortalId>,
    pub from: String,
    pub to: String,
}

/// What is missing of a pair.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum What {
    /// The association that HubSpot makes without labels.
    Plain,
    /// These types; never empty.
    Types(BTreeSet<Label>),
}

impl What {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Plain, Self::Plain) => Self::Plain,
            // Whatever type is created, the plain association comes with it.
            (Self::Types(types), Self::Plain) | (Self::Plain, Self::Types(types)) => Self::Types(types),
            (Self::Types(some), Self::Types(more)) => Self::Types(some.into_iter().chain(more).collect()),
        }
    }
}

impl Wanted {
    /// Pairs whose fate is not known are restored, too: to restore what is there changes nothing.
    pub fn of(gathered: &Gathered) -> Self {
        let mut wanted = Self::default();
        for chosen in &gathered.entries {
            for (place, pair) in &chosen.pairs {
                match chosen.state(*place) {
                    State::Refused => wanted.refused += 1,
                    State::Archived | State::Unknown => wanted.add(chosen, pair),
                }
            }
        }
        wanted
    }

    fn add(&mut self, chosen: &Chosen, pair: &EntryPair) {
        let Some(what) = what(&chosen.entry.extent, &pair.types) else {
            self.absent += 1;
            return;
        };
        let entry = &chosen.entry;
        let (from, to) = (entry.from_type.path_segment().to_owned(), entry.to_type.path_segment().to_owned());
        let portal = entry.portal;
        let (lane, pair) = match entry.read {
            ReadFrom::From => (LaneName { portal, from, to }, pair.pair),
            ReadFrom::To => (LaneName { portal, from: to, to: from }, Pair { from: pair.pair.to, to: pair.pair.from }),
        };
        let pairs = self.lanes.entry(lane).or_default();
        let what = match pairs.remove(&pair) {
            Some(known) => known.and(what),
            None => what,
        };
        pairs.insert(pair, what);
    }

    pub fn pairs(&self) -> usize {
        self.lanes.values().map(BTreeMap::len).sum()
    }
}

/// `None` where nothing went.
fn what(extent: &Extent, types: &[AssociationType]) -> Option<What> {
    match (extent, types) {
        (_, []) => None,
        (Extent::Whole, [only]) if is_plain(only) => Some(What::Plain),
        (Extent::Whole, types) => Some(What::Types(types.iter().map(|of| of.label).collect())),
        (Extent::Labels(removed), types) => {
            let gone: BTreeSet<Label> = types.iter().map(|of| of.label).filter(|of| removed.contains(of)).collect();
            (!gone.is_empty()).then_some(What::Types(gone))
        }
    }
}

fn is_plain(of: &AssociationType) -> bool {
    of.name.is_none() && of.label.category == LabelCategory::HubspotDefined
}
