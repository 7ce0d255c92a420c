//! What an account may send, when HubSpot allows less than the settings say.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use harness::{Status, eventually};
use serde_json::json;

use crate::stage::{JOBS, Stage, ids, nothing_lost, number, single_pairs, stop};

const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_far_below_the_setting_is_found_with_few_429s() -> Result<()> {
    const COUNT: u64 = 15_000;
    // Twenty a second, told by headers; and as many in HubSpot's own interval, told by nothing but refusals.
    for (name, flags) in [("told", &["--limit", "20/1s"][..]), ("untold", &["--limit", "200/10s", "--no-headers"])] {
        let stage = Stage::set(&format!("converge-{name}"), flags).await?;
        stage.declare().await?;
        stage.client.publish(JOBS, single_pairs("job", 1..=COUNT)?).await?;
        let worker = stage.worker().set("rate_limit.requests", 1_000).set("batch.max_from", 50);
        let worker = stage.start(&worker).await?;
        let report = stage.tally(&ids("job", COUNT), LIMIT).await?;
        report.exactly_once()?;
        assert_eq!(report.by_status, BTreeMap::from([(Status::Archived, COUNT as usize)]));
        stop(&worker).await?;
        let state = stage.simulator.state().await?;
        let (requests, throttled) = (number(&state, "/requestsByKind/archive"), number(&state, "/throttled"));
        eprintln!("{name}: {throttled} of {requests} requests throttled");
        assert!(throttled * 20 <= requests, "{name}: {throttled} of {requests} requests throttled");
        assert_eq!(number(&state, "/pairsArchivedRepeatedly"), 0);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_budget_of_five_is_five_requests_and_a_restart_loses_nothing() -> Result<()> {
    const COUNT: u64 = 2_000;
    const FIVE_FULL: usize = 500;
    let stage = Stage::set("day", &["--limit", "off"]).await?;
    let builder = stage.worker().set("rate_limit.daily", 5).set("rate_limit.interval", "2s");
    // Full requests, however slowly the machine takes the jobs in.
    let builder = builder.set("batch.linger", "10s");
    stage.declare().await?;
    stage.client.publish(JOBS, single_pairs("job", 1..=COUNT)?).await?;
    let worker = stage.start(&builder).await?;
    let mut outcomes = stage.outcomes(FIVE_FULL, LIMIT).await?;
    let status = eventually(LIMIT, "the pause of the account", async || {
        let status = worker.status().await?;
        Ok(status.pointer("/accounts/0/pause/kind").is_some_and(|kind| kind == "day_spent").then_some(status))
    })
    .await?;
    let resume_at: jiff::Timestamp = status.pointer("/accounts/0/pause/resumeAt").unwrap().as_str().unwrap().parse()?;
    // The simulated account lives in UTC.
    let midnight =
        jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::UTC).tomorrow()?.start_of_day()?.timestamp();
    assert_eq!(resume_at, midnight);
    let (ready, reason) = worker.readiness().await?;
    assert_eq!(ready, 503, "{reason}");
    // Those in hand wait at the broker from now on; no request finds them.
    eventually(LIMIT, "jobs to be parked", async || {
        Ok((stage.jobs_waiting().await? >= COUNT as u32 - 600).then_some(()))
    })
    .await?;
    assert_eq!(number(&stage.simulator.state().await?, "/requestsByKind/archive"), 5);
    stop(&worker).await?;
    stage.jobs_wait(COUNT - FIVE_FULL as u64).await?;

    // What the budget spent is not known to the next process; HubSpot's own count is.
    stage.simulator.configure(&json!({"everyAccount": {"daily": 1_000, "usedToday": 1_000}})).await?;
    let worker = stage.start(&builder).await?;
    stage.client.publish(JOBS, single_pairs("late", COUNT + 1..=COUNT + 500)?).await?;
    eventually(LIMIT, "the pause of the account", async || {
        let status = worker.status().await?;
        Ok(status.pointer("/accounts/0/pause/kind").is_some_and(|kind| kind == "day_spent").then_some(()))
    })
    .await?;
    stop(&worker).await?;
    assert_eq!(number(&stage.simulator.state().await?, "/pairsArchivedTotal") as usize, FIVE_FULL);
    outcomes.extend(stage.outcomes(0, LIMIT).await?);
    let published = [ids("job", COUNT), ids("late", 500)].concat();
    let waiting = stage.take_waiting(published.len() - outcomes.len()).await?;
    nothing_lost(&published, &outcomes, &waiting);
    Ok(())
}
