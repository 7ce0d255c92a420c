//! The conductor, for batches that are sent from their other side: what their answers mean, and when what they archived
//! counts.
//!
//! No refusal of such a request is the last word on a pair: whatever it did not archive goes again from its own side,
//! and is refused, if at all, in an answer of the job's own direction.

use std::sync::Arc;

use super::background::Urgency;
use super::backlog::{LaneKey, NodeKey};
use super::batch::{Batch, BatchKey, Turned};
use super::calls::Call;
use super::clock::{Now, Tick};
use super::command::{CallResult, Command, LaneId, Notice};
use super::course::Course;
use super::engine::Engine;
use super::expected::expected;
use super::folding::Turning;
use super::folds::{FoldKey, WITNESSES};
use super::holdings::LastWord;
use super::verdict::{Again, Judgement, PairVerdict, Transient};
use crate::contract::action::Action;

/// A batch that fails for a transient reason is sent this often from its other side. Then it goes from its own side,
/// where stuck pairs are searched for.
const TRIES: u32 = 3;

/// After this many answers that each name some pairs, the rest of the batch goes from its own side.
const NAMING_ROUNDS: u32 = 5;

/// No refusal of a request from the other side is final.
pub(super) fn turned_back(judgement: Judgement) -> Judgement {
    match judgement {
        Judgement::Each(verdicts) => Judgement::Each(verdicts.into_iter().map(not_final).collect()),
        Judgement::LaneRefused(refusal) => Judgement::Suspect(refusal),
        Judgement::Archived
        | Judgement::Suspect(_)
        | Judgement::Again(_)
        | Judgement::Throttled(_)
        | Judgement::PauseLane(_)
        | Judgement::PauseAccount(_) => judgement,
    }
}

fn not_final(verdict: PairVerdict) -> PairVerdict {
    match verdict {
        PairVerdict::Refused(refusal) => PairVerdict::Suspect(refusal),
        PairVerdict::Archived | PairVerdict::Suspect(_) | PairVerdict::Again(_) | PairVerdict::Untouched => verdict,
    }
}

impl Engine {
    /// Whether a new batch of the lane may go from either side.
    pub(super) fn turning(&mut self, key: LaneKey) -> Option<Turning> {
        let lane = self.holdings.lane(key).filter(|lane| lane.folds)?;
        let fold = self.folds.key(&lane.id)?;
        let holdings = &self.holdings;
        let may_turn = self.folds.may_turn(fold, |node| holdings.was_turned(node));
        may_turn.then(|| Turning { proof: usize::from(!self.folds.is_waiting(fold)) })
    }

    /// A batch that waits to be sent from its other side goes from its own one, in several requests if need be, where
    /// folding has ended meanwhile.
    pub(super) fn unturn(&mut self, key: BatchKey, now: Now) {
        let Some(batch) = self.holdings.batch(key).filter(|batch| batch.turned.is_some()) else { return };
        let Some(lane) = expected(self.holdings.lane(batch.lane), "a batch keeps its lane open") else { return };
        if lane.folds {
            return;
        }
        let mut parts = self.holdings.straight(batch, batch.nodes.clone(), self.policy.caps).into_iter();
        let Some(first) = parts.next() else { return };
        if let Some(batch) = self.holdings.batch_mut(key) {
            (batch.nodes, batch.turned) = (first.nodes, None);
        }
        for part in parts {
            self.give_back(part, now.tick, now);
        }
    }

