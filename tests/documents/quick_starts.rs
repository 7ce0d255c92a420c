//! The programs of `docs/producers.md`, run as they stand there against a real broker and worker: for each language
//! one that publishes a job and one that reads outcomes.
//!
//! They need a package each: Debian's, which `make test` installs, or one from PyPI or npm, which stays under `target`.
//! Where it is neither here nor to be had, the test says so and stops.

use std::fs;
use std::io::Write as _;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use association_archiver::contract::action::Action;
use association_archiver::contract::association::{Extent, Label, LabelCategory, RecordId};
use association_archiver::contract::ids::JobId;
use association_archiver::contract::job::{JobLimits, JobProperties, parse};
use association_archiver::contract::outcome::{Ending, Head, Outcome, PairError};
use association_archiver::contract::refusal::{Refusal, WorkerCategory};
use harness::keeper::Keeper;
use harness::process::Process;
use harness::worker::Worker;
use harness::{Message, Until, eventually};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::corpus::Document;
use crate::node;
use crate::stage::{BACKGROUND, DEAD_LETTERS, JOBS, RESULTS, Stage, stop};

/// A job to its outcome, and an interpreter that starts on a busy machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// The portal that the programs name; the simulator's too.
const ACCOUNT: &str = "[[hubspot.accounts]]\nportal_id = 4711\naccess_token = \"pat-of-the-quick-starts\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_one_in_python_works() -> Result<()> {
    let keeper = Keeper::start("quick-start-python")?;
    let Some(python) = python_with_pika() else { return not_run("Python", "python3 with pika") };
    let run = |program: &Path| {
        let mut command = Command::new(&python);
        command.arg(program);
        command
    };
    answers("documents-python", &quick_starts("Python", "python"), run, keeper, "crm-sync-1 ARCHIVED []").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_in_node_works() -> Result<()> {
    let keeper = Keeper::start("quick-start-node")?;
    let Some(modules) = node::modules("node", &["amqplib@0"]) else { return not_run("Node", "node with amqplib") };
    let run = |program: &Path| {
        let mut command = Command::new("node");
        command.arg(program).env("NODE_PATH", &modules);
        command
    };
    answers("documents-node", &quick_starts("Node", "js"), run, keeper, "crm-sync-2 ARCHIVED []").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_in_ruby_works() -> Result<()> {
    let keeper = Keeper::start("quick-start-ruby")?;
    if !succeeds(Command::new("ruby").args(["-r", "bunny", "-e", ""])) {
        return not_run("Ruby", "ruby with bunny");
    }
    let run = |program: &Path| {
        let mut command = Command::new("ruby");
        command.arg(program);
        command
    };
    answers("documents-ruby", &quick_starts("Ruby", "ruby"), run, keeper, "crm-sync-5 ARCHIVED []").await
}

/// Two jobs whose outcomes have pairs that may succeed now. Of the third nothing may, and the fourth has no `jobId` by which
/// it could be found, so that a person is told of these.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_that_sends_again_asks_for_what_failed_and_for_nothing_more() -> Result<()> {
    let keeper = Keeper::start("quick-start-again")?;
    let Some(python) = python_with_pika() else { return not_run("Python", "python3 with pika") };
    let stage = Stage::set("documents-again", &[]).await?;
    stage.declare().await?;
    let label = json!({"associationCategory": "USER_DEFINED", "associationTypeId": 37});
    let record = |id: u64| json!({"id": id.to_string()});
    let job = |id: &str, more: Value| {
        let mut job = json!({"jobId": id, "portalId": 4711, "fromObjectType": "contacts", "toObjectType": "companies"});
        job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        job
    };
    let restored =
        json!({"action": "restore", "includePrimary": true, "group": "g", "notAfter": "2999-01-01T00:00:00Z"});
    let inputs = json!([{"from": record(1), "to": [record(2), record(3)], "types": [label]}, {"from": record(4), "to": [record(5)]}]);
    let mut restored = job("restored", restored);
    restored["inputs"] = inputs;
    let cleared =
        job("cleared", json!({"dryRun": true, "inputs": [{"from": record(7), "to": "all", "types": [label]}]}));
    let refused = job("refused", json!({"inputs": [{"from": record(8), "to": [record(9)]}]}));
    let nameless = json!({"fromObjectType": "contacts", "toObjectType": "companies", "inputs": [{"from": record(1), "to": [record(2)]}]});
    let (failed, passing) = (Refusal::hubspot("VALIDATION_ERROR", "no", 400), |to, extent| PairError {
        from: id(1),
        to,
        extent,
        refusal: Arc::new(Refusal::worker(WorkerCategory::RetriesExhausted, "later")),
    });
    let labels = || Extent::Labels(Arc::from([Label { category: LabelCategory::UserDefined, type_id: id(37).0 }]));
    let of_refused = |from, to| PairError {
        from: id(from),
        to: Some(id(to)),
        extent: Extent::Whole,
        refusal: Arc::new(failed.clone()),
    };
    let of_background = job("of-background", json!({"group": "backfill-7", "inputs": refused["inputs"]}));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut traced = outcome("restored", vec![passing(Some(id(3)), labels()), of_refused(4, 5)]);
    traced.properties = traced.properties.with_correlation_id("their-own".into());
    let traced = traced.with_header("traceparent", trace)?.with_header("tracestate", "a=b")?;
    let outcomes = [
        traced.with_header("x-job-status", "PARTIAL")?,
        outcome("cleared", vec![PairError { from: id(7), ..passing(None, labels()) }]),
        outcome("refused", vec![of_refused(8, 9)]),
        outcome("nameless", vec![passing(Some(id(2)), Extent::Whole)]),
        outcome("of-background", vec![PairError { from: id(8), ..passing(Some(id(9)), Extent::Whole) }]),
    ];
    stage.client.publish(RESULTS, outcomes).await?;

    let [program, jobs] = ["again.py", "jobs.ndjson"].map(|name| keeper.directory().join(name));
    let [text] = programs("Sending again", "python");
    fs::write(&program, text)?;
    fs::write(&jobs, format!("{restored}\n{nameless}\n{cleared}\n{refused}\n{of_background}\n"))?;
    let mut command = Command::new(&python);
    command.arg(&program).env("AMQP_URI", &stage.uri).env("JOBS", &jobs);
    let running = Process::start("sends again", command, keeper)?;
    let published = stage.client.collect(JOBS, Until::Count(2), ANSWER_LIMIT).await?;
    let limits = JobLimits { max_bytes: 1 << 20, max_pairs: 10_000 };
    for message in &published {
        let envelope = JobProperties { message_id: message.message_id(), content_encoding: None };
        parse(&message.body, envelope, &limits).map_err(|malformed| anyhow::anyhow!(malformed.message))?;
    }
    let again: Vec<Value> =
        published.iter().map(|message| serde_json::from_slice(&message.body)).collect::<Result<_, _>>()?;
    restored["inputs"] = json!([{"from": record(1), "to": [record(3)], "types": [label]}]);
    assert_eq!(again, [restored, cleared]);
    let ids: Vec<&str> = published.iter().filter_map(Message::message_id).collect();
    assert_eq!(ids, ["again-outcome-of-restored", "again-outcome-of-cleared"]);
    // Whoever waits for the answer finds it by the same `correlation_id`, and in the same trace.
    let [first, second] = [&published[0], &published[1]];
    assert_eq!((first.correlation_id(), first.header("traceparent").as_deref()), (Some("their-own"), Some(trace)));
    assert_eq!((first.header("tracestate").as_deref(), first.header("x-job-status")), (Some("a=b"), None));
    assert_eq!((second.correlation_id(), second.header("traceparent")), (None, None));
    let background = stage.client.collect(BACKGROUND, Until::Count(1), ANSWER_LIMIT).await?;
    assert_eq!(serde_json::from_slice::<Value>(&background[0].body)?, of_background);
    eventually(ANSWER_LIMIT, "what a person must look at", async || {
        let (restored, refused) = ("restored FAILED [{'from': {'id': '4'}", "\nrefused FAILED [{'from': {'id': '8'}");
        let told = running.stdout();
        let is_told =
            told.starts_with(restored) && told.contains(refused) && told.contains("\nnameless FAILED [{'from'");
        Ok((is_told && !told.contains("cleared")).then_some(()))
    })
    .await
    .with_context(|| running.last_words())?;

    // It runs for long: jobs come later, one of them not yet written to its end, and what was sent again fails again.
    let [late, later] =
        ["late", "later"].map(|id| job(id, json!({"inputs": [{"from": record(1), "to": [record(2)]}]})));
    let mut file = fs::OpenOptions::new().append(true).open(&jobs)?;
    let later = later.to_string();
    write!(file, "{late}\n{}", &later[..20])?;
    let fails = |job_id: &str, again: &str| {
        let message = outcome(job_id, vec![passing(Some(id(2)), Extent::Whole)]);
        message.id(&format!("outcome-of-{job_id}{again}"))
    };
    stage.client.publish(RESULTS, [fails("late", "")?, fails("restored", "-again")?]).await?;
    let published = stage.client.collect(JOBS, Until::Count(2), ANSWER_LIMIT).await?;
    let ids: Vec<&str> = published.iter().filter_map(Message::message_id).collect();
    assert_eq!(ids, ["again-outcome-of-late", "again-outcome-of-restored-again"]);
    writeln!(file, "{}", &later[20..])?;
    stage.client.publish(RESULTS, [fails("later", "")?]).await?;
    let published = stage.client.collect(JOBS, Until::Count(1), ANSWER_LIMIT).await?;
    assert_eq!(published[0].message_id(), Some("again-outcome-of-later"));
    running.kill9().await
}

