//! The conductor, for what follows: what must be done about jobs, lanes, batches and pauses after something has happened,
//! whatever it was. `engine`, `sending`, `answers` and `credentials` call this; it calls none of them.

use std::time::Duration;

use jiff::Timestamp;

use super::background::{PATIENCE_OF_BACKGROUND, Urgency};
use super::backlog::{JobKey, LaneKey};
use super::batch::Batch;
use super::calls::Call;
use super::clock::{Now, Tick};
use super::command::{CallKey, Command, LaneId, Notice, Parked};
use super::deadlines::Deadline;
use super::engine::Engine;
use super::expected::expected;
use super::guard::GuardState;
use super::ledger::{End, Job, Leaving};
use super::pause::{PauseKind, Tier};
use super::proof::PATIENCE_FOR_PROOFS;
use super::search::{self, Cause, Next};
use super::settings::Waiting;
use super::step::Step;
use super::turns::Fill;
use crate::contract::ids::AccountIndex;

impl Engine {
    /// A request is on the wire no longer; `None` if it is not known.
    pub(super) fn end_call(&mut self, key: CallKey) -> Option<Call> {
        let call = self.calls.remove(key)?;
        self.accounts[call.account].call_ended();
        self.pauses.call_ended(call.account, key);
        Some(call)
    }

    /// Takes a job out: at once where nothing of it is on the wire, else when that is answered.
    pub(super) fn leave(&mut self, job: JobKey, leaving: Leaving, now: Now) {
        if matches!(leaving, Leaving::Park { .. }) && matches!(self.policy.waiting, Waiting::InHand { .. }) {
            return;
        }
        let Some(lanes) = self.holdings.leave(job, leaving) else { return };
        self.finish(now);
        for lane in lanes {
            self.drop_deserted(lane, now);
            self.place(lane, now.tick);
            self.tidy(lane);
        }
    }

    /// Jobs whose time is up leave. A reply or a new job may come before the timer that was set for them.
    pub(super) fn let_go(&mut self, now: Now) {
        while let Some((job, deadline)) = self.holdings.take_due(now) {
            let leaving = match deadline {
                Deadline::Expiry => Leaving::Expire,
                Deadline::Hold => Leaving::Park { tier: Tier::TenSeconds, for_failures: false },
            };
            self.leave(job, leaving, now);
        }
    }

    /// Where the window of the background has closed, its jobs leave: back to their queue where none of them are taken in
    /// any more, else into a delay queue.
    pub(super) fn mind_windows(&mut self, now: Now) {
        let closed = self.windows.look(&self.accounts, now);
        if closed.is_empty() || self.holdings.jobs_of_background() == 0 {
            return;
        }
        let is_concerned = |job: &Job| job.urgency == Urgency::Background && closed.binary_search(&job.account).is_ok();
        let jobs = self.holdings.jobs().filter(|(_, job)| is_concerned(job));
        let jobs: Vec<(JobKey, AccountIndex)> = jobs.map(|(key, job)| (key, job.account)).collect();
        for (job, account) in jobs {
            let leaving = match self.windows.tier(account, now) {
                Some(tier) if self.windows.is_any_open() => Leaving::Park { tier, for_failures: false },
                Some(_) | None => Leaving::HandBack,
            };
            self.leave(job, leaving, now);
        }
    }

    /// Gives out the commands for jobs that are finished: each of them ends with an outcome, or leaves without one.
    pub(super) fn finish(&mut self, now: Now) {
        self.expand(now);
        self.complete(now);
        while let Some((account, end)) = self.holdings.next_finished() {
            if self.accounts.get(account).is_some() {
                let holdings = &self.holdings;
                self.turns.sweep(account, holdings.jobs_of(account), |job| holdings.has_job(job));
            }
            let command = match end {
                End::Settled(settled) => Command::Settle(settled),
                End::Unsettled(key, job) => self.unsettled(key, &job, now),
            };
            self.command(command);
        }
    }

