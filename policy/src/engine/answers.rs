//! The conductor, for what comes back: what an answer means for the account that asked, for the lane, for each pair, and
//! so for the jobs.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use super::access::{Refused, portal_matches};
use super::backlog::{LaneKey, NodeKey};
use super::batch::Batch;
use super::calls::{Call, Purpose};
use super::clock::Now;
use super::command::{CallKey, CallResult, Command, IdentityReply, Notice, RefreshReply};
use super::engine::Engine;
use super::expected::expected;
use super::ledger::Leaving;
use super::pause::{PauseKind, Tier};
use super::reply::Reply;
use super::retry::BREAKER_FAILURES;
use super::search::{self, Findings, Halves, Suspects};
use super::settings::Waiting;
use super::verdict::{
    AccountPause, AccountPauseKind, Again, Judgement, LanePause, LanePauseKind, PairVerdict, Policy, Throttled,
    Transient,
};
use crate::contract::ids::AccountIndex;
use crate::contract::refusal::{Refusal, WorkerCategory};

/// Jobs of an account that is told to come back later than this wait in the broker, and `/status` says until when.
const LONGEST_THROTTLE_IN_HAND: Duration = Duration::from_secs(60);

impl Engine {
    /// The reply to a [`Command::Archive`].
    pub fn answered(&mut self, key: CallKey, reply: &Reply, now: Now) -> CallResult {
        let Some(call) = self.end_call(key) else { return CallResult::Unknown };
        let Purpose::Batch(batch) = call.purpose else { return CallResult::Unknown };
        let Some(batch) = self.holdings.take_batch(batch) else { return CallResult::Unknown };
        let key = batch.lane;
        let Some(lane) = expected(self.holdings.lane(key), "a batch keeps its lane open") else {
            return CallResult::Unknown;
        };
        self.pauses.lane_answered(key);
        let judgement = lane.id.step().judge(reply, &batch.wire);
        self.note_answer(&call, key, reply, &judgement, now);
        let result = self.conclude(&call, batch, judgement, now);
        // Only now: until here the lane must stay open, though all its jobs may have left.
        if let Some(lane) = expected(self.holdings.lane_mut(key), "a lane with a request on the wire is open") {
            lane.request_ended();
        }
        // Behind a batch that was waited for, others may have been deserted long ago.
        self.drop_deserted(key, now);
        self.place(key, now.tick);
        self.tidy(key);
        self.turns.mark_ready(call.account);
        self.pump(now);
        result
    }

    fn end_call(&mut self, key: CallKey) -> Option<Call> {
        let call = self.calls.remove(key)?;
        self.accounts[call.account].call_ended();
        self.pauses.call_ended(call.account, key);
        Some(call)
    }

    /// What an answer says of limits, credentials and health, whatever it says of the pairs.
    fn note_answer(&mut self, call: &Call, lane: LaneKey, reply: &Reply, judgement: &Judgement, now: Now) {
        let Reply::Answer(answer) = reply else { return };
        let account = &mut self.accounts[call.account];
        self.counters.refusals += u64::from(account.batch_answered(answer, now));
        if !matches!(judgement, Judgement::Throttled(_)) {
            account.pace.accepted(&answer.headers.rate, now.tick);
        }
        match judgement {
            Judgement::Archived | Judgement::Each(_) | Judgement::Suspect(_) | Judgement::LaneRefused(_) => {
                self.account_served(call, now);
                self.lane_served(call, lane, now);
            }
            Judgement::PauseLane(_) => self.account_served(call, now),
            Judgement::Again(_) | Judgement::Throttled(_) | Judgement::PauseAccount(_) => {}
        }
    }

    fn account_served(&mut self, call: &Call, now: Now) {
        let account = &mut self.accounts[call.account];
        account.access.worked();
        account.served();
        if self.pauses.account_served(call.account, call.sent) {
            self.resume_account(call.account, now);
        }
    }

