//! Several workers with one quota: leases and engines, a model of the lease queues with their single active consumer,
//! and everything that may go wrong between them, on a virtual clock. In half of the histories the accounts have shards.
//!
//! `SEED=17 cargo test -p policy --test workers` replays one history, `SEEDS=100000` tries as many as it says.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use policy::contract::action::Action;
use policy::contract::association::{Extent, Pair, RecordId};
use policy::contract::ids::{AccountIndex, PortalId};
use policy::contract::job::Ask;
use policy::contract::object_type::ObjectType;
use policy::engine::account::AccountPolicy;
use policy::engine::clock::{Now, Tick};
use policy::engine::command::{CallKey, Carried, Command, IdentityReply, NewJob};
use policy::engine::guard::GuardPolicy;
use policy::engine::pace::Ceiling;
use policy::engine::pack::Caps;
use policy::engine::reply::{Answer, Body, Headers, Reply};
use policy::engine::{Engine, EnginePolicy, Occasion};
use policy::lease::message::{LeaseMessage, TenureId};
use policy::lease::reach::Reach;
use policy::lease::{Lease, LeaseCommand, LeasePolicy, PublicationKey, Standing};
use policy::shards::fair_share::FairShare;

const LEASE: Duration = Duration::from_secs(10);
const CEILING: Ceiling =
    Ceiling { requests: std::num::NonZeroU32::new(20).unwrap(), interval: Duration::from_secs(10) };
/// What the broker, or a worker, needs to notice that a peer is gone.
const NOTICED: Duration = Duration::from_secs(30);
/// Faults happen for this long, and then everything must come right again.
const TROUBLE: Duration = Duration::from_secs(1_800);
/// A lost message costs ten lease times, and each further step another few.
const QUIET: Duration = Duration::from_secs(300);
const JOBS_IN_HAND: usize = 5;
/// How often a worker compares the shards that it holds with its share.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What was given up is looked for again after this many looks.
const LOOKED_FOR_AFTER: usize = 3;
/// How long a worker that has given a lease up stays away.
const AWAY: Duration = Duration::from_secs(1);
const MOST_SHARDS: usize = 6;
/// By as much at most two workers' clocks drift apart in a history.
const CLOCKS_DIFFER: Duration = Duration::from_secs(2);

#[test]
fn at_most_one_sends_and_the_quota_is_kept_whatever_happens() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match (number("SEED"), number("SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, seeds) => 0..seeds.unwrap_or(24),
    };
    let (mut hours, mut faults, mut changes, mut requests, mut given) = (0.0, 0, 0, 0, 0);
    for seed in seeds.clone() {
        let world = World::run(seed);
        hours += world.now.as_secs_f64() / 3_600.0;
        (faults, changes, given) = (faults + world.faults, changes + world.changes, given + world.given_up);
        requests += world.shards.iter().map(|shard| shard.sent.len()).sum::<usize>();
    }
    let histories = seeds.end - seeds.start;
    eprintln!(
        "{histories} histories, {hours:.0} hours, {faults} faults, {changes} changes of holder, {given} shards given up, \
         {requests} requests"
    );
    if histories > 1 {
        let enough =
            changes as u64 > histories * 5 && given as u64 > histories * 2 && requests as u64 > histories * 100;
        assert!(enough, "the histories show too little");
    }
}

#[derive(Debug)]
enum Event {
    /// To the worker, on the subscription of that number.
    Delivered {
        worker: usize,
        shard: usize,
        subscription: u64,
        tag: u64,
        body: Vec<u8>,
    },
    /// To the broker.
    Arrived {
        worker: usize,
        shard: usize,
        life: u64,
        key: PublicationKey,
        body: Vec<u8>,
        confirm: bool,
    },
    /// To the worker: confirmed, or given up.
    Concluded {
        worker: usize,
        shard: usize,
        life: u64,
        key: PublicationKey,
        safe: bool,
    },
    Acknowledged {
        shard: usize,
        subscription: u64,
        tags: Vec<u64>,
    },
    Answered {
        worker: usize,
        life: u64,
        call: CallKey,
    },
    /// HubSpot tells whose credentials they are.
    Identified {
        worker: usize,
        life: u64,
        call: CallKey,
        shard: usize,
    },
    Wake {
        worker: usize,
        life: u64,
        planned: Duration,
    },
    /// The worker notices that its subscription is gone, and makes another.
    Lost {
        worker: usize,
        shard: usize,
        subscription: u64,
    },
    Subscribe {
        worker: usize,
        shard: usize,
        life: u64,
    },
    /// The broker notices that a consumer is gone.
    Gone {
        shard: usize,
        subscription: u64,
    },
    /// The broker had cut itself in two, and takes the consumer back.
    Healed {
        worker: usize,
        shard: usize,
        subscription: u64,
        declared: u64,
    },
    Start {
        worker: usize,
    },
    Thaw {
        worker: usize,
    },
    Fault,
    /// The operator looks at a guard.
    Answer,
    /// The worker compares what it holds with its share.
    Look {
        worker: usize,
        life: u64,
    },
    /// The broker counts the worker among those that would take a shard.
    Present {
        worker: usize,
        life: u64,
    },
    /// And no longer.
    Absent {
        worker: usize,
        life: u64,
    },
}

