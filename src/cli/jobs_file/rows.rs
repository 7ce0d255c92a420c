//! Jobs from a file, one at a time: NDJSON or CSV, found out by the first line.

use std::io;

use serde_json::{Value, json};
use tokio::io::AsyncBufRead;
use uuid::Uuid;

use super::columns::{Cells, Columns, Content, in_columns};
use super::fields::{Separator, is_open};
use super::hints::Hints;
use super::text::{TextFault, TextLines, invisible, utf8};
use crate::cli::outcome_record::OutcomeRecord;
use crate::contract::grouped::Grouped;
use crate::contract::ids::{AccountIndex, PortalId};
use crate::contract::job::{self, Job, JobLimits, JobProperties, Malformed};
use crate::contract::refusal::Refusal;
use crate::contract::text::without_mark;
use crate::worker::accounts::{Nameless, Portals};

/// How the file is to be read.
#[derive(Clone, Debug)]
pub struct Format {
    pub expected: Expected,
    pub naming: Naming,
    pub limits: JobLimits,
    pub hints: Hints,
}

/// How the file's name is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// It ends with `.csv`.
    Csv,
    Either,
}

/// What becomes of a line of NDJSON without `jobId`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Naming {
    /// It gets one that follows from its content.
    ByContent,
    /// It is no job.
    Required,
}

/// Reads rows; holds one at a time.
#[derive(Debug)]
pub struct Rows<R> {
    lines: TextLines<R>,
    format: Format,
    form: Form,
    line: Vec<u8>,
    number: u64,
    left_out: LeftOut,
    unanswered: u64,
}

#[derive(Debug)]
enum Form {
    /// Nothing but blank lines has come.
    Unknown,
    /// A line `sep=;` has come.
    Declared(Separator),
    Ndjson,
    Csv(Box<Columns>),
}

/// Rows that are no jobs and no faults either.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LeftOut {
    pub not_associated: u64,
    pub without_ids: u64,
    pub done_before: u64,
}

impl LeftOut {
    /// How many rows were left out, and why.
    pub fn in_words(self) -> impl Iterator<Item = String> {
        let Self { not_associated, without_ids, done_before } = self;
        let counted = [
            (not_associated, "no associated record (to_id) stands in them"),
            (without_ids, "no id stands in them (from_id and to_id are empty)"),
            (done_before, "their status is ARCHIVED or RESTORED"),
        ];
        let counted = counted.into_iter().filter(|(count, _)| *count > 0);
        counted.map(|(count, why)| format!("rows left out because {why}: {}", Grouped(count)))
    }

    /// Those that say something of a record. The others are as good as blank.
    pub fn telling(self) -> u64 {
        let Self { not_associated, without_ids: _, done_before } = self;
        not_associated + done_before
    }
}

/// A row that stands for a job.
#[derive(Debug)]
pub struct Row {
    /// Where it begins, counted from 1.
    pub line: u64,
    pub job: Result<RowJob, RowFault>,
    /// Of a row of CSV that is no job: what stands in it.
    pub cells: Option<Box<Cells>>,
}

/// A valid job, and the bytes that say so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowJob {
    pub body: Vec<u8>,
    pub job: Job,
}

/// Why a row is no job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RowFault {
    /// Names the field and the rule.
    Job(Box<Malformed>),
    /// It is no text in UTF-8, so that the file as a whole is in doubt; names the encoding.
    Encoding(String),
}

/// Why the file cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum RowsFault {
    #[error("cannot be read to the end: {0}")]
    Read(#[from] io::Error),
    /// As one line.
    #[error("{0}")]
    Text(String),
}

impl From<TextFault> for RowsFault {
    fn from(fault: TextFault) -> Self {
        match fault {
            TextFault::Read(error) => Self::Read(error),
            TextFault::Encoding(fault) => Self::Text(fault),
        }
    }
}

