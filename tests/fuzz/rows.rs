//! The file that is enqueued, NDJSON or CSV: each line that is not blank is a job or an error, and a row of CSV asks for
//! the pair that stands in it.

use association_archiver::cli::enqueue::rows::{Expected, Row, Rows};
use association_archiver::contract::job::{Envelope, JobLimits, parse};
use serde_json::Value;

use crate::campaign::{self, Taken};
use crate::lines::{at_once, split};

const LIMITS: JobLimits = JobLimits { max_bytes: 600, max_pairs: 20 };

#[test]
fn every_row_is_a_job_or_an_error() {
    campaign::run("rows", |input| {
        let [guessed, named] = [Expected::Either, Expected::Csv].map(|expected| rows(input, expected));
        for rows in [&guessed, &named].into_iter().flatten() {
            for Row { line: _, job } in rows {
                match job {
                    Ok(job) => {
                        let read =
                            parse(&job.body, Envelope { message_id: Some("m"), content_encoding: None }, &LIMITS);
                        assert!(read.is_ok(), "what is sent would be refused: {read:?}");
                    }
                    Err(message) => assert!(!message.is_empty() && !message.contains('\n'), "{message:?}"),
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

/// `None`: the header cannot be used.
fn rows(input: &[u8], expected: Expected) -> Option<Vec<Row>> {
    at_once(async {
        let mut rows = Rows::new(input, expected, LIMITS);
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

/// What a reader makes of it who knows nothing of quotes.
fn check_csv(rows: &[Row], input: &[u8]) {
    let lines = split(input, usize::MAX - 1);
    let told = lines.iter().map(Vec::as_slice).zip(1..).map(|(line, number)| {
        let text = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        Told { number, text: text.trim_ascii(), too_long: line.len() > LIMITS.max_bytes }
    });
    let mut told = told.filter(|line| line.too_long || !line.text.is_empty());
    let Some(header) = told.next() else { return assert!(rows.is_empty()) };
    assert!(!header.too_long, "the start of a header is taken for the whole");
    let told: Vec<Told> = told.collect();
    let numbers: Vec<u64> = rows.iter().map(|row| row.line).collect();
    assert_eq!(numbers, told.iter().map(|line| line.number).collect::<Vec<_>>(), "a row for each line");
    let header = plain_fields(header.text);
    for (row, line) in rows.iter().zip(told) {
        let Ok(job) = &row.job else { continue };
        assert!(!line.too_long, "the start of a row is taken for the whole");
        let (Some(header), Some(fields)) = (&header, plain_fields(line.text)) else { continue };
        assert_eq!(fields.len(), header.len());
        let field = |name: &str| {
            let of_name = header.iter().zip(&fields).find(|(known, _)| known.eq_ignore_ascii_case(name));
            of_name.map(|(_, field)| &**field)
        };
        let body: Value = serde_json::from_slice(&job.body).unwrap();
        assert_eq!(body["fromObjectType"].as_str(), field("from_object_type"));
        assert_eq!(body["toObjectType"].as_str(), field("to_object_type"));
        assert_eq!(body["inputs"][0]["from"]["id"].as_str(), field("from_id"));
        assert_eq!(body["inputs"][0]["to"][0]["id"].as_str(), field("to_id"));
        assert_eq!(
            (body["inputs"].as_array().unwrap().len(), body["inputs"][0]["to"].as_array().unwrap().len()),
            (1, 1)
        );
        let portal = field("portal_id").filter(|portal| !portal.is_empty());
        assert_eq!(body.get("portalId").and_then(Value::as_u64), portal.map(|portal| portal.parse().unwrap()));
    }
}

/// A line that is a header or a row.
struct Told<'a> {
    number: u64,
    text: &'a [u8],
    too_long: bool,
}

/// `None` where quotes, carriage returns or other spaces make it less simple.
fn plain_fields(line: &[u8]) -> Option<Vec<String>> {
    let text = str::from_utf8(line).ok()?;
    let simple = !text.contains('"') && text.chars().all(|c| c == ' ' || !(c.is_control() || c.is_whitespace()));
    simple.then(|| text.split(',').map(|field| field.trim().to_owned()).collect())
}
