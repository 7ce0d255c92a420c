//! One life of the process: the engine, and a shell that does for it what the worker does.
//!
//! The outcome is published before the job is acknowledged, a parked copy before its original; what is published
//! stays until the broker has confirmed it.

use std::sync::Arc;
use std::time::Duration;

use association_archiver::contract::action::Action;
use association_archiver::contract::expiry::Expiry;
use association_archiver::contract::ids::AccountIndex;
use association_archiver::engine::Engine;
use association_archiver::engine::backlog::JobKey;
use association_archiver::engine::clock::{Now, Tick};
use association_archiver::engine::command::{
    BatchCall, CallKey, Carried, Command, NewJob, Notice, RefreshReply, Settled,
};
use association_archiver::engine::pause::{PauseKind, Tier};
use hashbrown::HashMap;

use crate::agenda::{Happening, Heard};
use crate::broker::Delivery;
use crate::far_side::{Content, FarSide, Sending};
use crate::guards::{self, Answer, Guards};
use crate::outside::Outside;
use crate::promises::{Broken, Kept, Promises, promise};

/// Something on its way to the broker, for the delivery that is acknowledged once it is confirmed.
#[derive(Clone, Debug)]
pub struct Publication {
    pub id: u64,
    pub tag: u64,
    pub job: usize,
    pub word: Word,
}

#[derive(Clone, Debug)]
pub enum Word {
    Outcome(Arc<Settled>),
    Parked(Tier, Carried),
}

/// A job in hand.
#[derive(Clone, Copy, Debug)]
struct Held {
    job: usize,
    tag: u64,
}

/// An account's secrets as the process has them.
#[derive(Clone, Debug)]
struct Credentials {
    /// As they stood in the file: a token, or a refresh token.
    read: String,
    /// With OAuth, what the refresh token was exchanged for.
    access: Option<String>,
}

/// See the module.
#[derive(Debug)]
pub struct Life<'s> {
    pub number: u32,
    started: Duration,
    engine: Engine,
    /// Which connection to the broker this is; none while it is lost.
    pub generation: Option<u32>,
    held: HashMap<JobKey, Held>,
    publications: HashMap<u64, Publication>,
    published: u64,
    credentials: Vec<Credentials>,
    pub promises: Promises<'s>,
    guards: Guards,
    /// SIGTERM came; the next process starts that long after the end.
    pub stopping: Option<Duration>,
    pub ending: bool,
    memory_short: bool,
    wakes_without_progress: u32,
}

/// What each job weighs in the engine's count of bytes.
const WEIGHT: usize = 100;

/// Wait before something that the broker refused is published again.
const REPUBLISH: Duration = Duration::from_secs(1);

/// From the process to the broker, for what is not published.
const ACK: Duration = Duration::from_millis(2);

/// Wake-ups at one moment after which the engine is thought to run in circles.
const MOST_WAKES: u32 = 100;

impl<'s> Life<'s> {
    pub fn start(number: u32, generation: u32, out: &Outside<'s>) -> Self {
        let scenario = out.scenario;
        let now = Now { tick: Tick::ZERO, wall: scenario.epoch + out.now };
        let policies = scenario.portals.iter().map(|portal| portal.policy.clone()).collect();
        let files = (0..scenario.portals.len()).map(|index| out.far.file(account(index)).to_owned());
        Self {
            number,
            started: out.now,
            engine: Engine::with_background(
                scenario.policy.clone(),
                scenario.background,
                policies,
                scenario.seed.wrapping_add(number.into()),
                now,
            ),
            generation: Some(generation),
            held: HashMap::new(),
            publications: HashMap::new(),
            published: 0,
            credentials: files.map(|read| Credentials { read, access: None }).collect(),
            promises: Promises::new(scenario),
            guards: Guards::new(scenario.portals.iter().map(|portal| &portal.policy)),
            stopping: None,
            ending: false,
            memory_short: false,
            wakes_without_progress: 0,
        }
    }

    fn now(&self, out: &Outside<'_>) -> Now {
        let since = u64::try_from((out.now - self.started).as_micros()).unwrap_or(u64::MAX);
        Now { tick: Tick::from_micros(since), wall: out.scenario.epoch + out.now }
    }

