//! `archive` with jobs that look first: a plan, all associations of a record, a restore.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use harness::simulator::SimulatorProcess;
use harness::{Job, Outcome, Status, Worker, job};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

const LIMIT: Duration = Duration::from_secs(120);

async fn answer(simulator: &SimulatorProcess, job: &Job) -> Result<Outcome> {
    let outcomes = answers(simulator, &[], &format!("{}\n", job.to_json())).await?;
    outcomes.into_iter().next().context("no outcome")
}

/// What `archive` answers to these lines, with these settings.
async fn answers(simulator: &SimulatorProcess, settings: &[(&str, &str)], lines: &str) -> Result<Vec<Outcome>> {
    let mut command = Worker::command()?;
    command.arg("archive").env("ARCHIVER__HUBSPOT__BASE_URL", simulator.uri());
    command.env("ARCHIVER__HUBSPOT__ACCESS_TOKEN", "pat-of-the-courses").envs(settings.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    stdin.write_all(lines.as_bytes()).await?;
    drop(stdin);
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.context("it did not end")??;
    let text = String::from_utf8(output.stdout)?;
    let outcomes: Result<Vec<Outcome>> = text.lines().map(Outcome::from_json).collect();
    outcomes.with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The pairs that are there, from contacts to companies.
async fn pairs(simulator: &SimulatorProcess) -> Result<Vec<Value>> {
    let listed = simulator.get("/_sim/associations?from=contacts&to=companies").await?;
    listed.as_array().cloned().context("no list")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_looked_at_first_is_planned_removed_and_brought_back() -> Result<()> {
    let simulator =
        SimulatorProcess::start(&["--limit", "off", "--read-page", "2", "--associate", "contacts:1-2=companies:1-5"])
            .await?;
    let before = pairs(&simulator).await?;
    assert_eq!(before.len(), 10);

    let all = |id: &str| job(id).input(json!({"from": {"id": "1"}, "to": "all"}));
    let planned = answer(&simulator, &all("plan").field("dryRun", true)).await?;
    assert_eq!((planned.status, planned.num_pairs, planned.num_archived), (Status::Planned, 5, 0));
    assert_eq!(pairs(&simulator).await?, before, "a plan changes nothing");

    let removed = answer(&simulator, &all("remove")).await?;
    assert_eq!((removed.status, removed.num_pairs, removed.num_archived), (Status::Archived, 5, 5));
    assert_eq!(pairs(&simulator).await?.len(), 5, "the other record keeps its own");

    let restore = (1..=5).fold(job("restore").field("action", "restore"), |job, to| job.pair(1, to));
    let restored = answer(&simulator, &restore).await?;
    assert_eq!((restored.status, restored.num_pairs, restored.num_restored), (Status::Restored, 5, 5));
    assert_eq!(pairs(&simulator).await?, before, "all is as it was");
    Ok(())
}

/// Requests of each kind since the last look.
async fn spent(simulator: &SimulatorProcess, before: &mut Value) -> Result<[u64; 4]> {
    let now = simulator.state().await?["requestsByKind"].clone();
    let kinds = ["archive", "read", "create", "associate-default"];
    let spent = kinds.map(|kind| now[kind].as_u64().unwrap_or(0) - before[kind].as_u64().unwrap_or(0));
    *before = now;
    Ok(spent)
}

/// What the documents promise of 10,000 contacts with one company each: what each way of removal costs, and the undo.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_of_ten_thousand_pairs_costs_as_few_requests_as_is_said() -> Result<()> {
    const PAIRS: u64 = 10_000;
    let flags = ["--limit", "off", "--associate", "contacts:1-10000=companies:9001"];
    let simulator = SimulatorProcess::start(&flags).await?;
    let removal = |id: &str| job(id).field("group", "all").pairs((1..=PAIRS).map(|contact| (contact, 9001)));
    let line = |job: &Job| format!("{}\n", job.to_json());
    let mut so_far = Value::Null;

    let directory = tempfile::tempdir()?;
    let journal = directory.path().join("journal.ndjson").display().to_string();
    let file = [("ARCHIVER__SAFETY__JOURNAL", "file"), ("ARCHIVER__SAFETY__JOURNAL_FILE", journal.as_str())];
    // Nobody waits for quota, and no request leaves before it is full.
    let quick = [("ARCHIVER__RATE_LIMIT__REQUESTS", "10000"), ("ARCHIVER__BATCH__LINGER", "5s")];
    let safe = [&file[..], &quick, &[("ARCHIVER__SAFETY__VERIFY", "true")]].concat();
    let removed = answers(&simulator, &safe, &line(&removal("safe"))).await?;
    let [removed] = &removed[..] else { panic!("{} outcomes", removed.len()) };
    assert_eq!((removed.num_archived, removed.journaled, removed.verified), (PAIRS, true, true));
    let [archives, reads, ..] = spent(&simulator, &mut so_far).await?;
    // Twenty, and a few more where the archives are spread over more than the linger of the proofs.
    assert!(archives == 100 && reads <= 40, "with journal and proof: {archives} archives, {reads} reads");
    assert_eq!(pairs(&simulator).await?.len(), 0);

    let undo = Worker::command()?.args(["undo", "--group", "all", "--print"]).envs(file).output().await?;
    let restored = answers(&simulator, &quick, &String::from_utf8(undo.stdout)?).await?;
    assert!(restored.iter().all(|outcome| outcome.status == Status::Restored), "{:?}", restored[0].errors);
    assert_eq!(pairs(&simulator).await?.len() as u64, PAIRS);
    let undo = spent(&simulator, &mut so_far).await?;
    assert!(undo.iter().sum::<u64>() <= 20, "the undo: {undo:?}");

    let removed = answers(&simulator, &quick, &line(&removal("plain"))).await?;
    assert_eq!((removed[0].num_archived, removed[0].journaled, removed[0].verified), (PAIRS, false, false));
    assert_eq!(spent(&simulator, &mut so_far).await?, [100, 0, 0, 0]);
    Ok(())
}

/// HubSpot publishes no limit for the default association, and may lower that of the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_inputs_that_is_lower_than_known_fails_no_job() -> Result<()> {
    const PAIRS: u64 = 1_000;
    let simulator = SimulatorProcess::start(&["--limit", "off", "--existing", "nothing"]).await?;
    let too_many = |kind: &str| {
        let message = "The maximum number of inputs supported in a batch request is 40. Received more.";
        let body = json!({"status": "error", "category": "VALIDATION_ERROR", "message": message});
        json!({
            "when": {"kind": kind, "pairsOver": 40},
            "then": {"answer": {"status": 400, "body": {"json": body}}},
        })
    };
    simulator.put_faults(&json!([too_many("associate-default"), too_many("create"), too_many("archive")])).await?;
    let label = json!([{"associationCategory": "USER_DEFINED", "associationTypeId": 37}]);
    simulator
        .configure(&json!({"everyAccount": {"associations": {"labels": [
            {"from": "contacts", "to": "companies", "typeId": 37, "label": "Buyer"},
        ]}}}))
        .await?;
    let plain = job("plain").field("action", "restore").pairs((1..=PAIRS).map(|contact| (contact, 9001)));
    let labelled = (1..=PAIRS).fold(job("labelled").field("action", "restore"), |job, contact| {
        let (from, to) = (contact.to_string(), json!([{"id": "9002"}]));
        job.input(json!({"from": {"id": from}, "to": to, "types": label}))
    });
    let removal = job("removal").pairs((1..=PAIRS).map(|contact| (contact, 9001)));
    for (job, pairs_after) in [(plain, PAIRS), (labelled, 2 * PAIRS), (removal, PAIRS)] {
        let outcome = answer(&simulator, &job).await?;
        assert_eq!((outcome.num_pairs, outcome.num_errors), (PAIRS, 0), "{:?}", outcome.errors.first());
        assert_eq!(pairs(&simulator).await?.len() as u64, pairs_after);
    }
    Ok(())
}
