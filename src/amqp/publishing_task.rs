//! One of the publisher's tasks. It has a confirm channel, on which nobody else publishes.
//!
//! Two tasks on one channel could each be given the confirms of the other. There are several, so that one publishes
//! while another waits for the confirms of its round: of the messages that it published together.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation};
use smallvec::SmallVec;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::acknowledge::Settler;
use super::backoff::{self, Backoff};
use super::barrier::{Confirm, Fate, Identity, Published, judge};
use super::blocked::{Blocked, Unpublished};
use super::complaints::Said;
use super::connection::{CALL_TIMEOUT, REPLY_SUCCESS, in_words};
use super::health::Health;
use super::link::{Epoch, Link};
use super::message::{Deposit, Outgoing};
use super::pipeline::all_in_order;
use super::receipt::CurrentGeneration;
use super::reports::Reports;
use super::route::{Route, no_route};
use super::topology::Topology;

/// Most messages published before their confirms are awaited.
const MAX_ROUND: usize = 1_000;
/// Most bytes of bodies published before their confirms are awaited; an answer with more goes alone.
const MAX_ROUND_BYTES: usize = 4 * 1024 * 1024;
/// Longest wait for the confirms of a round; the time of the broker's alarms does not count. After it the round is
/// published a second time, so it is longer than the heartbeats need to notice that the broker is dead.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a waiting task looks whether the broker blocks it.
const BLOCKED_CHECK: Duration = Duration::from_millis(500);
/// How often an idle task looks whether its channel still lives.
const IDLE_CHECK: Duration = Duration::from_secs(1);
/// When a queue has taken nothing for this long, the task opens another channel: one that is open does not always see
/// that a queue has room again because its policy was changed.
const CHANNEL_FOR_TROUBLE: Duration = Duration::from_secs(10);

/// What the tasks need in common.
#[derive(Clone, Debug)]
pub struct Wiring {
    pub link: Arc<Link>,
    pub topology: Arc<Topology>,
    pub settler: Settler,
    pub current: CurrentGeneration,
    pub health: Arc<Health>,
}

pub(super) struct PublishingTask {
    inbox: mpsc::UnboundedReceiver<Vec<Deposit>>,
    wiring: Wiring,
    reports: Arc<Reports>,
    backoff: Backoff,
    fresh: VecDeque<Pending>,
    /// Answers whose queue takes nothing just now.
    blocked: Blocked<Pending>,
    /// Answers with which, alone in their round, a channel was lost: by the time of the next try, and a running number
    /// that tells apart those of the same time.
    later: BTreeMap<(Instant, u64), Pending>,
    sequence: u64,
    /// Most messages in the next round. It falls to a quarter whenever a round is lost with its channel, until the
    /// answer for which the broker closes the channel is alone.
    round_limit: usize,
    /// This task has reported trouble in [`Health`] and has not taken it back yet.
    in_trouble: bool,
    /// Changes of the generations whose deliveries can be settled, when the task last looked.
    generations: u64,
}

/// An answer on its way.
struct Pending {
    answer: Deposit,
    /// For each message of the answer: the proof that it need not be published again.
    proofs: SmallVec<[Option<Published>; 2]>,
    tries: u32,
    /// It was alone in a round that was lost with its channel, so it goes alone again.
    goes_alone: bool,
}

impl PublishingTask {
    pub(super) fn new(inbox: mpsc::UnboundedReceiver<Vec<Deposit>>, wiring: Wiring, reports: Arc<Reports>) -> Self {
        let (fresh, blocked, later, backoff) =
            (VecDeque::new(), Blocked::default(), BTreeMap::new(), Backoff::default());
        let (sequence, round_limit, in_trouble, generations) = (0, MAX_ROUND, false, 0);
        Self { inbox, wiring, reports, backoff, fresh, blocked, later, sequence, round_limit, in_trouble, generations }
    }

    /// Ends when the inbox is closed and all of it is published or stale, or when the link is closed.
    pub(super) async fn run(mut self) {
        while let Some((channel, epoch)) = self.wait_for_channel().await {
            match self.work(&channel, epoch).await {
                Left::Nothing => {
                    // An error means that the channel was lost after its last confirm.
                    let _ = timeout(CALL_TIMEOUT, channel.close(REPLY_SUCCESS, "OK".into())).await;
                    return;
                }
                Left::Channel => sleep(self.backoff.next_wait()).await,
            }
        }
    }

