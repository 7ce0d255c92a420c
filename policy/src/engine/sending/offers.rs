//! Which lane has its turn, and what it offers: a batch that goes again, or pairs for a new one.

use crate::contract::ids::AccountIndex;
use crate::engine::background::Urgency;
use crate::engine::backlog::{JobKey, LaneKey, NodeKey};
use crate::engine::batch::{Batch, BatchKey, Prospect, Worth};
use crate::engine::clock::{Now, Tick};
use crate::engine::command::Sealed;
use crate::engine::engine::Engine;
use crate::engine::expected::expected;
use crate::engine::lane::{Lane, Repeat};
use crate::engine::pack::Caps;
use crate::engine::pause::PauseKind;
use crate::engine::record_set::RecordSet;
use crate::engine::steps::OTHERS_CREATE;
use crate::engine::turns::PATIENCE;

/// What a lane offers at its turn.
#[derive(Clone, Copy)]
pub enum Offer {
    /// A batch that waits in the lane as a repeat.
    Repeat(BatchKey),
    /// A new batch. If a job is given, its pairs come first.
    Fresh(Sealed, Option<JobKey>),
}

impl Engine {
    /// The lane of the oldest job that came back, and what it offers, if it is that job's turn.
    pub(super) fn offer_of_favourite(
        &mut self,
        index: AccountIndex,
        urgency: Urgency,
        now: Now,
    ) -> Option<(LaneKey, Offer)> {
        let holdings = &self.holdings;
        let job = self.turns.favourite(index, urgency, |job| holdings.has_job(job))?;
        let key = self.holdings.lane_with_work_for(job)?;
        if self.pauses.of_account(index).is_some() || self.pauses.of_lane(key).is_some() {
            return None;
        }
        let stuck_are_due = self.turns.stuck_are_due(index, urgency);
        match self.offer(key, stuck_are_due, now) {
            Some(Offer::Fresh(sealed, _)) => return Some((key, Offer::Fresh(sealed, Some(job)))),
            Some(repeat @ Offer::Repeat(_)) if stuck_are_due || self.prospect(repeat) == Prospect::Open => {
                return Some((key, repeat));
            }
            Some(Offer::Repeat(_)) | None => {}
        }
        let oldest = self.holdings.oldest_arrival(self.holdings.lane(key)?)?;
        (oldest + self.policy.linger <= now.tick).then_some((key, Offer::Fresh(Sealed::Linger, Some(job))))
    }

    /// In an outage, one request at a time finds out whether that is over. It is the one that is most likely to succeed, in
    /// this order:
    ///
    /// 1. a single pair of a batch that failed as a whole;
    /// 2. a batch that failed as a whole, the smallest first;
    /// 3. a single pair that was not sent yet, where 1 and 2 have pairs of known records only;
    /// 4. a new batch;
    /// 5. any other batch: a part of one that failed while others were served, or one with pairs of known records.
    ///
    /// Known records are those of which several pairs are stuck: requests with them would find out nothing, and there may
    /// be so many that their turns take hours. At first 1 to 3 are looked for beside records that are only blamed, too: all
    /// that failed may have failed for a few records that came first, and then it is no outage.
    pub(super) fn offer_in_outage(&mut self, index: AccountIndex, now: Now) -> Option<(LaneKey, Offer)> {
        if !self.pauses.account_is_paused_for(index, PauseKind::Outage) {
            return None;
        }
        let lanes = self.holdings.lanes().of(index).iter().copied();
        let background_may = self.background_may_send(index, false, now).is_ok();
        let may = |key: &LaneKey| {
            let is_live = self.holdings.lane(*key).is_some_and(|lane| lane.urgency == Urgency::Live);
            self.pauses.of_lane(*key).is_none() && (is_live || background_may)
        };
        let lanes: Vec<LaneKey> = lanes.filter(may).collect();
        let stuck = self.stuck.records(index, now.tick);
        let mut last = None;
        let blamed = self.pauses.blamed_for_outage(index).map(|mut blamed| {
            blamed.add(&stuck);
            blamed
        });
        for beside in blamed.iter().chain([&stuck]) {
            match self.most_telling(index, &lanes, beside, now) {
                Some((Worth::Sample | Worth::Whole { .. }, key, batch)) => return Some((key, Offer::Repeat(batch))),
                Some((Worth::Suspect, key, batch)) => last = Some((key, Offer::Repeat(batch))),
                None => {}
            }
            if beside.is_empty() {
                continue;
            }
            let single = lanes.iter().find_map(|&key| Some((key, self.holdings.single_out(key, beside, now.tick)?)));
            if let Some((key, batch)) = single {
                return Some((key, Offer::Repeat(batch)));
            }
        }
        let has_fresh = |key: &LaneKey| self.holdings.lane(*key).is_some_and(|lane| !lane.queue.is_empty());
        let fresh = lanes.into_iter().find(has_fresh).map(|key| (key, Offer::Fresh(Sealed::Probe, None)));
        fresh.or(last)
    }

