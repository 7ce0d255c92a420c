//! How many jobs to have in hand at a time, where large ones would fill the memory.

/// Deliveries asked of the broker in advance: the setting, or fewer while jobs are large.
#[derive(Clone, Copy, Debug)]
pub struct Prefetch {
    ceiling: u16,
    current: u16,
    max_bytes: u64,
}

impl Prefetch {
    /// `ceiling`: the setting `amqp.prefetch`; `max_bytes`: the setting `amqp.max_held_bytes`.
    pub fn new(ceiling: u16, max_bytes: u64) -> Self {
        Self { ceiling: ceiling.max(1), current: ceiling.max(1), max_bytes }
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

    /// So few that jobs of the size of those in hand fill half of what is allowed; at most half of what it was.
    pub fn lower(&mut self, held_jobs: u64, held_bytes: u64) {
        let average = (held_bytes / held_jobs.max(1)).max(1);
        let fitting = u16::try_from(self.max_bytes / 2 / average).unwrap_or(u16::MAX);
        self.current = fitting.min(self.current / 2).max(1);
    }

    /// Twice as many, where the present number holds back jobs that are small enough. True where that changed it.
    pub fn raise(&mut self, held_jobs: u64, held_bytes: u64) -> bool {
        let exhausted = held_jobs.saturating_mul(4) >= u64::from(self.current).saturating_mul(3);
        let small = held_bytes <= self.max_bytes / 4;
        let raised = self.current.saturating_mul(2).min(self.ceiling);
        let changed = exhausted && small && raised > self.current;
        if changed {
            self.current = raised;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn large_jobs_lower_it_and_small_ones_raise_it_again() {
        let mut prefetch = Prefetch::new(10_000, 256 * MIB);
        assert!(prefetch.is_overfull(257 * MIB) && !prefetch.is_overfull(256 * MIB));
        prefetch.lower(257, 257 * MIB);
        assert_eq!(prefetch.current(), 128);
        assert!(!prefetch.is_relieved(129 * MIB) && prefetch.is_relieved(128 * MIB));
        assert!(!prefetch.raise(128, 65 * MIB), "still large");
        assert!(!prefetch.raise(10, MIB), "not what holds anything back");
        assert!(prefetch.raise(128, MIB));
        assert_eq!(prefetch.current(), 256);
        while prefetch.raise(u64::MAX, 0) {}
        assert_eq!(prefetch.current(), 10_000);
    }

    #[test]
    fn one_job_at_a_time_is_always_possible() {
        let mut prefetch = Prefetch::new(4, 1);
        prefetch.lower(1, 100 * MIB);
        prefetch.lower(1, 100 * MIB);
        assert_eq!(prefetch.current(), 1);
        assert_eq!(Prefetch::new(0, 1).current(), 1);
    }
}
