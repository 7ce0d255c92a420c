//! Jobs in: a subscription that is made again, as a new generation, whenever it is lost.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::acknowledge::Settler;
use super::backoff::Backoff;
use super::connection::{CALL_TIMEOUT, CLOSE_TIMEOUT};
use super::depths;
use super::health::Health;
use super::link::{Epoch, Link};
use super::message::{Delivered, Properties};
use super::prefetch::Prefetch;
use super::receipt::{CurrentGeneration, Generation, Held, Receipt};
use super::silence::{Look, Silence, Verdict};
use super::topology::{Topology, TopologyFault};

/// Most deliveries in one event.
const CHUNK: usize = 256;
/// Bytes of deliveries read before memory is looked at.
const CHUNK_BYTES: u64 = 1024 * 1024;
/// Events waiting for the worker.
const MAX_WAITING_EVENTS: usize = 16;
/// Counted for each delivery beside its body: properties, bookkeeping.
const DELIVERY_OVERHEAD_BYTES: u64 = 512;
/// How often the life of the subscription is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How often a consumer that was cancelled for want of memory looks whether it may go on.
const RELIEF_CHECK: Duration = Duration::from_millis(100);
/// Longest wait for the rest of a cancelled consumer's deliveries.
const REST_TIMEOUT: Duration = Duration::from_secs(20);

/// What comes in.
#[derive(Debug)]
pub enum IntakeEvent {
    /// A subscription begins; receipts of earlier generations are void, and their jobs come again.
    Began(Generation),
    /// At most 256.
    Jobs(Vec<Delivered>),
    /// The subscription is lost: its jobs come again, here or elsewhere, and no answer to them will be published.
    Lost(Generation),
    /// The jobs in hand occupy more than they may, and no more come in until half of that is settled. Jobs that were not
    /// started had better be handed back.
    Overfull,
}

/// The worker's end of the subscription.
#[derive(Debug)]
pub struct Intake {
    events: mpsc::Receiver<IntakeEvent>,
    drain: CancellationToken,
}

/// What the subscription needs.
#[derive(Clone, Debug)]
pub struct IntakeWiring {
    pub link: Arc<Link>,
    pub topology: Arc<Topology>,
    pub queue: ShortString,
    pub settler: Settler,
    pub current: CurrentGeneration,
    pub health: Arc<Health>,
    pub held: Arc<Held>,
    pub prefetch: Prefetch,
}

impl Intake {
    pub fn start(wiring: IntakeWiring) -> Self {
        let (sender, events) = mpsc::channel(MAX_WAITING_EVENTS);
        let drain = CancellationToken::new();
        let subscriber = Subscriber {
            wiring,
            events: sender,
            drain: drain.clone(),
            generation: Generation(0),
            silence: Silence::default(),
            topology_doubted: false,
        };
        tokio::spawn(subscriber.run());
        Self { events, drain }
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
    wiring: IntakeWiring,
    events: mpsc::Sender<IntakeEvent>,
    drain: CancellationToken,
    generation: Generation,
    silence: Silence,
    /// A queue may have been deleted while the connection lived.
    topology_doubted: bool,
}

/// How a subscription ended.
enum End {
    Drained,
    Lost(String),
}

/// What reading the stream came to.
enum Read {
    More,
    /// The broker ended the consumer, as it does when the queue is deleted. The channel may live.
    Cancelled,
    Failed(String),
}

impl Subscriber {
    async fn run(mut self) {
        let depth = tokio::spawn(depths::watch(self.wiring.clone()));
        let mut backoff = Backoff::default();
        while !self.drain.is_cancelled() {
            let opening = self.drain.run_until_cancelled(self.wiring.link.channel()).await;
            let Some((channel, epoch)) = opening.flatten() else { break };
            let drain = self.drain.clone();
            let Some(subscribed) = drain.run_until_cancelled(self.subscribe(&channel, epoch)).await else { break };
            match subscribed {
                Ok(consumer) => {
                    backoff.reset();
                    match self.live(&channel, consumer).await {
                        End::Drained => break,
                        End::Lost(why) => self.lose(&channel, &why).await,
                    }
                }
                Err(fault) => self.fail(&channel, epoch, &fault, backoff.tries()).await,
            }
            // Also after a loss: a queue that cancels its consumer at once must not make a busy loop.
            self.drain.run_until_cancelled(sleep(backoff.next_wait())).await;
        }
        depth.abort();
        self.wiring.health.consuming.set(false);
    }

