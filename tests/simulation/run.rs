//! Runs a scenario: one thing after the other in virtual time, until all has ended or a promise is broken.

use std::time::Duration;

use association_archiver::contract::ids::AccountIndex;
use hubspot_simulator::refusal::Failure;

use crate::agenda::Happening;
use crate::broker::Broker;
use crate::far_side::Sending;
use crate::life::{Life, Publication, Word};
use crate::outside::Outside;
use crate::promises::{Broken, Kept, promise};
use crate::scenario::Scenario;
use crate::upheaval::Upheaval;
use crate::verity::Verity;

/// What a run came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Of all that happened: equal for equal seeds.
    pub hash: u64,
    pub lasted: Duration,
    pub lives: u32,
    pub outcomes: usize,
    pub requests: u64,
    pub steps: u64,
    /// Upheavals, and requests and publications that went wrong.
    pub faults: u64,
    /// Jobs that were alone and left within the linger.
    pub lone_jobs: u64,
    pub parked: u64,
    pub redelivered: u64,
    /// See [`crate::verity::Verity::latest_neighbour`].
    pub latest_neighbour: Duration,
    /// Times that a guard has stopped an account.
    pub stops: u64,
    /// See [`crate::verity::Verity::answered`].
    pub answered: Vec<Option<Duration>>,
}

/// Runs to the end. `shown` prints what happens.
pub fn run(scenario: &Scenario, shown: bool) -> Result<Summary, Broken> {
    let (out, life) = (Outside::new(scenario, shown), None);
    let mut run = Run { out, life, lives: 0, connections: 0, steps: 0, faults: 0, lone_jobs: 0 };
    run.prepare();
    let told = run.to_the_end();
    if shown && told.is_err() {
        println!("{:#?}", run.life);
    }
    told.map_err(|Broken(what)| Broken(format!("after {:?}: {what}", run.out.now)))?;
    let requests = run.out.far.world.accounts.iter().map(|account| account.seen.requests()).sum();
    let (hash, outcomes) = (run.out.trace.hash(), run.out.verity.outcomes());
    let Verity { latest_neighbour, stops, answered, .. } = run.out.verity;
    let lone_jobs = run.lone_jobs + run.life.map_or(0, |life| life.promises.lone_jobs);
    let Broker { parked, redelivered, .. } = run.out.broker;
    let (lasted, lives, steps) = (run.out.now, run.lives, run.steps);
    let faults = run.faults + run.out.far.world.faults.struck;
    Ok(Summary {
        hash,
        lasted,
        lives,
        outcomes,
        requests,
        steps,
        faults,
        lone_jobs,
        parked,
        redelivered,
        latest_neighbour,
        stops,
        answered,
    })
}

struct Run<'s> {
    out: Outside<'s>,
    life: Option<Life<'s>>,
    lives: u32,
    connections: u32,
    steps: u64,
    faults: u64,
    /// Of the lives that are over.
    lone_jobs: u64,
}

/// Steps after which a run is thought never to end, besides those of jobs that wait for days.
const MOST_STEPS: u64 = 500_000;

/// A job of which one pair is stuck comes back every ten minutes for a day, and its other pairs are archived again each
/// time. A run with such jobs may take this many times as many steps as others.
const STEPS_OF_STUCK: u64 = 6;

/// Steps that a job costs while it waits for a day to end: it comes back every hour, at last every ten minutes, every
/// minute, every ten seconds, some 45 times in all, and each time takes a handful of steps.
const STEPS_OF_A_DAY: f64 = 300.0;

/// The same where nobody knows when the day ends: a request finds out every quarter of an hour, and the jobs come back for
/// each of these.
const STEPS_OF_A_DAY_WITHOUT_ZONE: f64 = 3_000.0;

/// Waited after the last acknowledgement before a connection is closed.
const LAST_ACKS: Duration = Duration::from_millis(250);

/// Longest time until a changed credentials file is noticed.
const FILE_WATCH: Duration = Duration::from_secs(5);

