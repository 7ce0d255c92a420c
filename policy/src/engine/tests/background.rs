//! Jobs of the background beside live ones.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use super::super::background::{BackgroundPolicy, Share, Urgency};
use super::looks::{Shelf, serve};
use super::*;
use crate::background::window::Window;
use crate::engine::pace::Ceiling;
use crate::engine::pack::Caps;

const TYPES: (&str, &str) = ("contacts", "companies");
const HOUR: u64 = 3_600;

fn percent(percent: u8) -> BackgroundPolicy {
    BackgroundPolicy { min_share: Share::of_percent(percent).unwrap(), window: None }
}

fn bench(
    background: BackgroundPolicy,
    account: AccountPolicy,
    reply: impl FnMut(&BatchCall, Tick) -> Reply + 'static,
) -> Bench {
    let mut bench = Bench::new(policy(), vec![account.clone()], reply);
    bench.engine = Engine::with_background(policy(), background, vec![account], 1, bench.now);
    bench
}

impl Bench {
    fn admit_as(&mut self, urgency: Urgency, types: (&str, &str), pairs: &[Pair]) -> JobKey {
        let job = new_job(types, [whole(pairs)], Carried::fresh(self.now.wall));
        self.engine.admit_as(urgency, job, self.now)
    }

    /// A backfill: jobs of one pair each, of different records.
    fn backfill(&mut self, types: (&str, &str), jobs: u64) -> Vec<JobKey> {
        (0..jobs).map(|n| self.admit_as(Urgency::Background, types, &[pair(1_000_000 + n, 7)])).collect()
    }

    fn run_until(&mut self, end: Tick) {
        self.run(end.since(self.now.tick));
    }

    fn took(&self, job: JobKey, since: Tick) -> Duration {
        self.ends[&job].0.since(since)
    }

    fn carried(&self, from: u64) -> usize {
        let has = |call: &BatchCall| call.pairs.iter().any(|pair| pair.from.0.get() == from);
        self.sent.iter().filter(|(_, call)| has(call)).count()
    }
}

fn is_of_deals(call: &BatchCall) -> bool {
    call.lane.from_type == ObjectType::parse("deals").unwrap()
}

fn seconds(seconds: u64) -> Tick {
    Tick::from_micros(seconds * 1_000_000)
}

/// The promise: a live job beside a backlog is answered as fast as alone, and one request later at most.
#[test]
fn a_live_job_beside_a_backlog_waits_for_one_request_more_at_most() {
    let per_request = Duration::from_millis(100);
    for (live, back) in [(TYPES, TYPES), (TYPES, ("deals", "companies"))] {
        let mut alone = bench(percent(10), account(), always(204, ""));
        let mut beside = bench(percent(10), account(), always(204, ""));
        beside.backfill(back, 60_000);
        for bench in [&mut alone, &mut beside] {
            bench.run_until(seconds(20));
        }
        for n in 0..30 {
            let at = seconds(20 + n) + Duration::from_millis(n * 37);
            let mut took = [&mut alone, &mut beside].map(|bench| {
                bench.run_until(at);
                let job = bench.admit_as(Urgency::Live, live, &[pair(n + 1, 9)]);
                bench.run_until(at + Duration::from_millis(900));
                bench.took(job, at)
            });
            took[1] = took[1].saturating_sub(per_request);
            assert!(took[1] <= took[0], "job {n}: {:?} beside, {:?} alone", took[1] + per_request, took[0]);
        }
        assert_eq!(beside.engine.held_jobs(), 60_000 - (beside.ends.len() - 30), "nothing is lost");
    }
}

/// Where there is a journal, a look comes before each removal. One that a live job asks for takes pairs of the background
/// along, whose removals must not go before those of the next live job.
#[test]
fn a_live_job_waits_for_no_removals_of_the_background_that_its_look_took_along() {
    let backlog = (0..8_000).map(|n| (1_000_000 + n, 7));
    let shelf: Shelf = backlog.chain((1..=10).map(|n| (n, 9))).map(|pair| (pair, vec![279])).collect();
    let safety = Safety { journal: true, verify: false };
    let ceiling = Ceiling { requests: NonZeroU32::new(20).unwrap(), interval: Duration::from_secs(10) };
    let twice_a_second = AccountPolicy { safety, ceiling, ..account() };
    let mut bench = bench(percent(10), twice_a_second, move |call, _| serve(&shelf, call));
    bench.backfill(TYPES, 8_000);
    for n in 1..=10 {
        let at = seconds(3 * n);
        bench.run_until(at);
        let job = bench.admit_as(Urgency::Live, TYPES, &[pair(n, 9)]);
        bench.run_until(seconds(3 * n + 3));
        let took = bench.took(job, at);
        assert!(took < Duration::from_millis(2_500), "job {n}: {took:?}");
    }
    assert!(bench.settled(Status::Archived) > 1_000, "the background goes on");
}

