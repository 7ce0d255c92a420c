//! Runs a seed: the engine, HubSpot's world, the way between them, and crashes.

use std::collections::{BTreeMap, VecDeque};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use association_archiver::contract::action::Action;
use association_archiver::contract::association::Extent;
use association_archiver::contract::ids::AccountIndex;
use association_archiver::contract::object_type::{ObjectType, TypePair};
use association_archiver::engine::account::AccountPolicy;
use association_archiver::engine::backlog::JobKey;
use association_archiver::engine::clock::{Now, Tick};
use association_archiver::engine::command::{
    BatchCall, CallKey, Carried, Command, LaneId, NewJob, Notice, Request as Asked,
};
use association_archiver::engine::course::Course;
use association_archiver::engine::folds::SAMPLES;
use association_archiver::engine::pace::Ceiling;
use association_archiver::engine::pack::Caps;
use association_archiver::engine::reply::{self, Body, Headers, Reply, Silence};
use association_archiver::engine::retry::RetryPolicy;
use association_archiver::engine::{Engine, EnginePolicy, Remains};
use fastrand::Rng;
use hashbrown::HashMap;
use hubspot_simulator::association::Associations;
use hubspot_simulator::behaviour::{Behaviour, IdForm, Order, Reads, SecondPrimary};
use hubspot_simulator::{Account, Request, World};
use jiff::Timestamp;

use super::errand::{Errand, LANES, Links, errands, furnish, links};
use super::journal::Journal;
use super::truth;
use crate::far_side::{body, received, target};
use crate::promises::{Broken, Kept, promise};
use crate::scenario::choose;

/// What runs came to.
#[derive(Clone, Copy, Default, Debug)]
pub struct Totals {
    looks: u64,
    changes: u64,
    crashes: u64,
    plans: u64,
    restored: u64,
    too_many: u64,
    not_restorable: u64,
    undone: u64,
    unwritable: u64,
    folded: u64,
    unfolded: u64,
}

impl Totals {
    pub fn add(&mut self, other: Self) {
        self.looks += other.looks;
        self.changes += other.changes;
        self.crashes += other.crashes;
        self.plans += other.plans;
        self.restored += other.restored;
        self.too_many += other.too_many;
        self.not_restorable += other.not_restorable;
        self.undone += other.undone;
        self.unwritable += other.unwritable;
        self.folded += other.folded;
        self.unfolded += other.unfolded;
    }

    pub fn has_everything(&self) -> bool {
        let Self { looks, changes, crashes, plans, restored, .. } = *self;
        let Self { too_many, not_restorable, undone, unwritable, folded, unfolded, .. } = *self;
        let all = [looks, changes, crashes, plans, restored, too_many, not_restorable, undone, unwritable];
        all.iter().chain(&[folded, unfolded]).all(|&times| times > 0)
    }
}

/// A job on its way to the engine.
#[derive(Clone, Copy, Debug)]
struct Delivery {
    errand: usize,
    carried: Option<Carried>,
}

/// From here on nothing goes wrong any more.
const CALM_FROM: Duration = Duration::from_secs(300);
/// By then everything has ended.
const ENDS_BY: Duration = Duration::from_secs(48 * 3_600);
const MOST_STEPS: u64 = 200_000;

struct Run {
    shown: bool,
    rng: Rng,
    policy: EnginePolicy,
    account: AccountPolicy,
    world: World,
    engine: Engine,
    now: Duration,
    /// When the process started that is there now.
    started: Duration,
    epoch: Timestamp,
    errands: Vec<Errand>,
    coming: BTreeMap<(Duration, u64), Delivery>,
    entered: u64,
    wire: BTreeMap<(Duration, u64), (CallKey, Reply)>,
    held: HashMap<JobKey, Delivery>,
    said: Vec<VecDeque<truth::Said>>,
    trouble: f64,
    /// Types of which folding has ended in this process.
    unfolded: Vec<(ObjectType, ObjectType)>,
    journal: Journal,
    totals: Totals,
}

