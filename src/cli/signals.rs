//! What signals do to a command that has something to finish.
//!
//! | signal | what it does |
//! |---|---|
//! | TERM, INT, QUIT | the first asks for an orderly end, the second ends at once |
//! | HUP, as when a terminal is closed | asks for an orderly end, however often it comes; nothing under `nohup` |
//! | USR1, USR2, ALRM, IO, PIPE | nothing |

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::output::remark;
use crate::telemetry::progress;

/// The file in which Linux says which signals whoever started the process told it to ignore.
const PROCESS_STATUS: &str = "/proc/self/status";

/// What is said at the first signal that asks for an end.
#[derive(Clone, Copy, Debug)]
pub enum FirstWords {
    /// By the service: in its log.
    Logged,
    /// By a command, to whoever has interrupted it: what it finishes before it ends.
    Said(&'static str),
    /// By one that ends at once: nothing.
    None,
}

impl FirstWords {
    fn say(self, signal: &str) {
        match self {
            Self::Logged => tracing::info!(signal, "stopping: finishing what is in flight"),
            Self::Said(first) => remark(&format!("stopping ({signal}): {first}; a second signal ends it at once")),
            Self::None => {}
        }
    }
}

/// Cancels `stop` at the first signal that asks for an end; at the second the process has its last words and exits
/// with 1.
pub fn stop_on_signals(
    stop: CancellationToken,
    first_words: FirstWords,
    last_words: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    ignore_what_asks_for_nothing()?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut quit = signal(SignalKind::quit())?;
    let mut hangup = if hangups_are_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
    tokio::spawn(async move {
        let mut impatient = false;
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                _ = quit.recv() => "SIGQUIT",
                () = hung_up(&mut hangup) => "SIGHUP",
            };
            // A closed terminal sends more than one of these, and systemd one beside SIGTERM: nobody is impatient.
            let asks_politely = name == "SIGHUP";
            if impatient && !asks_politely {
                progress::end();
                last_words();
                std::process::exit(1);
            }
            impatient |= !asks_politely;
            if !stop.is_cancelled() {
                first_words.say(name);
                stop.cancel();
            }
        }
    });
    Ok(())
}

/// Each of these would end the process in the middle of its work. Once the runtime listens to a signal, the signal has
/// no other effect; nobody need take what the runtime has heard. The standard library has seen to SIGPIPE.
fn ignore_what_asks_for_nothing() -> io::Result<()> {
    for kind in [SignalKind::user_defined1(), SignalKind::user_defined2(), SignalKind::alarm(), SignalKind::io()] {
        signal(kind).map(drop)?;
    }
    Ok(())
}

async fn hung_up(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => {
            hangup.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Started by `nohup`, which wants the process to outlive its terminal.
fn hangups_are_ignored() -> bool {
    let status = std::fs::read_to_string(PROCESS_STATUS).unwrap_or_default();
    ignored(&status).is_some_and(|mask| mask & 1 << (SignalKind::hangup().as_raw_value() - 1) != 0)
}

/// The line `SigIgn`: signal 1 is the lowest bit.
fn ignored(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ignored_signals_are_read_from_the_process_status() {
        assert_eq!(ignored("Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n"), Some(0x1001));
        assert_eq!(ignored("Name:\tx\n"), None);
    }
}
