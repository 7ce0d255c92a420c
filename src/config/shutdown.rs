//! `[shutdown]`: how long a stop may take.

use std::time::Duration;

use super::SettingsError;
use super::section::Section;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShutdownSettings {
    /// Time to finish what is in flight after SIGTERM.
    pub grace: Duration,
}

impl Default for ShutdownSettings {
    fn default() -> Self {
        Self { grace: Duration::from_secs(30) }
    }
}

const LONGEST_GRACE: Duration = Duration::from_secs(60 * 60);

impl ShutdownSettings {
    pub(super) fn read(mut section: Section) -> Result<Self, SettingsError> {
        let default = Self::default();
        let settings =
            Self { grace: section.duration("grace", Duration::ZERO..=LONGEST_GRACE)?.unwrap_or(default.grace) };
        section.finish()?;
        Ok(settings)
    }
}