#[derive(Debug)]
struct Message {
    body: Vec<u8>,
    tag: u64,
}

/// An account, and the queue of its lease.
struct Shard {
    queue: Queue,
    /// The day's budget, where it must be kept.
    daily: Option<u64>,
    budget: Option<u64>,
    /// What may be removed, where that is guarded.
    guard: Option<GuardPolicy>,
    /// Until when everything may be.
    approved_until: Duration,
    /// What HubSpot has seen: when, and from whom.
    sent: Vec<(Duration, usize)>,
    /// Questions whose credentials they are, which count in the interval and in nothing else.
    asked: Vec<Duration>,
    holder: Option<usize>,
}

/// A lease queue: what is ready, what the active consumer holds, and who waits.
#[derive(Default)]
struct Queue {
    ready: VecDeque<Message>,
    unacknowledged: VecDeque<Message>,
    /// Worker and subscription; the first is the active one.
    consumers: VecDeque<(usize, u64)>,
    tags: u64,
    /// How many times it was deleted and declared again.
    declared: u64,
    /// Somebody has subscribed to it before.
    is_known: bool,
}

impl Shard {
    fn drawn(random: &mut fastrand::Rng) -> Self {
        let daily = random.bool().then(|| random.u64(50..2_000));
        let guard = random.bool().then(|| GuardPolicy {
            max_pairs: random.u64(20..400).try_into().unwrap(),
            window: Duration::from_secs(random.u64(60..900)),
        });
        Self {
            queue: Queue::default(),
            daily,
            budget: daily,
            guard,
            approved_until: Duration::ZERO,
            sent: Vec::new(),
            asked: Vec::new(),
            holder: None,
        }
    }
}

struct Worker {
    life: u64,
    alive: Option<Alive>,
    frozen_until: Option<Duration>,
    /// What came while it was frozen.
    missed: VecDeque<Event>,
    /// Its clock runs faster by `drift`, in parts per million, and began earlier by `offset`.
    drift: i64,
    offset: Duration,
}

struct Alive {
    /// One for each shard.
    seats: Vec<Seat>,
    engine: Engine,
    pair: u64,
    draining: bool,
    wake_at: Option<Duration>,
    share: FairShare,
    /// What was given up at the last looks.
    given: VecDeque<Option<usize>>,
}

/// A worker's part in the lease of one shard.
struct Seat {
    lease: Lease,
    subscription: Option<u64>,
    hears: bool,
    /// The memory of the publication on its way.
    publishing: Option<(PublicationKey, policy::lease::memory::Memory)>,
    reach: Option<Reach>,
    gives_up: bool,
}

impl Seat {
    fn new(lease: Lease) -> Self {
        Self { lease, subscription: None, hears: true, publishing: None, reach: None, gives_up: false }
    }

    fn is_mine(&self) -> bool {
        matches!(self.lease.standing(), Standing::Held | Standing::Waiting)
    }
}

struct World {
    random: fastrand::Rng,
    now: Duration,
    agenda: BinaryHeap<Reverse<(Duration, u64)>>,
    events: std::collections::HashMap<u64, Event>,
    number: u64,
    shards: Vec<Shard>,
    workers: Vec<Worker>,
    subscriptions: u64,
    /// Workers, by their life, that the broker counts.
    present: Vec<(usize, u64)>,
    seed: u64,
    faults: usize,
    changes: usize,
    given_up: usize,
    slow_until: Duration,
}

impl World {
    fn run(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = random.usize(2..=4);
        let shards = if random.bool() { 1 } else { random.usize(2..=MOST_SHARDS) };
        let shards = (0..shards).map(|_| Shard::drawn(&mut random)).collect();
        let mut world = Self {
            now: Duration::ZERO,
            agenda: BinaryHeap::new(),
            events: std::collections::HashMap::new(),
            number: 0,
            shards,
            workers: Vec::new(),
            subscriptions: 0,
            present: Vec::new(),
            seed,
            faults: 0,
            changes: 0,
            given_up: 0,
            slow_until: Duration::ZERO,
            random,
        };
        for worker in 0..count {
            let (drift, offset) = (world.random.i64(-200..=200), Duration::from_secs(world.random.u64(100..100_000)));
            let frozen = (None, VecDeque::new());
            world.workers.push(Worker {
                life: 0,
                alive: None,
                frozen_until: frozen.0,
                missed: frozen.1,
                drift,
                offset,
            });
            let at = world.up_to(5_000);
            world.at(at, Event::Start { worker });
        }
        world.at(Duration::from_secs(5), Event::Fault);
        world.at(Duration::from_secs(60), Event::Answer);
        while let Some(Reverse((at, number))) = world.agenda.pop() {
            if at > TROUBLE + QUIET {
                break;
            }
            world.now = at;
            let event = world.events.remove(&number).unwrap();
            world.happen(event);
        }
        world.all_is_well();
        world
    }

