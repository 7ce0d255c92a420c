//! A lane: what waits for one account, one pair of object types and one step.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use slotmap::SlotMap;

use super::background::Urgency;
use super::backlog::{LaneKey, Queue};
use super::batch::{Batch, BatchKey, Prospect};
use super::clock::Tick;
use super::command::LaneId;
use super::expected::expected;
use super::pack::Caps;
use super::per_account::PerAccount;
use super::search::trial::Trial;
use super::settings::Waiting;
use super::step::Step;
use super::stuck_share::StuckShare;
use crate::contract::ids::AccountIndex;

/// A batch that waits to be sent again. The order of these is the order of their turns.
///
/// Of searches, the one that began first goes on first. If they took turns, all of them would end late, and where
/// there are many, later than their jobs may be held.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Repeat {
    /// The batch may go from this time on. Repeats are ordered by it. For a batch that may go at once it is not the
    /// present time, but the time at which the batch's search began, so that the oldest search goes first.
    from: Tick,
    begun: Tick,
    batch: BatchKey,
}

impl Repeat {
    /// `batch`, whose key is `key`, may go again from `due` on.
    pub fn new(key: BatchKey, batch: &Batch, due: Tick, now: Tick) -> Self {
        let begun = batch.trial.as_ref().map_or(now, Trial::begun);
        Self { from: if due <= now { begun } else { due }, begun, batch: key }
    }

    pub fn batch(self) -> BatchKey {
        self.batch
    }

    /// When the batch may go; for one that may go already, some time that has passed.
    pub fn from(self) -> Tick {
        self.from
    }

    pub fn is_due(self, now: Tick) -> bool {
        self.from <= now
    }
}

/// See the module.
#[derive(Debug)]
pub struct Lane {
    pub id: LaneId,
    pub urgency: Urgency,
    /// The open lane of the same name and the other urgency.
    pub other: Option<LaneKey>,
    /// The latest answer for pairs of the background was good. Only then do such pairs fill up requests of live ones,
    /// which would be refused or fail together with them.
    pub fills_others: bool,
    pub queue: Queue,
    repeats: BTreeSet<Repeat>,
    /// Single stuck pairs that wait to be sent again. Everything else goes first.
    stuck: BTreeSet<Repeat>,
    in_flight: usize,
    /// The pairs that a request may have after one was too large or took too long.
    shrunk_to: Option<usize>,
    pub stuck_share: StuckShare,
    /// Its requests may go from either side.
    pub folds: bool,
    /// See [`super::folding::choose`].
    pub passes: u32,
    /// Its index in the account's list of lanes.
    position: usize,
}

/// A lane that may be sent from either side is full with as many pairs as this many times the records of a request: how
/// many records they need is not known before.
const PAIRS_FOR_A_RECORD: usize = 10;

/// A lane of looks waits no longer when it has this share (an eighth) of the jobs that may be in hand.
const ENOUGH_OF_A_LANE: usize = 8;
/// But it goes on waiting while less than this share (a quarter) of them is in hand, since there is room for company.
const ENOUGH_IN_HAND: usize = 4;

impl Lane {
    fn new(id: LaneId, urgency: Urgency, other: Option<LaneKey>, folds: bool, position: usize) -> Self {
        Self {
            id,
            urgency,
            other,
            fills_others: false,
            queue: Queue::default(),
            repeats: BTreeSet::new(),
            stuck: BTreeSet::new(),
            in_flight: 0,
            shrunk_to: None,
            stuck_share: StuckShare::default(),
            folds,
            passes: 0,
            position,
        }
    }

    /// How large this lane's next request may be.
    pub fn caps(&self, of_settings: Caps) -> Caps {
        let caps = self.id.step().caps(of_settings);
        let most = self.shrunk_to.into_iter().chain(self.stuck_share.best_size()).min();
        Caps { pairs: most.map_or(caps.pairs, |most| most.min(caps.pairs)), ..caps }
    }

    /// The next request would be as large as it may be.
    pub fn is_full(&self, of_settings: Caps) -> bool {
        let caps = self.caps(of_settings);
        if self.folds {
            return self.queue.pairs() >= caps.pairs.min(caps.from.saturating_mul(PAIRS_FOR_A_RECORD));
        }
        self.queue.groups() >= caps.from || self.queue.pairs() >= caps.pairs
    }