/// The command's own lines: a body that is text, and one that is none.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_that_reads_dead_letters_gets_each_body_as_it_came() -> Result<()> {
    let keeper = Keeper::start("quick-start-letters")?;
    let stage = Stage::set("documents-letters", &[]).await?;
    stage.declare().await?;
    let letter = |body: &[u8]| Message::new(body).with_header("x-reject-category", "MALFORMED_JOB");
    stage.client.publish(DEAD_LETTERS, [letter("{\"jobId\": \"ü\"}".as_bytes())?, letter(b"\xff{")?]).await?;
    let mut export = Worker::command()?;
    let export = export.args(["dead-letters", "export"]).env("ARCHIVER__AMQP__URI", &stage.uri).output().await?;
    ensure!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
    let [program, letters] = ["letters.py", "letters.ndjson"].map(|name| keeper.directory().join(name));
    let [text] = programs("Dead letters", "python");
    fs::write(&program, text)?;
    fs::write(&letters, export.stdout)?;
    let Ok(read) = Command::new("python3").arg(&program).stdin(fs::File::open(&letters)?).output() else {
        return not_run("Python", "python3");
    };
    let printed = "MALFORMED_JOB b'{\"jobId\": \"\\xc3\\xbc\"}'\nMALFORMED_JOB b'\\xff{'\n";
    assert_eq!(String::from_utf8_lossy(&read.stdout), printed, "{}", String::from_utf8_lossy(&read.stderr));
    Ok(())
}

