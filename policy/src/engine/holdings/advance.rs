//! Pairs that go on to the next step of their course.

use std::sync::Arc;
use std::time::Duration;

use super::{Holdings, LastWord};
use crate::contract::refusal::Refusal;
use crate::engine::backlog::{JobKey, LaneKey, NodeKey};
use crate::engine::clock::Tick;
use crate::engine::expected::expected;
use crate::engine::restoring;
use crate::engine::sight::{Journaled, Note, ToCreate};

impl Holdings {
    /// What is known of a pair besides its name.
    pub fn take_note(&mut self, node: NodeKey) -> Option<Note> {
        self.backlog.take_note(node)
    }

    /// When the look at a pair was sent, of which something is known by now.
    pub fn look_began(&self, node: NodeKey) -> Option<Tick> {
        match self.backlog.note(node)? {
            Note::Sight(sight) => Some(sight.began),
            Note::Seen(_) | Note::Creation(_) => None,
        }
    }

    pub fn set_note(&mut self, node: NodeKey, note: Note) {
        self.backlog.set_note(node, Some(note));
    }

    /// What a look has shown of a pair that is to be created may no longer be true: it must be looked at again.
    pub fn outdate(&mut self, node: NodeKey) {
        if let Some(Note::Creation(creation)) = self.backlog.take_note(node) {
            self.set_note(node, Note::Creation(ToCreate { looked: None, ..creation }));
        }
    }

    /// What an earlier look wanted of a pair gives way to what is to be created now. Where the journal has the one and not
    /// the other, it is told that the one was not created.
    pub fn supersede(&mut self, node: NodeKey, was: ToCreate, by: &Note) {
        let Some((lane, _)) = self.name(node) else { return };
        let account = lane.account;
        if !by.journaled().is_some_and(Journaled::is_yes) {
            self.set_note(node, Note::Creation(was));
            self.note_fate(node, account, &LastWord::Unchanged { journals: true });
        }
    }

    /// HubSpot refused to create a pair. Returns whether it is to be created without Primary instead, once it has been
    /// looked at again.
    pub fn spares_primary(&mut self, node: NodeKey, refusal: &Arc<Refusal>) -> bool {
        let Some((lane, _)) = self.name(node) else { return false };
        let Some(Note::Creation(creation)) = self.backlog.note(node) else { return false };
        let Some(creation) = restoring::without_primary(lane, creation, refusal) else { return false };
        self.note_fate(node, lane.account, &LastWord::Refused(Arc::clone(refusal)));
        self.set_note(node, Note::Creation(creation));
        true
    }

    /// Why some of what was asked for cannot be created; `None` where all of it can.
    pub fn missing(&self, node: NodeKey) -> Option<Arc<Refusal>> {
        match self.backlog.note(node)? {
            Note::Creation(creation) => creation.missing.clone(),
            Note::Sight(_) | Note::Seen(_) => None,
        }
    }

    /// Whether the pair is in hand and in this lane.
    pub fn is_in(&self, node: NodeKey, lane: LaneKey) -> bool {
        self.backlog.node(node).is_some_and(|node| node.lane == lane)
    }

    /// The job waits in another lane from now on; `uncounted` as for [`Self::advance`].
    pub fn move_job(&mut self, key: JobKey, to: LaneKey, now: Tick, uncounted: impl Fn(LaneKey) -> Duration) {
        if let Some(job) = self.jobs.get_mut(key) {
            job.moves_to(to, now, uncounted);
        }
    }

    /// A pair whose step is done leaves the lane of its request for the open lane `to`. Jobs that are leaving leave it
    /// on the way. `uncounted` gives the readings of [`crate::engine::pauses::Pauses::uncounted`] for a lane.
    pub fn advance(
        &mut self,
        key: NodeKey,
        to: LaneKey,
        note: Option<Note>,
        now: Tick,
        uncounted: impl Fn(LaneKey) -> Duration,
    ) {
        let waiters = self.waiters(key);
        let to = match self.backlog.node(key).map(|node| node.pair) {
            Some(pair) => self.meet(to, pair, now),
            None => to,
        };
        let Some(lane) = expected(self.lanes.get_mut(to), "the lane was just opened") else { return };
        let new_key = self.backlog.advance(key, to, &mut lane.queue, note, now);
        for waiter in waiters {
            let Some(job) = expected(self.jobs.get_mut(waiter), "who waits for a pair is in hand") else { continue };
            job.pair_answered();
            if new_key != key {
                job.nodes.push(new_key);
            }
            job.moves_to(to, now, &uncounted);
            if job.leaving.is_some() {
                self.withdraw(new_key, waiter);
                self.finish_if_done(waiter);
            }
        }
    }
}
