//! What an answer means: for the account that asked, for the lane, for each pair, and so for the jobs.

use std::sync::Arc;
use std::time::Duration;

use super::access::{Refused, portal_matches};
use super::backlog::{LaneKey, NodeKey, Place};
use super::clock::{Now, Tick};
use super::command::{CallKey, CallResult, Command, IdentityReply, Notice, RefreshReply};
use super::engine::{Call, Engine, Subject, Waiting};
use super::lane::{Allowance, Batch, Return, Suspects, Trial};
use super::ledger::Leaving;
use super::pause::{PauseKind, Tier};
use super::reply::Reply;
use super::retry::BREAKER_FAILURES;
use super::verdict::{
    AccountPause, AccountPauseKind, Again, Judgement, LanePause, LanePauseKind, PairVerdict, Policy, Throttled,
    Transient, judge,
};
use crate::contract::ids::AccountIndex;
use crate::contract::refusal::{Refusal, WorkerCategory};

/// Jobs of an account that is told to come back later than this wait in the broker, and `/status` says until when.
const LONGEST_THROTTLE_IN_HAND: Duration = Duration::from_secs(60);

impl Engine {
    /// The reply to a [`Command::Archive`].
    pub fn answered(&mut self, key: CallKey, reply: &Reply, now: Now) -> CallResult {
        let Some(call) = self.end_call(key) else { return CallResult::Unknown };
        let Subject::Batch(batch_key) = call.subject else { return CallResult::Unknown };
        let Some(batch) = self.batches.remove(batch_key) else { return CallResult::Unknown };
        let lane_key = batch.lane;
        if let Some(lane) = self.lanes.get_mut(lane_key) {
            lane.probing = false;
        }
        let judgement = judge(reply, &batch.wire);
        self.note_answer(&call, lane_key, reply, &judgement, now);
        let result = self.conclude(&call, batch, judgement, now);
        // Only now: until here the lane must stay, though all its jobs may have left.
        if let Some(lane) = self.lanes.get_mut(lane_key) {
            lane.in_flight -= 1;
        }
        // Behind a batch that was waited for, others may have been deserted long ago.
        self.drop_deserted(lane_key, now);
        self.place(lane_key, now.tick);
        self.tidy(lane_key);
        self.mark_ready(call.account);
        self.pump(now);
        result
    }

    fn end_call(&mut self, key: CallKey) -> Option<Call> {
        let call = self.calls.remove(key)?;
        self.in_flight -= 1;
        let account = &mut self.accounts[call.account.0 as usize];
        account.in_flight -= 1;
        if account.probing == Some(key) {
            account.probing = None;
        }
        Some(call)
    }

    /// What the answer says of limits, credentials and health, whatever it says of the pairs.
    fn note_answer(&mut self, call: &Call, lane: LaneKey, reply: &Reply, judgement: &Judgement, now: Now) {
        let account = &mut self.accounts[call.account.0 as usize];
        let Reply::Answer(answer) = reply else { return };
        if let Some(left) = answer.headers.rate.daily_remaining {
            account.day.told(left, now.wall);
        }
        let refused = (400..500).contains(&answer.status) && answer.status != 429;
        account.errors.counted(refused, now.tick);
        if refused {
            account.totals.refused += 1;
            self.counters.refusals += 1;
        }
        if !matches!(judgement, Judgement::Throttled(_)) {
            account.pace.accepted(&answer.headers.rate, now.tick);
        }
        match judgement {
            Judgement::Archived | Judgement::Each(_) | Judgement::Suspect(_) | Judgement::LaneRefused(_) => {
                account.access.worked();
                self.healthy(call, now);
                self.lane_healthy(call, lane, now);
            }
            Judgement::PauseLane(_) => {
                account.access.worked();
                self.healthy(call, now);
            }
            Judgement::Again(_) | Judgement::Throttled(_) | Judgement::PauseAccount(_) => {}
        }
    }

