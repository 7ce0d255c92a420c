//! The lease queue: consumed, written and watched by a task of its own, which waits for no other part of the worker.
//!
//! What it all means is decided in [`crate::lease`]. Here a subscription to the queue is kept up, messages go out
//! through a task beside it, and whoever must know is told: the loop, the intake through its gate, whoever sends
//! requests through the fence, and people.

pub mod balance;
pub mod fence;
pub mod gate;
mod queue;
mod scribe;

use std::mem::discriminant;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;
use lapin::{Channel, Consumer};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::fence::{Fence, Until};
use self::gate::GateKeeper;
pub use self::queue::{LeaseFault, LeaseFound, LeaseQueue, SINGLE_ACTIVE_CONSUMER};
use self::scribe::{ORDER_TYPE, Scribe, WriteFault, Written};
use super::backoff::Backoff;
use super::connection::{CANCELLED, CLOSE_TIMEOUT, REPLY_SUCCESS};
use super::health::{Health, QueueHealth};
use super::link::{Depth, Link};
use crate::contract::ids::AccountIndex;
use crate::engine::clock::{Now, Tick};
use crate::lease::memory::Memory;
use crate::lease::message::{LeaseMessage, TenureId};
use crate::lease::order::{HandedOn, Obeyed};
use crate::lease::view::{LeaseStanding, LeaseView};
use crate::lease::{Consumers, Inheritance, Lapse, Lease, LeaseCommand, LeasePolicy, PublicationKey, Standing};
use crate::shards::QueueIndex;

/// Out to the loop.
#[derive(Debug)]
pub enum LeaseNews {
    /// This worker holds the lease from now on; [`LeaseNews::Hold`] follows.
    Begin(Inheritance),
    Hold(Until),
    StandBy,
    /// A worker without a lease has sent requests until now.
    OthersSent,
    /// The broker has this memory safe.
    Written(Memory),
    /// An order that an operator gave to a worker that stands by. It is for the holder, which this worker is.
    Ordered(HandedOn),
    /// This worker holds more than its share: it is to stop for these accounts, and to say what it used.
    Release,
}

/// What the loop tells the keeper of a lease. Only the latest word counts.
#[derive(Clone, Default, Debug)]
pub struct LeaseWord {
    /// How many times the loop was told to begin; a word with a lower number was said before the last
    /// [`LeaseNews::Begin`], and is ignored.
    pub begun: u64,
    pub memory: Memory,
    /// Requests wait until it is written.
    pub urgent: bool,
    pub ending: Ending,
    /// Jobs are in hand: until they are settled the broker counts this worker's consumer, though it takes nothing more.
    pub unsettled: bool,
}

/// Whether the loop has sent its last request for the lease's accounts.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Ending {
    #[default]
    No,
    /// It has, so that another worker can take the lease; this one stands by again.
    Releases,
    /// It has, since the worker stops.
    Stops,
}

/// The loop's side of the channels.
#[derive(Debug)]
pub struct LeaseEnds {
    /// From all keepers. Never holds more than a few messages for each renewal, for as long as the loop lives.
    pub news: mpsc::UnboundedReceiver<(QueueIndex, LeaseNews)>,
    /// In the order of the queues.
    pub leases: Vec<LeaseEnd>,
}

/// The loop's side of one lease.
#[derive(Debug)]
pub struct LeaseEnd {
    pub words: watch::Sender<LeaseWord>,
    /// Orders that are to reach the holder.
    pub orders: mpsc::Sender<(HandedOn, oneshot::Sender<Obeyed>)>,
    /// For whoever sends requests.
    pub fence: Fence,
    /// The accounts that it is about, in ascending order.
    pub accounts: Vec<AccountIndex>,
    of_queue: Arc<QueueHealth>,
}

impl LeaseEnd {
    pub fn is_for(&self, account: AccountIndex) -> bool {
        self.accounts.binary_search(&account).is_ok()
    }

    /// Whether no other worker is known that an order could be handed on to: this one held the lease last, and cannot
    /// renew it.
    pub fn is_last_holder(&self) -> bool {
        self.of_queue.lease.get().is_some_and(|lease| lease.standing == LeaseStanding::NotRenewed)
    }
}

