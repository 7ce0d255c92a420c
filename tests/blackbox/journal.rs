//! The way back: what was removed with the journal on, by workers that are killed amid it, is there again after an undo,
//! pair by pair and label by label.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::worker::WorkerBuilder;
use harness::{Message, Outcome, Status, Until, Worker};
use serde_json::{Value, json};

use crate::stage::{JOBS, RESULTS, Stage, clean, stop};

const LONG: Duration = Duration::from_secs(90);
/// Contacts of which each has one company.
const CONTACTS: u64 = 400;
/// Those from here on have labels beside the plain association.
const LABELLED: u64 = 201;
/// Of those from here on only one label is removed.
const UNLABELLED: u64 = 301;

fn company(contact: u64) -> u64 {
    9_000 + contact % 40
}

/// Who is associated with whom before anything is removed.
async fn associate(stage: &Stage) -> Result<Value> {
    let label = |id: u64| json!({"associationCategory": "USER_DEFINED", "associationTypeId": id});
    let seeds = (1..=CONTACTS).map(|contact| {
        let types = match contact {
            LABELLED.. if contact % 3 == 0 => vec![label(37), label(38)],
            LABELLED.. => vec![label(37)],
            _ => vec![],
        };
        json!({"from": "contacts", "to": "companies", "fromIds": contact, "toIds": company(contact), "types": types})
    });
    stage.simulator.associate(&seeds.collect()).await?;
    // Nobody asks for these.
    stage
        .simulator
        .associate(&json!([{"from": "contacts", "to": "companies", "fromIds": "5001-5040", "toIds": "9001"}]))
        .await?;
    stage.simulator.get("/_sim/associations").await
}

fn jobs() -> Vec<Message> {
    let job = |contact: u64| {
        let mut input = json!({"from": {"id": contact.to_string()}, "to": [{"id": company(contact).to_string()}]});
        if contact >= UNLABELLED {
            input["types"] = json!([{"associationCategory": "USER_DEFINED", "associationTypeId": 37}]);
        }
        Message::json(&json!({
            "jobId": format!("remove-{contact}"), "group": "spring-cleaning",
            "fromObjectType": "contacts", "toObjectType": "companies", "inputs": [input],
        }))
    };
    (1..=CONTACTS).map(job).collect()
}

