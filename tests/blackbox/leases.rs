//! Several workers on one jobs queue: one of them works, and another takes over whatever happens to it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::worker::Worker;
use harness::{Broker, Relay, Until, Way, eventually};
use serde_json::Value;

use crate::stage::{
    JOBS, START_LIMIT, Stage, archived_once, clean, delay_queue, ids, number, order, single_pairs, stop,
};

const LONG: Duration = Duration::from_secs(90);
const TOKEN: &str = "open-sesame";
/// Long enough for a busy machine, short enough for a test.
const LEASE_TIME: &str = "2s";
/// The broker notices a dead or frozen peer after twice this time.
const SHORT_HEARTBEAT: &str = "?heartbeat=2";
/// Four more than the workers' ceiling, since requests arrive unevenly on a busy machine: two workers that send at once
/// would be twenty more.
const LIMIT: [&str; 4] = ["--limit", "24/2s", "--latency", "20ms"];

/// A drained worker names what it used, so nobody waits for `amqp.lease_time`, which is ten minutes here.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_works_and_a_drained_stop_hands_over_at_once() -> Result<()> {
    let stage = Stage::set("lease-drained", &LIMIT).await?;
    let settings =
        stage.worker().set("amqp.lease_time", "10m").set("rate_limit.requests", 20).set("rate_limit.interval", "2s");
    let first = stage.start(&settings).await?;
    holds(&first).await?;
    let second = stage.start(&settings).await?;
    standing(&second, "standingBy").await?;
    let list = "list_consumers queue_name consumer_tag activity_status | grep -F";
    let standby = second.readiness().await?.1["standby"].take();
    let expected =
        format!("to find it: `rabbitmqctl --vhost lease-drained {list} {JOBS}.lease`, which shows it as single_active");
    ensure!(standby.as_str().is_some_and(|told| told.contains(&expected)), "{expected} is not in {standby}");
    assert_eq!(second.metrics().await?.value("association_archiver_leases_held", &[]), Some(0.0));
    // As the runbook says, since the one that stands by cannot know.
    let list = ["list_consumers", "--vhost", "lease-drained", "queue_name", "consumer_tag", "activity_status"];
    let listed = Broker::shared().await?.ctl(&list).await?;
    let of_lease: Vec<&str> = listed.lines().filter_map(|line| line.strip_prefix(&format!("{JOBS}.lease\t"))).collect();
    let status = leases(&first).await?;
    let holder = status[0]["holder"].as_str().context("the holder does not know itself")?;
    assert!(of_lease.contains(&&*format!("{holder}\tsingle_active")), "{holder} is not in {listed}");
    assert!(of_lease.len() == 2 && of_lease.iter().any(|line| line.ends_with("\twaiting")), "{listed}");

    stage.client.publish(JOBS, single_pairs("job", 1..=5_000)?).await?;
    stage.outcomes_waiting(1_000, LONG).await?;
    assert_eq!(second.metrics().await?.sum("association_archiver_http_requests_total", &[]), 0.0);
    stop(&first).await?;
    holds(&second).await?;
    stage.tally(&ids("job", 5_000), LONG).await?.exactly_once()?;
    let state = stage.simulator.state().await?;
    clean(&state);
    never_throttled(&state);
    stop(&second).await
}

