//! Who sends next: turns between accounts, turns between an account's lanes, and the batch a turn gives up.
//!
//! A batch is formed when it can be sent. Lanes that are full, overdue or have something to repeat stand in their
//! account's ring and take turns; lanes that wait for company only use what the ring leaves over.
//!
//! What was done of a job that is parked is done again. If all lanes went on evenly, jobs that do not fit into the
//! hold limit or a day's budget together would all come back for ever: so every second request goes to the lane of
//! the account's oldest job that has come back, and has that job's pairs before all others.

use std::sync::Arc;
use std::time::Duration;

use super::access::Need;
use super::backlog::{JobKey, LaneKey, Node, Place};
use super::clock::{Now, Tick};
use super::command::{ArchiveCall, Command, Sealed};
use super::engine::{Call, Engine, Subject};
use super::lane::{Batch, BatchKey, Lane, Standing};
use super::pace::Slot;
use super::pause::PauseKind;
use crate::contract::association::Pair;
use crate::contract::ids::AccountIndex;

/// A partial batch that full lanes have kept waiting this much longer than the linger gets turns like them.
const PATIENCE: Duration = Duration::from_secs(2);

/// An account may have so many times as many requests in flight as slots are free, so that a few accounts whose
/// requests hang cannot take every slot of the worker.
const SHARE_OF_FREE: usize = 4;

/// What an account's turn came to.
enum Turn {
    Sent,
    /// Nothing can be sent before that time, or before something else happens.
    Blocked(Option<Tick>),
}

/// What a lane gives up at its turn.
#[derive(Clone, Copy)]
enum Offer {
    Returned(BatchKey),
    /// A new batch, for which the pairs of one job come first.
    Fresh(Sealed, Option<JobKey>),
}

impl Engine {
    /// Sends whatever can be sent now.
    pub(super) fn pump(&mut self, now: Now) {
        self.let_go(now);
        while self.in_flight < self.policy.max_in_flight
            && !self.draining
            && let Some(account) = self.ready.pop_front()
        {
            self.accounts[account.0 as usize].queued = false;
            match self.take_turn(account, now) {
                Turn::Sent => self.mark_ready(account),
                Turn::Blocked(Some(at)) => self.remind(account, at),
                Turn::Blocked(None) => {}
            }
        }
    }

    fn take_turn(&mut self, index: AccountIndex, now: Now) -> Turn {
        if let Err(until) = self.mind_pause(index, now) {
            return Turn::Blocked(until);
        }
        let account = &mut self.accounts[index.0 as usize];
        if account.held_jobs == 0 {
            return Turn::Blocked(None);
        }
        let free = self.policy.max_in_flight - self.in_flight;
        let share = account.policy.max_in_flight.min(account.pace.in_flight_allowed()).min(free * SHARE_OF_FREE);
        if account.in_flight >= share {
            return Turn::Blocked(None);
        }
        match account.access.need(now.tick) {
            Err(until) => return Turn::Blocked(until),
            Ok(Some(need)) => return self.ask_about_access(index, need, now),
            Ok(None) => {}
        }
        let favoured = self.offer_of_returner(index, now);
        let Some((lane, offer)) = favoured.or_else(|| self.next_offer(index, now)) else {
            return Turn::Blocked(self.accounts[index.0 as usize].next_due());
        };
        match self.permit(index, now) {
            Ok(slot) => {
                self.accounts[index.0 as usize].favoured = favoured.is_some();
                self.send(index, lane, offer, slot, now);
            }
            Err(until) => return Turn::Blocked(Some(until)),
        }
        Turn::Sent
    }

    /// A permit of the account's pace and day.
    fn permit(&mut self, index: AccountIndex, now: Now) -> Result<Slot, Tick> {
        let account = &mut self.accounts[index.0 as usize];
        if let Some(until) = account.day_spent(now.wall) {
            let detail = "the day's requests are spent".to_owned();
            self.pause_account(index, PauseKind::DaySpent, Some(until), detail, now);
            return Err(now.tick_of(until));
        }
        match account.pace.permit(now.tick) {
            Ok(slot) => {
                if account.pause.is_none() {
                    account.uncounted.halt(now.tick);
                }
                Ok(slot)
            }
            Err(until) => {
                account.uncounted.run(now.tick);
                Err(until)
            }
        }
    }

