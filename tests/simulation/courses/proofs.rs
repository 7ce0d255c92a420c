//! What was read back of removed pairs, and whether what is said of their proofs follows from it.

use std::time::Duration;

use association_archiver::contract::association::{Extent, Pair};
use association_archiver::engine::command::{BatchCall, Request};
use association_archiver::engine::course::{Course, Removal};
use association_archiver::engine::proof;
use hashbrown::HashMap;
use hubspot_simulator::association::Associations;

use super::errand::{as_ours, lane, lane_of};
use crate::promises::{Kept, promise};

/// One pair, or labels of it, in one of the lanes.
pub type Removed = (usize, Extent, Pair);

/// What an answer to a request shows of the pairs that it reads back, once it is heard.
#[derive(Debug)]
pub struct Reading {
    at: Duration,
    shown: Vec<(Removed, bool)>,
}

/// What the process has heard of readings. Times are those at which HubSpot was asked.
#[derive(Default, Debug)]
pub struct Proofs {
    gone: HashMap<Removed, Duration>,
    shown: HashMap<Removed, Duration>,
    pub readings: u64,
}

/// Whether reads show of the pair what is to be removed.
pub fn is_shown(associations: &Associations, (index, extent, pair): &Removed) -> bool {
    let (from, to) = (pair.from.0.get(), pair.to.0.get());
    let there = associations.shown(&lane(*index), from, None).find(|(found, _)| *found == to);
    there.is_some_and(|(_, labels)| match extent {
        Extent::Whole => true,
        Extent::Labels(these) => labels.iter().any(|&label| these.contains(&as_ours(label))),
    })
}

impl Proofs {
    /// HubSpot has just been asked.
    pub fn asked(call: &BatchCall, associations: &Associations, now: Duration) -> Option<Reading> {
        let is_proof = call.lane.course == Course::Remove(Removal::Prove);
        let reads = matches!(call.request, Request::Look { reversed: false, .. });
        if !is_proof || !reads {
            return None;
        }
        let removed = call.pairs.iter().map(|&pair| (lane_of(&call.lane), call.lane.extent.clone(), pair));
        let shown = removed.map(|removed| {
            let is_shown = is_shown(associations, &removed);
            (removed, is_shown)
        });
        Some(Reading { at: now, shown: shown.collect() })
    }

    pub fn heard(&mut self, reading: Reading) {
        self.readings += 1;
        for (removed, is_shown) in reading.shown {
            let of = if is_shown { &mut self.shown } else { &mut self.gone };
            of.insert(removed, reading.at);
        }
    }

    /// A job that came at `since` is said to be verified: HubSpot showed each of its pairs as gone, long enough after a
    /// removal that was made for it. Where `nothing_returns` it does not show one of them now either.
    pub fn are_proven(
        &self,
        removed: &Removed,
        since: Duration,
        nothing_returns: bool,
        associations: &Associations,
    ) -> Kept {
        let gone = self.gone.get(removed);
        let proven = gone.is_some_and(|&gone| gone >= since + proof::WAITS[0]);
        promise!(proven, "{removed:?} is said to be verified; it came at {since:?}, was seen to be gone at {gone:?}");
        promise!(
            !nothing_returns || !is_shown(associations, removed),
            "{removed:?} is said to be verified, but HubSpot shows it"
        );
        Ok(())
    }

    /// A pair is said not to be gone: HubSpot showed it since the job came.
    pub fn was_shown(&self, removed: &Removed, since: Duration) -> Kept {
        let shown = self.shown.get(removed);
        promise!(shown.is_some_and(|&shown| shown > since), "{removed:?} is not gone, but was shown at {shown:?}");
        Ok(())
    }
}