    /// The account was served: whatever a request sent since can disprove is over.
    fn healthy(&mut self, call: &Call, now: Now) {
        let account = &mut self.accounts[call.account.0 as usize];
        account.failures_in_a_row = 0;
        account.retries.succeeded();
        let disproved = account.pause.as_ref().is_some_and(|pause| match pause.kind {
            PauseKind::Unauthorized | PauseKind::RefreshRefused | PauseKind::PortalMismatch | PauseKind::Outage => {
                call.sent >= pause.since
            }
            PauseKind::PortalMoving
            | PauseKind::DaySpent
            | PauseKind::Throttled
            | PauseKind::Operator
            | PauseKind::MissingScopes
            | PauseKind::Forbidden
            | PauseKind::WrongPath => false,
        });
        if disproved {
            self.resume_account(call.account, now);
        }
    }

    fn lane_healthy(&mut self, call: &Call, key: LaneKey, now: Now) {
        let caps = self.policy.caps;
        let Some(lane) = self.lanes.get_mut(key) else { return };
        lane.regrow(caps);
        let disproved = lane.pause.as_ref().is_some_and(|pause| match pause.kind {
            PauseKind::MissingScopes | PauseKind::Forbidden | PauseKind::WrongPath => call.sent >= pause.since,
            PauseKind::Unauthorized
            | PauseKind::RefreshRefused
            | PauseKind::PortalMismatch
            | PauseKind::PortalMoving
            | PauseKind::DaySpent
            | PauseKind::Throttled
            | PauseKind::Outage
            | PauseKind::Operator => false,
        });
        if disproved {
            self.resume_lane(key, now);
        }
    }

    fn conclude(&mut self, call: &Call, batch: Batch, judgement: Judgement, now: Now) -> CallResult {
        match judgement {
            Judgement::Archived => {
                self.archived(&batch.nodes, call.account, now);
                self.sibling_is_bad(batch, now);
                CallResult::Archived
            }
            Judgement::Each(verdicts) => self.conclude_each(call, batch, verdicts, now),
            Judgement::Suspect(refusal) => {
                let verdicts = vec![PairVerdict::Suspect(refusal); batch.nodes.len()];
                self.conclude_each(call, batch, verdicts, now)
            }
            Judgement::LaneRefused(refusal) => {
                self.refuse_lane(batch, &refusal, now);
                CallResult::Refused
            }
            Judgement::Again(again) => {
                let result = CallResult::Transient(again.cause);
                self.again(call, batch, again, now);
                result
            }
            Judgement::Throttled(throttled) => {
                self.throttled(call, &throttled, now);
                self.come_back(batch, now.tick, now);
                CallResult::Throttled
            }
            Judgement::PauseLane(pause) => {
                let lane = batch.lane;
                self.come_back(batch, now.tick, now);
                let (kind, detail) = lane_pause(&pause);
                self.pause_lane(lane, kind, detail, now);
                CallResult::LanePaused
            }
            Judgement::PauseAccount(pause) => {
                self.come_back(batch, now.tick, now);
                self.account_refused(call, &pause, now);
                CallResult::AccountPaused
            }
        }
    }

    fn archived(&mut self, nodes: &[NodeKey], account: AccountIndex, now: Now) {
        self.counters.pairs_archived += nodes.len() as u64;
        self.accounts[account.0 as usize].totals.pairs_archived += nodes.len() as u64;
        for &node in nodes {
            self.settle(node, None, now);
        }
    }

    /// One pair has its verdict: archived, or refused for a reason.
    fn settle(&mut self, key: NodeKey, refusal: Option<&Arc<Refusal>>, now: Now) {
        let Some(node) = self.backlog.node(key) else { return };
        let (pair, lane, on_wire) = (node.pair, node.lane, node.place == Place::OnWire);
        let Some(lane) = self.lanes.get_mut(lane) else { return };
        for waiter in self.backlog.settle(&mut lane.queue, key) {
            if let Some(job) = self.jobs.get_mut(waiter) {
                if on_wire {
                    job.pair_returns();
                }
                match refusal {
                    None => job.pair_archived(),
                    Some(refusal) => job.pair_failed(pair, Arc::clone(refusal)),
                }
                self.finish_if_done(waiter, now);
            }
        }
    }

    fn refuse_all(&mut self, nodes: &[NodeKey], refusal: &Arc<Refusal>, now: Now) {
        for &node in nodes {
            self.settle(node, Some(refusal), now);
        }
    }

