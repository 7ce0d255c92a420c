//! The conductor, for what leaves: whose turn it is, whether it may send, and which batch it sends.
//!
//! A batch is formed when it can be sent: until then its lane goes on filling.

use std::sync::Arc;

use super::access::Need;
use super::account::NoPermit;
use super::backlog::LaneKey;
use super::batch::BatchKey;
use super::calls::{Call, Purpose};
use super::clock::{Now, Tick};
use super::command::{BatchCall, CallKey, Command};
use super::engine::Engine;
use super::expected::expected;
use super::guard::Passage;
use super::pace::Slot;
use super::pause::PauseKind;
use crate::contract::ids::AccountIndex;

mod offers;
mod order;
mod relief;

use offers::Offer;
use order::Turn;

/// What an account's turn came to.
enum Took {
    Sent,
    /// Nothing can be sent before that time, or before something else happens.
    Blocked(Option<Tick>),
}

impl Engine {
    /// Sends whatever can be sent now.
    pub(super) fn pump(&mut self, now: Now) {
        self.let_go(now);
        self.read_back_due(now);
        self.mind_folds(now);
        while self.calls.len() < self.policy.max_in_flight
            && !self.draining
            && let Some(account) = self.turns.next_account()
        {
            match self.take_turn(account, now) {
                Took::Sent => self.turns.mark_ready(account),
                Took::Blocked(Some(at)) => self.turns.remind(account, at),
                Took::Blocked(None) => {}
            }
        }
    }

    fn take_turn(&mut self, index: AccountIndex, now: Now) -> Took {
        // It is marked as ready again when it may.
        if !self.accounts[index].tenancy.may_send(now) {
            return Took::Blocked(None);
        }
        if let Err(until) = self.mind_pauses(index, now) {
            return self.ask_when_the_day_ends(index, until, now);
        }
        let free = self.policy.max_in_flight - self.calls.len();
        if self.holdings.jobs_of(index) == 0 || !self.accounts[index].has_free_slot(free) {
            return Took::Blocked(None);
        }
        match self.accounts[index].access.need(now.tick) {
            Err(until) => return Took::Blocked(until),
            Ok(Some(need)) => return self.ask_about_access(index, need, now),
            Ok(None) => {}
        }
        let Turn { lane, offer, urgency, favoured } = match self.next_turn(index, now) {
            Ok(turn) => turn,
            Err(until) => return Took::Blocked(until),
        };
        let most = match self.pass_guard(index, lane, offer, now) {
            Ok(most) => most,
            Err(until) => return Took::Blocked(until),
        };
        if self.journals(lane) && !self.is_offer_recorded(offer) {
            if let Some((batch, sealed)) = self.formed(index, lane, offer, most, now) {
                self.record(index, lane, batch, sealed, now);
            }
            return Took::Sent;
        }
        match self.permit(index, now) {
            Ok(slot) => {
                self.turns.sends(index, urgency, favoured, self.prospect(offer), now.tick);
                self.send(index, lane, offer, most, slot, now);
                Took::Sent
            }
            Err(until) => Took::Blocked(Some(until)),
        }
    }

    /// While the day's requests are spent, HubSpot can still be asked for the time zone in which the day ends.
    fn ask_when_the_day_ends(&mut self, index: AccountIndex, until: Option<Tick>, now: Now) -> Took {
        let account = &self.accounts[index];
        if account.day.zone_is_known() || !self.pauses.account_is_paused_for(index, PauseKind::DaySpent) {
            return Took::Blocked(until);
        }
        match account.access.need(now.tick) {
            Ok(Some(need @ Need::Identify)) => match self.ask_about_access(index, need, now) {
                Took::Sent => Took::Sent,
                Took::Blocked(at) => Took::Blocked(at.into_iter().chain(until).min()),
            },
            Ok(Some(Need::RefreshFirst | Need::RefreshSoon) | None) | Err(_) => Took::Blocked(until),
        }
    }

    /// A permit of the account's pace and day, or when to ask again.
    fn permit(&mut self, index: AccountIndex, now: Now) -> Result<Slot, Tick> {
        match self.accounts[index].permit(now) {
            Ok(slot) => {
                self.pauses.has_quota(index, now.tick);
                Ok(slot)
            }
            Err(NoPermit::TooFast(until) | NoPermit::Unwritten(until)) => {
                self.pauses.waits_for_quota(index, now.tick);
                Err(until)
            }
            Err(NoPermit::DaySpent(until)) => {
                self.pause_for_day(index, until, now);
                Err(now.tick_of(until))
            }
        }
    }

