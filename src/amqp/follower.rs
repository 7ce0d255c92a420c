//! Copies of the outcomes, for a command that waits for those of its own jobs: through a queue of its own, so that
//! nobody who reads the results queue misses any.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer};
use tokio::time::{sleep, timeout};

use super::backoff::Backoff;
use super::connection::{
    ACCESS_REFUSED, CALL_TIMEOUT, CLOSE_TIMEOUT, ConnectFault, Dial, GRANT, NOT_FOUND, REPLY_SUCCESS, reply_code,
    reply_text,
};
use super::message::{Properties, short};
use super::route::RESULTS_KEY;
use crate::config::{AmqpSettings, Exchange};

/// The broker deletes the queue when nobody has read it for this long, in milliseconds: a command that was killed
/// leaves nothing behind, and one whose connection broke finds it again.
const EXPIRES_MILLIS: i32 = 10 * 60 * 1_000;
/// Outcomes delivered and not yet acknowledged, at most.
const PREFETCH: u16 = 1_000;
/// Acknowledged together.
const ACK_EVERY: u32 = 200;

/// A queue of its own, bound to all outcomes.
#[derive(Debug)]
pub struct Follower {
    dial: Dial,
    patience: Duration,
    queue: ShortString,
    subscription: Option<Subscription>,
}

#[derive(Debug)]
struct Subscription {
    connection: Connection,
    channel: Channel,
    consumer: Consumer,
    unacknowledged: u32,
    /// The tag of the last outcome that was given out; to acknowledge it acknowledges all before it.
    last: Option<u64>,
}

/// An outcome, whoever's it is.
#[derive(Debug)]
pub struct Followed {
    pub body: Vec<u8>,
    pub properties: Properties,
}

/// Why outcomes cannot be followed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FollowFault {
    #[error(transparent)]
    Connect(#[from] ConnectFault),
    #[error(
        "--follow needs an exchange that its queue can be bound to, and amqp.exchange is the default exchange: leave out --follow and read the outcomes with `outcomes`, or name an exchange in amqp.exchange"
    )]
    DefaultExchange,
    #[error(
        "exchange {exchange:?} does not exist: start the worker once, which declares what is missing, or create it (amqp.exchange)"
    )]
    NoExchange { exchange: String },
    #[error(
        "the broker's user may not declare queue {queue:?}, bind it to exchange {exchange:?} and read it: {cause}; {grant}, or leave out --follow", grant = GRANT
    )]
    NoRight { queue: String, exchange: String, cause: String },
    #[error(
        "queue {queue:?}, through which the outcomes came, is gone: read them from the results queue with `outcomes`"
    )]
    Gone { queue: String },
    #[error("the broker does not answer")]
    Silent,
    #[error("the connection to the broker broke: {cause}")]
    Lost { cause: String },
}

impl Follower {
    /// Declares the queue, after which no outcome is missed. `run` makes its name.
    pub async fn open(settings: &AmqpSettings, run: &str) -> Result<Self, FollowFault> {
        let exchange = match &settings.exchange {
            Exchange::Default => return Err(FollowFault::DefaultExchange),
            Exchange::Named(name) => short(name.as_str()),
        };
        let dial = Dial::new(settings, "follow");
        let queue = ShortString::from(format!("{exchange}.follow.{run}"));
        let connection = dial.connect(settings.connect_timeout).await?;
        let opened = async {
            let channel = connection.create_channel().await?;
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            let mut arguments = FieldTable::default();
            arguments.insert("x-expires".into(), AMQPValue::LongInt(EXPIRES_MILLIS));
            channel.queue_declare(queue.clone(), options, arguments).await?;
            let (key, options) = (RESULTS_KEY.into(), QueueBindOptions::default());
            channel.queue_bind(queue.clone(), exchange.clone(), key, options, FieldTable::default()).await?;
            let consumer = subscribe(&channel, &queue).await?;
            Ok((channel, consumer))
        };
        let fault = |error: &lapin::Error| match reply_code(error) {
            Some(NOT_FOUND) => FollowFault::NoExchange { exchange: exchange.to_string() },
            Some(ACCESS_REFUSED) => FollowFault::NoRight {
                queue: queue.to_string(),
                exchange: exchange.to_string(),
                cause: reply_text(error).unwrap_or_default(),
            },
            Some(_) | None => FollowFault::Lost { cause: error.to_string() },
        };
        let opened = match timeout(CALL_TIMEOUT, opened).await {
            Ok(Ok(opened)) => Ok(opened),
            Ok(Err(error)) => Err(fault(&error)),
            Err(_elapsed) => Err(FollowFault::Silent),
        };
        let (channel, consumer) = match opened {
            Ok(opened) => opened,
            Err(fault) => {
                give_up(&connection, &queue).await;
                return Err(fault);
            }
        };
        let subscription = Some(Subscription { connection, channel, consumer, unacknowledged: 0, last: None });
        Ok(Self { dial, patience: settings.connect_timeout, queue, subscription })
    }