/// The broker counts the consumer of a worker that stops until its last job is settled. The next one does not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_with_slow_requests_on_the_wire_hands_over_at_once() -> Result<()> {
    let stage = Stage::set("lease-slow", &LIMIT).await?;
    let hubspot = Relay::start(stage.simulator.uri().trim_start_matches("http://").parse()?).await?;
    // Few requests are on the wire at once, so most of the jobs are still to be sent when the first one stops.
    let settings = stage.worker().set("hubspot.max_in_flight_total", 8);
    let settings = settings.set("hubspot.base_url", hubspot.through(stage.simulator.uri()));
    let settings = settings.set("rate_limit.requests", 20).set("rate_limit.interval", "2s");
    let first = stage.start(&settings).await?;
    holds(&first).await?;
    let second = stage.start(&settings).await?;
    second.ready(START_LIMIT).await?;
    publish(&stage).await?;
    // Answers stay under way for as long as the test wants.
    hubspot.black_hole(Way::ToClient);
    let in_flight = async |worker: &Worker| anyhow::Ok(number(&worker.status().await?, "/requests/inFlight"));
    let busy = async |worker: &Worker, least: u64| {
        eventually(LONG, "requests on the wire", async || Ok((in_flight(worker).await? >= least).then_some(()))).await
    };
    // One alone may have been answered by now: `/status` is as of the last second.
    busy(&first, 4).await?;
    first.term()?;
    busy(&second, 1).await?;
    // What `/status` says is as of the worker's last turn, so the second may be at work before the first has said so.
    standing(&first, "left").await?;
    let last = first.status().await?;
    assert!(number(&last, "/requests/inFlight") > 0, "the second one has waited for the first: {last}");
    assert_eq!(last["draining"], true);
    assert_eq!(last["backlog"]["drainSeconds"], Value::Null, "others answer what it has handed back");
    let reason = last["reasons"][0].to_string();
    assert!(reason.contains("requests that HubSpot has not answered") && reason.contains("shutdown.grace"), "{reason}");
    assert!(!second.stderr().contains("still consumes"), "{}", second.last_words());
    hubspot.resume();
    assert_eq!(first.wait(crate::stage::STOP_LIMIT).await?, 0, "{}", first.last_words());
    assert!(first.stderr().contains("stopped in good order"), "{}", first.last_words());
    assert!(first.stderr().contains("deliveries_handed_back"), "{}", first.last_words());
    finish(&stage, &second).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_is_replaced_and_the_ceiling_is_kept() -> Result<()> {
    let stage = Stage::set("lease-killed", &LIMIT).await?;
    let settings = stage.worker().set("amqp.lease_time", LEASE_TIME);
    let settings = settings.set("rate_limit.requests", 20).set("rate_limit.interval", "2s");
    let mut holder = stage.start(&settings).await?;
    holds(&holder).await?;
    let published = ids("job", 8_000);
    stage.client.publish(JOBS, single_pairs("job", 1..=8_000)?).await?;
    for answered in [500, 2_500] {
        let next = stage.start(&settings).await?;
        next.ready(START_LIMIT).await?;
        stage.outcomes_waiting(answered, LONG).await?;
        assert!(!next.stderr().contains("about to work"), "{}", next.last_words());
        let left = leases(&holder).await?[0]["holder"].as_str().context("the holder does not know itself")?.to_owned();
        holder.kill9().await?;
        // Why nothing goes on for that long though nobody works.
        next.says(&["about to work: whoever worked before must have stopped first", &left]).await?;
        holds(&next).await?;
        holder = next;
    }
    let report = stage.tally(&published, LONG).await?;
    report.at_least_once()?;
    never_throttled(&stage.simulator.state().await?);
    stop(&holder).await
}

/// Somebody deletes the exchange, and with it every binding, while there is nothing to publish but the lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_exchange_does_not_cost_the_lease() -> Result<()> {
    let stage = Stage::set("lease-exchange", &LIMIT).await?;
    let settings = stage.worker().set("amqp.lease_time", LEASE_TIME);
    let worker = stage.start(&settings.set("rate_limit.requests", 20).set("rate_limit.interval", "2s")).await?;
    holds(&worker).await?;
    stage.client.delete_exchange("association-archiver").await?;
    eventually(LONG, "the exchange", async || {
        Ok(stage.client.exchange_exists("association-archiver").await?.then_some(()))
    })
    .await?;
    publish(&stage).await?;
    finish(&stage, &worker).await
}

/// A frozen worker does not know that another one has taken over, and sends nothing when it is thawed.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_worker_sends_nothing_after_it_is_thawed() -> Result<()> {
    let stage = Stage::set("lease-frozen", &LIMIT).await?;
    let settings = stage.worker().set("amqp.uri", format!("{}{SHORT_HEARTBEAT}", stage.uri));
    let settings = settings.set("amqp.lease_time", LEASE_TIME);
    let settings = settings.set("rate_limit.requests", 20).set("rate_limit.interval", "2s");
    let (frozen, next) = a_pair_at_work(&stage, &settings).await?;
    frozen.freeze()?;
    holds(&next).await?;
    frozen.thaw()?;
    standing(&frozen, "standingBy").await?;
    frozen.says(&["could not be renewed in time"]).await?;
    finish(&stage, &next).await?;
    stop(&frozen).await
}

