//! The conductor, for looks: what the answer to a look says of its batch, and what it showed of each pair.

use std::sync::Arc;

use super::all;
use super::backlog::NodeKey;
use super::batch::{Batch, Reading};
use super::command::LaneId;
use super::course::{Course, Look, Removal};
use super::engine::Engine;
use super::expected::expected;
use super::reply::Reply;
use super::restoring;
use super::sight::{Note, Sight, ToCreate};
use super::step::Step;
use super::verdict::{
    Creation, Found, Judgement, LookJudgement, PairVerdict, RecordVerdict, RecordView, judge, judge_creation,
    judge_look,
};
use crate::contract::association::Pair;

impl Engine {
    /// Judges the reply to a batch. What a look shows is kept with its pairs.
    pub(super) fn judge(&mut self, batch: &Batch, reply: &Reply) -> Option<Judgement> {
        let lane = expected(self.holdings.lane(batch.lane), "a batch keeps its lane open")?;
        if let Some(reading) = &batch.reading {
            let id = lane.id.clone();
            return Some(self.judge_look(&id, batch, reading, reply));
        }
        match lane.id.step() {
            Step::Archive | Step::ArchiveLabels => Some(judge(reply, &batch.wire)),
            Step::Look(_) => expected(None, "a look that was sent asks for records"),
            Step::Associate => Some(judge_creation(reply, &batch.wire, Creation::Default)),
            Step::Create => {
                let judgement = judge_creation(reply, &batch.wire, Creation::Types);
                self.forget_sights(batch, &judgement);
                Some(judgement)
            }
        }
    }

    /// What may have been created, or may not, must be looked at before it is created again.
    fn forget_sights(&mut self, batch: &Batch, judgement: &Judgement) {
        let all = matches!(judgement, Judgement::Again(_));
        let is_again = |index: usize| match judgement {
            Judgement::Each(verdicts) => matches!(verdicts.get(index), Some(PairVerdict::Again(_))),
            Judgement::Archived
            | Judgement::Suspect(_)
            | Judgement::LaneRefused(_)
            | Judgement::Again(_)
            | Judgement::Throttled(_)
            | Judgement::PauseLane(_)
            | Judgement::PauseAccount(_) => false,
        };
        for (index, &node) in batch.nodes.iter().enumerate() {
            if all || is_again(index) {
                self.holdings.outdate(node);
            }
        }
    }

    fn judge_look(&mut self, lane: &LaneId, batch: &Batch, reading: &Reading, reply: &Reply) -> Judgement {
        match judge_look(reply, &reading.records) {
            LookJudgement::Each(verdicts) => self.shown(lane, batch, reading, &verdicts),
            LookJudgement::Suspect(refusal) => Judgement::Suspect(refusal),
            LookJudgement::LaneRefused(refusal) => Judgement::LaneRefused(refusal),
            LookJudgement::Again(again) => Judgement::Again(again),
            LookJudgement::Throttled(throttled) => Judgement::Throttled(throttled),
            LookJudgement::PauseLane(pause) => Judgement::PauseLane(pause),
            LookJudgement::PauseAccount(pause) => Judgement::PauseAccount(pause),
        }
    }

    /// A verdict for each record becomes one for each of its pairs.
    fn shown(&mut self, lane: &LaneId, batch: &Batch, reading: &Reading, verdicts: &[RecordVerdict]) -> Judgement {
        let each = batch.nodes.iter().zip(batch.wire.iter()).map(|(&node, &pair)| {
            let record = if reading.reversed { pair.to } else { pair.from };
            let index = reading.records.binary_search_by_key(&record, |asked| asked.from).ok();
            match index.and_then(|index| verdicts.get(index)) {
                Some(RecordVerdict::Seen(view)) => {
                    let is_first =
                        index.and_then(|index| reading.records.get(index)).is_none_or(|asked| asked.after.is_none());
                    self.note_view(lane, node, pair, reading.reversed, is_first, view);
                    PairVerdict::Archived
                }
                Some(RecordVerdict::Refused(refusal)) => PairVerdict::Refused(Arc::clone(refusal)),
                Some(RecordVerdict::Suspect(refusal)) => PairVerdict::Suspect(Arc::clone(refusal)),
                Some(RecordVerdict::Again(again)) => PairVerdict::Again(Arc::clone(again)),
                Some(RecordVerdict::Untouched) | None => PairVerdict::Untouched,
            }
        });
        let each: Vec<PairVerdict> = each.collect();
        match each.iter().all(|verdict| *verdict == PairVerdict::Archived) {
            true => Judgement::Archived,
            false => Judgement::Each(each),
        }
    }

    /// Adds a page to what is known of a pair, or of a record.
    fn note_view(
        &mut self,
        lane: &LaneId,
        node: NodeKey,
        pair: Pair,
        reversed: bool,
        is_first: bool,
        view: &RecordView,
    ) {
        let mut sight = match self.holdings.take_note(node) {
            Some(Note::Sight(sight)) if !is_first => sight,
            Some(Note::Sight(Sight { before, barred, .. })) => Sight { reversed, before, barred, ..Sight::default() },
            Some(Note::Creation(ToCreate { missing: barred, .. })) => Sight { reversed, barred, ..Sight::default() },
            Some(Note::Seen(_)) | None => Sight { reversed, ..Sight::default() },
        };
        match lane.course {
            Course::Plan { look: Look::All, .. } | Course::Remove(Removal::Look(Look::All)) => {
                sight.take_all(view, |found| all::is_asked_for(&lane.extent, found));
            }
            Course::Plan { .. } | Course::Remove(_) | Course::Restore(_) => {
                let is_primary = |found: &Found| restoring::is_primary_elsewhere(lane, found);
                let matters = restoring::minds_primary(lane).then_some(&is_primary as &dyn Fn(&Found) -> bool);
                sight.take(view, if reversed { pair.from } else { pair.to }, matters);
            }
        }
        self.holdings.set_note(node, Note::Sight(sight));
    }
}
