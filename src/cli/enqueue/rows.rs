//! Jobs from a file, a line at a time: NDJSON or CSV, found out by the first line.

use std::io;

use tokio::io::AsyncBufRead;
use uuid::Uuid;

use super::columns::{Columns, in_columns};
use crate::contract::ids::JobId;
use crate::contract::job::{self, Envelope, JobLimits};
use crate::worker::lines::next_line;

/// How the file's name is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// It ends with `.csv`.
    Csv,
    Either,
}

/// Reads rows; holds one line at a time.
#[derive(Debug)]
pub struct Rows<R> {
    input: R,
    expected: Expected,
    form: Option<Form>,
    limits: JobLimits,
    line: Vec<u8>,
    number: u64,
}

#[derive(Debug)]
enum Form {
    Ndjson,
    Csv(Columns),
}

/// A line that is not blank and no header.
#[derive(Debug)]
pub struct Row {
    /// Counted from 1.
    pub line: u64,
    /// The error names the field and the rule.
    pub job: Result<RowJob, String>,
}

/// A valid job, ready to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowJob {
    pub id: JobId,
    pub body: Vec<u8>,
}

/// Why there are no rows at all.
#[derive(Debug)]
pub enum RowsFault {
    Read(io::Error),
    /// A CSV header that cannot be used, as one line.
    Header(String),
}

impl<R: AsyncBufRead + Unpin> Rows<R> {
    pub fn new(input: R, expected: Expected, limits: JobLimits) -> Self {
        Self { input, expected, form: None, limits, line: Vec::new(), number: 0 }
    }

    /// The next row; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Row>, RowsFault> {
        loop {
            let more = next_line(&mut self.input, &mut self.line, self.limits.max_bytes).await;
            if !more.map_err(RowsFault::Read)? {
                return Ok(None);
            }
            self.number += 1;
            // The start of a line that was cut may look like a whole one.
            let cut = self.line.len() > self.limits.max_bytes;
            if self.number == 1 && self.line.starts_with(BYTE_ORDER_MARK) {
                self.line.drain(..BYTE_ORDER_MARK.len());
            }
            let line = self.line.trim_ascii();
            if line.is_empty() && !cut {
                continue;
            }
            let form = match &self.form {
                Some(form) => form,
                None => match first(line, self.expected).map_err(RowsFault::Header)? {
                    Form::Csv(_) if cut => return Err(RowsFault::Header(too_long(&self.limits))),
                    form @ Form::Csv(_) => {
                        self.form = Some(form);
                        continue;
                    }
                    form @ Form::Ndjson => self.form.insert(form),
                },
            };
            let job = match form {
                Form::Ndjson | Form::Csv(_) if cut => Err(too_long(&self.limits)),
                Form::Ndjson => ndjson(line, &self.limits),
                Form::Csv(columns) => csv(line, columns, &self.limits),
            };
            return Ok(Some(Row { line: self.number, job }));
        }
    }
}

/// Excel puts it in front of CSV.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Made once at random for lines without an id of their own.
const NAMESPACE: Uuid = Uuid::from_u128(0x2b6f_01c9_e4d8_4f0e_8a37_c95d_6610_be42);

fn first(line: &[u8], expected: Expected) -> Result<Form, String> {
    let text = String::from_utf8_lossy(line);
    match expected {
        Expected::Either if !Columns::looks_like_header(&text) => Ok(Form::Ndjson),
        Expected::Csv | Expected::Either => Columns::of_header(&text).map(Form::Csv),
    }
}

fn too_long(limits: &JobLimits) -> String {
    format!("the line has more than {} bytes, the most that jobs.max_bytes allows", limits.max_bytes)
}

/// A line without `jobId` gets one that follows from its content, as `message_id`.
fn ndjson(line: &[u8], limits: &JobLimits) -> Result<RowJob, String> {
    let own = Uuid::new_v5(&NAMESPACE, line).to_string();
    let envelope = Envelope { message_id: Some(&own), content_encoding: None };
    let job = job::parse(line, envelope, limits).map_err(|malformed| malformed.message)?;
    Ok(RowJob { id: job.id, body: line.to_owned() })
}

