//! `/failures.csv`: the latest jobs of each cause of failure, to be opened in a spreadsheet.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::refusal::HttpRefusal;
use crate::contract::time;
use crate::telemetry::failures::FailedJob;
use crate::telemetry::snapshot::Snapshot;

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("text/csv; charset=utf-8");
const DISPOSITION: HeaderValue = HeaderValue::from_static("attachment; filename=\"failures.csv\"");

const COLUMNS: [&str; 11] = [
    "at",
    "portal_id",
    "job_id",
    "pairs",
    "first_from_id",
    "first_to_id",
    "source",
    "category",
    "http_status",
    "correlation_id",
    "message",
];

pub(super) fn response(snapshot: &Snapshot) -> Response {
    match table(snapshot) {
        Ok(text) => {
            let headers = [(header::CONTENT_TYPE, CONTENT_TYPE), (header::CONTENT_DISPOSITION, DISPOSITION)];
            (headers, text).into_response()
        }
        Err(fault) => {
            let error = format!("the table of failures could not be written: {fault}");
            HttpRefusal::new(StatusCode::INTERNAL_SERVER_ERROR, error).into_response()
        }
    }
}

/// One row for each job and cause, the latest last.
fn table(snapshot: &Snapshot) -> Result<Vec<u8>, csv::Error> {
    let mut jobs: Vec<&FailedJob> = snapshot.failures.iter().flat_map(|count| count.jobs.iter()).collect();
    jobs.sort_by_key(|job| job.at);
    let mut rows = csv::Writer::from_writer(Vec::new());
    rows.write_record(COLUMNS)?;
    for job in jobs {
        rows.write_record(row(job))?;
    }
    rows.into_inner().map_err(|fault| fault.into_error().into())
}

fn row(job: &FailedJob) -> [String; COLUMNS.len()] {
    let FailedJob { at, job_id, portal, pair, pairs, refusal } = job;
    let mut time = Vec::with_capacity(24);
    time::write(*at, &mut time);
    [
        String::from_utf8_lossy(&time).into_owned(),
        portal.map(|portal| portal.0.to_string()).unwrap_or_default(),
        job_id.to_string(),
        pairs.to_string(),
        pair.map(|pair| pair.from.0.to_string()).unwrap_or_default(),
        pair.map(|pair| pair.to.0.to_string()).unwrap_or_default(),
        refusal.source.as_str().to_owned(),
        refusal.source.category().to_owned(),
        refusal.http_status.map(|status| status.to_string()).unwrap_or_default(),
        refusal.correlation_id.as_deref().unwrap_or_default().to_owned(),
        refusal.message.to_string(),
    ]
}
