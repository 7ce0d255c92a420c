//! The pairs in hand: which jobs wait for each, and where it is between its arrival and its verdict.
//!
//! Jobs that ask for equal pairs of one lane share a [`Node`], as long as the pair is not on the wire. All waiting pairs
//! of one `from` record form a group. Every operation costs the same however much is in hand.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashSet, HashTable};
use slotmap::{SlotMap, new_key_type};
use smallvec::SmallVec;

use super::clock::Tick;
use super::expected::expected;
use super::folding::{self, Choice, Turning};
use super::pack::{self, Caps};
use super::proof::{Proof, Proofs};
use super::sight::{Note, Notes};
use crate::contract::association::{Pair, RecordId};

pub use super::keys::{JobKey, LaneKey, NodeKey};

new_key_type! {
    /// The waiting pairs of one lane that share a `from`.
    pub struct GroupKey;
}

/// One pair and the jobs that wait for it.
#[derive(Debug)]
pub struct Node {
    pub lane: LaneKey,
    pub pair: Pair,
    pub place: Place,
    pub waiters: SmallVec<[JobKey; 1]>,
    /// A request that carried the pair got no answer, so nobody knows whether it was archived.
    pub in_doubt: bool,
    /// Its requests fail though others are served.
    pub stuck: bool,
    /// The guard has counted it.
    pub guarded: bool,
}

/// Where a pair stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In its lane's queue. `position` is its place in the group, counted from the first member that the group ever had.
    Queued { group: GroupKey, position: u32 },
    /// Back from a request: part of a batch that waits to go again, or of the sibling of a trial.
    Returned,
    /// Archived, and not to be read back yet; in no queue and in no batch.
    Cooling,
    /// Part of a request that has no answer yet: no job may join the pair or be taken off it.
    OnWire,
}

#[derive(Debug)]
struct Group {
    lane: LaneKey,
    from: RecordId,
    /// The oldest first, unless some were withdrawn.
    members: SmallVec<[Member; 1]>,
    /// How many members have left in requests, and so the position of the first of `members`. It wraps around.
    left: u32,
    /// Its members are in the table of [`Backlog::open`].
    indexed: bool,
    arrived: Tick,
    older: Option<GroupKey>,
    newer: Option<GroupKey>,
}

impl Group {
    /// The position of the member at `index`.
    fn position(&self, index: usize) -> u32 {
        self.left.wrapping_add(u32::try_from(index).unwrap_or(u32::MAX))
    }
}

/// A waiting pair within its group. It repeats the node's `to`, so that a pair is found without a look at each node.
#[derive(Clone, Copy, Debug)]
struct Member {
    to: RecordId,
    node: NodeKey,
}

/// In a group of more members than this an equal pair is looked up in a table, else the members are walked.
const WALKED: usize = 16;

/// A lane's waiting groups, oldest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queue {
    oldest: Option<GroupKey>,
    newest: Option<GroupKey>,
    groups: usize,
    pairs: usize,
    cooling: usize,
}

impl Queue {
    /// Unique `from` records waiting.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Pairs waiting.
    pub fn pairs(&self) -> usize {
        self.pairs
    }

    /// Pairs that will wait here once they may be read back.
    pub fn cooling(&self) -> usize {
        self.cooling
    }

    pub fn is_empty(&self) -> bool {
        self.pairs == 0
    }
}

/// All pairs in hand, of all lanes.
#[derive(Debug, Default)]
pub struct Backlog {
    nodes: SlotMap<NodeKey, Node>,
    groups: SlotMap<GroupKey, Group>,
    /// The waiting groups by lane and record. Both tables hold only keys and look up what these stand for: tables of
    /// a million pairs are then small enough to miss the processor's caches far less often.
    waiting: HashTable<GroupKey>,
    /// By lane and pair, the nodes that an equal pair may join but does not find by walking a group: those in large
    /// groups, and those that came back.
    open: HashTable<NodeKey>,
    hashing: DefaultHashBuilder,
    notes: Notes,
    proofs: Proofs,
}

