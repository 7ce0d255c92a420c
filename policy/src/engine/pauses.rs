//! Which accounts and lanes are paused, which request may find out whether that is over, and how many jobs of what is
//! paused stay in hand.

use std::collections::BTreeSet;
use std::time::Duration;

use hashbrown::HashMap;
use jiff::Timestamp;

use super::backlog::{LaneKey, NodeKey};
use super::blame::Blame;
use super::clock::{Now, Stopwatch, Tick};
use super::command::{CallKey, LaneId, Notice};
use super::lane_probes::{LaneProbes, ProbeQuota};
use super::pause::{Pause, PauseKind};
use super::per_account::PerAccount;
use super::retry::BREAKER_FAILURES;
use super::settings::Waiting;
use crate::contract::ids::AccountIndex;

mod health;
mod reserve;

pub use reserve::Surplus;

/// See the module.
#[derive(Debug)]
pub struct Pauses {
    waiting: Waiting,
    accounts: PerAccount<OfAccount>,
    /// Lanes that are paused, or were since they opened.
    lanes: HashMap<LaneKey, OfLane>,
    /// Accounts and lanes that are paused now.
    count: usize,
}

#[derive(Debug, Default)]
struct OfAccount {
    pause: Option<Pause>,
    /// The request on the wire that is to find out whether the pause is over.
    probe: Option<CallKey>,
    failures_in_a_row: u32,
    /// The same for trials of searches, which are expected to fail more often.
    failed_trials_in_a_row: u32,
    /// The pair that was alone in the request that failed last.
    failed_alone: Option<NodeKey>,
    blame: Blame,
    /// When the latest request was sent that was served.
    served: Option<Tick>,
    /// Requests that failed since the latest one that did something, whatever they failed for.
    in_vain: u32,
    /// Time paused, or waiting for quota that was of use.
    uncounted: Stopwatch,
    paused_lanes: BTreeSet<LaneKey>,
    lane_probes: LaneProbes,
}

#[derive(Debug, Default)]
struct OfLane {
    pause: Option<Pause>,
    /// A request is on the wire that is to find out whether the pause is over.
    probing: bool,
    /// Time paused.
    uncounted: Stopwatch,
}

/// Paused lanes of an account that hold nothing, kept at most. A further one is forgotten, and so tried anew with its
/// next job.
const MAX_EMPTY_PAUSED: usize = 1_000;

impl OfAccount {
    fn begin_anew(&mut self) {
        (self.failures_in_a_row, self.failed_trials_in_a_row, self.failed_alone) = (0, 0, None);
        self.blame = Blame::default();
    }
}

impl Pauses {
    /// `paused` says for each account whether the settings pause it.
    pub fn new(waiting: Waiting, paused: impl Iterator<Item = bool>, now: Now) -> Self {
        let of_account = |paused: bool| {
            let mut account = OfAccount::default();
            if paused {
                let detail = "paused by the settings".to_owned();
                account.pause = Some(Pause::new(PauseKind::Operator, None, detail, now));
                account.uncounted.run(now.tick);
            }
            account
        };
        let accounts = PerAccount::new(paused.map(of_account));
        let count = accounts.iter().filter(|account| account.pause.is_some()).count();
        Self { waiting, accounts, lanes: HashMap::new(), count }
    }

    pub fn of_account(&self, account: AccountIndex) -> Option<&Pause> {
        self.accounts[account].pause.as_ref()
    }

    pub fn of_lane(&self, lane: LaneKey) -> Option<&Pause> {
        self.lanes.get(&lane)?.pause.as_ref()
    }

    pub fn account_is_paused_for(&self, account: AccountIndex, kind: PauseKind) -> bool {
        self.of_account(account).is_some_and(|pause| pause.kind == kind)
    }

    pub fn paused_lanes(&self, account: AccountIndex) -> &BTreeSet<LaneKey> {
        &self.accounts[account].paused_lanes
    }

    /// Pauses an account; `None` if nothing is new about it.
    pub fn pause_account(
        &mut self,
        index: AccountIndex,
        kind: PauseKind,
        until: Option<Timestamp>,
        detail: String,
        now: Now,
    ) -> Option<Notice> {
        let account = &mut self.accounts[index];
        let mut pause = Pause::new(kind, until, detail.clone(), now);
        match &account.pause {
            Some(old) if old.outlasts(kind) || (old.kind == kind && old.until == until) => return None,
            // The pause goes on: only what is known of it changes, not its age.
            Some(old) => (pause.since, pause.since_wall) = (old.since, old.since_wall),
            None => self.count += 1,
        }
        account.pause = Some(pause);
        account.uncounted.halt(now.tick);
        if kind != PauseKind::Outage {
            account.uncounted.run(now.tick);
        }
        Some(Notice::Paused { account: index, lane: None, kind, detail, until })
    }