/// What the keeper needs.
#[derive(Debug)]
pub struct LeaseWiring {
    pub index: QueueIndex,
    pub queue: LeaseQueue,
    pub accounts: Vec<AccountIndex>,
    pub news: mpsc::UnboundedSender<(QueueIndex, LeaseNews)>,
    pub consume: Arc<Link>,
    pub publish: Arc<Link>,
    pub health: Arc<Health>,
    pub gate: GateKeeper,
    pub time: Duration,
    /// What was found of the queue at the start.
    pub found: LeaseFound,
}

/// Most orders that wait: on their way to the holder, or for this worker to become the holder.
const MAX_ORDERS: usize = 16;
/// A publication whose confirm has not come after this share of the lease time, a half, is done again.
const PATIENCE: u32 = 2;
const LEAST_PATIENCE: Duration = Duration::from_millis(500);
/// The holder waits for this long for a worker without a lease that still consumes. Then it works beside that worker.
const OLDER_WORKER_PATIENCE: Duration = Duration::from_secs(5 * 60);
/// How often the holder checks whether that worker has gone.
const OLDER_WORKER_CHECK: Duration = Duration::from_millis(250);
/// A worker that has released a lease does not ask for it for this long, so that another one gets it.
const AWAY: Duration = Duration::from_secs(1);
/// How often a holder looks whether somebody consumes beside it.
const COMPANY_CHECK: Duration = Duration::from_secs(15);

/// Starts the keeper; it ends when the lease is given back for good, when the links are closed, or with the loop.
pub fn keep(wiring: LeaseWiring) -> (LeaseEnd, JoinHandle<()>) {
    let LeaseWiring { index, queue, accounts, news, consume, publish, health, gate, time, found } = wiring;
    let (words, words_out) = watch::channel(LeaseWord::default());
    let (writings, writings_out) = mpsc::channel(1);
    let (results_in, results) = mpsc::channel(1);
    let patience = (time / PATIENCE).max(LEAST_PATIENCE);
    let scribe = Scribe { link: publish, queue: queue.clone(), patience };
    let (orders, handed_on) = mpsc::channel(MAX_ORDERS);
    tokio::spawn(scribe.clone().run(writings_out, results_in));
    let fence = Fence::default();
    let holder = holder();
    let of_queue = health.queue(index);
    let keeper = Keeper {
        lease: tenure(time, &holder),
        time,
        holder,
        index,
        queue: Arc::new(queue),
        link: consume,
        of_queue: Arc::clone(&of_queue),
        health,
        gate: Arc::new(gate),
        fence: fence.clone(),
        news,
        words: words_out,
        writings,
        results,
        handed_on,
        scribe,
        waiting_orders: Vec::new(),
        on_its_way: None,
        epoch: Instant::now(),
        found: Some(found),
        begun: 0,
        ending: Ending::No,
        unsettled: true,
        company: None,
        left: Arc::default(),
        most_consumers: 0,
        channel: None,
        writing_trouble: None,
    };
    (LeaseEnd { words, orders, fence, accounts, of_queue }, tokio::spawn(keeper.run()))
}

fn tenure(time: Duration, holder: &str) -> Lease {
    Lease::new(LeasePolicy { time, tenure: TenureId::new(fastrand::u64(..)), holder: holder.to_owned() })
}

/// The name of this process, for people: host and process. The logs of other workers call it the same.
fn holder() -> String {
    let host = std::env::var("HOSTNAME").ok().filter(|host| !host.is_empty());
    let host = host.or_else(|| std::fs::read_to_string("/etc/hostname").ok().map(|host| host.trim().to_owned()));
    format!("{}/{}", host.filter(|host| !host.is_empty()).as_deref().unwrap_or("unnamed"), std::process::id())
}