    /// At the end of a history.
    fn all_is_well(&self) {
        let seed = self.seed;
        let alive = || self.workers.iter().filter_map(|worker| worker.alive.as_ref());
        let holds = |alive: &Alive, shard: usize| alive.seats[shard].lease.standing() == Standing::Held;
        for shard in 0..self.shards.len() {
            let holders = alive().filter(|alive| holds(alive, shard)).count();
            assert_eq!(holders, 1, "seed {seed}: nobody works on {shard}, {QUIET:?} after the last fault");
        }
        let most = alive().map(|alive| (0..self.shards.len()).filter(|&shard| holds(alive, shard)).count()).max();
        let share = self.shards.len().div_ceil(alive().count());
        assert!(most <= Some(share), "seed {seed}: {most:?} shards held, and the share is {share}");
    }

    fn at(&mut self, wait: Duration, event: Event) {
        self.number += 1;
        self.agenda.push(Reverse((self.now + wait, self.number)));
        self.events.insert(self.number, event);
    }

    fn up_to(&mut self, millis: u64) -> Duration {
        Duration::from_millis(self.random.u64(0..=millis))
    }

    /// The way between a worker and the broker, which is slow at times.
    fn way(&mut self) -> Duration {
        let slow = self.now < self.slow_until;
        self.up_to(if slow { 8_000 } else { 30 })
    }

    fn clock(&self, worker: usize) -> Now {
        let Worker { drift, offset, .. } = self.workers[worker];
        let micros = i64::try_from(self.now.as_micros()).unwrap();
        let own = micros + micros / 1_000_000 * drift;
        let tick = Tick::ZERO + offset + Duration::from_micros(own.unsigned_abs());
        let wall = Timestamp::from_second(1_795_000_000).unwrap() + Duration::from_micros(own.unsigned_abs());
        Now { tick, wall }
    }

    /// When a worker's clock will show `tick`.
    fn true_time(&self, worker: usize, tick: Tick) -> Duration {
        let ahead = tick.since(self.clock(worker).tick);
        self.now + ahead + ahead / 1_000 + Duration::from_micros(1)
    }

