//! The conductor, for what comes back: what an answer means for the account that asked, for the lane, for each pair, and
//! so for the jobs.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashSet;

use super::answered::Answered;
use super::backlog::{LaneKey, NodeKey};
use super::batch::Batch;
use super::calls::{Call, Purpose};
use super::clock::{Now, Tick};
use super::command::{CallKey, CallResult, Command, Notice};
use super::course::Look;
use super::engine::Engine;
use super::expected::expected;
use super::holdings::LastWord;
use super::pause::{PauseKind, outage_detail};
use super::reply::Reply;
use super::search::{self, Circumstances, Failed, Findings, Halves};
use super::step::Step;
use super::verdict::{Again, Judgement, LanePause, LanePauseKind, PairVerdict, Policy, Throttled, Transient};
use crate::contract::grouped::Grouped;
use crate::contract::ids::AccountIndex;

/// Jobs of an account that is told to come back later than this wait in the broker, and `/status` says until when.
const LONGEST_THROTTLE_IN_HAND: Duration = Duration::from_secs(60);

impl Engine {
    /// The reply to a [`Command::Send`].
    pub fn answered(&mut self, key: CallKey, reply: &Reply, now: Now) -> Answered {
        let Some(call) = self.end_call(key) else { return Answered::unknown() };
        let Purpose::Batch(batch) = call.purpose else { return Answered::unknown() };
        let Some(batch) = self.holdings.take_batch(batch) else { return Answered::unknown() };
        let key = batch.lane;
        let Some(judgement) = self.judge(&batch, call.sent, reply) else { return Answered::unknown() };
        self.pauses.lane_answered(call.account, key);
        let Some(step) = self.step_of(key) else { return Answered::unknown() };
        self.holdings.change_answered(&batch, now.tick);
        let is_look = batch.reading.is_some();
        self.note_answer(&call, key, reply, &judgement, now);
        let result = match (step, &batch.reading) {
            (Step::Create, Some(_)) => self.looked_again(&call, batch, &judgement, now),
            _ => self.conclude(&call, batch, step, &judgement, now),
        };
        self.holdings.note_quality(key, result);
        self.pauses.note_result(call.account, result, now.tick);
        // The request is counted as ended only here: until now the lane had to stay open, even if all its jobs have
        // left.
        if let Some(lane) = expected(self.holdings.lane_mut(key), "a lane with a request on the wire is open") {
            lane.request_ended();
        }
        // Other batches of the lane may have lost all their jobs long ago, while they waited behind this one.
        self.drop_deserted(key, now);
        self.place(key, now.tick);
        self.tidy(key);
        self.turns.mark_ready(call.account);
        self.pump(now);
        Answered::new(result, judgement, if is_look { Step::Look(Look::Pairs) } else { step })
    }

    fn step_of(&self, key: LaneKey) -> Option<Step> {
        Some(expected(self.holdings.lane(key), "a batch keeps its lane open")?.id.step())
    }

    /// What an answer says of limits, credentials and health, whatever it says of the pairs.
    fn note_answer(&mut self, call: &Call, lane: LaneKey, reply: &Reply, judgement: &Judgement, now: Now) {
        let Reply::Answer(answer) = reply else { return };
        let account = &mut self.accounts[call.account];
        self.counters.refusals += u64::from(account.batch_answered(answer, now));
        if !matches!(judgement, Judgement::Throttled(_)) {
            account.pace.accepted(call.slot, &answer.headers.rate, now.tick);
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
            let alike = self.pauses.lane_probe_succeeded(call.account, key, now.tick);
            self.resume_lane(key, now);
            for lane in alike {
                self.place(lane, now.tick);
            }
        }
    }