    /// The object type does not exist: nothing of this lane can ever be archived.
    fn refuse_lane(&mut self, batch: Batch, refusal: &Arc<Refusal>, now: Now) {
        self.refuse_all(&batch.nodes, refusal, now);
        if let Some(sibling) = batch.trial.and_then(|trial| trial.sibling) {
            self.refuse_all(&sibling.nodes, refusal, now);
        }
        let Some(lane) = self.lanes.get_mut(batch.lane) else { return };
        let returned = std::mem::take(&mut lane.returned);
        let waiting: Vec<NodeKey> = self.backlog.waiting(&lane.queue).collect();
        self.refuse_all(&waiting, refusal, now);
        for back in returned {
            if let Some(batch) = self.batches.remove(back.batch) {
                self.refuse_lane(batch, refusal, now);
            }
        }
    }

    /// A verdict for each pair: settles what is settled, repeats and isolates the rest.
    fn conclude_each(&mut self, call: &Call, batch: Batch, verdicts: Vec<PairVerdict>, now: Now) -> CallResult {
        let Batch { lane, nodes, wire: _, failures, trial } = batch;
        let mut archived = Vec::new();
        let (mut untouched, mut again, mut last_again) = (Vec::new(), Vec::new(), None);
        let mut suspects: Vec<Suspects> = Vec::new();
        let mut refused = 0;
        for (node, verdict) in nodes.iter().copied().zip(verdicts) {
            match verdict {
                PairVerdict::Archived => archived.push(node),
                PairVerdict::Refused(refusal) => {
                    refused += 1;
                    self.settle(node, Some(&refusal), now);
                }
                PairVerdict::Suspect(refusal) => suspect(&mut suspects, node, refusal),
                PairVerdict::Again(refusal) => {
                    again.push(node);
                    last_again = Some(refusal);
                }
                PairVerdict::Untouched => untouched.push(node),
            }
        }
        self.archived(&archived, call.account, now);
        let fault_found = refused > 0 || !suspects.is_empty();
        let (allowance, mut sibling) = match trial {
            Some(trial) => (Some(trial.allowance), trial.sibling),
            None => (None, None),
        };
        if !suspects.is_empty() && allowance.is_none() {
            let pairs = suspects.iter().map(|suspects| suspects.nodes.len()).sum();
            self.notice_isolation(lane, pairs);
        }
        let allowance = allowance.unwrap_or_else(|| Allowance::new(self.policy.isolation_requests, now.tick));
        // The fault was on this side, so nothing is known of the other.
        if fault_found && let Some(sibling) = sibling.take() {
            self.try_out(lane, sibling.nodes, &sibling.refusal, None, &allowance, now);
        }
        for suspects in suspects {
            self.split(lane, suspects, &allowance, now);
        }
        if !untouched.is_empty() {
            let trial =
                (fault_found || sibling.is_some()).then(|| Trial { allowance: allowance.clone(), sibling: None });
            let trial = trial.map(|trial| Trial { sibling: sibling.take(), ..trial });
            self.come_back(Batch { lane, nodes: untouched, wire: Arc::new([]), failures, trial }, now.tick, now);
        }
        if let Some(refusal) = last_again {
            let trial = sibling.take().map(|sibling| Trial { allowance: allowance.clone(), sibling: Some(sibling) });
            let batch = Batch { lane, nodes: again, wire: Arc::new([]), failures, trial };
            self.repeat(batch, Duration::ZERO, &refusal, now);
        }
        if let Some(sibling) = sibling {
            self.known_bad(lane, sibling, &allowance, now);
        }
        match (archived.len(), refused) {
            (0, _) => CallResult::Refused,
            (all, 0) if all == nodes.len() => CallResult::Archived,
            _ => CallResult::Partial,
        }
    }

    fn notice_isolation(&mut self, lane: LaneKey, pairs: usize) {
        if let Some(lane) = self.lanes.get(lane) {
            let lane = lane.id.clone();
            self.command(Command::Notice(Notice::Isolating { lane, pairs }));
        }
    }

    /// This half is good, so the fault is in the other.
    fn sibling_is_bad(&mut self, batch: Batch, now: Now) {
        if let Some(Trial { allowance, sibling: Some(sibling) }) = batch.trial {
            self.known_bad(batch.lane, sibling, &allowance, now);
        }
    }

