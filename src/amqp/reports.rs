//! What the publishing tasks report of answers, collected for whoever gave the answers.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, Semaphore};

use super::complaints::Complaints;
use super::health::Health;
use super::message::Deposit;

/// Answers taken and not yet reported: two full prefetches, so that the worker waits only if answers of a lost
/// subscription pile up behind a blocked connection.
const MAX_WAITING: u32 = 2 * 65_535;

/// What has become of answers since last asked.
#[derive(Debug, Default)]
pub struct Report {
    /// Safe with the broker, their deliveries on their way to be acknowledged.
    pub published: Vec<Deposit>,
    /// Answers that were not published, or of which that is not known. Their deliveries were lost with their
    /// subscription: they come again, and are answered anew.
    pub stale: Vec<Deposit>,
}

impl Report {
    pub fn is_empty(&self) -> bool {
        self.published.is_empty() && self.stale.is_empty()
    }

    fn len(&self) -> usize {
        self.published.len() + self.stale.len()
    }
}

/// Collects what the tasks report without ever making them wait.
#[derive(Debug)]
pub(super) struct Reports {
    report: Mutex<Report>,
    arrived: Notify,
    room: Semaphore,
    health: Arc<Health>,
    /// What the tasks have said of messages that cannot be published.
    pub(super) complaints: Complaints,
}

impl Reports {
    pub(super) fn new(health: &Arc<Health>) -> Self {
        let room = Semaphore::new(MAX_WAITING as usize);
        Self {
            report: Mutex::default(),
            arrived: Notify::new(),
            room,
            health: Arc::clone(health),
            complaints: Complaints::default(),
        }
    }

    pub(super) fn published(&self, mut answers: Vec<Deposit>) {
        self.add(|report| report.published.append(&mut answers));
    }

    pub(super) fn stale(&self, mut answers: Vec<Deposit>) {
        self.add(|report| report.stale.append(&mut answers));
    }

    /// Announces this many answers, which will be reported. Waits while too many others are not reported yet; `false`
    /// where there are no answers.
    pub(super) async fn expect(&self, answers: usize) -> bool {
        self.health.unpublished.raise(answers);
        let room = u32::try_from(answers).unwrap_or(u32::MAX).min(MAX_WAITING);
        if room == 0 {
            return false;
        }
        // The semaphore is never closed.
        let Ok(permit) = self.room.acquire_many(room).await else { return false };
        permit.forget();
        true
    }

    pub(super) fn expected(&self) -> usize {
        (MAX_WAITING as usize).saturating_sub(self.room.available_permits())
    }

    fn add(&self, add: impl FnOnce(&mut Report)) {
        add(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
        self.arrived.notify_one();
    }

    pub(super) fn take_now(&self) -> Report {
        let report = std::mem::take(&mut *self.report.lock().unwrap_or_else(PoisonError::into_inner));
        self.room.add_permits(report.len());
        self.health.unpublished.lower(report.len());
        report
    }

    /// Waits until there is something to report. Cancel-safe.
    pub(super) async fn take(&self) -> Report {
        loop {
            let report = self.take_now();
            if !report.is_empty() {
                return report;
            }
            self.arrived.notified().await;
        }
    }
}
