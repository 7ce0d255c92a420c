//! An account whose access tokens are short-lived and come from a refresh token, which HubSpot may change as well.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use tokio::task::spawn_blocking;

use super::bearer::BearerToken;
use super::client::HubspotClient;
use super::grant::{Blamed, Grant, GrantReply, GrantRequest};
use super::introspection::{Introspection, introspect_oauth};
use super::locked::lock;
use super::secret_file::{NotWritten, SecretFile};
use crate::config::{OAuthCredentials, SettingKey, SettingsError};
use crate::engine::command::RefreshReply;

#[derive(Debug)]
pub(super) struct OAuthAccount {
    client_id: String,
    client_secret_key: SettingKey,
    refresh_token_key: SettingKey,
    current: Mutex<Current>,
    /// Held while a file is read or written; always locked before `current`.
    files: Mutex<Files>,
}

/// The secrets in use.
#[derive(Debug)]
struct Current {
    client_secret: SecretString,
    /// The newest one, in the file or not.
    refresh_token: SecretString,
    access_token: Option<BearerToken>,
    /// Grows when the operator changes a secret.
    version: u64,
}

#[derive(Debug)]
struct Files {
    client_secret: SecretFile,
    refresh_token: SecretFile,
    /// The newest refresh token is not in its file, and the operator was told so.
    unwritten: bool,
}

/// What a refresh came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refreshed {
    /// For the engine.
    pub reply: RefreshReply,
    /// For the operator: a new refresh token could not be written to the file that the old one came from. It is said
    /// once for each account.
    pub warning: Option<String>,
}

/// What became of a grant.
enum Kept {
    InUse,
    /// In use, but its refresh token is not in the file; says why.
    Unwritten(String),
    /// The operator has changed a secret since this token was asked for, so it may not be that of the account meant
    /// now.
    Outdated,
}

impl OAuthAccount {
    pub(super) fn open(settings: OAuthCredentials) -> Result<Self, SettingsError> {
        let OAuthCredentials { client_id, client_secret, refresh_token } = settings;
        let client_secret = SecretFile::open(client_secret)?;
        let refresh_token = SecretFile::open(refresh_token)?;
        Ok(Self {
            client_id,
            client_secret_key: client_secret.source().key().clone(),
            refresh_token_key: refresh_token.source().key().clone(),
            current: Mutex::new(Current {
                client_secret: client_secret.secret().clone(),
                refresh_token: refresh_token.secret().clone(),
                access_token: None,
                version: 0,
            }),
            files: Mutex::new(Files { client_secret, refresh_token, unwritten: false }),
        })
    }

    pub(super) fn token(&self) -> Option<BearerToken> {
        lock(&self.current).access_token.clone()
    }

    pub(super) fn look(&self) -> Result<bool, SettingsError> {
        self.take_over(SecretFile::look)
    }

    pub(super) fn glance(&self) -> Result<bool, SettingsError> {
        let changed = self.take_over(SecretFile::glance);
        self.write_again();
        changed
    }

    /// A disk that was full has room again: HubSpot may no longer know the token that is in the file.
    fn write_again(&self) {
        let mut files = lock(&self.files);
        if !files.unwritten {
            return;
        }
        let newest = lock(&self.current).refresh_token.clone();
        if files.refresh_token.replace(&newest).is_ok() {
            files.unwritten = false;
            tracing::info!(setting = %self.refresh_token_key, "the new refresh token is in its file now");
        }
    }

    pub(super) async fn refresh(self: &Arc<Self>, client: &HubspotClient) -> Refreshed {
        let (request, version) = self.request();
        let reply = request.send(client).await;
        match reply {
            GrantReply::Granted(grant) => self.granted(grant, version).await,
            GrantReply::Refused { .. } | GrantReply::Failed { .. } if self.is_outdated(version) => outdated(),
            GrantReply::Refused { detail, about } => {
                let detail = format!("{detail}{}", self.mend(about));
                Refreshed { reply: RefreshReply::Refused { detail }, warning: None }
            }
            GrantReply::Failed { detail, wait } => {
                Refreshed { reply: RefreshReply::Failed { detail, wait }, warning: None }
            }
        }
    }

    pub(super) async fn introspect(&self, client: &HubspotClient) -> Introspection {
        let (client_secret, access_token) = {
            let current = lock(&self.current);
            (current.client_secret.clone(), current.access_token.clone())
        };
        let Some(access_token) = access_token else {
            return Introspection::Failed { detail: "no access token was granted yet".to_owned() };
        };
        introspect_oauth(client, &self.client_id, &client_secret, &access_token).await
    }

