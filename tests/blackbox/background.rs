//! Jobs of the background queue beside live ones.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::worker::Worker;
use harness::{Message, Outcome, Status, Until, eventually, job};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::stage::{BACKGROUND, JOBS, RESULTS, START_LIMIT, Stage, TIERS, clean, single_pairs, stop};

const LONG: Duration = Duration::from_secs(90);
/// Eight seconds of requests: it must outlast the live jobs on a busy machine, too.
const BACKFILL: u64 = 8_000;

/// Live jobs wait for one request of the background at most, and are answered while thousands wait there. The ceiling is
/// ten requests a second, which spreads them, and a job waits two tenths of a second for company.
///
/// Where the machine holds a process up for longer than that, a request may leave before a job that has just come: so a
/// run in which one did may be repeated.
#[tokio::test(flavor = "multi_thread")]
async fn live_jobs_beside_a_backfill_wait_for_one_request_more_at_most() -> Result<()> {
    const TRIES: u32 = 3;
    for attempt in 1..=TRIES {
        let Beside { most_before, went_on, requests } = live_jobs_beside_a_backfill(attempt).await?;
        eprintln!("{most_before} requests before a live job, {requests} in all, the backfill went on: {went_on}");
        // Two while it waited for company, one more, and one for a machine that is not quite quiet. One request carries a
        // hundred records: the live jobs cost none of their own.
        if most_before <= 4 && went_on && requests <= 92.0 {
            return Ok(());
        }
    }
    anyhow::bail!("in none of {TRIES} runs did all live jobs go first")
}

struct Beside {
    /// Of the background, before a live job that had come.
    most_before: usize,
    /// After the last live job.
    went_on: bool,
    requests: f64,
}

async fn live_jobs_beside_a_backfill(attempt: u32) -> Result<Beside> {
    let stage = Stage::set(&format!("background-live-{attempt}"), &["--limit", "24/2s", "--latency", "20ms"]).await?;
    let settings = stage.worker().set("rate_limit.requests", 20).set("rate_limit.interval", "2s");
    let worker = stage.start(&settings).await?;
    worker.ready(START_LIMIT).await?;
    stage.client.publish(BACKGROUND, single_pairs("back", 1..=BACKFILL)?).await?;
    stage.outcomes_waiting(300, LONG).await?;
    for n in 0..8 {
        let message = job(&format!("live-{n}")).pair(500_000 + n, 7).to_message()?;
        stage.client.publish(JOBS, vec![message]).await?;
        tokio::time::sleep(Duration::from_millis(230)).await;
    }
    let messages = stage.client.collect(RESULTS, Until::Count(usize::try_from(BACKFILL)? + 8), LONG).await?;
    let outcomes: Vec<Outcome> = messages.iter().map(Outcome::from_message).collect::<Result<_>>()?;
    let times: Vec<(bool, Timestamp, Timestamp)> = messages.iter().map(times).collect::<Result<_>>()?;
    let answered: BTreeSet<String> = outcomes.iter().map(|outcome| outcome.job_id.clone()).collect();
    ensure!(answered.len() as u64 == BACKFILL + 8, "{} of {} are answered", answered.len(), BACKFILL + 8);
    ensure!(answered.len() == outcomes.len() && outcomes.iter().all(|outcome| outcome.status == Status::Archived));
    let live = || times.iter().filter(|(is_live, ..)| *is_live);
    let before = live().map(|&(_, received, started)| {
        // Requests by when they left: jobs of one request have started together.
        let others = times.iter().filter(|(is_live, ..)| !is_live).map(|&(_, _, started)| started);
        others.filter(|&at| at > received && at < started).collect::<BTreeSet<Timestamp>>().len()
    });
    let most_before = before.max().unwrap_or_default();
    let last_live = live().map(|&(_, _, started)| started).max();
    let went_on = times.iter().any(|&(is_live, _, started)| !is_live && Some(started) > last_live);
    let requests = worker.metrics().await?.sum("association_archiver_http_requests_total", &[("result", "archived")]);
    clean(&stage.simulator.state().await?);
    stop(&worker).await?;
    Ok(Beside { most_before, went_on, requests })
}

