//! The exchange, queues and bindings that the worker needs: checked, and declared where they are missing.
//!
//! What exists is used as it is, whatever its arguments. Every step has a channel of its own, because the broker
//! answers a missing queue or a missing right by closing the channel.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Connection, ExchangeKind};

use super::connection::{ACCESS_REFUSED, GRANT, NOT_FOUND, PRECONDITION_FAILED, is_passing, reply_code, reply_text};
use super::request::{CallFault, Channels, call, link_call};
use super::route::{BACKGROUND_KEY, DEAD_LETTERS_KEY, JOBS_KEY, RESULTS_KEY, Route, delay_queue, is_of, key_to};
use crate::config::{AmqpSettings, Exchange, workers_queue};
use crate::engine::pause::Tier;
use crate::shards::{Layout, QueueIndex};

/// The broker moves a job to the dead letters when it has delivered the job more often than this and nobody has settled
/// it.
const JOBS_DELIVERY_LIMIT: i32 = 1_000;
/// Every look into the dead letters counts as a delivery. Never -1, with which RabbitMQ 3.10 deletes a message at its
/// first requeue; without a limit of its own a queue of RabbitMQ 4 has 20.
const KEEP_DELIVERY_LIMIT: i32 = 1_000_000;

const WITHOUT_BACKGROUND: &str = "; or set amqp.background_queue = \"none\"";

/// Queues, or bindings, that are checked or declared at the same time.
const QUEUES_AT_ONCE: usize = 16;

/// The names of the topology, and the routing keys that lead to its queues.
#[derive(Clone, Debug)]
pub struct Topology {
    exchange: Exchange,
    exchange_name: ShortString,
    /// All but the shards.
    queues: Vec<QueuePlan>,
    shards: Vec<QueuePlan>,
    /// The shared one.
    jobs_queue: ShortString,
    background_queue: Option<ShortString>,
    results_queue: ShortString,
    dead_letter_queue: ShortString,
    /// Used with shards only.
    workers_queue: ShortString,
    may_declare: bool,
}

#[derive(Clone, Debug)]
pub(super) struct QueuePlan {
    pub(super) name: ShortString,
    keys: Vec<ShortString>,
    pub(super) arguments: FieldTable,
}

impl QueuePlan {
    pub(super) fn new(name: ShortString, keys: Vec<ShortString>, arguments: FieldTable) -> Self {
        Self { name, keys, arguments }
    }

    pub(super) fn is_bound(&self) -> bool {
        !self.keys.is_empty()
    }
}

/// What was found and done.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct TopologyReport {
    pub items: Vec<TopologyItem>,
    /// Sentences for people; the worker runs all the same.
    pub warnings: Vec<String>,
}

impl TopologyReport {
    fn add(&mut self, other: Self) {
        let Self { items, warnings } = other;
        self.items.extend(items);
        self.warnings.extend(warnings);
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopologyItem {
    pub kind: Kind,
    pub name: String,
    pub found: Found,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Exchange,
    Queue,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exchange => "exchange",
            Self::Queue => "queue",
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// It was there, with this many ready messages and consumers (an exchange has neither).
    Existing {
        ready: u32,
        consumers: u32,
    },
    Declared,
}

/// Why the topology is not as the worker needs it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TopologyFault {
    #[error("{kind} {name:?} does not exist: create it, or set amqp.declare_topology = true")]
    Missing { kind: Kind, name: String },
    #[error(
        "the broker's user may not use {kind} {name:?}: {cause}; {grant}, or create the {kind} beforehand", grant = GRANT
    )]
    Refused { kind: Kind, name: String, cause: String },
    #[error("{kind} {name:?} cannot be used: {cause}")]
    Unusable { kind: Kind, name: String, cause: String },
    #[error(
        "exchange {name:?} is not direct ({cause}), so that it would bring outcomes back as jobs: delete it so that the worker declares it anew, or name another one in amqp.exchange"
    )]
    NotDirect { name: String, cause: String },
    #[error("the connection was lost while the topology was checked: {0}")]
    Lost(String),
}

