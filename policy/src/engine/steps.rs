//! The conductor, for pairs whose step is done: they go on to the next step of their course, or their jobs are told how
//! it ended for them.
//!
//! A course is followed here and nowhere else. The look of a plan is its only step: nothing follows it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use super::background::Urgency;
use super::backlog::{LaneKey, NodeKey};
use super::batch::Batch;
use super::calls::Call;
use super::clock::{Now, Tick};
use super::command::{CallResult, LaneId};
use super::course::{Change, Course, Look, Removal, Restoration, Restoring};
use super::engine::Engine;
use super::expected::expected;
use super::holdings::LastWord;
use super::planning;
use super::restoring::{self, Wanted};
use super::settings::Waiting;
use super::sight::{Note, Present, Seen, Sight};
use super::step::Step;
use super::verdict::{Again, Judgement, PairVerdict};
use crate::contract::association::{Extent, Pair};

/// Wait before a look at pairs that another request is creating.
pub(super) const OTHERS_CREATE: Duration = Duration::from_secs(1);

/// A pair waits for a second look for at most this share (a quarter) of the time for which its job may be held.
const SHARE_OF_HOLD: u32 = 4;

/// What follows for a pair from what a look has shown.
enum Follows {
    Last(LastWord),
    /// Another look.
    Look(Course, Note),
    /// The step that the look was for, with what it must know.
    Change(Change, Note),
    /// The record is read to its end.
    Expanded,
}

/// What is to be done with pairs, after a look has shown a page of their records.
#[derive(Default)]
struct Looked {
    /// Their records have further pages.
    unfinished: Vec<NodeKey>,
    /// The look was made from their other side and did not show them, which proves nothing: they are looked at again,
    /// from their own side.
    unseen: Vec<NodeKey>,
    /// They were shown, but so soon after a removal that they are looked at once more, at this time.
    doubtful: Option<(Tick, Vec<NodeKey>)>,
    /// They go on to this step, with what it must know.
    onward: BTreeMap<Course, Vec<(NodeKey, Note)>>,
}

impl Engine {
    /// A request has done for these pairs of a lane what it was sent for.
    pub(super) fn step_done(&mut self, key: LaneKey, nodes: &[NodeKey], now: Now) {
        if nodes.is_empty() {
            return;
        }
        self.no_longer_stuck(nodes);
        let lane = expected(self.holdings.lane_mut(key), "a lane with a request on the wire is open");
        let Some(lane) = lane else { return };
        lane.stuck_share.served(nodes.len());
        let urgency = lane.urgency;
        match lane.id.course {
            Course::Remove(Removal::Archive) => {
                let id = lane.id.clone();
                self.archived(&id, urgency, nodes, false, now);
            }
            Course::Remove(Removal::Prove) => {
                let id = lane.id.clone();
                self.read_back(&id, key, nodes, now);
            }
            Course::Restore(Restoration { at: Restoring::Plain | Restoring::Types, .. }) => self.restored(nodes),
            Course::Plan { .. }
            | Course::Remove(Removal::Look(_))
            | Course::Restore(Restoration { at: Restoring::Look | Restoring::LookBack, .. }) => {
                let id = lane.id.clone();
                if id.course.is_of_records() {
                    self.refuse_too_large(nodes, now);
                }
                let Looked { unfinished, unseen, doubtful, onward } = self.looked(&id, nodes, now.tick);
                let rests = [(now.tick, unfinished), (now.tick, unseen)].into_iter().chain(doubtful);
                for (due, rest) in rests.filter(|(_, rest)| !rest.is_empty()) {
                    self.give_back(Batch::new(key, rest), due, now);
                }
                for (course, nodes) in onward {
                    self.advance(id.at(course), urgency, nodes, now);
                }
            }
        }
        self.finish(now);
    }

