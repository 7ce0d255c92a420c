//! The queues around the worker, with the names of the default settings.

use serde_json::{Map, Value, json};

use super::{job, outcome};
use crate::amqp::route::{BACKGROUND_KEY, DEAD_LETTERS_KEY, JOBS_KEY, RESULTS_KEY};
use crate::config::AmqpSettings;
use crate::contract::message::{
    APP_ID, CONTENT_TYPE, DEAD_LETTERED, DEADLINE, DELIVERY_MODE, HEADERS_DROPPED, JOB_STATUS, OF_BACKGROUND,
    ORIGINAL_EXPIRATION, ORIGINAL_USER_ID, OUTCOME_TYPE, PARKED, PLAIN_ENCODINGS, REDRIVEN, REJECT_CATEGORY,
    REJECT_MESSAGE, REJECTED_AT, TRACE_CONTEXT,
};
use crate::contract::outcome::Status;
use crate::contract::refusal::WorkerCategory;
use crate::engine::pause::Tier;
use crate::worker::delivery::carried_headers::{AGE, ATTEMPTS, MOVED, PARKS, RECEIVED, STARTED, TIER};

/// Version of the AMQP bindings.
const BINDINGS: &str = "0.3.0";
const JSON_SCHEMA: &str = "application/schema+json;version=2020-12";

/// AsyncAPI 3.0.
pub fn document() -> Value {
    let names = AmqpSettings::default();
    let background = names.background().map(|queue| queue.to_string()).unwrap_or_default();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "association-archiver",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Jobs in, one outcome for each back. A message without an id that can be used, or with the type of an outcome, is a dead letter and has none. Names are those of the default settings; queues and exchange are durable, and what they are declared with beyond that is AMQP arguments, for which these bindings have no field.",
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {
            "jobs": channel(names.jobs_queue.as_str(), "Jobs. Published through the worker's exchange with the key `jobs`, or through the default exchange by the queue's name.", "job"),
            "backgroundJobs": channel(&background, "Jobs that may wait: they only use what those of the channel `jobs` leave, and a small share. Published with the key `jobs.background`, or through the default exchange by the queue's name. Not there with `amqp.shards`.", "job"),
            "results": channel(names.results_queue.as_str(), "Outcomes. Other queues may be bound to the exchange with the same key.", "outcome"),
            "deadLetters": channel(names.dead_letter_queue.as_str(), "Messages that are no jobs, jobs whose retries are exhausted or that a guard's operator rejected, and messages that the broker moved there itself: delivered too often, or with an expiration that ended in the queue.", "deadLetter"),
        },
        "operations": {
            "receiveJob": operation("receive", "jobs", "job", json!({"ack": true, "bindingVersion": BINDINGS})),
            "receiveBackgroundJob": operation("receive", "backgroundJobs", "job", json!({"ack": true, "bindingVersion": BINDINGS})),
            "sendOutcome": operation("send", "results", "outcome", sent(RESULTS_KEY, names.exchange.as_str())),
            "sendDeadLetter": operation("send", "deadLetters", "deadLetter", sent(DEAD_LETTERS_KEY, names.exchange.as_str())),
        },
        "components": {
            "messages": {"job": job_message(), "outcome": outcome_message(), "deadLetter": dead_letter_message()},
            "schemas": {
                "job": {"schemaFormat": JSON_SCHEMA, "schema": job::schema()},
                "outcome": {"schemaFormat": JSON_SCHEMA, "schema": outcome::schema()},
            },
        },
        "x-routing-keys": {"jobs": JOBS_KEY, "backgroundJobs": BACKGROUND_KEY, "results": RESULTS_KEY, "deadLetters": DEAD_LETTERS_KEY},
        "x-exchange": {"name": names.exchange.as_str(), "type": "direct", "durable": true},
    })
}

fn channel(queue: &str, description: &str, message: &str) -> Value {
    json!({
        "address": queue,
        "description": description,
        "messages": {message: {"$ref": format!("#/components/messages/{message}")}},
        "bindings": {"amqp": {
            "is": "queue",
            "queue": {"name": queue, "durable": true, "exclusive": false, "autoDelete": false},
            "bindingVersion": BINDINGS,
        }},
    })
}

fn operation(action: &str, channel: &str, message: &str, binding: Value) -> Value {
    json!({
        "action": action,
        "channel": {"$ref": format!("#/channels/{channel}")},
        "messages": [{"$ref": format!("#/channels/{channel}/messages/{message}")}],
        "bindings": {"amqp": binding},
    })
}

/// All that the worker sends.
fn sent(key: &str, exchange: &str) -> Value {
    json!({
        "deliveryMode": DELIVERY_MODE,
        "mandatory": true,
        "bindingVersion": BINDINGS,
        "x-exchange": exchange,
        "x-routing-key": key,
    })
}

