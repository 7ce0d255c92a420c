//! The contract for machines: as committed, true of every example, and as strict as the parser.

use std::path::{Path, PathBuf};

use association_archiver::contract::job::{JobLimits, JobProperties, parse};
use association_archiver::contract::object_type::ObjectType;
use jsonschema::Validator;
use serde_json::{Value, json};

use super::program::run;

#[tokio::test]
async fn what_is_committed_is_what_the_program_prints() {
    for (name, file) in [
        ("job", "job.schema.json"),
        ("outcome", "outcome.schema.json"),
        ("journal", "journal.schema.json"),
        ("asyncapi", "asyncapi.json"),
    ] {
        let printed = run(&["schema", name], &[]).await;
        let printed: Value = serde_json::from_str(printed.fine()).unwrap();
        let how = format!("association-archiver schema {name} > docs/contract/{file}");
        assert_eq!(printed, committed(file), "docs/contract/{file} is out of date; make it anew: {how}");
    }
}

#[test]
fn every_example_in_the_documents_is_valid() {
    let (job, outcome) = (validator("job.schema.json"), validator("outcome.schema.json"));
    for schema in ["job.schema.json", "outcome.schema.json", "journal.schema.json"] {
        let validator = validator(schema);
        for example in committed(schema)["examples"].as_array().unwrap() {
            assert_valid(&validator, example, schema);
        }
    }
    let (mut jobs, mut outcomes) = (0, 0);
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        let place = document.display().to_string();
        for block in text.split("```json\n").skip(1) {
            let block = block.split("```").next().unwrap();
            let Ok(example) = serde_json::from_str::<Value>(block) else { continue };
            if example.get("inputs").is_some() {
                assert_valid(&job, &example, &place);
                jobs += 1;
            } else if example.get("numPairs").is_some() {
                assert_valid(&outcome, &example, &place);
                outcomes += 1;
            }
        }
    }
    assert!(jobs > 0 && outcomes > 0, "no examples were found: {jobs} jobs, {outcomes} outcomes");
}