struct Keeper {
    lease: Lease,
    time: Duration,
    holder: String,
    index: QueueIndex,
    queue: Arc<LeaseQueue>,
    link: Arc<Link>,
    health: Arc<Health>,
    of_queue: Arc<QueueHealth>,
    gate: Arc<GateKeeper>,
    fence: Fence,
    news: mpsc::UnboundedSender<(QueueIndex, LeaseNews)>,
    words: watch::Receiver<LeaseWord>,
    writings: mpsc::Sender<(PublicationKey, Vec<u8>)>,
    results: mpsc::Receiver<Written>,
    handed_on: mpsc::Receiver<(HandedOn, oneshot::Sender<Obeyed>)>,
    /// Writes orders; a copy of it in a task of its own writes the lease.
    scribe: Scribe,
    /// Orders from the queue that wait until this worker holds the lease.
    waiting_orders: Vec<(u64, HandedOn)>,
    on_its_way: Option<(PublicationKey, Memory)>,
    /// Tick zero of the lease.
    epoch: Instant,
    /// What was found of the queue, until the first subscription.
    found: Option<LeaseFound>,
    begun: u64,
    /// The loop's last word, if it has come.
    ending: Ending,
    /// Whether jobs were in hand when the loop said its last word.
    unsettled: bool,
    /// The task that watches for others that consume the jobs queue while this worker holds the lease.
    company: Option<JoinHandle<()>>,
    /// Consumers of the jobs queue whose workers take nothing any more; the company's task lowers it.
    left: Arc<AtomicU64>,
    /// The most consumers of this worker's own since jobs were last let in. Those that were replaced or cancelled
    /// count: the broker counts them as well until their last job is settled.
    most_consumers: u64,
    channel: Option<Channel>,
    /// Why the last message could not be written.
    writing_trouble: Option<WriteFault>,
}

/// Whether the keeper goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use]
enum Onward {
    Yes,
    /// The lease is released, and this worker stands by again.
    Anew,
    /// The lease is given back for good, or the loop or the links have ended.
    No,
}

/// What is to be done beside deliveries.
enum Heard {
    Written(Written),
    /// For the holder, from an operator.
    Order(HandedOn, oneshot::Sender<Obeyed>),
    Word,
    LoopEnded,
    Due,
}

impl Keeper {
    async fn run(mut self) {
        while self.tenure().await == Onward::Anew {
            self.leave().await;
            // The result of the last publication is waited for, or the next tenure would take it for its own.
            if self.on_its_way.take().is_some() && self.results.recv().await.is_none() {
                break;
            }
            self.lease = tenure(self.time, &self.holder);
            self.ending = Ending::No;
            if self.attend_for(AWAY).await == Onward::No {
                break;
            }
        }
        self.leave().await;
    }

    /// Runs one tenure: until the lease is released, or given back for good.
    async fn tenure(&mut self) -> Onward {
        let mut backoff = Backoff::default();
        loop {
            self.show();
            let (link, queue, worker) = (Arc::clone(&self.link), Arc::clone(&self.queue), self.holder.clone());
            let opening = open(link, queue, worker, self.found.take());
            let mut opening = pin!(opening);
            let opened = loop {
                tokio::select! {
                    opened = &mut opening => break opened,
                    heard = self.hear() => {
                        let onward = self.mind(heard).await;
                        if onward != Onward::Yes {
                            return onward;
                        }
                    }
                }
            };
            match opened {
                Some(Ok((channel, consumer, found))) => {
                    backoff.reset();
                    let why = match self.live(channel, consumer, found).await {
                        Ok(onward) => return onward,
                        Err(why) => why,
                    };
                    tracing::warn!("the subscription to the lease queue was lost: {why}");
                    self.trouble(format!("the lease queue cannot be consumed: {why}"));
                    self.channel = None;
                    self.waiting_orders.clear();
                    self.lease.unsubscribed(self.now());
                    let onward = self.obey().await;
                    if onward != Onward::Yes {
                        return onward;
                    }
                }
                Some(Err(fault)) => {
                    let tries = backoff.tries() + 1;
                    if tries.is_power_of_two() {
                        tracing::warn!(
                            tries,
                            "the lease cannot be taken: {fault} (a sole worker may do without: amqp.lease = false)"
                        );
                    }
                    self.trouble(format!("the lease cannot be taken: {fault}"));
                }
                None => return Onward::No,
            }
            let onward = self.attend_for(backoff.next_wait()).await;
            if onward != Onward::Yes {
                return onward;
            }
        }
    }

    async fn attend_for(&mut self, span: Duration) -> Onward {
        let mut pause = pin!(sleep(span));
        loop {
            tokio::select! {
                () = &mut pause => return Onward::Yes,
                heard = self.hear() => {
                    let onward = self.mind(heard).await;
                    if onward != Onward::Yes {
                        return onward;
                    }
                }
            }
        }
    }

