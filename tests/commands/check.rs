//! `check`: what is right is told as right, what is wrong is found, and nothing is touched.

use harness::lapin::types::AMQPValue;
use harness::{Broker, Client, Message, Rights, SimulatorProcess};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::program::{JOBS, Ran, bare_ground, ground, run, run_with_variables};

const TOKEN: &str = "pat-eu1-top-secret";

#[tokio::test]
async fn all_is_right_on_sound_ground() {
    let (client, uri) = ground("check-right").await;
    let simulator = simulator().await;
    let ran = check(&uri, &simulator, &[("hubspot.api_version", "2026-09")]).await;
    let findings = findings(&ran, 0);
    let broker = find(&findings, "broker", "RabbitMQ ");
    assert_eq!(broker["verdict"], "right", "{broker}");
    assert_eq!(find(&findings, &format!("queue {JOBS}"), "declared as the worker does")["verdict"], "right");
    assert_eq!(find(&findings, "account #0", "of portal 4711")["verdict"], "right");
    assert!(findings.iter().all(|finding| finding["verdict"] != "wrong" && finding["verdict"] != "warning"), "{ran:?}");
    assert!(findings.iter().all(|finding| finding["verdict"] == "right" || finding["mend"].is_string()), "{ran:?}");
    assert_eq!(simulator.state().await.unwrap()["pairsArchivedTotal"], 0);
    assert_eq!(client.count(JOBS).await.unwrap(), 0);

    let table = run(&["check"], &settings(&uri, &simulator)).await;
    assert!(table.fine().contains("not verified  amqp.max_hold"), "{}", table.stdout);
    assert!(!table.stdout.contains(TOKEN) && !table.stdout.contains("guest:guest"), "{}", table.stdout);
}

#[tokio::test]
async fn missing_queues_are_declared_by_the_service_and_not_by_the_check() {
    let (client, uri) = bare_ground("check-missing").await;
    let simulator = simulator().await;
    let ran = check(&uri, &simulator, &[]).await;
    assert_eq!(find(&findings(&ran, 0), &format!("queue {JOBS}"), "declares it when it starts")["verdict"], "right");
    assert!(!client.exists(JOBS).await.unwrap());

    let ran = check(&uri, &simulator, &[("amqp.declare_topology", "false")]).await;
    let found = findings(&ran, 1);
    let missing = find(&found, &format!("queue {JOBS}"), "does not exist");
    assert_eq!(missing["verdict"], "wrong");
    assert!(missing["mend"].as_str().unwrap().contains("amqp.declare_topology = true"), "{missing}");
}

#[tokio::test]
async fn a_collector_that_is_away_is_a_warning() {
    let (_, uri) = ground("check-traces").await;
    let simulator = simulator().await;
    let ran = check(&uri, &simulator, &[("telemetry.otlp_endpoint", "http://127.0.0.1:1")]).await;
    let found = findings(&ran, 0);
    let traces = find(&found, "telemetry.otlp_endpoint", "does not take traces: Connection refused");
    assert_eq!(traces["verdict"], "warning");
    assert!(traces["mend"].as_str().unwrap().contains("4318"), "{traces}");
}

#[tokio::test]
async fn a_journal_that_could_not_be_written_is_wrong() {
    let (client, uri) = ground("check-journal").await;
    let simulator = simulator().await;
    let stream = "association-archiver.journal";
    let found = findings(&check(&uri, &simulator, &[("safety.journal", "stream")]).await, 0);
    assert_eq!(find(&found, &format!("queue {stream}"), "declares it before its first removal")["verdict"], "right");
    client.declare_quorum(stream, &[]).await.unwrap();
    let found = findings(&check(&uri, &simulator, &[("safety.journal", "stream")]).await, 1);
    assert_eq!(find(&found, &format!("queue {stream}"), "it is no stream")["verdict"], "wrong");

    let directory = tempfile::tempdir().unwrap();
    let good = directory.path().join("journal.ndjson");
    let file = |path: &std::path::Path| {
        [("safety.journal", "file".to_owned()), ("safety.journal_file", path.display().to_string())]
    };
    let checked = async |path: &std::path::Path, code| {
        let settings = file(path);
        let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
        findings(&check(&uri, &simulator, &settings).await, code)
    };
    let found = checked(&good, 0).await;
    assert_eq!(
        find(&found, &format!("journal {}", good.display()), "is not there yet, can be written")["verdict"],
        "right"
    );
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "a check leaves nothing behind");
    let nowhere = directory.path().join("missing/journal.ndjson");
    let found = checked(&nowhere, 1).await;
    assert_eq!(
        find(&found, &format!("journal {}", nowhere.display()), "No such file or directory")["verdict"],
        "wrong"
    );
}

