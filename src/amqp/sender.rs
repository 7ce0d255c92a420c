//! Publishing for a command: with the same proof as always, but each message once, whatever comes of it.

use std::time::Duration;

use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Connection};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::barrier::{Fate, Published};
use super::connection::{
    ACCESS_REFUSED, CALL_TIMEOUT, CLOSE_TIMEOUT, ConnectFault, Dial, GRANT, NOT_FOUND, REPLY_SUCCESS, reply_code,
    reply_text,
};
use super::message::Outgoing;
use super::publishing_task::publish_once;
use super::route::no_route;
use super::topology::Topology;
use crate::config::{AmqpSettings, Exchange};

/// Longest wait for the confirms of one call.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(60);

/// When the command is told to stop, it waits for this long for confirms that are on their way.
const LAST_CONFIRMS: Duration = Duration::from_secs(2);
/// How often it is then checked whether an alarm of the broker makes waiting pointless.
const BLOCKED_CHECK: Duration = Duration::from_millis(100);

/// A connection that publishes and declares nothing.
#[derive(Debug)]
pub struct Sender {
    connection: Connection,
    channel: Channel,
    topology: Topology,
    stop: CancellationToken,
}

/// What became of the messages of one call.
#[derive(Debug)]
pub struct Sent {
    /// For each message, in order: the proof that the broker has it, or `None`.
    pub proofs: Vec<Option<Published>>,
    /// Why there are some without proof.
    pub fault: Option<SendFault>,
}

/// Why messages are not published, in one line that says how to mend it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendFault {
    #[error(transparent)]
    Connect(#[from] ConnectFault),
    #[error(
        "{}: start the worker once, which declares what is missing, or create the queue and its binding",
        no_route(.exchange, .key)
    )]
    NoQueue { exchange: Exchange, key: String },
    #[error(
        "{exchange} does not exist: start the worker once, which declares what is missing, or create it (amqp.exchange)"
    )]
    NoExchange { exchange: Exchange },
    #[error("the broker's user may not publish to {exchange}: {cause}; {grant}", grant = GRANT)]
    NoRight { exchange: Exchange, cause: String },
    #[error("the broker refuses messages with key {key:?}: their queue is full or at fault; make room there")]
    Refused { key: String },
    #[error(
        "the broker blocks publishing by a memory or disk alarm: free its memory or disk; what was sent last may be published later"
    )]
    Blocked,
    #[error("the broker has not confirmed within {} s; what was sent last may or may not be published", CONFIRM_TIMEOUT.as_secs())]
    Silent,
    #[error("stopped by a signal, while the broker had not confirmed; what was sent last may be published later")]
    Stopped,
    #[error("the connection to the broker broke: {cause}; what was sent last may or may not be published")]
    Lost { cause: String },
}

impl SendFault {
    /// Whether the broker has refused a message, and all that came after it on the channel: of a single one it is then sure
    /// that it is not there.
    pub fn refuses(&self) -> bool {
        match self {
            Self::NoExchange { .. } | Self::NoRight { .. } => true,
            Self::Connect(_)
            | Self::NoQueue { .. }
            | Self::Refused { .. }
            | Self::Blocked
            | Self::Silent
            | Self::Stopped
            | Self::Lost { .. } => false,
        }
    }
}

impl Sender {
    /// Tries once. `stop` ends it, and each later call, within seconds.
    pub async fn open(settings: &AmqpSettings, stop: &CancellationToken) -> Result<Self, SendFault> {
        let dial = Dial::new(settings, "send");
        let connecting = stop.run_until_cancelled(dial.connect(settings.connect_timeout)).await;
        let connection = connecting.ok_or(SendFault::Stopped)??;
        let topology = Topology::new(settings);
        let open = async {
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok(channel)
        };
        let channel = match timeout(CALL_TIMEOUT, open).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(fault_of(&error, &topology)),
            Err(_elapsed) => return Err(SendFault::Silent),
        };
        Ok(Self { connection, channel, topology, stop: stop.clone() })
    }

    /// Publishes all and waits for all confirms. The error: nothing is known of any of them.
    ///
    /// Keep a call below some 1,000 messages and some MiB: all of it is in memory twice meanwhile.
    pub async fn send(&self, messages: &[Outgoing]) -> Result<Sent, SendFault> {
        let publishing = timeout(CONFIRM_TIMEOUT, publish_once(&self.channel, &self.topology, messages));
        let published = tokio::select! {
            published = publishing => published,
            () = self.stopped() => return Err(SendFault::Stopped),
        };
        let fates = match published {
            Ok(Ok(fates)) => fates,
            Ok(Err(error)) => return Err(fault_of(&error, &self.topology)),
            Err(_elapsed) if self.connection.status().blocked() => return Err(SendFault::Blocked),
            Err(_elapsed) => return Err(SendFault::Silent),
        };
        let mut fault = None;
        let proofs = fates.into_iter().zip(messages).map(|(fate, message)| match fate {
            Ok(proof) => Some(proof),
            Err(fate) => {
                fault.get_or_insert((fate, message));
                None
            }
        });
        let proofs = proofs.collect();
        let fault = fault.map(|(fate, message)| self.explain(fate, message));
        Ok(Sent { proofs, fault })
    }

    /// Told to stop, with time for the last confirms where the broker takes anything at all.
    async fn stopped(&self) {
        self.stop.cancelled().await;
        let blocked = async {
            while !self.connection.status().blocked() {
                sleep(BLOCKED_CHECK).await;
            }
        };
        let _ = timeout(LAST_CONFIRMS, blocked).await;
    }

    /// Ends within 3 s whatever the broker does.
    pub async fn close(self) {
        // An error means that the connection was lost already.
        let _ = timeout(CLOSE_TIMEOUT, self.connection.close(REPLY_SUCCESS, "OK".into())).await;
    }

    fn explain(&self, fate: Fate, message: &Outgoing) -> SendFault {
        let key = self.topology.key(message.route).to_string();
        match fate {
            Fate::Returned => SendFault::NoQueue { exchange: self.topology.exchange().clone(), key },
            Fate::Refused | Fate::Safe(_) => SendFault::Refused { key },
        }
    }
}

fn fault_of(error: &lapin::Error, topology: &Topology) -> SendFault {
    let exchange = topology.exchange().clone();
    match reply_code(error) {
        Some(NOT_FOUND) => SendFault::NoExchange { exchange },
        Some(ACCESS_REFUSED) => SendFault::NoRight { exchange, cause: reply_text(error).unwrap_or_default() },
        Some(_) | None => SendFault::Lost { cause: error.to_string() },
    }
}
