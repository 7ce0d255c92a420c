//! Errands to HubSpot, each a task of its own for as long as it is on the wire.

use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::accounts::Portals;
use super::seams::{BatchReply, Errand, Return};
use crate::amqp::lease::fence::Fences;
use crate::contract::ids::AccountIndex;
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
    pub portals: Portals,
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
                    let portal_id = self.portals.portal(account).map(|portal| portal.0.get());
                    tracing::warn!(portal_id, account = account.0, "{warning}");
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
                let news = match self.credentials.reread(account).await {
                    Ok(false) => return None,
                    Ok(true) => CredentialNews::Changed(account),
                    Err(fault) => CredentialNews::Unreadable { account, fault },
                };
                tell(&news, &self.portals);
                match news {
                    CredentialNews::Changed(account) => Some(Return::CredentialsChanged { account }),
                    CredentialNews::Unreadable { .. } => None,
                }
            }
        }
    }
}

/// Passes on which accounts' secrets have changed, for as long as the loop lives.
pub async fn watch(mut news: mpsc::Receiver<CredentialNews>, returns: mpsc::UnboundedSender<Return>, portals: Portals) {
    while let Some(item) = news.recv().await {
        tell(&item, &portals);
        match item {
            CredentialNews::Changed(account) => {
                if returns.send(Return::CredentialsChanged { account }).is_err() {
                    return;
                }
            }
            CredentialNews::Unreadable { .. } => {}
        }
    }
}

/// Also where HubSpot's refusal made this worker look: whoever mended a token sees in the log of the worker that sends
/// that it has the new one.
fn tell(news: &CredentialNews, portals: &Portals) {
    let portal_id = |account: &AccountIndex| portals.portal(*account).map(|portal| portal.0.get());
    match news {
        CredentialNews::Changed(account) => tracing::info!(
            portal_id = portal_id(account),
            account = account.0,
            "the account's credentials have changed"
        ),
        CredentialNews::Unreadable { account, fault } => {
            tracing::warn!(portal_id = portal_id(account), account = account.0, "{fault}");
        }
    }
}
