//! The runtime of a command that ends by itself.

use std::time::Duration;

use tokio::runtime::Runtime;

use super::exit::Failure;

/// The broker's library keeps threads that must not outlive what they use.
const LAST_MOMENTS: Duration = Duration::from_secs(1);

/// Runs the command's work to its end.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = Runtime::new().map_err(|error| Failure::Running(format!("no runtime: {error}")))?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_MOMENTS);
    done
}
