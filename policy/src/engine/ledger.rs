//! What each job still waits for. A job is its delivery: two equal messages are two jobs.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use slotmap::SlotMap;
use smallvec::SmallVec;

use super::all;
use super::background::Urgency;
use super::backlog::{JobKey, LaneKey, NodeKey};
use super::clock::Tick;
use super::command::{CallKey, Carried, LaneId, Settled};
use super::expansion::{Expansion, OfRecord};
use super::guard;
use super::pause::Tier;
use super::proof::Proof;
use crate::contract::association::{Extent, Pair};
use crate::contract::expiry::Expiry;
use crate::contract::ids::AccountIndex;
use crate::contract::job::Ask;
use crate::contract::outcome::{Ending, PairError};
use crate::contract::plan::PlanEntry;
use crate::contract::refusal::{Refusal, WorkerCategory};

/// All jobs in hand.
pub type Ledger = SlotMap<JobKey, Job>;

/// One job, from its admission until it leaves.
#[derive(Debug)]
pub struct Job {
    pub account: AccountIndex,
    pub urgency: Urgency,
    /// The lane of the pairs it asked for last: the time for which this lane is paused does not count towards its age.
    pub lane: LaneKey,
    /// The pairs it has asked for; those that have a verdict are gone from the backlog.
    pub nodes: SmallVec<[NodeKey; 1]>,
    pub expiry: Option<Expiry>,
    pub weight: usize,
    pub carried: Carried,
    /// It is to take associations away from HubSpot.
    pub removes: bool,
    /// A request has left that was to take away some of what it asks for.
    pub has_removed: bool,
    pub leaving: Option<Leaving>,
    total: u32,
    open: u32,
    on_wire: u32,
    /// Pairs with which everything was done that the job asks for.
    done: u32,
    /// Of these, pairs that were read back and are gone.
    proven: u32,
    /// Of these, pairs that the journal has.
    recorded: u32,
    errors: Vec<PairError>,
    last_call: CallKey,
    failing_since: Option<FirstFailure>,
    /// What few jobs need.
    extra: Option<Box<Extra>>,
}

/// See [`Job`].
#[derive(Debug, Default)]
struct Extra {
    /// Present for a dry run: what is known so far.
    plan: Option<Vec<PlanEntry>>,
    /// Present while records are read of which all associations are asked for.
    expansion: Option<Expansion>,
}

/// The first transient failure of a request of a job in this process.
#[derive(Clone, Copy, Debug)]
struct FirstFailure {
    at: Tick,
    /// At that time, the reading of the time that does not count towards a job's age; see
    /// [`super::pauses::Pauses::uncounted`].
    uncounted: Duration,
}

/// How a job leaves before all its pairs have a verdict. What is on the wire is waited for all the same.
#[derive(Clone, Debug)]
pub enum Leaving {
    /// It goes on outside, in a delay queue of the broker.
    Park {
        tier: Tier,
        for_failures: bool,
    },
    /// It goes back to where it came from.
    HandBack,
    /// Its delivery is void: nothing can be answered.
    Forget,
    /// Its [`Job::expiry`] has passed.
    Expire,
    /// The operator rejects what the guard has stopped.
    Reject,
    Fail {
        refusal: Arc<Refusal>,
    },
}

impl Leaving {
    /// Whether this reason to leave replaces the one that a job has.
    ///
    /// A job that was to be parked or handed back has been taken off its pairs without a word, so it can no longer end
    /// with an outcome that says something of each.
    pub fn supersedes(&self, old: Option<&Self>) -> bool {
        match (old, self) {
            (None, _) => true,
            (Some(Self::Forget), _) => false,
            (Some(_), Self::Forget) => true,
            (Some(Self::Park { .. }), Self::HandBack) => true,
            (Some(_), Self::Park { .. } | Self::HandBack | Self::Expire | Self::Reject | Self::Fail { .. }) => false,
        }
    }
}

impl Job {
    pub fn new(account: AccountIndex, pairs: u32, expiry: Option<Expiry>, weight: usize, carried: Carried) -> Self {
        Self {
            account,
            urgency: Urgency::Live,
            lane: LaneKey::default(),
            nodes: SmallVec::new(),
            expiry,
            weight,
            carried,
            removes: true,
            has_removed: false,
            leaving: None,
            total: pairs,
            open: pairs,
            on_wire: 0,
            done: 0,
            proven: 0,
            recorded: 0,
            errors: Vec::new(),
            last_call: CallKey::default(),
            failing_since: None,
            extra: None,
        }
    }

