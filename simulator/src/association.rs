//! Which associations exist in an account, and what was archived.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use crate::object_type::Lane;

/// The associations of one account.
#[derive(Debug)]
pub struct Associations {
    pub existing: Existing,
    /// Keep a count for each archived pair. Off, an account that has everything costs no memory a pair.
    pub recording: bool,
    /// Archiving A→B removes B→A. Believed of HubSpot, not confirmed.
    pub mirrored: bool,
    /// `HUBSPOT_DEFINED` type ids of unlabelled associations: removing one removes every label of the pair.
    pub unlabelled: BTreeSet<u32>,
    archived: HashMap<Lane, HashMap<(u64, u64), Archived>>,
    removed_labels: BTreeMap<(Lane, u64, u64, Label), u64>,
    totals: Totals,
}

/// What is there to be archived.
#[derive(Debug)]
pub enum Existing {
    /// Whatever is asked for, until it was archived (which is remembered only while recording).
    Everything,
    /// These and no others.
    Only(HashMap<Lane, BTreeMap<u64, BTreeMap<u64, BTreeSet<Label>>>>),
}

/// One entry of an input's `types`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Label {
    pub category: LabelCategory,
    pub type_id: u32,
}

/// HubSpot's `associationCategory`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LabelCategory {
    HubspotDefined,
    UserDefined,
    IntegratorDefined,
    Work,
}

impl LabelCategory {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::HubspotDefined => "HUBSPOT_DEFINED",
            Self::UserDefined => "USER_DEFINED",
            Self::IntegratorDefined => "INTEGRATOR_DEFINED",
            Self::Work => "WORK",
        }
    }
}

/// What became of one pair of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Removed {
    Archived,
    /// There was nothing between the two records.
    WasNotThere,
}

/// Sums over all lanes; `distinct` and `repeated` count pairs and stay 0 while recording is off.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Totals {
    pub archived: u64,
    pub distinct: u64,
    /// Pairs archived more than once.
    pub repeated: u64,
    pub labels_removed: u64,
}

#[derive(Clone, Copy, Default, Debug)]
struct Archived {
    times: u32,
    /// False again once the pair was created anew.
    gone: bool,
}

impl Default for Associations {
    /// Everything exists, and what is archived is recorded.
    fn default() -> Self {
        Self {
            existing: Existing::Everything,
            recording: true,
            mirrored: true,
            unlabelled: UNLABELLED.into(),
            archived: HashMap::new(),
            removed_labels: BTreeMap::new(),
            totals: Totals::default(),
        }
    }
}

/// The unlabelled types of HubSpot's published list: between contacts, companies, deals and tickets.
const UNLABELLED: [u32; 16] = [3, 4, 15, 16, 27, 28, 279, 280, 339, 340, 341, 342, 449, 450, 451, 452];

impl Associations {
    /// Nothing exists until it is [created](Self::create).
    pub fn none() -> Self {
        Self { existing: Existing::Only(HashMap::new()), ..Self::default() }
    }

    /// Makes the association exist, with these labels added (none: unlabelled).
    pub fn create(&mut self, lane: &Lane, from: u64, to: u64, labels: &[Label]) {
        match &mut self.existing {
            Existing::Everything => {
                let archived = self.archived.get_mut(lane).and_then(|pairs| pairs.get_mut(&(from, to)));
                if let Some(archived) = archived {
                    archived.gone = false;
                }
            }
            Existing::Only(lanes) => {
                lanes.entry(lane.clone()).or_default().entry(from).or_default().entry(to).or_default().extend(labels);
                if self.mirrored {
                    let back = lanes.entry(lane.reversed()).or_default().entry(to).or_default();
                    back.entry(from).or_default().extend(labels);
                }
            }
        }
    }

    pub fn exists(&self, lane: &Lane, from: u64, to: u64) -> bool {
        match &self.existing {
            Existing::Everything => !self.record(lane, from, to).gone,
            Existing::Only(lanes) => lane_pairs(lanes, lane, from).is_some_and(|tos| tos.contains_key(&to)),
        }
    }

