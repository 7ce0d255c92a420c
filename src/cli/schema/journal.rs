//! A record of the journal: a line of its file, a message of its stream. Open for what later versions add.

use serde_json::{Value, json};

use crate::contract::association::LabelCategory;
use crate::contract::ids::JobId;
use crate::contract::journal::{MAX_TYPES_OF_A_PAIR, ReadFrom, VERSION};
use crate::contract::text::TEXT_MAX_BYTES;

/// RFC 3339 in UTC with milliseconds.
const TIME: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$";
const UUID: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";

/// JSON Schema 2020-12.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:association-archiver:journal:v1",
        "title": "Record of the journal of removed and restored associations",
        "description": "An entry is written before the request leaves that removes its pairs, a restoration before one that creates them again, a completion after the answer, a mark by a command that reads the journal. Readers must bear with further fields and further kinds of records.",
        "type": "object",
        "required": ["version", "record"],
        "properties": {
            "version": {"description": "Of the worker that wrote it.", "type": "integer", "minimum": VERSION},
            "record": {"type": "string"},
        },
        "allOf": [when("entry", &entry()), when("restoration", &restoration()), when_completed(), when("mark", &mark())],
        "examples": [entry_example(), completion_example(), restoration_example(), restored_example()],
    })
}

fn when(record: &str, fields: &Value) -> Value {
    json!({
        "if": {"type": "object", "required": ["record"], "properties": {"record": {"const": record}}},
        "then": object(fields),
    })
}

/// Completions of removals have no `restored`.
fn when_completed() -> Value {
    let mut when = when("completion", &completion());
    when["then"]["properties"]["restored"] = places("Pairs that are associated again. Absent: none.");
    when
}

fn entry() -> Value {
    json!({
        "id": id("Names the entry. An entry that is too large for one record is written as several, which share it."),
        "at": time("When it was written."),
        "portalId": {"description": "Null where the settings do not name it.", "type": ["integer", "null"], "minimum": 1},
        "fromObjectType": object_type(),
        "toObjectType": object_type(),
        "readFrom": {
            "description": "The side that the associations were read from: the type ids are those of the direction from here to the other side.",
            "enum": ReadFrom::ALL.map(ReadFrom::as_str),
        },
        "labels": {
            "description": "The labels that are removed; null where everything between the records is.",
            "type": ["array", "null"],
            "minItems": 1,
            "items": label(&json!({})),
        },
        "types": {
            "description": "By what the pairs are associated that are about to be removed.",
            "type": "array",
            "items": label(&json!({
                "label": {"description": "Null for the plain association.", "type": ["string", "null"], "maxLength": TEXT_MAX_BYTES},
            })),
        },
        "jobs": {"description": "The jobs that asked for it.", "type": "array", "items": job()},
        "first": {"description": "How many pairs of the entry stand in records before this one.", "type": "integer", "minimum": 0},
        "pairs": {"type": "array", "items": object(&pair())},
    })
}

/// As for a removal, but for what is about to come.
fn restoration() -> Value {
    let mut fields = entry();
    fields["labels"]["description"] = json!("The types that were asked for; null for the plain association.");
    fields["types"]["description"] =
        json!("By what the pairs were associated, and what they are about to have as well.");
    let mut pair = pair();
    pair["creates"] = pair["types"].clone();
    pair["creates"]["description"] = json!("Places in types of what is about to come. Empty: the plain association.");
    fields["pairs"]["items"] = object(&pair);
    fields
}

fn job() -> Value {
    let name = |description: &str| json!({"description": description, "type": ["string", "null"]});
    let fields = json!({
        "jobId": {"type": "string", "minLength": 1, "maxLength": JobId::MAX_BYTES},
        "group": name("As in the job; null for none."),
        "correlationId": name("That of the job's outcome; null where there is no message."),
    });
    object(&fields)
}

fn object(fields: &Value) -> Value {
    json!({"type": "object", "required": names(fields), "properties": fields})
}

fn pair() -> Value {
    let record = json!({"type": "string", "pattern": "^[1-9][0-9]{0,19}$"});
    let fields = json!({
        "from": record,
        "to": record,
        "types": {
            "description": "Places in types, counted from 0. Empty: the records were not associated.",
            "type": "array",
            "maxItems": MAX_TYPES_OF_A_PAIR,
            "items": place(),
        },
        "jobs": {"description": "Places in jobs, counted from 0.", "type": "array", "items": place()},
    });
    fields
}

fn completion() -> Value {
    json!({
        "entry": id("The id of the entry or the restoration."),
        "at": time("When the answer came."),
        "archived": places("Pairs that HubSpot archived."),
        "refused": places("Pairs that are as they were, since HubSpot refused them or there was nothing to do after all. `undo` leaves them out."),
        "unknown": places("Pairs of which nobody knows."),
    })
}

