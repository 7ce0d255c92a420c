//! Which pairs were created lately, by `batch/create`.
//!
//! `batch/create` takes away what it does not name. If two jobs give a pair different types at about the same time,
//! each would take away what the other gave, since neither saw it. So a pair is created anew only on the word of a look
//! that was sent after all other creations of it were answered.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;

use super::clock::Tick;
use super::command::LaneId;
use crate::contract::association::{Pair, RecordId};
use crate::contract::ids::AccountIndex;
use crate::contract::object_type::ObjectType;

/// See the module.
#[derive(Debug, Default)]
pub struct Creating {
    pairs: HashMap<Key, Latest>,
    /// Answered creations in the order of their answers: the oldest is forgotten first.
    answered: VecDeque<(Tick, Key)>,
}

/// The creations of one pair.
#[derive(Clone, Copy, Default, Debug)]
struct Latest {
    on_wire: u32,
    answered: Option<Tick>,
}

/// Names a pair, the same whichever of its records stands first.
type Key = (AccountIndex, [(ObjectType, RecordId); 2]);

/// An answered creation is remembered for this long. Looks are believed for much less time, so every look that is
/// believed later was sent after the creation and has seen it. Only a batch that has just looked again believes a look
/// that is older, and that look began after the creation.
const KEPT: Duration = Duration::from_secs(10 * 60);

fn key(lane: &LaneId, pair: Pair) -> Key {
    let mut ends = [(lane.from_type.clone(), pair.from), (lane.to_type.clone(), pair.to)];
    ends.sort_by(|(one, a), (other, b)| (one.path_segment(), a).cmp(&(other.path_segment(), b)));
    (lane.account, ends)
}

impl Creating {
    /// A request that creates the pairs leaves.
    pub fn left(&mut self, lane: &LaneId, pairs: &[Pair], now: Tick) {
        while self.answered.front().is_some_and(|(at, _)| now.since(*at) > KEPT)
            && let Some((at, key)) = self.answered.pop_front()
        {
            if self.pairs.get(&key).is_some_and(|latest| latest.on_wire == 0 && latest.answered == Some(at)) {
                self.pairs.remove(&key);
            }
        }
        for &pair in pairs {
            self.pairs.entry(key(lane, pair)).or_default().on_wire += 1;
        }
    }

    /// A request that created the pairs is answered.
    pub fn answered(&mut self, lane: &LaneId, pairs: &[Pair], now: Tick) {
        for &pair in pairs {
            let key = key(lane, pair);
            if let Some(latest) = self.pairs.get_mut(&key) {
                latest.on_wire = latest.on_wire.saturating_sub(1);
                latest.answered = Some(now);
                self.answered.push_back((now, key));
            }
        }
    }

    /// Whether a look that was sent at `looked` may have missed a creation of the pair.
    pub fn may_be_missed(&self, lane: &LaneId, pair: Pair, looked: Tick) -> bool {
        if self.pairs.is_empty() {
            return false;
        }
        let latest = self.pairs.get(&key(lane, pair)).copied().unwrap_or_default();
        latest.on_wire > 0 || latest.answered.is_some_and(|answered| answered >= looked)
    }

    /// A request that creates one of the pairs is on the wire.
    pub fn is_on_wire(&self, lane: &LaneId, pairs: &[Pair]) -> bool {
        let is_on_wire = |&pair: &Pair| self.pairs.get(&key(lane, pair)).is_some_and(|latest| latest.on_wire > 0);
        !self.pairs.is_empty() && pairs.iter().any(is_on_wire)
    }
}
