//! The loop's part in the lease: the engine is told whether it may send, and what it counts is passed on.

use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use super::seams::{Obeyed, Order, Target};
use crate::amqp::lease::LeaseWord;
use crate::amqp::lease::fence::Until;
pub use crate::amqp::lease::{LeaseEnds, LeaseNews};
use crate::engine::clock::{Now, Tick};
use crate::engine::{Engine, Occasion};
use crate::lease::order::HandedOn;
use crate::lease::reach::Reach;

/// See the module.
#[derive(Debug)]
pub struct Tenant {
    ends: LeaseEnds,
    /// Tick zero of the engine on the runtime's clock.
    epoch: Instant,
    begun: u64,
    /// An urgent word is under way, and not written yet.
    urging: bool,
    released: bool,
}

impl Tenant {
    /// The engine sends nothing until the lease is held.
    pub fn new(ends: LeaseEnds, epoch: Instant, engine: &mut Engine, now: Now) -> Self {
        engine.stand_by(now);
        Self { ends, epoch, begun: 0, urging: false, released: false }
    }

    /// The next news; never where the keeper has ended, when the engine's own reach ends too. Cancel-safe.
    pub async fn news(&mut self) -> LeaseNews {
        match self.ends.news.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }

    pub fn take(&mut self, news: LeaseNews, engine: &mut Engine, now: Now) {
        match news {
            LeaseNews::Begin(inheritance) => {
                self.begun += 1;
                engine.inherit(&inheritance, now);
                self.urging = false;
                self.speak(engine, now);
            }
            LeaseNews::Hold(until) => engine.hold(self.reach(until), now),
            LeaseNews::StandBy => {
                self.urging = false;
                engine.stand_by(now);
            }
            LeaseNews::OthersSent => engine.others_sent(now),
            // The loop obeys it.
            LeaseNews::Ordered(_) => {}
            LeaseNews::Written(memory) => {
                self.urging = false;
                engine.written(&memory, now);
            }
        }
    }

    /// This worker stands by: the holder is to obey.
    pub fn hand_on(&self, order: Order, engine: &Engine, now: Now) {
        let Order { target, instruction, reply } = order;
        let (account, lane) = match target {
            Target::Account(account) => (account, None),
            Target::Lanes { account, from_type, to_type } => (account, Some((from_type, to_type))),
        };
        let refused = match engine.portal_of(account) {
            None => (reply, "there is no such account"),
            Some(portal) => {
                let order = HandedOn { instruction, account: portal, lane, given: now.wall, by: String::new() };
                match self.ends.orders.try_send((order, reply)) {
                    Ok(()) => return,
                    Err(TrySendError::Full((_, reply))) => (reply, "too many orders wait already"),
                    Err(TrySendError::Closed((_, reply))) => (reply, "the worker stops"),
                }
            }
        };
        let (reply, why) = refused;
        // Whoever gave the order may have gone away meanwhile.
        let _ = reply.send(Obeyed::NotHandedOn(why.to_owned()));
    }

    /// Passes the counts on; they are written at once where requests wait for it.
    pub fn speak(&mut self, engine: &Engine, now: Now) {
        self.pass_on(engine.wants_to_write(now), engine, now);
    }

    /// Passes on what an operator has ordered.
    pub fn speak_at_once(&mut self, engine: &Engine, now: Now) {
        self.pass_on(true, engine, now);
    }

    fn pass_on(&mut self, urgent: bool, engine: &Engine, now: Now) {
        self.urging |= urgent;
        self.say(LeaseWord { begun: self.begun, memory: engine.memory(Occasion::Renewal, now), urgent, last: false });
    }

    /// Passes them on where requests have begun to wait for it.
    pub fn speak_if_urgent(&mut self, engine: &Engine, now: Now) {
        if !self.urging && engine.wants_to_write(now) {
            self.speak(engine, now);
        }
    }

    /// The engine has sent its last request.
    pub fn release(&mut self, engine: &Engine, now: Now) {
        let memory = engine.memory(Occasion::Release, now);
        self.say(LeaseWord { begun: self.begun, memory, urgent: true, last: true });
        self.released = true;
    }

    fn say(&self, word: LeaseWord) {
        if !self.released {
            // The keeper ends before the loop only when the worker is about to end.
            self.ends.words.send_replace(word);
        }
    }

    fn reach(&self, until: Until) -> Reach {
        let since: Duration = until.instant.saturating_duration_since(self.epoch);
        Reach { tick: Tick::ZERO + since, wall: until.wall }
    }
}

/// The next news of a lease, if there is one to keep.
pub async fn news(tenant: &mut Option<Tenant>) -> LeaseNews {
    match tenant {
        Some(tenant) => tenant.news().await,
        None => std::future::pending().await,
    }
}