#[tokio::test]
async fn a_background_queue_that_nobody_takes_from_is_found() {
    const BACKGROUND: &str = "association-archiver.jobs.background";
    let (client, uri) = bare_ground("check-deserted").await;
    let simulator = simulator().await;
    let without = [("amqp.background_queue", "none")];
    client.declare_quorum(BACKGROUND, &[]).await.unwrap();
    let found = findings(&check(&uri, &simulator, &without).await, 0);
    assert_eq!(find(&found, &format!("queue {BACKGROUND}"), "nobody takes from it")["verdict"], "warning");
    client.publish(BACKGROUND, [Message::new("{}")]).await.unwrap();
    client.count_becomes(BACKGROUND, 1).await.unwrap();
    let found = findings(&check(&uri, &simulator, &without).await, 1);
    assert_eq!(find(&found, &format!("queue {BACKGROUND}"), "1 messages wait in it")["verdict"], "wrong");
    let found = findings(&check(&uri, &simulator, &[]).await, 0);
    assert_eq!(find(&found, &format!("queue {BACKGROUND}"), "messages ready: 1")["verdict"], "warning");
}

/// As after a change of `amqp.shards` from 3 to 1, and with none.
#[tokio::test]
async fn shards_of_another_setting_are_found() {
    let (client, uri) = bare_ground("check-shards-before").await;
    let simulator = simulator().await;
    let shard = |number: u32| format!("{JOBS}.{number}");
    for number in 0..3 {
        client.declare_quorum(&shard(number), &[]).await.unwrap();
    }
    client.publish(&shard(2), [Message::new("{}")]).await.unwrap();
    client.count_becomes(&shard(2), 1).await.unwrap();
    for (shards, first) in [("1", 1), ("none", 0)] {
        let found = findings(&check(&uri, &simulator, &[("amqp.shards", shards)]).await, 1);
        for number in first..2 {
            let empty = find(&found, &format!("queue {}", shard(number)), "no shard by the present amqp.shards");
            assert_eq!(empty["verdict"], "warning");
        }
        let left = find(&found, &format!("queue {}", shard(2)), "1 messages wait in it");
        assert_eq!(left["verdict"], "wrong");
        assert!(left["mend"].as_str().unwrap().contains("the amqp.shards of before"), "{left}");
    }
    let found = findings(&check(&uri, &simulator, &[("amqp.shards", "3")]).await, 0);
    assert!(!found.iter().any(|finding| finding.to_string().contains("present amqp.shards")), "{found:?}");
}

#[tokio::test]
async fn results_that_nobody_reads_are_a_warning() {
    let (client, uri) = ground("check-unread").await;
    let simulator = simulator().await;
    client.publish("association-archiver.results", [Message::new("{}")]).await.unwrap();
    let unread = async || {
        let found = findings(&check(&uri, &simulator, &[]).await, 0);
        Ok(found.into_iter().find(|finding| finding["subject"] == "results"))
    };
    let unread = harness::eventually(std::time::Duration::from_secs(60), "a warning", unread).await.unwrap();
    assert_eq!(unread["verdict"], "warning");
    assert!(unread["detail"].as_str().unwrap().starts_with("1 outcomes wait in queue"), "{unread}");
}

