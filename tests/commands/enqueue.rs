//! `enqueue`: every row is on the queue, or the command says from where to go on.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use harness::{Broker, Client, Message, Relay, Way, eventually, job};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::program::{JOBS, bare_ground, command, ground, run, run_with};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn ndjson_arrives_in_order_with_its_job_id_as_message_id() {
    let (client, uri) = ground("enqueue-ndjson").await;
    let mut lines = String::new();
    for number in 1..=2_500_u64 {
        writeln!(lines, "{}", job(&format!("job-{number}")).pair(number, 7).to_json()).unwrap();
    }
    lines.push('\n');
    let nameless =
        r#"{"fromObjectType":"contacts","toObjectType":"companies","inputs":[{"from":{"id":"1"},"to":[{"id":"2"}]}]}"#;
    writeln!(lines, "{nameless}").unwrap();
    let ran = run_with(&["enqueue"], &[("amqp.uri", &uri)], &lines).await;
    ran.fine();
    assert!(ran.stderr.contains("2,501 jobs enqueued on association-archiver.jobs"), "{}", ran.stderr);

    let queued = client.get_all(JOBS).await.unwrap();
    assert_eq!(queued.len(), 2_501);
    for (number, message) in (1..).zip(&queued[..2_500]) {
        assert_eq!(message.message_id(), Some(format!("job-{number}").as_str()));
        assert_eq!(message.properties.delivery_mode(), &Some(2));
        assert_eq!(message.properties.content_type().as_ref().map(|text| text.as_str()), Some("application/json"));
    }
    assert_eq!(queued[2_500].body, nameless.as_bytes());
    assert_eq!(queued[2_500].message_id().map(str::len), Some(36));
}

#[tokio::test]
async fn csv_rows_become_jobs_whose_ids_are_the_same_every_time() {
    let (client, uri) = ground("enqueue-csv").await;
    let directory = tempfile::tempdir().unwrap();
    let rows = "contacts,101,companies,9001\r\ncontacts,102,companies,9001\r\n";
    let file =
        write(directory.path(), "pairs.csv", &format!("from_object_type,from_id,to_object_type,to_id\r\n{rows}"));
    let summary = run(&["enqueue", &file, "--json"], &[("amqp.uri", &uri)]).await;
    assert_eq!(summary.lines()[0]["enqueued"], json!(2));
    let first = take(&client).await;
    assert_eq!(first[0].1["inputs"], json!([{"from": {"id": "101"}, "to": [{"id": "9001"}]}]));
    assert_eq!(first[0].1["jobId"].as_str(), first[0].0.as_deref());
    assert_ne!(first[0].0, first[1].0);

    // From another file, by its header alone, from another line.
    let other = write(
        directory.path(),
        "pairs.txt",
        &format!("\u{feff}from_object_type,from_id,to_object_type,to_id\ndeals,1,tickets,2\n{rows}"),
    );
    run(&["enqueue", &other, "--from-line", "3"], &[("amqp.uri", &uri)]).await.fine();
    assert_eq!(take(&client).await, first);
}

