//! Looking through a queue without taking anything from it: each message is seen once and held, and goes back to the
//! queue at the end unless it was acknowledged.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer};
use tokio::time::{sleep, timeout};

use super::barrier::Published;
use super::connection::{
    ACCESS_REFUSED, CALL_TIMEOUT, CLOSE_TIMEOUT, ConnectFault, Dial, GRANT, NOT_FOUND, REPLY_SUCCESS, reply_code,
    reply_text,
};
use super::message::Properties;
use super::pipeline::all_in_order;
use super::request::call;
use super::topology::Topology;
use crate::config::AmqpSettings;

/// Messages in memory at most; those seen before are held by the broker alone.
const ROUND: u16 = 64;
/// Queues at most that are looked at for jobs that wait.
const MOST_LOOKED_AT: usize = 64;
/// When no message has come for this long, the broker is asked whether one is left.
const LULL: Duration = Duration::from_millis(500);
/// This many messages are given back before the worker waits until all of these are sent.
const GIVEN_BACK_AT_ONCE: usize = 1_000;
/// Messages that were not given back within this time go back when the connection ends, in whatever order.
const LONGEST_GIVING_BACK: Duration = Duration::from_secs(60);
/// Wait between the last acknowledgement and the end of the connection: quorum queues can lose acknowledgements that
/// arrive just before it.
const LAST_ACKS: Duration = Duration::from_millis(250);

/// A queue that can be looked through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shelf {
    DeadLetters,
    Results,
}

/// A look at every message that was in the queue when it began. Of those seen only their tags are kept.
///
/// Whatever ends it, even the end of the process, gives back what was not acknowledged. The broker counts each look as
/// a delivery of the messages seen.
#[derive(Debug)]
pub struct Browser {
    connection: Connection,
    channel: Channel,
    shelf: Shelf,
    queue: ShortString,
    there: u32,
    seen: u32,
    missed: u32,
    round: Option<Round>,
    /// Came with an earlier round beyond what it asked for, since the broker makes up for each acknowledgement while the
    /// round is open; not seen yet.
    early: VecDeque<Delivery>,
    /// The tags of the messages that go back, in the order in which they came.
    held: VecDeque<u64>,
}

#[derive(Debug)]
struct Round {
    consumer: Consumer,
    left: u16,
}

/// A message that is held.
#[derive(Debug)]
pub struct Found {
    pub body: Vec<u8>,
    pub properties: Properties,
    tag: u64,
}

/// The right to acknowledge a message whose body is no longer needed.
#[derive(Debug)]
pub struct Hold {
    tag: u64,
}

impl Found {
    /// Takes the message apart: its body, its properties, and the right to acknowledge it.
    pub fn into_parts(self) -> (Vec<u8>, Properties, Hold) {
        (self.body, self.properties, Hold { tag: self.tag })
    }
}

/// Why the look ended early; nothing is lost by it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BrowseFault {
    #[error(transparent)]
    Connect(#[from] ConnectFault),
    #[error(
        "queue {queue:?} does not exist: start the worker once, which declares what is missing, or mend {}", shelf.setting()
    )]
    NoQueue { queue: String, shelf: Shelf },
    #[error(
        "the broker's user may not read queue {queue:?}: {cause}; {grant}, or use another user in amqp.uri", grant = GRANT
    )]
    NoRight { queue: String, cause: String },
    #[error("the broker does not deliver the messages that it says are in queue {queue:?}: look at the queue there")]
    Silent { queue: String },
    #[error("the connection to the broker broke: {cause}; what was not acknowledged is in the queue again")]
    Lost { cause: String },
}

impl Shelf {
    fn setting(self) -> &'static str {
        match self {
            Self::DeadLetters => "amqp.dead_letter_queue",
            Self::Results => "amqp.results_queue",
        }
    }
}

impl Browser {
    /// Tries once.
    pub async fn open(settings: &AmqpSettings, shelf: Shelf) -> Result<Self, BrowseFault> {
        let queue = match shelf {
            Shelf::DeadLetters => ShortString::from(settings.dead_letter_queue.as_str()),
            Shelf::Results => ShortString::from(settings.results_queue.as_str()),
        };
        let connection = Dial::new(settings, "browse").connect(settings.connect_timeout).await?;
        let open = async {
            let channel = connection.create_channel().await?;
            let there = ready(&channel, &queue).await?;
            if there == 0 {
                try_to_read(&channel, &queue).await?;
            }
            Ok((channel, there))
        };
        let (channel, there) = match timeout(CALL_TIMEOUT, open).await {
            Ok(Ok(open)) => open,
            Ok(Err(error)) => return Err(fault_of(&error, &queue, shelf)),
            Err(_elapsed) => return Err(BrowseFault::Silent { queue: queue.to_string() }),
        };
        Ok(Self {
            connection,
            channel,
            shelf,
            queue,
            there,
            seen: 0,
            missed: 0,
            round: None,
            early: VecDeque::new(),
            held: VecDeque::new(),
        })
    }