    async fn subscribe(&mut self, channel: &Channel, epoch: Epoch) -> Result<Consumer, SubscribeFault> {
        if self.topology_doubted || !self.wiring.link.has_ensured(epoch).await {
            match self.wiring.link.ensure(&self.wiring.topology).await {
                Some(Ok(report)) => report.warnings.iter().for_each(|warning| tracing::debug!("{warning}")),
                Some(Err(fault)) => return Err(SubscribeFault::Topology(fault)),
                None => return Err(SubscribeFault::Silent),
            }
            self.topology_doubted = false;
        }
        let subscribed = consume(channel, &self.wiring.queue, self.wiring.prefetch).await;
        self.topology_doubted = subscribed.is_err();
        subscribed
    }

    async fn live(&mut self, channel: &Channel, consumer: Consumer) -> End {
        self.generation.0 += 1;
        let generation = self.generation;
        self.wiring.settler.begin(generation, channel.clone(), self.wiring.prefetch.current()).await;
        self.wiring.current.set(generation);
        self.wiring.health.consuming_trouble.clear();
        self.wiring.health.consuming.set(true);
        tracing::info!(generation = generation.0, prefetch = self.wiring.prefetch.current(), "taking in jobs");
        if !self.tell(IntakeEvent::Began(generation)).await {
            return self.withdraw(channel, consumer, VecDeque::new()).await;
        }
        self.pump(channel, consumer).await
    }

    async fn pump(&mut self, channel: &Channel, mut consumer: Consumer) -> End {
        self.silence.begin();
        let events = self.events.clone();
        let mut ready = VecDeque::new();
        let mut delivered = 0;
        let mut cancellations = Backoff::default();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.reset();
        loop {
            tokio::select! {
                biased;
                () = self.drain.cancelled() => return self.withdraw(channel, consumer, ready).await,
                place = events.reserve(), if !ready.is_empty() => match (place, ready.pop_front()) {
                    (Ok(place), Some(jobs)) => place.send(IntakeEvent::Jobs(jobs)),
                    // Nobody takes jobs any more.
                    (Err(_), rest) => {
                        ready.extend(rest);
                        return self.withdraw(channel, consumer, ready).await;
                    }
                    (Ok(_), None) => {}
                },
                read = read(&mut consumer, self.generation, &self.wiring.held, &mut ready) => match read {
                    Read::More => {
                        delivered += 1;
                        cancellations.reset();
                        if self.wiring.prefetch.is_overfull(self.wiring.held.bytes()) {
                            let rest = std::mem::take(&mut ready);
                            consumer = match self.relieve(channel, consumer, rest).await {
                                Ok(consumer) => consumer,
                                Err(end) => return end,
                            };
                        }
                    }
                    Read::Cancelled => {
                        consumer = match self.resubscribe(channel, &mut cancellations, &mut ready).await {
                            Ok(consumer) => consumer,
                            Err(end) => return end,
                        };
                    }
                    Read::Failed(why) => return End::Lost(why),
                },
                _ = looks.tick() => {
                    match self.listen(std::mem::take(&mut delivered)) {
                        Verdict::Alive => {}
                        Verdict::NeverHeard => {
                            tracing::debug!("no job has come yet although some are ready; subscribing again");
                            consumer = match self.renew(channel, consumer, &mut ready).await {
                                Ok(consumer) => consumer,
                                Err(end) => return end,
                            };
                        }
                        Verdict::Dead => {
                            return End::Lost("subscribed, but nothing came although jobs are ready".to_owned());
                        }
                    }
                    consumer = match self.raise_prefetch(channel, consumer, &mut ready).await {
                        Ok(consumer) => consumer,
                        Err(end) => return end,
                    };
                }
            }
        }
    }