fn mark() -> Value {
    json!({"id": id("Of the mark.")})
}

fn places(description: &str) -> Value {
    json!({
        "description": format!("{description} Ranges of places in the entry's pairs, each from its first to its last."),
        "type": "array",
        "items": {
            "type": "array",
            "minItems": 2,
            "maxItems": 2,
            "items": place(),
        },
    })
}

fn place() -> Value {
    json!({"type": "integer", "minimum": 0, "maximum": u32::MAX})
}

fn object_type() -> Value {
    json!({"description": "As in the request.", "type": "string", "minLength": 1, "maxLength": TEXT_MAX_BYTES})
}

fn label(more: &Value) -> Value {
    let mut fields = json!({
        "associationCategory": {"enum": LabelCategory::ALL.map(LabelCategory::as_str)},
        "associationTypeId": {"type": "integer", "minimum": 1},
    });
    if let (Some(fields), Some(more)) = (fields.as_object_mut(), more.as_object()) {
        fields.extend(more.clone());
    }
    object(&fields)
}

fn id(description: &str) -> Value {
    json!({"description": description, "type": "string", "pattern": UUID})
}

fn time(description: &str) -> Value {
    json!({"description": description, "type": "string", "pattern": TIME})
}

fn names(fields: &Value) -> Vec<&String> {
    fields.as_object().into_iter().flat_map(|fields| fields.keys()).collect()
}

/// Two pairs are about to go, one of them with a label.
pub fn entry_example() -> Value {
    json!({
        "version": VERSION,
        "record": "entry",
        "id": "5f0c2b9e-6f5d-4c8e-9a53-0d1f6a1b7c21",
        "at": "2026-11-23T09:00:00.120Z",
        "portalId": 4711,
        "fromObjectType": "contacts",
        "toObjectType": "companies",
        "readFrom": "from",
        "labels": null,
        "types": [
            {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 279, "label": null},
            {"associationCategory": "USER_DEFINED", "associationTypeId": 37, "label": "Billing contact"},
        ],
        "jobs": [{"jobId": "crm-sync-81f2", "group": "import-2026-11", "correlationId": "crm-sync-81f2"}],
        "first": 0,
        "pairs": [
            {"from": "101", "to": "9001", "types": [0, 1], "jobs": [0]},
            {"from": "101", "to": "9002", "types": [0], "jobs": [0]},
        ],
    })
}

/// What became of the pairs of [`entry_example`], of which one was refused.
fn completion_example() -> Value {
    json!({
        "version": VERSION,
        "record": "completion",
        "entry": "5f0c2b9e-6f5d-4c8e-9a53-0d1f6a1b7c21",
        "at": "2026-11-23T09:00:00.480Z",
        "archived": [[0, 0]],
        "refused": [[1, 1]],
        "unknown": [],
    })
}

/// The first pair of [`entry_example`] is about to come back.
fn restoration_example() -> Value {
    json!({
        "version": VERSION,
        "record": "restoration",
        "id": "0c7f7a6e-2f0b-4a52-8f3e-5f3f0f7a9d10",
        "at": "2026-11-24T10:00:00.310Z",
        "portalId": 4711,
        "fromObjectType": "contacts",
        "toObjectType": "companies",
        "readFrom": "from",
        "labels": [
            {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 279},
            {"associationCategory": "USER_DEFINED", "associationTypeId": 37},
        ],
        "types": [
            {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 279, "label": null},
            {"associationCategory": "USER_DEFINED", "associationTypeId": 37, "label": null},
        ],
        "jobs": [{"jobId": "undo-5d0c", "group": "undo-import-2026-11", "correlationId": "undo-5d0c"}],
        "first": 0,
        "pairs": [{"from": "101", "to": "9001", "types": [], "creates": [0, 1], "jobs": [0]}],
    })
}

/// What became of [`restoration_example`].
fn restored_example() -> Value {
    json!({
        "version": VERSION,
        "record": "completion",
        "entry": "0c7f7a6e-2f0b-4a52-8f3e-5f3f0f7a9d10",
        "at": "2026-11-24T10:00:00.590Z",
        "archived": [],
        "restored": [[0, 0]],
        "refused": [],
        "unknown": [],
    })
}

#[cfg(test)]
#[expect(clippy::panic)]
mod tests {
    use super::*;
    use crate::contract::journal::{Record, parse};

    #[test]
    fn the_examples_are_records() {
        for example in [entry_example(), completion_example(), restoration_example(), restored_example()] {
            let read = parse(example.to_string().as_bytes());
            let record = match read {
                Ok(Record::Entry(entry)) => entry.encode().remove(0),
                Ok(Record::Completion(completion)) => completion.encode(),
                other => panic!("{other:?}"),
            };
            assert_eq!(serde_json::from_slice::<Value>(&record).ok(), Some(example));
        }
    }
}
