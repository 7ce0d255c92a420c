//! What is to be done to take back what the journal says was done: for each pair the types that a removal took and nothing
//! has brought back since, or those that a restoration made.
//!
//! The changes of a pair are gone through in the order in which they were recorded, also those of other jobs. Types that
//! were brought back stay in the jobs, so that an undo which was interrupted can be given again with the same jobs: to
//! restore what is there changes nothing. If a later removal takes them away again, they come back only if the operator's
//! conditions choose that removal, too (it is *meant*).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cli::journal::gathering::{Chosen, Gathered, State};
use crate::contract::association::{AssociationType, Extent, Label, LabelCategory, Pair};
use crate::contract::ids::PortalId;
use crate::contract::journal::{ChangeKind, EntryPair, ReadFrom};

/// What an undo does, and how many pairs it leaves out, each once, by the reason.
#[derive(Debug, Default)]
pub struct Wanted {
    /// By the direction in which the types of the pairs have a meaning.
    pub lanes: Lanes,
    /// Of these pairs, those of which all is back already, as the journal has it. To restore them again changes nothing.
    pub back: u64,
    /// HubSpot refused to change them, or there was nothing to do after all.
    pub refused: u64,
    /// Nothing was there to be removed.
    pub absent: u64,
    /// Another job has changed them since.
    pub changed: u64,
    /// It is not known whether they were restored, or what their restoration created.
    pub unknown: u64,
    /// What people call the types that the journal has, so that an operator sees what a job only numbers.
    names: BTreeMap<LaneName, BTreeMap<Label, Arc<str>>>,
}

impl Wanted {
    /// Whether the journal has any pair that is meant, wanted or left out.
    pub fn is_anything(&self) -> bool {
        let Self { lanes: _, back: _, refused, absent, changed, unknown, names: _ } = self;
        self.pairs() > 0 || refused + absent + changed + unknown > 0
    }
}

pub type Lanes = BTreeMap<LaneName, BTreeMap<Pair, What>>;

/// A portal, and two object types as a job may name them, in one direction.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LaneName {
    pub portal: Option<PortalId>,
    pub from: String,
    pub to: String,
}

/// What a job restores of a pair, or removes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum What {
    /// Restored: the association that HubSpot makes without labels. Removed: everything.
    Whole,
    /// These types; never empty.
    Types(BTreeSet<Label>),
}

/// What was removed of a pair, and which of it was brought back since.
#[derive(Clone, Debug)]
struct Gone {
    what: What,
    back: Back,
}

#[derive(Clone, Debug)]
enum Back {
    /// None, or not all.
    Types(BTreeSet<Label>),
    All,
}

/// A pair, seen from one of its sides.
type Side = (LaneName, Pair);

/// Why a pair is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reason {
    Refused,
    Absent,
    Changed,
    Unknown,
}

/// The latest reason for each pair, from whichever side it was seen.
#[derive(Default, Debug)]
struct LeftOut(BTreeMap<Side, Reason>);

impl LeftOut {
    fn note(&mut self, side: Side, reason: Reason) {
        let latest = self.0.entry(other_side(&side).min(side)).or_insert(reason);
        // That it is not there follows from its change by another job.
        if (*latest, reason) != (Reason::Changed, Reason::Absent) {
            *latest = reason;
        }
    }

    /// How many pairs the jobs do not have for this reason.
    fn count(&self, lanes: &Lanes, why: Reason) -> u64 {
        let has = |(lane, pair): &Side| lanes.get(lane).is_some_and(|pairs| pairs.contains_key(pair));
        let of_reason = self.0.iter().filter(|(_, reason)| **reason == why);
        of_reason.filter(|(side, _)| !has(side) && !has(&other_side(side))).count() as u64
    }
}

