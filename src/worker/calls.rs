//! Errands to HubSpot, each a task of its own for as long as it is on the wire.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::seams::{Errand, Return};
use crate::contract::ids::AccountIndex;
use crate::hubspot::client::HubspotClient;
use crate::hubspot::credentials::CredentialStore;
use crate::hubspot::identity::identify;
use crate::telemetry::metrics::Metrics;

/// Runs errands until the loop is gone.
#[derive(Clone, Debug)]
pub struct Calls {
    pub client: HubspotClient,
    pub credentials: Arc<CredentialStore>,
    pub metrics: Arc<Metrics>,
}

impl Calls {
    /// One task for each request; the engine bounds how many there are.
    pub async fn run(self, mut errands: mpsc::UnboundedReceiver<Errand>, returns: mpsc::UnboundedSender<Return>) {
        while let Some(errand) = errands.recv().await {
            let (calls, returns) = (self.clone(), returns.clone());
            tokio::spawn(async move {
                if let Some(back) = calls.run_errand(errand).await {
                    // The loop has ended: nobody waits for the answer.
                    let _ = returns.send(back);
                }
            });
        }
    }

    async fn run_errand(&self, errand: Errand) -> Option<Return> {
        match errand {
            Errand::Archive(call) => {
                let token = self.credentials.token(call.lane.account);
                let began = Instant::now();
                let reply = self.client.archive(&call, &token).await;
                self.metrics.request_took(began.elapsed());
                Some(Return::Archived { call: call.call, reply })
            }
            Errand::Refresh { call, account } => {
                let reply = self.credentials.refresh(account, &self.client).await;
                Some(Return::Refreshed { call, reply })
            }
            Errand::Identify { call, account } => {
                let reply = identify(&self.client, &self.credentials.token(account)).await;
                Some(Return::Identified { call, reply })
            }
            Errand::RereadCredentials { account } => {
                let changed = self.credentials.reread(account).await;
                changed.then_some(Return::CredentialsChanged { account })
            }
        }
    }
}

/// Passes on which accounts' token files have changed.
pub async fn watch(mut changed: mpsc::Receiver<AccountIndex>, returns: mpsc::UnboundedSender<Return>) {
    while let Some(account) = changed.recv().await {
        let _ = returns.send(Return::CredentialsChanged { account });
    }
}