    /// The next request need not wait for company, though it is not as large as it may be.
    ///
    /// A look may be so large that lanes which wait for company could have all jobs in hand that there may be. Then
    /// nothing comes that they wait for, and the broker has nothing to do meanwhile. All other requests are full with
    /// far less. `in_hand`: jobs of all lanes.
    pub fn has_enough(&self, waiting: Waiting, in_hand: usize) -> bool {
        match waiting {
            Waiting::Outside { prefetch, longest_hold: _ } => {
                self.queue.pairs() >= prefetch / ENOUGH_OF_A_LANE
                    && in_hand >= prefetch / ENOUGH_IN_HAND
                    && matches!(self.id.step(), Step::Look(_))
                    && !self.id.course.is_proof()
                    && self.urgency == Urgency::Live
            }
            Waiting::InHand { .. } => false,
        }
    }

    /// There is something to send, now or later.
    pub fn has_work(&self) -> bool {
        !self.queue.is_empty() || self.repeats_waiting() > 0
    }

    /// Nothing waits, and nothing is on the wire.
    pub fn is_empty(&self) -> bool {
        !self.has_work() && self.in_flight == 0 && self.queue.cooling() == 0
    }

    /// Requests on the wire.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub fn request_left(&mut self) {
        self.in_flight += 1;
    }

    pub fn request_ended(&mut self) {
        debug_assert!(self.in_flight > 0, "what is answered was sent");
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// A request of this many pairs was too large, or HubSpot took too long over it.
    pub fn shrink(&mut self, pairs: usize) {
        let half = (pairs / 2).max(1);
        self.shrunk_to = Some(self.shrunk_to.map_or(half, |shrunk| shrunk.min(half)));
    }

    /// A request went through: the size grows back by a tenth.
    pub fn regrow(&mut self, of_settings: Caps) {
        self.shrunk_to =
            self.shrunk_to.map(|pairs| pairs + (pairs / 10).max(1)).filter(|&pairs| pairs < of_settings.pairs);
    }

    /// The batch that goes again next, of those with this prospect.
    pub fn next_repeat(&self, prospect: Prospect) -> Option<Repeat> {
        self.of(prospect).first().copied()
    }

    /// When the first batch may go again.
    pub fn repeat_from(&self) -> Option<Tick> {
        Prospect::ALL.into_iter().filter_map(|prospect| self.next_repeat(prospect)).map(Repeat::from).min()
    }

    /// In the order of their turns.
    pub fn repeats(&self) -> impl Iterator<Item = BatchKey> + '_ {
        self.repeats.iter().chain(&self.stuck).map(|repeat| repeat.batch)
    }

    /// From when on a batch goes again, if it is among those.
    pub fn repeat_of(&self, batch: BatchKey) -> Option<Tick> {
        self.repeats.iter().chain(&self.stuck).find(|repeat| repeat.batch == batch).map(|repeat| repeat.from())
    }

    /// How many batches wait to go again.
    pub fn repeats_waiting(&self) -> usize {
        self.repeats.len() + self.stuck.len()
    }

    /// The batches that may go again now, without single stuck pairs.
    pub fn due_repeats(&self, now: Tick) -> impl Iterator<Item = BatchKey> + '_ {
        self.repeats.iter().take_while(move |repeat| repeat.is_due(now)).map(|repeat| repeat.batch)
    }

    pub fn add_repeat(&mut self, repeat: Repeat, prospect: Prospect) {
        self.of_mut(prospect).insert(repeat);
    }

    pub fn remove_repeat(&mut self, batch: BatchKey) {
        for prospect in Prospect::ALL {
            self.of_mut(prospect).retain(|repeat| repeat.batch != batch);
        }
    }

    pub fn take_repeats(&mut self) -> impl Iterator<Item = Repeat> + use<> {
        std::mem::take(&mut self.repeats).into_iter().chain(std::mem::take(&mut self.stuck))
    }

    /// The batch with this prospect that would be next may not go before `from`.
    pub fn defer_next_repeat(&mut self, prospect: Prospect, from: Tick) {
        let repeats = self.of_mut(prospect);
        if let Some(next) = repeats.pop_first() {
            repeats.insert(Repeat { from, ..next });
        }
    }

    fn of(&self, prospect: Prospect) -> &BTreeSet<Repeat> {
        match prospect {
            Prospect::Open => &self.repeats,
            Prospect::Stuck => &self.stuck,
        }
    }

    fn of_mut(&mut self, prospect: Prospect) -> &mut BTreeSet<Repeat> {
        match prospect {
            Prospect::Open => &mut self.repeats,
            Prospect::Stuck => &mut self.stuck,
        }
    }
}