    fn lane_served(&mut self, call: &Call, key: LaneKey, now: Now) {
        if let Some(lane) = expected(self.holdings.lane_mut(key), "a lane with a request on the wire is open") {
            lane.regrow(self.policy.caps);
        }
        if self.pauses.lane_served(key, call.sent) {
            self.resume_lane(key, now);
        }
    }

    fn conclude(&mut self, call: &Call, batch: Batch, judgement: Judgement, now: Now) -> CallResult {
        match judgement {
            Judgement::Archived => {
                self.archived(&batch.nodes, call.account, now);
                if let Some(next) = search::proved_good(batch) {
                    self.go_on(next, now);
                }
                CallResult::Archived
            }
            Judgement::Each(verdicts) => self.conclude_each(call, batch, verdicts, now),
            Judgement::Suspect(refusal) => {
                let verdicts = vec![PairVerdict::Suspect(refusal); batch.nodes.len()];
                self.conclude_each(call, batch, verdicts, now)
            }
            Judgement::LaneRefused(refusal) => {
                // The object type does not exist: nothing of this lane can ever be archived.
                self.holdings.refuse_lane(&batch, &refusal);
                self.finish(now);
                CallResult::Refused
            }
            Judgement::Again(again) => {
                let result = CallResult::Transient(again.cause);
                self.again(call, batch, &again, now);
                result
            }
            Judgement::Throttled(throttled) => {
                self.throttled(call, &throttled, now);
                self.give_back(batch, now.tick, now);
                CallResult::Throttled
            }
            Judgement::PauseLane(pause) => {
                let lane = batch.lane;
                self.give_back(batch, now.tick, now);
                let (kind, detail) = lane_pause(&pause);
                self.pause_lane(lane, kind, detail, now);
                CallResult::LanePaused
            }
            Judgement::PauseAccount(pause) => {
                self.give_back(batch, now.tick, now);
                self.account_refused(call, &pause, now);
                CallResult::AccountPaused
            }
        }
    }

    fn archived(&mut self, nodes: &[NodeKey], account: AccountIndex, now: Now) {
        self.counters.pairs_archived += nodes.len() as u64;
        self.accounts[account].pairs_archived(nodes.len());
        for &node in nodes {
            self.holdings.settle(node, None);
        }
        self.finish(now);
    }

    /// A verdict for each pair: settles what is settled, repeats the rest, or searches it for the pairs at fault.
    fn conclude_each(&mut self, call: &Call, batch: Batch, verdicts: Vec<PairVerdict>, now: Now) -> CallResult {
        let key = batch.lane;
        let requests = self.policy.isolation_requests;
        let Findings { result, refused, archived, begins_with, next } =
            search::conclude(batch, verdicts, requests, now.tick);
        for (node, refusal) in refused {
            self.holdings.settle(node, Some(&refusal));
        }
        self.archived(&archived, call.account, now);
        if let (Some(pairs), Some(lane)) = (begins_with, self.holdings.lane(key)) {
            let lane = lane.id.clone();
            self.command(Command::Notice(Notice::Isolating { lane, pairs }));
        }
        for next in next {
            self.go_on(next, now);
        }
        result
    }

    /// No request may be spent any more on finding out which of these pairs are at fault.
    pub(super) fn unattributed(&mut self, key: LaneKey, suspects: Suspects, now: Now) {
        let Suspects { nodes, refusal } = suspects;
        let refusal = Arc::new(search::unattributed(&refusal, self.policy.isolation_requests));
        let pairs = nodes.len();
        self.holdings.refuse_all(nodes, &refusal);
        self.finish(now);
        if let Some(lane) = self.holdings.lane(key) {
            let lane = lane.id.clone();
            self.command(Command::Notice(Notice::Unattributed { lane, pairs }));
        }
    }

