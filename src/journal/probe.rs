//! Whether a journal's file could be written, found out without a trace.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::segments;

/// Why it could not, with the path concerned.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be {action}: {cause}", path.display())]
pub struct ProbeFault {
    action: &'static str,
    path: PathBuf,
    cause: io::Error,
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probed {
    /// How long the file is; `None` where it is not there yet.
    pub bytes: Option<u64>,
    /// Earlier files beside it.
    pub earlier: usize,
}

/// Opens the file for writing, and writes and flushes another one beside it, which is gone afterwards.
pub fn probe(journal: &Path) -> Result<Probed, ProbeFault> {
    let fault = |action, path: &Path| {
        let path = path.to_owned();
        move |cause| ProbeFault { action, path, cause }
    };
    let bytes = match OpenOptions::new().append(true).open(journal) {
        Ok(file) => {
            file.sync_all().map_err(fault("written to the disk", journal))?;
            Some(file.metadata().map_err(fault("looked at", journal))?.len())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(fault("opened for writing", journal)(error)),
    };
    let directory = segments::directory(journal);
    let beside = directory.join(format!(".association-archiver-check-{:016x}", fastrand::u64(..)));
    let tried = File::create_new(&beside).and_then(|mut file| {
        file.write_all(b"a record\n")?;
        file.sync_all()
    });
    // Where it could not be made there is nothing to remove.
    let _ = fs::remove_file(&beside);
    tried.map_err(fault("written", directory))?;
    let earlier = segments::of(journal).map_err(fault("read", directory))?.len();
    Ok(Probed { bytes, earlier })
}
