//! The batches that pairs leave in, and come back in.

use hashbrown::HashSet;
use jiff::Timestamp;

use super::Holdings;
use crate::contract::association::Pair;
use crate::engine::backlog::{Backlog, JobKey, LaneKey, NodeKey, Place};
use crate::engine::batch::{Batch, BatchKey, Prospect, Turned};
use crate::engine::clock::Tick;
use crate::engine::command::{CallKey, LaneId, Sealed};
use crate::engine::expected::expected;
use crate::engine::folding::Turning;
use crate::engine::lane::{Lane, Repeat};
use crate::engine::ledger::Job;
use crate::engine::pack::Caps;
use crate::engine::record_set::RecordSet;

impl Holdings {
    /// Forms a batch of what waits in a lane, with the pairs of one job first if need be. If the lane is a live one and the
    /// batch is not turned, the room that is left is filled up with pairs of the background, where these may fill others.
    /// `turning`: it may go from either side.
    pub fn form(
        &mut self,
        lane_key: LaneKey,
        caps: Caps,
        first: Option<JobKey>,
        turning: Option<Turning>,
    ) -> Option<BatchKey> {
        let fills = self.filling(lane_key).is_some();
        let lane = expected(self.lanes.get_mut(lane_key), "a lane that has a turn is open")?;
        let caps = lane.caps(caps);
        let first = first.and_then(|job| self.jobs.get(job)).map(|job| job.nodes.as_slice());
        let Lane { queue, passes, .. } = lane;
        let (mut nodes, turned) = match (turning, first) {
            (Some(turning), first) => {
                self.backlog.gather_folded(lane_key, queue, caps, turning, passes, first.unwrap_or_default())
            }
            (None, Some(first)) => (self.backlog.gather_with(lane_key, queue, caps, first), false),
            (None, None) => (self.backlog.gather(queue, caps), false),
        };
        if fills
            && !turned
            && let Some((_, other)) = self.lanes.get_both_mut(lane_key)
        {
            self.backlog.fill_up(&mut nodes, lane_key, &mut other.queue, caps);
        }
        let turned = turned.then_some(Turned { refusals: 0 });
        Some(self.batches.insert(Batch { turned, ..Batch::new(lane_key, nodes) }))
    }