    /// How many messages were there when it began.
    pub fn there(&self) -> u32 {
        self.there
    }

    /// How many of them could not be looked at, since others held them or had taken them when their turn came.
    pub fn missed(&self) -> u32 {
        self.missed
    }

    /// How many jobs wait for a worker or in a delay queue; what a worker has in hand the broker does not tell. `None`:
    /// it does not say in time, or not of every queue.
    pub async fn waiting(&self, settings: &AmqpSettings) -> Option<u64> {
        let topology = Topology::new(settings);
        let queues: Vec<ShortString> = topology.queues_of_jobs().take(MOST_LOOKED_AT).cloned().collect();
        let look = async {
            let mut waiting = 0;
            for queue in queues {
                // A queue that is missing has no jobs, and costs only a channel.
                let ask = |channel: Channel| async move { ready(&channel, &queue).await };
                match call(&self.connection, ask).await {
                    Ok(count) => waiting += u64::from(count),
                    Err(fault) if fault.is(NOT_FOUND) => {}
                    Err(_) => return None,
                }
            }
            Some(waiting)
        };
        timeout(CALL_TIMEOUT, look).await.ok().flatten()
    }

    /// The next of them; `None` after the last, and where others have taken the rest meanwhile.
    pub async fn next(&mut self) -> Result<Option<Found>, BrowseFault> {
        if self.seen >= self.there {
            self.end_round().await?;
            return Ok(None);
        }
        let Some(delivery) = self.delivery().await? else {
            self.missed = self.there - self.seen;
            self.seen = self.there;
            self.end_round().await?;
            return Ok(None);
        };
        self.seen += 1;
        self.held.push_back(delivery.delivery_tag);
        let found =
            Found { body: delivery.data, properties: Properties::new(delivery.properties), tag: delivery.delivery_tag };
        if self.round.as_ref().is_some_and(|round| round.left == 0) {
            self.end_round().await?;
        }
        Ok(Some(found))
    }

    /// The broker may forget these messages: what came of them is published.
    pub async fn acknowledge(&mut self, holds: Vec<(Hold, Published)>) -> Result<(), BrowseFault> {
        let tags: HashSet<u64> = holds.iter().map(|(hold, _)| hold.tag).collect();
        // They are among the last that were seen, so that most of what is held need not be looked at.
        let first = tags.iter().min().copied().unwrap_or(u64::MAX);
        let latest = self.held.split_off(self.held.partition_point(|tag| *tag < first));
        self.held.extend(latest.into_iter().filter(|tag| !tags.contains(tag)));
        let acks = holds.into_iter().map(|(hold, proof)| {
            proof.spend();
            self.channel.basic_ack(hold.tag, BasicAckOptions { multiple: false })
        });
        match timeout(CALL_TIMEOUT, all_in_order(acks)).await {
            Ok(sent) => {
                sent.into_iter()
                    .collect::<lapin::Result<Vec<()>>>()
                    .map_err(|error| fault_of(&error, &self.queue, self.shelf))?;
                Ok(())
            }
            Err(_elapsed) => Err(BrowseFault::Silent { queue: self.queue.to_string() }),
        }
    }

    /// Gives back what is held. Ends in time whatever the broker does.
    pub async fn close(mut self) {
        let give_back = async {
            self.end_round().await.ok()?;
            self.give_back().await.ok()?;
            sleep(LAST_ACKS).await;
            ready(&self.channel, &self.queue).await.ok()
        };
        // Where this fails, the broker itself gives the messages back when the connection ends.
        let _ = timeout(LONGEST_GIVING_BACK, give_back).await;
        let _ = timeout(CLOSE_TIMEOUT, self.connection.close(REPLY_SUCCESS, "OK".into())).await;
    }

    /// The messages are given back explicitly, since from RabbitMQ 4.3 on only the end of a channel counts as a
    /// delivery in vain. They are given back one by one, since the broker changes the order of those that come back
    /// together.
    async fn give_back(&mut self) -> lapin::Result<()> {
        self.held.extend(self.early.drain(..).map(|delivery| delivery.delivery_tag));
        let one = BasicNackOptions { multiple: false, requeue: true };
        while !self.held.is_empty() {
            let some = self.held.drain(..self.held.len().min(GIVEN_BACK_AT_ONCE));
            let nacks = some.map(|tag| self.channel.basic_nack(tag, one));
            all_in_order(nacks).await.into_iter().collect::<lapin::Result<Vec<()>>>()?;
        }
        Ok(())
    }

