//! Jobs whose records are read before it is known which pairs they ask for.

use super::Holdings;
use crate::contract::job::{Ask, PAIR_BYTES};
use crate::contract::plan::PlanEntry;
use crate::engine::backlog::{JobKey, LaneKey, NodeKey};
use crate::engine::expansion::{Expansion, OfRecord};
use crate::engine::expected::expected;
use crate::engine::ledger::Job;
use crate::engine::sight::Note;
use crate::engine::verdict::Found;

impl Holdings {
    /// Of the jobs that wait for these records, those that have more than `most` pairs by what was found so far.
    pub fn larger_than(&self, nodes: &[NodeKey], most: usize) -> Vec<JobKey> {
        let mut jobs: Vec<JobKey> = nodes.iter().flat_map(|&node| self.waiters(node)).collect();
        jobs.sort_unstable();
        jobs.dedup();
        jobs.retain(|&job| self.jobs.get(job).is_some_and(|job| self.known_pairs(job) > most));
        jobs
    }

    fn known_pairs(&self, job: &Job) -> usize {
        let seen = job.nodes.iter().map(|&node| match self.backlog.note(node) {
            Some(Note::Sight(sight)) => sight.others.len(),
            Some(Note::Seen(_) | Note::Creation(_)) | None => 0,
        });
        job.expansion().map_or(0, Expansion::known) + seen.sum::<usize>()
    }

    /// A record was read to its end.
    pub fn record_read(&mut self, key: NodeKey, found: Vec<Found>) {
        let Some(node) = self.backlog.node(key) else { return };
        let (item, lane_key) = (node.pair, node.lane);
        let Some(lane) = expected(self.lanes.get_mut(lane_key), "a pair keeps its lane open") else { return };
        let of_record = OfRecord { item, extent: lane.id.extent.clone(), found: found.into() };
        for waiter in self.backlog.settle(&mut lane.queue, key) {
            let Some(job) = expected(self.jobs.get_mut(waiter), "who waits for a pair is in hand") else { continue };
            job.pair_answered();
            match (job.last_word(false), job.leaving.is_some()) {
                (Some(refusal), _) => job.item_failed(item, &of_record.extent, refusal),
                (None, true) => {}
                (None, false) => job.record_read(of_record.clone()),
            }
            self.look_whether_expanded(waiter, lane_key);
            self.finish_if_done(waiter);
        }
    }

    /// Notes the job if all its records are read by now.
    pub(super) fn look_whether_expanded(&mut self, key: JobKey, lane: LaneKey) {
        let Some(job) = self.jobs.get(key).filter(|job| job.leaving.is_none()) else { return };
        if job.expansion().is_some_and(Expansion::is_over) {
            self.expanded.push_back((key, lane));
        }
    }

    /// A job whose records are all read, and the lane of the last of them.
    pub fn next_expanded(&mut self) -> Option<(JobKey, LaneKey)> {
        self.expanded.pop_front()
    }

    /// The pairs of a job are known: returns those that it lists, and those that were found. It waits for them from
    /// here on.
    pub fn begin_expanded(&mut self, key: JobKey) -> Option<(Vec<Ask>, Vec<OfRecord>)> {
        let job = self.jobs.get_mut(key).filter(|job| job.leaving.is_none())?;
        let mut expansion = job.expanded()?;
        let (listed, found) = (expansion.take_listed(), expansion.take_found());
        let grown = found.iter().map(|of_record| of_record.found.len()).sum::<usize>() * PAIR_BYTES;
        job.weight += grown;
        self.bytes += grown;
        Some((listed, found))
    }

    /// A job has asked for all its pairs: it is finished if there are none.
    pub fn conclude_expanded(&mut self, key: JobKey) {
        if self.jobs.contains_key(key) {
            self.finish_if_done(key);
        }
    }

    /// The nodes of the pairs that a job has asked for last.
    pub fn newest_nodes(&self, key: JobKey, pairs: usize) -> Vec<NodeKey> {
        let nodes = self.jobs.get(key).map(|job| job.nodes.as_slice()).unwrap_or_default();
        nodes[nodes.len().saturating_sub(pairs)..].to_vec()
    }

    /// What a dry run tells of a pair that was found.
    pub fn plan(&mut self, key: JobKey, entry: PlanEntry) {
        if let Some(job) = self.jobs.get_mut(key) {
            job.pair_planned(entry);
        }
    }
}