#[test]
fn the_schema_refuses_what_the_parser_refuses_for_its_shape() {
    let validator = validator("job.schema.json");
    let limits = JobLimits { max_bytes: 1 << 20, max_pairs: 10_000 };
    let parses = |job: &Value| parse(job.to_string().as_bytes(), JobProperties::default(), &limits);
    let good = committed("job.schema.json")["examples"][0].clone();
    let with = |path: &str, value: Value| {
        let mut job = good.clone();
        let (parent, name) = path.rsplit_once('/').unwrap();
        job.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(name.to_owned(), value);
        job
    };
    let restored = |path: &str, value: Value| {
        let mut job = with(path, value);
        job["action"] = json!("restore");
        job
    };
    let label = json!({"associationCategory": "USER_DEFINED", "associationTypeId": 37});
    let good_ones = [
        good.clone(),
        with("/fromObjectType", json!("0-1")),
        with("/fromObjectType", json!("2-123456")),
        with("/fromObjectType", json!("p_my-car_2")),
        with("/toObjectType", json!("P123_name")),
        with("/toObjectType", json!("Line_Items")),
        with("/inputs/0/from", json!({"id": 101})),
        with("/inputs/0/from", json!({"id": 111.0})),
        with("/portalId", json!(4711.0)),
        with("/inputs/0/from", json!({"id": u64::MAX.to_string()})),
        with("/inputs/0/from", json!({"id": 1_u64 << 53})),
        with("/inputs/0/types", json!([label])),
        with("/inputs/0/types", json!(vec![label.clone(); 100])),
        with("/notAfter", json!("2026-11-30T23:59:59.123456789-02:30")),
        with("/notAfter", json!("2026-02-28t23:59:60+23:59")),
        with("/jobId", json!("ü".repeat(64))),
        with("/dryRun", json!(true)),
        with("/dryRun", json!(false)),
        with("/action", json!("archive")),
        with("/group", json!("import 7")),
        with("/inputs/0/to", json!("all")),
        restored("/dryRun", json!(true)),
        restored("/includePrimary", json!(true)),
        restored("/inputs/0/types", json!([label])),
        with("/portalId", json!(u64::MAX)),
    ];
    for name in ObjectType::standard_spellings().flat_map(|name| [name.to_owned(), name.to_uppercase()]) {
        let job = with("/fromObjectType", json!(name));
        parses(&job).unwrap_or_else(|malformed| panic!("{job}: {}", malformed.message));
        assert_valid(&validator, &job, &name);
    }
    for job in good_ones {
        parses(&job).unwrap_or_else(|malformed| panic!("{job}: {}", malformed.message));
        assert_valid(&validator, &job, "good");
    }
    let without = |name: &str| {
        let mut job = good.clone();
        job.as_object_mut().unwrap().remove(name);
        job
    };
    let bad_ones = [
        json!(null),
        json!([]),
        json!("job"),
        without("fromObjectType"),
        without("toObjectType"),
        without("inputs"),
        with("/inputs/0/from", json!({"id": (1_u64 << 53) + 1})),
        with("/simulate", json!(true)),
        with("/dryRun", json!(1)),
        with("/dryRun", Value::Null),
        with("/action", json!("delete")),
        with("/action", Value::Null),
        with("/group", json!("")),
        with("/group", json!("a\u{7}")),
        with("/includePrimary", json!(true)),
        restored("/inputs/0/to", json!("all")),
        restored("/includePrimary", json!("true")),
        with("/inputs/0/to", json!("ALL")),
        with("/inputs/0/to", json!(["all"])),
        with("/jobId", json!(7)),
        with("/jobId", json!("")),
        with("/jobId", json!("a\u{7}")),
        with("/jobId", json!("a".repeat(129))),
        with("/jobId", Value::Null),
        with("/portalId", json!("4711")),
        with("/portalId", json!(0)),
        with("/portalId", json!(-1)),
        with("/portalId", json!(1.5)),
        with("/portalId", Value::Null),
        with("/fromObjectType", json!("")),
        with("/fromObjectType", json!(1)),
        with("/fromObjectType", json!("kontakte")),
        with("/toObjectType", json!("cars")),
        with("/toObjectType", json!("contactss")),
        with("/toObjectType", json!("line_itemss")),
        with("/fromObjectType", json!("contacts/companies")),
        with("/fromObjectType", json!("../contacts")),
        with("/fromObjectType", json!("line items")),
        with("/fromObjectType", json!("contacts%20")),
        with("/fromObjectType", json!("00-1")),
        with("/fromObjectType", json!("0-0")),
        with("/fromObjectType", json!("2_1")),
        with("/fromObjectType", json!("p_")),
        with("/fromObjectType", json!("p_straße")),
        with("/fromObjectType", json!(format!("p_{}", "x".repeat(127)))),
        with("/inputs", json!([])),
        with("/inputs", json!({})),
        with("/inputs", json!([1])),
        with("/inputs/0/extra", json!(1)),
        with("/inputs/0/from", json!("101")),
        with("/inputs/0/from", json!({})),
        with("/inputs/0/from", json!({"id": "0101"})),
        with("/inputs/0/from", json!({"id": "0"})),
        with("/inputs/0/from", json!({"id": "-1"})),
        with("/inputs/0/from", json!({"id": ""})),
        with("/inputs/0/from", json!({"id": 0})),
        with("/inputs/0/from", json!({"id": 1.5})),
        with("/inputs/0/from", json!({"id": "1", "type": "x"})),
        with("/inputs/0/to", json!([])),
        with("/inputs/0/to", json!({"id": "1"})),
        with("/inputs/0/to", json!(["1"])),
        with("/inputs/0/types", json!([])),
        with("/inputs/0/types", Value::Null),
        with("/inputs/0/types", json!([{"associationCategory": "user_defined", "associationTypeId": 37}])),
        with("/inputs/0/types", json!([{"associationCategory": "USER_DEFINED"}])),
        with("/inputs/0/types", json!([{"associationCategory": "USER_DEFINED", "associationTypeId": "37"}])),
        with("/inputs/0/types", json!([{"associationCategory": "USER_DEFINED", "associationTypeId": 37, "x": 1}])),
        with("/inputs/0/types", json!(vec![label.clone(); 101])),
        with("/notAfter", json!("2026-12-01")),
        with("/notAfter", json!("2026-02-30T00:00:00Z")),
        with("/notAfter", json!("2026-04-31T00:00:00Z")),
        with("/notAfter", json!("2026-13-01T00:00:00Z")),
        with("/notAfter", json!("2026-12-00T00:00:00Z")),
        with("/notAfter", json!("2026-12-01T24:00:00Z")),
        with("/notAfter", json!("2026-12-01T00:60:00Z")),
        with("/notAfter", json!("2026-12-01T00:00:61Z")),
        with("/notAfter", json!("2026-12-01T00:00:00+99:00")),
        with("/notAfter", json!("2026-12-01T00:00:00+24:00")),
        with("/notAfter", json!("2026-12-01 00:00:00Z")),
        with("/notAfter", json!("2026-12-01T00:00:00+02")),
        with("/notAfter", json!(1_764_547_200)),
        with("/notAfter", Value::Null),
    ];
    for job in bad_ones {
        assert!(parses(&job).is_err(), "the parser takes {job}");
        assert!(!validator.is_valid(&job), "the schema takes {job}");
    }
}

#[test]
fn every_reference_of_the_asyncapi_document_leads_somewhere() {
    let document = committed("asyncapi.json");
    assert_eq!(document["asyncapi"], "3.0.0");
    let mut references = Vec::new();
    gather(&document, &mut references);
    assert!(references.len() >= 8, "{references:?}");
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads out of the document"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for (message, schema) in [("job", "job.schema.json"), ("outcome", "outcome.schema.json")] {
        assert_eq!(document["components"]["schemas"][message]["schema"], committed(schema));
        for example in document["components"]["messages"][message]["examples"].as_array().unwrap() {
            assert_valid(&validator(schema), &example["payload"], "asyncapi.json");
        }
    }
}

fn gather<'a>(value: &'a Value, references: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|field| gather(field, references));
        }
        Value::Array(values) => values.iter().for_each(|value| gather(value, references)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let markdown = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    markdown.chain([root().join("README.md")]).collect()
}

fn committed(file: &str) -> Value {
    let text = std::fs::read_to_string(root().join("docs/contract").join(file)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn validator(file: &str) -> Validator {
    jsonschema::draft202012::new(&committed(file)).unwrap()
}

fn assert_valid(validator: &Validator, instance: &Value, place: &str) {
    let errors: Vec<String> = validator.iter_errors(instance).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{place}: {errors:#?}\n{instance:#}");
}
