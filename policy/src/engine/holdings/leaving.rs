//! Jobs that leave: which of them may, how they are taken off their pairs, and when they are finished.

use hashbrown::HashSet;

use super::{Holdings, LanesOfJob};
use crate::engine::background::Urgency;
use crate::engine::backlog::{JobKey, LaneKey, NodeKey, Place};
use crate::engine::expected::expected;
use crate::engine::ledger::{Job, Leaving};
use crate::engine::record_set::RecordSet;

impl Holdings {
    /// Jobs of which nothing is on the wire and which do not leave already, oldest first, and those of the background after
    /// the others.
    pub fn idle_jobs(&self) -> Vec<JobKey> {
        let is_idle = |job: &Job| job.is_off_wire() && job.leaving.is_none();
        let is_live = |key: &JobKey| self.jobs.get(*key).is_some_and(|job| job.urgency == Urgency::Live);
        let idle = self.deadlines.in_order_of_admission().filter(|&key| self.jobs.get(key).is_some_and(is_idle));
        if self.of_background == 0 {
            return idle.collect();
        }
        let (mut live, background): (Vec<JobKey>, Vec<JobKey>) = idle.partition(is_live);
        live.extend(background);
        live
    }

    /// The jobs that wait in these lanes, without the `reserve` that stays in hand: those that would be served first. Half of
    /// that is for the newest jobs with pairs that were not sent yet and are of other records than those that are `blamed`,
    /// as far as there are such jobs.
    pub fn beyond_reserve(&self, lanes: &[LaneKey], reserve: usize, blamed: Option<&RecordSet>) -> Vec<JobKey> {
        let in_lanes = || lanes.iter().filter_map(|&key| self.lanes.get(key));
        let newest_beside = blamed.into_iter().flat_map(|blamed| {
            in_lanes().flat_map(|lane| {
                let nodes = self.backlog.newest_waiting(&lane.queue).filter_map(|node| self.backlog.node(node));
                nodes.filter(|node| !blamed.has_one_of(&lane.id, node.pair)).flat_map(|node| &node.waiters)
            })
        });
        let mut kept: HashSet<JobKey> = newest_beside.take(reserve.div_ceil(2)).copied().collect();
        let mut beyond = Vec::new();
        for lane in in_lanes() {
            let repeats = lane.repeats().filter_map(|batch| self.batches.get(batch));
            let repeats = repeats.flat_map(|batch| batch.nodes.iter().copied());
            let nodes = repeats.chain(self.backlog.waiting(&lane.queue)).filter_map(|node| self.backlog.node(node));
            for &job in nodes.flat_map(|node| &node.waiters) {
                if kept.contains(&job) {
                    continue;
                }
                if kept.len() < reserve {
                    kept.insert(job);
                } else {
                    beyond.push(job);
                }
            }
        }
        beyond
    }

    /// Whether a job waits for a pair of other records than these.
    pub fn has_pairs_beside(&self, key: JobKey, records: &RecordSet) -> bool {
        let is_beside = |&node: &NodeKey| self.name(node).is_some_and(|(lane, pair)| !records.has_one_of(lane, pair));
        self.jobs.get(key).is_some_and(|job| job.nodes.iter().any(is_beside))
    }

    /// Takes a job off its pairs: at once off those that are not on the wire, off the others when they are answered.
    /// Returns the lanes that may have less to send now; `None` if the job stays as it is.
    pub fn leave(&mut self, key: JobKey, leaving: Leaving) -> Option<LanesOfJob> {
        let job = self.jobs.get_mut(key)?;
        if !leaving.supersedes(job.leaving.as_ref()) {
            return None;
        }
        job.leaving = Some(leaving);
        if let Some(refusal) = job.last_word(false) {
            job.expansion_failed(&refusal);
        }
        let nodes = std::mem::take(&mut job.nodes);
        let mut lanes = LanesOfJob::new();
        for &node in &nodes {
            let lane = self.backlog.node(node).map(|node| node.lane);
            lanes.extend(lane.filter(|lane| !lanes.contains(lane)));
            self.withdraw(node, key);
        }
        if let Some(job) = self.jobs.get_mut(key) {
            job.nodes = nodes;
        }
        self.finish_if_done(key);
        Some(lanes)
    }

    /// Takes a leaving job off one pair that is not on the wire.
    pub(super) fn withdraw(&mut self, node_key: NodeKey, key: JobKey) {
        let Some(node) = self.backlog.node(node_key) else { return };
        if node.place == Place::OnWire || !node.waiters.contains(&key) {
            return;
        }
        let (lane, pair) = (node.lane, node.pair);
        let proof = self.backlog.proof(node_key);
        // What was archived from its other side may be there still.
        let turned = proof.is_some_and(|proof| proof.is_turned());
        let in_doubt = node.in_doubt || turned;
        let Some(lane) = expected(self.lanes.get_mut(lane), "a pair keeps its lane open") else { return };
        let Some(job) = expected(self.jobs.get_mut(key), "who waits for a pair is in hand") else { return };
        self.backlog.withdraw(&mut lane.queue, node_key, key);
        if let Some(refusal) = job.last_word(in_doubt) {
            match proof {
                // What was removed for other jobs says nothing to one that came later and for which nothing has left.
                Some(proof) if !turned && job.has_removed => job.pair_unproven(pair, &lane.id, proof),
                Some(_) | None => job.pair_failed(pair, &lane.id, refusal),
            }
        }
    }

    /// A job is finished if all its pairs have a verdict, or if it leaves and none of its pairs is on the wire.
    pub(super) fn finish_if_done(&mut self, key: JobKey) {
        let Some(job) = expected(self.jobs.get(key), "who waits for a pair is in hand") else { return };
        if !job.is_off_wire() || !(job.is_complete() || job.leaving.is_some()) {
            return;
        }
        let Some(job) = self.jobs.remove(key) else { return };
        let jobs = &self.jobs;
        self.deadlines.sweep(jobs.len(), |job| jobs.contains_key(job));
        self.bytes -= job.weight;
        if let Some(jobs) = self.of_account.get_mut(job.account) {
            *jobs -= 1;
        }
        self.of_background -= usize::from(job.urgency == Urgency::Background);
        self.finished.push_back((job.account, job.end(key)));
    }

    /// Takes those jobs off a pair that are leaving.
    pub(super) fn withdraw_leaving(&mut self, key: NodeKey) {
        for waiter in self.waiters(key) {
            if self.jobs.get(waiter).is_some_and(|job| job.leaving.is_some()) {
                self.withdraw(key, waiter);
                self.finish_if_done(waiter);
            }
        }
    }
}