/// The line to the broker is silent in one direction: the worker stops by itself, in time for the next one to start.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_silent_in_either_direction_costs_the_lease() -> Result<()> {
    for (name, way) in [("lease-deaf", Way::ToClient), ("lease-mute", Way::ToServer)] {
        let stage = Stage::set(name, &LIMIT).await?;
        let relay = Relay::start(Broker::shared().await?.address()).await?;
        let settings = stage.worker().set("amqp.lease_time", LEASE_TIME);
        let settings = settings.set("rate_limit.requests", 20).set("rate_limit.interval", "2s");
        let through = |uri: String| settings.clone().set("amqp.uri", format!("{uri}{SHORT_HEARTBEAT}"));
        let cut_off = stage.start(&through(relay.through(&stage.uri))).await?;
        holds(&cut_off).await?;
        let next = stage.start(&through(stage.uri.clone())).await?;
        next.ready(START_LIMIT).await?;
        publish(&stage).await?;
        relay.black_hole(way);
        holds(&next).await.with_context(|| format!("{way:?}"))?;
        // What `/status` says is as of the last second.
        eventually(LONG, "the lease to be given up", async || {
            Ok((leases(&cut_off).await?[0]["standing"] != "held").then_some(()))
        })
        .await?;
        relay.resume();
        standing(&cut_off, "standingBy").await?;
        finish(&stage, &next).await?;
        stop(&cut_off).await?;
    }
    Ok(())
}

/// The day's count is written down before it is used, so no death forgets any of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_days_budget_survives_every_kill() -> Result<()> {
    a_budget_survives(60, 3, "lease-day").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute or two"]
async fn a_days_budget_survives_twenty_kills_in_a_row() -> Result<()> {
    a_budget_survives(300, 20, "lease-day-long").await
}

async fn a_budget_survives(budget: u64, kills: u32, name: &str) -> Result<()> {
    /// Requests that are written down ahead: as many as leave in half a second.
    const AHEAD: u64 = 10;
    const BETWEEN_KILLS: u32 = 5;
    let stage = Stage::set(name, &["--limit", "off", "--latency", "50ms"]).await?;
    let settings = stage.worker().set("amqp.lease_time", "1s").set("rate_limit.daily", budget);
    // One job a request.
    let settings = settings.set("rate_limit.requests", 40).set("rate_limit.interval", "2s").set("batch.max_pairs", 1);
    let mut holder = stage.start(&settings).await?;
    holds(&holder).await?;
    stage.client.publish(JOBS, single_pairs("job", 1..=budget * 3)?).await?;
    for kill in 1..=kills {
        stage.outcomes_waiting(kill * BETWEEN_KILLS, LONG).await?;
        holder.kill9().await?;
        holder = stage.start(&settings).await?;
    }
    eventually(LONG, "the day to be spent", async || {
        Ok((holder.status().await?["accounts"][0]["pause"]["kind"] == "day_spent").then_some(()))
    })
    .await
    .with_context(|| holder.last_words())?;
    let sent = number(&stage.simulator.state().await?, "/requests");
    eprintln!("{sent} requests of a budget of {budget} after {kills} kills");
    // Each death may waste what was written ahead.
    assert!((budget - u64::from(kills) * AHEAD..=budget).contains(&sent), "{sent} requests");
    // A restart in good order, which hands the count on as it is.
    stop(&holder).await?;
    let last = stage.start(&settings).await?;
    holds(&last).await?;
    assert_eq!(number(&stage.simulator.state().await?, "/requests"), sent);
    stop(&last).await
}

/// An operator's pause holds after a restart, whoever works then.
#[tokio::test(flavor = "multi_thread")]
async fn an_operators_pause_survives_a_restart() -> Result<()> {
    let stage = Stage::set("lease-pause", &[]).await?;
    let settings = stage.worker().set("amqp.lease_time", "1s").set("admin.token", TOKEN);
    let first = stage.start(&settings).await?;
    holds(&first).await?;
    assert_eq!(order(&first, 0, "pause", TOKEN).await?.0, 200);
    stop(&first).await?;
    let second = stage.start(&settings).await?;
    holds(&second).await?;
    let paused = async |worker: &Worker| anyhow::Ok(worker.status().await?["accounts"][0]["pause"].clone());
    eventually(LONG, "the pause", async || Ok((paused(&second).await?["kind"] == "operator").then_some(()))).await?;
    assert_eq!(order(&second, 0, "resume", TOKEN).await?.0, 200);
    stop(&second).await?;
    let third = stage.start(&settings).await?;
    holds(&third).await?;
    assert_eq!(paused(&third).await?, Value::Null);
    stop(&third).await
}

