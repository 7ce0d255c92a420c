//! The conductor, for pairs whose step is done: they go on to the next step of their course, or have their last word.
//!
//! A course is followed here and nowhere else. From the look of a plan nothing leads on.

use hashbrown::HashMap;

use super::backlog::{LaneKey, NodeKey};
use super::batch::Batch;
use super::clock::Now;
use super::command::LaneId;
use super::course::{Change, Course, Removal, Restoration, Restoring};
use super::engine::Engine;
use super::expected::expected;
use super::holdings::LastWord;
use super::planning;
use super::restoring::{self, Wanted};
use super::sight::{Note, Seen, Sight};
use crate::contract::association::Pair;
use crate::contract::ids::AccountIndex;

/// What follows for a pair from what a look has shown.
enum Follows {
    Last(LastWord),
    /// The step that the look was for, with what it must know.
    Step(Change, Note),
}

impl Engine {
    /// A request did for these pairs of a lane what it was to do.
    pub(super) fn step_done(&mut self, key: LaneKey, nodes: &[NodeKey], account: AccountIndex, now: Now) {
        if nodes.is_empty() {
            return;
        }
        self.no_longer_stuck(nodes);
        let Some(lane) = expected(self.holdings.lane(key), "a lane with a request on the wire is open") else { return };
        match lane.id.course {
            Course::Remove(Removal::Archive) => self.archived(nodes, account),
            Course::Restore(Restoration { at: Restoring::Plain | Restoring::Types, .. }) => self.restored(nodes),
            Course::Plan { .. }
            | Course::Remove(Removal::Look(_))
            | Course::Restore(Restoration { at: Restoring::Look, .. }) => {
                let id = lane.id.clone();
                self.looked(key, &id, nodes, now);
            }
        }
        self.finish(now);
    }

    /// These pairs are gone from HubSpot.
    fn archived(&mut self, nodes: &[NodeKey], account: AccountIndex) {
        self.counters.pairs_archived += nodes.len() as u64;
        self.accounts[account].pairs_archived(nodes.len());
        for &node in nodes {
            self.holdings.settle(node, &LastWord::Done);
        }
    }

    /// These pairs are associated again, by all or by some of what was asked for.
    fn restored(&mut self, nodes: &[NodeKey]) {
        for &node in nodes {
            let missing = match self.holdings.take_note(node) {
                Some(Note::Creation(creation)) => creation.missing,
                Some(Note::Sight(_) | Note::Seen(_)) | None => None,
            };
            self.counters.pairs_restored += u64::from(missing.is_none());
            self.holdings.settle(node, &missing.map_or(LastWord::Done, LastWord::Refused));
        }
    }

    /// A page of each of these pairs' records was shown.
    fn looked(&mut self, key: LaneKey, id: &LaneId, nodes: &[NodeKey], now: Now) {
        let mut unfinished = Vec::new();
        let mut onward: HashMap<Course, Vec<(NodeKey, Note)>> = HashMap::new();
        for &node in nodes {
            let Some(Note::Sight(sight)) = expected(self.holdings.take_note(node), "a look leaves a note") else {
                continue;
            };
            if !sight.ended {
                self.holdings.set_note(node, Note::Sight(sight));
                unfinished.push(node);
                continue;
            }
            self.counters.pairs_looked_up += 1;
            let Some((_, pair)) = self.holdings.name(node) else { continue };
            match follows(id, pair, &sight) {
                Follows::Last(word) => self.holdings.settle(node, &word),
                Follows::Step(change, note) => onward.entry(change.course()).or_default().push((node, note)),
            }
        }
        if !unfinished.is_empty() {
            self.give_back(Batch::new(key, unfinished), now.tick, now);
        }
        for (course, nodes) in onward {
            self.advance(id.at(course), nodes, now);
        }
    }

    /// Pairs leave the lane of a request that was answered for another one.
    fn advance(&mut self, to: LaneId, nodes: Vec<(NodeKey, Note)>, now: Now) {
        let account = to.account;
        let key = self.lane(to);
        let pauses = &self.pauses;
        for (node, note) in nodes {
            self.holdings.advance(node, key, Some(note), now.tick, |lane| pauses.uncounted(account, lane, now.tick));
        }
        self.finish(now);
        self.place(key, now.tick);
        self.tidy(key);
    }
}

fn follows(lane: &LaneId, pair: Pair, sight: &Sight) -> Follows {
    let present = sight.present();
    match lane.course {
        Course::Plan { action, .. } => Follows::Last(LastWord::Planned(planning::entry(lane, action, pair, &present))),
        Course::Remove(removal) => {
            Follows::Step(removal.archive(), Note::Seen(Seen { present, reversed: sight.reversed }))
        }
        Course::Restore(restoration) => match restoring::wanted(lane, restoration, sight) {
            Wanted::Nothing => Follows::Last(LastWord::Done),
            Wanted::Impossible(refusal) => Follows::Last(LastWord::Refused(refusal)),
            Wanted::Plain(creation) => Follows::Step(restoration.plain(), Note::Creation(creation)),
            Wanted::Types(creation) => Follows::Step(restoration.types(), Note::Creation(creation)),
        },
    }
}
