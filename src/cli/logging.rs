//! Logging, as the settings say.

use super::exit::Failure;
use crate::config::Settings;
use crate::telemetry::log;

/// A filter that cannot be read is a wrong setting.
pub fn start_logging(settings: &Settings) -> Result<(), Failure> {
    log::start(&settings.log).map_err(|fault| Failure::Usage(fault.to_string()))
}