    fn ask_about_access(&mut self, index: AccountIndex, need: Need, now: Now) -> Turn {
        let account = &mut self.accounts[index.0 as usize];
        let slot = match account.pace.permit(now.tick) {
            Ok(slot) => slot,
            Err(until) => return Turn::Blocked(Some(until)),
        };
        account.access.asked(need);
        account.in_flight += 1;
        self.in_flight += 1;
        let epoch = account.access.epoch();
        let subject = match need {
            Need::RefreshFirst | Need::RefreshSoon => Subject::Refresh,
            Need::Identify => Subject::Identify,
        };
        let call = self.calls.insert(Call { account: index, subject, slot, epoch, sent: now.tick });
        let account = &mut self.accounts[index.0 as usize];
        if let Some(pause) = &mut account.pause {
            account.probing = Some(call);
            pause.probed(now.tick);
        }
        self.command(match need {
            Need::RefreshFirst | Need::RefreshSoon => Command::Refresh { call, account: index },
            Need::Identify => Command::Identify { call, account: index },
        });
        Turn::Sent
    }

    /// The lane of the oldest job that came back, and what it offers, unless the last request was such a one.
    fn offer_of_returner(&mut self, index: AccountIndex, now: Now) -> Option<(LaneKey, Offer)> {
        let account = &mut self.accounts[index.0 as usize];
        while account.returners.front().is_some_and(|&job| !self.jobs.contains_key(job)) {
            account.returners.pop_front();
        }
        if account.favoured || account.pause.is_some() {
            return None;
        }
        let first = *account.returners.front()?;
        let job = self.jobs.get(first)?;
        let mut ashore = job.nodes.iter().filter_map(|&node| self.backlog.node(node));
        let key = ashore.find(|node| node.place != Place::OnWire)?.lane;
        if self.lanes.get(key)?.pause.is_some() {
            return None;
        }
        match self.offer(key, now) {
            Some(Offer::Fresh(sealed, _)) => return Some((key, Offer::Fresh(sealed, Some(first)))),
            Some(returned @ Offer::Returned(_)) => return Some((key, returned)),
            None => {}
        }
        let oldest = self.backlog.oldest_arrival(&self.lanes.get(key)?.queue)?;
        (oldest + self.policy.linger <= now.tick).then_some((key, Offer::Fresh(Sealed::Linger, Some(first))))
    }

    /// The lane whose turn it is, left at the front of the ring, and what it offers.
    fn next_offer(&mut self, index: AccountIndex, now: Now) -> Option<(LaneKey, Offer)> {
        self.promote(index, now.tick);
        while let Some(&lane) = self.accounts[index.0 as usize].ring.front() {
            if let Some(offer) = self.offer(lane, now) {
                return Some((lane, offer));
            }
            self.accounts[index.0 as usize].ring.pop_front();
            if let Some(of_lane) = self.lanes.get_mut(lane) {
                of_lane.standing = Standing::Idle;
            }
            self.place(lane, now.tick);
            self.tidy(lane);
        }
        let account = &self.accounts[index.0 as usize];
        let hurried = self.flushing || account.pause.is_some();
        let &(until, lane) = account.lingering.first()?;
        let sealed = match (until <= now.tick, self.flushing) {
            (true, _) => Sealed::Linger,
            (false, true) => Sealed::Flush,
            (false, false) => Sealed::Probe,
        };
        (until <= now.tick || hurried).then_some((lane, Offer::Fresh(sealed, None)))
    }

    /// Gives turns to lanes for which the time has come.
    fn promote(&mut self, index: AccountIndex, now: Tick) {
        while let Some(&std::cmp::Reverse((at, lane))) = self.accounts[index.0 as usize].due.peek()
            && at <= now
        {
            self.accounts[index.0 as usize].due.pop();
            if let Some(of_lane) = self.lanes.get_mut(lane)
                && of_lane.reminder == Some(at)
            {
                of_lane.reminder = None;
                self.ripen(lane);
            }
        }
        while let Some(&(until, lane)) = self.accounts[index.0 as usize].lingering.first()
            && until + PATIENCE <= now
        {
            self.accounts[index.0 as usize].lingering.remove(&(until, lane));
            self.ripen(lane);
        }
    }

