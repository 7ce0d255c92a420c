//! The file of `--outcomes`, which must be whole however the command ends: whoever ends it at once has it written to its
//! end, or taken away.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cli::exit::Failure;
use crate::cli::report::{NewFile, unwritable};
use crate::contract::grouped::Grouped;

/// Shared by the task that takes the outcomes, and whoever has the last words.
#[derive(Clone, Default, Debug)]
pub struct OutcomesFile(Arc<Mutex<State>>);

#[derive(Default, Debug)]
enum State {
    /// There is none, or it is ended.
    #[default]
    Nothing,
    /// A line is written for each outcome that comes.
    Ndjson { file: NewFile, lines: u64 },
    /// Written at the end, when the pairs are read from the input again.
    Csv(NewFile),
    /// The CSV is being written.
    InWriting(PathBuf),
}

impl OutcomesFile {
    /// Makes it. Which form it has its name says.
    pub fn create(&self, path: &Path) -> Result<(), Failure> {
        let file = NewFile::create(path)?;
        let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        *self.state() = if is_csv { State::Csv(file) } else { State::Ndjson { file, lines: 0 } };
        Ok(())
    }

    pub fn is_csv(&self) -> bool {
        match *self.state() {
            State::Csv(_) | State::InWriting(_) => true,
            State::Nothing | State::Ndjson { .. } => false,
        }
    }

    /// Writes an outcome, where the file has one a line.
    pub fn outcome(&self, body: &[u8]) -> Result<(), Failure> {
        let State::Ndjson { file, lines } = &mut *self.state() else { return Ok(()) };
        *lines += 1;
        let written = file.write_all(body).and_then(|()| file.write_all(b"\n"));
        written.map_err(|error| unwritable(file.path(), &error))
    }

    /// No more outcomes come. A file of lines is ended, or taken away where it has none; `false`: it is.
    pub fn end_lines(&self) -> Result<bool, Failure> {
        let mut state = self.state();
        match std::mem::take(&mut *state) {
            State::Ndjson { file, lines: 0 } => file.discard().map(|()| false),
            State::Ndjson { file, .. } => file.finish().map(|()| true),
            other @ (State::Nothing | State::Csv(_) | State::InWriting(_)) => {
                *state = other;
                Ok(true)
            }
        }
    }

    /// The CSV, to be written now; after that, [`Self::written`].
    pub fn take_csv(&self) -> Option<NewFile> {
        let mut state = self.state();
        match std::mem::take(&mut *state) {
            State::Csv(file) => {
                *state = State::InWriting(file.path().to_owned());
                Some(file)
            }
            other @ (State::Nothing | State::Ndjson { .. } | State::InWriting(_)) => {
                *state = other;
                None
            }
        }
    }

    pub fn written(&self) {
        *self.state() = State::Nothing;
    }

    /// Whether outcomes stand in it already.
    pub fn has_lines(&self) -> bool {
        match *self.state() {
            State::Ndjson { lines, .. } => lines > 0,
            State::Nothing | State::Csv(_) | State::InWriting(_) => false,
        }
    }

    /// Takes it away.
    pub fn discard(&self) -> Result<(), Failure> {
        match std::mem::take(&mut *self.state()) {
            State::Ndjson { file, .. } | State::Csv(file) => file.discard(),
            State::Nothing | State::InWriting(_) => Ok(()),
        }
    }

    /// Ends it before all outcomes are there, and says what became of it; nothing where there is none.
    pub fn cut_short(&self) -> Option<String> {
        let mut state = self.state();
        let (path, ended) = match std::mem::take(&mut *state) {
            State::Nothing => return None,
            State::Ndjson { file, lines: lines @ 1.. } => {
                let path = file.path().display().to_string();
                let told = format!("{path} has the outcomes that have come so far: {}", Grouped(lines));
                return Some(file.finish().map_or_else(Failure::into_message, |()| told));
            }
            State::Ndjson { file, .. } | State::Csv(file) => (file.path().to_owned(), file.discard()),
            State::InWriting(path) => {
                let removed = std::fs::remove_file(&path).map_err(|error| unwritable(&path, &error));
                (path, removed)
            }
        };
        let told = format!("{} is not made; `association-archiver outcomes` shows the outcomes", path.display());
        Some(ended.map_or_else(Failure::into_message, |()| told))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn whoever_ends_the_command_at_once_leaves_no_half_file() {
        let directory = tempfile::tempdir().unwrap();
        let made = |name: &str| {
            let (outcomes, path) = (OutcomesFile::default(), directory.path().join(name));
            outcomes.create(&path).unwrap();
            (outcomes, path)
        };
        let (lines, path) = made("some.ndjson");
        lines.outcome(b"{}").unwrap();
        assert!(lines.cut_short().unwrap().ends_with("some.ndjson has the outcomes that have come so far: 1"));
        assert_eq!(std::fs::read_to_string(path).unwrap(), "{}\n");
        assert!(lines.cut_short().is_none() && lines.outcome(b"{}").is_ok(), "it is ended");
        let (none, in_writing) = (made("none.ndjson"), made("pairs.csv"));
        let mut csv = in_writing.0.take_csv().unwrap();
        csv.write_all(b"half a row").unwrap();
        for (outcomes, path) in [none, made("early.csv"), in_writing] {
            assert!(outcomes.cut_short().unwrap().contains(" is not made"));
            assert!(!path.exists());
        }
    }
}