    fn listen(&mut self, delivered: u64) -> Verdict {
        let room = self.wiring.held.jobs() < u64::from(self.wiring.prefetch.current());
        self.silence.judge(Look { delivered, has_room: room, ready: self.wiring.health.jobs_ready.get() })
    }

    /// Stops for good: hands back all that the worker has not seen.
    async fn withdraw(&self, channel: &Channel, consumer: Consumer, ready: VecDeque<Vec<Delivered>>) -> End {
        self.wiring.health.consuming.set(false);
        match self.cancel(channel, consumer, ready).await {
            Ok(()) => End::Drained,
            // The broker delivers again what we could not hand back.
            Err(why) => {
                tracing::warn!("stopped taking in jobs, not by the book: {why}");
                End::Drained
            }
        }
    }

    /// Too much in memory: stops, lets the worker settle half of it, then goes on with fewer jobs at a time.
    async fn relieve(
        &mut self,
        channel: &Channel,
        consumer: Consumer,
        ready: VecDeque<Vec<Delivered>>,
    ) -> Result<Consumer, End> {
        let (jobs, bytes) = (self.wiring.held.jobs(), self.wiring.held.bytes());
        self.wiring.prefetch.lower(jobs, bytes);
        let prefetch = self.wiring.prefetch.current();
        tracing::warn!(jobs, bytes, prefetch, "the jobs in hand fill amqp.max_held_bytes; taking in fewer at a time");
        self.wiring.health.overfull.set(true);
        self.cancel(channel, consumer, ready).await.map_err(End::Lost)?;
        if !self.tell(IntakeEvent::Overfull).await {
            return Err(End::Drained);
        }
        while !self.wiring.prefetch.is_relieved(self.wiring.held.bytes()) {
            if self.drain.run_until_cancelled(sleep(RELIEF_CHECK)).await.is_none() {
                return Err(End::Drained);
            }
            if !channel.status().connected() {
                return Err(End::Lost("the channel was lost".to_owned()));
            }
        }
        self.wiring.health.overfull.set(false);
        self.consume_again(channel).await
    }

    /// A prefetch holds for a consumer's whole life, so a larger one needs a new consumer. Same channel, same generation.
    async fn raise_prefetch(
        &mut self,
        channel: &Channel,
        consumer: Consumer,
        ready: &mut VecDeque<Vec<Delivered>>,
    ) -> Result<Consumer, End> {
        let mut prefetch = self.wiring.prefetch;
        if !prefetch.raise(self.wiring.held.jobs(), self.wiring.held.bytes()) {
            return Ok(consumer);
        }
        self.wiring.prefetch = prefetch;
        self.renew(channel, consumer, ready).await
    }

    /// A new consumer in place of this one, of which nothing is lost. Same channel, same generation.
    async fn renew(
        &self,
        channel: &Channel,
        mut consumer: Consumer,
        ready: &mut VecDeque<Vec<Delivered>>,
    ) -> Result<Consumer, End> {
        cancel(channel, &consumer).await.map_err(End::Lost)?;
        let (generation, held) = (self.generation, &self.wiring.held);
        let rest = async { while let Read::More = read(&mut consumer, generation, held, ready).await {} };
        timeout(REST_TIMEOUT, rest)
            .await
            .map_err(|_elapsed| End::Lost("a cancelled consumer did not end".to_owned()))?;
        self.consume_again(channel).await
    }

