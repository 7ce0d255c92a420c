//! Whether the worker takes and answers jobs.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::contract::grouped::Grouped;
use crate::contract::ids::AccountIndex;
use crate::engine::pause::PauseKind;
use crate::engine::status::{AccountStatus, PauseStatus, Status, write_time, write_time_or_null};
use crate::lease::view::LeaseStanding;
use crate::telemetry::behind_guards::JobsBehind;
use crate::telemetry::conditions::{Condition, is_rejecting, to_the_second};
use crate::telemetry::duration_words::span;
use crate::telemetry::failing_alone::FailingPair;
use crate::telemetry::lost_queue::LostQueue;
use crate::telemetry::mend::Mends;
use crate::telemetry::snapshot::{BrokerState, Snapshot};
use crate::telemetry::throttled::Throttled;

/// The body of `/readyz`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    pub ready: bool,
    /// Why it is not.
    pub reasons: Vec<String>,
    /// What an operator should know even if it is ready.
    pub warnings: Vec<String>,
    /// Set where the worker is ready to take over from another one: whether it stands by, or is about to work.
    pub standby: Option<String>,
    /// Accounts, then lanes that stand still; at most [`Readiness::MAX_PAUSED`].
    pub paused: Vec<Paused>,
    pub paused_left_out: usize,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Paused {
    /// The account's place in the settings, from 0.
    pub account: u32,
    pub portal_id: Option<u64>,
    /// `contacts/companies`; `None` where the account as a whole stands.
    pub lane: Option<String>,
    pub kind: PauseKind,
    pub detail: String,
    #[serde(serialize_with = "write_time")]
    pub since: Timestamp,
    /// `None` where only a probe or an operator can tell.
    #[serde(serialize_with = "write_time_or_null")]
    pub resume_at: Option<Timestamp>,
    /// When a request may find out whether it is over; `None` where none may.
    #[serde(serialize_with = "write_time_or_null")]
    pub probe_at: Option<Timestamp>,
    /// What to do, in a few sentences.
    pub mend: String,
    /// Where the runbook says more.
    pub runbook: String,
    /// The jobs that a guard holds up; `None` for every other pause.
    pub behind: Option<JobsBehind>,
}

/// The loop comes round at least once a second; if it has not done so for longer than this, it hangs.
pub(super) const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// `silence` is the time since the worker's loop last came round.
pub fn readiness(snapshot: &Snapshot, mends: &Mends, silence: Duration) -> Readiness {
    let reasons = reasons(snapshot, silence);
    let (paused, folded) = paused(snapshot, mends);
    let standing = &snapshot.status;
    let accounts = standing.accounts.iter().filter(|account| account.own_pause().is_some()).count();
    let all = accounts + standing.paused_lanes.values().sum::<usize>();
    Readiness {
        ready: reasons.is_empty(),
        reasons,
        warnings: warnings(snapshot),
        standby: standby(&snapshot.broker, mends),
        paused_left_out: all.saturating_sub(folded + paused.len()),
        paused,
    }
}

impl Readiness {
    /// At most this many standstills are listed.
    pub const MAX_PAUSED: usize = 100;
}

fn reasons(snapshot: &Snapshot, silence: Duration) -> Vec<String> {
    let broker = &snapshot.broker;
    let mut reasons = Vec::new();
    if silence > LONGEST_SILENCE {
        reasons.push(format!("the worker hangs: no sign of life for {}", span(silence.as_secs_f64())));
    }
    if snapshot.draining {
        reasons.push(draining(snapshot));
    }
    // A queue that is lost shows in the subscription, and what is wrong with it often in the lease only.
    let troubles: Vec<_> = [&broker.consuming_trouble, &broker.lease_trouble].into_iter().flatten().cloned().collect();
    let cause = (!troubles.is_empty()).then(|| troubles.join("; "));
    let standing = [
        (Condition::NothingComesIn, "no jobs come in from the broker", cause.as_deref()),
        (Condition::NothingGoesOut, "no outcomes can go out to the broker", broker.publishing_trouble.as_deref()),
        (Condition::EveryAccountPaused, "every account is paused", None),
    ];
    reasons.extend(lasting(snapshot, standing));
    reasons
}

