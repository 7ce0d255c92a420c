//! `POST /accounts/{account}/pause` and its like: checks who asks for what, and hands the order to the loop.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::refusal::Refusal;
use super::state::AdminState;
use super::token;
use crate::contract::ids::AccountIndex;
use crate::contract::object_type::ObjectType;
use crate::worker::seams::{Instruction, Order, Target};

/// What was done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Done {
    account: u32,
    portal_id: Option<u64>,
    /// `contacts/companies`; `None` for the whole account.
    lane: Option<String>,
    paused: bool,
    note: &'static str,
}

/// The loop comes round within a second; past this the order's fate is unknown.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

pub(super) async fn pause_account(
    State(state): State<AdminState>,
    Path(account): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Done>, Refusal> {
    order_account(&state, &account, &headers, &body, Instruction::Pause).await
}

pub(super) async fn resume_account(
    State(state): State<AdminState>,
    Path(account): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Done>, Refusal> {
    order_account(&state, &account, &headers, &body, Instruction::Resume).await
}

pub(super) async fn pause_lane(
    State(state): State<AdminState>,
    Path(path): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Done>, Refusal> {
    order_lane(&state, &path, &headers, &body, Instruction::Pause).await
}

pub(super) async fn resume_lane(
    State(state): State<AdminState>,
    Path(path): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Done>, Refusal> {
    order_lane(&state, &path, &headers, &body, Instruction::Resume).await
}

async fn order_account(
    state: &AdminState,
    account: &str,
    headers: &HeaderMap,
    body: &[u8],
    instruction: Instruction,
) -> Result<Json<Done>, Refusal> {
    token::check(state.token.as_ref(), headers)?;
    check_body(body)?;
    let (index, portal_id) = find(state, account)?;
    order(state, Target::Account(index), instruction).await?;
    Ok(Json(done(index, portal_id, None, instruction)))
}

async fn order_lane(
    state: &AdminState,
    (account, from, to): &(String, String, String),
    headers: &HeaderMap,
    body: &[u8],
    instruction: Instruction,
) -> Result<Json<Done>, Refusal> {
    token::check(state.token.as_ref(), headers)?;
    check_body(body)?;
    let (index, portal_id) = find(state, account)?;
    let (from_type, to_type) = (object_type(from)?, object_type(to)?);
    let lane = format!("{}/{}", from_type.path_segment(), to_type.path_segment());
    if order(state, Target::Lanes { account: index, from_type, to_type }, instruction).await? == 0 {
        let error = format!("no jobs of the lane {lane} are in hand: a lane can be paused while it has some");
        return Err(Refusal::new(StatusCode::NOT_FOUND, error));
    }
    Ok(Json(done(index, portal_id, Some(lane), instruction)))
}

/// Nothing can be said in a body, so that nothing said there is lost.
fn check_body(body: &[u8]) -> Result<(), Refusal> {
    match body.trim_ascii() {
        b"" | b"{}" => Ok(()),
        _ => Err(Refusal::new(StatusCode::BAD_REQUEST, "this request takes no body: leave it empty")),
    }
}

/// By portal id, else by place in the settings.
fn find(state: &AdminState, account: &str) -> Result<(AccountIndex, Option<u64>), Refusal> {
    let number: Option<u64> = account.parse().ok();
    let snapshot = state.snapshots.borrow();
    let accounts = &snapshot.status.accounts;
    let by_portal = accounts.iter().find(|account| account.portal_id.is_some() && account.portal_id == number);
    let by_index = || accounts.iter().find(|account| Some(u64::from(account.index)) == number);
    let found = by_portal.or_else(by_index).map(|account| (AccountIndex(account.index), account.portal_id));
    found.ok_or_else(|| {
        let error = "no such account: name it by its portal id or by its index, as /status lists them";
        Refusal::new(StatusCode::NOT_FOUND, error)
    })
}

fn object_type(text: &str) -> Result<ObjectType, Refusal> {
    ObjectType::parse(text).map_err(|fault| {
        let error = format!("the lane's object type is none: {fault}");
        Refusal::new(StatusCode::BAD_REQUEST, error)
    })
}

async fn order(state: &AdminState, target: Target, instruction: Instruction) -> Result<usize, Refusal> {
    let unavailable = |error: &str| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error);
    let (reply, done) = oneshot::channel();
    let order = Order { target, instruction, reply };
    state.orders.try_send(order).map_err(|_| unavailable("the worker takes no orders now: try again"))?;
    match timeout(LONGEST_WAIT, done).await {
        Ok(Ok(applied)) => Ok(applied),
        Ok(Err(_)) => Err(unavailable("the worker stops and did not carry out the order")),
        Err(_) => Err(unavailable("the worker did not answer in time; /status tells whether it was done")),
    }
}

fn done(account: AccountIndex, portal_id: Option<u64>, lane: Option<String>, instruction: Instruction) -> Done {
    let AccountIndex(account) = account;
    match instruction {
        Instruction::Pause => Done { account, portal_id, lane, paused: true, note: ENDS_WITH_PROCESS },
        Instruction::Resume => Done { account, portal_id, lane, paused: false, note: TRIES_AGAIN },
    }
}

const ENDS_WITH_PROCESS: &str =
    "The pause ends with this process. To keep an account paused, set `paused = true` in its settings.";

const TRIES_AGAIN: &str =
    "An operator's pause is over. What stands for a reason of its own is tried at once and goes on when that works.";