    /// `Err`: the subscription is lost.
    async fn live(&mut self, channel: Channel, mut consumer: Consumer, found: LeaseFound) -> Result<Onward, String> {
        self.channel = Some(channel);
        self.of_queue.lease_trouble.clear();
        self.lease.subscribed(self.now());
        if found.is_empty {
            self.lease.found_empty(found.nobody_worked, fastrand::u64(..), self.now());
        }
        let onward = self.obey().await;
        if onward != Onward::Yes {
            return Ok(onward);
        }
        loop {
            self.show();
            let seed_due = self.lease.seed_due().map(|at| self.instant(at));
            let onward = tokio::select! {
                biased;
                delivery = consumer.next() => match delivery {
                    Some(Ok(delivery)) => self.take(&delivery).await,
                    Some(Err(error)) => return Err(error.to_string()),
                    None => return Err(CANCELLED.to_owned()),
                },
                heard = self.hear() => self.mind(heard).await,
                // Nothing has come for so long that the message must be lost.
                () = until(seed_due) => {
                    self.lease.found_empty(false, fastrand::u64(..), self.now());
                    self.obey().await
                }
            };
            if onward != Onward::Yes {
                return Ok(onward);
            }
            if self.channel.is_none() {
                return Err("the broker takes no acknowledgements".to_owned());
            }
        }
    }

    async fn take(&mut self, delivery: &Delivery) -> Onward {
        self.link.valve().took(delivery.data.len() as u64);
        if delivery.properties.kind().as_ref().is_some_and(|kind| kind.as_str() == ORDER_TYPE) {
            self.take_order(delivery).await;
            return Onward::Yes;
        }
        let message = LeaseMessage::parse(&delivery.data);
        self.lease.delivered(delivery.delivery_tag, message, self.now());
        self.obey().await
    }

    /// An order from a worker that stands by. If this worker does not hold the lease yet, it soon will: the
    /// order waits, and is not acknowledged.
    async fn take_order(&mut self, delivery: &Delivery) {
        match HandedOn::parse(&delivery.data) {
            Ok(order) if order.is_stale(Timestamp::now()) => {
                let HandedOn { instruction, by, given, .. } = order;
                tracing::warn!(by, "an order to {} of {given} is too old to be obeyed", instruction.as_str());
            }
            Ok(order) if self.lease.standing() == Standing::Held => self.tell(Some(LeaseNews::Ordered(order))),
            Ok(order) if self.waiting_orders.len() < MAX_ORDERS => {
                return self.waiting_orders.push((delivery.delivery_tag, order));
            }
            Ok(order) => tracing::warn!(by = order.by, "too many orders wait: one is dropped"),
            Err(fault) => tracing::warn!("{fault}"),
        }
        self.acknowledge(&[delivery.delivery_tag]).await;
    }

    /// Publishes an order for the holder, beside all else that this task does.
    fn hand_on(&self, order: HandedOn, reply: oneshot::Sender<Obeyed>) {
        let (scribe, body) = (self.scribe.clone(), HandedOn { by: self.holder.clone(), ..order }.encode());
        tokio::spawn(async move {
            let obeyed = match scribe.write_order(&body).await {
                Ok(()) => Obeyed::HandedOn,
                Err(fault) => Obeyed::NotHandedOn(fault.to_string()),
            };
            // Whoever gave the order may have gone away meanwhile.
            let _ = reply.send(obeyed);
        });
    }

    /// Waits for whatever is to be done beside deliveries. Cancel-safe.
    async fn hear(&mut self) -> Heard {
        let wake = self.lease.next_wake(self.now()).map(|at| self.instant(at));
        tokio::select! {
            Some(written) = self.results.recv() => Heard::Written(written),
            Some((order, reply)) = self.handed_on.recv() => Heard::Order(order, reply),
            changed = self.words.changed(), if self.ending == Ending::No => match changed {
                Ok(()) => Heard::Word,
                Err(_) => Heard::LoopEnded,
            },
            () = until(wake) => Heard::Due,
        }
    }

    /// Does what was heard, to its end: what the lease says is said only once.
    async fn mind(&mut self, heard: Heard) -> Onward {
        self.count_consumers();
        match heard {
            Heard::Written(written) => self.learn(written),
            Heard::Order(order, reply) => self.hand_on(order, reply),
            Heard::Word => self.take_word(),
            // Without a last word: what it has sent is not known.
            Heard::LoopEnded => return Onward::No,
            Heard::Due => self.lease.wake(self.now()),
        }
        let onward = self.obey().await;
        self.show();
        onward
    }

