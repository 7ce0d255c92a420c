//! An account: how much it may send, its day, its credentials, and what it has sent.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::access::{Access, CredentialKind};
use super::batch::Batch;
use super::clock::{Now, Tick};
use super::day::Day;
use super::error_share::ErrorShare;
use super::guard::{Guard, GuardPolicy};
use super::lane_probes::ProbeQuota;
use super::pace::{Ceiling, Pace, Slot};
use super::reply::Answer;
use super::retry::RetryBudget;
use super::tenancy::Tenancy;
use crate::contract::ids::PortalId;

pub use super::course::Safety;

/// What the settings say of one account. The default is an account with a token, of which they say nothing else.
#[derive(Clone, PartialEq, Debug)]
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
    pub safety: Safety,
    /// `safety.max_pairs`, where it is set.
    pub guard: Option<GuardPolicy>,
}

impl Default for AccountPolicy {
    fn default() -> Self {
        Self {
            portal: None,
            credentials: CredentialKind::Static,
            ceiling: Ceiling::default(),
            daily: None,
            time_zone: None,
            max_in_flight: 16,
            paused: false,
            safety: Safety::default(),
            guard: None,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Account {
    pub policy: AccountPolicy,
    pub pace: Pace,
    pub day: Day,
    pub access: Access,
    pub guard: Option<Guard>,
    pub tenancy: Tenancy,
    /// How many orders to pause or to resume it operators have given, those included of which the lease tells.
    pub pause_orders: u64,
    retries: RetryBudget,
    errors: ErrorShare,
    /// Requests on the wire, those about credentials included.
    in_flight: usize,
    totals: AccountTotals,
}

/// Counted since the start of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AccountTotals {
    pub requests: u64,
    pub throttled: u64,
    pub refused: u64,
    pub pairs_archived: u64,
}

/// Why an account has no permit for a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoPermit {
    /// The day's requests are spent, and the next day begins then.
    DaySpent(Timestamp),
    /// The pace allows the next request then.
    TooFast(Tick),
    /// The request's count is not written down yet where the next worker would find it; a permit may be asked for again
    /// at this time.
    Unwritten(Tick),
}

/// An account may have this many times as many requests on the wire as slots are free, so that a few accounts whose
/// requests hang cannot take every slot of the worker.
const SHARE_OF_FREE: usize = 4;

/// The background leaves this share of all slots free: a quarter.
pub const KEPT_FREE_DIVISOR: usize = 4;

impl Account {
    pub fn new(policy: AccountPolicy, now: Now) -> Self {
        // The time zone matters only where the settings give a day's budget.
        let ask_identity = policy.portal.is_some() || (policy.daily.is_some() && policy.time_zone.is_none());
        Self {
            pace: Pace::new(policy.ceiling, now.tick),
            day: Day::new(policy.time_zone.clone(), policy.daily, now.wall),
            access: Access::new(policy.credentials, ask_identity),
            guard: policy.guard.map(Guard::new),
            policy,
            tenancy: Tenancy::Alone,
            pause_orders: 0,
            retries: RetryBudget::new(now.tick),
            errors: ErrorShare::new(now.tick),
            in_flight: 0,
            totals: AccountTotals::default(),
        }
    }

    /// Whether this worker stands by for the account, since another worker may be sending for it.
    pub fn stands_by(&self) -> bool {
        self.tenancy == Tenancy::StandingBy
    }

    /// Whether one more request may be on the wire, when the whole worker may send `free` more.
    pub fn has_free_slot(&self, free: usize) -> bool {
        let most = self.policy.max_in_flight.min(self.pace.in_flight_allowed()).min(free * SHARE_OF_FREE);
        self.in_flight < most
    }

    /// The same for a request that only uses what others leave: a quarter of the slots stays free for them.
    pub fn has_slot_to_spare(&self, free: usize) -> bool {
        let most = self.policy.max_in_flight.min(self.pace.in_flight_allowed());
        self.in_flight < most - most / KEPT_FREE_DIVISOR && self.has_free_slot(free)
    }

    /// HubSpot is asked for the time zone, unless that is set.
    pub fn ask_time_zone(&mut self) {
        if !self.day.zone_is_known() {
            self.access.ask_time_zone();
        }
    }

    /// Whether the time zone is not known and HubSpot is to be asked for it before anything is sent.
    pub fn learns_zone(&self) -> bool {
        !self.day.zone_is_known() && self.access.asks_identity()
    }

    /// What may be spent on probes of paused lanes.
    pub fn probe_quota(&self) -> ProbeQuota {
        let Ceiling { requests, interval } = self.pace.ceiling();
        ProbeQuota { per_request: interval / requests.get(), daily: self.day.requests() }
    }

    /// A permit for a batch that leaves now.
    pub fn permit(&mut self, now: Now) -> Result<Slot, NoPermit> {
        if let Some(until) = self.day.spent_until(now.wall) {
            return Err(NoPermit::DaySpent(until));
        }
        if let Some(until) = self.day.unwritten_until(now) {
            return Err(NoPermit::Unwritten(until));
        }
        self.pace.permit(now.tick).map_err(NoPermit::TooFast)
    }

    /// Whether a batch may be sent again, or from when on. So retries and trials stay a small part of the load.
    pub fn may_repeat(&mut self, batch: &Batch, now: Tick) -> Result<(), Tick> {
        if batch.trial.is_some() && self.errors.trial_from() > now {
            return Err(self.errors.trial_from());
        }
        if batch.failures > 0 { self.retries.affords(now) } else { Ok(()) }
    }

    /// A batch that was sent before is sent again.
    pub fn repeats(&mut self, batch: &Batch, now: Tick) {
        if batch.failures > 0 {
            self.retries.spend();
        }
        if batch.trial.is_some() {
            self.errors.trial_sent(self.pace.ceiling(), now);
        }
    }

    /// Something that is no batch has left: a request about credentials, or a record for the journal. It counts as in
    /// flight.
    pub fn call_left(&mut self) {
        self.in_flight += 1;
    }

    /// A request with a batch has left.
    pub fn batch_left(&mut self, now: Now) {
        self.in_flight += 1;
        self.totals.requests += 1;
        self.day.sent(now.wall);
    }

    pub fn call_ended(&mut self) {
        debug_assert!(self.in_flight > 0, "what has ended had left");
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Counts an answer to a batch; returns whether it was a refusal: 4xx other than 429.
    pub fn batch_answered(&mut self, answer: &Answer, now: Now) -> bool {
        if let Some(left) = answer.headers.rate.daily_remaining {
            self.day.told(left, answer.headers.rate.daily, now.wall);
        }
        let refused = (400..500).contains(&answer.status) && answer.status != 429;
        self.errors.counted(refused, now.tick);
        self.totals.refused += u64::from(refused);
        refused
    }

    /// HubSpot did what a batch asked for, or said why it will not.
    pub fn served(&mut self) {
        self.retries.succeeded();
    }

    pub fn pairs_archived(&mut self, pairs: usize) {
        self.totals.pairs_archived += pairs as u64;
    }

    pub fn throttled(&mut self) {
        self.totals.throttled += 1;
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub fn totals(&self) -> AccountTotals {
        self.totals
    }
}