/// An order is answered 200 when it outlives the worker, and not before.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_cannot_be_written_down_is_not_confirmed() -> Result<()> {
    let stage = Stage::set("lease-order", &[]).await?;
    let relay = Relay::start(Broker::shared().await?.address()).await?;
    let settings = stage.worker().set("amqp.uri", relay.through(&stage.uri)).set("admin.token", TOKEN);
    let worker = stage.start(&settings.set("amqp.lease_time", "20s")).await?;
    holds(&worker).await?;
    relay.black_hole(Way::ToServer);
    let (status, answer) = pause_once(&worker).await?;
    assert_eq!(
        (status, &answer["giveAgain"], &answer["paused"]),
        (202, &Value::Bool(true), &Value::Bool(true)),
        "{answer}"
    );
    assert!(answer["note"].as_str().is_some_and(|note| note.contains("has carried out the order")), "{answer}");
    assert_eq!(worker.status().await?["accounts"][0]["pause"]["kind"], "operator", "it is obeyed all the same");
    relay.resume();
    eventually(LONG, "the order to be written down", async || Ok((pause_once(&worker).await?.0 == 200).then_some(())))
        .await?;
    stop(&worker).await
}

async fn pause_once(worker: &Worker) -> Result<(u16, Value)> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let response = client.post(format!("{}/accounts/0/pause", worker.admin())).bearer_auth(TOKEN).send().await?;
    Ok((response.status().as_u16(), response.json().await?))
}

/// The only worker there is has no broker: it says so, and sends nobody to ask another one.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_without_a_broker_is_refused_with_the_cause() -> Result<()> {
    let stage = Stage::set("lease-no-broker", &[]).await?;
    let relay = Relay::start(Broker::shared().await?.address()).await?;
    let settings = stage.worker().set("amqp.uri", relay.through(&stage.uri)).set("admin.token", TOKEN);
    let worker = stage.start(&settings.set("amqp.lease_time", LEASE_TIME)).await?;
    holds(&worker).await?;
    relay.refuse().await;
    relay.cut();
    standing(&worker, "away").await?;
    let error = eventually(LONG, "an order to be refused", async || {
        let (status, answer) = pause_once(&worker).await?;
        let error = answer["error"].as_str().unwrap_or_default().to_owned();
        Ok((status == 503).then_some(error))
    })
    .await?;
    assert!(error.contains("Connection refused") && error.contains("once the broker is back"), "{error}");
    assert!(!error.contains("stands by") && !error.contains("ask that one"), "{error}");
    drop(worker);
    Ok(())
}

/// What is parked waits on in the broker while the worker has lost it, and so does the time by which it is back.
#[tokio::test(flavor = "multi_thread")]
async fn parked_jobs_are_back_by_the_same_time_after_a_lost_connection() -> Result<()> {
    let stage = Stage::set("lease-parked", &[]).await?;
    let relay = Relay::start(Broker::shared().await?.address()).await?;
    let settings = stage.worker().set("amqp.uri", relay.through(&stage.uri)).set("amqp.lease_time", "1s");
    let worker = stage.start(&settings).await?;
    holds(&worker).await?;
    stage.client.publish(&delay_queue("1h"), single_pairs("parked", 1..=1)?).await?;
    let told = async || {
        let status = worker.status().await?;
        let (lease, back_by) = (&status["leases"][0], &status["broker"]["backBy"]["1h"]);
        let since = lease["since"].as_str().filter(|_| lease["standing"] == "held");
        anyhow::Ok(since.map(str::to_owned).zip(back_by.as_str().map(str::to_owned)))
    };
    let (since, back_by) = eventually(LONG, "the parked job to be seen", &told).await?;
    relay.refuse().await;
    relay.cut();
    let is_lost = async || Ok((leases(&worker).await?[0]["standing"] != "held").then_some(()));
    eventually(LONG, "the lease to be lost", is_lost).await?;
    relay.resume();
    let again = async || Ok(told().await?.filter(|(again, _)| *again != since));
    let (_, after) = eventually(LONG, "the lease to be held again", again).await?;
    assert_eq!(after, back_by);
    stop(&worker).await
}