    /// The whole request failed for a passing reason.
    fn again(&mut self, call: &Call, batch: Batch, again: &Again, now: Now) {
        if again.cause.leaves_doubt() {
            self.holdings.leave_in_doubt(&batch.nodes);
        }
        if again.cause.is_failure_of_account() && self.pauses.account_failed(call.account) {
            let detail = format!("{BREAKER_FAILURES} failures in a row, the last: {}", again.refusal.message);
            self.pause_account(call.account, PauseKind::Outage, None, detail, now);
        }
        self.pauses.account_distrusts(call.account, again.cause == Transient::Tls);
        let least = again.least_wait(now.wall);
        if !again.cause.wants_smaller() || batch.nodes.len() < 2 {
            return self.repeat(batch, least, &again.refusal, now);
        }
        if let Some(lane) = expected(self.holdings.lane_mut(batch.lane), "a batch keeps its lane open") {
            lane.shrink(batch.nodes.len());
        }
        let Halves { halves, sibling } = search::halve(batch);
        for half in halves {
            // Where the size was the fault nothing has failed yet: halving must reach the size that fits.
            match again.cause == Transient::TooLarge {
                true => self.give_back(half, now.tick + least, now),
                false => self.repeat(half, least, &again.refusal, now),
            }
        }
        if let Some(sibling) = sibling {
            self.give_back(sibling, now.tick, now);
        }
    }

