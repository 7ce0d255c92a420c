//! The layers that settings come from, the later over the earlier.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::node::{self, Kind, Node, Origin, Table};
use super::{SettingKey, SettingsError, text_file};

/// What every environment variable that is a setting begins with; `__` also stands between the levels of a key.
pub(super) const PREFIX: &str = "ARCHIVER__";

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

impl Layers {
    /// The layers of a real run.
    pub fn of_this_process(file: Option<&Path>) -> Self {
        Self {
            default_file: Some(PathBuf::from(DEFAULT_FILE)),
            file: file.map(Path::to_owned),
            environment: env::vars_os().collect(),
        }
    }

    pub(super) fn merged(&self) -> Result<Table, SettingsError> {
        let mut settings = Table::new();
        if let Some(path) = &self.default_file
            && let Some(text) = read_if_there(path)?
        {
            node::merge(&mut settings, parse(&text, path)?);
        }
        if let Some(path) = &self.file {
            let text = read_if_there(path)?.ok_or_else(|| unreadable(path, "it does not exist"))?;
            node::merge(&mut settings, parse(&text, path)?);
        }
        node::merge(&mut settings, environment(&self.environment)?);
        Ok(settings)
    }
}

/// Relative to the working directory.
const DEFAULT_FILE: &str = "config/default.toml";

/// Room for some ten thousand accounts.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

fn read_if_there(path: &Path) -> Result<Option<String>, SettingsError> {
    match text_file::read(path, MAX_FILE_BYTES) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, error.to_string())),
    }
}

fn unreadable(path: &Path, cause: impl Into<String>) -> SettingsError {
    SettingsError::File { file: path.to_owned(), cause: cause.into() }
}

/// The parser's own report quotes the line, which may hold a secret: only its place and its message are passed on.
fn parse(text: &str, path: &Path) -> Result<Table, SettingsError> {
    let path: Arc<Path> = path.into();
    node::parse_toml(text, &path).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        let cause = error.message().lines().collect::<Vec<_>>().join(", ");
        SettingsError::Toml {
            origin: Origin::File { path, line: node::line_of(&node::line_starts(text), offset) },
            cause,
        }
    })
}

fn environment(variables: &[(OsString, OsString)]) -> Result<Table, SettingsError> {
    let mut settings = Table::new();
    for (name, value) in variables {
        let name = name.to_string_lossy();
        let Some(key) = name.strip_prefix(PREFIX) else { continue };
        let key = key.to_ascii_lowercase();
        let levels: Vec<&str> = key.split("__").collect();
        let path = SettingKey::new(&levels.join("."));
        if levels.len() > MOST_LEVELS {
            return Err(SettingsError::Unknown { key: path, origin: Some(Origin::Environment), known: Vec::new() });
        }
        let Some(value) = value.to_str() else {
            return Err(path.refused("is not UTF-8 text"));
        };
        let kind = if value.is_empty() { Kind::Unset } else { Kind::Text(value.to_owned()) };
        insert(&mut settings, &levels, kind).map_err(|problem| path.refused(problem))?;
    }
    Ok(settings)
}

/// The deepest setting is `hubspot.accounts[0].oauth.client_secret`.
const MOST_LEVELS: usize = 5;

fn insert(table: &mut Table, levels: &[&str], kind: Kind) -> Result<(), &'static str> {
    const CLASH: &str = "is set twice, or once as a value and once as a section: drop one of the variables";
    let Some((key, below)) = levels.split_first() else { return Ok(()) };
    if below.is_empty() {
        let value = Node { kind, origin: Origin::Environment };
        return if table.insert((*key).to_owned(), value).is_some() { Err(CLASH) } else { Ok(()) };
    }
    let empty = || Node { kind: Kind::Table(Table::new()), origin: Origin::Environment };
    match &mut table.entry((*key).to_owned()).or_insert_with(empty).kind {
        Kind::Table(section) => insert(section, below, kind),
        Kind::Text(_) | Kind::Scalar(_) | Kind::List(_) | Kind::Unset => Err(CLASH),
    }
}
