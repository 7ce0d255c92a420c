//! A job, as far as JSON Schema can say it. What it cannot say (bytes, distinct pairs, which portals there are) the
//! descriptions and docs/producers.md do.

use serde_json::{Value, json};

use crate::config::JobsSettings;
use crate::contract::association::LabelCategory;
use crate::contract::ids::JobId;
use crate::contract::job::{LARGEST_EXACT, MAX_LABELS, MAX_LABELS_OF_ALL_PAIRS};
use crate::contract::object_type::ObjectType;

/// Anything but control characters.
const NO_CONTROL_CHARACTERS: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";

/// RFC 3339. A month has the days that it may have; which years have a 29 February is not told.
const RFC_3339: &str = concat!(
    "^[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|[12][0-9]))",
    r"[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?",
    "(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$",
);

/// A type id, a qualified name, or a standard name in any case, which a pattern can only say letter by letter.
fn object_types() -> String {
    let letter = |letter: char| match letter {
        'a'..='z' => format!("[{}{letter}]", letter.to_ascii_uppercase()),
        other => other.to_string(),
    };
    let names: Vec<String> = ObjectType::standard_spellings().map(|name| name.chars().map(letter).collect()).collect();
    format!("^(?:(?:0|[1-9][0-9]*)-[1-9][0-9]*|[Pp][0-9]*_[A-Za-z0-9_-]+|{})$", names.join("|"))
}

/// JSON Schema 2020-12.
pub fn schema() -> Value {
    let limits = JobsSettings::default();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:association-archiver:job:v1",
        "title": "Association archive job",
        "description": format!(
            "Asks for associations between HubSpot records to be archived, or to be created again. UTF-8, at most {} bytes (jobs.max_bytes) and {} distinct pairs (jobs.max_pairs), where a record whose to is \"all\" counts as one until it is looked at; no other fields, and none of them null. Sent uncompressed.",
            limits.max_bytes, limits.max_pairs
        ),
        "type": "object",
        "additionalProperties": false,
        "required": ["fromObjectType", "toObjectType", "inputs"],
        "properties": {
            "jobId": job_id(),
            "portalId": portal_id(),
            "fromObjectType": object_type("The type of the records that the associations go from."),
            "toObjectType": object_type("The type of the records that they go to."),
            "inputs": {
                "description": "The pairs. Copies count once.",
                "type": "array",
                "minItems": 1,
                "items": input(),
            },
            "action": {
                "description": "archive, which is meant where it is left out: the associations are removed. restore: the pairs are created again, with the types of their input, or as plain associations. What a pair already has is kept.",
                "enum": ["archive", "restore"],
            },
            "includePrimary": {
                "description": "Only with the action restore. true: a Primary label is restored even where another record is primary by now, from which it is taken. Left out or false: it is not, and the pair is an error that says so.",
                "type": "boolean",
            },
            "dryRun": {
                "description": "true: HubSpot is looked at and nothing is changed; the outcome is PLANNED and has an entry for each pair.",
                "type": "boolean",
            },
            "group": {
                "description": format!("What the producer calls the jobs that belong together, such as one import: 1 to {} bytes of UTF-8 without control characters. Comes back in the outcome.", JobId::MAX_BYTES),
                "type": "string",
                "minLength": 1,
                "maxLength": JobId::MAX_BYTES,
                "pattern": NO_CONTROL_CHARACTERS,
            },
            "notAfter": {
                "description": "RFC 3339. What has not been sent by then is not sent any more.",
                "type": "string",
                "pattern": RFC_3339,
            },
        },
        "allOf": [
            {
                "if": {"required": ["includePrimary"], "properties": {"includePrimary": {"type": "boolean"}}},
                "then": {"required": ["action"], "properties": {"action": {"const": "restore"}}},
            },
            {
                "if": {"required": ["action"], "properties": {"action": {"const": "restore"}}},
                "then": {"properties": {"inputs": {
                    "type": "array",
                    "items": {"type": "object", "properties": {"to": {"type": "array"}}},
                }}},
            },
        ],
        "examples": [example(), restore_example()],
    })
}

/// One label of a pair is created again, if it is not there.
fn restore_example() -> Value {
    json!({
        "jobId": "undo-81f2",
        "fromObjectType": "contacts",
        "toObjectType": "companies",
        "action": "restore",
        "dryRun": true,
        "group": "cleanup-november",
        "inputs": [{
            "from": {"id": "101"}, "to": [{"id": "9001"}],
            "types": [{"associationCategory": "USER_DEFINED", "associationTypeId": 37}],
        }],
    })
}

/// The smallest job that says everything.
pub fn example() -> Value {
    json!({
        "jobId": "crm-sync-81f2",
        "portalId": 4711,
        "fromObjectType": "contacts",
        "toObjectType": "companies",
        "inputs": [{"from": {"id": "101"}, "to": [{"id": "9001"}, {"id": "9002"}]}],
        "notAfter": "2026-12-01T00:00:00Z",
    })
}

pub fn job_id() -> Value {
    json!({
        "description": format!(
            "The producer's name for the job: 1 to {} bytes of UTF-8 without control characters. May be left out where the AMQP property message_id is set; where both are there this one counts.",
            JobId::MAX_BYTES
        ),
        "type": "string",
        "minLength": 1,
        "maxLength": JobId::MAX_BYTES,
        "pattern": NO_CONTROL_CHARACTERS,
    })
}

fn portal_id() -> Value {
    json!({
        "description": "The HubSpot account. May be left out where the worker serves one account only.",
        "type": "integer",
        "minimum": 1,
        "maximum": u64::MAX,
    })
}

fn object_type(what: &str) -> Value {
    json!({
        "description": format!(
            "{what} A type id (0-1, 2-123456), p_name, p123_name, or a standard name in any case, singular or plural: {}.",
            ObjectType::standard_names().collect::<Vec<_>>().join(", "),
        ),
        "type": "string",
        "minLength": 1,
        "maxLength": ObjectType::MAX_BYTES,
        "pattern": object_types(),
    })
}

fn input() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["from", "to"],
        "properties": {
            "from": record(),
            "to": {
                "description": "The records. \"all\", only with the action archive: every record of toObjectType that from is associated with when it is looked at; with types, those that carry one of them, and only these labels go. Pairs of the same record may be listed beside it only where they are covered by it; they then count once.",
                "anyOf": [
                    {"type": "array", "minItems": 1, "items": record()},
                    {"type": "string", "const": "all"},
                ],
            },
            "types": {
                "description": format!(
                    "Only these labels are removed or restored. Without it, the whole association is removed, or the plain one restored. A pair, and a record whose to is \"all\", must not be there both with and without it; all labels of a job, each counted for every pair, are at most {MAX_LABELS_OF_ALL_PAIRS}, for which \"all\" counts as jobs.max_pairs pairs."
                ),
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_LABELS,
                "items": label(),
            },
        },
    })
}

fn record() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["id"],
        "properties": {
            "id": {
                "description": "A record's id, 1 to 18446744073709551615, without a leading zero; as text, or as a number up to 2^53.",
                "anyOf": [
                    {"type": "string", "pattern": "^[1-9][0-9]{0,19}$"},
                    {"type": "integer", "minimum": 1, "maximum": LARGEST_EXACT},
                ],
            },
        },
    })
}

fn label() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["associationCategory", "associationTypeId"],
        "properties": {
            "associationCategory": {"enum": LabelCategory::ALL.map(LabelCategory::as_str)},
            "associationTypeId": {"type": "integer", "minimum": 1, "maximum": u64::MAX},
        },
    })
}
