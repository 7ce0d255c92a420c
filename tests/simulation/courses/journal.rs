//! A journal that fails, and loses its confirms; and what an undo makes of what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use association_archiver::contract::action::Action;
use association_archiver::contract::association::{Extent, Label, LabelCategory, Pair, RecordId};
use association_archiver::contract::ids::JobId;
use association_archiver::contract::job::Ask;
use association_archiver::contract::journal::{
    ChangeKind, Completion, Entry, EntryPair, JobName, ReadFrom, Record, parse,
};
use association_archiver::engine::command::{BatchCall, CallKey, LaneId, RecordCall, Request as Asked};
use fastrand::Rng;
use hashbrown::HashMap;
use hubspot_simulator::association::Associations;
use hubspot_simulator::object_type::Lane;
use jiff::Timestamp;
use smallvec::smallvec;

use super::errand::{Errand, FORWARD, LANES, Links, Theme, as_ours, is_primary, lane, lane_of, theme};
use crate::promises::{Broken, Kept, promise};

type Covered = BTreeMap<(usize, Pair, ReadFrom), BTreeSet<Label>>;

/// What is written is there from when the answer comes, or sooner; after a crash it may be there or not.
#[derive(Debug, Default)]
pub struct Journal {
    durable: Vec<Vec<u8>>,
    /// What the durable entries say of each pair that is removed.
    known: Covered,
    /// And the latest one of each pair that is restored: what was there, and what was to come.
    /// Two lanes may want different things of one pair, such as with Primary and without.
    coming: HashMap<(LaneId, Pair), [BTreeSet<Label>; 2]>,
    writing: BTreeMap<(Duration, u64), Writing>,
    entered: u64,
    /// Writes that failed.
    pub failed: u64,
}

#[derive(Debug)]
struct Writing {
    call: CallKey,
    lane: LaneId,
    records: Vec<Vec<u8>>,
    good: bool,
}

impl Journal {
    pub fn record(&mut self, call: RecordCall, at: Timestamp, now: Duration, trouble: f64, rng: &mut Rng) {
        let name = JobName { id: JobId::new("job").unwrap(), group: None, correlation_id: None };
        let entries = call.entries.iter().map(|part| Entry {
            id: part.entry,
            kind: call.kind,
            at,
            portal: call.portal,
            from_type: call.lane.from_type.clone(),
            to_type: call.lane.to_type.clone(),
            read: part.read,
            extent: call.lane.extent.clone(),
            jobs: vec![name.clone()],
            first: 0,
            pairs: part
                .pairs
                .iter()
                .map(|of| EntryPair {
                    pair: of.pair,
                    types: of.types.clone(),
                    creates: of.creates.clone(),
                    jobs: [0].as_slice().into(),
                })
                .collect(),
        });
        let records = entries.flat_map(|entry| entry.encode()).collect();
        self.entered += 1;
        let wait = Duration::from_millis(rng.u64(1..200));
        let writing = Writing { call: call.call, records, good: rng.f64() >= trouble, lane: call.lane };
        self.writing.insert((now + wait, self.entered), writing);
    }

    /// What is told may be lost, and nothing is waited for.
    pub fn complete(&mut self, completion: &Completion, trouble: f64, rng: &mut Rng) {
        if rng.f64() >= trouble {
            self.durable.push(completion.encode());
        }
    }

    pub fn next_time(&self) -> Option<Duration> {
        self.writing.first_key_value().map(|(&(at, _), _)| at)
    }

    pub fn is_idle(&self) -> bool {
        self.writing.is_empty()
    }

    /// A failed write may have been made all the same.
    pub fn answer(&mut self, rng: &mut Rng) -> Option<(CallKey, Result<(), String>)> {
        let (_, Writing { call, lane, records, good }) = self.writing.pop_first()?;
        if good || rng.bool() {
            for record in &records {
                if let Record::Entry(entry) = parse(record).unwrap() {
                    match entry.kind {
                        ChangeKind::Removal => add(&mut self.known, &entry, |_| true),
                        ChangeKind::Restoration => self.note_restoration(&lane, &entry),
                    }
                }
            }
            self.durable.extend(records);
        }
        self.failed += u64::from(!good);
        Some((call, if good { Ok(()) } else { Err("the disk is full".to_owned()) }))
    }

