//! The edges as a whole: started in order, and stopped in order.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::acknowledge::Settler;
use super::backoff::Backoff;
use super::connection::{CLOSE_TIMEOUT, ConnectFault, Dial};
use super::consumer::{Intake, IntakeWiring};
use super::health::Health;
use super::lease::gate::Gate;
use super::lease::{self, LeaseEnds, LeaseFault, LeaseFound, LeaseQueue, LeaseWiring};
use super::link::{Link, Purpose};
use super::prefetch::Prefetch;
use super::publisher::{Publisher, Wiring};
use super::receipt::{CurrentGeneration, Held};
use super::topology::{Topology, TopologyFault, TopologyReport};
use crate::config::AmqpSettings;

/// The queue that is consumed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    Jobs,
    DeadLetters,
}

/// Messages in and out: a connection each way, with all that works on them.
#[derive(Debug)]
pub struct Edges {
    pub intake: Intake,
    pub publisher: Publisher,
    /// For hand-backs; answered deliveries are settled by the publisher.
    pub settler: Settler,
    pub held: Arc<Held>,
    pub health: Arc<Health>,
    /// Where `amqp.lease` is on: what the loop must know and say.
    pub lease: Option<LeaseEnds>,
    /// What was found at the broker.
    pub topology: TopologyReport,
    /// To be used last, when the intake is drained and the publisher closed.
    pub closer: Closer,
}

/// Messages out only.
#[derive(Debug)]
pub struct Outlet {
    pub publisher: Publisher,
    pub health: Arc<Health>,
    /// What was found at the broker.
    pub topology: TopologyReport,
    /// To be used last, when the publisher is closed.
    pub closer: Closer,
}

/// Why the edges could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    #[error(transparent)]
    Connect(#[from] ConnectFault),
    #[error(transparent)]
    Topology(#[from] TopologyFault),
    #[error(
        "the lease cannot be taken: {0}; or set amqp.lease = false, with which each worker sends as much as one may"
    )]
    Lease(#[from] LeaseFault),
}

impl Edges {
    /// Connects, within `amqp.connect_timeout`, checks or declares the topology, and subscribes to the jobs queue.
    pub async fn start(settings: &AmqpSettings) -> Result<Self, StartFault> {
        Self::start_on(settings, Source::Jobs).await
    }

    /// The same, subscribed to the queue of the caller's choice.
    pub async fn start_on(settings: &AmqpSettings, source: Source) -> Result<Self, StartFault> {
        let ground = Ground::new(settings);
        let (consume, publish) = (ground.link(Purpose::Consume), ground.link(Purpose::Publish));
        consume.connect_first(ground.patience()).await?;
        publish.connect_first(ground.patience()).await?;
        let topology = ground.prepare(&consume).await?;
        let shared = settings.lease && source == Source::Jobs;
        let (gate_keeper, gate) = Gate::new(!shared);
        let found = if shared { Some(ground.lease(&consume).await?) } else { None };

        let settler = Settler::start(&ground.health);
        let held = Arc::<Held>::default();
        let intake = Intake::start(IntakeWiring {
            link: Arc::clone(&consume),
            topology: Arc::clone(&ground.topology),
            queue: match source {
                Source::Jobs => ground.topology.jobs_queue().clone(),
                Source::DeadLetters => ground.topology.dead_letter_queue().clone(),
            },
            settler: settler.clone(),
            current: ground.current.clone(),
            health: Arc::clone(&ground.health),
            held: Arc::clone(&held),
            prefetch: Prefetch::new(settings.prefetch.get(), settings.max_held_bytes),
            gate,
        });
        let publisher = ground.publisher(&publish, &settler);
        let lease = found.map(|(queue, found)| {
            lease::keep(LeaseWiring {
                queue,
                consume: Arc::clone(&consume),
                publish: Arc::clone(&publish),
                health: Arc::clone(&ground.health),
                gate: gate_keeper,
                time: settings.lease_time,
                found,
            })
        });
        let (lease, keeper) = lease.unzip();
        let links = vec![publish, consume];
        let closer = Closer { settler: settler.clone(), keeper, give_up: ground.give_up, links };
        Ok(Self { intake, publisher, settler, held, health: ground.health, lease, topology, closer })
    }
}

impl Outlet {
    /// Connects, within `amqp.connect_timeout`, and checks or declares the topology.
    pub async fn start(settings: &AmqpSettings) -> Result<Self, StartFault> {
        let ground = Ground::new(settings);
        let publish = ground.link(Purpose::Publish);
        publish.connect_first(ground.patience()).await?;
        let topology = ground.prepare(&publish).await?;
        let settler = Settler::start(&ground.health);
        let publisher = ground.publisher(&publish, &settler);
        let closer = Closer { settler, keeper: None, give_up: ground.give_up, links: vec![publish] };
        Ok(Self { publisher, health: ground.health, topology, closer })
    }
}

