//! The lease queue itself: checked or declared, and consumed.

use std::collections::BTreeMap;

use lapin::options::{
    BasicConsumeOptions, BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Consumer, ExchangeKind};
use tokio::time::timeout;

use super::super::connection::{
    ACCESS_REFUSED, CALL_TIMEOUT, GRANT, NOT_FOUND, PRECONDITION_FAILED, reply_code, reply_text,
};
use super::super::link::Link;
use super::super::message::short;
use super::super::request::{CallFault, link_call};
use super::super::topology::{DURABLE, PASSIVE, QueuePlan};
use crate::config::{AmqpSettings, Exchange, lease_queue};
use crate::shards::QueueIndex;

/// Each change of holder counts as a delivery. A queue that is declared without a limit has one of 20 in RabbitMQ 4; in
/// 3.10 it has none, and then a message that comes back goes to the end of the queue.
const DELIVERY_LIMIT: i32 = 1_000_000;

/// The queue's message and its copies, which must all be seen.
const PREFETCH: u16 = 100;

/// Without it several workers would be given the queue's messages in turns, and none would be the only one.
pub const SINGLE_ACTIVE_CONSUMER: &str = "x-single-active-consumer";

/// The names.
#[derive(Clone, Debug)]
pub struct LeaseQueue {
    pub name: ShortString,
    pub exchange: Exchange,
    pub jobs_queue: ShortString,
    may_declare: bool,
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseFound {
    /// It has no message, and nobody who could hold it.
    pub is_empty: bool,
    /// Nobody consumes the jobs queue, so nobody sends.
    pub nobody_worked: bool,
}

/// Why there is no lease, by what can be done about it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LeaseFault {
    #[error("queue {0:?} does not exist: create it, or set amqp.declare_topology = true")]
    Missing(String),
    #[error("the broker's user may not {action} queue {queue:?}: {cause}; {grant}", grant = GRANT)]
    Refused { action: &'static str, queue: String, cause: String },
    #[error("queue {0:?} has no single active consumer: delete it, so that the worker declares it as it must be")]
    Shared(String),
    #[error("queue {queue:?} cannot be used: {cause}")]
    Unusable { queue: String, cause: String },
    #[error("the connection was lost")]
    Lost,
}

impl LeaseQueue {
    /// The lease queue of this jobs queue.
    pub fn new(settings: &AmqpSettings, queue: QueueIndex) -> Self {
        let jobs_queue = settings.shards.name(queue, settings.jobs_queue.as_str());
        Self {
            name: short(&lease_queue(&jobs_queue)),
            exchange: settings.exchange.clone(),
            jobs_queue: short(&jobs_queue),
            may_declare: settings.declare_topology,
        }
    }

    /// Checks that it is there. Where the worker may declare, it also checks that the queue is as it must be, and declares
    /// what is missing. `None`: the link is closed.
    pub async fn ensure(&self, link: &Link) -> Option<Result<LeaseFound, LeaseFault>> {
        let is_empty = match self.declare(link, PASSIVE).await? {
            Ok((ready, consumers)) if self.may_declare => {
                if let Err(fault) = self.declare(link, DURABLE).await? {
                    match fault {
                        // A queue that cannot be compared is taken to be as it must be, and so is one that differs in
                        // little.
                        LeaseFault::Refused { .. } | LeaseFault::Unusable { .. } => tracing::debug!("{fault}"),
                        LeaseFault::Missing(_) | LeaseFault::Shared(_) | LeaseFault::Lost => return Some(Err(fault)),
                    }
                }
                ready == 0 && consumers == 0
            }
            Ok((ready, consumers)) => ready == 0 && consumers == 0,
            Err(LeaseFault::Missing(_)) if self.may_declare => match self.declare(link, DURABLE).await? {
                Ok(_) => true,
                Err(fault) => return Some(Err(fault)),
            },
            Err(fault) => return Some(Err(fault)),
        };
        if self.may_declare
            && let Err(fault) = self.bind(link).await?
        {
            return Some(Err(fault));
        }
        let jobs = link.depths(std::slice::from_ref(&self.jobs_queue)).await.pop().flatten();
        Some(Ok(LeaseFound { is_empty, nobody_worked: jobs.is_some_and(|jobs| jobs.consumers == 0) }))
    }

