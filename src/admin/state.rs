//! What all endpoints stand on.

use std::sync::Arc;

use secrecy::SecretString;
use tokio::sync::{mpsc, watch};

use super::command::AdminCommand;
use crate::telemetry::heartbeat::Heartbeat;
use crate::telemetry::mend::Mends;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::snapshot::Snapshot;

/// What the endpoints share with the worker's loop.
#[derive(Clone, Debug)]
pub struct AdminState {
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub metrics: Arc<Metrics>,
    pub heartbeat: Heartbeat,
    pub mends: Mends,
    pub commands: mpsc::Sender<AdminCommand>,
    /// `admin.token`; without it nothing can be changed.
    pub token: Option<SecretString>,
}
