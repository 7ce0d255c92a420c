//! The engine: fed with jobs, replies and time, asked for commands and for the next moment at which it wants to be
//! woken. It decides everything and does nothing.
//!
//! It is the conductor: its parts (what is in hand, turns, pauses, accounts, requests on the wire) do not know each
//! other. What comes in is passed to the parts here, and what follows from it for others is passed on. `sending` does
//! so for requests that leave, `answers` for what comes back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::account::{Account, AccountPolicy};
use super::all;
use super::background::{BackgroundPolicy, Urgency, Windows};
use super::backlog::{JobKey, LaneKey};
use super::batch::{Batch, BatchKey};
use super::calls::{Calls, Purpose};
use super::clock::{Now, Tick};
use super::command::{CallKey, Command, LaneId, NewJob};
use super::course::Course;
use super::expansion::Expansion;
use super::expected::expected;
use super::folds::Folds;
use super::guard::GuardState;
use super::holdings::Holdings;
use super::ledger::{Job, Leaving};
use super::pauses::Pauses;
use super::per_account::PerAccount;
use super::proof::Cooling;
use super::settings::{EnginePolicy, Waiting};
use super::stuck::Stuck;
use super::turns::Turns;
use crate::contract::action::Action;
use crate::contract::association::Pair;
use crate::contract::expiry::Expiry;
use crate::contract::ids::{AccountIndex, PortalId};
use crate::contract::journal::EntryId;

/// Counted since the start, over all accounts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Distinct pairs that HubSpot archived.
    pub pairs_archived: u64,
    /// Pairs of which it was read what they are associated by.
    pub pairs_looked_up: u64,
    /// Pairs that HubSpot associated again.
    pub pairs_restored: u64,
    /// Archived pairs that were read back and are gone; that are still there; that were gone, and are there again.
    pub pairs_gone: u64,
    pub pairs_not_gone: u64,
    pub pairs_reappeared: u64,
    /// Distinct pairs that were recorded before they were changed.
    pub pairs_journaled: u64,
    /// Requests sent to find the bad pairs of refused batches.
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
    pub(super) accounts: PerAccount<Account>,
    pub(super) holdings: Holdings,
    pub(super) turns: Turns,
    pub(super) pauses: Pauses,
    pub(super) calls: Calls,
    pub(super) stuck: Stuck,
    pub(super) cooling: Cooling,
    pub(super) windows: Windows,
    pub(super) folds: Folds,
    commands: VecDeque<Command>,
    pub(super) counters: Counters,
    pub(super) draining: bool,
    /// Nothing more will come: partial batches need not wait for company.
    pub(super) flushing: bool,
    random: fastrand::Rng,
}

/// With the wall clock set forward or back, a date may come sooner than thought: never sleep longer than this.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

impl Engine {
    /// `seed` is all the randomness there is: equal inputs give equal commands.
    pub fn new(policy: EnginePolicy, accounts: Vec<AccountPolicy>, seed: u64, now: Now) -> Self {
        Self::with_background(policy, BackgroundPolicy::default(), accounts, seed, now)
    }