impl Backlog {
    /// Pairs in hand, waiting or on the wire.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Nothing is kept of any pair.
    pub fn is_empty(&self) -> bool {
        let tables = self.groups.is_empty() && self.open.is_empty() && self.waiting.is_empty();
        self.nodes.is_empty() && tables && self.notes.is_empty() && self.proofs.is_empty()
    }

    pub fn node(&self, key: NodeKey) -> Option<&Node> {
        self.nodes.get(key)
    }

    pub fn node_mut(&mut self, key: NodeKey) -> Option<&mut Node> {
        self.nodes.get_mut(key)
    }

    /// What is known of a pair besides.
    pub fn note(&self, key: NodeKey) -> Option<&Note> {
        self.notes.get(key)
    }

    pub fn note_mut(&mut self, key: NodeKey) -> Option<&mut Note> {
        self.notes.get_mut(key)
    }

    pub fn take_note(&mut self, key: NodeKey) -> Option<Note> {
        if self.notes.is_empty() { None } else { self.notes.remove(key) }
    }

    pub fn set_note(&mut self, key: NodeKey, note: Option<Note>) {
        match note {
            Some(note) if self.nodes.contains_key(key) => {
                self.notes.insert(key, note);
            }
            Some(_) | None => {
                self.take_note(key);
            }
        }
    }

    /// How far the proof of a pair's removal has come; `None` where it was not archived, or is not read back.
    pub fn proof(&self, key: NodeKey) -> Option<Proof> {
        self.proofs.get(key).copied()
    }

    pub fn set_proof(&mut self, key: NodeKey, proof: Proof) {
        if self.nodes.contains_key(key) {
            self.proofs.insert(key, proof);
        }
    }

    fn take_proof(&mut self, key: NodeKey) -> Option<Proof> {
        if self.proofs.is_empty() { None } else { self.proofs.remove(key) }
    }

    /// When the oldest pair of the queue arrived.
    pub fn oldest_arrival(&self, queue: &Queue) -> Option<Tick> {
        queue.oldest.and_then(|group| self.groups.get(group)).map(|group| group.arrived)
    }

    /// Notes that `job` wants `pair`: joins an equal pair that is not on the wire, or queues it.
    pub fn ask(&mut self, lane: LaneKey, queue: &mut Queue, pair: Pair, job: JobKey, now: Tick) -> NodeKey {
        let hash = self.hashing.hash_one((lane, pair.from));
        let group = self.find_group(hash, lane, pair.from);
        if let Some(key) = self.find_equal(group, lane, pair)
            && let Some(node) = self.nodes.get_mut(key)
        {
            node.waiters.push(job);
            return key;
        }
        let group = group.unwrap_or_else(|| self.new_group(hash, lane, queue, pair.from, now));
        let waiters = SmallVec::from_elem(job, 1);
        let place = Place::Queued { group, position: 0 };
        let key = self.nodes.insert(Node { lane, pair, place, waiters, in_doubt: false, stuck: false, guarded: false });
        self.enter(group, key, pair);
        queue.pairs += 1;
        key
    }

    /// A pair that an equal one may join waits in the lane.
    pub fn has_waiting(&self, lane: LaneKey, pair: Pair) -> bool {
        let group = self.find_group(self.hashing.hash_one((lane, pair.from)), lane, pair.from);
        self.find_equal(group, lane, pair).is_some()
    }