    /// A set that holds a bad pair for certain is not tried as a whole; a single pair is, for its own answer.
    fn known_bad(&mut self, lane: LaneKey, suspects: Suspects, allowance: &Allowance, now: Now) {
        match suspects.nodes.len() {
            0 => {}
            1 => self.try_out(lane, suspects.nodes, &suspects.refusal, None, allowance, now),
            _ => self.split(lane, suspects, allowance, now),
        }
    }

    /// Tries the first half; what it comes to tells whether the second must be tried.
    fn split(&mut self, lane: LaneKey, suspects: Suspects, allowance: &Allowance, now: Now) {
        let Suspects { mut nodes, refusal } = suspects;
        if nodes.len() == 1 {
            return self.try_out(lane, nodes, &refusal, None, allowance, now);
        }
        let others = nodes.split_off(nodes.len() / 2);
        let sibling = Suspects { nodes: others, refusal: Arc::clone(&refusal) };
        self.try_out(lane, nodes, &refusal, Some(sibling), allowance, now);
    }

    pub(super) fn try_out(
        &mut self,
        lane: LaneKey,
        nodes: Vec<NodeKey>,
        refusal: &Arc<Refusal>,
        sibling: Option<Suspects>,
        allowance: &Allowance,
        now: Now,
    ) {
        if !allowance.spend() {
            let others = sibling.map(|sibling| sibling.nodes).unwrap_or_default();
            let all: Vec<NodeKey> = nodes.into_iter().chain(others).collect();
            return self.unattributed(lane, &all, refusal, now);
        }
        let trial = Some(Trial { allowance: allowance.clone(), sibling });
        self.come_back(Batch { lane, nodes, wire: Arc::new([]), failures: 0, trial }, now.tick, now);
    }

    fn unattributed(&mut self, lane: LaneKey, nodes: &[NodeKey], cause: &Refusal, now: Now) {
        let refusal = Arc::new(unattributed(cause, self.policy.isolation_requests));
        self.refuse_all(nodes, &refusal, now);
        if let Some(lane) = self.lanes.get(lane) {
            let (lane, pairs) = (lane.id.clone(), nodes.len());
            self.command(Command::Notice(Notice::Unattributed { lane, pairs }));
        }
    }

    /// Puts a batch back into its lane, due at `due`; whoever leaves, leaves it here.
    pub(super) fn come_back(&mut self, mut batch: Batch, due: Tick, now: Now) {
        let siblings = batch.trial.iter().filter_map(|trial| trial.sibling.as_ref());
        let others: Vec<NodeKey> = siblings.flat_map(|sibling| sibling.nodes.iter().copied()).collect();
        for key in batch.nodes.iter().copied().chain(others) {
            self.node_comes_back(key, now);
        }
        batch.nodes.retain(|&node| self.backlog.node(node).is_some());
        if batch.nodes.is_empty() {
            if let Some(Trial { allowance, sibling: Some(sibling) }) = batch.trial {
                self.try_out(batch.lane, sibling.nodes, &sibling.refusal, None, &allowance, now);
            }
            return;
        }
        let lane_key = batch.lane;
        let key = self.batches.insert(batch);
        if let Some((lane, batch)) = self.lanes.get_mut(lane_key).zip(self.batches.get(key)) {
            lane.returned.insert(Return::new(key, batch, due, now.tick));
            let account = lane.id.account;
            self.place(lane_key, now.tick);
            self.mark_ready(account);
        }
    }

    fn node_comes_back(&mut self, key: NodeKey, now: Now) {
        let Some(node) = self.backlog.node(key) else { return };
        if node.place == Place::OnWire
            && let Some(lane) = self.lanes.get_mut(node.lane)
        {
            for &waiter in &node.waiters {
                if let Some(job) = self.jobs.get_mut(waiter) {
                    job.pair_returns();
                }
            }
            for job in self.backlog.come_back(&mut lane.queue, key) {
                if let Some(job) = self.jobs.get_mut(job) {
                    job.nodes.push(key);
                }
            }
        }
        self.withdraw_leavers(key, now);
    }

