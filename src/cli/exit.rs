//! How a command ends: its exit code, and one line on stderr that names the cause and the mend.

use std::process::ExitCode;

use crate::config::SettingsError;

/// Why a command did not end well.
#[derive(Debug)]
pub enum Failure {
    /// Wrong usage or settings, a file that cannot be read: exit code 2.
    Usage(String),
    /// It failed while running: exit code 1.
    Running(String),
}

impl Failure {
    /// Says it on stderr and gives the exit code.
    pub fn report(self) -> ExitCode {
        let (code, message) = match self {
            Self::Usage(message) => (2, message),
            Self::Running(message) => (1, message),
        };
        // One line, whatever the cause said; a closed stderr must not turn into a panic.
        let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("error: {line}\n"));
        ExitCode::from(code)
    }
}

impl Failure {
    /// What it says, for where the command goes on.
    pub fn into_message(self) -> String {
        match self {
            Self::Usage(message) | Self::Running(message) => message,
        }
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::Usage(error.to_string())
    }
}