impl<'s> Run<'s> {
    fn prepare(&mut self) {
        let scenario = self.out.scenario;
        self.out.at(Duration::ZERO, Happening::Start);
        for (index, job) in scenario.jobs.iter().enumerate() {
            self.out.at(job.at, Happening::Produced(index));
        }
        for (index, &(at, _)) in scenario.upheavals.iter().enumerate() {
            self.out.at(at, Happening::Upheaval(index));
        }
    }

    fn to_the_end(&mut self) -> Kept {
        while self.steps < self.most_steps() {
            self.steps += 1;
            if self.has_ended() {
                return self.out.verity.close(&self.out.far.world);
            }
            self.step()?;
            let (now, late) = (self.out.now, self.out.scenario.ends_by);
            promise!(now < late, "{} jobs have no outcome after {now:?}", self.out.verity.unanswered());
        }
        Err(Broken(format!("{} steps did not bring it to its end", self.steps)))
    }

    fn most_steps(&self) -> u64 {
        let days = self.out.now.as_secs_f64() / 86_400.0;
        let stuck = self.out.scenario.portals.iter().any(|portal| portal.bad.failure != Failure::Status(400));
        let most = if stuck { MOST_STEPS * STEPS_OF_STUCK } else { MOST_STEPS };
        let zones_are_known = self.out.scenario.portals.iter().all(|portal| portal.policy.time_zone.is_some());
        let of_a_day = if zones_are_known { STEPS_OF_A_DAY } else { STEPS_OF_A_DAY_WITHOUT_ZONE };
        most + (self.out.scenario.jobs.len() as f64 * days * of_a_day) as u64
    }

    fn has_ended(&self) -> bool {
        let over = self.out.agenda.next_time().is_none();
        over && self.out.broker.is_empty() && self.life.as_ref().is_some_and(Life::is_idle)
    }

    fn step(&mut self) -> Kept {
        let due = self.out.agenda.next_time();
        let wake = self.life.as_ref().and_then(|life| life.next_wake(&self.out)).map(|at| at.max(self.out.now));
        let Some(next) = [due, wake].into_iter().flatten().min() else {
            return Err(Broken(format!("nothing will ever happen, {} jobs wait", self.out.verity.unanswered())));
        };
        let stood_still = next == self.out.now;
        self.out.now = next;
        if wake == Some(next) && (due != Some(next) || self.out.rng.bool()) {
            let Some(life) = &mut self.life else { return Ok(()) };
            life.woken_in_vain(stood_still)?;
            return life.wake(&mut self.out);
        }
        match self.out.agenda.pop() {
            Some(happening) => self.happens(happening),
            None => Ok(()),
        }
    }

    fn happens(&mut self, happening: Happening) -> Kept {
        match happening {
            Happening::Produced(job) => {
                self.out.broker.produced(job);
                self.out.expect_delivery();
                Ok(())
            }
            Happening::Delivery => self.deliver(),
            Happening::Arrival(sending) => self.arrive(&sending),
            Happening::Return { life, call, heard } => match self.life(life) {
                Some((life, out)) => self::finish(life, out, |life, out| life.hear(call, heard, out)),
                None => Ok(()),
            },
            Happening::Stored { life, generation, publication } => {
                self.store(life, generation, publication);
                Ok(())
            }
            Happening::Confirmed { life, generation, publication, stored } => match self.life(life) {
                Some((life, out)) if life.generation == Some(generation) => finish(life, out, |life, out| {
                    life.confirmed(publication, stored, out);
                    Ok(())
                }),
                Some(_) | None => Ok(()),
            },
            Happening::Republished { life, publication } => {
                if let Some((life, out)) = self.life(life) {
                    life.republish(publication, out);
                }
                Ok(())
            }
            Happening::Acked { tag } => {
                self.out.broker.ack(tag);
                self.out.expect_delivery();
                Ok(())
            }
            Happening::Due(tier) => {
                self.out.broker.due(tier, self.out.now);
                self.out.expect_delivery();
                Ok(())
            }
            Happening::Upheaval(index) => self.upheaval(self.out.scenario.upheavals[index].1),
            Happening::GuardAnswered { account, answer } => match &mut self.life {
                Some(life) => finish(life, &mut self.out, |life, out| life.operator_answers(account, answer, out)),
                None => Ok(()),
            },
            Happening::Start => {
                self.start();
                Ok(())
            }
            Happening::Reconnected { life } => {
                self.connections += 1;
                let generation = self.connections;
                if let Some((life, out)) = self.life(life) {
                    life.generation = Some(generation);
                    out.expect_delivery();
                }
                Ok(())
            }
            Happening::GraceOver { life } => {
                if self.life(life).is_some() {
                    self.end_life();
                }
                Ok(())
            }
            Happening::CredentialsSeen { life, account } => match self.life(life) {
                Some((life, out)) => life.see_credentials(account, out),
                None => Ok(()),
            },
        }
    }

