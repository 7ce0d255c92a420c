//! Jobs queues of their own for accounts: what comes through the shared queue is moved there, workers share them evenly,
//! and no account's backlog stands in another's way.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use harness::worker::{Worker, WorkerBuilder};
use harness::{Message, Until, eventually, job};

use crate::stage::{BACKGROUND, JOBS, RESULTS, START_LIMIT, Stage, clean, order, stop};

const LONG: Duration = Duration::from_secs(120);
const TOKEN: &str = "open-sesame";

/// The mover dies while it moves: what was confirmed is in the shard, and what was not comes again.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_mover_is_killed() -> Result<()> {
    const COUNT: u64 = 12_000;
    let stage = Stage::set("shards-moved", &of_portals(2)).await?;
    let settings = sharded(&stage, 2, "per-account").set("amqp.lease_time", "1s");
    let mut mover = stage.start_sharded(&settings).await?;
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
        mover = stage.start_sharded(&settings).await?;
    }
    let ids: Vec<String> = (0..COUNT).map(|n| format!("job-{n}")).collect();
    let report = stage.tally(&ids, LONG).await?;
    report.at_least_once().with_context(|| mover.last_words())?;
    // A kill costs what was on its way at that moment, and no more.
    assert!(report.outcomes < COUNT as usize * 2, "{} outcomes", report.outcomes);
    clean(&stage.simulator.state().await?);
    stop(&mover).await
}

/// A shard keeps the order in which its account's jobs came through the shared queue, each job once.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_keeps_the_order_of_its_accounts_jobs() -> Result<()> {
    let stage = Stage::set("shards-order", &of_portals(2)).await?;
    let settings = sharded(&stage, 2, "per-account");
    // It declares the queues, and gives its leases back.
    let worker = stage.start_sharded(&settings).await?;
    holds(&worker, 3).await?;
    stop(&worker).await?;
    // Somebody else reads the shard, so that it is seen what arrives there; the worker waits for its end.
    let reader = tokio::spawn({
        let client = harness::Client::new(&stage.uri);
        async move { client.collect(&shard(1), Until::Count(3_000), LONG).await }
    });
    eventually(LONG, "the reader", async || Ok((consumers(&stage, &shard(1)).await? > 0).then_some(()))).await?;
    let worker = stage.start_sharded(&settings).await?;
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

/// With shards nobody takes from the background queue. One that is there all the same swallows jobs, which must be seen.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_in_a_background_queue_that_nobody_takes_from_are_told_of() -> Result<()> {
    let stage = Stage::set("shards-deserted", &of_portals(2)).await?;
    stage.client.declare_quorum(BACKGROUND, &[]).await?;
    stage.client.publish(BACKGROUND, jobs("late", 3, 2)?).await?;
    let worker = stage.start_sharded(&sharded(&stage, 2, "per-account")).await?;
    let warnings = async |wanted: &str| {
        eventually(LONG, wanted, async || {
            let warnings = worker.readiness().await?.1["warnings"].to_string();
            Ok(warnings.contains(wanted).then_some(()))
        })
        .await
        .with_context(|| worker.last_words())
    };
    warnings("3 jobs wait in queue").await?;
    worker.says(&["3 jobs wait in queue", "amqp.shards is set: move them"]).await?;
    stage.client.delete(BACKGROUND).await?;
    warnings("[]").await?;
    stop(&worker).await
}

/// As after a change from numbered shards, while no worker with that setting runs any more.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_in_shards_of_another_setting_are_told_of_until_they_are_gone() -> Result<()> {
    let stage = Stage::set("shards-before", &of_portals(2)).await?;
    for (left, count) in [(2, 2), (3, 3)] {
        stage.client.declare_quorum(&shard(left), &[]).await?;
        stage.client.publish(&shard(left), jobs("left", count, 2)?).await?;
        stage.client.count_becomes(&shard(left), count as u32).await?;
    }
    let worker = stage.start_sharded(&sharded(&stage, 2, "2")).await?;
    worker.says(&["3 jobs wait in queue", "jobs.3", "the amqp.shards of before"]).await?;
    let warnings = async |wanted: &'static [&'static str]| {
        eventually(LONG, wanted[0], async || {
            let warnings = worker.readiness().await?.1["warnings"].to_string();
            Ok(wanted.iter().all(|part| warnings.contains(part)).then_some(()))
        })
        .await
        .with_context(|| worker.last_words())
    };
    warnings(&["3 jobs wait in queue", "jobs.3", "1 other queue (2 waiting)"]).await?;
    stage.client.delete(&shard(3)).await?;
    warnings(&["2 jobs wait in queue", "jobs.2"]).await?;
    stage.client.delete(&shard(2)).await?;
    warnings(&["[]"]).await?;
    stop(&worker).await
}

