//! A journal that is a file: one record a line, on the disk before it counts as written.
//!
//! Processes take turns by a lock beside it, so that a worker which takes over need not wait for the end of the other.
//! A line without an end is a record that a crash cut off. It never counted as written, and is cut away.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::segments;
use crate::contract::journal::{Record, parse};

/// A file larger than this is put aside and a new one begun, in bytes.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// A file whose first record is older than this is put aside, so that old records can be deleted.
const SEGMENT_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest wait while another process writes.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_CHECK: Duration = Duration::from_millis(5);
/// How often files that are too old are looked for.
const DELETE_EVERY: Duration = Duration::from_secs(60 * 60);
/// How much is read in one go in search of the last line's end.
const BLOCK_BYTES: u64 = 64 * 1024;
/// For the owner to write, for the group to read.
const MODE: u32 = 0o640;

/// Why the file cannot be written, in one line that says how to mend it.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileFault {
    #[error("{} cannot be {action}: {cause}; {}", path.display(), mend(cause))]
    Io { action: &'static str, path: PathBuf, cause: io::Error },
    #[error(
        "another process has held {} for {} s: end that process, if it hangs",
        path.display(),
        LOCK_PATIENCE.as_secs()
    )]
    Locked { path: PathBuf },
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum, of which only these can be mended in a known way")]
fn mend(cause: &io::Error) -> &'static str {
    match cause.kind() {
        ErrorKind::NotFound => "create the directory, or mend safety.journal_file",
        ErrorKind::PermissionDenied => "let the worker's user write there",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on that disk",
        ErrorKind::ReadOnlyFilesystem => "mount it so that it can be written, or mend safety.journal_file",
        _ => "look at that file and its disk",
    }
}

/// Appends records.
#[derive(Debug)]
pub(super) struct FileWriter {
    path: PathBuf,
    max_age: Duration,
    open: Option<Opened>,
    deleted_last: Option<Instant>,
}

/// The file as it was left.
#[derive(Debug)]
struct Opened {
    file: File,
    /// Which file it is: the name may come to mean another one.
    identity: (u64, u64),
    /// How long the file is, counting whole records only.
    bytes: u64,
    /// The time of its first record.
    begun: Timestamp,
}

impl FileWriter {
    /// The file is not opened before there is something to write.
    pub(super) fn new(path: PathBuf, max_age: Duration) -> Self {
        Self { path, max_age, open: None, deleted_last: None }
    }

    /// Returns when all of them are on the disk. After an error nothing is known of any.
    pub(super) fn append(&mut self, records: &[Vec<u8>]) -> Result<(), FileFault> {
        let lock = self.lock()?;
        let appended = self.append_locked(records);
        if appended.is_err() {
            // After a failed fsync nobody knows what is on the disk: the file is read anew the next time.
            self.open = None;
        }
        // Closing the lock's file, which happens on return, ends the lock as well: an error here does no harm.
        let _ = lock.unlock();
        appended
    }

    fn append_locked(&mut self, records: &[Vec<u8>]) -> Result<(), FileFault> {
        let now = Timestamp::now();
        let (path, max_age) = (&self.path, self.max_age);
        let fault = |action| move |cause| FileFault::Io { action, path: path.clone(), cause };
        let mut open = match self.open.take() {
            Some(open) if open.is_still(path) => open,
            Some(_) | None => Opened::open(path, now).map_err(fault("opened"))?,
        };
        open.cut_off_torn(path).map_err(fault("read to its end"))?;
        if open.is_due(max_age, now) {
            fs::rename(path, segments::path_of(path, now)).map_err(fault("put aside"))?;
            open = Opened::open(path, now).map_err(fault("begun anew"))?;
            self.deleted_last = None;
        }
        let mut lines = Vec::with_capacity(records.iter().map(|record| record.len() + 1).sum());
        for record in records {
            lines.extend_from_slice(record);
            lines.push(b'\n');
        }
        let written = open.file.write_all(&lines);
        if written.is_err() {
            // A record that was written in part would be cut away later. But readers may come before that, and a full
            // disk needs the room.
            let _ = open.file.set_len(open.bytes);
        }
        written.map_err(fault("written"))?;
        open.file.sync_data().map_err(fault("written to the disk"))?;
        open.bytes += lines.len() as u64;
        self.open = Some(open);
        self.delete_old(now);
        Ok(())
    }