impl Wanted {
    /// What went and is to come back. Pairs whose fate is not known are restored, too: to restore what is there changes
    /// nothing.
    pub fn of_removals(gathered: &Gathered) -> Self {
        let mut wanted = Self { names: names(gathered), ..Self::default() };
        let mut gone = AllGone::new();
        let mut left_out = LeftOut::default();
        for (chosen, place, pair) in changes(gathered) {
            let side = side(chosen, pair);
            match (chosen.entry.kind, chosen.is_meant, chosen.state(place)) {
                (ChangeKind::Removal, true, State::Refused) => left_out.note(side, Reason::Refused),
                (ChangeKind::Removal, true, _) => match what_went(&chosen.entry.extent, &pair.types) {
                    None => left_out.note(side, Reason::Absent),
                    Some(what) => went(&mut gone, side, what),
                },
                (ChangeKind::Removal, false, State::Refused) => {}
                (ChangeKind::Removal, false, _) => {
                    if went_again(&mut gone, &side, &chosen.entry.extent, &pair.types) {
                        left_out.note(side, Reason::Changed);
                    }
                }
                (ChangeKind::Restoration, _, State::Restored) => came_back(&mut gone, &side, pair),
                (ChangeKind::Restoration, _, State::Archived | State::Refused | State::Unknown) => {}
            }
        }
        let is_back = |gone: &&Gone| matches!(gone.back, Back::All);
        wanted.back = gone.values().flat_map(BTreeMap::values).filter(is_back).count() as u64;
        let lanes = gone.into_iter().filter(|(_, pairs)| !pairs.is_empty());
        let only_what = |pairs: BTreeMap<Pair, Gone>| pairs.into_iter().map(|(pair, gone)| (pair, gone.what)).collect();
        wanted.lanes = lanes.map(|(lane, pairs)| (lane, only_what(pairs))).collect();
        wanted.left_out(&left_out)
    }

    /// What was restored and is to go again. Pairs whose fate is not known stay, and so do those that were changed since: a
    /// removal by mistake cannot always be taken back.
    pub fn of_restorations(gathered: &Gathered) -> Self {
        let mut wanted = Self { names: names(gathered), ..Self::default() };
        let mut left_out = LeftOut::default();
        for (chosen, place, pair) in changes(gathered) {
            let (lane, pair_of_lane) = side(chosen, pair);
            match (chosen.is_meant, chosen.state(place)) {
                // The entry names no created type though types were there, so it is unclear what is to be removed.
                (true, State::Restored) if !pair.types.is_empty() && pair.creates.is_empty() => {
                    left_out.note((lane, pair_of_lane), Reason::Unknown);
                }
                (true, State::Restored) => {
                    let made = if pair.types.is_empty() { What::Whole } else { of_types(&pair.creates) };
                    let pairs = wanted.lanes.entry(lane).or_default();
                    let what = pairs.remove(&pair_of_lane).map_or(made.clone(), |known| known.or(made));
                    pairs.insert(pair_of_lane, what);
                }
                (true, State::Refused) => left_out.note((lane, pair_of_lane), Reason::Refused),
                (true, State::Archived | State::Unknown) => left_out.note((lane, pair_of_lane), Reason::Unknown),
                (false, State::Refused) => {}
                (false, State::Archived | State::Restored | State::Unknown) => {
                    let side = (lane, pair_of_lane);
                    for (lane, pair) in [other_side(&side), side] {
                        if wanted.lanes.get_mut(&lane).and_then(|pairs| pairs.remove(&pair)).is_some() {
                            left_out.note((lane, pair), Reason::Changed);
                        }
                    }
                }
            }
        }
        wanted.lanes.retain(|_, pairs| !pairs.is_empty());
        wanted.left_out(&left_out)
    }

    fn left_out(mut self, pairs: &LeftOut) -> Self {
        let reasons = [Reason::Refused, Reason::Absent, Reason::Changed, Reason::Unknown];
        [self.refused, self.absent, self.changed, self.unknown] =
            reasons.map(|reason| pairs.count(&self.lanes, reason));
        self
    }

    pub fn pairs(&self) -> usize {
        self.lanes.values().map(BTreeMap::len).sum()
    }

