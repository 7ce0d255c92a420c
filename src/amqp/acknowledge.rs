//! The only place that acknowledges.
//!
//! One task settles all deliveries, since frames of two tasks could name a tag twice, for which the broker closes the
//! channel. It works for one generation of each queue at a time; what belongs to an earlier one is counted and dropped,
//! because the broker delivers it again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, sleep_until, timeout};

use super::ack_window::{AckWindow, Frame};
use super::connection::{CALL_TIMEOUT, CLOSE_TIMEOUT, REPLY_SUCCESS};
use super::health::Health;
use super::pipeline::all_in_order;
use super::receipt::{Generation, Settlement, Settling};
use crate::shards::QueueIndex;

/// At most this many lists of settlements wait for the task. Whoever sends one more waits until there is room.
const MAX_WAITING_LISTS: usize = 64;
/// Wait between the last acknowledgement and the end of the channel: RabbitMQ's quorum queues lose acknowledgements
/// that arrive just before their channel is closed.
const BEFORE_CLOSE: Duration = Duration::from_millis(250);

/// Passes on to the task what is to be settled. To clone it costs little.
#[derive(Clone, Debug)]
pub struct Settler {
    demands: mpsc::Sender<Demand>,
}

#[derive(Debug)]
enum Demand {
    /// A subscription has begun; its deliveries come through this channel.
    Begin {
        generation: Generation,
        channel: Channel,
        prefetch: u16,
    },
    /// From now on another number of deliveries may be outstanding.
    Resize {
        generation: Generation,
        prefetch: u16,
    },
    Settle(Vec<Settlement>),
    Finish(oneshot::Sender<()>),
}

impl Settler {
    /// Starts the task; it ends when the last clone is dropped, or by [`Settler::finish`].
    pub fn start(health: &Arc<Health>) -> Self {
        let (demands, inbox) = mpsc::channel(MAX_WAITING_LISTS);
        let acknowledger = Acknowledger { inbox, health: Arc::clone(health), current: BTreeMap::new() };
        tokio::spawn(acknowledger.run());
        Self { demands }
    }

    /// Waits only while the broker does not take acknowledgements as fast as they are made.
    pub async fn settle(&self, settlements: Vec<Settlement>) {
        if !settlements.is_empty() {
            // Refused only after `finish`, when the deliveries go back to the queue by themselves.
            let _ = self.demands.send(Demand::Settle(settlements)).await;
        }
    }

    /// Sends the acknowledgements that are left, gives the broker time to take them, and closes the channels.
    pub async fn finish(&self) {
        let (done, finished) = oneshot::channel();
        if self.demands.send(Demand::Finish(done)).await.is_ok() {
            let _ = finished.await;
        }
    }

    pub(super) async fn begin(&self, generation: Generation, channel: Channel, prefetch: u16) {
        let _ = self.demands.send(Demand::Begin { generation, channel, prefetch }).await;
    }

    pub(super) async fn resize(&self, generation: Generation, prefetch: u16) {
        let _ = self.demands.send(Demand::Resize { generation, prefetch }).await;
    }
}

struct Acknowledger {
    inbox: mpsc::Receiver<Demand>,
    health: Arc<Health>,
    current: BTreeMap<QueueIndex, Subscription>,
}

struct Subscription {
    generation: Generation,
    channel: Channel,
    window: AckWindow,
}

impl Acknowledger {
    async fn run(mut self) {
        loop {
            let due = self.current.values().filter_map(|current| current.window.next_due()).min();
            let demand = tokio::select! {
                demand = self.inbox.recv() => demand,
                () = until(due) => {
                    self.send(AckWindow::due).await;
                    continue;
                }
            };
            match demand {
                Some(Demand::Begin { generation, channel, prefetch }) => {
                    let window = AckWindow::new(prefetch);
                    self.current.insert(generation.queue, Subscription { generation, channel, window });
                }
                Some(Demand::Resize { generation, prefetch }) => {
                    if let Some(current) = self.current(generation) {
                        current.window.resize(prefetch);
                    }
                }
                Some(Demand::Settle(settlements)) => {
                    self.settle(settlements);
                    self.send(AckWindow::due).await;
                }
                Some(Demand::Finish(done)) => {
                    self.finish().await;
                    let _ = done.send(());
                    return;
                }
                None => return,
            }
        }
    }

    fn settle(&mut self, settlements: Vec<Settlement>) {
        let now = Instant::now();
        let (mut acks, mut hand_backs, mut late) = (0, 0, 0);
        for settlement in settlements {
            match self.current(settlement.generation()) {
                Some(current) => {
                    let settling = settlement.settling();
                    match settling {
                        Settling::Ack => acks += 1,
                        Settling::HandBack => hand_backs += 1,
                    }
                    current.window.settle(settlement.tag(), settling, now);
                }
                None => late += 1,
            }
        }
        self.health.acknowledged.add(acks);
        self.health.handed_back.add(hand_backs);
        self.health.settled_too_late.add(late);
    }

    fn current(&mut self, generation: Generation) -> Option<&mut Subscription> {
        self.current.get_mut(&generation.queue).filter(|current| current.generation == generation)
    }

    async fn send(&mut self, frames: impl Fn(&mut AckWindow, Instant) -> Vec<Frame>) {
        let mut lost = Vec::new();
        for (&queue, current) in &mut self.current {
            let frames = frames(&mut current.window, Instant::now());
            if !frames.is_empty() && !current.send(&frames, &self.health).await {
                lost.push(queue);
            }
        }
        for queue in lost {
            if let Some(current) = self.current.remove(&queue) {
                // Where the channel still lives, its consumer must learn that nothing settles its deliveries any more.
                tokio::spawn(
                    async move { timeout(CLOSE_TIMEOUT, current.channel.close(REPLY_SUCCESS, "OK".into())).await },
                );
            }
        }
    }

    async fn finish(&mut self) {
        self.send(AckWindow::flush).await;
        if !self.current.is_empty() {
            sleep(BEFORE_CLOSE).await;
        }
        let channels = std::mem::take(&mut self.current).into_values().map(|current| current.channel);
        // An error means that the channel was lost already.
        let closing = channels.map(|channel| async move { channel.close(REPLY_SUCCESS, "OK".into()).await });
        let _ = timeout(CLOSE_TIMEOUT, join_all(closing)).await;
    }
}

impl Subscription {
    /// Returns false where the channel fails. The caller then closes it, so that its consumer sees it end and begins
    /// anew.
    async fn send(&self, frames: &[Frame], health: &Health) -> bool {
        let fault = match timeout(CALL_TIMEOUT, write(&self.channel, frames)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "the broker takes no more acknowledgements".to_owned(),
        };
        let (generation, frames) = (self.generation.number, frames.len());
        tracing::warn!(
            generation,
            frames,
            "acknowledgements could not be sent, so the broker will deliver their jobs again: {fault}"
        );
        health.failed_acknowledgements.add(frames);
        false
    }
}

async fn write(channel: &Channel, frames: &[Frame]) -> lapin::Result<()> {
    let written = all_in_order(frames.iter().map(|frame| write_one(channel, *frame))).await;
    written.into_iter().collect()
}

async fn write_one(channel: &Channel, frame: Frame) -> lapin::Result<()> {
    match frame {
        Frame::AckUpTo(tag) => channel.basic_ack(tag, BasicAckOptions { multiple: true }).await,
        Frame::AckOne(tag) => channel.basic_ack(tag, BasicAckOptions { multiple: false }).await,
        Frame::Requeue(tag) => channel.basic_nack(tag, BasicNackOptions { multiple: false, requeue: true }).await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
