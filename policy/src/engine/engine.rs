//! The engine: fed with jobs, replies and time, asked for commands and the next moment it wants to be woken.
//!
//! It decides everything and does nothing. Beside this file: `dispatch` (who sends next), `conclude` (what a reply
//! means for pairs and jobs), `departure` (jobs that leave unfinished), `standstill` (pauses), `status`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use jiff::Timestamp;
use slotmap::SlotMap;

use super::account::{Account, AccountPolicy};
use super::backlog::{Backlog, JobKey, LaneKey};
use super::clock::{Now, Tick};
use super::command::{CallKey, Command, LaneId, NewJob};
use super::lane::{Batch, BatchKey, Lane, Standing};
use super::ledger::{Job, Leaving, Ledger};
use super::pace::Slot;
use super::pack::Caps;
use super::pause::Tier;
use super::retry::RetryPolicy;
use crate::contract::ids::AccountIndex;

/// The settings the engine works by.
#[derive(Clone, Debug)]
pub struct EnginePolicy {
    pub caps: Caps,
    pub linger: Duration,
    pub retry: RetryPolicy,
    /// Extra requests to find the bad pairs of one batch.
    pub isolation_requests: u32,
    /// Requests in flight of all accounts together, at least 1.
    pub max_in_flight: usize,
    pub waiting: Waiting,
}

/// Where a job waits when it must wait for long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// In the broker's delay queues; in hand no longer than `longest_hold` from its admission until its last request
    /// leaves, and never so many of what stands still that the others find no room in the `prefetch`.
    Outside { longest_hold: Duration, prefetch: usize },
    /// In hand, since there is no broker; jobs of an account or lane whose credentials are refused for so long fail.
    InHand { give_up_after: Duration },
}

/// A request on the wire.
#[derive(Debug)]
pub(super) struct Call {
    pub account: AccountIndex,
    pub subject: Subject,
    pub slot: Slot,
    pub epoch: u32,
    pub sent: Tick,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Subject {
    Batch(BatchKey),
    Refresh,
    Identify,
}

/// Counted since the start, over all accounts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Distinct pairs that HubSpot archived.
    pub pairs_archived: u64,
    /// Requests of isolations.
    pub trials: u64,
    /// Answers 4xx other than 429.
    pub refusals: u64,
    pub parked: u64,
    /// Pairs that joined an equal pair of another job.
    pub merged: u64,
}

/// What an idle engine must not keep; see [`Engine::remains`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Remains {
    pub pairs: bool,
    pub batches: usize,
    pub calls: usize,
    pub lanes: usize,
    pub returners: usize,
    pub times: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    pub(super) policy: EnginePolicy,
    pub(super) accounts: Vec<Account>,
    pub(super) lanes: SlotMap<LaneKey, Lane>,
    lane_keys: HashMap<LaneId, LaneKey>,
    pub(super) backlog: Backlog,
    pub(super) jobs: Ledger,
    pub(super) batches: SlotMap<BatchKey, Batch>,
    pub(super) calls: SlotMap<CallKey, Call>,
    pub(super) in_flight: usize,
    /// Accounts that may have something to send, in the order of their turns.
    pub(super) ready: VecDeque<AccountIndex>,
    timers: BinaryHeap<Reverse<(Tick, AccountIndex)>>,
    expiries: BinaryHeap<Reverse<(Timestamp, JobKey)>>,
    /// Jobs by the time until which they may be held.
    pub(super) holds: VecDeque<(Tick, JobKey)>,
    held_bytes: usize,
    commands: VecDeque<Command>,
    /// Accounts and lanes that stand still.
    pub(super) standing: usize,
    pub(super) draining: bool,
    /// Nothing more will come: partial batches need not wait for company.
    pub(super) flushing: bool,
    random: fastrand::Rng,
    pub(super) counters: Counters,
}

/// Lanes of an account that stand still and hold nothing, kept at most. A further one is forgotten, and so tried anew
/// with its next job.
const MAX_EMPTY_STANDING: usize = 1_000;

/// With the wall clock set forward or back, a date may come sooner than thought: never sleep longer than this.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Times of jobs that have left are kept until so many of them, and as many as there are jobs, have gathered.
const STALE_TIMES: usize = 64;

impl Engine {
    /// `seed` is all the randomness there is: equal inputs give equal commands.
    pub fn new(policy: EnginePolicy, accounts: Vec<AccountPolicy>, seed: u64, now: Now) -> Self {
        let accounts: Vec<Account> = accounts.into_iter().map(|account| Account::new(account, now)).collect();
        Self {
            policy,
            lanes: SlotMap::with_key(),
            lane_keys: HashMap::new(),
            backlog: Backlog::default(),
            jobs: Ledger::with_key(),
            batches: SlotMap::with_key(),
            calls: SlotMap::with_key(),
            in_flight: 0,
            ready: VecDeque::new(),
            timers: BinaryHeap::new(),
            expiries: BinaryHeap::new(),
            holds: VecDeque::new(),
            held_bytes: 0,
            commands: VecDeque::new(),
            standing: accounts.iter().filter(|account| account.pause.is_some()).count(),
            accounts,
            draining: false,
            flushing: false,
            random: fastrand::Rng::with_seed(seed),
            counters: Counters::default(),
        }
    }

