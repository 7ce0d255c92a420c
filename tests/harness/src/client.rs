//! The test's own side of the queues: a connection that comes back after each fault, and the small verbs on queues.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lapin::options::{
    BasicAckOptions, BasicGetOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::deadline::eventually;
use crate::message::{Message, short};

/// One request to the broker: connecting, declaring, counting.
pub(crate) const REQUEST_LIMIT: Duration = Duration::from_secs(20);
/// How long publishing goes on through faults before it is an error.
const PATIENCE: Duration = Duration::from_secs(60);
const COUNT_LIMIT: Duration = Duration::from_secs(60);
/// Looks at a queue's length that must agree; right after a restart a quorum queue counts too few for a moment.
const AGREEING_COUNTS: u32 = 4;
const BETWEEN_COUNTS: Duration = Duration::from_millis(75);

/// An AMQP client for tests. It connects when first needed and again after each fault, and belongs to the runtime of
/// the test that made it.
#[derive(Debug)]
pub struct Client {
    uri: String,
    pub(crate) patience: Duration,
    connection: Mutex<Option<Arc<Connection>>>,
}

impl Client {
    /// `uri` as [`crate::Broker::uri`] or [`crate::Vhost::uri`] gives it.
    pub fn new(uri: &str) -> Self {
        Self { uri: uri.to_owned(), patience: PATIENCE, connection: Mutex::new(None) }
    }

    /// How long [`Client::publish`] goes on through faults; 60 s unless set.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Declares a durable quorum queue with these arguments besides its type. Declared again it must be the same.
    pub async fn declare_quorum(&self, queue: &str, arguments: &[(&str, AMQPValue)]) -> Result<()> {
        let mut table = FieldTable::default();
        table.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        for (name, value) in arguments {
            table.insert(short(name)?, value.clone());
        }
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.ask(&format!("declare queue {queue}"), async |channel| {
            channel.queue_declare(short(queue)?, options, table.clone()).await?;
            Ok(())
        })
        .await
    }

    /// A durable queue of the old kind, which lives on the node that is asked.
    pub async fn declare_classic(&self, queue: &str) -> Result<()> {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.ask(&format!("declare queue {queue}"), async |channel| {
            channel.queue_declare(short(queue)?, options, FieldTable::default()).await?;
            Ok(())
        })
        .await
    }

    /// Declares a durable direct exchange.
    pub async fn declare_exchange(&self, exchange: &str) -> Result<()> {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        self.ask(&format!("declare exchange {exchange}"), async |channel| {
            let kind = lapin::ExchangeKind::Direct;
            Ok(channel.exchange_declare(short(exchange)?, kind, options, FieldTable::default()).await?)
        })
        .await
    }

    pub async fn bind(&self, queue: &str, exchange: &str, key: &str) -> Result<()> {
        self.ask(&format!("bind {queue} to {exchange}"), async |channel| {
            let options = QueueBindOptions::default();
            let (queue, exchange, key) = (short(queue)?, short(exchange)?, short(key)?);
            Ok(channel.queue_bind(queue, exchange, key, options, FieldTable::default()).await?)
        })
        .await
    }

    pub async fn unbind(&self, queue: &str, exchange: &str, key: &str) -> Result<()> {
        self.ask(&format!("unbind {queue} from {exchange}"), async |channel| {
            let (queue, exchange, key) = (short(queue)?, short(exchange)?, short(key)?);
            Ok(channel.queue_unbind(queue, exchange, key, FieldTable::default()).await?)
        })
        .await
    }