    /// The account's pause began at that time, which may be before this worker saw it.
    pub fn account_stands_since(&mut self, account: AccountIndex, since: Timestamp) {
        if let Some(pause) = &mut self.accounts[account].pause {
            pause.since_wall = since;
        }
    }

    /// Pauses a lane; `None` if nothing is new about it.
    pub fn pause_lane(
        &mut self,
        key: LaneKey,
        id: &LaneId,
        kind: PauseKind,
        detail: String,
        now: Now,
    ) -> Option<Notice> {
        let lane = self.lanes.entry(key).or_default();
        if lane.pause.as_ref().is_some_and(|pause| pause.kind == kind || pause.kind == PauseKind::Operator) {
            return None;
        }
        let old = lane.pause.replace(Pause::new(kind, None, detail.clone(), now));
        self.count += usize::from(old.is_none());
        lane.uncounted.run(now.tick);
        self.accounts[id.account].paused_lanes.insert(key);
        Some(Notice::Paused { account: id.account, lane: Some(id.clone()), kind, detail, until: None })
    }

    /// Ends the pause of an account; `None` if there is none.
    pub fn resume_account(&mut self, index: AccountIndex, now: Now) -> Option<Notice> {
        let account = &mut self.accounts[index];
        let pause = account.pause.take()?;
        self.count -= 1;
        account.probe = None;
        account.begin_anew();
        account.uncounted.halt(now.tick);
        Some(Notice::Resumed { account: index, lane: None, kind: pause.kind, lasted: pause.lasted(now) })
    }

    /// Ends the pause of a lane; `None` if there is none.
    pub fn resume_lane(&mut self, key: LaneKey, id: &LaneId, now: Now) -> Option<Notice> {
        let lane = self.lanes.get_mut(&key)?;
        let pause = lane.pause.take()?;
        self.count -= 1;
        lane.probing = false;
        lane.uncounted.halt(now.tick);
        self.accounts[id.account].paused_lanes.remove(&key);
        let lasted = pause.lasted(now);
        Some(Notice::Resumed { account: id.account, lane: Some(id.clone()), kind: pause.kind, lasted })
    }

    /// Something has changed that may end the account's pause, if there is one: it may be tried at once.
    pub fn probe_account_now(&mut self, account: AccountIndex, now: Tick) {
        if let Some(pause) = &mut self.accounts[account].pause {
            pause.probe_now(now);
        }
    }

    /// A person, or new credentials, may have mended what pauses lanes: what was spent on probes does not count.
    pub fn probe_lanes_anew(&mut self, account: AccountIndex, now: Tick) {
        self.accounts[account].lane_probes.begin_anew(now);
    }

    /// Something has changed that may end the lane's pause: it may be tried at once. `false` if the lane is not paused.
    pub fn probe_lane_now(&mut self, lane: LaneKey, now: Tick) -> bool {
        let pause = self.lanes.get_mut(&lane).and_then(|lane| lane.pause.as_mut());
        pause.map(|pause| pause.probe_now(now)).is_some()
    }

    /// The end of the account's pause was known, and it has come.
    pub fn is_over(&self, account: AccountIndex, now: Now) -> bool {
        self.of_account(account).and_then(|pause| pause.until).is_some_and(|until| until <= now.wall)
    }

    /// Whether the account may send: it is not paused, or its next probe is due. `Err` says when to look again.
    pub fn may_send(&self, index: AccountIndex, now: Now) -> Result<(), Option<Tick>> {
        let account = &self.accounts[index];
        let Some(pause) = &account.pause else { return Ok(()) };
        let probe_at = match pause.until {
            // Reckoned anew: the wall clock may have been set, or have run slower than the other, since the pause
            // began.
            Some(until) => Some(now.tick_of(until)),
            None => pause.probe_at().filter(|_| account.probe.is_none()),
        };
        if pause.until.is_none() && probe_at.is_some_and(|at| at <= now.tick) {
            return Ok(());
        }
        let relieved_at = match self.waiting {
            Waiting::Outside { .. } => pause.parks_from(now),
            Waiting::InHand { give_up_after } => pause.given_up_after(give_up_after).map(|after| pause.since + after),
        };
        Err(probe_at.into_iter().chain(relieved_at).filter(|&at| at > now.tick).min())
    }