    /// A passing failure of the whole request.
    fn again(&mut self, call: &Call, batch: Batch, again: Again, now: Now) {
        if again.cause.leaves_doubt() {
            for &node in &batch.nodes {
                if let Some(node) = self.backlog.node_mut(node) {
                    node.in_doubt = true;
                }
            }
        }
        let shrinks = again.cause.wants_smaller() && batch.nodes.len() > 1;
        if again.cause.is_failure_of_account() {
            self.account_failed(call.account, &again, now);
        }
        let least = again.least_wait(now.wall);
        if !shrinks {
            return self.repeat(batch, least, &again.refusal, now);
        }
        if let Some(lane) = self.lanes.get_mut(batch.lane) {
            lane.shrink(batch.nodes.len());
        }
        let Batch { lane, mut nodes, wire: _, failures, trial } = batch;
        let others = nodes.split_off(nodes.len() / 2);
        // What is known of the two halves together is not known of either: both are tried by themselves.
        let (allowance, sibling) = match trial {
            Some(trial) => (Some(trial.allowance), trial.sibling),
            None => (None, None),
        };
        let batch = |nodes, failures| {
            let trial = allowance.clone().map(|allowance| Trial { allowance, sibling: None });
            Batch { lane, nodes, wire: Arc::new([]), failures, trial }
        };
        for half in [batch(nodes, failures), batch(others, failures)] {
            // Where the size was the fault nothing has failed yet: halving must reach the size that fits.
            match again.cause == Transient::TooLarge {
                true => self.come_back(half, now.tick + least, now),
                false => self.repeat(half, least, &again.refusal, now),
            }
        }
        if let Some(sibling) = sibling {
            self.come_back(batch(sibling.nodes, 0), now.tick, now);
        }
    }

    fn account_failed(&mut self, index: AccountIndex, again: &Again, now: Now) {
        let account = &mut self.accounts[index.0 as usize];
        account.failures_in_a_row = account.failures_in_a_row.saturating_add(1);
        if account.failures_in_a_row >= BREAKER_FAILURES && account.pause.is_none() {
            let detail = format!("{BREAKER_FAILURES} failures in a row, the last: {}", again.refusal.message);
            self.pause_account(index, PauseKind::Outage, None, detail, now);
        }
    }

    /// A batch failed in passing: again after a back-off, in the broker, or never.
    fn repeat(&mut self, mut batch: Batch, least: Duration, refusal: &Arc<Refusal>, now: Now) {
        batch.failures += 1;
        self.age_jobs(&batch, refusal, now);
        let drawn = self.draw();
        let delay = self.policy.retry.delay(batch.failures, drawn, least);
        let given_up = batch.failures >= self.policy.retry.max_attempts;
        let too_long = delay > Tier::OneMinute.wait();
        match self.policy.waiting {
            Waiting::Outside { .. } if given_up || too_long => {
                for &node in &batch.nodes {
                    self.node_comes_back(node, now);
                }
                self.park_failed(&batch.nodes, delay, now);
                self.come_back(batch, now.tick, now);
            }
            Waiting::InHand { .. } if given_up => {
                batch.failures = 0;
                self.come_back(batch, now.tick + delay.max(Tier::TenSeconds.wait()), now);
            }
            Waiting::Outside { .. } | Waiting::InHand { .. } => self.come_back(batch, now.tick + delay, now),
        }
    }

    /// Notes the failure with each job; those that have failed for too long end here.
    fn age_jobs(&mut self, batch: &Batch, refusal: &Arc<Refusal>, now: Now) {
        for &node in &batch.nodes {
            let waiters = self.backlog.node(node).map(|node| node.waiters.clone()).unwrap_or_default();
            for waiter in waiters {
                let Some(uncounted) = self.jobs.get(waiter).map(|job| self.uncounted(job, now.tick)) else { continue };
                let Some(job) = self.jobs.get_mut(waiter) else { continue };
                let exhausted = job.age(now.tick, uncounted).is_some_and(|age| age >= self.policy.retry.max_age);
                job.failed(now.tick, uncounted);
                if exhausted && job.leaving.is_none() {
                    let refusal = Arc::new(exhausted_by(refusal));
                    self.leave(waiter, Leaving::Fail { refusal, dead_letter: true }, now);
                }
            }
        }
    }