    /// Counts this worker's consumers and tells the next holder, who can then tell those that are merely left, of this
    /// worker or of a dead node, from those of a worker that takes jobs.
    fn count_consumers(&mut self) {
        self.most_consumers = match self.gate.is_open() {
            true => self.most_consumers.max(self.of_queue.consumers.get()).max(1),
            false => 0,
        };
        // Where nothing is in hand at the end, nothing is left of this worker a moment later.
        let own = if self.ending == Ending::No || self.unsettled { self.most_consumers } else { 0 };
        let consumers = Consumers { own, left: self.left.load(Ordering::Relaxed) };
        self.lease.counts(consumers, self.now());
    }

    fn take_word(&mut self) {
        let LeaseWord { begun, memory, urgent, ending, unsettled } = self.words.borrow_and_update().clone();
        let is_current = begun == self.begun;
        match ending {
            Ending::No if is_current => self.lease.remember(&memory, urgent, self.now()),
            Ending::Releases if is_current => {
                tracing::info!(queue = self.queue.jobs_queue.as_str(), "releases a shard: others hold fewer");
                self.release(ending, unsettled, &memory);
            }
            Ending::Stops => self.release(ending, unsettled, &memory),
            // The loop has not heard yet that it begins again.
            Ending::No | Ending::Releases => {}
        }
    }

    fn release(&mut self, ending: Ending, unsettled: bool, memory: &Memory) {
        (self.ending, self.unsettled) = (ending, unsettled);
        self.count_consumers();
        self.lease.release(memory, self.now());
    }

    fn learn(&mut self, written: Written) {
        let Written { key, result } = written;
        let memory = self.on_its_way.take().filter(|(of, _)| *of == key).map(|(_, memory)| memory);
        match result {
            Ok(()) => {
                if self.writing_trouble.take().is_some() {
                    self.of_queue.lease_trouble.clear();
                }
                self.tell(memory.map(LeaseNews::Written));
                self.lease.published(key, self.now());
            }
            Err(fault) => {
                let is_known =
                    self.writing_trouble.as_ref().is_some_and(|known| discriminant(known) == discriminant(&fault));
                if !is_known {
                    tracing::warn!(queue = self.queue.jobs_queue.as_str(), "the lease cannot be renewed: {fault}");
                }
                self.trouble(format!("the lease cannot be renewed: {fault}"));
                self.writing_trouble = Some(fault);
                self.lease.not_published(key, self.now());
            }
        }
    }

    /// Does what the lease says.
    async fn obey(&mut self) -> Onward {
        while let Some(command) = self.lease.next_command() {
            match command {
                LeaseCommand::Publish { key, message } => {
                    let body = message.encode();
                    self.on_its_way = Some((key, message.memory));
                    // There is room, since there is one publication at a time.
                    let _ = self.writings.try_send((key, body));
                }
                LeaseCommand::Acknowledge(tags) => self.acknowledge(&tags).await,
                LeaseCommand::Begin { inheritance, predecessor, left } => {
                    self.begin(inheritance, predecessor, left);
                    for (tag, order) in std::mem::take(&mut self.waiting_orders) {
                        self.tell(Some(LeaseNews::Ordered(order)));
                        self.acknowledge(&[tag]).await;
                    }
                }
                LeaseCommand::Hold(reach) => {
                    let until = Until { instant: self.instant(reach.tick), wall: reach.wall };
                    self.fence.set(Some(until));
                    self.tell(Some(LeaseNews::Hold(until)));
                }
                LeaseCommand::StandBy(lapse) => self.stand_by(lapse),
                LeaseCommand::Leave if self.ending == Ending::Releases => return Onward::Anew,
                LeaseCommand::Leave => return Onward::No,
                LeaseCommand::Warn(unreadable) => {
                    tracing::warn!("{unreadable}; as after a holder of whom nothing is known, requests begin evenly");
                }
            }
        }
        Onward::Yes
    }

    async fn acknowledge(&mut self, tags: &[u64]) {
        let Some(channel) = &self.channel else { return };
        for &tag in tags {
            let acknowledged =
                timeout(CLOSE_TIMEOUT, channel.basic_ack(tag, BasicAckOptions { multiple: false })).await;
            if !matches!(acknowledged, Ok(Ok(()))) {
                self.channel = None;
                return;
            }
        }
    }