    /// The `to` records of `from` with their labels. Where everything exists nothing can be listed: empty.
    pub fn of(&self, lane: &Lane, from: u64) -> Option<&BTreeMap<u64, BTreeSet<Label>>> {
        match &self.existing {
            Existing::Everything => None,
            Existing::Only(lanes) => lane_pairs(lanes, lane, from),
        }
    }

    /// Removes every association type between each pair; `seen` is told what became of each `to`, in order.
    pub fn archive(&mut self, lane: &Lane, from: u64, tos: &[u64], mut seen: impl FnMut(u64, Removed)) {
        let Self { existing, recording, mirrored, archived, totals, .. } = self;
        if *recording && !archived.contains_key(lane) {
            archived.insert(lane.clone(), HashMap::new());
        }
        let mut records = if *recording { archived.get_mut(lane) } else { None };
        for &to in tos {
            let record = records.as_mut().map(|pairs| pairs.entry((from, to)).or_default());
            let was_there = match existing {
                Existing::Everything => record.as_ref().is_none_or(|record| !record.gone),
                Existing::Only(lanes) => take(lanes, lane, from, to, *mirrored),
            };
            totals.archived += 1;
            if let Some(record) = record {
                totals.distinct += u64::from(record.times == 0);
                totals.repeated += u64::from(record.times == 1);
                record.times = record.times.saturating_add(1);
                record.gone = true;
            }
            seen(to, if was_there { Removed::Archived } else { Removed::WasNotThere });
        }
    }

    /// Removes labels of one pair; the pair stays associated unless its unlabelled type is among them.
    pub fn remove_labels(&mut self, lane: &Lane, from: u64, to: u64, labels: &[Label]) -> Removed {
        let unlabelled =
            |label: &Label| label.category == LabelCategory::HubspotDefined && self.unlabelled.contains(&label.type_id);
        let whole = labels.iter().any(unlabelled);
        let was_there = match &mut self.existing {
            Existing::Everything => true,
            Existing::Only(lanes) if whole => take(lanes, lane, from, to, self.mirrored),
            Existing::Only(lanes) => lanes
                .get_mut(lane)
                .and_then(|froms| froms.get_mut(&from)?.get_mut(&to))
                .is_some_and(|there| labels.iter().filter(|label| there.remove(label)).count() > 0),
        };
        self.totals.labels_removed += labels.len() as u64;
        if self.recording {
            for &label in labels {
                *self.removed_labels.entry((lane.clone(), from, to, label)).or_default() += 1;
            }
        }
        if was_there { Removed::Archived } else { Removed::WasNotThere }
    }

    /// How often the pair was archived while recording was on.
    pub fn times_archived(&self, lane: &Lane, from: u64, to: u64) -> u32 {
        self.record(lane, from, to).times
    }

    /// How often the label was removed from the pair while recording was on.
    pub fn times_label_removed(&self, lane: &Lane, from: u64, to: u64, label: Label) -> u64 {
        self.removed_labels.get(&(lane.clone(), from, to, label)).copied().unwrap_or(0)
    }

    /// Archived pairs of a lane with their counts, sorted by `from`, then `to`.
    pub fn archived(&self, lane: &Lane) -> Vec<(u64, u64, u32)> {
        let pairs = self.archived.get(lane).into_iter().flatten();
        let mut sorted: Vec<_> = pairs.map(|(&(from, to), record)| (from, to, record.times)).collect();
        sorted.sort_unstable();
        sorted
    }