    /// HubSpot says that these pairs are gone. `turned`: it was asked from their other side.
    pub(super) fn archived(&mut self, lane: &LaneId, urgency: Urgency, nodes: &[NodeKey], turned: bool, now: Now) {
        let account = lane.account;
        let verifies = self.accounts[account].policy.safety.verify;
        let proves = verifies || turned;
        // Where folding has ended, pairs that were archived from their other side are archived once more from their
        // own. These were counted then, and are not counted again.
        let counted = match proves || self.folds.key(lane).is_some() {
            true => {
                let is_noted = |&node: &NodeKey| proves || self.holdings.was_removed(node);
                let (noted, others): (Vec<NodeKey>, Vec<NodeKey>) = nodes.iter().copied().partition(is_noted);
                let first_time = noted.into_iter().filter(|&node| self.holdings.removed(node, account, turned)).count();
                others.len() + first_time
            }
            false => nodes.len(),
        };
        self.counters.pairs_archived += counted as u64;
        self.accounts[account].pairs_archived(counted);
        if proves {
            return self.begin_proof(lane, urgency, nodes, verifies, now);
        }
        for &node in nodes {
            self.holdings.settle(node, &LastWord::Done);
        }
    }

    /// These pairs are associated again, by all of the types that were asked for or by some of them.
    fn restored(&mut self, nodes: &[NodeKey]) {
        for &node in nodes {
            let missing = self.holdings.missing(node);
            self.counters.pairs_restored += u64::from(missing.is_none());
            self.holdings.settle(node, &missing.map_or(LastWord::Done, LastWord::DoneInPart));
        }
    }

    /// A look has shown a page of the record of each of these pairs. Sorts the pairs by what follows, and settles those
    /// for which that is all.
    fn looked(&mut self, id: &LaneId, nodes: &[NodeKey], now: Tick) -> Looked {
        let mut looked = Looked::default();
        let removed = self.removed_late(id, nodes, now);
        let journals = self.accounts[id.account].policy.safety.journal;
        for &node in nodes {
            let Some(Note::Sight(sight)) = expected(self.holdings.take_note(node), "a look leaves a note") else {
                continue;
            };
            if !sight.ended {
                self.holdings.set_note(node, Note::Sight(sight));
                looked.unfinished.push(node);
                continue;
            }
            let is_removal = id.course == Course::Remove(Removal::Look(Look::Pairs));
            if is_removal && sight.reversed && sight.pair.is_none() {
                self.holdings.set_note(node, Note::Sight(Sight::default()));
                looked.unseen.push(node);
                continue;
            }
            self.counters.pairs_looked_up += 1;
            let Some((_, pair)) = expected(self.holdings.name(node), "a pair on the wire is in hand") else { continue };
            if let Some(from) = self.believed_from(id, pair, &sight, &removed, now) {
                let confirms = Sight { confirms: true, was: sight.was, ..Sight::default() };
                self.holdings.set_note(node, Note::Sight(confirms));
                let due = self.in_time(from, now);
                let (latest, nodes) = looked.doubtful.get_or_insert_with(|| (due, Vec::new()));
                *latest = due.max(*latest);
                nodes.push(node);
                continue;
            }
            match follows(id, pair, &sight, journals) {
                Follows::Last(word) => {
                    // The journal may have a record of what was to be created, and is told now what became of it.
                    if let Some(was) = sight.was {
                        self.holdings.set_note(node, Note::Creation(*was));
                    }
                    self.holdings.settle(node, &word);
                }
                Follows::Look(course, note) => looked.onward.entry(course).or_default().push((node, note)),
                Follows::Change(change, note) => {
                    if let Some(was) = sight.was {
                        self.holdings.supersede(node, *was, &note);
                    }
                    looked.onward.entry(change.course()).or_default().push((node, note));
                }
                Follows::Expanded => self.holdings.record_read(node, sight.others),
            }
        }
        looked
    }

    /// Of a restoration: which of these pairs were removed so late that their looks may show them all the same.
    fn removed_late(&self, id: &LaneId, nodes: &[NodeKey], now: Tick) -> HashMap<Pair, Tick> {
        if !matches!(id.course, Course::Restore(_)) {
            return HashMap::new();
        }
        let began = nodes.iter().filter_map(|&node| self.holdings.look_began(node)).min();
        began.map_or_else(HashMap::new, |began| self.holdings.removed_late(id, nodes, began, now))
    }

