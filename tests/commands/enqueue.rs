//! `enqueue`: every row is on the queue, or the command says from where to go on.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use harness::{Broker, Client, Message, Options, Relay, Rights, SimulatorProcess, Way, eventually, job};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::program::{JOBS, bare_ground, command, ground, ground_on, on_a_terminal, run, run_with};
use super::terminal::Terminal;

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn ndjson_arrives_in_order_with_a_message_id_of_its_own() {
    let (client, uri) = ground("enqueue-ndjson").await;
    let mut lines = String::new();
    for number in 1..=2_500_u64 {
        writeln!(lines, "{}", job(&format!("job-{number}")).pair(number, 7).to_json()).unwrap();
    }
    lines.push('\n');
    let nameless =
        r#"{"fromObjectType":"contacts","toObjectType":"companies","inputs":[{"from":{"id":"1"},"to":[{"id":"2"}]}]}"#;
    writeln!(lines, "{nameless}\n{nameless}").unwrap();
    let ran = run_with(&["enqueue"], &[("amqp.uri", &uri)], &lines).await;
    assert!(ran.fine().starts_with("2,502 jobs enqueued on association-archiver.jobs"), "{ran:?}");
    assert!(
        ran.stderr
            .starts_with("repeated pairs, which a row before asks for too (archiving a pair again does no harm): 1\n"),
        "{}",
        ran.stderr
    );

    let queued = client.get_all(JOBS).await.unwrap();
    assert_eq!(queued.len(), 2_502);
    let ids: BTreeSet<&str> = queued.iter().filter_map(Message::message_id).collect();
    assert_eq!(ids.len(), queued.len(), "each message has an id of its own");
    let job_ids = queued.iter().map(|message| {
        assert_eq!(message.properties.delivery_mode(), &Some(2));
        assert_eq!(message.properties.content_type().as_ref().map(|text| text.as_str()), Some("application/json"));
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        body["jobId"].as_str().unwrap().to_owned()
    });
    let job_ids: Vec<String> = job_ids.collect();
    assert!((1..).zip(&job_ids[..2_500]).all(|(number, id)| *id == format!("job-{number}")));
    assert_eq!(job_ids[2_500].len(), 36);
    assert_eq!(job_ids[2_500], job_ids[2_501], "equal lines are the same job");
}