    /// The same with settings for jobs of the background.
    pub fn with_background(
        policy: EnginePolicy,
        background: BackgroundPolicy,
        accounts: Vec<AccountPolicy>,
        seed: u64,
        now: Now,
    ) -> Self {
        let BackgroundPolicy { min_share, window } = background;
        let pauses = Pauses::new(policy.waiting, accounts.iter().map(|account| account.paused), now);
        let holdings = Holdings::new(accounts.len(), now.tick);
        let turns = Turns::new(policy.linger, min_share, accounts.len());
        let mut accounts = PerAccount::new(accounts.into_iter().map(|account| Account::new(account, now)));
        if window.is_some() {
            // The window's hours are hours of the account's own day.
            accounts.iter_mut().for_each(Account::ask_time_zone);
        }
        Self {
            holdings,
            turns,
            pauses,
            windows: Windows::new(window, &accounts, now),
            folds: Folds::new(Arc::clone(&policy.fold)),
            accounts,
            policy,
            calls: Calls::with_key(),
            stuck: Stuck::default(),
            cooling: Cooling::default(),
            commands: VecDeque::new(),
            counters: Counters::default(),
            draining: false,
            flushing: false,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Takes a job in. Its commands follow with [`Engine::next_command`]; call [`Engine::wake`] after the last of
    /// a bundle so that batches see all of it.
    ///
    /// A job of an account that is not configured is handed back at once, and so is one that nobody can do: to restore all
    /// associations of a record.
    pub fn admit(&mut self, job: NewJob, now: Now) -> JobKey {
        self.admit_as(Urgency::Live, job, now)
    }

    /// The same for a job that came through a queue of that urgency.
    pub fn admit_as(&mut self, urgency: Urgency, job: NewJob, now: Now) -> JobKey {
        let NewJob { account, from_type, to_type, action, dry_run, asks, expiry, weight, carried } = job;
        let pairs = asks.iter().map(|ask| ask.pairs.len()).sum::<usize>();
        let records = asks.iter().map(|ask| ask.all_of.len()).sum::<usize>();
        let items = u32::try_from(pairs + records).unwrap_or(u32::MAX);
        let mut job = Job::new(account, items, expiry, weight, carried);
        job.removes = action == Action::Archive && !dry_run;
        job.urgency = urgency;
        if dry_run {
            job.plans();
        }
        if records > 0 {
            job.expands(Expansion::new(&asks));
        }
        let key = self.holdings.admit(job);
        let course = self.accounts.get(account).and_then(|account| match records {
            0 => Some(Course::of_pairs(action, dry_run, account.policy.safety)),
            _ => Course::of_records(action, dry_run),
        });
        let Some(course) = course else {
            self.leave(key, Leaving::HandBack, now);
            return key;
        };
        if carried.started.is_some() {
            self.turns.came_back(account, urgency, key);
        }
        for ask in asks {
            let (from_type, to_type) = (from_type.clone(), to_type.clone());
            let id = LaneId { account, from_type, to_type, extent: ask.extent, course };
            match records {
                0 => self.put_into(id, urgency, key, &ask.pairs, now),
                // What the job lists besides waits until all its records are read.
                _ if ask.all_of.is_empty() => {}
                _ => {
                    let items: Vec<Pair> = ask.all_of.iter().map(|&record| all::item(record)).collect();
                    self.put_into(id, urgency, key, &items, now);
                }
            }
        }
        if let Some(leaving) = self.receive(key, expiry, now) {
            self.leave(key, leaving, now);
        }
        self.turns.mark_ready(account);
        key
    }

    fn put_into(&mut self, id: LaneId, urgency: Urgency, key: JobKey, pairs: &[Pair], now: Now) {
        let lane = self.lane(id, urgency);
        self.put(key, lane, pairs, now);
    }

    /// Puts pairs of a job into their lane.
    pub(super) fn put(&mut self, key: JobKey, lane: LaneKey, pairs: &[Pair], now: Now) {
        self.counters.merged += self.holdings.ask(key, lane, pairs, now.tick) as u64;
        self.set_stuck_apart(key, lane, now);
        self.place(lane, now.tick);
        self.place_other(lane, now.tick);
    }

    /// Pairs of a new job that were found to be stuck leave by themselves, one try each time they come back.
    fn set_stuck_apart(&mut self, job: JobKey, lane: LaneKey, now: Now) {
        if self.stuck.is_empty() || matches!(self.policy.waiting, Waiting::InHand { .. }) {
            return;
        }
        let stuck = &self.stuck;
        for batch in self.holdings.set_apart(job, lane, |lane, pair| stuck.has(lane, pair, now.tick)) {
            let failures = self.policy.retry.max_attempts.saturating_sub(1);
            self.give_back(Batch { stuck: true, failures, ..batch }, now.tick, now);
        }
    }

    /// Notes by when a new job must leave, or says why it cannot stay at all.
    fn receive(&mut self, key: JobKey, expiry: Option<Expiry>, now: Now) -> Option<Leaving> {
        let account = self.holdings.job(key)?.account;
        if self.draining || self.accounts[account].stands_by() {
            return Some(Leaving::HandBack);
        }
        if let Some(Expiry { at, given_by: _ }) = expiry {
            if at <= now.wall {
                return Some(Leaving::Expire);
            }
            self.holdings.set_expiry(key, at);
        }
        let job = expected(self.holdings.job(key), "the job was just admitted")?;
        let (account, lane) = (job.account, job.lane);
        if job.removes && self.guard_state(account, now) == Some(GuardState::Rejected) {
            return Some(Leaving::Reject);
        }
        let urgency = job.urgency;
        match self.policy.waiting {
            Waiting::Outside { .. } if urgency == Urgency::Background && !self.windows.is_open(account) => {
                self.windows.tier(account, now).map(|tier| Leaving::Park { tier, for_failures: false })
            }
            Waiting::Outside { longest_hold, prefetch: _ } => {
                let (jobs, others) = (self.holdings.jobs_of(account), || self.holdings.pairs_of_others(job));
                let tier = self.pauses.no_room(account, jobs, lane, others, now);
                self.holdings.set_hold(key, now.tick + longest_hold);
                let tier = tier.filter(|_| !self.may_disprove_outage(key))?;
                Some(Leaving::Park { tier, for_failures: false })
            }
            Waiting::InHand { give_up_after } => {
                let refusal = self.pauses.given_up(give_up_after, account, lane, now)?;
                Some(Leaving::Fail { refusal })
            }
        }
    }

    /// Whether a new job may show that what looks like an outage is due to a few records: it is kept, in the place of an
    /// older one.
    fn may_disprove_outage(&self, key: JobKey) -> bool {
        let Some(job) = self.holdings.job(key).filter(|job| self.pauses.of_lane(job.lane).is_none()) else {
            return false;
        };
        let blamed = self.pauses.blamed_for_outage(job.account);
        blamed.is_some_and(|blamed| self.holdings.has_pairs_beside(key, &blamed))
    }

    /// Time has passed, or a bundle of jobs was admitted: does what is due.
    pub fn wake(&mut self, now: Now) {
        self.mind_windows(now);
        self.turns.wake(now.tick);
        self.pump(now);
    }

    /// When [`Engine::wake`] is wanted next, if nothing else happens before.
    pub fn next_wake(&self, now: Now) -> Option<Tick> {
        let next = self.turns.next_timer().into_iter().chain(self.holdings.next_deadline(now));
        let window = self.windows.next().map(|change| now.tick_of(change));
        let next = next.chain(self.cooling.next()).chain(self.folds.next_round()).chain(window).min()?;
        Some(next.min(now.tick + LONGEST_SLEEP))
    }

    /// The next thing that the shell must do.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    pub(super) fn command(&mut self, command: Command) {
        self.commands.push_back(command);
    }

    /// An id that no other has.
    pub(super) fn draw_id(&mut self) -> EntryId {
        EntryId::from_random(self.random.u128(..))
    }

    pub(super) fn draw(&mut self) -> f64 {
        self.random.f64()
    }

    /// Stops sending. What is on the wire is waited for, everything else is handed back.
    pub fn drain(&mut self, now: Now) {
        self.draining = true;
        self.hand_back_all(now);
    }

    /// Hands back every job in hand, those on the wire once they are answered and not complete.
    fn hand_back_all(&mut self, now: Now) {
        self.hand_back_all_of(&self.all_accounts(), now);
    }

    /// The same for the jobs of these accounts, which are in ascending order.
    pub(super) fn hand_back_all_of(&mut self, accounts: &[AccountIndex], now: Now) {
        let held = self.holdings.jobs().filter(|(_, job)| accounts.binary_search(&job.account).is_ok());
        let held: Vec<JobKey> = held.map(|(key, _)| key).collect();
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
        for account in self.accounts.indices() {
            self.turns.mark_ready(account);
        }
        self.pump(now);
    }

    /// The delivery behind the job is void (its connection is gone): the broker will deliver it again.
    pub fn forget(&mut self, job: JobKey, now: Now) {
        self.leave(job, Leaving::Forget, now);
    }

    /// Whether jobs of the background are worked on, in one account at least.
    pub fn takes_background(&self) -> bool {
        self.windows.is_any_open()
    }

    /// Hands back jobs of which nothing was sent yet, those of the background before others and the youngest first, until
    /// at most `bytes` are held.
    pub fn hand_back_unstarted(&mut self, bytes: usize, now: Now) {
        let mut idle = self.holdings.idle_jobs();
        while self.held_bytes() > bytes
            && let Some(job) = idle.pop()
        {
            self.leave(job, Leaving::HandBack, now);
        }
    }

    fn guard_state(&self, account: AccountIndex, now: Now) -> Option<GuardState> {
        self.accounts[account].guard.as_ref().map(|guard| guard.state(now.tick))
    }

    /// Jobs in hand that a guard holds up: they are to remove something, and wait for a person's word.
    pub fn behind_guards(&self, now: Now) -> impl Iterator<Item = (AccountIndex, JobKey)> {
        let waits = move |account| self.guard_state(account, now) == Some(GuardState::Waiting);
        let jobs = self.holdings.jobs().filter(move |(_, job)| job.removes && waits(job.account));
        jobs.map(|(key, job)| (job.account, key))
    }

    /// The account of that portal, or the only one where that is configured without.
    pub fn account_of(&self, portal: Option<PortalId>) -> Option<AccountIndex> {
        self.accounts.indices().find(|&index| self.accounts[index].policy.portal == portal)
    }

    /// The portal of an account, if there is such an account.
    pub fn portal_of(&self, account: AccountIndex) -> Option<Option<PortalId>> {
        self.accounts.get(account).map(|account| account.policy.portal)
    }

    /// Another worker, or nobody, works.
    pub fn is_standing_by(&self, account: AccountIndex) -> bool {
        self.accounts.get(account).is_some_and(Account::stands_by)
    }

    /// Jobs in hand.
    pub fn held_jobs(&self) -> usize {
        self.holdings.jobs().len()
    }

    /// Bytes in hand, by the jobs' own weights.
    pub fn held_bytes(&self) -> usize {
        self.holdings.bytes()
    }

    /// Requests on the wire, those about credentials included.
    pub fn in_flight(&self) -> usize {
        self.calls.len()
    }

    /// The jobs that wait for the pairs of a request on the wire, each once.
    pub fn jobs_in(&self, call: CallKey) -> impl Iterator<Item = JobKey> + '_ {
        let batch = self.calls.get(call).and_then(|call| match call.purpose {
            Purpose::Batch(batch) => Some(batch),
            Purpose::Record(_) | Purpose::Refresh | Purpose::Identify => None,
        });
        self.holdings.jobs_in(batch)
    }

