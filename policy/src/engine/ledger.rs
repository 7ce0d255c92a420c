//! What each job still waits for. A job is its delivery: two equal messages are two jobs.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use slotmap::SlotMap;
use smallvec::SmallVec;

use super::backlog::{JobKey, LaneKey, NodeKey};
use super::clock::Tick;
use super::command::{CallKey, Carried, Settled};
use super::pause::Tier;
use crate::contract::association::Pair;
use crate::contract::ids::AccountIndex;
use crate::contract::outcome::{Ending, PairError};
use crate::contract::refusal::{Refusal, WorkerCategory};

/// All jobs in hand.
pub type Ledger = SlotMap<JobKey, Job>;

/// One job, from admission until its outcome or its departure.
#[derive(Debug)]
pub struct Job {
    pub account: AccountIndex,
    /// The lane of its first pairs: whose pauses do not count towards its age.
    pub lane: LaneKey,
    pub nodes: SmallVec<[NodeKey; 1]>,
    pub not_after: Option<Timestamp>,
    pub weight: usize,
    pub carried: Carried,
    pub leaving: Option<Leaving>,
    total: u32,
    open: u32,
    on_wire: u32,
    archived: u32,
    errors: Vec<PairError>,
    last_call: CallKey,
    /// First transient failure in this process, with the reading of the clocks that do not count.
    failing_since: Option<(Tick, Duration)>,
}

/// How a job leaves without waiting for its pairs. What is on the wire is waited for.
#[derive(Clone, Debug)]
pub enum Leaving {
    Park { tier: Tier, for_failures: bool },
    HandBack,
    Forget,
    Expire,
    Fail { refusal: Arc<Refusal>, dead_letter: bool },
}

impl Job {
    pub fn new(account: AccountIndex, lane: LaneKey, pairs: u32, carried: Carried) -> Self {
        Self {
            account,
            lane,
            nodes: SmallVec::new(),
            not_after: None,
            weight: 0,
            carried,
            leaving: None,
            total: pairs,
            open: pairs,
            on_wire: 0,
            archived: 0,
            errors: Vec::new(),
            last_call: CallKey::default(),
            failing_since: None,
        }
    }

    /// Nothing of it is on the wire.
    pub fn is_ashore(&self) -> bool {
        self.on_wire == 0
    }

    /// Every pair has its verdict.
    pub fn is_complete(&self) -> bool {
        self.open == 0
    }

    /// A pair of it leaves with `call`.
    pub fn pair_departs(&mut self, call: CallKey, now: Timestamp) {
        self.on_wire += 1;
        if self.last_call != call {
            self.last_call = call;
            self.carried.attempts = self.carried.attempts.saturating_add(1);
            self.carried.started.get_or_insert(now);
        }
    }

    pub fn pair_returns(&mut self) {
        self.on_wire = self.on_wire.saturating_sub(1);
    }

    pub fn pair_archived(&mut self) {
        self.open = self.open.saturating_sub(1);
        self.archived += 1;
    }

    pub fn pair_failed(&mut self, pair: Pair, refusal: Arc<Refusal>) {
        self.open = self.open.saturating_sub(1);
        self.errors.push(PairError { pair, refusal });
    }

    /// A request with a pair of it failed in passing; `uncounted` is the reading of the clocks that do not count.
    pub fn failed(&mut self, now: Tick, uncounted: Duration) {
        self.failing_since.get_or_insert((now, uncounted));
        self.carried.age.get_or_insert(Duration::ZERO);
    }

    /// Time since the first transient failure that counts towards `retry.max_age`.
    pub fn age(&self, now: Tick, uncounted: Duration) -> Option<Duration> {
        let here = match self.failing_since {
            Some((since, before)) => now.since(since).saturating_sub(uncounted.saturating_sub(before)),
            None => Duration::ZERO,
        };
        self.carried.age.map(|age| age + here)
    }

    /// The last word on the job.
    pub fn settled(self, key: JobKey) -> Settled {
        let unsent = self.carried.attempts == 0 && self.archived == 0;
        let ending = match &self.leaving {
            Some(Leaving::Expire) if unsent => Ending::Expired { errors: self.errors },
            _ => Ending::Settled { num_pairs: self.total as usize, errors: self.errors },
        };
        let dead_letter = match self.leaving {
            Some(Leaving::Fail { refusal, dead_letter: true }) if self.archived != self.total => Some(refusal),
            _ => None,
        };
        Settled { job: key, ending, carried: self.carried, dead_letter }
    }
}

/// What an unsettled pair is told when its job's `notAfter` has passed.
pub fn expired(not_after: Option<Timestamp>, in_doubt: bool) -> Refusal {
    let when = not_after.map(|time| format!(" ({time})")).unwrap_or_default();
    let carried = match in_doubt {
        true => "a request that was never answered carried the pair, so it may have been archived",
        false => "no request without an answer carried the pair, so it was not archived by this job",
    };
    Refusal::worker(WorkerCategory::Expired, &format!("notAfter{when} has passed; {carried}"))
}
