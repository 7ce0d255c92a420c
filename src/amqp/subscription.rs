//! The consumers of one channel, read as one stream.
//!
//! The broker fixes how many deliveries a consumer may have in advance when the consumer begins. So more of them are
//! asked for through one consumer more; fewer, by cancelling all and beginning anew.
//!
//! Whatever the broker is asked here, deliveries are taken meanwhile: its answer comes behind them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::Stream;
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use tokio::time::timeout;

use super::acknowledge::Settler;
use super::connection::{CALL_TIMEOUT, in_words};
use super::echo::{Echo, Origin};
use super::health::QueueHealth;
use super::message::{Delivered, Properties};
use super::receipt::{Generation, Held, Receipt};
use super::valve::Valve;
use crate::contract::job::expected_weight;

/// Most deliveries in one event.
const CHUNK: usize = 256;
/// Most bytes of deliveries that are read before it is checked how much memory the jobs in hand take.
const CHUNK_BYTES: u64 = 1024 * 1024;
/// Longest wait for the rest of a cancelled consumer's deliveries.
const REST_TIMEOUT: Duration = Duration::from_secs(20);

/// Deliveries that nobody has seen yet, in lists of at most 256.
pub(super) type Unseen = VecDeque<Vec<Delivered>>;

/// What reading came to.
#[derive(Debug)]
pub(super) enum Read {
    /// This many deliveries, and the most memory that they may take.
    More {
        jobs: u64,
        bytes: u64,
    },
    /// The broker ended a consumer, as it does when the queue is deleted, or from 4.3 on when an acknowledgement is late.
    /// The channel may live.
    Cancelled,
    /// The last delivery is one of the worker's own messages.
    Echo(String),
    Failed(String),
}

