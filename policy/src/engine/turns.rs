//! Who sends next: turns between accounts, and between the lanes of an account.
//!
//! Accounts that may have something to send take turns, and a turn is one request. Within an account, lanes that are
//! full, overdue or have something to repeat stand in a ring and take turns. A lane that waits for company sends only
//! when no lane in the ring has anything to send.
//!
//! The lanes of the background have a ring of their own. It sends what the live lanes leave, and it goes before them
//! when it has had less than its share of the account's requests.
//!
//! A job that was parked starts again from nothing when it comes back. Suppose that the jobs in hand need more requests
//! together than fit into the hold limit, or into the day's budget. If all lanes went on evenly, no job would end in
//! time, and all of them would come back for ever. So every second request of an account may go to the oldest of its
//! jobs that came back, before all others. That job ends, and then the next one does.
//!
//! An account has at most one timer, and a lane at most one reminder. The engine must be woken when the earliest timer
//! is due; no account and no lane has an alarm of its own.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use slotmap::SecondaryMap;

use super::background::{Owed, Share, Urgency};
use super::backlog::{JobKey, LaneKey};
use super::batch::Prospect;
use super::clock::Tick;
use super::expected::expected;
use super::per_account::PerAccount;
use crate::contract::ids::AccountIndex;

/// See the module.
#[derive(Debug)]
pub struct Turns {
    linger: Duration,
    /// The least share of the background.
    share: Share,
    accounts: PerAccount<Rota>,
    lanes: SecondaryMap<LaneKey, LaneTurn>,
    /// Accounts that may have something to send, in the order of their turns.
    ready: VecDeque<AccountIndex>,
    /// When accounts are to be looked at again. Only the entry that equals [`Rota::timer`] counts, the earliest of its
    /// account.
    timers: BinaryHeap<Reverse<(Tick, AccountIndex)>>,
}

/// The turns within one account.
#[derive(Debug, Default)]
struct Rota {
    /// The account is in `Turns::ready`.
    queued: bool,
    /// When the account is to be looked at again.
    timer: Option<Tick>,
    live: LaneOrder,
    background: LaneOrder,
    owed: Owed,
}

impl Rota {
    fn of(&self, urgency: Urgency) -> &LaneOrder {
        match urgency {
            Urgency::Live => &self.live,
            Urgency::Background => &self.background,
        }
    }

    fn of_mut(&mut self, urgency: Urgency) -> &mut LaneOrder {
        match urgency {
            Urgency::Live => &mut self.live,
            Urgency::Background => &mut self.background,
        }
    }
}

/// The order of an account's lanes of one urgency.
#[derive(Debug, Default)]
struct LaneOrder {
    /// Lanes that have a turn, in their order.
    ring: VecDeque<LaneKey>,
    /// Lanes that wait for company, by the time from which they need not wait any longer.
    lingering: BTreeSet<(Tick, LaneKey)>,
    /// When lanes are to be looked at again. Only the entry that equals [`LaneTurn::reminder`] counts, the earliest of
    /// its lane.
    reminders: BinaryHeap<Reverse<(Tick, LaneKey)>>,
    /// Jobs that came back after requests had carried them, oldest first; some may have left since.
    returners: VecDeque<JobKey>,
    /// The last request was for one of the `returners`.
    favoured: bool,
    /// Requests since the latest one for a pair that is stuck.
    beside_stuck: u32,
}

impl LaneOrder {
    /// When a lane must be looked at next.
    fn next_look(&self) -> Option<Tick> {
        let reminder = self.reminders.peek().map(|&Reverse((at, _))| at);
        let lingering = self.lingering.first().map(|&(at, _)| at);
        reminder.into_iter().chain(lingering).min()
    }

    fn has_turn(&self, now: Tick) -> bool {
        !self.ring.is_empty() || self.next_look().is_some_and(|at| at <= now)
    }
}

#[derive(Debug)]
struct LaneTurn {
    account: AccountIndex,
    urgency: Urgency,
    stand: Stand,
    /// When the lane is to be looked at again.
    reminder: Option<Tick>,
}

