//! One settings file.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use ::config::{Config, FileFormat, Format};

use super::node::Origin;
use super::{SettingKey, SettingsError, place, text_file};

/// A file that could be read; its text may hold secrets.
///
/// It is not read by `config::File`, which would take another file for one that is missing (`worker.toml` for
/// `worker`), replace what is not UTF-8, know no limit, and take no pipe such as `--config <(decrypt settings.toml)`.
pub(super) struct SettingsFile {
    /// As the user named it.
    name: String,
    text: String,
    /// See [`place::lines_of_keys`].
    lines: HashMap<String, usize>,
}

impl SettingsFile {
    pub(super) fn read(path: &Path) -> Result<Self, SettingsError> {
        Self::read_if_there(path)?.ok_or_else(|| unreadable(path, "it does not exist"))
    }

    pub(super) fn read_if_there(path: &Path) -> Result<Option<Self>, SettingsError> {
        match text_file::read(path, MAX_FILE_BYTES) {
            Ok(text) => {
                let lines = place::lines_of_keys(&text);
                Ok(Some(Self { name: path.to_string_lossy().into_owned(), text, lines }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(path, error.to_string())),
        }
    }

    /// The file as a layer whose values name it as their origin.
    pub(super) fn parse(&self) -> Result<Config, SettingsError> {
        let settings = FileFormat::Toml.parse(Some(&self.name), &self.text).map_err(|_| self.fault())?;
        if let Some(key) = settings.keys().find(|key| !is_plain(key)) {
            let written = SettingKey::new(key).written(Some(self.origin(self.line_of(key))));
            return Err(written.refused("is a key in quotes, which no setting needs: write sections and keys without"));
        }
        let mut layer = Config::default();
        layer.cache = settings.into();
        Ok(layer)
    }

    /// Whether `origin` is this file.
    pub(super) fn holds(&self, origin: &Origin) -> bool {
        match origin {
            Origin::File { path, line: _ } => **path == *Path::new(&self.name),
            Origin::Environment => false,
        }
    }

    /// Where the file says something about the key to which `path` leads, if it does.
    pub(super) fn origin_of(&self, path: &str) -> Option<Origin> {
        self.line_of(path).map(|line| self.origin(Some(line)))
    }

    fn line_of(&self, path: &str) -> Option<usize> {
        self.lines.get(path).copied()
    }

    /// The parser's own report quotes the line, which may hold a secret: only its place is passed on.
    fn fault(&self) -> SettingsError {
        let fault = place::fault(&self.text);
        SettingsError::Toml { origin: self.origin(fault.line), cause: fault.cause }
    }

    fn origin(&self, line: Option<usize>) -> Origin {
        Origin::File { path: Path::new(&self.name).into(), line }
    }
}

/// Room for some ten thousand accounts.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// The crate takes the outermost keys for path expressions: a quoted `"x[999999999]"` would make room for
/// 999,999,999 entries. Keys without quotes are plain by the rules of TOML.
fn is_plain(key: &str) -> bool {
    key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn unreadable(path: &Path, cause: impl Into<String>) -> SettingsError {
    SettingsError::File { file: path.to_owned(), cause: cause.into() }
}
