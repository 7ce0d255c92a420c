//! Waiting for a condition instead of for a time.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Asks `probe` again and again until it answers `Ok(Some(value))`, and returns that value.
///
/// `Ok(None)` and `Err` both mean "not yet"; the last error is kept as the reason in the failure. A probe that hangs is
/// given up at the deadline as well. `what` finishes the sentence "waited 5s in vain for …".
pub async fn eventually<T>(
    deadline: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    let mut pause = FIRST_PAUSE;
    let mut reason = None;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, probe()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => reason = None,
            Ok(Err(error)) => reason = Some(error),
            Err(_elapsed) => reason = reason.or_else(|| Some(anyhow!("the last look did not return"))),
        }
        if Instant::now() >= end {
            let failure = format!("waited {deadline:?} in vain for {what}");
            return Err(match reason {
                Some(reason) => reason.context(failure),
                None => anyhow!(failure),
            });
        }
        tokio::time::sleep(pause.min(end.saturating_duration_since(Instant::now()))).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
