//! `[safety]`: what is recorded before it is removed, what is read back afterwards, and how much may be removed before
//! a person is asked.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use super::section::Section;
use super::{AmqpSettings, QueueName, SettingKey, SettingsError};

/// Of an account: its own values, the rest from `[safety]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafetySettings {
    /// Where it is recorded what a request is about to remove.
    pub journal: JournalStore,
    /// Read back what was archived.
    pub verify: bool,
    /// Distinct pairs that may be removed within `max_pairs_window` before a person must say go on; `None`: any number.
    pub max_pairs: Option<NonZeroU64>,
    pub max_pairs_window: Duration,
    written: Written,
}

/// A place for the journal. Equal ones are one journal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum JournalStore {
    Off,
    /// A RabbitMQ stream, which keeps records for this long.
    Stream {
        name: QueueName,
        max_age: Duration,
    },
    /// A file, and beside it the files that it was before.
    File {
        path: PathBuf,
        max_age: Duration,
    },
}

impl JournalStore {
    pub fn is_on(&self) -> bool {
        match self {
            Self::Off => false,
            Self::Stream { .. } | Self::File { .. } => true,
        }
    }
}

/// The settings one by one, so that an account can change one of them and keep the others.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Written {
    journal: Kind,
    stream: QueueName,
    max_age: Duration,
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Off,
    Stream,
    File,
}

impl Default for SafetySettings {
    #[expect(clippy::expect_used, reason = "a constant, read by every test")]
    fn default() -> Self {
        let stream = QueueName::new(DEFAULT_STREAM).expect("the default is a queue name");
        let written = Written { journal: Kind::Off, stream, max_age: DEFAULT_AGE, file: None };
        let (max_pairs, max_pairs_window) = (None, DEFAULT_WINDOW);
        Self { journal: JournalStore::Off, verify: false, max_pairs, max_pairs_window, written }
    }
}

const DEFAULT_STREAM: &str = "association-archiver.journal";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT_AGE: Duration = Duration::from_secs(90 * DAY.as_secs());
const SHORTEST_AGE: Duration = Duration::from_secs(60 * 60);
const LONGEST_AGE: Duration = Duration::from_secs(3_650 * DAY.as_secs());
const MOST_PAIRS: NonZeroU64 = NonZeroU64::new(1_000_000_000_000).unwrap();
const DEFAULT_WINDOW: Duration = Duration::from_secs(30 * 60);
const SHORTEST_WINDOW: Duration = Duration::from_secs(1);
const LONGEST_WINDOW: Duration = Duration::from_secs(30 * DAY.as_secs());

impl SafetySettings {
    /// What the section leaves out is taken from `default`.
    pub(super) fn read(mut section: Section, default: &Self) -> Result<Self, SettingsError> {
        let kinds = [("off", Kind::Off), ("stream", Kind::Stream), ("file", Kind::File)];
        let written = Written {
            journal: section.choice("journal", &kinds)?.unwrap_or(default.written.journal),
            stream: section
                .converted("journal_stream", STREAM_RULE, QueueName::new)?
                .unwrap_or_else(|| default.written.stream.clone()),
            max_age: section
                .duration("journal_max_age", SHORTEST_AGE..=LONGEST_AGE)?
                .unwrap_or(default.written.max_age),
            file: section.path("journal_file")?.or_else(|| default.written.file.clone()),
        };
        let verify = section.flag("verify")?.unwrap_or(default.verify);
        let max_pairs =
            section.integer_or_none("max_pairs", NonZeroU64::MIN..=MOST_PAIRS)?.unwrap_or(default.max_pairs);
        let windows = SHORTEST_WINDOW..=LONGEST_WINDOW;
        let max_pairs_window = section.duration("max_pairs_window", windows)?.unwrap_or(default.max_pairs_window);
        let key = section.key_of("journal");
        section.finish()?;
        Ok(Self { journal: written.store(&key)?, verify, max_pairs, max_pairs_window, written })
    }

    /// The stream is bound to the worker's exchange by its own name, which must lead nowhere else.
    pub(super) fn agree(&self, section: &str, amqp: &AmqpSettings) -> Result<(), SettingsError> {
        let (name, jobs) = (self.written.stream.as_str(), amqp.jobs_queue.as_str());
        let others = [jobs, amqp.results_queue.as_str(), amqp.dead_letter_queue.as_str()];
        let is_taken = others.contains(&name) || RESERVED_KEYS.contains(&name) || name.starts_with(&format!("{jobs}."));
        if is_taken {
            return Err(SettingKey::new(&format!("{section}.journal_stream")).refused(format!(
                "is \"{name}\", which is the name of another queue of the worker, or a routing key of its exchange: choose another name"
            )));
        }
        Ok(())
    }
}

/// Routing keys of the worker's exchange.
const RESERVED_KEYS: [&str; 3] = ["jobs", "results", "dead-letters"];

impl Written {
    fn store(&self, key: &SettingKey) -> Result<JournalStore, SettingsError> {
        let max_age = self.max_age;
        match (self.journal, &self.file) {
            (Kind::Off, _) => Ok(JournalStore::Off),
            (Kind::Stream, _) => Ok(JournalStore::Stream { name: self.stream.clone(), max_age }),
            (Kind::File, Some(path)) => Ok(JournalStore::File { path: path.clone(), max_age }),
            (Kind::File, None) => Err(key.refused("is \"file\", but no file is named: set safety.journal_file")),
        }
    }
}

const STREAM_RULE: &str =
    "must be 1 to 245 bytes without control characters, and must not begin with \"amq.\", which is the broker's own";