    /// Waits for a channel. While the broker is away, answers that become stale are reported and no longer kept.
    /// `None`: nothing is left to publish and nothing more will come, or the link is closed.
    async fn wait_for_channel(&mut self) -> Option<(Channel, Epoch)> {
        let link = Arc::clone(&self.wiring.link);
        let mut opening = pin!(open(&link));
        loop {
            if let Ok(opened) = timeout(IDLE_CHECK, &mut opening).await {
                return opened;
            }
            if self.purge() && self.fresh.is_empty() {
                return None;
            }
        }
    }

    async fn work(&mut self, channel: &Channel, epoch: Epoch) -> Left {
        let opened = Instant::now();
        loop {
            if self.needs_another_channel(opened) {
                // An error means that it was lost already.
                let _ = timeout(CALL_TIMEOUT, channel.close(REPLY_SUCCESS, "OK".into())).await;
                return Left::Channel;
            }
            let round = match self.next_round(channel).await {
                Event::Round(round) => round,
                Event::Closed => return Left::Nothing,
                Event::ChannelLost => return Left::Channel,
            };
            let round = self.without_stale(round);
            if round.is_empty() {
                continue;
            }
            match self.publish(channel, &round).await {
                Ok(fates) => {
                    self.backoff.reset();
                    self.round_limit = (self.round_limit * 2).min(MAX_ROUND);
                    self.conclude(round, fates).await;
                }
                Err(fault) => {
                    self.recover(round, &fault, epoch).await;
                    return Left::Channel;
                }
            }
        }
    }

    /// Nobody knows what became of the round: all of it goes again.
    async fn recover(&mut self, mut round: Vec<Pending>, fault: &PublishFault, epoch: Epoch) {
        self.wiring.health.unknown.add(round.len());
        self.wiring.health.publishing_stalled.set(true);
        self.complain(fault);
        tracing::warn!(answers = round.len(), "publishing again, under the same ids: {fault}");
        self.round_limit = (self.round_limit / 4).max(1);
        match (round.pop(), round.is_empty()) {
            (Some(alone), true) => self.try_later(Pending { goes_alone: true, ..alone }),
            (last, _) => self.put_back(round.into_iter().chain(last)),
        }
        match fault {
            PublishFault::Silent => self.wiring.link.break_off(epoch).await,
            PublishFault::Channel(_) => self.mend_topology().await,
        }
    }

    async fn next_round(&mut self, channel: &Channel) -> Event {
        loop {
            let closed = self.absorb();
            if !self.fresh.is_empty() {
                return Event::Round(self.take_round());
            }
            if self.later.is_empty() && self.blocked.is_empty() {
                self.calm_down();
                if closed {
                    return Event::Closed;
                }
            }
            if !channel.status().connected() {
                return Event::ChannelLost;
            }
            let next_try = self.later.first_key_value().map(|((at, _), _)| *at).into_iter();
            let next_try = next_try.chain(self.blocked.next_due()).min();
            let check = Instant::now() + IDLE_CHECK;
            tokio::select! {
                list = self.inbox.recv(), if !closed => self.accept(list.into_iter().flatten()),
                () = sleep_until(next_try.map_or(check, |at| at.min(check))) => {}
            }
        }
    }

    /// Collects what may be published now. True when nothing more will come in.
    fn absorb(&mut self) -> bool {
        let now = Instant::now();
        while let Some(due) = self.later.first_entry()
            && due.key().0 <= now
        {
            self.fresh.push_back(due.remove());
        }
        let generations = self.wiring.current.changes();
        if std::mem::replace(&mut self.generations, generations) != generations {
            // Most of what waits may belong to an old generation and has become stale. It must be let go now, not when
            // its queue has room again.
            let all = self.blocked.take_all().collect();
            let live = self.without_stale(all);
            self.fresh.extend(live);
        }
        let due = self.blocked.due(now);
        self.fresh.extend(due);
        while self.fresh.len() < MAX_ROUND {
            match self.inbox.try_recv() {
                Ok(list) => self.accept(list),
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => return true,
            }
        }
        false
    }

    fn accept(&mut self, answers: impl IntoIterator<Item = Deposit>) {
        for pending in answers.into_iter().map(Pending::new) {
            match pending.route().filter(|route| self.blocked.holds(*route)) {
                Some(route) => self.blocked.join(route, pending),
                None => self.fresh.push_back(pending),
            }
        }
    }

    fn needs_another_channel(&self, opened: Instant) -> bool {
        let since = self.blocked.since();
        since.is_some_and(|since| since.elapsed() >= CHANNEL_FOR_TROUBLE) && opened.elapsed() >= CHANNEL_FOR_TROUBLE
    }

