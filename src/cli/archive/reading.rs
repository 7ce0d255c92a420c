//! Lines in, as long as there is room.

use std::sync::Arc;

use indicatif::ProgressBar;
use jiff::Timestamp;
use smallvec::SmallVec;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::answers::{Output, Rejected};
use super::held::{HeldLine, Origin};
use super::resume::Resume;
use super::unanswered::Tally;
use crate::cli::jobs_file::columns::Cells;
use crate::cli::jobs_file::rows::{LeftOut, RowFault, RowJob, Rows, RowsFault};
use crate::cli::jobs_file::source::Input;
use crate::cli::jobs_file::survey::{REPEATED, Repeats};
use crate::cli::output::remark;
use crate::cli::way_back::lag_in_words;
use crate::contract::action::Action;
use crate::contract::grouped::Grouped;
use crate::contract::ids::AccountIndex;
use crate::contract::job::{Job, Malformed};
use crate::contract::refusal::Refusal;
use crate::engine::command::NewJob;
use crate::shards::Generation;
use crate::telemetry::progress;
use crate::worker::accounts::Portals;
use crate::worker::lines;
use crate::worker::seams::Arrival;

/// Jobs in hand at most, as the service's default prefetch.
const MAX_HELD_JOBS: usize = 10_000;

/// Bytes in hand at most, in KiB: 256 MiB.
const MAX_HELD_KIB: u32 = 256 * 1024;

/// Jobs given to the loop together at most.
const BUNDLE: usize = 256;

/// Bounds what is in hand.
#[derive(Clone, Debug)]
pub struct Room {
    jobs: Arc<Semaphore>,
    kib: Arc<Semaphore>,
}

impl Default for Room {
    fn default() -> Self {
        Self { jobs: Arc::new(Semaphore::new(MAX_HELD_JOBS)), kib: Arc::new(Semaphore::new(MAX_HELD_KIB as usize)) }
    }
}

/// See the module.
pub struct Reading {
    pub portals: Portals,
    pub tally: Arc<Tally>,
    pub resume: Resume,
    pub repeats: Repeats,
    pub output: mpsc::Sender<Output>,
    pub bar: ProgressBar,
    pub arrivals: mpsc::Sender<Arrival<HeldLine>>,
    pub room: Room,
    /// Whether the rows were read before, so that what there was to say of them was said.
    pub is_surveyed: bool,
    /// Whether it was said what a restoration may wait for.
    pub lag_is_said: bool,
}

/// What was read to its end, but for the jobs.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    jobs: u64,
    done_before: u64,
    /// Pairs that an earlier row asks for, too.
    repeated: u64,
    left_out: LeftOut,
}

impl Read {
    /// Says what is worth knowing, on stderr.
    pub fn say(self) {
        let Self { jobs: _, done_before, repeated, left_out } = self;
        for (count, what) in [(done_before, "jobs left out because they were done before"), (repeated, REPEATED)] {
            if count > 0 {
                remark(&format!("{what}: {}", Grouped(count)));
            }
        }
        left_out.in_words().for_each(|line| remark(&line));
    }

    /// Whether no row stands for a job, or was meant to. That none is answered does not say so.
    pub fn has_no_jobs(self) -> bool {
        self.jobs == 0
    }

    /// Whether there was no row at all, but for blank ones and those without ids.
    pub fn is_empty(self) -> bool {
        self.jobs + self.done_before + self.left_out.telling() == 0
    }
}

