//! Errands to HubSpot, each a task of its own for as long as it is on the wire.

use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::accounts::Portals;
use super::seams::{BatchReply, Errand, Return};
use crate::amqp::lease::fence::Fences;
use crate::engine::command::IdentityReply;
use crate::engine::reply::{Reply, Silence};
use crate::hubspot::client::HubspotClient;
use crate::hubspot::credentials::{CredentialStore, Refreshed};
use crate::hubspot::identity::identify;
use crate::hubspot::news::CredentialNews;

/// Runs errands until the loop is gone.
#[derive(Clone, Debug)]
pub struct Calls {
    pub client: HubspotClient,
    pub credentials: CredentialStore,
    /// Refreshes on the wire, to be waited for before the process ends.
    pub refreshing: TaskTracker,
    /// Hold requests back where several workers share the quota and another one may be sending.
    pub fences: Fences,
}

impl Calls {
    /// One task for each request; the engine bounds how many there are.
    pub async fn run(self, mut errands: mpsc::UnboundedReceiver<Errand>, returns: mpsc::UnboundedSender<Return>) {
        while let Some(errand) = errands.recv().await {
            let (calls, returns) = (self.clone(), returns.clone());
            let renews = matches!(errand, Errand::Refresh { .. });
            let running = async move {
                if let Some(back) = calls.run_errand(errand).await {
                    // Else the loop has ended, and nobody waits for the answer.
                    let _ = returns.send(back);
                }
            };
            // HubSpot may give a new refresh token, which must be kept even when the process stops.
            if renews {
                self.refreshing.spawn(running);
            } else {
                tokio::spawn(running);
            }
        }
    }

    async fn run_errand(&self, errand: Errand) -> Option<Return> {
        let began = Instant::now();
        match errand {
            Errand::Send(call) => {
                let account = call.lane.account;
                // The process may have been frozen since the engine decided.
                let reply = match self.credentials.token(account).filter(|_| self.fences.are_open_for(account)) {
                    Some(token) => self.client.send_batch(&call, &token).await,
                    // The engine asks for a token before it sends. If there is none all the same, nothing is sent.
                    None => Reply::Silence(Silence::Refused("there is no access token yet".to_owned())),
                };
                Some(Return::Answered(Box::new(BatchReply { call, reply, took: began.elapsed() })))
            }
            Errand::Refresh { call, account } => {
                let Refreshed { reply, warning } = self.credentials.refresh(&self.client, account).await;
                if let Some(warning) = warning {
                    tracing::warn!(account = account.0, "{warning}");
                }
                Some(Return::Refreshed { call, reply, took: began.elapsed() })
            }
            Errand::Identify { call, account } => {
                let reply = match self.credentials.token(account) {
                    Some(token) => identify(&self.client, &token).await,
                    None => IdentityReply::Failed { detail: "there is no token yet".to_owned(), wait: None },
                };
                Some(Return::Identified { call, reply, took: began.elapsed() })
            }
            Errand::RereadCredentials { account } => {
                let changed = self.credentials.reread(account).await.unwrap_or_else(|fault| {
                    tracing::warn!(account = account.0, "{fault}");
                    false
                });
                changed.then_some(Return::CredentialsChanged { account })
            }
        }
    }
}

/// Passes on which accounts' secrets have changed, for as long as the loop lives.
pub async fn watch(mut news: mpsc::Receiver<CredentialNews>, returns: mpsc::UnboundedSender<Return>, portals: Portals) {
    let portal_id = |account| portals.portal(account).map(|portal| portal.0.get());
    while let Some(item) = news.recv().await {
        match item {
            CredentialNews::Changed(account) => {
                tracing::info!(
                    portal_id = portal_id(account),
                    account = account.0,
                    "the account's credentials have changed"
                );
                if returns.send(Return::CredentialsChanged { account }).is_err() {
                    return;
                }
            }
            CredentialNews::Unreadable { account, fault } => {
                tracing::warn!(portal_id = portal_id(account), account = account.0, "{fault}")
            }
        }
    }
}