    /// The first `most` pairs that were archived more than once, with their counts, sorted.
    pub fn repeated(&self, most: usize) -> Vec<(&Lane, u64, u64, u32)> {
        let all = self.archived.iter().flat_map(|(lane, pairs)| pairs.iter().map(move |pair| (lane, pair)));
        let more_than_once = all.filter(|(_, (_, record))| record.times > 1);
        let mut sorted: Vec<_> =
            more_than_once.map(|(lane, (&(from, to), record))| (lane, from, to, record.times)).collect();
        sorted.sort_unstable();
        sorted.truncate(most);
        sorted
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    fn record(&self, lane: &Lane, from: u64, to: u64) -> Archived {
        self.archived.get(lane).and_then(|pairs| pairs.get(&(from, to))).copied().unwrap_or_default()
    }
}

type Explicit = HashMap<Lane, BTreeMap<u64, BTreeMap<u64, BTreeSet<Label>>>>;

fn lane_pairs<'a>(lanes: &'a Explicit, lane: &Lane, from: u64) -> Option<&'a BTreeMap<u64, BTreeSet<Label>>> {
    lanes.get(lane)?.get(&from)
}

/// Removes the pair; true if it was there.
fn take(lanes: &mut Explicit, lane: &Lane, from: u64, to: u64, mirrored: bool) -> bool {
    if mirrored {
        take(lanes, &lane.reversed(), to, from, false);
    }
    let Some(tos) = lanes.get_mut(lane).and_then(|froms| froms.get_mut(&from)) else { return false };
    tos.remove(&to).is_some()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]
    use super::*;

    const MANAGER: Label = Label { category: LabelCategory::UserDefined, type_id: 37 };
    const UNLABELLED: Label = Label { category: LabelCategory::HubspotDefined, type_id: 279 };

    fn lane() -> Lane {
        Lane::parse("contacts", "companies").unwrap()
    }

    fn archive(associations: &mut Associations, from: u64, tos: &[u64]) -> Vec<Removed> {
        let mut seen = Vec::new();
        associations.archive(&lane(), from, tos, |_, removed| seen.push(removed));
        seen
    }

    #[test]
    fn where_everything_exists_a_pair_is_gone_once_archived() {
        let mut world = Associations::default();
        assert!(world.exists(&lane(), 1, 2));
        assert_eq!(archive(&mut world, 1, &[2, 3]), [Removed::Archived; 2]);
        assert_eq!(archive(&mut world, 1, &[2]), [Removed::WasNotThere]);
        assert!(!world.exists(&lane(), 1, 2) && world.exists(&lane(), 1, 4));
        assert_eq!(world.archived(&lane()), [(1, 2, 2), (1, 3, 1)]);
        assert_eq!(world.totals(), Totals { archived: 3, distinct: 2, repeated: 1, labels_removed: 0 });
        assert_eq!(world.repeated(5), [(&lane(), 1, 2, 2)]);
        world.create(&lane(), 1, 2, &[]);
        assert!(world.exists(&lane(), 1, 2));
    }

    #[test]
    fn an_explicit_pair_is_removed_from_both_ends() {
        let mut world = Associations::none();
        world.create(&lane(), 1, 2, &[MANAGER]);
        assert!(world.exists(&lane().reversed(), 2, 1));
        assert_eq!(archive(&mut world, 1, &[2, 3]), [Removed::Archived, Removed::WasNotThere]);
        assert!(!world.exists(&lane().reversed(), 2, 1));
    }

    #[test]
    fn a_label_leaves_the_association_and_the_unlabelled_type_takes_it_away() {
        let mut world = Associations::none();
        world.create(&lane(), 1, 2, &[MANAGER, UNLABELLED]);
        assert_eq!(world.remove_labels(&lane(), 1, 2, &[MANAGER]), Removed::Archived);
        assert_eq!(world.remove_labels(&lane(), 1, 2, &[MANAGER]), Removed::WasNotThere);
        assert!(world.exists(&lane(), 1, 2));
        assert_eq!(world.remove_labels(&lane(), 1, 2, &[UNLABELLED]), Removed::Archived);
        assert!(!world.exists(&lane(), 1, 2));
        assert_eq!(world.times_label_removed(&lane(), 1, 2, MANAGER), 2);
    }

    #[test]
    fn without_recording_only_the_sum_is_kept() {
        let mut world = Associations { recording: false, ..Associations::default() };
        archive(&mut world, 1, &[2, 2]);
        assert_eq!(world.totals(), Totals { archived: 2, ..Totals::default() });
        assert!(world.archived(&lane()).is_empty());
    }
}