    /// A batch failed for a passing reason: it goes again after a back-off, or its jobs go on in the broker.
    pub(super) fn repeat(&mut self, mut batch: Batch, least: Duration, refusal: &Arc<Refusal>, now: Now) {
        batch.failures += 1;
        self.age_jobs(&batch, refusal, now);
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
                self.park_failed(&batch.nodes, delay, now);
                self.give_back(batch, now.tick, now);
            }
            Waiting::InHand { .. } if given_up => {
                batch.failures = 0;
                self.give_back(batch, now.tick + delay.max(Tier::TenSeconds.wait()), now);
            }
            Waiting::Outside { .. } | Waiting::InHand { .. } => self.give_back(batch, now.tick + delay, now),
        }
    }

    /// Notes the failure with each job; those that have failed for too long end here.
    fn age_jobs(&mut self, batch: &Batch, refusal: &Arc<Refusal>, now: Now) {
        for &node in &batch.nodes {
            for waiter in self.holdings.waiters(node) {
                let Some(job) = self.holdings.job(waiter) else { continue };
                let (leaves, uncounted) =
                    (job.leaving.is_some(), self.pauses.uncounted(job.account, job.lane, now.tick));
                let age = self.holdings.failed(waiter, now.tick, uncounted);
                if !leaves && age.is_some_and(|age| age >= self.policy.retry.max_age) {
                    let refusal = Arc::new(exhausted_by(refusal));
                    self.leave(waiter, Leaving::Fail { refusal, dead_letter: true }, now);
                }
            }
        }
    }

    fn park_failed(&mut self, nodes: &[NodeKey], delay: Duration, now: Now) {
        for &node in nodes {
            for waiter in self.holdings.waiters(node) {
                let Some(job) = self.holdings.job(waiter) else { continue };
                let tier = Tier::after_parks(job.carried.parks).max(Tier::within(delay));
                self.leave(waiter, Leaving::Park { tier, for_failures: true }, now);
            }
        }
    }

    fn throttled(&mut self, call: &Call, throttled: &Throttled, now: Now) {
        let account = &mut self.accounts[call.account];
        account.throttled();
        let policy = throttled.policy;
        let wait = throttled.retry_after.map(|after| after.wait(now.wall));
        let open_at = account.pace.throttled(call.slot, policy, wait, now.tick);
        let until = match policy {
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
                if far && !self.pauses.account_is_paused_for(call.account, PauseKind::Throttled) {
                    let detail = "HubSpot answered 429 and says when to come back".to_owned();
                    self.pause_account(call.account, PauseKind::Throttled, until, detail, now);
                }
                until
            }
        };
        self.command(Command::Notice(Notice::Slowed { account: call.account, policy, until }));
    }

    fn account_refused(&mut self, call: &Call, pause: &AccountPause, now: Now) {
        let index = call.account;
        let detail = pause.refusal.message.to_string();
        match pause.kind {
            AccountPauseKind::Moving(retry_after) => {
                let wait = retry_after.map_or(Tier::OneMinute.wait(), |after| after.wait(now.wall));
                let until = now.wall_at(now.tick + wait);
                self.pause_account(index, PauseKind::PortalMoving, Some(until), detail, now);
            }
            AccountPauseKind::TokenExpired | AccountPauseKind::TokenInvalid | AccountPauseKind::TokenRefused => {
                match self.accounts[index].access.refused(call.epoch) {
                    Refused::Outdated | Refused::Refresh => {}
                    Refused::Stays => self.credentials_are_no_good(index, PauseKind::Unauthorized, detail, now),
                }
            }
        }
    }

    /// The account pauses until its credentials are mended: the shell looks whether they have been already.
    fn credentials_are_no_good(&mut self, index: AccountIndex, kind: PauseKind, detail: String, now: Now) {
        self.pause_account(index, kind, None, detail, now);
        self.command(Command::RereadCredentials { account: index });
    }

    /// The answer to a [`Command::Refresh`].
    pub fn refreshed(&mut self, key: CallKey, reply: RefreshReply, now: Now) {
        let Some(call) = self.end_call(key) else { return };
        let index = call.account;
        let access = &mut self.accounts[index].access;
        match reply {
            RefreshReply::Granted { expires_in, portal } => {
                access.granted(expires_in, now.tick);
                if let Some(portal) = portal {
                    self.portal_told(index, portal.0, now);
                } else if self.pauses.account_is_paused_for(index, PauseKind::RefreshRefused) {
                    self.resume_account(index, now);
                }
            }
            RefreshReply::Refused { detail } => {
                access.refresh_refused();
                self.credentials_are_no_good(index, PauseKind::RefreshRefused, detail, now);
            }
            RefreshReply::Failed { detail: _, wait } => access.refresh_failed(wait, now.tick),
        }
        self.turns.mark_ready(index);
        self.pump(now);
    }

    /// The answer to a [`Command::Identify`].
    pub fn identified(&mut self, key: CallKey, reply: IdentityReply, now: Now) {
        let Some(call) = self.end_call(key) else { return };
        let index = call.account;
        let account = &mut self.accounts[index];
        match reply {
            IdentityReply::Told { portal, time_zone } => {
                if let Some(zone) = time_zone.filter(|_| account.policy.time_zone.is_none()) {
                    account.day.move_to(zone, now.wall);
                }
                match account.access.epoch() == call.epoch {
                    true => self.portal_told(index, portal, now),
                    // Said of an earlier token.
                    false => account.access.identity_differs(),
                }
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
        self.turns.mark_ready(index);
        self.pump(now);
    }

    /// HubSpot said whose token it is: archiving in another portal than the one configured must be impossible.
    fn portal_told(&mut self, index: AccountIndex, told: NonZeroU64, now: Now) {
        let account = &mut self.accounts[index];
        let configured = account.policy.portal;
        if portal_matches(configured, told) {
            account.access.identity_settled();
            let paused_for = |kind| self.pauses.account_is_paused_for(index, kind);
            if paused_for(PauseKind::PortalMismatch) || paused_for(PauseKind::RefreshRefused) {
                self.resume_account(index, now);
            }
            return;
        }
        account.access.identity_differs();
        let configured = configured.map_or_else(|| "none".to_owned(), |portal| portal.to_string());
        let detail = format!("the token belongs to portal {told}, the settings say {configured}: mend one of them");
        self.credentials_are_no_good(index, PauseKind::PortalMismatch, detail, now);
    }

    /// The account has other credentials than before.
    pub fn credentials_changed(&mut self, index: AccountIndex, now: Now) {
        let Some(account) = self.accounts.get_mut(index) else { return };
        account.access.changed();
        self.pauses.probe_account_now(index, now.tick);
        let paused: Vec<LaneKey> = self.pauses.paused_lanes(index).iter().copied().collect();
        for lane in paused {
            self.probe_lane_now(lane, now);
        }
        self.turns.mark_ready(index);
        self.pump(now);
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
