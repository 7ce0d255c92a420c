//! Fields, statuses, categories and properties of messages.

use std::collections::BTreeSet;

use association_archiver::contract::association::LabelCategory;
use association_archiver::contract::job::{JobLimits, JobProperties, parse};
use association_archiver::contract::message::{
    APP_ID, DEAD_LETTERED, HEADERS_DROPPED, JOB_STATUS, OF_BACKGROUND, ORIGINAL_EXPIRATION, ORIGINAL_USER_ID,
    OUTCOME_TYPE, REDRIVEN, REJECT_CATEGORY, REJECT_MESSAGE, REJECTED_AT, TRACE_CONTEXT,
};
use association_archiver::contract::object_type::ObjectType;
use association_archiver::contract::outcome::Status;
use association_archiver::contract::plan::Warning;
use association_archiver::contract::refusal::WorkerCategory;
use association_archiver::engine::pause::PauseKind;

use crate::corpus::{Document, nothing_wrong, root};
use crate::examples::real_outcome;

/// What the page does not name between backticks.
fn missing(page: &str, words: impl IntoIterator<Item = String>) {
    let document = Document::read(page);
    let spans = document.spans();
    let words = words.into_iter().filter(|word| !spans.contains(word));
    nothing_wrong(words.map(|word| format!("{page} does not name {word}")));
}