    /// When a request of a paused lane may find out whether the pause is over; `None` while one is on the wire.
    pub fn probe_of_lane(&self, account: AccountIndex, lane: LaneKey, quota: ProbeQuota, now: Tick) -> Option<Tick> {
        let lane = self.lanes.get(&lane).filter(|lane| !lane.probing)?;
        let own = lane.pause.as_ref()?.probe_at()?;
        Some(own.max(self.accounts[account].lane_probes.next(quota, now)))
    }

    /// A request has left for an account: if that is paused, the request is the probe.
    pub fn account_sends(&mut self, account: AccountIndex, call: CallKey, now: Tick) {
        let account = &mut self.accounts[account];
        if let Some(pause) = &mut account.pause {
            account.probe = Some(call);
            pause.probed(now);
        }
    }

    /// A request has left for a lane: if that is paused, the request is its probe. `waiting` lanes of the account are
    /// paused and have something to send, this one included: each of them has its turn before this one comes again.
    pub fn lane_sends(&mut self, account: AccountIndex, key: LaneKey, waiting: usize, quota: ProbeQuota, now: Tick) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        let Some(pause) = &mut lane.pause else { return };
        let turn = self.accounts[account].lane_probes.sent(key, waiting, quota, now);
        lane.probing = true;
        pause.probed(now);
        pause.not_before(now + turn);
    }

    /// A request of the account has ended.
    pub fn call_ended(&mut self, account: AccountIndex, call: CallKey) {
        let account = &mut self.accounts[account];
        if account.probe == Some(call) {
            account.probe = None;
        }
    }

    /// A request of the lane has ended.
    pub fn lane_answered(&mut self, account: AccountIndex, key: LaneKey) {
        self.accounts[account].lane_probes.ended(key);
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.probing = false;
        }
    }

    /// A probe of a lane found out that its pause is over. It was no waste, so the next one need not wait, and the
    /// lanes that are paused for the same reason, which are returned, are tried at once.
    pub fn lane_probe_succeeded(&mut self, account: AccountIndex, key: LaneKey, now: Tick) -> Vec<LaneKey> {
        let of_account = &mut self.accounts[account];
        of_account.lane_probes.succeeded(now);
        let paused_for = |lane: &LaneKey| self.lanes.get(lane)?.pause.as_ref().map(|pause| pause.kind);
        let Some(kind) = paused_for(&key) else { return Vec::new() };
        let alike = of_account.paused_lanes.iter().copied();
        let alike: Vec<_> = alike.filter(|lane| *lane != key && paused_for(lane) == Some(kind)).collect();
        for &lane in &alike {
            self.probe_lane_now(lane, now);
        }
        alike
    }

    /// The account has a permit, so the time does not pass in waiting for quota.
    pub fn has_quota(&mut self, account: AccountIndex, now: Tick) {
        let account = &mut self.accounts[account];
        if account.pause.is_none() {
            account.uncounted.halt(now);
        }
    }

    /// The account waits for quota. Where its latest requests have all failed, nothing but these has used the quota, and the
    /// time counts: else what fails would never be given up.
    pub fn waits_for_quota(&mut self, account: AccountIndex, now: Tick) {
        let account = &mut self.accounts[account];
        if account.in_vain < BREAKER_FAILURES {
            account.uncounted.run(now);
        }
    }

    /// Time, counted from some moment in the past, that is no part of the age of the lane's jobs: the account or lane
    /// was paused, or the account waited for quota. What passes of it between two moments is the difference of the two
    /// readings.
    pub fn uncounted(&self, account: AccountIndex, lane: LaneKey, now: Tick) -> Duration {
        let of_account = self.accounts.get(account).map(|account| account.uncounted.read(now));
        let of_lane = self.lanes.get(&lane).map(|lane| lane.uncounted.read(now));
        of_account.unwrap_or_default() + of_lane.unwrap_or_default()
    }

    /// Whether an empty lane must stay open, so that its pause is remembered.
    pub fn keeps_open(&self, account: AccountIndex, lane: LaneKey) -> bool {
        self.of_lane(lane).is_some() && self.accounts[account].paused_lanes.len() <= MAX_EMPTY_PAUSED
    }

    /// Forgets a lane.
    pub fn close_lane(&mut self, account: AccountIndex, lane: LaneKey) {
        self.accounts[account].lane_probes.ended(lane);
        self.accounts[account].paused_lanes.remove(&lane);
        if self.lanes.remove(&lane).is_some_and(|lane| lane.pause.is_some()) {
            self.count -= 1;
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests;