    /// Puts a lane into the ring.
    pub(super) fn ripen(&mut self, key: LaneKey) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        let account = &mut self.accounts[lane.id.account.0 as usize];
        match lane.standing {
            Standing::Ripe => return,
            Standing::Lingering(until) => {
                account.lingering.remove(&(until, key));
            }
            Standing::Idle => {}
        }
        lane.standing = Standing::Ripe;
        account.ring.push_back(key);
    }

    /// Finds the right place for a lane after its queue or its returned batches changed.
    pub(super) fn place(&mut self, key: LaneKey, now: Tick) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        let account = &mut self.accounts[lane.id.account.0 as usize];
        if let Some(pause) = &lane.pause {
            if let Standing::Lingering(until) = lane.standing {
                account.lingering.remove(&(until, key));
                lane.standing = Standing::Idle;
            }
            let has_work = !lane.queue.is_empty() || !lane.returned.is_empty();
            if let Some(at) = pause.probe_at().filter(|_| !lane.probing && has_work) {
                account.look_at(lane, key, at.max(now));
            }
            return;
        }
        if let Some(next) = lane.next_due() {
            account.look_at(lane, key, next.due);
        }
        if lane.standing == Standing::Ripe {
            return;
        }
        if lane.is_full(self.policy.caps) {
            return self.ripen(key);
        }
        let oldest = self.backlog.oldest_arrival(&lane.queue);
        let wanted = oldest.map_or(Standing::Idle, |arrived| Standing::Lingering(arrived + self.policy.linger));
        if wanted == lane.standing {
            return;
        }
        if let Standing::Lingering(until) = lane.standing {
            account.lingering.remove(&(until, key));
        }
        if let Standing::Lingering(until) = wanted {
            account.lingering.insert((until, key));
        }
        lane.standing = wanted;
    }

    /// What a lane in the ring gives up now; `None` where its turn has passed.
    fn offer(&mut self, key: LaneKey, now: Now) -> Option<Offer> {
        self.drop_deserted(key, now);
        let lane = self.lanes.get(key)?;
        if let Some(pause) = &lane.pause {
            let may = !lane.probing && pause.probe_at().is_some_and(|at| at <= now.tick);
            let returned = lane.next_due().map(|next| Offer::Returned(next.batch));
            let fresh = (!lane.queue.is_empty()).then_some(Offer::Fresh(Sealed::Probe, None));
            return returned.or(fresh).filter(|_| may);
        }
        while let Some(next) = self.lanes.get(key)?.next_due()
            && next.due <= now.tick
        {
            match self.may_repeat(key, next.batch, now.tick) {
                Ok(()) => return Some(Offer::Returned(next.batch)),
                Err(at) => {
                    let returned = &mut self.lanes.get_mut(key)?.returned;
                    returned.remove(&next);
                    returned.insert(next.deferred(at));
                }
            }
        }
        let lane = self.lanes.get(key)?;
        let oldest = self.backlog.oldest_arrival(&lane.queue)?;
        if lane.is_full(self.policy.caps) {
            return Some(Offer::Fresh(Sealed::Full, None));
        }
        (oldest + self.policy.linger + PATIENCE <= now.tick).then_some(Offer::Fresh(Sealed::Overdue, None))
    }

    /// Takes out the returned batches at the head whose jobs have all left since.
    pub(super) fn drop_deserted(&mut self, key: LaneKey, now: Now) {
        while let Some(next) = self.lanes.get(key).and_then(Lane::next_due)
            && self
                .batches
                .get(next.batch)
                .is_some_and(|batch| batch.nodes.iter().all(|&node| self.backlog.node(node).is_none()))
        {
            if let Some(lane) = self.lanes.get_mut(key) {
                lane.returned.remove(&next);
            }
            if let Some(batch) = self.batches.remove(next.batch) {
                self.come_back(batch, now.tick, now);
            }
        }
    }

    /// Retries and isolations are kept a fraction of the load.
    fn may_repeat(&mut self, lane: LaneKey, batch: BatchKey, now: Tick) -> Result<(), Tick> {
        let (Some(lane), Some(batch)) = (self.lanes.get(lane), self.batches.get(batch)) else { return Ok(()) };
        let account = &mut self.accounts[lane.id.account.0 as usize];
        if batch.trial.is_some() && account.errors.trial_from() > now {
            return Err(account.errors.trial_from());
        }
        if batch.failures > 0 { account.retries.affords(now) } else { Ok(()) }
    }

    fn send(&mut self, index: AccountIndex, lane_key: LaneKey, offer: Offer, slot: Slot, now: Now) {
        let (batch_key, sealed) = match offer {
            Offer::Returned(key) => (key, self.take_returned(lane_key, key, now.tick)),
            Offer::Fresh(sealed, first) => (self.form(lane_key, first), sealed),
        };
        let wire = self.wire(batch_key);
        let Some(lane) = self.lanes.get_mut(lane_key) else { return };
        lane.in_flight += 1;
        let account = &mut self.accounts[index.0 as usize];
        account.in_flight += 1;
        account.totals.requests += 1;
        account.day.sent(now.wall);
        self.in_flight += 1;
        let epoch = account.access.epoch();
        let subject = Subject::Batch(batch_key);
        let call = self.calls.insert(Call { account: index, subject, slot, epoch, sent: now.tick });
        self.note_probe(index, lane_key, call, now.tick);
        self.depart(batch_key, call, now);
        self.rotate(index, lane_key, now.tick);
        let (Some(lane), Some(batch)) = (self.lanes.get(lane_key), self.batches.get_mut(batch_key)) else { return };
        batch.wire = Arc::clone(&wire);
        let (lane, failures) = (lane.id.clone(), batch.failures);
        self.command(Command::Archive(ArchiveCall { call, lane, pairs: wire, sealed, failures }));
    }

    fn take_returned(&mut self, lane_key: LaneKey, key: BatchKey, now: Tick) -> Sealed {
        if let Some(lane) = self.lanes.get_mut(lane_key) {
            lane.returned.retain(|back| back.batch != key);
        }
        let Some((batch, lane)) = self.batches.get(key).zip(self.lanes.get(lane_key)) else { return Sealed::Retry };
        let account = &mut self.accounts[lane.id.account.0 as usize];
        if batch.failures > 0 {
            account.retries.spend();
        }
        if batch.trial.is_none() {
            return Sealed::Retry;
        }
        account.errors.trial_sent(account.pace.ceiling(), now);
        self.counters.trials += 1;
        Sealed::Trial
    }

    fn form(&mut self, lane_key: LaneKey, first: Option<JobKey>) -> BatchKey {
        let first = first.and_then(|job| self.jobs.get(job));
        let nodes = self.lanes.get_mut(lane_key).map(|lane| {
            let caps = lane.caps(self.policy.caps);
            match first {
                Some(job) => self.backlog.gather_with(lane_key, &mut lane.queue, caps, &job.nodes),
                None => self.backlog.gather(&mut lane.queue, caps),
            }
        });
        let nodes = nodes.unwrap_or_default();
        self.batches.insert(Batch { lane: lane_key, nodes, wire: Arc::new([]), failures: 0, trial: None })
    }

    /// The pairs of a batch as they go on the wire: without those whose jobs have left while it waited.
    fn wire(&mut self, key: BatchKey) -> Arc<[Pair]> {
        let Some(batch) = self.batches.get_mut(key) else { return Arc::new([]) };
        batch.nodes.retain(|&node| self.backlog.node(node).is_some());
        batch.nodes.iter().filter_map(|&node| self.backlog.node(node)).map(|node: &Node| node.pair).collect()
    }

    fn depart(&mut self, key: BatchKey, call: super::command::CallKey, now: Now) {
        let Some(batch) = self.batches.get(key) else { return };
        for &node in &batch.nodes {
            self.backlog.depart(node);
            let waiters = self.backlog.node(node).map(|node| node.waiters.as_slice()).unwrap_or_default();
            for &waiter in waiters {
                if let Some(job) = self.jobs.get_mut(waiter) {
                    job.pair_departs(call, now.wall);
                }
            }
        }
    }

    /// The lane had its turn: it goes to the end of the ring if it has more.
    fn rotate(&mut self, index: AccountIndex, key: LaneKey, now: Tick) {
        let account = &mut self.accounts[index.0 as usize];
        let had_turn = account.ring.front() == Some(&key);
        if had_turn {
            account.ring.pop_front();
        }
        let Some(lane) = self.lanes.get_mut(key) else { return };
        if lane.standing == Standing::Ripe && !had_turn {
            return self.place(key, now);
        }
        if let Standing::Lingering(until) = lane.standing {
            account.lingering.remove(&(until, key));
        }
        lane.standing = Standing::Idle;
        if lane.pause.is_none() && lane.next_due().is_some_and(|next| next.due <= now) {
            self.ripen(key);
        }
        self.place(key, now);
    }
}
