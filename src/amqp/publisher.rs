//! Publishing with proof: nothing counts as published until the broker has confirmed it and sent nothing back.
//!
//! What cannot be published now is tried again, under the same ids, without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::message::Deposit;
use super::publishing_task::PublishingTask;
use super::reports::Reports;

pub use super::publishing_task::Wiring;
pub use super::reports::Report;

/// Publishing tasks, each with a confirm channel. Two are enough to keep the broker busy.
const TASKS: usize = 2;
/// Takes answers and loses none.
#[derive(Debug)]
pub struct Publisher {
    inboxes: Vec<mpsc::UnboundedSender<Vec<Deposit>>>,
    next: AtomicUsize,
    reports: Arc<Reports>,
    tasks: JoinSet<()>,
    dropping: CancellationToken,
}

impl Publisher {
    pub fn start(wiring: &Wiring) -> Self {
        let dropping = CancellationToken::new();
        let reports = Arc::new(Reports::new(&wiring.health));
        let mut tasks = JoinSet::new();
        let inboxes = (0..TASKS)
            .map(|_| {
                let (sender, inbox) = mpsc::unbounded_channel();
                let task = PublishingTask::new(inbox, wiring.clone(), Arc::clone(&reports));
                let dropping = dropping.clone();
                tasks.spawn(async move {
                    dropping.run_until_cancelled(Box::pin(task.run())).await;
                });
                sender
            })
            .collect();
        Self { inboxes, next: AtomicUsize::new(0), reports, tasks, dropping }
    }

    /// Takes the answers to publish them; one list of many costs less than many lists. Waits only while too many
    /// answers are not reported yet (131,070).
    pub async fn publish(&self, answers: Vec<Deposit>) {
        self.publish_on(self.next.fetch_add(1, Ordering::Relaxed) % TASKS, answers).await;
    }

    /// Publishes these answers after all that was published in order before, so that what goes to one queue arrives
    /// there in this order.
    pub async fn publish_in_order(&self, answers: Vec<Deposit>) {
        self.publish_on(0, answers).await;
    }

    async fn publish_on(&self, task: usize, answers: Vec<Deposit>) {
        let Some(inbox) = self.inboxes.get(task) else { return };
        if self.reports.expect(answers.len()).await {
            // A task ends only after its sender.
            let _ = inbox.send(answers);
        }
    }

    /// Answers taken and not yet reported.
    pub fn waiting(&self) -> usize {
        self.reports.expected()
    }

    /// Waits until there is something to report. Cancel-safe.
    pub async fn report(&self) -> Report {
        self.reports.take().await
    }

    /// Publishes all that was given, then closes. What is left when `patience` ends is dropped, and its deliveries come
    /// again. Returns what was not reported before.
    pub async fn close(mut self, patience: Duration) -> Report {
        self.inboxes.clear();
        let finished = timeout(patience, async { while self.tasks.join_next().await.is_some() {} }).await;
        if finished.is_err() {
            self.dropping.cancel();
            self.tasks.shutdown().await;
        }
        self.reports.take_now()
    }
}
