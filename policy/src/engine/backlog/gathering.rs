//! Which waiting pairs are sent together.

use hashbrown::HashSet;

use super::groups::{GroupKey, Queue};
use super::{Backlog, LaneKey, Node, NodeKey, Place};
use crate::contract::association::Pair;
use crate::engine::expected::expected;
use crate::engine::folding::{self, Choice, Turning};
use crate::engine::pack::{self, Caps};

impl Backlog {
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

    /// As [`Backlog::gather`], but takes the pairs of `first` that wait in the lane before it takes any other. In
    /// `first` the pairs of one record must stand together.
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

    /// As [`Backlog::gather_with`], from the side that needs fewer requests; also returns whether that is the other
    /// side. For `passes` see [`folding::choose`].
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

    /// Adds pairs that wait in another lane to the pairs that were `gathered` in `lane`, until all of them together
    /// reach the `caps`. From now on the added pairs are pairs of `lane`.
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

    /// Takes a waiting pair out of its queue, as if it were sent.
    pub(super) fn take(&mut self, queue: &mut Queue, key: NodeKey) {
        let Some(node) = expected(self.nodes.get_mut(key), "a pair that waits is in hand") else { return };
        let queued = match node.place {
            Place::Queued { group, position } => Some((group, position)),
            Place::Returned | Place::Cooling | Place::OnWire => None,
        };
        let Some((group, position)) = expected(queued, "a pair that is taken waits in a queue") else { return };
        node.place = Place::OnWire;
        let (lane, pair) = (node.lane, node.pair);
        if self.leave_group(queue, group, position) {
            self.close(key, lane, pair);
        }
    }

    /// Walks the waiting pairs of a queue, oldest group first.
    pub fn waiting(&self, queue: &Queue) -> impl Iterator<Item = NodeKey> + '_ {
        std::iter::successors(queue.oldest, |&key| self.groups.get(key).and_then(|group| group.newer))
            .filter_map(|key| self.groups.get(key))
            .flat_map(|group| group.members.iter().map(|member| member.node))
    }

    /// The same, newest group first.
    pub fn newest_waiting(&self, queue: &Queue) -> impl Iterator<Item = NodeKey> + '_ {
        std::iter::successors(queue.newest, |&key| self.groups.get(key).and_then(|group| group.older))
            .filter_map(|key| self.groups.get(key))
            .flat_map(|group| group.members.iter().rev().map(|member| member.node))
    }
}
