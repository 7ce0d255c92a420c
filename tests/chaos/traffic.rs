//! Jobs that keep coming while things break.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use harness::{Client, Message, job};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::stage::JOBS;

/// Jobs published together.
pub const WAVE: u64 = 50;
/// From one wave to the next.
const EVERY: Duration = Duration::from_millis(60);
/// Jobs that share a `from` record.
const SIBLINGS: u64 = 4;

/// Publishes numbered jobs, wave after wave, by a connection of its own; each asks for a pair that no other asks for.
#[derive(Debug)]
pub struct Traffic {
    wanted: Arc<AtomicU64>,
    publishing: JoinHandle<Result<u64>>,
}

impl Traffic {
    pub fn start(uri: &str) -> Self {
        let wanted = Arc::new(AtomicU64::new(u64::MAX));
        let publishing = tokio::spawn(publish(Client::new(uri), Arc::clone(&wanted)));
        Self { wanted, publishing }
    }

    /// Ends with the wave that makes it `at_least` so many jobs; returns how many there were.
    pub async fn finish(self, at_least: u64) -> Result<u64> {
        self.wanted.store(at_least, Ordering::Relaxed);
        self.publishing.await.context("publishing jobs panicked")?
    }
}

/// The id of a numbered job.
pub fn id(number: u64) -> String {
    format!("job-{number}")
}

/// Numbered jobs on two lanes.
pub fn jobs(numbers: std::ops::Range<u64>) -> Result<Vec<Message>> {
    numbers.map(message).collect()
}

fn message(number: u64) -> Result<Message> {
    let family = number / SIBLINGS;
    let (from, to) = if family.is_multiple_of(2) { ("contacts", "companies") } else { ("deals", "tickets") };
    job(&id(number)).types(from, to).pair(1 + family, 1 + number % SIBLINGS).to_message()
}

async fn publish(client: Client, wanted: Arc<AtomicU64>) -> Result<u64> {
    let mut pace = interval(EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut published = 0;
    while published < wanted.load(Ordering::Relaxed) {
        pace.tick().await;
        client.publish(JOBS, jobs(published..published + WAVE)?).await?;
        published += WAVE;
    }
    Ok(published)
}
