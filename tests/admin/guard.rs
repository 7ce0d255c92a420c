//! A guard that has stopped an account: what is told of it, and how it is answered.

use anyhow::{Result, ensure};
use association_archiver::engine::command::{Command as EngineCommand, IdentityReply};
use association_archiver::lease::view::{LeaseStanding, LeaseView};
use association_archiver::telemetry::behind_guards::{GroupBehind, JobsBehind};
use harness::Browser;

use super::*;

const LIMIT: Duration = Duration::from_secs(90);

/// Of the accounts 4711 and 815 the second may have two pairs removed, and five are asked for.
fn stopped() -> Engine {
    let guard = GuardPolicy { max_pairs: 2.try_into().unwrap(), window: Duration::from_secs(1_800) };
    let mut engine = guarded_engine([None, Some(guard)]);
    for from in 1..=5 {
        engine.admit(job(1, "contacts", "companies", from), now());
    }
    engine.flush(now());
    let commands = std::iter::from_fn(|| engine.next_command());
    let asked = commands
        .filter_map(|command| if let EngineCommand::Identify { call, .. } = command { Some(call) } else { None });
    let first = asked.last();
    engine.identified(first.unwrap(), IdentityReply::WillNotTell { detail: String::new() }, now());
    let later = now().tick + Duration::from_secs(1);
    engine.wake(Now { tick: later, wall: now().wall_at(later) });
    engine
}

fn up() -> BrokerState {
    BrokerState { consuming: true, publishing: true, ..BrokerState::default() }
}