    fn begin(&mut self, inheritance: Inheritance, predecessor: Option<String>, left: u64) {
        self.begun += 1;
        self.health.lease_changes.add(1);
        let (holder, queue) = (self.holder.as_str(), self.queue.jobs_queue.as_str());
        let after = predecessor.as_deref().unwrap_or("nobody");
        if inheritance != Inheritance::Own {
            self.of_queue.taken_over.clear();
        }
        // The loop must know before the first job comes.
        let own = match &inheritance {
            Inheritance::Own => {
                tracing::info!(holder, queue, "holds the lease again");
                true
            }
            Inheritance::Told(_) => {
                tracing::info!(holder, queue, after, "holds the lease");
                false
            }
            Inheritance::Unknown(_) => {
                tracing::info!(
                    holder,
                    queue,
                    after,
                    "holds the lease; what was sent before is not known, so requests begin evenly"
                );
                false
            }
        };
        self.tell(Some(LeaseNews::Begin(inheritance)));
        self.end_company();
        self.left.store(left, Ordering::Relaxed);
        let company = Company {
            left: Arc::clone(&self.left),
            link: Arc::clone(&self.link),
            index: self.index,
            queue: Arc::clone(&self.queue),
            of_queue: Arc::clone(&self.of_queue),
            gate: Arc::clone(&self.gate),
            news: self.news.clone(),
        };
        self.company = Some(tokio::spawn(company.watch(own)));
    }

    fn stand_by(&mut self, lapse: Lapse) {
        self.health.lease_changes.add(1);
        self.fence.set(None);
        self.tell(Some(LeaseNews::StandBy));
        self.end_company();
        self.gate.set(false);
        let (holder, queue) = (self.holder.as_str(), self.queue.jobs_queue.as_str());
        match lapse {
            Lapse::NotRenewed => {
                let cause = self.writing_trouble.as_ref().map_or_else(String::new, |fault| format!(" ({fault})"));
                tracing::warn!(
                    holder,
                    queue,
                    "the lease could not be renewed in time{cause}: nothing more is sent until it is, and jobs are handed back"
                );
            }
            Lapse::Displaced => {
                tracing::warn!(holder, queue, "another worker has taken the lease: standing by");
            }
            Lapse::Drained => tracing::info!(holder, queue, "gives the lease back"),
        }
    }

    fn end_company(&mut self) {
        if let Some(company) = self.company.take() {
            company.abort();
        }
    }

    fn tell(&self, news: Option<LeaseNews>) {
        if let Some(news) = news {
            // The loop has ended, and the words with it.
            let _ = self.news.send((self.index, news));
        }
    }

    fn trouble(&self, sentence: String) {
        self.of_queue.lease_trouble.set(sentence);
    }

    fn show(&mut self) {
        let (standing, holder) = match self.lease.standing() {
            // Also while the broker has not yet confirmed the last word.
            _ if self.ending != Ending::No => (LeaseStanding::Left, None),
            Standing::Held if self.gate.is_open() => (LeaseStanding::Held, Some(self.holder.clone())),
            // A worker without a lease still consumes.
            Standing::Held => (LeaseStanding::Waiting, None),
            Standing::Waiting => (LeaseStanding::Waiting, self.lease.predecessor().map(str::to_owned)),
            Standing::StandingBy => (LeaseStanding::StandingBy, None),
            Standing::NotRenewed => (LeaseStanding::NotRenewed, None),
            Standing::Away => (LeaseStanding::Away, None),
            Standing::Left => (LeaseStanding::Left, None),
        };
        let before = self.of_queue.lease.get();
        if before.as_ref().is_some_and(|view| view.standing == standing && view.holder == holder) {
            return;
        }
        let (jobs_queue, since) = (self.queue.jobs_queue.to_string(), Timestamp::now());
        if standing == LeaseStanding::Held {
            self.of_queue.taken_over.begin(since);
        }
        let worker = self.holder.as_str();
        if standing == LeaseStanding::StandingBy {
            tracing::info!(worker, queue = jobs_queue, "asks for the lease, and stands by until the broker gives it");
        }
        if let Some(until) = self.lease.waits_until().filter(|_| standing == LeaseStanding::Waiting) {
            let after = holder.as_deref().unwrap_or("unknown");
            let seconds = until.since(self.now().tick).as_millis().div_ceil(1_000);
            tracing::info!(
                worker,
                queue = jobs_queue,
                after,
                seconds,
                "about to work: whoever worked before must have stopped first, as it must within amqp.lease_time"
            );
        }
        self.of_queue.lease.set(LeaseView { jobs_queue, standing, since, holder });
    }

