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
    pub(super) written: Written,
    /// See [`variables::unread`] and [`variables::empty_address`].
    pub(super) unread_variables: Option<String>,
}

/// The files that were there, lowest first.
struct ReadFiles(Vec<SettingsFile>);

/// Where each setting is written.
pub(super) struct Written {
    files: ReadFiles,
    /// The paths of those variables that say something.
    variables: Vec<String>,
}

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
        let said = variables.paths();
        let upper = variables.over(&mut lower.cache);
        let whole = Config::builder().add_source(lower).add_source(upper).build().map_err(unmergeable)?;
        let files = ReadFiles(files);
        let placing = |origin: Option<Origin>, path: &str| match origin {
            Some(origin) => Some(files.with_line(origin, path)),
            None => files.latest_with(path),
        };
        let settings = node::from_config(whole.cache.into_table().map_err(unmergeable)?, &placing);
        let warnings = [variables::unread(&self.environment), variables::empty_address(&self.environment)];
        let warnings: Vec<String> = warnings.into_iter().flatten().collect();
        let unread_variables = (!warnings.is_empty()).then(|| warnings.join("; "));
        Ok(Merged { settings, written: Written { files, variables: said }, unread_variables })
    }

    fn read_files(&self) -> Result<Vec<SettingsFile>, SettingsError> {
        let default = self.default_file.as_deref().map(SettingsFile::read_if_there).transpose()?.flatten();
        let named = self.file.as_deref().map(SettingsFile::read).transpose()?;
        Ok(default.into_iter().chain(named).collect())
    }
}

impl ReadFiles {
    /// The latest file that says something about the key to which `path` leads.
    fn latest_with(&self, path: &str) -> Option<Origin> {
        self.0.iter().rev().find_map(|file| file.origin_of(path))
    }

    /// Adds the line to what is written in one of the files.
    fn with_line(&self, origin: Origin, path: &str) -> Origin {
        let file = self.0.iter().find(|file| file.holds(&origin));
        file.and_then(|file| file.origin_of(path)).unwrap_or(origin)
    }
}

impl Written {
    /// Adds to an error where the settings that it names are written. A rule that holds between sections names them without.
    pub(super) fn placed(&self, error: SettingsError) -> SettingsError {
        match error {
            SettingsError::Invalid { key, problem, beside } => {
                let beside = beside.into_iter().map(|key| self.key(key)).collect();
                SettingsError::Invalid { key: self.key(key), problem, beside }
            }
            other @ (SettingsError::File { .. } | SettingsError::Toml { .. } | SettingsError::Unknown { .. }) => other,
        }
    }

    fn key(&self, key: SettingKey) -> SettingKey {
        if key.origin().is_some() {
            return key;
        }
        let path = key.dotted().replace('[', ".").replace(']', "");
        let mut origin = self.origin_of(&path);
        // Of what an entry of a list lacks, the entry is shown.
        if origin.is_none()
            && let Some((entry, _)) = key.dotted().rsplit_once("].")
        {
            origin = self.origin_of(&entry.replace('[', ".").replace(']', ""));
        }
        key.written(origin)
    }

    fn origin_of(&self, path: &str) -> Option<Origin> {
        let says = |variable: &String| {
            variable.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if self.variables.iter().any(says) { Some(Origin::Environment) } else { self.files.latest_with(path) }
    }
}

/// Relative to the working directory.
const DEFAULT_FILE: &str = "config/default.toml";

/// Everything that is merged was read before, so no error is expected here. What the crate says of one is not passed
/// on: it could quote a value.
fn unmergeable(_: ConfigError) -> SettingsError {
    SettingKey::new("the settings").refused("of the files and of the environment do not fit together")
}
