//! A journal that is a stream of the broker: records are published to it, and read from its beginning to its end.
//!
//! It has a connection of its own, so that the journal can be used where nothing else is published, as by commands.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueBindOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, Consumer, ExchangeKind};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::connection::{
    ACCESS_REFUSED, CALL_TIMEOUT, CLOSE_TIMEOUT, ConnectFault, Dial, GRANT, NOT_FOUND, PRECONDITION_FAILED,
    REPLY_SUCCESS, reply_code, reply_text,
};
use super::message::short;
use super::pipeline::all_in_order;
use super::request::{CallFault, call};
use super::route::no_route;
use super::topology::{DURABLE, PASSIVE, QueuePlan, declare};
use crate::config::{AmqpSettings, Exchange, QueueName};
use crate::contract::journal::{Record, Unreadable, mark, parse};
use crate::contract::message::{APP_ID, CONTENT_TYPE, DELIVERY_MODE};

/// Longest wait for a connection before the records count as not written.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for the confirms of records. After that nobody knows whether the stream has them, and they count as not
/// written.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(20);
/// An alarm of the broker stops what is published. One that ends within this time is waited for; after that the records
/// count as not written.
const BLOCKED_PATIENCE: Duration = Duration::from_secs(1);
/// Records on their way to a reader, each of at most a mebibyte.
const PREFETCH: u16 = 64;
/// A reader that has received nothing for this long, and has not reached the end, ends with an error.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);
/// The broker finds where to begin by the time at which it took a record. Its clock may differ from others by this
/// much.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60 * 60);

/// Property `type` of the records, for people who look into the stream.
const MESSAGE_TYPE: &str = "association-archive.journal.v1";
/// The argument that names the kind of a queue. A queue of the journal's name that is no stream cannot be the journal.
pub const QUEUE_TYPE: &str = "x-queue-type";

/// The stream's name, and how it is declared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalStream {
    pub name: QueueName,
    pub max_age: Duration,
}

impl JournalStream {
    /// As `check` compares it.
    pub(super) fn plan(&self) -> QueuePlan {
        let name = short(self.name.as_str());
        let text = |value: &str| AMQPValue::LongString(value.into());
        let age = format!("{}s", self.max_age.as_secs());
        let arguments = [(QUEUE_TYPE, text("stream")), ("x-max-age", text(&age))];
        let table: BTreeMap<_, _> = arguments.map(|(name, value)| (ShortString::from(name), value)).into();
        QueuePlan::new(name.clone(), vec![name], FieldTable::from(table))
    }
}

/// Why the stream cannot be written or read, in one line that says how to mend it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StreamFault {
    #[error(transparent)]
    Connect(#[from] ConnectFault),
    #[error("stream {0:?} does not exist: create it, or start the worker with amqp.declare_topology = true")]
    Missing(String),
    #[error(
        "stream {0:?} does not exist, so nothing is recorded there: a worker declares it before its first removal; if there \
         was one, name the worker's stream in safety.journal_stream"
    )]
    Unrecorded(String),
    #[error("queue {0:?} is no stream: delete it, or name another one in safety.journal_stream")]
    NoStream(String),
    #[error("the broker's user may not {action} stream {stream:?}: {cause}; {grant}", grant = GRANT)]
    Refused { action: &'static str, stream: String, cause: String },
    #[error("{}; create it", no_route(.exchange, .stream))]
    Returned { exchange: Exchange, stream: String },
    #[error("the broker does not take records for stream {0:?}: look at the stream there")]
    Nack(String),
    #[error("a memory or disk alarm of the broker stops publishing: free its memory or disk")]
    Blocked,
    #[error("the broker has not confirmed the records within {} s", CONFIRM_PATIENCE.as_secs())]
    Silent,
    #[error("the broker sends no more records of stream {0:?}, though there are some: look at the stream there")]
    Stuck(String),
    #[error("the connection to the broker broke: {0}")]
    Lost(String),
}

/// Writes records.
#[derive(Debug)]
pub struct StreamWriter {
    dial: Dial,
    exchange: Exchange,
    plan: QueuePlan,
    may_declare: bool,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    channel: Channel,
}

impl StreamWriter {
    /// Connects when there is something to write.
    pub fn new(settings: &AmqpSettings, stream: &JournalStream) -> Self {
        Self {
            dial: Dial::new(settings, "journal"),
            exchange: settings.exchange.clone(),
            plan: stream.plan(),
            may_declare: settings.declare_topology,
            open: None,
        }
    }

    /// Returns when the broker has all of them. After an error, nothing is known of any; the next call begins with a
    /// new connection, so that no late confirm is taken for another record's.
    pub async fn append(&mut self, records: &[Vec<u8>]) -> Result<(), StreamFault> {
        let written = self.append_once(records).await;
        if written.is_err() {
            self.close().await;
        }
        written
    }

