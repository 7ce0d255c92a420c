//! The edges as a whole: started in order, and stopped in order.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use lapin::types::ShortString;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::acknowledge::Settler;
use super::backoff::Backoff;
use super::connection::{CLOSE_TIMEOUT, ConnectFault, Dial};
use super::consumer::{Intake, IntakeWiring};
use super::depths;
use super::deserted;
use super::health::Health;
use super::lease::balance::Balance;
use super::lease::gate::{Gate, GateKeeper};
use super::lease::{self, LeaseEnds, LeaseFault, LeaseFound, LeaseQueue, LeaseWiring};
use super::link::{Link, Purpose};
use super::prefetch::{Prefetch, Shares};
use super::publisher::{Publisher, Wiring};
use super::receipt::{CurrentGeneration, Held};
use super::topology::{Topology, TopologyFault, TopologyReport};
use crate::config::AmqpSettings;
use crate::shards::QueueIndex;

/// Leases that are looked at at the same time.
const LEASES_AT_ONCE: usize = 16;

/// What is consumed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    Jobs,
    DeadLetters,
}

/// Messages in and out: a connection each way, with all that works on them.
#[derive(Debug)]
pub struct Edges {
    /// One for each jobs queue, the shared one first, and one for the background queue.
    pub intakes: Vec<Intake>,
    pub publisher: Publisher,
    /// For hand-backs; answered deliveries are settled by the publisher.
    pub settler: Settler,
    pub held: Arc<Held>,
    pub health: Arc<Health>,
    /// Where `amqp.lease` is on: what the loop must know and say.
    pub lease: Option<LeaseEnds>,
    /// Where there is a background queue: whether its jobs are taken in. At first they are not.
    pub background: Option<watch::Sender<bool>>,
    /// What was found at the broker.
    pub topology: TopologyReport,
    /// To be used last, when the intakes are drained and the publisher closed.
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
    /// Connects, within `amqp.connect_timeout`, checks or declares the topology, and subscribes to the jobs queues.
    pub async fn start(settings: &AmqpSettings) -> Result<Self, StartFault> {
        Self::start_on(settings, Source::Jobs).await
    }

    /// The same, for whoever wants to know meanwhile why it takes long.
    pub async fn start_seen(settings: &AmqpSettings, health: Arc<Health>) -> Result<Self, StartFault> {
        Self::start_with(settings, Source::Jobs, health).await
    }

    /// Starts the edges with a subscription to a queue that the caller chooses.
    pub async fn start_on(settings: &AmqpSettings, source: Source) -> Result<Self, StartFault> {
        Self::start_with(settings, source, health(settings)).await
    }

    async fn start_with(settings: &AmqpSettings, source: Source, health: Arc<Health>) -> Result<Self, StartFault> {
        let ground = Ground::new(settings, health);
        let (consume, publish) = (ground.link(Purpose::Consume), ground.link(Purpose::Publish));
        consume.connect_first(ground.patience()).await?;
        publish.connect_first(ground.patience()).await?;
        let topology = ground.prepare(&consume).await?;
        let shared = settings.lease && source == Source::Jobs;
        let found = if shared { ground.leases(&consume).await? } else { Vec::new() };

        let settler = Settler::start(&ground.health);
        let publisher = ground.publisher(&publish, &settler);
        let inlets = Inlets {
            held: Arc::default(),
            shares: Arc::new(Shares::new(
                settings.prefetch.get(),
                settings.max_held_bytes,
                settings.shards.is_sharded() && source == Source::Jobs,
            )),
            link: Arc::clone(&consume),
            settler: settler.clone(),
        };
        let names = ground.names(source);
        let (mut intakes, mut keepers) = (Vec::with_capacity(names.len()), Vec::with_capacity(names.len()));
        let mut background = None;
        for (queue, name) in settings.shards.queues().zip(names.clone()) {
            let (keeper, gate) = Gate::new(!shared);
            intakes.push(inlets.intake(&ground, queue, name, gate.clone()));
            keepers.push(keeper);
            // Whoever works on the jobs queue works on the background queue as well.
            if let Some(name) = ground.topology.background_queue().filter(|_| source == Source::Jobs) {
                let (switch, door) = watch::channel(false);
                intakes.push(inlets.intake(&ground, QueueIndex::BACKGROUND, name.clone(), gate.behind(door)));
                background = Some(switch);
            }
        }
        let looking =
            depths::watch(Arc::clone(&consume), Arc::clone(&ground.topology), names, Arc::clone(&ground.health));
        let deserted = {
            let (link, settings, health) = (Arc::clone(&consume), settings.clone(), Arc::clone(&ground.health));
            async move { deserted::watch(link, &settings, health).await }
        };
        let alarms = tokio::spawn(Arc::clone(&publish).watch_for_alarms());
        let mut tasks = vec![tokio::spawn(looking), tokio::spawn(deserted), alarms];
        let (lease, keeping) = if shared {
            let (lease, keeping, balancing) = ground.keep(found, keepers, (&consume, &publish));
            tasks.extend(balancing);
            (Some(lease), keeping)
        } else {
            (None, Vec::new())
        };
        let links = vec![publish, consume];
        let closer = Closer { settler: settler.clone(), keeping, tasks, closing: ground.closing, links };
        let (held, health) = (inlets.held, ground.health);
        Ok(Self { intakes, publisher, settler, held, health, lease, background, topology, closer })
    }
}

