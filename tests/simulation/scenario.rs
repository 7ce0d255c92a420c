//! What one seed makes: settings, portals, jobs, and everything that goes wrong.
//!
//! A scenario is plain data, so that a failing one can be made smaller before a person looks at it.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use association_archiver::contract::association::{Extent, Label, LabelCategory, Pair, RecordId};
use association_archiver::contract::ids::PortalId;
use association_archiver::contract::job::Ask;
use association_archiver::contract::object_type::ObjectType;
use association_archiver::engine::access::CredentialKind;
use association_archiver::engine::account::AccountPolicy;
use association_archiver::engine::background::{BackgroundPolicy, Share, Urgency};
use association_archiver::engine::pace::Ceiling;
use association_archiver::engine::pack::Caps;
use association_archiver::engine::retry::RetryPolicy;
use association_archiver::engine::{EnginePolicy, Waiting};
use fastrand::Rng;
use hashbrown::HashSet;
use hubspot_simulator::Rule;
use hubspot_simulator::behaviour::{Behaviour, Names};
use hubspot_simulator::limits::RetryAfterForm;
use hubspot_simulator::refusal::{BadMode, BadRecords, Failure};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use smallvec::SmallVec;

use crate::{repeats, trouble, upheaval};

/// See the module.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    /// The wall clock at the start.
    pub epoch: Timestamp,
    pub policy: EnginePolicy,
    pub background: BackgroundPolicy,
    pub request_timeout: Duration,
    /// SIGTERM to SIGKILL.
    pub grace: Duration,
    pub prefetch: usize,
    pub portals: Vec<Portal>,
    /// In the order in which they are produced.
    pub jobs: Vec<JobSpec>,
    pub upheavals: Vec<(Duration, upheaval::Upheaval)>,
    pub rules: Vec<Rule>,
    pub behaviour: Behaviour,
    /// The version in the request's path.
    pub api_version: &'static str,
    /// From the process to HubSpot; the same for every request.
    pub way: Duration,
    /// Longest time from a publication to its confirm.
    pub slowest_publish: Duration,
    /// Share of the publications that the broker does not take.
    pub refused_publishes: f64,
    /// Longest time by which a timer goes off too late.
    pub lateness: Duration,
    /// From here on nothing goes wrong any more ...
    pub calm_from: Duration,
    /// ... and by then everything must have ended.
    pub ends_by: Duration,
    /// HubSpot refuses pairs that are good: what it says of a pair proves nothing.
    pub refusals_are_made_up: bool,
}

/// One account, as the settings and as HubSpot have it.
#[derive(Clone, Debug)]
pub struct Portal {
    pub id: u64,
    pub policy: AccountPolicy,
    /// The account's own, whether the settings know it or not.
    pub time_zone: TimeZone,
    /// What HubSpot allows a day, where it counts.
    pub daily_allowed: Option<u64>,
    /// How much later HubSpot's day turns than ours.
    pub clock_behind: Duration,
    /// What HubSpot allows in the interval of the ceiling.
    pub allowed: usize,
    pub limits: Manners,
    pub bad: BadRecords,
    pub unknown_type: Option<&'static str>,
}

impl Portal {
    /// Its bad records make requests fail as in an outage.
    pub fn has_stuck_records(&self) -> bool {
        self.bad.failure != Failure::Status(400) && !self.bad.ids.is_empty()
    }
}

/// How HubSpot counts an account's requests, and what it says of it.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// What it allows a second, where it counts.
    pub secondly: Option<usize>,
    pub count_refused: bool,
    pub headers: bool,
    pub retry_after: Option<RetryAfterForm>,
}

/// A job and when it is produced.
#[derive(Clone, Debug)]
pub struct JobSpec {
    pub urgency: Urgency,
    pub at: Duration,
    pub account: u32,
    pub from_type: ObjectType,
    pub to_type: ObjectType,
    pub asks: SmallVec<[Ask; 1]>,
    pub not_after: Option<Timestamp>,
}

impl JobSpec {
    pub fn num_pairs(&self) -> usize {
        self.asks.iter().map(|ask| ask.pairs.len()).sum()
    }
}

/// How large the scenarios of a seed may be, in pairs: what keeps a run short.
const MOST_PAIRS: usize = 1_500;

/// The lanes that jobs choose from; those beside each other mean the same.
const TYPES: [[&str; 3]; 5] = [
    ["contacts", "Contact", "0-1"],
    ["companies", "company", "0-2"],
    ["deals", "deal", "0-3"],
    ["p_pets", "p_pets", "P_PETS"],
    ["2-123", "2-123", "2-123"],
];