    fn happen(&mut self, event: Event) {
        let worker = match &event {
            Event::Delivered { worker, .. }
            | Event::Concluded { worker, .. }
            | Event::Answered { worker, .. }
            | Event::Identified { worker, .. }
            | Event::Wake { worker, .. }
            | Event::Lost { worker, .. }
            | Event::Look { worker, .. }
            | Event::Subscribe { worker, .. } => Some(*worker),
            Event::Arrived { .. }
            | Event::Acknowledged { .. }
            | Event::Gone { .. }
            | Event::Healed { .. }
            | Event::Start { .. }
            | Event::Thaw { .. }
            | Event::Present { .. }
            | Event::Absent { .. }
            | Event::Answer
            | Event::Fault => None,
        };
        if let Some(worker) = worker.filter(|&worker| self.workers[worker].frozen_until.is_some()) {
            return self.workers[worker].missed.push_back(event);
        }
        match event {
            Event::Fault => self.fault(),
            Event::Answer => self.answer_guard(),
            Event::Start { worker } => self.start(worker),
            Event::Subscribe { worker, shard, life } if life == self.workers[worker].life => {
                self.subscribe(worker, shard);
            }
            Event::Look { worker, life } if life == self.workers[worker].life => self.look(worker, life),
            Event::Present { worker, life } if life == self.workers[worker].life => self.present.push((worker, life)),
            Event::Absent { worker, life } => self.present.retain(|of| *of != (worker, life)),
            Event::Gone { shard, subscription } => self.gone(shard, subscription),
            // A queue that was declared anew meanwhile knows nothing of it.
            Event::Healed { worker, shard, subscription, declared }
                if declared == self.shards[shard].queue.declared =>
            {
                self.healed(worker, shard, subscription);
            }
            Event::Acknowledged { shard, subscription, tags } => {
                let queue = &mut self.shards[shard].queue;
                if queue.consumers.front().is_some_and(|(_, active)| *active == subscription) {
                    queue.unacknowledged.retain(|message| !tags.contains(&message.tag));
                }
            }
            Event::Arrived { worker, shard, life, key, body, confirm } => {
                self.shards[shard].queue.ready.push_back(Message { body, tag: 0 });
                self.deliver(shard);
                if confirm {
                    let way = self.way();
                    self.at(way, Event::Concluded { worker, shard, life, key, safe: true });
                }
            }
            Event::Thaw { worker } => {
                self.workers[worker].frozen_until = None;
                // The engine may be the first to run.
                self.with(worker, |alive, now| alive.engine.wake(now));
                for event in std::mem::take(&mut self.workers[worker].missed) {
                    self.happen(event);
                }
            }
            Event::Delivered { worker, shard, subscription, tag, body } => self.with(worker, |alive, now| {
                let seat = &mut alive.seats[shard];
                if seat.subscription == Some(subscription) && seat.hears {
                    seat.lease.delivered(tag, LeaseMessage::parse(&body), now);
                }
            }),
            Event::Concluded { worker, shard, life, key, safe } if life == self.workers[worker].life => {
                self.with(worker, |alive, now| {
                    let seat = &mut alive.seats[shard];
                    let memory = seat.publishing.take_if(|(of, _)| *of == key).map(|(_, memory)| memory);
                    match (safe, memory) {
                        (true, Some(memory)) => {
                            alive.engine.written(&of(shard), &memory, now);
                            seat.lease.published(key, now);
                        }
                        (false, Some(_)) => seat.lease.not_published(key, now),
                        (_, None) => {}
                    }
                });
            }
            Event::Answered { worker, life, call } if life == self.workers[worker].life => {
                let reply = Answer { status: 204, headers: Headers::default(), body: Body::Whole(Vec::new().into()) };
                self.with(worker, |alive, now| {
                    alive.engine.answered(call, &Reply::Answer(reply), now);
                });
            }
            Event::Identified { worker, life, call, shard } if life == self.workers[worker].life => {
                let told = IdentityReply::Told { portal: portal(shard).0, time_zone: None };
                self.with(worker, |alive, now| alive.engine.identified(call, told, now));
            }
            Event::Wake { worker, life, planned } if life == self.workers[worker].life => {
                self.with(worker, |alive, now| {
                    // An earlier one has come since it was planned.
                    if alive.wake_at != Some(planned) {
                        return;
                    }
                    alive.wake_at = None;
                    alive.seats.iter_mut().for_each(|seat| seat.lease.wake(now));
                    alive.engine.wake(now);
                    for seat in &mut alive.seats {
                        if seat.lease.seed_due().is_some_and(|due| due <= now.tick) {
                            seat.lease.found_empty(false, u64::MAX - now.tick.as_micros(), now);
                        }
                    }
                });
            }
            Event::Lost { worker, shard, subscription } => {
                // Whatever the broker still thinks of it, the connection is closed.
                self.at(NOTICED, Event::Gone { shard, subscription });
                let is_it = |alive: &Alive| alive.seats[shard].subscription == Some(subscription);
                if self.workers[worker].alive.as_ref().is_some_and(is_it) {
                    self.with(worker, |alive, now| {
                        alive.seats[shard].subscription = None;
                        alive.seats[shard].lease.unsubscribed(now);
                    });
                    let (life, wait) = (self.workers[worker].life, self.up_to(3_000));
                    self.at(wait, Event::Subscribe { worker, shard, life });
                }
            }
            // Of an earlier life.
            Event::Healed { .. }
            | Event::Subscribe { .. }
            | Event::Concluded { .. }
            | Event::Answered { .. }
            | Event::Identified { .. }
            | Event::Look { .. }
            | Event::Present { .. }
            | Event::Wake { .. } => {}
        }
    }

    /// Does something with a living worker, and then what it says.
    fn with(&mut self, worker: usize, act: impl FnOnce(&mut Alive, Now)) {
        let now = self.clock(worker);
        let Some(alive) = &mut self.workers[worker].alive else { return };
        act(alive, now);
        self.obey(worker);
    }

