//! From a spreadsheet to what became of each of its pairs: `enqueue --follow` and `outcomes` beside a running service.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use harness::{Broker, Message, SimulatorProcess, Worker, job};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::ChildStderr;

use super::program::{JOBS, bare_ground, command, ground, run};

const SOON: Duration = Duration::from_secs(60);
const RESULTS: &str = "association-archiver.results";

#[tokio::test]
async fn all_done_some_failed_and_here_they_are() {
    let (client, uri) = ground("follow").await;
    let simulator = SimulatorProcess::start(&["--bad-id", "7", "--limit", "off"]).await.unwrap();
    let worker = Worker::builder()
        .set("amqp.uri", &uri)
        .set("hubspot.base_url", simulator.uri())
        .set("hubspot.access_token", "pat")
        .start()
        .unwrap();
    worker.ready(SOON).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (outcomes_csv, again_ndjson) = (path("outcomes.csv"), path("again.ndjson"));
    let mut rows = String::from("from_object_type,from_id,to_object_type,to_id,types,job_id\n");
    for number in 1..=300 {
        writeln!(rows, "contacts,{number},companies,9001;9002,all,").unwrap();
    }
    // Two that ask for the same, and a removal of labels.
    rows.push_str("contacts,1,companies,9001;9002,all,\ncontacts,7,companies,5,USER_DEFINED 37,of-label\n");
    std::fs::write(path("pairs.csv"), &rows).unwrap();
    let settings = [("amqp.uri", uri.as_str())];

    let followed = run(&["enqueue", &path("pairs.csv"), "--follow", "--outcomes", &outcomes_csv], &settings).await;
    assert_eq!(followed.code, 3, "{followed:?}");
    assert!(followed.stderr.contains("302 jobs enqueued"), "{followed:?}");
    for words in
        ["  2 of all these repeated", "ARCHIVED            300", "FAILED                2", "HUBSPOT VALIDATION_ERROR"]
    {
        assert!(followed.stdout.contains(words), "{words:?}: {followed:?}");
    }
    let report = records(&outcomes_csv);
    assert_eq!(report.len(), 2 * 301 + 1, "a row for each pair");
    let failed: Vec<&Value> = report.iter().filter(|row| row["status"] != "ARCHIVED").collect();
    let failed: Vec<[&str; 4]> = failed
        .iter()
        .map(|row| ["line", "from_id", "to_id", "types"].map(|name| row[name].as_str().unwrap()))
        .collect();
    let expected = [["8", "7", "9001", "all"], ["8", "7", "9002", "all"], ["303", "7", "5", "USER_DEFINED 37"]];
    assert_eq!(failed, expected);
    client.count_becomes(RESULTS, 302).await.expect("who reads the results queue misses none");

    // The same file again is what failed, labels and all.
    let again = run(&["enqueue", &outcomes_csv, "--follow", "--outcomes", &again_ndjson, "--json"], &settings).await;
    assert_eq!(again.code, 3, "{again:?}");
    assert!(again.stderr.contains("rows left out because their status is ARCHIVED or RESTORED: 600"), "{again:?}");
    let summary: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(summary["outcomes"]["byStatus"], json!({"FAILED": {"jobs": 3, "pairs": 3, "done": 0}}));
    let ndjson = std::fs::read_to_string(&again_ndjson).unwrap();
    let outcomes: Vec<Value> = ndjson.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(outcomes.len() == 3 && outcomes.iter().any(|outcome| outcome["jobId"] == "of-label"), "{ndjson}");
    let existing = run(&["enqueue", &path("pairs.csv"), "--follow", "--outcomes", &again_ndjson], &settings).await;
    assert!(existing.code == 2 && existing.stderr.contains("name a new file"), "{existing:?}");
    assert_eq!(client.count(JOBS).await.unwrap(), 0);
    client.count_becomes(RESULTS, 305).await.unwrap();

    let listed = run(&["outcomes", "--failed", "--since", "1h", "--json"], &settings).await.lines();
    assert_eq!(listed.len(), 2 + 3);
    let none = run(&["outcomes", "--since", "2999-01-01T00:00:00Z", "--json"], &settings).await;
    assert_eq!(none.fine(), "");
    let csv = run(&["outcomes", "--csv"], &settings).await;
    std::fs::write(path("failed.csv"), csv.fine()).unwrap();
    let failed = records(path("failed.csv"));
    let lines: BTreeSet<String> = failed.iter().map(|row| row["line"].as_str().unwrap().to_owned()).collect();
    let sent_again = (2..).zip(&report).filter(|(_, row)| row["status"] != "ARCHIVED");
    let sent_again: BTreeSet<String> = sent_again.map(|(line, _): (u64, _)| line.to_string()).collect();
    assert_eq!((lines, failed.len()), (sent_again, 3), "of each pair the row of the file that was enqueued last");
    assert!(csv.stderr.contains("left the same pair undone too: 3\n"), "{csv:?}");
    let table = run(&["outcomes", "--failed"], &settings).await;
    assert!(table.fine().starts_with("COMPLETED AT"), "{table:?}");
    assert!(table.stderr.contains("5 of 305 messages in association-archiver.results"), "{table:?}");
    assert_eq!(client.count(RESULTS).await.unwrap(), 305, "looking takes nothing away");
}

