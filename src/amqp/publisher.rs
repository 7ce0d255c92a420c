//! Publishing with proof: nothing counts as published until the broker has confirmed it and sent nothing back.
//!
//! What cannot be published now is tried again, under the same ids, without end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::acknowledge::Settler;
use super::health::Health;
use super::lane::Lane;
use super::link::Link;
use super::message::Answer;
use super::receipt::CurrentGeneration;
use super::topology::Topology;

pub use super::lane::Published;

/// Confirm channels. Two are enough to keep the broker busy.
const LANES: usize = 2;
/// Answers taken and not yet reported: two full prefetches, so that the worker waits only if answers of a lost
/// subscription pile up behind a blocked connection.
const MAX_WAITING: u32 = 2 * 65_535;

/// What the lanes need in common.
#[derive(Clone, Debug)]
pub struct Wiring {
    pub link: Arc<Link>,
    pub topology: Arc<Topology>,
    pub settler: Settler,
    pub current: CurrentGeneration,
    pub health: Arc<Health>,
}

/// What has become of answers since last asked.
#[derive(Debug, Default)]
pub struct Report {
    /// Safe with the broker, their deliveries on their way to be acknowledged.
    pub published: Vec<Answer>,
    /// Not published, or not surely: their deliveries were lost with their subscription and come again. Whoever
    /// remembers the answer can give the same one.
    pub stale: Vec<Answer>,
}

impl Report {
    pub fn is_empty(&self) -> bool {
        self.published.is_empty() && self.stale.is_empty()
    }

    fn len(&self) -> usize {
        self.published.len() + self.stale.len()
    }
}

/// Takes answers and loses none.
#[derive(Debug)]
pub struct Publisher {
    lanes: Vec<mpsc::UnboundedSender<Vec<Answer>>>,
    next: AtomicUsize,
    reports: Arc<Reports>,
    tasks: JoinSet<()>,
    give_up: CancellationToken,
}

impl Publisher {
    pub fn start(wiring: &Wiring) -> Self {
        let give_up = CancellationToken::new();
        let reports = Arc::new(Reports::new(&wiring.health));
        let mut tasks = JoinSet::new();
        let lanes = (0..LANES)
            .map(|_| {
                let (sender, inbox) = mpsc::unbounded_channel();
                let lane = Lane::new(inbox, wiring.clone(), Arc::clone(&reports));
                let give_up = give_up.clone();
                tasks.spawn(async move {
                    give_up.run_until_cancelled(lane.run()).await;
                });
                sender
            })
            .collect();
        Self { lanes, next: AtomicUsize::new(0), reports, tasks, give_up }
    }

    /// Takes the answers to publish them; one list of many costs less than many lists. Waits only while 131,070 answers
    /// are not reported.
    pub async fn publish(&self, answers: Vec<Answer>) {
        self.reports.health.unpublished.raise(answers.len());
        let Some(lane) = self.lanes.get(self.next.fetch_add(1, Ordering::Relaxed) % LANES) else { return };
        let places = u32::try_from(answers.len()).unwrap_or(u32::MAX).min(MAX_WAITING);
        if places > 0
            && let Ok(permit) = self.reports.places.acquire_many(places).await
        {
            permit.forget();
            // A lane ends only after its sender.
            let _ = lane.send(answers);
        }
    }

    /// Answers taken and not yet reported.
    pub fn waiting(&self) -> usize {
        (MAX_WAITING as usize).saturating_sub(self.reports.places.available_permits())
    }

    /// Waits until there is something to report. Cancel-safe.
    pub async fn report(&self) -> Report {
        self.reports.take().await
    }

    /// Publishes all that was given, then closes; what is left when `patience` ends is given up, and its deliveries
    /// come again. Returns what was not reported before.
    pub async fn close(mut self, patience: Duration) -> Report {
        self.lanes.clear();
        let finished = timeout(patience, async { while self.tasks.join_next().await.is_some() {} }).await;
        if finished.is_err() {
            self.give_up.cancel();
            self.tasks.shutdown().await;
        }
        self.reports.take_now()
    }
}

/// Collects what the lanes report without ever making them wait.
#[derive(Debug)]
pub(super) struct Reports {
    report: Mutex<Report>,
    arrived: Notify,
    places: Semaphore,
    health: Arc<Health>,
}

impl Reports {
    fn new(health: &Arc<Health>) -> Self {
        let places = Semaphore::new(MAX_WAITING as usize);
        Self { report: Mutex::default(), arrived: Notify::new(), places, health: Arc::clone(health) }
    }

    pub(super) fn published(&self, mut answers: Vec<Answer>) {
        self.add(|report| report.published.append(&mut answers));
    }

    pub(super) fn stale(&self, mut answers: Vec<Answer>) {
        self.add(|report| report.stale.append(&mut answers));
    }

    fn add(&self, add: impl FnOnce(&mut Report)) {
        add(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
        self.arrived.notify_one();
    }

    fn take_now(&self) -> Report {
        let report = std::mem::take(&mut *self.report.lock().unwrap_or_else(PoisonError::into_inner));
        self.places.add_permits(report.len());
        self.health.unpublished.lower(report.len());
        report
    }

    async fn take(&self) -> Report {
        loop {
            let report = self.take_now();
            if !report.is_empty() {
                return report;
            }
            self.arrived.notified().await;
        }
    }
}
