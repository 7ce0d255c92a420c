//! Releases shards while this worker holds more than its share, so that workers that hold fewer get them.
//!
//! How many workers there are shows in a queue of its own, to which each subscribes and nobody publishes. The lease
//! queues do not tell: of their consumers RabbitMQ counts only the active one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::super::backoff::Backoff;
use super::super::connection::{CALL_TIMEOUT, CLOSE_TIMEOUT, REPLY_SUCCESS};
use super::super::health::Health;
use super::super::link::Link;
use super::LeaseNews;
use crate::lease::view::LeaseStanding;
use crate::shards::QueueIndex;
use crate::shards::fair_share::FairShare;

/// How often the worker compares what it holds with its share; at most one shard is released each time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the task needs.
#[derive(Debug)]
pub(in crate::amqp) struct Balance {
    pub link: Arc<Link>,
    pub health: Arc<Health>,
    pub shards: Vec<QueueIndex>,
    /// The queue that shows how many workers there are.
    pub workers: ShortString,
    pub news: mpsc::UnboundedSender<(QueueIndex, LeaseNews)>,
}

/// After this many looks the worker checks whether a shard that it released has come back: whoever takes it has taken
/// it by then.
const LOOKED_FOR_AFTER: usize = 3;

/// Where a lease queue cannot be reached, the worker does not let the others count it yet, but no longer than for this
/// many looks.
const MOST_LOOKS_BEFORE: u32 = 30;

impl Balance {
    /// Ends with the loop.
    pub async fn run(self) {
        // Both are polled all the time: one may hold what the other waits for.
        tokio::select! {
            () = self.keep_even() => {}
            () = self.be_present() => {}
        }
    }

    async fn keep_even(&self) {
        let mut share = FairShare::default();
        let mut given = VecDeque::from([None; LOOKED_FOR_AFTER]);
        while !self.news.is_closed() {
            sleep(LOOK_EVERY).await;
            given.push_back(self.look(&mut share).await);
            if let Some(queue) = given.pop_front().flatten() {
                share.learn(self.is_mine(queue));
            }
        }
    }

    /// The shard that is released, if any.
    async fn look(&self, share: &mut FairShare) -> Option<QueueIndex> {
        let mine = self.shards.iter().filter(|queue| self.is_mine(**queue)).count();
        let held: Vec<QueueIndex> =
            self.shards.iter().copied().filter(|queue| self.standing(*queue) == Some(LeaseStanding::Held)).collect();
        let depth = self.link.depths(std::slice::from_ref(&self.workers)).await.pop().flatten()?;
        let workers = usize::try_from(depth.consumers).unwrap_or(usize::MAX);
        let queue = fastrand::choice(held).filter(|_| share.look(mine, self.shards.len(), workers))?;
        // An error means that the loop has ended.
        let _ = self.news.send((queue, LeaseNews::Release));
        Some(queue)
    }

    fn standing(&self, queue: QueueIndex) -> Option<LeaseStanding> {
        self.health.queue(queue).lease.get().map(|view| view.standing)
    }

    fn is_mine(&self, queue: QueueIndex) -> bool {
        matches!(self.standing(queue), Some(LeaseStanding::Held | LeaseStanding::Waiting))
    }

    /// This worker stops, and has given back every lease or asks for it no more: it takes no shard.
    fn leaves(&self) -> bool {
        self.shards.iter().all(|queue| self.standing(*queue) == Some(LeaseStanding::Left))
    }

    /// Keeps up the subscription by which others count this worker. Ends when the link is closed, or when this worker
    /// stops: its last requests may take long to be answered, and no worker must release a shard for it meanwhile.
    async fn be_present(&self) {
        let mut backoff = Backoff::default();
        // No worker must release a shard for one that cannot take it yet.
        let is_away = |queue: &QueueIndex| self.standing(*queue).is_none_or(|of| of == LeaseStanding::Away);
        for _ in 0..MOST_LOOKS_BEFORE {
            if !self.shards.iter().any(is_away) {
                break;
            }
            sleep(LOOK_EVERY).await;
        }
        while !self.leaves()
            && let Some((channel, _)) = self.link.channel().await
        {
            match timeout(CALL_TIMEOUT, subscribe(&channel, &self.workers)).await {
                Ok(Ok(consumer)) => {
                    backoff.reset();
                    tokio::select! {
                        () = self.pass_over(consumer) => {}
                        () = self.until_it_leaves() => {}
                    }
                }
                Ok(Err(error)) if backoff.tries().is_power_of_two() => {
                    let queue = self.workers.as_str();
                    tracing::warn!(
                        queue,
                        "other workers do not know of this one, and release no shards for it: {error}"
                    );
                }
                Ok(Err(_)) | Err(_) => {}
            }
            let _ = timeout(CLOSE_TIMEOUT, channel.close(REPLY_SUCCESS, "OK".into())).await;
            sleep(backoff.next_wait()).await;
        }
    }

    /// A message that somebody has put there means nothing to this worker.
    async fn pass_over(&self, mut consumer: Consumer) {
        while let Some(Ok(delivery)) = consumer.next().await {
            self.link.valve().took(delivery.data.len() as u64);
        }
    }

    async fn until_it_leaves(&self) {
        while !self.leaves() {
            sleep(LOOK_EVERY).await;
        }
    }
}

async fn subscribe(channel: &Channel, queue: &ShortString) -> lapin::Result<Consumer> {
    channel.basic_qos(1, BasicQosOptions { global: false }).await?;
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    channel.basic_consume(queue.clone(), "".into(), options, FieldTable::default()).await
}
