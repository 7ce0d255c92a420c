//! What must hold at every step: the promises, checked against all that was seen of the engine and of HubSpot.
//!
//! This file watches the process; `ceilings` counts what reaches HubSpot, `verity` compares what was said with what is.

use std::time::Duration;

use association_archiver::contract::association::{Extent, Pair};
use association_archiver::contract::ids::AccountIndex;
use association_archiver::contract::outcome::{Ending, PairError};
use association_archiver::contract::refusal::{Source, WorkerCategory};
use association_archiver::engine::access::CredentialKind;
use association_archiver::engine::background::Urgency;
use association_archiver::engine::backlog::JobKey;
use association_archiver::engine::command::{BatchCall, CallKey, CallResult, Carried, LaneId, Parked, Sealed, Settled};
use association_archiver::engine::course::Course;
use association_archiver::engine::reply::Reply;
use association_archiver::engine::{Engine, Remains, Waiting};
use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use crate::scenario::{JobSpec, Scenario};

/// A promise that was not kept, in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken(pub String);

pub type Kept = Result<(), Broken>;

/// Returns [`Broken`] where the condition does not hold.
macro_rules! promise {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err($crate::promises::Broken(format!($($words)+)));
        }
    };
}
pub(crate) use promise;

/// What a job in hand has been through since it was admitted.
#[derive(Debug)]
pub struct Stay {
    pub job: usize,
    pub admitted: Duration,
    pub carried: Carried,
    /// Requests that carried a pair that the job wants.
    pub calls: u32,
    /// The most transient failures that a batch with a pair of it has had.
    failures: u32,
    /// HubSpot asked for a wait that is too long for a quick try.
    long_wait: bool,
}

/// Request sent and not heard of.
#[derive(Debug)]
struct Flight {
    account: AccountIndex,
    sent: Duration,
    /// Nothing for requests about credentials.
    batch: Option<(u32, BatchCall)>,
}

/// See the module. One life of the process; what outlives it is in [`crate::verity::Verity`].
#[derive(Debug)]
pub struct Promises<'s> {
    scenario: &'s Scenario,
    lanes: Vec<LaneId>,
    /// The jobs in hand that want a pair of a lane.
    wanted: HashMap<(u32, Pair), SmallVec<[JobKey; 1]>>,
    /// When the last request with the pair was sent that HubSpot answered with a success.
    accepted: HashMap<(u32, Pair), Duration>,
    stays: HashMap<JobKey, Stay>,
    flights: HashMap<CallKey, Flight>,
    draining: bool,
    /// Requests that may be needed to find the bad pairs among those that left with a pair, at most.
    search: HashMap<(u32, Pair), usize>,
    /// By lane, what searches may have cost and what they have cost.
    searches: HashMap<u32, Searches>,
    /// Lanes that a job left before all its pairs had their verdict.
    deserted: HashSet<u32>,
    /// Lanes in which trials failed: what they were a part of may have had its tries before a job joined it.
    searched: HashSet<u32>,
    lone: Option<Lone>,
    /// Lone jobs that left in time.
    pub lone_jobs: u64,
    accounts: Vec<Quota>,
    /// Accounts that HubSpot would not identify, so that nothing could be compared.
    pub unidentified: HashSet<AccountIndex>,
}

/// A job that has come while nothing else is in hand and quota is free, and by when it must have left.
#[derive(Debug)]
struct Lone {
    job: JobKey,
    until: Duration,
}

/// What was seen of an account's quota.
#[derive(Clone, Copy, Default, Debug)]
struct Quota {
    last_sent: Option<Duration>,
    /// HubSpot has taken a batch, so that nothing need be asked before the next.
    served: bool,
    /// Something has failed or paused in this life, and the engine may have reason to wait.
    troubled: bool,
}

/// The requests of the searches in a lane, and how many are allowed.
#[derive(Clone, Copy, Default, Debug)]
struct Searches {
    allowed: usize,
    trials: usize,
}