/// Where a lane stands in the order of turns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stand {
    /// It has nothing to send, or nothing that may be sent yet.
    Aside,
    /// It waits for company until then.
    Lingering(Tick),
    /// It has a turn.
    InRing,
}

/// How much a lane has waiting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fill {
    Empty,
    /// Less than a request may carry; the oldest pair arrived then.
    Partial {
        oldest: Tick,
    },
    /// Less than a request may carry, but the lane need not wait for company.
    Enough {
        oldest: Tick,
    },
    Full,
}

/// The list of jobs that came back may hold this many that have left: fewer are not worth a sweep.
const STALE: usize = 64;

/// While anything else waits, pairs that are stuck have one request after this many for others.
const BESIDE_STUCK: u32 = 3;

/// A lane with less than a full batch joins the ring when full lanes have kept it waiting for this much longer than the
/// linger.
pub const PATIENCE: Duration = Duration::from_secs(2);

impl Turns {
    pub fn new(linger: Duration, share: Share, accounts: usize) -> Self {
        Self {
            linger,
            share,
            accounts: PerAccount::new((0..accounts).map(|_| Rota::default())),
            lanes: SecondaryMap::new(),
            ready: VecDeque::new(),
            timers: BinaryHeap::new(),
        }
    }

    /// The account may have something to send.
    pub fn mark_ready(&mut self, account: AccountIndex) {
        let rota = &mut self.accounts[account];
        if !rota.queued {
            rota.queued = true;
            self.ready.push_back(account);
        }
    }

    /// The account is to be looked at again at `at`, if not sooner.
    pub fn remind(&mut self, account: AccountIndex, at: Tick) {
        let rota = &mut self.accounts[account];
        if rota.timer.is_none_or(|timer| at < timer) {
            rota.timer = Some(at);
            self.timers.push(Reverse((at, account)));
        }
    }

    /// Accounts whose timer has gone off are ready.
    pub fn wake(&mut self, now: Tick) {
        while let Some(&Reverse((at, account))) = self.timers.peek()
            && at <= now
        {
            self.timers.pop();
            let rota = &mut self.accounts[account];
            if rota.timer == Some(at) {
                rota.timer = None;
                self.mark_ready(account);
            }
        }
    }

    /// When an account is to be looked at next.
    pub fn next_timer(&self) -> Option<Tick> {
        self.timers.peek().map(|&Reverse((at, _))| at)
    }

    /// The account whose turn it is.
    pub fn next_account(&mut self) -> Option<AccountIndex> {
        let account = self.ready.pop_front()?;
        self.accounts[account].queued = false;
        Some(account)
    }

    pub fn open_lane(&mut self, key: LaneKey, account: AccountIndex, urgency: Urgency) {
        self.lanes.insert(key, LaneTurn { account, urgency, stand: Stand::Aside, reminder: None });
    }

    /// Forgets a lane. Entries that its account still has of it are passed over when their turn or time comes.
    pub fn close_lane(&mut self, key: LaneKey) {
        self.stand(key, Stand::Aside);
        self.lanes.remove(key);
    }

    /// Finds the right place for a lane when the work that waits in it has changed. `repeat_from`: when the first of
    /// its batches that must go again may go. `fill` is not asked about a lane in the ring, which stays there.
    pub fn place(&mut self, key: LaneKey, repeat_from: Option<Tick>, fill: impl FnOnce() -> Fill) {
        if let Some(at) = repeat_from {
            self.look_again(key, at);
        }
        let Some(lane) = self.lane(key) else { return };
        let stand = lane.stand;
        if stand == Stand::InRing {
            return;
        }
        let wanted = match fill() {
            Fill::Full => Stand::InRing,
            Fill::Partial { oldest } => Stand::Lingering(oldest + self.linger),
            Fill::Enough { oldest } => Stand::Lingering(oldest),
            Fill::Empty => Stand::Aside,
        };
        if wanted != stand {
            self.stand(key, wanted);
        }
    }