#[tokio::test]
async fn the_stop_is_told_and_answered() {
    let mut worker = Worker::start(Some(TOKEN)).await;
    worker.show(&stopped(), up(), false);
    let (status, ready) = worker.get_json("/readyz").await;
    assert_eq!(status, StatusCode::OK, "the other account goes on");
    let paused = &ready["paused"][0];
    assert_eq!((&paused["portalId"], &paused["kind"]), (&Value::from(815), &Value::from("guard")));
    assert_eq!(paused["detail"], "2 pairs in the last 30m; safety.max_pairs is 2");
    assert!(paused["mend"].as_str().unwrap().contains("association-archiver approve"), "{paused}");
    let (_, body) = worker.get_json("/status").await;
    let guard = serde_json::json!(
        {"maxPairs": 2, "windowSeconds": 1_800.0, "used": 2, "state": "waiting", "since": paused["since"], "approvedUntil": null}
    );
    assert_eq!((&body["accounts"][0]["guard"], &body["accounts"][1]["guard"]), (&Value::Null, &guard));
    let metrics = parse(&worker.get("/metrics").await.text().await.unwrap());
    assert_eq!(metrics.value(r#"association_archiver_guards{state="waiting"}"#), 1.0);
    assert_eq!(metrics.value("association_archiver_guard_used_highest_ratio"), 1.0);
    assert_eq!(metrics.value(r#"association_archiver_account_guard_pairs{portal_id="815"}"#), 2.0);

    worker.carry_out_orders(stopped());
    assert_eq!(worker.post("/accounts/815/reject", None).await.status(), StatusCode::UNAUTHORIZED);
    let unguarded = worker.post("/accounts/4711/approve", Some(TOKEN)).await;
    assert_eq!(unguarded.status(), StatusCode::CONFLICT);
    let error: Value = unguarded.json().await.unwrap();
    assert!(error["error"].as_str().unwrap().contains("safety.max_pairs is not set"), "{error}");

    let answer = worker.post("/accounts/815/reject", Some(TOKEN)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!((&answer["paused"], &answer["handedOn"]), (&Value::Null, &Value::Bool(false)));
    let (_, body) = worker.get_json("/status").await;
    assert_eq!(
        (&body["accounts"][1]["guard"]["state"], &body["accounts"][1]["pause"]),
        (&"rejected".into(), &Value::Null)
    );
    let warning = "every removal of portal 815 is rejected until `association-archiver approve 815`";
    assert_eq!(body["warnings"], serde_json::json!([warning]));

    assert_eq!(worker.post("/accounts/1/approve", Some(TOKEN)).await.status(), StatusCode::OK);
    let (_, body) = worker.get_json("/status").await;
    let guard = &body["accounts"][1]["guard"];
    assert_eq!((&guard["state"], &body["warnings"]), (&"approved".into(), &Value::Array(Vec::new())));
    assert!(guard["approvedUntil"].as_str().unwrap().ends_with('Z'), "{guard}");
}

#[tokio::test]
async fn an_order_to_a_worker_that_stands_by_is_handed_on() {
    let mut worker = Worker::start(Some(TOKEN)).await;
    worker.show(&engine(), up(), false);
    let mut orders = worker.orders.take().unwrap();
    tokio::spawn(async move {
        orders.recv().await.unwrap().reply.send(Obeyed::HandedOn).unwrap();
        orders.recv().await.unwrap().reply.send(Obeyed::NotHandedOn("no confirm".to_owned())).unwrap();
    });
    let answer = worker.post("/accounts/815/pause", Some(TOKEN)).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["handedOn"], true);
    assert!(answer["note"].as_str().unwrap().contains("the worker that holds the lease"), "{answer}");
    let answer = worker.post("/accounts/815/pause", Some(TOKEN)).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text().await.unwrap().contains("no confirm"));
}

#[tokio::test]
async fn the_page_shows_the_stop_and_takes_the_answer() -> Result<()> {
    let mut worker = Worker::start(Some(TOKEN)).await;
    let lease = LeaseView {
        jobs_queue: "jobs".to_owned(),
        standing: LeaseStanding::Held,
        since: now().wall,
        holder: Some("host/7".to_owned()),
    };
    worker.show(&stopped(), BrokerState { leases: vec![lease], ..up() }, false);
    let of_group = |group: Option<&str>, jobs, ids: [&str; 2]| GroupBehind {
        group: group.map(str::to_owned),
        jobs,
        job_ids: ids.map(str::to_owned).to_vec(),
    };
    let groups =
        vec![of_group(Some("<b>import-7</b>"), 2_800, ["crm-1", "crm-2"]), of_group(None, 100, ["x-1", "x-2"])];
    let behind = JobsBehind { jobs: 2_903, at_least: false, groups, groups_left_out: 3 };
    worker.snapshots.send_modify(|snapshot| Arc::make_mut(snapshot).behind_guards = [(AccountIndex(1), behind)].into());
    let (_, ready) = worker.get_json("/readyz").await;
    let told = &ready["paused"][0]["behind"];
    ensure!(told["jobs"] == 2_903 && told["groups"][0]["jobIds"][1] == "crm-2", "{told}");
    worker.carry_out_orders(stopped());
    let mut browser = Browser::start().await?;
    browser.open(&worker.url("/")).await?;
    browser
        .until(LIMIT, "document.getElementById('trouble').innerText.includes('portal 815 stands still: by its guard')")
        .await?;
    let text = browser.run("document.querySelector('main').innerText").await?;
    let text = text.as_str().unwrap_or_default();
    for expected in [
        "holds the lease as host/7",
        "until it is approved or rejected",
        "2 of 2; waits for approve or reject",
        "Behind the guard 2,903 jobs: 2,800 of group <b>import-7</b> (such as crm-1, crm-2); 100 without a group (such as x-1, x-2); and 3 more groups",
    ] {
        ensure!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    let buttons = "[...document.querySelectorAll('#trouble button')].map((button) => button.textContent).join()";
    ensure!(browser.run(buttons).await? == "Approve,Reject");
    browser.run("document.querySelectorAll('#trouble button')[1].click()").await?;
    ensure!(browser.run("document.getElementById('question').textContent").await? == "Reject portal 815?");
    let submit =
        format!("document.getElementById('token').value = {TOKEN:?}; document.getElementById('order').click()");
    browser.run(&submit).await?;
    browser
        .until(
            LIMIT,
            "document.getElementById('trouble').innerText.includes('Every removal of portal 815 is rejected')",
        )
        .await?;
    let approve =
        "[...document.querySelectorAll('.account button')].find((button) => button.textContent === 'Approve')";
    browser.run(&format!("{approve}.click(); document.getElementById('order').click()")).await?;
    browser.until(LIMIT, "document.querySelector('main').innerText.includes('everything passes until')").await?;
    ensure!(browser.complaints().is_empty(), "{:?}", browser.complaints());
    Ok(())
}

#[tokio::test]
async fn the_page_of_a_worker_that_stands_by_says_where_the_order_went() -> Result<()> {
    let mut worker = Worker::start(Some(TOKEN)).await;
    let mut engine = engine();
    engine.stand_by(&[AccountIndex(0), AccountIndex(1)], now());
    let jobs_queue = "association-archiver.jobs".to_owned();
    let lease = LeaseView { jobs_queue, standing: LeaseStanding::StandingBy, since: now().wall, holder: None };
    worker.show(&engine, BrokerState { consuming: false, leases: vec![lease], ..up() }, false);
    let mut orders = worker.orders.take().unwrap();
    tokio::spawn(async move {
        while let Some(order) = orders.recv().await {
            order.reply.send(Obeyed::HandedOn).unwrap();
        }
    });
    let mut browser = Browser::start().await?;
    browser.open(&worker.url("/")).await?;
    browser.until(LIMIT, "document.querySelectorAll('.account').length === 2").await?;
    let card = browser.run("document.querySelector('.account').innerText").await?;
    let card = card.as_str().unwrap_or_default();
    ensure!(card.contains("another worker works on it") && !card.contains("Requests"), "{card}");
    let note = browser.run("document.getElementById('trouble').innerText").await?;
    let who = "list_consumers queue_name consumer_tag activity_status | grep -F association-archiver.jobs.lease";
    ensure!(note.as_str().is_some_and(|note| note.contains(who)), "who works is not told: {note}");
    browser.run("document.querySelector('.account button').click()").await?;
    let submit =
        format!("document.getElementById('token').value = {TOKEN:?}; document.getElementById('order').click()");
    browser.run(&submit).await?;
    browser
        .until(LIMIT, "document.getElementById('done').textContent.includes('the worker that holds the lease')")
        .await?;
    ensure!(browser.run("document.getElementById('order').hidden").await? == true, "it is not given twice");
    browser.run("document.getElementById('cancel').click(); document.querySelector('.account button').click()").await?;
    ensure!(browser.run("document.getElementById('order').hidden").await? == false, "the next one can be given");
    ensure!(browser.complaints().is_empty(), "{:?}", browser.complaints());
    Ok(())
}