    /// What follows from the answer to a turned batch. `Err`: the answer means the same as for any other batch.
    #[expect(clippy::result_large_err, reason = "it is moved once; a box would be an allocation a batch")]
    pub(super) fn conclude_turned(
        &mut self,
        call: &Call,
        batch: Batch,
        turned: Turned,
        judgement: &Judgement,
        now: Now,
    ) -> Result<CallResult, Batch> {
        let Some(lane) = expected(self.holdings.lane(batch.lane), "a batch keeps its lane open") else {
            return Err(batch);
        };
        let (id, urgency) = (lane.id.clone(), lane.urgency);
        match judgement {
            Judgement::Archived => {
                self.archived_turned(&id, urgency, batch.nodes, now);
                Ok(CallResult::Archived)
            }
            Judgement::Each(verdicts) => Ok(self.conclude_each_turned(&id, urgency, &batch, turned, verdicts, now)),
            Judgement::Suspect(_) | Judgement::LaneRefused(_) => {
                self.go_straight(&batch, batch.nodes.clone(), now);
                Ok(CallResult::Refused)
            }
            Judgement::Again(again) => {
                self.again_turned(call, batch, turned, again, now);
                Ok(CallResult::Transient(again.cause))
            }
            Judgement::PauseLane(pause) => {
                self.unfold(&id, format!("HubSpot does not take such a request: {}", pause.refusal.message), now);
                self.go_straight(&batch, batch.nodes.clone(), now);
                Ok(CallResult::LanePaused)
            }
            Judgement::Throttled(_) | Judgement::PauseAccount(_) => Err(batch),
        }
    }

    fn conclude_each_turned(
        &mut self,
        id: &LaneId,
        urgency: Urgency,
        batch: &Batch,
        turned: Turned,
        verdicts: &[PairVerdict],
        now: Now,
    ) -> CallResult {
        let (mut archived, mut straight, mut untouched) = (Vec::new(), Vec::new(), Vec::new());
        let (mut failed, mut failing): (Vec<NodeKey>, Option<Arc<Again>>) = (Vec::new(), None);
        for (&node, verdict) in batch.nodes.iter().zip(verdicts) {
            match verdict {
                PairVerdict::Archived => archived.push(node),
                PairVerdict::Refused(_) | PairVerdict::Suspect(_) => straight.push(node),
                PairVerdict::Again(again) => {
                    failed.push(node);
                    failing = Some(Arc::clone(again));
                }
                PairVerdict::Untouched => untouched.push(node),
            }
        }
        let result = match (archived.len(), &failing) {
            (0, Some(again)) if straight.is_empty() => CallResult::Transient(again.cause),
            (0, _) => CallResult::Refused,
            (all, _) if all == batch.nodes.len() => CallResult::Archived,
            _ => CallResult::Partial,
        };
        if !archived.is_empty() {
            self.archived_turned(id, urgency, archived, now);
        }
        if let Some(again) = failing {
            if again.cause.leaves_doubt() {
                self.holdings.leave_in_doubt(&failed);
            }
            self.repeat_straight(batch, failed, &again, now);
        }
        let refusals = turned.refusals + 1;
        match refusals < NAMING_ROUNDS {
            true if untouched.is_empty() => {}
            true => {
                let (failures, failing_since) = (batch.failures, batch.failing_since);
                let turned = Some(Turned { refusals });
                let rest = Batch { failures, failing_since, turned, ..Batch::new(batch.lane, untouched) };
                self.give_back(rest, now.tick, now);
            }
            false => straight.extend(untouched),
        }
        self.go_straight(batch, straight, now);
        result
    }

    /// The whole request failed for a transient reason.
    fn again_turned(&mut self, call: &Call, mut batch: Batch, turned: Turned, again: &Again, now: Now) {
        if again.cause.leaves_doubt() {
            self.holdings.leave_in_doubt(&batch.nodes);
        }
        self.note_failure(call, &batch, again, now);
        self.pauses.account_distrusts(call.account, again.cause == Transient::Tls);
        batch.failing_since.get_or_insert(now.tick);
        if again.cause.is_of_size() {
            // Nothing has failed yet: from its own side a request has fewer records of the other type.
            self.go_straight(&batch, batch.nodes.clone(), now);
        } else if again.cause.wants_smaller() || batch.failures + 1 >= TRIES || self.is_last_try(&batch, now) {
            self.repeat_straight(&batch, batch.nodes.clone(), again, now);
        } else {
            let least = again.least_wait(now.wall);
            self.repeat(Batch { turned: Some(turned), ..batch }, least, &again.refusal, now);
        }
    }

