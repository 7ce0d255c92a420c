//! Publishes lease messages: one at a time, on a channel of its own, and says of each whether it is safe.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::connection::{CLOSE_TIMEOUT, REPLY_SUCCESS, in_words};
use super::super::link::Link;
use super::super::message::short;
use super::super::route::no_route;
use super::queue::LeaseQueue;
use crate::lease::PublicationKey;

/// AMQP's number for messages that survive a restart of the broker.
const PERSISTENT: u8 = 2;

/// Marks the messages of a lease queue for people who look into it.
const MESSAGE_TYPE: &str = "association-archive.lease.v1";

/// Marks an operator's orders among them.
pub(super) const ORDER_TYPE: &str = "association-archive.order.v1";

/// Longest wait for the confirm of an order: whoever gave it waits as well.
const ORDER_PATIENCE: Duration = Duration::from_secs(4);

/// What has become of one message.
#[derive(Debug)]
pub(super) struct Written {
    pub key: PublicationKey,
    pub result: Result<(), WriteFault>,
}

#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum WriteFault {
    #[error("a resource alarm of the broker stops publishing (`rabbitmq-diagnostics alarms` names it)")]
    Blocked,
    #[error("the broker does not confirm in time")]
    Silent,
    /// With what is missing.
    #[error("{0}; create it, or let the worker declare it")]
    Returned(String),
    #[error("the broker refuses the message")]
    Refused,
    #[error("{0}")]
    Channel(String),
}

#[derive(Clone, Debug)]
pub(super) struct Scribe {
    pub link: Arc<Link>,
    pub queue: LeaseQueue,
    /// Longest wait for a confirm. A lease message that is not confirmed by then is published again.
    pub patience: Duration,
}

impl Scribe {
    /// Ends when the channel of lease messages is closed. At most one of them waits in it.
    pub async fn run(self, mut orders: mpsc::Receiver<(PublicationKey, Vec<u8>)>, results: mpsc::Sender<Written>) {
        let mut open = None;
        while let Some((key, body)) = orders.recv().await {
            let result = match timeout(self.patience, self.write(&mut open, &body)).await {
                Ok(result) => result,
                Err(_elapsed) => Err(self.silent()),
            };
            match &result {
                // Perhaps somebody has deleted the exchange, and with it the bindings, or the binding alone.
                Err(WriteFault::Returned(_) | WriteFault::Channel(_)) => self.queue.mend_route(&self.link).await,
                Ok(()) | Err(WriteFault::Blocked | WriteFault::Silent | WriteFault::Refused) => {}
            }
            // Whatever is still on its way on this channel must not be taken for the answer to the next message.
            if result.is_err()
                && let Some(channel) = open.take()
            {
                tokio::spawn(close(channel));
            }
            if results.send(Written { key, result }).await.is_err() {
                break;
            }
        }
        if let Some(channel) = open {
            close(channel).await;
        }
    }

    /// Writes an operator's order, on a channel of its own.
    pub async fn write_order(&self, body: &[u8]) -> Result<(), WriteFault> {
        if self.link.blocked() {
            return Err(WriteFault::Blocked);
        }
        let work = async {
            let channel = self.channel().await?;
            let result = self.publish(&channel, body, ORDER_TYPE).await;
            tokio::spawn(close(channel));
            result
        };
        timeout(ORDER_PATIENCE.min(self.patience), work).await.unwrap_or_else(|_elapsed| Err(self.silent()))
    }

    /// Why no confirm comes. Of an alarm the broker tells a connection only when it publishes, so the first message
    /// waits in vain.
    fn silent(&self) -> WriteFault {
        if self.link.blocked() { WriteFault::Blocked } else { WriteFault::Silent }
    }

    async fn write(&self, open: &mut Option<Channel>, body: &[u8]) -> Result<(), WriteFault> {
        if self.link.blocked() {
            return Err(WriteFault::Blocked);
        }
        if open.as_ref().is_none_or(|channel| !channel.status().connected()) {
            *open = Some(self.channel().await?);
        }
        let Some(channel) = open else { return Err(WriteFault::Silent) };
        self.publish(channel, body, MESSAGE_TYPE).await
    }

    async fn channel(&self) -> Result<Channel, WriteFault> {
        let (channel, _) = self.link.channel().await.ok_or(WriteFault::Silent)?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(fault)?;
        Ok(channel)
    }

    async fn publish(&self, channel: &Channel, body: &[u8], kind: &'static str) -> Result<(), WriteFault> {
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into())
            .with_type(kind.into());
        let (exchange, key) = (short(self.queue.exchange.as_str()), self.queue.name.clone());
        let confirm = channel.basic_publish(exchange, key, options, body, properties).await.map_err(fault)?;
        match confirm.await.map_err(fault)? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) => {
                Err(WriteFault::Returned(no_route(&self.queue.exchange, self.queue.name.as_str())))
            }
            Confirmation::Nack(_) | Confirmation::NotRequested => Err(WriteFault::Refused),
        }
    }
}

fn fault(error: lapin::Error) -> WriteFault {
    WriteFault::Channel(in_words(&error, "write"))
}

async fn close(channel: Channel) {
    // An error means that it was lost already.
    let _ = timeout(CLOSE_TIMEOUT, channel.close(REPLY_SUCCESS, "OK".into())).await;
}
