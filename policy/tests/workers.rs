//! Several workers with one quota: leases and engines, a model of the lease queue with its single active consumer, and
//! everything that may go wrong between them, on a virtual clock.
//!
//! `SEED=17 cargo test -p policy --test workers` replays one history, `SEEDS=100000` tries as many as it says.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use policy::contract::action::Action;
use policy::contract::association::{Extent, Pair, RecordId};
use policy::contract::ids::AccountIndex;
use policy::contract::job::Ask;
use policy::contract::object_type::ObjectType;
use policy::engine::access::CredentialKind;
use policy::engine::account::{AccountPolicy, Safety};
use policy::engine::clock::{Now, Tick};
use policy::engine::command::{CallKey, Carried, Command, NewJob};
use policy::engine::guard::GuardPolicy;
use policy::engine::pace::Ceiling;
use policy::engine::pack::Caps;
use policy::engine::reply::{Answer, Body, Headers, Reply};
use policy::engine::retry::RetryPolicy;
use policy::engine::{Engine, EnginePolicy, Occasion, Waiting};
use policy::lease::message::{LeaseMessage, TenureId};
use policy::lease::reach::Reach;
use policy::lease::{Lease, LeaseCommand, LeasePolicy, PublicationKey, Standing};

/// The accounts of the lease.
const ALL: &[AccountIndex] = &[AccountIndex(0)];
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
/// By as much at most two workers' clocks drift apart in a history.
const CLOCKS_DIFFER: Duration = Duration::from_secs(2);

#[test]
fn at_most_one_sends_and_the_quota_is_kept_whatever_happens() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match (number("SEED"), number("SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, seeds) => 0..seeds.unwrap_or(40),
    };
    let (mut hours, mut faults, mut changes, mut requests) = (0.0, 0, 0, 0);
    for seed in seeds.clone() {
        let world = World::run(seed);
        hours += world.now.as_secs_f64() / 3_600.0;
        (faults, changes, requests) = (faults + world.faults, changes + world.changes, requests + world.sent.len());
    }
    eprintln!("{hours:.0} hours, {faults} faults, {changes} changes of holder, {requests} requests");
    if seeds.end - seeds.start > 1 {
        assert!(changes as u64 > (seeds.end - seeds.start) * 5, "the histories show too little");
    }
}

