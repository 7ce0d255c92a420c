//! HubSpot, and each account's token.

use std::time::Duration;

use futures_util::StreamExt;
use jiff::tz::TimeZone;
use tokio::time::timeout;

use super::finding::Finding;
use crate::config::{AccountSettings, Credentials, HubspotSettings};
use crate::contract::ids::{AccountIndex, PortalId};
use crate::engine::command::{IdentityReply, RefreshReply};
use crate::hubspot::authorisation::{Authorisation, authorise};
use crate::hubspot::client::HubspotClient;
use crate::hubspot::credentials::CredentialStore;
use crate::hubspot::introspection::{Introspection, TokenFacts};

/// Accounts asked about at once.
const AT_ONCE: usize = 8;
/// An operator is looking on.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// Scopes that are named one by one.
const MAX_NAMED_SCOPES: usize = 12;

const UNREADABLE: &str = "see that the file is there and that the service's user may read it, or name another";

pub async fn findings(settings: &HubspotSettings) -> Vec<Finding> {
    let opened = settings
        .accounts()
        .and_then(|accounts| Ok((accounts, HubspotClient::new(settings)?, CredentialStore::new(accounts)?)));
    let (accounts, client, store) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let text = error.to_string();
            let (detail, mend) = match text.split_once(": ") {
                // What follows is the system's word, and no mend.
                Some((what, _)) if what.ends_with("cannot be read") => (text.as_str(), UNREADABLE),
                Some(parts) => parts,
                None => (text.as_str(), "correct that setting"),
            };
            return vec![Finding::wrong("accounts", detail, mend)];
        }
    };
    let checks = (0..).map(AccountIndex).zip(accounts).map(|(index, account)| {
        let (client, store) = (&client, &store);
        async move {
            let subject = subject(index, account);
            match timeout(LONGEST_WAIT, Check { subject: &subject, index, account, client, store }.run()).await {
                Ok(findings) => findings,
                Err(_elapsed) => {
                    let detail = format!("HubSpot did not answer within {} s", LONGEST_WAIT.as_secs());
                    vec![Finding::not_verified(
                        subject,
                        detail,
                        "try again, and check hubspot.base_url and the network",
                    )]
                }
            }
        }
    });
    futures_util::stream::iter(checks).buffered(AT_ONCE).collect::<Vec<_>>().await.concat()
}

fn subject(AccountIndex(index): AccountIndex, account: &AccountSettings) -> String {
    match account.portal_id {
        Some(portal) => format!("account {portal}"),
        None => format!("account #{index}"),
    }
}

struct Check<'a> {
    subject: &'a str,
    index: AccountIndex,
    account: &'a AccountSettings,
    client: &'a HubspotClient,
    store: &'a CredentialStore,
}