/// The health of edges that are not started yet.
pub fn health(settings: &AmqpSettings) -> Arc<Health> {
    Arc::new(Health::of(settings.shards.queues().len()))
}

/// What the intakes have in common.
struct Inlets {
    held: Arc<Held>,
    shares: Arc<Shares>,
    link: Arc<Link>,
    settler: Settler,
}

impl Inlets {
    fn intake(&self, ground: &Ground<'_>, queue: QueueIndex, name: ShortString, gate: Gate) -> Intake {
        let settings = ground.settings;
        let keeps_order = settings.shards.is_sharded() && queue == QueueIndex::SHARED;
        Intake::start(IntakeWiring {
            link: Arc::clone(&self.link),
            topology: Arc::clone(&ground.topology),
            queue,
            name,
            settler: self.settler.clone(),
            current: ground.current.clone(),
            health: Arc::clone(&ground.health),
            of_queue: ground.health.queue(queue),
            held: Arc::new(Held::part_of(&self.held)),
            prefetch: if keeps_order {
                Prefetch::steady(self.shares.of(false), settings.max_held_bytes)
            } else {
                Prefetch::new(settings.prefetch.get(), settings.max_held_bytes)
            },
            shares: Arc::clone(&self.shares),
            keeps_order,
            gate,
        })
    }
}

impl Outlet {
    /// Connects, within `amqp.connect_timeout`, and checks or declares the topology.
    pub async fn start(settings: &AmqpSettings) -> Result<Self, StartFault> {
        let ground = Ground::new(settings, health(settings));
        let publish = ground.link(Purpose::Publish);
        publish.connect_first(ground.patience()).await?;
        let topology = ground.prepare(&publish).await?;
        let settler = Settler::start(&ground.health);
        let publisher = ground.publisher(&publish, &settler);
        let tasks = vec![tokio::spawn(Arc::clone(&publish).watch_for_alarms())];
        let (keeping, links) = (Vec::new(), vec![publish]);
        let closer = Closer { settler, keeping, tasks, closing: ground.closing, links };
        Ok(Self { publisher, health: ground.health, topology, closer })
    }
}

/// Ends the connections.
#[derive(Debug)]
pub struct Closer {
    settler: Settler,
    /// The leases' keepers.
    keeping: Vec<JoinHandle<()>>,
    /// Tasks that are aborted when all else has ended.
    tasks: Vec<JoinHandle<()>>,
    closing: CancellationToken,
    links: Vec<Arc<Link>>,
}