/// Three million pairs wait in jobs of the largest size, which take the worker longest to read.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "two minutes; only on a quiet machine do its percentiles mean something"]
async fn live_jobs_beside_three_million_pairs_take_one_turn_longer_at_most() -> Result<()> {
    const BACKFILL: u64 = 300;
    const PAIRS: u64 = 10_000;
    const LIVE: usize = 100;
    /// A hundred requests in ten seconds leave one after the other.
    const TURN: Duration = Duration::from_millis(100);
    let stage = Stage::set_alone("background-millions", &["--limit", "110/10s", "--latency", "50ms"]).await?;
    let worker = stage.start(&stage.worker()).await?;
    worker.ready(START_LIMIT).await?;
    let alone = p99(&stage, "alone", LIVE).await?;
    for number in 0..BACKFILL {
        let pairs = (0..PAIRS).map(|pair| (1_000_000 + number * PAIRS + pair, 7));
        stage.client.publish(BACKGROUND, vec![job(&format!("back-{number}")).pairs(pairs).to_message()?]).await?;
    }
    stage.outcomes_waiting(1, LONG).await?;
    let beside = p99(&stage, "beside", LIVE).await?;
    let (held, ready) =
        (worker.status().await?["backlog"]["pairsHeld"].clone(), stage.client.count_now(BACKGROUND).await?);
    eprintln!("p99 {alone:?} alone, {beside:?} beside {ready} jobs in the queue and {held} pairs in hand");
    ensure!(ready > 0, "the backfill was over too soon");
    ensure!(beside <= alone + TURN + Duration::from_millis(50), "{beside:?} beside the backfill, {alone:?} alone");
    clean(&stage.simulator.state().await?);
    stop(&worker).await
}