/// As while a worker of a version without leases runs.
#[tokio::test]
async fn a_worker_without_a_lease_is_told() {
    let (client, uri) = ground("check-unleased").await;
    let simulator = simulator().await;
    let channel = client.channel().await.unwrap();
    let options = harness::lapin::options::BasicConsumeOptions::default();
    let consume = channel.basic_consume(JOBS.into(), "".into(), options, Default::default());
    let _consumer = consume.await.unwrap();
    let found = findings(&check(&uri, &simulator, &[]).await, 0);
    let lease = find(&found, &format!("lease {JOBS}"), "somebody works without a lease");
    assert_eq!(lease["verdict"], "warning", "{lease}");
    assert!(lease["detail"].as_str().unwrap().starts_with("1 consumers"), "{lease}");
    let found = findings(&check(&uri, &simulator, &[("amqp.lease", "false")]).await, 0);
    assert!(!found.iter().any(|finding| finding["subject"] == format!("lease {JOBS}")), "no lease is wanted");
}

#[tokio::test]
async fn a_token_file_that_is_not_there_is_named() {
    let (_, uri) = ground("check-token-file").await;
    let simulator = simulator().await;
    let changes = [("hubspot.access_token", ""), ("hubspot.access_token_file", "/nonexistent/token")];
    let found = findings(&check(&uri, &simulator, &changes).await, 1);
    let accounts = find(&found, "accounts", "\"/nonexistent/token\", which cannot be read");
    assert!(accounts["mend"].as_str().unwrap().contains("may read it"), "{accounts}");
}

#[tokio::test]
async fn queues_declared_otherwise_are_described() {
    let (client, uri) = bare_ground("check-otherwise").await;
    client.declare_quorum(JOBS, &[("x-delivery-limit", AMQPValue::LongInt(3))]).await.unwrap();
    let simulator = simulator().await;
    let found = findings(&check(&uri, &simulator, &[]).await, 0);
    let jobs = find(&found, &format!("queue {JOBS}"), "no dead-letter target");
    assert_eq!(jobs["verdict"], "warning");
    assert!(jobs["detail"].as_str().unwrap().contains("x-delivery-limit is 3, the worker declares 1000"), "{jobs}");
    assert!(jobs["mend"].as_str().unwrap().contains("policy"), "{jobs}");
}

/// The service refuses to start on it: the broker would give its messages to several workers in turns.
#[tokio::test]
async fn a_lease_queue_without_a_single_active_consumer_is_wrong() {
    const LEASE: &str = "association-archiver.jobs.lease";
    let (client, uri) = ground("check-lease").await;
    client.declare_quorum(LEASE, &[]).await.unwrap();
    let simulator = simulator().await;
    let found = findings(&check(&uri, &simulator, &[]).await, 1);
    let lease = find(&found, &format!("queue {LEASE}"), "x-single-active-consumer is not set");
    assert_eq!(lease["verdict"], "wrong");
    let found = findings(&check(&uri, &simulator, &[("amqp.lease", "false")]).await, 0);
    assert!(found.iter().all(|finding| finding["subject"] != format!("queue {LEASE}")));
}

#[tokio::test]
async fn what_the_user_may_not_ask_is_one_line() {
    let (client, _) = ground("check-rights").await;
    declare_lease(&client).await;
    let broker = Broker::shared().await.unwrap();
    // Only whoever has some right on a queue may look at it from RabbitMQ 4.3 on.
    let write = "^association-archiver(\\..*)?$";
    let rights = Rights { read: "^association-archiver\\.jobs(\\.background)?(\\.lease)?$", write, ..LEAST };
    broker.add_user("checker", "hush", "check-rights", rights).await.unwrap();
    let uri = broker.uri_as("checker", "hush", "check-rights");
    let simulator = simulator().await;
    let ran = check(&uri, &simulator, &[("amqp.declare_topology", "false")]).await;
    let findings = findings(&ran, 0);
    assert_eq!(find(&findings, &format!("queue {JOBS}"), "messages ready: 0, consumers: 0")["verdict"], "right");
    assert_eq!(find(&findings, "rights", "may read the jobs queues and publish to exchange")["verdict"], "right");
    assert_eq!(find(&findings, "declarations", "how they were declared cannot be asked")["verdict"], "not_verified");
    assert_eq!(find(&findings, "bindings", "shows only by a message")["verdict"], "not_verified");
    let not_verified = |finding: &&Value| {
        let subject = finding["subject"].as_str().unwrap();
        finding["verdict"] == "not_verified" && subject != "amqp.max_hold" && !subject.starts_with("account")
    };
    assert_eq!(findings.iter().filter(not_verified).count(), 2, "{}", ran.stdout);
    assert!(!ran.stdout.contains("hush"), "{}", ran.stdout);
}