    fn take_round(&mut self) -> Vec<Pending> {
        let (mut messages, mut bytes, mut answers) = (0, 0, 0);
        for pending in &self.fresh {
            if answers > 0 && pending.goes_alone {
                break;
            }
            messages += pending.answer.messages().len();
            bytes += pending.answer.messages().iter().map(|message| message.body.len()).sum::<usize>();
            if answers > 0 && (messages > self.round_limit || bytes > MAX_ROUND_BYTES) {
                break;
            }
            answers += 1;
            if pending.goes_alone {
                break;
            }
        }
        self.fresh.drain(..answers).collect()
    }

    /// Reports all that is stale. True when nothing more will come in.
    fn purge(&mut self) -> bool {
        loop {
            let closed = self.absorb();
            let waiting = self.fresh.len() + self.later.len() + self.blocked.len();
            let later = std::mem::take(&mut self.later).into_values().chain(self.blocked.take_all());
            let all = std::mem::take(&mut self.fresh).into_iter().chain(later).collect();
            self.fresh = self.without_stale(all).into();
            if closed || self.fresh.len() == waiting {
                return closed;
            }
        }
    }

    /// Takes out and reports the stale answers: those to deliveries of an earlier generation. The broker delivers these
    /// again, and they are answered then, so publishing this answer would make two.
    fn without_stale(&self, round: Vec<Pending>) -> Vec<Pending> {
        let is_stale = |pending: &Pending| {
            let receipt = pending.answer.receipt.as_ref();
            receipt.is_some_and(|receipt| !self.wiring.current.is(receipt.generation()))
        };
        if !round.iter().any(is_stale) {
            return round;
        }
        let (stale, live): (Vec<_>, Vec<_>) = round.into_iter().partition(is_stale);
        self.reports.stale(stale.into_iter().map(|pending| pending.answer.without_receipt()).collect());
        live
    }

    /// Publishes the messages of the round that are not safe yet, and returns the fate of each, in their order.
    async fn publish(&self, channel: &Channel, round: &[Pending]) -> Result<Vec<Fate>, PublishFault> {
        let messages: Vec<&Outgoing> = round.iter().flat_map(Pending::unsafe_messages).collect();
        let work = publish_all(channel, &self.wiring.topology, &messages);
        self.while_not_blocked(work).await?.map_err(PublishFault::Channel)
    }

    async fn while_not_blocked<T>(&self, work: impl Future<Output = T>) -> Result<T, PublishFault> {
        let mut work = pin!(work);
        let mut patience = CONFIRM_TIMEOUT;
        loop {
            let done = timeout(BLOCKED_CHECK, &mut work).await;
            let blocked = done.is_err() && self.wiring.link.blocked();
            match done {
                Ok(done) => return Ok(done),
                Err(_elapsed) if blocked => {}
                Err(_elapsed) => patience = patience.checked_sub(BLOCKED_CHECK).ok_or(PublishFault::Silent)?,
            }
        }
    }

    async fn conclude(&mut self, round: Vec<Pending>, fates: Vec<Fate>) {
        let returned = fates.iter().filter(|fate| matches!(fate, Fate::Returned)).count();
        let refused = fates.iter().filter(|fate| matches!(fate, Fate::Refused)).count();
        let health = &self.wiring.health;
        health.published.add(fates.len() - returned - refused);
        health.returned.add(returned);
        health.refused.add(refused);
        health.publishing_stalled.set(returned + refused == fates.len());

        let mut fates = fates.into_iter();
        let (mut published, mut acks) = (Vec::with_capacity(round.len()), Vec::with_capacity(round.len()));
        let mut unpublished: HashMap<Route, (Unpublished, Vec<Pending>)> = HashMap::new();
        let mut taken = HashSet::new();
        for mut pending in round {
            let route = pending.route();
            match pending.learn(&mut fates) {
                Learned::Published(proof) => {
                    taken.extend(route);
                    acks.extend(pending.answer.receipt.take().map(|receipt| receipt.ack(proof)));
                    published.push(pending.answer);
                }
                Learned::Unpublished(why) => {
                    // An answer of which something is unpublished has a route.
                    let route = pending.route().unwrap_or(Route::Results);
                    unpublished.entry(route).or_insert_with(|| (why, Vec::new())).1.push(pending);
                }
            }
        }
        self.wiring.settler.settle(acks).await;
        if !published.is_empty() {
            self.reports.published(published);
        }
        let now = Instant::now();
        for route in taken.into_iter().filter(|route| !unpublished.contains_key(route)) {
            self.note_taken(route, now);
        }
        for (route, (why, answers)) in unpublished {
            self.block(route, why, answers, now);
        }
        if self.later.is_empty() && self.blocked.is_empty() {
            self.calm_down();
        }
        if returned > 0 {
            self.mend_topology().await;
        }
    }