    fn park_failed(&mut self, nodes: &[NodeKey], delay: Duration, now: Now) {
        for &node in nodes {
            let waiters = self.backlog.node(node).map(|node| node.waiters.clone()).unwrap_or_default();
            for waiter in waiters {
                let Some(job) = self.jobs.get(waiter) else { continue };
                let tier = Tier::after_parks(job.carried.parks).max(Tier::within(delay));
                self.leave(waiter, Leaving::Park { tier, for_failures: true }, now);
            }
        }
    }

    fn throttled(&mut self, call: &Call, throttled: &Throttled, now: Now) {
        let account = &mut self.accounts[call.account.0 as usize];
        account.totals.throttled += 1;
        let wait = throttled.retry_after.map(|after| after.wait(now.wall));
        let open_at = account.pace.throttled(call.slot, throttled.policy, wait, now.tick);
        let until = match throttled.policy {
            Policy::Daily => {
                account.day.refused(now.wall);
                let skewed = account.day.refused_near_midnight(now.wall);
                let until = skewed.or_else(|| account.day.spent_until(now.wall));
                let detail = "HubSpot says that the day's requests are spent".to_owned();
                self.pause_account(call.account, PauseKind::DaySpent, until, detail, now);
                until
            }
            Policy::TenSecondly | Policy::Secondly | Policy::Unknown => {
                let until = Some(now.wall_at(open_at));
                let far = wait.is_some_and(|wait| wait > LONGEST_THROTTLE_IN_HAND);
                if far && !self.paused_for(call.account, PauseKind::Throttled) {
                    let detail = "HubSpot answered 429 and says when to come back".to_owned();
                    self.pause_account(call.account, PauseKind::Throttled, until, detail, now);
                }
                until
            }
        };
        let policy = throttled.policy;
        self.command(Command::Notice(Notice::Slowed { account: call.account, policy, until }));
    }

    fn account_refused(&mut self, call: &Call, pause: &AccountPause, now: Now) {
        let index = call.account;
        match pause.kind {
            AccountPauseKind::Moving(retry_after) => {
                let until = retry_after.map(|after| now.wall_at(now.tick + after.wait(now.wall)));
                let until = until.unwrap_or(now.wall_at(now.tick + Tier::OneMinute.wait()));
                self.pause_account(index, PauseKind::PortalMoving, Some(until), pause.refusal.message.to_string(), now);
            }
            AccountPauseKind::TokenExpired | AccountPauseKind::TokenInvalid | AccountPauseKind::TokenRefused => {
                match self.accounts[index.0 as usize].access.refused(call.epoch) {
                    Refused::Outdated | Refused::Refresh => {}
                    Refused::Stays => {
                        let detail = pause.refusal.message.to_string();
                        self.pause_account(index, PauseKind::Unauthorized, None, detail, now);
                        self.command(Command::RereadCredentials { account: index });
                    }
                }
            }
        }
    }

    /// The answer to a [`Command::Refresh`].
    pub fn refreshed(&mut self, key: CallKey, reply: RefreshReply, now: Now) {
        let Some(call) = self.end_call(key) else { return };
        let index = call.account;
        let account = &mut self.accounts[index.0 as usize];
        match reply {
            RefreshReply::Granted { expires_in, portal } => {
                account.access.granted(expires_in, now.tick);
                if let Some(portal) = portal {
                    self.portal_told(index, portal.0, now);
                } else if self.paused_for(index, PauseKind::RefreshRefused) {
                    self.resume_account(index, now);
                }
            }
            RefreshReply::Refused { detail } => {
                account.access.refresh_refused();
                self.pause_account(index, PauseKind::RefreshRefused, None, detail, now);
                self.command(Command::RereadCredentials { account: index });
            }
            RefreshReply::Failed { detail: _, wait } => account.access.refresh_failed(wait, now.tick),
        }
        self.mark_ready(index);
        self.pump(now);
    }