    /// Takes a job in. Its commands follow with [`Engine::next_command`]; call [`Engine::wake`] after the last of
    /// a bundle so that batches see all of it.
    ///
    /// A job of an account that is not configured is handed back at once.
    pub fn admit(&mut self, job: NewJob, now: Now) -> JobKey {
        let NewJob { account, from_type, to_type, asks, not_after, weight, carried } = job;
        let pairs = asks.iter().map(|ask| ask.pairs.len()).sum::<usize>();
        let total = u32::try_from(pairs).unwrap_or(u32::MAX);
        let key = self.jobs.insert(Job::new(account, LaneKey::default(), total, carried));
        self.held_bytes += weight;
        if let Some(job) = self.jobs.get_mut(key) {
            (job.weight, job.not_after) = (weight, not_after);
        }
        let Some(of_account) = self.accounts.get_mut(account.0 as usize) else {
            self.leave(key, Leaving::HandBack, now);
            return key;
        };
        of_account.held_jobs += 1;
        if carried.started.is_some() {
            of_account.returners.push_back(key);
        }
        for ask in asks {
            let id = LaneId { account, from_type: from_type.clone(), to_type: to_type.clone(), removal: ask.removal };
            let lane_key = self.lane(id);
            self.ask(key, lane_key, &ask.pairs, now.tick);
        }
        self.receive_departures(key, not_after, now);
        self.mark_ready(account);
        key
    }

    fn ask(&mut self, key: JobKey, lane_key: LaneKey, pairs: &[crate::contract::association::Pair], now: Tick) {
        let (Some(lane), Some(job)) = (self.lanes.get_mut(lane_key), self.jobs.get_mut(key)) else { return };
        let before = self.backlog.len();
        for &pair in pairs {
            job.nodes.push(self.backlog.ask(lane_key, &mut lane.queue, pair, key, now));
        }
        self.counters.merged += (before + pairs.len()).saturating_sub(self.backlog.len()) as u64;
        job.lane = lane_key;
        self.place(lane_key, now);
    }

    /// Jobs that cannot stay: too late, no place while their account pauses; and the timers of those that can.
    fn receive_departures(&mut self, key: JobKey, not_after: Option<Timestamp>, now: Now) {
        if self.draining {
            return self.leave(key, Leaving::HandBack, now);
        }
        if let Some(not_after) = not_after {
            if not_after <= now.wall {
                return self.leave(key, Leaving::Expire, now);
            }
            self.expiries.push(Reverse((not_after, key)));
        }
        match self.policy.waiting {
            Waiting::Outside { longest_hold, prefetch: _ } => {
                self.holds.push_back((now.tick + longest_hold, key));
                if let Some(tier) = self.no_room_while_paused(key, now) {
                    self.leave(key, Leaving::Park { tier, for_failures: false }, now);
                }
            }
            Waiting::InHand { give_up_after } => {
                if let Some(refusal) = self.refused_for(give_up_after, key, now) {
                    self.leave(key, Leaving::Fail { refusal, dead_letter: false }, now);
                }
            }
        }
    }

    fn lane(&mut self, id: LaneId) -> LaneKey {
        if let Some(&key) = self.lane_keys.get(&id) {
            return key;
        }
        let account = &mut self.accounts[id.account.0 as usize];
        let key = self.lanes.insert(Lane::new(id.clone(), account.lanes.len()));
        account.lanes.push(key);
        self.lane_keys.insert(id, key);
        key
    }

    /// Forgets a lane that nothing keeps alive.
    pub(super) fn tidy(&mut self, key: LaneKey) {
        let Some(lane) = self.lanes.get(key) else { return };
        let account = &mut self.accounts[lane.id.account.0 as usize];
        if !lane.is_empty() || (lane.pause.is_some() && account.standing.len() <= MAX_EMPTY_STANDING) {
            return;
        }
        let Some(lane) = self.lanes.remove(key) else { return };
        self.lane_keys.remove(&lane.id);
        account.standing.remove(&key);
        if let Standing::Lingering(until) = lane.standing {
            account.lingering.remove(&(until, key));
        }
        account.lanes.swap_remove(lane.position);
        if let Some(&moved) = account.lanes.get(lane.position)
            && let Some(moved) = self.lanes.get_mut(moved)
        {
            moved.position = lane.position;
        }
    }

    /// Time has passed, or a bundle of jobs was admitted: does what is due.
    pub fn wake(&mut self, now: Now) {
        while let Some(&Reverse((at, account))) = self.timers.peek()
            && at <= now.tick
        {
            self.timers.pop();
            if self.accounts[account.0 as usize].timer == Some(at) {
                self.accounts[account.0 as usize].timer = None;
                self.mark_ready(account);
            }
        }
        self.pump(now);
    }