/// One account has more jobs waiting than a worker takes in at a time; the other's do not wait for them.
#[tokio::test(flavor = "multi_thread")]
async fn an_accounts_backlog_is_not_in_anothers_way() -> Result<()> {
    let stage = Stage::set("shards-backlog", &of_portals(2)).await?;
    let settings = sharded(&stage, 2, "per-account").set("rate_limit.requests", 10);
    let worker = stage.start_sharded(&settings).await?;
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

/// The same with half a million jobs, beside which a hundred are answered as fast as alone.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "half a million jobs take minutes to be moved"]
async fn a_hundred_jobs_beside_half_a_million_are_answered_as_fast_as_alone() -> Result<()> {
    const BACKLOG: u64 = 500_000;
    const ROUND: u64 = 20_000;
    const LATER: Duration = Duration::from_secs(1);
    let stage = Stage::set_alone("shards-half-a-million", &of_portals(2)).await?;
    let settings = sharded(&stage, 2, "per-account").set("rate_limit.requests", 10);
    let worker = stage.start_sharded(&settings).await?;
    holds(&worker, 3).await?;
    let alone = answered(&stage, "alone", of_portal("alone", 2, 100)?, JOBS_KEY).await?;
    for round in 0..BACKLOG / ROUND {
        let busy = (round * ROUND..(round + 1) * ROUND)
            .map(|n| job(&format!("busy-{n}")).portal(1).pair(n + 1, 1).to_message());
        stage.client.publish(JOBS, busy.collect::<Result<Vec<_>>>()?).await?;
    }
    // By its account's own key a job does not meet those that are still to be moved.
    let by_key = answered(&stage, "key", of_portal("key", 2, 100)?, "jobs.2").await?;
    let begun = Instant::now();
    eventually(Duration::from_secs(600), "all jobs to be moved", async || {
        Ok((stage.client.count(JOBS).await? == 0).then_some(()))
    })
    .await?;
    eprintln!("moved within {:?} of the last publication", begun.elapsed());
    let beside = answered(&stage, "beside", of_portal("beside", 2, 100)?, JOBS_KEY).await?;
    eprintln!("100 jobs: alone {alone:?}, by key {by_key:?}, beside {BACKLOG} {beside:?}");
    anyhow::ensure!(by_key < alone + LATER && beside < alone + LATER, "{alone:?}, {by_key:?}, {beside:?}");
    stop(&worker).await
}

const EXCHANGE: &str = "association-archiver";
const JOBS_KEY: &str = "jobs";

/// How long a hundred jobs take from their publication to the last answer.
async fn answered(stage: &Stage, prefix: &str, jobs: Vec<Message>, key: &str) -> Result<Duration> {
    let begun = Instant::now();
    let wanted = jobs.len();
    stage.client.publish_to(EXCHANGE, key, jobs).await?;
    let mut answered = 0;
    while answered < wanted {
        anyhow::ensure!(begun.elapsed() < LONG, "{answered} of {wanted} after {LONG:?}");
        let some = stage.client.collect(RESULTS, Until::Idle(Duration::from_millis(100)), LONG / 60).await?;
        answered += some.iter().filter(|one| one.correlation_id().is_some_and(|id| id.starts_with(prefix))).count();
    }
    Ok(begun.elapsed())
}

fn is_quick(id: &str) -> bool {
    id.starts_with("quick-")
}

#[tokio::test(flavor = "multi_thread")]
async fn three_workers_even_out_and_two_take_over_what_the_third_held() -> Result<()> {
    const SHARDS: usize = 12;
    let stage = Stage::set("shards-even", &of_portals(SHARDS)).await?;
    let settings = sharded(&stage, SHARDS, "per-account").set("amqp.lease_time", "1s");
    let first = stage.start_sharded(&settings).await?;
    holds(&first, SHARDS + 1).await?;
    let (second, third) = (stage.start_sharded(&settings).await?, stage.start_sharded(&settings).await?);
    second.ready(START_LIMIT).await?;
    third.ready(START_LIMIT).await?;
    let begun = Instant::now();
    // A worker looks once a second and gives up one shard at a time.
    eventually(LONG, "four shards each", async || {
        let held = [shards_held(&first).await?, shards_held(&second).await?, shards_held(&third).await?];
        anyhow::ensure!(held == [SHARDS / 3; 3], "{held:?}");
        Ok(Some(()))
    })
    .await
    .with_context(|| [&first, &second, &third].map(|worker| worker.last_words()).concat())?;
    eprintln!("four shards each after {:?}", begun.elapsed());
    stage.client.publish(JOBS, jobs("job", 6_000, SHARDS as u64)?).await?;
    stage.outcomes_waiting(500, LONG).await?;
    third.kill9().await?;
    let begun = Instant::now();
    eventually(LONG, "all leases", async || {
        Ok((held(&first).await?.len() + held(&second).await?.len() == SHARDS + 1).then_some(()))
    })
    .await
    .with_context(|| [&first, &second].map(|worker| worker.last_words()).concat())?;
    eprintln!("all twelve shards after {:?}", begun.elapsed());
    let ids: Vec<String> = (0..6_000).map(|n| format!("job-{n}")).collect();
    stage.tally(&ids, LONG).await?.at_least_once().with_context(|| second.last_words())?;
    clean(&stage.simulator.state().await?);
    stop(&first).await?;
    stop(&second).await
}

/// The last answers of a worker that stops may take long. Were it counted meanwhile, the other one would release shards
/// for it that it no longer takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_waits_for_its_last_answers_is_counted_no_more() -> Result<()> {
    let stage = Stage::set("shards-drained", &of_portals(4)).await?;
    let settings = sharded(&stage, 4, "per-account").set("amqp.lease_time", "2s");
    let (first, second) = (stage.start_sharded(&settings).await?, stage.start_sharded(&settings).await?);
    eventually(LONG, "two shards each", async || {
        Ok((shards_held(&first).await? == 2 && shards_held(&second).await? == 2).then_some(()))
    })
    .await?;
    stage.simulator.configure(&serde_json::json!({"latency": "20s"})).await?;
    stage.client.publish(JOBS, jobs("job", 4, 4)?).await?;
    eventually(LONG, "requests of the first worker on the wire", async || {
        let in_flight = first.status().await?["requests"]["inFlight"].as_u64();
        Ok((in_flight == Some(2)).then_some(()))
    })
    .await?;
    let released = || second.stderr().matches("releases a shard").count();
    let before = released();
    first.term()?;
    eventually(LONG, "one worker to be counted", async || {
        Ok((consumers(&stage, &format!("{JOBS}.workers")).await? == 1).then_some(()))
    })
    .await?;
    assert_eq!(first.ended()?, None, "it is no longer counted because it has ended");
    holds(&second, 5).await?;
    assert_eq!(first.wait(LONG).await?, 0, "{}", first.last_words());
    assert_eq!(released(), before, "{}", second.stderr());
    stop(&second).await
}

