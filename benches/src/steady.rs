//! The engine at a constant load: as many pairs come in as have left, so that what is measured is the cost of holding
//! a given number, and not the cost of growing.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use association_archiver::contract::action::Action;
use association_archiver::contract::association::{Extent, Pair, RecordId};
use association_archiver::contract::ids::AccountIndex;
use association_archiver::contract::job::Ask;
use association_archiver::contract::object_type::ObjectType;
use association_archiver::engine::account::AccountPolicy;
use association_archiver::engine::clock::{Now, Tick};
use association_archiver::engine::command::{BatchCall, Carried, Command, NewJob};
use association_archiver::engine::pace::Ceiling;
use association_archiver::engine::pack::Caps;
use association_archiver::engine::reply::{Answer, Body, Headers, Reply};
use association_archiver::engine::{Engine, EnginePolicy, Waiting};
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use smallvec::{SmallVec, smallvec};

/// One permit in each of these; the virtual clock goes on by more, so that every request is formed by its own step.
const INTERVAL: Duration = Duration::from_millis(1);
const STEP: Duration = Duration::from_millis(50);
const LINGER: Duration = Duration::from_millis(200);
/// Consecutive jobs with the same `from` record.
const JOBS_PER_FROM: u64 = 8;
/// An engine that sends no request in this many steps is stuck.
const IDLE_STEPS: usize = 1_000;

/// How much is held, and in how many lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Jobs of one pair each.
    pub held: usize,
    /// Over all portals, which they are dealt out to in turn.
    pub lanes: usize,
    pub portals: u32,
    /// What a request may carry; small enough that lanes of any number fill theirs alike where lanes are compared.
    pub pairs_per_request: usize,
}

/// What the three steps of some pairs' lives took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    pub pairs: u64,
    pub requests: u64,
    pub admit: Duration,
    pub form: Duration,
    pub settle: Duration,
}

impl Spent {
    pub fn total(&self) -> Duration {
        self.admit + self.form + self.settle
    }
}

#[derive(Debug)]
pub struct Steady {
    engine: Engine,
    types: Vec<(ObjectType, ObjectType)>,
    accounts: Vec<AccountIndex>,
    now: Now,
    next_job: u64,
    wire: Option<BatchCall>,
    archived: Reply,
    clock: fn() -> Duration,
}

impl Steady {
    /// An engine that holds `load` and has replaced all of it once.
    pub fn new(load: Load) -> Result<Self> {
        Self::with_clock(load, cpu_time)
    }

    /// The same, to be counted and not to be timed: valgrind does not bear the way in which the clock is asked.
    pub fn untimed(load: Load) -> Result<Self> {
        Self::with_clock(load, || Duration::ZERO)
    }

    fn with_clock(load: Load, clock: fn() -> Duration) -> Result<Self> {
        let now = Now { tick: Tick::ZERO, wall: "2026-01-01T00:00:00Z".parse()? };
        let types: Result<Vec<_>> = (0..load.lanes).map(lane_types).collect();
        let mut steady = Self {
            engine: Engine::new(policy(load), (0..load.portals).map(|_| account()).collect(), 1, now),
            types: types?,
            accounts: (0..load.portals).map(AccountIndex).collect(),
            now,
            next_job: 0,
            wire: None,
            archived: Reply::Answer(Answer {
                status: 204,
                headers: Headers::default(),
                body: Body::Whole(Bytes::new()),
            }),
            clock,
        };
        let jobs = steady.next_jobs(load.held);
        steady.admit(jobs);
        steady.turn_over(load.held as u64)?;
        Ok(steady)
    }

    /// Archives at least this many pairs and takes in as many new ones.
    pub fn turn_over(&mut self, pairs: u64) -> Result<Spent> {
        let mut spent = Spent::default();
        while spent.pairs < pairs {
            let call = self.form(&mut spent)?;
            let began = (self.clock)();
            let settled = self.settle(&call)?;
            spent.settle += (self.clock)().saturating_sub(began);
            spent.pairs += settled as u64;
            spent.requests += 1;
            let jobs = self.next_jobs(settled);
            let began = (self.clock)();
            self.admit(jobs);
            spent.admit += (self.clock)().saturating_sub(began);
        }
        Ok(spent)
    }