/// A worker declares it when it starts to ask for the lease.
async fn declare_lease(client: &Client) {
    let single = [("x-single-active-consumer", AMQPValue::Boolean(true))];
    client.declare_quorum(&format!("{JOBS}.lease"), &single).await.unwrap();
}

/// As the worker's user has them where the queues were made for it, but for reading.
const LEAST: Rights = Rights { configure: "^$", write: "^association-archiver$", read: "^$" };

#[tokio::test]
async fn rights_that_the_service_will_miss_are_found_and_nothing_is_touched() {
    const BACKGROUND: &str = "association-archiver.jobs.background";
    let (client, _) = ground("check-refused").await;
    declare_lease(&client).await;
    let broker = Broker::shared().await.unwrap();
    broker.add_user("refused", "hush", "check-refused", LEAST).await.unwrap();
    let uri = broker.uri_as("refused", "hush", "check-refused");
    let simulator = simulator().await;
    client.publish(JOBS, [Message::new("{}")]).await.unwrap();
    let read = format!("^{JOBS}(\\.lease)?$");
    for (rights, verdict, words) in [
        (LEAST, "wrong", format!("may not read queue {JOBS:?}, \"{JOBS}.lease\": ACCESS_REFUSED")),
        (
            Rights { write: "^$", read: ".*", ..LEAST },
            "wrong",
            "may not publish to exchange \"association-archiver\"".to_owned(),
        ),
        (Rights { read: &read, ..LEAST }, "warning", format!("may not read queue {BACKGROUND:?}")),
        (Rights { read: ".*", ..LEAST }, "right", "may read the jobs queues".to_owned()),
    ] {
        broker.set_rights("refused", "check-refused", rights).await.unwrap();
        let ran = check(&uri, &simulator, &[]).await;
        let found = findings(&ran, i32::from(verdict == "wrong"));
        let rights = find(&found, "rights", &words);
        assert_eq!(rights["verdict"], verdict, "{rights}");
        let is_mended = |mend: &str| mend.contains("grant") && mend.contains("deploy/rabbitmq/definitions.json");
        assert!(verdict == "right" || is_mended(rights["mend"].as_str().unwrap()), "{rights}");
    }
    let default = [("amqp.exchange", "amq.default"), ("amqp.background_queue", "none")];
    let found = findings(&check(&uri, &simulator, &default).await, 1);
    find(&found, "rights", "may not publish to the default exchange");
    let table = run(&["check"], &[settings(&uri, &simulator).as_slice(), &default[..]].concat()).await;
    let last = table.stdout.lines().rev().find(|line| line.starts_with(|first: char| first.is_alphabetic())).unwrap();
    assert!(last.starts_with("wrong  "), "{}", table.stdout);
    // The message was in nobody's hands: a quorum queue counts each delivery in vain, and some versions begin with 0.
    let untouched = client.get_all(JOBS).await.unwrap();
    assert_eq!(untouched.len(), 1);
    assert!(untouched[0].header("x-delivery-count").is_none_or(|count| count == "0"), "{untouched:?}");
}