    /// From when on a look at the pair is believed, if this one is not.
    fn believed_from(
        &self,
        id: &LaneId,
        pair: Pair,
        sight: &Sight,
        removed: &HashMap<Pair, Tick>,
        now: Tick,
    ) -> Option<Tick> {
        if !restoring::rests_on_what_is_shown(id, sight) {
            return None;
        }
        let of_unknown = (!sight.confirms).then(|| self.holdings.believed_from(id.account));
        let of_primary = match (&id.extent, sight.present()) {
            (Extent::Labels(_), Present::By(types)) => self.holdings.primary_moved(id, pair, &types, now),
            (Extent::Whole, _) | (Extent::Labels(_), Present::No | Present::ByUnknown) => None,
        };
        let from = [of_unknown, removed.get(&pair).copied(), of_primary].into_iter().flatten().max()?;
        (sight.began < from).then_some(from)
    }

    /// The time `at`, or an earlier one where that would use up too much of the time for which a job may be held.
    fn in_time(&self, at: Tick, now: Tick) -> Tick {
        match self.policy.waiting {
            Waiting::Outside { longest_hold, .. } => at.min(now + longest_hold / SHARE_OF_HOLD),
            Waiting::InHand { .. } => at,
        }
    }

    /// The answer to a batch that is to create types, and has looked at its pairs once more before that. The pairs that
    /// still have something to be created stay together in the batch.
    pub(super) fn looked_again(
        &mut self,
        call: &Call,
        mut batch: Batch,
        judgement: &Judgement,
        now: Now,
    ) -> CallResult {
        let step = Step::Look(Look::Pairs);
        let verdicts = match judgement {
            Judgement::Archived => vec![PairVerdict::Archived; batch.nodes.len()],
            Judgement::Each(verdicts) if !verdicts.iter().any(is_suspect) => verdicts.clone(),
            Judgement::Each(_)
            | Judgement::Suspect(_)
            | Judgement::LaneRefused(_)
            | Judgement::Again(_)
            | Judgement::Throttled(_)
            | Judgement::PauseLane(_)
            | Judgement::PauseAccount(_) => return self.conclude(call, batch, step, judgement, now),
        };
        let Some(lane) = expected(self.holdings.lane(batch.lane), "a batch keeps its lane open") else {
            return CallResult::of_done(step);
        };
        let (id, urgency) = (lane.id.clone(), lane.urgency);
        let (mut shown, mut failed): (Vec<NodeKey>, Option<Arc<Again>>) = (Vec::new(), None);
        for (&node, verdict) in batch.nodes.iter().zip(verdicts) {
            match verdict {
                PairVerdict::Archived => shown.push(node),
                PairVerdict::Refused(refusal) => self.holdings.settle(node, &LastWord::Refused(refusal)),
                PairVerdict::Again(again) => failed = Some(again),
                // It stays in the batch, and goes again with it. (None is suspect: that was told apart above.)
                PairVerdict::Suspect(_) | PairVerdict::Untouched => {}
            }
        }
        // Only the look of a removal leaves pairs unseen.
        let Looked { unfinished, unseen: _, doubtful, onward } = self.looked(&id, &shown, now.tick);
        for (course, nodes) in onward {
            match course == id.course {
                true => nodes.into_iter().for_each(|(node, note)| self.holdings.set_note(node, note)),
                false => self.advance(id.at(course), urgency, nodes, now),
            }
        }
        let (later, doubtful) = doubtful.unwrap_or_default();
        let goes_on = |node| !unfinished.contains(&node) && !doubtful.contains(&node);
        batch.nodes.retain(|&node| self.holdings.is_in(node, batch.lane) && goes_on(node));
        self.finish(now);
        let rivals = self.holdings.rivals(&batch);
        batch.nodes.retain(|node| !rivals.contains(node));
        // Each of these goes on by itself, so that what the look has shown of the others does not grow old meanwhile.
        for (nodes, due) in [(unfinished, now.tick), (doubtful, later), (rivals, now.tick + OTHERS_CREATE)] {
            if !nodes.is_empty() {
                let (failures, failing_since) = (batch.failures, batch.failing_since);
                let rest = Batch { failures, failing_since, looked_again: true, ..Batch::new(batch.lane, nodes) };
                self.give_back(rest, due, now);
            }
        }
        match failed {
            Some(again) => {
                self.repeat(batch, again.least_wait(now.wall), &again.refusal, now);
                CallResult::Transient(again.cause)
            }
            None => {
                let wait = if self.holdings.is_being_created(&batch) { OTHERS_CREATE } else { Duration::ZERO };
                self.give_back(batch, now.tick + wait, now);
                CallResult::of_done(step)
            }
        }
    }

