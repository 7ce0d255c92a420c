//! `[isolation]`: what finding the bad pairs of a refused batch may cost.

use super::SettingsError;
use super::section::Section;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsolationSettings {
    /// Extra requests to find the bad pairs of one batch; 0 switches isolation off.
    pub max_requests: u32,
}

impl Default for IsolationSettings {
    fn default() -> Self {
        Self { max_requests: 200 }
    }
}

const MOST_REQUESTS: u32 = 100_000;

impl IsolationSettings {
    pub(super) fn read(mut section: Section) -> Result<Self, SettingsError> {
        let default = Self::default();
        let settings =
            Self { max_requests: section.integer("max_requests", 0..=MOST_REQUESTS)?.unwrap_or(default.max_requests) };
        section.finish()?;
        Ok(settings)
    }
}