/// The same command again must not be refused because of what the first one left.
#[tokio::test]
async fn a_run_that_cannot_begin_leaves_no_file_and_no_queue() {
    let (client, uri) = bare_ground("follow-nowhere").await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("jobs.ndjson"), format!("{}\n", job("a").pair(1, 2).to_json())).unwrap();
    let queues = async || {
        let broker = Broker::shared().await.unwrap();
        broker
            .ctl(&["list_queues", "--vhost", "follow-nowhere", "--quiet", "--no-table-headers", "name"])
            .await
            .unwrap()
    };
    let follows = async |outcomes: &str, words: &str| {
        let jobs = path("jobs.ndjson");
        let ran = run(&["enqueue", &jobs, "--follow", "--outcomes", outcomes], &[("amqp.uri", &uri)]).await;
        assert!(ran.error(1).contains(words), "{ran:?}");
        assert!(!Path::new(outcomes).exists(), "{outcomes} is left");
        let left = queues().await;
        assert!(left.trim().is_empty(), "{left}");
    };
    for outcomes in [path("outcomes.csv"), path("outcomes.ndjson")] {
        follows(&outcomes, "exchange \"association-archiver\" does not exist").await;
    }
    client.declare_exchange("association-archiver").await.unwrap();
    for outcomes in [path("outcomes.csv"), path("outcomes.ndjson")] {
        follows(&outcomes, "no queue is bound to exchange").await;
    }
}

/// Where nobody takes the jobs it says so while it waits, and does not say in the end that they are worked on.
#[tokio::test]
async fn who_waits_no_longer_is_told_how_many_are_open_and_whether_anybody_works_on_them() {
    let (client, uri) = ground("follow-stopped").await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jobs.ndjson");
    std::fs::write(&file, format!("{}\n", job("a").pair(1, 2).to_json())).unwrap();
    let mut follow = command(&["enqueue", file.to_str().unwrap(), "--follow"], &[("amqp.uri", &uri)]);
    let mut child = follow.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let said = async |lines: &mut Lines<BufReader<ChildStderr>>, words: &str| {
        let mut said = String::new();
        while let Some(line) = tokio::time::timeout(SOON, lines.next_line()).await.expect(words).unwrap() {
            said += &line;
            if line.contains(words) {
                break;
            }
        }
        said
    };
    let told = said(&mut lines, "no service is taking jobs").await;
    let words = "no service is taking jobs from association-archiver.jobs right now; if none runs, start it: `association-archiver run`";
    assert!(told.ends_with(words), "{told}");
    assert_eq!(client.count(JOBS).await.unwrap(), 1);
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let told = said(&mut lines, "without an answer").await;
    let ended = tokio::time::timeout(SOON, child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{told}");
    assert_eq!(ended.stdout, b"", "no outcome, so no table");
    let words = "jobs without an answer: 1; those that are still in association-archiver.jobs wait there, and";
    assert!(told.contains(words), "{told}");
}

/// Whoever sends a label's removal again must not remove the whole.
#[tokio::test]
async fn a_csv_of_outcomes_tells_what_they_tell_of_labels_and_no_more() {
    let (client, uri) = ground("outcomes-labels").await;
    let outcome = |id: &str, types: Option<Value>| {
        let mut error = json!({
            "from": {"id": "1"}, "to": {"id": "2"}, "source": "HUBSPOT", "category": "X", "subCategory": null,
            "message": "=why, \"so\"", "httpStatus": 400, "correlationId": null, "retryable": false,
        });
        if let Some(types) = types {
            error["types"] = types;
        }
        let outcome = json!({
            "jobId": id, "portalId": 4711, "fromObjectType": "contacts", "toObjectType": "companies", "status": "FAILED",
            "numPairs": 1, "numArchived": 0, "numErrors": 1, "errors": [error], "attempts": 1,
            "receivedAt": "2026-01-01T00:00:00.000Z", "startedAt": null, "completedAt": "2026-01-01T00:00:00.000Z",
        });
        Message::new(outcome.to_string().into_bytes())
    };
    let labels = json!([{"associationCategory": "USER_DEFINED", "associationTypeId": 37}]);
    let outcomes = [outcome("whole", Some(Value::Null)), outcome("label", Some(labels)), outcome("old", None)];
    client.publish(RESULTS, outcomes).await.unwrap();
    let settings = [("amqp.uri", uri.as_str())];
    let told = run(&["outcomes", "--csv"], &settings).await;
    assert!(told.stderr.contains("1 rows have ? in the column types"), "{told:?}");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("failed.csv");
    let file = file.to_str().unwrap();
    std::fs::write(file, told.fine()).unwrap();
    let rows = records(file);
    assert_eq!(
        rows.iter().map(|row| row["types"].as_str().unwrap()).collect::<Vec<_>>(),
        ["all", "USER_DEFINED 37", "?"]
    );
    assert_eq!(rows[0]["message"], "=why, \"so\"");
    let ran = run(&["enqueue", file], &settings).await;
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.starts_with("line 4: types: nothing tells whether only labels were to be removed"), "{ran:?}");
    std::fs::write(file, told.fine().replace(",?,", ",all,")).unwrap();
    run(&["enqueue", file], &settings).await.fine();
    let jobs = client.get_all(JOBS).await.unwrap();
    let jobs: Vec<Value> = jobs.iter().map(|message| serde_json::from_slice(&message.body).unwrap()).collect();
    let types = jobs.iter().map(|job| job["inputs"][0].get("types").is_some());
    assert_eq!(types.collect::<Vec<_>>(), [false, true, false]);
}

