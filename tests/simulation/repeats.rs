//! Producers that publish the same bytes again on purpose, as who sends a file twice does: another message, and another
//! request.

use std::time::Duration;

use fastrand::Rng;

use crate::scenario::JobSpec;

/// One job in this many is published again.
const ONE_IN: usize = 12;

/// Adds the repeats, some at once and some much later.
pub fn add(rng: &mut Rng, jobs: &mut Vec<JobSpec>, spread: Duration) {
    for index in 0..jobs.len() {
        if rng.usize(..ONE_IN) == 0 {
            let wait = if rng.bool() { Duration::ZERO } else { spread.mul_f64(rng.f64()) };
            let at = jobs[index].at + wait;
            jobs.push(JobSpec { at, ..jobs[index].clone() });
        }
    }
}
