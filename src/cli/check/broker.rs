//! The broker, and what the worker uses there.

use super::finding::Finding;
use super::rights;
use crate::amqp::connection::ConnectFault;
use crate::amqp::deserted::Deserted;
use crate::amqp::greeting::Greeting;
use crate::amqp::inspection::{Arguments, Difference, Inspected, Inspection, State, inspect};
use crate::amqp::journal::{JournalStream, QUEUE_TYPE};
use crate::amqp::lease::SINGLE_ACTIVE_CONSUMER;
use crate::amqp::link::Depth;
use crate::amqp::permissions::Permission;
use crate::amqp::route::{DEAD_LETTERS_KEY, key_to};
use crate::amqp::topology::Kind;
use crate::config::{AmqpSettings, Exchange, lease_queue};
use crate::contract::grouped::Grouped;
use crate::shards::QueueIndex;

/// Quorum queues with a time to live, on which the delays stand.
const LEAST_VERSION: (u32, u32) = (3, 10);

pub async fn findings(settings: &AmqpSettings, journals: &[JournalStream]) -> Vec<Finding> {
    let uri = settings.broker().map(|broker| broker.uri.to_string());
    let Inspection { greeting, items, deserted, permissions } = match inspect(settings, journals).await {
        Ok(inspection) => inspection,
        Err(fault) => return vec![unreachable(&fault)],
    };
    let mut findings = vec![version(&greeting, &uri.unwrap_or_default())];
    findings.extend(default_exchange(settings));
    findings.extend(items.iter().map(|item| judge(item, settings, journals, &permissions)));
    findings.extend(unread(&items, settings));
    findings.extend(deserted.iter().filter_map(|(queue, depth)| answered_by_nobody(queue, *depth)));
    findings.extend(settings.shards.queues().filter_map(|queue| without_lease(&items, queue, settings)));
    findings.extend(rights::findings(&permissions, &items, settings));
    findings
}

fn unreachable(fault: &ConnectFault) -> Finding {
    let text = fault.to_string();
    let (detail, mend) = text.rsplit_once("; ").unwrap_or((&text, "correct that setting"));
    Finding::wrong("broker", detail, mend)
}

fn version(Greeting { product, version }: &Greeting, uri: &str) -> Finding {
    let detail = format!("{uri}: {product} {version}");
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    match (product.as_str(), numbers.next(), numbers.next()) {
        ("RabbitMQ", Some(major), Some(minor)) if (major, minor) >= LEAST_VERSION => Finding::right("broker", detail),
        ("RabbitMQ", Some(_), Some(_)) => Finding::wrong(
            "broker",
            format!("{detail} is too old: jobs that wait could be lost"),
            format!("use RabbitMQ {}.{} or later", LEAST_VERSION.0, LEAST_VERSION.1),
        ),
        _ => Finding::warning("broker", format!("{detail} is not known to work"), "use RabbitMQ 3.10 or later"),
    }
}

/// It is always there, and cannot be looked at.
fn default_exchange(settings: &AmqpSettings) -> Option<Finding> {
    match settings.exchange {
        Exchange::Default => Some(Finding::right(
            "the default exchange",
            "leads to each queue by its name; nobody else's queue can be bound to the outcomes",
        )),
        Exchange::Named(_) => None,
    }
}

fn judge(item: &Inspected, settings: &AmqpSettings, journals: &[JournalStream], permissions: &[Permission]) -> Finding {
    let Inspected { kind, name, state } = item;
    let subject = format!("{kind} {name}");
    match state {
        State::Missing if settings.declare_topology => rights::undeclarable(item, settings, permissions)
            .unwrap_or_else(|| {
                // The writer of a journal connects when there is something to write.
                let is_journal = journals.iter().any(|journal| journal.name.as_str() == name);
                let when = if is_journal { "before its first removal" } else { "when it starts" };
                Finding::right(subject, format!("is not there yet; the service declares it {when}"))
            }),
        State::Missing => {
            let mend = format!("create the {kind}, or set amqp.declare_topology = true");
            Finding::wrong(subject, "does not exist, and the service may not declare it", mend)
        }
        State::Unseen { cause } => Finding::not_verified(
            subject,
            format!("could not be looked at: {cause}"),
            format!("grant the broker's user a right on the {kind}, or look there yourself"),
        ),
        State::Existing { ready, consumers, arguments } => {
            let size = match kind {
                Kind::Exchange => "is there".to_owned(),
                Kind::Queue => format!("messages ready: {ready}, consumers: {consumers}"),
            };
            match arguments {
                Arguments::Same => Finding::right(subject, format!("{size}; declared as the worker does")),
                // One line says so for all of them.
                Arguments::NoRight => Finding::right(subject, size),
                Arguments::Unknown { cause } => Finding::not_verified(
                    subject,
                    format!("{size}; how it was declared cannot be asked: {cause}"),
                    declared_as(item, settings),
                ),
                Arguments::Other(differences) if journals.iter().any(|journal| journal.name.as_str() == name) => {
                    differing_journal(item, subject, &size, differences, settings)
                }
                Arguments::Other(differences) => differing(item, subject, &size, differences, settings),
            }
        }
    }
}

