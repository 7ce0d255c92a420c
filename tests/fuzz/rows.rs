//! The file of jobs, NDJSON or CSV: each line that is not blank is a job or an error, and a row of CSV asks for the
//! pairs that stand in it.

use association_archiver::cli::jobs_file::hints::{Hints, Mapping};
use association_archiver::cli::jobs_file::rows::{Expected, Format, Naming, Row, RowFault, RowJob, Rows};
use association_archiver::contract::job::{JobLimits, JobProperties, parse};
use association_archiver::contract::object_type::ObjectType;
use serde_json::{Value, json};

use crate::campaign::{self, Taken};
use crate::lines::{at_once, split};

const LIMITS: JobLimits = JobLimits { max_bytes: 600, max_pairs: 20 };

#[test]
fn every_row_is_a_job_or_an_error() {
    campaign::run("rows", |input| {
        let [guessed, named] =
            [Expected::Either, Expected::Csv].map(|expected| rows(input, expected, Hints::default()));
        let export = rows(input, Expected::Csv, of_export());
        for rows in [&guessed, &named, &export].into_iter().flatten() {
            for Row { line: _, job, cells: _ } in rows {
                match job {
                    Ok(RowJob { body, job }) => {
                        assert_eq!(
                            parse(body, JobProperties::default(), &LIMITS).as_ref(),
                            Ok(job),
                            "what is sent is another job"
                        );
                    }
                    Err(RowFault::Job(malformed)) => {
                        let message = &malformed.message;
                        assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
                    }
                    Err(RowFault::Encoding(message)) => assert!(!message.contains('\n'), "{message:?}"),
                }
            }
        }
        if let Some(rows) = &named {
            check_csv(rows, input);
        }
        match guessed {
            Some(rows) if rows.iter().any(|row| row.job.is_ok()) => Taken::Accepted,
            Some(_) | None => Taken::Refused,
        }
    });
}

fn of_export() -> Hints {
    let object_type = |text| ObjectType::parse(text).ok();
    let map = Mapping::parse("from_id=from_id,to_id=to_id").ok();
    Hints { map, from: object_type("contacts"), to: object_type("companies"), ..Hints::default() }
}

/// `None`: the file cannot be used.
fn rows(input: &[u8], expected: Expected, hints: Hints) -> Option<Vec<Row>> {
    at_once(async {
        let mut rows = Rows::new(input, Format { expected, naming: Naming::ByContent, limits: LIMITS, hints });
        let mut read = Vec::new();
        loop {
            match rows.next().await {
                Ok(Some(row)) => read.push(row),
                Ok(None) => return Some(read),
                Err(_) => return None,
            }
        }
    })
}

/// What a reader makes of it who knows nothing of quotes, of other separators than commas, nor of other encodings.
fn check_csv(rows: &[Row], input: &[u8]) {
    if matches!(input.first(), Some(0xfe | 0xff)) {
        return;
    }
    let lines = split(input, usize::MAX - 1);
    let told = lines.iter().map(Vec::as_slice).zip(1..).map(|(line, number)| {
        let text = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        Told { number, text: text.trim_ascii(), too_long: line.len() > LIMITS.max_bytes }
    });
    let mut told = told.filter(|line| line.too_long || !line.text.is_empty());
    let Some(header) = told.next() else { return assert!(rows.is_empty()) };
    assert!(!header.too_long, "the start of a header is taken for the whole");
    let told: Vec<Told> = told.collect();
    let Some(header) = plain_fields(header.text) else { return };
    for row in rows {
        let line = told.iter().find(|line| line.number == row.line).expect("a row stands for a line behind the header");
        let Ok(RowJob { body, .. }) = &row.job else { continue };
        assert!(!line.too_long, "the start of a row is taken for the whole");
        let Some(fields) = plain_fields(line.text) else { continue };
        let field = |name: &str| {
            let of_name = header.iter().zip(&fields).find(|(known, _)| known.eq_ignore_ascii_case(name));
            of_name.map(|(_, field)| &**field)
        };
        let body: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(body["fromObjectType"].as_str(), field("from_object_type"));
        assert_eq!(body["toObjectType"].as_str(), field("to_object_type"));
        let input = &body["inputs"][0];
        assert_eq!(
            (input["from"]["id"].as_str(), body["inputs"].as_array().map(Vec::len)),
            (field("from_id"), Some(1))
        );
        let to_ids = field("to_id").unwrap().split(';').map(str::trim).filter(|id| !id.is_empty());
        let to_ids: Vec<&str> = to_ids.collect();
        match input["to"].as_str() {
            Some(all) => assert!(all == "all" && to_ids.len() == 1 && to_ids[0].eq_ignore_ascii_case(all)),
            None => assert_eq!(input["to"], to_ids.iter().map(|id| json!({"id": id})).collect::<Value>()),
        }
        let says = |name, word: &str| field(name).is_some_and(|text| text.eq_ignore_ascii_case(word));
        assert_eq!(body.get("dryRun").is_some(), says("dry_run", "true"));
        assert_eq!(body.get("action").is_some(), says("action", "restore"));
        assert_eq!(body.get("group").and_then(Value::as_str), field("group").filter(|group| !group.is_empty()));
        let portal = field("portal_id").filter(|portal| !portal.is_empty());
        assert_eq!(body.get("portalId").and_then(Value::as_u64), portal.map(|portal| portal.parse().unwrap()));
        assert_eq!(input.get("types").is_none(), field("types").is_none_or(|types| types.eq_ignore_ascii_case("all")));
    }
}

/// A line that is a header or a row.
struct Told<'a> {
    number: u64,
    text: &'a [u8],
    too_long: bool,
}

/// `None` where quotes, other separators, carriage returns or other spaces make it less simple.
fn plain_fields(line: &[u8]) -> Option<Vec<String>> {
    let text = str::from_utf8(line).ok()?;
    let simple = !text.contains('"')
        && !text.starts_with("sep=")
        && text.matches(',').count() > text.matches(';').count()
        && text.chars().all(|c| c == ' ' || !(c.is_control() || c.is_whitespace() || c == '\u{feff}'));
    simple.then(|| text.split(',').map(|field| field.trim().to_owned()).collect())
}