impl Reading {
    /// `None`: nobody takes what is read any more.
    pub async fn run(mut self, mut rows: Rows<Input>) -> Result<Option<Read>, RowsFault> {
        let mut bundle: Vec<(NewJob, HeldLine)> = Vec::new();
        let mut read = Read { jobs: 0, done_before: 0, repeated: 0, left_out: LeftOut::default() };
        loop {
            let Some(row) = self.without_holding_up(rows.next(), &mut bundle).await else { return Ok(None) };
            let row = match row {
                Ok(Some(row)) => row,
                Ok(None) => break,
                Err(fault) => {
                    // What stands before the fault is answered all the same.
                    self.hand_over(&mut bundle).await;
                    return Err(fault);
                }
            };
            if !std::mem::replace(&mut self.is_surveyed, true) {
                rows.doubts().iter().for_each(|doubt| remark(doubt));
            }
            let mut repeated = 0;
            if let Ok(RowJob { job, .. }) = &row.job {
                if self.resume.leaves_out(job) {
                    read.done_before += 1;
                    continue;
                }
                if job.action != Action::Archive && !job.dry_run && !std::mem::replace(&mut self.lag_is_said, true) {
                    remark(&lag_in_words());
                }
                if self.portals.resolve(job.portal).is_ok() {
                    repeated = self.repeats.of(job);
                }
            }
            read.repeated += repeated;
            if read.jobs == 0 {
                // Not before: whoever writes into the pipe may have something to say first.
                progress::show(&self.bar);
            }
            read.jobs += 1;
            self.tally.read(row.line);
            let goes_on = match row.job {
                Ok(RowJob { body, job }) => {
                    let account = rows.account_of(&job, &self.portals);
                    self.admit((job, account), body.len(), (row.line, repeated), &mut bundle).await
                }
                Err(fault) => self.reject(fault, row.line, row.cells).await,
            };
            if !goes_on || (bundle.len() >= BUNDLE && !self.hand_over(&mut bundle).await) {
                return Ok(None);
            }
        }
        self.tally.read_to_end();
        read.left_out = rows.left_out();
        self.hand_over(&mut bundle).await;
        Ok(Some(read))
    }

    async fn admit(
        &self,
        (job, account): (Job, Result<AccountIndex, Refusal>),
        bytes: usize,
        (line, repeated): (u64, u64),
        bundle: &mut Vec<(NewJob, HeldLine)>,
    ) -> bool {
        let rejected = if account.is_err() { job.asks.clone() } else { SmallVec::new() };
        let origin = Origin { line, repeated, rejected, not_after: job.not_after, cells: None };
        match lines::take(job, bytes, account, Timestamp::now()) {
            Ok((job, head)) => {
                let Some((of_job, of_bytes)) = self.room(job.weight, bundle).await else { return false };
                bundle.push((job, HeldLine::new(head, origin, [of_job, of_bytes])));
                true
            }
            Err(outcome) => {
                self.output.send(Output::Rejected(Box::new(Rejected { outcome: *outcome, origin }))).await.is_ok()
            }
        }
    }

    async fn reject(&self, fault: RowFault, line: u64, cells: Option<Box<Cells>>) -> bool {
        let malformed = match fault {
            RowFault::Job(malformed) => *malformed,
            RowFault::Encoding(message) => Malformed::unreadable(format!("the line {message}")),
        };
        let origin = Origin { line, cells, ..Origin::default() };
        let Some(outcome) = lines::reject(malformed, line, Timestamp::now()) else { return true };
        self.output.send(Output::Rejected(Box::new(Rejected { outcome, origin }))).await.is_ok()
    }

    /// Waits for the next line, but not with jobs in the bundle that could be sent meanwhile. `None`: the loop is gone.
    async fn without_holding_up<T>(
        &self,
        next: impl Future<Output = T>,
        bundle: &mut Vec<(NewJob, HeldLine)>,
    ) -> Option<T> {
        let mut next = std::pin::pin!(next);
        if let Some(ready) = futures_util::FutureExt::now_or_never(next.as_mut()) {
            return Some(ready);
        }
        if !self.hand_over(bundle).await {
            return None;
        }
        Some(next.await)
    }

    /// Room for one more job; what is in the bundle goes ahead if there is none at once.
    async fn room(
        &self,
        weight: usize,
        bundle: &mut Vec<(NewJob, HeldLine)>,
    ) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let kib = u32::try_from(weight / 1024 + 1).unwrap_or(u32::MAX).min(MAX_HELD_KIB);
        let (jobs, bytes) = (Arc::clone(&self.room.jobs), Arc::clone(&self.room.kib));
        if let (Ok(job), Ok(bytes)) =
            (Arc::clone(&jobs).try_acquire_owned(), Arc::clone(&bytes).try_acquire_many_owned(kib))
        {
            return Some((job, bytes));
        }
        if !self.hand_over(bundle).await {
            return None;
        }
        Some((jobs.acquire_owned().await.ok()?, bytes.acquire_many_owned(kib).await.ok()?))
    }

    async fn hand_over(&self, bundle: &mut Vec<(NewJob, HeldLine)>) -> bool {
        let jobs = std::mem::take(bundle);
        jobs.is_empty() || self.arrivals.send(Arrival::Jobs { generation: Generation::shared(0), jobs }).await.is_ok()
    }
}
