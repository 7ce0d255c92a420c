//! The end of the demo: a removal that is planned, recorded, proven and undone, after which HubSpot is as it was before.

use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::{Context, Result, ensure};
use harness::{SimulatorProcess, Worker};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::screen::{Screen, grouped};

/// Contacts of one company.
const CONTACTS: u64 = 500;

/// Whether HubSpot is afterwards exactly as it was.
pub async fn show(screen: Screen) -> Result<bool> {
    let links = format!("contacts:1-{CONTACTS}=companies:9001");
    let label = json!({"from": "contacts", "to": "companies", "typeId": 37, "label": "Billing contact", "inverseLabel": "Billed by"});
    let far_side = SimulatorProcess::start(&["--associate", &links, "--label", &label.to_string()]).await?;
    let labelled = json!({"associationCategory": "USER_DEFINED", "associationTypeId": 37});
    let labels =
        json!([{"from": "contacts", "to": "companies", "fromIds": "1-100", "toIds": [9001], "types": [labelled]}]);
    far_side.associate(&labels).await?;
    let place = tempfile::tempdir().context("no place for the journal")?;
    let demo = Demo { far_side: &far_side, place: place.path() };

    println!();
    println!("{}", screen.strong("the way back: every contact of a company is planned, removed, proven, and restored"));
    let before = demo.associations().await?;
    let job = json!({"jobId": "all", "group": "demo", "fromObjectType": "companies", "toObjectType": "contacts",
        "inputs": [{"from": {"id": "9001"}, "to": "all"}]})
    .to_string();
    let plan = one(demo.archive(&["--plan"], &job).await?)?;
    let entries = plan["plan"].as_array().map(Vec::as_slice).unwrap_or_default();
    let labels = entries.iter().filter(|entry| entry["warnings"].as_array().is_some_and(|all| !all.is_empty())).count();
    let untouched = demo.associations().await? == before;
    line("--plan", &format!("{} pairs would go, {labels} of them with a label", grouped(entries.len() as u64)));
    let outcome = one(demo.archive(&[], &job).await?)?;
    let gone = demo.associations().await?.as_array().is_some_and(Vec::is_empty);
    let told = |name: &str| outcome[name].as_bool().unwrap_or(false);
    let (journaled, verified) = (told("journaled"), told("verified"));
    line(
        "archive",
        &format!("{} archived, recorded before: {journaled}, read back and gone: {verified}", outcome["numArchived"]),
    );
    let jobs = demo.run(&["undo", "--group", "demo", "--print"], "").await?;
    let undone = demo.archive(&[], &String::from_utf8(jobs.stdout).context("jobs are text")?).await?;
    let same = demo.associations().await? == before;
    let restored = undone.iter().filter_map(|outcome| outcome["numRestored"].as_u64()).sum();
    line("undo", &format!("{} restored with their labels", grouped(restored)));
    let right = untouched && gone && journaled && verified && same;
    match right {
        true => println!("  {}", screen.good("HubSpot is exactly as it was, pair by pair and label by label")),
        false => println!("  {}", screen.bad("HubSpot is not as it was")),
    }
    Ok(right)
}

fn one(outcomes: Vec<Value>) -> Result<Value> {
    ensure!(outcomes.len() == 1, "one job has {} outcomes", outcomes.len());
    outcomes.into_iter().next().context("no outcome")
}

fn line(command: &str, what: &str) {
    println!("  {command:<8} {what}");
}

struct Demo<'a> {
    far_side: &'a SimulatorProcess,
    place: &'a Path,
}

impl Demo<'_> {
    async fn associations(&self) -> Result<Value> {
        self.far_side.get("/_sim/associations").await
    }

    /// The outcomes of some jobs.
    async fn archive(&self, flags: &[&str], jobs: &str) -> Result<Vec<Value>> {
        let output = self.run(&[&["archive", "-", "--yes"], flags].concat(), jobs).await?;
        serde_json::Deserializer::from_slice(&output.stdout).into_iter().collect::<Result<_, _>>().context("outcomes")
    }

    async fn run(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let mut command = Worker::command()?;
        let journal = self.place.join("journal.ndjson");
        command
            .args(arguments)
            .env("ARCHIVER__HUBSPOT__BASE_URL", self.far_side.uri())
            .env("ARCHIVER__HUBSPOT__ACCESS_TOKEN", "pat-demo")
            .env("ARCHIVER__SAFETY__JOURNAL", "file")
            .env("ARCHIVER__SAFETY__JOURNAL_FILE", journal)
            .env("ARCHIVER__SAFETY__VERIFY", "true")
            .env("ARCHIVER__LOG__FILTER", "warn");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("association-archiver could not be started")?;
        let mut stdin = child.stdin.take().context("no stdin")?;
        stdin.write_all(input.as_bytes()).await.context("the job could not be handed over")?;
        drop(stdin);
        let output = child.wait_with_output().await?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`{}` ended with {}: {complaint}", arguments.join(" "), output.status);
        Ok(output)
    }
}
