//! Whether jobs are taken in: only while this worker holds the lease.

use tokio::sync::watch;

/// The keeper's end.
#[derive(Debug)]
pub struct GateKeeper(watch::Sender<bool>);

/// The intake's end.
#[derive(Clone, Debug)]
pub struct Gate(watch::Receiver<bool>);

impl Gate {
    /// A gate that stays as it is when its keeper is dropped.
    pub fn new(open: bool) -> (GateKeeper, Self) {
        let (keeper, gate) = watch::channel(open);
        (GateKeeper(keeper), Self(gate))
    }

    pub fn is_open(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is open; for ever where nobody is left to open it. Cancel-safe.
    pub async fn opened(&mut self) {
        self.becomes(true).await;
    }

    /// Waits until it is closed. Cancel-safe.
    pub async fn closed(&mut self) {
        self.becomes(false).await;
    }

    async fn becomes(&mut self, wanted: bool) {
        if self.0.wait_for(|open| *open == wanted).await.is_err() {
            std::future::pending().await
        }
    }
}

impl GateKeeper {
    pub(super) fn is_open(&self) -> bool {
        *self.0.borrow()
    }

    pub(super) fn set(&self, open: bool) {
        self.0.send_replace(open);
    }
}