#[test]
fn every_field_of_a_job_is_documented() {
    // The parser lists what it knows when it meets what it does not know.
    let limits = JobLimits { max_bytes: 1_000, max_pairs: 10 };
    let objects = [
        r#"{"unknown":1}"#.to_owned(),
        input(r#"{"unknown":1}"#),
        input(r#"{"from":{"unknown":1}}"#),
        input(r#"{"types":[{"unknown":1}]}"#),
    ];
    let fields = objects.iter().flat_map(|object| {
        let message = parse(object.as_bytes(), JobProperties::default(), &limits).unwrap_err().message;
        let (_, known) = message.split_once("allowed: ").unwrap_or_else(|| panic!("{message}"));
        known.split(", ").map(str::to_owned).collect::<Vec<_>>()
    });
    let fields: Vec<String> = fields.collect();
    assert!(fields.len() > 10, "{fields:?}");
    missing("docs/producers.md", fields);
}

#[test]
fn every_standard_name_is_documented() {
    missing("docs/producers.md", ObjectType::standard_names().map(str::to_owned));
}

fn input(input: &str) -> String {
    format!(r#"{{"inputs":[{input}]}}"#)
}

#[test]
fn every_field_of_an_outcome_is_documented() {
    let real = real_outcome();
    let of_outcome = real.as_object().unwrap().keys();
    let of_error = real["errors"][0].as_object().unwrap().keys();
    let text = Document::read("docs/producers.md").text;
    let unnamed = of_outcome.chain(of_error).filter(|field| !text.contains(&format!("\"{field}\":")));
    nothing_wrong(unnamed.map(|field| format!("docs/producers.md does not show {field}")));
}

#[test]
fn every_status_and_category_is_documented() {
    let statuses = Status::ALL.map(|status| status.as_str().to_owned());
    let categories = WorkerCategory::ALL.map(|category| category.as_str().to_owned());
    let labels = LabelCategory::ALL.map(|category| category.as_str().to_owned());
    let warnings = Warning::ALL.map(|warning| warning.as_str().to_owned());
    missing("docs/producers.md", statuses.into_iter().chain(categories.clone()).chain(labels).chain(warnings));
    missing("docs/operating.md", categories);
}

/// What producers are told of each of the worker's categories is what the code does.
#[test]
fn the_table_of_categories_is_that_of_the_code() {
    let text = Document::read("docs/producers.md").text;
    let (_, table) = text.split_once("\n| `category` of `WORKER` | `retryable` | copy in the dead letters |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let told: Vec<[&str; 3]> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            [cells[1].trim_matches('`'), cells[2], cells[3]]
        })
        .collect();
    let word = |is: bool| if is { "yes" } else { "no" };
    nothing_wrong(WorkerCategory::ALL.into_iter().filter_map(|category| {
        let row = [category.as_str(), word(category.retryable()), word(category.is_dead_lettered())];
        (!told.contains(&row)).then(|| format!("docs/producers.md has no row of {row:?}"))
    }));
    assert_eq!(told.len(), WorkerCategory::ALL.len(), "{told:?}");
}

/// The table of headers: name, and on which messages it is.
fn table_of_headers() -> Vec<(String, String)> {
    let text = Document::read("docs/producers.md").text;
    let (_, table) = text.split_once("\n| header | on | meaning |\n").unwrap();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let rows = rows.flat_map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let names: Vec<&str> = cells[1].split(", ").map(|name| name.trim_matches('`')).collect();
        names.into_iter().map(|name| (name.to_owned(), cells[2].to_owned())).collect::<Vec<_>>()
    });
    rows.collect()
}

/// Names that begin with `x-` and are no headers of ours.
const NOT_OURS: [&str; 28] = [
    // How queues are declared and consumed.
    "x-dead-letter",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-delivery-limit",
    "x-expires",
    "x-max-age",
    "x-message-ttl",
    "x-overflow",
    "x-priority",
    "x-queue-type",
    "x-single-active-consumer",
    "x-stream-offset",
    // What the broker notes.
    "x-acquired-count",
    "x-death",
    "x-delivery-count",
    "x-first-death-queue",
    "x-first-death-reason",
    "x-last-death-reason",
    // Of HubSpot's answers.
    "x-hubspot-correlation-id",
    "x-hubspot-ratelimit-daily",
    "x-hubspot-ratelimit-daily-remaining",
    "x-hubspot-ratelimit-interval-milliseconds",
    "x-hubspot-ratelimit-max",
    "x-hubspot-ratelimit-remaining",
    // Fields that AsyncAPI leaves to us.
    "x-exchange",
    "x-routing-key",
    "x-routing-keys",
];

#[test]
fn every_header_in_the_source_is_in_the_table_of_headers() {
    let mut files = Vec::new();
    let mut waiting = vec![root().join("src"), root().join("policy/src")];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let is_of_tests = path.file_stem().is_some_and(|name| name == "tests");
            if path.is_dir() && !is_of_tests {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_of_tests {
                files.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let shipped = files.iter().map(|text| text.split("#[cfg(test)]").next().unwrap());
    let named = shipped.flat_map(|text| text.split('"').filter(|literal| literal.starts_with("x-")));
    let is_name = |literal: &&str| {
        literal.len() > 2 && !literal.ends_with('-') && literal.chars().all(|c| c == '-' || c.is_ascii_lowercase())
    };
    let ours = named.filter(is_name).filter(|name| !NOT_OURS.contains(name));
    let ours: BTreeSet<&str> = ours.collect();
    let table = table_of_headers();
    let told = table.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("x-"));
    assert_eq!(ours, told.collect(), "left: the source; right: docs/producers.md");
}

/// The headers and categories are the same for programs as for people.
#[test]
fn the_headers_and_dead_letters_of_the_asyncapi_document_are_those_of_the_text() {
    let text = Document::read("docs/producers.md").text;
    let document: serde_json::Value =
        serde_json::from_str(&Document::read("docs/contract/asyncapi.json").text).unwrap();
    let table = table_of_headers();
    for (message, word) in [("job", "job"), ("outcome", "outcome"), ("deadLetter", "dead letter")] {
        let headers = document["components"]["messages"][message]["headers"]["properties"].as_object().unwrap();
        let named = headers.keys().map(String::as_str);
        // Properties of AMQP stand among them.
        let named = named.filter(|name| name.starts_with("x-") || TRACE_CONTEXT.contains(name));
        let told = table.iter().filter(|(_, on)| on.split([',', ':']).any(|on| on.trim().ends_with(word)));
        assert_eq!(
            named.collect::<BTreeSet<&str>>(),
            told.map(|(name, _)| name.as_str()).collect(),
            "{message}; left: docs/contract/asyncapi.json; right: docs/producers.md"
        );
    }
    let headers = &document["components"]["messages"]["deadLetter"]["headers"]["properties"];
    let categories = headers[REJECT_CATEGORY]["enum"].as_array().unwrap();
    let rows = text.lines().filter_map(|row| row.split(" | ").collect::<Vec<_>>().try_into().ok());
    let kept = rows.filter_map(|[category, _, copy, ..]: [&str; 5]| (copy == "yes").then_some(category));
    let kept: BTreeSet<&str> = kept.map(|category| category.trim_matches(['|', ' ', '`'])).collect();
    assert_eq!(categories.iter().filter_map(serde_json::Value::as_str).collect::<BTreeSet<_>>(), kept);
}

#[test]
fn every_property_and_header_is_documented() {
    let names = [
        OUTCOME_TYPE,
        APP_ID,
        JOB_STATUS,
        REJECT_CATEGORY,
        REJECT_MESSAGE,
        REJECTED_AT,
        DEAD_LETTERED,
        REDRIVEN,
        ORIGINAL_USER_ID,
        ORIGINAL_EXPIRATION,
        OF_BACKGROUND,
        HEADERS_DROPPED,
    ];
    missing("docs/producers.md", names.into_iter().chain(TRACE_CONTEXT).map(str::to_owned));
}

#[test]
fn every_kind_of_pause_is_in_the_runbook() {
    missing("docs/operating.md", PauseKind::ALL.map(|kind| kind.as_str().to_owned()));
}

/// A new one would be missing from the counts that people look at, and no compiler reads these files.
#[test]
fn every_status_is_counted_on_page_terminal_and_dashboard() {
    let places = [
        ("src/admin/page/page.js", "o.", ""),
        ("src/cli/top/view.rs", "\"", "\""),
        ("deploy/grafana/dashboard.json", "\"options\": \"", "\""),
    ];
    nothing_wrong(places.into_iter().flat_map(|(path, before, after)| {
        let text = std::fs::read_to_string(root().join(path)).unwrap();
        let missing = Status::ALL
            .into_iter()
            .filter(move |status| !text.contains(&format!("{before}{}{after}", status.as_str())));
        missing.map(move |status| format!("{path} does not count {}", status.as_str()))
    }));
}