    fn request(&self) -> (GrantRequest, u64) {
        let current = lock(&self.current);
        let request = GrantRequest {
            client_id: self.client_id.clone(),
            client_secret: current.client_secret.clone(),
            refresh_token: current.refresh_token.clone(),
        };
        (request, current.version)
    }

    fn is_outdated(&self, version: u64) -> bool {
        lock(&self.current).version != version
    }

    async fn granted(self: &Arc<Self>, grant: Grant, version: u64) -> Refreshed {
        let (expires_in, portal) = (grant.expires_in, grant.portal);
        let kept = match grant.rotated {
            None => self.keep(grant.access_token, version),
            Some(refresh_token) => {
                let account = Arc::clone(self);
                let keep = spawn_blocking(move || account.keep_both(grant.access_token, refresh_token, version));
                // It fails only where the process is ending.
                keep.await.unwrap_or(Kept::Outdated)
            }
        };
        let granted = RefreshReply::Granted { expires_in, portal };
        match kept {
            Kept::InUse => Refreshed { reply: granted, warning: None },
            Kept::Unwritten(warning) => Refreshed { reply: granted, warning: Some(warning) },
            Kept::Outdated => outdated(),
        }
    }

    fn keep(&self, access_token: BearerToken, version: u64) -> Kept {
        let mut current = lock(&self.current);
        if current.version != version {
            return Kept::Outdated;
        }
        current.access_token = Some(access_token);
        Kept::InUse
    }

    /// As [`Self::keep`], with a refresh token that goes to its file.
    fn keep_both(&self, access_token: BearerToken, refresh_token: SecretString, version: u64) -> Kept {
        let mut files = lock(&self.files);
        match self.keep(access_token, version) {
            Kept::InUse => {}
            kept @ (Kept::Unwritten(_) | Kept::Outdated) => return kept,
        }
        lock(&self.current).refresh_token = refresh_token.clone();
        match files.refresh_token.replace(&refresh_token) {
            Ok(()) => {
                files.unwritten = false;
                Kept::InUse
            }
            // The watch finds it.
            Err(NotWritten::Overtaken) => Kept::InUse,
            Err(_) if files.unwritten => Kept::InUse,
            Err(error) => {
                files.unwritten = true;
                Kept::Unwritten(self.unwritten(&error))
            }
        }
    }

    fn take_over(&self, read: fn(&mut SecretFile) -> Result<bool, SettingsError>) -> Result<bool, SettingsError> {
        let mut files = lock(&self.files);
        let client_secret = read(&mut files.client_secret);
        let refresh_token = read(&mut files.refresh_token);
        let changed = |read: &Result<bool, _>| matches!(read, Ok(true));
        if !changed(&client_secret) && !changed(&refresh_token) {
            return client_secret.and(refresh_token);
        }
        let mut current = lock(&self.current);
        if changed(&client_secret) {
            current.client_secret = files.client_secret.secret().clone();
        }
        if changed(&refresh_token) {
            current.refresh_token = files.refresh_token.secret().clone();
            files.unwritten = false;
        }
        current.version = current.version.wrapping_add(1);
        Ok(true)
    }

    fn mend(&self, about: Blamed) -> String {
        match about {
            Blamed::RefreshToken => {
                format!("; authorise the app again and put the new refresh token into {}", self.refresh_token_key)
            }
            Blamed::ClientSecret => format!("; correct {}", self.client_secret_key),
            Blamed::ClientId => format!("; correct the oauth.client_id beside {}", self.client_secret_key),
            Blamed::BaseUrl => "; correct hubspot.base_url if it is not HubSpot's".to_owned(),
            Blamed::Unknown => String::new(),
        }
    }

    fn unwritten(&self, error: &NotWritten) -> String {
        format!(
            "HubSpot changed the refresh token of {}, and the new one is lost when this process ends, because {error}: \
             keep it in a file that can be written, in a folder that can be written",
            self.refresh_token_key
        )
    }
}

/// The answer is about secrets that are no longer in use: ask again at once.
fn outdated() -> Refreshed {
    let detail = "the credentials were changed while a token was asked for".to_owned();
    Refreshed { reply: RefreshReply::Failed { detail, wait: Some(Duration::ZERO) }, warning: None }
}
