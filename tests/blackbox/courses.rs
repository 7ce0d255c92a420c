//! `archive` with jobs that look first: a plan, all associations of a record, a restore.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use harness::simulator::SimulatorProcess;
use harness::{Job, Outcome, Status, Worker, job};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

const LIMIT: Duration = Duration::from_secs(60);

async fn answer(simulator: &SimulatorProcess, job: &Job) -> Result<Outcome> {
    let mut command = Worker::command()?;
    command.arg("archive").env("ARCHIVER__HUBSPOT__BASE_URL", simulator.uri());
    command.env("ARCHIVER__HUBSPOT__ACCESS_TOKEN", "pat-of-the-courses");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    stdin.write_all(format!("{}\n", job.to_json()).as_bytes()).await?;
    drop(stdin);
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.context("it did not end")??;
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().next().with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Outcome::from_json(line)
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
