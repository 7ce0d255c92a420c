//! Publishing that ends only when the broker has confirmed every message.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation, PublisherConfirm};
use tokio::time::timeout;

use crate::client::{Client, REQUEST_LIMIT, close};
use crate::message::{Message, short};

/// Publishes not yet confirmed; more buys no speed and costs lapin memory.
const WINDOW: usize = 2_000;
/// A confirm that takes longer than two of the test brokers' heartbeats will not come.
const CONFIRM_LIMIT: Duration = Duration::from_secs(25);
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

impl Client {
    /// Publishes to `queue` through the default exchange; see [`Client::publish_to`].
    pub async fn publish(&self, queue: &str, messages: impl IntoIterator<Item = Message>) -> Result<usize> {
        self.publish_to("", queue, messages).await
    }

    /// Publishes, mandatory, until each message is confirmed, and returns how many there were.
    ///
    /// What a fault left unconfirmed, what the broker refused (a full queue) and what had no route is published again,
    /// for up to the client's patience. After a fault a message can therefore be in the queue twice. Messages that may
    /// find no route need a `message_id`, by which their return is matched.
    pub async fn publish_to(
        &self,
        exchange: &str,
        key: &str,
        messages: impl IntoIterator<Item = Message>,
    ) -> Result<usize> {
        let mut left: Vec<Message> = messages.into_iter().collect();
        let total = left.len();
        let end = Instant::now() + self.patience;
        while !left.is_empty() {
            let mut round = Round::new(exchange, key, &left);
            let reason = round.run(self).await.err();
            if let Some(reason) = &reason
                && reason.is::<NoIdentity>()
            {
                bail!("publish to {exchange:?} {key:?}: {reason}");
            }
            left = round.unconfirmed();
            if !left.is_empty() {
                if Instant::now() >= end {
                    let reason = reason.unwrap_or_else(|| anyhow!("refused, or without a route"));
                    return Err(reason.context(format!(
                        "{} of {total} messages to {exchange:?} {key:?} not confirmed within {:?}",
                        left.len(),
                        self.patience
                    )));
                }
                tokio::time::sleep(BETWEEN_TRIES).await;
            }
        }
        Ok(total)
    }
}

/// One pass over the messages on one channel.
struct Round<'a> {
    exchange: &'a str,
    key: &'a str,
    messages: &'a [Message],
    confirmed: Vec<bool>,
    /// lapin may hang a return on a neighbour's confirm, so only the union over the whole round tells who was returned.
    returned: HashSet<String>,
}

#[derive(Debug)]
struct NoIdentity;

impl std::fmt::Display for NoIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "a message without message_id found no route, so it cannot be told which: set an id or make the queue",
        )
    }
}

impl std::error::Error for NoIdentity {}

impl<'a> Round<'a> {
    fn new(exchange: &'a str, key: &'a str, messages: &'a [Message]) -> Self {
        Self { exchange, key, messages, confirmed: vec![false; messages.len()], returned: HashSet::new() }
    }

    async fn run(&mut self, client: &Client) -> Result<()> {
        let channel = client.channel().await?;
        timeout(REQUEST_LIMIT, channel.confirm_select(ConfirmSelectOptions::default())).await??;
        let mut open = VecDeque::with_capacity(WINDOW);
        let mut result = self.send(&channel, &mut open).await;
        // Also after an error: what was confirmed before it need not go again.
        while let Some((index, confirm)) = open.pop_front() {
            if let Err(error) = self.settle(index, confirm).await {
                result = Err(error);
            }
        }
        close(&channel).await;
        result
    }

    async fn send(&mut self, channel: &Channel, open: &mut VecDeque<(usize, PublisherConfirm)>) -> Result<()> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (exchange, key) = (short(self.exchange)?, short(self.key)?);
        for (index, message) in self.messages.iter().enumerate() {
            if open.len() >= WINDOW
                && let Some((index, confirm)) = open.pop_front()
            {
                self.settle(index, confirm).await?;
            }
            let properties = message.properties.clone();
            let publish = channel.basic_publish(exchange.clone(), key.clone(), options, &message.body, properties);
            let confirm = timeout(CONFIRM_LIMIT, publish).await.context("the connection takes no bytes")??;
            open.push_back((index, confirm));
        }
        Ok(())
    }

    async fn settle(&mut self, index: usize, confirm: PublisherConfirm) -> Result<()> {
        let confirmation = timeout(CONFIRM_LIMIT, confirm).await.context("no confirm from the broker")??;
        let returned = match confirmation {
            Confirmation::Ack(returned) => {
                if let Some(confirmed) = self.confirmed.get_mut(index) {
                    *confirmed = true;
                }
                returned
            }
            Confirmation::Nack(returned) => returned,
            Confirmation::NotRequested => bail!("the channel is not in confirm mode"),
        };
        if let Some(message) = returned {
            let id = message.delivery.properties.message_id().as_ref().ok_or_else(|| Error::new(NoIdentity))?;
            self.returned.insert(id.as_str().to_owned());
        }
        Ok(())
    }

    fn unconfirmed(&self) -> Vec<Message> {
        let states = self.messages.iter().zip(&self.confirmed);
        let left = states.filter(|(message, confirmed)| {
            !**confirmed || message.message_id().is_some_and(|id| self.returned.contains(id))
        });
        left.map(|(message, _)| message.clone()).collect()
    }
}
