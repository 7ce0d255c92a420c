//! How an equal pair is found among those that wait, and how pairs enter and leave their groups.

use std::hash::BuildHasher;

use smallvec::SmallVec;

use super::groups::{Group, GroupKey, Member, Queue, WALKED};
use super::{Backlog, LaneKey, NodeKey, Place};
use crate::contract::association::{Pair, RecordId};
use crate::engine::clock::Tick;
use crate::engine::expected::expected;

impl Backlog {
    /// The node that an equal pair may join; `group` is the group of the pair's `from`.
    pub(super) fn find_equal(&self, group: Option<GroupKey>, lane: LaneKey, pair: Pair) -> Option<NodeKey> {
        let walked = group.and_then(|key| self.groups.get(key)).filter(|group| !group.indexed);
        let walked = walked.and_then(|group| group.members.iter().find(|member| member.to == pair.to));
        if walked.is_some() || self.open.is_empty() {
            return walked.map(|member| member.node);
        }
        let is_it = |&key: &NodeKey| self.nodes.get(key).is_some_and(|node| node.lane == lane && node.pair == pair);
        self.open.find(self.hashing.hash_one((lane, pair)), is_it).copied()
    }

    /// Puts a node into the table, where equal pairs find it.
    pub(super) fn open(&mut self, key: NodeKey, lane: LaneKey, pair: Pair) {
        let Self { nodes, open, hashing, .. } = self;
        open.insert_unique(hashing.hash_one((lane, pair)), key, |&key| {
            nodes.get(key).map_or(0, |node| hashing.hash_one((node.lane, node.pair)))
        });
    }

    /// Takes a node out of the table.
    pub(super) fn close(&mut self, key: NodeKey, lane: LaneKey, pair: Pair) {
        let hash = self.hashing.hash_one((lane, pair));
        if let Ok(entry) = self.open.find_entry(hash, |&other| other == key) {
            entry.remove();
        }
    }

    pub(super) fn enter(&mut self, group_key: GroupKey, key: NodeKey, pair: Pair) {
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

    pub(super) fn find_group(&self, hash: u64, lane: LaneKey, from: RecordId) -> Option<GroupKey> {
        let is_it =
            |&key: &GroupKey| self.groups.get(key).is_some_and(|group| group.lane == lane && group.from == from);
        self.waiting.find(hash, is_it).copied()
    }

    /// Makes a group for a record that has none; `hash` is the hash of its lane and record.
    pub(super) fn new_group(
        &mut self,
        hash: u64,
        lane: LaneKey,
        queue: &mut Queue,
        from: RecordId,
        now: Tick,
    ) -> GroupKey {
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

    /// Takes a member out of its group; `true` if the member is in the table of equal pairs.
    pub(super) fn leave_group(&mut self, queue: &mut Queue, key: GroupKey, position: u32) -> bool {
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

    pub(super) fn unlink(&mut self, queue: &mut Queue, key: GroupKey) {
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
}
