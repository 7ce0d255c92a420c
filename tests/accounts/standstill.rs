//! Accounts and lanes that stand still: their jobs wait outside, others never notice, and all goes on by itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use harness::{Broker, Message, Options, Status, Tally, Until, eventually, job};
use serde_json::json;

use crate::stage::{JOBS, RESULTS, Stage, archived_once, ids, number, single_pairs, stop};

const LIMIT: Duration = Duration::from_secs(120);

const TWO_PORTALS: &str = r#"
[[hubspot.accounts]]
portal_id = 1
access_token = "pat-one"
[[hubspot.accounts]]
portal_id = 2
access_token = "pat-two"
"#;

/// The worst order: all jobs of the refused portal stand before those of the other, and they exceed the prefetch.
#[tokio::test(flavor = "multi_thread")]
async fn a_portal_that_answers_403_holds_up_no_other_and_goes_on_when_mended() -> Result<()> {
    const COUNT: u64 = 2_000;
    let stage = Stage::set("two-portals", &[]).await?;
    let accounts = json!({
        "everyAccount": {"limit": "100/2s"},
        "accounts": {
            "1": {"tokens": ["pat-one"], "missingScopes": {"contacts": ["crm.objects.contacts.write"]}},
            "2": {"tokens": ["pat-two"]},
        },
    });
    stage.simulator.configure(&accounts).await?;
    stage.declare().await?;
    let of = |portal: u64| {
        (1..=COUNT)
            .map(move |n| job(&format!("{portal}-{n}")).portal(portal).pair(n, 1).to_message())
            .collect::<Result<Vec<Message>>>()
    };
    stage.client.publish(JOBS, of(1)?).await?;
    stage.client.publish(JOBS, of(2)?).await?;
    let worker = stage.worker_without_account().config(TWO_PORTALS).set("amqp.prefetch", 500);
    let worker = stage.start(&worker.set("rate_limit.interval", "2s")).await?;
    let begun = Instant::now();
    // If they waited for the refused ones, they would wait until those are mended below.
    let others = stage.outcomes(COUNT as usize, LIMIT).await?;
    eprintln!("the other portal was done after {:?}", begun.elapsed());
    assert!(others.iter().all(|outcome| outcome.portal_id == Some(2) && outcome.status == Status::Archived));
    assert_eq!(others.len() as u64, COUNT);

    // What the endpoints tell is at most a second old.
    let (ready, listed) = eventually(LIMIT, "the pause to be told", async || {
        let told = worker.status().await?.to_string();
        let (ready, listed) = worker.readiness().await?;
        let named = |text: &str| text.contains("missing_scopes") && text.contains("crm.objects.contacts.write");
        Ok((named(&told) && listed.to_string().contains("missing_scopes")).then_some((ready, listed)))
    })
    .await?;
    assert_eq!(ready, 200, "a lane stands still, the worker does not: {listed}");
    worker.says(&["crm.objects.contacts.write"]).await?;

    stage.simulator.configure(&json!({"accounts": {"1": {"missingScopes": {}}}})).await?;
    let mended = Instant::now();
    let messages = stage.client.collect(RESULTS, Until::Count(COUNT as usize), LIMIT).await?;
    eprintln!("the first portal was done {:?} after it was mended", mended.elapsed());
    let report = Tally::of_published((1..=COUNT).map(|n| format!("1-{n}"))).outcomes(&messages)?.report();
    report.exactly_once()?;
    assert_eq!(report.by_status, BTreeMap::from([(Status::Archived, COUNT as usize)]));
    archived_once(&stage.simulator.state().await?, 2 * COUNT);
    stop(&worker).await?;
    stage.jobs_wait(0).await
}

/// The broker closes a channel on which a delivery is not acknowledged in time; jobs that wait are not such deliveries.
#[tokio::test(flavor = "multi_thread")]
async fn the_acknowledgement_timeout_of_the_broker_is_never_met() -> Result<()> {
    const COUNT: u64 = 300;
    // The worker keeps a job for three seconds and then has five to park it, on however busy a machine.
    let broker = Broker::start(Options::default().consumer_timeout(Duration::from_secs(8))).await?;
    let stage = Stage::at(&broker.uri(), &["--token", "4711=pat-right"]).await?;
    let builder = stage.worker().set("amqp.max_hold", "3s").set("hubspot.request_timeout", "1s");
    let worker = stage.start(&builder).await?;
    stage.client.publish(JOBS, single_pairs("job", 1..=COUNT)?).await?;
    // Several times the timeout, in which the broker looks every 4 s.
    let begun = Instant::now();
    eventually(LIMIT, "jobs to have been parked again and again", async || {
        anyhow::ensure!(worker.ended()?.is_none(), "{}", worker.last_words());
        let parked = worker.metrics().await?.sum("association_archiver_jobs_parked_total", &[]);
        Ok((begun.elapsed() > Duration::from_secs(25) && parked >= 2.0 * COUNT as f64).then_some(()))
    })
    .await?;
    assert_eq!(stage.client.count_now(RESULTS).await?, 0);
    stage.simulator.configure(&json!({"accounts": {"4711": {"tokens": ["pat-of-the-stage"]}}})).await?;
    let report = stage.tally(&ids("job", COUNT), LIMIT).await?;
    report.exactly_once()?;
    assert_eq!(report.by_status, BTreeMap::from([(Status::Archived, COUNT as usize)]));
    archived_once(&stage.simulator.state().await?, COUNT);
    stop(&worker).await?;
    let said = worker.stderr();
    let subscriptions = said.lines().filter(|line| line.contains("taking in jobs"));
    let of_jobs_queue = subscriptions.filter(|line| line.contains(&format!("\"queue\":\"{JOBS}\"")));
    assert_eq!(of_jobs_queue.count(), 1, "{said}");
    assert!(!said.contains("PRECONDITION_FAILED") && !said.contains("timeout on consumer"), "{said}");
    stage.jobs_wait(0).await?;
    assert_eq!(number(&stage.simulator.state().await?, "/pairsArchivedTotal"), COUNT);
    Ok(())
}

/// The operator's own pause, by setting: nothing is sent until the setting is changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_account_keeps_its_jobs() -> Result<()> {
    const COUNT: u64 = 400;
    let stage = Stage::set("paused", &[]).await?;
    let paused = "[[hubspot.accounts]]\naccess_token = \"pat-x\"\npaused = true\n";
    let worker = stage.start(&stage.worker_without_account().config(paused)).await?;
    stage.client.publish(JOBS, single_pairs("job", 1..=COUNT)?).await?;
    eventually(LIMIT, "jobs to be parked", async || {
        let parked = worker.metrics().await?.sum("association_archiver_jobs_parked_total", &[]);
        Ok((parked >= 250.0).then_some(()))
    })
    .await?;
    assert_eq!(worker.readiness().await?.0, 503);
    stop(&worker).await?;
    assert_eq!(number(&stage.simulator.state().await?, "/requestsByKind/archive"), 0);
    stage.jobs_wait(COUNT).await?;
    let worker = stage.start(&stage.worker()).await?;
    stage.tally(&ids("job", COUNT), LIMIT).await?.exactly_once()?;
    archived_once(&stage.simulator.state().await?, COUNT);
    stop(&worker).await
}
