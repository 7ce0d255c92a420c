//! Whatever dies or is stopped in the middle: nothing is lost, and nothing is said twice in different words.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::{Broker, Message, Options, Outcome, Relay, Status, Tally, Until, Way, job};
use rustix::process::Signal;
use tokio::net::TcpListener;

use association_archiver::worker::stopping::LONGEST_AFTER_GRACE;

use crate::stage::{JOBS, RESULTS, Stage, archived_once, clean, ids, nothing_lost, number, single_pairs, stop};

const LONG: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_in_the_middle_leaves_every_job_answered_or_queued() -> Result<()> {
    const COUNT: u64 = 30_000;
    let stage = Stage::set("sigterm", &["--limit", "100/10s", "--latency", "300ms"]).await?;
    stage.declare().await?;
    stage.client.publish(JOBS, single_pairs("job", 1..=COUNT)?).await?;
    let worker = stage.start(&stage.worker()).await?;
    stage.outcomes_waiting(3_000, LONG).await?;
    stop(&worker).await?;

    let answered = stage.client.count(RESULTS).await?;
    stage.client.count_becomes(JOBS, u32::try_from(COUNT)? - answered).await?;
    let queued = stage.client.count(JOBS).await?;
    eprintln!("{answered} answered, {queued} still queued");
    assert!(queued > 0, "the stop came too late to show anything");
    archived_once(&stage.simulator.state().await?, answered.into());

    stage.simulator.configure(&serde_json::json!({"everyAccount": {"limit": "off"}})).await?;
    let next = stage.worker().set("rate_limit.requests", 100).set("rate_limit.interval", "1s");
    let worker = stage.start(&next).await?;
    let report = stage.tally(&ids("job", COUNT), LONG * 3).await?;
    report.exactly_once()?;
    assert_eq!(report.by_status[&Status::Archived], COUNT as usize);
    archived_once(&stage.simulator.state().await?, COUNT);
    stop(&worker).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_a_start_that_still_waits_for_the_broker() -> Result<()> {
    let stage = Stage::set("start-stopped", &[]).await?;
    let nobody = format!("amqp://127.0.0.1:{}", harness::port::free_port()?);
    let worker = stage.worker().set("amqp.uri", nobody).start()?;
    harness::eventually(LONG, "the endpoints", async || {
        Ok(worker.readiness().await.is_ok_and(|(status, _)| status == 503).then_some(()))
    })
    .await?;
    worker.term()?;
    // Long before `amqp.connect_timeout` would have ended it, and with another code.
    assert_eq!(worker.wait(Duration::from_secs(20)).await?, 0, "{}", worker.last_words());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_in_the_middle_costs_no_job() -> Result<()> {
    const COUNT: u64 = 8_000;
    let broker = Broker::start(Options::default()).await?;
    let stage = Stage::at(&broker.uri(), &["--limit", "off", "--latency", "100ms"]).await?;
    stage.declare().await?;
    stage.client.publish(JOBS, single_pairs("job", 1..=COUNT)?).await?;
    let pace = stage.worker().set("rate_limit.requests", 20).set("rate_limit.interval", "2s");
    let worker = stage.start(&pace).await?;
    stage.outcomes_waiting(1_000, LONG).await?;
    broker.kill9().await?;
    harness::eventually(LONG, "readiness to be refused", async || {
        Ok((worker.readiness().await?.0 == 503).then_some(()))
    })
    .await?;
    broker.restart().await?;
    worker.ready(LONG).await?;

    // Copies beyond the first of a job come while the rest is awaited.
    let mut messages = collect_all(&stage, &ids("job", COUNT)).await?;
    Tally::of_published(ids("job", COUNT)).outcomes(&messages)?.report().at_least_once()?;
    assert_eq!(worker.ended()?, None, "{}", worker.last_words());
    let state = stage.simulator.state().await?;
    assert_eq!(number(&state, "/pairsArchivedDistinct"), COUNT);
    clean(&state);

    stage.client.publish(JOBS, single_pairs("after", COUNT + 1..=COUNT + 10)?).await?;
    // A last copy of what was answered before may still come among them.
    messages.extend(collect_all(&stage, &ids("after", 10)).await?);
    let report = Tally::of_published([ids("job", COUNT), ids("after", 10)].concat()).outcomes(&messages)?.report();
    report.at_least_once()?;
    assert!(!report.doubled.iter().any(|id| id.starts_with("after")), "{report}");
    stop(&worker).await?;
    stage.jobs_wait(0).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_the_middle_costs_no_job() -> Result<()> {
    const COUNT: u64 = 8_000;
    let stage = Stage::set("kill-worker", &["--limit", "off", "--latency", "100ms"]).await?;
    stage.declare().await?;
    stage.client.publish(JOBS, single_pairs("job", 1..=COUNT)?).await?;
    let pace = stage.worker().set("rate_limit.requests", 40).set("rate_limit.interval", "2s");
    for answered in [1_000, 3_000] {
        let worker = stage.start(&pace).await?;
        stage.outcomes_waiting(answered, LONG).await?;
        worker.kill9().await?;
    }
    let worker = stage.start(&pace).await?;
    let messages = collect_all(&stage, &ids("job", COUNT)).await?;
    let report = Tally::of_published(ids("job", COUNT)).outcomes(&messages)?.report();
    report.at_least_once()?;
    eprintln!("{} outcomes of {COUNT} jobs", report.outcomes);
    let state = stage.simulator.state().await?;
    assert_eq!(number(&state, "/pairsArchivedDistinct"), COUNT);
    clean(&state);
    stop(&worker).await?;
    stage.jobs_wait(0).await
}

/// HubSpot does not answer in time: the grace ends, and what was not answered is there again.
#[tokio::test(flavor = "multi_thread")]
async fn a_grace_that_expires_is_a_failure_that_loses_nothing() -> Result<()> {
    let stage = Stage::set("grace", &["--latency", "60s"]).await?;
    let worker = stage.start(&stage.worker().set("shutdown.grace", "1s")).await?;
    let published = ids("job", 50);
    stage.client.publish(JOBS, single_pairs("job", 1..=50)?).await?;
    in_flight(&stage).await?;
    worker.term()?;
    assert_eq!(worker.wait(LONG).await?, 1);
    nothing_lost(&published, &[], &stage.take_waiting(published.len()).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_at_once() -> Result<()> {
    let stage = Stage::set("second-signal", &["--latency", "60s"]).await?;
    let worker = stage.start(&stage.worker()).await?;
    let published = ids("job", 50);
    stage.client.publish(JOBS, single_pairs("job", 1..=50)?).await?;
    in_flight(&stage).await?;
    worker.term()?;
    worker.says(&["stopping"]).await?;
    worker.interrupt()?;
    // Else it would wait for `shutdown.grace`, which is half a minute.
    assert_eq!(worker.wait(Duration::from_secs(20)).await?, 1);
    nothing_lost(&published, &[], &stage.take_waiting(published.len()).await?);
    Ok(())
}

/// A closed terminal sends SIGHUP, more than once; none of the others may end the work in its middle.
#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_and_a_quit_drain_and_other_signals_do_nothing() -> Result<()> {
    let stage = Stage::set("hangup", &["--latency", "1s"]).await?;
    for (name, signal) in [("hup", Signal::HUP), ("quit", Signal::QUIT)] {
        let worker = stage.start(&stage.worker()).await?;
        // The queues may have been there before, and then it may not listen to signals yet.
        worker.ready(LONG).await?;
        for harmless in [Signal::USR1, Signal::USR2, Signal::ALARM, Signal::IO, Signal::PIPE] {
            worker.signal(harmless)?;
        }
        let requests = number(&stage.simulator.state().await?, "/requestsByKind/archive");
        // One: of several, those that have not left by then would be handed back.
        stage.client.publish(JOBS, single_pairs(name, 1..=1)?).await?;
        harness::eventually(LONG, "a request on the wire", async || {
            Ok((number(&stage.simulator.state().await?, "/requestsByKind/archive") > requests).then_some(()))
        })
        .await
        .with_context(|| worker.last_words())?;
        worker.signal(signal)?;
        if signal == Signal::HUP {
            worker.signal(signal)?;
        }
        assert_eq!(worker.wait(LONG).await?, 0, "{}", worker.last_words());
        stage.tally(&ids(name, 1), LONG).await?.exactly_once()?;
    }
    Ok(())
}

/// The broker takes nothing any more and HubSpot does not answer a token refresh: one deadline holds for all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_broker_and_a_hanging_refresh_end_within_the_documented_time() -> Result<()> {
    const GRACE: Duration = Duration::from_secs(1);
    /// Less than any of the waits for the broker or for HubSpot that have a deadline of their own.
    const BUSY_MACHINE: Duration = Duration::from_secs(15);
    let stage = Stage::set("silence", &[]).await?;
    stage.declare().await?;
    let relay = Relay::start(Broker::shared().await?.address()).await?;
    let hubspot = TcpListener::bind("127.0.0.1:0").await?;
    let account = "[[hubspot.accounts]]\nportal_id = 4711\noauth.client_id = \"app\"\n\
                   oauth.client_secret = \"s\"\noauth.refresh_token = \"r\"\n";
    let worker = stage
        .worker_without_account()
        .set("amqp.uri", relay.through(&stage.uri))
        .set("hubspot.base_url", format!("http://{}", hubspot.local_addr()?))
        .set("shutdown.grace", "1s")
        .config(account)
        .start()?;
    worker.ready(LONG).await?;
    stage.client.publish(JOBS, vec![job("job-0").pair(1, 1).to_message()?]).await?;
    let _never_answered = tokio::time::timeout(LONG, hubspot.accept()).await??;
    relay.black_hole(Way::ToServer);
    stage.client.publish(JOBS, vec![Message::new("{}").id("no-job")?]).await?;
    harness::eventually(LONG, "the answer to be on its way", async || {
        Ok((worker.metrics().await?.sum("association_archiver_jobs_received_total", &[]) >= 2.0).then_some(()))
    })
    .await?;
    let asked = std::time::Instant::now();
    worker.term()?;
    assert_eq!(worker.wait(Duration::from_secs(60)).await?, 1);
    let took = asked.elapsed();
    eprintln!("ended after {took:?}");
    assert!(took < GRACE + LONGEST_AFTER_GRACE + BUSY_MACHINE, "{took:?}\n{}", worker.last_words());
    let said = worker.stderr();
    let line = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(line.contains("the broker has not confirmed: 1"), "{said}");
    assert!(line.contains("the broker has not ended the subscription"), "{said}");
    assert!(said.contains("a token refresh is still without an answer"), "{said}");
    Ok(())
}

async fn in_flight(stage: &Stage) -> Result<()> {
    harness::eventually(LONG, "a request on the wire", async || {
        Ok((number(&stage.simulator.state().await?, "/maxInFlight") > 0).then_some(()))
    })
    .await
}

/// Reads outcomes, copies too, until each job has one; then whatever is still behind.
async fn collect_all(stage: &Stage, ids: &[String]) -> Result<Vec<Message>> {
    let end = std::time::Instant::now() + LONG;
    let mut messages = stage.client.collect(RESULTS, Until::Count(ids.len()), LONG).await?;
    loop {
        messages.extend(stage.client.collect(RESULTS, Until::Idle(Duration::from_secs(1)), LONG).await?);
        let answered: std::collections::BTreeSet<String> =
            messages.iter().map(|message| Ok(Outcome::from_message(message)?.job_id)).collect::<Result<_>>()?;
        if ids.iter().all(|id| answered.contains(id)) || std::time::Instant::now() >= end {
            return Ok(messages);
        }
    }
}
