//! The built program from outside: jobs in, outcomes out, against a real RabbitMQ and a simulated HubSpot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use harness::simulator::SimulatorProcess;
use harness::tally::Tally;
use harness::worker::Worker;
use harness::{Broker, Client, Message, Until, eventually, job};

const JOBS: &str = "association-archiver.jobs";
const RESULTS: &str = "association-archiver.results";

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_jobs_over_four_lanes_are_archived_with_few_requests() -> anyhow::Result<()> {
    let broker = Broker::shared().await?;
    let vhost = broker.vhost("main-job").await?;
    let simulator = SimulatorProcess::start(&["--limit", "100/10s"]).await?;
    let worker = Worker::builder()
        .set("amqp.uri", &vhost.uri)
        .set("hubspot.base_url", simulator.uri())
        .set("hubspot.access_token", "secret-token")
        .start()?;
    let client = Client::new(&vhost.uri);
    eventually(Duration::from_secs(30), "the results queue", async || Ok(client.exists(RESULTS).await?.then_some(())))
        .await?;
    let lanes = [("contacts", "companies"), ("contact", "0-3"), ("deals", "tickets"), ("tickets", "contacts")];
    let jobs: Vec<Message> = (0..20_000u64)
        .map(|n| {
            let lane = lanes[(n / 8 % 4) as usize];
            job(&format!("job-{n}")).types(lane.0, lane.1).pair(1 + n / 8, 1 + n % 8).to_message()
        })
        .collect::<anyhow::Result<_>>()?;
    client.publish(JOBS, jobs).await?;
    let outcomes = client.collect(RESULTS, Until::Count(20_000), Duration::from_secs(90)).await?;
    Tally::of_published((0..20_000u64).map(|n| format!("job-{n}"))).outcomes(&outcomes)?.report().exactly_once()?;
    let state = simulator.state().await?;
    eprintln!("{state}");
    worker.term()?;
    assert_eq!(worker.wait(Duration::from_secs(30)).await?, 0);
    Ok(())
}