#[test]
fn the_background_has_its_share_and_no_more_while_live_jobs_wait() {
    for share in [0, 10, 50] {
        let mut bench = bench(percent(share), account(), always(204, ""));
        bench.backfill(("deals", "companies"), 60_000);
        for n in 0..60_000 {
            bench.admit_as(Urgency::Live, TYPES, &[pair(n + 1, 9)]);
        }
        bench.run_until(seconds(40));
        let calls = bench.sent.iter().filter(|(at, _)| *at > seconds(10));
        let (background, live): (Vec<_>, Vec<_>) = calls.partition(|(_, call)| is_of_deals(call));
        let (background, all) = (background.len(), background.len() + live.len());
        assert!(all > 250, "{all}");
        let wanted = all * usize::from(share) / 100;
        assert!(background.abs_diff(wanted) <= 1, "{share} %: {background} of {all}");
    }
}

#[test]
fn what_live_jobs_leave_is_used_to_the_full() {
    let mut bench = bench(percent(10), account(), always(204, ""));
    bench.backfill(TYPES, 30_000);
    bench.run_until(seconds(21));
    let sent = bench.sent.iter().filter(|(at, _)| *at >= seconds(10) && *at < seconds(20));
    assert!(sent.count() >= 98);
    assert!(bench.sent.iter().skip(4).all(|(_, call)| call.pairs.len() == 100), "and every request is full");
}

/// A live job that asks for what a job of the background waits for pulls it forward, and one that comes later joins it.
#[test]
fn equal_pairs_are_sent_once_whoever_came_first() {
    let slow = AccountPolicy {
        ceiling: Ceiling { requests: NonZeroU32::new(1).unwrap(), interval: Duration::from_secs(10) },
        ..account()
    };
    let mut bench = bench(percent(10), slow, always(204, ""));
    let backfill = bench.backfill(TYPES, 1_000);
    let pulled = [pair(1_000_990, 7), pair(5, 5)];
    let live = bench.admit_as(Urgency::Live, TYPES, &pulled);
    let joins = bench.admit_as(Urgency::Background, TYPES, &[pair(5, 5)]);
    bench.run_until(seconds(15));
    for job in [live, joins, backfill[990]] {
        assert_eq!(bench.ends[&job].1, End::archived(1));
    }
    assert_eq!(bench.engine.counters().merged, 2);
    bench.run_until(seconds(200));
    assert_eq!(bench.ends.len(), 1_002);
    assert_eq!((bench.carried(1_000_990), bench.carried(5)), (1, 1));
    assert_eq!(bench.engine.remains(), Remains::default());
}