    /// The job is a dry run: it ends with a plan.
    pub fn plans(&mut self) {
        self.extra.get_or_insert_default().plan = Some(Vec::new());
    }

    /// The job asks for all associations of some records.
    pub fn expands(&mut self, expansion: Expansion) {
        self.extra.get_or_insert_default().expansion = Some(expansion);
    }

    pub fn expansion(&self) -> Option<&Expansion> {
        self.extra.as_ref()?.expansion.as_ref()
    }

    pub fn expansion_mut(&mut self) -> Option<&mut Expansion> {
        self.extra.as_mut()?.expansion.as_mut()
    }

    /// All records are read: from here on the job waits for the pairs that are known now, and for nothing else.
    pub fn expanded(&mut self) -> Option<Expansion> {
        let expansion = self.extra.as_mut()?.expansion.take()?;
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        self.open = count(expansion.known());
        self.total = self.open.saturating_add(count(self.errors.len()));
        Some(expansion)
    }

    /// The job leaves before it could ask for what it lists beside its records, and for what was found of those that
    /// are read.
    pub fn expansion_failed(&mut self, refusal: &Arc<Refusal>) {
        let Some(expansion) = self.expansion_mut() else { return };
        let (listed, read) = (expansion.take_listed(), expansion.take_found());
        let mut failed = |from, to, extent: &Extent| {
            self.open = self.open.saturating_sub(1);
            self.errors.push(PairError { from, to, extent: extent.clone(), refusal: Arc::clone(refusal) });
        };
        for OfRecord { item, extent, found: _ } in read {
            failed(all::record(item), None, &extent);
        }
        for Ask { extent, pairs, all_of: _ } in listed {
            pairs.into_iter().for_each(|pair| failed(pair.from, Some(pair.to), &extent));
        }
    }

    /// The error of each pair that has no verdict when the job leaves; `None` where the job goes on elsewhere.
    pub fn last_word(&self, in_doubt: bool) -> Option<Arc<Refusal>> {
        match self.leaving.as_ref()? {
            Leaving::Expire => Some(Arc::new(expired(self.expiry, in_doubt))),
            Leaving::Reject => Some(Arc::new(guard::rejected_pair(in_doubt))),
            Leaving::Fail { refusal } => Some(Arc::clone(refusal)),
            Leaving::Park { .. } | Leaving::HandBack | Leaving::Forget => None,
        }
    }

    /// None of its pairs is on the wire.
    pub fn is_off_wire(&self) -> bool {
        self.on_wire == 0
    }

    /// Every pair has its verdict.
    pub fn is_complete(&self) -> bool {
        self.open == 0
    }

    /// A pair of it goes on the wire with `call`.
    pub fn pair_sent(&mut self, call: CallKey, now: Timestamp) {
        self.on_wire += 1;
        if self.last_call != call {
            self.last_call = call;
            self.carried.attempts = self.carried.attempts.saturating_add(1);
            self.carried.started.get_or_insert(now);
        }
    }

    /// A pair of it is on its way to the journal, and so as if it were on the wire.
    pub fn pair_held(&mut self) {
        self.on_wire += 1;
    }

    /// The request that carried a pair of it has its answer, or the journal has.
    pub fn pair_answered(&mut self) {
        debug_assert!(self.on_wire > 0, "a pair of the job was on the wire");
        self.on_wire = self.on_wire.saturating_sub(1);
    }

    /// What the job asks for is done for a pair. `recorded`: the journal had a record of it before that.
    pub fn pair_done(&mut self, recorded: bool) {
        self.open = self.open.saturating_sub(1);
        self.done += 1;
        self.recorded += u32::from(recorded);
    }

    /// The pair is done, and a reading has shown that it is gone.
    pub fn pair_proven(&mut self, recorded: bool) {
        self.pair_done(recorded);
        self.proven += 1;
    }

    /// The proof of a removal ends before it is complete. The removal counts, unless something speaks against it.
    pub fn pair_unproven(&mut self, pair: Pair, lane: &LaneId, proof: Proof) {
        match proof.doubt() {
            None => self.pair_done(proof.is_recorded()),
            Some(refusal) => self.pair_failed(pair, lane, Arc::new(refusal)),
        }
    }

    /// `pair` is an item of that lane.
    pub fn pair_failed(&mut self, pair: Pair, lane: &LaneId, refusal: Arc<Refusal>) {
        if lane.course.is_of_records() {
            return self.item_failed(pair, &lane.extent, refusal);
        }
        self.open = self.open.saturating_sub(1);
        self.errors.push(PairError { from: pair.from, to: Some(pair.to), extent: lane.extent.clone(), refusal });
    }

