//! The loop that owns the engine. Jobs, replies, an operator's orders and the time go in; errands and answers come out.
//! The loop decides nothing itself.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::recorder::{self, JournalEnds};
use super::seams::{
    Arrival, BatchReply, Clock, Departure, Errand, Instruction, Obeyed, Order, Question, Return, Target, Watcher,
};
use super::tenant::{self, LeaseEnds, LeaseNews, Tenants};
use crate::contract::time::up_to_second;
use crate::engine::Engine;
use crate::engine::background::Urgency;
use crate::engine::backlog::JobKey;
use crate::engine::clock::{Now, Tick};
use crate::engine::command::{BatchCall, Command, RecordCall};
use crate::engine::guard::GuardState;
use crate::engine::reply::Reply;
use crate::engine::status::GuardStatus;
use crate::journal::task::Recorded;
use crate::lease::order::HandedOn;
use crate::shards::{Generation, QueueIndex};

/// The loop's ends of its channels.
#[derive(Debug)]
pub struct Ends<D> {
    pub arrivals: mpsc::Receiver<Arrival<D>>,
    /// Unbounded in type. It never holds more jobs than were admitted, so at most the prefetch of each generation that
    /// has jobs in hand.
    pub departures: mpsc::UnboundedSender<Vec<Departure<D>>>,
    /// Unbounded in type. It never holds more than the requests in flight, and the orders to read an account's
    /// credentials again, of which a refused request gives one.
    pub errands: mpsc::UnboundedSender<Errand>,
    /// What came back of these errands, and the news that an account's secrets have changed. Bounded in the same way.
    pub returns: mpsc::UnboundedReceiver<Return>,
    /// What an operator orders.
    pub orders: mpsc::Receiver<Order>,
}

/// Why something was not recorded: the engine asked for it, and the loop has no journal.
const NO_JOURNAL: &str = "the worker has no journal for the account, which is a fault of this program";

/// How often the status is refreshed and the loop shows that it lives.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// When something has come through a channel, at most this many more are taken from the same channel before the
/// engine's commands are obeyed.
const BUNDLE: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct PolicyLoop<D, C, W> {
    engine: Engine,
    /// The generation and the delivery of each job. The key is the whole [`JobKey`] and not only its slot, because the
    /// next job may take that slot before the commands about the last one are obeyed.
    held: HashMap<JobKey, (Generation, D)>,
    clock: C,
    watcher: W,
    ends: Ends<D>,
    /// Tick zero of the engine on the runtime's clock.
    epoch: Instant,
    outbox: Vec<Departure<D>>,
    arrivals_closed: bool,
    /// Present where several workers share the quota.
    tenants: Option<Tenants>,
    /// Present where any account has a journal.
    journal: Option<JournalEnds<D>>,
    /// Present where there is a background queue: whether its jobs are taken in.
    background: Option<watch::Sender<bool>>,
}

impl<D: Send, C: Clock, W: Watcher<D>> PolicyLoop<D, C, W> {
    /// `epoch` is the moment that the clock calls tick zero.
    pub fn new(engine: Engine, clock: C, epoch: Instant, watcher: W, ends: Ends<D>) -> Self {
        let (held, outbox) = (HashMap::new(), Vec::new());
        Self {
            engine,
            held,
            clock,
            watcher,
            ends,
            epoch,
            outbox,
            arrivals_closed: false,
            tenants: None,
            journal: None,
            background: None,
        }
    }

    /// Makes the loop send for an account only while this worker holds the account's lease.
    pub fn sharing(mut self, lease: LeaseEnds) -> Self {
        let now = self.clock.now();
        self.tenants = Some(Tenants::new(lease, self.epoch, &mut self.engine, now));
        self
    }

    /// Lets the loop record what is about to be removed.
    pub fn recording(mut self, journal: Option<JournalEnds<D>>) -> Self {
        self.journal = journal;
        self
    }

    /// Lets the loop say whether jobs of the background are taken in.
    pub fn minding(mut self, background: Option<watch::Sender<bool>>) -> Self {
        self.background = background;
        self
    }

