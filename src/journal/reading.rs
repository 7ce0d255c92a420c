//! The journal as commands read it: every record that was there when reading began, in order.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::vec;

use jiff::Timestamp;

use super::segments;
use crate::amqp::journal::{JournalStream, StreamFault, StreamReader};
use crate::config::{AmqpSettings, JournalStore};
use crate::contract::journal::{Record, Unreadable, parse};

/// A line that is longer is no record, in bytes. Records are at most a mebibyte.
const MAX_LINE_BYTES: u64 = 16 * 1024 * 1024;

/// Why the journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadFault {
    #[error(transparent)]
    Stream(#[from] StreamFault),
    #[error("journal {} cannot be read: {cause}; {}", path.display(), mend(cause))]
    File { path: PathBuf, cause: io::Error },
    #[error(
        "safety.journal is \"off\", so that there is no journal to read: name its file with --file, or set safety.journal"
    )]
    Off,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum, of which only these can be mended in a known way")]
fn mend(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound => {
            "it is made with the first removal: if there was one, name its file with --file or safety.journal_file"
        }
        io::ErrorKind::PermissionDenied => "run this as a user who may read it",
        _ => "name the worker's file with --file or safety.journal_file",
    }
}

/// Reads one store from its beginning to its end.
#[derive(Debug)]
pub enum Reader {
    Stream(Box<StreamReader>),
    File(FileReader),
}

impl Reader {
    /// `since`: what was written earlier may be left out.
    pub async fn open(store: &JournalStore, amqp: &AmqpSettings, since: Option<Timestamp>) -> Result<Self, ReadFault> {
        match store {
            JournalStore::Off => Err(ReadFault::Off),
            JournalStore::Stream { name, max_age } => {
                let stream = JournalStream { name: name.clone(), max_age: *max_age };
                Ok(Self::Stream(Box::new(StreamReader::open(amqp, &stream, since).await?)))
            }
            JournalStore::File { path, .. } => Ok(Self::File(FileReader::open(path, since)?)),
        }
    }

    /// The next record, or why a line is no record; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Result<Record, Unreadable>>, ReadFault> {
        match self {
            Self::Stream(stream) => Ok(stream.next().await?),
            Self::File(file) => file.read(),
        }
    }

    pub async fn close(self) {
        match self {
            Self::Stream(stream) => stream.close().await,
            Self::File(_) => {}
        }
    }
}

/// Reads the files that were put aside, then the one that is written.
#[derive(Debug)]
pub struct FileReader {
    files: vec::IntoIter<(PathBuf, File)>,
    current: Option<(PathBuf, BufReader<File>)>,
}

impl FileReader {
    /// All files are opened at once, so that none is missed or deleted that is put aside meanwhile.
    pub fn open(path: &Path, since: Option<Timestamp>) -> Result<Self, ReadFault> {
        let fault = |path: &Path| {
            let path = path.to_owned();
            move |cause| ReadFault::File { path, cause }
        };
        let written = File::open(path).map_err(fault(path))?;
        let mut seen = HashSet::from([identity(&written).map_err(fault(path))?]);
        let mut files = Vec::new();
        for segment in segments::of(path).map_err(fault(path))? {
            if since.is_some_and(|since| segment.put_aside < since) {
                continue;
            }
            match File::open(&segment.path) {
                Ok(file) => {
                    if seen.insert(identity(&file).map_err(fault(&segment.path))?) {
                        files.push((segment.path, file));
                    }
                }
                // It was too old, and is deleted.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(fault(&segment.path)(error)),
            }
        }
        files.push((path.to_owned(), written));
        Ok(Self { files: files.into_iter(), current: None })
    }

    /// A line without an end is a record that is being written, or that a crash cut off: it does not count.
    pub fn read(&mut self) -> Result<Option<Result<Record, Unreadable>>, ReadFault> {
        loop {
            let (path, reader) = match &mut self.current {
                Some(current) => current,
                None => {
                    let Some((path, file)) = self.files.next() else { return Ok(None) };
                    self.current.insert((path, BufReader::new(file)))
                }
            };
            let mut line = Vec::new();
            let read = reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
            let read = read.map_err(|cause| ReadFault::File { path: path.clone(), cause })?;
            if line.pop_if(|byte| *byte == b'\n').is_some() {
                let line = line.strip_suffix(b"\r").unwrap_or(&line);
                if line.is_empty() {
                    continue;
                }
                return Ok(Some(parse(line)));
            }
            if (read as u64) < MAX_LINE_BYTES {
                self.current = None;
                continue;
            }
            let rest = reader.skip_until(b'\n');
            rest.map_err(|cause| ReadFault::File { path: path.clone(), cause })?;
            // Cut short it is surely no JSON.
            return Ok(Some(parse(&line)));
        }
    }
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    let found = file.metadata()?;
    Ok((found.dev(), found.ino()))
}