    /// The answer to a [`Command::Identify`].
    pub fn identified(&mut self, key: CallKey, reply: IdentityReply, now: Now) {
        let Some(call) = self.end_call(key) else { return };
        let index = call.account;
        let account = &mut self.accounts[index.0 as usize];
        let outdated = account.access.epoch() != call.epoch;
        match reply {
            IdentityReply::Told { portal, time_zone } => {
                if let Some(zone) = time_zone.filter(|_| account.policy.time_zone.is_none()) {
                    account.day.move_to(zone, now.wall);
                }
                if outdated { account.access.identity_differs() } else { self.portal_told(index, portal, now) }
            }
            IdentityReply::WillNotTell { detail } => {
                account.access.identity_settled();
                self.command(Command::Notice(Notice::Unidentified { account: index, detail }));
            }
            IdentityReply::Failed { detail, wait } => {
                if account.access.identity_failed(wait, now.tick) {
                    self.command(Command::Notice(Notice::Unidentified { account: index, detail }));
                }
            }
        }
        self.mark_ready(index);
        self.pump(now);
    }

    /// HubSpot said whose token it is: archiving in another portal than the one configured must be impossible.
    fn portal_told(&mut self, index: AccountIndex, told: std::num::NonZeroU64, now: Now) {
        let account = &mut self.accounts[index.0 as usize];
        let configured = account.policy.portal;
        if portal_matches(configured, told) {
            account.access.identity_settled();
            if self.paused_for(index, PauseKind::PortalMismatch) || self.paused_for(index, PauseKind::RefreshRefused) {
                self.resume_account(index, now);
            }
            return;
        }
        account.access.identity_differs();
        let configured = configured.map_or_else(|| "none".to_owned(), |portal| portal.to_string());
        let detail = format!("the token belongs to portal {told}, the settings say {configured}: mend one of them");
        self.pause_account(index, PauseKind::PortalMismatch, None, detail, now);
        self.command(Command::RereadCredentials { account: index });
    }

    fn paused_for(&self, index: AccountIndex, kind: PauseKind) -> bool {
        self.accounts[index.0 as usize].pause.as_ref().is_some_and(|pause| pause.kind == kind)
    }

    /// The account has other credentials than before.
    pub fn credentials_changed(&mut self, index: AccountIndex, now: Now) {
        let Some(account) = self.accounts.get_mut(index.0 as usize) else { return };
        account.access.changed();
        if let Some(pause) = &mut account.pause {
            pause.probe_now(now.tick);
        }
        let standing: Vec<LaneKey> = account.standing.iter().copied().collect();
        for key in standing {
            if let Some(pause) = self.lanes.get_mut(key).and_then(|lane| lane.pause.as_mut()) {
                pause.probe_now(now.tick);
                self.place(key, now.tick);
            }
        }
        self.mark_ready(index);
        self.pump(now);
    }
}

/// Suspects stand together by the error that names them: each error is one known fault.
fn suspect(groups: &mut Vec<Suspects>, node: NodeKey, refusal: Arc<Refusal>) {
    match groups.iter_mut().find(|group| Arc::ptr_eq(&group.refusal, &refusal)) {
        Some(group) => group.nodes.push(node),
        None => groups.push(Suspects { nodes: vec![node], refusal }),
    }
}

fn lane_pause(pause: &LanePause) -> (PauseKind, String) {
    let said = &pause.refusal.message;
    match &pause.kind {
        LanePauseKind::MissingScopes(scopes) if scopes.is_empty() => (PauseKind::MissingScopes, said.to_string()),
        LanePauseKind::MissingScopes(scopes) => {
            (PauseKind::MissingScopes, format!("missing scopes: {}", scopes.join(", ")))
        }
        LanePauseKind::Forbidden => (PauseKind::Forbidden, said.to_string()),
        LanePauseKind::NotFound
        | LanePauseKind::MethodNotAllowed
        | LanePauseKind::UnsupportedMedia
        | LanePauseKind::Redirected => (PauseKind::WrongPath, said.to_string()),
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

fn unattributed(cause: &Refusal, requests: u32) -> Refusal {
    let message = format!(
        "HubSpot refused requests that carried this pair and others without saying which is at fault, and {requests} \
         further requests (isolation.max_requests) did not find out; it may be good. HubSpot's words: {}",
        cause.message
    );
    Refusal {
        http_status: cause.http_status,
        correlation_id: cause.correlation_id.clone(),
        ..Refusal::worker(WorkerCategory::Unattributed, &message)
    }
}