impl Check<'_> {
    async fn run(self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Credentials::OAuth(_) = &self.account.credentials
            && !self.refresh(&mut findings).await
        {
            return findings;
        }
        let Some(token) = self.store.token(self.index) else {
            findings.push(Finding::wrong(self.subject, "has no access token", "mend its credentials"));
            return findings;
        };
        let authorisation = authorise(self.client, &token).await;
        let taken = self.judge(authorisation, &mut findings);
        if taken {
            self.scopes(self.store.introspect(self.client, self.index).await, &mut findings);
        }
        if self.account.paused {
            let mend = "set paused = false, or drop it, when its jobs are to be archived";
            findings.push(Finding::warning(self.subject, "is paused by its settings: its jobs wait", mend));
        }
        findings
    }

    /// Whether there is an access token now.
    async fn refresh(&self, findings: &mut Vec<Finding>) -> bool {
        let refreshed = self.store.refresh(self.client, self.index).await;
        if let Some(warning) = refreshed.warning {
            let mend = "make the file of oauth.refresh_token_file writable for the service";
            findings.push(Finding::warning(self.subject, warning, mend));
        }
        match refreshed.reply {
            RefreshReply::Granted { .. } => true,
            RefreshReply::Refused { detail } => {
                let detail = format!("HubSpot refuses its refresh token: {detail}");
                let mend = "install the app in the account again and set oauth.refresh_token_file, or mend oauth.client_id and oauth.client_secret_file";
                findings.push(Finding::wrong(self.subject, detail, mend));
                false
            }
            RefreshReply::Failed { detail, .. } => {
                findings.push(unclear(self.subject, &detail));
                false
            }
        }
    }

    /// Whether HubSpot takes the token.
    fn judge(&self, authorisation: Authorisation, findings: &mut Vec<Finding>) -> bool {
        match authorisation {
            Authorisation::Taken(IdentityReply::Told { portal, time_zone }) => {
                findings.push(self.portal(PortalId(portal)));
                findings.extend(self.time_zone(time_zone.as_ref()));
                true
            }
            Authorisation::Taken(IdentityReply::WillNotTell { detail } | IdentityReply::Failed { detail, .. }) => {
                let detail = format!("HubSpot takes its token but does not tell whose it is: {detail}");
                let mend = "make sure that the token is of this portal: nothing else can";
                findings.push(Finding::not_verified(self.subject, detail, mend));
                true
            }
            Authorisation::Refused { detail } => {
                let detail = format!("HubSpot refuses its token: {detail}");
                findings.push(Finding::wrong(self.subject, detail, self.token_mend()));
                false
            }
            Authorisation::Unreached { detail } => {
                let mend = "check hubspot.base_url, hubspot.ca_file, the network and its proxy";
                findings.push(Finding::wrong(self.subject, detail, mend));
                false
            }
            Authorisation::Unclear { detail } => {
                findings.push(unclear(self.subject, &detail));
                false
            }
        }
    }

    fn token_mend(&self) -> String {
        match &self.account.credentials {
            Credentials::AccessToken(source) => format!("put a valid token into {}", source.key()),
            Credentials::OAuth(_) => "install the app in the account again".to_owned(),
        }
    }

    /// Archiving in the wrong portal is the worst that can happen.
    fn portal(&self, told: PortalId) -> Finding {
        match self.account.portal_id {
            Some(wanted) if wanted != told => Finding::wrong(
                self.subject,
                format!("its token is of portal {told}: nothing is archived for it"),
                format!("set portal_id = {told}, or use a token of portal {wanted}"),
            ),
            Some(_) => Finding::right(self.subject, format!("HubSpot takes its token, which is of portal {told}")),
            None => Finding::right(
                self.subject,
                format!(
                    "HubSpot takes its token, which is of portal {told}; jobs that name a portal are rejected, since no portal_id is set"
                ),
            ),
        }
    }

    fn time_zone(&self, told: Option<&TimeZone>) -> Option<Finding> {
        let name = |zone: &TimeZone| zone.iana_name().unwrap_or("UTC").to_owned();
        let (ours, told) = (self.account.time_zone.as_ref().map(name), told.map(name));
        match (ours, told) {
            (Some(ours), Some(told)) if ours != told => Some(Finding::wrong(
                self.subject,
                format!(
                    "time_zone is {ours}, but HubSpot says {told}: its day budget would start anew at the wrong time"
                ),
                format!("set time_zone = \"{told}\", or drop it to have HubSpot asked"),
            )),
            (Some(ours), Some(_)) => {
                Some(Finding::right(self.subject, format!("its day begins in {ours}, as HubSpot says")))
            }
            (None, Some(told)) => {
                Some(Finding::right(self.subject, format!("its day begins in {told}, learned from HubSpot")))
            }
            (Some(ours), None) => Some(Finding::not_verified(
                self.subject,
                format!("time_zone is {ours}; HubSpot does not tell its own"),
                "compare it with the account's defaults in HubSpot",
            )),
            (None, None) => None,
        }
    }

    fn scopes(&self, introspection: Introspection, findings: &mut Vec<Finding>) {
        let unknown = |why: String| {
            let mend = "see that its app has crm.objects.<type>.write for every object type of its jobs";
            Finding::not_verified(self.subject, format!("its scopes are not known: {why}"), mend)
        };
        findings.push(match introspection {
            Introspection::Told(TokenFacts { active: Some(false), .. }) => {
                Finding::wrong(self.subject, "HubSpot says that its token is not active", self.token_mend())
            }
            Introspection::Told(TokenFacts { scopes, .. }) if scopes.is_empty() => {
                unknown("HubSpot names none".to_owned())
            }
            Introspection::Told(TokenFacts { scopes, .. }) => self.judge_scopes(&scopes),
            Introspection::WillNotTell { detail } | Introspection::Failed { detail } => unknown(detail),
        });
    }

    /// Which object types the jobs will have is not known here.
    fn judge_scopes(&self, scopes: &[String]) -> Finding {
        let writes = scopes.iter().filter_map(|scope| scope.strip_prefix("crm.objects.")?.strip_suffix(".write"));
        let writes: Vec<&str> = writes.collect();
        if writes.is_empty() {
            return Finding::wrong(
                self.subject,
                format!("none of its {} scopes lets it write CRM objects", scopes.len()),
                "give its app crm.objects.<type>.write for every object type of its jobs",
            );
        }
        let more = writes.len().saturating_sub(MAX_NAMED_SCOPES);
        let named = writes[..writes.len() - more].join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Finding::right(self.subject, format!("its scopes let it write {named}{more}"))
    }
}

fn unclear(subject: &str, detail: &str) -> Finding {
    Finding::not_verified(subject, format!("its token could not be tried: {detail}"), "try again later")
}