    /// Where several pairs of a new batch are to get the Primary of the same record, leaves the first of them in it and
    /// takes out the others. They wait until `due` as a batch of their own, and are then looked at: so one of them is
    /// created at a time.
    pub fn set_rivals_apart(&mut self, key: BatchKey, due: Tick, now: Tick) {
        let rivals = self.batches.get(key).map(|batch| self.rivals(batch)).unwrap_or_default();
        let Some(batch) = self.batches.get_mut(key).filter(|_| !rivals.is_empty()) else { return };
        batch.nodes.retain(|node| !rivals.contains(node));
        let Some(lane) = expected(self.lanes.get_mut(batch.lane), "a batch keeps its lane open") else { return };
        for &node in &rivals {
            // It was never sent, and waits as if it had come back.
            self.backlog.take_off_wire(&mut lane.queue, node);
        }
        let batch = Batch::new(batch.lane, rivals);
        let prospect = batch.prospect();
        let key = self.batches.insert(batch);
        lane.add_repeat(Repeat::new(key, &self.batches[key], due, now), prospect);
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
                // The pair was never sent, but it waits outside of its queue as if it had come back.
                backlog.take_off_wire(&mut lane.queue, node);
                batches.push(Batch::new(key, nodes));
            }
        }
        batches
    }

    /// A pair that waits in a lane and has none of the records `beside`, as a batch of its own that may go at once. It is
    /// the newest such pair: those that came first may all have another record that is to blame and is not known yet.
    pub fn single_out(&mut self, key: LaneKey, beside: &RecordSet, now: Tick) -> Option<BatchKey> {
        let lane = self.lanes.get(key)?;
        let waits =
            |&node: &NodeKey| self.backlog.node(node).is_some_and(|node| !beside.has_one_of(&lane.id, node.pair));
        let chosen = self.backlog.newest_waiting(&lane.queue).find(waits)?;
        let lane = self.lanes.get_mut(key)?;
        let nodes = self.backlog.gather_with(key, &mut lane.queue, Caps { from: 1, pairs: 1 }, &[chosen]);
        self.backlog.take_off_wire(&mut lane.queue, chosen);
        let batch = Batch { formed: Some(Sealed::Probe), ..Batch::new(key, nodes) };
        let batch_key = self.batches.insert(batch);
        let batch = &self.batches[batch_key];
        lane.add_repeat(Repeat::new(batch_key, batch, now, now), batch.prospect());
        Some(batch_key)
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

    /// Puts a batch on the wire, without the pairs whose jobs have left while it waited.
    pub fn put_on_wire(&mut self, key: BatchKey, call: CallKey, now: Timestamp) -> Option<&Batch> {
        let lane = self.lanes.get(self.batches.get(key)?.lane)?;
        let removes = lane.id.step().removes();
        self.hold(key, |job| {
            job.pair_sent(call, now);
            job.has_removed |= removes;
        })?;
        let batch = self.batches.get_mut(key)?;
        let pair = |node: &NodeKey| self.backlog.node(*node).map(|node| node.pair);
        if batch.turned.is_some() {
            batch.nodes.sort_by_key(|node| pair(node).map(Pair::turned));
        }
        batch.wire = batch.nodes.iter().filter_map(pair).collect();
        if batch.turned.is_none() && !stand_together(&batch.wire) {
            batch.nodes.sort_by_key(pair);
            batch.wire = batch.nodes.iter().filter_map(pair).collect();
        }
        Some(batch)
    }

    /// A batch that is about to be recorded, without the pairs whose jobs have left while it waited. `sealed` is why it
    /// was formed.
    pub fn hold_for_record(&mut self, key: BatchKey, sealed: Sealed) {
        let held = self.hold(key, Job::pair_held);
        if let Some(batch) = held.and_then(|()| self.batches.get_mut(key)) {
            batch.formed.get_or_insert(sealed);
        }
    }

    /// A batch leaves its lane for a request or for a record. Nothing can join its pairs or leave them until that is
    /// answered. `note` tells each job of each of its pairs.
    fn hold(&mut self, key: BatchKey, note: impl Fn(&mut Job)) -> Option<()> {
        let batch = expected(self.batches.get_mut(key), "a batch that leaves its lane is in hand")?;
        let lane = expected(self.lanes.get_mut(batch.lane), "a batch keeps its lane open")?;
        lane.request_left();
        batch.nodes.retain(|&node| self.backlog.node(node).is_some());
        for &node in &batch.nodes {
            self.backlog.put_on_wire(node);
            for &waiter in self.backlog.node(node).map(|node| node.waiters.as_slice()).unwrap_or_default() {
                if let Some(job) = expected(self.jobs.get_mut(waiter), "who waits for a pair is in hand") {
                    note(job);
                }
            }
        }
        Some(())
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

    /// Takes a batch back into its lane, to go from `due` on: one that was answered, or one that was set apart before it
    /// was ever sent. `Err` is a batch for whose own pairs nobody waits any more.
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
            let batch = &self.batches[key];
            lane.add_repeat(Repeat::new(key, batch, due, now), batch.prospect());
        }
        Ok(())
    }

    /// Takes out a batch that would go again next in a lane, if all jobs that waited for it have left.
    pub fn take_deserted(&mut self, key: LaneKey) -> Option<Batch> {
        let lane = self.lanes.get(key)?;
        let mut next = Prospect::ALL.into_iter().filter_map(|prospect| lane.next_repeat(prospect)).map(Repeat::batch);
        let is_deserted = |&next: &BatchKey| self.batches.get(next).is_some_and(|batch| !self.is_waited_for(batch));
        let deserted = next.find(is_deserted)?;
        expected(self.lanes.get_mut(key), "it was just seen")?.remove_repeat(deserted);
        self.take_batch(deserted)
    }

    /// Somebody still waits for a pair of the batch.
    pub fn is_waited_for(&self, batch: &Batch) -> bool {
        batch.nodes.iter().any(|&node| self.backlog.node(node).is_some())
    }
}

/// Whether the pairs of each record stand together, as they must in a request. A sample that has come back to its batch, for
/// example, does not stand beside its record's other pairs.
fn stand_together(pairs: &[Pair]) -> bool {
    let mut seen = HashSet::new();
    pairs.chunk_by(|one, next| one.from == next.from).all(|of_record| seen.insert(of_record[0].from))
}
