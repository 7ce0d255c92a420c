//! `archive`: jobs as lines, without a broker.

use std::path::Path;
use std::process::ExitCode;

use super::exit::Failure;

pub fn archive(_config: Option<&Path>, _file: Option<&Path>) -> Result<ExitCode, Failure> {
    Err(Failure::Usage("not yet".to_owned()))
}