/// A policy may set what a queue's own arguments lack, but a client cannot see policies; so none of it is surely wrong
/// but what the service does not start without: the kind of exchange, on which every route stands, and the single
/// active consumer of the lease queue.
fn differing(
    item: &Inspected,
    subject: String,
    size: &str,
    differences: &[Difference],
    settings: &AmqpSettings,
) -> Finding {
    let sentences: Vec<String> = differences.iter().map(|difference| sentence(difference, item, settings)).collect();
    let detail = format!("{size}; {}", sentences.join("; "));
    match item.kind {
        Kind::Exchange => {
            let mend = "delete the exchange so that the service declares it anew, or name another one in amqp.exchange";
            if differences.iter().any(|difference| difference.argument == "type") {
                Finding::wrong(subject, detail, mend)
            } else {
                Finding::warning(subject, detail, mend)
            }
        }
        Kind::Queue if differences.iter().any(|difference| difference.argument == SINGLE_ACTIVE_CONSUMER) => {
            Finding::wrong(subject, detail, "delete the queue so that the service declares it as it must be")
        }
        Kind::Queue => Finding::warning(subject, detail, declared_as(item, settings)),
    }
}

/// What is no stream can be no journal.
fn differing_journal(
    item: &Inspected,
    subject: String,
    size: &str,
    differences: &[Difference],
    settings: &AmqpSettings,
) -> Finding {
    if differences.iter().any(|difference| difference.argument == QUEUE_TYPE) {
        let detail = format!("{size}; it is no stream, and the journal cannot be written there");
        return Finding::wrong(subject, detail, "delete the queue, or name another one in safety.journal_stream");
    }
    let sentences: Vec<String> = differences.iter().map(|difference| sentence(difference, item, settings)).collect();
    let mend = "set max-age by a policy, which a client cannot see, or mend safety.journal_max_age";
    Finding::warning(subject, format!("{size}; {}", sentences.join("; ")), mend)
}

fn sentence(Difference { argument, is, ours }: &Difference, item: &Inspected, settings: &AmqpSettings) -> String {
    let is_jobs = item.name == settings.jobs_queue.as_str();
    match (argument.as_str(), is) {
        ("x-dead-letter-exchange", None) if is_jobs => {
            "it has no dead-letter target of its own: unless a policy sets one, the broker deletes jobs that it has delivered too often"
                .to_owned()
        }
        ("x-queue-type", None) => "it is a classic queue, which is not replicated".to_owned(),
        (_, is) => {
            let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
            format!("{argument} is {}, the worker declares {}", shown(is), shown(ours))
        }
    }
}

fn declared_as(item: &Inspected, settings: &AmqpSettings) -> String {
    if item.name == settings.jobs_queue.as_str() {
        format!(
            "set a policy with dead-letter-exchange {:?}, dead-letter-routing-key {:?} and a delivery-limit, or delete the empty queue so that the service declares it anew",
            settings.exchange.as_str(),
            key_to(&settings.exchange, DEAD_LETTERS_KEY, settings.dead_letter_queue.as_str())
        )
    } else {
        "set what is missing by a policy, or delete the empty queue so that the service declares it anew".to_owned()
    }
}

/// Outcomes that nobody fetches fill the disk, or a queue whose limit then stops the worker.
fn unread(items: &[Inspected], settings: &AmqpSettings) -> Option<Finding> {
    let results = items.iter().find(|item| item.name == settings.results_queue.as_str())?;
    match results.state {
        State::Existing { ready, consumers: 0, .. } if ready > 0 => Some(Finding::warning(
            "results",
            format!(
                "{} outcomes wait in queue {}, and nobody is subscribed to it",
                Grouped(ready.into()),
                results.name
            ),
            "start what reads the outcomes; if nobody wants them, give the queue a limit by policy with the overflow drop-head, since a full queue of any other kind stops the worker",
        )),
        State::Existing { .. } | State::Missing | State::Unseen { .. } => None,
    }
}

/// The broker confirms what is sent to such a queue, and nobody takes it.
fn answered_by_nobody(queue: &Deserted, depth: Depth) -> Option<Finding> {
    let (subject, cause) = (format!("queue {}", queue.queue.as_str()), queue.cause);
    match depth {
        Depth { ready: 0, consumers: 0 } => Some(Finding::warning(
            subject,
            format!("is there, and nobody takes from it, since {cause}: a job sent there would never be answered"),
            "delete the queue, so that producers are told that no queue takes what they send there",
        )),
        Depth { ready, consumers: 0 } => Some(Finding::wrong(
            subject,
            format!("{} messages wait in it, and nobody takes from it, since {cause}", Grouped(ready)),
            queue.mend,
        )),
        Depth { .. } => None,
    }
}

/// A worker without a lease does not know of one: it goes on consuming beside whoever holds it.
fn without_lease(items: &[Inspected], queue: QueueIndex, settings: &AmqpSettings) -> Option<Finding> {
    let consumers = |name: &str| match items.iter().find(|item| item.name == name)?.state {
        State::Existing { consumers, .. } => Some(consumers),
        State::Missing => Some(0),
        State::Unseen { .. } => None,
    };
    let jobs_queue = settings.shards.name(queue, settings.jobs_queue.as_str());
    let (working, leasing) = (consumers(&jobs_queue)?, consumers(&lease_queue(&jobs_queue))?);
    (settings.lease && working > 0 && leasing == 0).then(|| {
        Finding::warning(
            format!("lease {jobs_queue}"),
            format!("{working} consumers of queue {jobs_queue} and none of its lease: somebody works without a lease"),
            "start this worker, which waits up to five minutes for the other's end, and stop the other then",
        )
    })
}