#[tokio::test]
async fn csv_rows_become_jobs_whose_ids_are_the_same_every_time() {
    let (client, uri) = ground("enqueue-csv").await;
    let directory = tempfile::tempdir().unwrap();
    let rows = "contacts,101,companies,9001\r\ncontacts,102,companies,9001\r\n";
    let file = write(directory.path(), "pairs.csv", format!("from_object_type,from_id,to_object_type,to_id\r\n{rows}"));
    let summary = run(&["enqueue", &file, "--json"], &[("amqp.uri", &uri)]).await;
    assert_eq!(summary.lines()[0]["enqueued"], json!(2));
    let first = take(&client).await;
    assert_eq!(first[0]["inputs"], json!([{"from": {"id": "101"}, "to": [{"id": "9001"}]}]));
    assert_ne!(first[0]["jobId"], first[1]["jobId"]);

    // From another file, by its header alone, from another line.
    let other = write(
        directory.path(),
        "pairs.txt",
        format!("\u{feff}from_object_type,from_id,to_object_type,to_id\ndeals,1,tickets,2\n{rows}"),
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
    assert!(said[0].starts_with("line 32: from_id: is \"007\", but must be "), "{said:#?}");
    assert!(said[1].starts_with("line 33: from_object_type: \"contact s\" "), "{said:#?}");
    assert!(said[2].starts_with("line 34: has 3 fields, the header has 5"), "{said:#?}");
    assert_eq!(said[20], "… and 13 more");
    assert_eq!(said[21], "error: 33 lines are no jobs, nothing was published: mend or remove them");
    assert_eq!(client.count(JOBS).await.unwrap(), 0);

    for (name, bytes, words) in [
        ("unknown.csv", &b"from_object_type,from_id,to_object_type,to_id,dryRun\n"[..], "unknown column \"dryRun\""),
        ("lacking.csv", b"from_object_type;from_id;to_object_type\n", "lacks to_id"),
        ("headless.csv", b"contacts,1,companies,2\n", "first line must name the columns"),
        ("book.csv", b"PK\x03\x04\x14\0\x06\0\x08\0\0\0\n", "is a workbook (.xlsx, .ods)"),
        ("utf32.csv", b"\xff\xfe\0\0f\0\0\0", "UTF-32"),
        ("unmarked.csv", b"f\0r\0o\0m\0\n\0", "UTF-16 without a byte order mark"),
        (
            "latin1.csv",
            b"from_object_type,from_id,to_object_type,to_id\ncaf\xe9,1,companies,2\n",
            "line 2 is not UTF-8: byte E9",
        ),
        ("bar.csv", b"sep=|\nfrom_object_type|from_id\n", "the separator \"|\" is not read"),
    ] {
        let file = write(directory.path(), name, bytes);
        let ran = run(&["enqueue", &file], &[("amqp.uri", &uri)]).await;
        let error = ran.error(2);
        assert!(error.starts_with(&file) && error.contains(words), "{ran:?}");
    }
    let file =
        write(directory.path(), "two.csv", "from_object_type,from_id,to_object_type,to_id\ncontacts,1,companies,2\n");
    for (from_line, words) in [("0", "lines are counted from 1"), ("3", "two.csv ends with line 2")] {
        let ran = run(&["enqueue", &file, "--from-line", from_line], &[("amqp.uri", &uri)]).await;
        assert!(ran.error(2).contains(words), "{ran:?}");
    }
    let rows = "from_object_type,from_id,to_object_type,to_id\ncontacts,1,companies,2\n,,,\n,,,\n";
    let file = write(directory.path(), "tail.csv", rows);
    let ran = run(&["enqueue", &file, "--from-line", "3"], &[("amqp.uri", &uri)]).await;
    assert!(ran.error(2).ends_with("tail.csv has no row from that line on"), "{ran:?}");
    for (name, rows) in [
        ("empty.csv", ""),
        ("header.csv", "from_object_type,from_id,to_object_type,to_id\n"),
        ("blank.csv", "from_object_type,from_id,to_object_type,to_id\n,,,\n\n"),
        ("blank.ndjson", "\n\n"),
    ] {
        let file = write(directory.path(), name, rows);
        let ran = run(&["enqueue", &file], &[("amqp.uri", &uri)]).await;
        assert!(ran.error(2).starts_with(&format!("{file} has no jobs in it")) && ran.stdout.is_empty(), "{ran:?}");
    }
    let rows = "from_object_type,from_id,to_object_type,to_id\ncontacts,,companies,\n";
    let ran = run(&["enqueue", &write(directory.path(), "no-ids.csv", rows)], &[("amqp.uri", &uri)]).await;
    let found = "rows left out because no id stands in them (from_id and to_id are empty): 1\nerror: ";
    assert!(ran.code == 2 && ran.stderr.starts_with(found), "{ran:?}");
    let ran = run(&["enqueue", "--json"], &[("amqp.uri", &uri)]).await;
    assert!(ran.fine().contains("\"rows\":0") && ran.stderr.contains("stdin has no jobs in it"), "{ran:?}");
    // Rows that ask for nothing are rows.
    let file =
        write(directory.path(), "none.csv", "from_object_type,from_id,to_object_type,to_id\ncontacts,1,companies,\n");
    let ran = run(&["enqueue", &file], &[("amqp.uri", &uri)]).await;
    assert_eq!(ran.fine(), "no row asks for anything; nothing was published\n");
    assert_eq!(client.count(JOBS).await.unwrap(), 0);
}

#[tokio::test]
async fn hubspots_export_becomes_jobs_as_a_spreadsheet_saves_it() {
    let (client, uri) = ground("enqueue-export").await;
    let directory = tempfile::tempdir().unwrap();
    let export = "\u{feff}Record ID;First Name;Associated Company IDs;;\r\n101;\"Ann; the\n\"\"first\"\"\";\"9001;9002\";;\r\n;;;;\r\n102;Bob;;;\r\n";
    let utf16: Vec<u8> = export.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let file = write(directory.path(), "export.csv", &utf16);
    let settings = [("amqp.uri", uri.as_str())];
    let flags = ["--from", "contacts", "--to", "companies", "--portal", "4711"];
    let known = run(&[&["enqueue", &file][..], &flags].concat(), &settings).await;
    known.fine();
    assert!(known.stderr.contains("rows left out because no associated record (to_id) stands in them: 1"), "{known:?}");
    let map = ["--map", "Record ID=from_id,Associated Company IDs=to_id"];
    run(&[&["enqueue", &file][..], &flags, &map].concat(), &settings).await.fine();
    let jobs = take(&client).await;
    assert_eq!(jobs.len(), 2);
    assert_eq!(jobs[0], jobs[1]);
    assert_eq!(jobs[0]["inputs"], json!([{"from": {"id": "101"}, "to": [{"id": "9001"}, {"id": "9002"}]}]));
    assert_eq!((&jobs[0]["portalId"], &jobs[0]["fromObjectType"]), (&json!(4711), &json!("contacts")));
    let unsaid = run(&["enqueue", &file], &settings).await;
    assert!(unsaid.error(2).contains("--from TYPE"), "{unsaid:?}");
}

/// A container's root is often read-only: neither a file on stdin nor a small pipe needs another.
#[tokio::test]
async fn stdin_needs_no_temporary_file() {
    let directory = tempfile::tempdir().unwrap();
    let line = format!("{}\n", job("a").pair(1, 2).to_json());
    let file = write(directory.path(), "jobs.ndjson", &line);
    for stdin in [Stdio::from(std::fs::File::open(&file).unwrap()), Stdio::piped()] {
        let mut command = command(&["enqueue", "--dry-run", "-"], &[]);
        command.env("TMPDIR", "/nowhere").stdin(stdin).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all(line.as_bytes()).await.unwrap();
        }
        let output = child.wait_with_output().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "1 job is valid; nothing was published\n");
    }
}

