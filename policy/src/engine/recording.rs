//! The conductor, for the journal: what a batch is about to change is recorded before its request leaves.
//!
//! A batch of which a pair is not recorded is given out to be recorded instead of being sent. Meanwhile its pairs count
//! as on the wire, so that no equal pair joins them. Then it waits as a repeat that may go at once. Only what the
//! journal has is sent: `is_recorded` is asked for every batch that leaves, whichever way it came.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::backlog::LaneKey;
use super::batch::BatchKey;
use super::calls::{Call, Purpose};
use super::clock::Now;
use super::command::{CallKey, Command, RecordCall, Recordable, Sealed};
use super::engine::Engine;
use super::expected::expected;
use super::holdings::RecordedFate;
use super::pause::PauseKind;
use super::sight::EntryPosition;
use crate::contract::ids::AccountIndex;
use crate::contract::journal::{ChangeKind, Completion, EntryId, Places};
use crate::contract::refusal::{Refusal, WorkerCategory};

/// Why a pair is not archived in an account with a journal.
const NOT_KNOWN: &str = "HubSpot describes this association in a way that this version does not know: it cannot be recorded for an undo, and nothing was archived";

impl Engine {
    /// Whether what the lane changes has to be recorded before it is sent.
    pub(super) fn journals(&self, lane: LaneKey) -> bool {
        let Some(lane) = self.holdings.lane(lane) else { return false };
        lane.id.step().changes() && self.accounts[lane.id.account].policy.safety.journal
    }

    /// Whether a batch may be sent as far as the journal is concerned.
    pub(super) fn is_recorded(&self, batch: BatchKey) -> bool {
        let Some(batch) = self.holdings.batch(batch) else { return false };
        !self.journals(batch.lane) || self.holdings.are_recorded(&batch.nodes) || self.holdings.looks_on(batch)
    }

    /// Gives a batch out to be recorded.
    pub(super) fn record(&mut self, index: AccountIndex, key: LaneKey, batch_key: BatchKey, sealed: Sealed, now: Now) {
        let account = &mut self.accounts[index];
        account.call_left();
        let portal = account.policy.portal;
        let call = self.call_leaves(index, Purpose::Record(batch_key), None, now);
        self.note_lane_probe(index, key, now.tick);
        self.holdings.hold_for_record(batch_key, sealed);
        let entries = self.entries_of(batch_key);
        let Some(lane) = expected(self.holdings.lane(key), "a batch keeps its lane open") else { return };
        let has_more = self.pauses.of_lane(key).is_none() && lane.repeat_from().is_some_and(|from| from <= now.tick);
        let lane = lane.id.clone();
        self.turns.had_turn(key, has_more);
        self.place(key, now.tick);
        self.place_other(key, now.tick);
        let kind = if lane.step().removes() { ChangeKind::Removal } else { ChangeKind::Restoration };
        self.command(Command::Record(RecordCall { call, lane, kind, portal, entries }));
        self.finish(now);
    }

    /// The batch's pairs as entries: one for each side that they were read from. Pairs that cannot be written down are
    /// refused.
    fn entries_of(&mut self, batch: BatchKey) -> Vec<Recordable> {
        let mut entries: Vec<Recordable> = Vec::new();
        let nodes = self.holdings.batch(batch).map(|batch| batch.nodes.clone()).unwrap_or_default();
        let mut unknown = Vec::new();
        for node in nodes {
            let Some((read, mut pair)) = self.holdings.to_record(node) else {
                unknown.push(node);
                continue;
            };
            pair.jobs = self.holdings.waiters(node);
            let index = entries.iter().position(|known| known.read == read).unwrap_or_else(|| {
                entries.push(Recordable { entry: self.draw_id(), read, pairs: Vec::new() });
                entries.len() - 1
            });
            let recordable = &mut entries[index];
            let index = u32::try_from(recordable.pairs.len()).unwrap_or(u32::MAX);
            recordable.pairs.push(pair);
            self.holdings.set_position(node, EntryPosition { entry: recordable.entry, index });
        }
        // What cannot be written down could not be restored.
        let refusal = Arc::new(Refusal::worker(WorkerCategory::NotRestorable, NOT_KNOWN));
        self.holdings.refuse_all(unknown, &refusal);
        entries
    }

    /// The reply to a [`Command::Record`]. The error says why it could not be recorded.
    pub fn recorded(&mut self, key: CallKey, result: Result<(), String>, now: Now) {
        let Some(call) = self.end_call(key) else { return };
        let Purpose::Record(batch) = call.purpose else { return };
        let Some(mut batch) = self.holdings.take_batch(batch) else { return };
        let (lane, nodes) = (batch.lane, batch.nodes.clone());
        self.pauses.lane_answered(call.account, lane);
        match result {
            Ok(()) => {
                self.counters.pairs_journaled += nodes.len() as u64;
                self.holdings.note_recorded(&nodes);
                self.journal_works(&call, lane, now);
                self.give_back(batch, now.tick, now);
            }
            Err(detail) => {
                // What the look found will be too old by then, so it looks again.
                batch.looked_again = false;
                self.give_back(batch, now.tick, now);
                self.pause_account(call.account, PauseKind::Journal, None, detail, now);
            }
        }
        if let Some(lane) = expected(self.holdings.lane_mut(lane), "a lane whose batch is recorded is open") {
            lane.request_ended();
        }
        self.drop_deserted(lane, now);
        self.place(lane, now.tick);
        self.tidy(lane);
        self.turns.mark_ready(call.account);
        self.pump(now);
    }

    /// Ends a pause for the journal's sake, if it began before the record was given out: one that was on its way when
    /// another one failed says nothing of those that follow. On a full disk a small one may still find room.
    fn journal_works(&mut self, call: &Call, lane: LaneKey, now: Now) {
        let account = call.account;
        match self.pauses.of_account(account) {
            Some(pause) if pause.kind == PauseKind::Journal => {
                if call.sent > pause.since {
                    self.resume_account(account, now);
                }
            }
            // Recording took the turn of a probe, so the probe itself may go at once.
            Some(_) | None => self.pauses.probe_account_now(account, now.tick),
        }
        self.pauses.probe_lane_now(lane, now.tick);
    }

    /// Tells the journal what became of recorded pairs.
    pub(super) fn complete(&mut self, now: Now) {
        let mut of_entries: BTreeMap<(AccountIndex, EntryId), [Vec<u32>; 4]> = BTreeMap::new();
        while let Some((account, EntryPosition { entry, index }, fate)) = self.holdings.next_fate() {
            let [archived, restored, refused, unknown] = of_entries.entry((account, entry)).or_default();
            match fate {
                RecordedFate::Archived => archived.push(index),
                RecordedFate::Restored => restored.push(index),
                RecordedFate::Refused => refused.push(index),
                RecordedFate::Unknown => unknown.push(index),
            }
        }
        for ((account, entry), fates) in of_entries {
            let [archived, restored, refused, unknown] = fates.map(Places::of);
            let completion = Completion { entry, at: now.wall, archived, restored, refused, unknown };
            self.command(Command::Complete { account, completion: Arc::new(completion) });
        }
    }
}
