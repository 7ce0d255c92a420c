//! How much was done, and what waited, in each of the last intervals: the lines that the live page draws.

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
    /// Pairs that outcomes called not archived.
    pub pairs_failed: u64,
    pub requests: u64,
}

/// Jobs without an outcome, by where they are; what nobody can say is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Unanswered {
    pub ready: u64,
    pub held: u64,
    pub parked: u64,
    pub unpublished: u64,
}

/// Fed with what was done so far and what waits, asked for what was when.
#[derive(Debug)]
pub struct Throughput {
    interval: Duration,
    before: Done,
    jobs: Window,
    pairs_archived: Window,
    pairs_failed: Window,
    requests: Window,
    ready: Window,
    held: Window,
    parked: Window,
    unpublished: Window,
}

/// Work done in each interval, and jobs without an outcome at its end; oldest first, and the last is still open.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ThroughputSeries {
    pub interval_seconds: f64,
    pub jobs: Vec<u64>,
    pub pairs_archived: Vec<u64>,
    pub pairs_failed: Vec<u64>,
    pub requests: Vec<u64>,
    pub jobs_ready: Vec<u64>,
    pub jobs_held: Vec<u64>,
    pub jobs_parked: Vec<u64>,
    pub jobs_unpublished: Vec<u64>,
}

const INTERVALS: usize = 120;

/// What was done this many intervals ago says nothing of now.
const LATELY: usize = 12;

impl ThroughputSeries {
    /// The most jobs a second of late, of the intervals in which there was always something to do; `None` where there
    /// was none.
    pub fn best_lately(&self) -> Option<f64> {
        let of = |series: &[u64], index: usize| series.get(index).copied().unwrap_or_default();
        let waiting = |index: usize| of(&self.jobs_ready, index) + of(&self.jobs_held, index);
        // The last interval is still open.
        let closed = self.jobs.len().saturating_sub(1);
        let was_busy = |&index: &usize| {
            let done = self.jobs[index];
            done > 0 && index > 0 && waiting(index - 1) >= done && waiting(index) > 0
        };
        let busy = (closed.saturating_sub(LATELY)..closed).filter(was_busy);
        let most = busy.map(|index| self.jobs[index]).max()?;
        (self.interval_seconds > 0.0).then(|| most as f64 / self.interval_seconds)
    }
}

impl Throughput {
    /// The last ten minutes.
    pub const SHORT: Duration = Duration::from_secs(5);

    /// The last six hours.
    pub const LONG: Duration = Duration::from_secs(180);

    pub fn new(interval: Duration) -> Self {
        let window = || Window::new(interval, INTERVALS);
        Self {
            interval,
            before: Done::default(),
            jobs: window(),
            pairs_archived: window(),
            pairs_failed: window(),
            requests: window(),
            ready: window(),
            held: window(),
            parked: window(),
            unpublished: window(),
        }
    }

    pub fn note(&mut self, done: Done, unanswered: Unanswered, now: Tick) {
        let Done { jobs, pairs_archived, pairs_failed, requests } = self.before;
        self.jobs.add(done.jobs.saturating_sub(jobs), now);
        self.pairs_archived.add(done.pairs_archived.saturating_sub(pairs_archived), now);
        self.pairs_failed.add(done.pairs_failed.saturating_sub(pairs_failed), now);
        self.requests.add(done.requests.saturating_sub(requests), now);
        self.before = done;
        let Unanswered { ready, held, parked, unpublished } = unanswered;
        self.ready.set(ready, now);
        self.held.set(held, now);
        self.parked.set(parked, now);
        self.unpublished.set(unpublished, now);
    }

    pub fn series(&mut self, now: Tick) -> ThroughputSeries {
        ThroughputSeries {
            interval_seconds: self.interval.as_secs_f64(),
            jobs: self.jobs.series(now),
            pairs_archived: self.pairs_archived.series(now),
            pairs_failed: self.pairs_failed.series(now),
            requests: self.requests.series(now),
            jobs_ready: self.ready.series(now),
            jobs_held: self.held.series(now),
            jobs_parked: self.parked.series(now),
            jobs_unpublished: self.unpublished.series(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_interval_has_what_was_done_in_it_and_what_waited_at_its_end() {
        let mut throughput = Throughput::new(Throughput::SHORT);
        let done = |jobs, pairs_archived, pairs_failed, requests| Done { jobs, pairs_archived, pairs_failed, requests };
        let unanswered = |ready, parked| Unanswered { ready, parked, ..Unanswered::default() };
        throughput.note(done(10, 100, 3, 1), unanswered(500, 0), Tick::from_micros(1_000_000));
        throughput.note(done(12, 120, 3, 1), unanswered(400, 7), Tick::from_micros(4_000_000));
        throughput.note(done(15, 150, 4, 2), unanswered(300, 9), Tick::from_micros(6_000_000));
        let series = throughput.series(Tick::from_micros(6_000_000));
        let last = |series: &[u64]| [series[INTERVALS - 2], series[INTERVALS - 1]];
        assert_eq!(series.jobs.len(), INTERVALS);
        assert_eq!((last(&series.jobs), last(&series.pairs_archived)), ([12, 3], [120, 30]));
        assert_eq!((last(&series.pairs_failed), last(&series.requests)), ([3, 1], [1, 1]));
        assert_eq!((last(&series.jobs_ready), last(&series.jobs_parked)), ([400, 300], [7, 9]));
    }
}
