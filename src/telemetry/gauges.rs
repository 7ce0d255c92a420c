//! What a snapshot says, as metrics.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::exposition::{Description, Exposition, Kind};
use super::label::Label;
use super::parked::ByTier;
use super::snapshot::{BrokerCounts, BrokerState, Snapshot};
use crate::engine::guard::GuardState;
use crate::engine::pause::{PauseKind, Tier};
use crate::engine::status::{AccountStatus, InHand, Status};
use crate::lease::view::{LeaseStanding, LeaseView};

/// With more accounts than this there is no series for each of them; the sums and the highest remain.
pub(super) const MAX_ACCOUNTS: usize = 50;

pub(super) fn write(snapshot: &Snapshot, page: &mut Exposition) {
    write_held(snapshot, page);
    write_broker(&snapshot.broker, page);
    write_pauses(&snapshot.status, snapshot.at, page);
    write_guards(&snapshot.status.accounts, page);
    write_accounts(&snapshot.status.accounts, page);
}

fn write_held(snapshot: &Snapshot, page: &mut Exposition) {
    let InHand { jobs, background_jobs, bytes, pairs, lanes, in_flight, max_in_flight, drain_seconds: _ } =
        snapshot.status.held;
    let mut gauge = |name, help, value: f64| single(page, Kind::Gauge, name, help, Some(value));
    gauge("association_archiver_jobs_held", "Jobs in hand, not yet acknowledged.", jobs as f64);
    gauge(
        "association_archiver_background_jobs_held",
        "Of the jobs in hand, those of the background.",
        background_jobs as f64,
    );
    gauge(
        "association_archiver_held_bytes",
        "Memory that the jobs in hand occupy, as far as it grows with them.",
        bytes as f64,
    );
    gauge("association_archiver_pairs_held", "Distinct pairs in hand.", pairs as f64);
    gauge(
        "association_archiver_lanes",
        "Lanes in hand: combinations of account, object types and kind of removal.",
        lanes as f64,
    );
    gauge("association_archiver_requests_in_flight", "Requests to HubSpot that wait for an answer.", in_flight as f64);
    gauge(
        "association_archiver_requests_in_flight_limit",
        "Most requests in flight at once (hubspot.max_in_flight_total).",
        max_in_flight as f64,
    );
    gauge("association_archiver_draining", "1 while the worker stops and takes nothing new.", flag(snapshot.draining));
    single(
        page,
        Kind::Gauge,
        "association_archiver_drain_seconds",
        "Estimate of the time that the work of every live job takes, wherever it is now, except in jobs queues that other workers work on: no less than the ceilings allow. For how long parked jobs still wait is not in it; absent while nobody can tell.",
        snapshot.drain_seconds().ok(),
    );
}

fn write_broker(broker: &BrokerState, page: &mut Exposition) {
    write_line(broker, page);
    write_depths(broker, page);
    write_parked(&broker.parked, page);
    write_leases(&broker.leases, page);
    write_broker_counts(&broker.counts, page);
}

/// Whether messages come in and go out.
fn write_line(broker: &BrokerState, page: &mut Exposition) {
    let mut gauge = |name, help, value| single(page, Kind::Gauge, name, help, Some(value));
    gauge(
        "association_archiver_broker_consuming",
        "1 while the worker is subscribed to a jobs queue.",
        flag(broker.consuming),
    );
    gauge(
        "association_archiver_background_consuming",
        "1 while jobs of the background are taken in; 0 outside background.window, and on a worker that stands by.",
        flag(broker.background_consuming),
    );
    gauge(
        "association_archiver_consumer_overfull",
        "1 while nothing is consumed because the jobs in hand occupy too much memory.",
        flag(broker.overfull),
    );
    gauge(
        "association_archiver_consumer_generation",
        "Subscriptions to jobs queues made again after a loss.",
        broker.counts.resubscriptions as f64,
    );
    gauge(
        "association_archiver_broker_publishing",
        "1 while the connection for outcomes is up.",
        flag(broker.publishing),
    );
    gauge(
        "association_archiver_broker_publishing_stalled",
        "1 while outcomes or other messages wait and the broker takes none of them, as where a queue is full.",
        flag(broker.publishing_stalled),
    );
    gauge(
        "association_archiver_broker_blocked",
        "1 while a resource alarm of the broker stops publishing.",
        flag(broker.blocked),
    );
    gauge(
        "association_archiver_unpublished_jobs",
        "Jobs whose outcome, or whose copy for a delay queue, the broker has not confirmed yet.",
        broker.unpublished as f64,
    );
}

