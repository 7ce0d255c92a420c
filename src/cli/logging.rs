//! Logging as the settings say, and what is to be said of the settings themselves.

use super::exit::Failure;
use super::output::remark;
use crate::config::Settings;
use crate::telemetry::log;

/// A filter that cannot be read is a wrong setting.
pub fn start_logging(settings: &Settings) -> Result<(), Failure> {
    log::start(&settings.log).map_err(|fault| Failure::Usage(fault.to_string()))?;
    if let Some(warning) = &settings.unread_variables {
        tracing::warn!("{warning}");
    }
    Ok(())
}

/// For the commands that do not log.
pub fn remark_on_settings(settings: &Settings) {
    if let Some(warning) = &settings.unread_variables {
        remark(&format!("warning: {warning}"));
    }
}