    fn note_taken(&mut self, route: Route, now: Instant) {
        self.blocked.taken(route, now);
        if !self.blocked.holds(route)
            && let Some(Said { in_vain, lasting }) = self.reports.complaints.mended(route, now)
        {
            let (key, seconds) = (self.wiring.topology.key(route), lasting.as_secs());
            tracing::info!(key = key.as_str(), in_vain, seconds, "published again");
        }
    }

    /// These answers could not be published on their route. They wait now, and so does every other answer for that
    /// route.
    fn block(&mut self, route: Route, why: Unpublished, mut answers: Vec<Pending>, now: Instant) {
        let failed = answers.len();
        for pending in std::mem::take(&mut self.fresh) {
            if pending.route() == Some(route) { answers.push(pending) } else { self.fresh.push_back(pending) }
        }
        self.blocked.refused(route, answers, why, now);
        let sentence = self.sentence(route, why);
        if let Some(Said { in_vain, lasting }) = self.reports.complaints.failed(route, why, failed, now) {
            let (waiting, seconds) = (self.blocked.len(), lasting.as_secs());
            tracing::warn!(waiting, in_vain, seconds, "not published, trying again: {sentence}");
        }
        self.complain(sentence);
    }

    fn complain(&mut self, sentence: impl ToString) {
        self.in_trouble = true;
        self.wiring.health.publishing_trouble.set(sentence);
    }

    fn calm_down(&mut self) {
        if std::mem::take(&mut self.in_trouble) {
            self.wiring.health.publishing_trouble.clear();
            self.wiring.health.publishing_stalled.set(false);
        }
    }

    fn sentence(&self, route: Route, why: Unpublished) -> String {
        let (exchange, key) = (self.wiring.topology.exchange(), self.wiring.topology.key(route));
        match why {
            Unpublished::Returned => {
                format!("{}; create the queue or its binding", no_route(exchange, key.as_str()))
            }
            Unpublished::Refused => {
                let key = key.as_str();
                format!(
                    "the broker refuses messages with key {key:?}: their queue is full or at fault, and somebody must read it or raise its limit; tried again every few seconds"
                )
            }
        }
    }

    fn try_later(&mut self, mut pending: Pending) {
        let wait = backoff::wait(pending.tries, fastrand::f64());
        pending.tries = pending.tries.saturating_add(1);
        self.sequence += 1;
        self.later.insert((Instant::now() + wait, self.sequence), pending);
    }

    fn put_back(&mut self, round: impl DoubleEndedIterator<Item = Pending>) {
        for pending in round.rev() {
            self.fresh.push_front(pending);
        }
    }

    /// Checks exchange, queues and bindings again: somebody may have deleted one while the worker ran.
    async fn mend_topology(&mut self) {
        match self.wiring.link.mend(&self.wiring.topology).await {
            Some(Ok(())) | None => {}
            Some(Err(fault)) => {
                self.complain(&fault);
                tracing::warn!("{fault}");
            }
        }
    }
}

/// What became of an answer.
enum Learned {
    Published(Published),
    Unpublished(Unpublished),
}

impl Pending {
    fn new(answer: Deposit) -> Self {
        let proofs = answer.messages().iter().map(|_| None).collect();
        Self { answer, proofs, tries: 1, goes_alone: false }
    }

    fn unsafe_messages(&self) -> impl Iterator<Item = &Outgoing> {
        self.answer.messages().iter().zip(&self.proofs).filter(|(_, proof)| proof.is_none()).map(|(message, _)| message)
    }

    /// The route of its first message that is not safe yet.
    fn route(&self) -> Option<Route> {
        self.unsafe_messages().next().map(|message| message.route)
    }

    /// Takes the fates of its messages that were not safe yet. The answer is published when all its messages are safe.
    /// Else it is unpublished: as returned where one of them came back, or as refused.
    fn learn(&mut self, fates: &mut impl Iterator<Item = Fate>) -> Learned {
        let mut why = Unpublished::Refused;
        for proof in self.proofs.iter_mut().filter(|proof| proof.is_none()) {
            match fates.next() {
                Some(Fate::Safe(published)) => *proof = Some(published),
                Some(Fate::Returned) => why = Unpublished::Returned,
                Some(Fate::Refused) | None => {}
            }
        }
        if self.proofs.iter().any(Option::is_none) {
            return Learned::Unpublished(why);
        }
        Published::of_all(self.proofs.drain(..)).map_or(Learned::Unpublished(why), Learned::Published)
    }
}