    fn form(&mut self, spent: &mut Spent) -> Result<BatchCall> {
        for _ in 0..IDLE_STEPS {
            self.now = Now { tick: self.now.tick + STEP, wall: self.now.wall.checked_add(STEP)? };
            let began = (self.clock)();
            self.engine.wake(self.now);
            while let Some(command) = self.engine.next_command() {
                if let Command::Send(call) = command {
                    self.wire = Some(call);
                }
            }
            spent.form += (self.clock)().saturating_sub(began);
            if let Some(call) = self.wire.take() {
                return Ok(call);
            }
        }
        Err(anyhow!("no request was formed in {IDLE_STEPS} steps"))
    }

    fn settle(&mut self, call: &BatchCall) -> Result<usize> {
        self.engine.answered(call.call, &self.archived, self.now);
        let mut settled = 0;
        while let Some(command) = self.engine.next_command() {
            match command {
                Command::Settle(_) => settled += 1,
                Command::Send(call) => self.wire = Some(call),
                other @ (Command::Record(_)
                | Command::Complete { .. }
                | Command::Refresh { .. }
                | Command::Identify { .. }
                | Command::RereadCredentials { .. }
                | Command::Park(_)
                | Command::HandBack(_)
                | Command::Forgotten(_)
                | Command::Notice(_)) => return Err(anyhow!("the engine wants {other:?}")),
            }
        }
        ensure!(settled == call.pairs.len(), "{settled} jobs of {} pairs are settled", call.pairs.len());
        Ok(settled)
    }

    fn admit(&mut self, jobs: Vec<NewJob>) {
        for job in jobs {
            self.engine.admit(job, self.now);
        }
    }

    fn next_jobs(&mut self, jobs: usize) -> Vec<NewJob> {
        (0..jobs).map(|_| self.next_job()).collect()
    }

    fn next_job(&mut self) -> NewJob {
        let index = self.next_job;
        self.next_job += 1;
        let record = index / JOBS_PER_FROM;
        let lane = record as usize % self.types.len();
        let (from_type, to_type) = self.types[lane].clone();
        let pairs: SmallVec<[Pair; 1]> = smallvec![Pair { from: scattered(record), to: scattered(index) }];
        NewJob {
            action: Action::Archive,
            dry_run: false,
            account: self.accounts[lane % self.accounts.len()],
            from_type,
            to_type,
            asks: smallvec![Ask { extent: Extent::Whole, pairs, all_of: Vec::new() }],
            expiry: None,
            weight: 256,
            carried: Carried::fresh(self.now.wall),
        }
    }
}

/// The thread's own time: what else the machine runs does not count.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let parts = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    if let (Ok(seconds), Ok(nanos)) = parts { Duration::new(seconds, nanos) } else { Duration::ZERO }
}

/// Record ids are not handed out in a row.
fn scattered(index: u64) -> RecordId {
    RecordId(NonZeroU64::MIN.saturating_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24))
}

fn lane_types(lane: usize) -> Result<(ObjectType, ObjectType)> {
    let custom = |id: usize| ObjectType::parse(&format!("2-{id}")).map_err(|fault| anyhow!("{fault:?}"));
    Ok((custom(1_000_000 + lane / 1_000)?, custom(2_000_000 + lane % 1_000)?))
}

fn policy(load: Load) -> EnginePolicy {
    EnginePolicy {
        caps: Caps { from: 100, pairs: load.pairs_per_request },
        linger: LINGER,
        max_in_flight: 1,
        waiting: Waiting::Outside { longest_hold: Duration::from_secs(3_600_000), prefetch: usize::MAX },
        ..EnginePolicy::default()
    }
}

fn account() -> AccountPolicy {
    AccountPolicy {
        ceiling: Ceiling { requests: NonZeroU32::MIN, interval: INTERVAL },
        max_in_flight: 1,
        ..AccountPolicy::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_comes_in_as_leaves() -> Result<()> {
        for load in [
            Load { held: 10, lanes: 1, portals: 1, pairs_per_request: 1_000 },
            Load { held: 2_000, lanes: 1, portals: 1, pairs_per_request: 1_000 },
            Load { held: 2_000, lanes: 200, portals: 7, pairs_per_request: 10 },
        ] {
            let mut steady = Steady::new(load)?;
            let spent = steady.turn_over(5_000)?;
            assert!(spent.pairs >= 5_000 && spent.requests > 0);
            assert_eq!(steady.engine.held_jobs(), load.held, "{load:?}");
        }
        Ok(())
    }
}
