//! How many jobs to have in hand at a time, where large ones would fill the memory.
//!
//! The broker delivers as many as it may, whatever their size, and cannot be told otherwise before they are on their
//! way. So a subscription begins with as few as fit if all are as large as jobs may be, and takes more as soon as it
//! has seen that they are small: within a few answers of the broker it has as many as the setting allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::contract::job::expected_weight;

/// What all queues together may have in hand, and how many queues share it.
#[derive(Debug)]
pub struct Shares {
    jobs: u16,
    bytes: u64,
    is_sharded: bool,
    takers: AtomicUsize,
}

/// A queue has its share as long as this value lives.
#[derive(Debug)]
pub(super) struct Taking(Arc<Shares>);

/// In a sharded worker the shared queue has this share (a quarter) of everything, since its jobs are only moved on. The
/// shards have the rest.
const MOVED_SHARE: u16 = 4;

/// Most jobs of the shared queue that are on their way to shards at a time; more would make it no quicker.
const MOST_MOVED: u16 = 1_000;

/// Jobs of the background may have this share of everything, a quarter, beside what the live jobs may have: enough for
/// full requests.
const BACKGROUND_SHARE: u16 = 4;

impl Shares {
    /// The settings `amqp.prefetch` and `amqp.max_held_bytes`.
    pub fn new(jobs: u16, bytes: u64, is_sharded: bool) -> Self {
        Self { jobs, bytes, is_sharded, takers: AtomicUsize::new(0) }
    }

    /// Jobs are taken from one more shard.
    pub(super) fn join(self: &Arc<Self>) -> Taking {
        self.takers.fetch_add(1, Ordering::Relaxed);
        Taking(Arc::clone(self))
    }

    /// Jobs and bytes of the background queue.
    pub fn of_background(&self) -> (u16, u64) {
        ((self.jobs / BACKGROUND_SHARE).max(1), self.bytes / u64::from(BACKGROUND_SHARE))
    }

