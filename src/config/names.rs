//! Names of queues and exchanges.

use std::fmt;
use std::sync::Arc;

/// A queue in the broker.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct QueueName(Arc<str>);

/// The exchange that the worker publishes to.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Exchange {
    /// It leads to every queue by that queue's name. The broker lets nobody declare it or bind a queue to it.
    Default,
    Named(ExchangeName),
}

/// The name of an exchange; never of the default exchange, which is empty.
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

impl Exchange {
    /// What RabbitMQ calls the default exchange in its rights. For variables: an empty one sets nothing.
    pub const DEFAULT: &str = "amq.default";

    /// Empty text is the default exchange. `None` for what no exchange can be called.
    pub fn new(text: &str) -> Option<Self> {
        match text {
            "" | Self::DEFAULT => Some(Self::Default),
            name => ExchangeName::new(name).map(Self::Named),
        }
    }

    /// As AMQP has it: empty for the default exchange.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Default => "",
            Self::Named(name) => name.as_str(),
        }
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

/// For sentences.
impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "the default exchange ({})", Self::DEFAULT),
            Self::Named(name) => write!(f, "exchange {:?}", name.as_str()),
        }
    }
}

fn is_name(text: &str, max_bytes: usize) -> bool {
    (1..=max_bytes).contains(&text.len()) && !text.starts_with("amq.") && !text.chars().any(char::is_control)
}
