//! The jobs of a seed, and what is associated before they come.
//!
//! Records are kept apart by what jobs may do to them, so that it can be told afterwards how they must look.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use association_archiver::contract::action::Action;
use association_archiver::contract::association::{Extent, Label, LabelCategory, Pair, RecordId};
use association_archiver::contract::job::Ask;
use association_archiver::contract::object_type::ObjectType;
use association_archiver::engine::command::LaneId;
use fastrand::Rng;
use hubspot_simulator::association::{self, Associations};
use hubspot_simulator::definition::Creation;
use hubspot_simulator::object_type::Lane;
use smallvec::SmallVec;

use crate::scenario::{choose, pair};

/// Object types, and the Primary type between them. Jobs choose from the first [`FORWARD`]; those behind lead back, and
/// undos restore there what was read from the other side.
pub const LANES: [(&str, &str, Option<u64>); 2 * FORWARD] = [
    ("contacts", "companies", Some(1)),
    ("deals", "contacts", None),
    ("companies", "deals", Some(6)),
    ("companies", "contacts", Some(2)),
    ("contacts", "deals", None),
    ("deals", "companies", Some(5)),
];
pub const FORWARD: usize = 3;

/// Records at either end of each lane; the first ends are shared out among the themes.
pub const FROMS: u64 = 60;
pub const TOS: u64 = 8;

/// What jobs do to a record, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Theme {
    Archive,
    Restore,
    Plan,
    All,
    /// Anything.
    Mixed,
}

pub const THEMES: [Theme; 5] = [Theme::Archive, Theme::Restore, Theme::Plan, Theme::All, Theme::Mixed];

pub fn theme(from: u64) -> Theme {
    THEMES[(from % THEMES.len() as u64) as usize]
}

/// A job and when it is produced.
#[derive(Clone, Debug)]
pub struct Errand {
    pub at: Duration,
    pub lane: usize,
    pub action: Action,
    pub dry_run: bool,
    pub asks: SmallVec<[Ask; 1]>,
}

impl Errand {
    pub fn types(&self) -> (ObjectType, ObjectType) {
        let (from, to, _) = LANES[self.lane];
        (ObjectType::parse(from).unwrap(), ObjectType::parse(to).unwrap())
    }

    /// The job wants that a pair is changed so.
    pub fn wants(&self, action: Action, extent: &Extent, pair: Pair) -> bool {
        let asked = |ask: &Ask| ask.extent == *extent && (ask.pairs.contains(&pair) || ask.all_of.contains(&pair.from));
        !self.dry_run && self.action == action && self.asks.iter().any(asked)
    }
}

pub fn lane(index: usize) -> Lane {
    let (from, to, _) = LANES[index];
    Lane::parse(from, to).unwrap()
}

/// The index of the lane between the object types of a request.
pub fn lane_of(id: &LaneId) -> usize {
    let parsed = |text: &str| ObjectType::parse(text).unwrap();
    let is_it = |(from, to, _): &(&str, &str, _)| parsed(from) == id.from_type && parsed(to) == id.to_type;
    LANES.iter().position(is_it).unwrap()
}

/// Labels that users made, as both sides name them.
const USERS: [u32; 3] = [7, 8, 9];

fn theirs(type_id: u32, category: association::LabelCategory) -> association::Label {
    association::Label { category, type_id }
}

fn ours(type_id: u64, category: LabelCategory) -> Label {
    Label { category, type_id: NonZeroU64::new(type_id).unwrap() }
}

pub fn as_ours(label: association::Label) -> Label {
    let category = match label.category {
        association::LabelCategory::HubspotDefined => LabelCategory::HubspotDefined,
        association::LabelCategory::UserDefined => LabelCategory::UserDefined,
        association::LabelCategory::IntegratorDefined => LabelCategory::IntegratorDefined,
        association::LabelCategory::Work => LabelCategory::Work,
    };
    ours(label.type_id.into(), category)
}

pub fn is_primary(lane: usize, label: Label) -> bool {
    LANES[lane].2.is_some_and(|id| label == ours(id, LabelCategory::HubspotDefined))
}

/// Makes what is there at the start.
pub fn furnish(associations: &mut Associations, rng: &mut Rng) {
    for (index, (_, _, primary)) in LANES.into_iter().enumerate().take(FORWARD) {
        let lane = lane(index);
        for id in USERS {
            let label = theirs(id, association::LabelCategory::UserDefined);
            let inverse = theirs(id + 100, association::LabelCategory::UserDefined);
            associations.definitions.define(&lane, label, "label", (inverse, "back"), Creation::Open);
        }
        for from in 1..=FROMS {
            for to in 1..=TOS {
                if rng.u8(..10) < 5 {
                    continue;
                }
                let users = USERS.into_iter().filter(|_| rng.u8(..10) < 3);
                let mut labels: Vec<_> = users.map(|id| theirs(id, association::LabelCategory::UserDefined)).collect();
                if let Some(id) = primary.filter(|_| rng.u8(..10) < 2) {
                    labels.push(theirs(u32::try_from(id).unwrap(), association::LabelCategory::HubspotDefined));
                }
                associations.create(&lane, from, to, &labels);
            }
        }
    }
}