impl Topology {
    pub fn new(settings: &AmqpSettings) -> Self {
        let jobs = queue_name(settings.jobs_queue.as_str());
        let layout = &settings.shards;
        let keep = || arguments(&[("x-delivery-limit", KEEP_DELIVERY_LIMIT.into())]);
        let mut queues = vec![
            QueuePlan {
                name: jobs.clone(),
                keys: [JOBS_KEY.into(), jobs.clone()]
                    .into_iter()
                    .chain(portal_keys(layout, QueueIndex::SHARED))
                    .collect(),
                arguments: jobs_arguments(settings),
            },
            QueuePlan {
                name: queue_name(settings.results_queue.as_str()),
                keys: vec![RESULTS_KEY.into()],
                arguments: keep(),
            },
            QueuePlan {
                name: queue_name(settings.dead_letter_queue.as_str()),
                keys: vec![DEAD_LETTERS_KEY.into()],
                arguments: keep(),
            },
        ];
        queues.extend(delay_plans(settings, settings.jobs_queue.as_str()));
        let background = settings.background().ok();
        if let Some(background) = &background {
            let name = queue_name(background.as_str());
            let (keys, arguments) = (vec![BACKGROUND_KEY.into(), name.clone()], jobs_arguments(settings));
            queues.push(QueuePlan { name, keys, arguments });
            queues.extend(delay_plans(settings, background.as_str()));
        }
        let workers = queue_name(&workers_queue(settings.jobs_queue.as_str()));
        if layout.is_sharded() {
            queues.push(QueuePlan { name: workers.clone(), keys: Vec::new(), arguments: arguments(&[]) });
        }
        Self {
            exchange: settings.exchange.clone(),
            exchange_name: queue_name(settings.exchange.as_str()),
            queues,
            shards: layout.shards().map(|shard| shard_plan(settings, shard)).collect(),
            jobs_queue: jobs,
            background_queue: background.map(|background| queue_name(background.as_str())),
            results_queue: queue_name(settings.results_queue.as_str()),
            dead_letter_queue: queue_name(settings.dead_letter_queue.as_str()),
            workers_queue: workers,
            may_declare: settings.declare_topology,
        }
    }

    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// As AMQP has it: empty for the default exchange.
    pub fn exchange_name(&self) -> &ShortString {
        &self.exchange_name
    }

    pub fn jobs_queue(&self) -> &ShortString {
        &self.jobs_queue
    }

    pub fn background_queue(&self) -> Option<&ShortString> {
        self.background_queue.as_ref()
    }

    pub fn results_queue(&self) -> &ShortString {
        &self.results_queue
    }

    pub fn workers_queue(&self) -> &ShortString {
        &self.workers_queue
    }

    pub fn dead_letter_queue(&self) -> &ShortString {
        &self.dead_letter_queue
    }

    /// The queues in which jobs wait: jobs queues, shards, background and the delay queues of all.
    pub(super) fn queues_of_jobs(&self) -> impl Iterator<Item = &ShortString> {
        let others = [&self.results_queue, &self.dead_letter_queue, &self.workers_queue];
        self.queues().map(|plan| &plan.name).filter(move |name| !others.contains(name))
    }

    pub(super) fn queues(&self) -> impl Iterator<Item = &QueuePlan> {
        self.queues.iter().chain(&self.shards)
    }

    /// The name of a jobs queue.
    pub fn name(&self, queue: QueueIndex) -> &ShortString {
        match queue {
            QueueIndex::BACKGROUND => self.background_queue.as_ref().unwrap_or(&self.jobs_queue),
            _ => self.shard(queue).map_or(&self.jobs_queue, |plan| &plan.name),
        }
    }

    fn shard(&self, queue: QueueIndex) -> Option<&QueuePlan> {
        self.shards.get(queue.as_usize().checked_sub(1)?)
    }

