//! Whether the worker takes and answers jobs.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::contract::grouped::Grouped;
use crate::contract::ids::AccountIndex;
use crate::engine::guard::GuardState;
use crate::engine::pause::PauseKind;
use crate::engine::status::{AccountStatus, LaneStatus, PauseStatus, Status, write_time, write_time_or_null};
use crate::lease::view::{LeaseStanding, LeaseView};
use crate::telemetry::behind_guards::JobsBehind;
use crate::telemetry::duration_words::span;
use crate::telemetry::failing_alone::FailingPair;
use crate::telemetry::lost_queue::LostQueue;
use crate::telemetry::mend::Mends;
use crate::telemetry::snapshot::{BrokerState, Snapshot};

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
    let paused = paused(snapshot, mends);
    let standing = &snapshot.status;
    let accounts = standing.accounts.iter().filter(|account| account.own_pause().is_some()).count();
    let all = accounts + standing.paused_lanes.values().sum::<usize>();
    Readiness {
        ready: reasons.is_empty(),
        reasons,
        warnings: warnings(snapshot),
        standby: standby(&snapshot.broker, mends),
        paused_left_out: all.saturating_sub(paused.len()),
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
    if !broker.consuming && !broker.overfull && !snapshot.draining && !is_ready_to_take_over(broker) {
        let cause = broker.consuming_trouble.as_deref().or(broker.lease_trouble.as_deref());
        reasons.push(with_cause("no jobs come in from the broker", cause));
    }
    if !broker.publishing || broker.publishing_stalled {
        reasons.push(with_cause("no outcomes can go out to the broker", broker.publishing_trouble.as_deref()));
    }
    let accounts = &snapshot.status.accounts;
    if !accounts.is_empty() && accounts.iter().all(|account| account.own_pause().is_some()) {
        reasons.push("every account is paused".to_owned());
    }
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
    if !is_ready_to_take_over(broker) {
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

/// This worker works on no queue, and another one works, or has worked until now.
fn is_ready_to_take_over(broker: &BrokerState) -> bool {
    let is_of = |wanted: LeaseStanding| move |lease: &LeaseView| lease.standing == wanted;
    let leases = &broker.leases;
    let is_at_work = broker.consuming || broker.overfull || leases.iter().any(is_of(LeaseStanding::Held));
    let stands_by =
        leases.iter().any(is_of(LeaseStanding::Waiting)) || leases.iter().any(is_of(LeaseStanding::StandingBy));
    !is_at_work && broker.lease_trouble.is_none() && stands_by
}

fn warnings(snapshot: &Snapshot) -> Vec<String> {
    let broker = &snapshot.broker;
    let blocked = "a resource alarm of the broker holds outcomes back";
    let overfull = "the jobs in hand occupy too much memory (amqp.max_held_bytes): no new ones are taken for now";
    let standing = [(broker.blocked, blocked), (broker.overfull, overfull)];
    let standing = standing.into_iter().filter(|(applies, _)| *applies).map(|(_, warning)| warning.to_owned());
    // Where nothing goes out at all it is a reason instead.
    let some_go_out = broker.publishing && !broker.publishing_stalled;
    let unpublished = broker.publishing_trouble.as_deref().filter(|_| some_go_out);
    // Where nothing comes in at all it is a reason instead.
    let some_come_in = broker.consuming || broker.overfull;
    let not_taken = broker.consuming_trouble.as_deref().filter(|_| some_come_in);
    let not_held = broker.lease_trouble.as_deref().filter(|_| some_come_in);
    standing
        .chain(unpublished.map(|cause| with_cause("messages wait to be published", Some(cause))))
        .chain(not_taken.map(|cause| with_cause("the jobs of a queue do not come in", Some(cause))))
        .chain(not_held.map(|cause| with_cause("a queue is not worked on", Some(cause))))
        .chain(broker.deserted.clone())
        .chain(failing_alone(&snapshot.failing_alone))
        .chain(lost_queues(&broker.lost_queues, snapshot.at))
        .chain(rejecting(&snapshot.status))
        .collect()
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
    let is_rejecting =
        |account: &&AccountStatus| account.guard.is_some_and(|guard| guard.state == GuardState::Rejected);
    let mut accounts = status.accounts.iter().filter(is_rejecting);
    let AccountStatus { index, portal_id, .. } = accounts.next()?;
    let name = portal_id.unwrap_or((*index).into());
    let others = match accounts.count() {
        0 => String::new(),
        1 => ", and every removal of 1 other account until that is approved".to_owned(),
        others => {
            format!(", and every removal of {} other accounts, each until it is approved", Grouped(others as u64))
        }
    };
    Some(format!("every removal of account {name} is rejected until `association-archiver approve {name}`{others}"))
}

fn with_cause(what: &str, cause: Option<&str>) -> String {
    cause.map_or_else(|| what.to_owned(), |cause| format!("{what}: {cause}"))
}

fn paused(snapshot: &Snapshot, mends: &Mends) -> Vec<Paused> {
    let Snapshot { status, behind_guards, .. } = snapshot;
    let accounts = status.accounts.iter().filter_map(|account| {
        let pause = account.own_pause()?;
        let behind = behind_guards.get(&AccountIndex(account.index)).filter(|_| pause.kind == PauseKind::Guard);
        let standstill = entry(account.index, account.portal_id, None, pause, mends);
        Some(Paused { behind: behind.cloned(), ..standstill })
    });
    let lanes = status.lanes.iter().filter_map(|lane| {
        let LaneStatus { from_object_type, to_object_type, .. } = lane;
        let name = format!("{from_object_type}/{to_object_type}");
        Some(entry(lane.account, lane.portal_id, Some(name), lane.pause.as_ref()?, mends))
    });
    accounts.chain(lanes).take(Readiness::MAX_PAUSED).collect()
}

fn entry(account: u32, portal_id: Option<u64>, lane: Option<String>, pause: &PauseStatus, mends: &Mends) -> Paused {
    let PauseStatus { scope: _, kind, detail, since, resume_at, probe_at } = pause;
    let mend = mends.of(*kind, AccountIndex(account));
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