impl Closer {
    /// Sends the last acknowledgements and waits for the broker to have them, but no longer than `patience`; then
    /// closes channels and connections, for 3 s at most whatever the broker does. False where acknowledgements are
    /// left: their jobs come again.
    pub async fn close(self, patience: Duration) -> bool {
        self.tasks.iter().for_each(JoinHandle::abort);
        let keeper = async {
            // They were told to hand over when the worker began to stop.
            if timeout(patience.min(CLOSE_TIMEOUT), join_all(self.keeping)).await.is_err() {
                tracing::warn!("the lease could not be handed over: the next worker waits for amqp.lease_time");
            }
        };
        let (acknowledged, ()) = tokio::join!(timeout(patience, self.settler.finish()), keeper);
        let acknowledged = acknowledged.is_ok();
        self.closing.cancel();
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
    closing: CancellationToken,
    deadline: Instant,
}

impl<'a> Ground<'a> {
    fn new(settings: &'a AmqpSettings, health: Arc<Health>) -> Self {
        Self {
            settings,
            topology: Arc::new(Topology::new(settings)),
            health,
            current: CurrentGeneration::new(settings.shards.queues().len()),
            closing: CancellationToken::new(),
            deadline: Instant::now() + settings.connect_timeout,
        }
    }

    fn link(&self, purpose: Purpose) -> Arc<Link> {
        let name = match purpose {
            Purpose::Consume => "consume",
            Purpose::Publish => "publish",
        };
        let dial = Dial::new(self.settings, name);
        Arc::new(Link::new(dial, purpose, &self.health, self.closing.clone()))
    }

    fn patience(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    async fn prepare(&self, link: &Link) -> Result<TopologyReport, TopologyFault> {
        let mut report = self.ensure(link).await?;
        if self.settings.declare_topology {
            report.warnings.extend(link.compare_jobs_queue(&self.topology).await);
        }
        report.warnings.extend(self.topology.second_jobs_queue(&report));
        report.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        Ok(report)
    }

    /// Checks again, until the time is over, where the connection was lost meanwhile; every other result is final.
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

    /// The names of the queues that messages are taken from.
    fn names(&self, source: Source) -> Vec<ShortString> {
        match source {
            Source::Jobs => self.settings.shards.queues().map(|queue| self.topology.name(queue).clone()).collect(),
            Source::DeadLetters => vec![self.topology.dead_letter_queue().clone()],
        }
    }

    async fn leases(&self, link: &Link) -> Result<Vec<(LeaseQueue, LeaseFound)>, LeaseFault> {
        let queues = self.settings.shards.queues().map(|queue| self.lease(link, queue));
        stream::iter(queues.collect::<Vec<_>>()).buffered(LEASES_AT_ONCE).try_collect().await
    }

    /// As with the topology, it checks again where the connection was lost meanwhile.
    async fn lease(&self, link: &Link, queue: QueueIndex) -> Result<(LeaseQueue, LeaseFound), LeaseFault> {
        let queue = LeaseQueue::new(self.settings, queue);
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

    /// Starts a keeper for each lease and, with shards, the task that balances them.
    fn keep(
        &self,
        found: Vec<(LeaseQueue, LeaseFound)>,
        gates: Vec<GateKeeper>,
        (consume, publish): (&Arc<Link>, &Arc<Link>),
    ) -> (LeaseEnds, Vec<JoinHandle<()>>, Option<JoinHandle<()>>) {
        let layout = &self.settings.shards;
        let (news_in, news) = mpsc::unbounded_channel();
        let kept = layout.queues().zip(found).zip(gates).map(|((index, (queue, found)), gate)| {
            lease::keep(LeaseWiring {
                index,
                queue,
                accounts: layout.accounts_of(index),
                news: news_in.clone(),
                consume: Arc::clone(consume),
                publish: Arc::clone(publish),
                health: Arc::clone(&self.health),
                gate,
                time: self.settings.lease_time,
                found,
            })
        });
        let (leases, keeping) = kept.unzip();
        let balance = Balance {
            link: Arc::clone(consume),
            health: Arc::clone(&self.health),
            shards: layout.shards().collect(),
            workers: self.topology.workers_queue().clone(),
            news: news_in.clone(),
        };
        let balancing = layout.is_sharded().then(|| tokio::spawn(balance.run()));
        (LeaseEnds { news, leases }, keeping, balancing)
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