fn id(number: u64) -> RecordId {
    RecordId(NonZeroU64::new(number).unwrap())
}

/// As the worker writes it, of a job that failed with these errors.
fn outcome(job_id: &str, errors: Vec<PairError>) -> Message {
    let outcome = Outcome {
        head: Head {
            job_id: JobId::new(job_id).unwrap(),
            portal: None,
            from_type: None,
            to_type: None,
            action: Action::Archive,
            dry_run: false,
            group: None,
        },
        ending: Ending::Settled { num_pairs: errors.len(), errors },
        verified: false,
        journaled: false,
        attempts: 1,
        received_at: Timestamp::UNIX_EPOCH,
        started_at: None,
        completed_at: Timestamp::UNIX_EPOCH,
    };
    let mut body = Vec::new();
    outcome.encode(&mut body);
    Message::new(body).id(&format!("outcome-of-{job_id}")).unwrap()
}

#[test]
fn there_are_two_for_each_language_and_the_one_that_reads_publishes_nothing() {
    for (heading, language) in [("Python", "python"), ("Node", "js"), ("Go", "go"), ("Java", "java"), ("Ruby", "ruby")]
    {
        let [publishing, reading] = quick_starts(heading, language);
        for needed in ["AMQP_URI", "jobs", "jobId", "inputs"] {
            assert!(publishing.contains(needed), "{heading}: {needed}");
        }
        for needed in ["AMQP_URI", "association-archiver.results"] {
            assert!(reading.contains(needed), "{heading}: {needed}");
        }
        assert!(!publishing.contains("results") && !reading.to_lowercase().contains("publish"), "{heading}");
    }
}