    /// Files that are too old take room, but harm nobody: where one cannot be deleted, the log says so, and it is tried
    /// again later.
    fn delete_old(&mut self, now: Timestamp) {
        if self.deleted_last.is_some_and(|last| last.elapsed() < DELETE_EVERY) {
            return;
        }
        self.deleted_last = Some(Instant::now());
        match segments::delete_old(&self.path, self.max_age, now) {
            Ok(deleted) => deleted.iter().for_each(
                |path| tracing::info!(file = %path.display(), "journal: deleted, older than safety.journal_max_age"),
            ),
            Err(error) => {
                tracing::warn!("journal: old files beside {} cannot be deleted: {error}", self.path.display())
            }
        }
    }

    fn lock(&self) -> Result<File, FileFault> {
        let mut name = OsString::from(&self.path);
        name.push(".lock");
        let path = PathBuf::from(name);
        let fault = |cause| FileFault::Io { action: "locked", path: path.clone(), cause };
        let file = OpenOptions::new().create(true).append(true).mode(MODE).open(&path).map_err(fault)?;
        let until = Instant::now() + LOCK_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(LOCK_CHECK),
                Err(TryLockError::WouldBlock) => return Err(FileFault::Locked { path }),
                Err(TryLockError::Error(cause)) => return Err(fault(cause)),
            }
        }
    }
}

impl Opened {
    fn open(path: &Path, now: Timestamp) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).read(true).append(true).mode(MODE).open(path)?;
        let found = file.metadata()?;
        // The name, too, must survive a crash.
        File::open(segments::directory(path))?.sync_all()?;
        let begun = if found.len() == 0 { now } else { first_time(&file)?.unwrap_or(now) };
        // The file counts as empty here. What is in it is first looked through for a record that was cut off.
        Ok(Self { file, identity: (found.dev(), found.ino()), bytes: 0, begun })
    }

    /// Another process may have put the file aside, or somebody may have moved it.
    fn is_still(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity)
    }

    fn is_due(&self, max_age: Duration, now: Timestamp) -> bool {
        let age = Duration::try_from(now.duration_since(self.begun)).unwrap_or_default();
        self.bytes > 0 && (self.bytes >= SEGMENT_BYTES || age >= SEGMENT_AGE.min(max_age))
    }

    /// Other processes write whole records, but may die amid one.
    fn cut_off_torn(&mut self, path: &Path) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        if length == self.bytes {
            return Ok(());
        }
        let whole = end_of_last_line(&mut self.file, length)?;
        if whole < length {
            self.file.set_len(whole)?;
            self.file.sync_all()?;
            let bytes = length - whole;
            tracing::warn!(file = %path.display(), bytes, "journal: the last record, which a crash had left unfinished, was cut off; no request had relied on that record");
        }
        self.bytes = whole;
        Ok(())
    }
}

/// The length of the file up to its last line break.
fn end_of_last_line(file: &mut File, length: u64) -> io::Result<u64> {
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::new();
        Read::by_ref(file).take(end - start).read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// When the first record was written that can be read and has a time.
fn first_time(file: &File) -> io::Result<Option<Timestamp>> {
    let mut reader = BufReader::new(file.try_clone()?);
    reader.seek(SeekFrom::Start(0))?;
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        match parse(line.trim_ascii_end()) {
            Ok(Record::Entry(entry)) => return Ok(Some(entry.at)),
            Ok(Record::Completion(completion)) => return Ok(Some(completion.at)),
            Ok(Record::Mark(_) | Record::Unknown) | Err(_) => line.clear(),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
