//! The conductor, for what leaves: whose turn it is, whether it may send, and the batch that it gives up.
//!
//! A batch is formed when it can be sent: until then its lane goes on filling.

use std::sync::Arc;
use std::time::Duration;

use super::access::Need;
use super::account::NoPermit;
use super::backlog::{JobKey, LaneKey};
use super::batch::BatchKey;
use super::calls::{Call, Purpose};
use super::clock::{Now, Tick};
use super::command::{BatchCall, CallKey, Command, Sealed};
use super::engine::Engine;
use super::expected::expected;
use super::guard::Passage;
use super::lane::Repeat;
use super::ledger::Leaving;
use super::pace::Slot;
use super::pack::Caps;
use super::pause::PauseKind;
use super::pauses::Surplus;
use super::settings::Waiting;
use super::turns::PATIENCE;
use crate::contract::ids::AccountIndex;

/// What an account's turn came to.
enum Took {
    Sent,
    /// Nothing can be sent before that time, or before something else happens.
    Blocked(Option<Tick>),
}

/// What a lane gives up at its turn.
#[derive(Clone, Copy)]
enum Offer {
    /// A batch that was sent before.
    Repeat(BatchKey),
    /// A new batch, for which the pairs of one job come first.
    Fresh(Sealed, Option<JobKey>),
}