    /// Jobs and bytes of the shared queue, or of each shard.
    pub fn of(&self, is_shard: bool) -> (u16, u64) {
        let (jobs, bytes) = (self.jobs, self.bytes);
        let (jobs, bytes) = match (self.is_sharded, is_shard) {
            (false, _) => (jobs, bytes),
            (true, false) => ((jobs / MOVED_SHARE).min(MOST_MOVED), bytes / u64::from(MOVED_SHARE)),
            (true, true) => {
                let takers = self.takers.load(Ordering::Relaxed).max(1);
                let (jobs, bytes) = (jobs - jobs / MOVED_SHARE, bytes - bytes / u64::from(MOVED_SHARE));
                (jobs / u16::try_from(takers).unwrap_or(u16::MAX), bytes / takers as u64)
            }
        };
        (jobs.max(1), bytes)
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.0.takers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Deliveries asked of the broker in advance: the setting, or fewer while jobs are large or not yet known.
#[derive(Clone, Copy, Debug)]
pub struct Prefetch {
    ceiling: u16,
    current: u16,
    /// What all queues together may fill.
    max_bytes: u64,
    /// What this one may fill.
    share_bytes: u64,
    /// Since it was last changed or looked at: jobs delivered, and what they weigh.
    seen_jobs: u64,
    seen_bytes: u64,
}

/// The largest job that is expected, as `jobs.max_bytes` has it by default. A larger one is not refused here; it costs
/// memory, and lowers the number.
const LARGEST_JOB_BYTES: usize = 1024 * 1024;

/// Each step multiplies the number by this at most.
const STEEPEST: u16 = 4;

impl Prefetch {
    /// `ceiling`: the setting `amqp.prefetch`; `max_bytes`: the setting `amqp.max_held_bytes`.
    pub fn new(ceiling: u16, max_bytes: u64) -> Self {
        let mut prefetch = Self {
            ceiling: ceiling.max(1),
            current: 1,
            max_bytes,
            share_bytes: max_bytes,
            seen_jobs: 0,
            seen_bytes: 0,
        };
        prefetch.current = prefetch.fitting(expected_weight(LARGEST_JOB_BYTES) as u64);
        prefetch
    }

    /// The same with all that the share allows from the beginning, where the number must not change while jobs come in.
    pub fn steady((jobs, bytes): (u16, u64), max_bytes: u64) -> Self {
        Self { current: jobs.max(1), share_bytes: bytes, ..Self::new(jobs, max_bytes) }
    }

    pub fn current(&self) -> u16 {
        self.current
    }

    /// From now on this is the queue's share. Returns true where fewer jobs must be asked for than are asked for now.
    pub fn limit(&mut self, (jobs, bytes): (u16, u64)) -> bool {
        (self.ceiling, self.share_bytes) = (jobs.max(1), bytes);
        let is_less = self.current > self.ceiling;
        if is_less {
            self.current = self.ceiling;
            self.forget();
        }
        is_less
    }

    pub fn is_overfull(&self, held_bytes: u64) -> bool {
        held_bytes > self.max_bytes
    }

    /// True when enough has been settled to take in more.
    pub fn is_relieved(&self, held_bytes: u64) -> bool {
        held_bytes <= self.max_bytes / 2
    }

    /// Jobs came in.
    pub fn saw(&mut self, jobs: u64, bytes: u64) {
        self.seen_jobs += jobs;
        self.seen_bytes += bytes;
    }

    /// Lowers the number, at least to a half. Jobs as large as those in hand then fill no more than half of the bytes
    /// allowed.
    pub fn lower(&mut self, held_jobs: u64, held_bytes: u64) {
        self.current = self.fitting(held_bytes / held_jobs.max(1)).min(self.current / 2).max(1);
        self.forget();
    }

    /// How many more jobs to ask for; `None` until most of the present number has come in, or is in hand, since only
    /// then the size of jobs is known. It is never just a few more, because each change takes another consumer.
    pub fn raise(&mut self, held_jobs: u64, held_bytes: u64) -> Option<u16> {
        let (jobs, bytes) = if self.is_most(self.seen_jobs) {
            (self.seen_jobs, self.seen_bytes)
        } else if self.is_most(held_jobs) {
            (held_jobs, held_bytes)
        } else {
            return None;
        };
        let fitting = self.fitting(bytes / jobs.max(1));
        self.forget();
        let next = fitting.min(self.current.saturating_mul(STEEPEST));
        let worth_it = next >= self.current.saturating_mul(2) || next == self.ceiling;
        let more = next.checked_sub(self.current).filter(|more| *more > 0 && worth_it)?;
        self.current = next;
        Some(more)
    }

    fn is_most(&self, jobs: u64) -> bool {
        jobs.saturating_mul(4) >= u64::from(self.current).saturating_mul(3)
    }

    /// As many jobs of this size as fill half of what is allowed.
    fn fitting(&self, job_bytes: u64) -> u16 {
        let fitting = u16::try_from(self.share_bytes / 2 / job_bytes.max(1)).unwrap_or(u16::MAX);
        fitting.clamp(1, self.ceiling)
    }

    fn forget(&mut self) {
        (self.seen_jobs, self.seen_bytes) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// Asks for more until it has all that it will get of jobs of this size: each number on the way.
    fn steps(prefetch: &mut Prefetch, job_bytes: u64) -> Vec<u16> {
        let mut steps = vec![prefetch.current()];
        loop {
            let jobs = u64::from(prefetch.current());
            prefetch.saw(jobs, jobs * job_bytes);
            match prefetch.raise(0, 0) {
                Some(_) => steps.push(prefetch.current()),
                None => return steps,
            }
        }
    }

    #[test]
    fn small_jobs_raise_it_to_the_setting_in_a_few_steps() {
        assert_eq!(steps(&mut Prefetch::new(10_000, 256 * MIB), 4_000), [50, 200, 800, 3_200, 10_000]);
        assert_eq!(steps(&mut Prefetch::new(7, 256 * MIB), 4_000), [7]);
    }

    #[test]
    fn large_jobs_hold_it_down_and_lower_it() {
        let mut prefetch = Prefetch::new(10_000, 256 * MIB);
        assert_eq!(steps(&mut prefetch, 2 * MIB), [50], "64 would fit, which is not worth another consumer");
        assert_eq!(steps(&mut prefetch, MIB / 4), [50, 200, 512]);
        assert!(prefetch.is_overfull(257 * MIB) && !prefetch.is_overfull(256 * MIB));
        prefetch.lower(257, 257 * MIB);
        assert_eq!(prefetch.current(), 128);
        assert!(!prefetch.is_relieved(129 * MIB) && prefetch.is_relieved(128 * MIB));
        assert_eq!(steps(&mut prefetch, 4_000).last(), Some(&10_000), "they are small again");
    }

    #[test]
    fn queues_share_what_one_worker_may_have_in_hand() {
        let alone = Shares::new(10_000, 256 * MIB, false);
        assert_eq!(alone.of(false), (10_000, 256 * MIB));
        let shares = Arc::new(Shares::new(10_000, 256 * MIB, true));
        assert_eq!((shares.of(false), shares.of(true)), ((1_000, 64 * MIB), (7_500, 192 * MIB)));
        let taking: Vec<Taking> = (0..12).map(|_| shares.join()).collect();
        assert_eq!(shares.of(true), (625, 16 * MIB));
        let mut prefetch = Prefetch::new(10_000, 256 * MIB);
        assert!(!prefetch.limit(shares.of(true)), "it begins below");
        assert_eq!(steps(&mut prefetch, 4_000), [50, 200, 625]);
        drop(taking);
        assert!(!prefetch.limit(shares.of(true)));
        assert_eq!(steps(&mut prefetch, 4_000), [625, 2_500, 7_500]);
        assert!(prefetch.limit((625, 16 * MIB)));
        let mut steady = Prefetch::steady(shares.of(false), 256 * MIB);
        assert!(!steady.limit(shares.of(false)));
        assert_eq!(steps(&mut steady, 4_000), [1_000], "it has all from the beginning");
        assert_eq!((prefetch.current(), Shares::new(1, 1, true).of(true)), (625, (1, 1)));
    }

    #[test]
    fn what_is_in_hand_counts_where_nothing_more_can_come() {
        let mut prefetch = Prefetch::new(10_000, 256 * MIB);
        prefetch.saw(30, 30 * 4_000);
        assert_eq!(prefetch.raise(37, 37 * 4_000), None);
        assert_eq!(prefetch.raise(50, 50 * 4_000), Some(150));
        assert_eq!(prefetch.raise(200, 200 * 2 * MIB), None, "those in hand are large");
    }

    #[test]
    fn one_job_at_a_time_is_always_possible() {
        let mut prefetch = Prefetch::new(4, 1);
        prefetch.lower(1, 100 * MIB);
        assert_eq!(prefetch.current(), 1);
        assert_eq!(Prefetch::new(0, 1).current(), 1);
    }

    proptest! {
        /// Whatever comes, no raise asks for more than fits if the next jobs are like the last ones, and the setting
        /// holds.
        #[test]
        fn it_stays_below_the_setting_and_what_fits(
            ceiling in 1..=u16::MAX,
            max_bytes in 1..1024 * MIB,
            jobs in prop::collection::vec(1..4 * MIB, 1..200),
        ) {
            let mut prefetch = Prefetch::new(ceiling, max_bytes);
            for bytes in jobs {
                let number = u64::from(prefetch.current());
                prefetch.saw(number, number * bytes);
                let before = prefetch.current();
                if let Some(more) = prefetch.raise(0, 0) {
                    prop_assert_eq!(prefetch.current(), before + more);
                    prop_assert!(u64::from(prefetch.current()) * bytes <= max_bytes / 2);
                }
                prop_assert!((1..=ceiling).contains(&prefetch.current()));
            }
        }
    }
}
