#![expect(clippy::unwrap_used)]

use std::num::NonZeroU64;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::contract::association::{Label, LabelCategory, RecordId};

const LIMITS: JobLimits = JobLimits { max_bytes: 4096, max_pairs: 5 };

const WITH_ID: JobProperties<'_> = JobProperties { message_id: Some("m-1"), content_encoding: None };

/// The contract's own example.
const EXAMPLE: &str = r#"{
  "jobId": "crm-sync-81f2",
  "portalId": 4711,
  "fromObjectType": "contacts",
  "toObjectType": "companies",
  "inputs": [
    { "from": { "id": "101" }, "to": [ { "id": "9001" }, { "id": "9002" } ] }
  ],
  "notAfter": "2026-12-01T00:00:00Z"
}"#;

fn parse_str(body: &str) -> Result<Job, Malformed> {
    parse(body.as_bytes(), JobProperties::default(), &LIMITS)
}

/// A job with these inputs.
fn job_with(inputs: &str) -> String {
    format!(r#"{{"jobId":"j","fromObjectType":"contacts","toObjectType":"0-2","inputs":{inputs}}}"#)
}

/// A job with this field added.
fn job_and(field: &str) -> String {
    format!(
        r#"{{"jobId":"j","fromObjectType":"contacts","toObjectType":"0-2","inputs":[{{"from":{{"id":"1"}},"to":[{{"id":"2"}}]}}],{field}}}"#
    )
}

fn pair(from: u64, to: u64) -> Pair {
    let record = |id| RecordId(NonZeroU64::new(id).unwrap());
    Pair { from: record(from), to: record(to) }
}

fn label(category: LabelCategory, type_id: u64) -> Label {
    Label { category, type_id: NonZeroU64::new(type_id).unwrap() }
}

fn pairs(job: &Job) -> Vec<(Extent, Vec<Pair>)> {
    job.asks.iter().map(|ask| (ask.extent.clone(), ask.pairs.to_vec())).collect()
}

#[test]
fn reads_the_example() {
    let job = parse_str(EXAMPLE).unwrap();
    assert_eq!(job.id.as_str(), "crm-sync-81f2");
    assert_eq!(job.portal, NonZeroU64::new(4711).map(PortalId));
    assert_eq!((job.from_type.as_written(), job.to_type.as_written()), ("contacts", "companies"));
    assert_eq!(pairs(&job), [(Extent::Whole, vec![pair(101, 9001), pair(101, 9002)])]);
    assert_eq!(job.not_after, Some("2026-12-01T00:00:00Z".parse().unwrap()));
    assert_eq!(job.num_pairs(), 2);
}

#[test]
fn fields_may_come_in_any_order_and_text_may_be_escaped() {
    let body = r#" {"inputs":[{"to":[{"id":"\u0032"}],"from":{"id":1}}],"toObjectType":"comp\u0061nies","fromObjectType":"Contact","\u006aobId":"\ud83d\ude00"} "#;
    let job = parse_str(body).unwrap();
    assert_eq!(job.id.as_str(), "😀");
    assert_eq!((job.from_type.as_written(), job.to_type.path_segment()), ("Contact", "companies"));
    assert_eq!(pairs(&job), [(Extent::Whole, vec![pair(1, 2)])]);
    assert_eq!((job.portal, job.not_after), (None, None));
}

#[test]
fn ids_are_read_to_the_last_digit() {
    let job = parse_str(&job_with(
        r#"[{"from":{"id":"18446744073709551615"},"to":[{"id":"9007199254740993"},{"id":9007199254740992}]}]"#,
    ));
    let exact = 9_007_199_254_740_992;
    assert_eq!(pairs(&job.unwrap()), [(Extent::Whole, vec![pair(u64::MAX, exact), pair(u64::MAX, exact + 1)])]);
    let job = parse_str(&job_and(r#""portalId":18446744073709551615"#)).unwrap();
    assert_eq!(job.portal, NonZeroU64::new(u64::MAX).map(PortalId));
}

#[test]
fn the_same_pair_counts_once() {
    let job = parse_str(&job_with(
        r#"[{"from":{"id":"2"},"to":[{"id":"9"},{"id":9}]},{"from":{"id":"1"},"to":[{"id":"9"}]},{"from":{"id":2},"to":[{"id":"9"}]}]"#,
    ));
    assert_eq!(pairs(&job.unwrap()), [(Extent::Whole, vec![pair(1, 9), pair(2, 9)])]);
}

#[test]
fn labels_of_a_pair_are_united_and_pairs_with_equal_labels_meet() {
    let job = parse_str(&job_with(
        r#"[
          {"from":{"id":"1"},"to":[{"id":"2"},{"id":"3"}],"types":[{"associationCategory":"USER_DEFINED","associationTypeId":37},{"associationCategory":"USER_DEFINED","associationTypeId":37}]},
          {"types":[{"associationTypeId":1,"associationCategory":"HUBSPOT_DEFINED"}],"from":{"id":"1"},"to":[{"id":"3"}]},
          {"from":{"id":"4"},"to":[{"id":"2"}],"types":[{"associationCategory":"USER_DEFINED","associationTypeId":37}]},
          {"from":{"id":"4"},"to":[{"id":"3"}]}
        ]"#,
    ))
    .unwrap();
    let user = label(LabelCategory::UserDefined, 37);
    let both = [label(LabelCategory::HubspotDefined, 1), user];
    assert_eq!(
        pairs(&job),
        [
            (Extent::Whole, vec![pair(4, 3)]),
            (Extent::Labels([user].into()), vec![pair(1, 2), pair(4, 2)]),
            (Extent::Labels(both.into()), vec![pair(1, 3)]),
        ]
    );
    assert_eq!(job.num_pairs(), 4);
}

#[test]
fn copies_do_not_count_against_the_limit() {
    let five = r#"{"id":1},{"id":2},{"id":3},{"id":4},{"id":5}"#;
    let input = format!(r#"{{"from":{{"id":1}},"to":[{five},{five},{five},{five}]}}"#);
    let job = parse_str(&job_with(&format!("[{input},{input},{input},{input}]"))).unwrap();
    assert_eq!(job.num_pairs(), 5);
}

#[test]
fn the_id_comes_from_the_body_or_the_message() {
    let in_body = job_and(r#""portalId":1"#);
    let without = in_body.replace(r#""jobId":"j","#, "");
    let id = |body: &str, properties| parse(body.as_bytes(), properties, &LIMITS).map(|job| job.id.as_str().to_owned());
    assert_eq!(id(&in_body, WITH_ID).unwrap(), "j");
    assert_eq!(id(&without, WITH_ID).unwrap(), "m-1");
    let unfit = "x".repeat(129);
    let unfit = JobProperties { message_id: Some(&unfit), content_encoding: None };
    assert_eq!(id(&in_body, unfit).unwrap(), "j");
    let refused = id(&without, unfit).unwrap_err();
    assert!(refused.message.starts_with("jobId: is missing, and the message_id property, \"xxx"), "{refused:?}");
    assert_eq!(refused.job_id, None);
    let refused = id(&without, JobProperties::default()).unwrap_err();
    assert!(refused.message.starts_with("jobId: is missing, and so is the message_id"), "{refused:?}");
}

#[test]
fn a_longest_job_id_is_fine() {
    let body = job_and(r#""portalId":1"#).replace(r#""j""#, &format!(r#""{}""#, "ü".repeat(64)));
    assert_eq!(parse_str(&body).unwrap().id.as_str(), "ü".repeat(64));
}

#[test]
fn an_encoded_body_is_refused() {
    let body = job_and(r#""portalId":1"#);
    let with =
        |encoding| parse(body.as_bytes(), JobProperties { message_id: None, content_encoding: encoding }, &LIMITS);
    for plain in ["", "identity", "Identity", "NONE", "utf-8", "UTF-8", "utf8", "US-ASCII", "ascii"].map(Some) {
        assert!(with(plain).is_ok(), "{plain:?}");
    }
    for encoded in ["gzip", "deflate", "br", "utf-16", "iso-8859-1", "identity, gzip", " identity"] {
        let refused = with(Some(encoded)).unwrap_err();
        assert!(
            refused.message.starts_with(&format!(
                "content_encoding: is {encoded:?}, but must be one of identity, none, utf-8, utf8, us-ascii, ascii, or"
            )),
            "{refused:?}"
        );
        assert_eq!(refused.job_id, JobId::new("j"));
    }
}

#[test]
fn a_byte_order_mark_before_the_body_is_skipped() {
    let body = job_and(r#""portalId":1"#);
    let marked = format!("\u{feff}{body}");
    assert_eq!(parse_str(&marked), parse_str(&body));
    told(&format!("\u{feff}\u{feff}{body}"), "body: ", "not well-formed JSON");
    told(&format!(" \u{feff}{body}"), "body: ", "not well-formed JSON");
}

/// The job is refused with a message that begins with the field and names the rule.
fn told(body: &str, begins: &str, contains: &str) {
    let refused = parse(body.as_bytes(), WITH_ID, &LIMITS).unwrap_err();
    assert!(refused.message.starts_with(begins), "{body}\n{}\nshould begin with {begins}", refused.message);
    assert!(refused.message.contains(contains), "{body}\n{}\nshould contain {contains}", refused.message);
    assert!(refused.message.len() <= 500 && !refused.message.contains(char::is_control), "{}", refused.message);
    assert!(refused.job_id.is_some(), "{body}");
}

#[test]
fn what_is_no_json_document_is_refused() {
    let json = "is not well-formed JSON";
    told("", "body: ", json);
    told(" ", "body: ", "EOF");
    told("jobs, please", "body: ", "line 1 column 1");
    told("null", "body: is null, but must be a JSON object", "");
    told("[]", "body: is an array, but must be a JSON object", "");
    told("\"{}\"", "body: is the string \"{}\", but must be a JSON object", "");
    told("17", "body: is the number 17, but must be a JSON object", "");
    told(r#"{"jobId":"j""#, "body: ", json);
    told(r#"{"jobId":"j"#, "jobId: ", json);
    told(r#"{"jobId":"j",}"#, "body: ", "trailing comma");
    told(r#"{'jobId':'j'}"#, "body: ", json);
    told(r#"{jobId:"j"}"#, "body: ", json);
    told(r#"{"jobId":"j" "portalId":1}"#, "body: ", json);
    told(r#"{"jobId":NaN}"#, "jobId: ", json);
    told(r#"{"jobId":"\ud800"}"#, "jobId: ", "hex escape");
    told(r#"{"jobId":"\udc00\ud800"}"#, "jobId: ", "surrogate");
    told(r#"{"jobId":"\q"}"#, "jobId: ", "invalid escape");
    told("{\"jobId\":\"a\nb\"}", "jobId: ", "control character");
    told(r#"{"portalId":1e999}"#, "portalId: ", "out of range");
    told(r#"{"portalId":01}"#, "portalId: ", "invalid number");
    told(r#"{"portalId":+1}"#, "portalId: ", json);
    told(&format!("{EXAMPLE} {{}}"), "body: ", "trailing characters");
    told(&format!("{EXAMPLE}\0"), "body: ", "trailing characters");
    told(&"[".repeat(4000), "body: is an array, but must be a JSON object", "");
    told(&job_with(&"[".repeat(3000)), "inputs[0]: is an array, but must be an object such as", "");
    told(&" ".repeat(4097), "body: has 4,097 bytes, but jobs.max_bytes allows 4,096", "split the job");
}

#[test]
fn a_wrong_job_id_or_portal_is_refused() {
    let with_id = |id: &str| job_and(r#""portalId":1"#).replace(r#""jobId":"j""#, &format!(r#""jobId":{id}"#));
    told(&with_id(r#""""#), r#"jobId: is "", but must be a string of 1 to 128 bytes"#, "");
    told(&with_id(&format!("\"{}\"", "x".repeat(129))), r#"jobId: is "xxx"#, "but must be a string of 1 to 128 bytes");
    told(&with_id(r#""a\nb""#), r#"jobId: is "a\nb", but must be a string"#, "without control characters");
    told(&with_id(r#""a\u0085b""#), r#"jobId: is "a\u{85}b", but must be a string"#, "without control characters");
    told(&with_id("17"), "jobId: is the number 17, but must be a string of 1 to 128 bytes", "");
    told(&with_id("null"), "jobId: is null, but must be a string of 1 to 128 bytes", "");
    told(&with_id("{}"), "jobId: is an object, but must be a string of 1 to 128 bytes", "");
    let with_portal = |portal: &str| job_and(&format!(r#""portalId":{portal}"#));
    let rule =
        "but must be an integer from 1 to 18446744073709551615; leave it out only if the worker has a single account";
    told(&with_portal("0"), "portalId: is the number 0", rule);
    told(&with_portal("-4711"), "portalId: is the number -4711", rule);
    told(&with_portal("4711.5"), "portalId: is the number 4711.5", rule);
    told(&with_portal("1e300"), "portalId: is the number ", rule);
    told(&with_portal("18446744073709551616"), "portalId: is the number ", rule);
    told(&with_portal("null"), "portalId: is null", rule);
    told(&with_portal("true"), "portalId: is true", rule);
    told(&with_portal("[4711]"), "portalId: is an array", rule);
    told(&with_portal(r#""4711""#), r#"portalId: is the string "4711", "#, rule);
}

#[test]
fn a_wrong_object_type_is_refused() {
    let with_types =
        |from: &str, to: &str| job_and(r#""portalId":1"#).replace(r#""contacts""#, from).replace(r#""0-2""#, to);
    told(&with_types(r#""""#, r#""deals""#), r#"fromObjectType: "" is empty"#, "");
    told(&with_types(r#""a/b""#, r#""deals""#), r#"fromObjectType: "a/b" has a character"#, "");
    told(&with_types(r#""deals""#, r#""cars""#), r#"toObjectType: "cars" is no standard name"#, "type id");
    told(&with_types(r#""deals""#, r#""2-01""#), r#"toObjectType: "2-01" is no type id"#, "leading zeros");
    told(&with_types("1", r#""deals""#), "fromObjectType: is the number 1, but must be an object type", "");
    told(&with_types(r#""deals""#, "null"), "toObjectType: is null, but must be an object type", "");
    told("{}", "fromObjectType: is missing; it must be an object type, such as", "");
    told(r#"{"jobId":"j","fromObjectType":"contacts"}"#, "toObjectType: is missing", "");
}

#[test]
fn wrong_inputs_are_refused() {
    let no_inputs = job_with("[]").replace(r#","inputs":[]"#, "");
    told(&no_inputs, "inputs: is missing; it must be a list of inputs such as [{", "");
    told(&job_with("[]"), "inputs: is empty; it must be a list of inputs such as [{", "");
    told(&job_with("null"), "inputs: is null, but must be a list of inputs", "");
    told(&job_with("{}"), "inputs: is an object, but must be a list of inputs", "");
    told(&job_with("[null]"), "inputs[0]: is null, but must be an object such as", "");
    told(&job_with("[{}]"), "inputs[0].from: is missing; it must be an object such as", "");
    told(&job_with(r#"[{"to":[{"id":"1"}]}]"#), "inputs[0].from: is missing", "");
    told(&job_with(r#"[{"from":{"id":"1"}}]"#), "inputs[0].to: is missing; it must be a list of records such as", "");
    let from = |from: &str| job_with(&format!(r#"[{{"from":{from},"to":[{{"id":"1"}}]}}]"#));
    told(&from(r#""1""#), r#"inputs[0].from: is the string "1", but must be an object such as"#, "");
    told(&from("{}"), "inputs[0].from.id: is missing; it must be a string of digits", "");
    let to = |to: &str| job_with(&format!(r#"[{{"from":{{"id":"1"}},"to":{to}}}]"#));
    told(&to("[]"), "inputs[0].to: is empty; it must be a list of records such as", "");
    told(&to(r#"{"id":"2"}"#), "inputs[0].to: is an object, but must be a list of records such as", "");
    told(&to(r#"["2"]"#), r#"inputs[0].to[0]: is the string "2", but must be an object such as"#, "");
    told(&to(r#"[{"id":"2"},{}]"#), "inputs[0].to[1].id: is missing", "");
    told(&to(r#"[{"id":"2"} {"id":"3"}]"#), "inputs[0].to[1]: is not well-formed JSON", "expected `,`");
    let second = r#"[{"from":{"id":"1"},"to":[{"id":"2"}]},{"from":{"id":"1"},"to":[{"id":"2"},{"id":null}]}]"#;
    told(&job_with(second), "inputs[1].to[1].id: is null, but must be a string of digits", "");
    let six: Vec<_> = (1..=6).map(|id| json!({"id": id})).collect();
    told(&to(&json!(six).to_string()), "inputs: have more than 5 distinct pairs", "jobs.max_pairs");
    let spread: Vec<_> = six.iter().map(|record| json!({"from": record, "to": [record]})).collect();
    told(&job_with(&json!(spread).to_string()), "inputs: have more than 5 distinct pairs", "jobs.max_pairs");
}

#[test]
fn a_wrong_record_id_is_refused() {
    let from = |id: &str| job_with(&format!(r#"[{{"from":{{"id":{id}}},"to":[{{"id":"1"}}]}}]"#));
    let to = |id: &str| job_with(&format!(r#"[{{"from":{{"id":"1"}},"to":[{{"id":"1"}},{{"id":{id}}}]}}]"#));
    let rule = "a string of digits from 1 to 18446744073709551615, without a leading zero";
    for text in ["", "0", "012", "+1", "-1", " 1", "1 ", "1.0", "1e3", "0x1", "１", "18446744073709551616", "abc"] {
        told(&from(&json!(text).to_string()), &format!("inputs[0].from.id: is {text:?}, but must be {rule}"), "");
        told(&to(&json!(text).to_string()), &format!("inputs[0].to[1].id: is {text:?}, but must be {rule}"), "");
    }
    for value in [
        "0",
        "-1",
        "-0",
        "0.0",
        "-1.0",
        "1.5",
        "1e-3",
        "1e16",
        "18446744073709551616",
        "true",
        "null",
        "[]",
        "[1]",
        "{}",
    ] {
        told(&from(value), "inputs[0].from.id: is ", &format!(", but must be {rule}"));
        told(&to(value), "inputs[0].to[1].id: is ", &format!(", but must be {rule}"));
    }
}

#[test]
fn a_whole_number_is_one_however_it_is_written() {
    let types = r#"[{"associationCategory":"WORK","associationTypeId":3.7e1}]"#;
    let inputs =
        format!(r#"[{{"from":{{"id":111.0}},"to":[{{"id":1.5e3}},{{"id":9007199254740991.0}}],"types":{types}}}]"#);
    let job = parse_str(&job_with(&inputs)).unwrap();
    let wanted = vec![pair(111, 1_500), pair(111, 9_007_199_254_740_991)];
    assert_eq!(pairs(&job), [(Extent::Labels([label(LabelCategory::Work, 37)].into()), wanted)]);
    let job = parse_str(&job_and(r#""portalId":4711.0"#)).unwrap();
    assert_eq!(job.portal, NonZeroU64::new(4711).map(PortalId));
}

#[test]
fn a_number_that_may_have_been_rounded_is_refused_with_advice() {
    let from = |id: &str| job_with(&format!(r#"[{{"from":{{"id":{id}}},"to":[{{"id":"1"}}]}}]"#));
    for number in ["9007199254740993", "18446744073709551615", "18446744073709551616", "1e300"] {
        told(&from(number), "inputs[0].from.id: is ", "write ids as strings");
    }
}

/// As doubles these are other numbers.
#[test]
fn a_refused_number_is_told_as_it_was_written_or_not_at_all() {
    // The second becomes the first as a double, or the next one, as the reader of JSON rounds.
    for id in ["9007199254740992.0", "9007199254740993.0", "9007199254740994.0"] {
        let from = job_with(&format!(r#"[{{"from":{{"id":{id}}},"to":[{{"id":"1"}}]}}]"#));
        told(&from, "inputs[0].from.id: is a number of 2^53 or more, but must be", "write ids as strings");
    }
    for number in ["9007199254740993.0", "1.8e19", "-9007199254740993.0", "0.10000000000000000000001"] {
        let is = format!("portalId: is the number {number}, but must be");
        told(&job_and(&format!("\"portalId\":{number}")), &is, "");
        told(&job_and(&format!("\"portalId\"\n : \n{number} ,\n\"group\":\"g\"")), &is, "");
    }
}

#[test]
fn wrong_labels_are_refused() {
    let types = |types: &str| job_with(&format!(r#"[{{"from":{{"id":"1"}},"to":[{{"id":"2"}}],"types":{types}}}]"#));
    told(
        &types("[]"),
        "inputs[0].types: is empty; it must be a list of labels",
        "leave it out for the whole association",
    );
    told(
        &types("null"),
        "inputs[0].types: is null, but must be a list of labels",
        "leave it out for the whole association",
    );
    told(&types("{}"), "inputs[0].types: is an object, but must be a list of labels", "");
    told(&types("[37]"), "inputs[0].types[0]: is the number 37, but must be an object such as", "");
    told(&types("[{}]"), "inputs[0].types[0].associationCategory: is missing; it must be HUBSPOT_DEFINED", "");
    let no_id = r#"[{"associationCategory":"WORK"}]"#;
    told(&types(no_id), "inputs[0].types[0].associationTypeId: is missing; it must be an integer", "");
    let category = |category: &str| types(&format!(r#"[{{"associationCategory":{category},"associationTypeId":1}}]"#));
    told(
        &category(r#""work""#),
        "inputs[0].types[0].associationCategory: is \"work\", but must be HUBSPOT_DEFINED",
        "",
    );
    told(&category("1"), "inputs[0].types[0].associationCategory: is the number 1, but must be HUBSPOT_DEFINED", "");
    let type_id = |id: &str| types(&format!(r#"[{{"associationCategory":"WORK","associationTypeId":{id}}}]"#));
    told(&type_id(r#""1""#), "inputs[0].types[0].associationTypeId: is the string \"1\", but must be an integer", "");
    told(&type_id("0"), "inputs[0].types[0].associationTypeId: is the number 0, but must be an integer", "");
    told(&type_id("1.5"), "inputs[0].types[0].associationTypeId: is the number 1.5, but must be an integer", "");
    let contradiction = r#"[
        {"from":{"id":"1"},"to":[{"id":"3"},{"id":"2"}]},
        {"from":{"id":"1"},"to":[{"id":"2"}],"types":[{"associationCategory":"WORK","associationTypeId":1}]}
    ]"#;
    told(
        &job_with(contradiction),
        "inputs: contradict each other: the pair 1 -> 2 is there with `types`, the pair 1 -> 2 without",
        "",
    );
}

#[test]
fn a_field_that_is_unknown_or_comes_twice_is_refused_at_every_level() {
    let input = |input: &str| job_with(&format!("[{{{input}}}]"));
    let label = |label: &str| input(&format!(r#""from":{{"id":"1"}},"to":[{{"id":"2"}}],"types":[{{{label}}}]"#));
    told(&job_and(r#""simulate":true"#), r#"body: has the unknown field "simulate""#, "notAfter");
    told(&job_and(r#""dryrun":true"#), r#"body: has the unknown field "dryrun""#, "dryRun");
    told(&job_and(r#""JobId":"j""#), r#"body: has the unknown field "JobId""#, "");
    told(&job_and(r#""":1"#), r#"body: has the unknown field """#, "");
    told(&job_and(r#""portalId":1,"portalId":1"#), r#"body: has the field "portalId" twice"#, "");
    told(&job_and(r#""portalId":1,"\u0070ortalId":1"#), r#"body: has the field "portalId" twice"#, "");
    told(&job_and(r#""inputs":[]"#), r#"body: has the field "inputs" twice"#, "");
    told(&input(r#""type":[]"#), r#"inputs[0]: has the unknown field "type""#, "from, to, types");
    told(&input(r#""to":[{"id":"2"}],"to":[{"id":"3"}]"#), r#"inputs[0]: has the field "to" twice"#, "");
    told(&input(r#""from":{"id":"1","name":"x"}"#), r#"inputs[0].from: has the unknown field "name""#, "");
    told(&input(r#""to":[{"id":"2","id":"2"}]"#), r#"inputs[0].to[0]: has the field "id" twice"#, "");
    let unknown = r#""associationCategory":"WORK","associationTypeId":1,"label":"x""#;
    told(&label(unknown), r#"inputs[0].types[0]: has the unknown field "label""#, "associationCategory");
    let twice = r#""associationTypeId":1,"associationTypeId":1"#;
    told(&label(twice), r#"inputs[0].types[0]: has the field "associationTypeId" twice"#, "");
}

#[test]
fn a_wrong_time_is_refused() {
    let not_after = |time: &str| job_and(&format!(r#""notAfter":{time}"#));
    told(
        &not_after("null"),
        "notAfter: is null, but must be a time with its offset",
        "leave it out if the job has no deadline",
    );
    told(&not_after("1764547200"), "notAfter: is the number 1764547200, but must be a time", "");
    told(&not_after(r#""soon""#), r#"notAfter: is "soon", but must be a time"#, "");
    told(
        &not_after(r#""2026-12-01T00:00:00""#),
        "notAfter: is \"2026-12-01T00:00:00\", but must be a time with its offset",
        "",
    );
}

#[test]
fn what_becomes_of_the_pairs_is_read() {
    let plain = parse_str(&job_and(r#""portalId":1"#)).unwrap();
    assert_eq!((plain.action, plain.dry_run, &plain.group), (Action::Archive, false, &None));
    let said = |fields: &str| parse_str(&job_and(fields)).map(|job| (job.action, job.dry_run));
    assert_eq!(said(r#""action":"archive","dryRun":false"#), Ok((Action::Archive, false)));
    assert_eq!(said(r#""dryRun":true"#), Ok((Action::Archive, true)));
    let restore = |include_primary| Action::Restore { include_primary };
    assert_eq!(said(r#""action":"restore","dryRun":true"#), Ok((restore(false), true)));
    assert_eq!(said(r#""includePrimary":false,"action":"restore""#), Ok((restore(false), false)));
    assert_eq!(said(r#""includePrimary":true,"action":"restore""#), Ok((restore(true), false)));
    let group = parse_str(&job_and(r#""group":"import 7 ü""#)).unwrap().group;
    assert_eq!(group, Group::new("import 7 ü"));
    let typed = r#"[{"from":{"id":1},"to":[{"id":2}],"types":[{"associationCategory":"WORK","associationTypeId":7}]},{"from":{"id":1},"to":[{"id":3}]}]"#;
    let job = job_with(typed).replace(r#""jobId""#, r#""action":"restore","jobId""#);
    let labels = Extent::Labels([label(LabelCategory::Work, 7)].into());
    assert_eq!(pairs(&parse_str(&job).unwrap()), [(Extent::Whole, vec![pair(1, 3)]), (labels, vec![pair(1, 2)])]);
}

#[test]
fn a_wrong_word_on_what_becomes_of_the_pairs_is_refused() {
    let a_flag = "but must be true or false; left out, it means false";
    for (field, wrong, rule) in [
        (
            "action",
            &[r#""Archive""#, r#""delete""#, r#""""#, "null", "true", "1", "[]", "{}"][..],
            "but must be \"archive\" or \"restore\"; left out, it means \"archive\"",
        ),
        ("dryRun", &["null", "1", "0", r#""true""#, "[]", "{}"], a_flag),
        (
            "group",
            &["null", r#""""#, r#""a\nb""#, "1", "true", "[]", "{}"],
            "but must be a string of 1 to 128 bytes without control characters; leave it out if the job is of no group",
        ),
        ("includePrimary", &["null", "1", r#""true""#, "[]", "{}"], a_flag),
    ] {
        for value in wrong {
            told(
                &job_and(
                    &format!(r#""action":"restore","{field}":{value}"#)
                        .replace(r#""action":"restore","action""#, r#""action""#),
                ),
                &format!("{field}: is "),
                rule,
            );
        }
        let twice = format!(r#""{field}":true,"{field}":true"#);
        assert!(parse_str(&job_and(&twice)).is_err());
    }
    told(&job_and(&format!(r#""group":"{}""#, "x".repeat(129))), r#"group: is "xxx"#, "1 to 128 bytes");
    told(&job_and(r#""dryRun":true,"dryRun":true"#), r#"body: has the field "dryRun" twice"#, "");
    told(
        &job_and(r#""includePrimary":true"#),
        "includePrimary: is allowed only where `action` is \"restore\"",
        "leave it out",
    );
    told(&job_and(r#""includePrimary":false,"action":"archive""#), "includePrimary: is allowed only where", "");
}

/// What each ask names: its extent, the records with `to` `"all"` and the pairs.
fn named(job: &Job) -> Vec<(Extent, Vec<u64>, Vec<Pair>)> {
    let records = |ask: &Ask| ask.all_of.iter().map(|record| record.0.get()).collect();
    job.asks.iter().map(|ask| (ask.extent.clone(), records(ask), ask.pairs.to_vec())).collect()
}

const ALL_OF_7: &str = r#"{"from":{"id":7},"to":"all"}"#;

#[test]
fn all_of_a_record_may_be_asked_for() {
    let job = |inputs: &str| parse_str(&job_with(inputs)).unwrap();
    let alone = job(&format!("[{ALL_OF_7}]"));
    assert_eq!(named(&alone), [(Extent::Whole, vec![7], vec![])]);
    assert_eq!((alone.num_pairs(), alone.num_all_of()), (0, 1));
    assert_eq!(alone.weight(100), job(r#"[{"from":{"id":7},"to":[{"id":8}]}]"#).weight(100));
    let beside = job(&format!(
        r#"[{{"from":{{"id":9}},"to":[{{"id":8}}]}},{ALL_OF_7},{{"to":"all","from":{{"id":3}}}},{ALL_OF_7}]"#
    ));
    assert_eq!(named(&beside), [(Extent::Whole, vec![3, 7], vec![pair(9, 8)])]);
    let user = |id| label(LabelCategory::UserDefined, id);
    let typed = |to: &str, id: u64| {
        format!(
            r#"{{"from":{{"id":7}},"to":{to},"types":[{{"associationCategory":"USER_DEFINED","associationTypeId":{id}}}]}}"#
        )
    };
    let both = job(&format!("[{},{}]", typed(r#""all""#, 37), typed(r#""all""#, 38)));
    assert_eq!(named(&both), [(Extent::Labels([user(37), user(38)].into()), vec![7], vec![])]);
    // What is covered is left out, whichever comes first.
    let list = r#"{"from":{"id":7},"to":[{"id":1},{"id":2}]}"#;
    for inputs in [format!("[{list},{ALL_OF_7}]"), format!("[{ALL_OF_7},{list}]")] {
        assert_eq!(named(&job(&inputs)), [(Extent::Whole, vec![7], vec![])]);
    }
    let covered = job(&format!("[{},{},{}]", typed(r#"[{"id":1}]"#, 37), typed(r#""all""#, 38), typed(r#""all""#, 37)));
    assert_eq!(named(&covered), named(&both));
}

#[test]
fn all_of_a_record_that_contradicts_something_is_refused() {
    let inputs = |inputs: &str| job_with(&format!("[{inputs}]"));
    let typed = |to: &str, id: u64| {
        format!(
            r#"{{"from":{{"id":7}},"to":{to},"types":[{{"associationCategory":"WORK","associationTypeId":{id}}}]}}"#
        )
    };
    let (all, list) = (r#""all""#, r#"[{"id":1}]"#);
    let plain_list = r#"{"from":{"id":7},"to":[{"id":1}]}"#;
    let contradiction = "inputs: contradict each other: the ";
    told(
        &inputs(&format!("{},{ALL_OF_7}", typed(all, 1))),
        contradiction,
        "the record 7 with `to` \"all\" is there with `types`, the record 7 with `to` \"all\" without",
    );
    told(
        &inputs(&format!("{ALL_OF_7},{}", typed(list, 1))),
        contradiction,
        "the pair 7 -> 1 is there with `types`, the record 7 with `to` \"all\" without",
    );
    told(
        &inputs(&format!("{},{plain_list}", typed(all, 1))),
        contradiction,
        "with `to` \"all\" is there with `types`, the pair 7 -> 1 without",
    );
    told(&inputs(&format!("{},{}", typed(all, 1), typed(list, 2))), contradiction, "a job of its own");
    told(&inputs(&format!("{},{}", typed(list, 2), typed(all, 1))), contradiction, "a job of its own");
    let restore = inputs(&format!("{plain_list},{ALL_OF_7}")).replace(r#""jobId""#, r#""action":"restore","jobId""#);
    told(&restore, "inputs[1].to: is \"all\", but must be a list where `action` is \"restore\"", "");
    let at_the_end = restore.replace(r#""action":"restore","#, "").replace("}]}", r#"}],"action":"restore"}"#);
    for wrong in [r#""All""#, r#""*""#, r#""""#, "null", "true", "{}", "1"] {
        told(
            &inputs(&ALL_OF_7.replace(r#""all""#, wrong)),
            "inputs[0].to: is ",
            "but must be a list of records such as [{\"id\": \"9001\"}], or \"all\"",
        );
    }
    assert!(parse_str(&at_the_end).is_err());
    told(&inputs(r#"{"to":"all"}"#), "inputs[0].from: is missing", "");
    told(
        &inputs(r#"{"from":{"id":7},"to":[{"id":1},"all"]}"#),
        "inputs[0].to[1]: is the string \"all\", but must be an object",
        "",
    );
}

#[test]
fn records_with_all_count_as_pairs_do() {
    let all = |from: u64| json!({"from": {"id": from}, "to": "all"});
    let job = |inputs: Vec<serde_json::Value>| parse_str(&job_with(&json!(inputs).to_string()));
    assert_eq!(job((1..=5).chain(1..=5).map(all).collect()).unwrap().num_all_of(), 5);
    let six = job((1..=6).map(all).collect()).unwrap_err();
    assert!(six.message.starts_with("inputs: have more than 5 distinct pairs"), "{six:?}");
    // Also where they cover pairs that are listed.
    let list: Vec<_> = (1..=5).map(|id| json!({"id": id})).collect();
    assert!(job(vec![json!({"from": {"id": 1}, "to": list}), all(1)]).is_err());
    assert!(job(vec![all(1), json!({"from": {"id": 1}, "to": list[1..]})]).is_ok());
    let typed = |labels: u64| {
        let label = |id| json!({"associationCategory": "WORK", "associationTypeId": id});
        let types: Vec<_> = (1..=labels).map(label).collect();
        let inputs = json!([{"from": {"id": 1}, "to": "all", "types": types}]).to_string();
        let limits = JobLimits { max_bytes: 1 << 20, max_pairs: 10_000 };
        parse(job_with(&inputs).as_bytes(), WITH_ID, &limits)
    };
    assert!(typed(4).is_ok());
    assert!(typed(5).unwrap_err().message.contains("10,000 times (jobs.max_pairs) where `to` is \"all\""));
}

#[test]
fn labels_of_all_pairs_together_are_bounded_since_an_outcome_may_name_them_all() {
    let message = |pairs: u64, labels: u64| {
        let to: Vec<_> = (1..=pairs).map(|id| json!({"id": id})).collect();
        let label = |id| json!({"associationCategory": "USER_DEFINED", "associationTypeId": id});
        let types: Vec<_> = (1..=labels).map(label).collect();
        let inputs = json!([{"from": {"id": 1}, "to": to, "types": types}]).to_string();
        let limits = JobLimits { max_bytes: 1 << 20, max_pairs: 10_000 };
        parse(job_with(&inputs).as_bytes(), WITH_ID, &limits)
            .map(|job| job.num_pairs())
            .map_err(|refused| refused.message)
    };
    assert_eq!((message(10_000, 4), message(400, 100)), (Ok(10_000), Ok(400)));
    let told = message(10_000, 5).unwrap_err();
    assert_eq!(
        told,
        "inputs: have more than 40,000 labels: each of the `types` counts once for every pair that it is for, and 10,000 times (jobs.max_pairs) where `to` is \"all\"; split the job, or spread its `types` over several"
    );
}

#[test]
fn too_many_labels_are_refused_in_one_list_and_over_several() {
    let label = |id: u64| json!({"associationCategory": "WORK", "associationTypeId": id});
    let limits = JobLimits { max_bytes: 1 << 20, max_pairs: 5 };
    let message = |lists: &[Vec<serde_json::Value>]| {
        let inputs: Vec<_> =
            lists.iter().map(|types| json!({"from": {"id": "1"}, "to": [{"id": "2"}], "types": types})).collect();
        let body = job_with(&json!(inputs).to_string());
        parse(body.as_bytes(), JobProperties::default(), &limits).map_err(|refused| refused.message)
    };
    assert!(message(&[(1..=100).map(label).collect()]).is_ok());
    assert_eq!(
        message(&[(1..=101).map(label).collect()]).unwrap_err(),
        "inputs[0].types: has more than 100 labels, the most for one pair; name fewer"
    );
    assert!(message(&[(1..=60).map(label).collect(), (41..=100).map(label).collect()]).is_ok());
    assert_eq!(
        message(&[(1..=60).map(label).collect(), (61..=101).map(label).collect()]).unwrap_err(),
        "inputs: have more than 100 `types` for the pair 1 -> 2, the most for one pair; split the job"
    );
}

#[test]
fn invalid_utf_8_is_refused_wherever_it_stands() {
    let body = job_and(r#""notAfter":"2026-12-01T00:00:00Z""#).into_bytes();
    for i in 0..body.len() {
        let mut broken = body.clone();
        broken[i] = 0xff;
        assert!(parse(&broken, WITH_ID, &LIMITS).is_err(), "byte {i}");
    }
}

#[test]
fn a_body_cut_off_anywhere_is_refused() {
    for end in 0..EXAMPLE.len() {
        assert!(parse_str(&EXAMPLE[..end]).is_err(), "byte {end}");
    }
}

#[test]
fn a_message_stays_short_whatever_the_body_holds() {
    let long = "é".repeat(1000);
    for body in [job_and(&format!(r#""{long}":1"#)), job_and(&format!(r#""notAfter":"{long}""#)), format!("\"{long}\"")]
    {
        let refused = parse_str(&body).unwrap_err();
        assert!(refused.message.contains("é…") || refused.message.contains("é\"…"), "{}", refused.message);
        assert!(refused.message.len() <= 500, "{}", refused.message.len());
    }
}

#[test]
fn what_can_be_read_of_a_malformed_job_is_kept() {
    let salvaged = |body: &[u8], message_id: Option<&str>| {
        let refused = parse(body, JobProperties { message_id, content_encoding: None }, &LIMITS).unwrap_err();
        let text = |text: Option<TypeText>| text.map(|text| text.as_str().to_owned());
        format!(
            "{:?} {:?} {:?} {:?} {} {} {:?}",
            refused.job_id.as_ref().map(JobId::as_str),
            refused.portal.map(|portal| portal.0.get()),
            text(refused.from_type),
            text(refused.to_type),
            refused.action.as_str(),
            refused.dry_run,
            refused.group.as_ref().map(Group::as_str),
        )
    };
    let unknown_field = br#"{"simulate":{"a":[1]},"jobId":"j","portalId":7,"toObjectType":"a/b","fromObjectType":"x"}"#;
    insta::assert_snapshot!(salvaged(unknown_field, Some("m")), @r#"Some("j") Some(7) Some("x") Some("a/b") archive false None"#);
    let cut_off = br#"{"jobId":"j","portalId":7,"fromObjectType":"contacts","inputs":[{"fr"#;
    insta::assert_snapshot!(salvaged(cut_off, Some("m")), @r#"Some("j") Some(7) Some("contacts") None archive false None"#);
    let invalid_utf_8 = b"{\"x\xff\":\"\xff\",\"fromObjectType\":\"\\ud800\",\"jobId\":\"j\",\"toObjectType\":5}";
    insta::assert_snapshot!(salvaged(invalid_utf_8, Some("m")), @r#"Some("j") None None None archive false None"#);
    let restore = br#"{"group":"g","action":"restore","dryRun":1,"dryRun":true,"jobId":"j"}"#;
    insta::assert_snapshot!(salvaged(restore, None), @r#"Some("j") None None None restore true Some("g")"#);
    let unknown_action = br#"{"group":"","action":"delete","jobId":"j"}"#;
    insta::assert_snapshot!(salvaged(unknown_action, None), @r#"Some("j") None None None archive false None"#);
    let twice = br#"{"jobId":"","jobId":"a","jobId":"b","portalId":-1,"portalId":"7"}"#;
    insta::assert_snapshot!(salvaged(twice, Some("m")), @r#"Some("a") None None None archive false None"#);
    let bad_id = br#"{"jobId":"a\u0000"}"#;
    insta::assert_snapshot!(salvaged(bad_id, Some("m")), @r#"Some("m") None None None archive false None"#);
    insta::assert_snapshot!(salvaged(bad_id, Some("m\n")), @"None None None None archive false None");
    insta::assert_snapshot!(salvaged(b"\xef\xbb\xbf{\"jobId\":\"j\"}", None), @r#"Some("j") None None None archive false None"#);
    insta::assert_snapshot!(salvaged(b"[{\"jobId\":\"j\"}]", None), @"None None None None archive false None");
    let oversize = format!(r#"{{"x":"{}","jobId":"j"}}"#, " ".repeat(LIMITS.max_bytes));
    insta::assert_snapshot!(salvaged(oversize.as_bytes(), None), @r#"Some("j") None None None archive false None"#);
    let nested = format!(r#"{{"x":{}"#, "[".repeat(4000));
    insta::assert_snapshot!(salvaged(nested.as_bytes(), Some("m")), @r#"Some("m") None None None archive false None"#);
}

/// Whoever reads the answer must know which of two values it was answered under.
#[test]
fn of_a_field_that_comes_twice_the_first_usable_value_is_answered() {
    let head = |body: String| {
        let properties = JobProperties { message_id: Some("m"), content_encoding: None };
        let refused = parse(body.as_bytes(), properties, &LIMITS).unwrap_err();
        let text = |text: Option<TypeText>| json!(text.map(|text| text.as_str().to_owned()));
        json!({
            "jobId": refused.job_id.as_ref().map(JobId::as_str),
            "portalId": refused.portal.map(|portal| portal.0.get()),
            "fromObjectType": text(refused.from_type),
            "toObjectType": text(refused.to_type),
            "action": refused.action.as_str(),
            "dryRun": refused.dry_run,
            "group": refused.group.as_ref().map(Group::as_str),
        })
    };
    for (field, first, second, unusable) in [
        ("jobId", r#""a""#, r#""b""#, r#""""#),
        ("portalId", "7.0", "8", r#""7""#),
        ("fromObjectType", r#""a""#, r#""b""#, "1"),
        ("toObjectType", r#""a""#, r#""b""#, "null"),
        ("action", r#""restore""#, r#""archive""#, r#""delete""#),
        ("dryRun", "true", "false", "1"),
        ("group", r#""a""#, r#""b""#, r#""\n""#),
    ] {
        let expected = match field {
            "portalId" => json!(7),
            _ => serde_json::from_str(first).unwrap(),
        };
        let answered = |values: [&str; 2]| {
            let [one, other] = values;
            head(format!(r#"{{"{field}":{one},"x":1,"{field}":{other}}}"#))[field].clone()
        };
        assert_eq!(answered([first, second]), expected, "{field}");
        assert_eq!(answered([unusable, first]), expected, "{field}");
    }
}

fn any_id() -> impl Strategy<Value = u64> {
    prop_oneof![1..30_u64, 1..=u64::MAX]
}

/// Labels of few kinds, so that they meet.
fn any_labels() -> impl Strategy<Value = Extent> {
    let label = (0..2_usize, 1..4_u64).prop_map(|(category, id)| label(LabelCategory::ALL[category], id));
    let labels = proptest::collection::btree_set(label, 1..4);
    proptest::option::of(labels).prop_map(|labels| match labels {
        Some(labels) => Extent::Labels(labels.into_iter().collect()),
        None => Extent::Whole,
    })
}

/// Asks as they come out of the reader: each record belongs to one extent, and is there as a whole or with pairs.
fn any_asks(may_be_all: bool) -> impl Strategy<Value = Vec<Ask>> {
    let to = (any::<bool>(), proptest::collection::btree_set(any_id(), 1..4))
        .prop_map(move |(all, to)| (!(all && may_be_all)).then_some(to));
    proptest::collection::btree_map(any_id(), (any_labels(), to), 1..8).prop_map(|records| {
        let mut asks: std::collections::BTreeMap<Extent, Ask> = std::collections::BTreeMap::new();
        for (from, (extent, to)) in records {
            let ask = Ask { extent: extent.clone(), pairs: SmallVec::new(), all_of: Vec::new() };
            let ask = asks.entry(extent).or_insert(ask);
            match to {
                Some(to) => ask.pairs.extend(to.into_iter().map(|to| pair(from, to))),
                None => ask.all_of.push(RecordId(NonZeroU64::new(from).unwrap())),
            }
        }
        asks.into_values().collect()
    })
}

fn any_job() -> impl Strategy<Value = Job> {
    let action = prop_oneof![
        Just(Action::Archive),
        any::<bool>().prop_map(|include_primary| Action::Restore { include_primary }),
    ];
    let asks = action.prop_flat_map(|action| (Just(action), any_asks(action == Action::Archive)));
    let texts = ("[^\\p{Cc}]{1,32}", proptest::option::of("[^\\p{Cc}]{1,32}"));
    let not_after = proptest::option::of(0..4_000_000_000_i64);
    (asks, texts, any::<bool>(), proptest::option::of(1..=u64::MAX), not_after).prop_map(
        |((action, asks), (id, group), dry_run, portal, not_after)| Job {
            id: JobId::new(&id).unwrap(),
            portal: portal.and_then(NonZeroU64::new).map(PortalId),
            from_type: ObjectType::parse("p_a").unwrap(),
            to_type: ObjectType::parse("2-5").unwrap(),
            action,
            dry_run,
            group: group.as_deref().and_then(Group::new),
            asks: asks.into(),
            not_after: not_after.map(|second| Timestamp::from_second(second).unwrap()),
        },
    )
}

/// The body of this job as a producer may write it, one input a pair.
fn written(job: &Job) -> String {
    let record = |record: RecordId| json!({"id": record.to_string()});
    let mut inputs = Vec::new();
    for ask in &job.asks {
        let all = ask.all_of.iter().map(|from| json!({"from": record(*from), "to": "all"}));
        let listed = ask.pairs.iter().map(|pair| json!({"from": record(pair.from), "to": [record(pair.to)]}));
        for mut input in listed.chain(all) {
            if let Extent::Labels(labels) = &ask.extent {
                let label = |label: &Label| json!({"associationCategory": label.category.as_str(), "associationTypeId": label.type_id});
                input["types"] = labels.iter().map(label).collect();
            }
            inputs.push(input);
        }
    }
    let mut body = json!({
        "jobId": job.id.as_str(), "fromObjectType": "p_a", "toObjectType": "2-5", "inputs": inputs,
        "action": job.action.as_str(), "dryRun": job.dry_run,
    });
    if let Action::Restore { include_primary } = job.action {
        body["includePrimary"] = json!(include_primary);
    }
    if let Some(portal) = job.portal {
        body["portalId"] = json!(portal.0);
    }
    if let Some(group) = &job.group {
        body["group"] = json!(group.as_str());
    }
    if let Some(not_after) = job.not_after {
        body["notAfter"] = json!(not_after.to_string());
    }
    body.to_string()
}

/// The asks in an order of their own: in which order they come is no part of what a job means.
fn ordered(mut job: Job) -> Job {
    job.asks.sort_by(|a, b| a.extent.cmp(&b.extent));
    job
}

proptest! {
    #[test]
    fn no_bytes_can_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..300), id in any::<Option<String>>()) {
        let properties = JobProperties { message_id: id.as_deref(), content_encoding: None };
        prop_assert!(parse(&body, properties, &LIMITS).is_err());
    }

    #[test]
    fn a_job_with_some_bytes_changed_is_refused_or_still_valid(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut body = EXAMPLE.as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        match parse(&body, WITH_ID, &LIMITS) {
            Ok(job) => prop_assert!((1..=2).contains(&job.num_pairs())),
            Err(refused) => prop_assert!(refused.message.contains(": ") && refused.message.len() <= 500),
        }
    }

    #[test]
    fn what_is_written_is_read_again(job in any_job()) {
        let limits = JobLimits { max_bytes: 1 << 20, max_pairs: 100 };
        let read = parse(written(&job).as_bytes(), JobProperties::default(), &limits);
        prop_assert_eq!(read.map(ordered), Ok(ordered(job)));
    }

    #[test]
    fn a_valid_job_is_read_to_the_same_pairs(
        inputs in proptest::collection::vec((any_id(), proptest::collection::vec((any_id(), any::<bool>()), 1..6)), 1..20),
        id in "[^\\p{Cc}]{1,32}",
        portal in proptest::option::of(1..=u64::MAX),
    ) {
        let mut wanted: Vec<Pair> =
            inputs.iter().flat_map(|(from, to)| to.iter().map(|(to, _)| pair(*from, *to))).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let inputs: Vec<_> = inputs.iter().map(|(from, to)| {
            let to: Vec<_> = to.iter().map(|(id, text)| {
                if *text || *id > LARGEST_EXACT { json!({"id": id.to_string()}) } else { json!({"id": id}) }
            }).collect();
            json!({"from": {"id": from.to_string()}, "to": to})
        }).collect();
        let mut body = json!({"jobId": id, "fromObjectType": "p_a", "toObjectType": "2-5", "inputs": inputs});
        if let Some(portal) = portal {
            body["portalId"] = json!(portal);
        }
        let limits = JobLimits { max_bytes: 1 << 20, max_pairs: wanted.len() };
        let body = body.to_string();
        let job = parse(body.as_bytes(), JobProperties::default(), &limits).unwrap();
        prop_assert_eq!(job.id.as_str(), id);
        prop_assert_eq!(job.portal.map(|portal| portal.0.get()), portal);
        prop_assert_eq!(pairs(&job), [(Extent::Whole, wanted.clone())]);
        let tighter = JobLimits { max_pairs: wanted.len() - 1, ..limits };
        prop_assert!(parse(body.as_bytes(), JobProperties::default(), &tighter).is_err());
    }
}
