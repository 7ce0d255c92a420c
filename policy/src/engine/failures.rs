//! The conductor, for what failed: a batch goes again after a back-off, or its jobs go on in the broker, or they end.

use std::sync::Arc;
use std::time::Duration;

use super::backlog::{JobKey, NodeKey};
use super::batch::Batch;
use super::clock::Now;
use super::command::{Command, Notice};
use super::engine::Engine;
use super::expected::expected;
use super::ledger::Leaving;
use super::pause::Tier;
use super::search::{self, Failed};
use super::settings::Waiting;
use super::verdict::Again;
use crate::contract::refusal::{Refusal, WorkerCategory};

impl Engine {
    /// One error of an answer says of these pairs that they failed.
    pub(super) fn repeat_named(&mut self, batch: Batch, again: &Arc<Again>, now: Now) {
        let (tries, requests) = (self.policy.retry.max_attempts, self.policy.isolation_requests);
        let wait = again.least_wait(now.wall);
        self.age_jobs(&batch, now);
        match search::named(batch, again, tries, requests, wait, now.tick) {
            Failed::Whole(batch, _) => self.repeat_noted(batch, wait, &again.refusal, now),
            Failed::InParts(next) => next.into_iter().for_each(|next| self.go_on(next, now)),
        }
    }

    /// No request may be spent any more on finding out which of these pairs are at fault.
    pub(super) fn unattributed(&mut self, batch: Batch, refusal: &Refusal, now: Now) {
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
    pub(super) fn search_no_further(&mut self, batch: Batch, again: &Again, now: Now) {
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
        let tries_are_over = batch.failures >= self.policy.retry.max_attempts;
        let is_last = tries_are_over || self.is_last_try(&batch, now);
        if batch.stuck || (batch.is_suspect() && is_last) {
            self.holdings.mark_stuck(&batch.nodes);
        }
        if batch.stuck {
            // This must be noted now, since its job may leave before the next try.
            self.note_stuck(&batch.nodes, now);
        }
        self.end_exhausted(&batch, refusal, now);
        let drawn = self.draw();
        let delay = self.policy.retry.delay(batch.failures, drawn, least);
        let too_long = delay > Tier::OneMinute.wait();
        match self.policy.waiting {
            Waiting::Outside { .. } if tries_are_over || too_long => {
                for &node in &batch.nodes {
                    self.holdings.take_off_wire(node);
                }
                self.finish(now);
                self.park_failed(&batch, delay, now);
                // The jobs that stay wait for other pairs too, so a try now and then is enough for this batch.
                let waits = batch.stuck || batch.is_suspect();
                let wait = if waits { Tier::after_parks(batch.rounds).wait() } else { Duration::ZERO };
                batch.rounds = batch.rounds.saturating_add(1);
                self.give_back(batch, now.tick + wait, now);
            }
            Waiting::InHand { .. } if tries_are_over => {
                batch.failures = if batch.stuck { self.policy.retry.max_attempts.saturating_sub(1) } else { 0 };
                // A pair that fails by itself may go on failing for as long as its jobs may wait, and so may pairs that each
                // have an error of their own in the answers.
                let by_themselves = batch.nodes.len() == 1 || batch.named;
                let tier = if by_themselves { Tier::after_parks(batch.rounds) } else { Tier::TenSeconds };
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
                let Some(job) = expected(self.holdings.job(waiter), "who waits for a pair is in hand") else {
                    continue;
                };
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

    /// Ends the jobs that have been failing for too long. A job of which only these pairs fail stays until it has the
    /// verdicts on its other pairs.
    fn end_exhausted(&mut self, batch: &Batch, refusal: &Arc<Refusal>, now: Now) {
        for &node in &batch.nodes {
            for waiter in self.holdings.waiters(node) {
                let leaves = self.holdings.job(waiter).is_some_and(|job| job.leaving.is_some());
                let stays = leaves || self.is_kept_by_others(batch, waiter);
                if !stays && self.is_exhausted(waiter, now) {
                    let refusal = Arc::new(exhausted_by(refusal));
                    self.leave(waiter, Leaving::Fail { refusal }, now);
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
                let Some(job) = expected(self.holdings.job(waiter), "who waits for a pair is in hand") else {
                    continue;
                };
                if self.is_kept_by_others(batch, waiter) {
                    continue;
                }
                let tier = Tier::after_parks(job.carried.parks).max(Tier::within(delay));
                self.leave(waiter, Leaving::Park { tier, for_failures: true }, now);
            }
        }
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