/// Of lone live jobs, each published when the last one is answered: the time from publishing to the outcome.
async fn p99(stage: &Stage, name: &str, jobs: usize) -> Result<Duration> {
    let mut took = Vec::with_capacity(jobs);
    for number in 0..jobs {
        let id = format!("{name}-{number}");
        let message = job(&id).pair(500_000 + number as u64, 7).to_message()?;
        let begun = Instant::now();
        stage.client.publish(JOBS, vec![message]).await?;
        loop {
            let outcomes = stage.outcomes(1, LONG).await?;
            if outcomes.iter().any(|outcome| outcome.job_id == id) {
                break;
            }
        }
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    took.get(jobs * 99 / 100 - 1).copied().context("no jobs")
}

/// Whether a job is a live one, when it was received and when its first request left.
fn times(message: &Message) -> Result<(bool, Timestamp, Timestamp)> {
    let body: serde_json::Value = serde_json::from_slice(&message.body)?;
    let time = |field: &str| body[field].as_str().context("a time")?.parse().context("a time");
    let is_live = body["jobId"].as_str().is_some_and(|id| id.starts_with("live"));
    Ok((is_live, time("receivedAt")?, time("startedAt")?))
}

/// Outside of its hours nothing is taken from the background queue. What was parked comes back to it, not to the live one.
#[tokio::test(flavor = "multi_thread")]
async fn outside_the_window_the_background_rests_and_live_jobs_go_on() -> Result<()> {
    let stage = Stage::set("background-window", &["--time-zone", "UTC"]).await?;
    let hour = |ahead: i8| {
        let now = Timestamp::now().to_zoned_datetime(TimeZone::UTC);
        format!("{:02}:{:02}", (now.hour() + 24 + ahead) % 24, now.minute())
    };
    let closed = stage.worker().set("background.window", format!("{}-{}", hour(2), hour(3)));
    let worker = stage.start(&closed).await?;
    stage.client.publish(BACKGROUND, single_pairs("back", 1..=500)?).await?;
    stage.client.publish(JOBS, vec![job("live").pair(1_000, 7).to_message()?]).await?;
    stage.outcomes_waiting(1, LONG).await?;
    // The account's time zone is known by now. Until it was, jobs of the background were taken in.
    eventually(LONG, "the background to rest", async || {
        let status = worker.status().await?;
        let (window, broker) = (&status["accounts"][0]["backgroundWindow"], &status["broker"]);
        let rests = broker["backgroundConsuming"] == false && status["backlog"]["backgroundHeld"] == 0;
        Ok((window["open"] == false && window["changesAt"].is_string() && rests).then_some(()))
    })
    .await?;
    let waiting = async || {
        let mut waiting = stage.client.count(BACKGROUND).await?;
        for tier in TIERS {
            waiting += stage.client.count(&format!("{BACKGROUND}.delay.{tier}")).await?;
        }
        anyhow::Ok(waiting)
    };
    // What is handed back or parked is on its way there for a moment.
    eventually(LONG, "all 500 to wait", async || {
        let waiting = waiting().await?;
        ensure!(waiting == 500, "{waiting} of 500 wait");
        Ok(Some(()))
    })
    .await?;
    ensure!(stage.client.count_now(RESULTS).await? == 1);
    stop(&worker).await?;

    let there = stage.client.count(BACKGROUND).await?;
    let open = stage.start(&stage.worker().set("background.window", format!("{}-{}", hour(-1), hour(2)))).await?;
    let parked = usize::try_from(500 - there)?;
    let messages = stage.client.collect(RESULTS, Until::Count(501 - parked), LONG).await?;
    ensure!(messages.len() == 501 - parked, "{} answers", messages.len());
    ensure!(stage.client.count(JOBS).await? == 0);
    stop(&open).await
}

/// What goes to the background queue by key, command or name is one queue's.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_reach_the_background_queue_by_key_and_by_command() -> Result<()> {
    let stage = Stage::set("background-ways", &[]).await?;
    stage.declare().await?;
    let mut command = Worker::command()?;
    let file = tempfile::NamedTempFile::with_suffix(".csv")?;
    std::fs::write(file.path(), "from_object_type,from_id,to_object_type,to_id\ncontacts,1,companies,9\n")?;
    command.args(["enqueue", "--background", "--json"]).arg(file.path());
    let ran = command.env("ARCHIVER__AMQP__URI", &stage.uri).output().await?;
    let told: serde_json::Value = serde_json::from_slice(&ran.stdout)?;
    ensure!(told["queue"] == BACKGROUND && told["enqueued"] == 1, "{told} {}", String::from_utf8_lossy(&ran.stderr));
    ensure!(stage.client.count(BACKGROUND).await? == 1 && stage.client.count(JOBS).await? == 0);
    let worker = stage.start(&stage.worker()).await?;
    stage.client.publish(JOBS, [job("a-live-one").pair(2, 9).to_message()?]).await?;
    stage.outcomes_waiting(2, LONG).await?;
    let done = eventually(LONG, "one job of the background to be told as answered", async || {
        let status = worker.status().await?;
        let told = &status["background"];
        let all = status["jobs"]["outcomes"]["ARCHIVED"] == 2 && told["ready"] == 0 && told["parked"] == 0;
        Ok((all && told["held"] == 0).then(|| told.clone()))
    })
    .await?;
    ensure!(done["answered"] == 1 && done["drainSeconds"] == 0.0, "{done}");
    let counted = worker.metrics().await?.value("association_archiver_background_outcomes_total", &[]);
    ensure!(counted == Some(1.0), "{counted:?}");
    stop(&worker).await?;

    let mut refused = Worker::command()?;
    refused.args(["enqueue", "--background"]).arg(file.path());
    let refused = refused.env("ARCHIVER__AMQP__URI", &stage.uri).env("ARCHIVER__AMQP__SHARDS", "2").output().await?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(2) && said.contains("amqp.shards"), "{said}");
    Ok(())
}