    /// From when on a pair goes again that was alone in a request of this lane and failed; `None` where its jobs have left.
    pub fn next_try(&self, id: &LaneId, pair: Pair) -> Option<Tick> {
        let lanes = self.holdings.lanes().of(id.account).iter();
        // A live lane and one of the background may have the same name.
        let mut lanes = lanes.filter_map(|&key| self.holdings.lane(key)).filter(|lane| lane.id == *id);
        let is_meant = |key: &BatchKey| match self.holdings.batch(*key).map(|batch| batch.nodes.as_slice()) {
            Some(&[node]) => self.holdings.name(node).is_some_and(|(_, of_node)| of_node == pair),
            Some(_) | None => false,
        };
        lanes.find_map(|lane| lane.repeat_of(lane.repeats().find(is_meant)?))
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What is kept of jobs that have left: nothing, but for a few times that have not come yet.
    pub fn remains(&self) -> Remains {
        Remains {
            pairs: !self.holdings.has_no_pairs(),
            batches: self.holdings.batches().len(),
            calls: self.calls.len(),
            lanes: self.holdings.lanes().iter().filter(|&(key, _)| self.pauses.of_lane(key).is_none()).count(),
            returners: self.turns.stale_returners(),
            times: self.holdings.stale_times(),
        }
    }
}