    /// These pairs of a batch go again from their own side.
    fn go_straight(&mut self, batch: &Batch, nodes: Vec<NodeKey>, now: Now) {
        for part in self.holdings.straight(batch, nodes, self.policy.caps) {
            self.give_back(part, now.tick, now);
        }
    }

    /// The same after a failure.
    fn repeat_straight(&mut self, batch: &Batch, nodes: Vec<NodeKey>, again: &Again, now: Now) {
        for part in self.holdings.straight(batch, nodes, self.policy.caps) {
            self.repeat(part, again.least_wait(now.wall), &again.refusal, now);
        }
    }

    /// HubSpot has answered a request from the other side that these pairs are archived.
    fn archived_turned(&mut self, id: &LaneId, urgency: Urgency, nodes: Vec<NodeKey>, now: Now) {
        self.no_longer_stuck(&nodes);
        let present: Vec<NodeKey> = nodes.iter().copied().filter(|&node| !self.holdings.was_absent(node)).collect();
        let witnesses = spread(if present.is_empty() { &nodes } else { &present });
        self.archived(id, urgency, &nodes, true, now);
        if !self.accounts[id.account].policy.safety.verify
            && let Some(fold) = self.folds.key(id)
        {
            match self.folds.is_off(fold) {
                // Folding ended while this request was on the wire.
                true => {
                    self.archive_straight(nodes, now);
                }
                false => self.await_witnesses(fold, nodes, witnesses, now.tick),
            }
        }
        self.finish(now);
    }

    /// These pairs wait until the witnesses among them are read.
    fn await_witnesses(&mut self, fold: FoldKey, nodes: Vec<NodeKey>, mut witnesses: Vec<NodeKey>, now: Tick) {
        witnesses.retain(|&node| self.holdings.cools(node));
        for &node in &witnesses {
            let due = self.cooling.add(node, 0, now);
            self.holdings.cool_until(node, due);
        }
        self.folds.archived(fold, nodes, witnesses, now);
    }

    /// Something was read back in a lane of pairs that may have been archived from their other side: what is proven by
    /// that has its last word.
    pub(super) fn settle_proven(&mut self, id: &LaneId, now: Now) {
        if let Some(fold) = self.folds.key(id) {
            self.settle_fold(fold, now);
        }
    }

    fn settle_fold(&mut self, fold: FoldKey, now: Now) {
        let holdings = &self.holdings;
        let proven = self.folds.take_proven(fold, |node| holdings.was_turned(node));
        for node in proven.nodes {
            if self.holdings.cools(node) {
                self.settle_and_tidy(node, now);
            }
        }
        for mut nodes in proven.unwitnessed {
            nodes.retain(|&node| self.holdings.cools(node));
            if !nodes.is_empty() {
                let witnesses = spread(&nodes);
                self.await_witnesses(fold, nodes, witnesses, now.tick);
            }
        }
        self.finish(now);
    }

    fn settle_and_tidy(&mut self, node: NodeKey, now: Now) {
        let lane = self.holdings.lane_of(node);
        self.holdings.settle(node, &LastWord::Done);
        if let Some(lane) = lane {
            self.place(lane, now.tick);
            self.tidy(lane);
        }
    }

    /// Witnesses may have left with their jobs: other pairs of the same requests take their part.
    pub(super) fn mind_folds(&mut self, now: Now) {
        let holdings = &self.holdings;
        let mut due = Vec::new();
        while let Some(fold) = self.folds.take_round(now.tick, |node| holdings.was_turned(node)) {
            due.push(fold);
        }
        for fold in due {
            self.settle_fold(fold, now);
        }
    }