    fn note_restoration(&mut self, lane: &LaneId, entry: &Entry) {
        for of in &entry.pairs {
            let labels = [&of.types, &of.creates].map(|types| types.iter().map(|of| of.label).collect());
            self.coming.insert((lane.clone(), of.pair), labels);
        }
    }

    pub fn crash(&mut self, rng: &mut Rng) {
        while self.answer(rng).is_some() {}
    }

    /// All that this request is about to remove is in the journal, as it is at this moment.
    pub fn has(&self, call: &BatchCall, associations: &Associations) -> Kept {
        let index = lane_of(&call.lane);
        let covered = &self.known;
        for pair in call.pairs.iter().filter(|pair| theme(pair.from.0.get()) != Theme::Mixed) {
            let (from, to) = (pair.from.0.get(), pair.to.0.get());
            // A removal takes both directions with it, so one of them is enough to bring all back.
            let is_covered = |read: &ReadFrom| {
                let (direction, one, other) = match read {
                    ReadFrom::From => (lane(index), from, to),
                    ReadFrom::To => (reversed(index), to, from),
                };
                let there = associations.of(&direction, one).into_iter().find(|(found, _)| *found == other);
                let there = there.map(|(_, labels)| labels).unwrap_or_default();
                let goes = |label: &Label| match &call.lane.extent {
                    Extent::Whole => true,
                    Extent::Labels(labels) => labels.contains(label),
                };
                let known = covered.get(&(index, *pair, *read));
                known.is_some_and(|known| there.into_iter().map(as_ours).filter(goes).all(|of| known.contains(&of)))
            };
            promise!(
                ReadFrom::ALL.iter().any(is_covered),
                "{pair:?} is archived in {:?}, but the journal does not have what goes: {:?}",
                call.lane,
                ReadFrom::ALL.map(|read| covered.get(&(index, *pair, read)))
            );
        }
        Ok(())
    }

    /// What this request is about to make, and what is there at this moment, is in the journal.
    pub fn has_restoration(&self, call: &BatchCall, associations: &Associations) -> Kept {
        let index = lane_of(&call.lane);
        let told_at_once = associations.read_lag.is_zero() && associations.other_app.is_none();
        for (place, pair) in call.pairs.iter().enumerate() {
            let Some([there, comes]) = self.coming.get(&(call.lane.clone(), *pair)) else {
                return Err(Broken(format!(
                    "{pair:?} is restored in {:?}, but the journal has nothing of it",
                    call.lane
                )));
            };
            // The plain association may be there by now, made by a request whose answer was lost.
            if let Asked::Create { labels } = &call.request {
                let all: BTreeSet<Label> = there.union(comes).copied().collect();
                let asked: BTreeSet<Label> = labels[place].iter().copied().collect();
                promise!(all == asked, "{pair:?} is to have {asked:?}, the journal has {there:?} and {comes:?}");
            } else {
                promise!(there.is_empty() && comes.is_empty(), "{pair:?}: the journal has {there:?} and {comes:?}");
                continue;
            }
            let found = associations.of(&lane(index), pair.from.0.get());
            let found = found.into_iter().find(|(to, _)| *to == pair.to.0.get()).map(|(_, labels)| labels);
            // Another job may have made the plain association since the look: it is part of whatever is created.
            let is = |label: &Label| label.category == LabelCategory::UserDefined;
            let found: BTreeSet<Label> = found.into_iter().flatten().map(as_ours).filter(is).collect();
            let there: BTreeSet<Label> = there.iter().copied().filter(is).collect();
            let mixed = theme(pair.from.0.get()) == Theme::Mixed;
            promise!(mixed || !told_at_once || found == there, "{pair:?} has {found:?}, the journal has {there:?}");
        }
        Ok(())
    }