    /// Of the batches of these lanes that may go again, the one whose answer would say most of an outage. One with a pair of
    /// a record that others are to be `beside` would say least.
    fn most_telling(
        &mut self,
        index: AccountIndex,
        lanes: &[LaneKey],
        beside: &RecordSet,
        now: Now,
    ) -> Option<(Worth, LaneKey, BatchKey)> {
        let is_beside =
            |&node: &NodeKey| self.holdings.name(node).is_some_and(|(lane, pair)| !beside.has_one_of(lane, pair));
        let worth = |key: BatchKey| {
            let batch = self.holdings.batch(key).filter(|batch| self.holdings.is_waited_for(batch))?;
            let worth = batch.worth_in_outage()?;
            let worth = if batch.nodes.iter().all(is_beside) { worth } else { Worth::Suspect };
            Some((worth, batch.nodes.len()))
        };
        let of_lane = |key: LaneKey| {
            let batches = self.holdings.lane(key).into_iter().flat_map(|lane| lane.due_repeats(now.tick));
            batches.filter_map(move |batch| Some((worth(batch)?, key, batch)))
        };
        let mut repeats: Vec<((Worth, usize), LaneKey, BatchKey)> = lanes.iter().copied().flat_map(of_lane).collect();
        repeats.sort_by_key(|(worth, ..)| *worth);
        for ((worth, _), key, batch) in repeats {
            let batch_in_hand = expected(self.holdings.batch(batch), "a batch that waits is in hand")?;
            if self.accounts[index].may_repeat(batch_in_hand, now.tick).is_ok() {
                return Some((worth, key, batch));
            }
        }
        None
    }

    /// The lane whose turn it is, left at the front of the ring, and what it offers; else one that has waited for
    /// company long enough. Pairs that are stuck go last, but for a share of the requests.
    pub(super) fn next_offer(&mut self, index: AccountIndex, urgency: Urgency, now: Now) -> Option<(LaneKey, Offer)> {
        self.turns.promote(index, urgency, now.tick);
        let stuck_are_due = self.turns.stuck_are_due(index, urgency);
        let mut last = None;
        let mut unasked = self.turns.in_ring(index, urgency);
        while let Some(lane) = self.turns.first_in_ring(index, urgency)
            && (unasked > 0 || last.is_none())
        {
            unasked = unasked.saturating_sub(1);
            match self.offer(lane, stuck_are_due, now) {
                Some(offer) if stuck_are_due || self.prospect(offer) == Prospect::Open => return Some((lane, offer)),
                Some(offer) => {
                    last.get_or_insert((lane, offer));
                    self.turns.step_back(index, urgency);
                }
                None => {
                    self.turns.pass(index, urgency);
                    self.place(lane, now.tick);
                    self.tidy(lane);
                }
            }
        }
        self.lingering_offer(index, urgency, now).or(last)
    }

