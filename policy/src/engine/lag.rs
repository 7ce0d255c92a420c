//! From which time on a look is believed.
//!
//! HubSpot's reads lag behind its removals for some seconds. Whoever restores a pair just after it was removed may be
//! shown it as if it were there, would create nothing, and would say that it is restored. So a pair of which a look
//! shows all that a restoration wants, or all but Primary, is looked at once more where something was removed between
//! these object types a moment before. What another process did before this one began, or before it took an account
//! over, is not known, and counts as a removal.

use std::time::Duration;

use hashbrown::HashMap;

use super::clock::Tick;
use super::command::LaneId;
use super::per_account::PerAccount;
use super::proof::WAITS;
use crate::contract::ids::AccountIndex;
use crate::contract::object_type::ObjectType;

/// Reads are believed to lag behind removals by no more than this time. A proof also waits for this long before a pair
/// that is still shown counts as one that stays.
const LONGEST: Duration = Duration::from_secs(WAITS[0].as_secs() + WAITS[1].as_secs() + WAITS[2].as_secs());

/// See the module.
#[derive(Debug)]
pub struct Lag {
    /// Since when this process knows of all removals of an account.
    begun: PerAccount<Tick>,
    /// The latest removal between two object types of an account, whichever of them is named first.
    removed: HashMap<(AccountIndex, [ObjectType; 2]), Tick>,
}

/// Removals longer ago than [`LONGEST`] are forgotten when more than this are known.
const MANY: usize = 64;

fn key(lane: &LaneId) -> (AccountIndex, [ObjectType; 2]) {
    let mut ends = [lane.from_type.clone(), lane.to_type.clone()];
    ends.sort_by(|one, other| one.path_segment().cmp(other.path_segment()));
    (lane.account, ends)
}

impl Lag {
    pub fn new(accounts: usize, now: Tick) -> Self {
        Self { begun: PerAccount::new((0..accounts).map(|_| now)), removed: HashMap::new() }
    }

    /// Another process may have removed something until now.
    pub fn takes_over(&mut self, account: AccountIndex, now: Tick) {
        if let Some(begun) = self.begun.get_mut(account) {
            *begun = now;
        }
    }

    /// A request of the lane that was to remove something has ended, and may have done so.
    pub fn removed(&mut self, lane: &LaneId, now: Tick) {
        if self.removed.len() >= MANY {
            self.removed.retain(|_, at| now.since(*at) < LONGEST);
        }
        self.removed.insert(key(lane), now);
    }

    /// What a look of the lane shows is believed if it was sent from then on.
    pub fn believed_from(&self, lane: &LaneId) -> Tick {
        let begun = self.begun.get(lane.account).copied().unwrap_or(Tick::ZERO);
        let removed = self.removed.get(&key(lane)).copied();
        removed.map_or(begun, |removed| removed.max(begun)) + LONGEST
    }
}
