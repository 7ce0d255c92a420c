//! Runs a seed: the engine, HubSpot's world, the way between them, and crashes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use association_archiver::contract::action::Action;
use association_archiver::contract::association::{Extent, Pair};
use association_archiver::contract::ids::AccountIndex;
use association_archiver::contract::object_type::ObjectType;
use association_archiver::engine::backlog::JobKey;
use association_archiver::engine::clock::{Now, Tick};
use association_archiver::engine::command::{
    BatchCall, CallKey, Carried, Command, LaneId, NewJob, Notice, Request as Asked, Settled,
};
use association_archiver::engine::course::Course;
use association_archiver::engine::pause::PauseKind;
use association_archiver::engine::reply::{self, Body, Headers, Reply, Silence};
use association_archiver::engine::{Engine, Remains};
use fastrand::Rng;
use hashbrown::HashMap;
use hubspot_simulator::sighting::Violation;
use hubspot_simulator::{Request, World};

use super::errand::{Links, Theme, lane_of, links, theme};
use super::journal::{self, Journal};
use super::proofs::{Proofs, Reading};
use super::scene::Scene;
use super::truth;
use crate::far_side::{body, received, target};
use crate::guards::{self, Answer, Guards};
use crate::promises::{Broken, Kept, promise};

/// What runs came to.
#[derive(Clone, Copy, Default, Debug)]
pub struct Totals {
    pub hours: f64,
    pub faults: u64,
    pub looks: u64,
    pub changes: u64,
    pub crashes: u64,
    pub plans: u64,
    pub restored: u64,
    pub too_many: u64,
    pub not_restorable: u64,
    pub undone: u64,
    pub unwritable: u64,
    pub verified: u64,
    pub readings: u64,
    pub forgotten: u64,
    pub not_gone: u64,
    pub reappeared: u64,
    pub stops: u64,
    pub answers: u64,
    pub rejected: u64,
    pub folded: u64,
    pub unfolded: u64,
}

impl Totals {
    fn counts(&mut self) -> [&mut u64; 20] {
        [
            &mut self.faults,
            &mut self.looks,
            &mut self.changes,
            &mut self.crashes,
            &mut self.plans,
            &mut self.restored,
            &mut self.too_many,
            &mut self.not_restorable,
            &mut self.undone,
            &mut self.unwritable,
            &mut self.verified,
            &mut self.readings,
            &mut self.forgotten,
            &mut self.not_gone,
            &mut self.reappeared,
            &mut self.stops,
            &mut self.answers,
            &mut self.rejected,
            &mut self.folded,
            &mut self.unfolded,
        ]
    }

    pub fn add(&mut self, mut other: Self) {
        self.hours += other.hours;
        for (sum, count) in self.counts().into_iter().zip(other.counts()) {
            *sum += *count;
        }
    }

    pub fn has_everything(&mut self) -> bool {
        self.counts().iter().all(|times| **times > 0)
    }
}

/// A job on its way to the engine.
#[derive(Clone, Copy, Debug)]
struct Delivery {
    errand: usize,
    carried: Option<Carried>,
}

/// HubSpot counts requests over this time.
const ROLLING: Duration = Duration::from_secs(10);
/// From here on nothing goes wrong any more.
const CALM_FROM: Duration = Duration::from_secs(300);
/// By then everything has ended.
const ENDS_BY: Duration = Duration::from_secs(48 * 3_600);
const MOST_STEPS: u64 = 200_000;
/// Reads that lag for this long may still show what was removed when a proof is given up.
const LONG_LAG: Duration = Duration::from_secs(20);

struct Run {
    shown: bool,
    rng: Rng,
    scene: Scene,
    engine: Engine,
    now: Duration,
    /// When the process started that is there now.
    started: Duration,
    coming: BTreeMap<(Duration, u64), Delivery>,
    entered: u64,
    wire: BTreeMap<(Duration, u64), (CallKey, Reply, Option<Reading>)>,
    /// With the time at which each was admitted.
    held: HashMap<JobKey, (Delivery, Duration)>,
    said: Vec<VecDeque<truth::Said>>,
    journal: Journal,
    proofs: Proofs,
    guards: Guards,
    answers: BTreeMap<(Duration, u64), Answer>,
    /// Types of which folding has ended in this process.
    unfolded: Vec<(ObjectType, ObjectType)>,
    /// Types between which a record of theme [`Theme::Mixed`] was associated again: if that was archived from its other
    /// side just before, it looks as if folding did not work.
    made_again: Vec<(ObjectType, ObjectType)>,
    /// The latest crash; the process after it does not know what was sent just before.
    crashed: Option<Duration>,
    totals: Totals,
}

