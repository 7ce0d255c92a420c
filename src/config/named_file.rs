//! A file that a setting names, read whenever it is needed.

use std::path::{Path, PathBuf};

use super::SettingKey;

#[derive(Clone, Debug)]
pub struct NamedFile {
    key: SettingKey,
    path: PathBuf,
}

impl NamedFile {
    /// `key` is the setting to name when something is wrong.
    pub fn new(key: SettingKey, path: PathBuf) -> Self {
        Self { key, path }
    }

    pub fn key(&self) -> &SettingKey {
        &self.key
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}