impl<R: AsyncBufRead + Unpin> Rows<R> {
    pub fn new(input: R, format: Format) -> Self {
        let lines = TextLines::new(input, format.limits.max_bytes);
        Self {
            lines,
            format,
            form: Form::Unknown,
            line: Vec::new(),
            number: 0,
            left_out: LeftOut::default(),
            unanswered: 0,
        }
    }

    /// The number of the line read last.
    pub fn last_line(&self) -> u64 {
        self.number
    }

    pub fn is_csv(&self) -> bool {
        match self.form {
            Form::Csv(_) => true,
            Form::Unknown | Form::Declared(_) | Form::Ndjson => false,
        }
    }

    /// The account of a job from here, or why it has none, in the words of this input.
    pub fn account_of(&self, job: &Job, portals: &Portals) -> Result<AccountIndex, Refusal> {
        portals.resolve(job.portal).map_err(|mut refusal| {
            let message = if self.is_csv() { in_columns(&refusal.message) } else { refusal.message.into() };
            refusal.message = match (job.portal, portals.nameless()) {
                (None, _) => format!("{message}; or give --portal"),
                (Some(portal), Some(account)) => self.without_id(portal, account),
                (Some(_), None) => message,
            }
            .into();
            refusal
        })
    }

    /// Whoever has a spreadsheet and a token may have no file of settings. Without a portal a row goes to the token's, so
    /// that is no advice for a row that is meant for another one.
    fn without_id(&self, portal: PortalId, Nameless { place, setting }: &Nameless) -> String {
        let (named, or) = match (self.format.hints.portal == Some(portal), self.is_csv()) {
            (true, _) => (format!("--portal {portal} is given"), "leave --portal out"),
            (false, true) => (format!("portal_id {portal} is named"), "leave portal_id out of the row"),
            (false, false) => (format!("portalId {portal} is named"), "leave portalId out of the job"),
        };
        let name_it = match setting.strip_prefix("hubspot.access_token") {
            Some(file) => {
                let (hubspot, token) = ("ARCHIVER__HUBSPOT__", format!("ACCESS_TOKEN{}", file.to_uppercase()));
                format!(
                    "name the portal in hubspot.accounts (by variables: {hubspot}ACCOUNTS__0__PORTAL_ID={portal} and, instead of \
                     {hubspot}{token}, {hubspot}ACCOUNTS__0__{token})"
                )
            }
            None => format!("give the account portal_id = {portal} in hubspot.accounts"),
        };
        format!(
            "{named}, but the only account is configured without a portal id: check first that the token in {place} is of \
             portal {portal}; only if it is, {name_it}, or {or}"
        )
    }

    /// Sentences for people, about types that may be wrong. They are known with the first row.
    pub fn doubts(&self) -> &[String] {
        match &self.form {
            Form::Csv(columns) => columns.doubts(),
            Form::Unknown | Form::Declared(_) | Form::Ndjson => &[],
        }
    }

    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// Rows for which an earlier run had no answer when it ended.
    pub fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// The next row; `None` at the end. To be called to its end each time: what it had read would be lost.
    pub async fn next(&mut self) -> Result<Option<Row>, RowsFault> {
        loop {
            if !self.lines.next(&mut self.line).await? {
                return Ok(None);
            }
            self.number += 1;
            let begins_at = self.number;
            // The start of a line that was cut may look like a whole one.
            let cut = self.line.len() > self.format.limits.max_bytes;
            if !cut && self.line.trim_ascii().is_empty() {
                continue;
            }
            if let Form::Unknown | Form::Declared(_) = self.form {
                let is_read = self.first(cut).await?;
                if is_read {
                    continue;
                }
            }
            let job = match &self.form {
                Form::Unknown | Form::Declared(_) => continue,
                Form::Ndjson | Form::Csv(_) if cut => Err(malformed(too_long(&self.format.limits))),
                Form::Ndjson => self.ndjson(),
                Form::Csv(columns) => {
                    let spans = columns.may_span_lines();
                    if spans {
                        self.whole_row(begins_at).await?;
                    }
                    match self.csv() {
                        Ok(Some(job)) => Ok(job),
                        Ok(None) => continue,
                        Err(fault) => Err(fault),
                    }
                }
            };
            let cells = if job.is_err() && !cut { self.cells() } else { None };
            return Ok(Some(Row { line: begins_at, job, cells }));
        }
    }

