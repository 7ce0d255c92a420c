//! The records for which the requests of an account may have failed since one was served.
//!
//! Where the pairs of a stuck record stand before all others, nobody is served at first, and all requests fail as in an
//! outage. So each request that may find out whether it is one is drawn beside the records of those that failed before.

use super::command::LaneId;
use super::record_set::RecordSet;
use crate::contract::association::Pair;

/// See the module.
#[derive(Debug, Default)]
pub struct Blame {
    /// Of each failure that those before it do not explain, the records that can be its cause.
    suspects: Vec<RecordSet>,
}

/// Failures that do not explain each other, kept at most. After more of them all are forgotten: in an outage each request
/// fails, whatever its records are.
const MOST: usize = 32;

impl Blame {
    /// A request with these pairs failed, which may be for a record that all of them have. If that can also be the cause of a
    /// failure before, it is taken for the cause of both.
    pub fn failed(&mut self, lane: &LaneId, pairs: &[Pair]) {
        let shared = RecordSet::shared_by(lane, pairs);
        if shared.is_empty() {
            return;
        }
        for suspects in &mut self.suspects {
            let common = suspects.common_with(&shared);
            if !common.is_empty() {
                *suspects = common;
                return;
            }
        }
        if self.suspects.len() >= MOST {
            self.suspects.clear();
        }
        self.suspects.push(shared);
    }

    pub fn records(&self) -> RecordSet {
        let mut records = RecordSet::default();
        self.suspects.iter().for_each(|suspects| records.add(suspects));
        records
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::contract::association::{Extent, RecordId};
    use crate::contract::ids::AccountIndex;
    use crate::contract::object_type::ObjectType;
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

    fn pair(from: u64, to: u64) -> Pair {
        let id = |id| RecordId(NonZeroU64::new(id).unwrap_or(NonZeroU64::MIN));
        Pair { from: id(from), to: id(to) }
    }

    fn is_blamed(blame: &Blame, from: u64, to: u64) -> bool {
        blame.records().has_one_of(&lane(), pair(from, to))
    }

    #[test]
    fn both_records_of_a_pair_are_blamed_until_one_explains_another_failure() {
        let mut blame = Blame::default();
        blame.failed(&lane(), &[pair(1, 7)]);
        assert!(is_blamed(&blame, 1, 8) && is_blamed(&blame, 2, 7) && !is_blamed(&blame, 7, 1));
        blame.failed(&lane(), &[pair(1, 8), pair(1, 9)]);
        assert!(is_blamed(&blame, 1, 5) && !is_blamed(&blame, 2, 7) && !is_blamed(&blame, 2, 8));
    }

    #[test]
    fn pairs_without_a_record_in_common_blame_none() {
        let mut blame = Blame::default();
        blame.failed(&lane(), &[pair(1, 7), pair(2, 8)]);
        assert!(blame.records().is_empty());
    }

    #[test]
    fn what_is_kept_has_a_limit() {
        let mut blame = Blame::default();
        for n in 1..=10 * MOST as u64 + 1 {
            blame.failed(&lane(), &[pair(n, n)]);
            assert!(blame.suspects.len() <= MOST && is_blamed(&blame, n, 0), "the latest is known");
        }
        assert!(!is_blamed(&blame, 1, 1));
    }
}
