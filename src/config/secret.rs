//! Secrets: given in the settings, or in a file of their own that is read again whenever they are needed.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::{NamedFile, SettingKey, SettingsError, text_file};

/// Where a secret comes from. Its `Debug` shows the place, never the secret.
#[derive(Clone, Debug)]
pub struct SecretSource {
    key: SettingKey,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Inline(SecretString),
    File(PathBuf),
}

impl SecretSource {
    /// `key` is the setting to name when something is wrong.
    pub fn inline(key: SettingKey, secret: SecretString) -> Self {
        Self { key, place: Place::Inline(secret) }
    }

    /// `key` is the setting that holds the path.
    pub fn file(key: SettingKey, path: PathBuf) -> Self {
        Self { key, place: Place::File(path) }
    }

    pub fn key(&self) -> &SettingKey {
        &self.key
    }

    /// The file it is read from, for those who watch it or write a rotated secret back.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Inline(_) => None,
            Place::File(path) => Some(path),
        }
    }

    /// Where to put another secret, for people: the setting, and the file that it names.
    pub fn place(&self) -> String {
        match &self.place {
            Place::Inline(_) => self.key.dotted().to_owned(),
            Place::File(path) => format!("the file {} ({})", shown(path), self.key.dotted()),
        }
    }

    /// The secret as it is now: visible ASCII, not empty, without the line break that ends a file.
    pub fn read(&self) -> Result<SecretString, SettingsError> {
        match &self.place {
            Place::Inline(secret) => Ok(secret.clone()),
            Place::File(path) => {
                let text = read_named(&self.key, path)?;
                checked(&self.key, text.trim_end_matches(['\r', '\n']))
            }
        }
    }
}

/// A secret goes into a header, a form or a URI; none of them takes spaces or control characters.
pub(super) fn checked(key: &SettingKey, text: &str) -> Result<SecretString, SettingsError> {
    if text.is_empty() {
        return Err(key.refused("is empty: put the secret there, or drop the setting"));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(
            key.refused("holds a space, a line break or a character that is not plain ASCII: a secret is one word")
        );
    }
    Ok(text.into())
}

/// A file of certificates, in PEM.
pub(super) fn read_certificates(file: &NamedFile) -> Result<String, SettingsError> {
    let (key, path) = (file.key(), file.path());
    let text = read_pem(key, path)?;
    if text.contains("-----BEGIN CERTIFICATE-----") {
        return Ok(text);
    }
    Err(key.refused(format!("names {}, which holds no certificate", shown(path))))
}

/// A file with a private key, in PEM.
pub(super) fn read_private_key(file: &NamedFile) -> Result<SecretString, SettingsError> {
    let (key, path) = (file.key(), file.path());
    let text = read_pem(key, path)?;
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(key.refused(format!(
            "names {}, whose key is encrypted: decrypt it (openssl pkey -in KEY -out DECRYPTED) and let only the \
             worker read it",
            shown(path)
        )));
    }
    if text.contains(" PRIVATE KEY-----") {
        return Ok(text.into());
    }
    Err(key.refused(format!("names {}, which holds no private key", shown(path))))
}

fn read_pem(key: &SettingKey, path: &Path) -> Result<String, SettingsError> {
    let text = read_named(key, path)?;
    if text.contains("-----BEGIN ") {
        Ok(text)
    } else {
        Err(key.refused(format!("names {}, which is no PEM file", shown(path))))
    }
}

/// Where systemd puts what a unit's `LoadCredential=` lines name.
const CREDENTIALS: &str = "/run/credentials";
const CREDENTIALS_HINT: &str = " (systemd puts it there while the unit runs, for the unit and for root: start the unit, or do this as root meanwhile)";

/// A mounted secret or a chain of certificates is far shorter.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

fn read_named(key: &SettingKey, path: &Path) -> Result<String, SettingsError> {
    text_file::read(path, MAX_FILE_BYTES).map_err(|error| {
        let hint = if path.starts_with(CREDENTIALS) { CREDENTIALS_HINT } else { "" };
        key.refused(format!("names {}, which cannot be read: {error}{hint}", shown(path)))
    })
}

/// The path, unless it looks like a secret that was written where its file belongs.
fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.contains("://") || (text.len() > LONGEST_BARE_NAME && !text.contains('/')) {
        return format!(
            "a path of {} characters that looks like the secret itself and is not shown",
            text.chars().count()
        );
    }
    format!("{text:?}")
}

/// Tokens are longer than this and hold no slash.
const LONGEST_BARE_NAME: usize = 24;
