//! Whether anybody takes jobs from a queue, for a command that waits for their answers.

use std::time::Duration;

use lapin::Connection;
use lapin::types::FieldTable;
use tokio::time::timeout;

use super::connection::{CLOSE_TIMEOUT, Dial, REPLY_SUCCESS};
use super::message::short;
use super::request::call;
use super::topology::PASSIVE;
use crate::config::{AmqpSettings, QueueName};

/// Looks at queues.
#[derive(Debug)]
pub struct Takers {
    dial: Dial,
    patience: Duration,
    /// `None` until it is needed, and after it was lost.
    connection: Option<Connection>,
}

impl Takers {
    pub fn new(settings: &AmqpSettings) -> Self {
        Self { dial: Dial::new(settings, "look"), patience: settings.connect_timeout, connection: None }
    }

    /// How many take from this queue now. `None`: the broker does not say.
    pub async fn count(&mut self, queue: &QueueName) -> Option<u32> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.dial.connect(self.patience).await.ok()?,
        };
        let queue = short(queue.as_str());
        let look = move |channel: lapin::Channel| async move {
            channel.queue_declare(queue, PASSIVE, FieldTable::default()).await
        };
        let found = call(&connection, look).await;
        // A look that was refused, as at a queue that is missing, costs only its channel.
        self.connection = Some(connection).filter(|connection| connection.status().connected());
        Some(found.ok()?.consumer_count())
    }

    /// Ends in time whatever the broker does.
    pub async fn close(self) {
        if let Some(connection) = self.connection {
            let _ = timeout(CLOSE_TIMEOUT, connection.close(REPLY_SUCCESS, "OK".into())).await;
        }
    }
}
