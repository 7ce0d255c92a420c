//! What the broker's user may do, asked without doing it.
//!
//! RabbitMQ looks for the right first, and only then at the rest of a request. So whoever asks for something impossible
//! learns about the right, and nothing is read, published or declared.

use futures_util::{StreamExt, stream};
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    QueueBindOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Connection, ExchangeKind};

use super::connection::{ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED, reply_text};
use super::request::{CallFault, call};
use super::topology::{DURABLE, Kind, QueuePlan, declare};

/// Questions that are asked at the same time.
const AT_ONCE: usize = 16;
/// A value of a type that the broker takes nowhere.
const IMPOSSIBLE: &str = "impossible";
/// A routing key that leads nowhere, in case a broker takes the message all the same.
const NOWHERE: &str = "association-archiver.check.leads-nowhere";

/// A right that the service needs, and whether the user has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Permission {
    pub to: Deed,
    pub kind: Kind,
    pub name: String,
    pub answer: Answer,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    Read,
    /// To publish through an exchange.
    Write,
    /// To declare what is missing, with all that it takes: for a queue also its dead letters and its bindings.
    Declare,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Granted,
    /// In the broker's words.
    Refused(String),
    /// Another answer than those two, in the broker's words.
    Unclear(String),
}

/// Whether the user may consume each of these queues.
pub(super) async fn to_read(connection: &Connection, queues: Vec<ShortString>) -> Vec<Permission> {
    let questions = queues.into_iter().map(|queue| async move {
        let name = queue.to_string();
        let asked = call(connection, |channel| async move {
            channel.basic_qos(1, BasicQosOptions::default()).await?;
            let arguments = table("x-priority", AMQPValue::LongString(IMPOSSIBLE.into()));
            channel.basic_consume(queue, "".into(), BasicConsumeOptions::default(), arguments).await
        });
        Permission { to: Deed::Read, kind: Kind::Queue, name, answer: answer(asked.await) }
    });
    stream::iter(questions.collect::<Vec<_>>()).buffered(AT_ONCE).collect().await
}

/// Whether the user may publish through the exchange.
pub(super) async fn to_write(connection: &Connection, exchange: &ShortString) -> Permission {
    let name = exchange.clone();
    let asked = call(connection, |channel| async move {
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let properties = BasicProperties::default().with_expiration(IMPOSSIBLE.into());
        channel.basic_publish(name, NOWHERE.into(), options, &[], properties).await?.await
    });
    Permission { to: Deed::Write, kind: Kind::Exchange, name: exchange.to_string(), answer: answer(asked.await) }
}

/// Whether the user may declare an exchange that is missing.
pub(super) async fn to_declare_exchange(connection: &Connection, exchange: &ShortString) -> Permission {
    let name = exchange.clone();
    let asked = call(connection, |channel| async move {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let arguments = table("alternate-exchange", AMQPValue::Boolean(true));
        channel.exchange_declare(name, ExchangeKind::Direct, options, arguments).await
    });
    Permission { to: Deed::Declare, kind: Kind::Exchange, name: exchange.to_string(), answer: answer(asked.await) }
}

/// Whether the user may declare a queue that is missing, and bind it where it needs bindings.
pub(super) async fn to_declare(connection: &Connection, plan: &QueuePlan, exchange: &ShortString) -> Permission {
    let mut impossible = plan.clone();
    impossible.arguments.insert("x-expires".into(), AMQPValue::LongString(IMPOSSIBLE.into()));
    let asked = call(connection, |channel| declare(channel, impossible, DURABLE));
    let mut answered = answer(asked.await);
    if answered == Answer::Granted && plan.is_bound() && !exchange.as_str().is_empty() {
        // The queue is not there, so this binds nothing.
        let (name, key, exchange) = (plan.name.clone(), plan.name.clone(), exchange.clone());
        let asked = call(connection, |channel| async move {
            channel.queue_bind(name, exchange, key, QueueBindOptions::default(), FieldTable::default()).await
        });
        answered = answer(asked.await);
    }
    Permission { to: Deed::Declare, kind: Kind::Queue, name: plan.name.to_string(), answer: answered }
}

fn answer<T>(asked: Result<T, CallFault>) -> Answer {
    match asked {
        Ok(_) => Answer::Unclear("the broker took what it should have refused".to_owned()),
        Err(fault) if fault.is(NOT_FOUND) || fault.is(PRECONDITION_FAILED) => Answer::Granted,
        Err(CallFault::Silent) => Answer::Unclear("the broker does not answer".to_owned()),
        Err(CallFault::Broker(error)) => {
            let words = reply_text(&error).unwrap_or_else(|| error.to_string());
            if CallFault::Broker(error).is(ACCESS_REFUSED) { Answer::Refused(words) } else { Answer::Unclear(words) }
        }
    }
}

fn table(name: &str, value: AMQPValue) -> FieldTable {
    let mut table = FieldTable::default();
    table.insert(name.into(), value);
    table
}