    /// Whether the queue is there.
    pub async fn exists(&self, queue: &str) -> Result<bool> {
        match self.count_now(queue).await {
            Ok(_) => Ok(true),
            Err(error) if format!("{error:#}").contains("NOT_FOUND") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Messages ready in the queue (those a consumer holds do not count), once several looks agree.
    pub async fn count(&self, queue: &str) -> Result<u32> {
        let (mut last, mut agreed) = (None, 0);
        eventually(COUNT_LIMIT, &format!("a steady count of {queue}"), async || {
            let now = self.count_now(queue).await?;
            agreed = if last == Some(now) { agreed + 1 } else { 1 };
            last = Some(now);
            if agreed >= AGREEING_COUNTS {
                return Ok(Some(now));
            }
            tokio::time::sleep(BETWEEN_COUNTS).await;
            Ok(None)
        })
        .await
    }

    /// Waits until this many messages are ready in the queue, and no more come for some looks. What a client held when
    /// it ended is there again only when the broker has noticed that end.
    pub async fn count_becomes(&self, queue: &str, wanted: u32) -> Result<()> {
        eventually(COUNT_LIMIT, &format!("{wanted} messages in {queue}"), async || {
            let count = self.count(queue).await?;
            ensure!(count == wanted, "there are {count}");
            Ok(Some(()))
        })
        .await
    }

    /// Messages ready in the queue at this moment. RabbitMQ says 0 for a quorum queue that has no leader just then.
    pub async fn count_now(&self, queue: &str) -> Result<u32> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        self.ask(&format!("look at {queue}"), async |channel| {
            Ok(channel.queue_declare(short(queue)?, options, FieldTable::default()).await?.message_count())
        })
        .await
    }

    /// Takes everything that is ready at this moment, one by one; for thousands use [`Client::collect`]. What was read
    /// is acknowledged only after the last, so an error leaves all of it in the queue.
    pub async fn get_all(&self, queue: &str) -> Result<Vec<Message>> {
        let channel = self.channel().await?;
        let (mut messages, mut last) = (Vec::new(), None);
        while let Some(got) =
            timeout(REQUEST_LIMIT, channel.basic_get(short(queue)?, BasicGetOptions::default())).await??
        {
            last = Some(got.delivery.delivery_tag);
            let (body, properties) = (got.delivery.data, got.delivery.properties);
            messages.push(Message { body, properties, redelivered: got.delivery.redelivered });
        }
        if let Some(tag) = last {
            channel.basic_ack(tag, BasicAckOptions { multiple: true }).await?;
            // An answered request behind the acknowledgement, so that closing cannot overtake it.
            channel.basic_get(short(queue)?, BasicGetOptions { no_ack: false }).await?;
        }
        close(&channel).await;
        Ok(messages)
    }

    /// Empties the queue and returns how many messages were ready in it.
    pub async fn purge(&self, queue: &str) -> Result<u32> {
        self.ask(&format!("purge {queue}"), async |channel| {
            Ok(channel.queue_purge(short(queue)?, QueuePurgeOptions::default()).await?)
        })
        .await
    }

    /// Deletes the queue with all it holds; consumers of it are cancelled by the broker.
    pub async fn delete(&self, queue: &str) -> Result<()> {
        self.ask(&format!("delete {queue}"), async |channel| {
            channel.queue_delete(short(queue)?, QueueDeleteOptions::default()).await?;
            Ok(())
        })
        .await
    }

    /// Deletes an exchange, and with it every binding to it.
    pub async fn delete_exchange(&self, exchange: &str) -> Result<()> {
        self.ask(&format!("delete exchange {exchange}"), async |channel| {
            Ok(channel.exchange_delete(short(exchange)?, ExchangeDeleteOptions::default()).await?)
        })
        .await
    }

    pub async fn exchange_exists(&self, exchange: &str) -> Result<bool> {
        let options = ExchangeDeclareOptions { passive: true, durable: true, ..ExchangeDeclareOptions::default() };
        let what = format!("look at exchange {exchange}");
        let declared = self.ask(&what, async |channel| {
            let kind = lapin::ExchangeKind::Direct;
            Ok(channel.exchange_declare(short(exchange)?, kind, options, FieldTable::default()).await?)
        });
        match declared.await {
            Ok(()) => Ok(true),
            Err(error) if format!("{error:#}").contains("NOT_FOUND") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A fresh channel, on a fresh connection where the old one is broken.
    pub async fn channel(&self) -> Result<Channel> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| connection.status().connected())
            && let Ok(Ok(channel)) = timeout(REQUEST_LIMIT, connection.create_channel()).await
        {
            return Ok(channel);
        }
        *slot = None;
        let properties = ConnectionProperties::default().with_connection_name("harness".into());
        let connection = timeout(REQUEST_LIMIT, Connection::connect(&self.uri, properties))
            .await
            .with_context(|| format!("the broker at {} did not finish the greeting", self.uri))?
            .with_context(|| format!("connecting to {}", self.uri))?;
        let channel = timeout(REQUEST_LIMIT, connection.create_channel()).await??;
        *slot = Some(Arc::new(connection));
        Ok(channel)
    }

    /// One request on a channel of its own, since the broker closes the channel on which one is refused.
    async fn ask<T>(&self, what: &str, request: impl AsyncFnOnce(&Channel) -> Result<T>) -> Result<T> {
        let channel = self.channel().await?;
        let answer = timeout(REQUEST_LIMIT, request(&channel)).await;
        close(&channel).await;
        answer.with_context(|| format!("{what}: no answer within {REQUEST_LIMIT:?}"))?.with_context(|| what.to_owned())
    }
}

/// A channel that cannot be closed any more is as good as closed.
pub(crate) async fn close(channel: &Channel) {
    let _ = timeout(REQUEST_LIMIT, channel.close(200, "done".into())).await;
}