/// A command with the settings of the worker.
async fn command(stage: &Stage, settings: &[(&str, &str)], arguments: &[&str]) -> Result<String> {
    let mut command = Worker::command()?;
    command.args(arguments).env("ARCHIVER__AMQP__URI", &stage.uri);
    for (key, value) in settings {
        command.env(format!("ARCHIVER__{}", key.to_uppercase().replace('.', "__")), value);
    }
    let output = command.stdin(Stdio::null()).output().await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{arguments:?}: {said}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Outcomes until each of these many jobs has one; a killed worker's may come twice.
async fn outcomes(stage: &Stage, of: usize) -> Result<Vec<Outcome>> {
    let (mut seen, mut outcomes) = (BTreeSet::new(), Vec::new());
    while seen.len() < of {
        let messages = stage.client.collect(RESULTS, Until::Count(of - seen.len()), LONG).await?;
        ensure!(!messages.is_empty(), "{} of {of} jobs have no outcome", of - seen.len());
        for message in &messages {
            let outcome = Outcome::from_message(message)?;
            seen.insert(outcome.job_id.clone());
            outcomes.push(outcome);
        }
    }
    Ok(outcomes)
}

/// Outcomes of this many restores. Copies of what a killed worker had answered may still come before them.
async fn restored(stage: &Stage, of: usize) -> Result<Vec<Outcome>> {
    let mut restored = Vec::new();
    while restored.len() < of {
        let told = stage.outcomes(of - restored.len(), LONG).await?;
        ensure!(!told.is_empty(), "{} of {of} restores have no outcome", of - restored.len());
        restored.extend(told.into_iter().filter(|outcome| outcome.action == "restore"));
    }
    Ok(restored)
}

async fn removed_and_restored(name: &str, settings: &[(&str, &str)]) -> Result<()> {
    let stage = Stage::set(name, &["--limit", "off", "--latency", "150ms"]).await?;
    let before = associate(&stage).await?;
    stage.declare().await?;
    stage.client.publish(JOBS, jobs()).await?;
    let builder = settings
        .iter()
        .fold(stage.worker().set("amqp.lease", false), |builder: WorkerBuilder, (key, value)| builder.set(key, value));
    let slow =
        builder.clone().set("rate_limit.requests", 4).set("rate_limit.interval", "1s").set("batch.max_pairs", 20);
    let worker = stage.start(&slow).await?;
    stage.outcomes_waiting(60, LONG).await?;
    worker.kill9().await?;
    let worker = stage.start(&builder).await?;
    let told = outcomes(&stage, CONTACTS as usize).await?;
    let wrong = told.iter().find(|outcome| outcome.status != Status::Archived || !outcome.journaled);
    ensure!(wrong.is_none(), "{wrong:?}");
    let removed = stage.simulator.get("/_sim/associations").await?;
    assert_ne!(removed, before);

    let listed = command(&stage, settings, &["journal", "list", "--json"]).await?;
    let listed: Vec<Value> = listed.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let archived: u64 = listed.iter().filter_map(|entry| entry["numArchived"].as_u64()).sum();
    let pairs: u64 = listed.iter().filter_map(|entry| entry["numPairs"].as_u64()).sum();
    assert!(archived >= 300 && pairs >= CONTACTS, "{archived} archived of {pairs} in the journal");
    let rows = command(&stage, settings, &["journal", "export", "--csv", "--job-id", "remove-203"]).await?;
    assert!(rows.contains("remove-203") && rows.contains("spring-cleaning") && !rows.contains("remove-204"), "{rows}");

    // Given twice, as after an interruption; the second time there is nothing left to do.
    for _ in 0..2 {
        let undone = command(&stage, settings, &["undo", "--group", "spring-cleaning", "--yes", "--json"]).await?;
        let undone: Value = serde_json::from_str(&undone)?;
        assert_eq!((&undone["pairs"], &undone["refused"]), (&json!(CONTACTS), &json!(0)), "{undone}");
        let jobs = undone["jobs"].as_u64().context("a number of jobs")?;
        let told = restored(&stage, jobs as usize).await?;
        let wrong = told.iter().find(|outcome| outcome.status != Status::Restored);
        ensure!(wrong.is_none(), "{wrong:?}");
        assert!(told.iter().all(|outcome| outcome.group.as_deref() == Some("undo-spring-cleaning")));
        assert_eq!(stage.simulator.get("/_sim/associations").await?, before, "HubSpot is not as it was");
    }
    clean(&stage.simulator.state().await?);
    stop(&worker).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_removed_is_restored_from_the_stream() -> Result<()> {
    removed_and_restored("undo-stream", &[("safety.journal", "stream")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_removed_is_restored_from_the_file() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("journal.ndjson").display().to_string();
    removed_and_restored("undo-file", &[("safety.journal", "file"), ("safety.journal_file", &file)]).await
}

/// Nothing goes while it cannot be recorded, and all of it goes when it can.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_place_for_the_journal_nothing_is_archived() -> Result<()> {
    let stage = Stage::set("undo-nowhere", &["--limit", "off"]).await?;
    let before = associate(&stage).await?;
    let directory = tempfile::tempdir()?;
    let place = directory.path().join("missing");
    let settings =
        [("safety.journal", "file".to_owned()), ("safety.journal_file", place.join("j").display().to_string())];
    let builder = settings.iter().fold(stage.worker(), |builder, (key, value)| builder.set(key, value));
    let worker = stage.start(&builder).await?;
    stage.client.publish(JOBS, jobs()).await?;
    harness::eventually(LONG, "the pause, with its mend", async || {
        let (code, body) = worker.readiness().await?;
        Ok((code == 503 && body.to_string().contains("create the directory")).then_some(()))
    })
    .await?;
    assert_eq!(stage.simulator.get("/_sim/associations").await?, before);
    std::fs::create_dir(&place)?;
    let told = outcomes(&stage, CONTACTS as usize).await?;
    assert!(told.iter().all(|outcome| outcome.status == Status::Archived && outcome.journaled), "{:?}", told[0]);
    stop(&worker).await
}
