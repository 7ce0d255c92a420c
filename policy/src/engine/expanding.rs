//! The conductor, for jobs that ask for all associations of some records: once the records are read, the jobs ask for
//! the pairs that were found.

use std::sync::Arc;

use smallvec::SmallVec;

use super::backlog::{JobKey, LaneKey, NodeKey};
use super::clock::Now;
use super::command::LaneId;
use super::course::{Course, Removal};
use super::engine::Engine;
use super::expansion::{OfRecord, too_many};
use super::expected::expected;
use super::ledger::Leaving;
use super::planning;
use super::sight::{Note, Seen, Sight};
use crate::contract::action::Action;
use crate::contract::association::Pair;

impl Engine {
    /// Jobs that would have more pairs than they may have end before anything of them is changed.
    pub(super) fn refuse_too_large(&mut self, nodes: &[NodeKey], now: Now) {
        let most = self.policy.max_pairs;
        for job in self.holdings.larger_than(nodes, most) {
            let refusal = Arc::new(too_many(most));
            self.leave(job, Leaving::Fail { refusal }, now);
        }
    }

    /// Lets jobs whose records are all read ask for their pairs.
    pub(super) fn expand(&mut self, now: Now) {
        while let Some((key, lane)) = self.holdings.next_expanded() {
            let Some((listed, found)) = self.holdings.begin_expanded(key) else { continue };
            let Some((from, course)) = self.courses_behind(lane) else { continue };
            for ask in listed {
                let lane = LaneId { extent: ask.extent.clone(), ..from.at(course) };
                self.ask(key, lane, &ask.pairs, now);
            }
            for of_record in found {
                let lane = LaneId { extent: of_record.extent.clone(), ..from.clone() };
                self.ask_for_found(key, lane, &of_record, now);
            }
            self.holdings.conclude_expanded(key);
        }
    }

    /// A lane of records, and where the listed pairs of its jobs begin.
    fn courses_behind(&self, lane: LaneKey) -> Option<(LaneId, Course)> {
        let id = expected(self.holdings.lane(lane), "a lane with a request on the wire is open")?.id.clone();
        let safety = self.accounts[id.account].policy.safety;
        let course = match id.course {
            Course::Plan { action, .. } => Course::of_pairs(action, true, safety),
            Course::Remove(_) => Course::of_pairs(Action::Archive, false, safety),
            Course::Restore(_) => return None,
        };
        Some((id, course))
    }

    /// What was found is known: a plan need not look again, and neither need an account with a journal.
    fn ask_for_found(&mut self, key: JobKey, lane: LaneId, of_record: &OfRecord, now: Now) {
        let pairs: SmallVec<[Pair; 1]> = of_record.found.iter().map(|found| of_record.pair(found)).collect();
        let sights = of_record.found.iter().map(|found| Sight { pair: Some(found.clone()), ..Sight::default() });
        match lane.course {
            Course::Plan { action, .. } => {
                for (&pair, sight) in pairs.iter().zip(sights) {
                    self.holdings.plan(key, planning::entry(&lane, action, pair, &sight));
                }
            }
            Course::Remove(removal @ Removal::Look(_)) => {
                let journal = self.accounts[lane.account].policy.safety.journal;
                self.ask(key, lane.at(removal.archive().course()), &pairs, now);
                let nodes = if journal { self.holdings.newest_nodes(key, pairs.len()) } else { Vec::new() };
                for (node, sight) in nodes.into_iter().zip(sights) {
                    self.holdings.set_note(node, Note::Seen(Seen::new(sight.present(), false)));
                }
            }
            Course::Remove(Removal::Archive | Removal::Prove) | Course::Restore(_) => {}
        }
    }

    /// Puts pairs of a job that was in hand before into their lane.
    fn ask(&mut self, key: JobKey, lane: LaneId, pairs: &[Pair], now: Now) {
        if pairs.is_empty() {
            return;
        }
        let Some(job) = self.holdings.job(key) else { return };
        let (account, urgency) = (lane.account, job.urgency);
        let lane = self.lane(lane, urgency);
        let pauses = &self.pauses;
        self.holdings.move_job(key, lane, now.tick, |lane| pauses.uncounted(account, lane, now.tick));
        self.put(key, lane, pairs, now);
    }
}