pub fn run(seed: u64, shown: bool) -> Result<Totals, Broken> {
    let mut run = Run::new(seed, shown);
    let before = links(&run.world.accounts[0].associations);
    run.to_the_end().map_err(|Broken(what)| Broken(format!("after {:?}: {what}", run.now)))?;
    run.close(&before)?;
    run.totals.unwritable = run.journal.failed;
    if run.account.safety.journal {
        run.totals.undone = 1;
        run.journal.undo(&before, &mut run.world.accounts[0].associations)?;
    }
    Ok(run.totals)
}

impl Run {
    fn new(seed: u64, shown: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let epoch = Timestamp::from_second(1_795_000_000).unwrap();
        let mut account = Account::new(4_711).with_token("token");
        account.associations = Associations::none();
        account.associations.mirrored = rng.u8(..4) > 0;
        furnish(&mut account.associations, &mut rng);
        let mut world = World::with_accounts(seed, epoch, vec![account]);
        world.arrivals.kept = 0;
        world.behaviour = behaviour(&mut rng);
        let mut policy = policy(&mut rng);
        if seed.is_multiple_of(3) {
            policy.fold = folded();
            policy.caps.from = 3;
            if !world.accounts[0].associations.mirrored {
                // All pairs of a request are its samples then: of others nobody could tell what became of them.
                policy.caps = Caps { from: 1, pairs: SAMPLES };
            }
        }
        let mut account_policy = account_policy(&mut rng);
        // Where an association is to be seen from one side only, a look from the other sees none.
        account_policy.safety.journal = world.accounts[0].associations.mirrored && seed.is_multiple_of(2);
        let account = account_policy;
        let errands = errands(&mut rng, !policy.fold.is_empty());
        let coming = errands.iter().enumerate();
        let coming =
            coming.map(|(index, errand)| ((errand.at, index as u64), Delivery { errand: index, carried: None }));
        Self {
            shown,
            engine: Engine::new(policy.clone(), vec![account.clone()], seed, Now { tick: Tick::ZERO, wall: epoch }),
            policy,
            account,
            world,
            now: Duration::ZERO,
            started: Duration::ZERO,
            epoch,
            coming: coming.collect(),
            entered: errands.len() as u64,
            wire: BTreeMap::new(),
            held: HashMap::new(),
            said: vec![VecDeque::new(); errands.len()],
            errands,
            trouble: *choose(&mut rng, &[0.0, 0.05, 0.3]),
            rng,
            unfolded: Vec::new(),
            journal: Journal::default(),
            totals: Totals::default(),
        }
    }

    fn clock(&self) -> Now {
        let since = u64::try_from((self.now - self.started).as_micros()).unwrap_or(u64::MAX);
        Now { tick: Tick::from_micros(since), wall: self.epoch + self.now }
    }

    fn tell(&self, words: impl FnOnce() -> String) {
        if self.shown {
            println!("{:>12.6} {}", self.now.as_secs_f64(), words());
        }
    }

    fn to_the_end(&mut self) -> Kept {
        for _ in 0..MOST_STEPS {
            if self.coming.is_empty() && self.held.is_empty() && self.wire.is_empty() && self.journal.is_idle() {
                return Ok(());
            }
            promise!(self.now < ENDS_BY, "{} jobs have no outcome", self.held.len() + self.coming.len());
            self.step()?;
        }
        Err(Broken(format!("{MOST_STEPS} steps did not bring it to its end")))
    }

