//! `[log]`: what is logged, and in which form.

use tracing_subscriber::EnvFilter;

use super::SettingsError;
use super::section::Section;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// `None`: not set; for people on a terminal, as JSON elsewhere.
    pub format: Option<LogFormat>,
    /// Directives as [`EnvFilter`] reads them, already tried: `info`, `warn,association_archiver=debug`.
    pub filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: None, filter: "info".to_owned() }
    }
}

impl LogSettings {
    pub(super) fn read(mut section: Section) -> Result<Self, SettingsError> {
        let default = Self::default();
        let settings = Self {
            format: section.choice("format", &[("json", LogFormat::Json), ("pretty", LogFormat::Pretty)])?,
            filter: section.checked_text("filter", FILTER_RULE, is_filter)?.unwrap_or(default.filter),
        };
        section.finish()?;
        Ok(settings)
    }
}

const FILTER_RULE: &str =
    "must be a level (error, warn, info, debug, trace, off) or a list such as \"warn,association_archiver=debug\"";

fn is_filter(text: &str) -> bool {
    EnvFilter::try_new(text).is_ok()
}
