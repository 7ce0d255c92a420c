//! `pause` and `resume` against a running service.

use std::time::Duration;

use harness::{SimulatorProcess, Worker, eventually};

use super::program::{bare_ground, run};

const SOON: Duration = Duration::from_secs(60);
const TOKEN: &str = "operators-secret";

#[tokio::test]
async fn an_account_is_paused_and_resumed_in_the_running_service() {
    let (_, uri) = bare_ground("pause").await;
    let simulator = SimulatorProcess::start(&[]).await.unwrap();
    let worker = Worker::builder()
        .set("amqp.uri", &uri)
        .set("hubspot.base_url", simulator.uri())
        .set("hubspot.access_token", "pat")
        .set("admin.token", TOKEN)
        .start()
        .unwrap();
    worker.ready(SOON).await.unwrap();
    let listen = worker.admin().strip_prefix("http://").unwrap();
    let settings = [("admin.listen", listen), ("admin.token", TOKEN)];

    let paused = run(&["pause", "0"], &settings).await;
    // What a script captures is the answer; nothing stands beside it.
    assert!(paused.fine().contains("until it is resumed, also after a restart"), "{paused:?}");
    assert!(paused.stdout.contains("paused = true") && paused.stderr.is_empty(), "{paused:?}");
    assert_eq!(worker.readiness().await.unwrap().0, 503, "its only account is paused");
    let resumed = run(&["resume", "0", "--json"], &settings).await;
    assert_eq!(resumed.lines()[0]["paused"], false);
    worker.ready(SOON).await.unwrap();

    let unknown = run(&["pause", "4711"], &settings).await;
    assert!(unknown.error(1).contains("no such account"), "{unknown:?}");
    let lane = run(&["pause", "0", "--lane", "contacts/companies"], &settings).await;
    assert!(lane.error(1).contains("no jobs of the lane contacts/companies"), "{lane:?}");
    let approved = run(&["approve", "0"], &settings).await;
    assert!(approved.error(1).contains("safety.max_pairs is not set"), "{approved:?}");
    let stranger = run(&["pause", "0"], &[("admin.listen", listen), ("admin.token", "guessed-secret")]).await;
    assert!(stranger.error(1).contains("(401)") && !stranger.stderr.contains("guessed"), "{stranger:?}");
}

#[tokio::test]
async fn a_service_that_has_not_reached_its_broker_says_why() {
    let worker = Worker::builder()
        .set("amqp.uri", "amqp://guest:guest@127.0.0.1:1/%2f")
        .config("[[hubspot.accounts]]\nportal_id = 4711\naccess_token = \"pat\"\n")
        .set("admin.token", TOKEN)
        .start()
        .unwrap();
    let reasons = eventually(SOON, "the cause on /readyz", async || {
        let (code, body) = worker.readiness().await?;
        assert_eq!(code, 503);
        let reasons = body["reasons"].to_string();
        let has_cause =
            reasons.contains("no jobs come in from the broker since") && reasons.contains(": the broker at");
        Ok(has_cause.then_some(reasons))
    })
    .await
    .unwrap();
    assert!(reasons.contains("refused") && reasons.contains("amqp.uri"), "{reasons}");
    assert!(reasons.contains("tried again every 30 s or sooner, until amqp.connect_timeout is over"), "{reasons}");
    let status = worker.status().await.unwrap();
    assert!(status["at"].as_str() >= status["startedAt"].as_str(), "{status}");
    assert_eq!(status["accounts"][0]["portalId"], 4711);
    assert!(status["broker"]["consumingTrouble"].is_string(), "{status}");

    let settings = [("admin.listen", worker.admin().strip_prefix("http://").unwrap()), ("admin.token", TOKEN)];
    let paused = run(&["pause", "4711"], &settings).await;
    let error = paused.error(1);
    assert!(error.contains("(503)") && error.contains("has not started yet"), "{error}");
    let unknown = run(&["pause", "4712"], &settings).await;
    assert!(unknown.error(1).contains("no such account"), "{unknown:?}");
}

#[tokio::test]
async fn a_service_that_is_not_there_is_named_with_its_address() {
    let ran = run(&["resume", "0"], &[("admin.listen", "0.0.0.0:1"), ("admin.token", TOKEN)]).await;
    let error = ran.error(1);
    assert!(error.contains("127.0.0.1:1") && error.contains("admin.listen"), "{error}");
    assert!(!error.contains(TOKEN), "{error}");
}
