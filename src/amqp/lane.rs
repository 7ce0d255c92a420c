//! One confirm channel and the task that alone publishes on it.
//!
//! Two tasks on one channel would get each other's confirms. While one lane waits for the confirms of its batch, the
//! others publish.

use std::collections::{BTreeMap, HashSet, VecDeque};
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

use super::backoff::{self, Backoff};
use super::barrier::{Confirm, Fate, Identity, judge};
use super::connection::CALL_TIMEOUT;
use super::link::{Epoch, Link};
use super::message::{Answer, Outgoing};
use super::pipeline::all_in_order;
use super::publisher::{Reports, Wiring};
use super::topology::Topology;

/// Messages published before their confirms are awaited.
const MAX_BATCH: usize = 1_000;
/// Bytes of bodies published before their confirms are awaited; a larger message goes alone.
const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Longest wait for the confirms of a batch, alarms of the broker not counted. Longer than the broker needs to be found
/// dead by its heartbeats, since a batch that is given up is published again.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a waiting lane looks whether the broker blocks it.
const BLOCKED_CHECK: Duration = Duration::from_millis(500);
/// How often an idle lane looks whether its channel still lives.
const IDLE_CHECK: Duration = Duration::from_secs(1);
/// Shortest wait before a message that came back is tried again: someone has to create a queue or a binding.
const RETURNED_DELAY: Duration = Duration::from_secs(1);

/// Proof that the broker has everything that answers a delivery. Only a lane makes it, after the barrier.
#[derive(Debug)]
pub struct Published(());

impl Published {
    pub(super) fn spend(self) {}
}

pub(super) struct Lane {
    inbox: mpsc::UnboundedReceiver<Vec<Answer>>,
    wiring: Wiring,
    reports: Arc<Reports>,
    backoff: Backoff,
    fresh: VecDeque<Pending>,
    /// Tried in vain, by the time of the next try and a running number.
    later: BTreeMap<(Instant, u64), Pending>,
    sequence: u64,
    /// Messages a batch; fewer after a batch that cost the channel, to find the message that does it.
    batch_limit: usize,
    /// This lane has complained and not yet published since.
    in_trouble: bool,
}

/// An answer on its way.
struct Pending {
    answer: Answer,
    /// For each message of the answer: whether it need not be published again.
    safe: SmallVec<[bool; 2]>,
    tries: u32,
    /// It was alone in a batch that cost the channel, so it goes alone again.
    suspect: bool,
}

impl Lane {
    pub(super) fn new(inbox: mpsc::UnboundedReceiver<Vec<Answer>>, wiring: Wiring, reports: Arc<Reports>) -> Self {
        let (fresh, later, backoff) = (VecDeque::new(), BTreeMap::new(), Backoff::default());
        let (sequence, batch_limit, in_trouble) = (0, MAX_BATCH, false);
        Self { inbox, wiring, reports, backoff, fresh, later, sequence, batch_limit, in_trouble }
    }

    /// Ends when the inbox is closed and all of it is published or stale, or when the link is given up.
    pub(super) async fn run(mut self) {
        while let Some((channel, epoch)) = self.wait_for_channel().await {
            match self.work(&channel, epoch).await {
                Left::Nothing => {
                    // An error means that the channel was lost after its last confirm.
                    let _ = timeout(CALL_TIMEOUT, channel.close(200, "OK".into())).await;
                    return;
                }
                Left::Channel => sleep(self.backoff.next_wait()).await,
            }
        }
    }

    /// While the broker is away, what has become stale is given back. `None`: there is nothing left to publish, or the
    /// link is given up.
    async fn wait_for_channel(&mut self) -> Option<(Channel, Epoch)> {
        let link = Arc::clone(&self.wiring.link);
        let mut opening = pin!(open(&link));
        loop {
            if let Ok(opened) = timeout(IDLE_CHECK, &mut opening).await {
                return opened;
            }
            if self.purge() && self.fresh.is_empty() && self.later.is_empty() {
                return None;
            }
        }
    }