    /// Nothing will be learned of a record of which all associations were asked for.
    pub fn item_failed(&mut self, item: Pair, extent: &Extent, refusal: Arc<Refusal>) {
        self.open = self.open.saturating_sub(1);
        if let Some(expansion) = self.expansion_mut() {
            expansion.closed();
        }
        self.errors.push(PairError { from: all::record(item), to: None, extent: extent.clone(), refusal });
    }

    /// A record was read to its end. What was found is asked for when all records are.
    pub fn record_read(&mut self, of_record: OfRecord) {
        if let Some(expansion) = self.expansion_mut() {
            expansion.read(of_record);
        }
    }

    pub fn pair_planned(&mut self, entry: PlanEntry) {
        self.open = self.open.saturating_sub(1);
        if let Some(plan) = self.extra.as_mut().and_then(|extra| extra.plan.as_mut()) {
            plan.push(entry);
        }
    }

    /// The job waits in this lane from now on, so this lane measures the time that does not count towards the job's
    /// age. `uncounted` gives the reading of a lane.
    pub fn moves_to(&mut self, lane: LaneKey, now: Tick, uncounted: impl Fn(LaneKey) -> Duration) {
        if self.lane == lane {
            return;
        }
        let (before, after) = (uncounted(self.lane), uncounted(lane));
        self.lane = lane;
        if self.failing_since.is_some() {
            self.carried.age = self.age(now, before);
            self.failing_since = Some(FirstFailure { at: now, uncounted: after });
        }
    }

    /// A request with a pair of the job failed for a transient reason. `uncounted` is the present reading of the time
    /// that does not count towards the job's age.
    pub fn failed(&mut self, now: Tick, uncounted: Duration) {
        self.failing_since.get_or_insert(FirstFailure { at: now, uncounted });
        self.carried.age.get_or_insert(Duration::ZERO);
    }

    /// Time since the first transient failure, as far as it counts towards `retry.max_age`.
    pub fn age(&self, now: Tick, uncounted: Duration) -> Option<Duration> {
        let here = match self.failing_since {
            Some(first) => now.since(first.at).saturating_sub(uncounted.saturating_sub(first.uncounted)),
            None => Duration::ZERO,
        };
        self.carried.age.map(|age| age + here)
    }

    /// What the job takes along into a delay queue. The wait for a retry counts towards its age, the wait for the end
    /// of a pause does not.
    pub fn carried_to(&self, tier: Tier, for_failures: bool, now: Tick, uncounted: Duration) -> Carried {
        let waits = if for_failures { tier.wait() } else { Duration::ZERO };
        let age = self.age(now, uncounted).map(|age| age + waits);
        Carried { age, parks: self.carried.parks.saturating_add(u32::from(for_failures)), ..self.carried }
    }

    /// What there is to say of a job that is in hand no longer.
    pub fn end(self, key: JobKey) -> End {
        if !self.is_complete() {
            return End::Unsettled(key, Box::new(self));
        }
        let unsent = self.carried.attempts == 0 && self.done == 0;
        let plan = self.extra.and_then(|extra| extra.plan);
        let ending = match (&self.leaving, plan) {
            (Some(Leaving::Expire), _) if unsent => Ending::Expired { errors: self.errors },
            (_, Some(plan)) => Ending::Planned { plan, errors: self.errors },
            (_, None) => Ending::Settled { num_pairs: self.total as usize, errors: self.errors },
        };
        let dead_letter = match self.leaving {
            Some(Leaving::Fail { refusal }) => Some(refusal),
            Some(Leaving::Reject) => Some(Arc::new(guard::rejected())),
            _ => None,
        };
        let dead_letter = dead_letter.filter(|refusal| self.done != self.total && refusal.is_dead_lettered());
        let verified = self.done > 0 && self.proven == self.done;
        let journaled = self.done > 0 && self.recorded == self.done;
        End::Settled(Settled { job: key, ending, verified, journaled, carried: self.carried, dead_letter })
    }
}

/// How a job has ended.
#[derive(Debug)]
pub enum End {
    /// Each of its pairs has a verdict.
    Settled(Settled),
    /// It has left before that.
    Unsettled(JobKey, Box<Job>),
}

/// The error of a pair without a verdict when its job's time has passed.
fn expired(expiry: Option<Expiry>, in_doubt: bool) -> Refusal {
    let what = expiry.map_or_else(|| "its time".to_owned(), |expiry| expiry.to_string());
    Refusal::worker(WorkerCategory::Expired, &format!("{what} has passed; {}", guard::left_behind(in_doubt)))
}
