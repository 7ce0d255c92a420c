//! `POST /accounts/{account}/pause` and its like: checks who asks for what, and hands the order to the loop.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::refusal::HttpRefusal;
use super::state::AdminState;
use super::token;
use crate::contract::ids::AccountIndex;
use crate::contract::object_type::ObjectType;
use crate::engine::pause::PauseKind;
use crate::engine::status::{AccountStatus, LaneStatus, PauseStatus};
use crate::lease::view::LeaseStanding;
use crate::telemetry::duration_words::span;
use crate::telemetry::mend::Mends;
use crate::telemetry::snapshot::{BrokerState, Snapshot};
use crate::worker::seams::{Instruction, Obeyed, Order, Target};

/// What was done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Done {
    account: u32,
    portal_id: Option<u64>,
    /// `contacts/companies`; `None` for the whole account.
    lane: Option<String>,
    /// Whether it is paused by an operator now; `None` after another order than `pause` and `resume`.
    paused: Option<bool>,
    /// This worker stands by, and has handed the order on to the one that works.
    handed_on: bool,
    /// It is carried out, but must be given again: nobody knows whether it is written down in the lease.
    give_again: bool,
    note: Cow<'static, str>,
}

/// The loop comes round within a second. After this time nobody knows what became of the order.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

pub(super) async fn pause_account(
    State(state): State<AdminState>,
    Extension(peer): Extension<Peer>,
    Path(account): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<OrderAnswer, HttpRefusal> {
    order_account(&state, &account, (&headers, &body, peer), Instruction::Pause).await
}

pub(super) async fn resume_account(
    State(state): State<AdminState>,
    Extension(peer): Extension<Peer>,
    Path(account): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<OrderAnswer, HttpRefusal> {
    order_account(&state, &account, (&headers, &body, peer), Instruction::Resume).await
}

pub(super) async fn approve(
    State(state): State<AdminState>,
    Extension(peer): Extension<Peer>,
    Path(account): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<OrderAnswer, HttpRefusal> {
    order_account(&state, &account, (&headers, &body, peer), Instruction::Approve).await
}

pub(super) async fn reject(
    State(state): State<AdminState>,
    Extension(peer): Extension<Peer>,
    Path(account): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<OrderAnswer, HttpRefusal> {
    order_account(&state, &account, (&headers, &body, peer), Instruction::Reject).await
}

pub(super) async fn pause_lane(
    State(state): State<AdminState>,
    Extension(peer): Extension<Peer>,
    Path(path): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<OrderAnswer, HttpRefusal> {
    order_lane(&state, &path, (&headers, &body, peer), Instruction::Pause).await
}

pub(super) async fn resume_lane(
    State(state): State<AdminState>,
    Extension(peer): Extension<Peer>,
    Path(path): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<OrderAnswer, HttpRefusal> {
    order_lane(&state, &path, (&headers, &body, peer), Instruction::Resume).await
}

async fn order_account(
    state: &AdminState,
    account: &str,
    (headers, body, peer): (&HeaderMap, &[u8], Peer),
    instruction: Instruction,
) -> Result<OrderAnswer, HttpRefusal> {
    token::check(state.token.as_ref(), headers)?;
    check_body(body)?;
    let (index, portal_id) = find(state, account)?;
    if matches!(instruction, Instruction::Approve | Instruction::Reject) && !has_guard(state, index) {
        let error = "the account has no guard to answer: safety.max_pairs is not set for it";
        return Err(HttpRefusal::new(StatusCode::CONFLICT, error));
    }
    let before = account_of(state, index);
    let obeyed = order(state, Target::Account(index), instruction, peer).await?;
    let resumed = match (instruction, before, account_of(state, index)) {
        (Instruction::Resume, Some(before), Some(after)) => {
            let now = state.snapshots.borrow();
            Some(resumed(&before, &after, &now) + &still_paused(index, &now, &state.mends))
        }
        _ => None,
    };
    Ok(answer(index, portal_id, None, instruction, &obeyed, resumed))
}

async fn order_lane(
    state: &AdminState,
    (account, from, to): &(String, String, String),
    (headers, body, peer): (&HeaderMap, &[u8], Peer),
    instruction: Instruction,
) -> Result<OrderAnswer, HttpRefusal> {
    token::check(state.token.as_ref(), headers)?;
    check_body(body)?;
    let (index, portal_id) = find(state, account)?;
    let (from_type, to_type) = (object_type(from)?, object_type(to)?);
    let lane = format!("{}/{}", from_type.path_segment(), to_type.path_segment());
    let before = lanes_of(state, index, &lane);
    let obeyed = order(state, Target::Lanes { account: index, from_type, to_type }, instruction, peer).await?;
    if obeyed == Obeyed::Done(0) {
        let error = no_jobs_of(&lane, instruction);
        return Err(HttpRefusal::new(StatusCode::NOT_FOUND, error));
    }
    let resumed = resumed_lane(&before, &lanes_of(state, index, &lane), account_of(state, index).as_ref());
    Ok(answer(index, portal_id, Some(lane), instruction, &obeyed, resumed))
}

/// A body that says anything is refused, so that nothing is passed over in silence.
fn check_body(body: &[u8]) -> Result<(), HttpRefusal> {
    match body.trim_ascii() {
        b"" | b"{}" => Ok(()),
        _ => Err(HttpRefusal::new(StatusCode::BAD_REQUEST, "this request takes no body: leave it empty")),
    }
}

/// Finds an account by its portal id, or by its place in the settings.
fn find(state: &AdminState, account: &str) -> Result<(AccountIndex, Option<u64>), HttpRefusal> {
    let number: Option<u64> = account.parse().ok();
    let snapshot = state.snapshots.borrow();
    let accounts = &snapshot.status.accounts;
    let by_portal = accounts.iter().find(|account| account.portal_id.is_some() && account.portal_id == number);
    let by_index = || accounts.iter().find(|account| Some(u64::from(account.index)) == number);
    let found = by_portal.or_else(by_index).map(|account| (AccountIndex(account.index), account.portal_id));
    found.ok_or_else(|| {
        let error = "no such account: name it by its portal id or by its index, as /status lists them";
        HttpRefusal::new(StatusCode::NOT_FOUND, error)
    })
}

fn account_of(state: &AdminState, AccountIndex(index): AccountIndex) -> Option<AccountStatus> {
    state.snapshots.borrow().status.accounts.iter().find(|account| account.index == index).cloned()
}

/// Of what is listed: paused lanes are first.
fn lanes_of(state: &AdminState, AccountIndex(index): AccountIndex, name: &str) -> Vec<LaneStatus> {
    let is_meant = |lane: &&LaneStatus| lane.account == index && lane.name() == name;
    state.snapshots.borrow().status.lanes.iter().filter(is_meant).cloned().collect()
}

/// Why an order for a lane came to nothing.
fn no_jobs_of(lane: &str, instruction: Instruction) -> String {
    let way_on = match instruction {
        Instruction::Resume => "and nothing of it is paused: what comes is sent",
        Instruction::Pause | Instruction::Approve | Instruction::Reject => {
            "and a lane can be paused only while it has some: try again while jobs come, or pause the account"
        }
    };
    format!("no jobs of the lane {lane} are in hand, {way_on}")
}

/// What has become of the lanes between two types that were to be resumed; `None` where they are not listed.
fn resumed_lane(before: &[LaneStatus], after: &[LaneStatus], account: Option<&AccountStatus>) -> Option<String> {
    let kinds = |lanes: &[LaneStatus]| -> Vec<PauseKind> {
        lanes.iter().filter_map(|lane| lane.pause.as_ref()).map(|pause| pause.kind).collect()
    };
    let (stood, stand) = (kinds(before), kinds(after));
    let by_hand = stood.contains(&PauseKind::Operator);
    let own = stood.into_iter().find(|kind| *kind != PauseKind::Operator);
    let is_empty = |lane: &LaneStatus| lane.waiting_pairs == 0 && lane.returned_batches == 0 && lane.in_flight == 0;
    let next = match after.iter().all(is_empty) {
        true => "No job of it is in hand: the first one that comes finds out whether that is over.",
        false => "A request finds out at once whether that is over.",
    };
    let told = match (by_hand, own) {
        _ if before.is_empty() => return None,
        (false, None) => "It did not stand still: there was nothing to resume.".to_owned(),
        (true, None) => "The operator's pause is over.".to_owned(),
        (_, Some(kind)) if !stand.contains(&kind) => format!("Its pause ({}) is over.", kind.as_str()),
        (false, Some(kind)) => format!("Nobody paused it by hand: it stands for {}. {next}", kind.as_str()),
        (true, Some(kind)) => {
            format!("The operator's pause is over. A part of it stands for {}. {next}", kind.as_str())
        }
    };
    let of_account = account.and_then(AccountStatus::own_pause).map(|pause| {
        format!(
            " But its account stands still ({}): nothing of the lane is sent before that is over.",
            pause.kind.as_str()
        )
    });
    Some(told + &of_account.unwrap_or_default())
}

/// What has become of an account that was to be resumed. `now` is a snapshot that was taken after the order.
fn resumed(before: &AccountStatus, after: &AccountStatus, now: &Snapshot) -> String {
    let name = after.portal_id.unwrap_or_else(|| after.index.into());
    let nobody = after.held_jobs == 0;
    let back = now.broker.last_back().map(|by| span(by.duration_since(now.at).as_secs_f64()));
    let parked = back.map_or_else(String::new, |span| {
        format!(" Parked jobs come back by themselves, the last of them within {span} at the latest.")
    });
    let next = format!("No job of it is in hand: the first one that comes is tried at once.{parked}");
    let asks_of_day = before.day.left == Some(0) && after.day.left != Some(0);
    match (before.own_pause().map(|pause| pause.kind), after.own_pause()) {
        (None, None) if asks_of_day => {
            let asked =
                "HubSpot said that nothing is left of its day: one request finds out whether that is so.".to_owned();
            if nobody { format!("{asked} {next}") } else { asked }
        }
        (None, None) => "It does not stand still as a whole. Its lanes that stand still for a reason of their own are tried at once.".to_owned(),
        (Some(PauseKind::Operator), None) if nobody => format!("The operator's pause is over. {next}"),
        (Some(PauseKind::Operator), None) => "The operator's pause is over.".to_owned(),
        (Some(kind), None) => {
            let over = format!("Its pause ({}) is over, and a request finds out whether that is right.", kind.as_str());
            if nobody { format!("{over} {next}") } else { over }
        }
        (_, Some(PauseStatus { kind: PauseKind::Guard, .. })) => format!(
            "It still stands: its guard waits for `association-archiver approve {name}` or `association-archiver reject {name}`."
        ),
        (_, Some(PauseStatus { kind: PauseKind::DaySpent, detail, .. })) => format!(
            "It still stands, since {detail}. Raise rate_limit.daily and restart the worker, or wait for the account's midnight."
        ),
        (_, Some(PauseStatus { kind, resume_at: Some(at), .. })) => {
            format!(
                "It still stands ({}) until {at}: HubSpot named this time, and nothing is sent before.",
                kind.as_str()
            )
        }
        (_, Some(pause)) if nobody => format!("It still stands ({}). {next}", pause.kind.as_str()),
        (_, Some(pause)) => {
            format!("A request finds out at once whether it still stands for {}.", pause.kind.as_str())
        }
    }
}

/// Its lanes that were paused by hand stay so: each is resumed by an order of its own.
fn still_paused(account: AccountIndex, now: &Snapshot, mends: &Mends) -> String {
    let is_by_hand = |lane: &&LaneStatus| {
        lane.account == account.0 && lane.pause.as_ref().is_some_and(|pause| pause.kind == PauseKind::Operator)
    };
    let names = now.status.lanes.iter().filter(is_by_hand).map(LaneStatus::name);
    let mut commands: Vec<String> = names.map(|lane| format!("`{}`", mends.resume_lane(account, &lane))).collect();
    // What removes labels is a lane of its own between the same types, and is paused and resumed with the other.
    commands.sort_unstable();
    commands.dedup();
    let more = commands.len().saturating_sub(MOST_COMMANDS);
    commands.truncate(MOST_COMMANDS);
    match (commands.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!(" Lanes of it that were paused by hand stay paused: {}.", commands.join(", ")),
        (false, more) => {
            format!(" Lanes of it that were paused by hand stay paused: {}, and {more} more.", commands.join(", "))
        }
    }
}

/// Most lanes that an answer names.
const MOST_COMMANDS: usize = 5;

fn has_guard(state: &AdminState, AccountIndex(index): AccountIndex) -> bool {
    let snapshot = state.snapshots.borrow();
    snapshot.status.accounts.iter().any(|account| account.index == index && account.guard.is_some())
}

fn object_type(text: &str) -> Result<ObjectType, HttpRefusal> {
    ObjectType::parse(text).map_err(|fault| {
        let error = format!("the lane's object type is none: {fault}");
        HttpRefusal::new(StatusCode::BAD_REQUEST, error)
    })
}

/// Why no order can be taken yet.
fn not_started(snapshot: &Snapshot) -> Option<String> {
    let why = snapshot.broker.consuming_trouble.as_deref().unwrap_or("it is being connected to");
    snapshot.starting.then(|| {
        format!(
            "the worker has not started yet, since the broker is not reached ({why}): nothing is sent to HubSpot, and \
             orders are taken once it is. To start with an account paused, set `paused = true` for it"
        )
    })
}

async fn order(
    state: &AdminState,
    target: Target,
    instruction: Instruction,
    Peer(from): Peer,
) -> Result<Obeyed, HttpRefusal> {
    let unavailable = |error: &str| HttpRefusal::new(StatusCode::SERVICE_UNAVAILABLE, error);
    if let Some(why) = not_started(&state.snapshots.borrow()) {
        return Err(unavailable(&why));
    }
    let (reply, done) = oneshot::channel();
    let order = Order { target, instruction, from, reply };
    state.orders.try_send(order).map_err(|_| unavailable("the worker takes no orders now: try again"))?;
    match timeout(LONGEST_WAIT, done).await {
        Ok(Ok(Obeyed::NotHandedOn(why))) => Err(unavailable(&not_handed_on(&why, &state.snapshots.borrow().broker))),
        Ok(Ok(obeyed @ (Obeyed::Done(_) | Obeyed::Unwritten | Obeyed::HandedOn))) => Ok(obeyed),
        Ok(Err(_)) => Err(unavailable("the worker stops and did not carry out the order")),
        Err(_) => Err(unavailable("the worker did not answer in time; /status tells whether it was done")),
    }
}

/// Why an order came to nothing: this worker does not hold the account's lease. Where it has no broker, or the broker takes
/// nothing, that is why.
fn not_handed_on(why: &str, broker: &BrokerState) -> String {
    let stands_by = broker.leases.iter().any(|lease| lease.standing == LeaseStanding::StandingBy);
    let cause = broker.publishing_trouble.as_deref().or(broker.consuming_trouble.as_deref());
    match cause.or(broker.lease_trouble.as_deref()).filter(|_| !stands_by || !broker.publishing) {
        Some(cause) => format!(
            "this worker does not hold the lease, and carries out no order: {cause}. It sends nothing new to HubSpot \
             meanwhile; give the order again once the broker is back, or takes messages again"
        ),
        None => format!(
            "this worker stands by and could not hand the order on to the one that works ({why}): try again, or ask that one"
        ),
    }
}

/// The address that asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub IpAddr);

/// What an operator is told.
type OrderAnswer = (StatusCode, Json<Done>);

fn answer(
    account: AccountIndex,
    portal_id: Option<u64>,
    lane: Option<String>,
    instruction: Instruction,
    obeyed: &Obeyed,
    resumed: Option<String>,
) -> OrderAnswer {
    let paused = match instruction {
        Instruction::Pause => Some(true),
        Instruction::Resume => Some(false),
        Instruction::Approve | Instruction::Reject => None,
    };
    let (handed_on, give_again) = (*obeyed == Obeyed::HandedOn, *obeyed == Obeyed::Unwritten);
    let note = match (instruction, &lane) {
        _ if handed_on => HANDED_ON.into(),
        _ if give_again => UNWRITTEN.into(),
        (Instruction::Pause, None) => LASTS.into(),
        (Instruction::Pause, Some(_)) => ENDS_WITH_PROCESS.into(),
        (Instruction::Resume, _) => resumed.map_or(TRIES_AGAIN.into(), Cow::from),
        (Instruction::Approve, _) => APPROVED.into(),
        (Instruction::Reject, _) => REJECTED.into(),
    };
    let status = if handed_on || give_again { StatusCode::ACCEPTED } else { StatusCode::OK };
    (status, Json(Done { account: account.0, portal_id, lane, paused, handed_on, give_again, note }))
}

const LASTS: &str = "The pause holds until it is resumed, also after a restart or with another worker. With \
                     `amqp.lease = false` it ends with this process, and a change of amqp.shards ends it; `paused = true` in \
                     the account's settings outlives both.";

const ENDS_WITH_PROCESS: &str = "A lane's pause ends with this process. Longer than that only a whole account can be paused: by `pause` without a lane, \
     or with `paused = true` in its settings.";

const TRIES_AGAIN: &str = "What was paused by hand goes on. What stands for a reason of its own is tried at once and goes on when that works.";

const APPROVED: &str =
    "Everything passes the guard for one whole safety.max_pairs_window from now on; then pairs are counted anew.";

const REJECTED: &str = "What waits to be removed, and what comes, ends with GUARD_REJECTED and a copy in the dead letters, \
                        until it is approved. What is on its way to HubSpot is answered first.";

const UNWRITTEN: &str = "This worker has carried out the order. But the broker has not confirmed in time that it is written down in \
                         the lease: another worker that takes over may not know of it. Give the order again once the \
                         broker is back.";

const HANDED_ON: &str = "This worker stands by. The order is in the lease queue, and the worker that holds the lease takes it from there: the \
     active consumer of that queue bears its name.";

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::engine::status::PauseScope;
    use crate::telemetry::snapshot::{self, tests::account};

    fn lane(pause: Option<PauseKind>, waiting_pairs: usize) -> LaneStatus {
        let pause = pause.map(|kind| PauseStatus {
            scope: PauseScope::Lane,
            kind,
            detail: String::new(),
            since: Timestamp::UNIX_EPOCH,
            resume_at: None,
            probe_at: None,
        });
        snapshot::tests::lane(pause, waiting_pairs)
    }

    #[test]
    fn what_is_said_of_a_lane_that_was_resumed_is_what_was_so() {
        let (by_hand, own) = (Some(PauseKind::Operator), Some(PauseKind::MissingScopes));
        let told = |before: LaneStatus, after: LaneStatus| resumed_lane(&[before], &[after], None).unwrap();
        assert_eq!(told(lane(by_hand, 3), lane(None, 3)), "The operator's pause is over.");
        assert_eq!(told(lane(None, 3), lane(None, 3)), "It did not stand still: there was nothing to resume.");
        assert_eq!(
            told(lane(own, 3), lane(own, 3)),
            "Nobody paused it by hand: it stands for missing_scopes. A request finds out at once whether that is over."
        );
        assert_eq!(told(lane(own, 0), lane(None, 0)), "Its pause (missing_scopes) is over.");
        let nobody = told(lane(own, 0), lane(own, 0));
        assert!(nobody.ends_with("the first one that comes finds out whether that is over."), "{nobody}");
        let both = resumed_lane(&[lane(by_hand, 1), lane(own, 1)], &[lane(None, 1), lane(own, 1)], None).unwrap();
        assert!(both.starts_with("The operator's pause is over. A part of it stands for missing_scopes."), "{both}");

        let pause =
            lane(Some(PauseKind::Outage), 0).pause.map(|pause| PauseStatus { scope: PauseScope::Account, ..pause });
        let stands = AccountStatus { pause, ..account(0, Some(4711)) };
        let held_up = resumed_lane(&[lane(by_hand, 3)], &[lane(None, 3)], Some(&stands)).unwrap();
        assert!(held_up.contains("But its account stands still (outage)"), "{held_up}");
        assert_eq!(resumed_lane(&[], &[], None), None, "it was not listed");
    }
}
