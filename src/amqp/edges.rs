//! Both edges at once: started in order, and stopped in order.

use std::sync::Arc;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::acknowledge::Settler;
use super::backoff::Backoff;
use super::connection::{CALL_TIMEOUT, ConnectFault, Dial};
use super::consumer::{Intake, IntakeWiring};
use super::health::Health;
use super::link::{Link, Purpose};
use super::prefetch::Prefetch;
use super::publisher::{Publisher, Wiring};
use super::receipt::{CurrentGeneration, Held};
use super::topology::{Topology, TopologyFault, TopologyReport};
use crate::config::AmqpSettings;

/// A running pair of connections with all that works on them.
#[derive(Debug)]
pub struct Edges {
    pub intake: Intake,
    pub publisher: Publisher,
    /// For hand-backs; answers are settled by the publisher.
    pub settler: Settler,
    pub held: Arc<Held>,
    pub health: Arc<Health>,
    /// What was found at the broker.
    pub topology: TopologyReport,
    pub closer: Closer,
}

/// Why the edges could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    #[error(transparent)]
    Connect(#[from] ConnectFault),
    #[error(transparent)]
    Topology(#[from] TopologyFault),
}

impl Edges {
    /// Connects, within `amqp.connect_timeout`, checks or declares the topology, and subscribes.
    pub async fn start(settings: &AmqpSettings) -> Result<Self, StartFault> {
        let (health, held, current) = (Arc::<Health>::default(), Arc::<Held>::default(), CurrentGeneration::default());
        let topology = Arc::new(Topology::new(settings));
        let give_up = CancellationToken::new();
        let link = |purpose, name| Arc::new(Link::new(Dial::new(settings, name), purpose, &health, give_up.clone()));
        let (consume, publish) = (link(Purpose::Consume, "consume"), link(Purpose::Publish, "publish"));

        let deadline = Instant::now() + settings.connect_timeout;
        consume.connect_first(settings.connect_timeout).await?;
        publish.connect_first(deadline.saturating_duration_since(Instant::now()).max(CALL_TIMEOUT)).await?;
        let mut report = ensure_first(&consume, &topology, deadline).await?;
        if settings.declare_topology {
            report.warnings.extend(consume.compare_jobs_queue(&topology).await);
        }
        report.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));

        let settler = Settler::start(&health);
        let publisher = Publisher::start(&Wiring {
            link: Arc::clone(&publish),
            topology: Arc::clone(&topology),
            settler: settler.clone(),
            current: current.clone(),
            health: Arc::clone(&health),
        });
        let intake = Intake::start(IntakeWiring {
            link: Arc::clone(&consume),
            topology,
            settler: settler.clone(),
            current,
            health: Arc::clone(&health),
            held: Arc::clone(&held),
            prefetch: Prefetch::new(settings.prefetch.get(), settings.max_held_bytes),
        });
        let closer = Closer { consume, publish, settler: settler.clone(), give_up };
        Ok(Self { intake, publisher, settler, held, health, topology: report, closer })
    }
}

/// Ends the connections. By then the intake is drained and the publisher closed.
#[derive(Debug)]
pub struct Closer {
    consume: Arc<Link>,
    publish: Arc<Link>,
    settler: Settler,
    give_up: CancellationToken,
}

impl Closer {
    /// Sends the last acknowledgements, waits until the broker has them, and closes channels and connections; ends in
    /// time whatever the broker does.
    pub async fn close(self) {
        if timeout(CALL_TIMEOUT, self.settler.finish()).await.is_err() {
            tracing::warn!("the last acknowledgements could not be sent; their jobs come again");
        }
        self.give_up.cancel();
        self.publish.close().await;
        self.consume.close().await;
    }
}

/// A connection lost meanwhile is no answer; anything else is one.
async fn ensure_first(link: &Link, topology: &Topology, deadline: Instant) -> Result<TopologyReport, TopologyFault> {
    let mut backoff = Backoff::default();
    loop {
        match link.ensure(topology).await {
            Some(Ok(report)) => return Ok(report),
            Some(Err(TopologyFault::Lost(_))) | None if Instant::now() < deadline => {
                sleep(backoff.next_wait()).await;
                // Asking for a channel mends the connection.
                let patience = deadline.saturating_duration_since(Instant::now());
                let _ = timeout(patience, link.channel()).await;
            }
            Some(Err(fault)) => return Err(fault),
            None => return Err(TopologyFault::Lost("the connection is gone".to_owned())),
        }
    }
}
