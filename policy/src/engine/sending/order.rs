//! Who goes first within an account: the live lanes, or those of the background.

use super::offers::Offer;
use crate::contract::ids::AccountIndex;
use crate::engine::account::KEPT_FREE_DIVISOR;
use crate::engine::background::Urgency;
use crate::engine::backlog::LaneKey;
use crate::engine::clock::{Now, Tick};
use crate::engine::engine::Engine;

/// A lane that has its turn.
#[derive(Clone, Copy)]
pub struct Turn {
    pub lane: LaneKey,
    pub offer: Offer,
    /// Whose turn it is. A request of the background may be one of a live lane that it fills up.
    pub urgency: Urgency,
    /// It is that of a job that came back.
    pub favoured: bool,
}

impl Engine {
    /// The lane of an account whose turn it is: a live one before one of the background, unless that has had too little.
    /// `Err`: nothing can be sent, and when to look again.
    pub(super) fn next_turn(&mut self, index: AccountIndex, now: Now) -> Result<Turn, Option<Tick>> {
        if let Some((lane, offer)) = self.offer_to_journal(index) {
            return Ok(Turn { lane, offer, urgency: Urgency::Live, favoured: false });
        }
        let is_due = self.turns.background_is_due(index, now.tick);
        let leave = self.background_may_send(index, is_due, now);
        let order = match is_due {
            true => [Urgency::Background, Urgency::Live],
            false => [Urgency::Live, Urgency::Background],
        };
        for urgency in order.into_iter().filter(|&urgency| urgency == Urgency::Live || leave.is_ok()) {
            let favoured = self.offer_of_favourite(index, urgency, now);
            if let Some((lane, offer)) = favoured.or_else(|| self.next_offer(index, urgency, now)) {
                let lane = self.beside_live(lane, offer);
                return Ok(Turn { lane, offer, urgency, favoured: favoured.is_some() });
            }
        }
        let of_background = match leave {
            Ok(()) => self.turns.next_look(index, Urgency::Background),
            Err(until) => until,
        };
        Err(self.turns.next_look(index, Urgency::Live).into_iter().chain(of_background).min())
    }

    /// Whether the background may have a request: there is a slot that live ones will not miss, and no more of the day's
    /// requests is used than of the day, unless its share `is_due`. An account without any request on the wire may always
    /// have one, since nothing else would tell it of a slot. `Err` says when to look again.
    fn background_may_send(&self, index: AccountIndex, is_due: bool, now: Now) -> Result<(), Option<Tick>> {
        let (account, most) = (&self.accounts[index], self.policy.max_in_flight);
        let free = most - self.calls.len();
        if account.in_flight() > 0 && (free <= most / KEPT_FREE_DIVISOR || !account.has_slot_to_spare(free)) {
            return Err(None);
        }
        match account.day.even_from(now.wall) {
            Some(even) if !is_due => Err(Some(now.tick_of(even))),
            Some(_) | None => Ok(()),
        }
    }

    /// A request that the background would have anyway takes live pairs of the same kind along that wait for company.
    fn beside_live(&self, key: LaneKey, offer: Offer) -> LaneKey {
        let Some(lane) = self.holdings.lane(key).filter(|lane| lane.urgency == Urgency::Background) else { return key };
        let live = lane.other.filter(|&other| self.holdings.filling(other).is_some_and(|_| self.waits_in(other)));
        match offer {
            Offer::Fresh(_, None) => live.unwrap_or(key),
            Offer::Fresh(_, Some(_)) | Offer::Repeat(_) => key,
        }
    }

    fn waits_in(&self, key: LaneKey) -> bool {
        let is_paused = self.pauses.of_lane(key).is_some();
        !is_paused && self.holdings.lane(key).is_some_and(|lane| !lane.queue.is_empty())
    }
}
