//! Which accounts a file is about, as a person knows them: for whoever is asked whether that is meant.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::time::timeout;

use super::paint::harmless;
use crate::config::{AccountSettings, Credentials, Settings};
use crate::contract::ids::{AccountIndex, PortalId};
use crate::hubspot::client::HubspotClient;
use crate::hubspot::credentials::CredentialStore;
use crate::hubspot::identity::{Introduced, Introduction, introduce};
use crate::worker::assembly::SentBefore;

/// Somebody waits for the question.
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// More are not named in the question either.
const MOST_ASKED: usize = 3;

/// By the portal that jobs name.
#[derive(Default, Debug)]
pub struct Introductions {
    /// `portal 4711 (sandbox)`
    names: BTreeMap<Option<u64>, String>,
    /// What will go wrong, one sentence each.
    troubles: Vec<String>,
    /// Accounts whose token belongs to another portal, one sentence each.
    mismatches: Vec<String>,
    /// The requests that this took.
    sent: Vec<SentBefore>,
}

impl Introductions {
    /// Asks HubSpot about these portals (`None`: jobs that name none). What it does not say in time is left out, and so
    /// are accounts whose access token would have to be fetched first.
    pub async fn of(portals: impl Iterator<Item = Option<u64>>, settings: &Settings) -> Self {
        let Ok(accounts) = settings.hubspot.accounts() else { return Self::default() };
        let meant = portals.filter_map(|portal| Some((portal, account_of(portal, accounts)?)));
        let meant: Vec<_> = meant
            .filter(|(_, account)| match account.credentials {
                Credentials::AccessToken(_) => true,
                Credentials::OAuth(_) => false,
            })
            .take(MOST_ASKED)
            .collect();
        let indices: Vec<AccountIndex> = meant.iter().filter_map(|(_, account)| index_of(account, accounts)).collect();
        let tokens: Vec<AccountSettings> = meant.iter().map(|(_, account)| (*account).clone()).collect();
        let (Ok(client), Ok(store)) = (HubspotClient::new(&settings.hubspot), CredentialStore::new(&tokens)) else {
            return Self::default();
        };
        let told = (0..).map(AccountIndex).zip(meant).map(|(index, (portal, account))| {
            let (client, token) = (&client, store.token(index));
            async move { Some((portal, account, introduce(client, &token?).await)) }
        });
        let told = futures_util::stream::iter(told).buffered(MOST_ASKED).collect::<Vec<_>>();
        let told = timeout(LONGEST_WAIT, told).await.unwrap_or_default();
        // One that was given up may have arrived as well.
        let at = Instant::now();
        let sent = indices.into_iter().map(|account| SentBefore { account, at }).collect();
        let mut introductions = Self { sent, ..Self::default() };
        for (portal, account, introduced) in told.into_iter().flatten() {
            introductions.note(portal, account, &introduced, settings);
        }
        introductions
    }

    fn note(&mut self, portal: Option<u64>, account: &AccountSettings, introduced: &Introduced, settings: &Settings) {
        match introduced {
            Introduced::Told(introduction) => {
                if let Some(configured) = account.portal_id.filter(|configured| configured.0 != introduction.portal) {
                    let (place, told) = (account.credentials.token().place(), introduction.portal);
                    self.mismatches.push(format!(
                        "portal {configured}: the token in {place} belongs to portal {told}; put a token of portal \
                         {configured} there, or correct portal_id in the settings of this account"
                    ));
                }
                self.names.insert(portal, words(account.portal_id, introduction));
            }
            Introduced::TokenRefused(detail) => {
                let place = account.credentials.token().place();
                let name = self.name(portal, settings);
                self.troubles.push(format!("{name}: HubSpot does not take the token in {place}: {}", harmless(detail)));
            }
            Introduced::Silent(detail) => {
                let name = self.name(portal, settings);
                self.troubles.push(format!("{name}: HubSpot cannot be asked now: {}", harmless(detail)));
            }
            Introduced::Untold => {}
        }
    }

    /// What stands in the way of the jobs, by what HubSpot says now.
    pub fn troubles(&self) -> &[String] {
        &self.troubles
    }

    /// Accounts in which nothing can be archived, since HubSpot says that their tokens belong to other portals.
    pub fn mismatches(&self) -> &[String] {
        &self.mismatches
    }

    /// What was sent to ask: it counts in the accounts' rolling intervals.
    pub fn sent(&self) -> &[SentBefore] {
        &self.sent
    }

    /// As HubSpot introduced it, else as the settings know it.
    pub fn name(&self, portal: Option<u64>, settings: &Settings) -> String {
        if let Some(name) = self.names.get(&portal) {
            return name.clone();
        }
        let account = settings.hubspot.accounts().ok().and_then(|accounts| account_of(portal, accounts));
        match (portal.or(account.and_then(|account| account.portal_id).map(number)), account) {
            (Some(portal), _) => format!("portal {portal}"),
            (None, Some(_)) => "the only account".to_owned(),
            (None, None) => "no portal named".to_owned(),
        }
    }
}

/// The account of jobs that name this portal. Jobs that name none are the only account's.
pub(super) fn account_of(portal: Option<u64>, accounts: &[AccountSettings]) -> Option<&AccountSettings> {
    match (portal, accounts) {
        (None, [only]) => Some(only),
        (None, _) => None,
        (Some(portal), _) => accounts.iter().find(|account| account.portal_id.map(number) == Some(portal)),
    }
}

fn index_of(account: &AccountSettings, accounts: &[AccountSettings]) -> Option<AccountIndex> {
    (0..).map(AccountIndex).zip(accounts).find(|(_, other)| std::ptr::eq(*other, account)).map(|(index, _)| index)
}

fn number(PortalId(portal): PortalId) -> u64 {
    portal.get()
}

fn words(configured: Option<PortalId>, Introduction { portal, account_type }: &Introduction) -> String {
    let kind = account_type.as_ref().map(|kind| harmless(kind).to_lowercase().replace('_', " "));
    match (configured, kind) {
        (Some(configured), _) if configured.0 != *portal => {
            format!("portal {} (WRONG: its token is of portal {portal})", configured.0)
        }
        (_, Some(kind)) => format!("portal {portal} ({kind})"),
        (_, None) => format!("portal {portal}"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use std::num::NonZeroU64;

    use super::*;

    #[test]
    fn an_account_is_told_as_hubspot_calls_it() {
        let portal = NonZeroU64::new(4711).unwrap();
        let told = |configured, kind: Option<&str>| {
            let introduction = Introduction { portal, account_type: kind.map(str::to_owned) };
            words(configured, &introduction)
        };
        assert_eq!(told(None, Some("SANDBOX")), "portal 4711 (sandbox)");
        assert_eq!(told(Some(PortalId(portal)), Some("DEVELOPER_TEST")), "portal 4711 (developer test)");
        assert_eq!(told(Some(PortalId(portal)), None), "portal 4711");
        let another = PortalId(NonZeroU64::new(815).unwrap());
        assert_eq!(told(Some(another), Some("STANDARD")), "portal 815 (WRONG: its token is of portal 4711)");
    }
}
