//! An outcome. Fields may be added to it one day, so that it is open for what is not described.

use serde_json::{Value, json};

use crate::contract::association::LabelCategory;
use crate::contract::job::MAX_LABELS;
use crate::contract::outcome::Status;
use crate::contract::refusal::WorkerCategory;
use crate::contract::text::{MESSAGE_MAX_BYTES, TEXT_MAX_BYTES};

/// RFC 3339 in UTC with milliseconds.
const TIME: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$";

/// JSON Schema 2020-12.
pub fn schema() -> Value {
    let count = json!({"type": "integer", "minimum": 0});
    let fields = json!({
        "jobId": {"description": "As in the job.", "type": "string", "minLength": 1},
        "portalId": {"description": "As in the job; null where it names none.", "type": ["integer", "null"], "minimum": 1},
        "fromObjectType": echoed_type(),
        "toObjectType": echoed_type(),
        "status": {"description": STATUSES, "enum": Status::ALL.map(Status::as_str)},
        "numPairs": count,
        "numArchived": count,
        "numErrors": count,
        "errors": {"type": "array", "items": error()},
        "attempts": {"description": "HTTP requests that carried any pair of the job.", "type": "integer", "minimum": 0},
        "receivedAt": time("When the worker received the job for the first time."),
        "startedAt": nullable(time("When the first request left that carried a pair of it; null for none.")),
        "completedAt": time("When the last pair was settled."),
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:association-archiver:outcome:v1",
        "title": "Association archive outcome",
        "description": "What became of one job. All fields are always there; consumers must bear with further ones.",
        "type": "object",
        "required": names(&fields),
        "properties": fields,
        "allOf": [
            when(Status::Archived, json!({"errors": list(0, Some(0)), "numErrors": {"const": 0}})),
            when(Status::Partial, json!({"errors": list(1, None), "numArchived": {"type": "integer", "minimum": 1}})),
            when(Status::Failed, json!({"errors": list(1, None), "numArchived": {"const": 0}})),
            when(Status::Expired, json!({"errors": list(1, None), "numArchived": {"const": 0}})),
            when(Status::Rejected, json!({
                "errors": list(1, Some(1)),
                "numPairs": {"const": 0}, "numArchived": {"const": 0}, "numErrors": {"const": 0},
            })),
        ],
        "examples": [example()],
    })
}

/// One of two pairs refused.
pub fn example() -> Value {
    json!({
        "jobId": "crm-sync-81f2",
        "portalId": 4711,
        "fromObjectType": "contacts",
        "toObjectType": "companies",
        "status": "PARTIAL",
        "numPairs": 2, "numArchived": 1, "numErrors": 1,
        "errors": [{
            "from": {"id": "101"}, "to": {"id": "9002"}, "types": null, "source": "HUBSPOT", "category": "VALIDATION_ERROR",
            "subCategory": null, "message": "9002 is not a valid company id", "httpStatus": 400,
            "correlationId": "aeb5f871-7f07-4993-9211-075dc63e7cbf", "retryable": false,
        }],
        "attempts": 2,
        "receivedAt": "2026-11-23T09:00:00.000Z",
        "startedAt": "2026-11-23T09:00:00.120Z",
        "completedAt": "2026-11-23T09:00:00.480Z",
    })
}

const STATUSES: &str = "ARCHIVED: every pair is archived. PARTIAL: some are, the others are in errors. FAILED: none is. EXPIRED: notAfter passed before anything was sent. REJECTED: no valid job; errors[0].message names the field and the rule, and a copy of the message is in the dead-letter queue.";

fn echoed_type() -> Value {
    json!({
        "description": "As the job wrote it; null where it could not be read.",
        "type": ["string", "null"],
        "maxLength": TEXT_MAX_BYTES,
    })
}

fn error() -> Value {
    let text = |max_bytes: usize| json!({"type": "string", "maxLength": max_bytes});
    let fields = json!({
        "from": record(),
        "to": record(),
        "types": {
            "description": "The labels that were to be removed from the pair; null where the whole association was, or the message is no valid job. To ask again write them into the input, and leave the field out where it is null.",
            "type": ["array", "null"],
            "minItems": 1,
            "maxItems": MAX_LABELS,
            "items": label(),
        },
        "source": {"description": "Who refused.", "enum": ["HUBSPOT", "WORKER"]},
        "category": {
            "description": "HubSpot's own word, or one of the worker's closed set.",
            "type": "string",
            "maxLength": TEXT_MAX_BYTES,
        },
        "subCategory": nullable(text(TEXT_MAX_BYTES)),
        "message": text(MESSAGE_MAX_BYTES),
        "httpStatus": {"type": ["integer", "null"], "minimum": 100, "maximum": 999},
        "correlationId": nullable(text(TEXT_MAX_BYTES)),
        "retryable": {"description": "Whether the same job, sent again later, may succeed.", "type": "boolean"},
    });
    json!({
        "description": "A pair that is not archived.",
        "type": "object",
        "required": names(&fields),
        "properties": fields,
        "if": {"properties": {"source": {"const": "WORKER"}}},
        "then": {"properties": {"category": {"enum": WorkerCategory::ALL.map(WorkerCategory::as_str)}}},
    })
}

fn label() -> Value {
    let fields = json!({
        "associationCategory": {"enum": LabelCategory::ALL.map(LabelCategory::as_str)},
        "associationTypeId": {"type": "integer", "minimum": 1},
    });
    json!({"type": "object", "required": names(&fields), "properties": fields})
}

fn record() -> Value {
    json!({
        "description": "Null where the message is no valid job.",
        "type": ["object", "null"],
        "required": ["id"],
        "properties": {"id": {"type": "string", "pattern": "^[1-9][0-9]{0,19}$"}},
    })
}

fn time(description: &str) -> Value {
    json!({"description": description, "type": "string", "pattern": TIME})
}

/// The same, or null.
fn nullable(mut schema: Value) -> Value {
    schema["type"] = json!([schema["type"], "null"]);
    schema
}

fn when(status: Status, then: Value) -> Value {
    json!({
        "if": {"properties": {"status": {"const": status.as_str()}}},
        "then": {"properties": then},
    })
}

/// A list with its least and most items. Validators want the type beside every other word about a value.
fn list(least: usize, most: Option<usize>) -> Value {
    let mut list = json!({"type": "array", "minItems": least});
    if let Some(most) = most {
        list["maxItems"] = json!(most);
    }
    list
}

fn names(fields: &Value) -> Vec<&String> {
    fields.as_object().into_iter().flat_map(|fields| fields.keys()).collect()
}