/// The way from a version without leases: the new worker waits for the end of the old one.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_a_lease_is_waited_for() -> Result<()> {
    let stage = Stage::set("lease-older", &LIMIT).await?;
    let settings = stage.worker().set("rate_limit.requests", 20).set("rate_limit.interval", "2s");
    let older = stage.start(&settings.clone().set("amqp.lease", false)).await?;
    older.ready(START_LIMIT).await?;
    publish(&stage).await?;
    let newer = stage.start(&settings.set("amqp.lease_time", LEASE_TIME)).await?;
    newer.says(&["a worker without a lease still consumes"]).await?;
    newer.ready(START_LIMIT).await?;
    assert_eq!(newer.metrics().await?.sum("association_archiver_http_requests_total", &[]), 0.0);
    stop(&older).await?;
    finish(&stage, &newer).await
}

/// The broker still counts a consumer of the holder that has died, as a cluster does while a node is down: it may be the
/// dead one's, and is not waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_the_dead_holder_may_have_left_is_not_waited_for() -> Result<()> {
    let stage = Stage::set("lease-left", &LIMIT).await?;
    let settings = stage.worker().set("amqp.lease_time", LEASE_TIME);
    let settings = settings.set("rate_limit.requests", 20).set("rate_limit.interval", "2s");
    let (holder, next) = a_pair_at_work(&stage, &settings).await?;
    // It takes one job, and nothing more.
    let channel = stage.client.channel().await?;
    channel.basic_qos(1, lapin::options::BasicQosOptions::default()).await?;
    let _left = channel.basic_consume(JOBS.into(), "".into(), Default::default(), Default::default()).await?;
    holder.kill9().await?;
    sends(&next).await?;
    assert!(!next.stderr().contains("a worker without a lease still consumes"), "{}", next.last_words());
    channel.close(200, "OK".into()).await?;
    finish(&stage, &next).await
}

/// The same with the program of an earlier version, which knows nothing of leases, and the way back to it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "OLD_ARCHIVER_BIN must name a program without leases"]
async fn an_earlier_version_is_replaced_and_put_back() -> Result<()> {
    // Enough for the old worker to be at work until the new one has waited for it.
    const JOBS_BEFORE: u64 = 20_000;
    const INTERVAL: Duration = Duration::from_secs(2);
    let old = std::env::var_os("OLD_ARCHIVER_BIN").context("OLD_ARCHIVER_BIN names no program")?;
    let stage = Stage::set("lease-upgrade", &LIMIT).await?;
    // The keys of today's tests are unknown to it.
    let old = harness::worker::WorkerBuilder::default().program(old.into());
    let both = |builder: harness::worker::WorkerBuilder| {
        let builder = builder.set("amqp.uri", &stage.uri).set("hubspot.base_url", stage.simulator.uri());
        let builder = builder.set("hubspot.access_token", "pat-of-the-stage");
        builder.set("rate_limit.requests", 20).set("rate_limit.interval", "2s")
    };
    let (old, new) = (both(old), both(Worker::builder()));
    // It declares fewer queues than today's worker, so being ready is all that can be waited for.
    let older = old.start()?;
    older.ready(START_LIMIT).await?;
    stage.client.publish(JOBS, single_pairs("job", 1..=JOBS_BEFORE)?).await?;
    stage.outcomes_waiting(200, LONG).await?;
    let newer = stage.start(&new).await?;
    newer.says(&["a worker without a lease still consumes"]).await?;
    let begun = Instant::now();
    older.term()?;
    assert_eq!(older.wait(crate::stage::STOP_LIMIT).await?, 0, "{}", older.last_words());
    let ended = begun.elapsed();
    sends(&newer).await?;
    eprintln!("the old worker has ended after {ended:?}, the new one sends after {:?}", begun.elapsed());
    never_throttled(&stage.simulator.state().await?);
    // And back: the new one must stop first, and an interval must pass, since an earlier version knows nothing of what it
    // sent last.
    stop(&newer).await?;
    tokio::time::sleep(INTERVAL).await;
    let begun = Instant::now();
    let older = old.start()?;
    let messages = stage.client.collect(crate::stage::RESULTS, Until::Count(JOBS_BEFORE as usize), LONG).await?;
    eprintln!("all is answered {:?} after the way back", begun.elapsed());
    older.term()?;
    assert_eq!(older.wait(crate::stage::STOP_LIMIT).await?, 0, "{}", older.last_words());
    // Its outcomes lack the fields that were added since.
    let answered = messages.iter().map(|message| {
        let outcome: Value = serde_json::from_slice(&message.body)?;
        assert_eq!(outcome["status"], "ARCHIVED", "{outcome}");
        Ok(outcome["jobId"].as_str().context("a job id")?.to_owned())
    });
    let answered: BTreeSet<String> = answered.collect::<Result<_>>()?;
    assert_eq!((answered.len() as u64, messages.len() as u64), (JOBS_BEFORE, JOBS_BEFORE), "{}", older.last_words());
    assert_eq!(stage.client.count(crate::stage::RESULTS).await?, 0, "some jobs were answered twice");
    let state = stage.simulator.state().await?;
    archived_once(&state, JOBS_BEFORE);
    never_throttled(&state);
    Ok(())
}