    /// Nothing of the lane may be sent before `probe_at`, or before its pause is over. A lane in the ring stays there,
    /// and is passed over if nothing of it may be sent when its turn comes.
    pub fn withhold(&mut self, key: LaneKey, probe_at: Option<Tick>) {
        if self.lane(key).is_some_and(|lane| matches!(lane.stand, Stand::Lingering(_))) {
            self.stand(key, Stand::Aside);
        }
        if let Some(at) = probe_at {
            self.look_again(key, at);
        }
    }

    /// The lane is to be looked at again at `at`, if not sooner.
    fn look_again(&mut self, key: LaneKey, at: Tick) {
        let Some(lane) = expected(self.lanes.get_mut(key), "a lane has its place from its opening on") else { return };
        if lane.reminder.is_none_or(|reminder| at < reminder) {
            lane.reminder = Some(at);
            self.accounts[lane.account].of_mut(lane.urgency).reminders.push(Reverse((at, key)));
        }
    }

    /// Whether the background has something to send, and has had less than its share.
    pub fn background_is_due(&self, account: AccountIndex, now: Tick) -> bool {
        let rota = &self.accounts[account];
        rota.background.has_turn(now) && rota.owed.is_due(self.share)
    }

    /// Moves lanes into the ring: those whose reminder is due, and those that have lingered for longer than
    /// [`PATIENCE`] allows.
    pub fn promote(&mut self, account: AccountIndex, urgency: Urgency, now: Tick) {
        while let Some(&Reverse((at, key))) = self.accounts[account].of(urgency).reminders.peek()
            && at <= now
        {
            self.accounts[account].of_mut(urgency).reminders.pop();
            if let Some(lane) = self.lanes.get_mut(key)
                && lane.reminder == Some(at)
            {
                lane.reminder = None;
                self.stand(key, Stand::InRing);
            }
        }
        while let Some(&(until, key)) = self.accounts[account].of(urgency).lingering.first()
            && until + PATIENCE <= now
        {
            self.stand(key, Stand::InRing);
        }
    }

    /// The lane whose turn it is. It may have been closed since it got the turn.
    pub fn first_in_ring(&self, account: AccountIndex, urgency: Urgency) -> Option<LaneKey> {
        self.accounts[account].of(urgency).ring.front().copied()
    }

    /// How many lanes have a turn.
    pub fn in_ring(&self, account: AccountIndex, urgency: Urgency) -> usize {
        self.accounts[account].of(urgency).ring.len()
    }

    /// Whether pairs that are stuck have had less than their share of the account's requests.
    pub fn stuck_are_due(&self, account: AccountIndex, urgency: Urgency) -> bool {
        self.accounts[account].of(urgency).beside_stuck >= BESIDE_STUCK
    }

    /// The lane whose turn it is lets the others go first.
    pub fn step_back(&mut self, account: AccountIndex, urgency: Urgency) {
        let ring = &mut self.accounts[account].of_mut(urgency).ring;
        if !ring.is_empty() {
            ring.rotate_left(1);
        }
    }

    /// The lane whose turn it is has nothing to send.
    pub fn pass(&mut self, account: AccountIndex, urgency: Urgency) {
        if let Some(key) = self.accounts[account].of_mut(urgency).ring.pop_front()
            && let Some(lane) = self.lanes.get_mut(key)
        {
            lane.stand = Stand::Aside;
        }
    }

    /// The lane that has waited for company the longest, and until when it waits.
    pub fn first_lingering(&self, account: AccountIndex, urgency: Urgency) -> Option<(Tick, LaneKey)> {
        self.accounts[account].of(urgency).lingering.first().copied()
    }

    /// When a lane of the account must be looked at next.
    pub fn next_look(&self, account: AccountIndex, urgency: Urgency) -> Option<Tick> {
        self.accounts[account].of(urgency).next_look()
    }