    /// A pair that waits in the queue of one lane goes to the queue of another, where no equal one waits, with the jobs
    /// that wait for it and with what is known of it. A pair that came back stays with its batch.
    pub fn move_queued(
        &mut self,
        pair: Pair,
        (from_lane, from): (LaneKey, &mut Queue),
        (to_lane, to): (LaneKey, &mut Queue),
        now: Tick,
    ) {
        let group = self.find_group(self.hashing.hash_one((from_lane, pair.from)), from_lane, pair.from);
        let Some(key) = self.find_equal(group, from_lane, pair) else { return };
        let Some(Node { place: Place::Queued { group, position }, .. }) = self.nodes.get(key) else { return };
        if self.leave_group(from, *group, *position) {
            self.close(key, from_lane, pair);
        }
        if let Some(node) = self.nodes.get_mut(key) {
            node.lane = to_lane;
        }
        let hash = self.hashing.hash_one((to_lane, pair.from));
        let group = self.find_group(hash, to_lane, pair.from);
        let group = group.unwrap_or_else(|| self.new_group(hash, to_lane, to, pair.from, now));
        self.enter(group, key, pair);
        to.pairs += 1;
    }

    /// Fills up what was `gathered` in a lane with pairs that wait in another lane, which are pairs of this one from now
    /// on. `caps` are those of the whole.
    pub fn fill_up(&mut self, gathered: &mut Vec<NodeKey>, lane: LaneKey, other: &mut Queue, caps: Caps) {
        let from = |backlog: &Self, key: NodeKey| backlog.nodes.get(key).map(|node| node.pair.from);
        let mut records: Vec<_> = gathered.iter().map(|&key| from(self, key)).collect();
        records.dedup();
        let rest =
            Caps { from: caps.from.saturating_sub(records.len()), pairs: caps.pairs.saturating_sub(gathered.len()) };
        if rest.from == 0 || rest.pairs == 0 || other.is_empty() {
            return;
        }
        for key in self.gather(other, rest) {
            if let Some(node) = self.nodes.get_mut(key) {
                node.lane = lane;
            }
            gathered.push(key);
        }
        gathered.sort_by_key(|&key| from(self, key));
    }

    /// The node that an equal pair may join; `group` is the group of the pair's `from`.
    fn find_equal(&self, group: Option<GroupKey>, lane: LaneKey, pair: Pair) -> Option<NodeKey> {
        let walked = group.and_then(|key| self.groups.get(key)).filter(|group| !group.indexed);
        let walked = walked.and_then(|group| group.members.iter().find(|member| member.to == pair.to));
        if walked.is_some() || self.open.is_empty() {
            return walked.map(|member| member.node);
        }
        let is_it = |&key: &NodeKey| self.nodes.get(key).is_some_and(|node| node.lane == lane && node.pair == pair);
        self.open.find(self.hashing.hash_one((lane, pair)), is_it).copied()
    }

    /// Puts a node into the table, where equal pairs find it.
    fn open(&mut self, key: NodeKey, lane: LaneKey, pair: Pair) {
        let Self { nodes, open, hashing, .. } = self;
        open.insert_unique(hashing.hash_one((lane, pair)), key, |&key| {
            nodes.get(key).map_or(0, |node| hashing.hash_one((node.lane, node.pair)))
        });
    }

    /// Takes a node out of the table.
    fn close(&mut self, key: NodeKey, lane: LaneKey, pair: Pair) {
        let hash = self.hashing.hash_one((lane, pair));
        if let Ok(entry) = self.open.find_entry(hash, |&other| other == key) {
            entry.remove();
        }
    }

    fn enter(&mut self, group_key: GroupKey, key: NodeKey, pair: Pair) {
        let Some(group) = expected(self.groups.get_mut(group_key), "the group was just found or made") else { return };
        let Some(node) = expected(self.nodes.get_mut(key), "the pair was just made") else { return };
        let position = group.position(group.members.len());
        group.members.push(Member { to: pair.to, node: key });
        node.place = Place::Queued { group: group_key, position };
        let lane = group.lane;
        if group.indexed {
            self.open(key, lane, pair);
        } else if group.members.len() > WALKED {
            group.indexed = true;
            for member in group.members.clone() {
                self.open(member.node, lane, Pair { from: pair.from, to: member.to });
            }
        }
    }

    fn find_group(&self, hash: u64, lane: LaneKey, from: RecordId) -> Option<GroupKey> {
        let is_it =
            |&key: &GroupKey| self.groups.get(key).is_some_and(|group| group.lane == lane && group.from == from);
        self.waiting.find(hash, is_it).copied()
    }