    /// The next outcome, waited for without end; after a lost connection some come again. The one before counts as
    /// done. Cancel-safe.
    pub async fn next(&mut self) -> Result<Followed, FollowFault> {
        let mut backoff = Backoff::default();
        loop {
            match &mut self.subscription {
                Some(subscription) => match subscription.next().await {
                    Some(followed) => return Ok(followed),
                    None => self.subscription = None,
                },
                None => match self.resubscribe().await {
                    Ok(subscription) => self.subscription = Some(subscription),
                    Err(
                        fault @ (FollowFault::Gone { .. }
                        | FollowFault::NoRight { .. }
                        | FollowFault::NoExchange { .. }
                        | FollowFault::DefaultExchange),
                    ) => {
                        return Err(fault);
                    }
                    Err(FollowFault::Connect(fault)) if fault.is_refusal() => return Err(fault.into()),
                    Err(FollowFault::Connect(_) | FollowFault::Silent | FollowFault::Lost { .. }) => {
                        sleep(backoff.next_wait()).await;
                    }
                },
            }
        }
    }

    async fn resubscribe(&self) -> Result<Subscription, FollowFault> {
        let connection = self.dial.connect(self.patience).await?;
        let work = async {
            let channel = connection.create_channel().await?;
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(self.queue.clone(), passive, FieldTable::default()).await?;
            let consumer = subscribe(&channel, &self.queue).await?;
            Ok((channel, consumer))
        };
        match timeout(CALL_TIMEOUT, work).await {
            Ok(Ok((channel, consumer))) => {
                Ok(Subscription { connection, channel, consumer, unacknowledged: 0, last: None })
            }
            Ok(Err(error)) if reply_code(&error) == Some(NOT_FOUND) => {
                Err(FollowFault::Gone { queue: self.queue.to_string() })
            }
            Ok(Err(error)) => Err(lost(&error)),
            Err(_elapsed) => Err(FollowFault::Silent),
        }
    }

    /// Deletes the queue; ends in time whatever the broker does.
    pub async fn close(self) {
        let Some(Subscription { connection, channel, .. }) = self.subscription else { return };
        let delete = channel.queue_delete(self.queue, QueueDeleteOptions::default());
        // What cannot be deleted expires.
        let _ = timeout(CLOSE_TIMEOUT, delete).await;
        let _ = timeout(CLOSE_TIMEOUT, connection.close(REPLY_SUCCESS, "OK".into())).await;
    }
}

impl Subscription {
    /// `None`: it is lost.
    async fn next(&mut self) -> Option<Followed> {
        if self.unacknowledged >= ACK_EVERY
            && let Some(tag) = self.last.take()
        {
            self.unacknowledged = 0;
            timeout(CALL_TIMEOUT, self.channel.basic_ack(tag, BasicAckOptions { multiple: true })).await.ok()?.ok()?;
        }
        let delivery = self.consumer.next().await?.ok()?;
        self.unacknowledged += 1;
        self.last = Some(delivery.delivery_tag);
        Some(Followed { body: delivery.data, properties: Properties::new(delivery.properties) })
    }
}

/// Takes away a queue that was declared for nothing, on a channel of its own: the other one may be closed by the fault. What
/// cannot be deleted expires.
async fn give_up(connection: &Connection, queue: &ShortString) {
    let delete = async {
        let channel = connection.create_channel().await?;
        channel.queue_delete(queue.clone(), QueueDeleteOptions::default()).await
    };
    let _ = timeout(CLOSE_TIMEOUT, delete).await;
    let _ = timeout(CLOSE_TIMEOUT, connection.close(REPLY_SUCCESS, "OK".into())).await;
}

async fn subscribe(channel: &Channel, queue: &ShortString) -> lapin::Result<Consumer> {
    channel.basic_qos(PREFETCH, BasicQosOptions { global: false }).await?;
    channel.basic_consume(queue.clone(), "".into(), BasicConsumeOptions::default(), FieldTable::default()).await
}

fn lost(error: &lapin::Error) -> FollowFault {
    FollowFault::Lost { cause: error.to_string() }
}
