//! What an operator can be told about the broker before anything is consumed, published or declared.

use std::time::Duration;

use lapin::options::ExchangeDeclareOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Connection, ExchangeKind};
use tokio::time::timeout;

use super::connection::{
    ACCESS_REFUSED, CLOSE_TIMEOUT, ConnectFault, Dial, NOT_FOUND, PRECONDITION_FAILED, REPLY_SUCCESS, reply_text,
};
use super::deserted::{self, Deserted};
use super::greeting::Greeting;
use super::journal::JournalStream;
use super::lease::LeaseQueue;
use super::link::Depth;
use super::permissions::{self, Permission};
use super::request::{CallFault, call};
use super::topology::{DURABLE, Kind, PASSIVE, QueuePlan, Topology, declare};
use crate::config::{AmqpSettings, Exchange};

/// Longest wait for a connection: an operator is looking on.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// More arguments than a queue of ours has.
const MAX_DIFFERENCES: usize = 16;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inspection {
    pub greeting: Greeting,
    /// The exchange unless it is the default one, then the queues: jobs, results, dead letters, delays, the lease where
    /// `amqp.lease` is on, and the journal's streams.
    pub items: Vec<Inspected>,
    /// Queues that are there, and from which no worker of these settings takes.
    pub deserted: Vec<(Deserted, Depth)>,
    /// What the service needs rights for; nothing where the broker is not RabbitMQ, which is the one known to answer.
    pub permissions: Vec<Permission>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inspected {
    pub kind: Kind,
    pub name: String,
    pub state: State,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    Existing {
        /// Messages that no consumer holds; 0 for an exchange.
        ready: u32,
        consumers: u32,
        arguments: Arguments,
    },
    Missing,
    /// The broker's user may not look, or the broker did not answer.
    Unseen {
        cause: String,
    },
}

/// How what exists was declared, beside how the worker would declare it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Arguments {
    Same,
    Other(Vec<Difference>),
    /// Not known, since the broker tells it only to a user that may declare it, and this user may not.
    NoRight,
    Unknown {
        cause: String,
    },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// `x-delivery-limit`.
    pub argument: String,
    /// `None`: not set.
    pub is: Option<String>,
    /// As the worker declares it.
    pub ours: Option<String>,
}

/// Connects once, looks at everything the worker uses, and leaves it as it is.
pub async fn inspect(settings: &AmqpSettings, journals: &[JournalStream]) -> Result<Inspection, ConnectFault> {
    let dial = Dial::new(settings, "check");
    let patience = settings.connect_timeout.min(CONNECT_TIMEOUT);
    let connection = dial.connect(patience).await?;
    let greeting = dial.greet(patience).await?;
    let topology = Topology::new(settings);
    let mut items = Vec::new();
    match topology.exchange() {
        Exchange::Default => {}
        Exchange::Named(_) => items.push(exchange(&connection, topology.exchange_name()).await),
    }
    let leases = settings.shards.queues().filter(|_| settings.lease);
    let leases: Vec<QueuePlan> = leases.map(|queue| LeaseQueue::new(settings, queue).plan()).collect();
    let streams: Vec<QueuePlan> = journals.iter().map(JournalStream::plan).collect();
    for plan in topology.queues().chain(&leases).chain(&streams) {
        items.push(queue(&connection, plan).await);
    }
    let permissions = match greeting.product.as_str() {
        "RabbitMQ" => permissions_for(&connection, settings, &topology, &leases, &streams, &items).await,
        _ => Vec::new(),
    };
    let on = &connection;
    let look = |name| async move {
        let plan = QueuePlan::new(name, Vec::new(), FieldTable::default());
        let found = call(on, |channel| declare(channel, plan, PASSIVE)).await.ok()?;
        Some(Depth { ready: found.message_count().into(), consumers: found.consumer_count().into() })
    };
    let deserted = deserted::look_for(settings, look).await;
    // An error means that the connection was lost after its last answer.
    let _ = timeout(CLOSE_TIMEOUT, connection.close(REPLY_SUCCESS, "OK".into())).await;
    Ok(Inspection { greeting, items, deserted, permissions })
}

async fn permissions_for(
    connection: &Connection,
    settings: &AmqpSettings,
    topology: &Topology,
    leases: &[QueuePlan],
    streams: &[QueuePlan],
    items: &[Inspected],
) -> Vec<Permission> {
    let jobs_queues = settings.shards.queues().map(|queue| topology.name(queue)).chain(topology.background_queue());
    let workers = Some(topology.workers_queue()).filter(|_| settings.shards.is_sharded());
    let read = jobs_queues.chain(leases.iter().map(|plan| &plan.name)).chain(workers).cloned().collect();
    let mut all = permissions::to_read(connection, read).await;
    all.push(permissions::to_write(connection, topology.exchange_name()).await);
    if settings.declare_topology {
        let is_missing = |kind: Kind, name: &ShortString| {
            items.iter().any(|item| item.kind == kind && item.name == name.as_str() && item.state == State::Missing)
        };
        let exchange = topology.exchange_name();
        if is_missing(Kind::Exchange, exchange) {
            all.push(permissions::to_declare_exchange(connection, exchange).await);
        }
        for plan in topology.queues().chain(leases).chain(streams).filter(|plan| is_missing(Kind::Queue, &plan.name)) {
            all.push(permissions::to_declare(connection, plan, exchange).await);
        }
    }
    all
}

