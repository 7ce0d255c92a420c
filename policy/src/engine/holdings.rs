//! What is in hand: jobs, the pairs they wait for, the lanes where these wait and the batches they leave in. All of it
//! changes together, so all of it is kept here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use slotmap::SlotMap;
use smallvec::SmallVec;

use super::background::Urgency;
use super::backlog::{Backlog, JobKey, LaneKey, NodeKey, Place};
use super::batch::{Batch, BatchKey};
use super::clock::{Now, Tick};
use super::command::LaneId;
use super::creating::Creating;
use super::deadlines::{Deadline, Deadlines};
use super::expected::expected;
use super::lag::Lag;
use super::lane::{Lane, Lanes};
use super::ledger::{End, Job, Ledger};
use super::per_account::PerAccount;
use super::sight::EntryPosition;
use crate::contract::association::Pair;
use crate::contract::ids::AccountIndex;
use crate::contract::plan::PlanEntry;
use crate::contract::refusal::Refusal;

mod advance;
mod batches;
mod beside;
mod expanded;
mod folded;
mod journal;
mod leaving;
mod proofs;
mod requests;

pub use journal::RecordedFate;

/// See the module.
#[derive(Debug)]
pub struct Holdings {
    jobs: Ledger,
    /// The sum of the jobs' weights.
    bytes: usize,
    of_account: PerAccount<usize>,
    /// Jobs of the background.
    of_background: usize,
    deadlines: Deadlines,
    backlog: Backlog,
    lanes: Lanes,
    batches: SlotMap<BatchKey, Batch>,
    creating: Creating,
    lag: Lag,
    /// Jobs that are in hand no longer, until [`Holdings::next_finished`] is asked for them.
    finished: VecDeque<(AccountIndex, End)>,
    /// Jobs whose records are all read, until [`Holdings::next_expanded`] is asked for them; with a lane of records.
    expanded: VecDeque<(JobKey, LaneKey)>,
    /// What became of recorded pairs, until [`Holdings::next_fate`] is asked for it.
    fates: VecDeque<(AccountIndex, EntryPosition, RecordedFate)>,
}

/// What became of a pair in the end.
#[derive(Clone, Debug)]
pub enum LastWord {
    /// What the job asks for is done.
    Done,
    /// What the job asks for is done, and a reading has shown that the pair is gone.
    Proven,
    /// HubSpot answered that the pair is archived, but a reading has shown it.
    Disproved(Arc<Refusal>),
    Refused(Arc<Refusal>),
    /// Some of what the job asks for was done, and the rest cannot be.
    DoneInPart(Arc<Refusal>),
    /// Nothing had to be changed: what the job asks for was there already. `journals`: the account has a journal, which
    /// lacks nothing of this pair.
    Unchanged {
        journals: bool,
    },
    Planned(PlanEntry),
}

/// The lanes of a job, which is mostly in one.
pub type LanesOfJob = SmallVec<[LaneKey; 1]>;