async fn sends(worker: &Worker) -> Result<()> {
    eventually(LONG, "a request", async || {
        let sent = worker.metrics().await?.sum("association_archiver_http_requests_total", &[]);
        Ok((sent > 0.0).then_some(()))
    })
    .await
    .with_context(|| worker.last_words())
}

/// A broker that nobody has worked on: nothing is waited for, least of all the ten minutes of `amqp.lease_time`.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_sends_at_once() -> Result<()> {
    let stage = Stage::set("lease-first", &[]).await?;
    let worker = stage.start(&stage.worker().set("amqp.lease_time", "10m")).await?;
    holds(&worker).await?;
    stage.client.publish(JOBS, single_pairs("job", 1..=1)?).await?;
    stage.tally(&ids("job", 1), START_LIMIT).await?.exactly_once()?;
    stop(&worker).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_queue_that_gives_to_several_is_refused() -> Result<()> {
    let stage = Stage::set("lease-shared", &[]).await?;
    stage.client.declare_quorum(&format!("{JOBS}.lease"), &[]).await?;
    let worker = stage.worker().start()?;
    assert_eq!(worker.wait(START_LIMIT).await?, 1);
    assert!(worker.stderr().contains("has no single active consumer"), "{}", worker.last_words());
    Ok(())
}

const COUNT: u64 = 4_000;

async fn publish(stage: &Stage) -> Result<()> {
    stage.client.publish(JOBS, single_pairs("job", 1..=COUNT)?).await?;
    stage.outcomes_waiting(200, LONG).await
}

async fn a_pair_at_work(stage: &Stage, settings: &harness::worker::WorkerBuilder) -> Result<(Worker, Worker)> {
    let first = stage.start(settings).await?;
    holds(&first).await?;
    let second = stage.start(settings).await?;
    second.ready(START_LIMIT).await?;
    publish(stage).await?;
    Ok((first, second))
}

/// All is answered, and HubSpot never saw more than its limit, which is the workers' ceiling.
async fn finish(stage: &Stage, worker: &Worker) -> Result<()> {
    stage.tally(&ids("job", COUNT), LONG).await?.at_least_once()?;
    never_throttled(&stage.simulator.state().await?);
    stop(worker).await
}

fn never_throttled(state: &Value) {
    assert_eq!(number(state, "/throttled"), 0, "{state}");
}

async fn leases(worker: &Worker) -> Result<Value> {
    Ok(worker.status().await?["leases"].clone())
}

async fn holds(worker: &Worker) -> Result<()> {
    standing(worker, "held").await
}

async fn standing(worker: &Worker, wanted: &str) -> Result<()> {
    eventually(LONG, &format!("the lease to be {wanted}"), async || {
        Ok((leases(worker).await?[0]["standing"] == *wanted).then_some(()))
    })
    .await
    .with_context(|| worker.last_words())
}
