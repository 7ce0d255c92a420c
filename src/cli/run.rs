//! `run`: the service.

use std::path::Path;
use std::process::ExitCode;

use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::admin_call::reachable;
use super::exit::Failure;
use super::signals::{self, FirstWords};
use crate::amqp::connection::ConnectFault;
use crate::amqp::edges::StartFault;
use crate::config::{AccountSettings, Settings};
use crate::contract::as_set::AsSet;
use crate::worker::service::{self, Ended, StartError};

/// Runs until a signal asks it to stop; a second one stops it at once.
pub fn run(config: Option<&Path>) -> Result<ExitCode, Failure> {
    let settings = Settings::load(config)?;
    super::start_logging(&settings)?;
    let runtime = Runtime::new().map_err(|error| Failure::Running(format!("no runtime: {error}")))?;
    let ended = runtime.block_on(async {
        let stop = CancellationToken::new();
        let last_words =
            || tracing::warn!("second signal: stopping at once; what is not answered will be delivered again");
        signals::stop_on_signals(stop.clone(), FirstWords::Logged, last_words)
            .map_err(|error| Failure::Running(format!("no signals: {error}")))?;
        Box::pin(service::run(&settings, stop, || announce(&settings))).await.map_err(|error| match error {
            StartError::Settings(error) => Failure::from(error),
            StartError::Broker(StartFault::Connect(fault @ ConnectFault::Settings { .. })) => {
                Failure::Usage(fault.to_string())
            }
            StartError::Broker(error) => Failure::Running(error.to_string()),
            StartError::Listen(_) | StartError::Traces(_) => Failure::Running(error.to_string()),
        })
    });
    // The broker's library keeps threads that must not outlive what they use.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match ended? {
        Ended::Drained => Ok(ExitCode::SUCCESS),
        Ended::LoopFailed => Err(Failure::Running(
            "the worker's loop ended by itself, which is a fault of this program: see the messages above, and report it; \
             what is not answered will be delivered again"
                .to_owned(),
        )),
        Ended::GraceExpired(unfinished) => Err(Failure::Running(format!(
            "shutdown.grace ({}) is over and not everything has ended: {unfinished}; the jobs concerned will be \
             delivered again",
            AsSet(settings.shutdown.grace)
        ))),
    }
}

/// Accounts named one by one.
const MAX_NAMED_ACCOUNTS: usize = 10;

/// The first line: who starts, for which accounts, between which queues, and where to look.
fn announce(settings: &Settings) {
    let version = env!("VERSION_WITH_COMMIT");
    let page = format!("http://{}/", reachable(settings.admin.listen));
    let amqp = &settings.amqp;
    let (jobs, results, dead_letters) =
        (amqp.jobs_queue.as_str(), amqp.results_queue.as_str(), amqp.dead_letter_queue.as_str());
    let accounts = settings.hubspot.accounts().unwrap_or_default();
    let name = |account: &AccountSettings| {
        account.portal_id.map_or_else(|| "one without portal id".to_owned(), |id| id.to_string())
    };
    let named: Vec<String> = accounts.iter().take(MAX_NAMED_ACCOUNTS).map(name).collect();
    let (accounts, portals) = (accounts.len(), named.join(", "));
    tracing::info!(version, page, jobs, results, dead_letters, accounts, portals, "association-archiver starts");
}