    /// When the engine wants to be woken; timers go off a little late.
    pub fn next_wake(&self, out: &Outside<'_>) -> Option<Duration> {
        let wanted = self.engine.next_wake(self.now(out))?.as_micros();
        let part = wanted.wrapping_mul(0x9e37_79b9) % 1_000;
        let late = out.scenario.lateness * u32::try_from(part).unwrap_or(0) / 1_000;
        Some(self.started + Duration::from_micros(wanted) + late)
    }

    pub fn wake(&mut self, out: &mut Outside<'s>) -> Kept {
        self.engine.wake(self.now(out));
        self.obey(out)
    }

    /// The engine asked to be woken at a moment at which it was woken already.
    pub fn woken_in_vain(&mut self, time_stood_still: bool) -> Kept {
        self.wakes_without_progress = if time_stood_still { self.wakes_without_progress + 1 } else { 0 };
        promise!(
            self.wakes_without_progress < MOST_WAKES,
            "the engine wants to be woken again and again at one moment"
        );
        Ok(())
    }

    /// A bundle of jobs arrives.
    pub fn receive(&mut self, deliveries: Vec<Delivery>, out: &mut Outside<'s>) -> Kept {
        let scenario = out.scenario;
        for Delivery { tag, message } in deliveries {
            let spec = &scenario.jobs[message.job];
            let now = self.now(out);
            let carried = message.carried.unwrap_or_else(|| Carried::fresh(now.wall));
            let job = NewJob {
                action: Action::Archive,
                dry_run: false,
                account: AccountIndex(spec.account),
                from_type: spec.from_type.clone(),
                to_type: spec.to_type.clone(),
                asks: spec.asks.clone(),
                expiry: spec.not_after.map(Expiry::not_after),
                weight: WEIGHT,
                carried,
            };
            let key = self.engine.admit_as(spec.urgency, job, now);
            out.trace.note(out.now, "admit", [message.job as u64, tag], || format!("job {} as {key:?}", message.job));
            self.held.insert(key, Held { job: message.job, tag });
            self.promises.admitted(key, message.job, carried, out.now)?;
        }
        self.wake(out)
    }

    /// Does what the engine says.
    pub fn obey(&mut self, out: &mut Outside<'s>) -> Kept {
        while let Some(command) = self.engine.next_command() {
            match command {
                Command::Send(call) => self.archive(&call, out)?,
                Command::Record(_) | Command::Complete { .. } => {
                    return Err(Broken("no account here has a journal".to_owned()));
                }
                Command::Refresh { call, account } => {
                    let token = self.credentials[account.0 as usize].read.clone();
                    self.ask_about_access(call, account, Content::Refresh { token }, out)?;
                }
                Command::Identify { call, account } => {
                    let token = self.token(account);
                    self.ask_about_access(call, account, Content::Identity { token }, out)?;
                }
                Command::RereadCredentials { account } => {
                    let life = self.number;
                    out.after(Duration::from_millis(1), Happening::CredentialsSeen { life, account });
                }
                Command::Settle(settled) => self.settle(settled, out)?,
                Command::Park(parked) => {
                    self.promises.parked(&parked, out.now)?;
                    let held = self.release(parked.job)?;
                    out.trace.note(out.now, "park", [held.job as u64, held.tag], || format!("{held:?} {parked:?}"));
                    self.publish(held.tag, held.job, Word::Parked(parked.tier, parked.carried), out);
                }
                Command::HandBack(key) => {
                    self.promises.handed_back(key, self.memory_short, out.now)?;
                    let held = self.release(key)?;
                    out.trace.note(out.now, "hand back", [held.job as u64, held.tag], || format!("{held:?}"));
                    out.broker.requeue(held.tag);
                    out.expect_delivery();
                }
                Command::Forgotten(key) => {
                    self.promises.forgotten(key, out.now)?;
                    let held = self.release(key)?;
                    out.trace.note(out.now, "forgotten", [held.job as u64, held.tag], || format!("{held:?}"));
                }
                Command::Notice(notice) => self.notice(&notice, out),
            }
        }
        self.promises.agree_with(&self.engine, WEIGHT, out.now)
    }

    fn release(&mut self, key: JobKey) -> Result<Held, Broken> {
        self.held.remove(&key).ok_or_else(|| Broken(format!("{key:?} is not in hand")))
    }

