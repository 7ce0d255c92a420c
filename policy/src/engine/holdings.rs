//! What is in hand: jobs, the pairs they wait for, the lanes where these wait and the batches they leave in. All of it
//! changes together, so all of it is kept here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashSet;
use jiff::Timestamp;
use slotmap::SlotMap;
use smallvec::SmallVec;

use super::account::PerAccount;
use super::backlog::{Backlog, JobKey, LaneKey, NodeKey, Place};
use super::batch::{Batch, BatchKey};
use super::clock::{Now, Tick};
use super::command::{CallKey, LaneId};
use super::creating::Creating;
use super::deadlines::{Deadline, Deadlines};
use super::expected::expected;
use super::lane::{Lane, Lanes, Repeat};
use super::ledger::{End, Job, Leaving, Ledger};
use super::pack::Caps;
use super::recording::Fate;
use super::sight::EntryPlace;
use crate::contract::association::Pair;
use crate::contract::ids::AccountIndex;
use crate::contract::plan::PlanEntry;
use crate::contract::refusal::Refusal;

mod advance;
mod expanded;
mod journal;
mod proofs;
mod requests;

/// See the module.
#[derive(Debug)]
pub struct Holdings {
    jobs: Ledger,
    /// Bytes of all jobs, by their own weights.
    bytes: usize,
    of_account: PerAccount<usize>,
    deadlines: Deadlines,
    backlog: Backlog,
    lanes: Lanes,
    batches: SlotMap<BatchKey, Batch>,
    creating: Creating,
    /// Jobs that are in hand no longer, until [`Holdings::next_finished`] is asked for them.
    finished: VecDeque<(AccountIndex, End)>,
    /// Jobs whose records are all read, until [`Holdings::next_expanded`] is asked for them; with a lane of records.
    expanded: VecDeque<(JobKey, LaneKey)>,
    /// What became of recorded pairs, until [`Holdings::next_fate`] is asked for it.
    fates: VecDeque<(AccountIndex, EntryPlace, Fate)>,
}

/// What becomes of a pair in the end.
#[derive(Clone, Debug)]
pub enum LastWord {
    /// What the job asks for is done.
    Done,
    /// Likewise, and it was seen that the pair is gone.
    Proven,
    /// HubSpot took the removal, but shows the pair.
    Disproved(Arc<Refusal>),
    Refused(Arc<Refusal>),
    Planned(PlanEntry),
}

/// The lanes of a job, which is mostly in one.
pub type LanesOfJob = SmallVec<[LaneKey; 1]>;

impl Holdings {
    pub fn new(accounts: usize) -> Self {
        Self {
            jobs: Ledger::with_key(),
            bytes: 0,
            of_account: PerAccount::new((0..accounts).map(|_| 0)),
            deadlines: Deadlines::default(),
            backlog: Backlog::default(),
            lanes: Lanes::new(accounts),
            batches: SlotMap::with_key(),
            creating: Creating::default(),
            finished: VecDeque::new(),
            expanded: VecDeque::new(),
            fates: VecDeque::new(),
        }
    }

    // Jobs.

    pub fn admit(&mut self, job: Job) -> JobKey {
        self.bytes += job.weight;
        if let Some(jobs) = self.of_account.get_mut(job.account) {
            *jobs += 1;
        }
        self.jobs.insert(job)
    }

    pub fn job(&self, key: JobKey) -> Option<&Job> {
        self.jobs.get(key)
    }

    pub fn has_job(&self, key: JobKey) -> bool {
        self.jobs.contains_key(key)
    }

    pub fn jobs(&self) -> impl ExactSizeIterator<Item = (JobKey, &Job)> {
        self.jobs.iter()
    }