#[tokio::test]
async fn a_dry_run_knows_the_accounts() {
    let lines = format!("{}\n{}\n", job("a").portal(1).pair(1, 2).to_json(), job("b").pair(1, 2).to_json());
    let directory = tempfile::tempdir().unwrap();
    let config = write(
        directory.path(),
        "two.toml",
        "[[hubspot.accounts]]\nportal_id = 1\naccess_token = \"x\"\n[[hubspot.accounts]]\nportal_id = 2\naccess_token = \"y\"\n",
    );
    let ran = run_with(&["enqueue", "--dry-run", "--config", &config], &[], &lines).await;
    assert!(
        ran.error(2).starts_with("rows that would be rejected: 1, the first in line 2: portalId is missing"),
        "{ran:?}"
    );
    let ran = run_with(&["enqueue", "--dry-run", "--config", &config, "--portal", "3"], &[], &lines).await;
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("line 1: portalId: is 1, while --portal says 3"), "{ran:?}");
    run_with(&["enqueue", "--dry-run", "--config", &config, "--portal", "1"], &[], &lines).await.fine();
}

#[tokio::test]
async fn on_a_terminal_it_shows_what_is_asked_for_and_asks() {
    let (client, uri) = ground("enqueue-asks").await;
    let directory = tempfile::tempdir().unwrap();
    let mut rows = String::from("from_object_type,from_id,to_object_type,to_id\n");
    (1..=1_250).for_each(|number| writeln!(rows, "contacts,{number},companies,9").unwrap());
    let file = write(directory.path(), "pairs.csv", &rows);
    let simulator = SimulatorProcess::start(&[]).await.unwrap();
    simulator.configure(&json!({"everyAccount": {"accountType": "SANDBOX"}})).await.unwrap();
    let hubspot = [("hubspot.base_url", simulator.uri()), ("hubspot.access_token", "x")];
    let settings = [&[("amqp.uri", uri.as_str()), ("rate_limit.requests", "10")][..], &hubspot].concat();
    let shown = on_a_terminal(&["enqueue", &file], &settings, "n\n").await;
    let extent = "1,250 pairs, contacts → companies, portal 4711 (sandbox), about 13 requests, 13s, or longer if HubSpot allows less";
    assert!(shown.contains(extent) && shown.contains("[y/N]") && shown.contains("nothing was published"), "{shown}");
    assert_eq!(client.count(JOBS).await.unwrap(), 0);
    let shown = on_a_terminal(&["enqueue", &file], &settings, "y\n").await;
    assert!(shown.contains("1,250 jobs enqueued"), "{shown}");
    let shown = on_a_terminal(&["enqueue", &file, "--yes"], &settings, "").await;
    assert!(!shown.contains("[y/N]"), "{shown}");
    assert_eq!(client.count(JOBS).await.unwrap(), 2_500);

    // A plan changes nothing, so there is nothing to ask.
    client.purge(JOBS).await.unwrap();
    // What HubSpot does not tell is left out.
    let settings =
        [&settings[..2], &[("hubspot.base_url", "http://127.0.0.1:1"), ("hubspot.access_token", "x")]].concat();
    let shown = on_a_terminal(&["enqueue", &file, "--plan", "--group", "import 7"], &settings, "").await;
    let extent = "1,250 pairs, contacts → companies (only looked at), the only account, at least 2 requests, 2s, or longer if HubSpot allows less";
    assert!(shown.contains(extent) && shown.contains("nothing will be changed"), "{shown}");
    assert!(!shown.contains("[y/N]"), "{shown}");
    let jobs = take(&client).await;
    assert!(jobs.len() == 1_250 && jobs.iter().all(|job| job["dryRun"] == true && job["group"] == "import 7"));
}