/// All lanes that hold anything, by key, by name and by account. Of one name there may be two: one for the live pairs,
/// one for those of the background.
#[derive(Debug)]
pub struct Lanes {
    lanes: SlotMap<LaneKey, Lane>,
    by_id: HashMap<LaneId, LaneKey>,
    background_by_id: HashMap<LaneId, LaneKey>,
    of_account: PerAccount<Vec<LaneKey>>,
}

impl Lanes {
    pub fn new(accounts: usize) -> Self {
        let of_account = PerAccount::new((0..accounts).map(|_| Vec::new()));
        let (by_id, background_by_id) = (HashMap::new(), HashMap::new());
        Self { lanes: SlotMap::with_key(), by_id, background_by_id, of_account }
    }

    pub fn find(&self, id: &LaneId, urgency: Urgency) -> Option<LaneKey> {
        match urgency {
            Urgency::Live => self.by_id.get(id).copied(),
            Urgency::Background => self.background_by_id.get(id).copied(),
        }
    }

    /// Opens a lane that is not there yet.
    pub fn open(&mut self, id: LaneId, urgency: Urgency, folds: bool) -> LaneKey {
        let other = match urgency {
            Urgency::Live if self.background_by_id.is_empty() => None,
            Urgency::Live => self.find(&id, Urgency::Background),
            Urgency::Background => self.find(&id, Urgency::Live),
        };
        let of_account = &mut self.of_account[id.account];
        let key = self.lanes.insert(Lane::new(id.clone(), urgency, other, folds, of_account.len()));
        of_account.push(key);
        if let Some(other) = other.and_then(|other| self.lanes.get_mut(other)) {
            other.other = Some(key);
        }
        match urgency {
            Urgency::Live => self.by_id.insert(id, key),
            Urgency::Background => self.background_by_id.insert(id, key),
        };
        key
    }

    pub fn close(&mut self, key: LaneKey) {
        let Some(lane) = expected(self.lanes.remove(key), "only a lane that is there is closed") else { return };
        match lane.urgency {
            Urgency::Live => self.by_id.remove(&lane.id),
            Urgency::Background => self.background_by_id.remove(&lane.id),
        };
        if let Some(other) = lane.other.and_then(|other| self.lanes.get_mut(other)) {
            other.other = None;
        }
        let of_account = &mut self.of_account[lane.id.account];
        of_account.swap_remove(lane.position);
        if let Some(&moved) = of_account.get(lane.position)
            && let Some(moved) = expected(self.lanes.get_mut(moved), "the list has the account's open lanes")
        {
            moved.position = lane.position;
        }
    }

    pub fn get(&self, key: LaneKey) -> Option<&Lane> {
        self.lanes.get(key)
    }

    pub fn get_mut(&mut self, key: LaneKey) -> Option<&mut Lane> {
        self.lanes.get_mut(key)
    }

    /// A lane and its other one.
    pub fn get_both_mut(&mut self, key: LaneKey) -> Option<(&mut Lane, &mut Lane)> {
        let other = self.lanes.get(key)?.other?;
        self.lanes.get_disjoint_mut([key, other]).map(|[lane, other]| (lane, other))
    }

    pub fn of(&self, account: AccountIndex) -> &[LaneKey] {
        self.of_account.get(account).map(Vec::as_slice).unwrap_or_default()
    }

    pub fn iter(&self) -> impl Iterator<Item = (LaneKey, &Lane)> {
        self.lanes.iter()
    }

    pub fn len(&self) -> usize {
        self.lanes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_searches_the_one_that_began_first_goes_on_first() {
        let at = Tick::from_micros;
        let mut batches: SlotMap<BatchKey, Batch> = SlotMap::with_key();
        let mut repeats = BTreeSet::new();
        let mut give_back = |begun: Option<u64>, due: u64, now: u64| {
            let trial = begun.map(|begun| Trial::begun_at(at(begun)));
            let key = batches.insert(Batch { trial, ..Batch::new(LaneKey::default(), Vec::new()) });
            repeats.insert(Repeat::new(key, &batches[key], at(due), at(now)));
            key
        };
        let younger = give_back(Some(20), 30, 30);
        let failed = give_back(None, 90, 31);
        let older = give_back(Some(10), 40, 40);
        let throttled = give_back(None, 41, 41);
        let order = |repeats: &BTreeSet<Repeat>| repeats.iter().map(|repeat| repeat.batch).collect::<Vec<_>>();
        assert_eq!(order(&repeats), [older, younger, throttled, failed]);
        let deferred = repeats.iter().map(|repeat| Repeat { from: at(100), ..*repeat }).collect();
        assert_eq!(order(&deferred), [older, younger, failed, throttled]);
    }
}