    /// The routing key that leads to `route`.
    pub fn key(&self, route: Route) -> ShortString {
        let key_to = |key, queue: &ShortString| key_to(&self.exchange, key, queue.as_str()).into();
        match route {
            Route::Jobs => key_to(JOBS_KEY, &self.jobs_queue),
            Route::Background => key_to(BACKGROUND_KEY, self.name(QueueIndex::BACKGROUND)),
            Route::Shard(queue) => self.name(queue).clone(),
            Route::Results => key_to(RESULTS_KEY, &self.results_queue),
            Route::DeadLetters => key_to(DEAD_LETTERS_KEY, &self.dead_letter_queue),
            Route::Delay(tier) => queue_name(&delay_queue(self.jobs_queue.as_str(), tier)),
            Route::BackgroundDelay(tier) => queue_name(&delay_queue(self.name(QueueIndex::BACKGROUND).as_str(), tier)),
        }
    }

    /// Checks all of it, and declares what is missing where that is allowed.
    pub async fn ensure(&self, connection: &Connection) -> Result<TopologyReport, TopologyFault> {
        let mut report = self.ensure_all_but_shards(connection).await?;
        let shards = self.shards.iter().map(|plan| self.ensure_plans(connection, std::slice::from_ref(plan)));
        let mut shards = stream::iter(shards.collect::<Vec<_>>()).buffered(QUEUES_AT_ONCE);
        while let Some(shard) = shards.next().await {
            report.add(shard?);
        }
        Ok(report)
    }

    pub(super) async fn ensure_all_but_shards(&self, connection: &Connection) -> Result<TopologyReport, TopologyFault> {
        let mut report = TopologyReport::default();
        self.ensure_exchange(connection, &mut report).await?;
        report.add(self.ensure_plans(connection, &self.queues).await?);
        Ok(report)
    }

    /// Checks several queues at the same time, since each takes a new broker some milliseconds. The report keeps their
    /// order.
    async fn ensure_plans(
        &self,
        connection: &Connection,
        plans: &[QueuePlan],
    ) -> Result<TopologyReport, TopologyFault> {
        let mut report = TopologyReport::default();
        let mut there = Vec::with_capacity(plans.len());
        let looks = plans.iter().map(async |plan| (plan, self.ensure_queue(connection, plan).await));
        let mut looks = stream::iter(looks.collect::<Vec<_>>()).buffered(QUEUES_AT_ONCE);
        while let Some((plan, found)) = looks.next().await {
            match found {
                Ok(found) => {
                    report.add(found);
                    there.push(plan);
                }
                Err(fault @ TopologyFault::Lost(_)) => return Err(fault),
                // A worker without the queue, or without the right to it, works as if there were no background.
                Err(fault) if self.is_of_background(plan) => {
                    report
                        .warnings
                        .push(format!("no jobs of the background are taken in: {fault}{WITHOUT_BACKGROUND}"));
                }
                Err(fault) => return Err(fault),
            }
        }
        if self.may_declare {
            let keys = there.into_iter().flat_map(|plan| self.bindings(plan).iter().map(move |key| (plan, key)));
            let binds = keys.map(|(plan, key)| self.bind(connection, plan, key));
            let mut binds = stream::iter(binds.collect::<Vec<_>>()).buffered(QUEUES_AT_ONCE);
            while let Some(bound) = binds.next().await {
                report.warnings.extend(bound?);
            }
        }
        Ok(report)
    }

    /// The background queue, or one of its delay queues.
    fn is_of_background(&self, plan: &QueuePlan) -> bool {
        self.background_queue.as_ref().is_some_and(|background| is_of(plan.name.as_str(), background.as_str()))
    }

