//! Logging as the settings say, and what is to be said of the settings themselves.

use super::exit::Failure;
use super::output::remark;
use crate::config::Settings;
use crate::telemetry::log::{self, LogFault};

/// For the service. A filter that cannot be read is a wrong setting.
pub fn start_logging(settings: &Settings) -> Result<(), Failure> {
    begun(log::start(&settings.log), settings)
}

/// For a command that does the service's work.
pub fn start_logging_for_a_person(settings: &Settings) -> Result<(), Failure> {
    begun(log::start_for_a_person(&settings.log), settings)
}

fn begun(begun: Result<(), LogFault>, settings: &Settings) -> Result<(), Failure> {
    begun.map_err(|fault| Failure::Usage(fault.to_string()))?;
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