    async fn work(&mut self, channel: &Channel, epoch: Epoch) -> Left {
        loop {
            let batch = match self.next_batch(channel).await {
                Next::Batch(batch) => batch,
                Next::Closed => return Left::Nothing,
                Next::ChannelLost => return Left::Channel,
            };
            let batch = self.without_stale(batch);
            if batch.is_empty() {
                continue;
            }
            match self.publish(channel, &batch).await {
                Ok(fates) => {
                    self.backoff.reset();
                    self.batch_limit = (self.batch_limit * 2).min(MAX_BATCH);
                    self.conclude(batch, &fates).await;
                }
                Err(fault) => {
                    self.recover(batch, &fault, epoch).await;
                    return Left::Channel;
                }
            }
        }
    }

    /// Nobody knows what became of the batch: all of it goes again.
    async fn recover(&mut self, mut batch: Vec<Pending>, fault: &PublishFault, epoch: Epoch) {
        self.wiring.health.unknown.add(batch.len());
        self.wiring.health.publishing_stalled.set(true);
        self.complain(fault);
        tracing::warn!(answers = batch.len(), "publishing again, under the same ids: {fault}");
        self.batch_limit = (self.batch_limit / 4).max(1);
        match (batch.pop(), batch.is_empty()) {
            (Some(alone), true) => self.try_later(Pending { suspect: true, ..alone }, Fate::Refused),
            (last, _) => self.put_back(batch.into_iter().chain(last)),
        }
        match fault {
            PublishFault::Silent => self.wiring.link.break_off(epoch).await,
            PublishFault::Channel(_) => self.mend_topology().await,
        }
    }

