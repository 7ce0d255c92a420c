//! From which time on a look is believed.
//!
//! HubSpot's reads lag behind its removals for some seconds. Whoever restores a pair just after it was removed may be
//! shown it as if it were there, would create nothing, and would say that it is restored. And whoever gives a pair a
//! label names what a look shows beside it, since a creation takes away what it does not name: so a label that was just
//! removed would come back.
//!
//! So where what a look shows would stay, or would be named, the look is believed only if it was sent late enough after
//! all removals of the pair. Which pairs this process removes is known request by request. What another process did
//! before this one began, or before it took an account over, is not known, and counts as a removal of everything.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use super::clock::Tick;
use super::command::LaneId;
use super::either_side::{self, Side, Types};
use super::per_account::PerAccount;
use super::proof::WAITS;
use crate::contract::association::Pair;
use crate::contract::ids::AccountIndex;

/// Reads are believed to lag behind removals by no more than this time. A proof also waits for this long before a pair
/// that is still shown counts as one that stays.
pub const LONGEST: Duration = Duration::from_secs(WAITS[0].as_secs() + WAITS[1].as_secs() + WAITS[2].as_secs());

/// How long a removal on the wire is expected to take, where a look waits until it is believed.
const ON_WIRE: Duration = Duration::from_secs(1);

/// Of so many removed pairs it is remembered which they are: 16 bytes each.
const MOST_PAIRS: usize = 250_000;

/// See the module.
#[derive(Debug)]
pub struct Lag {
    /// Since when it is known of all removals of an account which pairs they were of.
    known: PerAccount<Tick>,
    on_wire: Vec<Removed>,
    /// Requests that were answered, the oldest first, each with the time of its answer.
    answered: VecDeque<(Tick, Removed)>,
    /// The pairs of these.
    pairs: usize,
}

/// The pairs of a request that was to remove them, or labels of them.
#[derive(Debug)]
struct Removed {
    types: Types,
    side: Side,
    pairs: Arc<[Pair]>,
}

impl Lag {
    pub fn new(accounts: usize, now: Tick) -> Self {
        let known = PerAccount::new((0..accounts).map(|_| now));
        Self { known, on_wire: Vec::new(), answered: VecDeque::new(), pairs: 0 }
    }

    /// Another process may have removed something until now.
    pub fn takes_over(&mut self, account: AccountIndex, now: Tick) {
        if let Some(known) = self.known.get_mut(account) {
            *known = now;
        }
    }

    /// A request of the lane that is to remove these pairs, or labels of them, leaves.
    pub fn left(&mut self, lane: &LaneId, pairs: &Arc<[Pair]>) {
        let (types, side) = either_side::types(lane);
        self.on_wire.push(Removed { types, side, pairs: Arc::clone(pairs) });
    }

    /// It has ended, and may have removed them.
    pub fn answered(&mut self, pairs: &Arc<[Pair]>, now: Tick) {
        let Some(index) = self.on_wire.iter().position(|removed| Arc::ptr_eq(&removed.pairs, pairs)) else { return };
        self.pairs += pairs.len();
        self.answered.push_back((now, self.on_wire.swap_remove(index)));
        while self.pairs > MOST_PAIRS
            && let Some((at, removed)) = self.answered.pop_front()
        {
            self.pairs -= removed.pairs.len();
            if let Some(known) = self.known.get_mut(removed.types.account()) {
                *known = at.max(*known);
            }
        }
    }

    /// Which of these pairs were removed so late that a look of the lane that was sent at `looked`, or later, may not
    /// have seen it, and from when on a look is believed.
    pub fn of_pairs(
        &self,
        lane: &LaneId,
        pairs: impl Iterator<Item = Pair>,
        looked: Tick,
        now: Tick,
    ) -> HashMap<Pair, Tick> {
        let answered = self.answered.iter().rev().map(|(at, removed)| (*at, removed));
        let answered = answered.take_while(|(at, _)| believed_after(*at) > looked);
        let on_wire = self.on_wire.iter().map(|removed| (now + ON_WIRE, removed));
        let (types, side) = either_side::types(lane);
        let mut requests = on_wire.chain(answered).filter(|(_, removed)| removed.types == types).peekable();
        if requests.peek().is_none() {
            return HashMap::new();
        }
        let mut latest: HashMap<Pair, (Pair, Option<Tick>)> =
            pairs.map(|pair| (side.first(pair), (pair, None))).collect();
        for (at, removed) in requests {
            for &pair in removed.pairs.iter() {
                if let Some((_, latest @ None)) = latest.get_mut(&removed.side.first(pair)) {
                    *latest = Some(at);
                }
            }
        }
        latest.into_values().filter_map(|(pair, at)| Some((pair, believed_after(at?)))).collect()
    }

    /// Since when it is known of all removals of an account which pairs they were of.
    pub fn known_from(&self, account: AccountIndex) -> Tick {
        self.known.get(account).copied().unwrap_or_default()
    }
}

/// From when on a look is believed after something was removed.
pub fn believed_after(removed: Tick) -> Tick {
    removed + LONGEST
}
