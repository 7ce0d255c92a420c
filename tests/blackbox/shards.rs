//! Jobs queues of their own for accounts: what comes through the shared queue is moved there, workers share them evenly,
//! and no account's backlog stands in another's way.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use harness::worker::{Worker, WorkerBuilder};
use harness::{Message, Tally, Until, eventually, job};

use crate::stage::{JOBS, RESULTS, START_LIMIT, Stage, clean, stop};

const LONG: Duration = Duration::from_secs(60);

/// The mover dies while it moves: what was confirmed is in the shard, and what was not comes again.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_mover_is_killed() -> Result<()> {
    const COUNT: u64 = 12_000;
    let stage = Stage::set("shards-moved", &of_portals(2)).await?;
    let settings = sharded(&stage, 2, "per-account").set("amqp.lease_time", "1s");
    let mut mover = stage.start(&settings).await?;
    holds(&mover, 3).await?;
    stage.client.publish(JOBS, jobs("job", COUNT, 2)?).await?;
    for _ in 0..2 {
        mover.ready(START_LIMIT).await?;
        eventually(LONG, "jobs to be moved", async || {
            let moved = mover.metrics().await?.value("association_archiver_jobs_moved_total", &[]);
            let all_are_moved = stage.client.count_now(JOBS).await? == 0;
            Ok((moved >= Some(1_000.0) || all_are_moved).then_some(()))
        })
        .await?;
        mover.kill9().await?;
        mover = stage.start(&settings).await?;
    }
    let ids: Vec<String> = (0..COUNT).map(|n| format!("job-{n}")).collect();
    let messages = stage.client.collect(RESULTS, Until::Idle(Duration::from_secs(5)), LONG).await?;
    let report = Tally::of_published(&ids).outcomes(&messages)?.report();
    report.at_least_once().with_context(|| mover.last_words())?;
    // A kill costs what was on its way at that moment, and no more.
    assert!(messages.len() < COUNT as usize * 2, "{} outcomes", messages.len());
    clean(&stage.simulator.state().await?);
    stop(&mover).await
}

/// A shard keeps the order in which its account's jobs came through the shared queue, each job once.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_keeps_the_order_of_its_accounts_jobs() -> Result<()> {
    let stage = Stage::set("shards-order", &of_portals(2)).await?;
    let settings = sharded(&stage, 2, "per-account");
    // It declares the queues, and gives its leases back.
    let worker = stage.start(&settings).await?;
    holds(&worker, 3).await?;
    stop(&worker).await?;
    // Somebody else reads the shard, so that it is seen what arrives there; the worker waits for its end.
    let reader = tokio::spawn({
        let client = harness::Client::new(&stage.uri);
        async move { client.collect(&shard(1), Until::Count(3_000), LONG).await }
    });
    eventually(LONG, "the reader", async || Ok((consumers(&stage, &shard(1)).await? > 0).then_some(()))).await?;
    let worker = stage.start(&settings).await?;
    stage.client.publish(JOBS, jobs("job", 6_000, 2)?).await?;
    let arrived: Vec<String> = reader.await??.iter().filter_map(Message::message_id).map(str::to_owned).collect();
    let sent: Vec<String> = (0..6_000).filter(|n| n % 2 == 0).map(|n| format!("job-{n}")).collect();
    assert_eq!(arrived.len(), sent.len());
    let number = |id: &String| id.trim_start_matches("job-").parse::<u64>().unwrap();
    let numbers: Vec<u64> = arrived.iter().map(number).collect();
    let distinct: std::collections::BTreeSet<u64> = numbers.iter().copied().collect();
    let descents: Vec<&[u64]> = numbers.windows(2).filter(|pair| pair[0] >= pair[1]).collect();
    assert!(
        descents.is_empty(),
        "{} distinct, {} descents: {:?}",
        distinct.len(),
        descents.len(),
        &descents[..descents.len().min(20)]
    );
    stop(&worker).await
}

/// One account has more jobs waiting than a worker takes in at a time; the other's do not wait for them.
#[tokio::test(flavor = "multi_thread")]
async fn an_accounts_backlog_is_not_in_anothers_way() -> Result<()> {
    let stage = Stage::set("shards-backlog", &of_portals(2)).await?;
    let settings = sharded(&stage, 2, "per-account").set("rate_limit.requests", 10);
    let worker = stage.start(&settings).await?;
    holds(&worker, 3).await?;
    // 200 requests of the first account, at ten in ten seconds.
    stage.client.publish(JOBS, of_portal("busy", 1, 20_000)?).await?;
    stage.outcomes_waiting(10, LONG).await?;
    let begun = Instant::now();
    stage.client.publish(JOBS, of_portal("quick", 2, 100)?).await?;
    let mut answered = 0;
    while answered < 100 {
        anyhow::ensure!(begun.elapsed() < LONG, "{answered} of 100 after {LONG:?}\n{}", worker.last_words());
        let some = stage.client.collect(RESULTS, Until::Idle(Duration::from_millis(300)), LONG).await?;
        answered += some.iter().filter(|message| message.correlation_id().is_some_and(is_quick)).count();
    }
    eprintln!("100 jobs beside 20,000 of another account: {:?}", begun.elapsed());
    stop(&worker).await
}