/// Where a request of live pairs has room, pairs of the background fill it up, as long as these do no harm.
#[test]
fn a_live_request_is_filled_up_unless_pairs_of_the_background_were_refused() {
    for bad in [false, true] {
        let reply = move |call: &BatchCall, _| match call.pairs.iter().any(|pair| pair.from.0.get() == 1_000_003) {
            true if bad => answer(400, r#"{"category":"VALIDATION_ERROR","message":"bad"}"#),
            true | false => answer(204, ""),
        };
        let mut bench = bench(percent(10), account(), reply);
        bench.backfill(TYPES, 20_000);
        bench.run_until(seconds(12));
        let begun = bench.sent.len();
        for n in 0..200 {
            bench.admit_as(Urgency::Live, TYPES, &[pair(n + 1, 9)]);
            bench.run(Duration::from_millis(20));
        }
        bench.run_until(seconds(90));
        assert_eq!(bench.ends.len(), 20_200);
        let of_live = |call: &BatchCall| call.pairs.iter().filter(|pair| pair.from.0.get() <= 200).count();
        let with_live = bench.sent[begun..].iter().filter(|(_, call)| of_live(call) > 0);
        assert!(with_live.clone().count() > 10);
        assert!(with_live.clone().all(|(_, call)| call.pairs.len() == 100), "no room is wasted: {bad}");
        assert!(bench.sent.len() <= 230, "requests: {}", bench.sent.len());
    }
}

/// While the latest answer for the background was bad, live pairs stay by themselves.
#[test]
fn live_pairs_do_not_fail_with_pairs_of_the_background() {
    let failing = |call: &BatchCall, _| match call.pairs.iter().any(|pair| pair.from.0.get() >= 1_000_000) {
        true => answer(400, r#"{"category":"VALIDATION_ERROR","message":"bad"}"#),
        false => answer(204, ""),
    };
    let mut bench = bench(percent(10), account(), failing);
    bench.backfill(TYPES, 500);
    for n in 0..100 {
        let at = bench.now.tick;
        let live = bench.admit_as(Urgency::Live, TYPES, &[pair(n + 1, 9)]);
        bench.run_until(at + Duration::from_secs(1));
        assert_eq!(bench.ends[&live].1, End::archived(1));
        assert!(bench.took(live, at) <= Duration::from_millis(400), "job {n}: {:?}", bench.took(live, at));
    }
}

/// Requests that hang take no slot that live ones need.
#[test]
fn a_background_whose_requests_hang_leaves_slots_for_live_jobs() {
    let mut bench = bench(percent(10), account(), always(204, ""));
    bench.run_until(seconds(1));
    for n in 0..200 {
        bench.admit_as(Urgency::Live, TYPES, &[pair(n + 1, 9)]);
        bench.run(Duration::from_millis(300));
    }
    bench.latency = |call| if is_of_deals(call) { Duration::from_secs(60) } else { LATENCY };
    bench.backfill(("deals", "companies"), 5_000);
    bench.run(Duration::from_secs(10));
    assert_eq!(bench.engine.in_flight(), 12, "a quarter of the account's slots stays free");
    let at = bench.now.tick;
    let live = bench.admit_as(Urgency::Live, TYPES, &[pair(5_000, 9)]);
    bench.run(Duration::from_secs(1));
    assert!(bench.took(live, at) <= Duration::from_millis(400));
}

#[test]
fn a_day_is_not_spent_by_the_background_before_live_jobs_need_it() {
    let daily = AccountPolicy { daily: Some(2_400), time_zone: Some(TimeZone::UTC), ..account() };
    let mut bench = bench(percent(10), daily, always(204, ""));
    // From 11:06:40 to 16:06:40. Of the first half of the day nothing is used, and that may be made up for.
    for _ in 0..5 * 60 {
        bench.backfill(TYPES, 2_000);
        bench.run(Duration::from_secs(60));
    }
    let even = (16 * 3_600 + 400) * 2_400 / 86_400;
    assert!(bench.sent.len().abs_diff(even) <= 2, "{} of {even}", bench.sent.len());
    // Live jobs may have all of it.
    for n in 0..400 {
        bench.admit_as(Urgency::Live, TYPES, &[pair(n + 1, 9)]);
        bench.run(Duration::from_millis(500));
    }
    assert!(bench.sent.len() >= even + 390, "{}", bench.sent.len());
}

#[test]
fn outside_its_window_the_background_rests() {
    let berlin = AccountPolicy { time_zone: Some(TimeZone::get("Europe/Berlin").unwrap()), ..account() };
    let window = BackgroundPolicy { window: Window::parse("22:00-06:00"), ..percent(10) };
    let mut bench = bench(window, berlin, always(204, ""));
    // 18 November, 12:06:40 at Berlin.
    assert!(!bench.engine.takes_background());
    let early = bench.admit_as(Urgency::Background, TYPES, &[pair(1, 1)]);
    let live = bench.admit_as(Urgency::Live, TYPES, &[pair(2, 2)]);
    bench.run(Duration::from_secs(1));
    assert_eq!(bench.ends[&early].1, End::Parked { tier: Tier::OneHour, attempts: 0 });
    assert_eq!(bench.ends[&live].1, End::archived(1));
    bench.run(Duration::from_secs(10 * HOUR));
    assert!(bench.engine.takes_background());
    let jobs = bench.backfill(TYPES, 250);
    bench.run(Duration::from_secs(60));
    assert!(jobs.iter().all(|job| bench.ends[job].1 == End::archived(1)));
    // Its end comes while jobs wait: what is on the wire is answered, the rest goes back.
    bench.run(Duration::from_secs(7 * HOUR + 30 * 60));
    let until_six = 6 * 3_600 - (bench.now.wall.as_second() + 3_600) % 86_400;
    bench.run(Duration::from_secs(u64::try_from(until_six).unwrap() - 1));
    assert!(bench.engine.takes_background());
    let jobs: BTreeSet<JobKey> = bench.backfill(TYPES, 20_000).into_iter().collect();
    bench.run(Duration::from_secs(2));
    let last = bench.sent.last().unwrap().0;
    let (archived, back): (Vec<_>, Vec<_>) =
        jobs.iter().map(|job| &bench.ends[job].1).partition(|end| **end == End::archived(1));
    assert!(!archived.is_empty() && back.iter().all(|end| **end == End::HandedBack), "{}", back.len());
    assert!(last <= bench.now.tick - Duration::from_secs(1));
    assert_eq!(bench.engine.remains(), Remains::default());
}

/// Hours are those of the account: HubSpot is asked for its zone before anything is sent.
#[test]
fn a_window_waits_for_the_time_zone() {
    let window = |text| BackgroundPolicy { window: Window::parse(text), ..percent(10) };
    // At UTC it is 11:06:40, at Auckland 00:06:40.
    for (text, open) in [("22:00-06:00", true), ("08:00-20:00", false)] {
        let mut bench = bench(window(text), account(), always(204, ""));
        let zone = Some(TimeZone::get("Pacific/Auckland").unwrap());
        bench.identity = IdentityReply::Told { portal: NonZeroU64::new(1).unwrap(), time_zone: zone };
        let job = bench.admit_as(Urgency::Background, TYPES, &[pair(1, 1)]);
        bench.run(Duration::from_secs(5));
        assert_eq!(bench.ends[&job].1 == End::archived(1), open, "{text}: {:?}", bench.ends[&job].1);
        assert_eq!(bench.engine.takes_background(), open);
    }
}

/// Where one account's window is closed and another's is open, jobs of the first wait in a delay queue.
#[test]
fn each_account_has_hours_of_its_own() {
    let zone = |name| AccountPolicy { time_zone: Some(TimeZone::get(name).unwrap()), ..account() };
    let accounts = vec![zone("Europe/Berlin"), zone("Pacific/Auckland")];
    let mut bench = Bench::new(policy(), accounts.clone(), always(204, ""));
    let night = BackgroundPolicy { window: Window::parse("22:00-06:00"), ..percent(10) };
    bench.engine = Engine::with_background(policy(), night, accounts, 1, bench.now);
    let jobs = [0, 1].map(|account| {
        let job = new_job(TYPES, [whole(&[pair(1, 1)])], Carried::fresh(bench.now.wall));
        bench.engine.admit_as(Urgency::Background, NewJob { account: AccountIndex(account), ..job }, bench.now)
    });
    bench.run(Duration::from_secs(5));
    assert_eq!(bench.ends[&jobs[0]].1, End::Parked { tier: Tier::OneHour, attempts: 0 });
    assert_eq!(bench.ends[&jobs[1]].1, End::archived(1));
}

/// Random nights around the days on which clocks change: the hours, the order and the share are kept, and no job is lost.
#[test]
fn of_many_random_nights_none_breaks_a_promise() {
    for seed in 0..16 {
        Night::of(seed).run();
    }
}

/// Six hours of one account that sends a request each ten seconds.
struct Night {
    seed: u64,
    rng: fastrand::Rng,
    zone: TimeZone,
    hours: Option<(i8, i8)>,
    share: u8,
    bench: Bench,
    began: Timestamp,
    /// Pairs of live jobs that were not sent yet, and when they came.
    waiting: BTreeMap<Pair, Tick>,
    jobs: usize,
    seen: usize,
    /// The last request was for the background, though a live pair that came before waited.
    overtaken: Option<Tick>,
    /// Requests in a row while both waited, and those of them that were for the background.
    both: usize,
    of_background: usize,
}

impl Night {
    fn of(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (zone, change) = *rng
            .choice(&[
                ("Europe/Berlin", "2026-03-29T01:00:00Z"),
                ("Europe/Berlin", "2026-10-25T01:00:00Z"),
                ("America/New_York", "2026-11-01T06:00:00Z"),
                ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
                ("UTC", "2026-06-01T00:00:00Z"),
            ])
            .unwrap();
        let began =
            change.parse::<Timestamp>().unwrap().saturating_sub(Duration::from_secs(rng.u64(0..5 * HOUR))).unwrap();
        let zone = TimeZone::get(zone).unwrap();
        let hours = rng.bool().then(|| (rng.i8(0..24), rng.i8(1..24))).map(|(from, long)| (from, (from + long) % 24));
        let share = *rng.choice(&[0, 5, 10, 30, 50]).unwrap();
        let window = hours.and_then(|(from, to)| Window::parse(&format!("{from:02}:00-{to:02}:00")));
        let background = BackgroundPolicy { window, ..percent(share) };
        let ceiling = Ceiling { requests: NonZeroU32::new(1).unwrap(), interval: Duration::from_secs(10) };
        let account = AccountPolicy { ceiling, time_zone: Some(zone.clone()), ..account() };
        let small = EnginePolicy { caps: Caps { from: 10, pairs: 10 }, ..policy() };
        let mut bench = Bench::new(small.clone(), vec![account.clone()], always(204, ""));
        bench.now.wall = began;
        bench.engine = Engine::with_background(small, background, vec![account], seed, bench.now);
        Self {
            seed,
            rng,
            zone,
            hours,
            share,
            bench,
            began,
            waiting: BTreeMap::new(),
            jobs: 0,
            seen: 0,
            overtaken: None,
            both: 0,
            of_background: 0,
        }
    }

    fn run(mut self) {
        let end = seconds(6 * HOUR);
        let mut next_burst = seconds(self.rng.u64(0..600));
        let mut next_pair = 1;
        while self.bench.now.tick < end {
            if self.bench.now.tick >= next_burst {
                next_burst = next_burst + Duration::from_secs(self.rng.u64(1..1_200));
                for _ in 0..self.rng.u64(1..80) {
                    // Some ask for what the background asks for.
                    let from = if self.rng.u8(..10) == 0 { 1_000_000 + self.rng.u64(..50) } else { next_pair };
                    next_pair += 1;
                    let deals = from < 1_000_000 && self.rng.bool();
                    let wanted = pair(from, 7);
                    self.bench.admit_as(Urgency::Live, if deals { ("deals", "companies") } else { TYPES }, &[wanted]);
                    self.waiting.entry(wanted).or_insert(self.bench.now.tick);
                    self.jobs += 1;
                }
            }
            let engine = &self.bench.engine;
            let room = 60_usize.saturating_sub(engine.holdings.jobs_of_background());
            for _ in 0..if engine.takes_background() { room } else { 0 } {
                let from = 1_000_000 + self.rng.u64(..500);
                self.bench.admit_as(Urgency::Background, TYPES, &[pair(from, 7)]);
                self.jobs += 1;
            }
            self.bench.run(Duration::from_secs(5));
            self.look();
        }
        self.bench.run(Duration::from_secs(3 * HOUR));
        let seed = self.seed;
        assert_eq!((self.bench.engine.held_jobs(), self.bench.ends.len()), (0, self.jobs), "seed {seed}");
        assert_eq!(self.bench.engine.remains(), Remains::default(), "seed {seed}");
    }

    /// At what was sent since the last look.
    fn look(&mut self) {
        let linger = Duration::from_millis(210);
        for (at, call) in &self.bench.sent[self.seen..] {
            let is_background = !call.pairs.iter().any(|pair| self.waiting.contains_key(pair));
            let first = self.waiting.values().min().copied().filter(|&came| came + linger < *at);
            if is_background && call.pairs.iter().all(|pair| pair.from.0.get() >= 1_000_000) {
                let time = self.zone.to_datetime(self.began.saturating_add(at.since(Tick::ZERO)).unwrap()).time();
                if let Some((from, to)) = self.hours {
                    let open = if from < to {
                        (from..to).contains(&time.hour())
                    } else {
                        time.hour() >= from || time.hour() < to
                    };
                    assert!(open, "seed {}: sent at {time}", self.seed);
                }
                let twice = self.overtaken.is_some_and(|before| first.is_some_and(|came| came + linger < before));
                assert!(!twice, "seed {}: a live pair waited for two requests of the background", self.seed);
                self.overtaken = first.map(|_| *at);
                self.of_background += 1;
            } else {
                self.overtaken = None;
            }
            self.both += 1;
            if first.is_none() || !self.bench.engine.takes_background() {
                (self.both, self.of_background) = (0, 0);
            }
            let wanted = self.both * usize::from(self.share) / 100;
            let (both, had) = (self.both, self.of_background);
            assert!(had.abs_diff(wanted) <= 1, "seed {}: {had} of {both} requests, wanted {wanted}", self.seed);
            for pair in call.pairs.iter() {
                self.waiting.remove(pair);
            }
        }
        self.seen = self.bench.sent.len();
    }
}
