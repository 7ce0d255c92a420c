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
    /// Of these, jobs of the background.
    pub background_jobs: u64,
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
    /// Of the background, in its queue and in hand.
    pub background: u64,
    /// Live ones that this worker is to do, in its jobs queues and in hand; 0 while it does not go on with all of them.
    pub own_live: u64,
}

/// Fed with what was done so far and what waits, asked for what was when.
#[derive(Debug)]
pub struct Throughput {
    interval: Duration,
    before: Done,
    jobs: Window,
    background_jobs: Window,
    pairs_archived: Window,
    pairs_failed: Window,
    requests: Window,
    ready: Window,
    held: Window,
    parked: Window,
    unpublished: Window,
    background: Window,
    own_live: Window,
}

/// Work done in each interval, and jobs without an outcome at its end; oldest first, and the last is still open.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ThroughputSeries {
    pub interval_seconds: f64,
    pub jobs: Vec<u64>,
    /// Of these, jobs of the background.
    pub background_jobs: Vec<u64>,
    pub pairs_archived: Vec<u64>,
    pub pairs_failed: Vec<u64>,
    pub requests: Vec<u64>,
    pub jobs_ready: Vec<u64>,
    pub jobs_held: Vec<u64>,
    pub jobs_parked: Vec<u64>,
    pub jobs_unpublished: Vec<u64>,
    /// Jobs of the background, in their queue and in hand.
    pub jobs_background: Vec<u64>,
    /// Live jobs that this worker is to do, in its jobs queues and in hand.
    #[serde(skip)]
    pub own_live_jobs: Vec<u64>,
}

const INTERVALS: usize = 120;

/// What was done this many intervals ago says nothing of now.
const LATELY: usize = 12;

/// An interval with less than one part in this many of the jobs that are there now was no interval like now.
const LIKE_NOW: u64 = 10;

/// Fewer intervals than this are too few for a mean.
const LEAST_FOR_A_MEAN: usize = 6;

impl ThroughputSeries {
    /// The most live jobs a second of late, of the intervals in which there was always something to do for them, and not
    /// far less than the `jobs` that are to be done now; `None` where there was none. A worker that had a job every two
    /// seconds shows nothing of how fast it does 50,000.
    pub fn best_lately(&self, jobs: u64) -> Option<f64> {
        let of = |series: &[u64], index: usize| series.get(index).copied().unwrap_or_default();
        let waiting = |index: usize| of(&self.own_live_jobs, index);
        let live = |index: usize| of(&self.jobs, index).saturating_sub(of(&self.background_jobs, index));
        let enough = (jobs / LIKE_NOW).max(1);
        // The last interval is still open.
        let open = self.jobs.len().saturating_sub(1);
        let was_busy = |&index: &usize| {
            let done = live(index);
            done > 0 && index > 0 && waiting(index - 1) >= done.max(enough) && waiting(index) >= enough
        };
        let busy = (open.saturating_sub(LATELY)..open).filter(was_busy);
        // What the open one has done already counts: a slow spell is over as soon as more is done than in it.
        let most = busy.map(live).max()?.max(live(open));
        (self.interval_seconds > 0.0).then(|| most as f64 / self.interval_seconds)
    }