    /// What a look has shown of a pair that was archived from its other side. Returns whether it is to be archived at
    /// once from its own side, since folding has ended.
    pub(super) fn turned_was_read(&mut self, id: &LaneId, node: NodeKey, gone: bool) -> bool {
        if !self.holdings.was_turned(node) {
            return false;
        }
        let Some(fold) = self.folds.key(id) else { return false };
        match gone {
            true => self.folds.gone(fold, node),
            false if self.folds.is_off(fold) => return true,
            false => self.folds.still_there(fold, node),
        }
        false
    }

    /// Folding ends for these types and account; what is not proven of it is archived once more, from its own side.
    pub(super) fn unfold(&mut self, id: &LaneId, detail: String, now: Now) {
        let Some(nodes) = self.folds.key(id).and_then(|fold| self.folds.turn_off(fold)) else { return };
        for key in self.holdings.lanes().of(id.account).to_vec() {
            let folds = self.holdings.lane(key).and_then(|lane| self.folds.key(&lane.id)) == self.folds.key(id);
            if let Some(lane) = self.holdings.lane_mut(key)
                && folds
            {
                lane.folds = false;
                self.place(key, now.tick);
            }
        }
        let lane = id.at(Course::ARCHIVE);
        let pairs = self.archive_straight(nodes, now);
        self.command(Command::Notice(Notice::Unfolded { lane, pairs, detail }));
    }

    /// Pairs that were archived from their other side, and wait to be proven, go again from their own side. Returns how
    /// many these are.
    fn archive_straight(&mut self, nodes: Vec<NodeKey>, now: Now) -> usize {
        let recalled = nodes.into_iter().filter(|&node| self.holdings.was_turned(node) && self.holdings.recall(node));
        let recalled: Vec<NodeKey> = recalled.collect();
        let pairs = recalled.len();
        self.begin_anew(recalled, now);
        pairs
    }

    /// These pairs, which are on no wire and in no lane, begin the course of a removal again.
    pub(super) fn begin_anew(&mut self, nodes: Vec<NodeKey>, now: Now) {
        let mut left: Vec<LaneKey> = Vec::new();
        for node in nodes {
            let Some((id, _)) = self.holdings.name(node) else { continue };
            let safety = self.accounts[id.account].policy.safety;
            let (account, to) = (id.account, id.at(Course::of_pairs(Action::Archive, false, safety)));
            let of = self.holdings.lane_of(node);
            let urgency = of.and_then(|lane| self.holdings.lane(lane)).map_or(Urgency::Live, |lane| lane.urgency);
            left.extend(of.filter(|lane| !left.contains(lane)));
            let key = self.lane(to, urgency);
            let pauses = &self.pauses;
            self.holdings.advance(node, key, None, now.tick, |lane| pauses.uncounted(account, lane, now.tick));
            self.place(key, now.tick);
            self.place_other(key, now.tick);
            self.turns.mark_ready(account);
        }
        self.finish(now);
        for lane in left {
            self.place(lane, now.tick);
            self.tidy(lane);
        }
    }

    /// HubSpot will not show these pairs of a lane. Those that were archived from their other side cannot be proven, so
    /// they go again from their own; returns the others.
    pub(super) fn cannot_be_proven(
        &mut self,
        lane: LaneKey,
        nodes: Vec<NodeKey>,
        detail: &str,
        now: Now,
    ) -> Vec<NodeKey> {
        let Some(lane) = self.holdings.lane(lane).filter(|lane| lane.id.course.is_proof()) else { return nodes };
        let id = lane.id.clone();
        let (turned, others): (Vec<NodeKey>, _) = nodes.into_iter().partition(|&node| self.holdings.was_turned(node));
        if !turned.is_empty() {
            self.unfold(&id, format!("what was archived cannot be read back: {detail}"), now);
            self.begin_anew(turned, now);
        }
        others
    }
}

/// Some of the nodes, evenly spread: the witnesses of their request.
fn spread(nodes: &[NodeKey]) -> Vec<NodeKey> {
    nodes.iter().copied().step_by(nodes.len().div_ceil(WITNESSES).max(1)).collect()
}