    /// The labels of a lane's pairs as people know them, `USER_DEFINED 37 (Billing contact)`, each with the number of pairs,
    /// the most frequent first. The plain association is none.
    pub fn labels_in_words(&self, lane: &LaneName) -> Vec<(String, u64)> {
        let mut counts: BTreeMap<Label, u64> = BTreeMap::new();
        for what in self.lanes.get(lane).into_iter().flat_map(BTreeMap::values) {
            match what {
                What::Whole => {}
                What::Types(types) => types.iter().for_each(|label| *counts.entry(*label).or_default() += 1),
            }
        }
        let name_of = |label: &Label| self.names.get(lane).and_then(|names| names.get(label));
        let in_words = |(label, pairs): (Label, u64)| {
            let name = name_of(&label).map(|name| &**name);
            // Without a name it may be the plain association, which HubSpot defines.
            let is_plain = name.is_none() && label.category == LabelCategory::HubspotDefined;
            let words = format!("{} {} ({})", label.category.as_str(), label.type_id, name.unwrap_or("name not known"));
            (!is_plain).then_some((words, pairs))
        };
        let mut labels: Vec<(String, u64)> = counts.into_iter().filter_map(in_words).collect();
        labels.sort_by_key(|(_, pairs)| std::cmp::Reverse(*pairs));
        labels
    }
}

/// Of all types that the journal names, in the direction in which they have a meaning.
fn names(gathered: &Gathered) -> BTreeMap<LaneName, BTreeMap<Label, Arc<str>>> {
    let mut names: BTreeMap<LaneName, BTreeMap<Label, Arc<str>>> = BTreeMap::new();
    for (chosen, _, pair) in changes(gathered) {
        let named = pair.types.iter().chain(pair.creates.iter()).filter_map(|of| Some((of.label, of.name.as_ref()?)));
        let mut named = named.peekable();
        if named.peek().is_some() {
            let of_lane = names.entry(side(chosen, pair).0).or_default();
            of_lane.extend(named.map(|(label, name)| (label, Arc::clone(name))));
        }
    }
    names
}

fn changes(gathered: &Gathered) -> impl Iterator<Item = (&Chosen, u32, &EntryPair)> {
    gathered.entries.iter().flat_map(|chosen| chosen.pairs.iter().map(move |(place, pair)| (chosen, *place, pair)))
}

/// The side from which the pair was read.
fn side(chosen: &Chosen, pair: &EntryPair) -> Side {
    let entry = &chosen.entry;
    let (from, to) = (entry.from_type.path_segment().to_owned(), entry.to_type.path_segment().to_owned());
    let as_written = (LaneName { portal: entry.portal, from, to }, pair.pair);
    match entry.read {
        ReadFrom::From => as_written,
        ReadFrom::To => other_side(&as_written),
    }
}

fn other_side((lane, pair): &Side) -> Side {
    let LaneName { portal, from, to } = lane.clone();
    (LaneName { portal, from: to, to: from }, pair.turned())
}

type AllGone = BTreeMap<LaneName, BTreeMap<Pair, Gone>>;

/// A removal that is meant took this. What had come back before was there when it looked, so it is no longer missing
/// because of earlier removals.
fn went(gone: &mut AllGone, side: Side, what: What) {
    for (lane, pair) in [other_side(&side), side.clone()] {
        keep_only(gone, &lane, pair, Gone::without_back);
    }
    let (lane, pair) = side;
    let pairs = gone.entry(lane).or_default();
    let what = match pairs.remove(&pair) {
        Some(known) => known.what.and(what),
        None => what,
    };
    pairs.insert(pair, Gone { what, back: Back::Types(BTreeSet::new()) });
}

/// A removal that is not meant took this. What had come back before is forgotten: if it is missing now, it is because of
/// the other job. Returns whether nothing is left to be brought back.
fn went_again(gone: &mut AllGone, side: &Side, extent: &Extent, types: &[AssociationType]) -> bool {
    let (lane, pair) = side;
    match (extent, types) {
        (_, []) => false,
        (Extent::Whole, _) => {
            let (other_lane, other_pair) = other_side(side);
            let other = keep_only(gone, &other_lane, other_pair, Gone::without_back);
            keep_only(gone, lane, *pair, Gone::without_back) || other
        }
        (Extent::Labels(_), types) => {
            let labels: BTreeSet<Label> = types.iter().map(|of| of.label).collect();
            keep_only(gone, lane, *pair, |gone| gone.without(&labels))
        }
    }
}

