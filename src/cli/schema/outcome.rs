//! An outcome. Fields may be added to it one day, so that it is open for what is not described.

use serde_json::{Value, json};

use crate::contract::association::LabelCategory;
use crate::contract::ids::JobId;
use crate::contract::job::MAX_LABELS;
use crate::contract::outcome::Status;
use crate::contract::plan::{MAX_TYPES_OF_A_PAIR, Warning};
use crate::contract::refusal::WorkerCategory;
use crate::contract::text::{MESSAGE_MAX_BYTES, TEXT_MAX_BYTES};

/// RFC 3339 in UTC with milliseconds.
const TIME: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$";

/// A record's id, as an outcome writes it.
const RECORD_ID: &str = "^[1-9][0-9]{0,19}$";

/// JSON Schema 2020-12.
pub fn schema() -> Value {
    let count = json!({"type": "integer", "minimum": 0});
    let fields = json!({
        "jobId": {"description": "As in the job.", "type": "string", "minLength": 1},
        "portalId": {"description": "As in the job; null where it names none.", "type": ["integer", "null"], "minimum": 1},
        "fromObjectType": echoed_type(),
        "toObjectType": echoed_type(),
        "action": {"description": "As in the job; archive where it could not be read.", "enum": ["archive", "restore"]},
        "dryRun": {"description": "As in the job; false where it could not be read.", "type": "boolean"},
        "group": {"description": "As in the job; null where it names none.", "type": ["string", "null"], "maxLength": JobId::MAX_BYTES},
        "status": {"description": STATUSES, "enum": Status::ALL.map(Status::as_str)},
        "numPairs": count,
        "numArchived": count,
        "numRestored": count,
        "numErrors": count,
        "verified": {"description": "Every archived pair was read back and is gone.", "type": "boolean"},
        "journaled": {"description": "What every archived or restored pair was associated by was in the journal before its request left.", "type": "boolean"},
        "plan": {
            "description": "What would become of each pair, but for those in errors; null unless the status is PLANNED.",
            "type": ["array", "null"],
            "items": plan_entry(),
        },
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
            when(Status::Archived, json!({
                "errors": list(0, Some(0)), "numErrors": {"const": 0}, "numRestored": {"const": 0}, "action": {"const": "archive"},
            })),
            when(Status::Partial, json!({"errors": list(1, None)})),
            when(Status::Failed, nothing_done(list(1, None))),
            when(Status::Restored, json!({
                "errors": list(0, Some(0)), "numErrors": {"const": 0}, "numArchived": {"const": 0}, "action": {"const": "restore"},
            })),
            when(Status::Planned, with(nothing_done(list(0, None)), json!({"plan": list(0, None), "dryRun": {"const": true}}))),
            when(Status::Expired, nothing_done(list(1, None))),
            when(Status::Rejected, with(nothing_done(list(1, Some(1))), json!({
                "numPairs": {"const": 0}, "numErrors": {"const": 0},
            }))),
        ],
        "examples": [example(), planned_example()],
    })
}

/// A dry run for two pairs, one of which is not associated.
fn planned_example() -> Value {
    with(
        example(),
        json!({
            "dryRun": true,
        "status": "PLANNED",
            "attempts": 1,
            "numArchived": 0, "numErrors": 0, "errors": [],
            "plan": [
                {
                    "from": {"id": "101"}, "to": {"id": "9001"}, "present": true,
                    "types": [
                        {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 279, "label": null},
                        {"associationCategory": "USER_DEFINED", "associationTypeId": 37, "label": "Billing contact"},
                    ],
                    "moreTypes": 0, "warnings": ["LABELS_GO"],
                },
                {
                    "from": {"id": "101"}, "to": {"id": "9002"}, "present": false,
                    "types": [], "moreTypes": 0, "warnings": ["NOT_PRESENT"],
                },
            ],
        }),
    )
}

/// One of two pairs refused.
pub fn example() -> Value {
    json!({
        "jobId": "crm-sync-81f2",
        "portalId": 4711,
        "fromObjectType": "contacts",
        "toObjectType": "companies",
        "action": "archive",
        "dryRun": false,
        "group": null,
        "status": "PARTIAL",
        "numPairs": 2, "numArchived": 1, "numRestored": 0, "numErrors": 1,
        "verified": false, "journaled": false, "plan": null,
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

const STATUSES: &str = "ARCHIVED: every pair is archived. RESTORED: every pair has the types asked for. PARTIAL: some are or have, the others are in errors. FAILED: none is or has. PLANNED: nothing was changed, plan has an entry for each pair. EXPIRED: notAfter, or the property expiration of the job's message, passed before anything was sent. REJECTED: no valid job; errors[0].message names the field and the rule, and a copy of the message is in the dead-letter queue.";

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
        "to": with(record(), json!({
            "description": "Null where the message is no valid job, and where every association of the record was asked for and which these are is not known.",
        })),
        "types": {
            "description": "The labels that were to be removed from the pair or restored; null where the whole association was, or the message is no valid job. To ask again write them into the input, and leave the field out where it is null.",
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
        "description": "A pair for which the job was not done.",
        "type": "object",
        "required": names(&fields),
        "properties": fields,
        "if": {"properties": {"source": {"const": "WORKER"}}},
        "then": {"properties": {"category": {"enum": WorkerCategory::ALL.map(WorkerCategory::as_str)}}},
    })
}

fn plan_entry() -> Value {
    let mut kind = label();
    kind["properties"]["label"] = json!({
        "description": "What people call the type; null for the plain association, which has no name.",
        "type": ["string", "null"],
        "maxLength": TEXT_MAX_BYTES,
    });
    kind["required"] = json!(names(&kind["properties"]));
    let id = |description: &str| {
        let id = json!({"type": "string", "pattern": RECORD_ID});
        json!({"description": description, "type": "object", "required": ["id"], "properties": {"id": id}})
    };
    let fields = json!({
        "from": id("The record that the association goes from."),
        "to": id("The record that it goes to."),
        "present": {"description": "Whether the pair is associated now.", "type": "boolean"},
        "types": {
            "description": "What would be removed or, for a restore, added.",
            "type": "array",
            "items": kind,
        },
        "moreTypes": {
            "description": format!("How many further types are not listed. Only in a plan whose pairs have more than {MAX_TYPES_OF_A_PAIR} types each on average."),
            "type": "integer",
            "minimum": 0,
        },
        "warnings": {
            "description": "NOT_PRESENT: there is nothing to remove. LABELS_GO: labels other than Primary go. PRIMARY_GOES: the label Primary goes, or would be taken from another record. MAY_NOT_BE_RESTORABLE: HubSpot may refuse to create this.",
            "type": "array",
            "items": {"enum": Warning::ALL.map(Warning::as_str)},
        },
    });
    json!({"type": "object", "required": names(&fields), "properties": fields})
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
        "properties": {"id": {"type": "string", "pattern": RECORD_ID}},
    })
}

/// The schema with these words in place of its own, or beside them.
fn with(mut schema: Value, words: Value) -> Value {
    if let (Value::Object(schema), Value::Object(words)) = (&mut schema, words) {
        schema.extend(words);
    }
    schema
}

/// The schema of an outcome whose job changed nothing.
fn nothing_done(errors: Value) -> Value {
    json!({"errors": errors, "numArchived": {"const": 0}, "numRestored": {"const": 0}})
}

fn time(description: &str) -> Value {
    json!({"description": description, "type": "string", "pattern": TIME})
}

/// The schema of a value that may also be null.
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
