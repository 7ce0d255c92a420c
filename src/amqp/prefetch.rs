//! How many jobs to have in hand at a time, where large ones would fill the memory.
//!
//! The broker delivers as many as it may, whatever their size, and cannot be told otherwise before they are on their way.
//! So a subscription begins with as few as fit if all are as large as jobs may be, and takes more as soon as it has seen
//! that they are small: within a few answers of the broker it has as many as the setting allows.

use crate::contract::job::expected_weight;

/// Deliveries asked of the broker in advance: the setting, or fewer while jobs are large or not yet known.
#[derive(Clone, Copy, Debug)]
pub struct Prefetch {
    ceiling: u16,
    current: u16,
    max_bytes: u64,
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
        let mut prefetch = Self { ceiling: ceiling.max(1), current: 1, max_bytes, seen_jobs: 0, seen_bytes: 0 };
        prefetch.current = prefetch.fitting(expected_weight(LARGEST_JOB_BYTES) as u64);
        prefetch
    }

    pub fn current(&self) -> u16 {
        self.current
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

    /// How many more to ask for, once most of the present number has come in, or is in hand, and turned out small enough.
    /// Never a few: each time costs a consumer.
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
        let fitting = u16::try_from(self.max_bytes / 2 / job_bytes.max(1)).unwrap_or(u16::MAX);
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
        /// Whatever comes, no raise asks for more than fits if the next jobs are like the last ones, and the setting holds.
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