/// Keeps of a pair only what `left` returns. True if the pair was there and nothing of it is left.
fn keep_only(gone: &mut AllGone, lane: &LaneName, pair: Pair, left: impl Fn(Gone) -> Option<Gone>) -> bool {
    let Some(pairs) = gone.get_mut(lane) else { return false };
    let Some(known) = pairs.remove(&pair) else { return false };
    match left(known) {
        Some(rest) => {
            pairs.insert(pair, rest);
            false
        }
        None => true,
    }
}

/// A restoration brought a pair back, or some of its types.
fn came_back(gone: &mut AllGone, side: &Side, restored: &EntryPair) {
    let of = |(lane, pair): &Side, gone: &mut AllGone, came: &dyn Fn(&mut Gone)| {
        if let Some(known) = gone.get_mut(lane).and_then(|pairs| pairs.get_mut(pair)) {
            came(known);
        }
    };
    let types: BTreeSet<Label> = restored.types.iter().chain(restored.creates.iter()).map(|of| of.label).collect();
    of(side, gone, &|known| known.came(&types));
    // Type ids have a meaning in one direction only, but the plain association is the same from both sides.
    of(&other_side(side), gone, &|known| known.came(&BTreeSet::new()));
}

impl Gone {
    /// The two records are associated again, and by these types at least.
    fn came(&mut self, types: &BTreeSet<Label>) {
        match (&self.what, &mut self.back) {
            (_, Back::All) => {}
            (What::Whole, back) => *back = Back::All,
            (What::Types(all), Back::Types(back)) => {
                back.extend(types);
                if all.is_subset(back) {
                    self.back = Back::All;
                }
            }
        }
    }

    /// What did not come back.
    fn without_back(self) -> Option<Self> {
        match self.back.clone() {
            Back::All => None,
            Back::Types(back) => self.without(&back),
        }
    }

    /// Without the types in `types` that had come back.
    fn without(self, types: &BTreeSet<Label>) -> Option<Self> {
        let came_back = |of: &Label| match &self.back {
            Back::All => true,
            Back::Types(back) => back.contains(of),
        };
        let What::Types(all) = &self.what else { return Some(self) };
        let left: BTreeSet<Label> = all.iter().filter(|of| !(types.contains(of) && came_back(of))).copied().collect();
        let (what, back) = (What::Types(left), self.back);
        (what != What::Types(BTreeSet::new())).then_some(Self { what, back })
    }
}

impl What {
    /// Both are to come.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole, Self::Whole) => Self::Whole,
            // Whatever type is created, the plain association comes with it.
            (Self::Types(types), Self::Whole) | (Self::Whole, Self::Types(types)) => Self::Types(types),
            (Self::Types(some), Self::Types(more)) => Self::Types(some.into_iter().chain(more).collect()),
        }
    }

    /// Both are to go.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole, _) | (_, Self::Whole) => Self::Whole,
            (Self::Types(some), Self::Types(more)) => Self::Types(some.into_iter().chain(more).collect()),
        }
    }
}

fn of_types(types: &[AssociationType]) -> What {
    What::Types(types.iter().map(|of| of.label).collect())
}

/// `None` where nothing went.
fn what_went(extent: &Extent, types: &Arc<[AssociationType]>) -> Option<What> {
    match (extent, &**types) {
        (_, []) => None,
        (Extent::Whole, [only]) if only.is_plain() => Some(What::Whole),
        (Extent::Whole, types) => Some(of_types(types)),
        (Extent::Labels(_), _) => {
            let taken = extent.taken_of(types);
            (!taken.is_empty()).then(|| of_types(&taken))
        }
    }
}
