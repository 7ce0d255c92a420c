//! The endpoints over real HTTP: what they say of a worker, what they let an operator do, and what they withstand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use association_archiver::admin::{AdminState, serve};
use association_archiver::contract::action::Action;
use association_archiver::contract::association::{Extent, Pair, RecordId};
use association_archiver::contract::ids::{AccountIndex, PortalId};
use association_archiver::contract::job::Ask;
use association_archiver::contract::object_type::ObjectType;
use association_archiver::contract::outcome;
use association_archiver::engine::account::AccountPolicy;
use association_archiver::engine::clock::{Now, Tick};
use association_archiver::engine::command::{Carried, NewJob};
use association_archiver::engine::guard::GuardPolicy;
use association_archiver::engine::{Engine, EnginePolicy, Waiting};
use association_archiver::lease::view::{LeaseStanding, LeaseView};
use association_archiver::telemetry::failing_alone::FailingPair;
use association_archiver::telemetry::heartbeat::Heartbeat;
use association_archiver::telemetry::lost_queue::LostQueue;
use association_archiver::telemetry::mend::Mends;
use association_archiver::telemetry::metrics::{Metrics, documented_metrics};
use association_archiver::telemetry::snapshot::{BrokerState, Snapshot};
use association_archiver::telemetry::throttled::Throttled;
use association_archiver::worker::seams::{self, Instruction, Obeyed, Order, Target};
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use smallvec::smallvec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

#[path = "admin/guard.rs"]
mod guard;
#[path = "admin/page.rs"]
mod page;
#[path = "admin/pictures.rs"]
mod pictures;
#[path = "admin/sight.rs"]
mod sight;
#[path = "blackbox/stage.rs"]
#[allow(dead_code)]
mod stage;

const TOKEN: &str = "letmein-0123456789";