/// Ends the connections.
#[derive(Debug)]
pub struct Closer {
    settler: Settler,
    keeper: Option<JoinHandle<()>>,
    give_up: CancellationToken,
    links: Vec<Arc<Link>>,
}

impl Closer {
    /// Sends the last acknowledgements and waits for the broker to have them, but no longer than `patience`; then
    /// closes channels and connections, for 3 s at most whatever the broker does. False where acknowledgements are left: their
    /// jobs come again.
    pub async fn close(self, patience: Duration) -> bool {
        let keeper = async {
            // It was told to hand over when the worker began to stop.
            if let Some(keeper) = self.keeper
                && timeout(patience.min(CLOSE_TIMEOUT), keeper).await.is_err()
            {
                tracing::warn!("the lease could not be handed over: the next worker waits for amqp.lease_time");
            }
        };
        let (acknowledged, ()) = tokio::join!(timeout(patience, self.settler.finish()), keeper);
        let acknowledged = acknowledged.is_ok();
        self.give_up.cancel();
        join_all(self.links.iter().map(|link| link.close())).await;
        acknowledged
    }
}

/// What both kinds of edges stand on.
struct Ground<'a> {
    settings: &'a AmqpSettings,
    topology: Arc<Topology>,
    health: Arc<Health>,
    current: CurrentGeneration,
    give_up: CancellationToken,
    deadline: Instant,
}

impl<'a> Ground<'a> {
    fn new(settings: &'a AmqpSettings) -> Self {
        Self {
            settings,
            topology: Arc::new(Topology::new(settings)),
            health: Arc::default(),
            current: CurrentGeneration::default(),
            give_up: CancellationToken::new(),
            deadline: Instant::now() + settings.connect_timeout,
        }
    }

    fn link(&self, purpose: Purpose) -> Arc<Link> {
        let name = match purpose {
            Purpose::Consume => "consume",
            Purpose::Publish => "publish",
        };
        let dial = Dial::new(self.settings, name);
        Arc::new(Link::new(dial, purpose, &self.health, self.give_up.clone()))
    }

    fn patience(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    async fn prepare(&self, link: &Link) -> Result<TopologyReport, TopologyFault> {
        let mut report = self.ensure(link).await?;
        if self.settings.declare_topology {
            report.warnings.extend(link.compare_jobs_queue(&self.topology).await);
        }
        report.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        Ok(report)
    }

    /// A connection lost meanwhile is no answer; anything else is one.
    async fn ensure(&self, link: &Link) -> Result<TopologyReport, TopologyFault> {
        let mut backoff = Backoff::default();
        let mut lost = "the connection is gone".to_owned();
        loop {
            match link.ensure(&self.topology).await {
                Some(Ok(report)) => return Ok(report),
                Some(Err(TopologyFault::Lost(cause))) => lost = cause,
                Some(Err(fault)) => return Err(fault),
                None => {}
            }
            if Instant::now() >= self.deadline {
                return Err(TopologyFault::Lost(lost));
            }
            if backoff.tries().is_power_of_two() {
                tracing::warn!("looking at the queues again: {lost}");
            }
            sleep(backoff.next_wait().min(self.patience())).await;
            // Asking for a channel mends the connection.
            let _ = timeout(self.patience(), link.channel()).await;
        }
    }

    /// As with the topology, a connection lost meanwhile is no answer.
    async fn lease(&self, link: &Link) -> Result<(LeaseQueue, LeaseFound), LeaseFault> {
        let queue = LeaseQueue::new(self.settings);
        let mut backoff = Backoff::default();
        loop {
            match timeout(self.patience(), queue.ensure(link)).await {
                Ok(Some(Ok(found))) => return Ok((queue, found)),
                Ok(Some(Err(LeaseFault::Lost))) if Instant::now() < self.deadline => sleep(backoff.next_wait()).await,
                Ok(Some(Err(fault))) => return Err(fault),
                Ok(None) | Err(_) => return Err(LeaseFault::Lost),
            }
        }
    }

    fn publisher(&self, link: &Arc<Link>, settler: &Settler) -> Publisher {
        Publisher::start(&Wiring {
            link: Arc::clone(link),
            topology: Arc::clone(&self.topology),
            settler: settler.clone(),
            current: self.current.clone(),
            health: Arc::clone(&self.health),
        })
    }
}
