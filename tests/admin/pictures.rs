//! The pictures of the documents, taken of a real run: `make pictures`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use harness::{Broker, Browser, Message, Scheme, Until, Worker, eventually, job};
use serde_json::json;

use crate::stage::{JOBS, RESULTS, Stage};

/// Until a minute of traffic shows in the charts, on a machine with other work.
const LIMIT: Duration = Duration::from_secs(240);
const WIDTH: u32 = 1_100;
const PHONE: u32 = 390;
/// Pixels: what a page of documents can bear.
const MOST_HEIGHT: u32 = 1_500;

const ACCOUNTS: &str = r#"
[rate_limit]
requests = 20
daily = 40_000
[[hubspot.accounts]]
portal_id = 4711
access_token_file = "token-of-portal-4711"
[[hubspot.accounts]]
portal_id = 815
access_token_file = "token-of-portal-815"
rate_limit = { daily = 1_200 }
"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it writes into the documents: make pictures"]
async fn the_page_is_pictured_idle_running_and_in_trouble() -> Result<()> {
    let place = PathBuf::from(std::env::var_os("PICTURES").context("PICTURES names no directory: make pictures")?);
    std::fs::create_dir_all(&place)?;
    let stage = Stage::set("pictures", &["--bad-id", "1313", "--bad-mode", "400-named", "--latency", "80ms"]).await?;
    let accounts = json!({
        "everyAccount": {"limit": "20/10s"},
        "accounts": {"4711": {"tokens": ["pat-one"]}, "815": {"tokens": ["pat-two"]}},
    });
    stage.simulator.configure(&accounts).await?;
    let worker = stage.worker_without_account().config(ACCOUNTS);
    let worker = worker.file("token-of-portal-4711", "pat-one").file("token-of-portal-815", "pat-two");
    let worker = stage.start(&worker).await?;
    worker.ready(LIMIT).await?;
    let mut browser = Browser::start().await?;
    let depths_known =
        async |worker: &Worker| Ok(worker.status().await?["backlog"]["drainSeconds"].is_number().then_some(()));
    eventually(LIMIT, "a worker that knows that there is nothing to do", async || depths_known(&worker).await).await?;
    picture(&mut browser, &worker, (WIDTH, Scheme::Light), &place.join("idle.png")).await?;

    stage.client.publish(JOBS, traffic()?).await?;
    let mut answered = 0;
    eventually(LIMIT, "a minute of traffic", async || {
        answered +=
            stage.client.collect(RESULTS, Until::Idle(Duration::from_secs(1)), Duration::from_secs(3)).await?.len();
        Ok((answered > 14_000).then_some(()))
    })
    .await?;
    picture(&mut browser, &worker, (WIDTH, Scheme::Light), &place.join("running.png")).await?;

    let refused = json!({"accounts": {
        "815": {"tokens": ["another-token"]},
        "4711": {"tokens": ["pat-one"], "missingScopes": {"deals": ["crm.objects.deals.write"]}},
    }});
    stage.simulator.configure(&refused).await?;
    let full = r#"{"max-length": 100, "overflow": "reject-publish"}"#;
    let vhost = stage.uri.rsplit('/').next().context("no virtual host")?;
    Broker::shared().await?.ctl(&["set_policy", "-p", vhost, "full", "results$", full, "--apply-to", "queues"]).await?;
    stage.client.publish(JOBS, traffic()?).await?;
    eventually(LIMIT, "trouble of three kinds", async || {
        let status = worker.status().await?;
        let unpublished = status["backlog"]["jobsUnpublished"].as_u64() > Some(500);
        let kinds = status["paused"].to_string();
        let parked = status["backlog"]["jobsParked"].as_u64() > Some(500);
        let paused = kinds.contains("unauthorized") && kinds.contains("missing_scopes");
        let refused = format!("{}{}", status["reasons"], status["warnings"]).contains("the broker refuses messages");
        Ok((unpublished && parked && paused && refused).then_some(()))
    })
    .await?;
    let screens = [("trouble", WIDTH, Scheme::Light), ("dark", WIDTH, Scheme::Dark), ("phone", PHONE, Scheme::Light)];
    for (name, width, scheme) in screens {
        picture(&mut browser, &worker, (width, scheme), &place.join(format!("{name}.png"))).await?;
    }
    Ok(())
}

/// Two portals, three lanes, a bad record now and then, and a message that is no job.
fn traffic() -> Result<Vec<Message>> {
    let mut messages = vec![Message::json(&json!({"portalId": 4711, "simulate": true})).id("row-17")?];
    for n in 1..=14_000_u64 {
        let (to, from) = (if n % 3 == 0 { "deals" } else { "companies" }, if n % 900 == 0 { 1_313 } else { n });
        messages.push(job(&format!("crm-sync-{n:05}")).portal(4_711).types("contacts", to).pair(from, n).to_message()?);
        if n % 2 == 0 {
            let tickets = job(&format!("cleanup-{n:05}")).portal(815).types("tickets", "contacts");
            messages.push(tickets.pair(n, n + 1).to_message()?);
        }
    }
    Ok(messages)
}

async fn picture(browser: &mut Browser, worker: &Worker, (width, scheme): (u32, Scheme), file: &Path) -> Result<()> {
    browser.screen(width, 800, scheme).await?;
    browser.open(&format!("{}/", worker.admin())).await?;
    browser.until(LIMIT, "document.querySelectorAll('.account').length === 2").await?;
    browser.picture(file, MOST_HEIGHT).await
}
