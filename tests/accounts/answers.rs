//! Refusals and faults, attributed to the right jobs.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use harness::outcome::Source;
use harness::{Message, Outcome, Status, Until, eventually, job};
use serde_json::json;

use crate::stage::{DEAD_LETTERS, JOBS, Stage, clean, number, single_pairs, stop};

const LIMIT: Duration = Duration::from_secs(150);

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_bad_ones_of_3_000_jobs_fail_in_every_mode() -> Result<()> {
    const COUNT: u64 = 3_000;
    const BAD: [u64; 7] = [17, 18, 333, 1_500, 2_222, 2_223, 2_999];
    let stage = Stage::set("bad-ids", &["--limit", "100/2s"]).await?;
    // The linger is for full requests, however slowly the machine takes the jobs in.
    let builder = stage.worker().set("rate_limit.interval", "2s").set("batch.linger", "10s");
    let mut archived_before = 0;
    for (mode, most) in [("207-named", 60), ("400-named", 80), ("400-unnamed", 150), ("207-unnamed", 160)] {
        stage.simulator.configure(&json!({"everyAccount": {"badIds": BAD, "badMode": mode}})).await?;
        let before = number(&stage.simulator.state().await?, "/requestsByKind/archive");
        stage.declare().await?;
        stage.client.publish(JOBS, single_pairs(mode, 1..=COUNT)?).await?;
        let worker = stage.start(&builder).await?;
        let outcomes = stage.outcomes(COUNT as usize, LIMIT).await?;
        assert_eq!(outcomes.len() as u64, COUNT, "{mode}");
        let mut failed: Vec<&Outcome> = outcomes.iter().filter(|o| o.status != Status::Archived).collect();
        failed.sort_by_key(|outcome| outcome.errors[0].from.as_ref().map(|from| from.id.parse::<u64>().unwrap()));
        for (outcome, id) in failed.iter().zip(BAD) {
            let error = &outcome.errors[0];
            assert_eq!(outcome.job_id, format!("{mode}-{}", id - 1));
            assert_eq!((outcome.status, outcome.num_errors), (Status::Failed, 1), "{mode}");
            assert_eq!((error.source, error.category.as_str()), (Source::Hubspot, "VALIDATION_ERROR"), "{mode}");
            assert_eq!(error.from.as_ref().map(|from| from.id.clone()), Some(id.to_string()), "{mode}");
            assert_eq!((error.retryable, error.http_status.is_some()), (false, true), "{mode}");
        }
        assert_eq!(failed.len(), BAD.len(), "{mode}");
        stop(&worker).await?;
        let state = stage.simulator.state().await?;
        let requests = number(&state, "/requestsByKind/archive") - before;
        eprintln!("{mode}: {requests} requests");
        assert!(requests <= most, "{mode}: {requests} requests");
        clean(&state);
        let archived = number(&state, "/pairsArchivedTotal");
        assert!(archived - archived_before >= COUNT - BAD.len() as u64, "{mode}");
        archived_before = archived;
    }
    Ok(())
}

/// A record that makes every request with it fail as in an outage is parked alone; its neighbours go on without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_record_holds_up_no_neighbour_and_is_no_outage() -> Result<()> {
    const COUNT: u64 = 100;
    const STUCK: u64 = 57;
    let stage = Stage::set("stuck", &["--limit", "100/2s"]).await?;
    let settings = json!({"badIds": [STUCK], "badMode": "400-unnamed", "badFailure": {"status": 500}});
    stage.simulator.configure(&json!({"everyAccount": settings})).await?;
    stage.declare().await?;
    stage.client.publish(JOBS, single_pairs("job", 1..=COUNT)?).await?;
    let builder = stage.worker().set("rate_limit.interval", "2s").set("retry.base_delay", "100ms");
    let worker = stage.start(&builder).await?;
    let outcomes = stage.outcomes(COUNT as usize - 1, LIMIT).await?;
    assert!(outcomes.iter().all(|outcome| outcome.status == Status::Archived));
    eventually(LIMIT, "the stuck job to be parked", async || {
        let parked = worker.metrics().await?.sum("association_archiver_jobs_parked_total", &[]);
        Ok((parked >= 1.0).then_some(()))
    })
    .await?;
    let alone = async || anyhow::Ok(worker.status().await?["failingAlone"].take());
    let told = eventually(LIMIT, "the stuck pair in sight", async || {
        let told = alone().await?;
        Ok(told[0].is_object().then_some(told))
    })
    .await?;
    let pair = (&told[0]["from"], &told[0]["jobId"], &told[0]["httpStatus"]);
    assert_eq!(pair, (&json!("57"), &json!("job-56"), &json!(500)), "{told}");
    assert_eq!(worker.metrics().await?.sum("association_archiver_pauses_total", &[]), 0.0, "no outage");
    let requests = number(&stage.simulator.state().await?, "/requestsByKind/archive");
    assert!(requests <= 60, "{requests} requests");
    // It is mended, and comes back from the delay queue.
    stage.simulator.configure(&json!({"everyAccount": {"badIds": []}})).await?;
    assert_eq!(stage.outcomes(1, LIMIT).await?[0].status, Status::Archived);
    eventually(LIMIT, "nothing stuck", async || Ok((alone().await? == json!([])).then_some(()))).await?;
    stop(&worker).await?;
    Ok(())
}