    /// Makes a group for a record that has none; `hash` is the hash of its lane and record.
    fn new_group(&mut self, hash: u64, lane: LaneKey, queue: &mut Queue, from: RecordId, now: Tick) -> GroupKey {
        let members = SmallVec::new();
        let (older, newer) = (queue.newest, None);
        let group = Group { lane, from, members, left: 0, indexed: false, arrived: now, older, newer };
        let key = self.groups.insert(group);
        match queue.newest.and_then(|newest| self.groups.get_mut(newest)) {
            Some(newest) => newest.newer = Some(key),
            None => queue.oldest = Some(key),
        }
        queue.newest = Some(key);
        queue.groups += 1;
        let Self { groups, waiting, hashing, .. } = self;
        waiting.insert_unique(hash, key, |&key| {
            groups.get(key).map_or(0, |group| hashing.hash_one((group.lane, group.from)))
        });
        key
    }

    /// Takes `job` off a pair that is not on the wire. A pair that no job waits for any more is removed.
    pub fn withdraw(&mut self, queue: &mut Queue, key: NodeKey, job: JobKey) -> bool {
        let Some(node) = expected(self.nodes.get_mut(key), "a job is withdrawn from a pair that is there") else {
            return false;
        };
        let Some(index) = node.waiters.iter().position(|&waiter| waiter == job) else { return false };
        if node.place == Place::OnWire {
            return false;
        }
        node.waiters.swap_remove(index);
        if node.waiters.is_empty() {
            self.discard(queue, key);
        }
        true
    }

    /// Removes a pair that is not on the wire.
    fn discard(&mut self, queue: &mut Queue, key: NodeKey) {
        let Some(node) = expected(self.nodes.remove(key), "a pair is discarded once") else { return };
        self.take_note(key);
        self.take_proof(key);
        match node.place {
            Place::Queued { group, position } => {
                if self.leave_group(queue, group, position) {
                    self.close(key, node.lane, node.pair);
                }
            }
            Place::Returned => self.close(key, node.lane, node.pair),
            Place::Cooling => {
                queue.cooling -= 1;
                self.close(key, node.lane, node.pair);
            }
            Place::OnWire => {}
        }
    }

    /// Takes a member out of its group; `true` if the member is in the table of equal pairs.
    fn leave_group(&mut self, queue: &mut Queue, key: GroupKey, position: u32) -> bool {
        let Some(group) = expected(self.groups.get_mut(key), "a group is there while it has members") else {
            return false;
        };
        let index = position.wrapping_sub(group.left) as usize;
        debug_assert!(index < group.members.len(), "a queued pair knows its position");
        if index >= group.members.len() {
            return false;
        }
        let indexed = group.indexed;
        group.members.swap_remove(index);
        queue.pairs -= 1;
        let empty = group.members.is_empty();
        if let Some(&moved) = group.members.get(index)
            && let Some(node) = self.nodes.get_mut(moved.node)
        {
            node.place = Place::Queued { group: key, position };
        }
        if empty {
            self.unlink(queue, key);
        }
        indexed
    }

    fn unlink(&mut self, queue: &mut Queue, key: GroupKey) {
        let Some(group) = expected(self.groups.remove(key), "a group is unlinked once, when it is empty") else {
            return;
        };
        let hash = self.hashing.hash_one((group.lane, group.from));
        if let Ok(entry) = self.waiting.find_entry(hash, |&other| other == key) {
            entry.remove();
        }
        match group.older.and_then(|older| self.groups.get_mut(older)) {
            Some(older) => older.newer = group.newer,
            None => queue.oldest = group.newer,
        }
        match group.newer.and_then(|newer| self.groups.get_mut(newer)) {
            Some(newer) => newer.older = group.older,
            None => queue.newest = group.older,
        }
        queue.groups -= 1;
    }