/// Name, broker, draining, paused accounts, and why it is not ready.
type Case = (&'static str, BrokerState, bool, &'static [u32], Option<&'static str>);

#[tokio::test]
async fn readiness_says_whether_jobs_are_taken_and_answered() {
    let worker = Worker::start(Some(TOKEN)).await;
    let up = BrokerState { consuming: true, publishing: true, ..BrokerState::default() };
    let away = |what: fn(&mut BrokerState)| {
        let mut broker = up.clone();
        what(&mut broker);
        broker
    };
    let cases: Vec<Case> = vec![
        ("all is well", up.clone(), false, &[], None),
        ("one account of two is paused", up.clone(), false, &[0], None),
        ("every account is paused", up.clone(), false, &[0, 1], Some("every account is paused")),
        ("draining", up.clone(), true, &[], Some("draining")),
        ("an alarm holds outcomes back", away(|b| b.blocked = true), false, &[], None),
        (
            "too much in hand",
            away(|b| {
                b.consuming = false;
                b.overfull = true;
            }),
            false,
            &[],
            None,
        ),
        (
            "no consumer",
            away(|b| {
                b.consuming = false;
                b.consuming_trouble = Some("connection refused".to_owned());
            }),
            false,
            &[],
            Some("connection refused"),
        ),
        ("no publisher", away(|b| b.publishing = false), false, &[], Some("no outcomes can go out")),
        ("one message is stuck", away(|b| b.publishing_trouble = Some("no queue".to_owned())), false, &[], None),
        (
            "nothing can be published",
            away(|b| {
                b.publishing_stalled = true;
                b.publishing_trouble = Some("the right is gone".to_owned());
            }),
            false,
            &[],
            Some("the right is gone"),
        ),
    ];
    for (name, broker, draining, paused, reason) in cases {
        let mut engine = engine();
        for &account in paused {
            engine.pause(AccountIndex(account), now());
        }
        worker.show(&engine, broker, draining);

        let (status, body) = worker.get_json("/readyz").await;

        let reasons = body["reasons"].as_array().unwrap();
        assert_eq!(status == StatusCode::OK, reason.is_none(), "{name}: {body}");
        assert_eq!(status == StatusCode::SERVICE_UNAVAILABLE, reason.is_some(), "{name}: {body}");
        assert_eq!(body["ready"], reason.is_none(), "{name}");
        match reason {
            Some(reason) => assert!(reasons[0].as_str().unwrap().contains(reason), "{name}: {body}"),
            None => assert!(reasons.is_empty(), "{name}: {body}"),
        }
        let listed: Vec<_> =
            body["paused"].as_array().unwrap().iter().map(|paused| paused["portalId"].clone()).collect();
        assert_eq!(listed, [4711, 815][..paused.len()], "{name}");
    }
}

#[tokio::test]
async fn readiness_names_what_stands_and_why() {
    let worker = Worker::start(Some(TOKEN)).await;
    let mut engine = engine();
    engine.admit(job(0, "contacts", "companies", 1), now());
    engine.admit(NewJob { dry_run: true, ..job(0, "contacts", "companies", 1) }, now());
    let (contacts, companies) = (ObjectType::parse("0-1").unwrap(), ObjectType::parse("Company").unwrap());
    assert_eq!(engine.pause_lanes(AccountIndex(0), &contacts, &companies, now()), 2, "one of them only looks");
    worker.show(&engine, BrokerState { consuming: true, publishing: true, ..BrokerState::default() }, false);

    let (status, body) = worker.get_json("/readyz").await;

    assert_eq!(status, StatusCode::OK, "one lane stands, and no account");
    let [lane] = body["paused"].as_array().unwrap().as_slice() else { panic!("one lane is no account: {body}") };
    assert_eq!(lane["portalId"], 4711);
    assert_eq!((&lane["lane"], &lane["kind"]), (&Value::from("contacts/companies"), &Value::from("operator")));
    assert_eq!(lane["detail"], "paused by the operator");
    assert!(lane["mend"].as_str().unwrap().contains("association-archiver resume"), "{lane}");
    assert!(lane["runbook"].as_str().unwrap().ends_with("docs/operating.md#an-account-is-paused-by-hand"), "{lane}");
    assert!(lane["resumeAt"].is_null() && lane["since"].as_str().unwrap().ends_with('Z'));
    assert_eq!(body["pausedLeftOut"], 0);
}

#[tokio::test]
async fn a_worker_that_was_never_seen_is_not_ready_but_alive() {
    let worker = Worker::start(None).await;
    let (status, body) = worker.get_json("/readyz").await;
    assert_eq!((status, &body["ready"]), (StatusCode::SERVICE_UNAVAILABLE, &Value::Bool(false)));
    let alive = worker.send(Method::GET, "/livez", None).await;
    assert_eq!((alive.status(), alive.text().await.unwrap().trim()), (StatusCode::OK, "ok"));
}

#[tokio::test]
async fn a_loop_that_hangs_fails_both_probes() {
    let Some(long_ago) = Instant::now().checked_sub(Duration::from_secs(31)) else { return };
    let worker = Worker::start_with(None, Heartbeat::new(long_ago)).await;
    let (status, body) = worker.get_json("/livez").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body["error"].as_str().unwrap().contains("no sign of life for 3"), "{body}");
    let (status, body) = worker.get_json("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body["reasons"][0].as_str().unwrap().contains("hangs"), "{body}");
    worker.heartbeat.beat(Instant::now());
    assert_eq!(worker.get("/livez").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_status_has_accounts_lanes_backlog_and_what_was_done() {
    let worker = Worker::start(Some(TOKEN)).await;
    let mut engine = engine();
    engine.admit(job(1, "contacts", "deals", 1), now());
    worker.metrics.jobs_received.add(3);
    worker.metrics.outcomes.of(outcome::Status::Archived).add(2);
    let broker = BrokerState { jobs_ready: Some(9), own_jobs_ready: Some(9), ..BrokerState::default() };
    let broker = BrokerState { consuming: true, publishing: true, ..broker };
    worker.show(&engine, BrokerState { parked: [Some(0), None, Some(0), Some(0)], ..broker.clone() }, false);
    let (_, body) = worker.get_json("/status").await;
    assert_eq!((&body["backlog"]["jobsParked"], &body["backlog"]["drainSeconds"]), (&Value::Null, &Value::Null));
    worker.show(&engine, BrokerState { parked: [Some(0), Some(5), Some(5), Some(0)], ..broker }, false);
    worker.metrics.outcomes.of(outcome::Status::Archived).add(7);

    let (status, body) = worker.get_json("/status").await;

    assert_eq!(status, StatusCode::OK);
    assert_eq!((&body["version"], &body["ready"]), (&Value::from(env!("CARGO_PKG_VERSION")), &Value::Bool(true)));
    assert_eq!((&body["backlog"]["jobsHeld"], &body["backlog"]["jobsReady"]), (&Value::from(1), &Value::from(9)));
    assert_eq!(body["backlog"]["drainSeconds"], 0.2, "a request for the job in hand, and one for the others at best");
    assert_eq!((&body["backlog"]["jobsParked"], &body["broker"]["parked"]["10m"]), (&Value::from(10), &Value::from(5)));
    assert_eq!((&body["jobs"]["received"], &body["jobs"]["outcomes"]["ARCHIVED"]), (&Value::from(3), &Value::from(2)));
    assert_eq!(body["totals"]["pairsArchived"], 0, "all figures are of the same moment");
    assert_eq!(
        (&body["accounts"][1]["portalId"], &body["accounts"][1]["heldJobs"]),
        (&Value::from(815), &Value::from(1))
    );
    assert_eq!(
        (&body["lanes"][0]["toObjectType"], &body["lanes"][0]["waitingPairs"]),
        (&Value::from("deals"), &Value::from(1))
    );
}

#[tokio::test]
async fn an_operator_pauses_and_resumes_accounts_and_lanes() {
    let mut worker = Worker::start(Some(TOKEN)).await;
    let mut engine = engine();
    engine.admit(job(0, "contacts", "companies", 1), now());
    worker.show(&engine, BrokerState::default(), false);
    worker.carry_out_orders(engine);
    let paused = async |worker: &Worker| {
        let (_, body) = worker.get_json("/status").await;
        let accounts =
            body["accounts"].as_array().unwrap().iter().filter(|account| !account["pause"].is_null()).count();
        (accounts, !body["lanes"][0]["pause"].is_null())
    };

    let answer = worker.post("/accounts/815/pause", Some(TOKEN)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(
        (&body["account"], &body["portalId"], &body["paused"]),
        (&Value::from(1), &Value::from(815), &Value::Bool(true))
    );
    assert!(body["note"].as_str().unwrap().contains("also after a restart"));
    assert_eq!(paused(&worker).await, (1, false), "the answer comes after the snapshot");
    let (_, told) = worker.get_json("/readyz").await;
    assert_eq!(told["paused"][0]["detail"], "paused by the operator, from 127.0.0.1");
    let resume = async || {
        let answer = worker.post("/accounts/1/resume", Some(TOKEN)).await;
        assert_eq!(answer.status(), StatusCode::OK, "by its index too");
        answer.json::<Value>().await.unwrap()["note"].as_str().unwrap().to_owned()
    };
    let nobody = "The operator's pause is over. No job of it is in hand: the first one that comes is tried at once.";
    assert_eq!(resume().await, nobody);
    assert!(resume().await.starts_with("It does not stand still as a whole."));
    assert_eq!(paused(&worker).await, (0, false));

    let lane = "/accounts/4711/lanes/contact/0-2";
    assert_eq!(worker.post(&format!("{lane}/pause"), Some(TOKEN)).await.status(), StatusCode::OK);
    assert_eq!(paused(&worker).await, (1, true), "its only lane stands, so the account counts as paused");
    let (_, told) = worker.get_json("/readyz").await;
    let command = "`association-archiver resume 0 --lane contacts/companies`";
    assert!(told["paused"][0]["mend"].as_str().unwrap().contains(command), "{told}");
    let answer = worker.post("/accounts/4711/resume", Some(TOKEN)).await.text().await.unwrap();
    assert!(answer.contains("stay paused") && answer.contains(command), "{answer}");
    assert_eq!(paused(&worker).await, (1, true), "an order for the account leaves what was ordered for the lane");
    for said in ["The operator's pause is over.", "It did not stand still: there was nothing to resume."] {
        let answer = worker.post(&format!("{lane}/resume"), Some(TOKEN)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.json::<Value>().await.unwrap()["note"], said);
        assert_eq!(paused(&worker).await, (0, false));
    }

    for path in ["/accounts/99/pause", "/accounts/x/pause", "/accounts/4711/lanes/contacts/deals/pause"] {
        assert_eq!(worker.post(path, Some(TOKEN)).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let no_type = worker.post("/accounts/4711/lanes/contacts/..%2f/pause", Some(TOKEN)).await;
    assert_eq!(no_type.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_order_that_cannot_be_carried_out_says_so() {
    let mut worker = Worker::start(Some(TOKEN)).await;
    worker.show(&engine(), BrokerState::default(), false);
    worker.orders.take();
    let answer = worker.post("/accounts/815/pause", Some(TOKEN)).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn an_order_that_nobody_can_take_names_the_broker_as_the_cause() {
    let mut worker = Worker::start(Some(TOKEN)).await;
    let mut orders = worker.orders.take().unwrap();
    tokio::spawn(async move {
        while let Some(Order { reply, .. }) = orders.recv().await {
            reply.send(Obeyed::NotHandedOn("the broker does not confirm in time".to_owned())).unwrap();
        }
    });
    let lease = |standing| LeaseView { jobs_queue: "jobs".to_owned(), standing, since: now().wall, holder: None };
    let refused = async |standing, publishing, trouble: Option<&str>| {
        let broker = BrokerState { publishing, leases: vec![lease(standing)], ..BrokerState::default() };
        let broker = BrokerState { publishing_trouble: trouble.map(str::to_owned), ..broker };
        worker.show(&engine(), broker, false);
        let answer = worker.post("/accounts/815/pause", Some(TOKEN)).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        answer.text().await.unwrap()
    };
    for standing in [LeaseStanding::Away, LeaseStanding::StandingBy] {
        let alone = refused(standing, false, Some("Connection refused")).await;
        assert!(alone.contains("Connection refused") && !alone.contains("stands by"), "{alone}");
    }
    let standby = refused(LeaseStanding::StandingBy, true, None).await;
    assert!(standby.contains("stands by") && standby.contains("does not confirm in time"), "{standby}");
}

/// Whoever is woken wants to know what began first.
#[tokio::test]
async fn whatever_is_wrong_is_told_with_since_when() {
    let worker = Worker::start(None).await;
    let told = async |paused: bool, broker: BrokerState| {
        let mut engine = engine();
        for account in [0, 1].map(AccountIndex).into_iter().filter(|_| paused) {
            engine.pause(account, now());
        }
        worker.show(&engine, broker, false);
        worker.snapshots.send_modify(|snapshot| {
            let snapshot = Arc::make_mut(snapshot);
            let so = snapshot.clone();
            snapshot.begun.note(|condition| so.shows(condition), so.at);
            let account = &snapshot.status.accounts[0];
            let (index, portal_id, rate) = (account.index, account.portal_id, account.rate);
            snapshot.throttled = vec![Throttled { index, portal_id, rate, since: snapshot.at }];
        });
        let body = worker.get_json("/readyz").await.1;
        let all = ["reasons", "warnings"].map(|list| body[list].as_array().unwrap().clone()).concat();
        all.iter().map(|told| told.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let trouble = || Some("it is broken".to_owned());
    let nothing_works = told(true, BrokerState::default()).await;
    let down = BrokerState {
        consuming_trouble: Some("the subscription was lost".to_owned()),
        lease_trouble: Some("queue \"jobs.lease\" cannot be used".to_owned()),
        ..BrokerState::default()
    };
    let both = told(false, down).await.concat();
    assert!(both.contains("the subscription was lost; queue \"jobs.lease\" cannot be used"), "{both}");
    let broker =
        BrokerState { consuming: true, publishing: true, blocked: true, overfull: true, ..BrokerState::default() };
    let broker = BrokerState { consuming_trouble: trouble(), publishing_trouble: trouble(), ..broker };
    let some_works = told(false, BrokerState { lease_trouble: trouble(), deserted: trouble(), ..broker }).await;
    assert_eq!((nothing_works.len(), some_works.len()), (4, 7), "{nothing_works:?} {some_works:?}");
    let since = format!(" since {}", now().wall.strftime("%Y-%m-%dT%H:%M:%SZ"));
    for told in nothing_works.iter().chain(&some_works) {
        assert!(told.contains(&since), "{told}");
    }
}

/// A record that HubSpot cannot handle, and a queue that was deleted.
#[tokio::test]
async fn what_fails_by_itself_and_what_is_lost_is_warned_of() {
    let worker = Worker::start(None).await;
    let broker = |minutes| BrokerState {
        consuming: true,
        publishing: true,
        lost_queues: vec![LostQueue {
            queue: "results".to_owned(),
            times: 1,
            messages: Some(12_900),
            loss: "about 12,900 messages that were in it when last looked at are lost".to_owned(),
            last_at: now().wall - jiff::SignedDuration::from_mins(minutes),
        }],
        ..BrokerState::default()
    };
    let pair = FailingPair {
        portal_id: Some(4711),
        lane: "contacts/companies".to_owned(),
        from: "7".to_owned(),
        to: "9".to_owned(),
        job_id: "job".to_owned(),
        tries: 4,
        since: now().wall,
        last_at: now().wall,
        next_try_at: None,
        http_status: Some(500),
        message: None,
    };
    let warnings = async |minutes, pairs: usize| {
        worker.show(&engine(), broker(minutes), false);
        let failing = vec![pair.clone(); pairs];
        worker.snapshots.send_modify(|snapshot| Arc::make_mut(snapshot).failing_alone = failing);
        let (status, body) = worker.get_json("/readyz").await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let warnings = body["warnings"].as_array().unwrap().iter();
        warnings.map(|warning| warning.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let [pair, queue] = &warnings(5, 1).await[..] else { panic!("two warnings") };
    assert_eq!(pair, "one pair fails by itself while others go on: 7 and 9 in contacts/companies of portal 4711");
    assert!(queue.starts_with("queue \"results\" was gone at ") && queue.contains("about 12,900 messages"), "{queue}");
    let later = warnings(60, 3).await;
    assert_eq!(later.len(), 1, "the loss is no news any more: {later:?}");
    assert!(later[0].starts_with("3 pairs fail by themselves while others go on, such as 7 and 9"), "{later:?}");
}

/// The loop that obeys does not run yet: an order that waited for it would be carried out when nobody expects it.
#[tokio::test]
async fn before_the_broker_is_reached_no_order_is_taken() {
    let mut worker = Worker::start(Some(TOKEN)).await;
    let trouble = Some("Connection refused".to_owned());
    worker.show(&engine(), BrokerState { consuming_trouble: trouble, ..BrokerState::default() }, false);
    worker.snapshots.send_modify(|snapshot| Arc::make_mut(snapshot).starting = true);
    let answer = worker.post("/accounts/815/pause", Some(TOKEN)).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let error = answer.text().await.unwrap();
    assert!(error.contains("has not started yet") && error.contains("Connection refused"), "{error}");
    assert_eq!(worker.post("/accounts/4/pause", Some(TOKEN)).await.status(), StatusCode::NOT_FOUND);
    assert!(worker.orders.take().unwrap().try_recv().is_err(), "nothing waits for the loop");
}

#[tokio::test]
async fn only_the_token_may_change_state() {
    let worker = Worker::start(Some(TOKEN)).await;
    worker.show(&engine(), BrokerState::default(), false);
    for wrong in [None, Some(""), Some("letmein"), Some("letmein-01234567890")] {
        for path in ["/accounts/815/pause", "/accounts/815/resume", "/accounts/99/pause"] {
            let answer = worker.post(path, wrong).await;
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path} with {wrong:?}");
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");
            let body: Value = answer.json().await.unwrap();
            assert!(!body.to_string().contains(TOKEN));
        }
    }
    let open = Worker::start(None).await;
    assert_eq!(open.post("/accounts/815/pause", Some(TOKEN)).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(open.get("/status").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_body_is_refused_where_it_would_be_lost() {
    let worker = Worker::start(Some(TOKEN)).await;
    worker.show(&engine(), BrokerState::default(), false);
    let post = |body: String| {
        let request = worker.client.post(worker.url("/accounts/815/pause")).bearer_auth(TOKEN).body(body);
        async { request.send().await.unwrap().status() }
    };
    assert_eq!(post(r#"{"for":"10m"}"#.to_owned()).await, StatusCode::BAD_REQUEST);
    assert_eq!(post("x".repeat(2_000)).await, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn every_answer_guards_itself() {
    let worker = Worker::start(Some(TOKEN)).await;
    for (method, path, status) in [
        (Method::GET, "/", StatusCode::OK),
        (Method::GET, "/metrics", StatusCode::OK),
        (Method::GET, "/status", StatusCode::OK),
        (Method::GET, "/livez", StatusCode::OK),
        (Method::HEAD, "/livez", StatusCode::OK),
        (Method::GET, "/nothing/here", StatusCode::NOT_FOUND),
        (Method::GET, "/../etc/passwd", StatusCode::NOT_FOUND),
        (Method::POST, "/metrics", StatusCode::METHOD_NOT_ALLOWED),
        (Method::DELETE, "/status", StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, "/accounts/815/pause", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let answer = worker.send(method.clone(), path, None).await;
        assert_eq!(answer.status(), status, "{method} {path}");
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"), "{path}");
        assert_eq!(header("cache-control").as_deref(), Some("no-store"), "{path}");
        assert!(header("content-security-policy").unwrap().starts_with("default-src 'none'"), "{path}");
        if status == StatusCode::METHOD_NOT_ALLOWED {
            assert!(header("allow").is_some(), "{method} {path}");
        }
        if !status.is_success() {
            let body: Value = answer.json().await.unwrap();
            assert!(body["error"].is_string(), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_metrics_are_what_prometheus_reads() {
    let worker = Worker::start(None).await;
    let mut engine = engine();
    engine.admit(job(0, "contacts", "companies", 1), now());
    worker.metrics.job_duration.observe(Duration::from_millis(1_500));
    worker.show(&engine, BrokerState { jobs_ready: Some(7), ..BrokerState::default() }, false);

    let answer = worker.get("/metrics").await;
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let metrics = parse(&answer.text().await.unwrap());

    assert_eq!(metrics.value("association_archiver_jobs_held"), 1.0);
    assert_eq!(metrics.value("association_archiver_jobs_ready"), 7.0);
    assert_eq!(metrics.value("association_archiver_job_duration_seconds_sum"), 1.5);
    assert_eq!(metrics.value(r#"association_archiver_outcomes_total{status="ARCHIVED"}"#), 0.0);
    assert_eq!(metrics.value(r#"association_archiver_account_jobs_held{portal_id="4711"}"#), 1.0);
    let documented: HashSet<String> = documented_metrics().iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(metrics.kinds.keys().cloned().collect::<HashSet<_>>(), documented);
}

/// `promtool` comes with Debian's package `prometheus`, which `make test` installs.
#[tokio::test]
async fn promtool_has_nothing_to_say() {
    let worker = Worker::start(None).await;
    worker.show(&engine(), BrokerState::default(), false);
    let text = worker.get("/metrics").await.bytes().await.unwrap();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs: deploy/install.sh prometheus");
    std::io::Write::write_all(&mut promtool.stdin.take().unwrap(), &text).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// Three times as many silent clients as there are connections: each is cut off, and a probe need not wait for that.
#[tokio::test]
async fn slow_clients_are_cut_off_and_hold_nobody_up() {
    let worker = Worker::start(None).await;
    let mut silent = Vec::new();
    for client in 0..200 {
        let mut stream = TcpStream::connect(worker.address).await.unwrap();
        if client % 2 == 0 {
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: ").await.unwrap();
        }
        silent.push(stream);
    }
    let begun = Instant::now();
    assert_eq!(worker.get("/livez").await.status(), StatusCode::OK);
    // Before the first of them is cut off for being slow.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    for mut stream in silent {
        let mut rest = Vec::new();
        timeout(Duration::from_secs(60), stream.read_to_end(&mut rest)).await.expect("cut off").unwrap_or_default();
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&rest));
    }
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let worker = Worker::start(None).await;
    let mut stream = TcpStream::connect(worker.address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: ").await.unwrap();
    let filler = vec![b'a'; 8 * 1_024];
    let mut sent = 0;
    while sent < 1_024 * 1_024 && stream.write_all(&filler).await.is_ok() {
        sent += filler.len();
    }
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await.expect("cut off");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn serving_ends_when_it_is_told_to() {
    let mut worker = Worker::start(None).await;
    assert_eq!(worker.get("/livez").await.status(), StatusCode::OK);
    let _silent = TcpStream::connect(worker.address).await.unwrap();
    worker.stop.cancel();
    timeout(Duration::from_secs(30), &mut worker.serving).await.expect("it ends").unwrap();
    assert!(TcpStream::connect(worker.address).await.is_err());
}

/// The endpoints of a worker whose loop is the test.
struct Worker {
    address: SocketAddr,
    client: reqwest::Client,
    snapshots: watch::Sender<Arc<Snapshot>>,
    metrics: Arc<Metrics>,
    heartbeat: Heartbeat,
    orders: Option<mpsc::Receiver<Order>>,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

impl Worker {
    async fn start(token: Option<&str>) -> Self {
        Self::start_with(token, Heartbeat::new(Instant::now())).await
    }

    async fn start_with(token: Option<&str>, heartbeat: Heartbeat) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let snapshots = watch::Sender::<Arc<Snapshot>>::default();
        let metrics = Arc::new(Metrics::new(Timestamp::now()));
        let (orders_in, orders) = seams::orders();
        let state = AdminState {
            snapshots: snapshots.subscribe(),
            metrics: Arc::clone(&metrics),
            heartbeat: heartbeat.clone(),
            mends: Mends::default(),
            orders: orders_in,
            token: token.map(Into::into),
        };
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, state, stop.clone()));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { address, client, snapshots, metrics, heartbeat, orders: Some(orders), stop, serving }
    }

    fn show(&self, engine: &Engine, broker: BrokerState, draining: bool) {
        show(&self.snapshots, engine, broker, draining);
        self.snapshots.send_modify(|snapshot| Arc::make_mut(snapshot).jobs = self.metrics.jobs());
    }

    fn carry_out_orders(&mut self, mut engine: Engine) {
        let (snapshots, mut orders) = (self.snapshots.clone(), self.orders.take().unwrap());
        tokio::spawn(async move {
            while let Some(Order { target, instruction, from, reply }) = orders.recv().await {
                let by = format!("from {from}");
                let applied = match (target, instruction) {
                    (Target::Account(account), Instruction::Pause) => {
                        engine.pause_by(account, Some(&by), now());
                        1
                    }
                    (Target::Account(account), Instruction::Resume) => {
                        engine.resume(account, now());
                        1
                    }
                    (Target::Account(account), Instruction::Approve) => usize::from(engine.approve(account, now())),
                    (Target::Account(account), Instruction::Reject) => usize::from(engine.reject(account, now())),
                    (Target::Lanes { .. }, Instruction::Approve | Instruction::Reject) => 0,
                    (Target::Lanes { account, from_type, to_type }, Instruction::Pause) => {
                        engine.pause_lanes(account, &from_type, &to_type, now())
                    }
                    (Target::Lanes { account, from_type, to_type }, Instruction::Resume) => {
                        engine.resume_lanes(account, &from_type, &to_type, now())
                    }
                };
                show(&snapshots, &engine, BrokerState::default(), false);
                reply.send(Obeyed::Done(applied)).unwrap();
            }
        });
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        self.send(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, token: Option<&str>) -> reqwest::Response {
        self.send(Method::POST, path, token).await
    }

    async fn send(&self, method: Method, path: &str, token: Option<&str>) -> reqwest::Response {
        let request = self.client.request(method, self.url(path));
        let request = token.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth);
        request.send().await.unwrap()
    }

    async fn get_json(&self, path: &str) -> (StatusCode, Value) {
        let answer = self.get(path).await;
        (answer.status(), answer.json().await.unwrap())
    }
}

fn show(snapshots: &watch::Sender<Arc<Snapshot>>, engine: &Engine, broker: BrokerState, draining: bool) {
    let status = engine.status(now());
    snapshots.send_replace(Arc::new(Snapshot { at: now().wall, status, broker, draining, ..Snapshot::default() }));
}

/// Two accounts that may send a hundred requests in ten seconds.
fn engine() -> Engine {
    guarded_engine([None, None])
}

/// The same, with these guards.
fn guarded_engine(guards: [Option<GuardPolicy>; 2]) -> Engine {
    let waiting = Waiting::InHand { give_up_after: Duration::from_secs(30) };
    let policy = EnginePolicy { waiting, ..EnginePolicy::default() };
    let account = |portal, guard| {
        let portal = NonZeroU64::new(portal).map(PortalId);
        AccountPolicy { portal, guard, ..AccountPolicy::default() }
    };
    Engine::new(policy, vec![account(4711, guards[0]), account(815, guards[1])], 1, now())
}

fn job(account: u32, from_type: &str, to_type: &str, from: u64) -> NewJob {
    let id = |digits| RecordId(NonZeroU64::new(digits).unwrap());
    NewJob {
        action: Action::Archive,
        dry_run: false,
        account: AccountIndex(account),
        from_type: ObjectType::parse(from_type).unwrap(),
        to_type: ObjectType::parse(to_type).unwrap(),
        asks: smallvec![Ask {
            extent: Extent::Whole,
            pairs: smallvec![Pair { from: id(from), to: id(9) }],
            all_of: Vec::new()
        }],
        expiry: None,
        weight: 100,
        carried: Carried::fresh(now().wall),
    }
}

fn now() -> Now {
    Now { tick: Tick::from_micros(1_000_000), wall: Timestamp::from_second(1_800_000_000).unwrap() }
}

/// What a page of metrics says, read strictly by the rules of the text format.
struct Parsed {
    kinds: HashMap<String, String>,
    samples: HashMap<String, f64>,
}

impl Parsed {
    fn value(&self, series: &str) -> f64 {
        *self.samples.get(series).unwrap_or_else(|| panic!("no {series}"))
    }
}

fn parse(text: &str) -> Parsed {
    assert!(text.ends_with('\n') && !text.contains('\r'));
    let mut parsed = Parsed { kinds: HashMap::new(), samples: HashMap::new() };
    let (mut helped, mut family) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped = help.split_once(' ').expect("a help text").0.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert_eq!(name, helped, "help comes first");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            assert!(parsed.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            family = name.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value in {line:?}"));
            let name = series.split('{').next().unwrap();
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
            let of_family = match parsed.kinds[&family].as_str() {
                "histogram" => {
                    ["_bucket", "_sum", "_count"].iter().any(|part| name.strip_suffix(part) == Some(&family))
                }
                _ => name == family,
            };
            assert!(of_family, "{line} under {family}");
            check_labels(&series[name.len()..]);
            let value = value.parse().unwrap_or_else(|_| panic!("no number in {line:?}"));
            assert!(parsed.samples.insert(series.to_owned(), value).is_none(), "{series} twice");
        }
    }
    parsed
}

/// Nothing, or `{name="value",…}` with values that need no escape.
fn check_labels(text: &str) {
    if text.is_empty() {
        return;
    }
    let inner = text.strip_prefix("{").and_then(|text| text.strip_suffix("}")).expect(text);
    for label in inner.split(',') {
        let (name, value) = label.split_once('=').expect(text);
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{text}");
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).expect(text);
        assert!(!value.is_empty() && !value.contains(['"', '\\', '\n']), "{text}");
    }
}