/// Halves and a sibling of a trial that was too large, which are no steps of a search.
const OF_TOO_LARGE: usize = 3;

/// What a virtual process may take to notice that a time has come.
const NOTICING: Duration = Duration::from_millis(2);

impl<'s> Promises<'s> {
    pub fn new(scenario: &'s Scenario) -> Self {
        Self {
            scenario,
            lanes: Vec::new(),
            wanted: HashMap::new(),
            accepted: HashMap::new(),
            stays: HashMap::new(),
            flights: HashMap::new(),
            draining: false,
            search: HashMap::new(),
            searches: HashMap::new(),
            deserted: HashSet::new(),
            searched: HashSet::new(),
            lone: None,
            lone_jobs: 0,
            accounts: vec![Quota::default(); scenario.portals.len()],
            unidentified: HashSet::new(),
        }
    }

    fn lane(&mut self, id: &LaneId) -> u32 {
        let known = self.lanes.iter().position(|lane| lane == id);
        let index = known.unwrap_or_else(|| {
            self.lanes.push(id.clone());
            self.lanes.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    fn lanes_of(&mut self, spec: &'s JobSpec) -> Vec<(u32, &'s [Pair])> {
        let mut lanes = Vec::new();
        for ask in &spec.asks {
            let (from_type, to_type) = (spec.from_type.clone(), spec.to_type.clone());
            let account = AccountIndex(spec.account);
            let id = LaneId { account, from_type, to_type, extent: ask.extent.clone(), course: Course::ARCHIVE };
            lanes.push((self.lane(&id), ask.pairs.as_slice()));
        }
        lanes
    }

    pub fn admitted(&mut self, key: JobKey, job: usize, carried: Carried, now: Duration) -> Kept {
        for (lane, pairs) in self.lanes_of(&self.scenario.jobs[job]) {
            for &pair in pairs {
                self.wanted.entry((lane, pair)).or_default().push(key);
            }
        }
        let stay = Stay { job, admitted: now, carried, calls: 0, failures: 0, long_wait: false };
        promise!(self.stays.insert(key, stay).is_none(), "a job key was used twice: {key:?}");
        let until = now + self.scenario.policy.linger + self.scenario.lateness + NOTICING;
        let alone = self.stays.len() == 1 && self.flights.is_empty() && !self.draining;
        let free = self.quota_is_free(AccountIndex(self.scenario.jobs[job].account), now);
        let hurries = self.scenario.jobs[job].urgency == Urgency::Live;
        self.lone = (alone && free && hurries).then_some(Lone { job: key, until });
        Ok(())
    }

    /// Nothing that was seen gives the engine a reason to let a job of the account wait.
    fn quota_is_free(&self, account: AccountIndex, now: Duration) -> bool {
        let portal = &self.scenario.portals[account.0 as usize];
        let Quota { last_sent, served, troubled } = self.accounts[account.0 as usize];
        let counted = portal.policy.daily.is_some() || portal.daily_allowed.is_some();
        let known = portal.policy.credentials == CredentialKind::Static && (served || portal.policy.portal.is_none());
        let interval = portal.policy.ceiling.interval.max(Duration::from_secs(10)) * 2;
        known && !counted && !troubled && last_sent.is_none_or(|sent| now - sent > interval)
    }

    /// An account or a lane of it stands still, or HubSpot slowed it.
    pub fn troubled(&mut self, account: AccountIndex) {
        self.accounts[account.0 as usize].troubled = true;
        self.lone = None;
    }

    /// A job goes back to where it came from unfinished.
    pub fn handed_back(&mut self, key: JobKey, asked_for: bool, now: Duration) -> Result<Stay, Broken> {
        promise!(self.draining || asked_for, "{key:?} is handed back, though nobody asked for that");
        self.leaves_unfinished(key, now)
    }

    /// The delivery of a job is void.
    pub fn forgotten(&mut self, key: JobKey, now: Duration) -> Result<Stay, Broken> {
        self.leaves_unfinished(key, now)
    }

    /// Without its pairs, what is searched with them may take more requests.
    fn leaves_unfinished(&mut self, key: JobKey, now: Duration) -> Result<Stay, Broken> {
        let stay = self.ends(key, now)?;
        self.mark_deserted(stay.job);
        Ok(stay)
    }

    fn mark_deserted(&mut self, job: usize) {
        for (lane, _) in self.lanes_of(&self.scenario.jobs[job]) {
            self.deserted.insert(lane);
        }
    }

    pub fn drains(&mut self) {
        self.draining = true;
        self.lone = None;
    }

    /// A batch leaves.
    pub fn sent(&mut self, call: &BatchCall, now: Duration) -> Kept {
        let caps = self.scenario.policy.caps;
        let lane = self.lane(&call.lane);
        promise!(!call.pairs.is_empty(), "an empty batch");
        let inputs = call.pairs.chunk_by(|one, next| one.from == next.from).count();
        let mut pairs = call.pairs.to_vec();
        pairs.sort_unstable();
        promise!(pairs.is_sorted_by(|one, next| one < next), "a pair twice in a batch");
        pairs.dedup_by_key(|pair| pair.from);
        promise!(pairs.len() == inputs, "a from record in two inputs of a batch");
        let most = match &call.lane.extent {
            Extent::Whole => caps.pairs,
            Extent::Labels(_) => caps.pairs.min(100),
        };
        promise!(inputs <= caps.from, "{inputs} from records in a batch, {} allowed", caps.from);
        promise!(call.pairs.len() <= most, "{} pairs in a batch, {most} allowed", call.pairs.len());
        self.each_pair_is_wanted(lane, call, now)?;
        self.note_search(lane, call);
        self.search_is_allowed(lane, call)?;
        let batch = Some((lane, call.clone()));
        self.departs(call.call, Flight { account: call.lane.account, sent: now, batch })
    }

    /// How many requests it may take to find the bad pairs of a batch, if HubSpot refuses it without naming any.
    fn note_search(&mut self, lane: u32, call: &BatchCall) {
        let portal = &self.scenario.portals[call.lane.account.0 as usize];
        if call.sealed == Sealed::Trial || portal.bad.ids.is_empty() {
            return;
        }
        let is_bad = |pair: &&Pair| [pair.from, pair.to].iter().any(|id| portal.bad.ids.contains(&id.0.get()));
        let bad = call.pairs.iter().filter(is_bad).count();
        let halvings = call.pairs.len().div_ceil(bad.max(1)).next_power_of_two().ilog2() as usize;
        let most = 2 * bad * halvings + 2 * bad;
        for &pair in call.pairs.iter() {
            let known = self.search.entry((lane, pair)).or_default();
            *known = most.max(*known);
        }
    }

    /// No search passes its allowance. A trial that goes again after it failed is not counted.
    fn search_is_allowed(&mut self, lane: u32, call: &BatchCall) -> Kept {
        let searches = self.searches.entry(lane).or_default();
        searches.trials += usize::from(call.sealed == Sealed::Trial && call.failures == 0);
        let Searches { allowed, trials } = *searches;
        promise!(trials <= allowed, "{trials} trials in lane {lane}, {allowed} allowed");
        Ok(())
    }

    /// Each request that did not succeed may begin a search, but for the trials of one. (A trial with failures may have been
    /// a sample, and what it was taken from may be searched after it.)
    fn search_may_begin(&mut self, lane: u32, call: &BatchCall, result: CallResult) {
        let is_trial = call.sealed == Sealed::Trial && call.failures == 0;
        let allowed = match result {
            CallResult::Archived | CallResult::LookedUp | CallResult::Restored => 0,
            CallResult::Transient(cause) if is_trial && cause.wants_smaller() => OF_TOO_LARGE,
            // In hand, the failures of a batch are counted anew when all its quick tries have failed.
            CallResult::Transient(_) if is_trial => usize::from(self.scenario.in_hand()),
            CallResult::Partial | CallResult::Refused if is_trial => usize::from(self.scenario.in_hand()),
            // The rest of a batch of which some pairs are named may always go again.
            CallResult::Partial | CallResult::Refused | CallResult::Transient(_) => {
                self.scenario.policy.isolation_requests.max(1) as usize
            }
            // It goes again as it was.
            CallResult::Throttled | CallResult::LanePaused | CallResult::AccountPaused | CallResult::Unknown => {
                usize::from(is_trial)
            }
        };
        self.searches.entry(lane).or_default().allowed += allowed;
    }

    /// Somebody in hand wants each pair, and its time has not passed.
    fn each_pair_is_wanted(&mut self, lane: u32, call: &BatchCall, now: Duration) -> Kept {
        let wall = self.scenario.epoch + now;
        let mut jobs: Vec<JobKey> = Vec::new();
        for &pair in call.pairs.iter() {
            let wanting = self.wanted.get(&(lane, pair)).map(SmallVec::as_slice).unwrap_or_default();
            let in_time = |key: &JobKey| {
                let spec = self.stays.get(key).map(|stay| &self.scenario.jobs[stay.job]);
                spec.is_some_and(|spec| spec.not_after.is_none_or(|not_after| not_after > wall))
            };
            promise!(!wanting.is_empty(), "{pair:?} is sent, but no job in hand asks for it in {:?}", call.lane);
            promise!(wanting.iter().any(in_time), "{pair:?} is sent after the notAfter of all jobs that ask for it");
            jobs.extend_from_slice(wanting);
        }
        jobs.sort_unstable();
        jobs.dedup();
        if self.lone.as_ref().is_some_and(|lone| jobs.contains(&lone.job)) {
            self.lone = None;
            self.lone_jobs += 1;
        }
        for job in jobs {
            if let Some(stay) = self.stays.get_mut(&job) {
                stay.calls += 1;
            }
        }
        Ok(())
    }

    /// A request about credentials leaves.
    pub fn asks_about_access(&mut self, call: CallKey, account: AccountIndex, now: Duration) -> Kept {
        self.departs(call, Flight { account, sent: now, batch: None })
    }

    fn departs(&mut self, call: CallKey, flight: Flight) -> Kept {
        promise!(!self.draining, "a request is sent while draining");
        let account = flight.account;
        self.accounts[account.0 as usize].last_sent = Some(flight.sent);
        self.flights.insert(call, flight);
        let of_account = self.flights.values().filter(|flight| flight.account == account).count();
        let most = self.scenario.portals[account.0 as usize].policy.max_in_flight;
        promise!(of_account <= most, "{of_account} requests of an account in flight, {most} allowed");
        let (all, most) = (self.flights.len(), self.scenario.policy.max_in_flight);
        promise!(all <= most, "{all} requests in flight, {most} allowed");
        Ok(())
    }

    /// The process is about to hear of a request: when it was sent.
    pub fn hears_of(&self, call: CallKey) -> Option<Duration> {
        self.flights.get(&call).map(|flight| flight.sent)
    }

    /// The account whose credentials the request was about.
    pub fn heard_of_access(&mut self, call: CallKey) -> Option<AccountIndex> {
        self.flights.remove(&call).map(|flight| flight.account)
    }

    /// The engine was given the reply and took it for `result`.
    pub fn heard(&mut self, call: CallKey, reply: &Reply, result: CallResult) -> Kept {
        let Some(Flight { sent, batch: Some((lane, batch)), .. }) = self.flights.remove(&call) else {
            return Err(Broken("a reply to no batch".to_owned()));
        };
        promise!(result != CallResult::Unknown, "the engine does not know the call that it made");
        let status = match reply {
            Reply::Answer(answer) => answer.status,
            Reply::Silence(_) => 0,
        };
        self.search_may_begin(lane, &batch, result);
        let success = (200..300).contains(&status);
        let transient = matches!(result, CallResult::Transient(_));
        match result {
            CallResult::Archived | CallResult::LookedUp | CallResult::Restored | CallResult::Partial => {
                self.accounts[batch.lane.account.0 as usize].served = true
            }
            CallResult::Refused => {}
            CallResult::Throttled
            | CallResult::Transient(_)
            | CallResult::LanePaused
            | CallResult::AccountPaused
            | CallResult::Unknown => self.troubled(batch.lane.account),
        }
        let long_wait = match reply {
            Reply::Answer(answer) => answer.headers.retry_after.is_some(),
            Reply::Silence(_) => false,
        };
        for &pair in batch.pairs.iter() {
            // A search that is disturbed may learn less from each request.
            if transient && batch.sealed == Sealed::Trial {
                self.search.insert((lane, pair), usize::MAX);
                self.searched.insert(lane);
            }
            if success {
                let accepted = self.accepted.entry((lane, pair)).or_default();
                *accepted = sent.max(*accepted);
            }
            // A 207 can hold entries that are to be repeated, so its pairs may have failed in passing too.
            if transient || success {
                let wanting = self.wanted.get(&(lane, pair)).map(SmallVec::as_slice).unwrap_or_default();
                for key in wanting {
                    if let Some(stay) = self.stays.get_mut(key) {
                        stay.failures = stay.failures.max(batch.failures + 1);
                        stay.long_wait |= long_wait;
                    }
                }
            }
        }
        Ok(())
    }

    /// The last word on a job that is answered: every pair has exactly one word, and archived is what was accepted.
    pub fn settled(&mut self, settled: &Settled, errors: &HashSet<Pair>, now: Duration) -> Result<Stay, Broken> {
        let stay = self.ends(settled.job, now)?;
        self.searched_enough(settled, stay.job)?;
        for (lane, pairs) in self.lanes_of(&self.scenario.jobs[stay.job]) {
            for pair in pairs.iter().filter(|pair| !errors.contains(*pair)) {
                let sent = self.accepted.get(&(lane, *pair));
                let since = sent.is_some_and(|&sent| sent >= stay.admitted);
                promise!(since, "{pair:?} is said to be archived, but no request since its admission was accepted");
            }
        }
        let attempts = settled.carried.attempts;
        let (least, most) = (stay.carried.attempts, stay.carried.attempts + stay.calls);
        promise!((least..=most).contains(&attempts), "{attempts} attempts, not between {least} and {most}");
        promise!(settled.carried.received == stay.carried.received, "the time of receipt changed");
        promise!(attempts == 0 || settled.carried.started.is_some(), "attempts without a start");
        Ok(stay)
    }

    /// A pair is unattributed only where more requests may be needed than are allowed.
    fn searched_enough(&mut self, settled: &Settled, job: usize) -> Kept {
        let (Ending::Settled { errors, .. } | Ending::Expired { errors }) = &settled.ending else { return Ok(()) };
        let portal = &self.scenario.portals[self.scenario.jobs[job].account as usize];
        // Where HubSpot refuses what is good, nothing is known of what would be found.
        if self.scenario.refusals_are_made_up || portal.unknown_type.is_some() {
            return Ok(());
        }
        let is_ours = |error: &PairError| matches!(error.refusal.source, Source::Worker(_));
        let is_unattributed = |error: &&PairError| error.refusal.source == Source::Worker(WorkerCategory::Unattributed);
        if errors.iter().any(|error| is_ours(error) && !is_unattributed(&error)) {
            self.mark_deserted(job);
        }
        let allowed = self.scenario.policy.isolation_requests as usize;
        let mut lanes = self.lanes_of(&self.scenario.jobs[job]);
        lanes.retain(|(lane, _)| !self.deserted.contains(lane));
        if lanes.is_empty() {
            return Ok(());
        }
        for error in errors.iter().filter(is_unattributed) {
            let Some(pair) = error.pair() else { continue };
            let mut of_pair = lanes.iter().filter(|(_, pairs)| pairs.contains(&pair)).peekable();
            if of_pair.peek().is_none() {
                continue;
            }
            let most = of_pair.filter_map(|&(lane, _)| self.search.get(&(lane, pair))).max();
            let explained = most.is_some_and(|&most| most > allowed);
            promise!(explained, "{pair:?} is unattributed, though {most:?} requests would have found it");
        }
        Ok(())
    }

    pub fn parked(&mut self, parked: &Parked, now: Duration) -> Result<Stay, Broken> {
        promise!(!self.scenario.in_hand(), "a job is parked, but there is no broker");
        let stay = self.leaves_unfinished(parked.job, now)?;
        let for_failures = parked.carried.parks > stay.carried.parks;
        let tried = stay.failures >= self.scenario.policy.retry.max_attempts;
        let lanes = self.lanes_of(&self.scenario.jobs[stay.job]);
        let searched = lanes.iter().any(|(lane, _)| self.searched.contains(lane));
        let spent = tried || stay.long_wait || searched;
        promise!(!for_failures || spent, "parked for failures after {} of them", stay.failures);
        promise!(parked.carried.received == stay.carried.received, "the time of receipt changed");
        promise!(parked.carried.attempts >= stay.carried.attempts, "attempts were forgotten");
        promise!(parked.carried.age >= stay.carried.age, "a job grew younger");
        Ok(stay)
    }

    /// A job leaves the process, whatever for.
    pub fn ends(&mut self, key: JobKey, now: Duration) -> Result<Stay, Broken> {
        if self.lone.as_ref().is_some_and(|lone| lone.job == key) {
            self.lone = None;
        }
        let stay = self.stays.remove(&key).ok_or_else(|| Broken(format!("{key:?} ended twice, or never began")))?;
        for (lane, pairs) in self.lanes_of(&self.scenario.jobs[stay.job]) {
            for &pair in pairs {
                if let Some(wanting) = self.wanted.get_mut(&(lane, pair)) {
                    wanting.retain(|wanting| *wanting != key);
                }
            }
        }
        if let Waiting::Outside { longest_hold, .. } = self.scenario.policy.waiting {
            let held = now - stay.admitted;
            let longest = longest_hold + self.scenario.request_timeout + NOTICING;
            promise!(held <= longest, "job {} was held for {held:?}, {longest:?} allowed", stay.job);
        }
        Ok(stay)
    }

    /// What the engine says of itself agrees with what was seen of it.
    pub fn agree_with(&self, engine: &Engine, weight: usize, now: Duration) -> Kept {
        let in_time = self.lone.as_ref().is_none_or(|lone| now <= lone.until);
        promise!(in_time, "a job that was alone, with quota free, has waited longer than the linger: {:?}", self.lone);
        let (held, seen) = (engine.held_jobs(), self.stays.len());
        promise!(held == seen, "the engine holds {held} jobs, {seen} came and did not leave");
        promise!(engine.held_bytes() == held * weight, "{} bytes for {held} jobs", engine.held_bytes());
        let (in_flight, seen) = (engine.in_flight(), self.flights.len());
        promise!(in_flight == seen, "the engine counts {in_flight} requests in flight, there are {seen}");
        promise!(!self.draining || seen > 0 || held == 0, "drained, but {held} jobs are held");
        if held == 0 && seen == 0 {
            let left = engine.remains();
            promise!(left == Remains::default(), "the engine is idle, but keeps {left:?}");
        }
        Ok(())
    }

    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }
}
