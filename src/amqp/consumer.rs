//! Jobs in: a subscription that is made again, as a new generation, whenever it is lost.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lapin::Channel;
use lapin::types::ShortString;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::acknowledge::Settler;
use super::backoff::Backoff;
use super::connection::{CANCELLED, CLOSE_TIMEOUT, REPLY_SUCCESS};
use super::echo::Echo;
use super::health::{Health, QueueHealth};
use super::lease::gate::Gate;
use super::link::{Epoch, Link};
use super::message::Delivered;
use super::prefetch::{Prefetch, Shares, Taking};
use super::receipt::{CurrentGeneration, Generation, Held};
use super::silence::{LifeSign, Observation, SilenceWatch};
use super::subscription::{ConsumeFault, Inlet, Read, Rest, Subscription, Unseen, hand_back};
use super::topology::{Topology, TopologyFault};
use crate::shards::QueueIndex;

/// Events waiting for the worker.
const MAX_WAITING_EVENTS: usize = 16;
/// How often it is checked whether the subscription is alive.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How often a consumer that was cancelled because memory was short looks whether it may go on.
const RELIEF_CHECK: Duration = Duration::from_millis(100);
/// How often a worker that has stopped taking in jobs for good looks whether those in hand can still be answered.
const HALT_CHECK: Duration = Duration::from_secs(1);

/// What comes in.
#[derive(Debug)]
pub enum IntakeEvent {
    /// A subscription begins; receipts of earlier generations are void, and their jobs come again.
    Began(Generation),
    /// At most 256.
    Jobs(Vec<Delivered>),
    /// The subscription is lost: its jobs come again, here or elsewhere, and no answer to them will be published.
    Lost(Generation),
    /// The jobs in hand occupy more than they may, and no more come in until half of that is settled. Jobs that were
    /// not started had better be handed back.
    Overfull,
}

/// The worker's end of the subscription.
#[derive(Debug)]
pub struct Intake {
    queue: QueueIndex,
    events: mpsc::Receiver<IntakeEvent>,
    drain: CancellationToken,
}

/// What the subscription needs.
#[derive(Clone, Debug)]
pub struct IntakeWiring {
    pub link: Arc<Link>,
    pub topology: Arc<Topology>,
    pub queue: QueueIndex,
    /// The queue's name. The command that takes dead letters names their queue here.
    pub name: ShortString,
    pub settler: Settler,
    pub current: CurrentGeneration,
    pub health: Arc<Health>,
    /// The health of the queue.
    pub of_queue: Arc<QueueHealth>,
    /// What is held of the queue.
    pub held: Arc<Held>,
    pub prefetch: Prefetch,
    pub shares: Arc<Shares>,
    /// Jobs are passed on in the order of the queue. So there is never more than one consumer, and it is replaced only
    /// where memory demands it: RabbitMQ gives back in any order what it had on its way to a consumer that is
    /// cancelled.
    pub keeps_order: bool,
    /// Closed while another worker holds the lease, and for jobs of the background outside their hours.
    pub gate: Gate,
}

impl IntakeWiring {
    fn is_shard(&self) -> bool {
        ![QueueIndex::SHARED, QueueIndex::BACKGROUND].contains(&self.queue)
    }

    fn join(&self) -> Option<Taking> {
        self.is_shard().then(|| self.shares.join())
    }

    fn share(&self) -> (u16, u64) {
        match self.queue {
            QueueIndex::BACKGROUND => self.shares.of_background(),
            _ => self.shares.of(self.is_shard()),
        }
    }
}

impl Intake {
    pub fn start(wiring: IntakeWiring) -> Self {
        let (sender, events) = mpsc::channel(MAX_WAITING_EVENTS);
        let drain = CancellationToken::new();
        let topology = &wiring.topology;
        let queue = wiring.queue;
        let echo = Echo::new(topology.exchange().clone(), queue, topology.name(queue).as_str(), Timestamp::now());
        let subscriber = Subscriber {
            echo: Arc::new(echo),
            generation: Generation { queue: wiring.queue, number: 0 },
            wiring,
            events: sender,
            drain: drain.clone(),
            silence: SilenceWatch::default(),
            topology_doubted: false,
            taking: None,
        };
        tokio::spawn(subscriber.run());
        Self { queue, events, drain }
    }

    pub fn queue(&self) -> QueueIndex {
        self.queue
    }

