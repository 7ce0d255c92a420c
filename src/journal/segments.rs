//! The journal's earlier files, which were put aside: their names, and when they are too old.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

/// `journal.ndjson.20261128T190700.123Z`: the name of the file, and when it was put aside.
const STAMP: &str = "%Y%m%dT%H%M%S.%3fZ";
const STAMP_BYTES: usize = "20261128T190700.123Z".len();

/// A file that was put aside; nothing is written to it any more.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Segment {
    /// When it was put aside, which was after its last record was written.
    pub put_aside: Timestamp,
    pub path: PathBuf,
}

/// The file's name when it is put aside.
pub(super) fn path_of(journal: &Path, put_aside: Timestamp) -> PathBuf {
    let mut name = OsString::from(journal);
    name.push(format!(".{}", put_aside.strftime(STAMP)));
    PathBuf::from(name)
}

/// The journal's earlier files, the oldest first. Files of any other name are passed over.
pub(super) fn of(journal: &Path) -> io::Result<Vec<Segment>> {
    let Some(name) = journal.file_name().and_then(|name| name.to_str()) else { return Ok(Vec::new()) };
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory(journal))? {
        let path = entry?.path();
        let beside = path.file_name().and_then(|beside| beside.to_str());
        let stamp = beside.and_then(|beside| beside.strip_prefix(name)?.strip_prefix('.'));
        if let Some(put_aside) = stamp.and_then(read_stamp) {
            segments.push(Segment { put_aside, path });
        }
    }
    segments.sort();
    Ok(segments)
}

/// Deletes those whose last record is older than `max_age`, and returns them.
pub(super) fn delete_old(journal: &Path, max_age: Duration, now: Timestamp) -> io::Result<Vec<PathBuf>> {
    let mut deleted = Vec::new();
    let Ok(oldest) = now.checked_sub(max_age) else { return Ok(deleted) };
    for segment in of(journal)?.into_iter().filter(|segment| segment.put_aside < oldest) {
        fs::remove_file(&segment.path)?;
        deleted.push(segment.path);
    }
    Ok(deleted)
}

/// Where the journal's files are.
pub(super) fn directory(journal: &Path) -> &Path {
    match journal.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    }
}

fn read_stamp(text: &str) -> Option<Timestamp> {
    if text.len() != STAMP_BYTES {
        return None;
    }
    let time = strtime::parse("%Y%m%dT%H%M%S%.3fZ", text).ok()?.to_datetime().ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_segment_is_known_by_its_name_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("journal.ndjson");
        let at = Timestamp::from_millisecond(1_800_000_000_123).unwrap();
        let segment = path_of(&journal, at);
        assert!(segment.ends_with("journal.ndjson.20270115T080000.123Z"), "{}", segment.display());
        for name in ["journal.ndjson", "journal.ndjson.lock", "journal.ndjson.1", "other.ndjson.20270115T080000.123Z"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        fs::write(&segment, "").unwrap();
        assert_eq!(of(&journal).unwrap(), [Segment { put_aside: at, path: segment.clone() }]);

        let day = Duration::from_secs(86_400);
        assert_eq!(delete_old(&journal, day, at + day).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(delete_old(&journal, day, at + 2 * day).unwrap(), [segment]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 4, "nothing else was deleted");
    }
}