    /// The lane has sent a request. A lane that stands in the ring, but not first, did so out of turn, for a job that
    /// came back: it keeps its place. Any other lane leaves its place, and goes to the end of the ring if it
    /// `has_more` that may go at once. The caller must then place the lane by [`Turns::place`].
    pub fn had_turn(&mut self, key: LaneKey, has_more: bool) {
        let Some(lane) = expected(self.lanes.get_mut(key), "a lane that sends is open") else { return };
        if lane.stand == Stand::InRing {
            let ring = &mut self.accounts[lane.account].of_mut(lane.urgency).ring;
            if ring.front() != Some(&key) {
                return;
            }
            ring.pop_front();
            lane.stand = Stand::Aside;
        } else {
            self.stand(key, Stand::Aside);
        }
        if has_more {
            self.stand(key, Stand::InRing);
        }
    }

    fn lane(&self, key: LaneKey) -> Option<&LaneTurn> {
        expected(self.lanes.get(key), "a lane has its place from its opening to its closing")
    }

    /// Moves a lane. One that stands in the ring stays there until its turn has come.
    fn stand(&mut self, key: LaneKey, wanted: Stand) {
        let Some(lane) = expected(self.lanes.get_mut(key), "a lane has its place until its closing") else { return };
        let order = self.accounts[lane.account].of_mut(lane.urgency);
        match lane.stand {
            Stand::InRing => return,
            Stand::Lingering(until) => {
                order.lingering.remove(&(until, key));
            }
            Stand::Aside => {}
        }
        lane.stand = wanted;
        match wanted {
            Stand::InRing => order.ring.push_back(key),
            Stand::Lingering(until) => {
                order.lingering.insert((until, key));
            }
            Stand::Aside => {}
        }
    }

    /// A job has come back unfinished after requests had carried it.
    pub fn came_back(&mut self, account: AccountIndex, urgency: Urgency, job: JobKey) {
        self.accounts[account].of_mut(urgency).returners.push_back(job);
    }

    /// The oldest job that came back, unless the last request was for one of these; `in_hand` says whether a job is
    /// still there.
    pub fn favourite(
        &mut self,
        account: AccountIndex,
        urgency: Urgency,
        in_hand: impl Fn(JobKey) -> bool,
    ) -> Option<JobKey> {
        let order = self.accounts[account].of_mut(urgency);
        while order.returners.front().is_some_and(|&job| !in_hand(job)) {
            order.returners.pop_front();
        }
        order.returners.front().copied().filter(|_| !order.favoured)
    }

    /// The account sends a request; `favoured` if for a job that came back.
    pub fn sends(&mut self, account: AccountIndex, urgency: Urgency, favoured: bool, prospect: Prospect, now: Tick) {
        let rota = &mut self.accounts[account];
        let order = rota.of_mut(urgency);
        order.favoured = favoured;
        order.beside_stuck = match prospect {
            Prospect::Open => order.beside_stuck.saturating_add(1),
            Prospect::Stuck => 0,
        };
        match urgency {
            Urgency::Live if rota.background.has_turn(now) => rota.owed.was_passed_over(self.share),
            Urgency::Live => {}
            Urgency::Background => rota.owed.had_turn(self.share),
        }
    }

    /// Takes jobs that have left out of the list of those that came back, once that list is much longer than the number
    /// of the account's `jobs` in hand.
    pub fn sweep(&mut self, account: AccountIndex, jobs: usize, in_hand: impl Fn(JobKey) -> bool) {
        for urgency in [Urgency::Live, Urgency::Background] {
            let returners = &mut self.accounts[account].of_mut(urgency).returners;
            if returners.len() > jobs * 2 + STALE {
                returners.retain(|&job| in_hand(job));
            }
        }
    }

    /// To be asked when no job is in hand: how many jobs are listed as having come back, beyond those that are not
    /// worth a sweep. Anything but 0 is a leak.
    pub fn stale_returners(&self) -> usize {
        let orders = self.accounts.iter().flat_map(|rota| [&rota.live, &rota.background]);
        orders.map(|order| order.returners.len().saturating_sub(STALE)).sum()
    }
}

#[cfg(test)]
mod tests;
