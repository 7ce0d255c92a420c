//! What all endpoints stand on.

use std::sync::Arc;

use secrecy::SecretString;
use tokio::sync::{mpsc, watch};

use crate::telemetry::heartbeat::Heartbeat;
use crate::telemetry::mend::Mends;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::snapshot::Snapshot;
use crate::worker::seams::Order;

/// What the endpoints share with the worker's loop.
#[derive(Clone, Debug)]
pub struct AdminState {
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub metrics: Arc<Metrics>,
    pub heartbeat: Heartbeat,
    pub mends: Mends,
    pub orders: mpsc::Sender<Order>,
    /// `admin.token`; without it nothing can be changed.
    pub token: Option<SecretString>,
}