    /// Ready messages and consumers.
    async fn declare(&self, link: &Link, options: QueueDeclareOptions) -> Option<Result<(u32, u32), LeaseFault>> {
        let (name, arguments) = (self.name.clone(), self.arguments());
        let declared = link_call(link, |channel| async move { channel.queue_declare(name, options, arguments).await });
        Some(match declared.await? {
            Ok(queue) => Ok((queue.message_count(), queue.consumer_count())),
            Err(fault) => Err(self.call_fault(if options.passive { "look at" } else { "declare" }, fault)),
        })
    }

    /// Declares the exchange and binds the queue to it, where there is one and that is allowed. What fails shows with
    /// the next message.
    pub(super) async fn mend_route(&self, link: &Link) {
        let named = match &self.exchange {
            Exchange::Named(name) if self.may_declare => name,
            // There is no binding to mend, or the worker may not mend it.
            Exchange::Default | Exchange::Named(_) => return,
        };
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let (exchange, kind) = (short(named.as_str()), ExchangeKind::Direct);
        let declared = link_call(link, |channel| async move {
            channel.exchange_declare(exchange, kind, options, FieldTable::default()).await
        });
        if let Some(Err(fault)) = declared.await {
            tracing::debug!("{}", self.call_fault("declare the exchange of", fault));
        }
        if let Some(Err(fault)) = self.bind(link).await {
            tracing::debug!("{fault}");
        }
    }

    async fn bind(&self, link: &Link) -> Option<Result<(), LeaseFault>> {
        let named = match &self.exchange {
            Exchange::Default => return Some(Ok(())),
            Exchange::Named(name) => name,
        };
        let (name, exchange, key) = (self.name.clone(), short(named.as_str()), self.name.clone());
        let bound = link_call(link, |channel| async move {
            channel.queue_bind(name, exchange, key, QueueBindOptions::default(), FieldTable::default()).await
        });
        Some(match bound.await? {
            Ok(()) => Ok(()),
            // Whoever made the queue is taken to have bound it. If it is not bound, the first message comes back.
            Err(fault) if fault.is(ACCESS_REFUSED) => Ok(()),
            Err(fault) => Err(self.call_fault("bind", fault)),
        })
    }

    /// The consumer bears the worker's name, so that the broker's lists of consumers say who holds the lease.
    pub(super) async fn consume(&self, channel: &Channel, worker: &str) -> Result<Consumer, LeaseFault> {
        let work = async {
            channel.basic_qos(PREFETCH, BasicQosOptions { global: false }).await?;
            let (name, options) = (self.name.clone(), BasicConsumeOptions::default());
            channel.basic_consume(name, short(worker), options, FieldTable::default()).await
        };
        match timeout(CALL_TIMEOUT, work).await {
            Ok(consumer) => consumer.map_err(|error| self.fault("consume", &error)),
            Err(_elapsed) => Err(LeaseFault::Lost),
        }
    }

    /// As `check` compares it.
    pub(in crate::amqp) fn plan(&self) -> QueuePlan {
        QueuePlan::new(self.name.clone(), vec![self.name.clone()], self.arguments())
    }

    fn arguments(&self) -> FieldTable {
        let text = |value: &str| AMQPValue::LongString(value.into());
        let arguments = [
            ("x-queue-type", text("quorum")),
            (SINGLE_ACTIVE_CONSUMER, AMQPValue::Boolean(true)),
            ("x-delivery-limit", DELIVERY_LIMIT.into()),
        ];
        let table: BTreeMap<_, _> = arguments.map(|(name, value)| (ShortString::from(name), value)).into();
        FieldTable::from(table)
    }

    fn call_fault(&self, action: &'static str, fault: CallFault) -> LeaseFault {
        match fault {
            CallFault::Broker(error) => self.fault(action, &error),
            CallFault::Silent => LeaseFault::Lost,
        }
    }

    fn fault(&self, action: &'static str, error: &lapin::Error) -> LeaseFault {
        let (queue, cause) = (self.name.to_string(), reply_text(error).unwrap_or_default());
        match reply_code(error) {
            Some(NOT_FOUND) => LeaseFault::Missing(queue),
            Some(ACCESS_REFUSED) => LeaseFault::Refused { action, queue, cause },
            Some(PRECONDITION_FAILED) if cause.contains(SINGLE_ACTIVE_CONSUMER) => LeaseFault::Shared(queue),
            Some(_) => LeaseFault::Unusable { queue, cause },
            None => LeaseFault::Lost,
        }
    }
}