    fn notice(&mut self, notice: &Notice, out: &mut Outside<'s>) {
        match notice {
            Notice::Unidentified { account, .. } => {
                self.promises.unidentified.insert(*account);
                out.verity.unidentified.insert(account.0);
            }
            Notice::Paused { account, kind, .. } => {
                self.promises.troubled(*account);
                if *kind == PauseKind::Guard {
                    guards::expect_answer(*account, out);
                }
            }
            Notice::Slowed { account, .. } => self.promises.troubled(*account),
            Notice::Resumed { .. }
            | Notice::Isolating { .. }
            | Notice::Unattributed { .. }
            | Notice::Unfolded { .. } => {}
        }
        out.trace.note(out.now, "notice", [0, 0], || format!("{notice:?}"));
    }

    /// What stands in the `Authorization` header.
    fn token(&self, account: AccountIndex) -> String {
        let Credentials { read, access } = &self.credentials[account.0 as usize];
        access.as_ref().unwrap_or(read).clone()
    }

    fn archive(&mut self, call: &BatchCall, out: &mut Outside<'s>) -> Kept {
        self.promises.sent(call, out.now)?;
        self.guards.sent(call, out.now)?;
        let account = call.lane.account;
        out.ceilings.left(account, self.number, out.now)?;
        let token = self.token(account);
        let portal = out.scenario.portals[account.0 as usize].id;
        let unchecked = self.promises.unidentified.contains(&account);
        let right = FarSide::portal_of(&token) == Some(portal);
        promise!(right || unchecked, "a batch for portal {portal} is sent with the token {token}");
        let numbers = [account.0.into(), call.pairs.len() as u64];
        out.trace.note(out.now, "send", numbers, || {
            let (pairs, lane) = (call.pairs.len(), &call.lane);
            let few: Vec<String> =
                call.pairs.iter().take(12).map(|pair| format!("{}-{}", pair.from, pair.to)).collect();
            format!("{:?} {:?} {pairs} pairs {few:?}, {} failures, {lane:?}", call.call, call.sealed, call.failures)
        });
        let content = Content::Batch { call: call.clone(), token };
        self.send(call.call, account, content, out);
        Ok(())
    }

    fn ask_about_access(
        &mut self,
        call: CallKey,
        account: AccountIndex,
        content: Content,
        out: &mut Outside<'s>,
    ) -> Kept {
        self.promises.asks_about_access(call, account, out.now)?;
        out.trace.note(out.now, "ask", [account.0.into(), 0], || format!("{call:?} {content:?}"));
        self.send(call, account, content, out);
        Ok(())
    }

    fn send(&mut self, call: CallKey, account: AccountIndex, content: Content, out: &mut Outside<'s>) {
        let life = self.number;
        if out.now < out.far.unreachable_until {
            let heard = out.far.refused(&content);
            return out.after(out.scenario.way, Happening::Return { life, call, heard });
        }
        let sending = Sending { life, call, account, sent: out.now, content };
        out.after(out.scenario.way, Happening::Arrival(sending));
    }

    /// What became of a request.
    pub fn hear(&mut self, call: CallKey, heard: Heard, out: &mut Outside<'s>) -> Kept {
        let now = self.now(out);
        let sent = self.promises.hears_of(call).ok_or_else(|| Broken(format!("{call:?} is not known")))?;
        out.trace.note(out.now, "hear", [u64::try_from(sent.as_micros()).unwrap_or(0), 0], || {
            format!("{call:?} {}", in_short(&heard))
        });
        match heard {
            Heard::Batch(reply) => {
                let result = self.engine.answered(call, &reply, now).result;
                self.promises.heard(call, &reply, result)?;
            }
            Heard::Refresh(reply, granted) => {
                let account = self.promises.heard_of_access(call);
                if let (Some(account), RefreshReply::Granted { .. }, Some((access, read))) = (account, &reply, granted)
                {
                    self.credentials[account.0 as usize] = Credentials { read, access: Some(access) };
                }
                self.engine.refreshed(call, reply, now);
            }
            Heard::Identity(reply) => {
                self.promises.heard_of_access(call);
                self.engine.identified(call, reply, now);
            }
        }
        self.obey(out)
    }

    fn settle(&mut self, settled: Settled, out: &mut Outside<'s>) -> Kept {
        let held = self.release(settled.job)?;
        out.trace.note(out.now, "settle", [held.job as u64, held.tag], || format!("{held:?} {settled:?}"));
        let errors = out.verity.weigh(held.job, &settled, &out.far.world, out.now)?;
        self.promises.settled(&settled, &errors, out.now)?;
        let settled = Arc::new(settled);
        self.publish(held.tag, held.job, Word::Outcome(settled), out);
        Ok(())
    }