    pub(super) fn conclude(
        &mut self,
        call: &Call,
        batch: Batch,
        step: Step,
        judgement: &Judgement,
        now: Now,
    ) -> CallResult {
        let batch = match batch.turned {
            None => self.without_unprovable(batch, judgement, now),
            Some(turned) => match self.conclude_turned(call, batch, turned, judgement, now) {
                Ok(result) => return result,
                Err(batch) => batch,
            },
        };
        match judgement {
            Judgement::Archived => {
                self.step_done(batch.lane, &batch.nodes, now);
                if let Some(next) = search::proved_good(batch) {
                    self.go_on(next, now);
                }
                CallResult::of_done(step)
            }
            Judgement::Each(verdicts) => self.conclude_each(batch, step, verdicts, call.sent, now),
            Judgement::Suspect(refusal) => {
                let verdicts = vec![PairVerdict::Suspect(Arc::clone(refusal)); batch.nodes.len()];
                self.conclude_each(batch, step, &verdicts, call.sent, now)
            }
            Judgement::LaneRefused(refusal) => {
                // The object type does not exist: nothing of this lane can ever be archived.
                self.holdings.refuse_lane(&batch, refusal);
                self.finish(now);
                CallResult::Refused
            }
            Judgement::Again(again) => {
                self.again(call, batch, again, now);
                CallResult::Transient(again.cause)
            }
            Judgement::Throttled(throttled) => {
                self.throttled(call, throttled, now);
                self.give_back(batch, now.tick, now);
                CallResult::Throttled
            }
            Judgement::PauseLane(pause) => {
                let lane = batch.lane;
                self.give_back(batch, now.tick, now);
                let (kind, detail) = lane_pause(pause);
                self.pause_lane(lane, kind, detail, now);
                CallResult::LanePaused
            }
            Judgement::PauseAccount(pause) => {
                self.give_back(batch, now.tick, now);
                self.account_refused(call, pause, now);
                CallResult::AccountPaused
            }
        }
    }

    /// HubSpot refuses to show the records of a batch of proofs. Takes out those of its pairs that count as archived
    /// only once they were seen to be gone.
    fn without_unprovable(&mut self, mut batch: Batch, judgement: &Judgement, now: Now) -> Batch {
        let refusal = match judgement {
            Judgement::PauseLane(pause) => &pause.refusal,
            Judgement::LaneRefused(refusal) => refusal,
            Judgement::Archived
            | Judgement::Each(_)
            | Judgement::Suspect(_)
            | Judgement::Again(_)
            | Judgement::Throttled(_)
            | Judgement::PauseAccount(_) => return batch,
        };
        let nodes = std::mem::take(&mut batch.nodes);
        batch.nodes = self.cannot_be_proven(batch.lane, nodes, &refusal.message, now);
        batch
    }

    /// A verdict for each pair: settles what is settled, repeats the rest, or searches it for the pairs at fault.
    fn conclude_each(
        &mut self,
        batch: Batch,
        step: Step,
        verdicts: &[PairVerdict],
        sent: Tick,
        now: Now,
    ) -> CallResult {
        let key = batch.lane;
        let in_doubt =
            |verdict: &PairVerdict| matches!(verdict, PairVerdict::Again(again) if again.cause.leaves_doubt());
        if step.changes() && verdicts.iter().any(in_doubt) {
            self.holdings.leave_in_doubt(&batch.nodes);
        }
        let requests = self.policy.isolation_requests;
        let Findings { result, refused, archived, begins_with, next } =
            search::conclude(batch, verdicts, requests, sent, now.tick);
        let mut without_primary = Vec::new();
        for (node, refusal) in refused {
            if step == Step::Create && self.holdings.spares_primary(node, &refusal) {
                without_primary.push(node);
                continue;
            }
            if self.cannot_be_proven(key, vec![node], &refusal.message, now).is_empty() {
                continue;
            }
            self.no_longer_stuck(&[node]);
            self.holdings.settle(node, &LastWord::Refused(refusal));
        }
        self.finish(now);
        self.step_done(key, &archived, now);
        if let (Some(pairs), Some(lane)) = (begins_with, self.holdings.lane(key)) {
            let lane = lane.id.clone();
            self.command(Command::Notice(Notice::Isolating { lane, pairs }));
        }
        if !without_primary.is_empty() {
            self.give_back(Batch::new(key, without_primary), now.tick, now);
        }
        for next in next {
            self.go_on(next, now);
        }
        if result == CallResult::Archived { CallResult::of_done(step) } else { result }
    }

    pub(super) fn no_longer_stuck(&mut self, nodes: &[NodeKey]) {
        if self.stuck.is_empty() {
            return;
        }
        for &node in nodes {
            let was_known = self.holdings.name(node).is_some_and(|(lane, pair)| self.stuck.forget(lane, pair));
            if was_known && let Some(lane) = self.holdings.lane_of_mut(node) {
                lane.stuck_share.mended();
            }
        }
    }