    /// Runs until the arrivals have ended and every job has departed.
    ///
    /// When `stop` is cancelled, the engine drains: it sends nothing more, waits for what is on the wire, and hands the
    /// rest back.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut status_due = Instant::now();
        loop {
            let now = self.clock.now();
            self.obey(now);
            if let Some(tenants) = &mut self.tenants {
                tenants.speak_if_urgent(&self.engine, now);
            }
            if Instant::now() >= status_due {
                self.publish_status(now);
                self.tenants.iter_mut().for_each(|tenants| tenants.speak(&self.engine, now));
                status_due = Instant::now() + STATUS_EVERY;
            }
            if self.arrivals_closed && self.engine.held_jobs() == 0 {
                self.publish_status(now);
                return;
            }
            let wake = self.engine.next_wake(now).map_or(status_due, |at| self.instant(at).min(status_due));
            let mut alarm = pin!(sleep_until(wake));
            tokio::select! {
                biased;
                () = stop.cancelled(), if !self.engine.is_draining() => self.drain(),
                (queue, news) = tenant::news(&mut self.tenants) => self.take_news(queue, news),
                recorded = recorder::recorded(&mut self.journal) => self.take_recorded(recorded),
                Some(back) = self.ends.returns.recv() => self.take_returns(back),
                Some(order) = self.ends.orders.recv() => self.take_order(order),
                arrival = self.ends.arrivals.recv(), if !self.arrivals_closed => self.take_arrivals(arrival),
                () = &mut alarm => self.engine.wake(self.clock.now()),
            }
        }
    }

    fn drain(&mut self) {
        let now = self.clock.now();
        self.engine.drain(now);
        if let Some(tenants) = &mut self.tenants {
            tenants.release(&self.engine, now);
        }
    }

    fn take_news(&mut self, queue: QueueIndex, news: LeaseNews) {
        if let LeaseNews::Ordered(order) = news {
            return self.take_handed_on(order);
        }
        let now = self.clock.now();
        if let Some(tenants) = &mut self.tenants {
            tenants.take(queue, news, &mut self.engine, now);
        }
    }

    fn instant(&self, tick: Tick) -> Instant {
        self.epoch + Duration::from_micros(tick.as_micros())
    }

    fn take_returns(&mut self, first: Return) {
        let now = self.clock.now();
        let mut next = Some(first);
        for _ in 0..BUNDLE {
            let Some(back) = next else { break };
            self.take_return(back, now);
            next = self.ends.returns.try_recv().ok();
        }
        if let Some(back) = next {
            self.take_return(back, now);
        }
    }

    fn take_return(&mut self, back: Return, now: Now) {
        match back {
            Return::Answered(back) => {
                let BatchReply { call, reply, took } = *back;
                self.tell_returned(&call, &reply);
                let alone = self.engine.jobs_in(call.call).next().filter(|_| call.pairs.len() == 1);
                let answered = self.engine.answered(call.call, &reply, now);
                self.watcher.answered(&call, &reply, &answered, took, now);
                if let Some((_, job)) = alone.and_then(|job| self.held.get(&job)) {
                    let next_try = call.pairs.first().and_then(|&pair| self.engine.next_try(&call.lane, pair));
                    let next_try = next_try.map(|next| up_to_second(now.wall_at(next)));
                    self.watcher.answered_alone(&call, &reply, answered.result, (job, next_try), now);
                }
            }
            Return::Refreshed { call, reply, took } => {
                self.watcher.asked(Question::Refresh, took);
                self.engine.refreshed(call, reply, now);
            }
            Return::Identified { call, reply, took } => {
                self.watcher.asked(Question::Identify, took);
                self.engine.identified(call, reply, now);
            }
            Return::CredentialsChanged { account } => self.engine.credentials_changed(account, now),
        }
    }

    fn take_recorded(&mut self, recorded: Recorded) {
        let Recorded { call, account: _, result, took: _ } = recorded;
        self.engine.recorded(call, result, self.clock.now());
    }

    fn take_order(&mut self, order: Order) {
        let now = self.clock.now();
        let account = order.target.account();
        if let Some(tenants) = self.tenants.as_ref().filter(|_| self.engine.is_standing_by(account))
            && !tenants.is_last_holder(account)
        {
            return tenants.hand_on(order, &self.engine, now);
        }
        let Order { target, instruction, from, reply } = order;
        let (portal_id, order) =
            (self.engine.portal_of(account).flatten().map(|portal| portal.0.get()), instruction.as_str());
        tracing::info!(portal_id, order, %from, "an order through the endpoints");
        let by = format!("from {from}");
        // A lane's pause ends with the process.
        let is_lasting = matches!(target, Target::Account(_));
        let applied = self.carry_out(target, instruction, &by, now);
        match self.tenants.as_mut().filter(|_| is_lasting && applied > 0) {
            Some(tenants) => tenants.reply_when_written(account, applied, reply, &self.engine, now),
            // Whoever gave the order may have gone away meanwhile.
            None => {
                let _ = reply.send(Obeyed::Done(applied));
            }
        }
    }

    /// `by`: where the order came from, for people.
    fn carry_out(&mut self, target: Target, instruction: Instruction, by: &str, now: Now) -> usize {
        let engine = &mut self.engine;
        let applied = match (target, instruction) {
            (Target::Account(account), Instruction::Pause) => usize::from(engine.pause_by(account, Some(by), now)),
            (Target::Account(account), Instruction::Resume) => usize::from(engine.resume(account, now)),
            (Target::Account(account), Instruction::Approve) => usize::from(engine.approve(account, now)),
            (Target::Account(account), Instruction::Reject) => usize::from(engine.reject(account, now)),
            (Target::Lanes { account, from_type, to_type }, Instruction::Pause) => {
                engine.pause_lanes_by(account, (&from_type, &to_type), Some(by), now)
            }
            (Target::Lanes { account, from_type, to_type }, Instruction::Resume) => {
                engine.resume_lanes(account, &from_type, &to_type, now)
            }
            // A guard belongs to an account, not to lanes.
            (Target::Lanes { .. }, Instruction::Approve | Instruction::Reject) => 0,
        };
        self.obey(now);
        self.publish_status(now);
        self.tenants.iter_mut().for_each(|tenants| tenants.speak_at_once(&self.engine, now));
        applied
    }

    /// An order that was given to another worker, which stands by.
    fn take_handed_on(&mut self, order: HandedOn) {
        let index = self.engine.account_of(order.account).filter(|&index| self.engine.is_standing_by(index));
        if let (Some(index), Some(tenants)) = (index, &self.tenants) {
            return tenants.hand_on_again(index, order);
        }
        let HandedOn { instruction, account, lane, given: _, by } = order;
        let order = instruction.as_str();
        let portal_id = account.map(|portal| portal.0.get());
        let Some(index) = self.engine.account_of(account) else {
            return tracing::warn!(portal_id, order, by, "an order for an account that is not configured here");
        };
        tracing::info!(portal_id, order, by, "an order from a worker that stands by");
        let target = match lane {
            None => Target::Account(index),
            Some((from_type, to_type)) => Target::Lanes { account: index, from_type, to_type },
        };
        let by = format!("through the worker {by}, which stood by");
        self.carry_out(target, instruction, &by, self.clock.now());
    }

    fn take_arrivals(&mut self, first: Option<Arrival<D>>) {
        let now = self.clock.now();
        let Some(first) = first else {
            self.arrivals_closed = true;
            return self.engine.flush(now);
        };
        let mut next = Some(first);
        for _ in 0..BUNDLE {
            let Some(arrival) = next else { break };
            self.take_arrival(arrival, now);
            next = self.ends.arrivals.try_recv().ok();
        }
        if let Some(arrival) = next {
            self.take_arrival(arrival, now);
        }
        self.engine.wake(now);
    }

    fn take_arrival(&mut self, arrival: Arrival<D>, now: Now) {
        match arrival {
            Arrival::Jobs { generation, jobs } => {
                let urgency = match generation.queue {
                    QueueIndex::BACKGROUND => Urgency::Background,
                    _ => Urgency::Live,
                };
                for (job, delivery) in jobs {
                    let key = self.engine.admit_as(urgency, job, now);
                    self.held.insert(key, (generation, delivery));
                }
            }
            Arrival::Lost { generation } => {
                let is_void =
                    |of_job: &Generation| of_job.queue == generation.queue && of_job.number <= generation.number;
                let void = self.held.iter().filter(|(_, (of_job, _))| is_void(of_job));
                let void: Vec<JobKey> = void.map(|(&key, _)| key).collect();
                for key in void {
                    self.engine.forget(key, now);
                }
            }
            Arrival::Overfull { keep_bytes } => self.engine.hand_back_unstarted(keep_bytes, now),
        }
    }

    /// Does what the engine says.
    fn obey(&mut self, now: Now) {
        // This comes first: jobs that are handed back while jobs are still taken in would be delivered again at once.
        if let Some(background) = &self.background {
            let takes = self.engine.takes_background();
            background.send_if_modified(|open| std::mem::replace(open, takes) != takes);
        }
        while let Some(command) = self.engine.next_command() {
            match command {
                Command::Send(call) => {
                    self.tell_sent(&call);
                    self.run_errand(Errand::Send(call));
                }
                Command::Record(call) => self.record(call, now),
                Command::Complete { account, completion } => {
                    if let Some(journal) = &self.journal {
                        journal.complete(account, Arc::unwrap_or_clone(completion));
                    }
                }
                Command::Refresh { call, account } => self.run_errand(Errand::Refresh { call, account }),
                Command::Identify { call, account } => self.run_errand(Errand::Identify { call, account }),
                Command::RereadCredentials { account } => self.run_errand(Errand::RereadCredentials { account }),
                Command::Settle(settled) => {
                    if let Some((_, delivery)) = self.held.remove(&settled.job) {
                        self.watcher.settled(&delivery, &settled, now);
                        self.outbox.push(Departure::Settled { delivery, settled, completed: now.wall });
                    }
                }
                Command::Park(parked) => {
                    if let Some((_, delivery)) = self.held.remove(&parked.job) {
                        self.watcher.parked(&delivery, &parked, now);
                        self.outbox.push(Departure::Parked { delivery, parked });
                    }
                }
                Command::HandBack(job) => {
                    if let Some((_, delivery)) = self.held.remove(&job) {
                        self.outbox.push(Departure::HandedBack { delivery });
                    }
                }
                Command::Forgotten(job) => {
                    if let Some((_, delivery)) = self.held.remove(&job) {
                        self.outbox.push(Departure::Forgotten { delivery });
                    }
                }
                Command::Notice(notice) => self.watcher.notice(&notice),
            }
        }
        if !self.outbox.is_empty() {
            // The far end outlives the loop. If it were gone, the broker would deliver these jobs again.
            let _ = self.ends.departures.send(std::mem::take(&mut self.outbox));
        }
    }

    fn record(&mut self, call: RecordCall, now: Now) {
        match &self.journal {
            Some(journal) => journal.record(call, now.wall, |job| self.held.get(&job).map(|(_, delivery)| delivery)),
            None => self.engine.recorded(call.call, Err(NO_JOURNAL.to_owned()), now),
        }
    }

    fn tell_sent(&mut self, call: &BatchCall) {
        let Self { engine, held, watcher, .. } = self;
        let mut jobs = engine.jobs_in(call.call).filter_map(|job| held.get(&job)).map(|(_, delivery)| delivery);
        watcher.sent(call, &mut jobs);
    }

    fn tell_returned(&mut self, call: &BatchCall, reply: &Reply) {
        let Self { engine, held, watcher, .. } = self;
        let mut jobs = engine.jobs_in(call.call).filter_map(|job| held.get(&job)).map(|(_, delivery)| delivery);
        watcher.returned(call, reply, &mut jobs);
    }

    fn run_errand(&self, errand: Errand) {
        // The far end outlives the loop, unless both are about to be dropped.
        let _ = self.ends.errands.send(errand);
    }

    fn publish_status(&mut self, now: Now) {
        let Self { engine, held, watcher, .. } = self;
        let status = engine.status(now);
        let waits = |guard: GuardStatus| guard.state == GuardState::Waiting;
        if status.accounts.iter().any(|account| account.guard.is_some_and(waits)) {
            let delivery = |job| held.get(&job).map(|(_, delivery)| delivery);
            watcher.behind_guards(
                &mut engine.behind_guards(now).filter_map(|(account, job)| Some((account, delivery(job)?))),
            );
        }
        watcher.counted(engine.counters(), status, engine.is_draining(), now);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::contract::action::Action;
    use crate::contract::association::{Extent, Pair, RecordId};
    use crate::contract::expiry::Expiry;
    use crate::contract::ids::AccountIndex;
    use crate::contract::job::Ask;
    use crate::contract::object_type::ObjectType;
    use crate::contract::outcome::Ending;
    use crate::engine::account::AccountPolicy;
    use crate::engine::answered::Answered;
    use crate::engine::command::{Carried, NewJob, Notice, Parked, Settled};
    use crate::engine::status::Status;
    use crate::engine::{Counters, EnginePolicy};

    /// An expired job leaves before it is sent, and the next job of the bundle takes its slot in the engine. Each
    /// delivery must depart all the same.
    #[tokio::test]
    async fn every_delivery_of_a_bundle_of_expired_jobs_departs() {
        let (loop_, arrivals, mut departures) = stage();
        let jobs = (1..=5_u32).map(|number| (expired(number.into()), number)).collect();
        arrivals.send(Arrival::Jobs { generation: Generation::shared(1), jobs }).await.unwrap();
        drop(arrivals);
        loop_.run(CancellationToken::new()).await;

        let mut departed = Vec::new();
        while let Ok(bundle) = departures.try_recv() {
            for departure in bundle {
                assert!(matches!(
                    &departure,
                    Departure::Settled { settled: Settled { ending: Ending::Expired { .. }, .. }, .. }
                ));
                departed.extend(match departure {
                    Departure::Settled { delivery, .. } => Some(delivery),
                    Departure::Parked { .. } | Departure::HandedBack { .. } | Departure::Forgotten { .. } => None,
                });
            }
        }
        assert_eq!(departed, [1, 2, 3, 4, 5]);
    }

    type Stage =
        (PolicyLoop<u32, Frozen, Unheard>, mpsc::Sender<Arrival<u32>>, mpsc::UnboundedReceiver<Vec<Departure<u32>>>);

    fn stage() -> Stage {
        let (arrivals_in, arrivals) = mpsc::channel(8);
        let (departures, departures_out) = mpsc::unbounded_channel();
        let (errands, _) = mpsc::unbounded_channel();
        let (_, returns) = mpsc::unbounded_channel();
        let (_, orders) = mpsc::channel(1);
        let ends = Ends { arrivals, departures, errands, returns, orders };
        let engine = Engine::new(policy(), vec![AccountPolicy::default()], 1, Frozen.now());
        (PolicyLoop::new(engine, Frozen, Instant::now(), Unheard, ends), arrivals_in, departures_out)
    }

    fn policy() -> EnginePolicy {
        EnginePolicy { linger: Duration::ZERO, ..EnginePolicy::default() }
    }

    fn expired(from: u64) -> NewJob {
        let record = |id: u64| RecordId(id.try_into().unwrap());
        let pairs = [Pair { from: record(from), to: record(1) }].into_iter().collect();
        let object_type = ObjectType::parse("contacts").unwrap();
        NewJob {
            action: Action::Archive,
            dry_run: false,
            account: AccountIndex(0),
            from_type: object_type.clone(),
            to_type: object_type,
            asks: [Ask { extent: Extent::Whole, pairs, all_of: Vec::new() }].into_iter().collect(),
            expiry: Some(Expiry::not_after(Timestamp::UNIX_EPOCH)),
            weight: 100,
            carried: Carried::fresh(Timestamp::UNIX_EPOCH),
        }
    }

    struct Frozen;

    impl Clock for Frozen {
        fn now(&self) -> Now {
            Now { tick: Tick::ZERO, wall: Timestamp::from_second(1_795_000_000).unwrap() }
        }
    }

    struct Unheard;

    impl Watcher<u32> for Unheard {
        fn sent(&mut self, _: &BatchCall, _: &mut dyn Iterator<Item = &u32>) {}
        fn answered(&mut self, _: &BatchCall, _: &Reply, _: &Answered, _: Duration, _: Now) {}
        fn asked(&mut self, _: Question, _: Duration) {}
        fn settled(&mut self, _: &u32, _: &Settled, _: Now) {}
        fn parked(&mut self, _: &u32, _: &Parked, _: Now) {}
        fn notice(&mut self, _: &Notice) {}
        fn counted(&mut self, _: Counters, _: Status, _: bool, _: Now) {}
    }
}