    /// Ends within 3 s whatever the broker does.
    pub async fn close(&mut self) {
        if let Some(Open { connection, .. }) = self.open.take() {
            // In a task of its own, because a connection that does not answer would not answer the goodbye either.
            let goodbye =
                tokio::spawn(async move { timeout(CLOSE_TIMEOUT, connection.close(REPLY_SUCCESS, "OK".into())).await });
            let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
        }
    }

    async fn append_once(&mut self, records: &[Vec<u8>]) -> Result<(), StreamFault> {
        let channel = self.channel().await?;
        tokio::select! {
            published = timeout(CONFIRM_PATIENCE, self.publish(&channel, records)) => {
                published.unwrap_or(Err(StreamFault::Silent))
            }
            () = self.blocked() => Err(StreamFault::Blocked),
        }
    }

    /// Waits until an alarm has stopped the connection for a while.
    async fn blocked(&self) {
        loop {
            sleep(BLOCKED_PATIENCE).await;
            if self.is_blocked() {
                sleep(BLOCKED_PATIENCE).await;
                if self.is_blocked() {
                    return;
                }
            }
        }
    }

    fn is_blocked(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.connection.status().blocked())
    }

    async fn channel(&mut self) -> Result<Channel, StreamFault> {
        if self.is_blocked() {
            return Err(StreamFault::Blocked);
        }
        if let Some(Open { channel, .. }) = self.open.as_ref().filter(|open| open.channel.status().connected()) {
            return Ok(channel.clone());
        }
        self.close().await;
        let connection = self.dial.connect(CONNECT_PATIENCE).await?;
        self.ensure(&connection).await?;
        let open = async {
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok(channel)
        };
        let channel = match timeout(CALL_TIMEOUT, open).await {
            Ok(opened) => opened.map_err(|error| self.fault("write to", &error))?,
            Err(_elapsed) => return Err(StreamFault::Silent),
        };
        self.open = Some(Open { connection, channel: channel.clone() });
        Ok(channel)
    }

    /// Checks that the stream is there, and declares what is missing where that is allowed.
    async fn ensure(&self, connection: &Connection) -> Result<(), StreamFault> {
        match call(connection, |channel| declare(channel, self.plan.clone(), PASSIVE)).await {
            Ok(_) => {}
            Err(fault) if fault.is(NOT_FOUND) && self.may_declare => {}
            // RabbitMQ 4.3 wants a right on the stream itself from whoever looks, which writing through the exchange
            // does not need. If the stream is missing, the first record comes back.
            Err(fault) if fault.is(ACCESS_REFUSED) => {}
            Err(fault) => return Err(self.call_fault("look at", fault)),
        }
        if !self.may_declare {
            return Ok(());
        }
        // Only a second declaration shows whether it is a stream. It changes nothing about a queue that is there.
        match call(connection, |channel| declare(channel, self.plan.clone(), DURABLE)).await {
            Ok(_) => {}
            // Who may not declare uses what is there.
            Err(fault) if fault.is(ACCESS_REFUSED) => {}
            Err(fault) => {
                let differs = fault.is(PRECONDITION_FAILED);
                let fault = self.call_fault("declare", fault);
                // A stream that keeps its records for another time is used, too.
                if !differs || matches!(fault, StreamFault::NoStream(_)) {
                    return Err(fault);
                }
            }
        }
        let named = match &self.exchange {
            Exchange::Default => return Ok(()),
            Exchange::Named(name) => name,
        };
        let (name, exchange, key) = (self.plan.name.clone(), short(named.as_str()), self.plan.name.clone());
        let bound = call(connection, |channel| async move {
            let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            channel.exchange_declare(exchange.clone(), ExchangeKind::Direct, durable, FieldTable::default()).await?;
            channel.queue_bind(name, exchange, key, QueueBindOptions::default(), FieldTable::default()).await
        });
        match bound.await {
            Ok(()) => Ok(()),
            // Whoever made the stream is taken to have bound it. If it is not bound, the first record comes back.
            Err(fault) if fault.is(ACCESS_REFUSED) => Ok(()),
            Err(fault) => Err(self.call_fault("bind", fault)),
        }
    }

    /// All confirms are awaited before anything is concluded: the library may hang a returned record on another's
    /// confirm.
    async fn publish(&self, channel: &Channel, records: &[Vec<u8>]) -> Result<(), StreamFault> {
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let properties = BasicProperties::default()
            .with_delivery_mode(DELIVERY_MODE)
            .with_content_type(CONTENT_TYPE.into())
            .with_app_id(APP_ID.into())
            .with_type(MESSAGE_TYPE.into());
        let exchange = short(self.exchange.as_str());
        let publishes = records.iter().map(|record| {
            let (exchange, key) = (exchange.clone(), self.plan.name.clone());
            channel.basic_publish(exchange, key, options, record, properties.clone())
        });
        let mut worst = Ok(());
        let mut confirms = Vec::with_capacity(records.len());
        for written in all_in_order(publishes).await {
            match written {
                Ok(confirm) => confirms.push(confirm),
                Err(error) => worst = Err(self.fault("write to", &error)),
            }
        }
        for confirm in confirms {
            match confirm.await {
                Ok(Confirmation::Ack(None)) => {}
                Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_))) => {
                    let (exchange, stream) = (self.exchange.clone(), self.plan.name.to_string());
                    worst = Err(StreamFault::Returned { exchange, stream });
                }
                Ok(Confirmation::Nack(None) | Confirmation::NotRequested) => {
                    worst = Err(StreamFault::Nack(self.plan.name.to_string()));
                }
                Err(error) => worst = Err(self.fault("write to", &error)),
            }
        }
        worst
    }

    fn call_fault(&self, action: &'static str, fault: CallFault) -> StreamFault {
        match fault {
            CallFault::Broker(error) => self.fault(action, &error),
            CallFault::Silent => StreamFault::Silent,
        }
    }

    fn fault(&self, action: &'static str, error: &lapin::Error) -> StreamFault {
        fault_of(action, self.plan.name.as_str(), error)
    }
}