    /// A deleted queue takes its messages with it: those in hand are delivered to nobody again, and are answered as long
    /// as the channel lives. Same channel, same generation.
    ///
    /// RabbitMQ 4.3 cancels as well when an acknowledgement is late, and delivers again what was in hand. Where somebody
    /// else has made the queue again in the meantime nothing tells the two apart; to answer twice is better than never.
    async fn resubscribe(
        &mut self,
        channel: &Channel,
        backoff: &mut Backoff,
        ready: &mut VecDeque<Vec<Delivered>>,
    ) -> Result<Consumer, End> {
        let health = Arc::clone(&self.wiring.health);
        health.consuming.set(false);
        health.consuming_trouble.set("the broker cancelled the consumer, as it does when the queue is deleted");
        tracing::warn!(generation = self.generation.0, "the broker cancelled the consumer; subscribing again");
        loop {
            if self.drain.run_until_cancelled(sleep(backoff.next_wait())).await.is_none() {
                let unseen = ready.drain(..).flatten().map(|job| job.receipt.hand_back()).collect();
                self.wiring.settler.settle(unseen).await;
                return Err(End::Drained);
            }
            if !channel.status().connected() {
                return Err(End::Lost("the channel was lost".to_owned()));
            }
            match self.wiring.link.ensure(&self.wiring.topology).await {
                Some(Ok(_)) => break,
                // Consuming what is missing would cost the channel.
                Some(Err(fault)) => health.consuming_trouble.set(fault),
                None => return Err(End::Lost("the connection was lost".to_owned())),
            }
        }
        let consumer = self.consume_again(channel).await?;
        health.resubscriptions.add(1);
        health.consuming_trouble.clear();
        health.consuming.set(true);
        Ok(consumer)
    }

    async fn consume_again(&self, channel: &Channel) -> Result<Consumer, End> {
        let consumer = consume(channel, &self.wiring.queue, self.wiring.prefetch).await;
        consumer.map_err(|fault| End::Lost(fault.to_string()))
    }

    /// Cancels the consumer and hands back what nobody has seen: `ready`, and the rest of the stream as it comes.
    async fn cancel(
        &self,
        channel: &Channel,
        mut consumer: Consumer,
        ready: VecDeque<Vec<Delivered>>,
    ) -> Result<(), String> {
        cancel(channel, &consumer).await?;
        let rest = async {
            let (mut unseen, mut ended) = (ready, false);
            loop {
                let all = unseen.drain(..).flatten();
                self.wiring.settler.settle(all.map(|job| job.receipt.hand_back()).collect()).await;
                if ended {
                    return;
                }
                ended = match read(&mut consumer, self.generation, &self.wiring.held, &mut unseen).await {
                    Read::More => false,
                    Read::Cancelled | Read::Failed(_) => true,
                };
            }
        };
        timeout(REST_TIMEOUT, rest).await.map_err(|_elapsed| "a cancelled consumer did not end".to_owned())
    }

    async fn lose(&mut self, channel: &Channel, why: &str) {
        self.wiring.current.clear();
        let health = &self.wiring.health;
        health.consuming.set(false);
        health.overfull.set(false);
        health.resubscriptions.add(1);
        health.consuming_trouble.set(format!("the subscription was lost: {why}"));
        tracing::warn!(generation = self.generation.0, "the subscription was lost, its jobs come again: {why}");
        // While the channel lives, the broker keeps what it delivered there.
        let _ = timeout(CLOSE_TIMEOUT, channel.close(200, "OK".into())).await;
        self.topology_doubted = true;
        self.tell(IntakeEvent::Lost(self.generation)).await;
    }

    async fn fail(&self, channel: &Channel, epoch: Epoch, fault: &SubscribeFault, tries: u32) {
        self.wiring.health.consuming_trouble.set(fault);
        if (tries + 1).is_power_of_two() {
            tracing::warn!(tries = tries + 1, "no jobs can be taken in: {fault}");
        }
        let _ = timeout(CLOSE_TIMEOUT, channel.close(200, "OK".into())).await;
        match fault {
            SubscribeFault::Silent => self.wiring.link.break_off(epoch).await,
            SubscribeFault::Broker(_) | SubscribeFault::Topology(_) => {}
        }
    }