#[tokio::test]
async fn outcomes_are_told_in_the_order_in_which_they_were_completed_and_then_of_their_file() {
    let (client, uri) = ground("outcomes-order").await;
    let outcome = |id: &str, second: u32, correlation: &str| {
        let outcome = json!({
            "jobId": id, "portalId": 4711, "fromObjectType": "contacts", "toObjectType": "companies", "group": "spring",
            "status": "FAILED", "numPairs": 1, "numArchived": 0, "errors": [],
            "completedAt": format!("2026-01-01T00:00:0{second}.000Z"),
        });
        let mut message = Message::new(outcome.to_string().into_bytes());
        message.properties = message.properties.with_correlation_id(correlation.into());
        message
    };
    let of_line = |line: u32| format!("{}-{line}", "0a".repeat(16));
    let outcomes = [
        outcome("last", 9, "x"),
        outcome("line-10", 5, &of_line(10)),
        outcome("line-9", 5, &of_line(9)),
        outcome("another", 5, "y"),
        outcome("first", 1, "z"),
    ];
    client.publish(RESULTS, outcomes).await.unwrap();
    let settings = [("amqp.uri", uri.as_str())];
    for _ in 0..2 {
        let told = run(&["outcomes", "--failed", "--json"], &settings).await.lines();
        let ids: Vec<&str> = told.iter().map(|outcome| outcome["jobId"].as_str().unwrap()).collect();
        assert_eq!(ids, ["first", "another", "line-9", "line-10", "last"]);
    }
    let table = run(&["outcomes", "--failed", "--limit", "2"], &settings).await;
    assert!(table.fine().lines().nth(1).unwrap().contains("line-10"), "{table:?}");
    assert!(table.stderr.contains("2 of 5 messages in association-archiver.results, the oldest first\n"), "{table:?}");
    let none = run(&["outcomes", "--group", "sprng"], &settings).await;
    assert!(none.stderr.ends_with("is of the group \"sprng\"; the latest groups there are: spring\n"), "{none:?}");

    let no_job = json!({
        "jobId": "no-job", "status": "REJECTED", "numPairs": 0, "numArchived": 0, "errors": [],
        "completedAt": "2026-01-01T00:00:00.000Z",
    });
    client.publish(RESULTS, [Message::new(no_job.to_string().into_bytes())]).await.unwrap();
    let table = run(&["outcomes"], &settings).await;
    let done_of = |job: &str| {
        let line = table.stdout.lines().find(|line| line.contains(job)).unwrap_or_else(|| panic!("{table:?}"));
        let cells: Vec<&str> = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        cells[4].to_owned()
    };
    assert_eq!([done_of("no-job"), done_of("line-9")], ["-", "0 of 1"]);
}