impl Holdings {
    pub fn new(accounts: usize, now: Tick) -> Self {
        Self {
            jobs: Ledger::with_key(),
            bytes: 0,
            of_account: PerAccount::new((0..accounts).map(|_| 0)),
            of_background: 0,
            deadlines: Deadlines::default(),
            backlog: Backlog::default(),
            lanes: Lanes::new(accounts),
            batches: SlotMap::with_key(),
            creating: Creating::default(),
            lag: Lag::new(accounts, now),
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
        self.of_background += usize::from(job.urgency == Urgency::Background);
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

    pub fn jobs_of_background(&self) -> usize {
        self.of_background
    }

    /// Only jobs of the background wait for this pair.
    pub fn is_of_background(&self, node: NodeKey) -> bool {
        let is_of_background = |job: &JobKey| self.jobs.get(*job).is_some_and(|job| job.urgency == Urgency::Background);
        self.backlog.node(node).is_some_and(|node| node.waiters.iter().all(is_of_background))
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The job must have been sent by then.
    pub fn set_expiry(&mut self, key: JobKey, at: Timestamp) {
        self.deadlines.add_expiry(key, at);
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

    /// See [`Deadlines::stale`].
    pub fn stale_times(&self) -> usize {
        self.deadlines.stale()
    }

    /// The next job that is in hand no longer, with its account. What became of the job is to be told now.
    pub fn next_finished(&mut self) -> Option<(AccountIndex, End)> {
        self.finished.pop_front()
    }

    // Pairs.

    /// Notes that a job waits for `pairs`; returns how many of them joined an equal pair of another job.
    pub fn ask(&mut self, key: JobKey, lane_key: LaneKey, pairs: &[Pair], now: Tick) -> usize {
        if self.lanes.get(lane_key).is_some_and(|lane| lane.other.is_some()) {
            return self.ask_beside(key, lane_key, pairs, now);
        }
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

    /// The lane and the pair of a node.
    pub fn name(&self, node: NodeKey) -> Option<(&LaneId, Pair)> {
        let node = self.backlog.node(node)?;
        Some((&self.lanes.get(node.lane)?.id, node.pair))
    }

    /// Who waits for a pair.
    pub fn waiters(&self, node: NodeKey) -> SmallVec<[JobKey; 1]> {
        self.backlog.node(node).map(|node| node.waiters.clone()).unwrap_or_default()
    }

    /// The lane of the first pair of a job that is not on the wire.
    pub fn lane_with_work_for(&self, key: JobKey) -> Option<LaneKey> {
        let nodes = self.jobs.get(key)?.nodes.iter().filter_map(|&node| self.backlog.node(node));
        let mut nodes = nodes.filter(|node| !node.stuck);
        nodes.find(|node| !matches!(node.place, Place::OnWire | Place::Cooling)).map(|node| node.lane)
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
        let account = self.lanes.get(lane_key).map(|lane| lane.id.account);
        let Some(account) = expected(account, "a pair keeps its lane open") else { return };
        let recorded = self.note_fate(key, account, word);
        let recorded = match (word, proof) {
            (LastWord::Unchanged { journals }, _) => *journals,
            (_, Some(proof)) => proof.is_recorded(),
            (_, None) => recorded,
        };
        let Some(lane) = expected(self.lanes.get_mut(lane_key), "a pair keeps its lane open") else { return };
        for waiter in self.backlog.settle(&mut lane.queue, key) {
            let Some(job) = expected(self.jobs.get_mut(waiter), "who waits for a pair is in hand") else { continue };
            if on_wire {
                job.pair_answered();
            }
            match word {
                LastWord::Done | LastWord::Unchanged { .. } => job.pair_done(recorded),
                LastWord::Proven => job.pair_proven(recorded),
                LastWord::Refused(refusal) | LastWord::DoneInPart(refusal) | LastWord::Disproved(refusal) => {
                    let Some(lane) = expected(self.lanes.get(lane_key), "a pair keeps its lane open") else { continue };
                    match (word, proof) {
                        // HubSpot refused the reading. That does not undo the removal.
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

    /// These pairs are stuck: no job stays in hand for their sake.
    pub fn mark_stuck(&mut self, nodes: &[NodeKey]) {
        for &node in nodes {
            if let Some(node) = self.backlog.node_mut(node) {
                node.stuck = true;
            }
        }
    }

    /// The lane of a pair.
    pub fn lane_of_mut(&mut self, node: NodeKey) -> Option<&mut Lane> {
        self.lanes.get_mut(self.backlog.node(node)?.lane)
    }

    /// Whether a batch of the lane most likely holds a stuck pair.
    pub fn stuck_are_many(&self, lane: LaneKey) -> bool {
        self.lanes.get(lane).is_some_and(|lane| lane.stuck_share.is_high())
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

    /// A pair has come back without a verdict. Jobs that are leaving leave it now; jobs that have asked for an equal
    /// pair meanwhile join it.
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

    // Lanes.

    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// `folds`: its requests may go from either side.
    pub fn open_lane(&mut self, id: LaneId, urgency: Urgency, folds: bool) -> LaneKey {
        self.lanes.open(id, urgency, folds)
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

    /// When the pair arrived that has waited longest in a lane.
    pub fn oldest_arrival(&self, lane: &Lane) -> Option<Tick> {
        self.backlog.oldest_arrival(&lane.queue)
    }

    /// How many of the pairs that wait in the job's lane are not there for this job alone.
    pub fn pairs_of_others(&self, job: &Job) -> usize {
        let Some(lane) = self.lanes.get(job.lane) else { return 0 };
        let nodes = job.nodes.iter().filter_map(|&node| self.backlog.node(node));
        let own = nodes.filter(|node| node.lane == job.lane && node.waiters.len() == 1).count();
        lane.queue.pairs().saturating_sub(own)
    }
}