    fn ask_about_access(&mut self, index: AccountIndex, need: Need, now: Now) -> Took {
        let account = &mut self.accounts[index];
        let slot = match account.pace.permit(now.tick) {
            Ok(slot) => slot,
            Err(until) => return Took::Blocked(Some(until)),
        };
        account.access.asked(need);
        account.call_left();
        let purpose = match need {
            Need::RefreshFirst | Need::RefreshSoon => Purpose::Refresh,
            Need::Identify => Purpose::Identify,
        };
        let call = self.call_leaves(index, purpose, Some(slot), now);
        self.command(match need {
            Need::RefreshFirst | Need::RefreshSoon => Command::Refresh { call, account: index },
            Need::Identify => Command::Identify { call, account: index },
        });
        Took::Sent
    }

    pub(super) fn call_leaves(
        &mut self,
        account: AccountIndex,
        purpose: Purpose,
        slot: Option<Slot>,
        now: Now,
    ) -> CallKey {
        let epoch = self.accounts[account].access.epoch();
        let call = self.calls.insert(Call { account, purpose, slot, epoch, sent: now.tick });
        self.pauses.account_sends(account, call, now.tick);
        call
    }

    /// How many pairs the guard of the account lets a request of the lane carry. `Err`: none for now, and when to ask
    /// again.
    fn pass_guard(&mut self, index: AccountIndex, key: LaneKey, offer: Offer, now: Now) -> Result<usize, Option<Tick>> {
        let Some(guard) = &mut self.accounts[index].guard else { return Ok(usize::MAX) };
        let Some(lane) = self.holdings.lane(key).filter(|lane| lane.id.step().removes()) else {
            return Ok(usize::MAX);
        };
        let (least, most) = match offer {
            // It leaves as it is, or not at all.
            Offer::Repeat(batch) => {
                let pairs = self.holdings.unguarded(batch);
                (pairs, pairs)
            }
            Offer::Fresh(..) => {
                let filling = self.holdings.filling(key).map_or(0, |other| other.queue.pairs());
                (1, (lane.queue.pairs() + filling).min(lane.caps(self.policy.caps).pairs))
            }
        };
        match guard.ask(least as u64, most as u64, now) {
            Passage::Pairs(pairs) => Ok(usize::try_from(pairs).unwrap_or(usize::MAX)),
            Passage::Unwritten(until) => Err(Some(until)),
            Passage::Closed => {
                self.pause_if_guarded(index, now);
                Err(None)
            }
        }
    }

    fn send(&mut self, index: AccountIndex, key: LaneKey, offer: Offer, most: usize, slot: Slot, now: Now) {
        let Some((batch_key, sealed)) = self.formed(index, key, offer, most, now) else { return };
        let recorded = self.is_recorded(batch_key).then_some(());
        if expected(recorded, "what is not recorded is not sent").is_none() {
            return self.record(index, key, batch_key, sealed, now);
        }
        self.count_for_guard(index, key, batch_key, now);
        self.accounts[index].batch_left(now);
        let call = self.call_leaves(index, Purpose::Batch(batch_key), Some(slot), now);
        self.note_lane_probe(index, key, now.tick);
        let Some(batch) = self.holdings.put_on_wire(batch_key, call, now.wall) else { return };
        let (pairs, failures) = (Arc::clone(&batch.wire), batch.failures);
        let Some(request) = self.holdings.request(batch_key, now.tick) else { return };
        let Some(lane) = expected(self.holdings.lane(key), "a batch keeps its lane open") else { return };
        let has_more = self.pauses.of_lane(key).is_none() && lane.repeat_from().is_some_and(|from| from <= now.tick);
        let lane = lane.id.clone();
        self.turns.had_turn(key, has_more);
        self.place(key, now.tick);
        self.place_other(key, now.tick);
        self.command(Command::Send(BatchCall { call, lane, pairs, request, sealed, failures }));
    }

    fn count_for_guard(&mut self, index: AccountIndex, key: LaneKey, batch: BatchKey, now: Now) {
        let Some(guard) = &mut self.accounts[index].guard else { return };
        if self.holdings.lane(key).is_some_and(|lane| lane.id.step().removes()) {
            guard.count(self.holdings.set_guarded(batch) as u64, now.tick);
        }
    }

    /// If the lane is paused, its request is a probe.
    pub(super) fn note_lane_probe(&mut self, index: AccountIndex, key: LaneKey, now: Tick) {
        if self.pauses.of_lane(key).is_none() {
            return;
        }
        let paused = self.pauses.paused_lanes(index).iter();
        let waits = |lane: &&LaneKey| self.holdings.lane(**lane).is_some_and(|lane| lane.has_work());
        let waiting = paused.filter(waits).count();
        self.pauses.lane_sends(index, key, waiting, self.accounts[index].probe_quota(), now);
    }
}
