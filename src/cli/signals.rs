//! SIGTERM and SIGINT: the first asks for an orderly end, the second ends at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancels `stop` at the first signal; at the second the process has its last words and exits with 1.
pub fn stop_on_signals(stop: CancellationToken, last_words: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let mut last_words = Some(last_words);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if !first {
                if let Some(last_words) = last_words.take() {
                    last_words();
                }
                std::process::exit(1);
            }
            tracing::info!("stopping: finishing what is in flight");
            stop.cancel();
        }
    });
    Ok(())
}