pub fn run(scene: Scene, shown: bool) -> Result<Totals, Broken> {
    let mut run = Run::new(scene, shown);
    let before = links(&run.scene.world.accounts[0].associations);
    run.to_the_end().map_err(|Broken(what)| Broken(format!("after {:?}: {what}", run.now)))?;
    run.close(&before)?;
    run.totals.hours = run.now.as_secs_f64() / 3_600.0;
    run.totals.unwritable = run.journal.failed;
    run.totals.readings = run.proofs.readings;
    if run.scene.account.safety.journal {
        run.undo(&before).map_err(|Broken(what)| Broken(format!("after {:?}, undoing: {what}", run.now)))?;
    }
    Ok(run.totals)
}

impl Run {
    fn new(scene: Scene, shown: bool) -> Self {
        let coming = scene.errands.iter().enumerate();
        let coming =
            coming.map(|(index, errand)| ((errand.at, index as u64), Delivery { errand: index, carried: None }));
        let now = Now { tick: Tick::ZERO, wall: scene.epoch };
        Self {
            shown,
            rng: Rng::with_seed(scene.seed ^ 0xc0de),
            engine: Engine::new(scene.policy.clone(), vec![scene.account.clone()], scene.seed, now),
            now: Duration::ZERO,
            started: Duration::ZERO,
            coming: coming.collect(),
            entered: scene.errands.len() as u64,
            wire: BTreeMap::new(),
            held: HashMap::new(),
            said: vec![VecDeque::new(); scene.errands.len()],
            journal: Journal::default(),
            proofs: Proofs::default(),
            guards: Guards::new([&scene.account].into_iter()),
            answers: BTreeMap::new(),
            unfolded: Vec::new(),
            made_again: Vec::new(),
            crashed: None,
            totals: Totals::default(),
            scene,
        }
    }

    /// At once, while reads may still show what was removed.
    fn undo(&mut self, before: &Links) -> Kept {
        self.totals.undone += 1;
        // What another app still wants to make again is the same.
        let began = self.scene.errands.len();
        self.scene.errands.extend(self.journal.undo(self.now));
        for errand in began..self.scene.errands.len() {
            self.said.push(VecDeque::new());
            self.comes_back(Delivery { errand, carried: None }, Duration::ZERO);
        }
        self.to_the_end()?;
        if self.scene.world.accounts[0].associations.read_lag < LONG_LAG {
            let after = links(&self.scene.world.accounts[0].associations);
            journal::all_is_as_before(before, &after, |record| self.scene.makes_again(record))?;
        }
        Ok(())
    }

    fn clock(&self) -> Now {
        let since = u64::try_from((self.now - self.started).as_micros()).unwrap_or(u64::MAX);
        Now { tick: Tick::from_micros(since), wall: self.scene.epoch + self.now }
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
        let answer = self.answers.first_key_value().map(|(&(at, _), _)| at);
        let Some(next) = [wake, coming, reply, written, answer].into_iter().flatten().min() else {
            return Err(Broken("nothing will ever happen".to_owned()));
        };
        self.now = self.now.max(next);
        if self.now < CALM_FROM && self.rng.f64() < self.scene.trouble / 50.0 {
            self.crash();
        } else if written == Some(next) {
            if let Some((call, result)) = self.journal.answer(&mut self.rng) {
                self.tell(|| format!("{call:?} recorded: {result:?}"));
                self.engine.recorded(call, result, self.clock());
            }
        } else if reply == Some(next) {
            let Some((_, (call, reply, reading))) = self.wire.pop_first() else { return Ok(()) };
            let answered = self.engine.answered(call, &reply, self.clock());
            if let Some(reading) = reading.filter(|_| !answered.result.went_wrong()) {
                self.proofs.heard(reading);
            }
            self.tell(|| format!("{call:?} {:?} {}", answered.result, in_short(&reply)));
        } else if coming == Some(next) {
            let Some((_, delivery)) = self.coming.pop_first() else { return Ok(()) };
            self.admit(delivery);
        } else if answer == Some(next) {
            let Some((_, answer)) = self.answers.pop_first() else { return Ok(()) };
            self.tell(|| format!("the operator says {answer:?}"));
            self.totals.answers += 1;
            match answer {
                Answer::Approve => self.engine.approve(AccountIndex(0), self.clock()),
                Answer::Reject => self.engine.reject(AccountIndex(0), self.clock()),
            };
            self.guards.answered(AccountIndex(0), answer, self.now);
        } else {
            self.engine.wake(self.clock());
        }
        self.obey()
    }