    /// Finds out the form. `true`: the line was a header or above it, and is used up.
    async fn first(&mut self, cut: bool) -> Result<bool, RowsFault> {
        let declared = match self.form {
            Form::Declared(separator) => Some(separator),
            Form::Unknown | Form::Ndjson | Form::Csv(_) => None,
        };
        let text = String::from_utf8_lossy(self.line.trim_ascii()).into_owned();
        let is_csv = self.format.expected == Expected::Csv
            || declared.is_some()
            || Columns::looks_like_header(&text, &self.format.hints);
        let is_table = !is_csv && !cut && Columns::looks_like_table(&text);
        if !is_csv && !is_table {
            if self.format.hints.ask_for_csv() {
                let why = "is no CSV, whose columns --map, --from and --to are about: jobs as NDJSON name their types themselves";
                return Err(RowsFault::Text(why.to_owned()));
            }
            if OutcomeRecord::parse(text.as_bytes()).is_some() {
                let why = "has outcomes in it, not jobs: give the file that --failed has written, or the file of the jobs with --resume and this one";
                return Err(RowsFault::Text(why.to_owned()));
            }
            self.form = Form::Ndjson;
            return Ok(false);
        }
        let what = if is_table { "is no CSV of jobs and no NDJSON" } else { "is no CSV of jobs" };
        let no_csv = |fault: String| RowsFault::Text(format!("{what}: {fault}"));
        if cut {
            return Err(no_csv(too_long(&self.format.limits)));
        }
        if declared.is_none()
            && let Some(separator) = Separator::declared(&text)
        {
            self.form = Form::Declared(separator.map_err(no_csv)?);
            return Ok(true);
        }
        self.whole_row(self.number).await?;
        let text =
            utf8(&self.line).map_err(|fault| RowsFault::Text(format!("{fault} (the header, line {})", self.number)))?;
        let columns = Columns::of_header(text.trim_end_matches(['\r', '\n']), declared, &self.format.hints);
        self.form = Form::Csv(Box::new(columns.map_err(no_csv)?));
        Ok(true)
    }

    /// Reads on while a quote is open.
    async fn whole_row(&mut self, begins_at: u64) -> Result<(), RowsFault> {
        let mut more = Vec::new();
        while str::from_utf8(&self.line).is_ok_and(is_open) {
            let never_closed =
                || RowsFault::Text(format!("opens a quote in line {begins_at} that is not closed: mend that row"));
            if self.line.len() > self.format.limits.max_bytes || !self.lines.next(&mut more).await? {
                return Err(never_closed());
            }
            self.number += 1;
            self.line.push(b'\n');
            self.line.append(&mut more);
        }
        Ok(())
    }

    fn ndjson(&self) -> Result<RowJob, RowFault> {
        let line = self.line.trim_ascii();
        let text = utf8(line).map_err(RowFault::Encoding)?;
        let limits = &self.format.limits;
        let own = match self.format.naming {
            Naming::ByContent => Some(Uuid::new_v5(&NAMESPACE, line).to_string()),
            Naming::Required => None,
        };
        let mut body = line.to_vec();
        let envelope = JobProperties { message_id: own.as_deref(), ..JobProperties::default() };
        let mut job = job::parse(line, envelope, limits).map_err(|fault| {
            match invisible(text.get(..text.find('{').unwrap_or_default()).unwrap_or_default()) {
                Some(unseen) => malformed(format!("the line {unseen}")),
                None => RowFault::Job(Box::new(fault)),
            }
        })?;
        if self.format.hints.plan && !job.dry_run {
            body = planned(&body).map_err(malformed)?;
            job.dry_run = true;
        }
        if let (Some(group), None) = (&self.format.hints.group, &job.group) {
            insert(&mut body, &format!("\"group\":{}", json!(group.as_str())));
            job.group = Some(group.clone());
        }
        if own.as_deref() == Some(job.id.as_str()) {
            insert(&mut body, &format!("\"jobId\":\"{}\"", job.id));
        }
        match (self.format.hints.portal, job.portal) {
            (Some(given), None) => {
                insert(&mut body, &format!("\"portalId\":{given}"));
                job.portal = Some(given);
            }
            (Some(given), Some(named)) if given != named => return Err(other_portal(job, named, given)),
            (Some(_) | None, _) => {}
        }
        if body.len() > limits.max_bytes {
            return Err(malformed(too_long(limits)));
        }
        Ok(RowJob { body, job })
    }

