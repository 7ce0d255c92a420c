//! Jobs that keep coming while things break.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use harness::{Client, Message, job};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::stage::JOBS;

/// Jobs that share a `from` record.
const SIBLINGS: u64 = 4;

/// How often a wave goes out.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// 800 jobs a second, for cases of seconds.
    Brisk,
    /// 200 jobs a second, for cases of many minutes.
    Steady,
    /// 4,000 jobs a second at most, or as many as broker and worker can take.
    Flood,
}

impl Pace {
    fn every(self) -> Duration {
        match self {
            Self::Brisk => Duration::from_millis(60),
            Self::Steady => Duration::from_millis(250),
            Self::Flood => Duration::from_millis(100),
        }
    }

    /// Jobs published together.
    pub fn wave(self) -> u64 {
        match self {
            Self::Brisk | Self::Steady => 50,
            Self::Flood => 400,
        }
    }
}

/// Publishes numbered jobs, wave after wave, by a connection of its own; each asks for a pair that no other asks for.
#[derive(Debug)]
pub struct Traffic {
    wanted: Arc<AtomicU64>,
    published: Arc<AtomicU64>,
    publishing: JoinHandle<Result<u64>>,
}

impl Traffic {
    pub fn start(uri: &str, pace: Pace) -> Self {
        let (wanted, published) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::<AtomicU64>::default());
        let work = publish(Client::new(uri), pace, Arc::clone(&wanted), Arc::clone(&published));
        Self { wanted, published, publishing: tokio::spawn(work) }
    }

    /// Jobs confirmed by the broker so far.
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Ends with the wave that brings the number of jobs to `at_least`; returns how many there were.
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

/// Numbered jobs on one lane, each with a `from` record of its own, so that a full request has a hundred.
pub fn lone_jobs(numbers: std::ops::Range<u64>) -> Result<Vec<Message>> {
    numbers.map(|number| job(&id(number)).pair(1 + number, 1).to_message()).collect()
}

fn message(number: u64) -> Result<Message> {
    let family = number / SIBLINGS;
    let (from, to) = if family.is_multiple_of(2) { ("contacts", "companies") } else { ("deals", "tickets") };
    job(&id(number)).types(from, to).pair(1 + family, 1 + number % SIBLINGS).to_message()
}

async fn publish(client: Client, pace: Pace, wanted: Arc<AtomicU64>, so_far: Arc<AtomicU64>) -> Result<u64> {
    let mut waves = interval(pace.every());
    waves.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut published = 0;
    while published < wanted.load(Ordering::Relaxed) {
        waves.tick().await;
        client.publish(JOBS, jobs(published..published + pace.wave())?).await?;
        published += pace.wave();
        so_far.store(published, Ordering::Relaxed);
    }
    Ok(published)
}