impl Scenario {
    /// Equal seeds make equal scenarios.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let rng = &mut rng;
        let in_hand = rng.u8(..100) < 15;
        let mut prefetch = *choose(rng, &[5, 50, 1_000, 10_000]);
        let mut policy = policy(rng);
        let mut portals = portals(rng);
        // Not on a whole millisecond: dates and clocks seldom agree on one.
        let epoch =
            Timestamp::from_microsecond(1_795_000_000_000_000 + rng.i64(0..400_000_000_000)).unwrap_or_default();
        let spread = Duration::from_millis(*choose(rng, &[0, 0, 500, 5_000, 60_000]));
        let latency = Duration::from_micros(rng.u64(0..400_000));
        let behaviour = trouble::behaviour(rng, latency);
        if !in_hand {
            let longest_hold = longest_hold(rng, &portals, &policy, &behaviour);
            policy.waiting = Waiting::Outside { longest_hold, prefetch };
        }
        leave_room_for_what_is_stuck(&mut portals, &policy, &behaviour);
        if in_hand && portals.iter().any(|portal| portal.bad.failure != Failure::Status(400)) {
            // Each job with a stuck pair stays for a day.
            prefetch = 10_000;
        }
        let largest: Vec<usize> =
            portals.iter().map(|portal| largest_job(portal, portals.len(), &policy, &behaviour)).collect();
        let jobs = jobs(rng, &largest, spread, epoch);
        for (index, portal) in portals.iter_mut().enumerate() {
            allow_days(portal, jobs.iter().filter(|job| job.account as usize == index));
        }
        let request_timeout = Duration::from_secs(*choose(rng, &[5, 30, 110]));
        let way = LONGEST_WAY.mul_f64(rng.f64());
        let mut scenario = Self {
            seed,
            epoch,
            policy,
            background: BackgroundPolicy::default(),
            request_timeout,
            grace: Duration::from_secs(*choose(rng, &[5, 30, 150])),
            prefetch,
            portals,
            jobs,
            upheavals: Vec::new(),
            rules: Vec::new(),
            behaviour,
            api_version: *choose::<&str>(rng, &["v4", "2026-03", "2026-09"]),
            way,
            slowest_publish: Duration::from_millis(*choose(rng, &[1, 20, 3_000])),
            refused_publishes: *choose(rng, &[0.0, 0.0, 0.05]),
            lateness: Duration::from_micros(*choose(rng, &[0, 0, 1_300])),
            calm_from: spread,
            ends_by: spread,
            refusals_are_made_up: false,
        };
        let rough = rng.u8(..100) < 80;
        if rough {
            trouble::add(&mut scenario, rng);
            upheaval::add(&mut scenario, rng);
        }
        scenario.ends_by = scenario.calm_from + time_to_end(&scenario);
        if seed % 4 == 3 && !in_hand {
            scenario.put_into_background(&mut Rng::with_seed(!seed));
        }
        scenario
    }

    /// Makes some of the jobs such of the background, and leaves everything else as it is. Each job for the same pairs may
    /// be of either kind.
    fn put_into_background(&mut self, rng: &mut Rng) {
        let share = Share::of_percent(*choose(rng, &[0, 10, 50])).unwrap_or(Share::TENTH);
        self.background = BackgroundPolicy { min_share: share, window: None };
        for job in self.jobs.iter_mut().filter(|_| rng.bool()) {
            job.urgency = Urgency::Background;
        }
        // Of a day's requests the background uses no more than is over of the day.
        self.ends_by += Duration::from_secs(DAY);
    }

    pub fn in_hand(&self) -> bool {
        matches!(self.policy.waiting, Waiting::InHand { .. })
    }

    /// Whether a request with a pair of the job is refused, or fails.
    pub fn has_bad_record(&self, job: &JobSpec) -> bool {
        self.bad_pairs(job) > 0
    }

    fn bad_pairs(&self, job: &JobSpec) -> usize {
        let bad = &self.portals[job.account as usize].bad.ids;
        let is_bad = |pair: &&Pair| [pair.from, pair.to].iter().any(|id| bad.contains(&id.0.get()));
        job.asks.iter().flat_map(|ask| &ask.pairs).filter(is_bad).count()
    }

    /// How long the requests take in which an account's bad pairs are found and tried, if each costs this many.
    pub fn time_for_bad_pairs(&self, account: usize, requests: usize) -> Duration {
        let jobs = self.jobs.iter().filter(|job| job.account as usize == account);
        let pairs: usize = jobs.map(|job| self.bad_pairs(job)).sum();
        let rate = rate(&self.portals[account], self.portals.len(), &self.policy, &self.behaviour);
        Duration::from_secs_f64((pairs * requests) as f64 / rate)
    }

    /// HubSpot allows some account less than its settings say.
    pub fn limits_are_low(&self) -> bool {
        let low = |portal: &Portal| {
            portal.limits.secondly.is_some() || portal.allowed < portal.policy.ceiling.requests.get() as usize
        };
        self.portals.iter().any(low) || self.upheavals.iter().any(|(_, upheaval)| upheaval.lowers_a_limit())
    }
}

