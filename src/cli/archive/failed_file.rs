//! The file of `--failed`, which must be whole however the command ends: whoever ends it at once has it written to its end,
//! or taken away.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cli::exit::Failure;
use crate::cli::report::{NewFile, Report, ReportRows, in_order_of_lines};
use crate::contract::grouped::Grouped;

/// Shared by the thread that writes the rows, and whoever has the last words.
#[derive(Clone, Debug)]
pub struct FailedFile {
    path: PathBuf,
    /// `None` from its end on.
    report: Arc<Mutex<Option<Report<NewFile>>>>,
    /// In which its rows are put in order, under a name of its own until that is done.
    ordered: Arc<Mutex<Option<PathBuf>>>,
}

/// What stands in it at the end.
#[derive(Clone, Debug)]
pub struct Ended {
    path: PathBuf,
    /// Without any, there is no such file.
    rows: ReportRows,
    order: Order,
}

/// In which order the rows stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    OfInput,
    /// The file is too large to be put in order, or there was no room or no time for that.
    OfAnswers,
}

impl FailedFile {
    /// Makes it.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let report = Report::new(NewFile::create(path)?).map_err(|error| unwritable(path, &error))?;
        Ok(Self { path: path.to_owned(), report: Arc::new(Mutex::new(Some(report))), ordered: Arc::default() })
    }

    /// Writes the rows of one outcome: all of them, or none after the end.
    pub fn write(&self, rows: impl FnOnce(&mut Report<NewFile>) -> io::Result<()>) -> Result<(), Failure> {
        match self.report.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(report) => rows(report).map_err(|error| unwritable(&self.path, &error)),
            None => Ok(()),
        }
    }

    /// Writes what is left of it and puts it in order, or takes it away where it has no rows. `None`: it was ended before.
    pub fn end(&self) -> Result<Option<Ended>, Failure> {
        let mut ended = self.end_as_it_is()?;
        if let Some(Ended { path, rows, order }) = &mut ended
            && rows.count() > 0
            // Whatever stands in the way of the order, all rows are in the file.
            && in_order_of_lines(path, |ordered| *self.in_ordering() = Some(ordered.to_owned())).unwrap_or(false)
        {
            *order = Order::OfInput;
        }
        Ok(ended)
    }

    fn end_as_it_is(&self) -> Result<Option<Ended>, Failure> {
        // Held to the end: whoever ends the command meanwhile waits until the file is whole.
        let mut shared = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(report) = shared.take() else { return Ok(None) };
        let rows = report.rows();
        let file = report.into_inner().map_err(|error| unwritable(&self.path, &error))?;
        if rows.count() > 0 {
            file.finish()?
        } else {
            file.discard()?
        }
        Ok(Some(Ended { path: self.path.clone(), rows, order: Order::OfAnswers }))
    }

    fn in_ordering(&self) -> MutexGuard<'_, Option<PathBuf>> {
        self.ordered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it before all is answered, and says what became of it; nothing where that is said.
    pub fn cut_short(&self) -> Option<String> {
        if let Some(ordered) = self.in_ordering().take() {
            // Where the order is made, it has the name of the file itself by now.
            let _ = std::fs::remove_file(ordered);
        }
        match self.end_as_it_is() {
            Ok(None) => None,
            Ok(Some(ended)) if ended.rows.count() == 0 => {
                Some(format!("no pair has failed or was rejected so far, so {} is not made", self.path.display()))
            }
            Ok(Some(ended)) => Some(format!("{ended}; what is not answered is not in it")),
            Err(failure) => Some(failure.into_message()),
        }
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let path = path.display();
    Failure::Running(format!("{path} (--failed) cannot be written: {error}; what stands in it is not all"))
}

/// `failed.csv has 18 rows: 15 for pairs that failed or were rejected, 3 for what is no job`.
impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, rows) = (self.path.display(), self.rows.count());
        let [all, of_pairs, of_no_jobs] = [rows, self.rows.of_pairs, self.rows.of_no_jobs].map(Grouped);
        if rows == 0 {
            return write!(f, "no pair failed or was rejected, so {path} is not made");
        }
        write!(f, "{path} has {all} {}", if rows == 1 { "row" } else { "rows" })?;
        match self.rows {
            ReportRows { of_no_jobs: 0, .. } => write!(f, ", one for each pair that failed or was rejected"),
            ReportRows { of_pairs: 0, .. } => write!(f, ", one for each row that is no job"),
            ReportRows { .. } => {
                write!(f, ": {of_pairs} for pairs that failed or were rejected, {of_no_jobs} for what is no job")
            }
        }?;
        match self.order {
            Order::OfInput => Ok(()),
            Order::OfAnswers => f.write_str("; they stand in the order of the answers"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn whoever_ends_the_command_while_the_rows_are_put_in_order_leaves_nothing_beside_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("failed.csv");
        let file = FailedFile::create(&path).unwrap();
        let (_, kept) = tempfile::NamedTempFile::new_in(directory.path()).unwrap().keep().unwrap();
        *file.in_ordering() = Some(kept);
        file.cut_short().unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "it has no rows");
        let ordered = || {
            std::fs::write(&path, "line,message\n2,x\n1,y\n").unwrap();
            in_order_of_lines(&path, |ordered| *file.in_ordering() = Some(ordered.to_owned())).unwrap()
        };
        assert!(ordered() && file.in_ordering().as_ref().is_some_and(|ordered| !ordered.exists()));
        assert_eq!(file.cut_short(), None);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line,message\n1,y\n2,x\n");
    }

    #[test]
    fn it_is_told_how_many_rows_there_are_and_of_what() {
        let told = |of_pairs, of_no_jobs| {
            Ended { path: "f.csv".into(), rows: ReportRows { of_pairs, of_no_jobs }, order: Order::OfInput }.to_string()
        };
        assert_eq!(told(0, 0), "no pair failed or was rejected, so f.csv is not made");
        assert_eq!(told(1, 0), "f.csv has 1 row, one for each pair that failed or was rejected");
        assert_eq!(told(0, 3), "f.csv has 3 rows, one for each row that is no job");
        let words = "f.csv has 1,018 rows: 1,015 for pairs that failed or were rejected, 3 for what is no job";
        assert_eq!(told(1_015, 3), words);
    }
}
