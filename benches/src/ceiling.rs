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
use crate::workload::{MOST_FROM, Workload};

/// At most this many requests in every rolling interval of this length.
#[derive(Clone, Copy, Debug)]
pub struct Ceiling {
    pub requests: u64,
    pub interval: Duration,
}

impl Ceiling {
    /// HubSpot's own: fifteen intervals of it take two and a half minutes.
    pub const HUBSPOT: Self = Self { requests: 100, interval: Duration::from_secs(10) };
    /// A shorter interval shows more of them in the same time.
    pub const SHORT: Self = Self { requests: 40, interval: Duration::from_secs(2) };
}

/// One more than is asked of them, since the first does not count.
const FULL_INTERVALS: u64 = 17;

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

/// Full requests for all the intervals, a `from` record for each job: the records are the scarce thing.
pub fn long(ceiling: Ceiling) -> Workload {
    Workload { jobs_per_from: 1, ..Workload::base(FULL_INTERVALS * ceiling.requests * MOST_FROM) }
}

/// A backlog in which eight jobs share each record: every request must leave full to need no more than the fewest.
pub fn packed() -> Workload {
    Workload::base(20_000)
}

/// Runs the worker alone with the backlog in hand.
pub async fn limited(arena: &Arena, workload: Workload, ceiling: Ceiling) -> Result<Limited> {
    arena.renew(QueueKind::Quorum).await?;
    arena.fill(&workload).await?;
    let limit = format!("{}/{}s", ceiling.requests, ceiling.interval.as_secs());
    let simulator = SimulatorProcess::start(&["--limit", &limit]).await?;
    let gauge = arena.gauge().await?;
    let settings = [
        ("rate_limit.requests", ceiling.requests.to_string()),
        ("rate_limit.interval", format!("{}s", ceiling.interval.as_secs())),
    ];
    let worker = Contestant::Worker.start(arena, &simulator, workload.portals, &settings)?;
    let sample = measure(arena, &workload, &gauge, &worker).await?;
    arena.emptied(workload.jobs).await?;
    let state: State = serde_json::from_value(simulator.state().await?)?;
    ensure!(state.pairs_archived_repeatedly == Some(0), "pairs were archived twice");
    ensure!(state.pairs_archived_distinct == Some(workload.pairs()), "not all pairs are archived");
    let (intervals, within) = whole_intervals(&simulator.get("/_sim/arrivals").await?, ceiling.interval)?;
    let allowed = intervals * ceiling.requests;
    Ok(Limited {
        workload,
        ceiling_requests: ceiling.requests,
        interval_seconds: ceiling.interval.as_secs_f64(),
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

/// Whole intervals between the first and the last archive request but for the first, in which a fresh worker sends evenly,
/// and the requests in them.
fn whole_intervals(arrivals: &Value, interval: Duration) -> Result<(u64, u64)> {
    let arrivals = arrivals.as_array().context("the simulator's arrivals are no list")?;
    let archives = arrivals.iter().filter(|arrival| arrival.get("kind").is_some_and(|kind| kind == "archive"));
    let times: Vec<u64> = archives.filter_map(|arrival| arrival.get("atMicros")?.as_u64()).collect();
    let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else { return Ok((0, 0)) };
    let interval = u64::try_from(interval.as_micros())?;
    let start = first + interval;
    let intervals = last.saturating_sub(start) / interval;
    let within = times.iter().filter(|time| (start..start + intervals * interval).contains(*time)).count();
    Ok((intervals, within as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_intervals_after_the_first_count() -> Result<()> {
        let at = |second: u64| serde_json::json!({"kind": "archive", "atMicros": second * 1_000_000});
        let other = serde_json::json!({"kind": "account-info", "atMicros": 0});
        let arrivals = Value::Array(vec![other, at(10), at(11), at(12), at(13), at(14)]);
        assert_eq!(whole_intervals(&arrivals, Duration::from_secs(2))?, (1, 2));
        assert_eq!(whole_intervals(&Value::Array(vec![]), Duration::from_secs(2))?, (0, 0));
        Ok(())
    }
}