    fn step(&mut self) -> Kept {
        let wake = self.engine.next_wake(self.clock()).map(|at| self.started + Duration::from_micros(at.as_micros()));
        let coming = self.coming.first_key_value().map(|(&(at, _), _)| at);
        let reply = self.wire.first_key_value().map(|(&(at, _), _)| at);
        let written = self.journal.next_time();
        let Some(next) = [wake, coming, reply, written].into_iter().flatten().min() else {
            return Err(Broken("nothing will ever happen".to_owned()));
        };
        self.now = self.now.max(next);
        if self.now < CALM_FROM && self.rng.f64() < self.trouble / 50.0 {
            self.crash();
        } else if written == Some(next) {
            if let Some((call, result)) = self.journal.answer(&mut self.rng) {
                self.tell(|| format!("{call:?} recorded: {result:?}"));
                self.engine.recorded(call, result, self.clock());
            }
        } else if reply == Some(next) {
            let Some((_, (call, reply))) = self.wire.pop_first() else { return Ok(()) };
            let answered = self.engine.answered(call, &reply, self.clock());
            self.tell(|| format!("{call:?} {:?} {}", answered.result, in_short(&reply)));
        } else if coming == Some(next) {
            let Some((_, delivery)) = self.coming.pop_first() else { return Ok(()) };
            self.admit(delivery);
        } else {
            self.engine.wake(self.clock());
        }
        self.obey()
    }

    fn admit(&mut self, delivery: Delivery) {
        let errand = &self.errands[delivery.errand];
        let (from_type, to_type) = errand.types();
        let job = NewJob {
            account: AccountIndex(0),
            from_type,
            to_type,
            action: errand.action,
            dry_run: errand.dry_run,
            asks: errand.asks.clone(),
            not_after: None,
            weight: 100,
            carried: delivery.carried.unwrap_or_else(|| Carried::fresh(self.epoch + self.now)),
        };
        let key = self.engine.admit(job, self.clock());
        self.tell(|| format!("{key:?} is {} {errand:?}", delivery.errand));
        self.held.insert(key, delivery);
        self.engine.wake(self.clock());
    }

    /// The process is gone; the next one gets all its jobs again, and hears nothing of what was on the wire.
    fn crash(&mut self) {
        self.tell(|| "crash".to_owned());
        self.totals.crashes += 1;
        self.started = self.now;
        let mut held: Vec<Delivery> = self.held.drain().map(|(_, delivery)| delivery).collect();
        held.sort_by_key(|delivery| delivery.errand);
        for delivery in held {
            self.comes_back(delivery, Duration::from_secs(1));
        }
        self.wire.clear();
        self.journal.crash(&mut self.rng);
        let seed = self.rng.u64(..);
        self.engine = Engine::new(self.policy.clone(), vec![self.account.clone()], seed, self.clock());
        self.unfolded.clear();
    }

    fn comes_back(&mut self, delivery: Delivery, after: Duration) {
        self.entered += 1;
        self.coming.insert((self.now + after, self.entered), delivery);
    }

    fn obey(&mut self) -> Kept {
        while let Some(command) = self.engine.next_command() {
            match command {
                Command::Send(call) => self.send(&call)?,
                Command::Settle(settled) => {
                    let delivery = self.leaves(settled.job)?;
                    self.tell(|| format!("{} settles {settled:?}", delivery.errand));
                    let said = truth::Said::of(&settled);
                    said.agrees_with(&self.errands[delivery.errand])?;
                    self.totals.plans += u64::from(said.is_plan());
                    self.totals.too_many += u64::from(said.says("TOO_MANY_PAIRS"));
                    self.totals.not_restorable += u64::from(said.says("NOT_RESTORABLE"));
                    self.said[delivery.errand].push_back(said);
                }
                Command::Park(parked) => {
                    let delivery = self.leaves(parked.job)?;
                    self.comes_back(Delivery { carried: Some(parked.carried), ..delivery }, parked.tier.wait());
                }
                Command::HandBack(key) => return Err(Broken(format!("{key:?} is handed back"))),
                Command::Forgotten(key) => return Err(Broken(format!("{key:?} is forgotten"))),
                Command::Notice(notice) => {
                    self.tell(|| format!("{notice:?}"));
                    if let Notice::Unfolded { lane, .. } = &notice {
                        promise!(!self.world.accounts[0].associations.mirrored, "folding ends, but it works");
                        self.totals.unfolded += 1;
                        self.unfolded.push(of_types(lane));
                    }
                }
                Command::Record(call) => {
                    promise!(self.account.safety.journal, "the account has no journal");
                    let trouble = if self.now < CALM_FROM { self.trouble } else { 0.0 };
                    self.journal.record(call, self.epoch + self.now, self.now, trouble, &mut self.rng);
                }
                Command::Complete { completion, .. } => self.journal.complete(&completion, self.trouble, &mut self.rng),
                Command::Refresh { .. } | Command::Identify { .. } | Command::RereadCredentials { .. } => {
                    return Err(Broken("the token is good".to_owned()));
                }
            }
        }
        let idle = self.held.is_empty() && self.wire.is_empty() && self.journal.is_idle();
        let left = self.engine.remains();
        promise!(!idle || left == Remains::default(), "the engine is idle, but keeps {left:?}");
        promise!(self.engine.held_jobs() == self.held.len(), "the engine holds other jobs than were given to it");
        promise!(self.engine.held_bytes() >= self.held.len() * 100, "jobs weigh less than they did");
        Ok(())
    }

