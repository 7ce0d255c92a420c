//! `amqp.exchange = ""`: all goes through the default exchange, by the names of the queues, and nothing is bound.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::lapin::options::{BasicGetOptions, BasicRejectOptions};
use harness::worker::{Worker, WorkerBuilder};
use harness::{Broker, Message, Outcome, Rights, Status, Until, eventually, job};

use crate::stage::{DEAD_LETTERS, JOBS, START_LIMIT, Stage, clean, delay_queue, stop};

const LIMIT: Duration = Duration::from_secs(60);
const EXCHANGE: &str = "association-archiver";
const SETTINGS: &str = r#"
[amqp]
exchange = ""
[[hubspot.accounts]]
portal_id = 1
access_token = "pat-1"
[[hubspot.accounts]]
portal_id = 2
access_token = "pat-2"
"#;
const JOB: &str = r#"{"portalId":1,"fromObjectType":"contacts","toObjectType":"companies","inputs":[{"from":{"id":"1"},"to":[{"id":"2"}]}]}"#;
const TOKENS: [&str; 6] = ["--limit", "off", "--token", "1=pat-1", "--token", "2=pat-2"];
/// All but the named exchange, which no one may use here.
const RIGHTS: Rights<'_> = Rights {
    configure: r"^association-archiver\..*$",
    write: r"^(amq\.default|association-archiver\..*)$",
    read: r"^association-archiver\..*$",
};