/// Runs the program that publishes to its end, and the one that reads until it has printed the answer.
async fn answers(
    vhost: &str,
    programs: &[String; 2],
    run: impl Fn(&Path) -> Command,
    keeper: Keeper,
    expected: &str,
) -> Result<()> {
    let stage = Stage::set(vhost, &[]).await?;
    let worker = stage.start(&stage.worker_without_account().config(ACCOUNT)).await?;
    // By now the queues are bound as well.
    worker.ready(ANSWER_LIMIT).await?;
    let [publishing, reading] = ["publish", "read"].map(|name| keeper.directory().join(name));
    fs::write(&publishing, &programs[0])?;
    fs::write(&reading, &programs[1])?;
    let mut publish = run(&publishing);
    ensure!(succeeds(publish.env("AMQP_URI", &stage.uri)), "the program that publishes failed");
    let mut read = run(&reading);
    read.env("AMQP_URI", &stage.uri);
    let reader = Process::start("quick start", read, keeper)?;
    eventually(ANSWER_LIMIT, &format!("the answer {expected:?}"), async || {
        if let Some(code) = reader.ended()? {
            anyhow::bail!("it ended with code {code}");
        }
        let printed = reader.stdout();
        ensure!(printed.is_empty() || printed.trim() == expected, "it printed {printed:?}");
        Ok((!printed.is_empty()).then_some(()))
    })
    .await
    .with_context(|| format!("{}\n{}", reader.last_words(), worker.last_words()))?;
    reader.kill9().await?;
    stop(&worker).await
}

/// The program that publishes and the one that reads.
fn quick_starts(heading: &str, language: &str) -> [String; 2] {
    programs(heading, language)
}

fn programs<const N: usize>(heading: &str, language: &str) -> [String; N] {
    let fences = Document::read("docs/producers.md").fences().into_iter();
    let programs = fences.filter(|fence| fence.heading == heading && fence.language == language);
    let programs: Vec<String> = programs.map(|fence| fence.text).collect();
    let found = programs.len();
    programs.try_into().unwrap_or_else(|_| panic!("docs/producers.md has {found} {language} under {heading}, not {N}"))
}

fn not_run(language: &str, needed: &str) -> Result<()> {
    eprintln!("NOT RUN: the quick start in {language}: {needed} is not here and could not be installed");
    Ok(())
}

/// An interpreter that has pika: the system's, or that of a virtual environment.
fn python_with_pika() -> Option<PathBuf> {
    let system = PathBuf::from("python3");
    // Debian's package is for Debian's Python, which need not be the first on the path.
    let debian = PathBuf::from("/usr/bin/python3");
    let venv = installed().join("venv");
    let python = venv.join("bin/python");
    let has_pika = |python: &Path| {
        let found = Command::new(python).args(["-c", "import pika"]).output();
        found.is_ok_and(|output| output.status.success())
    };
    if let Some(python) = [&system, &debian, &python].into_iter().find(|python| has_pika(python)) {
        return Some(python.clone());
    }
    let made = succeeds(Command::new(&system).args(["-m", "venv"]).arg(&venv));
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pika"];
    (made && succeeds(Command::new(&python).args(install)) && has_pika(&python)).then_some(python)
}

/// Where what was installed stays until `cargo clean`.
pub fn installed() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("quick-starts")
}

/// Whether it can be run and ends well; what it says is of interest only if not.
pub fn succeeds(command: &mut Command) -> bool {
    match command.output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            eprintln!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
            false
        }
        Err(error) => {
            eprintln!("{command:?}: {error}");
            false
        }
    }
}
