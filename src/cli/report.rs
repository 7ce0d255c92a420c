//! A CSV of pairs and what became of them. It has the columns of a file of jobs too, so that it can be given to
//! `archive` or `enqueue` as it is.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::exit::Failure;
use super::jobs_file::columns::Cells;
use super::jobs_file::job_field::Field;
use super::outcome_record::{ErrorRecord, OutcomeRecord, PlanRecord};
use super::paint::harmless;

/// The file of this name, made new: one that is there already is left alone.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl NewFile {
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = file.map_err(|error| unmakeable(path, &error))?;
        Ok(Self { path: path.to_owned(), writer: BufWriter::new(file) })
    }

    /// Whether [`Self::create`] would make it now. Nothing is left behind.
    pub fn check(path: &Path) -> Result<(), Failure> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let is_free = match path.symlink_metadata() {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => tempfile::tempfile_in(directory).map(drop),
            Err(error) => Err(error),
        };
        is_free.map_err(|error| unmakeable(path, &error))
    }

    /// What was written is on the disk.
    pub fn finish(mut self) -> Result<(), Failure> {
        let flushed = self.writer.flush().and_then(|()| self.writer.get_ref().sync_all());
        flushed.map_err(|error| unwritable(&self.path, &error))
    }

    /// Takes the file away again; another one that has its name by now stays.
    pub fn discard(self) -> Result<(), Failure> {
        let file = self.writer.get_ref().metadata();
        let removed = file.and_then(|made| {
            let named = self.path.symlink_metadata()?;
            let is_same = (named.dev(), named.ino()) == (made.dev(), made.ino());
            if is_same { std::fs::remove_file(&self.path) } else { Ok(()) }
        });
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::Running(format!("{} is empty and cannot be removed: {error}", self.path.display())))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

fn unmakeable(path: &Path, error: &io::Error) -> Failure {
    let is_there = error.kind() == io::ErrorKind::AlreadyExists;
    let why = if is_there { "it exists already".to_owned() } else { error.to_string() };
    Failure::Usage(format!("{} cannot be made: {why}; name a new file", path.display()))
}

pub fn unwritable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Running(format!("{} cannot be written: {error}", path.display()))
}

/// The columns, in their order.
const HEADER: [&str; 23] = [
    "line",
    "job_id",
    "portal_id",
    "from_object_type",
    "from_id",
    "to_object_type",
    "to_id",
    "types",
    "not_after",
    "status",
    "source",
    "category",
    "sub_category",
    "message",
    "http_status",
    "correlation_id",
    "retryable",
    "action",
    "dry_run",
    "group",
    "present",
    "types_present",
    "warnings",
];

/// A pair, and what became of it.
#[derive(Debug)]
pub struct PairRow<'a> {
    /// Of the input.
    pub line: Option<u64>,
    /// Of its job.
    pub outcome: &'a OutcomeRecord,
    pub from_id: &'a str,
    pub to_id: &'a str,
    pub types: &'a str,
    pub not_after: Option<Timestamp>,
    pub status: &'a str,
    /// Why the job was not done for it.
    pub error: Option<&'a ErrorRecord>,
    /// What a dry run says of it.
    pub plan: Option<&'a PlanRecord>,
}

/// Writes rows.
#[derive(Debug)]
pub struct Report<W: Write> {
    writer: csv::Writer<W>,
    rows: ReportRows,
}

/// What stands in a report.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ReportRows {
    /// One for each pair.
    pub of_pairs: u64,
    /// Rows of the input that are no jobs.
    pub of_no_jobs: u64,
}

impl ReportRows {
    pub fn count(self) -> u64 {
        self.of_pairs + self.of_no_jobs
    }
}

impl<W: Write> Report<W> {
    /// The header goes ahead.
    pub fn new(target: W) -> io::Result<Self> {
        let mut writer = csv::Writer::from_writer(target);
        writer.write_record(HEADER)?;
        Ok(Self { writer, rows: ReportRows::default() })
    }

    pub fn row(&mut self, row: &PairRow<'_>) -> io::Result<()> {
        let PairRow { line, outcome, from_id, to_id, types, not_after, status, error, plan } = row;
        let text = |text: Option<&str>| harmless(text.unwrap_or_default());
        let of_error = |read: fn(&ErrorRecord) -> Option<&str>| text(error.and_then(read));
        match from_id.is_empty() {
            true => self.rows.of_no_jobs += 1,
            false => self.rows.of_pairs += 1,
        }
        self.writer.write_record([
            line.map(|line| line.to_string()).unwrap_or_default(),
            harmless(&outcome.job_id),
            outcome.portal_id.map(|portal| portal.to_string()).unwrap_or_default(),
            text(outcome.from_object_type.as_deref()),
            (*from_id).to_owned(),
            text(outcome.to_object_type.as_deref()),
            (*to_id).to_owned(),
            (*types).to_owned(),
            not_after.map(|time| time.to_string()).unwrap_or_default(),
            (*status).to_owned(),
            of_error(|error| Some(&error.source)),
            of_error(|error| Some(&error.category)),
            of_error(|error| error.sub_category.as_deref()),
            of_error(|error| Some(&error.message)),
            error.and_then(|error| error.http_status).map(|status| status.to_string()).unwrap_or_default(),
            of_error(|error| error.correlation_id.as_deref()),
            error.map(|error| error.retryable.to_string()).unwrap_or_default(),
            harmless(&outcome.action),
            outcome.dry_run.to_string(),
            text(outcome.group.as_deref()),
            plan.map(|plan| plan.present.to_string()).unwrap_or_default(),
            plan.map(|plan| harmless(&plan.types_in_words(&outcome.action))).unwrap_or_default(),
            plan.map(|plan| harmless(&plan.warnings.join("; "))).unwrap_or_default(),
        ])?;
        Ok(())
    }

