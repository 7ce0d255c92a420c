//! `[retry]`: how often and how long a failed request is tried again.

use std::num::NonZeroU32;
use std::time::Duration;

use super::section::Section;
use super::{SettingKey, SettingsError};
use crate::contract::as_set::AsSet;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// Quick tries of a batch before its jobs are parked.
    pub max_attempts: NonZeroU32,
    /// Ceiling of the first delay; each further one doubles, and the delay is drawn evenly between zero and it.
    pub base_delay: Duration,
    /// Ceiling that the doubling stops at.
    pub max_delay: Duration,
    /// Counted from the first transient failure of a job's own request; after it the job ends as `FAILED`.
    pub max_age: Duration,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            base_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(30),
            max_age: Duration::from_secs(24 * 60 * 60),
        }
    }
}

const DEFAULT_MAX_ATTEMPTS: NonZeroU32 = NonZeroU32::new(5).unwrap();
const MOST_ATTEMPTS: NonZeroU32 = NonZeroU32::new(1_000).unwrap();
const SHORTEST_DELAY: Duration = Duration::from_millis(1);
const LONGEST_DELAY: Duration = Duration::from_secs(60 * 60);
const LONGEST_AGE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl RetrySettings {
    pub(super) fn read(mut section: Section) -> Result<Self, SettingsError> {
        let default = Self::default();
        let delays = SHORTEST_DELAY..=LONGEST_DELAY;
        let ages = SHORTEST_DELAY..=LONGEST_AGE;
        let settings = Self {
            max_attempts: section
                .integer("max_attempts", NonZeroU32::MIN..=MOST_ATTEMPTS)?
                .unwrap_or(default.max_attempts),
            base_delay: section.duration("base_delay", delays.clone())?.unwrap_or(default.base_delay),
            max_delay: section.duration("max_delay", delays)?.unwrap_or(default.max_delay),
            max_age: section.duration("max_age", ages)?.unwrap_or(default.max_age),
        };
        section.finish()?;
        if settings.max_delay < settings.base_delay {
            return Err(SettingKey::new("retry.max_delay")
                .refused(format!(
                    "is {}, but must not be shorter than retry.base_delay ({})",
                    AsSet(settings.max_delay),
                    AsSet(settings.base_delay)
                ))
                .beside("retry.base_delay"));
        }
        Ok(settings)
    }
}
