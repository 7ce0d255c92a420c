//! The service: everything started in order, one loop in the middle, everything stopped in order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::accounts::Portals;
use super::calls::{self, Calls};
use super::delivery::{self, Delivery, Received};
use super::policy;
use super::policy_loop::{Control, Ends, PolicyLoop};
use super::recent::Recent;
use super::seams::{Arrival, Clock};
use super::watching::LoopWatcher;
use super::{departures, wall_clock::WallClock};
use crate::admin::{self, AdminState};
use crate::amqp::consumer::{Intake, IntakeEvent};
use crate::amqp::edges::{Edges, StartFault};
use crate::amqp::message::Answer;
use crate::config::{Settings, SettingsError};
use crate::contract::job::JobLimits;
use crate::engine::Engine;
use crate::hubspot::client::HubspotClient;
use crate::hubspot::credentials::CredentialStore;

/// How the service ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Everything in flight was finished and answered.
    Drained,
    /// `shutdown.grace` was over first: what was not answered will be delivered again.
    GraceExpired,
}

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Broker(#[from] StartFault),
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

/// Bundles of answers that the intake gives itself (to messages that are no jobs) and that wait to be published.
const MAX_READY_BUNDLES: usize = 16;

/// Bundles of jobs on their way to the loop, each of at most 256.
const MAX_ARRIVALS: usize = 16;

/// Operators' wishes waiting for the loop.
const MAX_CONTROLS: usize = 16;

/// At least so long is left for publishing the last answers, however long the requests took.
const LEAST_TIME_TO_PUBLISH: Duration = Duration::from_secs(5);