    async fn next_batch(&mut self, channel: &Channel) -> Next {
        loop {
            let closed = self.absorb();
            if !self.fresh.is_empty() {
                return Next::Batch(self.take_batch());
            }
            if self.later.is_empty() {
                self.calm_down();
                if closed {
                    return Next::Closed;
                }
            }
            if !channel.status().connected() {
                return Next::ChannelLost;
            }
            let next_try = self.later.first_key_value().map(|((at, _), _)| *at);
            let check = Instant::now() + IDLE_CHECK;
            tokio::select! {
                list = self.inbox.recv(), if !closed => self.fresh.extend(list.into_iter().flatten().map(Pending::new)),
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
        while self.fresh.len() < MAX_BATCH {
            match self.inbox.try_recv() {
                Ok(list) => self.fresh.extend(list.into_iter().map(Pending::new)),
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => return true,
            }
        }
        false
    }

    fn take_batch(&mut self) -> Vec<Pending> {
        let (mut messages, mut bytes, mut answers) = (0, 0, 0);
        for pending in &self.fresh {
            if answers > 0 && pending.suspect {
                break;
            }
            messages += pending.answer.messages().len();
            bytes += pending.answer.messages().iter().map(|message| message.body.len()).sum::<usize>();
            if answers > 0 && (messages > self.batch_limit || bytes > MAX_BATCH_BYTES) {
                break;
            }
            answers += 1;
            if pending.suspect {
                break;
            }
        }
        self.fresh.drain(..answers).collect()
    }

    /// Gives back all that is stale. True when nothing more will come in.
    fn purge(&mut self) -> bool {
        loop {
            let closed = self.absorb();
            let waiting = self.fresh.len() + self.later.len();
            let later = std::mem::take(&mut self.later).into_values();
            let all = std::mem::take(&mut self.fresh).into_iter().chain(later).collect();
            self.fresh = self.without_stale(all).into();
            if closed || self.fresh.len() == waiting {
                return closed;
            }
        }
    }

    /// Answers to deliveries that will come again are not published: the next answer would be a second one.
    fn without_stale(&self, batch: Vec<Pending>) -> Vec<Pending> {
        let current = self.wiring.current.get();
        let is_stale = |pending: &Pending| {
            pending.answer.receipt.as_ref().is_some_and(|receipt| Some(receipt.generation()) != current)
        };
        if !batch.iter().any(is_stale) {
            return batch;
        }
        let (stale, live): (Vec<_>, Vec<_>) = batch.into_iter().partition(is_stale);
        self.reports.stale(stale.into_iter().map(|pending| pending.answer.without_receipt()).collect());
        live
    }

    /// The fates of all messages of the batch that were not safe before, in order.
    async fn publish(&self, channel: &Channel, batch: &[Pending]) -> Result<Vec<Fate>, PublishFault> {
        let messages: Vec<&Outgoing> = batch.iter().flat_map(Pending::unsafe_messages).collect();
        let work = publish_all(channel, &self.wiring.topology, &messages);
        self.while_not_blocked(work).await?.map_err(PublishFault::Channel)
    }

    async fn while_not_blocked<T>(&self, work: impl Future<Output = T>) -> Result<T, PublishFault> {
        let mut work = pin!(work);
        let mut patience = CONFIRM_TIMEOUT;
        loop {
            let done = timeout(BLOCKED_CHECK, &mut work).await;
            let blocked = done.is_err() && self.wiring.link.blocked();
            if self.wiring.health.blocked.set(blocked) {
                tracing::warn!(blocked, "a resource alarm of the broker began or ended");
            }
            match done {
                Ok(done) => return Ok(done),
                Err(_elapsed) if blocked => {}
                Err(_elapsed) => patience = patience.checked_sub(BLOCKED_CHECK).ok_or(PublishFault::Silent)?,
            }
        }
    }

    async fn conclude(&mut self, batch: Vec<Pending>, fates: &[Fate]) {
        let count = |wanted: Fate| fates.iter().filter(|fate| **fate == wanted).count();
        let (returned, refused) = (count(Fate::Returned), count(Fate::Refused));
        let health = &self.wiring.health;
        health.published.add(fates.len() - returned - refused);
        health.returned.add(returned);
        health.refused.add(refused);
        health.publishing_stalled.set(returned + refused == fates.len());

        let mut fates = fates.iter().copied();
        let (mut published, mut acks) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        let mut unpublished = Vec::new();
        for mut pending in batch {
            match pending.learn(&mut fates) {
                Fate::Safe => {
                    acks.extend(pending.answer.receipt.take().map(|receipt| receipt.ack(Published(()))));
                    published.push(pending.answer);
                }
                fate @ (Fate::Returned | Fate::Refused) => unpublished.push((pending, fate)),
            }
        }
        self.wiring.settler.settle(acks).await;
        if !published.is_empty() {
            self.reports.published(published);
        }
        if returned + refused == 0 {
            if self.later.is_empty() {
                self.calm_down();
            }
            return;
        }
        self.complain_of(&unpublished, returned, refused);
        for (pending, fate) in unpublished {
            self.try_later(pending, fate);
        }
        if returned > 0 {
            self.mend_topology().await;
        }
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

    fn complain_of(&mut self, unpublished: &[(Pending, Fate)], returned: usize, refused: usize) {
        let first = unpublished.iter().flat_map(|(pending, _)| pending.unsafe_messages()).next();
        let key = first.map(|message| self.wiring.topology.key(message.route)).unwrap_or_default();
        let exchange = self.wiring.topology.exchange();
        let sentence = if returned > 0 {
            format!(
                "no queue is bound to exchange {:?} with key {:?}; create the queue or its binding",
                exchange.as_str(),
                key.as_str()
            )
        } else {
            format!("the broker refuses messages with key {:?}: their queue is full or at fault", key.as_str())
        };
        self.complain(&sentence);
        if unpublished.iter().any(|(pending, _)| pending.tries.is_power_of_two()) {
            tracing::warn!(returned, refused, "not published, trying again: {sentence}");
        }
    }

    fn try_later(&mut self, mut pending: Pending, fate: Fate) {
        let wait = backoff::wait(pending.tries, fastrand::f64());
        let wait = match fate {
            Fate::Returned => wait.max(RETURNED_DELAY),
            Fate::Refused | Fate::Safe => wait,
        };
        pending.tries = pending.tries.saturating_add(1);
        self.sequence += 1;
        self.later.insert((Instant::now() + wait, self.sequence), pending);
    }

    fn put_back(&mut self, batch: impl DoubleEndedIterator<Item = Pending>) {
        for pending in batch.rev() {
            self.fresh.push_front(pending);
        }
    }

    /// What is missing may have been deleted while we ran.
    async fn mend_topology(&mut self) {
        match self.wiring.link.ensure(&self.wiring.topology).await {
            Some(Ok(_)) | None => {}
            Some(Err(fault)) => {
                self.complain(&fault);
                tracing::warn!("{fault}");
            }
        }
    }
}

impl Pending {
    fn new(answer: Answer) -> Self {
        let safe = SmallVec::from_elem(false, answer.messages().len());
        Self { answer, safe, tries: 1, suspect: false }
    }

    fn unsafe_messages(&self) -> impl Iterator<Item = &Outgoing> {
        self.answer.messages().iter().zip(&self.safe).filter(|(_, safe)| !**safe).map(|(message, _)| message)
    }

    /// Takes the fates of its unsafe messages; the worst of them is the answer's.
    fn learn(&mut self, fates: &mut impl Iterator<Item = Fate>) -> Fate {
        let mut worst = Fate::Safe;
        for safe in self.safe.iter_mut().filter(|safe| !**safe) {
            match fates.next() {
                Some(Fate::Safe) => *safe = true,
                Some(fate @ (Fate::Returned | Fate::Refused)) => worst = fate,
                None => worst = Fate::Refused,
            }
        }
        worst
    }
}

/// Publishes all, waits for all confirms, and only then judges. An error: nothing is known of any of them.
async fn publish_all(channel: &Channel, topology: &Topology, messages: &[&Outgoing]) -> lapin::Result<Vec<Fate>> {
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let publishes = messages.iter().map(|message| {
        let (exchange, key) = (topology.exchange().clone(), topology.key(message.route));
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
            // What was written before the channel was lost hears the broker's reason for it; what came later only hears
            // from the library that the channel is gone.
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
            Fate::Safe => Ok(Published(())),
            Fate::Returned | Fate::Refused => Err(fate),
        })
        .collect())
}

/// A channel on which the broker confirms. `None`: the link is given up.
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

enum Next {
    Batch(Vec<Pending>),
    Closed,
    ChannelLost,
}

enum Left {
    Nothing,
    Channel,
}

#[derive(Debug, thiserror::Error)]
enum PublishFault {
    #[error("the broker lost the channel for publishing: {0}")]
    Channel(lapin::Error),
    #[error("the broker has not confirmed for {} s", CONFIRM_TIMEOUT.as_secs())]
    Silent,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::acknowledge::Settler;
    use crate::amqp::health::Health;
    use crate::amqp::receipt::{Generation, Held, Receipt};

    #[tokio::test]
    async fn an_acknowledgement_that_comes_too_late_is_not_taken_for_made() {
        let (health, held) = (Arc::new(Health::default()), Arc::new(Held::default()));
        let settler = Settler::start(&health);
        let delivery = |tag| Receipt::new(Generation(1), tag, 1, &held);
        // The subscription that delivered them is gone.
        settler.settle(vec![delivery(1).ack(Published(())), delivery(2).hand_back()]).await;
        settler.finish().await;
        let told = (health.acknowledged.get(), health.handed_back.get(), health.settled_too_late.get());
        assert_eq!(told, (0, 0, 2));
    }
}
