//! The conductor, for what follows: what must be done about jobs, lanes, batches and pauses after something has happened,
//! whatever it was. `engine`, `sending`, `answers` and `credentials` call this; it calls none of them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::background::Urgency;
use super::backlog::{JobKey, LaneKey, NodeKey};
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
use super::search::{self, Cause, Failed, Next};
use super::settings::Waiting;
use super::step::Step;
use super::turns::Fill;
use super::verdict::Again;
use crate::contract::ids::AccountIndex;
use crate::contract::refusal::{Refusal, WorkerCategory};

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
                Deadline::NotAfter => Leaving::Expire,
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

    /// Says the last word on jobs that are finished.
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

    /// Pairs may have gone from a lane to its other one, or the other way round: both have their places, or are closed.
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
        let repeat_from = lane.next_repeat().map(|repeat| repeat.from());
        let patience = if lane.queue.cooling() > 0 { PATIENCE_FOR_PROOFS } else { Duration::ZERO };
        self.turns.place(key, repeat_from, || match lane.is_full(self.policy.caps) {
            true => Fill::Full,
            false => self
                .holdings
                .oldest_arrival(lane)
                .map_or(Fill::Empty, |oldest| Fill::Partial { oldest: oldest + patience }),
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

    /// One error of an answer says of these pairs that they failed.
    fn repeat_named(&mut self, batch: Batch, again: &Arc<Again>, now: Now) {
        let (tries, requests) = (self.policy.retry.max_attempts, self.policy.isolation_requests);
        let wait = again.least_wait(now.wall);
        self.age_jobs(&batch, now);
        match search::named(batch, again, tries, requests, wait, now.tick) {
            Failed::Whole(batch, _) => self.repeat_noted(batch, wait, &again.refusal, now),
            Failed::InParts(next) => next.into_iter().for_each(|next| self.go_on(next, now)),
        }
    }

    /// No request may be spent any more on finding out which of these pairs are at fault.
    fn unattributed(&mut self, batch: Batch, refusal: &Refusal, now: Now) {
        let Batch { lane: key, nodes, .. } = batch;
        let refusal = Arc::new(search::unattributed(refusal, self.policy.isolation_requests));
        let pairs = nodes.len();
        self.holdings.refuse_all(nodes, &refusal);
        self.finish(now);
        if let Some(lane) = self.holdings.lane(key) {
            let lane = lane.id.clone();
            self.command(Command::Notice(Notice::Unattributed { lane, pairs }));
        }
    }

    /// No request may be spent any more on finding out which of these pairs are stuck: their jobs go on in the broker.
    fn search_no_further(&mut self, batch: Batch, again: &Again, now: Now) {
        let failures = self.policy.retry.max_attempts.saturating_sub(1);
        self.repeat(Batch { failures, ..batch }, again.least_wait(now.wall), &again.refusal, now);
    }

    /// A batch failed for a transient reason: it goes again after a back-off, or its jobs go on in the broker.
    pub(super) fn repeat(&mut self, batch: Batch, least: Duration, refusal: &Arc<Refusal>, now: Now) {
        self.age_jobs(&batch, now);
        self.repeat_noted(batch, least, refusal, now);
    }

    /// The same where the failure was noted with each job before.
    pub(super) fn repeat_noted(&mut self, mut batch: Batch, least: Duration, refusal: &Arc<Refusal>, now: Now) {
        batch.failures += 1;
        let gives_up = batch.failures >= self.policy.retry.max_attempts || self.is_last_try(&batch, now);
        if batch.stuck || (batch.is_suspect() && gives_up) {
            self.holdings.mark_stuck(&batch.nodes);
        }
        self.end_exhausted(&batch, refusal, now);
        let drawn = self.draw();
        let delay = self.policy.retry.delay(batch.failures, drawn, least);
        let given_up = batch.failures >= self.policy.retry.max_attempts;
        let too_long = delay > Tier::OneMinute.wait();
        match self.policy.waiting {
            Waiting::Outside { .. } if given_up || too_long => {
                for &node in &batch.nodes {
                    self.holdings.take_off_wire(node);
                }
                self.finish(now);
                if batch.stuck {
                    self.note_stuck(&batch.nodes, now);
                }
                self.park_failed(&batch, delay, now);
                // Whoever stays waits for other pairs, and a try now and then is enough for this one.
                let waits = batch.stuck || batch.is_suspect();
                let wait = if waits { Tier::after_parks(batch.rounds).wait() } else { Duration::ZERO };
                batch.rounds = batch.rounds.saturating_add(1);
                self.give_back(batch, now.tick + wait, now);
            }
            Waiting::InHand { .. } if given_up => {
                batch.failures = if batch.stuck { self.policy.retry.max_attempts.saturating_sub(1) } else { 0 };
                let alone = batch.nodes.len() == 1;
                let tier = if alone { Tier::after_parks(batch.rounds) } else { Tier::TenSeconds };
                batch.rounds = batch.rounds.saturating_add(1);
                batch.samples = 0;
                self.give_back(batch, now.tick + delay.max(tier.wait()), now);
            }
            Waiting::Outside { .. } | Waiting::InHand { .. } => self.give_back(batch, now.tick + delay, now),
        }
    }

    /// Whether a job must not leave for a batch that fails by itself, since it waits for pairs beside it.
    fn is_kept_by_others(&self, batch: &Batch, job: JobKey) -> bool {
        (batch.stuck || batch.is_suspect()) && self.holdings.waits_for_others(job)
    }

    /// Notes the failure with each job.
    pub(super) fn age_jobs(&mut self, batch: &Batch, now: Now) {
        for &node in &batch.nodes {
            for waiter in self.holdings.waiters(node) {
                let Some(job) = self.holdings.job(waiter) else { continue };
                let uncounted = self.pauses.uncounted(job.account, job.lane, now.tick);
                self.holdings.failed(waiter, now.tick, uncounted);
            }
        }
    }

    /// Whether a job has been failing for too long.
    fn is_exhausted(&self, job: JobKey, now: Now) -> bool {
        let Some(job) = self.holdings.job(job) else { return false };
        let uncounted = self.pauses.uncounted(job.account, job.lane, now.tick);
        job.age(now.tick, uncounted).is_some_and(|age| age >= self.policy.retry.max_age)
    }

    /// Whether this was the last try for a job that waits for the batch.
    pub(super) fn is_last_try(&self, batch: &Batch, now: Now) -> bool {
        let mut waiters = batch.nodes.iter().flat_map(|&node| self.holdings.waiters(node));
        waiters.any(|waiter| self.is_exhausted(waiter, now))
    }

    /// Jobs that have failed for too long end, but for those of which only these pairs are at fault: they get the verdicts
    /// on their other pairs first.
    fn end_exhausted(&mut self, batch: &Batch, refusal: &Arc<Refusal>, now: Now) {
        for &node in &batch.nodes {
            for waiter in self.holdings.waiters(node) {
                let leaves = self.holdings.job(waiter).is_some_and(|job| job.leaving.is_some());
                let stays = leaves || self.is_kept_by_others(batch, waiter);
                if !stays && self.is_exhausted(waiter, now) {
                    let refusal = Arc::new(exhausted_by(refusal));
                    self.leave(waiter, Leaving::Fail { refusal, dead_letter: true }, now);
                }
            }
        }
    }

    /// These pairs fail by themselves, and are tried by themselves when their jobs come back.
    fn note_stuck(&mut self, nodes: &[NodeKey], now: Now) {
        for &node in nodes {
            if let Some((lane, pair)) = self.holdings.name(node) {
                self.stuck.note(lane, pair, now.tick);
            }
        }
    }

    /// Parks the jobs of pairs that have failed too often: the more often a job was parked, the longer it waits.
    fn park_failed(&mut self, batch: &Batch, delay: Duration, now: Now) {
        for &node in &batch.nodes {
            for waiter in self.holdings.waiters(node) {
                let Some(job) = self.holdings.job(waiter) else { continue };
                if self.is_kept_by_others(batch, waiter) {
                    continue;
                }
                let tier = Tier::after_parks(job.carried.parks).max(Tier::within(delay));
                self.leave(waiter, Leaving::Park { tier, for_failures: true }, now);
            }
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
        if let Some(notice) = self.pauses.pause_account(account, kind, until, detail, now) {
            self.command(Command::Notice(notice));
            self.turns.mark_ready(account);
        }
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
            let detail = guard.detail(self.holdings.pairs_to_remove(account), now.tick);
            self.pause_account(account, PauseKind::Guard, None, detail, now);
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

fn exhausted_by(cause: &Refusal) -> Refusal {
    let message = format!("retry.max_age is over; the last failure: {}", cause.message);
    Refusal {
        http_status: cause.http_status,
        correlation_id: cause.correlation_id.clone(),
        ..Refusal::worker(WorkerCategory::RetriesExhausted, &message)
    }
}