/// The labels of all pairs of the lanes.
pub type Links = BTreeMap<(usize, Pair), Vec<Label>>;

pub fn links(associations: &Associations) -> Links {
    let mut links = Links::new();
    for index in 0..FORWARD {
        for from in 1..=FROMS {
            for (to, labels) in associations.of(&lane(index), from) {
                links.insert((index, pair(from, to)), labels.into_iter().map(as_ours).collect());
            }
        }
    }
    links
}

/// The jobs of a seed. `stars`: some archive the pairs of many records with the same few. No other job makes these again:
/// that would look as if folding did not work.
pub fn errands(rng: &mut Rng, stars: bool) -> Vec<Errand> {
    let count = *choose(rng, &[5, 15, 40]);
    let spread = *choose(rng, &[0, 1_000, 60_000]);
    let mut errands: Vec<Errand> =
        (0..count).map(|_| if stars && rng.bool() { star(rng, spread) } else { errand(rng, spread) }).collect();
    errands.sort_by_key(|errand| errand.at);
    errands
}

fn errand(rng: &mut Rng, spread: u64) -> Errand {
    let lane = rng.usize(..FORWARD);
    let theme = *choose(rng, &THEMES);
    let restore = Action::Restore { include_primary: rng.u8(..4) == 0 };
    let any = *choose(rng, &[Action::Archive, restore]);
    let (action, changes) = match theme {
        Theme::Archive | Theme::All => (Action::Archive, rng.u8(..4) > 0),
        Theme::Restore => (restore, rng.u8(..4) > 0),
        Theme::Plan => (any, false),
        Theme::Mixed => (any, rng.bool()),
    };
    let may_be_all = action == Action::Archive && matches!(theme, Theme::All | Theme::Plan | Theme::Mixed);
    let all = theme == Theme::All || (may_be_all && rng.bool());
    let asks = asks(rng, lane, theme, all);
    let at = Duration::from_millis(rng.u64(0..=spread));
    Errand { at, lane, action, dry_run: !changes, asks }
}

fn star(rng: &mut Rng, spread: u64) -> Errand {
    let lane = rng.usize(..FORWARD);
    let centre = rng.u64(1..TOS);
    let froms = (1..=FROMS).filter(|&from| theme(from) == Theme::Archive && rng.u8(..4) > 0);
    let pairs = froms.flat_map(|from| [pair(from, centre), pair(from, centre + 1)]).collect();
    let at = Duration::from_millis(rng.u64(0..=spread));
    let asks = [Ask { extent: Extent::Whole, pairs, all_of: Vec::new() }].into();
    Errand { at, lane, action: Action::Archive, dry_run: false, asks }
}

fn asks(rng: &mut Rng, lane: usize, theme: Theme, all: bool) -> SmallVec<[Ask; 1]> {
    let mut froms: Vec<u64> = (1..=FROMS).filter(|&from| self::theme(from) == theme).collect();
    rng.shuffle(&mut froms);
    froms.truncate(*choose(rng, &[1, 2, 6]));
    let mut asks: Vec<Ask> = Vec::new();
    for from in froms {
        let extent = extent(rng, lane);
        let index = asks.iter().position(|ask| ask.extent == extent).unwrap_or_else(|| {
            asks.push(Ask { extent, pairs: SmallVec::new(), all_of: Vec::new() });
            asks.len() - 1
        });
        if all {
            asks[index].all_of.push(record(from));
        } else {
            let tos = (1..=TOS).filter(|_| rng.u8(..3) > 0).chain([TOS + 1]);
            asks[index].pairs.extend(tos.map(|to| pair(from, to)));
        }
    }
    for ask in &mut asks {
        ask.pairs.sort_unstable();
        ask.all_of.sort_unstable();
    }
    asks.into()
}

fn extent(rng: &mut Rng, lane: usize) -> Extent {
    if rng.bool() {
        return Extent::Whole;
    }
    let mut labels: Vec<Label> = vec![ours((*choose(rng, &USERS)).into(), LabelCategory::UserDefined)];
    if let Some(primary) = LANES[lane].2.filter(|_| rng.bool()) {
        labels.push(ours(primary, LabelCategory::HubspotDefined));
    }
    labels.sort_unstable();
    Extent::Labels(labels.into())
}

fn record(id: u64) -> RecordId {
    RecordId(NonZeroU64::new(id).unwrap())
}