/// An outage without end: the job ends after `retry.max_age`, honestly, and a copy can be put back later.
#[tokio::test(flavor = "multi_thread")]
async fn retries_end_after_their_time() -> Result<()> {
    let stage = Stage::set("exhausted", &[]).await?;
    let fault = json!([{"when": {"from": "deals"}, "then": {"answer": {"status": 502, "body": "html"}}}]);
    stage.simulator.put_faults(&fault).await?;
    let worker =
        stage.worker().set("retry.max_age", "2s").set("retry.base_delay", "50ms").set("retry.max_delay", "500ms");
    let worker = stage.start(&worker).await?;
    let doomed: Vec<Message> = (1..=20)
        .map(|n| job(&format!("doomed-{n}")).types("deals", "contacts").pair(n, 1).to_message())
        .collect::<Result<_>>()?;
    stage.client.publish(JOBS, doomed.clone()).await?;
    let outcomes = stage.outcomes(20, LIMIT).await?;
    assert_eq!(outcomes.len(), 20);
    for outcome in &outcomes {
        assert_eq!((outcome.status, outcome.num_pairs, outcome.num_errors), (Status::Failed, 1, 1));
        let error = &outcome.errors[0];
        assert_eq!(
            (error.source, error.category.as_str(), error.retryable),
            (Source::Worker, "RETRIES_EXHAUSTED", true)
        );
        assert!(outcome.attempts >= 2, "{outcome:?}");
    }
    let dead = stage.client.collect(DEAD_LETTERS, Until::Count(20), LIMIT).await?;
    let bodies: BTreeMap<_, _> = dead.iter().map(|copy| (copy.message_id(), &copy.body)).collect();
    assert_eq!(bodies, doomed.iter().map(|sent| (sent.message_id(), &sent.body)).collect());
    assert!(dead.iter().all(|copy| copy.header("x-reject-category").as_deref() == Some("RETRIES_EXHAUSTED")));
    stage.simulator.put_faults(&json!([])).await?;
    stage.client.publish(JOBS, single_pairs("other", 1..=10)?).await?;
    let others = stage.outcomes(10, LIMIT).await?;
    assert!(others.len() == 10 && others.iter().all(|outcome| outcome.status == Status::Archived));
    stop(&worker).await?;
    stage.jobs_wait(0).await
}

/// Faults that pass: nobody hears of them but by `attempts`.
#[tokio::test(flavor = "multi_thread")]
async fn passing_faults_are_tried_again() -> Result<()> {
    const COUNT: u64 = 2_000;
    let stage = Stage::set("passing", &["--limit", "off"]).await?;
    let faults = json!([
        {"when": {"requests": [1, 1]}, "then": {"answer": {"status": 502, "body": "html"}}},
        {"when": {"requests": [2, 2]}, "then": {"reset": "done"}},
        {"when": {"requests": [4, 4]}, "then": {"answer": {"status": 503, "retryAfter": {"in": "1s", "form": "date"}}}},
        {"when": {"requests": [6, 6]}, "then": {"cut": {"afterBytes": 9}}},
        {"when": {"requests": [8, 8]}, "then": {"throttle": {"policy": "SECONDLY", "style": "policy-name"}}},
        {"when": {"requests": [9, 9]}, "then": {"unfinished": {"status": "PENDING"}}},
        {"when": {"requests": [11, 11]}, "then": {"latency": "4s"}},
        {"when": {"requests": [13, 13]}, "then": {"answer": {"status": 423}}},
    ]);
    let styles = stage.simulator.put_faults(&faults).await;
    assert!(styles.is_ok(), "{styles:?}");
    stage.simulator.configure(&json!({"success": 207})).await?;
    let worker = stage.worker().set("hubspot.request_timeout", "2s").set("retry.base_delay", "100ms");
    let worker = stage.start(&worker.set("rate_limit.requests", 20).set("rate_limit.interval", "2s")).await?;
    stage.client.publish(JOBS, single_pairs("job", 1..=COUNT)?).await?;
    let report = stage.tally(&crate::stage::ids("job", COUNT), LIMIT).await?;
    report.exactly_once()?;
    assert_eq!(report.by_status, BTreeMap::from([(Status::Archived, COUNT as usize)]));
    let state = stage.simulator.state().await?;
    assert_eq!(number(&state, "/pairsArchivedDistinct"), COUNT);
    clean(&state);
    stop(&worker).await
}