#[tokio::test]
async fn what_is_missing_and_may_not_be_declared_is_wrong() {
    let (client, _) = bare_ground("check-undeclarable").await;
    let broker = Broker::shared().await.unwrap();
    let uri = broker.uri_as("declarer", "hush", "check-undeclarable");
    let simulator = simulator().await;
    let all = Rights::ALL;
    broker.add_user("declarer", "hush", "check-undeclarable", all).await.unwrap();
    let ran = check(&uri, &simulator, &[("safety.journal", "stream")]).await;
    let found = findings(&ran, 0);
    assert!(
        found.iter().all(|finding| finding["verdict"] != "warning" || finding["subject"] == "hubspot.api_version"),
        "{ran:?}"
    );
    for (rights, subject, words) in [
        (Rights { configure: "^$", ..all }, "exchange association-archiver".to_owned(), "may not declare it"),
        (Rights { configure: "^$", ..all }, format!("queue {JOBS}.lease"), "may not declare it"),
        (Rights { configure: "^$", ..all }, "queue association-archiver.journal".to_owned(), "may not declare it"),
        // To declare a queue with dead letters one must be able to publish them, and to bind it, to write to it.
        (Rights { write: "\\.", ..all }, format!("queue {JOBS}"), "may not declare it"),
        (
            Rights { write: "^association-archiver$", ..all },
            "queue association-archiver.results".to_owned(),
            "may not declare it",
        ),
    ] {
        broker.set_rights("declarer", "check-undeclarable", rights).await.unwrap();
        let found = findings(&check(&uri, &simulator, &[("safety.journal", "stream")]).await, 1);
        assert_eq!(find(&found, &subject, words)["verdict"], "wrong");
    }
    assert!(!client.exists(JOBS).await.unwrap() && !client.exists("association-archiver.journal").await.unwrap());
    assert!(!client.exchange_exists("association-archiver").await.unwrap(), "a check declares nothing");
}

#[tokio::test]
async fn a_broker_that_cannot_be_used_is_wrong() {
    let (_, uri) = bare_ground("check-unreachable").await;
    let simulator = simulator().await;
    let bad_password = uri.replace("guest:guest", "guest:wrong-hush");
    for (uri, words) in
        [("amqp://a:wrong-hush@127.0.0.1:1/", "cannot be reached"), (&*bad_password, "refuses the user")]
    {
        let ran = check(uri, &simulator, &[]).await;
        let found = findings(&ran, 1);
        assert_eq!(find(&found, "broker", words)["verdict"], "wrong");
        assert_eq!(
            find(&found, "account #0", "of portal 4711")["verdict"],
            "right",
            "the rest is checked all the same"
        );
        assert!(!ran.stdout.contains("wrong-hush"), "{}", ran.stdout);
    }
}

#[tokio::test]
async fn accounts_are_tried_one_by_one() {
    let (_, uri) = ground("check-accounts").await;
    let simulator = SimulatorProcess::start(&[]).await.unwrap();
    let accounts = json!({"accounts": {
        "4711": {"tokens": ["pat-one"], "timeZone": "Europe/Berlin"},
        "4712": {"tokens": ["pat-two"]},
        "4713": {"oauth": {"clientId": "app", "clientSecret": "oauth-hush", "refreshToken": "refresh-hush"}},
    }});
    simulator.configure(&accounts).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("archiver.toml");
    let toml = format!(
        r#"
        [hubspot]
        base_url = "{}"
        [[hubspot.accounts]]
        portal_id = 4711
        access_token = "pat-one"
        time_zone = "Asia/Tokyo"
        [[hubspot.accounts]]
        portal_id = 999
        access_token = "pat-two"
        [[hubspot.accounts]]
        portal_id = 4713
        paused = true
        oauth = {{ client_id = "app", client_secret = "oauth-hush", refresh_token = "refresh-hush" }}
        [[hubspot.accounts]]
        portal_id = 4714
        access_token = "pat-revoked"
        [[hubspot.accounts]]
        portal_id = 4715
        oauth = {{ client_id = "app", client_secret = "oauth-hush", refresh_token = "bad-hush" }}
        "#,
        simulator.uri()
    );
    std::fs::write(&config, toml).unwrap();
    let ran = run(&["check", "--json", "--config", config.to_str().unwrap()], &[("amqp.uri", &uri)]).await;
    let found = findings(&ran, 1);
    for (account, words, verdict, mend) in [
        ("account 4711", "of portal 4711", "right", ""),
        ("account 4711", "time_zone is Asia/Tokyo, but HubSpot says Europe/Berlin", "wrong", "Europe/Berlin"),
        ("account 999", "its token is of portal 4712", "wrong", "set portal_id = 4712"),
        ("account 4713", "of portal 4713", "right", ""),
        ("account 4713", "is paused by its settings", "warning", "paused = false"),
        ("account 4714", "HubSpot refuses its token", "wrong", "hubspot.accounts[3].access_token"),
        ("account 4715", "HubSpot refuses its refresh token", "wrong", "oauth.refresh_token_file"),
    ] {
        let finding = find(&found, account, words);
        assert_eq!(finding["verdict"], verdict, "{finding}");
        assert!(finding["mend"].as_str().unwrap_or_default().contains(mend), "{finding}");
    }
    for secret in ["hush", "pat-"] {
        assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "{ran:?}");
    }
}