const DAY: u64 = 24 * 3_600;

/// Long enough for the longest delay queue that was chosen while all went wrong, and for the days a budget takes.
fn time_to_end(scenario: &Scenario) -> Duration {
    let pairs: usize = scenario.jobs.iter().map(JobSpec::num_pairs).sum();
    let requests = (pairs + scenario.jobs.len()) * REQUESTS_FOR_A_PAIR;
    let days = |portal: &Portal| {
        let daily = portal.policy.daily.into_iter().chain(portal.daily_allowed).min();
        daily.map_or(0, |daily| 2 + requests as u64 / daily.max(1))
    };
    let days = scenario.portals.iter().map(days).max().unwrap_or(0);
    // What is stuck is tried for `retry.max_age`, in which the time does not count while quota is waited for.
    let stuck = scenario.portals.iter().any(|portal| portal.bad.failure != Failure::Status(400));
    let stuck = if stuck { 4 * 24 * 3_600 } else { 0 };
    // HubSpot may also have said that the day is spent where it counts none.
    Duration::from_secs(days * 90_000 + 32 * 3_600 + stuck)
}

/// What is stuck can be found, and tried again for a day, only where requests may be spent on it.
fn leave_room_for_what_is_stuck(portals: &mut [Portal], policy: &EnginePolicy, behaviour: &Behaviour) {
    let count = portals.len();
    for portal in portals {
        let counted = portal.policy.daily.or(portal.daily_allowed).is_some();
        if policy.isolation_requests < 200 || counted || rate(portal, count, policy, behaviour) < 2.0 {
            portal.bad.failure = Failure::Status(400);
        }
    }
}

/// How long a job may be held: short only where the bad pairs of a few batches can be found meanwhile.
fn longest_hold(rng: &mut Rng, portals: &[Portal], policy: &EnginePolicy, behaviour: &Behaviour) -> Duration {
    let slowest = portals.iter().map(|portal| rate(portal, portals.len(), policy, behaviour)).fold(f64::MAX, f64::min);
    let needed = SEARCHES_AT_ONCE * (f64::from(policy.isolation_requests) + REQUESTS_FOR_ISOLATION);
    let short = |hold: &&u64| **hold as f64 * slowest >= needed;
    let holds: Vec<u64> = [20, 120].iter().filter(short).chain(&[490, 3_600]).copied().collect();
    Duration::from_secs(*choose(rng, &holds))
}

/// Requests a second that one of this many portals can make.
fn rate(portal: &Portal, portals: usize, policy: &EnginePolicy, behaviour: &Behaviour) -> f64 {
    let by_ceiling = portal.allowed as f64 / portal.policy.ceiling.interval.as_secs_f64();
    let by_second = portal.limits.secondly.map_or(f64::MAX, |requests| requests as f64);
    let slots = portal.policy.max_in_flight.min(policy.max_in_flight.div_ceil(portals));
    let by_slots = slots as f64 / (LONGEST_WAY + behaviour.latency + behaviour.jitter).as_secs_f64();
    by_ceiling.min(by_second).min(by_slots)
}

/// The most pairs of a job that HubSpot can be asked about while the job may be held: what was done of a job that is
/// parked is done again, so one that takes longer never ends.
fn largest_job(portal: &Portal, portals: usize, policy: &EnginePolicy, behaviour: &Behaviour) -> usize {
    let Waiting::Outside { longest_hold, .. } = policy.waiting else { return MOST_PAIRS };
    let pairs = policy.caps.pairs.min(policy.caps.from).min(behaviour.caps.pairs.unwrap_or(usize::MAX));
    let requests = rate(portal, portals, policy, behaviour) * longest_hold.as_secs_f64();
    let most = match has_to_search(portal, behaviour) {
        false => requests / REQUESTS_FOR_ISOLATION * pairs as f64,
        // Every second request is for other jobs, and one in five at most for a search where many are refused; the
        // search of a batch takes two for a pair, or all that it may.
        true => (requests / 20.0).max(requests / 10.0 / f64::from(policy.isolation_requests + 1) * pairs as f64),
    };
    (most as usize).clamp(2, MOST_PAIRS)
}

