//! Names for pairs that are the same from whichever side a lane sees them.

use super::command::LaneId;
use crate::contract::association::Pair;
use crate::contract::ids::AccountIndex;
use crate::contract::object_type::ObjectType;

/// Two object types of an account, in an order that does not depend on which of them a lane names first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Types(AccountIndex, [ObjectType; 2]);

/// How the pairs of a lane stand to its [`Types`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    First,
    Second,
    /// Both ends are of one type: the record with the smaller number counts as the first.
    Alike,
}

/// The object types of a lane, and the side from which it sees its pairs.
pub fn types(lane: &LaneId) -> (Types, Side) {
    let (from, to) = (lane.from_type.clone(), lane.to_type.clone());
    let account = lane.account;
    match from.path_segment().cmp(to.path_segment()) {
        std::cmp::Ordering::Less => (Types(account, [from, to]), Side::First),
        std::cmp::Ordering::Equal => (Types(account, [from, to]), Side::Alike),
        std::cmp::Ordering::Greater => (Types(account, [to, from]), Side::Second),
    }
}

impl Types {
    pub fn account(&self) -> AccountIndex {
        self.0
    }
}

impl Side {
    /// The pair as it is seen from the first side.
    pub fn first(self, pair: Pair) -> Pair {
        match self {
            Self::First => pair,
            Self::Second => pair.turned(),
            Self::Alike if pair.from > pair.to => pair.turned(),
            Self::Alike => pair,
        }
    }
}
