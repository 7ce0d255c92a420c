//! How the loop works with the leases: it tells the engine for which accounts it may send, and passes on to the keepers
//! of the leases what the engine counts.

use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::seams::{Obeyed, Order, Target};
use crate::amqp::lease::fence::Until;
use crate::amqp::lease::{Ending, LeaseEnd, LeaseWord};
pub use crate::amqp::lease::{LeaseEnds, LeaseNews};
use crate::contract::ids::{AccountIndex, PortalId};
use crate::engine::clock::{Now, Tick};
use crate::engine::{Engine, Occasion};
use crate::lease::memory::Memory;
use crate::lease::order::HandedOn;
use crate::lease::reach::Reach;
use crate::shards::QueueIndex;

/// What the loop knows of all leases.
#[derive(Debug)]
pub struct Tenants {
    news: mpsc::UnboundedReceiver<(QueueIndex, LeaseNews)>,
    /// In the order of the queues.
    tenants: Vec<Tenant>,
    /// Tick zero of the engine on the runtime's clock.
    epoch: Instant,
}

/// What the loop knows of one lease.
#[derive(Debug)]
struct Tenant {
    end: LeaseEnd,
    begun: u64,
    /// An urgent word is under way, and not written yet.
    urging: bool,
    /// Whether the last word on the lease has been said: for this tenure, or for good.
    ending: Ending,
    /// Orders that were carried out. Whoever gave them hears of it when they are written down.
    unwritten: Vec<Unwritten>,
}

#[derive(Debug)]
struct Unwritten {
    portal: Option<PortalId>,
    /// The counts that a memory must have to show the order: orders to pause or resume, and changes of the guard.
    wanted: (u64, u64),
    applied: usize,
    reply: oneshot::Sender<Obeyed>,
    since: Instant,
}

/// Whoever gave an order hears that it is not written down once it has waited for this long, within a second.
const LONGEST_UNWRITTEN: Duration = Duration::from_secs(3);
const MAX_UNWRITTEN: usize = 16;

impl Tenants {
    /// The engine sends nothing until a lease is held.
    pub fn new(ends: LeaseEnds, epoch: Instant, engine: &mut Engine, now: Now) -> Self {
        let LeaseEnds { news, leases } = ends;
        engine.stand_by(&engine.all_accounts(), now);
        let tenant = |end| Tenant { end, begun: 0, urging: false, ending: Ending::No, unwritten: Vec::new() };
        Self { news, tenants: leases.into_iter().map(tenant).collect(), epoch }
    }

    /// The next news. Waits without end where the keepers have ended: then the time for which the engine may send runs
    /// out by itself. Cancel-safe.
    async fn news(&mut self) -> (QueueIndex, LeaseNews) {
        match self.news.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }

    pub fn take(&mut self, queue: QueueIndex, news: LeaseNews, engine: &mut Engine, now: Now) {
        let epoch = self.epoch;
        if let Some(tenant) = self.tenants.get_mut(queue.as_usize()) {
            tenant.take(news, epoch, engine, now);
        }
    }

    /// Whether this worker, which stands by for the account, is the one to obey: it could not renew the lease, and knows of
    /// nobody else who holds it.
    pub fn is_last_holder(&self, account: AccountIndex) -> bool {
        self.tenants.iter().any(|tenant| tenant.end.is_for(account) && tenant.end.is_last_holder())
    }