    /// Puts the next batch's pairs on the wire, grouped by `from`, within the caps; empty only if the queue is.
    pub fn gather(&mut self, queue: &mut Queue, caps: Caps) -> Vec<NodeKey> {
        let supply = pack::Supply { groups: queue.groups, pairs: queue.pairs };
        let window = self.in_sight(queue, supply.in_sight(caps));
        let sizes: Vec<usize> =
            window.iter().map(|&key| self.groups.get(key).map_or(0, |group| group.members.len())).collect();
        let mut gathered = Vec::with_capacity(caps.pairs.min(queue.pairs));
        for pick in pack::choose(&sizes, supply, caps) {
            self.gather_group(queue, window[pick.index], pick.pairs, &mut gathered);
        }
        gathered
    }

    /// As [`Backlog::gather`], but with those of `first` that wait in the lane before all others.
    pub fn gather_with(&mut self, lane: LaneKey, queue: &mut Queue, caps: Caps, first: &[NodeKey]) -> Vec<NodeKey> {
        let mut gathered = Vec::with_capacity(caps.pairs.min(queue.pairs));
        let (mut records, mut last) = (0, None);
        for &key in first {
            let Some(node) = self.nodes.get(key).filter(|node| node.lane == lane) else { continue };
            let Place::Queued { .. } = node.place else { continue };
            let pair = node.pair;
            let is_new = last != Some(pair.from);
            if gathered.len() == caps.pairs || (is_new && records == caps.from) {
                break;
            }
            records += usize::from(is_new);
            last = Some(pair.from);
            gathered.push(key);
            self.take(queue, key);
        }
        let rest = Caps { from: caps.from - records, pairs: caps.pairs - gathered.len() };
        if rest.from > 0 && rest.pairs > 0 {
            gathered.extend(self.gather(queue, rest));
            gathered.sort_by_key(|&key| self.nodes.get(key).map(|node| node.pair.from));
        }
        gathered
    }

    /// As [`Backlog::gather_with`], from whichever side requests are fewest; also returns whether that is the other side.
    pub fn gather_folded(
        &mut self,
        lane: LaneKey,
        queue: &mut Queue,
        caps: Caps,
        turning: Turning,
        passes: &mut u32,
        first: &[NodeKey],
    ) -> (Vec<NodeKey>, bool) {
        if queue.groups <= caps.from && queue.pairs <= caps.pairs {
            return (self.gather_with(lane, queue, caps, first), false);
        }
        let waits = |node: &Node| node.lane == lane && matches!(node.place, Place::Queued { .. });
        let named = |key: NodeKey| Some((key, self.nodes.get(key).filter(|node| waits(node))?.pair));
        let own: HashSet<NodeKey> = first.iter().copied().collect();
        let others = self.waiting(queue).filter(|key| own.is_empty() || !own.contains(key));
        let in_sight = first.iter().copied().chain(others).filter_map(named);
        let (keys, pairs): (Vec<NodeKey>, Vec<Pair>) = in_sight.take(folding::MOST_IN_SIGHT).unzip();
        let (picks, turned) = match folding::choose(&pairs, caps, turning, passes) {
            Choice::Plain => return (self.gather_with(lane, queue, caps, first), false),
            Choice::Straight(picks) => (picks, false),
            Choice::Turned(picks) => (picks, true),
        };
        let gathered: Vec<NodeKey> = picks.into_iter().map(|index| keys[index]).collect();
        for &key in &gathered {
            self.take(queue, key);
        }
        (gathered, turned)
    }

    /// Takes a waiting pair out of its queue, as if it had left with a request.
    fn take(&mut self, queue: &mut Queue, key: NodeKey) {
        let Some(node) = self.nodes.get_mut(key) else { return };
        let Place::Queued { group, position } = node.place else { return };
        node.place = Place::OnWire;
        let (lane, pair) = (node.lane, node.pair);
        if self.leave_group(queue, group, position) {
            self.close(key, lane, pair);
        }
    }