    fn leaves(&mut self, key: JobKey) -> Result<Delivery, Broken> {
        self.held.remove(&key).ok_or_else(|| Broken(format!("{key:?} is not in hand")))
    }

    fn send(&mut self, call: &BatchCall) -> Kept {
        self.is_wanted(call)?;
        self.tell(|| format!("{:?} {:?} {} pairs {:?}", call.call, call.request, call.pairs.len(), call.lane.course));
        let target = target("v4", call);
        let body = body(call);
        let request = Request {
            method: "POST",
            target: &target,
            authorization: Some("Bearer token"),
            content_type: Some("application/json"),
            body: &body,
        };
        let troubled = self.now < CALM_FROM && self.rng.f64() < self.trouble;
        let timeout = self.now + Duration::from_secs(30);
        let (at, reply) = match self.rng.u8(..5) {
            0 if troubled => (self.now, Reply::Silence(Silence::Refused("away".to_owned()))),
            1 if troubled => (self.now, answer(503, "")),
            2 if troubled => (self.now, answer(429, r#"{"policyName":"TEN_SECONDLY_ROLLING"}"#)),
            kind => {
                let answer = self.world.handle(&request, self.now);
                self.world.answered(&answer);
                match kind {
                    3 if troubled => (self.now, Reply::Silence(Silence::Reset)),
                    4 if troubled => (timeout, Reply::Silence(Silence::TimedOut)),
                    _ => received(&answer, self.now, timeout),
                }
            }
        };
        self.entered += 1;
        let way = Duration::from_millis(self.rng.u64(1..300));
        self.wire.insert((at + way, self.entered), (call.call, reply));
        Ok(())
    }

    /// A request changes only what a job in hand wants changed so, and no dry run is one of these.
    fn is_wanted(&mut self, call: &BatchCall) -> Kept {
        let caps = call.lane.step().caps(self.policy.caps);
        let records = match &call.request {
            Asked::Look { records, .. } => records.len(),
            Asked::ArchiveTurned => {
                promise!(call.lane.extent == Extent::Whole, "labels are taken away from the other side");
                promise!(!self.policy.fold.is_empty(), "nothing is to be folded");
                promise!(self.unfolded.iter().all(|types| *types != of_types(&call.lane)), "folding had ended");
                self.totals.folded += 1;
                call.pairs.chunk_by(|one, next| one.to == next.to).count()
            }
            Asked::Archive | Asked::ArchiveLabels | Asked::Associate | Asked::Create { .. } => {
                call.pairs.chunk_by(|one, next| one.from == next.from).count()
            }
        };
        promise!(records <= caps.from && records <= 1_000.max(caps.from), "{records} records in a request");
        promise!(!call.pairs.is_empty() && call.pairs.len() <= caps.pairs, "{} pairs in a request", call.pairs.len());
        let is_look = matches!(call.request, association_archiver::engine::command::Request::Look { .. });
        self.totals.looks += u64::from(is_look);
        if is_look {
            return Ok(());
        }
        self.totals.changes += 1;
        let action = match call.lane.course {
            Course::Plan { .. } => return Err(Broken(format!("a dry run sends {:?}", call.request))),
            Course::Remove(_) => {
                if self.account.safety.journal {
                    self.journal.has(call, &self.world.accounts[0].associations)?;
                }
                Action::Archive
            }
            Course::Restore(restoration) => {
                self.totals.restored += 1;
                Action::Restore { include_primary: restoration.include_primary }
            }
        };
        for &pair in call.pairs.iter() {
            let wants = |delivery: &Delivery| {
                let errand = &self.errands[delivery.errand];
                let (from_type, to_type) = errand.types();
                from_type == call.lane.from_type
                    && to_type == call.lane.to_type
                    && errand.wants(action, &call.lane.extent, pair)
            };
            promise!(self.held.values().any(wants), "{pair:?} is changed in {:?}, but nobody asks for it", call.lane);
        }
        Ok(())
    }

    fn close(&self, before: &Links) -> Kept {
        for (errand, said) in self.said.iter().enumerate() {
            promise!(said.len() == 1, "job {errand} has {} outcomes", said.len());
        }
        let account = &self.world.accounts[0];
        if let Some((violation, times)) = account.seen.violations.iter().next() {
            return Err(Broken(format!("HubSpot saw {violation:?} {times} times: {:?}", account.seen.told)));
        }
        let after = links(&account.associations);
        let jobs: Vec<_> = self.errands.iter().zip(self.said.iter().filter_map(VecDeque::front)).collect();
        let disturbed = self.trouble > 0.0;
        truth::Truth { before, after: &after, jobs: &jobs, disturbed }.holds()
    }
}

fn answer(status: u16, body: &'static str) -> Reply {
    Reply::Answer(reply::Answer { status, headers: Headers::default(), body: Body::Whole(body.into()) })
}

fn behaviour(rng: &mut Rng) -> Behaviour {
    let page = NonZeroUsize::new(*choose(rng, &[1, 2, 5, 500])).unwrap();
    let ids = *choose(rng, &[IdForm::Numbers, IdForm::Strings]);
    let order = *choose(rng, &[Order::Shuffled, Order::Sorted]);
    let mut behaviour = Behaviour { reads: Reads { page, ids, order }, ..Behaviour::default() };
    behaviour.creates.second_primary = *choose(rng, &[SecondPrimary::Moves, SecondPrimary::Refused]);
    behaviour
}

fn policy(rng: &mut Rng) -> EnginePolicy {
    EnginePolicy {
        caps: Caps { from: *choose(rng, &[3, 100]), pairs: *choose(rng, &[5, 1_000]) },
        linger: Duration::from_millis(*choose(rng, &[0, 200])),
        retry: RetryPolicy { max_attempts: *choose(rng, &[2, 5]), ..RetryPolicy::default() },
        max_pairs: *choose(rng, &[12, 10_000]),
        max_in_flight: *choose(rng, &[1, 8]),
        ..EnginePolicy::default()
    }
}

/// All types that jobs name.
fn folded() -> Arc<[TypePair]> {
    let types = LANES.map(|(from, to, _)| [from, to].map(|name| ObjectType::parse(name).unwrap()));
    types.into_iter().map(|[from, to]| TypePair::new(from, to).unwrap()).collect()
}

fn of_types(lane: &LaneId) -> (ObjectType, ObjectType) {
    (lane.from_type.clone(), lane.to_type.clone())
}

fn account_policy(rng: &mut Rng) -> AccountPolicy {
    let requests = NonZeroU32::new(*choose(rng, &[20, 100])).unwrap();
    AccountPolicy { ceiling: Ceiling { requests, ..Ceiling::default() }, ..AccountPolicy::default() }
}

fn in_short(reply: &Reply) -> String {
    format!("{reply:?}").chars().take(2_000).collect()
}