    /// The process of that number, if it still lives.
    fn life(&mut self, number: u32) -> Option<(&mut Life<'s>, &mut Outside<'s>)> {
        let life = self.life.as_mut().filter(|life| life.number == number)?;
        Some((life, &mut self.out))
    }

    fn start(&mut self) {
        self.connections += 1;
        self.out.trace.note(self.out.now, "start", [self.lives.into(), 0], || format!("process {}", self.lives));
        self.life = Some(Life::start(self.lives, self.connections, &self.out));
        self.out.verity.restarted = self.lives > 0;
        self.lives += 1;
        self.out.expect_delivery();
    }

    fn deliver(&mut self) -> Kept {
        self.out.delivery_due = false;
        let Some(life) = self.life.as_mut().filter(|life| life.generation.is_some() && life.stopping.is_none()) else {
            return Ok(());
        };
        let deliveries = self.out.broker.deliver(self.out.scenario.prefetch);
        if deliveries.is_empty() {
            return Ok(());
        }
        life.receive(deliveries, &mut self.out)?;
        let last = self.out.scenario.jobs.last().map_or(Duration::ZERO, |job| job.at);
        if self.out.scenario.in_hand() && self.out.now >= last && !self.out.broker.has_ready() {
            life.flush(&mut self.out)?;
        }
        Ok(())
    }

    fn arrive(&mut self, sending: &Sending) -> Kept {
        let now = self.out.now;
        self.out.ceilings.arrived(sending.account, sending.life, now)?;
        let (at, heard) = self.out.far.arrive(sending, now);
        self.out.at(at, Happening::Return { life: sending.life, call: sending.call, heard });
        Ok(())
    }

    /// What was sent over a connection that is gone may have reached the broker all the same.
    fn store(&mut self, life: u32, generation: u32, publication: Publication) {
        let out = &mut self.out;
        let alive = self.life.as_ref().is_some_and(|it| it.number == life && it.generation == Some(generation));
        if out.now < out.broker.blocked_until {
            return out.at(out.broker.blocked_until, Happening::Stored { life, generation, publication });
        }
        let stored = out.rng.f64() >= out.scenario.refused_publishes;
        self.faults += u64::from(!stored);
        if stored && (alive || out.rng.bool()) {
            match &publication.word {
                Word::Outcome(settled) => out.verity.told(publication.job, settled, out.now),
                Word::Parked(tier, carried) => {
                    let due = out.broker.park(publication.job, *carried, *tier, out.now);
                    out.at(due, Happening::Due(*tier));
                }
            }
        }
        let way = out.some_time(out.scenario.slowest_publish / 2);
        out.after(way, Happening::Confirmed { life, generation, publication: publication.id, stored });
    }

