//! How much was done in each of the last intervals: the line that the live page draws.

use std::time::Duration;

use serde::Serialize;

use super::window::Window;
use crate::engine::clock::Tick;

/// Work done since the start of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Done {
    /// Jobs with an outcome.
    pub jobs: u64,
    pub pairs_archived: u64,
    pub requests: u64,
}

/// Fed with what was done so far, asked for what was done when.
#[derive(Debug)]
pub struct Throughput {
    before: Done,
    jobs: Window,
    pairs_archived: Window,
    requests: Window,
}

/// Work done in each interval, oldest first; the last is still open.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ThroughputSeries {
    pub interval_seconds: f64,
    pub jobs: Vec<u64>,
    pub pairs_archived: Vec<u64>,
    pub requests: Vec<u64>,
}

const INTERVAL: Duration = Duration::from_secs(5);

/// Ten minutes.
const INTERVALS: usize = 120;

impl Default for Throughput {
    fn default() -> Self {
        let window = || Window::new(INTERVAL, INTERVALS);
        Self { before: Done::default(), jobs: window(), pairs_archived: window(), requests: window() }
    }
}

impl Throughput {
    pub fn note(&mut self, done: Done, now: Tick) {
        let Done { jobs, pairs_archived, requests } = self.before;
        self.jobs.add(done.jobs.saturating_sub(jobs), now);
        self.pairs_archived.add(done.pairs_archived.saturating_sub(pairs_archived), now);
        self.requests.add(done.requests.saturating_sub(requests), now);
        self.before = done;
    }

    pub fn series(&mut self, now: Tick) -> ThroughputSeries {
        ThroughputSeries {
            interval_seconds: INTERVAL.as_secs_f64(),
            jobs: self.jobs.series(now),
            pairs_archived: self.pairs_archived.series(now),
            requests: self.requests.series(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_interval_has_what_was_done_in_it() {
        let mut throughput = Throughput::default();
        let done = |jobs, pairs_archived, requests| Done { jobs, pairs_archived, requests };
        throughput.note(done(10, 100, 1), Tick::from_micros(1_000_000));
        throughput.note(done(15, 150, 2), Tick::from_micros(6_000_000));
        let series = throughput.series(Tick::from_micros(6_000_000));
        assert_eq!(series.jobs.len(), INTERVALS);
        assert_eq!(series.jobs[INTERVALS - 2..], [10, 5]);
        assert_eq!(series.pairs_archived[INTERVALS - 2..], [100, 50]);
        assert_eq!(series.requests[INTERVALS - 2..], [1, 1]);
    }
}