    fn obey(&mut self, worker: usize) {
        let now = self.clock(worker);
        let life = self.workers[worker].life;
        // An account that is paused parks them at once, so there is an end to it.
        let mut admitted = 0;
        loop {
            let Some(alive) = &mut self.workers[worker].alive else { return };
            let commands = alive.seats.iter_mut().zip(0..);
            let of_lease = commands.filter_map(|(seat, shard)| Some((shard, seat.lease.next_command()?))).next();
            let held: Vec<usize> = (0..alive.seats.len()).filter(|&at| alive.seats[at].reach.is_some()).collect();
            let in_hand = JOBS_IN_HAND * held.len();
            if let Some((shard, command)) = of_lease {
                self.obey_lease(worker, shard, life, command, now);
            } else if let Some(command) = alive.engine.next_command() {
                if let Command::Send(call) = command {
                    self.send(worker, call.lane.account.0 as usize, life, call.call);
                } else if let Command::Identify { call, account } = command {
                    self.identify(worker, account.0 as usize, life, call);
                }
            } else if alive.engine.held_jobs() < in_hand && admitted < in_hand {
                admitted += 1;
                alive.pair += 1;
                let shard = held[alive.pair as usize % held.len()];
                alive.engine.admit(job(shard, alive.pair, now), now);
                alive.engine.wake(now);
            } else {
                if !alive.draining {
                    for (seat, shard) in alive.seats.iter_mut().zip(0..).filter(|(seat, _)| seat.reach.is_some()) {
                        let urgent = alive.engine.wants_to_write(&of(shard), now);
                        seat.lease.remember(&alive.engine.memory(&of(shard), Occasion::Renewal, now), urgent, now);
                    }
                }
                let next = alive.seats.iter().filter_map(|seat| seat.lease.next_wake(now)).min();
                if next.is_none_or(|at| at > now.tick) && self.plan_wake(worker, now) {
                    return;
                }
                let Some(alive) = &mut self.workers[worker].alive else { return };
                alive.seats.iter_mut().for_each(|seat| seat.lease.wake(now));
            }
        }
    }

    /// True where nothing is to be done now.
    fn plan_wake(&mut self, worker: usize, now: Now) -> bool {
        let life = self.workers[worker].life;
        let Some(alive) = &mut self.workers[worker].alive else { return true };
        let of_seats = alive.seats.iter().flat_map(|seat| [seat.lease.next_wake(now), seat.lease.seed_due()]);
        let Some(next) = of_seats.chain([alive.engine.next_wake(now)]).flatten().min() else { return true };
        let at = self.true_time(worker, next);
        let Some(alive) = &mut self.workers[worker].alive else { return true };
        if alive.wake_at.is_none_or(|planned| at < planned) {
            alive.wake_at = Some(at);
            let late = self.up_to(5);
            self.at(at.saturating_sub(self.now) + late, Event::Wake { worker, life, planned: at });
        }
        true
    }

    fn obey_lease(&mut self, worker: usize, shard: usize, life: u64, command: LeaseCommand, now: Now) {
        let Some(alive) = &mut self.workers[worker].alive else { return };
        let seat = &mut alive.seats[shard];
        match command {
            LeaseCommand::Publish { key, message } => {
                let body = message.encode();
                seat.publishing = Some((key, message.memory));
                let (way, lost) = (self.way(), self.random.u8(..) < 6 && self.now <= TROUBLE);
                // Whoever waits in vain for a confirm gives up after half of the lease time, arrived or not.
                self.at(LEASE / 2, Event::Concluded { worker, shard, life, key, safe: false });
                if !lost || self.random.bool() {
                    self.at(way, Event::Arrived { worker, shard, life, key, body, confirm: !lost });
                }
            }
            LeaseCommand::Acknowledge(tags) => {
                if let Some(subscription) = seat.subscription {
                    let way = self.way();
                    self.at(way, Event::Acknowledged { shard, subscription, tags });
                }
            }
            LeaseCommand::Begin { inheritance, .. } => {
                alive.engine.inherit(&of(shard), &inheritance, now);
                if self.shards[shard].holder != Some(worker) {
                    (self.shards[shard].holder, self.changes) = (Some(worker), self.changes + 1);
                }
            }
            LeaseCommand::Hold(reach) => {
                // What was used is said already, so nothing may be added to it.
                if !seat.gives_up {
                    seat.reach = Some(reach);
                    alive.engine.hold(&of(shard), reach, now);
                }
            }
            LeaseCommand::StandBy(_) => {
                seat.reach = None;
                alive.engine.stand_by(&of(shard), now);
            }
            LeaseCommand::Leave if seat.gives_up && !alive.draining => {
                let tenure = TenureId::new(self.random.u64(..));
                let fresh = Lease::new(LeasePolicy { time: LEASE, tenure, holder: worker.to_string() });
                let left = std::mem::replace(seat, Seat::new(fresh));
                if let Some(subscription) = left.subscription {
                    self.at(Duration::from_millis(20), Event::Gone { shard, subscription });
                }
                self.at(AWAY, Event::Subscribe { worker, shard, life });
            }
            LeaseCommand::Leave => {
                let left = |seat: &Seat| seat.lease.standing() == Standing::Left;
                if alive.seats.iter().all(left) {
                    self.die(worker, true);
                }
            }
            LeaseCommand::Warn(fault) => panic!("{fault}"),
        }
    }

