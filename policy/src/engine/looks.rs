//! The conductor, where a reply is judged: what it means for each pair of its batch. What a look has shown is kept.

use std::sync::Arc;

use super::all;
use super::backlog::NodeKey;
use super::batch::{Batch, Reading};
use super::clock::Tick;
use super::command::LaneId;
use super::course::{Course, Look, Removal};
use super::engine::Engine;
use super::expected::expected;
use super::reply::Reply;
use super::restoring;
use super::sight::{Note, Sight};
use super::step::Step;
use super::turned::turned_back;
use super::verdict::{
    Creation, Found, Judgement, PairVerdict, RecordVerdict, RecordView, judge, judge_creation, judge_look,
};
use crate::contract::association::Pair;

/// A page of a record that a look has shown.
struct Page<'a> {
    view: &'a RecordView,
    reversed: bool,
    is_first: bool,
    /// When the request left.
    sent: Tick,
}

impl Engine {
    /// Judges the reply to a batch. What a look shows is kept with its pairs.
    pub(super) fn judge(&mut self, batch: &Batch, sent: Tick, reply: &Reply) -> Option<Judgement> {
        let lane = expected(self.holdings.lane(batch.lane), "a batch keeps its lane open")?;
        if let Some(reading) = &batch.reading {
            let id = lane.id.clone();
            return Some(match judge_look(reply, &reading.records) {
                Ok(verdicts) => self.shown(&id, batch, reading, sent, &verdicts),
                Err(judgement) => judgement,
            });
        }
        match lane.id.step() {
            Step::Archive if batch.turned.is_some() => {
                let asked: Vec<Pair> = batch.wire.iter().map(|pair| pair.turned()).collect();
                Some(turned_back(judge(reply, &asked)))
            }
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

    /// After an answer that does not say whether these pairs were created, they must be looked at before they are
    /// created again.
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

    /// A verdict for each record becomes one for each of its pairs.
    fn shown(
        &mut self,
        lane: &LaneId,
        batch: &Batch,
        reading: &Reading,
        sent: Tick,
        verdicts: &[RecordVerdict],
    ) -> Judgement {
        let each = batch.nodes.iter().zip(batch.wire.iter()).map(|(&node, &pair)| {
            let record = if reading.reversed { pair.to } else { pair.from };
            let mut asked = reading.records.iter().zip(verdicts);
            let index = reading.records.binary_search_by_key(&record, |asked| asked.from);
            match index.ok().and_then(|index| asked.nth(index)) {
                Some((asked, RecordVerdict::Seen(view))) => {
                    let page = Page { view, reversed: reading.reversed, is_first: asked.after.is_none(), sent };
                    self.note_page(lane, node, pair, &page);
                    PairVerdict::Archived
                }
                Some((_, RecordVerdict::Refused(refusal))) => PairVerdict::Refused(Arc::clone(refusal)),
                Some((_, RecordVerdict::Suspect(refusal))) => PairVerdict::Suspect(Arc::clone(refusal)),
                Some((_, RecordVerdict::Again(again))) => PairVerdict::Again(Arc::clone(again)),
                Some((_, RecordVerdict::Untouched)) | None => PairVerdict::Untouched,
            }
        });
        let each: Vec<PairVerdict> = each.collect();
        match each.iter().all(|verdict| *verdict == PairVerdict::Archived) {
            true => Judgement::Archived,
            false => Judgement::Each(each),
        }
    }

    /// Adds a page to what is known of a pair, or of a record.
    fn note_page(&mut self, lane: &LaneId, node: NodeKey, pair: Pair, page: &Page<'_>) {
        let &Page { view, reversed, is_first, sent } = page;
        let fresh = Sight { reversed, began: sent, ..Sight::default() };
        let mut sight = match self.holdings.take_note(node) {
            Some(Note::Sight(sight)) if !is_first => sight,
            // A look back from the other record keeps what the look before it has shown.
            Some(Note::Sight(Sight { before: Some(before), began, was, .. })) => {
                Sight { before: Some(before), began, was, ..fresh }
            }
            Some(Note::Sight(Sight { before: None, was, confirms, .. })) => Sight { was, confirms, ..fresh },
            Some(Note::Creation(creation)) => Sight { was: Some(Box::new(creation)), ..fresh },
            Some(Note::Seen(_)) | None => fresh,
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