    pub fn jobs_of(&self, account: AccountIndex) -> usize {
        self.of_account.get(account).copied().unwrap_or_default()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The job must leave at its `notAfter`.
    pub fn set_not_after(&mut self, key: JobKey, not_after: Timestamp) {
        self.deadlines.add_not_after(key, not_after);
    }

    /// The job must leave when it has been held until then.
    pub fn set_hold(&mut self, key: JobKey, until: Tick) {
        self.deadlines.add_hold(key, until);
    }

    /// A job whose time is up.
    pub fn take_due(&mut self, now: Now) -> Option<(JobKey, Deadline)> {
        let jobs = &self.jobs;
        self.deadlines.take_due(now, |job| jobs.contains_key(job))
    }

    /// When a job's time is up next.
    pub fn next_deadline(&self, now: Now) -> Option<Tick> {
        self.deadlines.next(now)
    }

    /// Jobs of which nothing is on the wire and which do not leave already, oldest first.
    pub fn idle_jobs(&self) -> Vec<JobKey> {
        let is_idle = |job: &Job| job.is_off_wire() && job.leaving.is_none();
        self.deadlines.in_order_of_admission().filter(|&key| self.jobs.get(key).is_some_and(is_idle)).collect()
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
    fn withdraw(&mut self, node_key: NodeKey, key: JobKey) {
        let Some(node) = self.backlog.node(node_key) else { return };
        if node.place == Place::OnWire || !node.waiters.contains(&key) {
            return;
        }
        let (lane, pair, in_doubt) = (node.lane, node.pair, node.in_doubt);
        let proof = self.backlog.proof(node_key);
        let Some(lane) = expected(self.lanes.get_mut(lane), "a pair keeps its lane open") else { return };
        let Some(job) = expected(self.jobs.get_mut(key), "who waits for a pair is in hand") else { return };
        self.backlog.withdraw(&mut lane.queue, node_key, key);
        if let Some(refusal) = job.last_word(in_doubt) {
            match proof {
                Some(proof) => job.pair_unproven(pair, &lane.id, proof),
                None => job.pair_failed(pair, &lane.id, refusal),
            }
        }
    }

    /// A job is finished if all its pairs have a verdict, or if it leaves and none of its pairs is on the wire.
    fn finish_if_done(&mut self, key: JobKey) {
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
        self.finished.push_back((job.account, job.end(key)));
    }

    /// A job that is in hand no longer, and about which the last word is to be said now; and whose it was.
    pub fn next_finished(&mut self) -> Option<(AccountIndex, End)> {
        self.finished.pop_front()
    }

    // Pairs.

    /// Notes that a job waits for `pairs`; returns how many of them joined an equal pair of another job.
    pub fn ask(&mut self, key: JobKey, lane_key: LaneKey, pairs: &[Pair], now: Tick) -> usize {
        let Some(lane) = expected(self.lanes.get_mut(lane_key), "the lane was just opened") else { return 0 };
        let Some(job) = expected(self.jobs.get_mut(key), "the job was just admitted") else { return 0 };
        let before = self.backlog.len();
        for &pair in pairs {
            job.nodes.push(self.backlog.ask(lane_key, &mut lane.queue, pair, key, now));
        }
        job.lane = lane_key;
        (before + pairs.len()).saturating_sub(self.backlog.len())
    }

    /// Distinct pairs in hand, waiting or on the wire.
    pub fn pairs(&self) -> usize {
        self.backlog.len()
    }

    /// Nothing is kept of any pair.
    pub fn has_no_pairs(&self) -> bool {
        self.backlog.is_empty()
    }

    /// Who waits for a pair.
    pub fn waiters(&self, node: NodeKey) -> SmallVec<[JobKey; 1]> {
        self.backlog.node(node).map(|node| node.waiters.clone()).unwrap_or_default()
    }

    /// The lane of the first pair of a job that is not on the wire.
    pub fn lane_with_work_for(&self, key: JobKey) -> Option<LaneKey> {
        let nodes = self.jobs.get(key)?.nodes.iter().filter_map(|&node| self.backlog.node(node));
        nodes.filter(|node| !matches!(node.place, Place::OnWire | Place::Cooling)).map(|node| node.lane).next()
    }

    /// A request with a pair of the job failed for a transient reason; `uncounted` is the reading of
    /// [`super::pauses::Pauses::uncounted`].
    pub fn failed(&mut self, key: JobKey, now: Tick, uncounted: Duration) {
        if let Some(job) = self.jobs.get_mut(key) {
            job.failed(now, uncounted);
        }
    }

    /// A pair has its last verdict.
    pub fn settle(&mut self, key: NodeKey, word: &LastWord) {
        let Some(node) = self.backlog.node(key) else { return };
        let (pair, lane_key, on_wire) = (node.pair, node.lane, node.place == Place::OnWire);
        let proof = self.backlog.proof(key);
        let Some(account) = self.lanes.get(lane_key).map(|lane| lane.id.account) else { return };
        let recorded = self.note_fate(key, account, word);
        let recorded = proof.map_or(recorded, |proof| proof.is_recorded());
        let Some(lane) = expected(self.lanes.get_mut(lane_key), "a pair keeps its lane open") else { return };
        for waiter in self.backlog.settle(&mut lane.queue, key) {
            let Some(job) = expected(self.jobs.get_mut(waiter), "who waits for a pair is in hand") else { continue };
            if on_wire {
                job.pair_answered();
            }
            match word {
                LastWord::Done => job.pair_done(recorded),
                LastWord::Proven => job.pair_proven(recorded),
                LastWord::Refused(refusal) | LastWord::Disproved(refusal) => {
                    let Some(lane) = expected(self.lanes.get(lane_key), "a pair keeps its lane open") else { continue };
                    match (word, proof) {
                        // What HubSpot says of a reading does not undo the removal.
                        (LastWord::Refused(_), Some(proof)) if lane.id.course.is_proof() => {
                            job.pair_unproven(pair, &lane.id, proof);
                        }
                        _ => job.pair_failed(pair, &lane.id, Arc::clone(refusal)),
                    }
                }
                LastWord::Planned(entry) => job.pair_planned(entry.clone()),
            }
            self.look_whether_expanded(waiter, lane_key);
            self.finish_if_done(waiter);
        }
    }

    pub fn refuse_all(&mut self, nodes: impl IntoIterator<Item = NodeKey>, refusal: &Arc<Refusal>) {
        let word = LastWord::Refused(Arc::clone(refusal));
        for node in nodes {
            self.settle(node, &word);
        }
    }

    /// Refuses every pair of a lane, first those of `batch`, which has just been answered.
    pub fn refuse_lane(&mut self, batch: &Batch, refusal: &Arc<Refusal>) {
        self.refuse_all(batch.all_nodes(), refusal);
        let Some(lane) = expected(self.lanes.get_mut(batch.lane), "a batch keeps its lane open") else { return };
        let repeats = lane.take_repeats();
        let waiting: Vec<NodeKey> = self.backlog.waiting(&lane.queue).collect();
        self.refuse_all(waiting, refusal);
        for repeat in repeats {
            if let Some(batch) = self.take_batch(repeat.batch()) {
                self.refuse_all(batch.all_nodes(), refusal);
            }
        }
    }

    /// These pairs fail by themselves: no job stays for them.
    pub fn mark_stuck(&mut self, nodes: &[NodeKey]) {
        for &node in nodes {
            if let Some(node) = self.backlog.node_mut(node) {
                node.stuck = true;
            }
        }
    }

    /// Whether anything of an account waits that is not stuck.
    pub fn has_work_beside_stuck(&self, account: AccountIndex) -> bool {
        let mut lanes = self.lanes.of(account).iter().filter_map(|&key| self.lanes.get(key));
        lanes.any(|lane| {
            let mut batches = lane.repeats().filter_map(|batch| self.batches.get(batch));
            !lane.queue.is_empty() || batches.any(|batch| !batch.stuck)
        })
    }

    /// Whether a job also waits for pairs that are not stuck.
    pub fn waits_for_others(&self, key: JobKey) -> bool {
        let Some(job) = self.jobs.get(key) else { return false };
        let nodes = job.nodes.iter().filter_map(|&node| self.backlog.node(node));
        nodes.filter(|node| node.waiters.contains(&key)).any(|node| !node.stuck)
    }

    /// A request that carried these pairs got no answer, or none that says whether it was carried out.
    pub fn leave_in_doubt(&mut self, nodes: &[NodeKey]) {
        for &node in nodes {
            if let Some(node) = self.backlog.node_mut(node) {
                node.in_doubt = true;
            }
        }
    }

    /// A pair has come back without a verdict. Jobs that are leaving leave it now; jobs that have asked for an equal pair
    /// meanwhile join it.
    pub fn take_off_wire(&mut self, key: NodeKey) {
        let Some(node) = self.backlog.node(key) else { return };
        if node.place == Place::OnWire
            && let Some(lane) = expected(self.lanes.get_mut(node.lane), "a pair keeps its lane open")
        {
            for &waiter in &node.waiters {
                if let Some(job) = expected(self.jobs.get_mut(waiter), "who waits for a pair is in hand") {
                    job.pair_answered();
                }
            }
            for job in self.backlog.take_off_wire(&mut lane.queue, key) {
                if let Some(job) = expected(self.jobs.get_mut(job), "who waits for a pair is in hand") {
                    job.nodes.push(key);
                }
            }
        }
        self.withdraw_leaving(key);
    }

    /// Takes those jobs off a pair that are leaving.
    fn withdraw_leaving(&mut self, key: NodeKey) {
        for waiter in self.waiters(key) {
            if self.jobs.get(waiter).is_some_and(|job| job.leaving.is_some()) {
                self.withdraw(key, waiter);
                self.finish_if_done(waiter);
            }
        }
    }

    // Lanes.

    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    pub fn open_lane(&mut self, id: LaneId) -> LaneKey {
        self.lanes.open(id)
    }

    pub fn close_lane(&mut self, key: LaneKey) {
        self.lanes.close(key);
    }

    pub fn lane(&self, key: LaneKey) -> Option<&Lane> {
        self.lanes.get(key)
    }

    pub fn lane_mut(&mut self, key: LaneKey) -> Option<&mut Lane> {
        self.lanes.get_mut(key)
    }

    /// When the oldest pair arrived that waits in a lane.
    pub fn oldest_arrival(&self, lane: &Lane) -> Option<Tick> {
        self.backlog.oldest_arrival(&lane.queue)
    }

    /// Pairs waiting in the lane of a job that are not there for this job alone.
    pub fn pairs_of_others(&self, job: &Job) -> usize {
        let Some(lane) = self.lanes.get(job.lane) else { return 0 };
        let nodes = job.nodes.iter().filter_map(|&node| self.backlog.node(node));
        let own = nodes.filter(|node| node.lane == job.lane && node.waiters.len() == 1).count();
        lane.queue.pairs().saturating_sub(own)
    }

    /// Pairs of an account that wait to be taken away from HubSpot.
    pub fn pairs_to_remove(&self, account: AccountIndex) -> usize {
        let lanes = self.lanes.of(account).iter().filter_map(|&key| self.lanes.get(key));
        let lanes = lanes.filter(|lane| lane.id.step().removes());
        let of_batch = |batch| self.batches.get(batch).map_or(0, |batch| batch.nodes.len());
        lanes.map(|lane| lane.queue.pairs() + lane.repeats().map(of_batch).sum::<usize>()).sum()
    }

    /// The jobs that wait in these lanes, without the `reserve` that would be served first.
    pub fn beyond_reserve(&self, lanes: &[LaneKey], reserve: usize) -> Vec<JobKey> {
        let (mut kept, mut beyond) = (HashSet::new(), Vec::new());
        for lane in lanes.iter().filter_map(|&key| self.lanes.get(key)) {
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

    // Batches.

    /// Forms a batch of what waits in a lane, with the pairs of one job first if need be.
    pub fn form(&mut self, lane_key: LaneKey, caps: Caps, first: Option<JobKey>) -> Option<BatchKey> {
        let lane = expected(self.lanes.get_mut(lane_key), "a lane that has a turn is open")?;
        let caps = lane.caps(caps);
        let nodes = match first.and_then(|job| self.jobs.get(job)) {
            Some(job) => self.backlog.gather_with(lane_key, &mut lane.queue, caps, &job.nodes),
            None => self.backlog.gather(&mut lane.queue, caps),
        };
        Some(self.batches.insert(Batch::new(lane_key, nodes)))
    }

    /// Takes those of a job's waiting pairs out of their lane that are to leave by themselves.
    pub fn set_apart(&mut self, job: JobKey, key: LaneKey, apart: impl Fn(&LaneId, Pair) -> bool) -> Vec<Batch> {
        let Some(job) = expected(self.jobs.get(job), "the job was just admitted") else { return Vec::new() };
        let Some(lane) = expected(self.lanes.get_mut(key), "a pair keeps its lane open") else { return Vec::new() };
        let alone = Caps { from: 1, pairs: 1 };
        let backlog = &mut self.backlog;
        let waits = |backlog: &Backlog, node: NodeKey| {
            let node = backlog.node(node).filter(|node| node.lane == key)?;
            matches!(node.place, Place::Queued { .. }).then_some(node.pair)
        };
        let mut batches = Vec::new();
        for &node in &job.nodes {
            if waits(backlog, node).is_some_and(|pair| apart(&lane.id, pair)) {
                let nodes = backlog.gather_with(key, &mut lane.queue, alone, &[node]);
                // It was never sent, and waits as if it had come back.
                backlog.take_off_wire(&mut lane.queue, node);
                if let Some(node) = backlog.node_mut(node) {
                    node.stuck = true;
                }
                batches.push(Batch::new(key, nodes));
            }
        }
        batches
    }

    /// The lane and the pair of a node.
    pub fn name(&self, node: NodeKey) -> Option<(&LaneId, Pair)> {
        let node = self.backlog.node(node)?;
        Some((&self.lanes.get(node.lane)?.id, node.pair))
    }

    pub fn batch(&self, key: BatchKey) -> Option<&Batch> {
        self.batches.get(key)
    }

    pub fn batch_mut(&mut self, key: BatchKey) -> Option<&mut Batch> {
        self.batches.get_mut(key)
    }

    pub fn batches(&self) -> impl ExactSizeIterator<Item = &Batch> {
        self.batches.values()
    }

    /// Takes out a batch that has been answered, or that will not be sent.
    pub fn take_batch(&mut self, key: BatchKey) -> Option<Batch> {
        expected(self.batches.remove(key), "a batch is in hand until it is answered or dropped")
    }

    /// Puts a batch on the wire, without the pairs whose jobs have left while it waited. Nothing can join these pairs or
    /// leave them until the request is answered.
    pub fn put_on_wire(&mut self, key: BatchKey, call: CallKey, now: Timestamp) -> Option<&Batch> {
        let batch = expected(self.batches.get_mut(key), "a batch that is sent is in hand")?;
        let lane = expected(self.lanes.get_mut(batch.lane), "a batch keeps its lane open")?;
        lane.request_left();
        batch.nodes.retain(|&node| self.backlog.node(node).is_some());
        if batch.failing_since.is_some() || batch.trial.is_some() {
            // A sample may have come back to the others, and pairs of one record must stand together in the request.
            batch.nodes.sort_by_key(|&node| self.backlog.node(node).map(|node| node.pair));
        }
        for &node in &batch.nodes {
            self.backlog.put_on_wire(node);
            for &waiter in self.backlog.node(node).map(|node| node.waiters.as_slice()).unwrap_or_default() {
                if let Some(job) = expected(self.jobs.get_mut(waiter), "who waits for a pair is in hand") {
                    job.pair_sent(call, now);
                }
            }
        }
        let nodes = batch.nodes.iter().filter_map(|&node| self.backlog.node(node));
        batch.wire = nodes.map(|node| node.pair).collect();
        Some(batch)
    }

    /// Pairs of a batch that the guard has not counted.
    pub fn unguarded(&self, key: BatchKey) -> usize {
        let nodes = self.batches.get(key).map(|batch| batch.nodes.as_slice()).unwrap_or_default();
        nodes.iter().filter(|&&node| self.backlog.node(node).is_some_and(|node| !node.guarded)).count()
    }

    /// Notes that the guard counts the pairs of a batch; returns how many it had not counted before.
    pub fn set_guarded(&mut self, key: BatchKey) -> usize {
        let nodes = self.batches.get(key).map(|batch| batch.nodes.as_slice()).unwrap_or_default();
        let backlog = &mut self.backlog;
        let is_new =
            |&&node: &&NodeKey| backlog.node_mut(node).is_some_and(|node| !std::mem::replace(&mut node.guarded, true));
        nodes.iter().filter(is_new).count()
    }

    /// The jobs that wait for pairs of a batch, each once.
    pub fn jobs_in(&self, batch: Option<BatchKey>) -> impl Iterator<Item = JobKey> + '_ {
        let nodes = batch.and_then(|key| self.batches.get(key)).map(|batch| batch.nodes.as_slice());
        let nodes = nodes.unwrap_or_default().iter().filter_map(|&node| self.backlog.node(node));
        let mut seen = HashSet::new();
        nodes.flat_map(|node| node.waiters.iter().copied()).filter(move |&job| seen.insert(job))
    }

    /// Takes an answered batch back into its lane, to go again from `due` on. `Err` is a batch for whose own pairs nobody
    /// waits any more.
    #[expect(clippy::result_large_err, reason = "it is moved once, and rarely; a box would be an allocation a batch")]
    pub fn give_back(&mut self, mut batch: Batch, due: Tick, now: Tick) -> Result<(), Batch> {
        let nodes: Vec<NodeKey> = batch.all_nodes().collect();
        for node in nodes {
            self.take_off_wire(node);
        }
        batch.nodes.retain(|&node| self.backlog.node(node).is_some());
        if batch.nodes.is_empty() {
            return Err(batch);
        }
        let lane = batch.lane;
        let key = self.batches.insert(batch);
        if let Some(lane) = expected(self.lanes.get_mut(lane), "a pair keeps its lane open") {
            lane.add_repeat(Repeat::new(key, &self.batches[key], due, now));
        }
        Ok(())
    }

    /// Takes out the batch that would go again next in a lane, if all jobs that waited for it have left.
    pub fn take_deserted(&mut self, key: LaneKey) -> Option<Batch> {
        let lane = self.lanes.get_mut(key)?;
        let next = lane.next_repeat()?.batch();
        let batch = expected(self.batches.get(next), "a batch that waits is in hand")?;
        if batch.nodes.iter().any(|&node| self.backlog.node(node).is_some()) {
            return None;
        }
        lane.remove_repeat(next);
        self.take_batch(next)
    }

    /// See [`Deadlines::stale`].
    pub fn stale_times(&self) -> usize {
        self.deadlines.stale()
    }
}