    /// What went of each pair, as far as the journal has it; without what was refused.
    fn removed(&self) -> Covered {
        let (mut entries, mut refused) = (Vec::new(), BTreeMap::new());
        for record in &self.durable {
            match parse(record).unwrap() {
                Record::Entry(Entry { kind: ChangeKind::Restoration, .. }) => {}
                Record::Entry(entry) => entries.push(entry),
                Record::Completion(completion) => {
                    refused.insert(completion.entry, completion.refused);
                }
                Record::Mark(_) | Record::Unknown => {}
            }
        }
        let mut removed = Covered::new();
        for entry in entries {
            add(&mut removed, &entry, |place| !refused.get(&entry.id).is_some_and(|refused| refused.contains(place)));
        }
        removed
    }

    /// Jobs that restore what the journal says went, one for each pair.
    pub fn undo(&self, at: Duration) -> Vec<Errand> {
        let removed = self.removed().into_iter().filter(|(_, labels)| !labels.is_empty());
        let errands = removed.map(|((index, pair, read), labels)| {
            let (lane, pair) = match read {
                ReadFrom::From => (index, pair),
                ReadFrom::To => (index + FORWARD, Pair { from: pair.to, to: pair.from }),
            };
            let labels: Vec<Label> = labels.into_iter().collect();
            let is_plain = |label: &Label| label.category == LabelCategory::HubspotDefined && !is_primary(lane, *label);
            let extent = match labels.as_slice() {
                [only] if is_plain(only) => Extent::Whole,
                labels => Extent::Labels(labels.into()),
            };
            let asks = smallvec![Ask { extent, pairs: smallvec![pair], all_of: Vec::new() }];
            Errand { at, lane, action: Action::Restore { include_primary: false }, dry_run: false, asks }
        });
        errands.collect()
    }
}

/// After an undo all is as it was before, where only archives came. What another app makes again between the look of a
/// restore and its creation is taken away by the creation, but for the association itself.
pub fn all_is_as_before(before: &Links, after: &Links, makes_again: impl Fn(RecordId) -> bool) -> Kept {
    let archived = |links: &Links| -> Links {
        let only =
            |&((_, pair), _): &(&(usize, Pair), _)| matches!(theme(pair.from.0.get()), Theme::Archive | Theme::All);
        // Whose Primary it is depends on what other records got meanwhile.
        let without = |(key, labels): (&(usize, Pair), &Vec<Label>)| {
            (*key, labels.iter().filter(|label| !is_primary(key.0, **label)).copied().collect())
        };
        links.iter().filter(only).map(without).collect()
    };
    let (before, after) = (archived(before), archived(after));
    let is_lost = |(key, labels): &(&(usize, Pair), &Vec<Label>)| match after.get(*key) {
        Some(_) if makes_again(key.1.from) => false,
        there => there != Some(*labels),
    };
    let lost = before.iter().find(is_lost);
    promise!(lost.is_none(), "{lost:?} is not as it was after an undo: {:?}", lost.map(|(key, _)| after.get(key)));
    let made = after.keys().find(|key| !before.contains_key(*key));
    promise!(made.is_none(), "{made:?} has come by an undo");
    Ok(())
}

/// Adds those pairs of an entry whose places are wanted.
fn add(to: &mut Covered, entry: &Entry, wanted: impl Fn(u32) -> bool) {
    let index = LANES.iter().position(|(from, _, _)| *from == entry.from_type.path_segment()).unwrap();
    for (_, of) in (entry.first..).zip(&entry.pairs).filter(|(place, _)| wanted(*place)) {
        let labels = of.types.iter().map(|of| of.label);
        to.entry((index, of.pair, entry.read)).or_default().extend(labels);
    }
}

fn reversed(index: usize) -> Lane {
    let (from, to, _) = LANES[index];
    Lane::parse(to, from).unwrap()
}