/// HubSpot refuses pairs of the portal without naming them, or only their `from` of which several were sent.
fn has_to_search(portal: &Portal, behaviour: &Behaviour) -> bool {
    let piecemeal = [BadMode::PartialUnnamed, BadMode::RefusedUnnamed, BadMode::RefusedFirstNamed];
    let unnamed = piecemeal.contains(&portal.bad.mode) || portal.bad.failure != Failure::Status(400);
    let half_named = behaviour.context.names == Names::FromOnly;
    (unnamed || half_named) && !portal.bad.ids.is_empty()
}

/// Batches of one lane that may be searched for bad pairs at the same time.
const SEARCHES_AT_ONCE: f64 = 8.0;

/// Requests that a batch may cost until its bad pairs are found, and that other jobs need beside it.
const REQUESTS_FOR_ISOLATION: f64 = 40.0;

/// From the process to HubSpot.
const LONGEST_WAY: Duration = Duration::from_millis(100);

/// Requests that a pair may cost until it is known to be bad, or good, in a batch of few.
const REQUESTS_FOR_A_PAIR: usize = 3;

/// A day's budget of which a half, which is for jobs that came back, suffices for the largest job by itself.
fn allow_days<'a>(portal: &mut Portal, jobs: impl Iterator<Item = &'a JobSpec>) {
    let largest = jobs.map(JobSpec::num_pairs).max().unwrap_or(0) as u64;
    for daily in [&mut portal.policy.daily, &mut portal.daily_allowed].into_iter().flatten() {
        *daily += 2 * REQUESTS_FOR_A_PAIR as u64 * largest;
    }
}

pub fn choose<'a, T>(rng: &mut Rng, among: &'a [T]) -> &'a T {
    &among[rng.usize(..among.len())]
}

fn policy(rng: &mut Rng) -> EnginePolicy {
    EnginePolicy {
        caps: Caps { from: *choose(rng, &[3, 10, 100]), pairs: *choose(rng, &[5, 30, 1_000]) },
        linger: Duration::from_millis(*choose(rng, &[0, 50, 200])),
        retry: RetryPolicy {
            max_attempts: *choose(rng, &[1, 3, 5]),
            max_delay: Duration::from_secs(*choose(rng, &[5, 30])),
            max_age: Duration::from_secs(*choose(rng, &[120, 1_200, 86_400, 86_400])),
            ..RetryPolicy::default()
        },
        isolation_requests: *choose(rng, &[0, 10, 200, 200]),
        max_in_flight: *choose(rng, &[1, 8, 64]),
        // Where there is a broker, this is replaced.
        waiting: Waiting::InHand { give_up_after: Duration::from_secs(86_400) },
        ..EnginePolicy::default()
    }
}

fn portals(rng: &mut Rng) -> Vec<Portal> {
    let count = *choose(rng, &[1, 1, 2, 4]);
    (0..count).map(|index| portal(rng, index, count)).collect()
}

fn portal(rng: &mut Rng, index: u64, of: u64) -> Portal {
    let id = 4_711 + index;
    let ceiling = Ceiling {
        requests: NonZeroU32::new(*choose(rng, &[2, 10, 40, 100])).unwrap_or(NonZeroU32::MIN),
        interval: Duration::from_secs(*choose(rng, &[1, 2, 10])),
    };
    let oauth = rng.u8(..100) < 20;
    let nameless = of == 1 && rng.bool();
    let daily = (rng.u8(..100) < 8).then(|| rng.u64(5..60));
    let allowed = match rng.u8(..100) {
        // Another app uses the same limit.
        0..8 => (ceiling.requests.get() as usize / 4).max(1),
        _ => ceiling.requests.get() as usize,
    };
    let set = choose(rng, &[None, Some("UTC"), Some("Europe/Berlin")]).and_then(|name| TimeZone::get(name).ok());
    let own = choose(rng, &["UTC", "Asia/Kathmandu", "America/Los_Angeles"]);
    let time_zone = set.clone().or_else(|| TimeZone::get(own).ok()).unwrap_or(TimeZone::UTC);
    Portal {
        id,
        policy: AccountPolicy {
            portal: NonZeroU64::new(id).filter(|_| !nameless).map(PortalId),
            credentials: if oauth { CredentialKind::OAuth } else { CredentialKind::Static },
            ceiling,
            daily,
            time_zone: set,
            max_in_flight: *choose(rng, &[1, 4, 16]),
            ..AccountPolicy::default()
        },
        time_zone,
        daily_allowed: (rng.u8(..100) < 5).then(|| rng.u64(5..60)),
        clock_behind: Duration::from_secs(*choose(rng, &[0, 0, 5, 60])),
        allowed,
        limits: Manners {
            secondly: (rng.u8(..100) < 6).then(|| rng.usize(1..6)),
            count_refused: rng.u8(..4) == 0,
            headers: rng.u8(..4) > 0,
            retry_after: *choose(rng, &[None, None, Some(RetryAfterForm::Seconds), Some(RetryAfterForm::Date)]),
        },
        bad: trouble::bad_records(rng),
        unknown_type: (rng.u8(..100) < 8).then_some("2-123"),
    }
}