/// What lies in the queues, other than the delay queues.
fn write_depths(broker: &BrokerState, page: &mut Exposition) {
    let mut gauge = |name, help, number: Option<u64>| {
        single(page, Kind::Gauge, name, help, number.map(|number| number as f64));
    };
    gauge(
        "association_archiver_jobs_ready",
        "Messages waiting in the jobs queues, the shared one and the shards, when last looked; absent until then.",
        broker.jobs_ready,
    );
    gauge(
        "association_archiver_queue_standstill_seconds",
        "Of the jobs queues that this worker works on, the longest time for which jobs have waited in one and none of them was taken; absent until first looked.",
        broker.standstill_seconds,
    );
    gauge(
        "association_archiver_background_jobs_ready",
        "Messages waiting in the background queue, when last looked; absent until then, and where there is none.",
        broker.background_ready,
    );
    gauge(
        "association_archiver_results_ready",
        "Outcomes waiting in the results queue when last looked; absent until then.",
        broker.results_ready,
    );
    gauge(
        "association_archiver_results_consumers",
        "Consumers of the results queue when last looked; absent until then.",
        broker.results_consumers,
    );
    gauge(
        "association_archiver_dead_letters_ready",
        "Messages waiting in the dead-letter queue when last looked; absent until then.",
        broker.dead_letters_ready,
    );
}

/// `leases` is empty while `amqp.lease` is off.
fn write_leases(leases: &[LeaseView], page: &mut Exposition) {
    let held = leases.iter().filter(|lease| lease.standing == LeaseStanding::Held).count();
    let mut gauge = |name, help, number: usize| {
        single(page, Kind::Gauge, name, help, (!leases.is_empty()).then_some(number as f64));
    };
    gauge(
        "association_archiver_leases_held",
        "Jobs queues that this worker works on alone; absent while amqp.lease is off.",
        held,
    );
    gauge(
        "association_archiver_leases",
        "Jobs queues of the settings, of which this worker or another should hold the lease; absent while amqp.lease is off.",
        leases.len(),
    );
}

fn write_parked(parked: &ByTier, page: &mut Exposition) {
    let name = "association_archiver_parked_jobs";
    let help = "Jobs that wait in a delay queue, by the queue's wait; absent while nobody can say.";
    let mut family = page.family(Description { name, kind: Kind::Gauge, help, labels: Tier::NAMES });
    for (tier, jobs) in Tier::ALL.into_iter().zip(parked) {
        if let Some(jobs) = jobs {
            family.sample(&[tier.as_str()], jobs);
        }
    }
}

fn write_broker_counts(counts: &BrokerCounts, page: &mut Exposition) {
    let BrokerCounts {
        reconnects,
        resubscriptions: _,
        lease_changes,
        published,
        returned,
        refused,
        unknown,
        acknowledged,
        handed_back,
        failed_acknowledgements,
        settled_too_late,
    } = *counts;
    let mut counter = |name, help, value: u64| single(page, Kind::Counter, name, help, Some(value as f64));
    counter(
        "association_archiver_broker_reconnects_total",
        "Connections to the broker made again after a loss.",
        reconnects,
    );
    counter(
        "association_archiver_lease_changes_total",
        "Times that this worker has taken the lease of a jobs queue or lost it.",
        lease_changes,
    );
    counter("association_archiver_messages_published_total", "Messages published and confirmed.", published);
    counter(
        "association_archiver_messages_returned_total",
        "Messages that came back because no queue is bound to their route.",
        returned,
    );
    counter(
        "association_archiver_messages_refused_total",
        "Messages that the broker refused, as a full queue does.",
        refused,
    );
    counter(
        "association_archiver_messages_republished_total",
        "Messages published again because nobody knows what became of them.",
        unknown,
    );
    counter("association_archiver_deliveries_acknowledged_total", "Deliveries acknowledged.", acknowledged);
    counter(
        "association_archiver_deliveries_handed_back_total",
        "Deliveries given back to the queue unfinished.",
        handed_back,
    );
    counter(
        "association_archiver_acknowledgements_failed_total",
        "Acknowledgements that could not be sent; their jobs come again.",
        failed_acknowledgements,
    );
    counter(
        "association_archiver_deliveries_settled_too_late_total",
        "Deliveries settled after their subscription was lost; their jobs come again.",
        settled_too_late,
    );
}

fn write_pauses(status: &Status, at: Timestamp, page: &mut Exposition) {
    single(
        page,
        Kind::Gauge,
        "association_archiver_accounts",
        "Accounts configured.",
        Some(status.accounts.len() as f64),
    );
    let accounts = paused_accounts(&status.accounts);
    for (name, help, counts) in [
        ("association_archiver_paused_accounts", "Accounts that stand still as a whole, by reason.", &accounts),
        ("association_archiver_paused_lanes", "Lanes that stand still, by reason.", &status.paused_lanes),
    ] {
        let labels = PauseKind::NAMES;
        let mut family = page.family(Description { name, kind: Kind::Gauge, help, labels });
        for kind in PauseKind::ALL {
            family.sample(&[kind.as_str()], counts.get(&kind).copied().unwrap_or_default());
        }
    }
    let (name, labels) = ("association_archiver_longest_pause_seconds", PauseKind::NAMES);
    let help = "For how long the account has stood still as a whole that has stood longest, by reason. A pause by hand and a \
                guard's stop go on counting with another worker.";
    let mut family = page.family(Description { name, kind: Kind::Gauge, help, labels });
    let stand = |kind| status.accounts.iter().filter_map(AccountStatus::own_pause).filter(move |one| one.kind == kind);
    for kind in PauseKind::ALL {
        let longest = stand(kind).map(|pause| at.duration_since(pause.since).as_secs_f64()).fold(0.0, f64::max);
        family.sample(&[kind.as_str()], longest);
    }
}

