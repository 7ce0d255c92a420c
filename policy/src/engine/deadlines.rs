//! The times by which jobs must have left: their expiry, and the longest time that a job may stay in hand.
//!
//! The time of a job that has left is not looked for. It is passed over when its turn comes, and swept out when such
//! times outnumber the others, so that a far expiry does not stay for months.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use jiff::Timestamp;

use super::backlog::JobKey;
use super::clock::{Now, Tick};

/// See the module.
#[derive(Debug, Default)]
pub struct Deadlines {
    expiries: BinaryHeap<Reverse<(Timestamp, JobKey)>>,
    /// In the order of admission, and so of the times: every job may stay equally long.
    holds: VecDeque<(Tick, JobKey)>,
}

/// What a job has reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deadline {
    /// It expires: `notAfter` or the property `expiration` says so.
    Expiry,
    /// The longest time in hand: it goes on outside.
    Hold,
}

/// Fewer times than this are not worth a sweep.
const STALE: usize = 64;

impl Deadlines {
    pub fn add_expiry(&mut self, job: JobKey, at: Timestamp) {
        self.expiries.push(Reverse((at, job)));
    }

    pub fn add_hold(&mut self, job: JobKey, until: Tick) {
        self.holds.push_back((until, job));
    }

    /// Takes out a job whose time is up; `in_hand` says whether a job is still there.
    pub fn take_due(&mut self, now: Now, in_hand: impl Fn(JobKey) -> bool) -> Option<(JobKey, Deadline)> {
        while let Some(&Reverse((at, job))) = self.expiries.peek()
            && at <= now.wall
        {
            self.expiries.pop();
            if in_hand(job) {
                return Some((job, Deadline::Expiry));
            }
        }
        while let Some(&(at, job)) = self.holds.front()
            && (at <= now.tick || !in_hand(job))
        {
            self.holds.pop_front();
            if in_hand(job) {
                return Some((job, Deadline::Hold));
            }
        }
        None
    }

    /// When a job must leave next.
    pub fn next(&self, now: Now) -> Option<Tick> {
        let hold = self.holds.front().map(|&(at, _)| at);
        let expiry = self.expiries.peek().map(|&Reverse((at, _))| now.tick_of(at));
        hold.into_iter().chain(expiry).min()
    }

    /// Sweeps out the times of jobs that have left, where they outnumber those of the `jobs` in hand.
    pub fn sweep(&mut self, jobs: usize, in_hand: impl Fn(JobKey) -> bool) {
        let most = jobs * 2 + STALE;
        if self.holds.len() > most {
            self.holds.retain(|&(_, job)| in_hand(job));
        }
        if self.expiries.len() > most {
            self.expiries.retain(|&Reverse((_, job))| in_hand(job));
        }
    }

    /// Jobs that may not stay for ever, in the order of admission; some may have left.
    pub fn in_order_of_admission(&self) -> impl Iterator<Item = JobKey> + '_ {
        self.holds.iter().map(|&(_, job)| job)
    }

    /// Times of jobs that have left, beyond those that are not worth a sweep, provided that no job is in hand.
    pub fn stale(&self) -> usize {
        self.holds.len().max(self.expiries.len()).saturating_sub(STALE)
    }
}
