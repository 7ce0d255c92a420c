//! One place for records, of whichever kind.

use tokio::task::JoinError;

use super::file::{FileFault, FileWriter};
use crate::amqp::journal::{JournalStream, StreamFault, StreamWriter};
use crate::config::{AmqpSettings, JournalStore};

/// See the module.
#[derive(Debug)]
pub(super) enum Store {
    Stream(Box<StreamWriter>),
    /// `None` only after a panic while it wrote.
    File(Option<FileWriter>),
}

/// Why records are not durable.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreFault {
    #[error("the journal cannot be written: {0}")]
    Stream(#[from] StreamFault),
    #[error("the journal: {0}")]
    File(#[from] FileFault),
    #[error("the journal's writer has failed, which is a fault of this program: {0}")]
    Failed(#[from] JoinError),
    #[error("the journal's writer has failed before, which is a fault of this program: restart the worker")]
    Gone,
}

impl Store {
    /// `None` where there is no journal.
    pub(super) fn of(place: &JournalStore, amqp: &AmqpSettings) -> Option<Self> {
        match place {
            JournalStore::Off => None,
            JournalStore::Stream { name, max_age } => {
                let stream = JournalStream { name: name.clone(), max_age: *max_age };
                Some(Self::Stream(Box::new(StreamWriter::new(amqp, &stream))))
            }
            JournalStore::File { path, max_age } => Some(Self::File(Some(FileWriter::new(path.clone(), *max_age)))),
        }
    }

    /// Returns when all of them are durable. After an error nothing is known of any.
    pub(super) async fn append(&mut self, records: Vec<Vec<u8>>) -> Result<(), StoreFault> {
        match self {
            Self::Stream(writer) => Ok(writer.append(&records).await?),
            Self::File(place) => {
                let mut writer = place.take().ok_or(StoreFault::Gone)?;
                let written = tokio::task::spawn_blocking(move || {
                    let written = writer.append(&records);
                    (writer, written)
                });
                let (writer, written) = written.await?;
                *place = Some(writer);
                Ok(written?)
            }
        }
    }

    pub(super) async fn close(&mut self) {
        match self {
            Self::Stream(writer) => writer.close().await,
            Self::File(_) => {}
        }
    }
}
