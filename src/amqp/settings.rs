//! What the broker's edges need of the settings.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

/// The section `amqp` of the settings.
#[derive(Clone, Debug)]
pub struct AmqpSettings {
    pub uri: SecretString,
    /// Unacknowledged jobs held at most.
    pub prefetch: u16,
    /// Bytes of unacknowledged jobs held at most, give or take what is already on its way.
    pub max_held_bytes: u64,
    /// At start only: an unreachable broker is given up after this time.
    pub connect_timeout: Duration,
    pub ca_file: Option<PathBuf>,
    pub client_cert_file: Option<PathBuf>,
    pub client_key_file: Option<PathBuf>,
    /// False: the topology is only checked.
    pub declare_topology: bool,
    pub jobs_queue: String,
    pub exchange: String,
    pub results_queue: String,
    pub dead_letter_queue: String,
}