    /// The whole request failed for a transient reason.
    fn again(&mut self, call: &Call, mut batch: Batch, again: &Again, now: Now) {
        if again.cause.leaves_doubt() && self.step_of(batch.lane).is_some_and(Step::changes) {
            self.holdings.leave_in_doubt(&batch.nodes);
        }
        self.note_failure(call, &batch, again, now);
        self.pauses.outage_goes_on(call.account, &again.refusal.message);
        self.pauses.account_distrusts(call.account, again.cause == Transient::Tls);
        let since = *batch.failing_since.get_or_insert(now.tick);
        let in_outage = self.pauses.account_is_paused_for(call.account, PauseKind::Outage);
        let least = again.least_wait(now.wall);
        let others_served = self.pauses.served_since(call.account, since);
        // What is too slow even in halves, while others are served, is not too slow for its size.
        let is_part = batch.is_suspect() || (others_served && batch.failures > 0);
        let is_last = self.is_last_try(&batch, now);
        let too_slow = again.cause.wants_smaller() && !in_outage && !is_part && !is_last;
        let is_of_size = again.cause.is_of_size();
        let may_be_size = batch.nodes.len() > 1 && (is_of_size || too_slow);
        if may_be_size && let Some(lane) = expected(self.holdings.lane_mut(batch.lane), "a batch keeps its lane open") {
            lane.shrink(batch.nodes.len());
        }
        let tries = self.policy.retry.max_attempts;
        // Halves that have no quick try left would be parked, and come back as the same batch.
        let may_halve = is_of_size || batch.failures + 1 < tries;
        if !may_be_size || !may_halve {
            let known = Circumstances {
                others_served,
                stuck_are_many: self.holdings.stuck_are_many(batch.lane),
                tries,
                requests: self.policy.isolation_requests,
                in_outage,
                is_last,
                wait: least,
            };
            return self.failed(call, batch, again, known, now);
        }
        let Halves { halves, sibling } = search::halve(batch);
        for half in halves {
            // Where the size was the fault nothing has failed yet: halving must reach the size that fits.
            match is_of_size {
                true => self.give_back(half, now.tick + least, now),
                false => self.repeat(half, least, &again.refusal, now),
            }
        }
        if let Some(sibling) = sibling {
            self.give_back(sibling, now.tick, now);
        }
    }

    /// What a failure says of the account. What one pair does by itself says nothing of HubSpot's health.
    pub(super) fn note_failure(&mut self, call: &Call, batch: &Batch, again: &Again, now: Now) {
        let is_failure = again.cause.is_failure_of_account();
        let of_pair = batch.stuck && again.cause.may_be_of_a_record();
        let in_a_row = match is_failure && !of_pair {
            true => {
                let stuck_are_many = self.holdings.stuck_are_many(batch.lane);
                self.pauses.account_failed(call.account, batch, stuck_are_many, again.cause)
            }
            false => None,
        };
        if again.cause.may_be_of_a_record()
            && let Some(lane) = self.holdings.lane(batch.lane)
        {
            self.pauses.blame(call.account, &lane.id, &batch.wire);
        }
        let refused = self.pauses.of_account(call.account).filter(|pause| pause.kind == PauseKind::Unauthorized);
        let was_refused = refused.is_some_and(|pause| call.sent >= pause.since);
        if was_refused && (!is_failure || of_pair) {
            // Only with a token that it takes does HubSpot look at the records.
            return self.resume_account(call.account, now);
        }
        let looked_at_records = !is_failure || of_pair;
        if looked_at_records && self.pauses.lane_served(batch.lane, call.sent) {
            self.resume_lane(batch.lane, now);
        }
        let in_outage = self.pauses.account_is_paused_for(call.account, PauseKind::Outage);
        if of_pair && in_outage && !self.holdings.has_work_beside_stuck(call.account) {
            // Nothing is left that could tell when the outage is over, nor anything that the pause protects.
            return self.resume_account(call.account, now);
        }
        // Whether the token is still refused is not known after a failure that may have come before it was looked at.
        if in_a_row.is_some() || was_refused {
            let detail = match in_a_row {
                Some(failures) => {
                    // Those that follow are not counted here: the pause says when it is tried again.
                    let began = format!("it began with {} failures in a row", Grouped(failures.into()));
                    outage_detail(&began, &again.refusal.message)
                }
                None => outage_detail("the token was refused before", &again.refusal.message),
            };
            self.pause_account(call.account, PauseKind::Outage, None, detail, now);
        }
    }