    /// Gives one shard up where it holds too many.
    fn look(&mut self, worker: usize, life: u64) {
        self.at(LOOK_EVERY, Event::Look { worker, life });
        let (shards, workers, choice) = (self.shards.len(), self.present.len(), self.random.usize(..));
        let mut gave = 0;
        self.with(worker, |alive, now| {
            let mine = alive.seats.iter().filter(|seat| seat.is_mine()).count();
            let standing = |shard: &usize| alive.seats[*shard].lease.standing();
            let held: Vec<usize> = (0..shards).filter(|shard| standing(shard) == Standing::Held).collect();
            let one = (!held.is_empty() && !alive.draining).then(|| held[choice % held.len()]);
            let one = one.filter(|_| alive.share.look(mine, shards, workers));
            if let Some(shard) = one.filter(|&shard| !alive.seats[shard].gives_up) {
                gave = 1;
                alive.engine.stand_by(&of(shard), now);
                let memory = alive.engine.memory(&of(shard), Occasion::Release, now);
                let seat = &mut alive.seats[shard];
                (seat.gives_up, seat.reach) = (true, None);
                seat.lease.release(&memory, now);
            }
            alive.given.push_back(one);
            if let Some(shard) = alive.given.pop_front().flatten() {
                alive.share.learn(alive.seats[shard].is_mine());
            }
        });
        self.given_up += gave;
    }

    /// What leaves at all: the promises are held against it.
    fn leaves(&mut self, worker: usize, shard: usize) {
        let (seed, now) = (self.seed, self.now);
        for other in (0..self.workers.len()).filter(|&other| other != worker) {
            let clock = self.clock(other);
            let reach = self.workers[other].alive.as_ref().and_then(|alive| alive.seats[shard].reach);
            assert!(!reach.is_some_and(|reach| reach.covers(clock)), "seed {seed}: {other} may send beside {worker}");
        }
        let Shard { sent, asked, .. } = &self.shards[shard];
        let since = |at: &Duration| now - *at < CEILING.interval;
        let recent = sent.iter().rev().take_while(|(at, _)| since(at)).count();
        let recent = recent + asked.iter().rev().take_while(|at| since(at)).count();
        assert!(recent <= CEILING.requests.get() as usize, "seed {seed}: {recent} requests at {now:?}");
    }

    fn identify(&mut self, worker: usize, shard: usize, life: u64, call: CallKey) {
        self.shards[shard].asked.push(self.now);
        self.leaves(worker, shard);
        let wait = Duration::from_millis(20) + self.up_to(200);
        self.at(wait, Event::Identified { worker, life, call, shard });
    }

    fn send(&mut self, worker: usize, shard: usize, life: u64, call: CallKey) {
        self.shards[shard].sent.push((self.now, worker));
        self.leaves(worker, shard);
        let (seed, now, of_shard) = (self.seed, self.now, &self.shards[shard]);
        let sent = &of_shard.sent;
        if let Some(daily) = of_shard.daily {
            assert!(sent.len() as u64 <= daily, "seed {seed}: more than the day's {daily} at {now:?}");
        }
        if let Some(GuardPolicy { max_pairs, window }) = of_shard.guard.filter(|_| now >= of_shard.approved_until) {
            let begins = of_shard.approved_until.max(now.saturating_sub(window) + CLOCKS_DIFFER);
            let removed = sent.iter().rev().take_while(|(at, _)| *at >= begins).count() as u64;
            assert!(removed <= max_pairs.get(), "seed {seed}: {removed} pairs within {window:?} at {now:?}");
        }
        let wait = Duration::from_millis(20) + self.up_to(200);
        self.at(wait, Event::Answered { worker, life, call });
    }

    /// Whoever holds a lease is told to go on, or not to.
    fn answer_guard(&mut self) {
        let (shard, word) = (self.random.usize(..self.shards.len()), self.random.u8(0..4));
        let account = AccountIndex(shard as u32);
        let window = self.shards[shard].guard.map_or(Duration::ZERO, |guard| guard.window);
        let holds = |worker: &usize| {
            let Worker { alive, frozen_until, .. } = &self.workers[*worker];
            frozen_until.is_none() && alive.as_ref().is_some_and(|alive| alive.seats[shard].reach.is_some())
        };
        if let Some(worker) = self.shards[shard].holder.filter(holds) {
            match word {
                0 => {
                    self.shards[shard].approved_until = self.now + window + CLOCKS_DIFFER;
                    self.with(worker, |alive, now| {
                        alive.engine.approve(account, now);
                    });
                }
                1 => self.with(worker, |alive, now| {
                    alive.engine.reject(account, now);
                }),
                _ => {}
            }
        }
        let next = self.up_to(300_000);
        self.at(next, Event::Answer);
    }

