//! A thousand portals whose backlogs differ a thousandfold, while requests in flight are the scarce thing.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::process::Command as Process;
use std::time::Duration;

use association_archiver::contract::action::Action;
use association_archiver::contract::association::Extent;
use association_archiver::contract::ids::AccountIndex;
use association_archiver::contract::job::Ask;
use association_archiver::contract::object_type::ObjectType;
use association_archiver::engine::account::AccountPolicy;
use association_archiver::engine::clock::{Now, Tick};
use association_archiver::engine::command::{CallKey, Carried, Command, NewJob};
use association_archiver::engine::pace::Ceiling;
use association_archiver::engine::pack::Caps;
use association_archiver::engine::reply::{Answer, Body, Headers, Reply};
use association_archiver::engine::{Engine, EnginePolicy, Waiting};
use bytes::Bytes;
use fastrand::Rng;
use jiff::Timestamp;
use smallvec::smallvec;

use crate::scenario::pair;

const PORTALS: usize = 1_000;

/// Requests in flight of all portals together.
const SLOTS: usize = 64;

/// Requests of the smallest backlog; the largest is as many times as large as there are portals.
const FEWEST_REQUESTS: usize = 3;

/// Jobs a request takes, each of one pair.
const JOBS_A_REQUEST: usize = 10;

/// The time that HubSpot takes for a request, at least and at most.
const LATENCY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(150));

#[test]
fn a_thousand_portals_get_equal_shares_of_what_is_scarce() {
    let mut stage = Stage::new();
    let mut left: Vec<usize> = (1..=PORTALS).map(|rank| FEWEST_REQUESTS * PORTALS / rank).collect();
    for (portal, &requests) in left.iter().enumerate() {
        stage.admit(portal, requests * JOBS_A_REQUEST);
    }
    let mut last_turn = vec![Duration::ZERO; PORTALS];
    let mut served = vec![0_u32; PORTALS];
    let mut rounds = 0;
    let mut longest = Duration::ZERO;
    while left.iter().any(|&requests| requests > 0) {
        // In one round all that are backlogged could have a turn, and the round ends once they could.
        let backlogged: Vec<usize> = (0..PORTALS).filter(|&portal| left[portal] > 0).collect();
        let round = LATENCY.1.mul_f64((backlogged.len() as f64 / SLOTS as f64).max(1.0));
        // Who had its last turn in the round before has waited since.
        let most = longest.max(round) * 2;
        longest = round;
        served.fill(0);
        let until = stage.now + round * ROUNDS_MEASURED;
        for (at, portal) in stage.run(until) {
            served[portal] += 1;
            left[portal] -= 1;
            let waited = at - last_turn[portal];
            assert!(waited <= most, "portal {portal} waited {waited:?}, and a round takes at most {round:?}");
            last_turn[portal] = at;
        }
        // Those that ran out meanwhile could not use their share.
        let shares: Vec<f64> =
            backlogged.iter().filter(|&&portal| left[portal] > 0).map(|&portal| served[portal].into()).collect();
        // A few portals alone are limited by their own in-flight cap, not by each other.
        if shares.len() > SLOTS {
            let fairness = jain(&shares);
            assert!(fairness >= 0.95, "{fairness} among {} portals in round {rounds}", shares.len());
            rounds += 1;
        }
    }
    assert!(rounds > 2, "{rounds} rounds were measured");
    // All has left, and the last answers are on their way.
    stage.run(stage.now + LATENCY.1);
    assert_eq!(stage.engine.held_jobs(), 0);
}

/// Rounds over which shares are compared.
const ROUNDS_MEASURED: u32 = 3;

/// Jain's index: 1 where all shares are equal, 1/n where one has all.
fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    sum * sum / (shares.len() as f64 * squares)
}

/// Each run in a process of its own, so that nothing else is measured.
#[test]
fn memory_grows_with_the_backlog_and_no_faster() {
    const JOBS: usize = 50_000;
    let [none, some, twice, four_times] = [0, JOBS, 2 * JOBS, 4 * JOBS].map(resident_bytes);
    let (first, second, third) = (some - none, twice - some, four_times - twice);
    println!("{} bytes a job, then {}, then {}", first / JOBS, second / JOBS, third / (2 * JOBS));
    assert!(second * 2 <= first * 3, "{JOBS} jobs more take {second} bytes, the first took {first}");
    assert!(third * 2 <= second * 2 * 3, "{} jobs more take {third} bytes, {JOBS} took {second}", 2 * JOBS);
}