    /// Checks a shard, on channels of its own so that no other shard waits for it, and declares it where it is missing
    /// and that is allowed. `None`: the link is closed.
    pub(super) async fn ensure_shard(
        &self,
        link: &impl Channels,
        queue: QueueIndex,
    ) -> Option<Result<TopologyReport, TopologyFault>> {
        let Some(plan) = self.shard(queue) else { return Some(Ok(TopologyReport::default())) };
        let subject = Subject { kind: Kind::Queue, name: &plan.name };
        match link_call(link, |channel| declare(channel, plan.clone(), PASSIVE)).await? {
            Ok(_) => return Some(Ok(TopologyReport::default())),
            Err(fault) if fault.is(NOT_FOUND) && self.may_declare => {}
            Err(fault) => return Some(Err(subject.fault(fault))),
        }
        if let Err(fault) = link_call(link, |channel| declare(channel, plan.clone(), DURABLE)).await? {
            return Some(Err(subject.fault(fault)));
        }
        for key in self.bindings(plan) {
            let (name, exchange, key) = (plan.name.clone(), self.exchange_name.clone(), key.clone());
            let bound = link_call(link, |channel| async move {
                channel.queue_bind(name, exchange, key, QueueBindOptions::default(), FieldTable::default()).await
            });
            match bound.await? {
                Ok(()) => {}
                Err(fault) if fault.is(ACCESS_REFUSED) => {}
                Err(fault) => return Some(Err(subject.fault(fault))),
            }
        }
        let mut report = TopologyReport::default();
        report.items.push(TopologyItem { kind: Kind::Queue, name: plan.name.to_string(), found: Found::Declared });
        Some(Ok(report))
    }

    /// Warns of a jobs queue that is new on an exchange that is not: the one that was used before may still be bound there.
    /// Nobody can ask the broker for bindings over AMQP.
    pub fn second_jobs_queue(&self, report: &TopologyReport) -> Option<String> {
        let is = |kind, name: &ShortString, existed: bool| {
            let mut items = report.items.iter().filter(|item| item.kind == kind && item.name == name.as_str());
            items.any(|item| matches!(item.found, Found::Existing { .. }) == existed)
        };
        let (exchange, queue) = (self.exchange_name.as_str(), self.jobs_queue.as_str());
        (is(Kind::Exchange, &self.exchange_name, true) && is(Kind::Queue, &self.jobs_queue, false)).then(|| {
            format!(
                "jobs queue {queue:?} is new on exchange {exchange:?}, which was there before. Is another jobs queue bound \
                 there? Then each job goes to both, and may be done twice: see `rabbitmqctl list_bindings`; set an \
                 amqp.exchange of its own for each amqp.jobs_queue, or remove the binding of the queue that is not used \
                 from the key {JOBS_KEY:?}"
            )
        })
    }

    /// Finds out whether a jobs queue that is there differs from what the worker would declare, by declaring it again:
    /// the broker then refuses and says what differs.
    ///
    /// A warning, never a fault: a policy of the broker may set what the queue's own arguments lack.
    pub async fn compare_jobs_queue(&self, connection: &Connection) -> Option<String> {
        let plan = self.queues.iter().find(|plan| plan.name == self.jobs_queue)?;
        let error = match call(connection, |channel| declare(channel, plan.clone(), DURABLE)).await {
            Ok(_) => return None,
            Err(CallFault::Broker(error)) if reply_code(&error) == Some(PRECONDITION_FAILED) => error,
            // No right to declare is no reason to warn, and a lost connection shows elsewhere.
            Err(CallFault::Broker(_) | CallFault::Silent) => return None,
        };
        let text = reply_text(&error).unwrap_or_default();
        let what = if text.contains("x-dead-letter") {
            "has no dead-letter target of its own; unless a policy sets one, the broker deletes jobs that it has delivered too often"
        } else {
            "was declared with other arguments than the worker's own; it is used as it is"
        };
        Some(format!("queue {:?} {what} ({text})", self.jobs_queue.as_str()))
    }

