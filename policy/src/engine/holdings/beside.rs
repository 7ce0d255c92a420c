//! Where pairs of the background meet live ones of the same kind: equal pairs become one, and a live request that has
//! room is filled up with pairs of the background.

use super::Holdings;
use crate::contract::association::Pair;
use crate::engine::background::Urgency;
use crate::engine::backlog::{JobKey, LaneKey};
use crate::engine::clock::Tick;
use crate::engine::command::CallResult;
use crate::engine::expected::expected;
use crate::engine::lane::Lane;

impl Holdings {
    /// Does what [`Holdings::ask`] does, where an equal pair may wait in the lane of the other urgency.
    pub(super) fn ask_beside(&mut self, key: JobKey, lane_key: LaneKey, pairs: &[Pair], now: Tick) -> usize {
        let before = self.backlog.len();
        for &pair in pairs {
            let meeting = self.meet(lane_key, pair, now);
            let Some(lane) = expected(self.lanes.get_mut(meeting), "a lane or its other one") else { continue };
            let Some(job) = expected(self.jobs.get_mut(key), "the job was just admitted") else { continue };
            job.nodes.push(self.backlog.ask(meeting, &mut lane.queue, pair, key, now));
            job.lane = meeting;
        }
        (before + pairs.len()).saturating_sub(self.backlog.len())
    }

    /// The lane where a pair that comes to `key` meets an equal one, so that they become one. A live pair pulls the
    /// equal one of the background into its own lane; a pair of the background joins the equal live one.
    pub(super) fn meet(&mut self, key: LaneKey, pair: Pair, now: Tick) -> LaneKey {
        let Some((lane, other)) = self.lanes.get_both_mut(key) else { return key };
        let Some(other_key) = lane.other else { return key };
        match lane.urgency {
            Urgency::Live if !self.backlog.has_waiting(key, pair) => {
                self.backlog.move_queued(pair, (other_key, &mut other.queue), (key, &mut lane.queue), now);
                key
            }
            Urgency::Live => key,
            Urgency::Background if self.backlog.has_waiting(other_key, pair) => other_key,
            Urgency::Background => key,
        }
    }

    /// Notes the result of a lane's request: it decides whether pairs of the background may fill up the next live
    /// request.
    pub fn note_quality(&mut self, key: LaneKey, result: CallResult) {
        let is_good = match result {
            CallResult::Archived | CallResult::LookedUp | CallResult::Restored => true,
            // These results say nothing of the pairs.
            CallResult::Throttled | CallResult::AccountPaused | CallResult::Unknown => return,
            CallResult::Partial | CallResult::Refused | CallResult::Transient(_) | CallResult::LanePaused => false,
        };
        let Some(lane) = self.lanes.get_mut(key) else { return };
        match lane.urgency {
            Urgency::Background => lane.fills_others = is_good,
            Urgency::Live if is_good => {}
            Urgency::Live => {
                if let Some(other) = lane.other.and_then(|other| self.lanes.get_mut(other)) {
                    other.fills_others = false;
                }
            }
        }
    }

    /// Where background pairs of the same kind wait that may fill up a request of a live lane.
    pub fn filling(&self, key: LaneKey) -> Option<&Lane> {
        let lane = self.lanes.get(key).filter(|lane| lane.urgency == Urgency::Live)?;
        self.lanes.get(lane.other?).filter(|other| other.fills_others && !other.queue.is_empty())
    }
}