    /// False when draining began, or nobody listens any more.
    async fn tell(&self, event: IntakeEvent) -> bool {
        matches!(self.drain.run_until_cancelled(self.events.send(event)).await, Some(Ok(())))
    }
}

#[derive(Debug, thiserror::Error)]
enum SubscribeFault {
    #[error("the broker refuses the subscription: {0}")]
    Broker(lapin::Error),
    #[error("{0}")]
    Topology(TopologyFault),
    #[error("the broker does not answer")]
    Silent,
}

/// The prefetch must be set first: the library buffers without limit what the broker sends.
async fn consume(channel: &Channel, queue: &ShortString, prefetch: Prefetch) -> Result<Consumer, SubscribeFault> {
    let work = async {
        channel.basic_qos(prefetch.current(), BasicQosOptions { global: false }).await?;
        channel.basic_consume(queue.clone(), "".into(), BasicConsumeOptions::default(), FieldTable::default()).await
    };
    match timeout(CALL_TIMEOUT, work).await {
        Ok(consumer) => consumer.map_err(SubscribeFault::Broker),
        Err(_elapsed) => Err(SubscribeFault::Silent),
    }
}

async fn cancel(channel: &Channel, consumer: &Consumer) -> Result<(), String> {
    match timeout(CALL_TIMEOUT, channel.basic_cancel(consumer.tag(), BasicCancelOptions::default())).await {
        Ok(cancelled) => cancelled.map_err(|error| error.to_string()),
        Err(_elapsed) => Err("the broker does not answer".to_owned()),
    }
}

/// Waits for deliveries and takes all that are there, up to a chunk, also when the stream ends behind them. Cancel-safe:
/// what was read is in `ready`.
async fn read(
    consumer: &mut Consumer,
    generation: Generation,
    held: &Arc<Held>,
    ready: &mut VecDeque<Vec<Delivered>>,
) -> Read {
    poll_fn(|context| poll_chunk(consumer, context, generation, held, ready)).await
}

fn poll_chunk(
    consumer: &mut Consumer,
    context: &mut Context<'_>,
    generation: Generation,
    held: &Arc<Held>,
    ready: &mut VecDeque<Vec<Delivered>>,
) -> Poll<Read> {
    let (mut taken, mut bytes) = (0, 0);
    while taken < CHUNK && bytes < CHUNK_BYTES {
        match Pin::new(&mut *consumer).poll_next(context) {
            Poll::Ready(Some(Ok(delivery))) => {
                taken += 1;
                bytes += delivery.data.len() as u64;
                push(ready, delivered(delivery, generation, held));
            }
            // The stream says nothing more after either, and must not be polled again.
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Read::Failed(error.to_string())),
            Poll::Ready(None) => return Poll::Ready(Read::Cancelled),
            Poll::Pending if taken == 0 => return Poll::Pending,
            Poll::Pending => break,
        }
    }
    Poll::Ready(Read::More)
}

fn push(ready: &mut VecDeque<Vec<Delivered>>, job: Delivered) {
    match ready.back_mut() {
        Some(chunk) if chunk.len() < CHUNK => chunk.push(job),
        Some(_) | None => ready.push_back(vec![job]),
    }
}

fn delivered(delivery: Delivery, generation: Generation, held: &Arc<Held>) -> Delivered {
    let bytes = delivery.data.len() as u64 + DELIVERY_OVERHEAD_BYTES;
    Delivered {
        body: delivery.data,
        properties: Properties::new(delivery.properties),
        redelivered: delivery.redelivered,
        receipt: Receipt::new(generation, delivery.delivery_tag, bytes, held),
    }
}