    fn admit(&mut self, delivery: Delivery) {
        let errand = &self.scene.errands[delivery.errand];
        let (from_type, to_type) = errand.types();
        let job = NewJob {
            account: AccountIndex(0),
            from_type,
            to_type,
            action: errand.action,
            dry_run: errand.dry_run,
            asks: errand.asks.clone(),
            expiry: None,
            weight: 100,
            carried: delivery.carried.unwrap_or_else(|| Carried::fresh(self.scene.epoch + self.now)),
        };
        let key = self.engine.admit(job, self.clock());
        self.tell(|| format!("{key:?} is {} {errand:?}", delivery.errand));
        self.held.insert(key, (delivery, self.now));
        self.engine.wake(self.clock());
    }

    /// The process is gone; the next one gets all its jobs again, and hears nothing of what was on the wire.
    fn crash(&mut self) {
        self.tell(|| "crash".to_owned());
        self.totals.crashes += 1;
        self.started = self.now;
        self.crashed = Some(self.now);
        let mut held: Vec<Delivery> = self.held.drain().map(|(_, (delivery, _))| delivery).collect();
        held.sort_by_key(|delivery| delivery.errand);
        for delivery in held {
            self.comes_back(delivery, Duration::from_secs(1));
        }
        self.wire.clear();
        self.journal.crash(&mut self.rng);
        let seed = self.rng.u64(..);
        let Scene { policy, account, .. } = &self.scene;
        self.engine = Engine::new(policy.clone(), vec![account.clone()], seed, self.clock());
        self.guards = Guards::new([account].into_iter());
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
                Command::Settle(settled) => self.settle(&settled)?,
                Command::Park(parked) => {
                    let (delivery, _) = self.leaves(parked.job)?;
                    self.comes_back(Delivery { carried: Some(parked.carried), ..delivery }, parked.tier.wait());
                }
                Command::HandBack(key) => return Err(Broken(format!("{key:?} is handed back"))),
                Command::Forgotten(key) => return Err(Broken(format!("{key:?} is forgotten"))),
                Command::Notice(notice) => self.notice(&notice)?,
                Command::Record(call) => {
                    promise!(self.scene.account.safety.journal, "the account has no journal");
                    let trouble = if self.now < CALM_FROM { self.scene.trouble } else { 0.0 };
                    self.journal.record(call, self.scene.epoch + self.now, self.now, trouble, &mut self.rng);
                }
                Command::Complete { completion, .. } => {
                    self.journal.complete(&completion, self.scene.trouble, &mut self.rng);
                }
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

    fn notice(&mut self, notice: &Notice) -> Kept {
        self.tell(|| format!("{notice:?}"));
        if let Notice::Unfolded { lane, .. } = notice {
            let works = self.scene.world.accounts[0].associations.mirrored;
            promise!(!works || self.made_again.contains(&of_types(lane)), "folding ends, but it works");
            self.totals.unfolded += 1;
            self.unfolded.push(of_types(lane));
        }
        if matches!(notice, Notice::Paused { kind: PauseKind::Guard, .. }) {
            self.totals.stops += 1;
            for (wait, answer) in guards::answers(&mut self.rng) {
                self.entered += 1;
                self.answers.insert((self.now + wait, self.entered), answer);
            }
        }
        Ok(())
    }

    fn settle(&mut self, settled: &Settled) -> Kept {
        let (delivery, admitted) = self.leaves(settled.job)?;
        self.tell(|| format!("{} settles {settled:?}", delivery.errand));
        let said = truth::Said::of(settled);
        let errand = &self.scene.errands[delivery.errand];
        said.agrees_with(errand, &self.scene.account)?;
        self.proof_is_true(delivery.errand, &said, settled.verified, admitted)?;
        self.totals.plans += u64::from(said.is_plan());
        self.totals.too_many += u64::from(said.says("TOO_MANY_PAIRS"));
        self.totals.not_restorable += u64::from(said.says("NOT_RESTORABLE"));
        self.totals.verified += u64::from(settled.verified);
        self.totals.not_gone += u64::from(said.says("NOT_GONE"));
        self.totals.reappeared += u64::from(said.says("REAPPEARED"));
        self.totals.rejected += u64::from(said.says("GUARD_REJECTED"));
        self.said[delivery.errand].push_back(said);
        Ok(())
    }

    /// What is said of a removal's proof follows from what HubSpot showed.
    fn proof_is_true(&self, index: usize, said: &truth::Said, verified: bool, admitted: Duration) -> Kept {
        let errand = &self.scene.errands[index];
        let proves = self.scene.account.safety.verify && errand.action == Action::Archive && !errand.dry_run;
        // An operator who rejects ends jobs whose proofs are not complete.
        let may_end = self.totals.answers > 0;
        let is_right = if verified { proves && said.done() > 0 } else { !proves || said.done() == 0 || may_end };
        promise!(is_right, "job {index} is verified: {verified}, {} pairs are done", said.done());
        let associations = &self.scene.world.accounts[0].associations;
        for ask in &errand.asks {
            for &pair in &ask.pairs {
                let removed = (errand.lane, ask.extent.clone(), pair);
                let returns = self.scene.makes_again(pair.from) || theme(pair.from.0.get()) == Theme::Mixed;
                match said.reason(pair) {
                    None if verified && !said.failed(pair) => {
                        self.proofs.are_proven(&removed, admitted, !returns, associations)?;
                    }
                    Some("NOT_GONE") => {
                        self.proofs.was_shown(&removed, admitted)?;
                        let lags = associations.read_lag >= LONG_LAG;
                        let explained = returns || lags || may_end || self.scene.forgets > 0.0;
                        promise!(explained, "why is {pair:?} not gone?");
                    }
                    Some("REAPPEARED") => {
                        self.proofs.was_shown(&removed, admitted)?;
                        promise!(returns, "nothing makes {pair:?} again");
                    }
                    Some(_) | None => {}
                }
            }
        }
        Ok(())
    }

    fn leaves(&mut self, key: JobKey) -> Result<(Delivery, Duration), Broken> {
        self.held.remove(&key).ok_or_else(|| Broken(format!("{key:?} is not in hand")))
    }

    fn send(&mut self, call: &BatchCall) -> Kept {
        self.is_wanted(call)?;
        self.guards.sent(call, self.now)?;
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
        let troubled = self.now < CALM_FROM && self.rng.f64() < self.scene.trouble;
        let forgets = self.now < CALM_FROM && self.rng.f64() < self.scene.forgets && call.lane.step().removes();
        let timeout = self.now + Duration::from_secs(30);
        let world = &mut self.scene.world;
        self.totals.faults += u64::from(troubled || forgets);
        let mut reading = None;
        let (at, reply) = match self.rng.u8(..5) {
            0 if troubled => (self.now, Reply::Silence(Silence::Refused("away".to_owned()))),
            1 if troubled => (self.now, answer(503, "")),
            2 if troubled => (self.now, answer(429, r#"{"policyName":"TEN_SECONDLY_ROLLING"}"#)),
            _ if forgets => {
                self.totals.forgotten += 1;
                (self.now, answer(204, ""))
            }
            kind => {
                let over = over_ceiling(world);
                let answer = world.handle(&request, self.now);
                world.answered(&answer);
                if over_ceiling(world) > over {
                    let knows_all = self.crashed.is_none_or(|crashed| self.now > crashed + ROLLING);
                    promise!(!knows_all, "a request is over the ceiling: {:?}", world.accounts[0].seen.told);
                }
                let is_mixed = |pair: &Pair| theme(pair.from.0.get()) == Theme::Mixed;
                if matches!(call.lane.course, Course::Restore(_)) && call.pairs.iter().any(is_mixed) {
                    self.made_again.push(of_types(&call.lane));
                }
                reading = Proofs::asked(call, &world.accounts[0].associations, self.now);
                match kind {
                    3 if troubled => (self.now, Reply::Silence(Silence::Reset)),
                    4 if troubled => (timeout, Reply::Silence(Silence::TimedOut)),
                    _ => received(&answer, self.now, timeout),
                }
            }
        };
        self.entered += 1;
        let way = Duration::from_millis(self.rng.u64(1..300));
        self.wire.insert((at + way, self.entered), (call.call, reply, reading));
        Ok(())
    }

    /// A request changes only what a job in hand wants changed so, and no dry run is one of these.
    fn is_wanted(&mut self, call: &BatchCall) -> Kept {
        let caps = call.lane.step().caps(self.scene.policy.caps);
        let records = match &call.request {
            Asked::Look { records, .. } => records.len(),
            Asked::ArchiveTurned => {
                promise!(call.lane.extent == Extent::Whole, "labels are taken away from the other side");
                promise!(!self.scene.policy.fold.is_empty(), "nothing is to be folded");
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
                if self.scene.account.safety.journal {
                    self.journal.has(call, &self.scene.world.accounts[0].associations)?;
                }
                Action::Archive
            }
            Course::Restore(restoration) => {
                if self.scene.account.safety.journal {
                    self.journal.has_restoration(call, &self.scene.world.accounts[0].associations)?;
                }
                self.totals.restored += 1;
                Action::Restore { include_primary: restoration.include_primary }
            }
        };
        for &pair in call.pairs.iter() {
            let wants = |(delivery, _): &(Delivery, Duration)| {
                let errand = &self.scene.errands[delivery.errand];
                errand.lane == lane_of(&call.lane) && errand.wants(action, &call.lane.extent, pair)
            };
            promise!(self.held.values().any(wants), "{pair:?} is changed in {:?}, but nobody asks for it", call.lane);
        }
        Ok(())
    }

    fn close(&self, before: &Links) -> Kept {
        for (errand, said) in self.said.iter().enumerate() {
            promise!(said.len() == 1, "job {errand} has {} outcomes", said.len());
        }
        let account = &self.scene.world.accounts[0];
        let mut violations = account.seen.violations.iter();
        if let Some((violation, times)) = violations.find(|(violation, _)| **violation != Violation::OverCeiling) {
            return Err(Broken(format!("HubSpot saw {violation:?} {times} times: {:?}", account.seen.told)));
        }
        let after = links(&account.associations);
        let jobs: Vec<_> = self.scene.errands.iter().zip(self.said.iter().filter_map(VecDeque::front)).collect();
        let disturbed = self.scene.trouble > 0.0 || !account.associations.read_lag.is_zero();
        let makes_again = |record| self.scene.makes_again(record);
        let forgets = self.scene.forgets > 0.0;
        let lags_long = account.associations.read_lag >= LONG_LAG;
        let makes_again = &makes_again;
        let another_app = account.associations.other_app.is_some();
        truth::Truth { before, after: &after, jobs: &jobs, disturbed, makes_again, another_app, forgets, lags_long }
            .holds()
    }
}

/// How many requests HubSpot saw over its limit of ten seconds.
fn over_ceiling(world: &World) -> u64 {
    world.accounts[0].seen.violations.get(&Violation::OverCeiling).copied().unwrap_or(0)
}

fn of_types(lane: &LaneId) -> (ObjectType, ObjectType) {
    (lane.from_type.clone(), lane.to_type.clone())
}

fn answer(status: u16, body: &'static str) -> Reply {
    Reply::Answer(reply::Answer { status, headers: Headers::default(), body: Body::Whole(body.into()) })
}

fn in_short(reply: &Reply) -> String {
    format!("{reply:?}").chars().take(2_000).collect()
}
