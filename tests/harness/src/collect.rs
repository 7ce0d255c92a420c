//! Reading a queue to its end through whatever faults the test brings about.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::time::timeout;

use crate::client::{Client, REQUEST_LIMIT, close};
use crate::message::{Message, short};

const PREFETCH: u16 = 4_000;
const ACK_EVERY: usize = 500;
/// A pause in the stream after which what was read is acknowledged.
const LULL: Duration = Duration::from_millis(20);
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// When a collection is complete.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// This many messages have been read; what was prefetched beyond them goes back.
    Count(usize),
    /// Nothing has come for this long.
    Idle(Duration),
}

impl Client {
    /// Consumes `queue` until the collection is complete or the deadline has passed, whichever is first.
    ///
    /// Goes on over a new connection after each fault and never throws away what it has read: too few messages are no
    /// error, they are what the caller counts. A message that comes again because the acknowledgement of it was lost
    /// appears once. An error means that the queue could not be consumed at all.
    pub async fn collect(&self, queue: &str, until: Until, deadline: Duration) -> Result<Vec<Message>> {
        let mut collection = Collection { until, end: Instant::now() + deadline, ..Collection::new() };
        loop {
            let error = match self.collect_on_one_channel(queue, &mut collection).await {
                Ok(()) => return Ok(collection.messages),
                Err(error) => error,
            };
            if Instant::now() + BETWEEN_TRIES >= collection.end {
                if collection.attached {
                    return Ok(collection.messages);
                }
                return Err(error.context(format!("{queue} could not be consumed within {deadline:?}")));
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }

    async fn collect_on_one_channel(&self, queue: &str, collection: &mut Collection) -> Result<()> {
        let channel = self.channel().await?;
        timeout(REQUEST_LIMIT, channel.basic_qos(PREFETCH, BasicQosOptions::default())).await??;
        let options = BasicConsumeOptions::default();
        let consume = channel.basic_consume(short(queue)?, "".into(), options, FieldTable::default());
        let mut consumer = timeout(REQUEST_LIMIT, consume).await??;
        collection.attached = true;
        let read = collection.read(&channel, &mut consumer).await;
        let left = leave(&channel, consumer).await;
        close(&channel).await;
        read.and(left)
    }
}

struct Collection {
    until: Until,
    end: Instant,
    messages: Vec<Message>,
    seen: HashSet<u64>,
    attached: bool,
}

impl Collection {
    fn new() -> Self {
        Self {
            until: Until::Count(0),
            end: Instant::now(),
            messages: Vec::new(),
            seen: HashSet::new(),
            attached: false,
        }
    }

    async fn read(&mut self, channel: &Channel, consumer: &mut Consumer) -> Result<()> {
        let (mut unacked, mut last_tag) = (0, 0);
        let mut quiet_since = Instant::now();
        loop {
            let now = Instant::now();
            let complete = match self.until {
                Until::Count(count) => self.messages.len() >= count,
                Until::Idle(idle) => now.duration_since(quiet_since) >= idle,
            };
            let next = if complete || now >= self.end { None } else { Some(timeout(LULL, consumer.next()).await) };
            let lull = !matches!(next, Some(Ok(_)));
            if unacked >= ACK_EVERY || (lull && unacked > 0) {
                channel.basic_ack(last_tag, BasicAckOptions { multiple: true }).await?;
                unacked = 0;
            }
            match next {
                None => return Ok(()),
                Some(Err(_lull)) => {}
                Some(Ok(None)) => bail!("the broker cancelled the consumer"),
                Some(Ok(Some(delivery))) => {
                    let delivery = delivery?;
                    quiet_since = Instant::now();
                    last_tag = delivery.delivery_tag;
                    unacked += 1;
                    self.take(delivery);
                }
            }
        }
    }

    fn take(&mut self, delivery: Delivery) {
        let message =
            Message { body: delivery.data, properties: delivery.properties, redelivered: delivery.redelivered };
        let mut hasher = DefaultHasher::new();
        (message.message_id(), &message.body).hash(&mut hasher);
        let new = self.seen.insert(hasher.finish());
        if new || !message.redelivered {
            self.messages.push(message);
        }
    }
}

/// Cancels before closing: a close right behind the last acknowledgements can overtake them on quorum queues. What the
/// broker had sent ahead goes back to the queue.
async fn leave(channel: &Channel, mut consumer: Consumer) -> Result<()> {
    timeout(REQUEST_LIMIT, channel.basic_cancel(consumer.tag(), BasicCancelOptions::default())).await??;
    let mut last_tag = None;
    while let Ok(Some(Ok(delivery))) = timeout(REQUEST_LIMIT, consumer.next()).await {
        last_tag = Some(delivery.delivery_tag);
    }
    if let Some(tag) = last_tag {
        channel.basic_nack(tag, BasicNackOptions { multiple: true, requeue: true }).await?;
    }
    Ok(())
}
