//! Watches the files of all accounts' secrets: one task, however many there are.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::credentials::CredentialStore;
use super::news::CredentialNews;

/// Between two looks at all files. Polling also sees what notifications miss: network file systems, and mounted
/// secrets that are exchanged by moving a link.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Sends news for as long as there is a receiver. A change that [`CredentialStore::reread`] finds first is not news.
pub async fn watch(store: CredentialStore, news: mpsc::Sender<CredentialNews>) {
    let mut ticks = interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = news.closed() => return,
            _ = ticks.tick() => {}
        }
        let store = store.clone();
        let Ok(found) = spawn_blocking(move || store.glance()).await else { return };
        for item in found {
            if news.send(item).await.is_err() {
                return;
            }
        }
    }
}