/// What a stop waits for, and for how long still.
fn draining(snapshot: &Snapshot) -> String {
    let Snapshot { status, broker, grace_until, at, .. } = snapshot;
    let mut waits = Vec::new();
    if status.held.in_flight > 0 {
        waits.push(format!("requests that HubSpot has not answered ({})", Grouped(status.held.in_flight as u64)));
    }
    if broker.unpublished > 0 {
        waits.push(format!("outcomes that the broker has not confirmed ({})", Grouped(broker.unpublished)));
    }
    let stops = "draining: the worker stops and takes no new jobs";
    if waits.is_empty() {
        return stops.to_owned();
    }
    let left = grace_until.map_or_else(String::new, |until| {
        format!(", {} at most (shutdown.grace),", span(until.duration_since(*at).as_secs_f64()))
    });
    format!("{stops}; it waits{left} for {}", waits.join(" and for "))
}

/// What a worker that is ready to take over says of itself.
fn standby(broker: &BrokerState, mends: &Mends) -> Option<String> {
    let leases = &broker.leases;
    if !broker.is_ready_to_take_over() {
        None
    } else if leases.iter().any(|lease| lease.standing == LeaseStanding::Waiting) {
        Some("about to work: it waits until the worker before it has surely stopped".to_owned())
    } else {
        let who = mends.who_holds(leases);
        Some(format!(
            "standing by: another worker holds the lease, does the work, and shows what stands still; to find it: \
             `{who}`, which shows it as single_active"
        ))
    }
}

fn warnings(snapshot: &Snapshot) -> Vec<String> {
    let broker = &snapshot.broker;
    // Where nothing goes out, comes in or is worked on at all it is a reason instead.
    let standing = [
        (Condition::Alarm, "a resource alarm of the broker holds outcomes back", None),
        (Condition::Overfull, OVERFULL, None),
        (Condition::SomeDoNotGoOut, "messages wait to be published", broker.publishing_trouble.as_deref()),
        (Condition::SomeDoNotComeIn, "the jobs of a queue do not come in", broker.consuming_trouble.as_deref()),
        (Condition::SomeNotWorkedOn, "a queue is not worked on", broker.lease_trouble.as_deref()),
    ];
    let sentence = |what: String, condition| format!("{what}{}", snapshot.begun.since(condition, ";"));
    lasting(snapshot, standing)
        .chain(broker.deserted.clone().map(|what| sentence(what, Condition::Deserted)))
        .chain(snapshot.throttled.iter().map(throttled))
        .chain(failing_alone(&snapshot.failing_alone))
        .chain(lost_queues(&broker.lost_queues, snapshot.at))
        .chain(rejecting(&snapshot.status).map(|what| sentence(what, Condition::Rejecting)))
        .collect()
}

const OVERFULL: &str =
    "no new jobs are taken for now, because the jobs in hand occupy too much memory (amqp.max_held_bytes)";

/// Those that apply, each with since when it lasts and its cause.
fn lasting<'a, const N: usize>(
    snapshot: &'a Snapshot,
    conditions: [(Condition, &'static str, Option<&'a str>); N],
) -> impl Iterator<Item = String> + 'a {
    conditions.into_iter().filter(|(condition, ..)| snapshot.shows(*condition)).map(|(condition, what, cause)| {
        let since = snapshot.begun.since(condition, "");
        cause.map_or_else(|| format!("{what}{since}"), |cause| format!("{what}{since}: {cause}"))
    })
}

/// An account that gets nowhere, though nothing of it is paused.
fn throttled(account: &Throttled) -> String {
    let Throttled { index, portal_id, since, rate } = account;
    let name = account_name(*index, *portal_id);
    let requests = match rate.requests {
        1 => "1 request".to_owned(),
        more => format!("{} requests", Grouped(u64::from(more))),
    };
    format!(
        "HubSpot answers every request of {name} with 429 (too many requests) since {}: probably another app of \
         the account uses the quota. The worker goes on trying, now with {requests} in {}",
        to_the_second(*since),
        span(rate.interval_seconds)
    )
}