    /// Jobs of the background a second, since there has been something to do for it without a break. They take what the
    /// live ones leave, now more and now less: the mean says more than the most. `None` while there has been nothing to
    /// do, or for too short a time.
    pub fn background_rate(&self) -> Option<f64> {
        let waits = |index: usize| self.jobs_background.get(index).is_some_and(|jobs| *jobs > 0);
        // The last interval is still open.
        let closed = self.background_jobs.len().saturating_sub(1);
        let busy = (1..closed).rev().take_while(|&index| waits(index - 1) && waits(index));
        let (intervals, jobs) = busy.fold((0_usize, 0), |(n, jobs), index| (n + 1, jobs + self.background_jobs[index]));
        (intervals >= LEAST_FOR_A_MEAN).then(|| jobs as f64 / (intervals as f64 * self.interval_seconds))
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
            background_jobs: window(),
            pairs_archived: window(),
            pairs_failed: window(),
            requests: window(),
            ready: window(),
            held: window(),
            parked: window(),
            unpublished: window(),
            background: window(),
            own_live: window(),
        }
    }

    pub fn note(&mut self, done: Done, unanswered: Unanswered, now: Tick) {
        let Done { jobs, background_jobs, pairs_archived, pairs_failed, requests } = self.before;
        self.jobs.add(done.jobs.saturating_sub(jobs), now);
        self.background_jobs.add(done.background_jobs.saturating_sub(background_jobs), now);
        self.pairs_archived.add(done.pairs_archived.saturating_sub(pairs_archived), now);
        self.pairs_failed.add(done.pairs_failed.saturating_sub(pairs_failed), now);
        self.requests.add(done.requests.saturating_sub(requests), now);
        self.before = done;
        let Unanswered { ready, held, parked, unpublished, background, own_live } = unanswered;
        self.ready.set(ready, now);
        self.held.set(held, now);
        self.parked.set(parked, now);
        self.unpublished.set(unpublished, now);
        self.background.set(background, now);
        self.own_live.set(own_live, now);
    }

    pub fn series(&mut self, now: Tick) -> ThroughputSeries {
        ThroughputSeries {
            interval_seconds: self.interval.as_secs_f64(),
            jobs: self.jobs.series(now),
            background_jobs: self.background_jobs.series(now),
            pairs_archived: self.pairs_archived.series(now),
            pairs_failed: self.pairs_failed.series(now),
            requests: self.requests.series(now),
            jobs_ready: self.ready.series(now),
            jobs_held: self.held.series(now),
            jobs_parked: self.parked.series(now),
            jobs_unpublished: self.unpublished.series(now),
            jobs_background: self.background.series(now),
            own_live_jobs: self.own_live.series(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_interval_has_what_was_done_in_it_and_what_waited_at_its_end() {
        let mut throughput = Throughput::new(Throughput::SHORT);
        let done = |jobs, pairs_archived, pairs_failed, requests| Done {
            jobs,
            pairs_archived,
            pairs_failed,
            requests,
            ..Done::default()
        };
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

    #[test]
    fn a_slow_spell_is_over_as_soon_as_more_is_done() {
        let mut throughput = Throughput::new(Throughput::SHORT);
        let mut note = |seconds: u64, jobs| {
            let now = Tick::from_micros(seconds * 1_000_000);
            throughput.note(
                Done { jobs, ..Done::default() },
                Unanswered { own_live: 500, ..Unanswered::default() },
                now,
            );
            throughput.series(now).best_lately(500)
        };
        for interval in 0..20 {
            note(interval * 5 + 1, 2 * interval);
        }
        assert_eq!(note(97, 38), Some(0.4));
        assert_eq!(note(98, 88), Some(10.4), "before the interval is over");
    }

    #[test]
    fn quiet_traffic_does_not_show_how_fast_a_backlog_is_done() {
        let mut throughput = Throughput::new(Throughput::SHORT);
        let mut note = |seconds: u64, jobs, own_live| {
            let now = Tick::from_micros(seconds * 1_000_000);
            throughput.note(Done { jobs, ..Done::default() }, Unanswered { own_live, ..Unanswered::default() }, now);
            throughput.series(now).best_lately(own_live)
        };
        // A job every two seconds: one is in hand, and one more was in the queue when it was counted last.
        for seconds in 1..60 {
            note(seconds, seconds / 2, 2);
        }
        assert_eq!(note(61, 30, 2), Some(0.4), "like now");
        assert_eq!(note(62, 30, 50_000), None, "50,000 are enqueued");
        assert_eq!(note(66, 3_030, 47_000), None, "the interval in which they came");
        assert_eq!(note(71, 8_030, 42_000), Some(1_000.0));
    }

    #[test]
    fn the_background_has_a_mean_since_it_has_had_something_to_do() {
        let mut throughput = Throughput::new(Throughput::SHORT);
        let mut note = |seconds: u64, background_jobs, background| {
            let now = Tick::from_micros(seconds * 1_000_000);
            let done = Done { background_jobs, ..Done::default() };
            throughput.note(done, Unanswered { background, ..Unanswered::default() }, now);
            throughput.series(now).background_rate()
        };
        assert_eq!(note(2, 900, 0), None, "those were done long before");
        for interval in 1..=7 {
            assert_eq!(note(interval * 5, 900 + 20 * (interval - 1), 5_000), None, "too short");
        }
        let rate = |rate: Option<f64>| rate.map(|rate| (rate * 1_000.0).round() / 1_000.0);
        assert_eq!(rate(note(40, 1_040, 5_000)), Some(4.0));
        // Live jobs need everything for a while.
        assert_eq!(rate(note(45, 1_040, 5_000)), Some(4.0));
        assert_eq!(rate(note(50, 1_040, 5_000)), Some(3.5));
        note(55, 1_040, 0);
        assert_eq!(note(60, 1_040, 0), None, "nothing is left of it");
    }
}
