//! The rights of the broker's user.

use super::finding::Finding;
use crate::amqp::inspection::{Arguments, Inspected, State};
use crate::amqp::permissions::{Answer, Deed, Permission};
use crate::amqp::route::is_of;
use crate::config::{AmqpSettings, Exchange, workers_queue};

/// Names in one line: with many shards a missing right can concern hundreds of queues.
const MOST_NAMED: usize = 4;

/// Where to look up what to grant.
const PATTERNS: &str = "deploy/rabbitmq/definitions.json has the pattern of each right, and README.md beside it that of the default exchange";

pub fn findings(permissions: &[Permission], items: &[Inspected], settings: &AmqpSettings) -> Vec<Finding> {
    let tried = permissions.iter().filter(|permission| match permission.to {
        Deed::Read | Deed::Write => true,
        // The line of what is missing says it.
        Deed::Declare => false,
    });
    let (mut refused, mut spared, mut unclear) = (Vec::new(), Vec::new(), Vec::new());
    for permission in tried {
        match &permission.answer {
            Answer::Granted => {}
            Answer::Refused(cause) if is_spared(permission, settings) => spared.push((permission, cause)),
            Answer::Refused(cause) => refused.push((permission, cause)),
            Answer::Unclear(cause) => unclear.push((permission, cause)),
        }
    }
    let mut findings = Vec::new();
    if let Some(deeds) = deeds(&refused, settings) {
        let mend = format!("grant it that right: the service needs it to take and answer jobs; {PATTERNS}");
        findings.push(Finding::wrong("rights", format!("the broker's user may not {deeds}"), mend));
    }
    if let Some(deeds) = deeds(&spared, settings) {
        let mend = format!(
            "grant it that right, or set amqp.background_queue = \"none\" if it is about the background queue; {PATTERNS}"
        );
        findings.push(Finding::warning("rights", format!("the broker's user may not {deeds}"), mend));
    }
    if let Some(deeds) = deeds(&unclear, settings) {
        let detail = format!("it is not clear whether the broker's user may {deeds}");
        findings.push(Finding::not_verified(
            "rights",
            detail,
            format!("see that it may; else the service says so at its start; {PATTERNS}"),
        ));
    }
    match (permissions, findings.is_empty()) {
        ([], _) => findings.push(Finding::not_verified(
            "rights",
            "only RabbitMQ is known to tell what a user may do: whether this one may read the jobs and publish shows when the service starts",
            format!("grant it read on the jobs queue and write on {}; {PATTERNS}", settings.exchange),
        )),
        (_, true) => {
            let detail = format!("the broker's user may read the jobs queues and publish to {}", settings.exchange);
            findings.push(Finding::right("rights", detail));
        }
        (_, false) => {}
    }
    findings.extend(unasked(items));
    findings.extend(bindings(items, settings));
    findings
}

/// What is missing and cannot be declared either.
pub fn undeclarable(item: &Inspected, settings: &AmqpSettings, permissions: &[Permission]) -> Option<Finding> {
    let Inspected { kind, name, state: _ } = item;
    let is_it = |asked: &&Permission| asked.to == Deed::Declare && asked.kind == *kind && asked.name == *name;
    let subject = format!("{kind} {name}");
    let mend = format!(
        "grant the right that is named, or create the {kind} with its bindings, as deploy/rabbitmq/definitions.json has them"
    );
    match &permissions.iter().find(is_it)?.answer {
        Answer::Granted => None,
        Answer::Refused(cause) => {
            let detail = format!("is not there, and the broker's user may not declare it: {cause}");
            let verdict = if is_of_background(name, settings) { Finding::warning } else { Finding::wrong };
            Some(verdict(subject, detail, mend))
        }
        Answer::Unclear(cause) => {
            let detail = format!("is not there, and whether the broker's user may declare it is not clear: {cause}");
            Some(Finding::not_verified(subject, detail, mend))
        }
    }
}

/// Without the right to read these the service works, and takes no jobs of the background, or gets no shards from others.
fn is_spared(asked: &Permission, settings: &AmqpSettings) -> bool {
    asked.to == Deed::Read
        && (is_of_background(&asked.name, settings) || asked.name == workers_queue(settings.jobs_queue.as_str()))
}

fn is_of_background(name: &str, settings: &AmqpSettings) -> bool {
    settings.background().is_ok_and(|background| is_of(name, background.as_str()))
}

/// `read queue "a", "b" and 3 more, nor publish to exchange "c": cause`
fn deeds(of: &[(&Permission, &String)], settings: &AmqpSettings) -> Option<String> {
    let (_, cause) = of.first()?;
    let queues = of.iter().filter(|(asked, _)| asked.to == Deed::Read).map(|(asked, _)| format!("{:?}", asked.name));
    let queues: Vec<String> = queues.collect();
    let mut deeds = Vec::new();
    if !queues.is_empty() {
        let more = queues.len().saturating_sub(MOST_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        deeds.push(format!("read queue {}{more}", queues[..queues.len().min(MOST_NAMED)].join(", ")));
    }
    if of.iter().any(|(asked, _)| asked.to == Deed::Write) {
        deeds.push(format!("publish to {}", settings.exchange));
    }
    Some(format!("{}: {cause}", deeds.join(", nor ")))
}

/// How a queue was declared is told only to who may declare it, which a worker need not.
fn unasked(items: &[Inspected]) -> Option<Finding> {
    let unasked =
        items.iter().filter(|item| matches!(item.state, State::Existing { arguments: Arguments::NoRight, .. })).count();
    (unasked > 0).then(|| {
        Finding::not_verified(
            "declarations",
            format!("the broker's user may not configure {unasked} of these, as is right where they were made for it; so how they were declared cannot be asked"),
            "nothing where deploy/rabbitmq/definitions.json was imported; else check once more with a user in amqp.uri that may configure them",
        )
    })
}

/// Whoever may declare binds as well.
fn bindings(items: &[Inspected], settings: &AmqpSettings) -> Option<Finding> {
    let all_there = !items.iter().any(|item| item.state == State::Missing);
    match &settings.exchange {
        Exchange::Named(_) if !settings.declare_topology && all_there => Some(Finding::not_verified(
            "bindings",
            format!("whether {} leads to each queue shows only by a message, and none is sent", settings.exchange),
            "nothing where deploy/rabbitmq/definitions.json was imported; else bind each queue by the keys that it has there",
        )),
        Exchange::Named(_) | Exchange::Default => None,
    }
}