    fn upheaval(&mut self, upheaval: Upheaval) -> Kept {
        self.faults += 1;
        let out = &mut self.out;
        out.trace.note(out.now, "upheaval", [0, 0], || format!("{upheaval:?}"));
        let account = AccountIndex;
        match upheaval {
            Upheaval::Crash(down) => {
                self.crash(down);
                return Ok(());
            }
            Upheaval::Stop(down) => return self.stop(down),
            Upheaval::ConnectionLost(down) => return self.lose_connection(down),
            Upheaval::BrokerBlocked(lasting) => out.broker.blocked_until = out.now + lasting,
            Upheaval::Unreachable(lasting) => out.far.unreachable_until = out.now + lasting,
            Upheaval::NoAnswers(lasting) => out.far.silent_until = out.now + lasting,
            Upheaval::MemoryShort => {
                if let Some(life) = self.life.as_mut().filter(|life| life.stopping.is_none()) {
                    return life.hand_back_unstarted(out);
                }
            }
            Upheaval::TokenRevoked(index) => out.far.revoke_token(index),
            Upheaval::TokenOfAnother(index) => {
                out.far.confuse_token(index);
                self.file_changed(account(index));
            }
            Upheaval::RefreshTokenRevoked(index) => out.far.revoke_refresh_token(index),
            Upheaval::TokenMended(index) => {
                out.far.mend_token(index);
                self.file_changed(account(index));
            }
            Upheaval::ScopeTaken(index) => out.far.take_scope(index),
            Upheaval::ScopeGiven(index) => out.far.give_scope(index),
            Upheaval::LimitLowered(index) => {
                let setting = out.scenario.portals[index as usize].policy.ceiling.requests.get() as usize;
                out.far.allow(index, setting / 4);
            }
            Upheaval::LimitRaised(index) => out.far.allow(index, out.scenario.portals[index as usize].allowed),
            Upheaval::OperatorPauses(index) => {
                if let Some(life) = &mut self.life {
                    return life.operator_pauses(account(index), out);
                }
            }
            Upheaval::OperatorResumes(index) => {
                if let Some(life) = &mut self.life {
                    return life.operator_resumes(account(index), out);
                }
            }
        }
        Ok(())
    }

    fn file_changed(&mut self, account: AccountIndex) {
        if let Some(life) = &self.life {
            let wait = self.out.some_time(FILE_WATCH);
            let life = life.number;
            self.out.after(wait, Happening::CredentialsSeen { life, account });
        }
    }

    fn crash(&mut self, down: Duration) {
        if let Some(life) = self.life.take() {
            self.lone_jobs += life.promises.lone_jobs;
            self.out.verity.disturbed = true;
            self.out.broker.requeue_all();
            self.out.after(down, Happening::Start);
        }
    }

    fn stop(&mut self, down: Duration) -> Kept {
        let Some(life) = self.life.as_mut().filter(|life| life.stopping.is_none()) else { return Ok(()) };
        let (number, grace) = (life.number, self.out.scenario.grace);
        self.out.after(grace, Happening::GraceOver { life: number });
        finish(life, &mut self.out, |life, out| life.drain(down, out))
    }

    /// The grace is over, or nothing is left to do.
    fn end_life(&mut self) {
        let Some(life) = self.life.take() else { return };
        self.out
            .trace
            .note(self.out.now, "end", [0, 0], || format!("process {}, idle: {}", life.number, life.is_idle()));
        self.lone_jobs += life.promises.lone_jobs;
        self.out.verity.disturbed |= !life.is_idle();
        self.out.broker.requeue_all();
        self.out.after(life.stopping.unwrap_or_default(), Happening::Start);
    }

    fn lose_connection(&mut self, down: Duration) -> Kept {
        let Some(life) = self.life.as_mut().filter(|life| life.generation.is_some()) else { return Ok(()) };
        self.out.verity.disturbed = true;
        self.out.broker.requeue_all();
        let number = life.number;
        self.out.after(down, Happening::Reconnected { life: number });
        finish(life, &mut self.out, Life::lose_connection)
    }
}

/// Does something with a process, and ends one that is stopping and has nothing left to do.
fn finish<'s>(
    life: &mut Life<'s>,
    out: &mut Outside<'s>,
    act: impl FnOnce(&mut Life<'s>, &mut Outside<'s>) -> Kept,
) -> Kept {
    act(life, out)?;
    if life.stopping.is_some() && life.is_idle() && !life.ending {
        life.ending = true;
        let life = life.number;
        out.after(LAST_ACKS, Happening::GraceOver { life });
    }
    Ok(())
}