/// Not a test by itself: what [`resident_bytes`] starts.
#[test]
#[ignore = "run by the test of memory, with HELD_JOBS"]
fn hold_jobs_and_tell_the_memory() {
    let jobs: usize = std::env::var("HELD_JOBS").unwrap().parse().unwrap();
    let mut stage = Stage::new();
    for portal in 0..PORTALS {
        stage.admit(portal, jobs / PORTALS);
    }
    assert_eq!(stage.engine.held_jobs(), jobs);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    println!("resident {}", line.trim().trim_end_matches(" kB"));
}

fn resident_bytes(jobs: usize) -> usize {
    let name = "fairness::hold_jobs_and_tell_the_memory";
    let run = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env("HELD_JOBS", jobs.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8(run.stdout).unwrap();
    let kilobytes = said.lines().find_map(|line| line.split_once("resident ")).map(|(_, number)| number.trim());
    kilobytes.and_then(|number| number.parse::<usize>().ok()).unwrap_or_else(|| panic!("{said}")) * 1_024
}

/// The engine of a worker with many portals, and a HubSpot that takes everything.
struct Stage {
    engine: Engine,
    epoch: Timestamp,
    now: Duration,
    on_wire: BTreeSet<(Duration, CallKey)>,
    random: Rng,
}

impl Stage {
    fn new() -> Self {
        let epoch = Timestamp::from_second(1_795_000_000).unwrap();
        let now = Now { tick: Tick::ZERO, wall: epoch };
        let engine = Engine::new(policy(), vec![account(); PORTALS], 1, now);
        let (on_wire, random) = (BTreeSet::new(), Rng::with_seed(3));
        Self { engine, epoch, now: Duration::ZERO, on_wire, random }
    }

    fn engine_now(&self) -> Now {
        Now { tick: Tick::ZERO + self.now, wall: self.epoch + self.now }
    }

    fn admit(&mut self, portal: usize, jobs: usize) {
        let now = self.engine_now();
        for job in 0..jobs {
            let pairs = smallvec![pair(job as u64 + 1, 1)];
            let job = NewJob {
                action: Action::Archive,
                dry_run: false,
                account: AccountIndex(portal as u32),
                from_type: ObjectType::parse("contacts").unwrap(),
                to_type: ObjectType::parse("companies").unwrap(),
                asks: smallvec![Ask { extent: Extent::Whole, pairs, all_of: Vec::new() }],
                expiry: None,
                weight: 500,
                carried: Carried::fresh(now.wall),
            };
            self.engine.admit(job, now);
        }
    }

    /// Who sent when, until then.
    fn run(&mut self, until: Duration) -> Vec<(Duration, usize)> {
        let mut sent = Vec::new();
        self.engine.wake(self.engine_now());
        loop {
            while let Some(command) = self.engine.next_command() {
                if let Command::Send(call) = command {
                    sent.push((self.now, call.lane.account.0 as usize));
                    let latency = LATENCY.0 + (LATENCY.1 - LATENCY.0).mul_f64(self.random.f64());
                    self.on_wire.insert((self.now + latency, call.call));
                }
            }
            let answered = self.on_wire.first().map(|&(at, _)| at);
            let wake = self.engine.next_wake(self.engine_now()).map(|at| Duration::from_micros(at.as_micros()));
            let next = [answered, wake].into_iter().flatten().min().filter(|&at| at <= until);
            let Some(next) = next else {
                self.now = until;
                return sent;
            };
            self.now = next.max(self.now);
            match answered {
                Some(at) if at <= self.now => {
                    let (_, call) = self.on_wire.pop_first().unwrap();
                    self.engine.answered(call, &no_content(), self.engine_now());
                }
                _ => self.engine.wake(self.engine_now()),
            }
        }
    }
}

fn no_content() -> Reply {
    Reply::Answer(Answer { status: 204, headers: Headers::default(), body: Body::Whole(Bytes::new()) })
}

fn policy() -> EnginePolicy {
    EnginePolicy {
        caps: Caps { from: JOBS_A_REQUEST, pairs: 1_000 },
        max_in_flight: SLOTS,
        waiting: Waiting::Outside { longest_hold: Duration::from_secs(3_600), prefetch: 65_535 },
        ..EnginePolicy::default()
    }
}

/// With more quota than it can use.
fn account() -> AccountPolicy {
    let ceiling = Ceiling { requests: NonZeroU32::new(1_000).unwrap(), interval: Duration::from_secs(10) };
    AccountPolicy { ceiling, ..AccountPolicy::default() }
}