fn fault_of(action: &'static str, stream: &str, error: &lapin::Error) -> StreamFault {
    let (stream, cause) = (stream.to_owned(), reply_text(error).unwrap_or_default());
    match reply_code(error) {
        Some(NOT_FOUND) if cause.contains("no queue") => StreamFault::Missing(stream),
        Some(ACCESS_REFUSED) => StreamFault::Refused { action, stream, cause },
        Some(PRECONDITION_FAILED) if cause.contains(QUEUE_TYPE) => StreamFault::NoStream(stream),
        Some(_) | None => StreamFault::Lost(error.to_string()),
    }
}

/// Reads every record that was there when it began.
#[derive(Debug)]
pub struct StreamReader {
    connection: Connection,
    channel: Channel,
    consumer: Consumer,
    name: String,
    /// The record that stands behind all that was there.
    end: Uuid,
    unacknowledged: u16,
}

impl StreamReader {
    /// `since`: what was written earlier may be left out. Whoever reads must have the right to write, too: the end of a
    /// stream is known only to whoever has put a mark there.
    pub async fn open(
        settings: &AmqpSettings,
        stream: &JournalStream,
        since: Option<Timestamp>,
    ) -> Result<Self, StreamFault> {
        let mut writer = StreamWriter { may_declare: false, ..StreamWriter::new(settings, stream) };
        let end = Uuid::from_u128(fastrand::u128(..));
        writer.append(&[mark(end)]).await.map_err(|fault| {
            if let StreamFault::Missing(stream) = fault { StreamFault::Unrecorded(stream) } else { fault }
        })?;
        writer.close().await;

        let name = stream.name.as_str().to_owned();
        let connection = Dial::new(settings, "journal").connect(settings.connect_timeout).await?;
        let start = async {
            let channel = connection.create_channel().await?;
            channel.basic_qos(PREFETCH, BasicQosOptions { global: false }).await?;
            let arguments = FieldTable::from(BTreeMap::from([("x-stream-offset".into(), offset(since))]));
            let queue = short(stream.name.as_str());
            let consumer = channel.basic_consume(queue, "".into(), BasicConsumeOptions::default(), arguments).await?;
            Ok((channel, consumer))
        };
        let (channel, consumer) = match timeout(CALL_TIMEOUT, start).await {
            Ok(started) => started.map_err(|error| fault_of("read", &name, &error))?,
            Err(_elapsed) => return Err(StreamFault::Stuck(name)),
        };
        Ok(Self { connection, channel, consumer, name, end, unacknowledged: 0 })
    }

    /// The next record, or why it is none; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Result<Record, Unreadable>>, StreamFault> {
        let delivery = match timeout(LONGEST_SILENCE, self.consumer.next()).await {
            Ok(Some(Ok(delivery))) => delivery,
            Ok(Some(Err(error))) => return Err(fault_of("read", &self.name, &error)),
            Ok(None) => return Err(StreamFault::Missing(self.name.clone())),
            Err(_elapsed) => return Err(StreamFault::Stuck(self.name.clone())),
        };
        self.unacknowledged += 1;
        if self.unacknowledged >= PREFETCH / 2 {
            self.unacknowledged = 0;
            let all = BasicAckOptions { multiple: true };
            let acknowledged = self.channel.basic_ack(delivery.delivery_tag, all).await;
            acknowledged.map_err(|error| fault_of("read", &self.name, &error))?;
        }
        let record = parse(&delivery.data);
        Ok(if record == Ok(Record::Mark(self.end)) { None } else { Some(record) })
    }

    /// Ends within 3 s whatever the broker does.
    pub async fn close(self) {
        let _ = timeout(CLOSE_TIMEOUT, self.connection.close(REPLY_SUCCESS, "OK".into())).await;
    }
}

fn offset(since: Option<Timestamp>) -> AMQPValue {
    let since = since.and_then(|since| since.checked_sub(CLOCKS_DIFFER).ok());
    match since.and_then(|since| u64::try_from(since.as_second()).ok()) {
        Some(seconds) => AMQPValue::Timestamp(seconds),
        None => AMQPValue::LongString("first".into()),
    }
}
