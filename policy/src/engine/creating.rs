//! Which pairs were created lately, by `batch/create`.
//!
//! `batch/create` takes away what it does not name. If two jobs give a pair different types at about the same time,
//! each would take away what the other gave, since neither saw it. So a pair is created anew only on the word of a look
//! that was sent after all other creations of it were answered.
//!
//! The same holds for Primary, of which a record has one association. If two jobs give it to the same record, each on
//! the word of a look that shows it nowhere, HubSpot takes it from the first, whose job was told that it is there. So
//! Primary is given, or named as what is there, only on the word of a look that was sent after all other creations
//! which gave it to that record were answered. A job that may take Primary away does not wait for this.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::clock::Tick;
use super::command::LaneId;
use super::course::{Course, Restoration};
use super::either_side::{self, Side, Types};
use crate::contract::association::{Extent, Label, Pair, RecordId};
use crate::contract::primary::{OnlyOne, only_one};

/// So many answered creations are remembered: about 120 bytes each. Between a look and the creation that follows from it
/// there are never so many others, unless something stood still meanwhile. Then the pair is looked at again.
const MOST_ANSWERED: usize = 100_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Creating {
    /// Named by their places in this list.
    types: Vec<Types>,
    latest: HashMap<Key, Latest>,
    /// What each request on the wire creates, by the list of its pairs.
    on_wire: Vec<(Arc<[Pair]>, Vec<Key>)>,
    /// Answered creations in the order of their answers: the oldest is forgotten first.
    answered: VecDeque<(Tick, Key)>,
    /// When the latest one was answered that is forgotten.
    forgotten: Option<Tick>,
}

/// The creations of one pair, or of one Primary.
#[derive(Clone, Copy, Default, Debug)]
struct Latest {
    on_wire: u32,
    answered: Option<Tick>,
    /// Of Primary: the record at the other end of the latest creation that left.
    holder: Option<RecordId>,
}

/// What is created between records of these types.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Key {
    /// A pair, seen from the first side.
    Pair { types: usize, pair: Pair },
    /// The Primary association of a record, which stands on that side.
    Primary { types: usize, is_first: bool, record: RecordId },
}

/// The Primary that these labels give, or leave to, a pair.
struct Primary {
    is_first: bool,
    record: RecordId,
    /// The record at the other end.
    holder: RecordId,
}

fn primary(lane: &LaneId, side: Side, pair: Pair, labels: impl IntoIterator<Item = Label>) -> Option<Primary> {
    let is_first = side != Side::Second;
    labels.into_iter().find_map(|label| match only_one(&lane.from_type, &lane.to_type, label)? {
        OnlyOne::From => Some(Primary { is_first, record: pair.from, holder: pair.to }),
        OnlyOne::To => Some(Primary { is_first: !is_first, record: pair.to, holder: pair.from }),
    })
}

/// The Primary that a creation of these labels must not take from another record.
fn claim(lane: &LaneId, side: Side, pair: Pair, labels: &[Label]) -> Option<Primary> {
    let wanted = match &lane.extent {
        Extent::Labels(wanted) => wanted.as_ref(),
        Extent::Whole => &[],
    };
    let takes = matches!(lane.course, Course::Restore(Restoration { include_primary: true, .. }));
    let may_not_take = |label: &Label| !takes || !wanted.contains(label);
    primary(lane, side, pair, labels.iter().copied().filter(may_not_take))
}

impl Creating {
    /// A request that gives the pairs these labels leaves.
    pub fn left(&mut self, lane: &LaneId, pairs: &Arc<[Pair]>, labels: &[Arc<[Label]>]) {
        let (named, side) = either_side::types(lane);
        let types = self.types.iter().position(|known| *known == named).unwrap_or_else(|| {
            self.types.push(named);
            self.types.len() - 1
        });
        let mut keys = Vec::with_capacity(pairs.len());
        for (&pair, labels) in pairs.iter().zip(labels) {
            keys.push(Key::Pair { types, pair: side.first(pair) });
            if let Some(Primary { is_first, record, holder }) = primary(lane, side, pair, labels.iter().copied()) {
                let key = Key::Primary { types, is_first, record };
                self.latest.entry(key).or_default().holder = Some(holder);
                keys.push(key);
            }
        }
        for &key in &keys {
            self.latest.entry(key).or_default().on_wire += 1;
        }
        self.on_wire.push((Arc::clone(pairs), keys));
    }