    /// Nothing is published for a delivery that is void: it will come again.
    fn publish(&mut self, tag: u64, job: usize, word: Word, out: &mut Outside<'s>) {
        if out.scenario.in_hand() {
            if let Word::Outcome(settled) = &word {
                out.verity.told(job, settled, out.now);
            }
            out.broker.ack(tag);
            return out.expect_delivery();
        }
        if !out.broker.is_unacked(tag) {
            return;
        }
        self.published += 1;
        let publication = Publication { id: self.published, tag, job, word };
        self.publications.insert(publication.id, publication.clone());
        self.dispatch(publication, out);
    }

    fn dispatch(&mut self, publication: Publication, out: &mut Outside<'s>) {
        let Some(generation) = self.generation else { return };
        let way = out.some_time(out.scenario.slowest_publish / 2);
        out.after(way, Happening::Stored { life: self.number, generation, publication });
    }

    pub fn confirmed(&mut self, id: u64, stored: bool, out: &mut Outside<'s>) {
        if !stored {
            return out.after(REPUBLISH, Happening::Republished { life: self.number, publication: id });
        }
        if let Some(publication) = self.publications.remove(&id) {
            out.after(ACK, Happening::Acked { tag: publication.tag });
        }
    }

    pub fn republish(&mut self, id: u64, out: &mut Outside<'s>) {
        if let Some(publication) = self.publications.get(&id).cloned() {
            self.dispatch(publication, out);
        }
    }

    /// The connection to the broker is gone: every delivery is void.
    pub fn lose_connection(&mut self, out: &mut Outside<'s>) -> Kept {
        self.generation = None;
        self.publications.clear();
        let now = self.now(out);
        let mut held: Vec<JobKey> = self.held.keys().copied().collect();
        held.sort_unstable();
        for key in held {
            self.engine.forget(key, now);
        }
        self.obey(out)
    }

    pub fn drain(&mut self, next_after: Duration, out: &mut Outside<'s>) -> Kept {
        self.stopping = Some(next_after);
        self.promises.drains();
        self.engine.drain(self.now(out));
        self.obey(out)
    }

    /// No further job will come.
    pub fn flush(&mut self, out: &mut Outside<'s>) -> Kept {
        self.engine.flush(self.now(out));
        self.obey(out)
    }

    pub fn hand_back_unstarted(&mut self, out: &mut Outside<'s>) -> Kept {
        let now = self.now(out);
        self.engine.hand_back_unstarted(self.engine.held_bytes() / 2, now);
        self.memory_short = true;
        let told = self.obey(out);
        self.memory_short = false;
        told
    }

    pub fn operator_pauses(&mut self, account: AccountIndex, out: &mut Outside<'s>) -> Kept {
        self.engine.pause(account, self.now(out));
        self.obey(out)
    }

    pub fn operator_resumes(&mut self, account: AccountIndex, out: &mut Outside<'s>) -> Kept {
        self.engine.resume(account, self.now(out));
        self.obey(out)
    }

    pub fn operator_answers(&mut self, account: AccountIndex, answer: Answer, out: &mut Outside<'s>) -> Kept {
        out.trace.note(out.now, "answer", [account.0.into(), 0], || format!("{answer:?}"));
        let now = self.now(out);
        match answer {
            Answer::Approve => self.engine.approve(account, now),
            Answer::Reject => self.engine.reject(account, now),
        };
        self.guards.answered(account, answer, out.now);
        out.verity.rejected |= answer == Answer::Reject;
        self.obey(out)
    }

    /// Looks whether the file has other credentials than those in use.
    pub fn see_credentials(&mut self, account: AccountIndex, out: &mut Outside<'s>) -> Kept {
        let file = out.far.file(account);
        let credentials = &mut self.credentials[account.0 as usize];
        if credentials.read == file {
            return Ok(());
        }
        *credentials = Credentials { read: file.to_owned(), access: None };
        // Whose token it is may have to be asked first.
        self.promises.troubled(account);
        self.engine.credentials_changed(account, self.now(out));
        self.obey(out)
    }

    /// Nothing is in hand, and nothing is on its way to the broker.
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.publications.is_empty() && self.promises.in_flight() == 0
    }
}

fn account(index: usize) -> AccountIndex {
    AccountIndex(u32::try_from(index).unwrap_or(u32::MAX))
}

fn in_short(heard: &Heard) -> String {
    let mut text = format!("{heard:?}");
    let mut end = text.len().min(4_000);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
