//! `[jobs]`: how large a job may be.

use std::num::NonZeroU32;

use super::SettingsError;
use super::section::Section;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobsSettings {
    /// Longest message body, in bytes.
    pub max_bytes: u64,
    /// Most distinct pairs in a job.
    pub max_pairs: NonZeroU32,
}

impl Default for JobsSettings {
    fn default() -> Self {
        Self { max_bytes: 1024 * 1024, max_pairs: Self::MOST_PAIRS }
    }
}

/// RabbitMQ 4 takes no larger message.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

impl JobsSettings {
    /// Keeps an outcome that lists an error for every pair far below the broker's message limit.
    pub const MOST_PAIRS: NonZeroU32 = NonZeroU32::new(10_000).unwrap();

    pub(super) fn read(mut section: Section) -> Result<Self, SettingsError> {
        let default = Self::default();
        let settings = Self {
            max_bytes: section.bytes("max_bytes", 1..=MOST_BYTES)?.unwrap_or(default.max_bytes),
            max_pairs: section.integer("max_pairs", NonZeroU32::MIN..=Self::MOST_PAIRS)?.unwrap_or(default.max_pairs),
        };
        section.finish()?;
        Ok(settings)
    }
}