    /// The next event; `None` once drained. Cancel-safe.
    pub async fn next(&mut self) -> Option<IntakeEvent> {
        self.events.recv().await
    }

    /// Takes in nothing more: the consumer is cancelled, and what it had not passed on is handed back. Jobs passed on
    /// can still be settled.
    pub fn drain(&self) {
        self.drain.cancel();
    }
}

struct Subscriber {
    echo: Arc<Echo>,
    wiring: IntakeWiring,
    events: mpsc::Sender<IntakeEvent>,
    drain: CancellationToken,
    generation: Generation,
    silence: SilenceWatch,
    /// A queue may have been deleted while the connection lived.
    topology_doubted: bool,
    /// Jobs are taken in.
    taking: Option<Taking>,
}

/// How a subscription ended.
enum End {
    Drained,
    Lost(String),
    /// For good, though nobody asked for it.
    Halted,
}

impl Subscriber {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        while !self.drain.is_cancelled() {
            let mut gate = self.wiring.gate.clone();
            if self.drain.run_until_cancelled(gate.opened()).await.is_none() {
                break;
            }
            let opening = self.drain.run_until_cancelled(self.wiring.link.channel()).await;
            let Some((channel, epoch)) = opening.flatten() else { break };
            let drain = self.drain.clone();
            let Some(subscribed) = drain.run_until_cancelled(self.subscribe(&channel, epoch)).await else { break };
            match subscribed {
                Ok(subscription) => {
                    backoff.reset();
                    let end = self.live(&channel, subscription).await;
                    self.taking = None;
                    match end {
                        End::Drained => break,
                        End::Lost(why) => self.lose(&channel, &why).await,
                        End::Halted => {
                            self.drain.cancelled().await;
                            break;
                        }
                    }
                }
                Err(fault) => self.fail(&channel, epoch, &fault, backoff.tries()).await,
            }
            // Also after a loss: a queue that cancels its consumer at once must not make a busy loop.
            self.drain.run_until_cancelled(sleep(backoff.next_wait())).await;
        }
        self.wiring.of_queue.consuming.set(false);
    }

    async fn subscribe(&mut self, channel: &Channel, epoch: Epoch) -> Result<Subscription, SubscribeFault> {
        let IntakeWiring { link, topology, queue, .. } = &self.wiring;
        match link.ensure_for(topology, *queue, Some(epoch).filter(|_| !self.topology_doubted)).await {
            Some(Ok(())) => self.topology_doubted = false,
            Some(Err(fault)) => return Err(SubscribeFault::Topology(fault)),
            None => return Err(SubscribeFault::Consume(ConsumeFault::Silent)),
        }
        self.wiring.prefetch.limit(self.wiring.share());
        let next = Generation { number: self.generation.number + 1, ..self.generation };
        let subscribed = self.open(channel, next).await;
        self.topology_doubted = subscribed.is_err();
        subscribed.map_err(SubscribeFault::Consume)
    }

    async fn open(&self, channel: &Channel, generation: Generation) -> Result<Subscription, ConsumeFault> {
        let inlet = Inlet {
            generation,
            held: Arc::clone(&self.wiring.held),
            valve: Arc::clone(self.wiring.link.valve()),
            echo: Arc::clone(&self.echo),
            health: Arc::clone(&self.wiring.of_queue),
        };
        Subscription::open(channel, &self.wiring.name, self.wiring.prefetch.current(), inlet).await
    }

    async fn live(&mut self, channel: &Channel, subscription: Subscription) -> End {
        let generation = subscription.generation();
        self.generation = generation;
        self.wiring.settler.begin(generation, channel.clone(), self.wiring.prefetch.current()).await;
        self.wiring.current.set(generation);
        self.wiring.of_queue.trouble.clear();
        self.wiring.of_queue.consuming.set(true);
        let (queue, prefetch) = (self.wiring.name.as_str(), self.wiring.prefetch.current());
        tracing::info!(generation = generation.number, queue, prefetch, "taking in jobs");
        if !self.tell(IntakeEvent::Began(generation)).await {
            return self.withdraw(subscription, Unseen::new()).await;
        }
        self.pump(channel, subscription).await
    }

    async fn pump(&mut self, channel: &Channel, subscription: Subscription) -> End {
        match self.take_in(channel, subscription).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    /// Takes in jobs until something ends that.
    async fn take_in(&mut self, channel: &Channel, mut subscription: Subscription) -> Result<Infallible, End> {
        self.silence.begin();
        let events = self.events.clone();
        let mut gate = self.wiring.gate.clone();
        let mut unseen = Unseen::new();
        let mut delivered = 0;
        let mut cancellations = Backoff::default();
        // The shared queue of a sharded worker has a share of its own.
        self.taking = self.wiring.join();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.reset();
        loop {
            tokio::select! {
                biased;
                () = self.drain.cancelled() => return Err(self.withdraw(subscription, unseen).await),
                () = gate.closed() => {
                    self.taking = None;
                    subscription = self.stand_by(channel, subscription, std::mem::take(&mut unseen)).await?;
                    self.taking = self.wiring.join();
                }
                permit = events.reserve(), if !unseen.is_empty() => match (permit, unseen.pop_front()) {
                    (Ok(permit), Some(jobs)) => permit.send(IntakeEvent::Jobs(jobs)),
                    // Nobody takes jobs any more.
                    (Err(_), rest) => {
                        unseen.extend(rest);
                        return Err(self.withdraw(subscription, unseen).await);
                    }
                    (Ok(_), None) => {}
                },
                read = subscription.read(&mut unseen) => match read {
                    Read::More { jobs, bytes } => {
                        delivered += jobs;
                        self.wiring.of_queue.taken.add(1);
                        cancellations.reset();
                        self.wiring.prefetch.saw(jobs, bytes);
                        subscription = self.fit(channel, subscription, &mut unseen).await?;
                    }
                    Read::Cancelled => {
                        subscription = self.resubscribe(channel, subscription, &mut cancellations, &mut unseen).await?;
                    }
                    Read::Echo(why) => return Err(self.halt(channel, subscription, unseen, &why).await),
                    Read::Failed(why) => return Err(End::Lost(why)),
                },
                _ = looks.tick() => {
                    let heard = self.listen(std::mem::take(&mut delivered));
                    subscription = self.mind(heard, channel, subscription, &mut unseen).await?;
                }
            }
        }
    }

    /// Jobs have come, so their size is known better: asks the broker for as many as there is room for.
    async fn fit(
        &mut self,
        channel: &Channel,
        subscription: Subscription,
        unseen: &mut Unseen,
    ) -> Result<Subscription, End> {
        let is_less = self.wiring.prefetch.limit(self.wiring.share());
        if self.wiring.prefetch.is_overfull(self.wiring.held.whole().bytes()) {
            self.relieve(channel, subscription, std::mem::take(unseen)).await
        } else if is_less {
            self.renew(channel, subscription, unseen).await
        } else if self.wiring.keeps_order {
            Ok(subscription)
        } else {
            self.widen(channel, subscription, unseen).await
        }
    }

    /// What follows from a look at what has come since the last.
    async fn mind(
        &mut self,
        heard: LifeSign,
        channel: &Channel,
        subscription: Subscription,
        unseen: &mut Unseen,
    ) -> Result<Subscription, End> {
        let subscription = match heard {
            LifeSign::Alive => subscription,
            LifeSign::NeverHeard => {
                let queue = self.wiring.name.as_str();
                tracing::debug!(queue, "no job has come yet although some are ready; subscribing again");
                self.renew(channel, subscription, unseen).await?
            }
            LifeSign::Dead => return Err(End::Lost("subscribed, but nothing came although jobs are ready".to_owned())),
        };
        self.widen(channel, subscription, unseen).await
    }

    fn listen(&mut self, delivered: u64) -> LifeSign {
        let room = self.wiring.held.jobs() < u64::from(self.wiring.prefetch.current());
        self.silence.judge(Observation { delivered, has_room: room, ready: self.wiring.of_queue.ready.get() })
    }

    /// Stops for good: hands back all that the worker has not seen.
    async fn withdraw(&self, subscription: Subscription, unseen: Unseen) -> End {
        self.wiring.of_queue.consuming.set(false);
        // The broker delivers again what we could not hand back.
        if let Err(why) = self.give_back(subscription, unseen).await {
            let queue = self.wiring.name.as_str();
            tracing::warn!(queue, "not all jobs could be handed back, the broker delivers the rest again: {why}");
        }
        End::Drained
    }

    /// Takes in nothing more until a person has mended what is wrong and starts the worker again. What is in hand is
    /// answered meanwhile.
    async fn halt(&mut self, channel: &Channel, subscription: Subscription, unseen: Unseen, why: &str) -> End {
        tracing::error!("no more jobs are taken in: {why}");
        self.withdraw(subscription, unseen).await;
        let stopped = format!("the worker has stopped taking in jobs: {why}");
        self.wiring.of_queue.trouble.set(&stopped);
        while channel.status().connected() {
            if self.drain.run_until_cancelled(sleep(HALT_CHECK)).await.is_none() {
                return End::Drained;
            }
        }
        self.lose(channel, "the channel was lost").await;
        self.wiring.of_queue.trouble.set(&stopped);
        End::Halted
    }

    /// The lease is lost: stops, and goes on when it is held again. Same channel, same generation, so that what is on
    /// the wire meanwhile can be answered.
    async fn stand_by(
        &mut self,
        channel: &Channel,
        subscription: Subscription,
        unseen: Unseen,
    ) -> Result<Subscription, End> {
        self.wiring.of_queue.consuming.set(false);
        let queue = self.wiring.name.as_str();
        tracing::info!(generation = self.generation.number, queue, "taking in no jobs for now");
        self.give_back(subscription, unseen).await.map_err(End::Lost)?;
        let mut gate = self.wiring.gate.clone();
        while !gate.is_open() {
            let looked = self.drain.run_until_cancelled(timeout(RELIEF_CHECK, gate.opened())).await;
            if looked.is_none() {
                return Err(End::Drained);
            }
            if !channel.status().connected() {
                return Err(End::Lost("the channel was lost".to_owned()));
            }
        }
        let subscription = self.begin_again(channel).await?;
        self.wiring.of_queue.consuming.set(true);
        Ok(subscription)
    }

    /// Too much in memory: stops, lets the worker settle half of it, then goes on with fewer jobs at a time.
    async fn relieve(
        &mut self,
        channel: &Channel,
        subscription: Subscription,
        unseen: Unseen,
    ) -> Result<Subscription, End> {
        let (jobs, bytes) = (self.wiring.held.whole().jobs(), self.wiring.held.whole().bytes());
        self.wiring.prefetch.lower(jobs, bytes);
        let (queue, prefetch) = (self.wiring.name.as_str(), self.wiring.prefetch.current());
        tracing::warn!(
            queue,
            jobs,
            bytes,
            prefetch,
            "the jobs in hand fill amqp.max_held_bytes; taking in fewer at a time"
        );
        self.wiring.of_queue.overfull.set(true);
        self.give_back(subscription, unseen).await.map_err(End::Lost)?;
        if !self.tell(IntakeEvent::Overfull).await {
            return Err(End::Drained);
        }
        while !self.wiring.prefetch.is_relieved(self.wiring.held.whole().bytes()) {
            if self.drain.run_until_cancelled(sleep(RELIEF_CHECK)).await.is_none() {
                return Err(End::Drained);
            }
            if !channel.status().connected() {
                return Err(End::Lost("the channel was lost".to_owned()));
            }
        }
        self.wiring.of_queue.overfull.set(false);
        self.begin_again(channel).await
    }

    /// Asks for more at a time where the jobs that came in are small. Same channel, same generation.
    async fn widen(
        &mut self,
        channel: &Channel,
        mut subscription: Subscription,
        unseen: &mut Unseen,
    ) -> Result<Subscription, End> {
        let held = &self.wiring.held;
        if let Some(more) = self.wiring.prefetch.raise(held.jobs(), held.bytes()) {
            if self.wiring.keeps_order {
                return self.renew(channel, subscription, unseen).await;
            }
            subscription.widen(more, unseen).await.map_err(|fault| End::Lost(fault.to_string()))?;
            self.wiring.settler.resize(self.generation, self.wiring.prefetch.current()).await;
        }
        Ok(subscription)
    }

    /// Replaces all consumers by a new one; no delivery of theirs is lost. Same channel, same generation.
    async fn renew(
        &mut self,
        channel: &Channel,
        mut subscription: Subscription,
        unseen: &mut Unseen,
    ) -> Result<Subscription, End> {
        subscription.cancel(unseen, Rest::Keep).await.map_err(End::Lost)?;
        drop(subscription);
        self.begin_again(channel).await
    }

    /// A deleted queue takes its messages with it: those in hand are delivered to nobody again, and are answered as
    /// long as the channel lives. Same channel, same generation.
    ///
    /// RabbitMQ 4.3 cancels as well when an acknowledgement is late, and delivers again what was in hand. Where
    /// somebody else has made the queue again in the meantime nothing tells the two apart; to answer twice is better
    /// than never.
    async fn resubscribe(
        &mut self,
        channel: &Channel,
        mut subscription: Subscription,
        backoff: &mut Backoff,
        unseen: &mut Unseen,
    ) -> Result<Subscription, End> {
        let health = Arc::clone(&self.wiring.of_queue);
        health.consuming.set(false);
        health.trouble.set(CANCELLED);
        let queue = self.wiring.name.as_str();
        tracing::warn!(
            generation = self.generation.number,
            queue,
            "the broker cancelled the consumer; subscribing again"
        );
        subscription.cancel(unseen, Rest::Keep).await.map_err(End::Lost)?;
        drop(subscription);
        loop {
            if self.drain.run_until_cancelled(sleep(backoff.next_wait())).await.is_none() {
                hand_back(unseen, &self.wiring.settler).await;
                return Err(End::Drained);
            }
            if !channel.status().connected() {
                return Err(End::Lost("the channel was lost".to_owned()));
            }
            let IntakeWiring { link, topology, queue, .. } = &self.wiring;
            match link.ensure_for(topology, *queue, None).await {
                Some(Ok(())) => break,
                // Consuming what is missing would cost the channel.
                Some(Err(fault)) => health.trouble.set(fault),
                None => return Err(End::Lost("the connection was lost".to_owned())),
            }
        }
        let subscription = self.begin_again(channel).await?;
        self.wiring.health.resubscriptions.add(1);
        health.trouble.clear();
        health.consuming.set(true);
        Ok(subscription)
    }

    async fn begin_again(&mut self, channel: &Channel) -> Result<Subscription, End> {
        self.wiring.prefetch.limit(self.wiring.share());
        self.wiring.settler.resize(self.generation, self.wiring.prefetch.current()).await;
        self.open(channel, self.generation).await.map_err(|fault| End::Lost(fault.to_string()))
    }

    /// Cancels the subscription and hands back what nobody has seen: `unseen`, and the rest as it comes.
    async fn give_back(&self, mut subscription: Subscription, mut unseen: Unseen) -> Result<(), String> {
        hand_back(&mut unseen, &self.wiring.settler).await;
        subscription.cancel(&mut unseen, Rest::HandBack(&self.wiring.settler)).await
    }

    async fn lose(&mut self, channel: &Channel, why: &str) {
        self.wiring.current.clear(self.wiring.queue);
        let health = &self.wiring.of_queue;
        health.consuming.set(false);
        health.overfull.set(false);
        self.wiring.health.resubscriptions.add(1);
        health.trouble.set(format!("the subscription was lost: {why}"));
        let queue = self.wiring.name.as_str();
        tracing::warn!(
            generation = self.generation.number,
            queue,
            "the subscription was lost, its jobs come again: {why}"
        );
        // While the channel lives, the broker keeps what it delivered there.
        let _ = timeout(CLOSE_TIMEOUT, channel.close(REPLY_SUCCESS, "OK".into())).await;
        self.topology_doubted = true;
        self.tell(IntakeEvent::Lost(self.generation)).await;
    }

    async fn fail(&self, channel: &Channel, epoch: Epoch, fault: &SubscribeFault, tries: u32) {
        self.wiring.of_queue.trouble.set(fault);
        if (tries + 1).is_power_of_two() {
            let queue = self.wiring.name.as_str();
            tracing::warn!(queue, tries = tries + 1, "no jobs can be taken in: {fault}");
        }
        let _ = timeout(CLOSE_TIMEOUT, channel.close(REPLY_SUCCESS, "OK".into())).await;
        match fault {
            SubscribeFault::Consume(ConsumeFault::Silent) => self.wiring.link.break_off(epoch).await,
            SubscribeFault::Consume(ConsumeFault::Broker(_)) | SubscribeFault::Topology(_) => {}
        }
    }

    /// False when draining began, or nobody listens any more.
    async fn tell(&self, event: IntakeEvent) -> bool {
        matches!(self.drain.run_until_cancelled(self.events.send(event)).await, Some(Ok(())))
    }
}

#[derive(Debug, thiserror::Error)]
enum SubscribeFault {
    #[error("{0}")]
    Consume(ConsumeFault),
    #[error("{0}")]
    Topology(TopologyFault),
}