    async fn leave(&mut self) {
        self.waiting_orders.clear();
        self.show();
        self.fence.set(None);
        self.end_company();
        self.gate.set(false);
        if let Some(channel) = self.channel.take() {
            // What is not acknowledged goes to the next worker as soon as the channel is closed.
            let _ = timeout(CLOSE_TIMEOUT, channel.close(REPLY_SUCCESS, "OK".into())).await;
        }
    }

    fn now(&self) -> Now {
        let micros = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now { tick: Tick::from_micros(micros), wall: Timestamp::now() }
    }

    fn instant(&self, tick: Tick) -> Instant {
        self.epoch + Duration::from_micros(tick.as_micros())
    }
}

/// Others that consume the jobs queue beside the holder: workers of a version without leases, or with `amqp.lease` off.
struct Company {
    link: Arc<Link>,
    index: QueueIndex,
    queue: Arc<LeaseQueue>,
    of_queue: Arc<QueueHealth>,
    gate: Arc<GateKeeper>,
    news: mpsc::UnboundedSender<(QueueIndex, LeaseNews)>,
    /// The broker goes on counting consumers that take nothing any more: of a worker that stops, while its last
    /// requests are on the wire, and of a node of a cluster that is down. As many as earlier holders of the lease can
    /// have left are not waited for.
    left: Arc<AtomicU64>,
}

impl Company {
    /// Opens the gate when nobody else consumes any more, or will not stop; then warns of whoever comes later.
    async fn watch(self, alone: bool) {
        let begun = Instant::now();
        let (mut warned, mut waited) = (false, false);
        while !alone && self.others().await.is_none_or(|others| others > 0) {
            waited = true;
            if begun.elapsed() >= OLDER_WORKER_PATIENCE {
                break;
            }
            if !warned && begun.elapsed() >= OLDER_WORKER_CHECK * 4 {
                warned = true;
                self.warn("a worker without a lease still consumes; waiting for its end, for five minutes at most");
            }
            sleep(OLDER_WORKER_CHECK).await;
        }
        if waited {
            // An error means that the loop has ended.
            let _ = self.news.send((self.index, LeaseNews::OthersSent));
        }
        self.gate.set(true);
        let mut looks = 0_u32;
        loop {
            sleep(COMPANY_CHECK).await;
            // Twice in a row, since a consumer of this worker's own may just be coming or going.
            looks = if self.others().await.is_some_and(|others| others > 0) { looks + 1 } else { 0 };
            if looks == 2 {
                self.warn("somebody consumes beside the holder of the lease: together they may exceed the quota");
            }
        }
    }

    fn warn(&self, what: &str) {
        let queue = self.queue.jobs_queue.as_str();
        tracing::warn!(queue, "{what}; stop workers of a version without leases or with amqp.lease = false");
    }

    /// Consumers of the jobs queue that are not this worker's own, nor left by an earlier holder.
    async fn others(&self) -> Option<u64> {
        let queue = std::slice::from_ref(&self.queue.jobs_queue);
        let Depth { ready: _, consumers } = self.link.depths(queue).await.pop()??;
        let others = consumers.saturating_sub(self.of_queue.consumers.get());
        let left = self.left.fetch_min(others, Ordering::Relaxed).min(others);
        Some(others - left)
    }
}

/// Subscribes, with the queue checked before. `found` is what is known of it already. `None`: the link is closed.
async fn open(
    link: Arc<Link>,
    queue: Arc<LeaseQueue>,
    worker: String,
    found: Option<LeaseFound>,
) -> Option<Result<(Channel, Consumer, LeaseFound), queue::LeaseFault>> {
    let found = match found {
        Some(found) => found,
        None => match queue.ensure(&link).await? {
            // Whoever held the lease may not have noticed yet that its queue is gone.
            Ok(found) => LeaseFound { nobody_worked: false, ..found },
            Err(fault) => return Some(Err(fault)),
        },
    };
    let (channel, _) = link.channel().await?;
    Some(queue.consume(&channel, &worker).await.map(|consumer| (channel, consumer, found)))
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