    fn start(&mut self, worker: usize) {
        if self.workers[worker].alive.is_some() {
            return;
        }
        let now = self.clock(worker);
        let mut lease = || {
            let tenure = TenureId::new(self.random.u64(..));
            Seat::new(Lease::new(LeasePolicy { time: LEASE, tenure, holder: worker.to_string() }))
        };
        let seats: Vec<Seat> = self.shards.iter().map(|_| lease()).collect();
        let accounts = self.shards.iter().zip(0..).map(|(of, shard)| account(portal(shard), of.budget, of.guard));
        let mut engine = Engine::new(policy(), accounts.collect(), self.random.u64(..), now);
        engine.stand_by(&engine.all_accounts(), now);
        self.workers[worker].life += 1;
        let life = self.workers[worker].life;
        self.workers[worker].alive = Some(Alive {
            seats,
            engine,
            pair: life * 1_000_000,
            draining: false,
            wake_at: None,
            share: FairShare::default(),
            given: VecDeque::from([None; LOOKED_FOR_AFTER]),
        });
        for shard in 0..self.shards.len() {
            self.at(Duration::from_millis(50), Event::Subscribe { worker, shard, life });
        }
        self.at(LOOK_EVERY, Event::Look { worker, life });
        self.at(LOOK_EVERY, Event::Present { worker, life });
    }

    fn subscribe(&mut self, worker: usize, shard: usize) {
        // It has died since it meant to, or has subscribed for another reason.
        let waits = |alive: &Alive| alive.seats[shard].subscription.is_none();
        if !self.workers[worker].alive.as_ref().is_some_and(waits) {
            return;
        }
        let queue = &mut self.shards[shard].queue;
        let first_ever = !std::mem::replace(&mut queue.is_known, true);
        let is_empty = queue.ready.is_empty() && queue.unacknowledged.is_empty() && queue.consumers.is_empty();
        self.subscriptions += 1;
        let subscription = self.subscriptions;
        queue.consumers.push_back((worker, subscription));
        let random = self.random.u64(..);
        self.with(worker, |alive, now| {
            let seat = &mut alive.seats[shard];
            (seat.subscription, seat.hears) = (Some(subscription), true);
            seat.lease.subscribed(now);
            if is_empty {
                seat.lease.found_empty(first_ever, random, now);
            }
        });
        self.deliver(shard);
    }

    /// The broker gives all that is ready to the active consumer.
    fn deliver(&mut self, shard: usize) {
        let mut way = self.way();
        let queue = &mut self.shards[shard].queue;
        let Some(&(worker, subscription)) = queue.consumers.front() else { return };
        let mut delivered = Vec::new();
        while let Some(mut message) = queue.ready.pop_front() {
            queue.tags += 1;
            message.tag = queue.tags;
            // In order, however long the way.
            way += Duration::from_micros(10);
            let (tag, body) = (message.tag, message.body.clone());
            queue.unacknowledged.push_back(message);
            delivered.push((way, Event::Delivered { worker, shard, subscription, tag, body }));
        }
        delivered.into_iter().for_each(|(way, event)| self.at(way, event));
    }

    fn gone(&mut self, shard: usize, subscription: u64) {
        let queue = &mut self.shards[shard].queue;
        let was_active = queue.consumers.front().is_some_and(|(_, active)| *active == subscription);
        queue.consumers.retain(|(_, of)| *of != subscription);
        if was_active {
            while let Some(message) = queue.unacknowledged.pop_back() {
                queue.ready.push_front(message);
            }
            self.deliver(shard);
        }
    }

    fn healed(&mut self, worker: usize, shard: usize, subscription: u64) {
        let is_it = |alive: &Alive| alive.seats[shard].subscription == Some(subscription);
        let lives = self.workers[worker].alive.as_ref().is_some_and(is_it);
        let queue = &mut self.shards[shard].queue;
        if lives && !queue.consumers.iter().any(|(_, of)| *of == subscription) {
            queue.consumers.push_back((worker, subscription));
            self.deliver(shard);
        }
    }

    fn die(&mut self, worker: usize, in_order: bool) {
        let Some(alive) = self.workers[worker].alive.take() else { return };
        // The kernel closes the connection of a dead process; a dead machine says nothing.
        let noticed = if in_order || self.random.bool() { Duration::from_millis(20) } else { NOTICED };
        for (seat, shard) in alive.seats.iter().zip(0..) {
            if let Some(subscription) = seat.subscription {
                self.at(noticed, Event::Gone { shard, subscription });
            }
        }
        self.at(noticed, Event::Absent { worker, life: self.workers[worker].life });
        let again = Duration::from_millis(500) + self.up_to(60_000);
        self.at(again, Event::Start { worker });
    }

    /// The worker's subscriptions, all of which are on one connection.
    fn subscriptions_of(&self, worker: usize) -> Vec<(usize, u64)> {
        let seats = self.workers[worker].alive.iter().flat_map(|alive| alive.seats.iter().zip(0..));
        seats.filter_map(|(seat, shard)| Some((shard, seat.subscription?))).collect()
    }