    /// This worker stands by for the account: whoever holds its lease is to obey.
    pub fn hand_on(&self, order: Order, engine: &Engine, now: Now) {
        let Order { target, instruction, from: _, reply } = order;
        let index = target.account();
        let lane = match target {
            Target::Account(_) => None,
            Target::Lanes { account: _, from_type, to_type } => Some((from_type, to_type)),
        };
        let tenant = self.tenants.iter().find(|tenant| tenant.end.is_for(index));
        let refused = match (engine.portal_of(index), tenant) {
            (None, _) | (_, None) => (reply, "there is no such account"),
            (Some(portal), Some(tenant)) => {
                let order = HandedOn { instruction, account: portal, lane, given: now.wall, by: String::new() };
                match tenant.end.orders.try_send((order, reply)) {
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

    /// An order from another worker came through a lease that this one has just released. It is put back for the next
    /// holder.
    pub fn hand_on_again(&self, account: AccountIndex, order: HandedOn) {
        let (reply, _nobody) = oneshot::channel();
        let tenant = self.tenants.iter().find(|tenant| tenant.end.is_for(account));
        if tenant.is_none_or(|tenant| tenant.end.orders.try_send((order, reply)).is_err()) {
            tracing::warn!("an order from another worker came when the lease had just been released, and is lost");
        }
    }

    /// Whoever gave the order hears of it once it is written where the next holder finds it.
    pub fn reply_when_written(
        &mut self,
        account: AccountIndex,
        applied: usize,
        reply: oneshot::Sender<Obeyed>,
        engine: &Engine,
        now: Now,
    ) {
        let tenant = self.tenants.iter_mut().find(|tenant| tenant.end.is_for(account));
        let (Some(portal), Some(tenant)) = (engine.portal_of(account), tenant) else {
            let _ = reply.send(Obeyed::Done(applied));
            return;
        };
        tenant.unwritten.retain(|one| !one.reply.is_closed());
        if tenant.unwritten.len() >= MAX_UNWRITTEN {
            let _ = reply.send(Obeyed::Unwritten);
            return;
        }
        let wanted = said(&engine.memory(&[account], Occasion::Renewal, now), portal);
        tenant.unwritten.push(Unwritten { portal, wanted, applied, reply, since: Instant::now() });
    }

    /// Passes on what the engine counts. The keeper writes it at once where requests wait for that.
    pub fn speak(&mut self, engine: &Engine, now: Now) {
        for tenant in &mut self.tenants {
            tenant.speak(engine, now);
            answer_unwritten(&mut tenant.unwritten, LONGEST_UNWRITTEN);
        }
    }

    /// Passes on what an operator has ordered.
    pub fn speak_at_once(&mut self, engine: &Engine, now: Now) {
        self.tenants.iter_mut().for_each(|tenant| tenant.pass_on(true, engine, now));
    }

    /// Passes on what the engine counts, if requests have begun to wait until it is written.
    pub fn speak_if_urgent(&mut self, engine: &Engine, now: Now) {
        for tenant in &mut self.tenants {
            if !tenant.urging && engine.wants_to_write(&tenant.end.accounts, now) {
                tenant.speak(engine, now);
            }
        }
    }

    /// The engine has sent its last request.
    pub fn release(&mut self, engine: &Engine, now: Now) {
        self.tenants.iter_mut().for_each(|tenant| tenant.end(Ending::Stops, engine, now));
    }
}

impl Tenant {
    fn take(&mut self, news: LeaseNews, epoch: Instant, engine: &mut Engine, now: Now) {
        let accounts = &self.end.accounts;
        match news {
            LeaseNews::Begin(inheritance) => {
                self.begun += 1;
                answer_unwritten(&mut self.unwritten, Duration::ZERO);
                engine.inherit(accounts, &inheritance, now);
                self.urging = false;
                if self.ending == Ending::Releases {
                    self.ending = Ending::No;
                }
                self.speak(engine, now);
            }
            // What was used is said already, so nothing may be added to it.
            LeaseNews::Hold(_) if self.ending != Ending::No => {}
            LeaseNews::Hold(until) => engine.hold(accounts, reach(until, epoch), now),
            LeaseNews::StandBy => {
                self.urging = false;
                engine.stand_by(accounts, now);
                // Where the lease is being released, its last word is still to be written.
                if self.ending == Ending::No {
                    answer_unwritten(&mut self.unwritten, Duration::ZERO);
                }
            }
            // The loop obeys it.
            LeaseNews::Ordered(_) => {}
            LeaseNews::OthersSent => engine.others_sent(accounts, now),
            LeaseNews::Written(memory) => {
                self.urging = false;
                engine.written(accounts, &memory, now);
                let is_written = |one: &mut Unwritten| {
                    let (pauses, guard) = said(&memory, one.portal);
                    pauses >= one.wanted.0 && guard >= one.wanted.1
                };
                for Unwritten { reply, applied, .. } in self.unwritten.extract_if(.., is_written) {
                    // Whoever gave the order may have gone away meanwhile.
                    let _ = reply.send(Obeyed::Done(applied));
                }
            }
            LeaseNews::Release => {
                engine.stand_by(accounts, now);
                self.end(Ending::Releases, engine, now);
            }
        }
    }

    fn speak(&mut self, engine: &Engine, now: Now) {
        self.pass_on(engine.wants_to_write(&self.end.accounts, now), engine, now);
    }

    fn pass_on(&mut self, urgent: bool, engine: &Engine, now: Now) {
        if self.ending == Ending::No {
            self.urging |= urgent;
            let memory = engine.memory(&self.end.accounts, Occasion::Renewal, now);
            self.say(LeaseWord { begun: self.begun, memory, urgent, ending: Ending::No, unsettled: true });
        }
    }

    fn end(&mut self, ending: Ending, engine: &Engine, now: Now) {
        if self.ending != Ending::Stops {
            let memory = engine.memory(&self.end.accounts, Occasion::Release, now);
            let unsettled = engine.held_jobs() > 0;
            self.say(LeaseWord { begun: self.begun, memory, urgent: true, ending, unsettled });
            self.ending = ending;
        }
    }

    fn say(&self, word: LeaseWord) {
        // The keeper ends before the loop only when the worker is about to end.
        self.end.words.send_replace(word);
    }
}

/// Answers the orders that have waited to be written down for longer than `after`: it is not known that they are.
fn answer_unwritten(unwritten: &mut Vec<Unwritten>, after: Duration) {
    for Unwritten { reply, .. } in unwritten.extract_if(.., |one| one.since.elapsed() >= after) {
        let _ = reply.send(Obeyed::Unwritten);
    }
}

/// How many orders to pause or resume, and how many changes of the guard, the memory tells of.
fn said(memory: &Memory, portal: Option<PortalId>) -> (u64, u64) {
    let account = memory.of(portal);
    let guard = account.and_then(|account| account.guard.as_ref());
    (account.map_or(0, |account| account.pause.orders), guard.map_or(0, |guard| guard.changes))
}

fn reach(until: Until, epoch: Instant) -> Reach {
    let since: Duration = until.instant.saturating_duration_since(epoch);
    Reach { tick: Tick::ZERO + since, wall: until.wall }
}

/// The next news of a lease, if there is one to keep.
pub async fn news(tenants: &mut Option<Tenants>) -> (QueueIndex, LeaseNews) {
    match tenants {
        Some(tenants) => tenants.news().await,
        None => std::future::pending().await,
    }
}
