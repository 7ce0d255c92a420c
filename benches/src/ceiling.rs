//! The worker under a rate limit that the simulator enforces: how much of it is used, and how well each request is filled.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::SimulatorProcess;
use hubspot_simulator::State;
use serde::Serialize;
use serde_json::Value;

use crate::arena::{Arena, QueueKind};
use crate::contestant::Contestant;
use crate::measure::measure;
use crate::workload::Workload;

/// Requests in every rolling interval; HubSpot's interval is 10 s, a shorter one shows more of them in the same time.
const REQUESTS: u64 = 40;
const INTERVAL: Duration = Duration::from_secs(2);

/// How a limited run went.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limited {
    pub workload: Workload,
    pub ceiling_requests: u64,
    pub interval_seconds: f64,
    pub intervals: u64,
    /// Requests in those whole intervals over what the ceiling allows in them.
    pub share_of_ceiling: f64,
    pub answered_429: u64,
    pub requests: u64,
    pub fewest_requests: u64,
    pub pairs_per_request: f64,
    pub most_in_an_interval: u64,
    pub seconds: f64,
}

/// Fifteen intervals' worth of full requests, a `from` record for each job: the records are the scarce thing.
pub fn long() -> Workload {
    Workload { jobs_per_from: 1, ..Workload::base(60_000) }
}

/// A backlog in which eight jobs share each record: every request must leave full to need no more than the fewest.
pub fn packed() -> Workload {
    Workload::base(20_000)
}

/// Runs the worker alone with the backlog in hand.
pub async fn limited(arena: &Arena, workload: Workload) -> Result<Limited> {
    arena.renew(QueueKind::Quorum).await?;
    arena.fill(&workload).await?;
    let limit = format!("{REQUESTS}/{}s", INTERVAL.as_secs());
    let simulator = SimulatorProcess::start(&["--limit", &limit]).await?;
    let gauge = arena.gauge().await?;
    let settings =
        [("rate_limit.requests", REQUESTS.to_string()), ("rate_limit.interval", format!("{}s", INTERVAL.as_secs()))];
    let worker = Contestant::Worker.start(arena, &simulator, workload.portals, &settings)?;
    let sample = measure(&workload, &gauge, &worker).await?;
    arena.emptied(workload.jobs).await?;
    let state: State = serde_json::from_value(simulator.state().await?)?;
    ensure!(state.pairs_archived_repeatedly == Some(0), "pairs were archived twice");
    ensure!(state.pairs_archived_distinct == Some(workload.pairs()), "not all pairs are archived");
    let (intervals, within) = whole_intervals(&simulator.get("/_sim/arrivals").await?)?;
    let allowed = intervals * REQUESTS;
    Ok(Limited {
        workload,
        ceiling_requests: REQUESTS,
        interval_seconds: INTERVAL.as_secs_f64(),
        intervals,
        share_of_ceiling: if allowed == 0 { 0.0 } else { within as f64 / allowed as f64 },
        answered_429: state.throttled,
        requests: state.pairs_per_request.requests,
        fewest_requests: workload.fewest_requests(),
        pairs_per_request: state.pairs_per_request.mean,
        most_in_an_interval: state.accounts.iter().map(|one| one.max_requests_in_interval as u64).max().unwrap_or(0),
        seconds: sample.seconds,
    })
}

/// Whole intervals between the first and the last archive request, and the requests in them.
fn whole_intervals(arrivals: &Value) -> Result<(u64, u64)> {
    let arrivals = arrivals.as_array().context("the simulator's arrivals are no list")?;
    let archives = arrivals.iter().filter(|arrival| arrival.get("kind").is_some_and(|kind| kind == "archive"));
    let times: Vec<u64> = archives.filter_map(|arrival| arrival.get("atMicros")?.as_u64()).collect();
    let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else { return Ok((0, 0)) };
    let interval = u64::try_from(INTERVAL.as_micros())?;
    let intervals = (last - first) / interval;
    let within = times.iter().filter(|time| **time < first + intervals * interval).count();
    Ok((intervals, within as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_intervals_count() -> Result<()> {
        let at = |second: u64| serde_json::json!({"kind": "archive", "atMicros": second * 1_000_000});
        let other = serde_json::json!({"kind": "account-info", "atMicros": 0});
        let arrivals = Value::Array(vec![other, at(10), at(11), at(12), at(13), at(14)]);
        assert_eq!(whole_intervals(&arrivals)?, (2, 4));
        assert_eq!(whole_intervals(&Value::Array(vec![]))?, (0, 0));
        Ok(())
    }
}
