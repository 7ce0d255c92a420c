//! The guard against a runaway deletion: before one pair too many leaves, a person is asked, and any worker takes the
//! answer.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::worker::Worker;
use harness::{Outcome, Status, Until, eventually};
use serde_json::Value;

use crate::stage::{DEAD_LETTERS, JOBS, RESULTS, START_LIMIT, Stage, clean, ids, number, order, single_pairs, stop};

const LONG: Duration = Duration::from_secs(90);
const TOKEN: &str = "open-sesame";

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_holds_over_kills_until_any_worker_is_told_to_go_on() -> Result<()> {
    let stage = Stage::set("guard-approve", &[]).await?;
    let settings = stage.worker().set("amqp.lease_time", "1s").set("admin.token", TOKEN);
    let settings = settings.set("safety.max_pairs", 50).set("safety.max_pairs_window", "1h");
    let first = stage.start(&settings).await?;
    stage.client.publish(JOBS, single_pairs("job", 1..=30)?).await?;
    stage.outcomes_waiting(30, LONG).await?;
    stage.client.publish(JOBS, single_pairs("more", 31..=120)?).await?;
    paused_for(&first, "guard").await?;
    stage.outcomes_waiting(50, LONG).await?;
    assert_eq!(number(&stage.simulator.state().await?, "/pairsArchivedDistinct"), 50, "the last request was cut");
    let detail = first.status().await?["accounts"][0]["pause"]["detail"].to_string();
    assert!(detail.contains("50 pairs in the last 1h; safety.max_pairs is 50"), "{detail}");
    let since = behind(&first, 70).await?;
    first.says(&["jobs wait behind the guard; these so far", "more-"]).await?;

    // The answers say that all there is to know of the account is written where the next worker finds it.
    for what in ["pause", "resume"] {
        assert_eq!(order(&first, 0, what, TOKEN).await?.0, 200, "{what}");
    }
    assert_eq!(behind(&first, 70).await?, since, "it stands as long as before");
    first.kill9().await?;
    let second = stage.start(&settings).await?;
    paused_for(&second, "guard").await?;
    assert_eq!(behind(&second, 70).await?, since, "the stop is as old as before");
    let third = stage.start(&settings).await?;
    eventually(START_LIMIT, "the third one to stand by", async || {
        Ok((third.status().await?["leases"][0]["standing"] == "standingBy").then_some(()))
    })
    .await?;
    for (what, kind) in [("pause", Some("operator")), ("resume", Some("guard")), ("approve", None)] {
        let (status, answer) = order(&third, 0, what, TOKEN).await?;
        assert_eq!((status, &answer["handedOn"]), (202, &Value::Bool(true)), "{what}: {answer}");
        match kind {
            Some(kind) => paused_for(&second, kind).await.with_context(|| what)?,
            None => goes_on(&second).await?,
        }
    }
    second.says(&["an order from a worker that stands by"]).await?;
    let published: Vec<String> = ids("job", 30).into_iter().chain(ids("more", 90)).collect();
    stage.tally(&published, LONG).await?.at_least_once()?;
    let state = stage.simulator.state().await?;
    assert_eq!(number(&state, "/pairsArchivedDistinct"), 120);
    clean(&state);
    eventually(LONG, "a guard that counts anew since it was approved", async || {
        let guard = second.status().await?["accounts"][0]["guard"].clone();
        // Where a busy broker was slow to confirm it, the order was given again, and began the count once more.
        let of_approval = |line: &&str| line.contains("an order from a worker") && line.contains("approve");
        let approved_again = second.stderr().lines().filter(of_approval).count() > 1;
        let counts = guard["used"] == 70 || (approved_again && guard["used"].as_u64() < Some(70));
        ensure!(guard["state"] == "approved" && counts, "{guard}");
        Ok(Some(()))
    })
    .await?;
    stop(&second).await?;
    stop(&third).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_ends_in_the_dead_letters_also_after_a_restart() -> Result<()> {
    let stage = Stage::set("guard-reject", &[]).await?;
    let settings = stage.worker().set("amqp.lease_time", "1s").set("admin.token", TOKEN);
    let settings = settings.set("safety.max_pairs", 10);
    let first = stage.start(&settings).await?;
    stage.client.publish(JOBS, single_pairs("job", 1..=30)?).await?;
    paused_for(&first, "guard").await?;
    assert_eq!(order(&first, 0, "reject", TOKEN).await?.0, 200);
    let outcomes = stage.outcomes(30, LONG).await?;
    let (archived, failed): (Vec<_>, Vec<_>) = outcomes.iter().partition(|outcome| outcome.status == Status::Archived);
    assert_eq!((archived.len(), failed.len()), (10, 20));
    assert!(failed.iter().all(|outcome| is_rejected(outcome)), "{failed:?}");
    stop(&first).await?;

    let second = stage.start(&settings).await?;
    let mut late = single_pairs("late", 31..=33)?;
    for message in &mut late {
        message.properties = message.properties.clone().with_expiration("3600000".into());
    }
    let published = jiff::Timestamp::now().as_millisecond();
    stage.client.publish(JOBS, late).await?;
    let outcomes = stage.outcomes(3, LONG).await?;
    assert!(outcomes.iter().all(is_rejected), "the answer survives a restart: {outcomes:?}");
    let letters = stage.client.collect(DEAD_LETTERS, Until::Count(23), LONG).await?;
    assert!(letters.iter().all(|letter| letter.header("x-reject-category").as_deref() == Some("GUARD_REJECTED")));
    // A deadline is over when it is over, wherever the job lies by then.
    let deadlines = letters.iter().filter_map(|letter| letter.header("x-archiver-deadline")?.parse::<i64>().ok());
    let deadlines: Vec<i64> = deadlines.collect();
    let first_receipt = published..=jiff::Timestamp::now().as_millisecond();
    assert!(deadlines.iter().all(|at| first_receipt.contains(&(at - 3_600_000))), "{first_receipt:?}: {deadlines:?}");
    assert_eq!(deadlines.len(), 3);
    assert_eq!(number(&stage.simulator.state().await?, "/pairsArchivedTotal"), 10);

    assert_eq!(order(&second, 0, "approve", TOKEN).await?.0, 200);
    stage.client.publish(JOBS, single_pairs("meant", 34..=60)?).await?;
    stage.tally(&ids("meant", 27), LONG).await?.exactly_once()?;
    assert_eq!(number(&stage.simulator.state().await?, "/pairsArchivedTotal"), 37);
    assert_eq!(stage.client.count(RESULTS).await?, 0);
    stop(&second).await
}

fn is_rejected(outcome: &Outcome) -> bool {
    outcome.status == Status::Failed && outcome.errors.iter().all(|error| error.category == "GUARD_REJECTED")
}

/// Waits until the worker has seen so many jobs behind its guard; returns since when the account stands.
async fn behind(worker: &Worker, jobs: u64) -> Result<Value> {
    eventually(LONG, "the jobs behind the guard", async || {
        let paused = worker.readiness().await?.1["paused"][0].clone();
        let behind = &paused["behind"];
        ensure!(behind["jobs"] == jobs, "{paused}");
        let ids = behind["groups"][0]["jobIds"].as_array().context("ids")?;
        ensure!(ids.len() == 3 && ids.iter().all(|id| id.as_str().is_some_and(|id| id.starts_with("more-"))));
        ensure!(behind["groups"][0]["group"].is_null());
        Ok(Some(paused["since"].clone()))
    })
    .await
    .with_context(|| worker.last_words())
}

async fn pause(worker: &Worker) -> Result<Value> {
    Ok(worker.status().await?["accounts"][0]["pause"].clone())
}

async fn paused_for(worker: &Worker, kind: &str) -> Result<()> {
    let what = format!("the pause {kind}");
    eventually(LONG, &what, async || Ok((pause(worker).await?["kind"] == *kind).then_some(())))
        .await
        .with_context(|| worker.last_words())
}

async fn goes_on(worker: &Worker) -> Result<()> {
    eventually(LONG, "the account to go on", async || Ok(pause(worker).await?.is_null().then_some(())))
        .await
        .with_context(|| worker.last_words())
}