/// How many accounts stand still as a whole, by the reason. An account of which only all lanes in hand stand is not
/// counted: it may be a single lane.
fn paused_accounts(accounts: &[AccountStatus]) -> BTreeMap<PauseKind, usize> {
    let mut counts = BTreeMap::new();
    for pause in accounts.iter().filter_map(AccountStatus::own_pause) {
        *counts.entry(pause.kind).or_default() += 1;
    }
    counts
}

fn write_guards(accounts: &[AccountStatus], page: &mut Exposition) {
    let guards = || accounts.iter().filter_map(|account| account.guard);
    let (name, labels) = ("association_archiver_guards", GuardState::NAMES);
    let help = "Accounts with safety.max_pairs, by what their guard does; waiting: for approve or reject.";
    let mut family = page.family(Description { name, kind: Kind::Gauge, help, labels });
    for state in GuardState::ALL {
        family.sample(&[state.as_str()], guards().filter(|guard| guard.state == state).count());
    }
    single(
        page,
        Kind::Gauge,
        "association_archiver_guard_used_highest_ratio",
        "Distinct pairs sent in the guard's window as a share of safety.max_pairs, of the account with the most; absent where none has a guard.",
        guards().map(|guard| guard.used as f64 / guard.max_pairs as f64).reduce(f64::max),
    );
}

fn write_accounts(accounts: &[AccountStatus], page: &mut Exposition) {
    let highest = accounts.iter().map(quota_used).fold(0.0, f64::max);
    single(
        page,
        Kind::Gauge,
        "association_archiver_quota_used_highest_ratio",
        "Share of the ceiling used in the last interval, of the account that used most.",
        Some(highest),
    );
    let shown = if accounts.len() <= MAX_ACCOUNTS { accounts } else { &[] };
    let mut each = |kind, name, help, read: fn(&AccountStatus) -> Option<f64>| {
        let mut family = page.family(Description { name, kind, help, labels: &["portal_id"] });
        for account in shown {
            if let Some(value) = read(account) {
                family.sample(&[&portal(account)], value);
            }
        }
    };
    each(
        Kind::Gauge,
        "association_archiver_account_quota_used_ratio",
        "Share of the ceiling used in the last interval.",
        |account| Some(quota_used(account)),
    );
    each(
        Kind::Gauge,
        "association_archiver_account_ceiling_requests_per_second",
        "Requests a second that the ceiling in force allows.",
        |account| Some(f64::from(account.rate.requests) / account.rate.interval_seconds),
    );
    each(
        Kind::Gauge,
        "association_archiver_account_day_requests_left",
        "Requests left of the account's day; absent where nobody said.",
        |account| account.day.left.map(|left| left as f64),
    );
    each(Kind::Gauge, "association_archiver_account_jobs_held", "Jobs in hand of the account.", |account| {
        Some(account.held_jobs as f64)
    });
    each(
        Kind::Gauge,
        "association_archiver_account_guard_pairs",
        "Distinct pairs sent in the guard's window, or since it was approved; absent where safety.max_pairs is not set.",
        |account| account.guard.map(|guard| guard.used as f64),
    );
    each(
        Kind::Gauge,
        "association_archiver_account_paused",
        "1 while the account stands still as a whole.",
        |account| Some(flag(account.own_pause().is_some())),
    );
    each(Kind::Counter, "association_archiver_account_requests_total", "Archive requests of the account.", |account| {
        Some(account.totals.requests as f64)
    });
    each(Kind::Counter, "association_archiver_account_throttled_total", "Answers 429 to the account.", |account| {
        Some(account.totals.throttled as f64)
    });
    each(
        Kind::Counter,
        "association_archiver_account_pairs_archived_total",
        "Pairs archived for the account, each once a request.",
        |account| Some(account.totals.pairs_archived as f64),
    );
}

fn single(page: &mut Exposition, kind: Kind, name: &'static str, help: &'static str, value: Option<f64>) {
    let mut family = page.family(Description { name, kind, help, labels: &[] });
    if let Some(value) = value {
        family.sample(&[], value);
    }
}

fn quota_used(account: &AccountStatus) -> f64 {
    f64::from(account.rate.used) / f64::from(account.rate.requests.max(1))
}

/// An account without a portal id is the only one there is.
fn portal(account: &AccountStatus) -> String {
    account.portal_id.map_or_else(|| "none".to_owned(), |portal| portal.to_string())
}

fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}