impl Engine {
    /// Sends whatever can be sent now.
    pub(super) fn pump(&mut self, now: Now) {
        self.let_go(now);
        self.read_back_due(now);
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
        let favoured = self.offer_of_favourite(index, now);
        let of_turn = favoured.or_else(|| self.offer_to_journal(index)).or_else(|| self.next_offer(index, now));
        let Some((lane, offer)) = of_turn else {
            return Took::Blocked(self.turns.next_look(index));
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
                self.turns.sends(index, favoured.is_some());
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

    /// Looks after an account's pauses at its turn. `Err`: it may not send, and when to look again.
    fn mind_pauses(&mut self, index: AccountIndex, now: Now) -> Result<(), Option<Tick>> {
        match self.policy.waiting {
            Waiting::Outside { .. } => self.relieve_lanes(index, now),
            Waiting::InHand { give_up_after } => self.give_up(index, give_up_after, now),
        }
        if self.pauses.is_over(index, now) {
            self.resume_account(index, now);
            return Ok(());
        }
        if let Some(surplus) = self.pauses.surplus_of_account(index, self.holdings.jobs_of(index), now) {
            let lanes = self.holdings.lanes().of(index).to_vec();
            self.park_surplus(&lanes, surplus, now);
        }
        self.pauses.may_send(index, now)
    }

    /// Parks jobs of an account's paused lanes, beyond the reserve of each lane.
    fn relieve_lanes(&mut self, index: AccountIndex, now: Now) {
        let paused: Vec<LaneKey> = self.pauses.paused_lanes(index).iter().copied().collect();
        for key in paused {
            let Some(lane) = expected(self.holdings.lane(key), "only open lanes are paused") else { continue };
            let waiting = lane.queue.pairs() + lane.repeats().len();
            if let Some(surplus) = self.pauses.surplus_of_lane(key, waiting, now) {
                self.park_surplus(&[key], surplus, now);
            }
        }
    }

    fn park_surplus(&mut self, lanes: &[LaneKey], surplus: Surplus, now: Now) {
        let Surplus { reserve, tier } = surplus;
        for job in self.holdings.beyond_reserve(lanes, reserve) {
            self.leave(job, Leaving::Park { tier, for_failures: false }, now);
        }
    }

    /// Fails the jobs of an account and of its lanes that have been paused for too long.
    fn give_up(&mut self, index: AccountIndex, after: Duration, now: Now) {
        if self.pauses.of_account(index).is_none() && self.pauses.paused_lanes(index).is_empty() {
            return;
        }
        let jobs = self.holdings.jobs().filter(|(_, job)| job.account == index);
        let jobs: Vec<(JobKey, LaneKey)> = jobs.map(|(key, job)| (key, job.lane)).collect();
        for (job, lane) in jobs {
            if let Some(refusal) = self.pauses.given_up(after, index, lane, now) {
                self.leave(job, Leaving::Fail { refusal, dead_letter: false }, now);
            }
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
                let detail = "the day's requests are spent".to_owned();
                self.pause_account(index, PauseKind::DaySpent, Some(until), detail, now);
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

    /// The lane of the oldest job that came back, and what it offers, if it is that job's turn.
    fn offer_of_favourite(&mut self, index: AccountIndex, now: Now) -> Option<(LaneKey, Offer)> {
        let holdings = &self.holdings;
        let job = self.turns.favourite(index, |job| holdings.has_job(job))?;
        let key = self.holdings.lane_with_work_for(job)?;
        if self.pauses.of_account(index).is_some() || self.pauses.of_lane(key).is_some() {
            return None;
        }
        match self.offer(key, now) {
            Some(Offer::Fresh(sealed, _)) => return Some((key, Offer::Fresh(sealed, Some(job)))),
            Some(repeat @ Offer::Repeat(_)) => return Some((key, repeat)),
            None => {}
        }
        let oldest = self.holdings.oldest_arrival(self.holdings.lane(key)?)?;
        (oldest + self.policy.linger <= now.tick).then_some((key, Offer::Fresh(Sealed::Linger, Some(job))))
    }

    /// The lane whose turn it is, left at the front of the ring, and what it offers; else one that has waited for company
    /// long enough.
    fn next_offer(&mut self, index: AccountIndex, now: Now) -> Option<(LaneKey, Offer)> {
        self.turns.promote(index, now.tick);
        while let Some(lane) = self.turns.first_in_ring(index) {
            if let Some(offer) = self.offer(lane, now) {
                return Some((lane, offer));
            }
            self.turns.pass(index);
            self.place(lane, now.tick);
            self.tidy(lane);
        }
        let (until, lane) = self.turns.first_lingering(index)?;
        let waits_for_more = self.holdings.lane(lane).is_some_and(|lane| lane.id.course.is_proof());
        let flushing = self.flushing && !waits_for_more;
        let sealed = match (until <= now.tick, flushing, self.pauses.of_account(index)) {
            (true, _, _) => Sealed::Linger,
            (false, true, _) => Sealed::Flush,
            (false, false, Some(_)) => Sealed::Probe,
            (false, false, None) => return None,
        };
        Some((lane, Offer::Fresh(sealed, None)))
    }

    /// What a lane in the ring gives up now; `None` if it has nothing that may go.
    fn offer(&mut self, key: LaneKey, now: Now) -> Option<Offer> {
        self.drop_deserted(key, now);
        let lane = self.holdings.lane(key)?;
        if self.pauses.of_lane(key).is_some() {
            let quota = self.accounts[lane.id.account].probe_quota();
            let probe_at = self.pauses.probe_of_lane(lane.id.account, key, quota, now.tick);
            let may = probe_at.is_some_and(|at| at <= now.tick);
            let next = lane.next_repeat();
            let is_stuck = |repeat: &Repeat| self.holdings.batch(repeat.batch()).is_some_and(|batch| batch.stuck);
            let promising = next.filter(|repeat| repeat.is_due(now.tick) && !is_stuck(repeat));
            let fresh = (!lane.queue.is_empty()).then_some(Offer::Fresh(Sealed::Probe, None));
            let repeat = |repeat: Repeat| Offer::Repeat(repeat.batch());
            // A batch that fails for a reason of its own would never find out that the pause is over.
            return promising.map(repeat).or(fresh).or(next.map(repeat)).filter(|_| may);
        }
        if let Some(batch) = self.next_repeat(key, now) {
            let account = self.holdings.lane(key)?.id.account;
            let was_given_up = self.holdings.batch(batch).is_some_and(|batch| batch.rounds > 0);
            let fresh = self.holdings.lane(key).is_some_and(|lane| !lane.queue.is_empty());
            // What has failed all its tries may be stuck, and then says nothing of the account for ever.
            return Some(match was_given_up && fresh && self.pauses.of_account(account).is_some() {
                true => Offer::Fresh(Sealed::Probe, None),
                false => Offer::Repeat(batch),
            });
        }
        let lane = self.holdings.lane(key)?;
        let oldest = self.holdings.oldest_arrival(lane)?;
        if lane.is_full(self.policy.caps) {
            return Some(Offer::Fresh(Sealed::Full, None));
        }
        (oldest + self.policy.linger + PATIENCE <= now.tick).then_some(Offer::Fresh(Sealed::Overdue, None))
    }

    /// The batch of a lane that may be sent again now. Those that are due, but not affordable, are put off.
    fn next_repeat(&mut self, key: LaneKey, now: Now) -> Option<BatchKey> {
        while let Some(lane) = self.holdings.lane_mut(key)
            && let Some(next) = lane.next_repeat().filter(|next| next.is_due(now.tick))
        {
            let account = lane.id.account;
            let batch = expected(self.holdings.batch(next.batch()), "a batch that waits is in hand")?;
            match self.accounts[account].may_repeat(batch, now.tick) {
                Ok(()) => return Some(next.batch()),
                Err(at) => {
                    if let Some(lane) = self.holdings.lane_mut(key) {
                        lane.defer_next_repeat(at);
                    }
                    // The jobs of the batch that is next now may have left.
                    self.drop_deserted(key, now);
                }
            }
        }
        None
    }

    /// How many pairs the guard of the account lets a request of the lane carry. `Err`: none for now, and when to ask again.
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
            Offer::Fresh(..) => (1, lane.queue.pairs().min(lane.caps(self.policy.caps).pairs)),
        };
        match guard.ask(least as u64, most as u64, now.tick) {
            Passage::Pairs(pairs) => Ok(usize::try_from(pairs).unwrap_or(usize::MAX)),
            Passage::Unwritten(until) => Err(Some(until)),
            Passage::Closed => {
                self.pause_if_guarded(index, now);
                Err(None)
            }
        }
    }

    /// The batch that a lane gives up, with `most` pairs at most if it is formed only now; and why.
    fn formed(
        &mut self,
        index: AccountIndex,
        key: LaneKey,
        offer: Offer,
        most: usize,
        now: Now,
    ) -> Option<(BatchKey, Sealed)> {
        match offer {
            Offer::Repeat(batch) => Some((batch, self.take_repeat(index, key, batch, now.tick))),
            Offer::Fresh(sealed, first) => {
                let caps = Caps { pairs: self.policy.caps.pairs.min(most), ..self.policy.caps };
                self.holdings.form(key, caps, first).map(|batch| (batch, sealed))
            }
        }
    }

    fn is_offer_recorded(&self, offer: Offer) -> bool {
        match offer {
            Offer::Repeat(batch) => self.is_recorded(batch),
            Offer::Fresh(..) => false,
        }
    }

    /// While the journal cannot be written, whatever can be recorded finds out whether that is over.
    fn offer_to_journal(&self, index: AccountIndex) -> Option<(LaneKey, Offer)> {
        if !self.pauses.account_is_paused_for(index, PauseKind::Journal) {
            return None;
        }
        let lanes = self.holdings.lanes().of(index).iter().copied();
        lanes.filter(|&key| self.journals(key) && self.pauses.of_lane(key).is_none()).find_map(|key| {
            let lane = self.holdings.lane(key)?;
            let unrecorded = lane.repeats().find(|&batch| !self.is_recorded(batch)).map(Offer::Repeat);
            let fresh = (!lane.queue.is_empty()).then_some(Offer::Fresh(Sealed::Probe, None));
            Some((key, unrecorded.or(fresh)?))
        })
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
        let has_more =
            self.pauses.of_lane(key).is_none() && lane.next_repeat().is_some_and(|next| next.is_due(now.tick));
        let lane = lane.id.clone();
        self.turns.had_turn(key, has_more);
        self.place(key, now.tick);
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

    fn take_repeat(&mut self, index: AccountIndex, key: LaneKey, batch: BatchKey, now: Tick) -> Sealed {
        if let Some(lane) = self.holdings.lane_mut(key) {
            lane.remove_repeat(batch);
        }
        let Some(batch) = expected(self.holdings.batch_mut(batch), "a batch that waits is in hand") else {
            return Sealed::Retry;
        };
        let formed = batch.formed.take();
        self.accounts[index].repeats(batch, now);
        if batch.trial.is_none() {
            return formed.unwrap_or(Sealed::Retry);
        }
        self.counters.trials += 1;
        Sealed::Trial
    }
}