    /// Jobs whose time is up leave: a reply or a new job may be here before the timer is.
    pub(super) fn let_go(&mut self, now: Now) {
        while let Some(&Reverse((at, job))) = self.expiries.peek()
            && at <= now.wall
        {
            self.expiries.pop();
            self.leave(job, Leaving::Expire, now);
        }
        while let Some(&(at, job)) = self.holds.front()
            && (at <= now.tick || !self.jobs.contains_key(job))
        {
            self.holds.pop_front();
            self.leave(job, Leaving::Park { tier: Tier::TenSeconds, for_failures: false }, now);
        }
    }

    /// When [`Engine::wake`] is wanted next, if nothing else happens before.
    pub fn next_wake(&self, now: Now) -> Option<Tick> {
        let timer = self.timers.peek().map(|&Reverse((at, _))| at);
        let hold = self.holds.front().map(|&(at, _)| at);
        let expiry = self.expiries.peek().map(|&Reverse((at, _))| now.tick_of(at));
        let next = [timer, hold, expiry].into_iter().flatten().min()?;
        Some(next.min(now.tick + LONGEST_SLEEP))
    }

    /// The jobs that wait for the pairs of a request on the wire, each once.
    pub fn jobs_in(&self, call: CallKey) -> impl Iterator<Item = JobKey> + '_ {
        let nodes = match self.calls.get(call).map(|call| call.subject) {
            Some(Subject::Batch(batch)) => self.batches.get(batch).map(|batch| batch.nodes.as_slice()),
            Some(Subject::Refresh | Subject::Identify) | None => None,
        };
        let mut seen = HashSet::new();
        let nodes = nodes.unwrap_or_default().iter().filter_map(|&node| self.backlog.node(node));
        nodes.flat_map(|node| node.waiters.iter().copied()).filter(move |&job| seen.insert(job))
    }

    /// The next thing the shell must do.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Stops sending. What is on the wire is waited for, everything else is handed back.
    pub fn drain(&mut self, now: Now) {
        self.draining = true;
        let held: Vec<JobKey> = self.jobs.keys().collect();
        for job in held {
            self.leave(job, Leaving::HandBack, now);
        }
    }

    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// No further job will be admitted: what is held leaves without waiting for company.
    pub fn flush(&mut self, now: Now) {
        self.flushing = true;
        for index in 0..self.accounts.len() {
            self.mark_ready(AccountIndex(u32::try_from(index).unwrap_or(u32::MAX)));
        }
        self.pump(now);
    }

    /// Jobs in hand.
    pub fn held_jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Bytes in hand, by the jobs' own weights.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Archive requests on the wire.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What is kept of jobs that have left: nothing, but for a few times that have not come yet.
    pub fn remains(&self) -> Remains {
        Remains {
            pairs: !self.backlog.is_empty(),
            batches: self.batches.len(),
            calls: self.calls.len(),
            lanes: self.lanes.values().filter(|lane| lane.pause.is_none()).count(),
            returners: self.accounts.iter().map(|account| account.returners.len().saturating_sub(STALE_TIMES)).sum(),
            times: self.holds.len().max(self.expiries.len()).saturating_sub(STALE_TIMES),
        }
    }

    pub(super) fn mark_ready(&mut self, account: AccountIndex) {
        let of_account = &mut self.accounts[account.0 as usize];
        if !of_account.queued {
            of_account.queued = true;
            self.ready.push_back(account);
        }
    }

    /// Looks at the account again at `at`, if not sooner.
    pub(super) fn remind(&mut self, account: AccountIndex, at: Tick) {
        let of_account = &mut self.accounts[account.0 as usize];
        if of_account.timer.is_none_or(|timer| at < timer) {
            of_account.timer = Some(at);
            self.timers.push(Reverse((at, account)));
        }
    }

    pub(super) fn command(&mut self, command: Command) {
        self.commands.push_back(command);
    }

    pub(super) fn draw(&mut self) -> f64 {
        self.random.f64()
    }

    /// A job that came with a far `notAfter`, or that left behind one that stays, must not leave its times for long.
    fn forget_times(&mut self) {
        let Self { jobs, holds, expiries, .. } = self;
        let most = jobs.len() * 2 + STALE_TIMES;
        if holds.len() > most {
            holds.retain(|(_, job)| jobs.contains_key(*job));
        }
        if expiries.len() > most {
            expiries.retain(|Reverse((_, job))| jobs.contains_key(*job));
        }
    }

    pub(super) fn released(&mut self, job: &Job) {
        self.forget_times();
        self.held_bytes -= job.weight;
        if let Some(account) = self.accounts.get_mut(job.account.0 as usize) {
            account.held_jobs = account.held_jobs.saturating_sub(1);
            if account.returners.len() > account.held_jobs * 2 + STALE_TIMES {
                account.returners.retain(|&job| self.jobs.contains_key(job));
            }
        }
    }
}