    fn unsettled(&mut self, key: JobKey, job: &Job, now: Now) -> Command {
        match &job.leaving {
            Some(Leaving::Park { tier, for_failures }) => {
                self.counters.parked += 1;
                let uncounted = self.pauses.uncounted(job.account, job.lane, now.tick);
                let carried = job.carried_to(*tier, *for_failures, now.tick, uncounted);
                Command::Park(Parked { job: key, tier: *tier, carried })
            }
            Some(Leaving::Forget) => Command::Forgotten(key),
            Some(Leaving::HandBack) => Command::HandBack(key),
            // Every pair of such a job has been given its error, so the job could only be unsettled by a bug.
            Some(Leaving::Expire | Leaving::Reject | Leaving::Fail { .. }) | None => {
                debug_assert!(false, "a job that neither parks nor goes back ends with an outcome");
                Command::HandBack(key)
            }
        }
    }

    /// The lane of that name and urgency, opened if need be.
    pub(super) fn lane(&mut self, id: LaneId, urgency: Urgency) -> LaneKey {
        if let Some(key) = self.holdings.lanes().find(&id, urgency) {
            return key;
        }
        let account = id.account;
        let folds = id.step() == Step::Archive && self.folds.key(&id).is_some_and(|key| !self.folds.is_off(key));
        let key = self.holdings.open_lane(id, urgency, folds);
        self.turns.open_lane(key, account, urgency);
        key
    }

    /// Pairs may have moved between a lane and its other one, which has the same name and the other urgency. This finds
    /// the right place for the other one too, or closes it.
    pub(super) fn place_other(&mut self, key: LaneKey, now: Tick) {
        let Some(other) = self.holdings.lane(key).and_then(|lane| lane.other) else { return };
        self.place(other, now);
        self.tidy(other);
        self.tidy(key);
    }

    /// Finds the right place for a lane in the order of turns after something about it has changed.
    pub(super) fn place(&mut self, key: LaneKey, now: Tick) {
        let Some(lane) = self.holdings.lane(key) else { return };
        if self.pauses.of_lane(key).is_some() {
            let quota = self.accounts[lane.id.account].probe_quota();
            let probe_at = self.pauses.probe_of_lane(lane.id.account, key, quota, now).filter(|_| lane.has_work());
            return self.turns.withhold(key, probe_at.map(|at| at.max(now)));
        }
        let repeat_from = lane.repeat_from();
        let of_proofs = if lane.queue.cooling() > 0 { PATIENCE_FOR_PROOFS } else { Duration::ZERO };
        let patience = match lane.urgency {
            Urgency::Live => of_proofs,
            Urgency::Background => of_proofs.max(PATIENCE_OF_BACKGROUND),
        };
        self.turns.place(key, repeat_from, || match self.holdings.oldest_arrival(lane) {
            None => Fill::Empty,
            Some(_) if lane.is_full(self.policy.caps) => Fill::Full,
            Some(oldest) if lane.has_enough(self.policy.waiting, self.holdings.jobs().len()) => Fill::Enough { oldest },
            Some(oldest) => Fill::Partial { oldest: oldest + patience },
        });
    }

    /// Closes a lane that nothing keeps open.
    pub(super) fn tidy(&mut self, key: LaneKey) {
        let Some(lane) = self.holdings.lane(key) else { return };
        let account = lane.id.account;
        if !lane.is_empty() || self.pauses.keeps_open(account, key) {
            return;
        }
        self.pauses.close_lane(account, key);
        self.turns.close_lane(key);
        self.holdings.close_lane(key);
    }

    /// Drops batches that wait in a lane and whose jobs have all left.
    pub(super) fn drop_deserted(&mut self, key: LaneKey, now: Now) {
        while let Some(batch) = self.holdings.take_deserted(key) {
            self.give_back(batch, now.tick, now);
        }
    }

    /// Puts a batch back into its lane, to go again from `due` on; jobs that leave are taken off it here.
    pub(super) fn give_back(&mut self, batch: Batch, due: Tick, now: Now) {
        let lane = batch.lane;
        let given_back = self.holdings.give_back(batch, due, now.tick);
        self.finish(now);
        match given_back {
            Ok(()) => {
                self.place(lane, now.tick);
                if let Some(lane) = expected(self.holdings.lane(lane), "a batch keeps its lane open") {
                    self.turns.mark_ready(lane.id.account);
                }
            }
            Err(deserted) => {
                if let Some(next) = search::deserted(deserted) {
                    self.go_on(next, now);
                }
            }
        }
    }

