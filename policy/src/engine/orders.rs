//! The conductor, for what an operator orders: accounts and lanes are paused and resumed, guards are answered.

use super::backlog::{JobKey, LaneKey};
use super::clock::Now;
use super::engine::Engine;
use super::ledger::Leaving;
use super::pause::{OnOrder, PauseKind};
use crate::contract::ids::AccountIndex;
use crate::contract::object_type::ObjectType;

/// The detail of such a pause. `by` says where the order came from; another worker that takes over does not know.
pub(super) fn paused_by_operator(by: Option<&str>) -> String {
    by.map_or_else(|| "paused by the operator".to_owned(), |by| format!("paused by the operator, {by}"))
}

impl Engine {
    /// Pauses an account on the operator's order; `false` if there is no such account.
    pub fn pause(&mut self, account: AccountIndex, now: Now) -> bool {
        self.pause_by(account, None, now)
    }

    /// The same, with where the order came from, for people.
    pub fn pause_by(&mut self, account: AccountIndex, by: Option<&str>, now: Now) -> bool {
        let Some(of_account) = self.accounts.get_mut(account) else { return false };
        of_account.pause_orders = of_account.pause_orders.saturating_add(1);
        self.pause_account(account, PauseKind::Operator, None, paused_by_operator(by), now);
        self.pump(now);
        true
    }

    /// Ends an operator's pause of an account. Another pause of it ends too, is tried at once, or stays, as [`OnOrder`]
    /// says of its kind. Other pauses of its lanes are tried at once. What HubSpot said of a day that is spent is asked
    /// anew, also where no job has come yet for which the account would pause. `false` if there is no such account.
    pub fn resume(&mut self, account: AccountIndex, now: Now) -> bool {
        let Some(of_account) = self.accounts.get_mut(account) else { return false };
        of_account.pause_orders = of_account.pause_orders.saturating_add(1);
        if of_account.day.spent_until(now.wall).is_some() {
            of_account.day.doubt();
            of_account.pace.feel_the_way();
        }
        if self.pauses.account_is_paused_for(account, PauseKind::Operator) {
            self.resume_account(account, now);
        } else if let Some(kind) = self.pauses.of_account(account).map(|pause| pause.kind) {
            match kind.on_order() {
                OnOrder::Probes => self.pauses.probe_account_now(account, now.tick),
                OnOrder::Ends => self.end_early(account, kind, now),
                OnOrder::Stays => {}
            }
            self.turns.mark_ready(account);
        }
        for lane in self.holdings.lanes().of(account).to_vec() {
            self.probe_lane_now(lane, now);
        }
        self.pump(now);
        true
    }

    /// Ends a pause before its time, since a person may know better: the next request finds out, now or when there is
    /// one. A budget of the settings that is spent stays so.
    fn end_early(&mut self, account: AccountIndex, kind: PauseKind, now: Now) {
        if kind != PauseKind::DaySpent || self.accounts[account].day.spent_until(now.wall).is_none() {
            self.resume_account(account, now);
        }
    }

    /// Lets everything through the guard of an account for one window; `false` if there is no such account, or no guard.
    pub fn approve(&mut self, account: AccountIndex, now: Now) -> bool {
        let Some(guard) = self.accounts.get_mut(account).and_then(|account| account.guard.as_mut()) else {
            return false;
        };
        guard.approve(now);
        self.guard_was_answered(account, now);
        true
    }

    /// Ends all jobs of an account that are to remove something, and those that come, until [`Engine::approve`]; `false`
    /// if there is no such account, or no guard.
    pub fn reject(&mut self, account: AccountIndex, now: Now) -> bool {
        let Some(guard) = self.accounts.get_mut(account).and_then(|account| account.guard.as_mut()) else {
            return false;
        };
        guard.reject(now);
        let jobs = self.holdings.jobs().filter(|(_, job)| job.account == account && job.removes);
        let jobs: Vec<JobKey> = jobs.map(|(key, _)| key).collect();
        for job in jobs {
            self.leave(job, Leaving::Reject, now);
        }
        self.guard_was_answered(account, now);
        true
    }

    fn guard_was_answered(&mut self, account: AccountIndex, now: Now) {
        if self.pauses.account_is_paused_for(account, PauseKind::Guard) {
            self.resume_account(account, now);
        }
        self.turns.mark_ready(account);
        self.pump(now);
    }

    /// Pauses every lane in hand between the two types, on the operator's order; returns how many there are.
    pub fn pause_lanes(&mut self, account: AccountIndex, from: &ObjectType, to: &ObjectType, now: Now) -> usize {
        self.pause_lanes_by(account, (from, to), None, now)
    }

    /// The same, with where the order came from, for people.
    pub fn pause_lanes_by(
        &mut self,
        account: AccountIndex,
        (from, to): (&ObjectType, &ObjectType),
        by: Option<&str>,
        now: Now,
    ) -> usize {
        let lanes = self.lanes_between(account, from, to);
        for &lane in &lanes {
            self.pause_lane(lane, PauseKind::Operator, paused_by_operator(by), now);
        }
        self.pump(now);
        lanes.len()
    }

    /// Ends an operator's pause of these lanes, and tries at once whether any other pause of them is over; returns how
    /// many lanes there are.
    pub fn resume_lanes(&mut self, account: AccountIndex, from: &ObjectType, to: &ObjectType, now: Now) -> usize {
        let lanes = self.lanes_between(account, from, to);
        for &lane in &lanes {
            if self.pauses.of_lane(lane).is_some_and(|pause| pause.kind == PauseKind::Operator) {
                self.resume_lane(lane, now);
                self.tidy(lane);
            } else if self.probe_lane_now(lane, now) {
                self.turns.mark_ready(account);
            }
        }
        self.pump(now);
        lanes.len()
    }

    fn lanes_between(&self, account: AccountIndex, from: &ObjectType, to: &ObjectType) -> Vec<LaneKey> {
        let lanes = self.holdings.lanes().of(account).iter().copied();
        let id = |key: LaneKey| self.holdings.lane(key).map(|lane| &lane.id);
        lanes.filter(|&key| id(key).is_some_and(|id| id.from_type == *from && id.to_type == *to)).collect()
    }
}
