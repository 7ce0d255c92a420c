//! `batch.fold`: pairs are sent from the side that takes fewer requests, and nobody is told what is not so.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use harness::worker::WorkerBuilder;
use harness::{Outcome, Status};
use serde_json::Value;

use crate::stage::{JOBS, Stage, clean, ids, number, single_pairs, stop};

/// The witnesses of a portal that is not two-way are read three times within some 25 seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// Long enough to take all jobs in, so that what is counted is how requests are filled.
fn folding(stage: &Stage) -> WorkerBuilder {
    stage.worker().set("batch.fold.0", "contacts/companies").set("batch.linger", "10s")
}

/// The pairs that are there, from contacts to companies.
async fn pairs(stage: &Stage) -> Result<Vec<Value>> {
    let listed = stage.simulator.get("/_sim/associations?from=contacts&to=companies").await?;
    listed.as_array().cloned().context("no list")
}

async fn outcomes(stage: &Stage, count: u64, builder: &WorkerBuilder) -> Result<(Vec<Outcome>, String)> {
    stage.declare().await?;
    stage.client.publish(JOBS, single_pairs("job", 1..=count)?).await?;
    let worker = stage.start(builder).await?;
    let outcomes = stage.outcomes(count as usize, LIMIT).await?;
    let ids: BTreeMap<&str, Status> = outcomes.iter().map(|one| (one.job_id.as_str(), one.status)).collect();
    assert_eq!(ids.len(), count as usize, "an outcome for each");
    assert!(self::ids("job", count).iter().all(|id| ids.contains_key(id.as_str())));
    stop(&worker).await?;
    Ok((outcomes, worker.stderr()))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_contacts_of_one_company_take_a_handful_of_requests() -> Result<()> {
    let stage = Stage::set("folded", &["--limit", "off", "--associate", "contacts:1-2000=companies:1"]).await?;
    let (outcomes, _) = outcomes(&stage, 2_000, &folding(&stage)).await?;
    assert!(outcomes.iter().all(|one| one.status == Status::Archived && one.num_archived == 1));
    assert!(pairs(&stage).await?.is_empty());
    let state = stage.simulator.state().await?;
    clean(&state);
    let requests = number(&state, "/requests");
    assert!(requests <= 6, "{requests} requests instead of 20: {state}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_portal_that_is_not_two_way_all_goes_from_its_own_side_in_the_end() -> Result<()> {
    let there = ["--limit", "off", "--one-way", "--associate", "contacts:1-500=companies:1"];
    let stage = Stage::set("not-two-way", &there).await?;
    let (outcomes, log) = outcomes(&stage, 500, &folding(&stage)).await?;
    assert!(outcomes.iter().all(|one| one.status == Status::Archived && one.num_archived == 1));
    assert!(pairs(&stage).await?.is_empty(), "what is told is so");
    assert!(log.contains("not folded any more"), "{log}");
    clean(&stage.simulator.state().await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_names_nothing_is_searched_from_the_own_side_alone() -> Result<()> {
    let bad = ["--limit", "off", "--bad-id", "250", "--bad-mode", "400-unnamed"];
    let stage = Stage::set("folded-bad", &[&bad[..], &["--associate", "contacts:1-500=companies:1"]].concat()).await?;
    let (outcomes, _) = outcomes(&stage, 500, &folding(&stage)).await?;
    for outcome in outcomes {
        let is_bad = outcome.job_id == "job-249";
        assert_eq!(outcome.status, if is_bad { Status::Failed } else { Status::Archived }, "{outcome:?}");
        for error in &outcome.errors {
            let id = |end: &Option<harness::outcome::Record>| end.as_ref().map(|record| record.id.clone());
            let pair = (id(&error.from), id(&error.to));
            assert_eq!(pair, (Some("250".to_owned()), Some("1".to_owned())), "in the job's direction: {outcome:?}");
        }
    }
    assert_eq!(pairs(&stage).await?.len(), 1);
    clean(&stage.simulator.state().await?);
    Ok(())
}