#[tokio::test]
async fn one_bad_row_and_nothing_is_published() {
    let (client, uri) = ground("enqueue-bad").await;
    let directory = tempfile::tempdir().unwrap();
    let mut rows = String::from("from_object_type,from_id,to_object_type,to_id,portal_id\n");
    for number in 1..=30 {
        writeln!(rows, "contacts,{number},companies,9001,4711").unwrap();
    }
    rows.push_str("contacts,007,companies,9001,4711\ncontact s,1,companies,2,\ncontacts,1,companies\n");
    for _ in 0..30 {
        rows.push_str("contacts,1,companies,x,\n");
    }
    let file = write(directory.path(), "bad.csv", &rows);
    let ran = run(&["enqueue", &file], &[("amqp.uri", &uri)]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    let said: Vec<&str> = ran.stderr.lines().collect();
    assert!(said[0].starts_with("line 32: from_id: \"007\" "), "{said:#?}");
    assert!(said[1].starts_with("line 33: from_object_type: \"contact s\" "), "{said:#?}");
    assert!(said[2].starts_with("line 34: has 3 fields, the header has 5"), "{said:#?}");
    assert_eq!(said[20], "… and 13 more");
    assert_eq!(said[21], "error: 33 lines are no jobs, nothing was published: mend or remove them");
    assert_eq!(client.count(JOBS).await.unwrap(), 0);

    for (name, text, words) in [
        ("unknown.csv", "from_object_type,from_id,to_object_type,to_id,dryRun\n", "unknown column \"dryRun\""),
        ("semicolons.csv", "from_object_type;from_id;to_object_type;to_id\n", "with commas"),
        ("headless.csv", "contacts,1,companies,2\n", "unknown column \"contacts\""),
    ] {
        let file = write(directory.path(), name, text);
        let ran = run(&["enqueue", &file], &[("amqp.uri", &uri)]).await;
        assert!(ran.error(2).contains(words), "{ran:?}");
    }
}

#[tokio::test]
async fn a_dry_run_needs_no_broker() {
    let line = job("a").pair(1, 2).to_json().to_string();
    let ran = run_with(&["enqueue", "--dry-run", "-"], &[("amqp.uri", "amqp://127.0.0.1:1")], &line).await;
    ran.fine();
    assert_eq!(ran.stderr, "1 jobs are valid; nothing was published\n");
}

#[tokio::test]
async fn without_queue_or_exchange_the_error_says_what_to_do() {
    let (client, uri) = bare_ground("enqueue-nowhere").await;
    let line = job("a").pair(1, 2).to_json().to_string();
    let ran = run_with(&["enqueue"], &[("amqp.uri", &uri)], &line).await;
    assert!(
        ran.error(1).starts_with("exchange \"association-archiver\" does not exist: start the worker once"),
        "{ran:?}"
    );
    // Most of them are refused by the library, which knows that the channel is gone and not why.
    let many: String = (1..=5_000).map(|id| format!("{}\n", job(&format!("j{id}")).pair(id, 2).to_json())).collect();
    let ran = run_with(&["enqueue"], &[("amqp.uri", &uri)], &many).await;
    assert!(ran.error(1).starts_with("exchange \"association-archiver\" does not exist"), "{ran:?}");

    client.declare_exchange("association-archiver").await.unwrap();
    let ran = run_with(&["enqueue"], &[("amqp.uri", &uri)], &line).await;
    let error = ran.error(1);
    assert!(error.starts_with("no queue is bound to exchange \"association-archiver\" with key \"jobs\""), "{error}");
    assert!(error.ends_with("0 jobs are enqueued, go on with --from-line 1"), "{error}");
}

/// A signal while the broker confirms nothing, as in a memory alarm or behind a dead line.
#[tokio::test]
async fn a_signal_ends_it_soon_although_the_broker_does_not_confirm() {
    let (client, uri) = ground("enqueue-stopped").await;
    let relay = Relay::start(Broker::shared().await.unwrap().address()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let rows: String = (1..=30_000).map(|id| format!("{}\n", job(&format!("j{id}")).pair(id, 2).to_json())).collect();
    let file = write(directory.path(), "rows.ndjson", &rows);
    // Slow enough to be silenced in the middle.
    relay.delay(Duration::from_millis(100));
    let mut command = command(&["enqueue", &file], &[("amqp.uri", &relay.through(&uri))]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually(SOON, "the first jobs", async || Ok((client.count_now(JOBS).await? > 0).then_some(()))).await.unwrap();
    relay.black_hole(Way::ToClient);
    let pid = child.id().and_then(|id| Pid::from_raw(id.try_into().unwrap())).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    // Without that it would wait for confirms for a minute.
    let output = tokio::time::timeout(SOON, child.wait_with_output()).await.expect("it ends").unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("stopped by a signal") && said.contains("go on with --from-line"), "{said}");
}

async fn take(client: &Client) -> Vec<(Option<String>, Value)> {
    let read =
        |message: Message| (message.message_id().map(str::to_owned), serde_json::from_slice(&message.body).unwrap());
    client.get_all(JOBS).await.unwrap().into_iter().map(read).collect()
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