/// An operator may ask any worker: the one that holds the account's shard obeys, and the others' accounts go on.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_reaches_the_holder_of_the_accounts_shard() -> Result<()> {
    let stage = Stage::set("shards-orders", &of_portals(4)).await?;
    let settings = sharded(&stage, 4, "per-account").set("amqp.lease_time", "2s").set("admin.token", TOKEN);
    let (first, second) = (stage.start_sharded(&settings).await?, stage.start_sharded(&settings).await?);
    eventually(LONG, "two shards each", async || {
        Ok((shards_held(&first).await? == 2 && shards_held(&second).await? == 2).then_some(()))
    })
    .await?;
    let order = async |worker: &Worker, portal: u64, what: &str| {
        let (status, _) = order(worker, portal, what, TOKEN).await?;
        anyhow::Ok(status)
    };
    let paused = async |worker: &Worker, portal: usize| {
        anyhow::Ok(worker.status().await?["accounts"][portal - 1]["pause"]["kind"] == "operator")
    };
    let of_second = held(&second).await?;
    let of_second = |portal: &usize| of_second.contains(&shard(*portal as u64));
    for portal in 1..=4 {
        let (holder, other) = if of_second(&portal) { (&second, &first) } else { (&first, &second) };
        assert_eq!(order(other, portal as u64, "pause").await?, 202);
        eventually(LONG, "the pause", async || Ok(paused(holder, portal).await?.then_some(()))).await?;
        assert!(!paused(other, portal).await?, "it does not work for the account");
        assert_eq!(order(holder, portal as u64, "resume").await?, 200, "written down");
        assert!(!paused(holder, portal).await?);
    }
    // What is ordered of one account outlives its holder, and no other account is concerned.
    let portal = (1..=4).find(of_second).context("the second worker holds a shard")?;
    assert_eq!(order(&second, portal as u64, "pause").await?, 200);
    second.kill9().await?;
    holds(&first, 5).await?;
    eventually(LONG, "the pause", async || Ok(paused(&first, portal).await?.then_some(()))).await?;
    for other in (1..=4).filter(|other| *other != portal) {
        assert!(!paused(&first, other).await?);
    }
    stop(&first).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_holds_many_shards() -> Result<()> {
    const SHARDS: usize = 200;
    let stage = Stage::set("shards-many", &of_portals(SHARDS)).await?;
    let begun = Instant::now();
    let worker = stage.start_sharded(&sharded(&stage, SHARDS, "per-account")).await?;
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
    let worker = stage.start_sharded(&sharded(&stage, 2, "per-account")).await?;
    holds(&worker, 3).await?;
    stage.client.publish(&shard(2), of_portal("lost", 1, 3)?).await?;
    // What is no job, or of an account that nobody knows, is answered by whoever holds the queue.
    stage.client.publish(JOBS, of_portal("unknown", 99, 1)?).await?;
    let outcomes = stage.outcomes(4, LONG).await?;
    let statuses: Vec<String> = outcomes.iter().map(|one| format!("{} {:?}", one.job_id, one.status)).collect();
    assert_eq!(statuses.iter().filter(|one| one.ends_with("Archived")).count(), 3, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|one| *one == "unknown-0 Rejected").count(), 1, "{statuses:?}");
    eventually(LONG, "each to be moved once", async || {
        let moved = worker.metrics().await?.value("association_archiver_jobs_moved_total", &[]);
        Ok((moved == Some(3.0)).then_some(()))
    })
    .await?;
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