    /// A request that created the pairs is answered.
    pub fn answered(&mut self, pairs: &Arc<[Pair]>, now: Tick) {
        let Some(index) = self.on_wire.iter().position(|(of, _)| Arc::ptr_eq(of, pairs)) else { return };
        let (_, keys) = self.on_wire.swap_remove(index);
        for key in keys {
            if let Some(latest) = self.latest.get_mut(&key) {
                latest.on_wire = latest.on_wire.saturating_sub(1);
                latest.answered = Some(now);
                self.answered.push_back((now, key));
            }
        }
        while self.answered.len() > MOST_ANSWERED
            && let Some((at, key)) = self.answered.pop_front()
        {
            self.forgotten = Some(at);
            if self.latest.get(&key).is_some_and(|latest| latest.on_wire == 0 && latest.answered == Some(at)) {
                self.latest.remove(&key);
            }
        }
    }

    /// Whether a look that was sent at `looked` may have missed a creation that one of these labels would undo.
    pub fn may_be_missed(&self, lane: &LaneId, pair: Pair, labels: &[Label], looked: Tick) -> bool {
        self.forgotten.is_some_and(|forgotten| forgotten >= looked)
            || self.any_of(lane, pair, labels, |latest| {
                latest.on_wire > 0 || latest.answered.is_some_and(|answered| answered >= looked)
            })
    }

    /// A request is on the wire that creates the pair, or gives the Primary that is claimed for it.
    pub fn is_on_wire(&self, lane: &LaneId, pair: Pair, labels: &[Label]) -> bool {
        !self.on_wire.is_empty() && self.any_of(lane, pair, labels, |latest| latest.on_wire > 0)
    }

    fn any_of(&self, lane: &LaneId, pair: Pair, labels: &[Label], is_so: impl Fn(&Latest) -> bool) -> bool {
        let Some((types, side)) = self.types_of(lane) else { return false };
        let created = Key::Pair { types, pair: side.first(pair) };
        let claimed = claim(lane, side, pair, labels).map(|Primary { is_first, record, holder: _ }| Key::Primary {
            types,
            is_first,
            record,
        });
        let mut latest = [Some(created), claimed].into_iter().flatten().filter_map(|key| self.latest.get(&key));
        latest.any(is_so)
    }

    fn types_of(&self, lane: &LaneId) -> Option<(usize, Side)> {
        if self.types.is_empty() {
            return None;
        }
        let (named, side) = either_side::types(lane);
        Some((self.types.iter().position(|known| *known == named)?, side))
    }

    /// A creation has given to another pair, and so has taken from this one, the Primary that is among its labels: when
    /// that was answered, or `now` where it is still on the wire.
    pub fn primary_taken(
        &self,
        lane: &LaneId,
        pair: Pair,
        labels: impl Iterator<Item = Label>,
        now: Tick,
    ) -> Option<Tick> {
        let (types, side) = self.types_of(lane)?;
        let Primary { is_first, record, holder } = primary(lane, side, pair, labels)?;
        let latest = self.latest.get(&Key::Primary { types, is_first, record })?;
        match (latest.holder == Some(holder), latest.on_wire) {
            (true, _) => None,
            (false, 0) => latest.answered,
            (false, _) => Some(now),
        }
    }
}

/// What the creations of one request claim.
#[derive(Debug, Default)]
pub struct Claims(HashSet<(bool, RecordId)>);

