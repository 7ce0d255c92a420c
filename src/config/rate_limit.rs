//! `[rate_limit]`: what may be sent to an account at most.

use std::num::NonZeroU32;
use std::time::Duration;

use super::SettingsError;
use super::section::Section;

/// The ceiling of one account; what HubSpot itself reports can only lower it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests in every rolling `interval`.
    pub requests: NonZeroU32,
    pub interval: Duration,
    /// Requests a day, from midnight to midnight in the account's time zone; `None`: no budget of ours.
    pub daily: Option<NonZeroU32>,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { requests: DEFAULT_REQUESTS, interval: Duration::from_secs(10), daily: None }
    }
}

const DEFAULT_REQUESTS: NonZeroU32 = NonZeroU32::new(100).unwrap();
const MOST_REQUESTS: NonZeroU32 = NonZeroU32::new(1_000_000).unwrap();
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
const LONGEST_INTERVAL: Duration = Duration::from_secs(60 * 60);

impl RateLimit {
    /// What the section leaves out is taken from `default`.
    pub(super) fn read(mut section: Section, default: &Self) -> Result<Self, SettingsError> {
        let limit = Self {
            requests: section.integer("requests", NonZeroU32::MIN..=MOST_REQUESTS)?.unwrap_or(default.requests),
            interval: section.duration("interval", SHORTEST_INTERVAL..=LONGEST_INTERVAL)?.unwrap_or(default.interval),
            daily: section.integer_or_none("daily", NonZeroU32::MIN..=NonZeroU32::MAX)?.unwrap_or(default.daily),
        };
        section.finish()?;
        Ok(limit)
    }
}