#[derive(Debug)]
enum Event {
    /// To the worker, on the subscription of that number.
    Delivered {
        worker: usize,
        subscription: u64,
        tag: u64,
        body: Vec<u8>,
    },
    /// To the broker.
    Arrived {
        worker: usize,
        life: u64,
        key: PublicationKey,
        body: Vec<u8>,
        confirm: bool,
    },
    /// To the worker: confirmed, or given up.
    Concluded {
        worker: usize,
        life: u64,
        key: PublicationKey,
        safe: bool,
    },
    Acknowledged {
        subscription: u64,
        tags: Vec<u64>,
    },
    Answered {
        worker: usize,
        life: u64,
        call: CallKey,
    },
    Wake {
        worker: usize,
        life: u64,
        planned: Duration,
    },
    /// The worker notices that its subscription is gone, and makes another.
    Lost {
        worker: usize,
        subscription: u64,
    },
    Subscribe {
        worker: usize,
        life: u64,
    },
    /// The broker notices that a consumer is gone.
    Gone {
        subscription: u64,
    },
    /// The broker had cut itself in two, and takes the consumer back.
    Healed {
        worker: usize,
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
    /// The operator looks at the guard.
    Answer,
}

#[derive(Debug)]
struct Message {
    body: Vec<u8>,
    tag: u64,
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
    lease: Lease,
    engine: Engine,
    subscription: Option<u64>,
    hears: bool,
    pair: u64,
    /// The memory of the publication on its way.
    publishing: Option<(PublicationKey, policy::lease::memory::Memory)>,
    reach: Option<Reach>,
    draining: bool,
    wake_at: Option<Duration>,
}

struct World {
    random: fastrand::Rng,
    now: Duration,
    agenda: BinaryHeap<Reverse<(Duration, u64)>>,
    events: std::collections::HashMap<u64, Event>,
    number: u64,
    queue: Queue,
    workers: Vec<Worker>,
    subscriptions: u64,
    /// The day's budget, where it must be kept.
    daily: Option<u64>,
    budget: Option<u64>,
    /// What may be removed, where that is guarded.
    guard: Option<GuardPolicy>,
    /// Until when everything may be.
    approved_until: Duration,
    /// What HubSpot has seen: when, and from whom.
    sent: Vec<(Duration, usize)>,
    seed: u64,
    faults: usize,
    changes: usize,
    holder: Option<usize>,
    slow_until: Duration,
}

impl World {
    fn run(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = random.usize(2..=4);
        let daily = random.bool().then(|| random.u64(50..2_000));
        let guard = random.bool().then(|| GuardPolicy {
            max_pairs: random.u64(20..400).try_into().unwrap(),
            window: Duration::from_secs(random.u64(60..900)),
        });
        let mut world = Self {
            now: Duration::ZERO,
            agenda: BinaryHeap::new(),
            events: std::collections::HashMap::new(),
            number: 0,
            queue: Queue::default(),
            workers: Vec::new(),
            subscriptions: 0,
            daily,
            budget: daily,
            guard,
            approved_until: Duration::ZERO,
            sent: Vec::new(),
            seed,
            faults: 0,
            changes: 0,
            holder: None,
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
        let holders = world
            .workers
            .iter()
            .filter(|worker| worker.alive.as_ref().is_some_and(|alive| alive.lease.standing() == Standing::Held));
        assert_eq!(holders.count(), 1, "seed {seed}: nobody works, {QUIET:?} after the last fault");
        world
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
            | Event::Wake { worker, .. }
            | Event::Lost { worker, .. }
            | Event::Subscribe { worker, .. } => Some(*worker),
            Event::Arrived { .. }
            | Event::Acknowledged { .. }
            | Event::Gone { .. }
            | Event::Healed { .. }
            | Event::Start { .. }
            | Event::Thaw { .. }
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
            Event::Subscribe { worker, life } if life == self.workers[worker].life => self.subscribe(worker),
            Event::Gone { subscription } => self.gone(subscription),
            // A queue that was declared anew meanwhile knows nothing of it.
            Event::Healed { worker, subscription, declared } if declared == self.queue.declared => {
                self.healed(worker, subscription);
            }
            Event::Acknowledged { subscription, tags } => {
                if self.queue.consumers.front().is_some_and(|(_, active)| *active == subscription) {
                    self.queue.unacknowledged.retain(|message| !tags.contains(&message.tag));
                }
            }
            Event::Arrived { worker, life, key, body, confirm } => {
                self.queue.ready.push_back(Message { body, tag: 0 });
                self.deliver();
                if confirm {
                    let way = self.way();
                    self.at(way, Event::Concluded { worker, life, key, safe: true });
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
            Event::Delivered { worker, subscription, tag, body } => self.with(worker, |alive, now| {
                if alive.subscription == Some(subscription) && alive.hears {
                    alive.lease.delivered(tag, LeaseMessage::parse(&body), now);
                }
            }),
            Event::Concluded { worker, life, key, safe } if life == self.workers[worker].life => {
                self.with(worker, |alive, now| {
                    let memory = alive.publishing.take_if(|(of, _)| *of == key).map(|(_, memory)| memory);
                    match (safe, memory) {
                        (true, Some(memory)) => {
                            alive.engine.written(ALL, &memory, now);
                            alive.lease.published(key, now);
                        }
                        (false, Some(_)) => alive.lease.not_published(key, now),
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
            Event::Wake { worker, life, planned } if life == self.workers[worker].life => {
                self.with(worker, |alive, now| {
                    // An earlier one has come since it was planned.
                    if alive.wake_at != Some(planned) {
                        return;
                    }
                    alive.wake_at = None;
                    alive.lease.wake(now);
                    alive.engine.wake(now);
                    if let Some(due) = alive.lease.seed_due()
                        && due <= now.tick
                    {
                        alive.lease.found_empty(false, u64::MAX - now.tick.as_micros(), now);
                    }
                });
            }
            Event::Lost { worker, subscription } => {
                // Whatever the broker still thinks of it, the connection is closed.
                self.at(NOTICED, Event::Gone { subscription });
                let is_it = |alive: &Alive| alive.subscription == Some(subscription);
                if self.workers[worker].alive.as_ref().is_some_and(is_it) {
                    self.with(worker, |alive, now| {
                        alive.subscription = None;
                        alive.lease.unsubscribed(now);
                    });
                    let (life, wait) = (self.workers[worker].life, self.up_to(3_000));
                    self.at(wait, Event::Subscribe { worker, life });
                }
            }
            // Of an earlier life.
            Event::Healed { .. }
            | Event::Subscribe { .. }
            | Event::Concluded { .. }
            | Event::Answered { .. }
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
            if let Some(command) = alive.lease.next_command() {
                self.obey_lease(worker, life, command, now);
            } else if let Some(command) = alive.engine.next_command() {
                if let Command::Send(call) = command {
                    self.send(worker, life, call.call);
                }
            } else if alive.reach.is_some() && alive.engine.held_jobs() < JOBS_IN_HAND && admitted < JOBS_IN_HAND {
                admitted += 1;
                alive.pair += 1;
                let job = job(alive.pair, now);
                alive.engine.admit(job, now);
                alive.engine.wake(now);
            } else {
                let urgent = alive.engine.wants_to_write(ALL, now);
                if !alive.draining {
                    alive.lease.remember(&alive.engine.memory(ALL, Occasion::Renewal, now), urgent, now);
                }
                if alive.lease.next_wake(now).is_none_or(|at| at > now.tick) && self.plan_wake(worker, now) {
                    return;
                }
                let Some(alive) = &mut self.workers[worker].alive else { return };
                alive.lease.wake(now);
            }
        }
    }

    /// True where nothing is to be done now.
    fn plan_wake(&mut self, worker: usize, now: Now) -> bool {
        let life = self.workers[worker].life;
        let Some(alive) = &mut self.workers[worker].alive else { return true };
        let times = [alive.lease.next_wake(now), alive.engine.next_wake(now), alive.lease.seed_due()];
        let Some(next) = times.into_iter().flatten().min() else { return true };
        let at = self.true_time(worker, next);
        let Some(alive) = &mut self.workers[worker].alive else { return true };
        if alive.wake_at.is_none_or(|planned| at < planned) {
            alive.wake_at = Some(at);
            let late = self.up_to(5);
            self.at(at.saturating_sub(self.now) + late, Event::Wake { worker, life, planned: at });
        }
        true
    }

    fn obey_lease(&mut self, worker: usize, life: u64, command: LeaseCommand, now: Now) {
        let Some(alive) = &mut self.workers[worker].alive else { return };
        match command {
            LeaseCommand::Publish { key, message } => {
                let body = message.encode();
                alive.publishing = Some((key, message.memory));
                let (way, lost) = (self.way(), self.random.u8(..) < 6 && self.now <= TROUBLE);
                // Whoever waits in vain for a confirm gives up after half of the lease time, arrived or not.
                self.at(LEASE / 2, Event::Concluded { worker, life, key, safe: false });
                if !lost || self.random.bool() {
                    self.at(way, Event::Arrived { worker, life, key, body, confirm: !lost });
                }
            }
            LeaseCommand::Acknowledge(tags) => {
                if let Some(subscription) = alive.subscription {
                    let way = self.way();
                    self.at(way, Event::Acknowledged { subscription, tags });
                }
            }
            LeaseCommand::Begin { inheritance, .. } => {
                alive.engine.inherit(ALL, &inheritance, now);
                if self.holder != Some(worker) {
                    (self.holder, self.changes) = (Some(worker), self.changes + 1);
                }
            }
            LeaseCommand::Hold(reach) => {
                alive.reach = Some(reach);
                alive.engine.hold(ALL, reach, now);
            }
            LeaseCommand::StandBy(_) => {
                alive.reach = None;
                alive.engine.stand_by(ALL, now);
            }
            LeaseCommand::Leave => self.die(worker, true),
            LeaseCommand::Warn(fault) => panic!("{fault}"),
        }
    }

    /// A request leaves: the promises are held against it.
    fn send(&mut self, worker: usize, life: u64, call: CallKey) {
        let seed = self.seed;
        for other in (0..self.workers.len()).filter(|&other| other != worker) {
            let now = self.clock(other);
            let reach = self.workers[other].alive.as_ref().and_then(|alive| alive.reach);
            assert!(!reach.is_some_and(|reach| reach.covers(now)), "seed {seed}: {other} may send beside {worker}");
        }
        self.sent.push((self.now, worker));
        let interval = CEILING.interval;
        let recent = self.sent.iter().rev().take_while(|(at, _)| self.now - *at < interval).count();
        assert!(recent <= CEILING.requests.get() as usize, "seed {seed}: {recent} requests at {:?}", self.now);
        if let Some(daily) = self.daily {
            assert!(self.sent.len() as u64 <= daily, "seed {seed}: more than the day's {daily} at {:?}", self.now);
        }
        if let Some(GuardPolicy { max_pairs, window }) = self.guard.filter(|_| self.now >= self.approved_until) {
            let begins = self.approved_until.max(self.now.saturating_sub(window) + CLOCKS_DIFFER);
            let removed = self.sent.iter().rev().take_while(|(at, _)| *at >= begins).count() as u64;
            assert!(removed <= max_pairs.get(), "seed {seed}: {removed} pairs within {window:?} at {:?}", self.now);
        }
        let wait = Duration::from_millis(20) + self.up_to(200);
        self.at(wait, Event::Answered { worker, life, call });
    }

    /// Whoever holds the lease is told to go on, or not to.
    fn answer_guard(&mut self) {
        let (window, word) = (self.guard.map_or(Duration::ZERO, |guard| guard.window), self.random.u8(0..4));
        let holds = |worker: usize| self.workers[worker].alive.as_ref().is_some_and(|alive| alive.reach.is_some());
        if let Some(worker) = self.holder.filter(|&worker| holds(worker) && self.workers[worker].frozen_until.is_none())
        {
            match word {
                0 => {
                    self.approved_until = self.now + window + CLOCKS_DIFFER;
                    self.with(worker, |alive, now| {
                        alive.engine.approve(AccountIndex(0), now);
                    });
                }
                1 => self.with(worker, |alive, now| {
                    alive.engine.reject(AccountIndex(0), now);
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
        let tenure = TenureId::new(self.random.u64(..));
        let lease = Lease::new(LeasePolicy { time: LEASE, tenure, holder: worker.to_string() });
        let mut engine = Engine::new(policy(), vec![account(self.budget, self.guard)], self.random.u64(..), now);
        engine.stand_by(ALL, now);
        self.workers[worker].life += 1;
        let pair = self.workers[worker].life * 1_000_000;
        self.workers[worker].alive = Some(Alive {
            lease,
            engine,
            subscription: None,
            hears: true,
            pair,
            publishing: None,
            reach: None,
            draining: false,
            wake_at: None,
        });
        let life = self.workers[worker].life;
        self.at(Duration::from_millis(50), Event::Subscribe { worker, life });
    }

    fn subscribe(&mut self, worker: usize) {
        // It has died since it meant to.
        if self.workers[worker].alive.is_none() {
            return;
        }
        let first_ever = self.subscriptions == 0;
        let queue = &self.queue;
        let is_empty = queue.ready.is_empty() && queue.unacknowledged.is_empty() && queue.consumers.is_empty();
        self.subscriptions += 1;
        let subscription = self.subscriptions;
        self.queue.consumers.push_back((worker, subscription));
        let random = self.random.u64(..);
        self.with(worker, |alive, now| {
            (alive.subscription, alive.hears) = (Some(subscription), true);
            alive.lease.subscribed(now);
            if is_empty {
                alive.lease.found_empty(first_ever, random, now);
            }
        });
        self.deliver();
    }

    /// The broker gives all that is ready to the active consumer.
    fn deliver(&mut self) {
        let Some(&(worker, subscription)) = self.queue.consumers.front() else { return };
        let mut way = self.way();
        while let Some(mut message) = self.queue.ready.pop_front() {
            self.queue.tags += 1;
            message.tag = self.queue.tags;
            // In order, however long the way.
            way += Duration::from_micros(10);
            let (tag, body) = (message.tag, message.body.clone());
            self.queue.unacknowledged.push_back(message);
            self.at(way, Event::Delivered { worker, subscription, tag, body });
        }
    }

    fn gone(&mut self, subscription: u64) {
        let was_active = self.queue.consumers.front().is_some_and(|(_, active)| *active == subscription);
        self.queue.consumers.retain(|(_, of)| *of != subscription);
        if was_active {
            while let Some(message) = self.queue.unacknowledged.pop_back() {
                self.queue.ready.push_front(message);
            }
            self.deliver();
        }
    }

    fn healed(&mut self, worker: usize, subscription: u64) {
        let lives = self.workers[worker].alive.as_ref().is_some_and(|alive| alive.subscription == Some(subscription));
        if lives && !self.queue.consumers.iter().any(|(_, of)| *of == subscription) {
            self.queue.consumers.push_back((worker, subscription));
            self.deliver();
        }
    }

    fn die(&mut self, worker: usize, in_order: bool) {
        let Some(alive) = self.workers[worker].alive.take() else { return };
        if let Some(subscription) = alive.subscription {
            // The kernel closes the connection of a dead process; a dead machine says nothing.
            let noticed = if in_order || self.random.bool() { Duration::from_millis(20) } else { NOTICED };
            self.at(noticed, Event::Gone { subscription });
        }
        let again = Duration::from_millis(500) + self.up_to(60_000);
        self.at(again, Event::Start { worker });
    }

    fn fault(&mut self) {
        if self.now > TROUBLE {
            return;
        }
        self.faults += 1;
        let worker = self.random.usize(0..self.workers.len());
        let worker = self.holder.filter(|_| self.random.bool()).unwrap_or(worker);
        let frozen = self.workers[worker].frozen_until.is_some();
        let subscription = self.workers[worker].alive.as_ref().and_then(|alive| alive.subscription);
        let ends_in = |world: &mut Self| world.up_to(40_000);
        match self.random.u8(0..9) {
            0 if !frozen => self.die(worker, false),
            1 if !frozen => self.with(worker, |alive, now| {
                if !alive.draining {
                    alive.draining = true;
                    alive.engine.drain(now);
                    let memory = alive.engine.memory(ALL, Occasion::Release, now);
                    (alive.publishing, alive.reach) = (alive.publishing.take(), None);
                    alive.lease.release(&memory, now);
                }
            }),
            2 if !frozen => {
                let span = ends_in(self);
                self.workers[worker].frozen_until = Some(self.now + span);
                self.at(span, Event::Thaw { worker });
                if span > NOTICED
                    && let Some(subscription) = subscription
                {
                    self.at(NOTICED, Event::Gone { subscription });
                    self.at(span, Event::Lost { worker, subscription });
                }
            }
            // The line is cut: each side notices in its own time, the worker hears nothing until then.
            3 | 4 => {
                if let (Some(alive), Some(subscription)) = (&mut self.workers[worker].alive, subscription) {
                    alive.hears = self.random.bool();
                    let (mine, theirs) = (ends_in(self), ends_in(self));
                    self.at(mine, Event::Lost { worker, subscription });
                    self.at(theirs, Event::Gone { subscription });
                }
            }
            5 => {
                let span = ends_in(self);
                self.slow_until = self.now + span;
            }
            // The broker is cut in two: the queue goes to another consumer, and the worker is not told.
            6 => {
                if let Some(subscription) = subscription {
                    self.gone(subscription);
                    let span = ends_in(self);
                    let declared = self.queue.declared;
                    self.at(span, Event::Healed { worker, subscription, declared });
                }
            }
            // The broker restarts.
            7 => {
                for (worker, subscription) in self.queue.consumers.clone() {
                    self.gone(subscription);
                    let noticed = self.up_to(1_000);
                    self.at(noticed, Event::Lost { worker, subscription });
                }
            }
            // The queue is deleted, and its consumers are told so.
            8 if self.random.u8(..) < 60 => {
                self.queue.ready.clear();
                self.queue.unacknowledged.clear();
                self.queue.declared += 1;
                // The day's count goes with the message.
                (self.daily, self.guard) = (None, None);
                for (worker, subscription) in std::mem::take(&mut self.queue.consumers) {
                    let way = self.way();
                    self.at(way, Event::Lost { worker, subscription });
                }
            }
            _ => {}
        }
        let next = self.up_to(60_000);
        self.at(next, Event::Fault);
    }
}

fn policy() -> EnginePolicy {
    EnginePolicy {
        caps: Caps { from: 1, pairs: 1 },
        linger: Duration::ZERO,
        retry: RetryPolicy {
            max_attempts: 5,
            base_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(30),
            max_age: Duration::from_secs(86_400),
        },
        isolation_requests: 200,
        max_pairs: 10_000,
        max_in_flight: 64,
        waiting: Waiting::Outside { longest_hold: Duration::from_secs(490), prefetch: 10_000 },
    }
}

fn account(daily: Option<u64>, guard: Option<GuardPolicy>) -> AccountPolicy {
    AccountPolicy {
        portal: None,
        credentials: CredentialKind::Static,
        ceiling: CEILING,
        daily,
        time_zone: Some(TimeZone::UTC),
        max_in_flight: 16,
        paused: false,
        safety: Safety::default(),
        guard,
    }
}

fn job(number: u64, now: Now) -> NewJob {
    let record = |id: u64| RecordId(id.try_into().unwrap());
    let pairs = [Pair { from: record(number), to: record(1) }].into_iter().collect();
    let object_type = ObjectType::parse("contacts").unwrap();
    NewJob {
        action: Action::Archive,
        dry_run: false,
        account: AccountIndex(0),
        from_type: object_type.clone(),
        to_type: object_type,
        asks: [Ask { extent: Extent::Whole, pairs, all_of: Vec::new() }].into_iter().collect(),
        not_after: None,
        weight: 100,
        carried: Carried::fresh(now.wall),
    }
}