    async fn ensure_exchange(&self, connection: &Connection, report: &mut TopologyReport) -> Result<(), TopologyFault> {
        match self.exchange {
            Exchange::Default => return Ok(()),
            Exchange::Named(_) => {}
        }
        let subject = Subject { kind: Kind::Exchange, name: &self.exchange_name };
        let declare = async |options: ExchangeDeclareOptions| {
            let (name, kind) = (self.exchange_name.clone(), ExchangeKind::Direct);
            call(connection, |channel| async move {
                channel.exchange_declare(name, kind, options, FieldTable::default()).await
            })
            .await
        };
        let existing = Found::Existing { ready: 0, consumers: 0 };
        let passive = ExchangeDeclareOptions { passive: true, durable: true, ..ExchangeDeclareOptions::default() };
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let found = match declare(passive).await {
            // Only a second declaration shows of what kind it is. It changes nothing about an exchange that is there.
            Ok(()) => match declare(durable).await {
                Err(fault) if fault.is_of_another_kind() => {
                    return Err(TopologyFault::NotDirect {
                        name: self.exchange_name.to_string(),
                        cause: fault.words(),
                    });
                }
                // Without the right to declare it cannot be asked; what else differs is for the command `check`.
                Ok(()) | Err(_) => existing,
            },
            Err(fault) if fault.is(NOT_FOUND) && self.may_declare => {
                declare(durable).await.map_err(|fault| subject.fault(fault))?;
                Found::Declared
            }
            // Looking needs a right that publishing does not.
            Err(fault) if fault.is(ACCESS_REFUSED) => {
                report
                    .warnings
                    .push(format!("exchange {:?} could not be checked: no right to look", subject.name.as_str()));
                existing
            }
            Err(fault) => return Err(subject.fault(fault)),
        };
        report.items.push(subject.item(found));
        Ok(())
    }

    async fn ensure_queue(&self, connection: &Connection, plan: &QueuePlan) -> Result<TopologyReport, TopologyFault> {
        let subject = Subject { kind: Kind::Queue, name: &plan.name };
        let mut report = TopologyReport::default();
        let found = match call(connection, |channel| declare(channel, plan.clone(), PASSIVE)).await {
            Ok(queue) => Found::Existing { ready: queue.message_count(), consumers: queue.consumer_count() },
            Err(fault) if fault.is(NOT_FOUND) && self.may_declare => {
                call(connection, |channel| declare(channel, plan.clone(), DURABLE))
                    .await
                    .map_err(|fault| subject.fault(fault))?;
                Found::Declared
            }
            // A user with the right to publish through the exchange need not see every queue behind it.
            Err(fault) if fault.is(ACCESS_REFUSED) && plan.name != self.jobs_queue => {
                report.warnings.push(format!("queue {:?} could not be checked: no right to look", plan.name.as_str()));
                Found::Existing { ready: 0, consumers: 0 }
            }
            Err(fault) => return Err(subject.fault(fault)),
        };
        report.items.push(subject.item(found));
        Ok(report)
    }

    /// The keys to bind a queue to. The default exchange needs none, and the broker would refuse them.
    fn bindings<'a>(&self, plan: &'a QueuePlan) -> &'a [ShortString] {
        match self.exchange {
            Exchange::Default => &[],
            Exchange::Named(_) => &plan.keys,
        }
    }

    /// Binds a queue to these keys. Returns a warning where that cannot be done.
    async fn bind(
        &self,
        connection: &Connection,
        plan: &QueuePlan,
        key: &ShortString,
    ) -> Result<Option<String>, TopologyFault> {
        let (queue, exchange, route) = (plan.name.clone(), self.exchange_name.clone(), key.clone());
        let bound = call(connection, |channel| async move {
            channel.queue_bind(queue, exchange, route, QueueBindOptions::default(), FieldTable::default()).await
        });
        match bound.await {
            Ok(()) => Ok(None),
            Err(fault) if fault.is(ACCESS_REFUSED) => Ok(Some(format!(
                "no right to bind queue {:?} to {} with key {:?}; it is taken to be bound already",
                plan.name.as_str(),
                self.exchange,
                key.as_str()
            ))),
            Err(fault) => Err(Subject { kind: Kind::Queue, name: &plan.name }.fault(fault)),
        }
    }
}

pub(super) const PASSIVE: QueueDeclareOptions =
    QueueDeclareOptions { passive: true, durable: true, exclusive: false, auto_delete: false, nowait: false };