/// Whoever sends a restore or a look again must not remove anything.
#[tokio::test]
async fn a_csv_of_outcomes_repeats_what_was_asked_for() {
    let (client, uri) = ground("outcomes-actions").await;
    let outcome = |id: &str, fields: Value| {
        let mut outcome = json!({
            "jobId": id, "portalId": 4711, "fromObjectType": "contacts", "toObjectType": "companies",
            "action": "archive", "dryRun": false, "group": "import 7", "numPairs": 1, "numArchived": 0, "numRestored": 0,
            "numErrors": 0, "verified": false, "journaled": false, "plan": null, "errors": [], "attempts": 1,
            "receivedAt": "2026-01-01T00:00:00.000Z", "startedAt": null, "completedAt": "2026-01-01T00:00:00.000Z",
        });
        outcome.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        Message::new(outcome.to_string().into_bytes())
    };
    let error = |to: Value| {
        json!([{
            "from": {"id": "1"}, "to": to, "types": null, "source": "WORKER", "category": "X", "subCategory": null,
            "message": "m", "httpStatus": null, "correlationId": null, "retryable": true,
        }])
    };
    let second = json!({"id": "2"});
    let outcomes = [
        outcome("restored", json!({"status": "RESTORED", "action": "restore", "numRestored": 1})),
        outcome("planned", json!({"status": "PLANNED", "dryRun": true, "plan": []})),
        outcome("restore", json!({"status": "FAILED", "action": "restore", "errors": error(second.clone())})),
        outcome("look", json!({"status": "EXPIRED", "dryRun": true, "errors": error(second)})),
        outcome("all", json!({"status": "FAILED", "errors": error(Value::Null)})),
    ];
    client.publish(RESULTS, outcomes).await.unwrap();
    let settings = [("amqp.uri", uri.as_str())];
    let told = run(&["outcomes", "--csv"], &settings).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("failed.csv");
    std::fs::write(&file, told.fine()).unwrap();
    run(&["enqueue", file.to_str().unwrap()], &settings).await.fine();
    let jobs = client.get_all(JOBS).await.unwrap();
    let jobs = jobs.iter().map(|message| serde_json::from_slice::<Value>(&message.body).unwrap());
    let asked = jobs.map(|job| {
        assert_eq!(job["group"], "import 7");
        json!([job["jobId"], job.get("action"), job.get("dryRun"), job["inputs"][0]["to"]])
    });
    let second = json!([{"id": "2"}]);
    let expected = [
        json!(["restore", "restore", null, second]),
        json!(["look", null, true, second]),
        json!(["all", null, null, "all"]),
    ];
    assert_eq!(asked.collect::<Vec<_>>(), expected);
}

/// The rows of a CSV by the names of its columns.
fn records(path: impl AsRef<Path>) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let names = reader.headers().unwrap().clone();
    let row = |record: csv::StringRecord| {
        let named = names.iter().zip(&record).map(|(name, value)| (name.to_owned(), json!(value)));
        Value::Object(named.collect())
    };
    reader.records().map(|record| row(record.unwrap())).collect()
}

/// What failed and went well later need not be sent again; and what is answered by now may not be all.
#[tokio::test]
async fn a_csv_of_outcomes_leaves_out_what_was_mended_and_a_group_may_have_more_to_come() {
    let (client, uri) = ground("outcomes-mended").await;
    let outcome = |id: &str, second: u32, failed: bool| {
        let error = json!({
            "from": {"id": "1"}, "to": {"id": "2"}, "types": null, "source": "HUBSPOT", "category": "X", "subCategory": null,
            "message": "m", "httpStatus": 400, "correlationId": null, "retryable": false,
        });
        let outcome = json!({
            "jobId": id, "portalId": 4711, "fromObjectType": "contacts", "toObjectType": "companies", "group": "spring",
            "status": if failed { "FAILED" } else { "ARCHIVED" }, "numPairs": 1, "numArchived": u32::from(!failed),
            "errors": if failed { vec![error] } else { Vec::new() },
            "completedAt": format!("2026-01-01T00:00:0{second}.000Z"),
        });
        Message::new(outcome.to_string().into_bytes())
    };
    let outcomes =
        [outcome("mended", 1, true), outcome("bad", 2, true), outcome("mended", 3, false), outcome("bad", 4, true)];
    client.publish(RESULTS, outcomes).await.unwrap();
    let jobs = ["a", "b"].map(|id| Message::new(job(id).pair(1, 2).to_json().to_string().into_bytes()));
    client.publish(JOBS, jobs).await.unwrap();
    let settings = [("amqp.uri", uri.as_str())];
    let csv = run(&["outcomes", "--failed", "--csv"], &settings).await;
    assert_eq!(csv.fine().lines().count(), 1 + 1, "{csv:?}");
    assert!(csv.stdout.contains("bad"), "{csv:?}");
    assert!(csv.stderr.contains("jobs left out, since a later attempt has mended them: 1\n"), "{csv:?}");
    let words = "rows left out, since a later attempt of the same job left the same pair undone too: 1\n";
    assert!(csv.stderr.contains(words), "{csv:?}");
    let table = run(&["outcomes", "--group", "spring"], &settings).await;
    assert_eq!(table.fine().lines().count(), 1 + 4, "each attempt is listed: {table:?}");
    let words = "more may come: jobs of whatever group that still wait in the queues: 2; how many a worker has in hand";
    assert!(table.stderr.contains(words), "{table:?}");
}
