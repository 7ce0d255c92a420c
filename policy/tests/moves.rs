//! Jobs on their way from the shared queue to the shards, while workers with different settings hold the queues, die, and
//! hear nothing of what they have published.
//!
//! `SEED=17 cargo test -p policy --test moves` replays one history, `SEEDS=100000` tries as many as it says.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation)]

use std::collections::{BTreeMap, VecDeque};

use policy::contract::ids::{AccountIndex, PortalId};
use policy::shards::placement::Placement;
use policy::shards::{Layout, Sharding};

const ACCOUNTS: u64 = 6;
const JOBS: usize = 60;
/// Steps while everything may go wrong; a step lasts a second.
const TROUBLE: u64 = 4_000;
/// Longest wait of a job that was on the wrong shard, several times over.
const QUIET: u64 = 20_000;

#[test]
fn no_job_is_lost_or_goes_round_whatever_the_workers_settings() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match (number("SEED"), number("SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, seeds) => 0..seeds.unwrap_or(200),
    };
    let (mut seconds, mut faults, mut moves, mut waits) = (0, 0, 0, 0);
    for seed in seeds {
        let world = World::run(seed);
        (seconds, faults) = (seconds + world.now, faults + world.faults);
        (moves, waits) = (moves + world.moves, waits + world.waits);
    }
    eprintln!("{} hours, {faults} faults, {moves} jobs moved, {waits} on the wrong shard", seconds / 3_600);
}

#[derive(Clone, Debug)]
struct Message {
    job: usize,
    /// As its header counts them.
    moves: u32,
    /// Moves since it last waited.
    hops: u32,
}

struct World {
    random: fastrand::Rng,
    seed: u64,
    now: u64,
    /// By name, as the broker knows them.
    queues: BTreeMap<String, VecDeque<Message>>,
    /// What waits, and when it comes back to the shared queue.
    delayed: Vec<(u64, Message)>,
    /// The settings of each worker.
    workers: Vec<Layout>,
    /// Who holds the lease of a queue; only those know it whose settings name it.
    holders: BTreeMap<String, usize>,
    /// Taken and not acknowledged yet: by whom, from where.
    in_hand: Vec<(usize, String, Message)>,
    answers: Vec<usize>,
    /// What may have doubled a job.
    excuses: Vec<usize>,
    faults: u64,
    moves: u64,
    waits: u64,
}

impl World {
    fn run(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let workers = (0..random.usize(1..=3)).map(|_| layout(&mut random)).collect();
        let mut world = Self {
            random,
            seed,
            now: 0,
            queues: BTreeMap::new(),
            delayed: Vec::new(),
            workers,
            holders: BTreeMap::new(),
            in_hand: Vec::new(),
            answers: vec![0; JOBS],
            excuses: vec![0; JOBS],
            faults: 0,
            moves: 0,
            waits: 0,
        };
        for job in 0..JOBS {
            world.publish(JOBS_QUEUE.to_owned(), Message { job, moves: 0, hops: 0 });
        }
        while world.now < TROUBLE {
            if world.random.u8(..) < 40 {
                world.fault();
            }
            world.step();
        }
        // All get the same settings. One worker keeps each other queue until it is empty.
        let settings = layout(&mut world.random);
        world.workers = vec![settings];
        world.workers.extend(every_layout());
        (world.holders, world.in_hand) = (BTreeMap::new(), world.taken_back());
        while world.now < TROUBLE + QUIET && world.is_busy() {
            world.step();
        }
        for job in 0..JOBS {
            let (answers, excuses) = (world.answers[job], world.excuses[job]);
            assert!(answers > 0, "seed {seed}: job {job} is lost, or goes round: {:?}", world.queues);
            assert!(answers <= 1 + excuses, "seed {seed}: job {job} has {answers} answers, {excuses} are explained");
        }
        world
    }

    fn is_busy(&self) -> bool {
        !self.in_hand.is_empty() || !self.delayed.is_empty() || self.queues.values().any(|queue| !queue.is_empty())
    }

    fn publish(&mut self, queue: String, message: Message) {
        self.queues.entry(queue).or_default().push_back(message);
    }

