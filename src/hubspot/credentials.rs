//! The credentials of all accounts: which token to send with, and where the next one comes from.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::bearer::BearerToken;
use super::client::HubspotClient;
use super::introspection::Introspection;
use super::news::CredentialNews;
use super::oauth_account::OAuthAccount;
pub use super::oauth_account::Refreshed;
use super::static_account::StaticAccount;
use crate::config::{AccountSettings, Credentials, SettingsError};
use crate::contract::ids::AccountIndex;
use crate::engine::command::RefreshReply;

/// Holds every account's secrets, by [`AccountIndex`]; cheap to clone, all clones are one store.
#[derive(Clone, Debug)]
pub struct CredentialStore {
    accounts: Arc<[AccountCredentials]>,
}

#[derive(Clone, Debug)]
enum AccountCredentials {
    Static(Arc<StaticAccount>),
    OAuth(Arc<OAuthAccount>),
}

impl CredentialStore {
    /// Reads all secrets once; the order is the settings'.
    pub fn new(accounts: &[AccountSettings]) -> Result<Self, SettingsError> {
        let accounts = accounts.iter().map(|account| match &account.credentials {
            Credentials::AccessToken(source) => {
                Ok(AccountCredentials::Static(Arc::new(StaticAccount::open(source.clone())?)))
            }
            Credentials::OAuth(oauth) => Ok(AccountCredentials::OAuth(Arc::new(OAuthAccount::open(oauth.clone())?))),
        });
        Ok(Self { accounts: accounts.collect::<Result<_, SettingsError>>()? })
    }

    /// The token to send with now; `None` before an OAuth account's first refresh. Never waits for a file.
    pub fn token(&self, account: AccountIndex) -> Option<BearerToken> {
        match self.account(account)? {
            AccountCredentials::Static(account) => Some(account.token()),
            AccountCredentials::OAuth(account) => account.token(),
        }
    }

    /// Reads the account's files now. Returns whether they hold other secrets than before, which then hold at once.
    pub async fn reread(&self, account: AccountIndex) -> Result<bool, SettingsError> {
        let Some(account) = self.account(account).cloned() else { return Ok(false) };
        let look = spawn_blocking(move || match account {
            AccountCredentials::Static(account) => account.look(),
            AccountCredentials::OAuth(account) => account.look(),
        });
        // It fails only where the process is ending.
        look.await.unwrap_or(Ok(false))
    }

    /// Exchanges the account's refresh token for an access token; the store sends with it from then on.
    ///
    /// Let it run to its end once begun: HubSpot may have changed the refresh token.
    pub async fn refresh(&self, client: &HubspotClient, account: AccountIndex) -> Refreshed {
        match self.account(account) {
            Some(AccountCredentials::OAuth(account)) => account.refresh(client).await,
            Some(AccountCredentials::Static(_)) | None => {
                let detail = "the account has no refresh token".to_owned();
                Refreshed { reply: RefreshReply::Refused { detail }, warning: None }
            }
        }
    }

    /// Asks HubSpot what it knows about the account's token: for an operator, not for the way of a job.
    pub async fn introspect(&self, client: &HubspotClient, account: AccountIndex) -> Introspection {
        match self.account(account) {
            Some(AccountCredentials::Static(account)) => account.introspect(client).await,
            Some(AccountCredentials::OAuth(account)) => account.introspect(client).await,
            None => Introspection::Failed { detail: "there is no such account".to_owned() },
        }
    }

    /// What has changed in the files of all accounts since they were last looked at; reads only what was touched.
    pub(super) fn glance(&self) -> Vec<CredentialNews> {
        let mut news = Vec::new();
        for (index, account) in (0..).map(AccountIndex).zip(self.accounts.iter()) {
            let glance = match account {
                AccountCredentials::Static(account) => account.glance(),
                AccountCredentials::OAuth(account) => account.glance(),
            };
            match glance {
                Ok(true) => news.push(CredentialNews::Changed(index)),
                Ok(false) => {}
                Err(fault) => news.push(CredentialNews::Unreadable { account: index, fault }),
            }
        }
        news
    }

    fn account(&self, index: AccountIndex) -> Option<&AccountCredentials> {
        self.accounts.get(usize::try_from(index.0).ok()?)
    }
}