#[tokio::test]
async fn a_dry_run_needs_no_broker() {
    let line = job("a").pair(1, 2).to_json().to_string();
    let ran = run_with(&["enqueue", "--dry-run", "-"], &[("amqp.uri", "amqp://127.0.0.1:1")], &line).await;
    assert_eq!(ran.fine(), "1 job is valid; nothing was published\n");
    assert_eq!(ran.stderr, "the settings here have no account, so whether one takes the jobs is not checked\n");
}

/// Typed for something else, perhaps for the shell.
#[tokio::test]
async fn what_was_typed_before_the_question_is_no_answer() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("rows");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let settings = [("amqp.uri", "amqp://127.0.0.1:1")];
    let mut terminal = Terminal::start(&["enqueue", pipe.to_str().unwrap()], &settings, (120, 40));
    terminal.press("y\n");
    // It asks when the rows have ended.
    std::fs::write(&pipe, "from_object_type,from_id,to_object_type,to_id\ncontacts,1,companies,2\n").unwrap();
    for (said, keys) in [("[y/N] ", "n\n"), ("nothing was published", "")] {
        let shown = async || Ok(terminal.raw().contains(said).then_some(()));
        eventually(SOON, said, shown).await.unwrap_or_else(|_| panic!("{}", terminal.raw()));
        terminal.press(keys);
    }
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
    assert!(error.ends_with("; nothing is enqueued: give the same command again"), "{error}");
}

/// Whoever may not publish must not have to look whether some of it is there.
#[tokio::test]
async fn what_is_refused_for_want_of_a_right_is_not_on_the_queue() {
    let (client, _) = ground("enqueue-rights").await;
    let broker = Broker::shared().await.unwrap();
    let rights = Rights { write: "^$", ..Rights::ALL };
    broker.add_user("onlooker", "hush", "enqueue-rights", rights).await.unwrap();
    let uri = broker.uri_as("onlooker", "hush", "enqueue-rights");
    let many: String = (1..=2_000).map(|id| format!("{}\n", job(&format!("j{id}")).pair(id, 2).to_json())).collect();
    let ran = run_with(&["enqueue"], &[("amqp.uri", &uri)], &many).await;
    let error = ran.error(1);
    assert!(error.contains("may not publish to exchange \"association-archiver\": ACCESS_REFUSED"), "{error}");
    assert!(error.ends_with("; nothing is enqueued: give the same command again"), "{error}");
    assert_eq!(client.count(JOBS).await.unwrap(), 0);
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

/// Whoever is impatient in a memory alarm learns all the same what is on the queue and what may be.
#[tokio::test]
async fn a_second_signal_says_how_many_jobs_are_enqueued() {
    let broker = Broker::start(Options::default()).await.unwrap();
    let (_, uri) = ground_on(&broker, "enqueue-alarm").await;
    let directory = tempfile::tempdir().unwrap();
    let rows: String = (1..=3_000).map(|id| format!("{}\n", job(&format!("j{id}")).pair(id, 2).to_json())).collect();
    let file = write(directory.path(), "rows.ndjson", &rows);
    broker.raise_memory_alarm().await.unwrap();
    let mut command = command(&["enqueue", &file], &[("amqp.uri", &uri)]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually(SOON, "a publisher that the alarm holds up", async || {
        let states = broker.ctl(&["list_connections", "--quiet", "state"]).await?;
        Ok(states.contains("blocked").then_some(()))
    })
    .await
    .unwrap();
    let pid = child.id().and_then(|id| Pid::from_raw(id.try_into().unwrap())).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let output = tokio::time::timeout(SOON, child.wait_with_output()).await.expect("it ends").unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("stopping (SIG"), "{said}");
    let last = "error: a second signal; 0 jobs are enqueued, up to 1 more may be, which the broker has not confirmed, go on \
                with --from-line 1\n";
    assert!(said.ends_with(last), "{said}");
}

async fn take(client: &Client) -> Vec<Value> {
    let read = |message: Message| serde_json::from_slice(&message.body).unwrap();
    client.get_all(JOBS).await.unwrap().into_iter().map(read).collect()
}

fn write(directory: &Path, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
