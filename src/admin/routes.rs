//! Which path gives what.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::failures;
use super::operator;
use super::page::{self, Page};
use super::readiness::{LONGEST_SILENCE, readiness};
use super::refusal::HttpRefusal;
use super::state::AdminState;
use super::status::StatusBody;
use crate::telemetry::duration_words::span;
use crate::telemetry::exposition;

/// No request needs a body.
const MAX_BODY_BYTES: usize = 1_024;

pub(super) fn router(state: AdminState) -> Router {
    let page = Page::new();
    Router::new()
        .route("/", get(async move || page.response()))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/failures.csv", get(failures))
        .route("/accounts/{account}/pause", post(operator::pause_account))
        .route("/accounts/{account}/resume", post(operator::resume_account))
        .route("/accounts/{account}/approve", post(operator::approve))
        .route("/accounts/{account}/reject", post(operator::reject))
        .route("/accounts/{account}/lanes/{from}/{to}/pause", post(operator::pause_lane))
        .route("/accounts/{account}/lanes/{from}/{to}/resume", post(operator::resume_lane))
        .fallback(nowhere)
        .method_not_allowed_fallback(not_so)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(map_response(guard))
        .with_state(state)
}

async fn livez(State(state): State<AdminState>) -> Result<&'static str, HttpRefusal> {
    let silence = state.heartbeat.age(Instant::now());
    if silence <= LONGEST_SILENCE {
        return Ok("ok\n");
    }
    let error = format!("the worker hangs: no sign of life for {}", span(silence.as_secs_f64()));
    Err(HttpRefusal::new(StatusCode::SERVICE_UNAVAILABLE, error))
}

async fn readyz(State(state): State<AdminState>) -> Response {
    let readiness = readiness(&state.snapshots.borrow(), &state.mends, state.heartbeat.age(Instant::now()));
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

async fn metrics(State(state): State<AdminState>) -> Response {
    let text = state.metrics.render(&Arc::clone(&state.snapshots.borrow()));
    ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response()
}

async fn status(State(state): State<AdminState>) -> Response {
    let snapshot = Arc::clone(&state.snapshots.borrow());
    let readiness = readiness(&snapshot, &state.mends, state.heartbeat.age(Instant::now()));
    Json(StatusBody::new(&snapshot, &readiness, &state.metrics)).into_response()
}

async fn failures(State(state): State<AdminState>) -> Response {
    failures::response(&Arc::clone(&state.snapshots.borrow()))
}

async fn nowhere() -> HttpRefusal {
    HttpRefusal::new(StatusCode::NOT_FOUND, "there is nothing here; see /, /livez, /readyz, /metrics and /status")
}

async fn not_so() -> HttpRefusal {
    HttpRefusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path is there, but not for this method; see the Allow header",
    )
}

/// What every answer carries: it is never kept, never guessed at and never framed.
async fn guard(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(page::NOTHING);
    response
}
