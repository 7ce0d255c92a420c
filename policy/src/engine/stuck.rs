//! Pairs that were found to fail by themselves while others were served.
//!
//! Their jobs are parked and come back, and nothing that is known travels with a job. So what is known of such a pair
//! is kept here for a while. From its next try on the pair is sent by itself; otherwise it would make a batch of others
//! fail each time.

use std::time::Duration;

use hashbrown::HashMap;

use super::clock::Tick;
use super::command::LaneId;
use super::record_set::RecordSet;
use crate::contract::association::{Pair, RecordId};
use crate::contract::ids::AccountIndex;
use crate::contract::object_type::ObjectType;

/// See the module.
#[derive(Debug, Default)]
pub struct Stuck {
    lanes: HashMap<LaneId, HashMap<Pair, Tick>>,
    /// In all lanes.
    pairs: usize,
}

/// Pairs kept at most. A further one is found anew each time it comes back.
const MOST: usize = 10_000;

/// A pair that has not failed for this long is forgotten. Jobs that fail come back every ten minutes at least, and may then
/// be held for an hour before their stuck pairs have their turn.
const KEPT: Duration = Duration::from_secs(3 * 60 * 60);

/// Where a record has at least this many stuck pairs, the record is taken to be at fault.
const SEVERAL: u32 = 2;

impl Stuck {
    pub fn is_empty(&self) -> bool {
        self.pairs == 0
    }

    /// The pair has failed by itself, and leaves unfinished.
    pub fn note(&mut self, lane: &LaneId, pair: Pair, now: Tick) {
        if self.pairs >= MOST {
            self.sweep(now);
        }
        let known = self.lanes.get_mut(lane).and_then(|pairs| pairs.get_mut(&pair));
        match known {
            Some(failed) => *failed = now,
            None if self.pairs < MOST => {
                self.lanes.entry(lane.clone()).or_default().insert(pair, now);
                self.pairs += 1;
            }
            None => {}
        }
    }

    pub fn has(&self, lane: &LaneId, pair: Pair, now: Tick) -> bool {
        let failed = self.lanes.get(lane).and_then(|pairs| pairs.get(&pair));
        failed.is_some_and(|&failed| now.since(failed) < KEPT)
    }

    /// The pair has its verdict. Returns whether it was known.
    pub fn forget(&mut self, lane: &LaneId, pair: Pair) -> bool {
        let Some(pairs) = self.lanes.get_mut(lane) else { return false };
        let was_known = pairs.remove(&pair).is_some();
        self.pairs -= usize::from(was_known);
        if pairs.is_empty() {
            self.lanes.remove(lane);
        }
        was_known
    }

    /// The records that several stuck pairs of an account share: their other pairs will most likely fail too.
    pub fn records(&self, account: AccountIndex, now: Tick) -> RecordSet {
        if self.is_empty() {
            return RecordSet::default();
        }
        let mut pairs_of: HashMap<(ObjectType, RecordId), u32> = HashMap::new();
        for (lane, pairs) in self.lanes.iter().filter(|(lane, _)| lane.account == account) {
            for (pair, _) in pairs.iter().filter(|(_, failed)| now.since(**failed) < KEPT) {
                *pairs_of.entry((lane.from_type.clone(), pair.from)).or_default() += 1;
                *pairs_of.entry((lane.to_type.clone(), pair.to)).or_default() += 1;
            }
        }
        pairs_of.retain(|_, pairs| *pairs >= SEVERAL);
        pairs_of.into_keys().collect()
    }

    fn sweep(&mut self, now: Tick) {
        self.lanes.retain(|_, pairs| {
            pairs.retain(|_, failed| now.since(*failed) < KEPT);
            !pairs.is_empty()
        });
        self.pairs = self.lanes.values().map(HashMap::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::contract::association::Extent;
    use crate::engine::course::Course;

    fn lane() -> LaneId {
        let object_type = |text| ObjectType::parse(text).unwrap_or_else(|fault| unreachable!("{fault:?}"));
        LaneId {
            account: AccountIndex(0),
            from_type: object_type("contacts"),
            to_type: object_type("companies"),
            extent: Extent::Whole,
            course: Course::ARCHIVE,
        }
    }

    fn pair(from: u64) -> Pair {
        let id = |id| RecordId(NonZeroU64::new(id).unwrap_or(NonZeroU64::MIN));
        Pair { from: id(from), to: id(1) }
    }

    #[test]
    fn a_pair_is_known_until_it_has_its_verdict_or_three_hours_have_passed() {
        let at = |seconds: u64| Tick::from_micros(seconds * 1_000_000);
        let mut stuck = Stuck::default();
        stuck.note(&lane(), pair(1), at(0));
        stuck.note(&lane(), pair(2), at(0));
        stuck.note(&lane(), pair(2), at(3_000));
        assert!(stuck.has(&lane(), pair(1), at(10_799)) && !stuck.has(&lane(), pair(1), at(10_800)));
        assert!(stuck.has(&lane(), pair(2), at(10_800)) && !stuck.has(&lane(), pair(3), at(0)));
        stuck.forget(&lane(), pair(1));
        stuck.forget(&lane(), pair(2));
        stuck.forget(&lane(), pair(2));
        assert!(stuck.is_empty());
    }

    #[test]
    fn what_is_kept_has_a_limit_and_makes_room_for_newer_ones() {
        let mut stuck = Stuck::default();
        for from in 1..=2 * MOST as u64 {
            stuck.note(&lane(), pair(from), Tick::ZERO);
        }
        assert_eq!(stuck.pairs, MOST);
        let later = Tick::ZERO + KEPT;
        stuck.note(&lane(), pair(7), later);
        assert_eq!(stuck.pairs, 1);
    }
}