    /// Does what a search says next.
    pub(super) fn go_on(&mut self, next: Next, now: Now) {
        match next {
            Next::Try(attempt) => match attempt.begin() {
                Ok((batch, wait)) => self.give_back(batch, now.tick + wait, now),
                Err((batch, Cause::Refused(refusal))) => self.unattributed(batch, &refusal, now),
                Err((batch, Cause::Failing(again))) => self.search_no_further(batch, &again, now),
            },
            Next::Return(batch) => self.give_back(batch, now.tick, now),
            Next::Repeat(batch, again) => self.repeat(batch, again.least_wait(now.wall), &again.refusal, now),
            Next::RepeatNamed(batch, again) => self.repeat_named(batch, &again, now),
        }
    }

    /// Nothing is sent for the account until the pause is over.
    pub(super) fn pause_account(
        &mut self,
        account: AccountIndex,
        kind: PauseKind,
        until: Option<Timestamp>,
        detail: String,
        now: Now,
    ) {
        if let Some(mut notice) = self.pauses.pause_account(account, kind, until, detail, now) {
            if let Notice::Paused { until, .. } = &mut notice {
                *until = until.filter(|until| !self.only_tries_at(account, kind, *until));
            }
            self.command(Command::Notice(notice));
            self.turns.mark_ready(account);
        }
    }

    /// The day's requests are spent: the account pauses until then, and people are told why.
    pub(super) fn pause_for_day(&mut self, account: AccountIndex, until: Timestamp, now: Now) {
        let detail = self.accounts[account].day.spent_words(until);
        self.pause_account(account, PauseKind::DaySpent, Some(until), detail, now);
    }

    /// Whether the account is only tried again then, and may stand still for longer.
    pub(super) fn only_tries_at(&self, account: AccountIndex, kind: PauseKind, until: Timestamp) -> bool {
        kind == PauseKind::DaySpent && self.accounts[account].day.only_tries_at(until)
    }

    /// The account goes on.
    pub(super) fn resume_account(&mut self, account: AccountIndex, now: Now) {
        if let Some(notice) = self.pauses.resume_account(account, now) {
            self.command(Command::Notice(notice));
            self.turns.mark_ready(account);
        }
        self.pause_if_guarded(account, now);
    }

    /// The account stands still where its guard waits for a person.
    pub(super) fn pause_if_guarded(&mut self, account: AccountIndex, now: Now) {
        let Some(guard) = &self.accounts[account].guard else { return };
        if guard.state(now.tick) == GuardState::Waiting {
            let (detail, since) = (guard.detail(now.tick), guard.since(now.tick));
            self.pause_account(account, PauseKind::Guard, None, detail, now);
            if let Some(since) = since.filter(|_| self.pauses.account_is_paused_for(account, PauseKind::Guard)) {
                self.pauses.account_stands_since(account, since);
            }
        }
    }

    /// Nothing is sent for the lane until the pause is over.
    pub(super) fn pause_lane(&mut self, key: LaneKey, kind: PauseKind, detail: String, now: Now) {
        let Some(lane) = expected(self.holdings.lane(key), "a lane whose pause begins or ends is open") else { return };
        let account = lane.id.account;
        if let Some(notice) = self.pauses.pause_lane(key, &lane.id, kind, detail, now) {
            self.command(Command::Notice(notice));
            self.place(key, now.tick);
            self.turns.mark_ready(account);
        }
    }

    /// The lane goes on.
    pub(super) fn resume_lane(&mut self, key: LaneKey, now: Now) {
        let Some(lane) = expected(self.holdings.lane(key), "a lane whose pause begins or ends is open") else { return };
        let account = lane.id.account;
        if let Some(notice) = self.pauses.resume_lane(key, &lane.id, now) {
            self.command(Command::Notice(notice));
            self.place(key, now.tick);
            self.turns.mark_ready(account);
        }
    }

    /// Tries at once whether the pause of a lane is over; `false` if it has none.
    pub(super) fn probe_lane_now(&mut self, key: LaneKey, now: Now) -> bool {
        let paused = self.pauses.probe_lane_now(key, now.tick);
        if paused && let Some(lane) = self.holdings.lane(key) {
            self.pauses.probe_lanes_anew(lane.id.account, now.tick);
            self.place(key, now.tick);
        }
        paused
    }
}