    /// Takes a pair that is to be read back out of its lane, as if it had come back from there; `false` if it is on the
    /// wire, or in a batch.
    pub fn recall(&mut self, queue: &mut Queue, key: NodeKey) -> bool {
        let Some(node) = self.nodes.get_mut(key) else { return false };
        match node.place {
            Place::Queued { .. } => self.take(queue, key),
            Place::Cooling => {
                node.place = Place::OnWire;
                let (lane, pair) = (node.lane, node.pair);
                queue.cooling -= 1;
                self.close(key, lane, pair);
            }
            Place::Returned | Place::OnWire => return false,
        }
        true
    }

    /// The first and the last few groups of a queue, in the order of arrival.
    fn in_sight(&self, queue: &Queue, (oldest, newest): (usize, usize)) -> Vec<GroupKey> {
        let newer = |&key: &GroupKey| self.groups.get(key).and_then(|group| group.newer);
        let older = |&key: &GroupKey| self.groups.get(key).and_then(|group| group.older);
        let mut window = Vec::with_capacity(oldest + newest);
        window.extend(std::iter::successors(queue.oldest, newer).take(oldest));
        window.extend(std::iter::successors(queue.newest, older).take(newest));
        window[oldest..].reverse();
        window
    }

    fn gather_group(&mut self, queue: &mut Queue, key: GroupKey, pairs: usize, gathered: &mut Vec<NodeKey>) {
        let Some(group) = expected(self.groups.get_mut(key), "a group in sight is there") else { return };
        let start = gathered.len();
        let leaving = pairs.min(group.members.len());
        group.left = group.position(leaving);
        gathered.extend(group.members.drain(..leaving).map(|member| member.node));
        let (indexed, emptied) = (group.indexed, group.members.is_empty());
        let left = &gathered[start..];
        queue.pairs -= left.len();
        for &member in left {
            if let Some(node) = self.nodes.get_mut(member) {
                node.place = Place::OnWire;
                if indexed {
                    let (lane, pair) = (node.lane, node.pair);
                    self.close(member, lane, pair);
                }
            }
        }
        if emptied {
            self.unlink(queue, key);
        }
    }

    /// A pair that came back goes on the wire again: no job may join it from here on.
    pub fn put_on_wire(&mut self, key: NodeKey) {
        let Some(node) = self.nodes.get_mut(key).filter(|node| node.place == Place::Returned) else { return };
        node.place = Place::OnWire;
        let (lane, pair) = (node.lane, node.pair);
        self.close(key, lane, pair);
    }

    /// The pair comes back without a verdict. Jobs that asked for an equal pair meanwhile join it; returns these jobs.
    pub fn take_off_wire(&mut self, queue: &mut Queue, key: NodeKey) -> SmallVec<[JobKey; 1]> {
        let Some(node) = self.nodes.get_mut(key).filter(|node| node.place == Place::OnWire) else {
            return SmallVec::new();
        };
        node.place = Place::Returned;
        self.join_twin(queue, key)
    }

    /// A pair that is in no queue can be found by equal ones from now on. Jobs of an equal pair that waits in its lane
    /// join it; returns these jobs.
    fn join_twin(&mut self, queue: &mut Queue, key: NodeKey) -> SmallVec<[JobKey; 1]> {
        let Some(node) = expected(self.nodes.get(key), "the pair has just come back") else { return SmallVec::new() };
        let (lane, pair) = (node.lane, node.pair);
        let group = self.find_group(self.hashing.hash_one((lane, pair.from)), lane, pair.from);
        let twin = self.find_equal(group, lane, pair);
        let joining = twin.and_then(|twin| self.nodes.get_mut(twin)).map(|twin| std::mem::take(&mut twin.waiters));
        if let Some(twin) = twin {
            // What the twin knows is younger. If it knows nothing yet, what was seen before it came says nothing to its
            // jobs.
            let note = self.take_note(twin);
            self.set_note(key, note);
            self.join_proofs(key, twin);
            self.discard(queue, twin);
        }
        self.open(key, lane, pair);
        let joining = joining.unwrap_or_default();
        if let Some(node) = self.nodes.get_mut(key) {
            node.waiters.extend(joining.iter().copied());
        }
        joining
    }

