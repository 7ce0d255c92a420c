//! No job is out of sight, wherever it is: a real broker, a simulated HubSpot and the built worker.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Broker, Message, Worker, eventually, job};
use serde_json::{Value, json};

use crate::stage::{JOBS, Stage, stop};

/// The queues are looked at every three seconds; the rest is for a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

fn jobs(count: u64) -> Result<Vec<Message>> {
    (1..=count).map(|n| job(&format!("job-{n}")).pair(n, 1).to_message()).collect()
}

async fn backlog(worker: &Worker) -> Result<Value> {
    Ok(worker.status().await?["backlog"].take())
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_jobs_are_counted_and_the_estimate_does_not_leave_them_out() -> Result<()> {
    const COUNT: u64 = 1_500;
    let stage = Stage::set("sight-parked", &[]).await?;
    stage.declare().await?;
    stage.client.publish(JOBS, jobs(COUNT)?).await?;
    let account = "[[hubspot.accounts]]\naccess_token = \"pat\"\npaused = true\n";
    let worker = stage.worker_without_account().config(account).set("amqp.prefetch", 400);
    let worker = stage.start(&worker).await?;
    let status = eventually(LIMIT, "every job in sight, most of them parked", async || {
        let status = worker.status().await?;
        let count = |name: &str| status["backlog"][name].as_u64().unwrap_or_default();
        let all = ["jobsReady", "jobsHeld", "jobsParked", "jobsUnpublished"].map(count).iter().sum::<u64>();
        let parked = count("jobsParked") >= COUNT - 400 && status["broker"]["parked"]["10s"].as_u64() > Some(0);
        Ok((all >= COUNT && count("jobsReady") == 0 && parked).then_some(status))
    })
    .await?;
    let told = &status["backlog"];
    ensure!(told["drainSeconds"].is_null(), "nobody knows when the account is resumed: {told}");
    let mend = &status["paused"][0]["mend"];
    ensure!(mend.as_str().is_some_and(|mend| mend.contains("`paused = true`")), "{mend}");
    worker.says(&["\"paused\"", "runbook"]).await.context("the log says the mend")?;
    stop(&worker).await
}

/// The queue is full by a policy. An open channel does not always see that a policy was taken away.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_whose_outcomes_cannot_be_published_are_counted_until_the_policy_goes() -> Result<()> {
    const COUNT: u64 = 300;
    const VHOST: &str = "sight-unpublished";
    let stage = Stage::set(VHOST, &[]).await?;
    let broker = Broker::shared().await?;
    let full = r#"{"max-length":10,"overflow":"reject-publish"}"#;
    broker.ctl(&["set_policy", "-p", VHOST, "full", "results$", full, "--apply-to", "queues"]).await?;
    let worker = stage.start(&stage.worker()).await?;
    stage.client.publish(JOBS, jobs(COUNT)?).await?;
    let told = eventually(LIMIT, "jobs without a confirmed outcome", async || {
        let status = worker.status().await?;
        let archived = status["totals"]["pairsArchived"] == COUNT;
        let unpublished = status["backlog"]["jobsUnpublished"].as_u64();
        let seen = unpublished > Some(COUNT / 2) && !status["backlog"]["jobsParked"].is_null();
        Ok((archived && seen && status["reasons"][0].is_string()).then_some(status))
    })
    .await?;
    ensure!(told["backlog"]["drainSeconds"].is_null(), "nobody knows when the queue is read: {}", told["backlog"]);
    ensure!(worker.metrics().await?.value("association_archiver_unpublished_jobs", &[]) > Some((COUNT / 2) as f64));
    let refused = &told["reasons"][0];
    ensure!(refused.as_str().is_some_and(|why| why.contains("the broker refuses messages")), "{told}");
    eventually(LIMIT, "the stall among the metrics", async || {
        let stalled = worker.metrics().await?.value("association_archiver_broker_publishing_stalled", &[]);
        Ok((stalled == Some(1.0)).then_some(()))
    })
    .await?;
    broker.ctl(&["clear_policy", "-p", VHOST, "full"]).await?;
    let published = async || Ok((backlog(&worker).await?["jobsUnpublished"] == 0).then_some(()));
    eventually(LIMIT, "all published once there is room", published).await?;
    stop(&worker).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rejections_and_refusals_are_told_with_their_ids_and_hubspots_words() -> Result<()> {
    let stage = Stage::set("sight-refused", &["--bad-id", "13", "--bad-mode", "400-unnamed"]).await?;
    let worker = stage.start(&stage.worker()).await?;
    let malformed = (0..3).map(|n| {
        let body =
            if n == 2 { json!({"simulate": true}) } else { json!({"jobId": format!("job-{n}"), "simulate": true}) };
        Message::json(&body).id(&format!("message-{n}"))
    });
    stage.client.publish(JOBS, malformed.collect::<Result<Vec<_>>>()?).await?;
    stage.client.publish(JOBS, [job("the-bad-one").pair(13, 1).to_message()?]).await?;
    let status = eventually(LIMIT, "a dead letter and a failure", async || {
        let status = worker.status().await?;
        let told = status["deadLetters"][0]["messages"] == 3 && !status["failures"][0].is_null();
        Ok(told.then_some(status))
    })
    .await?;
    let (letter, failure) = (&status["deadLetters"][0], &status["failures"][0]);
    ensure!(
        letter["category"] == "MALFORMED_JOB" && letter["ids"] == json!(["job-0", "job-1", "message-2"]),
        "{letter}"
    );
    ensure!(failure["jobIds"] == json!(["the-bad-one"]) && failure["pairsSinceStart"] == 1, "{failure}");

    let client = reqwest::Client::builder().no_proxy().build()?;
    let answer = client.get(format!("{}/failures.csv", worker.admin())).send().await?;
    ensure!(answer.headers()["content-disposition"].to_str()?.starts_with("attachment"), "{answer:?}");
    let table = answer.text().await?;
    ensure!(table.lines().count() == 2 && table.contains(",the-bad-one,1,13,1,HUBSPOT,"), "{table}");

    worker.says(&["a message went to the dead letters", r#""job_id":"job-0","message_id":"message-0""#]).await?;
    let refused: Value = serde_json::from_str(&worker.says(&["HubSpot did not do what a batch asked for"]).await?)?;
    let log = worker.stderr();
    let letters = log.lines().filter(|line| line.contains("a message went to the dead letters")).count();
    // The others are told together, ten seconds later.
    ensure!((1..=2).contains(&letters), "a line for each of a kind: {log}");
    ensure!(refused["category"].is_string() && refused["detail"].is_string(), "{refused}");
    stop(&worker).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_lane_that_stands_is_no_account_that_does() -> Result<()> {
    let stage = Stage::set("sight-lane", &[]).await?;
    let scopes = json!({"everyAccount": {"missingScopes": {"contacts": ["crm.objects.contacts.write"]}}});
    stage.simulator.configure(&scopes).await?;
    let worker = stage.start(&stage.worker()).await?;
    stage.client.publish(JOBS, jobs(1)?).await?;
    let (ready, told) = eventually(LIMIT, "a lane that stands", async || {
        let (ready, told) = worker.readiness().await?;
        Ok((told["paused"][0]["kind"] == "missing_scopes").then_some((ready, told)))
    })
    .await?;
    ensure!(ready == 200 && told["paused"][0]["lane"] == "contacts/companies", "{told}");
    ensure!(told["paused"].as_array().is_some_and(|paused| paused.len() == 1), "{told}");
    let metrics = worker.metrics().await?;
    let paused = |what: &str| metrics.value(what, &[("kind", "missing_scopes")]);
    ensure!(paused("association_archiver_paused_accounts") == Some(0.0), "one lane is no account");
    ensure!(paused("association_archiver_paused_lanes") == Some(1.0));
    stop(&worker).await
}
