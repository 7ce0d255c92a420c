//! One fault after another, drawn by a seed.

use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;
use harness::{Broker, ChannelUse, Options, Relay, Rights, Way};
use serde_json::json;
use tokio::time::sleep;

use crate::stage::{EXCHANGE, RECOVERY, RESULTS, Stage, hubspot, settings};
use crate::traffic::Pace;

/// Only the worker's, so that the test's own channels and connections are left alone.
const USER: &str = "worker";
const PASSWORD: &str = "password";

/// A stage with a relay on each side of the worker, and a broker of its own.
#[derive(Debug)]
pub struct Upheaval {
    pub broker: Broker,
    pub stage: Stage,
    to_broker: Relay,
    to_hubspot: Relay,
    rng: Rng,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    WorkerKilled,
    BrokerKilled,
    BrokerFrozen,
    ConnectionsClosed,
    ChannelsClosed(ChannelUse),
    JobsTakenBack,
    CredentialsRevoked,
    ResultsUnbound,
    MemoryAlarm,
    LineCut,
    LineSlow,
    LineDark(Way),
    HubspotFlaky,
    HubspotTrickles,
    HubspotAway,
}

impl Fault {
    const ALL: [Self; 17] = [
        Self::WorkerKilled,
        Self::BrokerKilled,
        Self::BrokerFrozen,
        Self::ConnectionsClosed,
        Self::ChannelsClosed(ChannelUse::Consuming),
        Self::ChannelsClosed(ChannelUse::Other),
        Self::JobsTakenBack,
        Self::CredentialsRevoked,
        Self::ResultsUnbound,
        Self::MemoryAlarm,
        Self::LineCut,
        Self::LineSlow,
        Self::LineDark(Way::ToServer),
        Self::LineDark(Way::ToClient),
        Self::HubspotFlaky,
        Self::HubspotTrickles,
        Self::HubspotAway,
    ];

    /// Whether it can cost a channel, a connection or the worker, and with it the knowledge of what was published.
    pub fn explains_doubles(self) -> bool {
        match self {
            Self::WorkerKilled
            | Self::BrokerKilled
            | Self::BrokerFrozen
            | Self::ConnectionsClosed
            | Self::ChannelsClosed(_)
            | Self::JobsTakenBack
            | Self::CredentialsRevoked
            | Self::LineCut
            | Self::LineDark(_) => true,
            Self::ResultsUnbound
            | Self::MemoryAlarm
            | Self::LineSlow
            | Self::HubspotFlaky
            | Self::HubspotTrickles
            | Self::HubspotAway => false,
        }
    }
}

impl Upheaval {
    pub async fn begin(seed: u64, pace: Pace) -> Result<Self> {
        let broker = Broker::start(Options::default()).await?;
        let simulator = hubspot().await?;
        let to_broker = Relay::start(broker.address()).await?;
        let to_hubspot = Relay::start(simulator.uri().trim_start_matches("http://").parse()?).await?;
        broker.add_user(USER, PASSWORD, "/", Rights::ALL).await?;
        let uri = to_broker.through(&broker.uri_as(USER, PASSWORD, "%2f"));
        let settings = settings(&format!("{uri}?heartbeat=2"), &simulator)
            .set("hubspot.base_url", to_hubspot.through(simulator.uri()))
            .set("hubspot.request_timeout", "5s");
        let stage = Stage::open_at(&broker.uri(), simulator, settings, pace).await?;
        Ok(Self { broker, stage, to_broker, to_hubspot, rng: Rng::with_seed(seed) })
    }

    /// A fault that leaves the worker's process alive.
    pub async fn strike_around_the_worker(&mut self) -> Result<Fault> {
        self.strike_one_of(&Fault::ALL[1..]).await
    }

    pub async fn strike(&mut self) -> Result<Fault> {
        self.strike_one_of(&Fault::ALL).await
    }

    /// Back when the fault is over, the worker ready, and outcomes flow.
    async fn strike_one_of(&mut self, faults: &[Fault]) -> Result<Fault> {
        let fault = faults[self.rng.usize(..faults.len())];
        sleep(Duration::from_millis(self.rng.u64(0..1_500))).await;
        self.bring_about(fault).await?;
        self.stage.worker.ready(RECOVERY).await?;
        self.stage.flows(200).await?;
        Ok(fault)
    }

    async fn bring_about(&mut self, fault: Fault) -> Result<()> {
        let lasting = Duration::from_millis(self.rng.u64(200..8_000));
        match fault {
            Fault::WorkerKilled => {
                self.stage.worker.kill9().await?;
                self.stage.start_again()?;
            }
            Fault::BrokerKilled => {
                self.broker.kill9().await?;
                self.broker.restart().await?;
            }
            Fault::BrokerFrozen => {
                self.broker.freeze()?;
                sleep(lasting).await;
                self.broker.thaw()?;
            }
            Fault::ConnectionsClosed => self.broker.close_all_connections().await?,
            Fault::ChannelsClosed(of) => {
                self.broker.close_channels(USER, of).await?;
            }
            Fault::JobsTakenBack => {
                self.broker.take_jobs_back(USER).await?;
            }
            Fault::CredentialsRevoked => {
                self.broker.delete_user(USER).await?;
                sleep(lasting).await;
                self.broker.add_user(USER, PASSWORD, "/", Rights::ALL).await?;
            }
            Fault::ResultsUnbound => {
                self.stage.client.unbind(RESULTS, EXCHANGE, "results").await?;
                sleep(lasting).await;
                self.stage.client.bind(RESULTS, EXCHANGE, "results").await?;
            }
            Fault::MemoryAlarm => {
                self.broker.raise_memory_alarm().await?;
                sleep(lasting).await;
                self.broker.clear_memory_alarm().await?;
            }
            Fault::LineCut => {
                let way = if self.rng.bool() { Way::ToServer } else { Way::ToClient };
                self.to_broker.cut_after(way, self.rng.u64(1..100_000));
                self.stage.flows(500).await?;
            }
            Fault::LineSlow => {
                self.to_broker.delay(Duration::from_millis(self.rng.u64(1..300)));
                self.to_hubspot.delay(Duration::from_millis(self.rng.u64(1..300)));
                sleep(lasting).await;
            }
            Fault::LineDark(way) => {
                self.to_broker.black_hole(way);
                sleep(lasting).await;
            }
            Fault::HubspotFlaky => {
                self.stage.simulator.put_faults(&flaky()).await?;
                sleep(lasting).await;
                self.stage.simulator.put_faults(&json!([])).await?;
            }
            Fault::HubspotTrickles => {
                self.to_hubspot.trickle(Way::ToClient, Duration::from_millis(20));
                sleep(lasting).await;
            }
            Fault::HubspotAway => {
                self.to_hubspot.refuse().await;
                self.to_hubspot.cut();
                sleep(lasting).await;
            }
        }
        self.to_broker.resume();
        self.to_hubspot.resume();
        Ok(())
    }
}

fn flaky() -> serde_json::Value {
    json!([
        { "when": {"probability": 0.05}, "then": {"reset": "unread"} },
        { "when": {"probability": 0.05}, "then": {"reset": "done"} },
        { "when": {"probability": 0.05}, "then": {"cut": {"afterBytes": 9}} },
        { "when": {"probability": 0.05}, "then": {"answer": {"status": 502, "body": "html"}} },
        { "when": {"probability": 0.02}, "then": {"latency": "10s"} },
    ])
}