fn is_quick(id: &str) -> bool {
    id.starts_with("quick-")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_even_out_and_one_takes_over_what_the_other_held() -> Result<()> {
    let stage = Stage::set("shards-even", &of_portals(8)).await?;
    let settings = sharded(&stage, 8, "4").set("amqp.lease_time", "1s");
    let first = stage.start(&settings).await?;
    holds(&first, 5).await?;
    let second = stage.start(&settings).await?;
    second.ready(START_LIMIT).await?;
    let begun = Instant::now();
    eventually(LONG, "two shards each", async || {
        Ok((shards_held(&first).await? == 2 && shards_held(&second).await? == 2).then_some(()))
    })
    .await
    .with_context(|| format!("{}{}", first.last_words(), second.last_words()))?;
    eprintln!("two shards each after {:?}", begun.elapsed());
    stage.client.publish(JOBS, jobs("job", 4_000, 8)?).await?;
    stage.outcomes_waiting(500, LONG).await?;
    first.kill9().await?;
    let begun = Instant::now();
    holds(&second, 5).await?;
    eprintln!("all four shards after {:?}", begun.elapsed());
    let messages = stage.client.collect(RESULTS, Until::Idle(Duration::from_secs(4)), LONG).await?;
    let ids: Vec<String> = (0..4_000).map(|n| format!("job-{n}")).collect();
    Tally::of_published(&ids).outcomes(&messages)?.report().at_least_once().with_context(|| second.last_words())?;
    clean(&stage.simulator.state().await?);
    stop(&second).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_holds_many_shards() -> Result<()> {
    const SHARDS: usize = 200;
    let stage = Stage::set("shards-many", &of_portals(SHARDS)).await?;
    let begun = Instant::now();
    let worker = stage.start(&sharded(&stage, SHARDS, "per-account")).await?;
    holds(&worker, SHARDS + 1).await?;
    eprintln!("{SHARDS} shards are held after {:?}", begun.elapsed());
    let begun = Instant::now();
    stage.client.publish(JOBS, jobs("job", 2 * SHARDS as u64, SHARDS as u64)?).await?;
    let ids: Vec<String> = (0..2 * SHARDS).map(|n| format!("job-{n}")).collect();
    stage.tally(&ids, LONG).await?.exactly_once().with_context(|| worker.last_words())?;
    eprintln!("two jobs of each account are answered after {:?}", begun.elapsed());
    clean(&stage.simulator.state().await?);
    stop(&worker).await
}

/// As after a change of `amqp.shards`: the job is on a shard that is not its account's, and is not passed round.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_on_the_wrong_shard_comes_back_to_its_own() -> Result<()> {
    let stage = Stage::set("shards-wrong", &of_portals(2)).await?;
    let worker = stage.start(&sharded(&stage, 2, "per-account")).await?;
    holds(&worker, 3).await?;
    stage.client.publish(&shard(2), of_portal("lost", 1, 3)?).await?;
    // What is no job, or of an account that nobody knows, is answered by whoever holds the queue.
    stage.client.publish(JOBS, of_portal("unknown", 99, 1)?).await?;
    let outcomes = stage.outcomes(4, LONG).await?;
    let statuses: Vec<String> = outcomes.iter().map(|one| format!("{} {:?}", one.job_id, one.status)).collect();
    assert_eq!(statuses.iter().filter(|one| one.ends_with("Archived")).count(), 3, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|one| *one == "unknown-0 Rejected").count(), 1, "{statuses:?}");
    let metrics = worker.metrics().await?;
    assert_eq!(metrics.value("association_archiver_jobs_moved_total", &[]), Some(3.0), "each was moved once");
    stop(&worker).await
}

/// Flags of a simulated HubSpot with that many portals.
fn of_portals(count: usize) -> Vec<&'static str> {
    let tokens = (1..=count).flat_map(|portal| ["--token", String::leak(format!("{portal}=pat-{portal}"))]);
    ["--limit", "off", "--latency", "10ms"].into_iter().chain(tokens).collect()
}

fn sharded(stage: &Stage, portals: usize, shards: &str) -> WorkerBuilder {
    let account = |portal| format!("[[hubspot.accounts]]\nportal_id = {portal}\naccess_token = \"pat-{portal}\"\n");
    let accounts: String = (1..=portals).map(account).collect();
    stage.worker_without_account().config(&accounts).set("amqp.shards", shards)
}

fn shard(portal: u64) -> String {
    format!("{JOBS}.{portal}")
}

/// Jobs of these portals in turns.
fn jobs(prefix: &str, count: u64, portals: u64) -> Result<Vec<Message>> {
    let job = |n| job(&format!("{prefix}-{n}")).portal(n % portals + 1).pair(n + 1, 1).to_message();
    (0..count).map(job).collect()
}

fn of_portal(prefix: &str, portal: u64, count: u64) -> Result<Vec<Message>> {
    (0..count).map(|n| job(&format!("{prefix}-{n}")).portal(portal).pair(n + 1, 1).to_message()).collect()
}

async fn consumers(stage: &Stage, queue: &str) -> Result<u32> {
    let channel = stage.client.channel().await?;
    let passive = lapin::options::QueueDeclareOptions { passive: true, ..Default::default() };
    Ok(channel.queue_declare(queue.into(), passive, Default::default()).await?.consumer_count())
}

async fn held(worker: &Worker) -> Result<Vec<String>> {
    let status = worker.status().await?;
    let held = status["leases"].as_array().into_iter().flatten().filter(|lease| lease["standing"] == "held");
    Ok(held.filter_map(|lease| lease["jobsQueue"].as_str()).map(str::to_owned).collect())
}

async fn shards_held(worker: &Worker) -> Result<usize> {
    Ok(held(worker).await?.iter().filter(|queue| *queue != JOBS).count())
}

async fn holds(worker: &Worker, leases: usize) -> Result<()> {
    eventually(LONG, &format!("{leases} leases"), async || Ok((held(worker).await?.len() == leases).then_some(())))
        .await
        .with_context(|| worker.last_words())
}
