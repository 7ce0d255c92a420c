//! Names of queues and exchanges.

use std::fmt;
use std::sync::Arc;

/// A queue in the broker.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct QueueName(Arc<str>);

/// An exchange in the broker; never the default exchange, whose name is empty.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ExchangeName(Arc<str>);

impl QueueName {
    /// AMQP's 255 bytes, less what the names of the delay queues add.
    pub const MAX_BYTES: usize = 255 - ".delay.10s".len();

    /// `None` for what a broker would refuse: empty, too long, control characters, the reserved prefix `amq.`.
    pub fn new(text: &str) -> Option<Self> {
        is_name(text, Self::MAX_BYTES).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ExchangeName {
    /// AMQP's longest short string.
    pub const MAX_BYTES: usize = 255;

    /// `None` for what a broker would refuse: empty, too long, control characters, the reserved prefix `amq.`.
    pub fn new(text: &str) -> Option<Self> {
        is_name(text, Self::MAX_BYTES).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ExchangeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_name(text: &str, max_bytes: usize) -> bool {
    (1..=max_bytes).contains(&text.len()) && !text.starts_with("amq.") && !text.chars().any(char::is_control)
}
