//! Tokens that are wrong, renewed, rotated, or another portal's: jobs wait, secrets stay secret, all mends itself.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;
use harness::{Status, Worker, eventually};
use serde_json::json;

use crate::stage::{
    JOBS, RESULTS, Stage, archived_once, clean, ids, keeps_secrets, nothing_lost, number, single_pairs, stop,
};

const LIMIT: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_keeps_the_jobs_until_its_file_is_corrected() -> Result<()> {
    const COUNT: u64 = 500;
    const WRONG: &str = "pat-na1-the-wrong-one";
    const RIGHT: &str = "pat-na1-the-right-one";
    let stage = Stage::set("bad-token", &["--token", &format!("4711={RIGHT}")]).await?;
    stage.declare().await?;
    let before = number(&stage.simulator.state().await?, "/requests");
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("token");
    fs::write(&file, format!("{WRONG}\n"))?;
    stage.client.publish(JOBS, single_pairs("job", 1..=COUNT)?).await?;
    let builder = stage.worker_without_account().set("hubspot.access_token_file", file.display());
    let worker = stage.start(&builder).await?;
    not_ready(&worker, "unauthorized").await?;
    // Five seconds from the first request to the last that is counted.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let requests = number(&stage.simulator.state().await?, "/requests") - before;
    eprintln!("{requests} requests in the first five seconds");
    assert!((1..=20).contains(&requests), "{requests} requests");
    assert_eq!(stage.client.count(RESULTS).await?, 0);

    fs::write(&file, format!("{RIGHT}\n"))?;
    let report = stage.tally(&ids("job", COUNT), LIMIT).await?;
    report.exactly_once()?;
    assert_eq!(report.by_status, BTreeMap::from([(Status::Archived, COUNT as usize)]));
    worker.ready(LIMIT).await?;
    keeps_secrets(&worker, &[WRONG, RIGHT]).await?;
    stop(&worker).await?;
    keeps_secrets(&worker, &[WRONG, RIGHT]).await?;
    archived_once(&stage.simulator.state().await?, COUNT);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn oauth_tokens_are_renewed_and_rotated_ones_written_back() -> Result<()> {
    const SECRET: &str = "client-secret-of-the-app";
    const REFRESH: &str = "na1-first-refresh-token";
    let stage = Stage::set("oauth", &[]).await?;
    let grant = json!({"accounts": {"4711": {"oauth": {
        "clientId": "app", "clientSecret": SECRET, "refreshToken": REFRESH, "rotate": true, "expiresIn": "4s",
    }}}});
    stage.simulator.configure(&grant).await?;
    let directory = tempfile::tempdir()?;
    let (secret, refresh) = (directory.path().join("secret"), directory.path().join("refresh"));
    fs::write(&secret, SECRET)?;
    fs::write(&refresh, REFRESH)?;
    let account = format!(
        "[[hubspot.accounts]]\nportal_id = 4711\noauth.client_id = \"app\"\noauth.client_secret_file = {:?}\n\
         oauth.refresh_token_file = {:?}\n",
        secret, refresh
    );
    let builder = stage.worker_without_account().config(&account);
    let worker = stage.start(&builder).await?;
    // A token is renewed when there is something to send with it.
    let mut waves = 0;
    let begun = Instant::now();
    while number(&stage.simulator.state().await?, "/accounts/0/tokenRefreshes") < 3 {
        assert!(begun.elapsed() < LIMIT, "the token was not renewed");
        let (name, first) = (format!("wave-{waves}"), waves * 20 + 1);
        stage.client.publish(JOBS, single_pairs(&name, first..=first + 19)?).await?;
        let report = stage.tally(&ids(&name, 20), LIMIT).await?;
        report.exactly_once()?;
        assert_eq!(report.by_status, BTreeMap::from([(Status::Archived, 20)]));
        waves += 1;
    }
    let kept = fs::read_to_string(&refresh)?;
    assert!(kept.trim().starts_with("refresh-4711-"), "{kept}");
    let secrets = [SECRET, REFRESH, "refresh-4711-", "oauth-4711-"];
    keeps_secrets(&worker, &secrets).await?;
    stop(&worker).await?;
    archived_once(&stage.simulator.state().await?, waves * 20);

    // The rotated token is what the next process signs in with.
    let worker = stage.start(&builder).await?;
    stage.client.publish(JOBS, single_pairs("next", 1_000_001..=1_000_010)?).await?;
    stage.tally(&ids("next", 10), LIMIT).await?.exactly_once()?;
    keeps_secrets(&worker, &secrets).await?;
    stop(&worker).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_refresh_pauses_the_account_until_it_is_mended() -> Result<()> {
    let stage = Stage::set("refresh-refused", &[]).await?;
    let grant = |refresh: &str| json!({"accounts": {"4711": {"oauth": {"clientId": "app", "clientSecret": "s-e-c-r-e-t", "refreshToken": refresh}}}});
    stage.simulator.configure(&grant("na1-the-new-grant")).await?;
    let directory = tempfile::tempdir()?;
    let refresh = directory.path().join("refresh");
    fs::write(&refresh, "na1-a-revoked-grant")?;
    let account = format!(
        "[[hubspot.accounts]]\nportal_id = 4711\noauth.client_id = \"app\"\noauth.client_secret = \"s-e-c-r-e-t\"\n\
         oauth.refresh_token_file = {refresh:?}\n"
    );
    let worker = stage.start(&stage.worker_without_account().config(&account)).await?;
    stage.client.publish(JOBS, single_pairs("job", 1..=200)?).await?;
    not_ready(&worker, "refresh_refused").await?;
    assert_eq!(number(&stage.simulator.state().await?, "/requestsByKind/archive"), 0);
    assert_eq!(stage.client.count(RESULTS).await?, 0);
    fs::write(&refresh, "na1-the-new-grant")?;
    stage.tally(&ids("job", 200), LIMIT).await?.exactly_once()?;
    keeps_secrets(&worker, &["s-e-c-r-e-t", "na1-a-revoked-grant", "na1-the-new-grant"]).await?;
    stop(&worker).await
}

/// The worst error there is would be to archive in the wrong portal.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_portal_archives_nothing() -> Result<()> {
    let stage = Stage::set("mismatch", &["--token", "999=pat-of-999"]).await?;
    let account = "[[hubspot.accounts]]\nportal_id = 4711\naccess_token = \"pat-of-999\"\n";
    let worker = stage.start(&stage.worker_without_account().config(account)).await?;
    stage.client.publish(JOBS, single_pairs("job", 1..=300)?).await?;
    not_ready(&worker, "portal_mismatch").await?;
    let status = worker.status().await?.to_string();
    assert!(status.contains("999"), "{status}");
    stop(&worker).await?;
    let state = stage.simulator.state().await?;
    assert_eq!(number(&state, "/requestsByKind/archive"), 0, "{state}");
    clean(&state);
    nothing_lost(&ids("job", 300), &[], &stage.take_waiting(300).await?);
    Ok(())
}

async fn not_ready(worker: &Worker, reason: &str) -> Result<()> {
    eventually(LIMIT, &format!("readiness to be refused for {reason}"), async || {
        let (code, listed) = worker.readiness().await?;
        Ok((code == 503 && listed.to_string().contains(reason)).then_some(()))
    })
    .await
}
