//! An account: its pace, its day, its credentials, its pause, and whose turn it is among its lanes.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::access::{Access, CredentialKind};
use super::backlog::{JobKey, LaneKey};
use super::clock::{Now, Stopwatch, Tick};
use super::command::CallKey;
use super::day::Day;
use super::lane::Lane;
use super::pace::{Ceiling, Pace};
use super::pause::{Pause, PauseKind};
use super::retry::RetryBudget;
use crate::contract::ids::PortalId;

/// What the settings say of one account.
#[derive(Clone, Debug)]
pub struct AccountPolicy {
    pub portal: Option<PortalId>,
    pub credentials: CredentialKind,
    pub ceiling: Ceiling,
    pub daily: Option<u64>,
    /// `None`: learned from HubSpot, else UTC.
    pub time_zone: Option<TimeZone>,
    pub max_in_flight: usize,
    /// The setting `paused`: nothing is sent until it is changed.
    pub paused: bool,
}

#[derive(Debug)]
pub struct Account {
    pub policy: AccountPolicy,
    pub pace: Pace,
    pub day: Day,
    pub access: Access,
    pub pause: Option<Pause>,
    /// The request that is to find out whether the pause is over.
    pub probing: Option<CallKey>,
    pub failures_in_a_row: u32,
    pub retries: RetryBudget,
    pub errors: ErrorShare,
    /// Time paused or waiting for quota, which does not count towards a job's age.
    pub uncounted: Stopwatch,
    pub lanes: Vec<LaneKey>,
    /// The lanes that stand still.
    pub standing: BTreeSet<LaneKey>,
    /// Lanes that have a turn, in the order of their turns.
    pub ring: VecDeque<LaneKey>,
    /// Lanes that wait for company, by the time they need not wait any longer.
    pub lingering: BTreeSet<(Tick, LaneKey)>,
    /// Jobs that came back unfinished after requests had carried them, oldest first; some may have left since.
    pub returners: VecDeque<JobKey>,
    /// The last request was theirs.
    pub favoured: bool,
    /// When lanes must be looked at again.
    pub due: BinaryHeap<Reverse<(Tick, LaneKey)>>,
    pub in_flight: usize,
    pub held_jobs: usize,
    /// Already in the engine's order of turns.
    pub queued: bool,
    /// The engine's timer for this account.
    pub timer: Option<Tick>,
    pub totals: AccountTotals,
}

/// Counted since the start of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AccountTotals {
    pub requests: u64,
    pub throttled: u64,
    pub refused: u64,
    pub pairs_archived: u64,
}

impl Account {
    pub fn new(policy: AccountPolicy, now: Now) -> Self {
        let zone = policy.time_zone.clone().unwrap_or(TimeZone::UTC);
        // The zone matters only where a day's budget is known to be kept.
        let ask_identity = policy.portal.is_some() || (policy.daily.is_some() && policy.time_zone.is_none());
        let paused = || Pause::new(PauseKind::Operator, None, "paused by the settings".to_owned(), now);
        let mut account = Self {
            pace: Pace::new(policy.ceiling, now.tick),
            day: Day::new(zone, policy.daily, now.wall),
            access: Access::new(policy.credentials, ask_identity),
            pause: policy.paused.then(paused),
            policy,
            probing: None,
            failures_in_a_row: 0,
            retries: RetryBudget::new(now.tick),
            errors: ErrorShare::new(now.tick),
            uncounted: Stopwatch::default(),
            lanes: Vec::new(),
            standing: BTreeSet::new(),
            ring: VecDeque::new(),
            lingering: BTreeSet::new(),
            returners: VecDeque::new(),
            favoured: false,
            due: BinaryHeap::new(),
            in_flight: 0,
            held_jobs: 0,
            queued: false,
            timer: None,
            totals: AccountTotals::default(),
        };
        if account.pause.is_some() {
            account.uncounted.run(now.tick);
        }
        account
    }

    /// Looks at the lane again at `at`, if not sooner.
    pub fn look_at(&mut self, lane: &mut Lane, key: LaneKey, at: Tick) {
        if lane.reminder.is_none_or(|reminder| at < reminder) {
            lane.reminder = Some(at);
            self.due.push(Reverse((at, key)));
        }
    }

    /// The next time a lane must be looked at.
    pub fn next_due(&self) -> Option<Tick> {
        let due = self.due.peek().map(|&Reverse((at, _))| at);
        let lingering = self.lingering.first().map(|&(at, _)| at);
        match (due, lingering) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Whether the day is spent, and until when.
    pub fn day_spent(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.day.spent_until(now)
    }
}

/// The share of refused requests: HubSpot expects it under 5 % of a day's (marketplace rules).
#[derive(Clone, Copy, Debug)]
pub struct ErrorShare {
    requests: u64,
    refused: u64,
    day_began: Tick,
    /// While the share is too high, isolation waits until then.
    trial_from: Tick,
}

impl ErrorShare {
    /// Below so many refusals a day nothing is ever slowed.
    const FREE: u64 = 2_000;
    /// A twentieth: 5 %.
    const DIVISOR: u64 = 20;
    /// One permit in so many goes to isolation then.
    const ONE_IN: u32 = 5;
    const DAY: Duration = Duration::from_secs(86_400);

    pub fn new(now: Tick) -> Self {
        Self { requests: 0, refused: 0, day_began: now, trial_from: now }
    }

    pub fn counted(&mut self, refused: bool, now: Tick) {
        if now.since(self.day_began) >= Self::DAY {
            *self = Self { trial_from: self.trial_from, ..Self::new(now) };
        }
        self.requests += 1;
        self.refused += u64::from(refused);
    }

    pub fn refused(&self) -> u64 {
        self.refused
    }

    pub fn is_high(&self) -> bool {
        self.refused > Self::FREE && self.refused * Self::DIVISOR > self.requests
    }

    /// When the next request of an isolation may leave.
    pub fn trial_from(&self) -> Tick {
        if self.is_high() { self.trial_from } else { Tick::ZERO }
    }

    pub fn trial_sent(&mut self, ceiling: Ceiling, now: Tick) {
        self.trial_from = now + ceiling.interval * Self::ONE_IN / ceiling.requests.get();
    }
}