    /// A pair that comes back goes on to another lane, where `queue` waits: it joins an equal pair there, with what is
    /// known of it, or keeps its key. Returns the key under which it waits now.
    pub fn advance(
        &mut self,
        key: NodeKey,
        lane: LaneKey,
        queue: &mut Queue,
        note: Option<Note>,
        now: Tick,
    ) -> NodeKey {
        let Some(node) = self.nodes.get_mut(key).filter(|node| node.place == Place::OnWire) else { return key };
        let pair = node.pair;
        let hash = self.hashing.hash_one((lane, pair.from));
        let group = self.find_group(hash, lane, pair.from);
        if let Some(twin) = self.find_equal(group, lane, pair) {
            let waiters = self.nodes.remove(key).map(|node| node.waiters).unwrap_or_default();
            self.take_note(key);
            self.join_proofs(twin, key);
            if let Some(twin) = self.nodes.get_mut(twin) {
                twin.waiters.extend(waiters);
            }
            self.set_note(twin, note);
            return twin;
        }
        if let Some(node) = self.nodes.get_mut(key) {
            (node.lane, node.in_doubt, node.stuck) = (lane, false, false);
        }
        let group = group.unwrap_or_else(|| self.new_group(hash, lane, queue, pair.from, now));
        self.enter(group, key, pair);
        queue.pairs += 1;
        self.set_note(key, note);
        key
    }

    fn join_proofs(&mut self, key: NodeKey, gone: NodeKey) {
        if let Some(theirs) = self.take_proof(gone) {
            let proof = self.proof(key).map_or(theirs, |ours| ours.join(theirs));
            self.set_proof(key, proof);
        }
    }

    /// An archived pair leaves the request for `lane`, whose queue this is, and waits there outside the queue. Jobs of an
    /// equal pair that waits there join it; returns these jobs.
    pub fn cool(&mut self, key: NodeKey, lane: LaneKey, queue: &mut Queue) -> SmallVec<[JobKey; 1]> {
        let Some(node) = self.nodes.get_mut(key).filter(|node| node.place == Place::OnWire) else {
            return SmallVec::new();
        };
        (node.lane, node.place, node.in_doubt, node.stuck) = (lane, Place::Cooling, false, false);
        self.take_note(key);
        queue.cooling += 1;
        self.join_twin(queue, key)
    }

    /// A cooling pair may leave with the next request of its lane, whose queue this is.
    pub fn end_cooling(&mut self, queue: &mut Queue, key: NodeKey, now: Tick) {
        let Some(node) = self.nodes.get(key).filter(|node| node.place == Place::Cooling) else { return };
        let (lane, pair) = (node.lane, node.pair);
        self.close(key, lane, pair);
        queue.cooling -= 1;
        let hash = self.hashing.hash_one((lane, pair.from));
        let group = self.find_group(hash, lane, pair.from);
        let group = group.unwrap_or_else(|| self.new_group(hash, lane, queue, pair.from, now));
        self.enter(group, key, pair);
        queue.pairs += 1;
    }

    /// The pair has its verdict. Returns the jobs that waited for it.
    pub fn settle(&mut self, queue: &mut Queue, key: NodeKey) -> SmallVec<[JobKey; 1]> {
        let waiters = self.nodes.get_mut(key).map(|node| std::mem::take(&mut node.waiters)).unwrap_or_default();
        self.discard(queue, key);
        waiters
    }

    /// Walks the waiting pairs of a queue, oldest group first.
    pub fn waiting(&self, queue: &Queue) -> impl Iterator<Item = NodeKey> + '_ {
        std::iter::successors(queue.oldest, |&key| self.groups.get(key).and_then(|group| group.newer))
            .filter_map(|key| self.groups.get(key))
            .flat_map(|group| group.members.iter().map(|member| member.node))
    }
}

#[cfg(test)]
mod tests;