/// `largest` is the largest job of each portal, in pairs.
fn jobs(rng: &mut Rng, largest: &[usize], spread: Duration, epoch: Timestamp) -> Vec<JobSpec> {
    let count = match rng.u8(..100) {
        0..10 => 1,
        10..70 => rng.usize(2..40),
        70..95 => rng.usize(40..200),
        _ => rng.usize(200..800),
    };
    let records = Records { from: *choose(rng, &[3, 30, 1_000]), to: *choose(rng, &[2, 30, 1_000]) };
    let mut left = MOST_PAIRS;
    let mut jobs = Vec::with_capacity(count);
    for _ in 0..count {
        let wanted = match rng.u8(..100) {
            0..60 => 1,
            60..90 => rng.usize(2..8),
            90..98 => rng.usize(8..60),
            _ => rng.usize(60..1_200),
        };
        let account = rng.usize(..largest.len());
        let pairs = wanted.min(left.max(1)).min(largest[account]);
        let mut job = job(rng, records, pairs, spread, epoch);
        job.account = u32::try_from(account).unwrap_or(0);
        left = left.saturating_sub(job.num_pairs());
        jobs.push(job);
    }
    // A generator of their own, so that repeats change nothing else of a seed.
    repeats::add(&mut rng.clone(), &mut jobs, spread);
    jobs.sort_by_key(|job| job.at);
    jobs
}

/// How many records there are on each side: few make many equal pairs.
#[derive(Clone, Copy)]
struct Records {
    from: u64,
    to: u64,
}

fn job(rng: &mut Rng, records: Records, pairs: usize, spread: Duration, epoch: Timestamp) -> JobSpec {
    let at = spread.mul_f64(rng.f64());
    let types = |rng: &mut Rng| TYPES[rng.usize(..TYPES.len())][rng.usize(..3)];
    // Most jobs are of few lanes, so that there is something to batch.
    let (from_type, to_type) = if rng.u8(..10) < 7 { ("contacts", "company") } else { (types(rng), types(rng)) };
    let parse = |text: &str| ObjectType::parse(text).unwrap_or_else(|fault| unreachable!("{text}: {fault:?}"));
    let mut distinct = HashSet::new();
    for _ in 0..pairs {
        distinct.insert(pair(rng.u64(1..=records.from), rng.u64(1..=records.to)));
    }
    let not_after = (rng.u8(..100) < 6).then(|| epoch + at + Duration::from_micros(rng.u64(0..20_000_000)));
    JobSpec {
        urgency: Urgency::Live,
        at,
        account: 0,
        from_type: parse(from_type),
        to_type: parse(to_type),
        asks: asks(rng, distinct),
        not_after,
    }
}

pub fn pair(from: u64, to: u64) -> Pair {
    let id = |id| RecordId(NonZeroU64::new(id).unwrap_or(NonZeroU64::MIN));
    Pair { from: id(from), to: id(to) }
}

fn asks(rng: &mut Rng, distinct: HashSet<Pair>) -> SmallVec<[Ask; 1]> {
    let mut pairs: Vec<Pair> = distinct.into_iter().collect();
    pairs.sort_unstable();
    let some_labels = match rng.u8(..100) {
        0..80 => 0,
        80..90 => pairs.len(),
        _ => rng.usize(0..=pairs.len()),
    };
    let of_labels: SmallVec<[Pair; 1]> = pairs.split_off(pairs.len() - some_labels).into();
    let label = |type_id| Label {
        category: LabelCategory::UserDefined,
        type_id: NonZeroU64::new(type_id).unwrap_or(NonZeroU64::MIN),
    };
    let labels = if rng.bool() { vec![label(37)] } else { vec![label(37), label(38)] };
    let whole = Ask { extent: Extent::Whole, pairs: pairs.into(), all_of: Vec::new() };
    let of_labels = Ask { extent: Extent::Labels(labels.into()), pairs: of_labels, all_of: Vec::new() };
    [whole, of_labels].into_iter().filter(|ask| !ask.pairs.is_empty()).collect()
}