    /// What stands in a row of CSV, right or wrong.
    fn cells(&self) -> Option<Box<Cells>> {
        let Form::Csv(columns) = &self.form else { return None };
        let text = utf8(&self.line).ok()?;
        columns.cells(text.trim_end_matches(['\r', '\n'])).map(Box::new)
    }

    /// `None`: the row is left out.
    fn csv(&mut self) -> Result<Option<RowJob>, RowFault> {
        let Form::Csv(columns) = &self.form else { return Ok(None) };
        let text = utf8(&self.line).map_err(RowFault::Encoding)?;
        let body = match columns.content(text.trim_end_matches(['\r', '\n'])).map_err(malformed)? {
            Content::Job { body, is_unanswered } => {
                self.unanswered += u64::from(is_unanswered);
                body
            }
            Content::Nothing => return Ok(None),
            Content::NotAssociated => {
                self.left_out.not_associated += 1;
                return Ok(None);
            }
            Content::WithoutIds => {
                self.left_out.without_ids += 1;
                return Ok(None);
            }
            Content::DoneBefore => {
                self.left_out.done_before += 1;
                return Ok(None);
            }
        };
        let job = job::parse(&body, JobProperties::default(), &self.format.limits).map_err(|mut fault| {
            fault.message = in_columns(&fault.message);
            RowFault::Job(Box::new(fault))
        })?;
        Ok(Some(RowJob { body, job }))
    }
}

/// Made once at random for lines without an id of their own.
const NAMESPACE: Uuid = Uuid::from_u128(0x2b6f_01c9_e4d8_4f0e_8a37_c95d_6610_be42);

/// The job, but for `dryRun`, which may be there and say `false`.
fn planned(job: &[u8]) -> Result<Vec<u8>, String> {
    let read = serde_json::from_slice::<serde_json::Map<String, Value>>(without_mark(job));
    let mut fields = read.map_err(|error| format!("the line is not well-formed JSON: {error}"))?;
    fields.insert("dryRun".to_owned(), Value::Bool(true));
    Ok(Value::Object(fields).to_string().into_bytes())
}

/// Puts a field before the others of a JSON object that has some.
fn insert(object: &mut Vec<u8>, field: &str) {
    if let Some(brace) = object.iter().position(|&byte| byte == b'{') {
        object.splice(brace + 1..=brace, field.bytes().chain([b',']));
    }
}

fn too_long(limits: &JobLimits) -> String {
    format!("the line has more than {} bytes, the most that jobs.max_bytes allows", limits.max_bytes)
}

fn malformed(message: String) -> RowFault {
    RowFault::Job(Box::new(Malformed::unreadable(message)))
}

fn other_portal(job: Job, named: PortalId, given: PortalId) -> RowFault {
    RowFault::Job(Box::new(Malformed {
        job_id: Some(job.id),
        portal: Some(named),
        from_type: Some(job.from_type.text().clone()),
        to_type: Some(job.to_type.text().clone()),
        action: job.action,
        dry_run: job.dry_run,
        group: job.group,
        message: format!("portalId: is {named}, while --portal says {given}"),
    }))
}

#[cfg(test)]
mod tests;