fn csv(line: &[u8], columns: &Columns, limits: &JobLimits) -> Result<RowJob, String> {
    let text = std::str::from_utf8(line).map_err(|_| "is not UTF-8".to_owned())?;
    let body = columns.job(text)?;
    let job = job::parse(&body, Envelope::default(), limits).map_err(|malformed| in_columns(&malformed.message))?;
    Ok(RowJob { id: job.id, body })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    const LIMITS: JobLimits = JobLimits { max_bytes: 200, max_pairs: 3 };

    async fn read(text: &str, expected: Expected) -> Result<Vec<(u64, Result<String, String>)>, RowsFault> {
        let mut rows = Rows::new(text.as_bytes(), expected, LIMITS);
        let mut read = Vec::new();
        while let Some(row) = rows.next().await? {
            read.push((row.line, row.job.map(|job| job.id.to_string())));
        }
        Ok(read)
    }

    const JOB: &str = r#"{"jobId":"a","fromObjectType":"contacts","toObjectType":"companies","inputs":[{"from":{"id":"1"},"to":[{"id":"2"}]}]}"#;

    #[tokio::test]
    async fn lines_are_jobs_and_keep_their_numbers() {
        let nameless = JOB.replace(r#""jobId":"a","#, "");
        let text = format!("\u{feff}{JOB}\r\n\n{{}}\n{nameless}\n{}", "x".repeat(300));
        let read = read(&text, Expected::Either).await.unwrap();
        assert_eq!(read.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3, 4, 5]);
        assert_eq!(read[0].1.as_deref(), Ok("a"));
        assert!(read[1].1.as_ref().unwrap_err().starts_with("fromObjectType: is missing"));
        insta::assert_snapshot!(read[2].1.as_ref().unwrap(), @"86c4e99f-ceac-51ff-83d9-77ef7df42a77");
        assert!(read[3].1.as_ref().unwrap_err().contains("jobs.max_bytes"));
    }

    #[tokio::test]
    async fn csv_is_known_by_its_header_or_its_name() {
        let text = "\u{feff}from_object_type,from_id,to_object_type,to_id,job_id\ncontacts,1,companies,2,a\n\ncontacts,01,companies,2,b\n";
        for expected in [Expected::Csv, Expected::Either] {
            let read = read(text, expected).await.unwrap();
            assert_eq!(read[0], (2, Ok("a".to_owned())));
            assert_eq!(read[1].0, 4);
            assert!(read[1].1.as_ref().unwrap_err().starts_with("from_id: \"01\" is not"), "{:?}", read[1]);
        }
        assert!(matches!(read("contacts,1,companies,2\n", Expected::Csv).await, Err(RowsFault::Header(_))));
        assert!(read("contacts,1,companies,2\n", Expected::Either).await.unwrap()[0].1.is_err());
        assert!(read("", Expected::Csv).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_line_that_was_cut_is_no_shorter_row() {
        let header = "from_object_type,from_id,to_object_type,to_id";
        // What is kept of it ends within the last id.
        let row = format!("{}contacts,1,companies,2345", " ".repeat(LIMITS.max_bytes - 22));
        let rows = read(&format!("{header}\n{row}\ncontacts,1,companies,2\n"), Expected::Csv).await.unwrap();
        assert!(rows[0].1.as_ref().unwrap_err().contains("jobs.max_bytes"), "{:?}", rows[0]);
        assert!(rows[1].1.is_ok());
        let spaces = " ".repeat(LIMITS.max_bytes + 1);
        assert!(read(&format!("{JOB}\n{spaces}{JOB}\n"), Expected::Either).await.unwrap()[1].1.is_err());
        let header = read(&format!("{header}{spaces},job_id\ncontacts,1,companies,2,a\n"), Expected::Csv).await;
        assert!(matches!(header, Err(RowsFault::Header(message)) if message.contains("jobs.max_bytes")));
    }
}