    fn lingering_offer(&self, index: AccountIndex, urgency: Urgency, now: Now) -> Option<(LaneKey, Offer)> {
        let (until, lane) = self.turns.first_lingering(index, urgency)?;
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

    /// What is to be expected of an offer.
    pub(super) fn prospect(&self, offer: Offer) -> Prospect {
        match offer {
            Offer::Repeat(batch) => self.holdings.batch(batch).map_or(Prospect::Open, Batch::prospect),
            Offer::Fresh(..) => Prospect::Open,
        }
    }

    /// What a lane in the ring offers now; `None` if it has nothing that may go. Single stuck pairs come last, unless
    /// they are due.
    fn offer(&mut self, key: LaneKey, stuck_are_due: bool, now: Now) -> Option<Offer> {
        self.drop_deserted(key, now);
        let lane = self.holdings.lane(key)?;
        if self.pauses.of_lane(key).is_some() {
            let quota = self.accounts[lane.id.account].probe_quota();
            let probe_at = self.pauses.probe_of_lane(lane.id.account, key, quota, now.tick);
            let may = probe_at.is_some_and(|at| at <= now.tick);
            let next = lane.next_repeat(Prospect::Open);
            let promising = next.filter(|repeat| repeat.is_due(now.tick));
            let stuck = lane.next_repeat(Prospect::Stuck);
            let fresh = (!lane.queue.is_empty()).then_some(Offer::Fresh(Sealed::Probe, None));
            let repeat = |repeat: Repeat| Offer::Repeat(repeat.batch());
            // New pairs go before a stuck one: what fails for a reason of its own would never find out that the pause
            // is over.
            return promising.map(repeat).or(fresh).or(next.or(stuck).map(repeat)).filter(|_| may);
        }
        let stuck = match stuck_are_due {
            true => self.next_repeat(key, Prospect::Stuck, now),
            false => None,
        };
        if let Some(batch) = stuck.or_else(|| self.next_repeat(key, Prospect::Open, now)) {
            let account = self.holdings.lane(key)?.id.account;
            let tries_were_over = self.holdings.batch(batch).is_some_and(|batch| batch.rounds > 0);
            let fresh = self.holdings.lane(key).is_some_and(|lane| !lane.queue.is_empty());
            // A batch of which all tries have failed may be stuck. As a probe it would then never show that the
            // account's pause is over.
            return Some(match tries_were_over && fresh && self.pauses.of_account(account).is_some() {
                true => Offer::Fresh(Sealed::Probe, None),
                false => Offer::Repeat(batch),
            });
        }
        let lane = self.holdings.lane(key)?;
        let oldest = self.holdings.oldest_arrival(lane);
        if lane.is_full(self.policy.caps) {
            return Some(Offer::Fresh(Sealed::Full, None));
        }
        if oldest.is_some_and(|oldest| oldest + self.policy.linger + PATIENCE <= now.tick) {
            return Some(Offer::Fresh(Sealed::Overdue, None));
        }
        self.next_repeat(key, Prospect::Stuck, now).map(Offer::Repeat)
    }

    /// The next batch of a lane, of those with this prospect, that may be sent again now. A batch that is due, but that
    /// the account may not repeat yet, is put off.
    fn next_repeat(&mut self, key: LaneKey, prospect: Prospect, now: Now) -> Option<BatchKey> {
        while let Some(lane) = self.holdings.lane_mut(key)
            && let Some(next) = lane.next_repeat(prospect).filter(|next| next.is_due(now.tick))
        {
            let account = lane.id.account;
            let batch = expected(self.holdings.batch(next.batch()), "a batch that waits is in hand")?;
            match self.accounts[account].may_repeat(batch, now.tick) {
                Ok(()) => return Some(next.batch()),
                Err(at) => {
                    if let Some(lane) = self.holdings.lane_mut(key) {
                        lane.defer_next_repeat(prospect, at);
                    }
                    // The jobs of the batch that is next now may have left.
                    self.drop_deserted(key, now);
                }
            }
        }
        None
    }

    /// The batch of an offer, and why it was formed. One that is formed only now has at most `most` pairs.
    pub(super) fn formed(
        &mut self,
        index: AccountIndex,
        key: LaneKey,
        offer: Offer,
        most: usize,
        now: Now,
    ) -> Option<(BatchKey, Sealed)> {
        match offer {
            Offer::Repeat(batch) => {
                self.unturn(batch, now);
                Some((batch, self.take_repeat(index, key, batch, now.tick)))
            }
            Offer::Fresh(sealed, first) => {
                let caps = Caps { pairs: self.policy.caps.pairs.min(most), ..self.policy.caps };
                let turning = self.turning(key);
                let batch = self.holdings.form(key, caps, first, turning)?;
                self.holdings.set_rivals_apart(batch, now.tick + OTHERS_CREATE, now.tick);
                Some((batch, sealed))
            }
        }
    }

    pub(super) fn is_offer_recorded(&self, offer: Offer) -> bool {
        match offer {
            Offer::Repeat(batch) => self.is_recorded(batch),
            Offer::Fresh(..) => false,
        }
    }

    /// While the journal cannot be written, offers the largest batch that could not be recorded: the attempt to record it
    /// shows whether the trouble is over. On a full disk a smaller batch may find room though the next one would not.
    /// Where there is no such batch, something new is offered.
    pub(super) fn offer_to_journal(&self, index: AccountIndex) -> Option<(LaneKey, Offer)> {
        if !self.pauses.account_is_paused_for(index, PauseKind::Journal) {
            return None;
        }
        let lanes = self.holdings.lanes().of(index).iter().copied();
        let lanes: Vec<LaneKey> =
            lanes.filter(|&key| self.journals(key) && self.pauses.of_lane(key).is_none()).collect();
        let unrecorded = |key: LaneKey| {
            let repeats = self.holdings.lane(key).into_iter().flat_map(Lane::repeats);
            repeats.filter(|&batch| !self.is_recorded(batch)).map(move |batch| (key, batch))
        };
        let pairs = |&(_, batch): &(LaneKey, BatchKey)| self.holdings.batch(batch).map_or(0, |batch| batch.nodes.len());
        let largest = lanes.iter().copied().flat_map(unrecorded).max_by_key(pairs);
        let has_fresh = |key: &LaneKey| self.holdings.lane(*key).is_some_and(|lane| !lane.queue.is_empty());
        let fresh = || Some((lanes.iter().copied().find(has_fresh)?, Offer::Fresh(Sealed::Probe, None)));
        largest.map(|(key, batch)| (key, Offer::Repeat(batch))).or_else(fresh)
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
