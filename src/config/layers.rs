//! The layers that settings come from, the later over the earlier.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ::config::{Config, ConfigError};

use super::node::{self, Origin, Table};
use super::settings_file::SettingsFile;
use super::variables::{self, Variables};
use super::{SettingKey, SettingsError};

/// The files and variables to read, lowest first; the built-in defaults lie beneath all of them.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// May be missing.
    pub default_file: Option<PathBuf>,
    /// Must be there.
    pub file: Option<PathBuf>,
    /// Names and values; those without the prefix are passed over.
    pub environment: Vec<(OsString, OsString)>,
}

/// What the layers say together.
pub(super) struct Merged {
    pub(super) settings: Table,
    pub(super) files: ReadFiles,
    /// See [`variables::unread`].
    pub(super) unread_variables: Option<String>,
}

/// The files that were there, lowest first.
pub(super) struct ReadFiles(Vec<SettingsFile>);

impl Layers {
    /// The layers of a real run.
    pub fn of_this_process(file: Option<&Path>) -> Self {
        Self {
            default_file: Some(PathBuf::from(DEFAULT_FILE)),
            file: file.map(Path::to_owned),
            environment: env::vars_os().collect(),
        }
    }

    pub(super) fn merged(&self) -> Result<Merged, SettingsError> {
        let files = self.read_files()?;
        let variables = Variables::among(&self.environment)?;
        let mut builder = Config::builder();
        for file in &files {
            builder = builder.add_source(file.parse()?);
        }
        let mut lower = builder.build().map_err(unmergeable)?;
        let upper = variables.over(&mut lower.cache);
        let whole = Config::builder().add_source(lower).add_source(upper).build().map_err(unmergeable)?;
        let settings = node::from_config(whole.cache.into_table().map_err(unmergeable)?);
        let unread_variables = variables::unread(&self.environment);
        Ok(Merged { settings, files: ReadFiles(files), unread_variables })
    }

    fn read_files(&self) -> Result<Vec<SettingsFile>, SettingsError> {
        let default = self.default_file.as_deref().map(SettingsFile::read_if_there).transpose()?.flatten();
        let named = self.file.as_deref().map(SettingsFile::read).transpose()?;
        Ok(default.into_iter().chain(named).collect())
    }
}

impl ReadFiles {
    /// Adds the line to an error about something written in one of the files.
    pub(super) fn placed(&self, error: SettingsError) -> SettingsError {
        match error {
            SettingsError::Unknown { key, origin: None, known } => {
                let origin = self.0.iter().rev().find_map(|file| file.origin_of(&key));
                SettingsError::Unknown { key, origin, known }
            }
            SettingsError::Unknown { key, origin, known } => {
                let origin = origin.map(|origin| self.with_line(origin, &key));
                SettingsError::Unknown { key, origin, known }
            }
            SettingsError::Invalid { key, origin, problem } => {
                let origin = origin.map(|origin| self.with_line(origin, &key));
                SettingsError::Invalid { key, origin, problem }
            }
            other @ (SettingsError::File { .. } | SettingsError::Toml { .. }) => other,
        }
    }

    fn with_line(&self, origin: Origin, key: &SettingKey) -> Origin {
        let file = self.0.iter().find(|file| file.holds(&origin));
        file.and_then(|file| file.origin_of(key)).unwrap_or(origin)
    }
}

/// Relative to the working directory.
const DEFAULT_FILE: &str = "config/default.toml";

/// Everything that is merged was read before, so no error is expected here. What the crate says of one is not passed
/// on: it could quote a value.
fn unmergeable(_: ConfigError) -> SettingsError {
    SettingKey::new("the settings").refused("of the files and of the environment do not fit together")
}