async fn exchange(connection: &Connection, name: &ShortString) -> Inspected {
    let declare = async |options: ExchangeDeclareOptions| {
        let (name, kind) = (name.clone(), ExchangeKind::Direct);
        call(
            connection,
            |channel| async move { channel.exchange_declare(name, kind, options, FieldTable::default()).await },
        )
        .await
    };
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let state = match declare(ExchangeDeclareOptions { passive: true, ..durable }).await {
        Ok(()) => {
            let arguments = match declare(durable).await {
                Ok(()) => Arguments::Same,
                Err(fault) => match difference(&fault) {
                    Some((difference, _)) => Arguments::Other(vec![difference]),
                    None => unknown(&fault),
                },
            };
            State::Existing { ready: 0, consumers: 0, arguments }
        }
        Err(fault) => unseen(&fault),
    };
    Inspected { kind: Kind::Exchange, name: name.to_string(), state }
}

async fn queue(connection: &Connection, plan: &QueuePlan) -> Inspected {
    let state = match call(connection, |channel| declare(channel, plan.clone(), PASSIVE)).await {
        Ok(found) => State::Existing {
            ready: found.message_count(),
            consumers: found.consumer_count(),
            arguments: arguments(connection, plan).await,
        },
        Err(fault) => unseen(&fault),
    };
    Inspected { kind: Kind::Queue, name: plan.name.to_string(), state }
}

fn unseen(fault: &CallFault) -> State {
    if fault.is(NOT_FOUND) { State::Missing } else { State::Unseen { cause: words(fault) } }
}

/// The broker tells how a queue was declared only by refusing another declaration, one argument at a time. So it is
/// asked again with what it said, until there is nothing left to refuse. An existing queue is never changed by that.
async fn arguments(connection: &Connection, plan: &QueuePlan) -> Arguments {
    let mut asked = plan.clone();
    let mut differences: Vec<Difference> = Vec::new();
    for _ in 0..MAX_DIFFERENCES {
        let fault = match call(connection, |channel| declare(channel, asked.clone(), DURABLE)).await {
            Ok(_) if differences.is_empty() => return Arguments::Same,
            Ok(_) => return Arguments::Other(differences),
            Err(fault) => fault,
        };
        let Some((found, value)) = difference(&fault) else {
            return if differences.is_empty() { unknown(&fault) } else { Arguments::Other(differences) };
        };
        let again = differences.iter().any(|known| known.argument == found.argument);
        let is_argument = found.argument.starts_with("x-");
        if !again {
            asked.arguments = with(&asked.arguments, &found.argument, value);
            differences.push(found);
        }
        if again || !is_argument {
            break;
        }
    }
    Arguments::Other(differences)
}

fn unknown(fault: &CallFault) -> Arguments {
    if fault.is(ACCESS_REFUSED) { Arguments::NoRight } else { Arguments::Unknown { cause: words(fault) } }
}

fn with(arguments: &FieldTable, name: &str, value: Option<AMQPValue>) -> FieldTable {
    let mut table = arguments.inner().clone();
    let name = super::message::short(name);
    match value {
        Some(value) => table.insert(name, value),
        None => table.remove(&name),
    };
    FieldTable::from(table)
}

/// Reads `inequivalent arg 'x-delivery-limit' for queue 'q' in vhost '/': received the value '7' of type 'signedint'
/// but current is none`.
fn difference(fault: &CallFault) -> Option<(Difference, Option<AMQPValue>)> {
    let CallFault::Broker(error) = fault else { return None };
    if !fault.is(PRECONDITION_FAILED) {
        return None;
    }
    let text = reply_text(error)?;
    let argument = between(&text, "inequivalent arg '", "'")?.to_owned();
    let (received, current) = text.split_once(" but current is ")?;
    let received = received.rsplit_once("received ").map_or("", |(_, received)| received);
    let value = between(current, "of type '", "'").and_then(|kind| typed(current, kind));
    let difference = Difference { argument, is: quoted(current), ours: quoted(received) };
    Some((difference, value))
}

fn quoted(description: &str) -> Option<String> {
    match between(description, "value '", "' of type") {
        Some(value) => Some(value.to_owned()),
        None => between(description, "'", "'").map(str::to_owned),
    }
}

fn typed(description: &str, kind: &str) -> Option<AMQPValue> {
    let value = between(description, "value '", "' of type")?;
    Some(match kind {
        "longstr" => AMQPValue::LongString(value.into()),
        "bool" => AMQPValue::Boolean(value == "true"),
        _ => AMQPValue::LongLongInt(value.parse().ok()?),
    })
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(inner, _)| inner)
}

fn words(fault: &CallFault) -> String {
    match fault {
        CallFault::Silent => "the broker does not answer".to_owned(),
        CallFault::Broker(_) if fault.is(ACCESS_REFUSED) => "its user has no right to".to_owned(),
        CallFault::Broker(error) => reply_text(error).unwrap_or_else(|| error.to_string()),
    }
}