/// Lease, shards, journal, delays and dead letters, by a user who may write to no other exchange.
#[tokio::test(flavor = "multi_thread")]
async fn all_that_the_worker_publishes_goes_by_the_names_of_queues() -> Result<()> {
    let (stage, settings) = ground("default-exchange", RIGHTS).await?;
    let sharded = settings.clone().set("amqp.shards", "per-account").set("safety.journal", "stream");
    let worker = stage.start_sharded(&sharded).await?;
    worker.ready(START_LIMIT).await?;

    // Moved to its account's shard, archived and recorded.
    stage.client.publish(JOBS, [job("shared").portal(2).pair(1, 1).to_message()?]).await?;
    let told = one(&stage).await?;
    ensure!(told.job_id == "shared" && told.status == Status::Archived && told.journaled, "{told:?}");
    // Straight into a shard.
    stage.client.publish(&format!("{JOBS}.1"), [job("own").portal(1).pair(2, 1).to_message()?]).await?;
    assert_eq!(one(&stage).await?.job_id, "own");
    // No job.
    stage.client.publish(JOBS, [Message::new("no job").id("wrong")?]).await?;
    assert_eq!(one(&stage).await?.status, Status::Rejected);
    assert_eq!(stage.client.collect(DEAD_LETTERS, Until::Count(1), LIMIT).await?.len(), 1);
    // As if parked: a delay queue gives it back to the jobs queue.
    let mut parked = job("parked").portal(1).pair(3, 1).to_message()?;
    parked.properties = parked.properties.with_expiration("100".into());
    stage.client.publish(&delay_queue("10s"), [parked]).await?;
    assert_eq!(one(&stage).await?.job_id, "parked");
    // A queue that somebody deletes is made again.
    stage.client.delete(DEAD_LETTERS).await?;
    stage.client.publish(JOBS, [Message::new("no job either").id("wrong too")?]).await?;
    assert_eq!(one(&stage).await?.status, Status::Rejected);
    eventually(LIMIT, "the dead letter", async || Ok((stage.client.count_now(DEAD_LETTERS).await? == 1).then_some(())))
        .await?;
    assert!(!stage.client.exchange_exists(EXCHANGE).await?);
    let refused = worker.stderr().lines().find(|line| line.contains("REFUSED")).map(str::to_owned);
    assert_eq!(refused, None, "the worker tried what the broker refuses");
    clean(&stage.simulator.state().await?);
    stop(&worker).await?;

    // What the broker gives up finds the dead letters, too.
    stage.client.publish(JOBS, [job("given up").portal(1).pair(4, 1).to_message()?]).await?;
    let channel = stage.client.channel().await?;
    let got =
        eventually(LIMIT, "the job", async || Ok(channel.basic_get(JOBS.into(), BasicGetOptions::default()).await?))
            .await?;
    got.delivery.reject(BasicRejectOptions { requeue: false }).await?;
    eventually(LIMIT, "the second dead letter", async || {
        Ok((stage.client.count_now(DEAD_LETTERS).await? == 2).then_some(()))
    })
    .await?;

    // Nothing needs to be declared any more.
    let broker = Broker::shared().await?;
    broker.set_rights("default-exchange", "default-exchange", Rights { configure: "^$", ..RIGHTS }).await?;
    let worker = sharded.set("amqp.declare_topology", false).start()?;
    worker.ready(START_LIMIT).await?;
    stage.client.publish(JOBS, [job("last").portal(1).pair(5, 1).to_message()?]).await?;
    assert_eq!(one(&stage).await?.job_id, "last");
    stop(&worker).await
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_know_the_default_exchange() -> Result<()> {
    let (stage, settings) = ground("default-commands", RIGHTS).await?;
    let missing = command(&stage, &["enqueue", "-", "--yes"], JOB).await?;
    ensure!(missing.contains(&format!("queue {JOBS:?} does not exist: start the worker once")), "{missing}");
    let worker = stage.start(&settings).await?;
    worker.ready(START_LIMIT).await?;

    let checked = command(&stage, &["check"], "").await?;
    ensure!(
        checked.contains("the default exchange") && !checked.contains("exchange association-archiver "),
        "{checked}"
    );
    ensure!(!checked.contains("\nwrong"), "{checked}");
    let followed = command(&stage, &["enqueue", "-", "--yes", "--follow"], JOB).await?;
    ensure!(followed.contains("--follow needs an exchange that its queue can be bound to"), "{followed}");
    assert_eq!(stage.client.count(JOBS).await?, 0, "nothing is sent");
    for arguments in [&["enqueue", "-", "--yes"][..], &["enqueue", "-", "--yes", "--background"][..]] {
        let said = command(&stage, arguments, JOB).await?;
        let told = one(&stage).await.with_context(|| said)?;
        assert_eq!(told.status, Status::Archived);
    }
    stop(&worker).await
}

async fn ground(name: &'static str, rights: Rights<'_>) -> Result<(Stage, WorkerBuilder)> {
    let stage = Stage::set(name, &TOKENS).await?;
    let broker = Broker::shared().await?;
    broker.add_user(name, "secret", name, rights).await?;
    let uri = broker.uri_as(name, "secret", name);
    let settings = stage.worker_without_account().config(SETTINGS).set("amqp.uri", uri);
    Ok((stage, settings))
}

async fn one(stage: &Stage) -> Result<Outcome> {
    let mut outcomes = stage.outcomes(1, LIMIT).await?;
    ensure!(outcomes.len() == 1, "no outcome within {LIMIT:?}");
    Ok(outcomes.remove(0))
}

/// What a command says, however it ends.
async fn command(stage: &Stage, arguments: &[&str], input: &str) -> Result<String> {
    let mut command = Worker::command()?;
    command.args(arguments).env("ARCHIVER__AMQP__URI", &stage.uri).env("ARCHIVER__AMQP__EXCHANGE", "amq.default");
    command
        .env("ARCHIVER__HUBSPOT__ACCOUNTS__0__PORTAL_ID", "1")
        .env("ARCHIVER__HUBSPOT__ACCOUNTS__0__ACCESS_TOKEN", "pat-1");
    command.env("ARCHIVER__HUBSPOT__BASE_URL", stage.simulator.uri());
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), input)?;
    command.stdin(Stdio::from(file.reopen()?));
    let output = command.output().await?;
    Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}