fn account_name(index: u32, portal_id: Option<u64>) -> String {
    portal_id.map_or_else(|| format!("account {index}"), |portal| format!("portal {portal}"))
}

/// Pairs that fail though others are served.
fn failing_alone(pairs: &[FailingPair]) -> Option<String> {
    let FailingPair { portal_id, lane, from, to, .. } = pairs.first()?;
    let of = portal_id.map(|portal| format!(" of portal {portal}")).unwrap_or_default();
    Some(match pairs.len() {
        1 => format!("one pair fails by itself while others go on: {from} and {to} in {lane}{of}"),
        more => format!(
            "{} pairs fail by themselves while others go on, such as {from} and {to} in {lane}{of}",
            Grouped(more as u64)
        ),
    })
}

/// For how long a queue that was deleted is warned of. Afterwards `/status` still has it.
const LOSS_IS_NEWS_FOR: Duration = Duration::from_secs(60 * 60);

/// Queues whose messages were lost lately.
fn lost_queues(queues: &[LostQueue], now: Timestamp) -> impl Iterator<Item = String> {
    let is_news = move |lost: &&LostQueue| now.duration_since(lost.last_at).unsigned_abs() < LOSS_IS_NEWS_FOR;
    queues.iter().filter(is_news).map(|LostQueue { queue, loss, last_at, .. }| {
        let at = last_at.strftime("%H:%M:%SZ");
        format!("queue {queue:?} was gone at {at} and is declared again; {loss}")
    })
}

/// Accounts whose jobs end because a person rejected what their guard had stopped.
fn rejecting(status: &Status) -> Option<String> {
    let mut accounts = status.accounts.iter().filter(|account| is_rejecting(account));
    let AccountStatus { index, portal_id, .. } = accounts.next()?;
    let name = portal_id.unwrap_or((*index).into());
    let others = match accounts.count() {
        0 => String::new(),
        1 => ", and every removal of 1 other account until that is approved".to_owned(),
        others => {
            format!(", and every removal of {} other accounts, each until it is approved", Grouped(others as u64))
        }
    };
    let subject = account_name(*index, *portal_id);
    Some(format!("every removal of {subject} is rejected until `association-archiver approve {name}`{others}"))
}

/// What stands still, and how many lanes of it are told together with another one: what one order or one reason stops are
/// several lanes of the engine, such as that of the looks and that of the removals, and one for people.
fn paused(snapshot: &Snapshot, mends: &Mends) -> (Vec<Paused>, usize) {
    let Snapshot { status, behind_guards, .. } = snapshot;
    let accounts = status.accounts.iter().filter_map(|account| {
        let pause = account.own_pause()?;
        let behind = behind_guards.get(&AccountIndex(account.index)).filter(|_| pause.kind == PauseKind::Guard);
        let standstill = entry(account.index, account.portal_id, None, pause, mends);
        Some(Paused { behind: behind.cloned(), ..standstill })
    });
    let lanes = status
        .lanes
        .iter()
        .filter_map(|lane| Some(entry(lane.account, lane.portal_id, Some(lane.name()), lane.pause.as_ref()?, mends)));
    let mut paused: Vec<Paused> = accounts.chain(lanes).collect();
    let (all, mut told) = (paused.len(), HashSet::new());
    paused.retain(|entry| told.insert((entry.account, entry.lane.clone(), entry.kind, entry.since)));
    let folded = all - paused.len();
    paused.truncate(Readiness::MAX_PAUSED);
    (paused, folded)
}

fn entry(account: u32, portal_id: Option<u64>, lane: Option<String>, pause: &PauseStatus, mends: &Mends) -> Paused {
    let PauseStatus { scope: _, kind, detail, since, resume_at, probe_at } = pause;
    let mend = match &lane {
        None => mends.of(*kind, AccountIndex(account)),
        Some(lane) => mends.of_lane(*kind, AccountIndex(account), lane),
    };
    Paused {
        account,
        portal_id,
        lane,
        kind: *kind,
        detail: detail.clone(),
        since: *since,
        resume_at: *resume_at,
        probe_at: *probe_at,
        runbook: mend.runbook(),
        mend: mend.what,
        behind: None,
    }
}
