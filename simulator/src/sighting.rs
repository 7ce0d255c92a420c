//! What an account has seen of its callers.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::Busiest;
use crate::object_type::Lane;
use crate::request::Kind;

/// Requests kept in the log of arrivals unless told otherwise.
pub const ARRIVALS_KEPT: usize = 10_000;

/// Sentences kept about violations.
const MAX_VIOLATIONS_TOLD: usize = 20;

/// The interval in which the busiest moment is looked for where no limit says another.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);

/// Counts of one account.
#[derive(Debug)]
pub struct Seen {
    pub by_kind: BTreeMap<Kind, u64>,
    /// Key 0: connections cut instead of an answer.
    pub by_status: BTreeMap<u16, u64>,
    /// Bodies of the archive endpoints that could be read, whatever the answer.
    pub batches: Spread,
    pub violations: BTreeMap<Violation, u64>,
    /// The first few of them in words.
    pub told: Vec<String>,
    pub busiest: Busiest,
    pub in_flight: Level,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            by_kind: BTreeMap::new(),
            by_status: BTreeMap::new(),
            batches: Spread::default(),
            violations: BTreeMap::new(),
            told: Vec::new(),
            busiest: Busiest::new(DEFAULT_INTERVAL),
            in_flight: Level::default(),
        }
    }
}

impl Seen {
    pub fn requests(&self) -> u64 {
        self.by_kind.values().sum()
    }

    pub(crate) fn arrived(&mut self, kind: Kind, now: Duration, interval: Option<Duration>) {
        *self.by_kind.entry(kind).or_default() += 1;
        self.busiest.count(now, interval.unwrap_or(DEFAULT_INTERVAL));
    }

    pub(crate) fn violated(&mut self, violation: Violation, told: impl FnOnce() -> String) {
        *self.violations.entry(violation).or_default() += 1;
        if self.told.len() < MAX_VIOLATIONS_TOLD {
            self.told.push(told());
        }
    }
}

/// Something a well-behaved caller never does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Violation {
    /// More unique `from` records (or label inputs) than fit.
    TooManyFrom,
    TooManyPairs,
    /// A `from` listed twice in one body.
    RepeatedFrom,
    /// A pair listed twice in one body.
    RepeatedPair,
    EmptyInputs,
    EmptyTo,
    /// No types where a request must name them: nobody can say whether nothing or everything is meant.
    EmptyTypes,
    /// A body that cannot be read, or whose shape HubSpot takes without doing anything.
    Malformed,
    /// A request over the rolling or the secondly limit.
    OverCeiling,
}

/// A number that goes up and down.
#[derive(Clone, Copy, Default, Debug)]
pub struct Level {
    pub now: u64,
    pub most: u64,
}

impl Level {
    pub(crate) fn up(&mut self) {
        self.now += 1;
        self.most = self.most.max(self.now);
    }

    pub(crate) fn down(&mut self) {
        self.now = self.now.saturating_sub(1);
    }
}

/// Smallest, largest and sum of some sizes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Spread {
    pub count: u64,
    pub sum: u64,
    pub min: u64,
    pub max: u64,
}

impl Spread {
    pub(crate) fn add(&mut self, size: u64) {
        self.min = if self.count == 0 { size } else { self.min.min(size) };
        self.max = self.max.max(size);
        self.sum += size;
        self.count += 1;
    }

    /// 0 where there is none.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }
}

/// One request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Since the world's epoch.
    pub at: Duration,
    pub portal: Option<u64>,
    pub kind: Kind,
    pub lane: Option<Lane>,
    /// Pairs of an archive or a creation, records of a read.
    pub pairs: usize,
    /// 0: the connection was cut instead of an answer.
    pub status: u16,
}

/// The latest requests, oldest first.
#[derive(Debug)]
pub struct Arrivals {
    /// How many are kept; 0 keeps none.
    pub kept: usize,
    log: VecDeque<Arrival>,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { kept: ARRIVALS_KEPT, log: VecDeque::new() }
    }
}

impl Arrivals {
    pub fn iter(&self) -> impl Iterator<Item = &Arrival> {
        self.log.iter()
    }

    pub(crate) fn note(&mut self, arrival: impl FnOnce() -> Arrival) {
        if self.kept == 0 {
            self.log.clear();
            return;
        }
        while self.log.len() >= self.kept {
            self.log.pop_front();
        }
        self.log.push_back(arrival());
    }
}
