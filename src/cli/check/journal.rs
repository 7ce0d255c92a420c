//! The journals that the accounts have.

use std::path::Path;
use std::time::Duration;

use super::finding::Finding;
use crate::amqp::journal::JournalStream;
use crate::config::{JournalStore, Settings};
use crate::contract::as_set::AsSet;
use crate::contract::grouped::Grouped;
use crate::journal::probe::{Probed, probe};

/// Those that are streams, each once.
pub fn streams(settings: &Settings) -> Vec<JournalStream> {
    let streams = settings.journals().into_iter().filter_map(|store| match store {
        JournalStore::Stream { name, max_age } => Some(JournalStream { name, max_age }),
        JournalStore::File { .. } | JournalStore::Off => None,
    });
    streams.collect()
}

/// Whether those that are files can be written; and a word where there is no journal at all.
pub fn files(settings: &Settings) -> Vec<Finding> {
    let journals = settings.journals();
    if journals.is_empty() {
        return vec![Finding::right("safety.journal", "off: what is archived cannot be restored")];
    }
    let files = journals.into_iter().filter_map(|store| match store {
        JournalStore::File { path, max_age } => Some(file(&path, max_age)),
        JournalStore::Stream { .. } | JournalStore::Off => None,
    });
    files.collect()
}

fn file(path: &Path, max_age: Duration) -> Finding {
    let subject = format!("journal {}", path.display());
    match probe(path) {
        Ok(Probed { bytes, earlier }) => {
            let size = bytes.map_or("is not there yet".to_owned(), |bytes| format!("has {} bytes", Grouped(bytes)));
            let earlier = Grouped(earlier as u64);
            let kept = AsSet(max_age);
            Finding::right(subject, format!("{size}, can be written; {earlier} earlier files, kept for {kept}"))
        }
        Err(fault) => {
            let mend = "let the worker's user write in that directory, make room there, or mend safety.journal_file";
            Finding::wrong(subject, fault.to_string(), mend)
        }
    }
}
