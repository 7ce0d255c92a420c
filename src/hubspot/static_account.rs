//! An account whose token does not expire by itself: a private app's, or a service key.

use std::sync::Mutex;

use super::bearer::BearerToken;
use super::client::HubspotClient;
use super::introspection::{Introspection, introspect_private};
use super::locked::lock;
use super::secret_file::SecretFile;
use crate::config::{SecretSource, SettingsError};

#[derive(Debug)]
pub(super) struct StaticAccount {
    token: Mutex<BearerToken>,
    /// Held while the file is read; always locked before `token`.
    file: Mutex<SecretFile>,
}

impl StaticAccount {
    pub(super) fn open(source: SecretSource) -> Result<Self, SettingsError> {
        let file = SecretFile::open(source)?;
        Ok(Self { token: Mutex::new(bearer(&file)?), file: Mutex::new(file) })
    }

    pub(super) fn token(&self) -> BearerToken {
        lock(&self.token).clone()
    }

    pub(super) fn look(&self) -> Result<bool, SettingsError> {
        self.take_over(SecretFile::look)
    }

    pub(super) fn glance(&self) -> Result<bool, SettingsError> {
        self.take_over(SecretFile::glance)
    }

    pub(super) async fn introspect(&self, client: &HubspotClient) -> Introspection {
        introspect_private(client, &self.token()).await
    }

    fn take_over(&self, read: fn(&mut SecretFile) -> Result<bool, SettingsError>) -> Result<bool, SettingsError> {
        let mut file = lock(&self.file);
        let changed = read(&mut file)?;
        if changed {
            *lock(&self.token) = bearer(&file)?;
        }
        Ok(changed)
    }
}

fn bearer(file: &SecretFile) -> Result<BearerToken, SettingsError> {
    let problem = "holds a character that no HTTP header can carry: put the token there and nothing else";
    BearerToken::new(file.secret()).ok_or_else(|| file.source().key().refused(problem))
}
