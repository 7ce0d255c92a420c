//! Cores of their own for the contestants, where there are enough.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// With fewer cores than this the broker needs all of them.
const ENOUGH: usize = 4;
const FOR_CONTESTANTS: usize = 2;

/// The cores this process may use, split between the contestants and everything else; `None` where they are too few.
#[derive(Clone, Copy, Debug)]
pub struct Split {
    contestants: CpuSet,
    others: CpuSet,
}

impl Split {
    /// Takes the calling thread, and what it starts, off the contestants' cores.
    pub fn make() -> Option<Self> {
        let mine = sched_getaffinity(None).ok()?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| mine.is_set(core)).collect();
        let at = cores.len().checked_sub(FOR_CONTESTANTS).filter(|_| cores.len() >= ENOUGH)?;
        let split = Self { contestants: set(&cores[at..]), others: set(&cores[..at]) };
        sched_setaffinity(None, &split.others).ok()?;
        Some(split)
    }

    /// A process inherits its cores from the thread that starts it.
    pub fn start_contestant<T>(&self, start: impl FnOnce() -> T) -> T {
        // Unpinned it runs as well, only less steadily.
        let _ = sched_setaffinity(None, &self.contestants);
        let started = start();
        let _ = sched_setaffinity(None, &self.others);
        started
    }
}

/// Keeps the calling thread on one core; `false` where that cannot be.
pub fn stay_on_one_core() -> bool {
    let Ok(mine) = sched_getaffinity(None) else { return false };
    let last = (0..CpuSet::MAX_CPU).rev().find(|&core| mine.is_set(core));
    last.is_some_and(|core| sched_setaffinity(None, &set(&[core])).is_ok())
}

fn set(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    set
}
