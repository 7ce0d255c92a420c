//! A line of the input while its job is in hand.

use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use smallvec::SmallVec;
use tokio::sync::OwnedSemaphorePermit;

use crate::cli::jobs_file::columns::Cells;
use crate::contract::job::Ask;
use crate::contract::journal::JobName;
use crate::contract::outcome::Head;

/// A line in hand, and its room.
#[derive(Debug)]
pub struct HeldLine {
    pub head: Head,
    pub origin: Origin,
    /// A request that may have changed something for it has left.
    is_sent: AtomicBool,
    /// For the job and for its bytes.
    _room: [OwnedSemaphorePermit; 2],
}

impl HeldLine {
    pub fn new(head: Head, origin: Origin, room: [OwnedSemaphorePermit; 2]) -> Self {
        Self { head, origin, is_sent: AtomicBool::new(false), _room: room }
    }

    /// Notes that a request has left for it; `true` for the first one.
    pub fn is_first_sent(&self) -> bool {
        !self.is_sent.swap(true, Ordering::Relaxed)
    }

    pub fn is_sent(&self) -> bool {
        self.is_sent.load(Ordering::Relaxed)
    }

    /// What people call the job, in the journal; there is no message and so no correlation id.
    pub fn job_name(&self) -> JobName {
        JobName { id: self.head.job_id.clone(), group: self.head.group.clone(), correlation_id: None }
    }
}

/// What a report tells of a job beside its outcome.
#[derive(Clone, Default, Debug)]
pub struct Origin {
    /// Of the input, counted from 1.
    pub line: u64,
    /// Of its pairs, those that a row before asks for too.
    pub repeated: u64,
    /// What was asked for by a job that no account may do; empty for all others, whose errors tell it.
    pub rejected: SmallVec<[Ask; 1]>,
    pub not_after: Option<Timestamp>,
    /// Of a row of CSV that is no job.
    pub cells: Option<Box<Cells>>,
}