#[tokio::test]
async fn a_far_end_that_is_not_there_is_wrong() {
    let (_, uri) = ground("check-far-end").await;
    let settings = [
        ("amqp.uri", &*uri),
        ("hubspot.base_url", "http://127.0.0.1:1"),
        ("hubspot.access_token", TOKEN),
        ("amqp.prefetch", "50"),
        ("amqp.max_hold", "40m"),
    ];
    let ran = run(&["check", "--json"], &settings).await;
    let found = findings(&ran, 1);
    assert_eq!(find(&found, "account #0", "no connection to HubSpot")["verdict"], "wrong");
    assert_eq!(find(&found, "amqp.prefetch", "fewer than the 1,000 pairs")["verdict"], "warning");
    assert_eq!(find(&found, "amqp.max_hold", "not below 30m")["verdict"], "warning");
    assert_eq!(find(&found, "hubspot.api_version", "30 March 2027")["verdict"], "warning");
    assert!(!ran.stdout.contains(TOKEN), "{}", ran.stdout);

    let ran = run(&["check", "--json"], &[("amqp.uri", &uri)]).await;
    assert_eq!(find(&findings(&ran, 1), "accounts", "hubspot.access_token")["verdict"], "wrong");
}

#[tokio::test]
async fn the_proxy_on_the_way_is_named_and_what_cannot_be_used_is_wrong() {
    let (_, uri) = ground("check-proxy").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusing = format!("http://user:hush@{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    let settings =
        [("amqp.uri", &*uri), ("hubspot.base_url", "https://hubspot.invalid"), ("hubspot.access_token", TOKEN)];
    for (proxy, detail, verdict) in [
        (&*refusing, "requests to HubSpot go through http://127.0.0.1:", "right"),
        ("socks5://127.0.0.1:1080", "names a socks5 proxy", "wrong"),
        ("ftp://127.0.0.1:21", "passed over", "wrong"),
    ] {
        let ran = run_with_variables(&["check", "--json"], &settings, &[("HTTPS_PROXY", proxy)]).await;
        let found = findings(&ran, 1);
        assert_eq!(find(&found, "proxy", detail)["verdict"], verdict);
        if verdict == "right" {
            assert_eq!(find(&found, "account #0", "a proxy on the way to HubSpot answered 407")["verdict"], "wrong");
        }
        assert!(!ran.stdout.contains("hush") && !ran.stderr.contains("hush"), "{ran:?}");
    }
    serving.abort();
}

async fn simulator() -> SimulatorProcess {
    let simulator = SimulatorProcess::start(&[]).await.unwrap();
    simulator.configure(&json!({"accounts": {"4711": {"tokens": [TOKEN]}}})).await.unwrap();
    simulator
}

fn settings<'a>(uri: &'a str, simulator: &'a SimulatorProcess) -> Vec<(&'a str, &'a str)> {
    vec![("amqp.uri", uri), ("hubspot.base_url", simulator.uri()), ("hubspot.access_token", TOKEN)]
}

async fn check(uri: &str, simulator: &SimulatorProcess, more: &[(&str, &str)]) -> Ran {
    let settings = [&settings(uri, simulator), more].concat();
    run(&["check", "--json"], &settings).await
}

fn findings(ran: &Ran, code: i32) -> Vec<Value> {
    assert_eq!(ran.code, code, "{}{}", ran.stdout, ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["ok"], json!(code == 0));
    report["findings"].as_array().unwrap().clone()
}

fn find<'a>(findings: &'a [Value], subject: &str, words: &str) -> &'a Value {
    let fits = |finding: &&Value| finding["subject"] == subject && finding["detail"].as_str().unwrap().contains(words);
    findings.iter().find(fits).unwrap_or_else(|| panic!("nothing of {subject} says {words:?}: {findings:#?}"))
}