pub(super) const DURABLE: QueueDeclareOptions = QueueDeclareOptions { passive: false, ..PASSIVE };

struct Subject<'a> {
    kind: Kind,
    name: &'a ShortString,
}

impl Subject<'_> {
    fn item(&self, found: Found) -> TopologyItem {
        TopologyItem { kind: self.kind, name: self.name.to_string(), found }
    }

    fn fault(&self, fault: CallFault) -> TopologyFault {
        let (kind, name) = (self.kind, self.name.to_string());
        match fault {
            CallFault::Silent => TopologyFault::Lost("the broker does not answer".to_owned()),
            CallFault::Broker(error) => match (reply_code(&error), reply_text(&error)) {
                (Some(code), Some(cause)) if is_passing(code, &cause) => TopologyFault::Lost(cause),
                (Some(NOT_FOUND), _) => TopologyFault::Missing { kind, name },
                (Some(ACCESS_REFUSED), cause) => {
                    TopologyFault::Refused { kind, name, cause: cause.unwrap_or_default() }
                }
                (Some(_), cause) => TopologyFault::Unusable { kind, name, cause: cause.unwrap_or_default() },
                (None, _) => TopologyFault::Lost(error.to_string()),
            },
        }
    }
}

pub(super) async fn declare(
    channel: lapin::Channel,
    plan: QueuePlan,
    options: QueueDeclareOptions,
) -> lapin::Result<lapin::Queue> {
    channel.queue_declare(plan.name, options, plan.arguments).await
}

fn portal_keys(layout: &Layout, queue: QueueIndex) -> impl Iterator<Item = ShortString> {
    layout.portal_keys(queue).into_iter().map(|key| queue_name(&key))
}

fn shard_plan(settings: &AmqpSettings, shard: QueueIndex) -> QueuePlan {
    let name = queue_name(&settings.shards.name(shard, settings.jobs_queue.as_str()));
    let keys = [name.clone()].into_iter().chain(portal_keys(&settings.shards, shard)).collect();
    QueuePlan { name, keys, arguments: jobs_arguments(settings) }
}

/// The delay queues from which jobs come back to one queue.
fn delay_plans<'a>(settings: &'a AmqpSettings, jobs_queue: &'a str) -> impl Iterator<Item = QueuePlan> + use<'a> {
    Tier::ALL.into_iter().map(move |tier| {
        let name = queue_name(&delay_queue(jobs_queue, tier));
        let arguments = delay_arguments(settings.exchange.as_str(), jobs_queue, tier.wait());
        QueuePlan { keys: vec![name.clone()], name, arguments }
    })
}

fn jobs_arguments(settings: &AmqpSettings) -> FieldTable {
    let dead_letters = key_to(&settings.exchange, DEAD_LETTERS_KEY, settings.dead_letter_queue.as_str());
    arguments(&[
        ("x-dead-letter-exchange", text(settings.exchange.as_str())),
        ("x-dead-letter-routing-key", text(dead_letters)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
        ("x-delivery-limit", JOBS_DELIVERY_LIMIT.into()),
    ])
}

/// At-least-once dead lettering needs `reject-publish`, or the broker falls back to at most once.
fn delay_arguments(exchange: &str, jobs_queue: &str, wait: Duration) -> FieldTable {
    let millis = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    arguments(&[
        ("x-message-ttl", millis.into()),
        ("x-dead-letter-exchange", text(exchange)),
        ("x-dead-letter-routing-key", text(jobs_queue)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ])
}

fn arguments(pairs: &[(&str, AMQPValue)]) -> FieldTable {
    let quorum = ("x-queue-type", text("quorum"));
    let pairs = pairs.iter().chain([&quorum]);
    let table: BTreeMap<ShortString, AMQPValue> =
        pairs.map(|(name, value)| (ShortString::from(*name), value.clone())).collect();
    FieldTable::from(table)
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// The settings see to it that all names fit.
fn queue_name(name: &str) -> ShortString {
    super::message::short(name)
}