/// Publishes all, waits for all confirms, and only then judges. An error: nothing is known of any of them.
async fn publish_all(channel: &Channel, topology: &Topology, messages: &[&Outgoing]) -> lapin::Result<Vec<Fate>> {
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let publishes = messages.iter().map(|message| {
        let (exchange, key) = (topology.exchange_name().clone(), topology.key(message.route));
        channel.basic_publish(exchange, key, options, &message.body, message.envelope.properties())
    });
    let mut confirms = Vec::with_capacity(messages.len());
    let mut fault = None;
    for written in all_in_order(publishes).await {
        match written {
            Ok(confirm) => confirms.push(confirm),
            Err(error) => fault = Some(error),
        }
    }
    let mut answers = Vec::with_capacity(messages.len());
    let mut returned = HashSet::new();
    for confirm in confirms {
        let (answer, message) = match confirm.await {
            Ok(Confirmation::Ack(message)) => (Confirm::Ack, message),
            Ok(Confirmation::Nack(message)) => (Confirm::Nack, message),
            // Nothing is known without confirms; `open` makes sure that there are some.
            Ok(Confirmation::NotRequested) => (Confirm::Nack, None),
            // This error has the broker's reason, since the message was written before the channel was lost. It
            // replaces the error of a later message, in which the library only says that the channel is gone.
            Err(error) => {
                fault = Some(error);
                continue;
            }
        };
        answers.push(answer);
        returned.extend(message.map(|message| Identity {
            routing_key: message.delivery.routing_key.to_string().into(),
            message_id: message.delivery.properties.message_id().as_ref().map(|id| id.to_string().into()),
        }));
    }
    if let Some(fault) = fault {
        return Err(fault);
    }
    let identity = |index: usize| match messages.get(index) {
        Some(message) => Identity {
            routing_key: topology.key(message.route).to_string().into(),
            message_id: message.envelope.message_id(),
        },
        None => Identity::nobody(),
    };
    Ok(judge(&answers, &returned, identity))
}

/// Publishes once, for those who do not try again. An error: nothing is known of any message.
pub(super) async fn publish_once(
    channel: &Channel,
    topology: &Topology,
    messages: &[Outgoing],
) -> lapin::Result<Vec<Result<Published, Fate>>> {
    let messages: Vec<&Outgoing> = messages.iter().collect();
    let fates = publish_all(channel, topology, &messages).await?;
    Ok(fates
        .into_iter()
        .map(|fate| match fate {
            Fate::Safe(proof) => Ok(proof),
            fate @ (Fate::Returned | Fate::Refused) => Err(fate),
        })
        .collect())
}

/// A channel on which the broker confirms. `None`: the link is closed.
async fn open(link: &Link) -> Option<(Channel, Epoch)> {
    let mut backoff = Backoff::default();
    loop {
        let (channel, epoch) = link.channel().await?;
        match timeout(CALL_TIMEOUT, channel.confirm_select(ConfirmSelectOptions::default())).await {
            Ok(Ok(())) if channel.status().confirm() => return Some((channel, epoch)),
            Ok(_) => {}
            Err(_elapsed) => link.break_off(epoch).await,
        }
        sleep(backoff.next_wait()).await;
    }
}

enum Event {
    Round(Vec<Pending>),
    Closed,
    ChannelLost,
}

enum Left {
    Nothing,
    Channel,
}

#[derive(Debug, thiserror::Error)]
enum PublishFault {
    #[error("the broker closed the channel for publishing: {}", in_words(.0, "write"))]
    Channel(lapin::Error),
    #[error("the broker has not confirmed for {} s", CONFIRM_TIMEOUT.as_secs())]
    Silent,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::amqp::receipt::{Generation, Held, Receipt};

    #[tokio::test]
    async fn an_acknowledgement_that_comes_too_late_is_not_taken_for_made() {
        let (health, held) = (Arc::new(Health::default()), Arc::new(Held::default()));
        let settler = Settler::start(&health);
        let generation = Generation::shared(1);
        let delivery = |tag| Receipt::new(generation, tag, 1, &held);
        let fates = judge(&[Confirm::Ack], &HashSet::new(), |_| Identity::nobody());
        let [Fate::Safe(proof)] = <[Fate; 1]>::try_from(fates).unwrap() else { panic!("not published") };
        // The subscription that delivered them is gone.
        settler.settle(vec![delivery(1).ack(proof), delivery(2).hand_back()]).await;
        settler.finish().await;
        let told = (health.acknowledged.get(), health.handed_back.get(), health.settled_too_late.get());
        assert_eq!(told, (0, 0, 2));
    }
}