/// What the worker writes on the copy of a job that it publishes again: parked, moved, or as a dead letter.
fn of_copies() -> Map<String, Value> {
    let millis = |what: &str| json!({"description": format!("{what}, in milliseconds since 1970."), "type": "integer"});
    let count =
        |what: &str| json!({"description": format!("{what}. Absent for none."), "type": "integer", "minimum": 1});
    let text = |what: &str| json!({"description": what, "type": "string"});
    let headers = [
        (REDRIVEN, count("How often the job was put back from the dead letters. Whoever puts one back raises it by 1")),
        (ORIGINAL_USER_ID, text("The user_id that the message came with.")),
        (ORIGINAL_EXPIRATION, text("The expiration that the message came with.")),
        (
            HEADERS_DROPPED,
            count(
                "How many headers were left out, the largest first, because all together were too large for the broker",
            ),
        ),
        (RECEIVED, millis("When a worker received the job first")),
        (STARTED, millis("When the first request of the job left")),
        (
            ATTEMPTS,
            json!({"description": "How many requests carried any pair of the job.", "type": "integer", "minimum": 0}),
        ),
        (
            AGE,
            json!({"description": "How much of retry.max_age is used up, in milliseconds.", "type": "integer", "minimum": 0}),
        ),
        (
            PARKS,
            json!({"description": "How often the job was parked because its requests failed.", "type": "integer", "minimum": 0}),
        ),
        (
            TIER,
            json!({"description": "The delay queue in which the job waited last.", "enum": Tier::ALL.map(Tier::as_str)}),
        ),
        (DEADLINE, millis("When the time ends that the property expiration gave the job")),
        (PARKED, millis("When the job was put into a delay queue last")),
        (
            MOVED,
            count("How often the job was moved from the shared jobs queue to a shard since a worker last worked on it"),
        ),
    ];
    headers.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// An object with these headers, and those of a copy.
fn with_those_of_copies(own: Value) -> Value {
    let mut all = of_copies();
    if let Value::Object(own) = own {
        all.extend(own);
    }
    Value::Object(all)
}

fn job_message() -> Value {
    let encodings = format!("AMQP property. Absent, or one of these in whatever case: {}.", PLAIN_ENCODINGS.join(", "));
    json!({
        "name": "job",
        "title": "Association archive job",
        "contentType": CONTENT_TYPE,
        "correlationId": {"description": "Comes back as that of the outcome; else message_id, else the job id does.", "location": "$message.header#/correlation_id"},
        "headers": {"type": "object", "description": "Headers that begin with x- are those of copies that the worker, or a redrive, has published again: a producer sets none.", "properties": with_those_of_copies(json!({
            "message_id": {"description": "AMQP property. The job id, where the body has none: then 1 to 128 bytes without control characters.", "type": "string", "maxLength": 255},
            "correlation_id": {"description": "AMQP property.", "type": "string", "maxLength": 255},
            "timestamp": {"description": "AMQP property, seconds since 1970. Messages that differ in it have outcomes of their own.", "type": "integer", "minimum": 0},
            "expiration": {"description": "AMQP property, milliseconds: a deadline like notAfter, counted from the first receipt by the worker. What it ends while the message waits in the queue becomes a dead letter without an outcome, so prefer notAfter.", "type": "string", "pattern": "^[0-9]+$"},
            "content_encoding": {"description": encodings, "type": "string"},
            TRACE_CONTEXT[0]: {"description": "W3C trace context, carried over to the outcome.", "type": "string"},
            TRACE_CONTEXT[1]: {"type": "string"},
        }))},
        "payload": {"$ref": "#/components/schemas/job"},
        "examples": [{"name": "two pairs", "payload": job::example()}],
    })
}

fn outcome_message() -> Value {
    json!({
        "name": "outcome",
        "title": "Association archive outcome",
        "contentType": CONTENT_TYPE,
        "correlationId": {"description": "The job's correlation_id, else its message_id, else its job id.", "location": "$message.header#/correlation_id"},
        "headers": {"type": "object", "required": [JOB_STATUS], "properties": {
            "message_id": {"description": "AMQP property. The same whenever the same message is answered: drop a copy by it. Jobs published twice that agree in message_id, timestamp and body have outcomes with one id.", "type": "string", "format": "uuid"},
            "correlation_id": {"description": "AMQP property.", "type": "string", "maxLength": 255},
            "app_id": {"description": "AMQP property.", "const": APP_ID},
            JOB_STATUS: {"description": "The outcome's status.", "enum": Status::ALL.map(Status::as_str)},
            TRACE_CONTEXT[0]: {"description": "W3C trace context, as the job had it.", "type": "string"},
            TRACE_CONTEXT[1]: {"type": "string"},
        }},
        "payload": {"$ref": "#/components/schemas/outcome"},
        "bindings": {"amqp": {"messageType": OUTCOME_TYPE, "bindingVersion": BINDINGS}},
        "examples": [{"name": "one of two", "payload": outcome::example()}],
    })
}

fn dead_letter_message() -> Value {
    let categories = WorkerCategory::ALL.into_iter().filter(|category| category.is_dead_lettered());
    json!({
        "name": "deadLetter",
        "title": "Dead letter",
        "summary": "A message as it came, whatever that was.",
        "headers": {"type": "object", "description": "Beside those that the message came with.", "properties": with_those_of_copies(json!({
            REJECT_CATEGORY: {"description": "Why. Absent where the broker moved the message here, as are the other headers that a dead letter alone has.", "enum": categories.map(WorkerCategory::as_str).collect::<Vec<_>>()},
            REJECT_MESSAGE: {"description": "What was wrong with it.", "type": "string", "maxLength": 500},
            REJECTED_AT: {"description": "RFC 3339, UTC, with milliseconds.", "type": "string", "format": "date-time"},
            DEAD_LETTERED: {"description": "How often the worker made a dead letter of the message since it was last redriven.", "type": "integer", "minimum": 1},
            OF_BACKGROUND: {"description": "It was a job of the background, and is put back there. Absent for others.", "const": "true"},
        }))},
        "payload": {"description": "Anything, and not always JSON."},
    })
}