/// What becomes of the deliveries that a cancelled consumer still had.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rest<'a> {
    Keep,
    /// As they come, so that they take no memory.
    HandBack(&'a Settler),
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ConsumeFault {
    #[error("the broker refuses the subscription: {}", in_words(.0, "read"))]
    Broker(lapin::Error),
    #[error("the broker does not answer")]
    Silent,
}

/// See the module. When it is dropped, the valve no longer waits for it.
#[derive(Debug)]
pub(super) struct Subscription {
    channel: Channel,
    queue: ShortString,
    consumers: Vec<Consumer>,
    /// Tags of consumers that the broker has ended. RabbitMQ 4.3 keeps one whose acknowledgement was late, and gives it
    /// jobs again when that has come; nobody would see those jobs. So these are cancelled like the others.
    ended: Vec<ShortString>,
    /// The consumer that is read first, so that none is read last all the time.
    first: usize,
    /// What reading came to while the broker was asked something.
    untold: Option<Read>,
    inlet: Inlet,
}

/// What makes a delivery of what the library reads.
#[derive(Clone, Debug)]
pub(super) struct Inlet {
    pub(super) generation: Generation,
    pub(super) held: Arc<Held>,
    pub(super) valve: Arc<Valve>,
    pub(super) echo: Arc<Echo>,
    pub(super) health: Arc<QueueHealth>,
}

impl Subscription {
    /// Begins with one consumer.
    pub(super) async fn open(
        channel: &Channel,
        queue: &ShortString,
        prefetch: u16,
        inlet: Inlet,
    ) -> Result<Self, ConsumeFault> {
        inlet.valve.watch();
        let (channel, queue) = (channel.clone(), queue.clone());
        let mut subscription =
            Self { channel, queue, consumers: Vec::new(), ended: Vec::new(), first: 0, untold: None, inlet };
        let consumer = consume(&subscription.channel, &subscription.queue, prefetch).await?;
        subscription.add(consumer);
        Ok(subscription)
    }

    pub(super) fn generation(&self) -> Generation {
        self.inlet.generation
    }

    /// From now on this many more deliveries may be outstanding.
    pub(super) async fn widen(&mut self, prefetch: u16, unseen: &mut Unseen) -> Result<(), ConsumeFault> {
        let (channel, queue) = (self.channel.clone(), self.queue.clone());
        let mut consuming = pin!(consume(&channel, &queue, prefetch));
        loop {
            tokio::select! {
                biased;
                consumer = &mut consuming => {
                    self.add(consumer?);
                    return Ok(());
                }
                read = self.read(unseen), if self.untold.is_none() && !self.consumers.is_empty() => match read {
                    // These deliveries are counted with those that come next.
                    Read::More { .. } => {}
                    end @ (Read::Cancelled | Read::Echo(_) | Read::Failed(_)) => self.untold = Some(end),
                }
            }
        }
    }

    /// Waits for deliveries and takes all that are there, up to a chunk, also when a stream ends behind them.
    /// Cancel-safe: what was read is in `unseen`.
    pub(super) async fn read(&mut self, unseen: &mut Unseen) -> Read {
        if let Some(untold) = self.untold.take() {
            return untold;
        }
        poll_fn(|context| self.poll_chunk(context, unseen)).await
    }

    /// Ends all consumers, and takes what they still had: the broker has it on its way.
    pub(super) async fn cancel(&mut self, unseen: &mut Unseen, rest: Rest<'_>) -> Result<(), String> {
        let tags: Vec<ShortString> = self.ended.drain(..).chain(self.consumers.iter().map(Consumer::tag)).collect();
        let channel = self.channel.clone();
        let work = async {
            let mut cancelling = pin!(async {
                for tag in tags {
                    channel.basic_cancel(tag, BasicCancelOptions::default()).await?;
                }
                lapin::Result::Ok(())
            });
            let mut cancelled = false;
            while !cancelled || !self.consumers.is_empty() {
                tokio::select! {
                    biased;
                    done = &mut cancelling, if !cancelled => {
                        done.map_err(|error| error.to_string())?;
                        cancelled = true;
                    }
                    read = self.read(unseen), if !self.consumers.is_empty() => match read {
                        Read::More { .. } | Read::Cancelled | Read::Echo(_) => {}
                        Read::Failed(why) => return Err(why),
                    }
                }
                match rest {
                    Rest::Keep => {}
                    Rest::HandBack(settler) => hand_back(unseen, settler).await,
                }
            }
            Ok(())
        };
        timeout(REST_TIMEOUT, work).await.map_err(|_elapsed| "a cancelled consumer did not end".to_owned())?
    }

    fn add(&mut self, consumer: Consumer) {
        self.consumers.push(consumer);
        self.inlet.health.consumers.raise(1);
    }

    fn remove(&mut self, index: usize) {
        self.consumers.remove(index);
        self.inlet.health.consumers.lower(1);
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>, unseen: &mut Unseen) -> Poll<Read> {
        let (mut jobs, mut bytes) = (0, 0);
        let mut at = 0;
        self.first = self.first.wrapping_add(1);
        while at < self.consumers.len() && jobs < CHUNK as u64 && bytes < CHUNK_BYTES {
            let index = self.first.wrapping_add(at) % self.consumers.len();
            match Pin::new(&mut self.consumers[index]).poll_next(context) {
                Poll::Ready(Some(Ok(delivery))) => {
                    jobs += 1;
                    let (delivered, echo) = self.inlet.let_in(delivery);
                    bytes += delivered.receipt.bytes();
                    push(unseen, delivered);
                    if let Some(echo) = echo {
                        return Poll::Ready(Read::Echo(echo));
                    }
                }
                // The stream says nothing more after either, and must not be polled again.
                Poll::Ready(Some(Err(error))) => {
                    self.remove(index);
                    return Poll::Ready(Read::Failed(error.to_string()));
                }
                Poll::Ready(None) => {
                    self.ended.push(self.consumers[index].tag());
                    self.remove(index);
                    return Poll::Ready(Read::Cancelled);
                }
                Poll::Pending => at += 1,
            }
        }
        if jobs == 0 { Poll::Pending } else { Poll::Ready(Read::More { jobs, bytes }) }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.inlet.health.consumers.lower(self.consumers.len());
        // Nobody will take what the library still holds. It is taken here, so that the valve does not count it for ever.
        let mut context = Context::from_waker(Waker::noop());
        for consumer in &mut self.consumers {
            while let Poll::Ready(Some(Ok(delivery))) = Pin::new(&mut *consumer).poll_next(&mut context) {
                self.inlet.valve.took(delivery.data.len() as u64);
            }
        }
        self.inlet.valve.leave();
    }
}

impl Inlet {
    fn let_in(&self, delivery: Delivery) -> (Delivered, Option<String>) {
        let Delivery { delivery_tag, exchange, routing_key, redelivered, properties, data, .. } = delivery;
        self.valve.took(data.len() as u64);
        let properties = Properties::new(properties);
        let origin = Origin { exchange: exchange.as_str(), routing_key: routing_key.as_str() };
        let echo = self.echo.heard(&properties, origin);
        // This much memory is counted for the delivery until it is read as a job. Then its receipt is told how much it
        // is.
        let bytes = expected_weight(data.len()) as u64;
        let receipt = Receipt::new(self.generation, delivery_tag, bytes, &self.held);
        (Delivered { body: data, properties, redelivered, receipt }, echo)
    }
}

/// A tag that no other consumer of this process has. The broker writes it before each delivery, and one of its own making
/// would be 31 bytes.
fn next_tag() -> ShortString {
    static CONSUMERS: AtomicU64 = AtomicU64::new(0);
    let number = CONSUMERS.fetch_add(1, Ordering::Relaxed) + 1;
    format!("c{number}").into()
}

/// The prefetch must be set first: the library buffers without limit what the broker sends.
async fn consume(channel: &Channel, queue: &ShortString, prefetch: u16) -> Result<Consumer, ConsumeFault> {
    let work = async {
        channel.basic_qos(prefetch, BasicQosOptions { global: false }).await?;
        channel.basic_consume(queue.clone(), next_tag(), BasicConsumeOptions::default(), FieldTable::default()).await
    };
    match timeout(CALL_TIMEOUT, work).await {
        Ok(consumer) => consumer.map_err(ConsumeFault::Broker),
        Err(_elapsed) => Err(ConsumeFault::Silent),
    }
}

/// Gives deliveries that nobody has seen back to the broker.
pub(super) async fn hand_back(unseen: &mut Unseen, settler: &Settler) {
    settler.settle(unseen.drain(..).flatten().map(|job| job.receipt.hand_back()).collect()).await;
}

fn push(unseen: &mut Unseen, job: Delivered) {
    match unseen.back_mut() {
        Some(chunk) if chunk.len() < CHUNK => chunk.push(job),
        Some(_) | None => unseen.push_back(vec![job]),
    }
}