    /// A row of the input that was no job, with its cells as they stand there.
    pub fn rejected_row(&mut self, line: u64, cells: &Cells, status: &str, error: &ErrorRecord) -> io::Result<()> {
        let (line, retryable) = (line.to_string(), error.retryable.to_string());
        let http_status = error.http_status.map(|status| status.to_string()).unwrap_or_default();
        let message = harmless(&error.message);
        let text = |text: &Option<String>| harmless(text.as_deref().unwrap_or_default());
        let (sub_category, correlation_id) = (text(&error.sub_category), text(&error.correlation_id));
        self.rows.of_no_jobs += 1;
        self.writer.write_record([
            &line,
            cells.text(Field::JobId),
            cells.text(Field::PortalId),
            cells.text(Field::FromType),
            cells.text(Field::FromId),
            cells.text(Field::ToType),
            cells.text(Field::ToId),
            cells.text(Field::Types),
            cells.text(Field::NotAfter),
            status,
            &error.source,
            &error.category,
            &sub_category,
            &message,
            &http_status,
            &correlation_id,
            &retryable,
            cells.text(Field::Action),
            cells.text(Field::DryRun),
            cells.text(Field::Group),
            "",
            "",
            "",
        ])?;
        Ok(())
    }

    /// What there is beside the header.
    pub fn rows(&self) -> ReportRows {
        self.rows
    }

    pub fn into_inner(self) -> io::Result<W> {
        self.writer.into_inner().map_err(|error| io::Error::other(error.error().to_string()))
    }
}

/// Most bytes of a report that are put in order, since that happens in memory.
const MOST_BYTES_IN_ORDER: u64 = 256 * 1024 * 1024;

/// Puts the rows of a report in the order of the input's lines; those of one line stay as they are. The file is there as a
/// whole at every moment. `false`: it is too large for that. `begun` is told which file is made beside it meanwhile.
pub fn in_order_of_lines(path: &Path, begun: impl FnOnce(&Path)) -> io::Result<bool> {
    if std::fs::metadata(path)?.len() > MOST_BYTES_IN_ORDER {
        return Ok(false);
    }
    let text = std::fs::read(path)?;
    let (header, mut rows) = rows_by_line(&text)?;
    if rows.is_sorted_by_key(|(line, _)| *line) {
        return Ok(true);
    }
    rows.sort_by_key(|(line, _)| *line);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut ordered = tempfile::NamedTempFile::new_in(directory)?;
    begun(ordered.path());
    ordered.as_file().set_permissions(std::fs::metadata(path)?.permissions())?;
    let mut writer = BufWriter::new(&mut ordered);
    writer.write_all(header)?;
    rows.iter().try_for_each(|(_, row)| writer.write_all(row))?;
    writer.flush()?;
    drop(writer);
    ordered.as_file().sync_all()?;
    ordered.persist(path)?;
    Ok(true)
}

/// The line that a row names, and the row.
type RowOfLine<'a> = (u64, &'a [u8]);

/// The header of a report, and its rows.
fn rows_by_line(text: &[u8]) -> io::Result<(&[u8], Vec<RowOfLine<'_>>)> {
    let at = |reader: &csv::Reader<&[u8]>| usize::try_from(reader.position().byte()).unwrap_or(usize::MAX);
    let mut reader = csv::Reader::from_reader(text);
    reader.byte_headers()?;
    let head = at(&reader);
    let (mut start, mut rows, mut row) = (head, Vec::new(), csv::ByteRecord::new());
    while reader.read_byte_record(&mut row)? {
        let line = row.get(0).and_then(|line| std::str::from_utf8(line).ok()?.parse().ok()).unwrap_or_default();
        let end = at(&reader);
        rows.push((line, &text[start..end]));
        start = end;
    }
    Ok((&text[..head], rows))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_their_lines_and_stay_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("failed.csv");
        let ordered = |rows: &[&str]| {
            std::fs::write(&path, [&["line,from_id,message\n"], rows].concat().concat()).unwrap();
            assert!(in_order_of_lines(&path, |_| {}).unwrap());
            std::fs::read_to_string(&path).unwrap()
        };
        let (two, first, second, ten) = ("2,1,\"a\nb, c\"\n", "7,3,x\n", "7,2,y\n", "10,9,\"\"\"z\"\"\"\n");
        let expected = ["line,from_id,message\n", two, first, second, ten].concat();
        assert_eq!(ordered(&[ten, first, two, second]), expected);
        assert_eq!(ordered(&[two, first, second, ten]), expected);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left");
    }
}