    fn step(&mut self) {
        self.now += 1;
        let now = self.now;
        let due: Vec<Message> = self.delayed.extract_if(.., |(at, _)| *at <= now).map(|(_, message)| message).collect();
        due.into_iter().for_each(|message| self.publish(JOBS_QUEUE.to_owned(), message));
        for name in self.queues.keys().cloned().collect::<Vec<_>>() {
            let Some(worker) = self.holder(&name) else { continue };
            let taken = self.queues.get_mut(&name).and_then(VecDeque::pop_front);
            self.in_hand.extend(taken.map(|message| (worker, name.clone(), message)));
        }
        if !self.in_hand.is_empty() {
            let (worker, name, message) = self.in_hand.swap_remove(self.random.usize(..self.in_hand.len()));
            self.deal_with(worker, &name, message);
        }
    }

    /// Whoever has the lease, or takes it.
    fn holder(&mut self, name: &str) -> Option<usize> {
        let knows = |worker: &usize| {
            self.workers[*worker].queues().any(|queue| self.workers[*worker].name(queue, JOBS_QUEUE) == name)
        };
        if let Some(holder) = self.holders.get(name).filter(|holder| knows(holder)) {
            return Some(*holder);
        }
        let holder = (0..self.workers.len()).find(knows)?;
        self.holders.insert(name.to_owned(), holder);
        Some(holder)
    }

    fn deal_with(&mut self, worker: usize, name: &str, message: Message) {
        let layout = &self.workers[worker];
        let queue = layout.queues().find(|&queue| layout.name(queue, JOBS_QUEUE) == name).unwrap();
        let account = AccountIndex(message.job as u32 % ACCOUNTS as u32);
        let copy = match Placement::of(queue, layout.queue_of(account), message.moves) {
            Placement::Here => return self.answers[message.job] += 1,
            Placement::Move(shard) => {
                assert_eq!(name, JOBS_QUEUE, "seed {}: only the shared queue's holder moves", self.seed);
                assert_eq!(message.hops, 0, "seed {}: {message:?} was moved before and did not wait", self.seed);
                self.moves += 1;
                let moved = Message { moves: message.moves + 1, hops: message.hops + 1, ..message.clone() };
                (Some(layout.name(shard, JOBS_QUEUE)), moved)
            }
            Placement::Wait(tier) => {
                self.waits += 1;
                let back = self.now + tier.wait().as_secs();
                self.delayed.push((back, Message { hops: 0, ..message.clone() }));
                (None, message.clone())
            }
        };
        // The copy is there, and the confirm of it may be lost: then the message comes again.
        if let (Some(target), copy) = copy {
            self.publish(target, copy);
        }
        if self.now < TROUBLE && self.random.u8(..) < 12 {
            self.faults += 1;
            self.excuses[message.job] += 1;
            self.queues.entry(name.to_owned()).or_default().push_front(message);
        }
    }

    fn fault(&mut self) {
        self.faults += 1;
        let worker = self.random.usize(..self.workers.len());
        match self.random.u8(0..3) {
            // It dies, and starts again perhaps with other settings, as in a rolling change of them.
            0 => {
                self.in_hand = self.taken_back_from(worker);
                self.holders.retain(|_, holder| *holder != worker);
                if self.random.bool() {
                    self.workers[worker] = layout(&mut self.random);
                }
            }
            // It loses its connection: whatever it has in hand comes again.
            1 => self.in_hand = self.taken_back_from(worker),
            // It gives a queue up.
            _ => {
                let names: Vec<String> = self.holders.keys().cloned().collect();
                if !names.is_empty() {
                    let name = &names[self.random.usize(..names.len())];
                    self.holders.insert(name.clone(), worker);
                }
            }
        }
    }

    fn taken_back_from(&mut self, worker: usize) -> Vec<(usize, String, Message)> {
        let (back, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.in_hand).into_iter().partition(|one| one.0 == worker);
        for (_, name, message) in back {
            self.queues.entry(name).or_default().push_front(message);
        }
        kept
    }

    fn taken_back(&mut self) -> Vec<(usize, String, Message)> {
        (0..3).fold(Vec::new(), |_, worker| self.taken_back_from(worker))
    }
}

const JOBS_QUEUE: &str = "jobs";

fn every_layout() -> Vec<Layout> {
    let number = |shards: u16| Sharding::Number(shards.try_into().unwrap());
    let shardings = [Sharding::None, Sharding::PerAccount, number(1), number(2), number(3), number(5)];
    // Some shards of accounts and some numbered ones have the same names.
    let portals: Vec<_> = (1..=ACCOUNTS).map(|id| Some(PortalId(id.try_into().unwrap()))).collect();
    shardings.map(|sharding| Layout::new(sharding, portals.clone()).unwrap()).into()
}

fn layout(random: &mut fastrand::Rng) -> Layout {
    let mut layouts = every_layout();
    layouts.swap_remove(random.usize(..layouts.len()))
}