impl Claims {
    /// Whether a creation claims no Primary that an earlier one of the request claims.
    pub fn admit(&mut self, lane: &LaneId, pair: Pair, labels: &[Label]) -> bool {
        let (_, side) = either_side::types(lane);
        claim(lane, side, pair, labels).is_none_or(|claim| self.0.insert((claim.is_first, claim.record)))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use std::num::NonZeroU64;
    use std::time::Duration;

    use super::*;
    use crate::contract::association::LabelCategory;
    use crate::contract::ids::AccountIndex;
    use crate::contract::object_type::ObjectType;
    use crate::engine::course::Restoring;

    fn record(id: u64) -> RecordId {
        RecordId(NonZeroU64::new(id).unwrap())
    }

    fn pair(from: u64, to: u64) -> Pair {
        Pair { from: record(from), to: record(to) }
    }

    fn label(type_id: u64) -> Label {
        Label { category: LabelCategory::HubspotDefined, type_id: NonZeroU64::new(type_id).unwrap() }
    }

    fn lane(from: &str, to: &str, wanted: u64) -> LaneId {
        let restoration = Restoration { include_primary: false, at: Restoring::Types };
        LaneId {
            account: AccountIndex(0),
            from_type: ObjectType::parse(from).unwrap(),
            to_type: ObjectType::parse(to).unwrap(),
            extent: Extent::Labels([label(wanted)].into()),
            course: Course::Restore(restoration),
        }
    }

    fn at(seconds: u64) -> Tick {
        Tick::ZERO + Duration::from_secs(seconds)
    }

    fn create(creating: &mut Creating, lane: &LaneId, pairs: &[Pair], labels: &[u64], answered: Tick) {
        let labels: Arc<[Label]> = labels.iter().copied().map(label).collect();
        let (pairs, labels): (Arc<[Pair]>, Vec<Arc<[Label]>>) = (pairs.into(), vec![labels; pairs.len()]);
        creating.left(lane, &pairs, &labels);
        assert!(creating.is_on_wire(lane, pairs[0], &[]));
        creating.answered(&pairs, answered);
        assert!(!creating.is_on_wire(lane, pairs[0], &[]));
    }

    /// However long the look's account stood still before its creation could leave.
    #[test]
    fn a_creation_is_remembered_for_all_looks_that_were_sent_before_it() {
        let (there, back) = (lane("contacts", "companies", 9), lane("companies", "contacts", 9));
        let mut creating = Creating::default();
        create(&mut creating, &there, &[pair(1, 2)], &[7], at(10));
        create(&mut creating, &there, &[pair(5, 5)], &[7], at(100_000));
        for (lane, seen) in [(&there, pair(1, 2)), (&back, pair(2, 1))] {
            assert!(creating.may_be_missed(lane, seen, &[label(9)], at(9)));
            assert!(!creating.may_be_missed(lane, seen, &[label(9)], at(11)));
        }
        assert!(!creating.may_be_missed(&back, pair(1, 2), &[label(9)], at(9)), "that is another pair");
    }

    #[test]
    fn a_look_that_is_older_than_what_is_remembered_is_not_believed() {
        let lane = lane("contacts", "companies", 9);
        let mut creating = Creating::default();
        let many: Vec<Pair> = (1..=MOST_ANSWERED as u64).map(|n| pair(n, 1)).collect();
        create(&mut creating, &lane, &[pair(1, 2)], &[7], at(10));
        create(&mut creating, &lane, &many, &[7], at(20));
        assert!(creating.may_be_missed(&lane, pair(1, 2), &[label(9)], at(9)));
        assert!(creating.may_be_missed(&lane, pair(1, 3), &[label(9)], at(9)), "of this pair nothing is known");
        assert!(!creating.may_be_missed(&lane, pair(1, 3), &[label(9)], at(11)));
        assert_eq!((creating.latest.len(), creating.answered.len()), (MOST_ANSWERED, MOST_ANSWERED));
    }

    #[test]
    fn primary_is_one_of_a_record_whichever_side_names_it() {
        let (there, back) = (lane("contacts", "companies", 1), lane("companies", "contacts", 2));
        let mut creating = Creating::default();
        create(&mut creating, &there, &[pair(1, 2)], &[1], at(10));
        for (lane, other, primary) in [(&there, pair(1, 3), label(1)), (&back, pair(3, 1), label(2))] {
            assert!(creating.may_be_missed(lane, other, &[primary], at(9)));
            assert!(!creating.may_be_missed(lane, other, &[label(9)], at(9)), "this one asks for no Primary");
            assert_eq!(creating.primary_taken(lane, other, [primary].into_iter(), at(20)), Some(at(10)));
        }
        assert_eq!(creating.primary_taken(&there, pair(1, 2), [label(1)].into_iter(), at(20)), None);
        let mut claims = Claims::default();
        let admitted = [pair(1, 2), pair(1, 3), pair(4, 3)].map(|pair| claims.admit(&there, pair, &[label(1)]));
        assert_eq!(admitted, [true, false, true]);
    }
}