    fn fault(&mut self) {
        if self.now > TROUBLE {
            return;
        }
        self.faults += 1;
        let (shard, worker) = (self.random.usize(..self.shards.len()), self.random.usize(..self.workers.len()));
        let worker = self.shards[shard].holder.filter(|_| self.random.bool()).unwrap_or(worker);
        let frozen = self.workers[worker].frozen_until.is_some();
        let subscriptions = self.subscriptions_of(worker);
        let ends_in = |world: &mut Self| world.up_to(40_000);
        match self.random.u8(0..9) {
            0 if !frozen => self.die(worker, false),
            1 if !frozen => self.with(worker, |alive, now| {
                if !alive.draining {
                    alive.draining = true;
                    alive.engine.drain(now);
                    for (seat, shard) in alive.seats.iter_mut().zip(0..) {
                        let memory = alive.engine.memory(&of(shard), Occasion::Release, now);
                        seat.reach = None;
                        seat.lease.release(&memory, now);
                    }
                }
            }),
            2 if !frozen => {
                let span = ends_in(self);
                self.workers[worker].frozen_until = Some(self.now + span);
                self.at(span, Event::Thaw { worker });
                for (shard, subscription) in subscriptions.into_iter().filter(|_| span > NOTICED) {
                    self.at(NOTICED, Event::Gone { shard, subscription });
                    self.at(span, Event::Lost { worker, shard, subscription });
                }
            }
            // The line is cut: each side notices in its own time, the worker hears nothing until then.
            3 | 4 => {
                let (hears, mine, theirs) = (self.random.bool(), ends_in(self), ends_in(self));
                for (shard, subscription) in subscriptions {
                    if let Some(alive) = &mut self.workers[worker].alive {
                        alive.seats[shard].hears = hears;
                    }
                    self.at(mine, Event::Lost { worker, shard, subscription });
                    self.at(theirs, Event::Gone { shard, subscription });
                }
            }
            5 => {
                let span = ends_in(self);
                self.slow_until = self.now + span;
            }
            // The broker is cut in two: the queue goes to another consumer, and the worker is not told.
            6 => {
                if let Some(&(_, subscription)) = subscriptions.iter().find(|(of, _)| *of == shard) {
                    self.gone(shard, subscription);
                    let span = ends_in(self);
                    let declared = self.shards[shard].queue.declared;
                    self.at(span, Event::Healed { worker, shard, subscription, declared });
                }
            }
            // The broker restarts.
            7 => {
                for shard in 0..self.shards.len() {
                    for (worker, subscription) in self.shards[shard].queue.consumers.clone() {
                        self.gone(shard, subscription);
                        let noticed = self.up_to(1_000);
                        self.at(noticed, Event::Lost { worker, shard, subscription });
                    }
                }
            }
            // A queue is deleted, and its consumers are told so.
            8 if self.random.u8(..) < 60 => {
                let of_shard = &mut self.shards[shard];
                of_shard.queue.ready.clear();
                of_shard.queue.unacknowledged.clear();
                of_shard.queue.declared += 1;
                // The day's count goes with the message.
                (of_shard.daily, of_shard.guard) = (None, None);
                for (worker, subscription) in std::mem::take(&mut of_shard.queue.consumers) {
                    let way = self.way();
                    self.at(way, Event::Lost { worker, shard, subscription });
                }
            }
            _ => {}
        }
        let next = self.up_to(60_000);
        self.at(next, Event::Fault);
    }
}

fn policy() -> EnginePolicy {
    EnginePolicy { caps: Caps { from: 1, pairs: 1 }, linger: Duration::ZERO, ..EnginePolicy::default() }
}

/// The accounts of a shard's lease.
fn of(shard: usize) -> [AccountIndex; 1] {
    [AccountIndex(shard as u32)]
}

fn portal(shard: usize) -> PortalId {
    PortalId((shard as u64 + 1).try_into().unwrap())
}

fn account(portal: PortalId, daily: Option<u64>, guard: Option<GuardPolicy>) -> AccountPolicy {
    let (portal, time_zone) = (Some(portal), Some(TimeZone::UTC));
    AccountPolicy { portal, ceiling: CEILING, daily, time_zone, guard, ..AccountPolicy::default() }
}

fn job(shard: usize, number: u64, now: Now) -> NewJob {
    let record = |id: u64| RecordId(id.try_into().unwrap());
    let pairs = [Pair { from: record(number), to: record(1) }].into_iter().collect();
    let object_type = ObjectType::parse("contacts").unwrap();
    NewJob {
        action: Action::Archive,
        dry_run: false,
        account: AccountIndex(shard as u32),
        from_type: object_type.clone(),
        to_type: object_type,
        asks: [Ask { extent: Extent::Whole, pairs, all_of: Vec::new() }].into_iter().collect(),
        expiry: None,
        weight: 100,
        carried: Carried::fresh(now.wall),
    }
}
