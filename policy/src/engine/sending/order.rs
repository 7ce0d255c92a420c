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
    /// The turn is that of a job that came back.
    pub favoured: bool,
}

impl Engine {
    /// The lane of an account whose turn it is: a live one before one of the background, unless that has had too
    /// little. `Err`: nothing can be sent, and when to look again.
    pub(super) fn next_turn(&mut self, index: AccountIndex, now: Now) -> Result<Turn, Option<Tick>> {
        if let Some((lane, offer)) = self.offer_to_journal(index) {
            return Ok(Turn { lane, offer, urgency: Urgency::Live, favoured: false });
        }
        if let Some((lane, offer)) = self.offer_in_outage(index, now) {
            let urgency = self.holdings.lane(lane).map_or(Urgency::Live, |lane| lane.urgency);
            return Ok(Turn { lane, offer, urgency, favoured: false });
        }
        if self.holdings.jobs_of_background() == 0 {
            return self.turn_of(index, Urgency::Live, now).ok_or_else(|| self.turns.next_look(index, Urgency::Live));
        }
        let is_due = self.turns.background_is_due(index, now.tick);
        let leave = self.background_may_send(index, is_due, now);
        let order = match is_due {
            true => [Urgency::Background, Urgency::Live],
            false => [Urgency::Live, Urgency::Background],
        };
        let mut order = order.into_iter().filter(|&urgency| urgency == Urgency::Live || leave.is_ok());
        if let Some(turn) = order.find_map(|urgency| self.turn_of(index, urgency, now)) {
            // A request of the background's share is for its own pairs only.
            return Ok(if is_due { turn } else { self.beside_live(turn) });
        }
        let of_background = match leave {
            Ok(()) => self.turns.next_look(index, Urgency::Background),
            Err(until) => until,
        };
        Err(self.turns.next_look(index, Urgency::Live).into_iter().chain(of_background).min())
    }

    fn turn_of(&mut self, index: AccountIndex, urgency: Urgency, now: Now) -> Option<Turn> {
        let favoured = self.offer_of_favourite(index, urgency, now);
        let (lane, offer) = favoured.or_else(|| self.next_offer(index, urgency, now))?;
        Some(Turn { lane, offer, urgency, favoured: favoured.is_some() })
    }

    /// Whether the background may have a request: there is a slot that live ones will not miss, and there are requests
    /// of the day to spare, unless its share `is_due`. An account without any request on the wire may always have one,
    /// since nothing else would tell it of a slot. `Err` says when to look again.
    pub(super) fn background_may_send(&self, index: AccountIndex, is_due: bool, now: Now) -> Result<(), Option<Tick>> {
        let (account, most) = (&self.accounts[index], self.policy.max_in_flight);
        let free = most - self.calls.len();
        if account.in_flight() > 0 && (free <= most / KEPT_FREE_DIVISOR || !account.has_slot_to_spare(free)) {
            return Err(None);
        }
        match account.day.spare_from(now.wall) {
            Some(even) if !is_due => Err(Some(now.tick_of(even))),
            Some(_) | None => Ok(()),
        }
    }

    /// A request that the background would have anyway takes live pairs of the same kind along that wait for company.
    fn beside_live(&self, turn: Turn) -> Turn {
        let lane = self.holdings.lane(turn.lane).filter(|lane| lane.urgency == Urgency::Background);
        let live = lane.and_then(|lane| lane.other).filter(|&live| self.holdings.filling(live).is_some());
        match (turn.offer, live.filter(|&live| self.waits_in(live))) {
            (Offer::Fresh(_, None), Some(lane)) => Turn { lane, ..turn },
            (Offer::Fresh(..) | Offer::Repeat(_), _) => turn,
        }
    }

    fn waits_in(&self, key: LaneKey) -> bool {
        let is_paused = self.pauses.of_lane(key).is_some();
        !is_paused && self.holdings.lane(key).is_some_and(|lane| !lane.queue.is_empty())
    }
}