    /// A batch failed as a whole for a transient reason: it goes again, or its parts do.
    fn failed(&mut self, call: &Call, batch: Batch, again: &Again, known: Circumstances, now: Now) {
        let again = Arc::new(again.clone());
        let (lane, pairs, begins, was_stuck) = (batch.lane, batch.nodes.len(), batch.trial.is_none(), batch.stuck);
        self.age_jobs(&batch, now);
        let drawn = self.draw();
        let choose = |nodes: &[NodeKey]| self.choose_sample(call.account, nodes, drawn);
        match search::failed(batch, &again, known, choose, now.tick) {
            Failed::Whole(batch, released) => {
                if batch.stuck && !was_stuck {
                    if let Some(lane) = self.holdings.lane_mut(batch.lane).filter(|_| known.others_served) {
                        lane.stuck_share.found();
                    }
                    if known.others_served && self.pauses.account_is_paused_for(call.account, PauseKind::Outage) {
                        // It was not HubSpot that failed.
                        self.resume_account(call.account, now);
                    }
                }
                self.repeat_noted(batch, known.wait, &again.refusal, now);
                if let Some(released) = released {
                    self.go_on(*released, now);
                }
            }
            Failed::InParts(next) => {
                if let Some(lane) = self.holdings.lane(lane).filter(|_| begins && known.others_served) {
                    let lane = lane.id.clone();
                    self.command(Command::Notice(Notice::Isolating { lane, pairs }));
                }
                for next in next {
                    self.go_on(next, now);
                }
            }
        }
    }

    /// Which of these pairs, of which some may be stuck, is most likely to be archived: one of a record that no failure is
    /// blamed on. Each record counts once, since the stuck ones may be those with most of the pairs. `drawn` in 0.0..1.0.
    fn choose_sample(&self, account: AccountIndex, nodes: &[NodeKey], drawn: f64) -> usize {
        let blamed = self.pauses.blamed(account);
        let mut seen = HashSet::new();
        let is_good = |&index: &usize| {
            let named = self.holdings.name(nodes[index]);
            named.is_some_and(|(lane, pair)| !blamed.has_one_of(lane, pair) && seen.insert(pair.from))
        };
        let good: Vec<usize> = (0..nodes.len()).filter(is_good).collect();
        let draw = |among: usize| {
            #[expect(clippy::cast_possible_truncation, reason = "a share of a batch's length")]
            let drawn = (among as f64 * drawn) as usize;
            drawn.min(among.saturating_sub(1))
        };
        good.get(draw(good.len())).copied().unwrap_or_else(|| draw(nodes.len()))
    }

    fn throttled(&mut self, call: &Call, throttled: &Throttled, now: Now) {
        let Some(slot) = expected(call.slot, "a request has its place in the pace") else { return };
        let account = &mut self.accounts[call.account];
        account.throttled();
        self.pauses.outage_goes_on(call.account, &throttled.refusal.message);
        let policy = throttled.policy;
        let wait = throttled.retry_after.map(|after| after.wait(now.wall));
        let open_at = account.pace.throttled(slot, policy, wait, now.tick);
        let (until, only_tries) = match policy {
            Policy::Daily => {
                let until = account.day.refused(wait, now.wall);
                if !account.day.zone_is_known() {
                    account.access.ask_time_zone();
                }
                let only_tries = account.day.only_tries_at(until);
                self.pause_for_day(call.account, until, now);
                (until, only_tries)
            }
            Policy::TenSecondly | Policy::Secondly | Policy::Unknown => {
                let until = now.wall_at(open_at);
                let told = wait.is_some_and(|wait| wait > LONGEST_THROTTLE_IN_HAND);
                let unknown = policy == Policy::Unknown;
                let far = told || (unknown && open_at.since(now.tick) > LONGEST_THROTTLE_IN_HAND);
                if far && !self.pauses.account_is_paused_for(call.account, PauseKind::Throttled) {
                    let detail = match told {
                        true => "HubSpot answered 429 and says when to come back".to_owned(),
                        false => format!("no request is accepted any more: {}", throttled.refusal.message),
                    };
                    self.pause_account(call.account, PauseKind::Throttled, Some(until), detail, now);
                }
                (until, false)
            }
        };
        self.command(Command::Notice(Notice::Slowed { account: call.account, policy, until, only_tries }));
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
