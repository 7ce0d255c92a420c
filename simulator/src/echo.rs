//! What reads still show for a while of pairs that have changed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hashbrown::HashMap;

use crate::label_set::LabelSetId;
use crate::links::behind;
use crate::object_type::Lane;

/// Pairs as they were before their latest removal. Costs nothing while reads do not lag.
#[derive(Default, Debug)]
pub(crate) struct Echoes {
    lanes: HashMap<Lane, BTreeMap<(u64, u64), Echo>>,
    by_end: VecDeque<(Duration, Lane, u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Echo {
    labels: LabelSetId,
    until: Duration,
}

impl Echoes {
    pub fn keep(&mut self, lane: &Lane, from: u64, to: u64, labels: LabelSetId, until: Duration) {
        let echo = Echo { labels, until };
        self.lanes.entry(lane.clone()).or_default().insert((from, to), echo);
        self.by_end.push_back((until, lane.clone(), from, to));
    }

    /// The pair was made anew: reads show it as it is.
    pub fn drop_pair(&mut self, lane: &Lane, from: u64, to: u64) {
        if let Some(pairs) = self.lanes.get_mut(lane) {
            pairs.remove(&(from, to));
        }
    }

    /// Frees what has ended.
    pub fn expire(&mut self, now: Duration) {
        while self.by_end.front().is_some_and(|(until, ..)| *until <= now) {
            let Some((_, lane, from, to)) = self.by_end.pop_front() else { return };
            if let Some(pairs) = self.lanes.get_mut(&lane)
                && pairs.get(&(from, to)).is_some_and(|echo| echo.until <= now)
            {
                pairs.remove(&(from, to));
            }
        }
    }

    /// As [`crate::links::Links::of`].
    pub fn of(
        &self,
        lane: &Lane,
        from: u64,
        after: Option<u64>,
        now: Duration,
    ) -> impl Iterator<Item = (u64, LabelSetId)> + use<'_> {
        let pairs = self.lanes.get(lane).map(|pairs| pairs.range(behind(from, after)));
        let lasting = pairs.into_iter().flatten().filter(move |(_, echo)| echo.until > now);
        lasting.map(|(&(_, to), echo)| (to, echo.labels))
    }
}