    /// Pairs whose request was answered go on from its lane to the lane `to`. Pairs of the background that a live request
    /// has taken along go on in the background, or live jobs would wait behind them at the next step.
    pub(super) fn advance(&mut self, to: LaneId, urgency: Urgency, nodes: Vec<(NodeKey, Note)>, now: Now) {
        let is_of_background = |(node, _): &(NodeKey, Note)| self.holdings.is_of_background(*node);
        match urgency {
            Urgency::Live if self.holdings.jobs_of_background() > 0 => {
                let (background, live): (Vec<_>, Vec<_>) = nodes.into_iter().partition(is_of_background);
                for (urgency, nodes) in [(Urgency::Live, live), (Urgency::Background, background)] {
                    if !nodes.is_empty() {
                        self.advance_together(to.clone(), urgency, nodes, now);
                    }
                }
            }
            Urgency::Live | Urgency::Background => self.advance_together(to, urgency, nodes, now),
        }
    }

    fn advance_together(&mut self, to: LaneId, urgency: Urgency, nodes: Vec<(NodeKey, Note)>, now: Now) {
        let account = to.account;
        let key = self.lane(to, urgency);
        let pauses = &self.pauses;
        for (node, note) in nodes {
            self.holdings.advance(node, key, Some(note), now.tick, |lane| pauses.uncounted(account, lane, now.tick));
        }
        self.finish(now);
        self.place(key, now.tick);
        self.place_other(key, now.tick);
        self.tidy(key);
    }
}

fn is_suspect(verdict: &PairVerdict) -> bool {
    matches!(verdict, PairVerdict::Suspect(_))
}

/// `journals`: the account has a journal.
fn follows(lane: &LaneId, pair: Pair, sight: &Sight, journals: bool) -> Follows {
    match lane.course {
        Course::Plan { look: Look::All, .. } | Course::Remove(Removal::Look(Look::All)) => Follows::Expanded,
        Course::Plan { action, look: Look::Pairs } => {
            Follows::Last(LastWord::Planned(planning::entry(lane, action, pair, sight)))
        }
        Course::Remove(removal) => {
            let seen = Seen::new(sight.present(), sight.reversed);
            Follows::Change(removal.archive(), Note::Seen(seen))
        }
        Course::Restore(restoration) => match restoring::wanted(lane, restoration, sight) {
            Wanted::Nothing => Follows::Last(LastWord::Unchanged { journals }),
            Wanted::Impossible(refusal) => Follows::Last(LastWord::Refused(refusal)),
            Wanted::Plain(creation) => Follows::Change(restoration.plain(), Note::Creation(creation)),
            Wanted::Types(creation) => Follows::Change(restoration.types(), Note::Creation(creation)),
            Wanted::OtherSide(present) => {
                let (began, was) = (sight.began, sight.was.clone());
                let sight = Sight { before: Some(present), began, was, reversed: true, ..Sight::default() };
                Follows::Look(restoration.look_back(), Note::Sight(sight))
            }
        },
    }
}