    /// A subscription of its own for each round: the messages of earlier rounds stay held when it is cancelled, and the
    /// prefetch of the next one begins at zero.
    async fn begin_round(&self) -> Result<Round, BrowseFault> {
        let left = u16::try_from(self.there - self.seen).unwrap_or(u16::MAX).min(ROUND);
        let work = async {
            self.channel.basic_qos(left, BasicQosOptions { global: false }).await?;
            let (queue, options) = (self.queue.clone(), BasicConsumeOptions::default());
            self.channel.basic_consume(queue, "".into(), options, FieldTable::default()).await
        };
        match timeout(CALL_TIMEOUT, work).await {
            Ok(Ok(consumer)) => Ok(Round { consumer, left }),
            Ok(Err(error)) => Err(fault_of(&error, &self.queue, self.shelf)),
            Err(_elapsed) => Err(BrowseFault::Silent { queue: self.queue.to_string() }),
        }
    }

    async fn end_round(&mut self) -> Result<(), BrowseFault> {
        let Some(Round { consumer, .. }) = self.round.take() else { return Ok(()) };
        let work = async {
            self.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await?;
            // The stream ends after the last that came before the broker's word.
            let more: Vec<lapin::Result<Delivery>> = consumer.collect().await;
            more.into_iter().collect::<lapin::Result<Vec<Delivery>>>()
        };
        match timeout(CALL_TIMEOUT, work).await {
            Ok(Ok(more)) => {
                self.early.extend(more);
                Ok(())
            }
            Ok(Err(error)) => Err(fault_of(&error, &self.queue, self.shelf)),
            Err(_elapsed) => Err(BrowseFault::Silent { queue: self.queue.to_string() }),
        }
    }

    /// The next delivery; `None` where none is left.
    async fn delivery(&mut self) -> Result<Option<Delivery>, BrowseFault> {
        if self.round.is_none()
            && let Some(delivery) = self.early.pop_front()
        {
            return Ok(Some(delivery));
        }
        let mut round = match self.round.take() {
            Some(round) => round,
            None => self.begin_round().await?,
        };
        let delivery = self.delivery_of(&mut round.consumer).await?;
        round.left -= u16::from(delivery.is_some());
        self.round = Some(round);
        Ok(delivery)
    }

    async fn delivery_of(&self, consumer: &mut Consumer) -> Result<Option<Delivery>, BrowseFault> {
        let mut patience = CALL_TIMEOUT;
        loop {
            match timeout(LULL, consumer.next()).await {
                Ok(Some(Ok(delivery))) => return Ok(Some(delivery)),
                Ok(Some(Err(error))) => return Err(fault_of(&error, &self.queue, self.shelf)),
                Ok(None) => return Err(BrowseFault::NoQueue { queue: self.queue.to_string(), shelf: self.shelf }),
                Err(_lull) => {}
            }
            let left = timeout(CALL_TIMEOUT, ready(&self.channel, &self.queue)).await;
            match left {
                Ok(Ok(0)) => return Ok(None),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(fault_of(&error, &self.queue, self.shelf)),
                Err(_elapsed) => return Err(BrowseFault::Silent { queue: self.queue.to_string() }),
            }
            let silent = || BrowseFault::Silent { queue: self.queue.to_string() };
            patience = patience.checked_sub(LULL).ok_or_else(silent)?;
        }
    }
}

/// Finds out whether the user may read a queue in which nothing is, since how many messages it has is told to everybody:
/// without this, a right that is missing would show with the first message.
async fn try_to_read(channel: &Channel, queue: &ShortString) -> lapin::Result<()> {
    channel.basic_qos(1, BasicQosOptions { global: false }).await?;
    let options = BasicConsumeOptions::default();
    let consumer = channel.basic_consume(queue.clone(), "".into(), options, FieldTable::default()).await?;
    channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await?;
    // All that may have come meanwhile.
    channel.basic_nack(0, BasicNackOptions { multiple: true, requeue: true }).await
}

/// Messages in the queue that nobody holds.
async fn ready(channel: &Channel, queue: &ShortString) -> lapin::Result<u32> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    Ok(channel.queue_declare(queue.clone(), passive, FieldTable::default()).await?.message_count())
}

fn fault_of(error: &lapin::Error, queue: &ShortString, shelf: Shelf) -> BrowseFault {
    let queue = queue.to_string();
    match reply_code(error) {
        Some(NOT_FOUND) => BrowseFault::NoQueue { queue, shelf },
        Some(ACCESS_REFUSED) => BrowseFault::NoRight { queue, cause: reply_text(error).unwrap_or_default() },
        Some(_) | None => BrowseFault::Lost { cause: error.to_string() },
    }
}
