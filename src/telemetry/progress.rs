//! The line of progress on a terminal. Whatever else is written there stands above it, on lines of its own.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::ProgressBar;

/// How often it is drawn anew.
const TICK: Duration = Duration::from_millis(200);

/// A process has one terminal, and so one line of progress at a time.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Draws this bar from now on, until [`end`].
pub fn show(bar: &ProgressBar) {
    bar.enable_steady_tick(TICK);
    *shown() = Some(bar.clone());
}

/// Takes the line away, if there is one.
pub fn end() {
    let ended = shown().take();
    if let Some(bar) = ended {
        bar.finish_and_clear();
    }
}

/// Writes to the terminal while the line is away. What is written must end with a line feed, and must not call this.
pub fn beside<T>(write: impl FnOnce() -> T) -> T {
    let bar = shown().clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

fn shown() -> MutexGuard<'static, Option<ProgressBar>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}
