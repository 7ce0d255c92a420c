//! One request to the broker, on a channel of its own: the broker answers a missing queue or a missing right by closing
//! the channel.

use std::time::Duration;

use lapin::{Channel, Connection, ErrorKind};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::connection::{CALL_TIMEOUT, PRECONDITION_FAILED, REPLY_SUCCESS, reply_code, reply_text};

/// How long a request that its caller has given up is still waited for. A request to a queue without a majority of its
/// nodes may take minutes.
const LATE_ANSWER: Duration = Duration::from_secs(600);
/// How long a request waits for a channel number where all are taken, and how often it looks for one: requests beside it
/// may end soon.
const NUMBER_PATIENCE: Duration = Duration::from_secs(2);
const NUMBER_CHECK: Duration = Duration::from_millis(20);

/// Why a request has no answer.
#[derive(Debug)]
pub(super) enum CallFault {
    Broker(lapin::Error),
    Silent,
}

impl CallFault {
    /// The exchange that was declared exists, with another type than the one declared.
    pub(super) fn is_of_another_kind(&self) -> bool {
        self.is(PRECONDITION_FAILED) && self.words().contains("inequivalent arg 'type'")
    }

    pub(super) fn words(&self) -> String {
        match self {
            Self::Broker(error) => reply_text(error).unwrap_or_default(),
            Self::Silent => String::new(),
        }
    }

    pub(super) fn is(&self, code: u16) -> bool {
        match self {
            Self::Broker(error) => reply_code(error) == Some(code),
            Self::Silent => false,
        }
    }
}

/// Opens channels for callers that need not know the connection.
pub(super) trait Channels: Sync {
    /// A new channel, as soon as there is a connection; `None`: the link is closed.
    fn channel(&self) -> impl Future<Output = Option<Channel>> + Send;
}

/// One request on a channel of its own, of a link, which waits for its connection. `None`: the link is closed.
pub(super) async fn link_call<T, R>(
    link: &impl Channels,
    request: impl FnOnce(Channel) -> R,
) -> Option<Result<T, CallFault>>
where
    T: Send + 'static,
    R: Future<Output = lapin::Result<T>> + Send + 'static,
{
    let channel = link.channel().await?;
    Some(ask_and_close(channel, request, Instant::now() + CALL_TIMEOUT).await)
}

/// One request on a channel of its own.
pub(super) async fn call<T, R>(connection: &Connection, request: impl FnOnce(Channel) -> R) -> Result<T, CallFault>
where
    T: Send + 'static,
    R: Future<Output = lapin::Result<T>> + Send + 'static,
{
    let begun = Instant::now();
    let deadline = begun + CALL_TIMEOUT;
    let opening = async {
        loop {
            match open_channel(connection).await {
                Err(error) if is_out_of_numbers(&error) && begun.elapsed() < NUMBER_PATIENCE => {
                    sleep(NUMBER_CHECK).await;
                }
                opened => return opened,
            }
        }
    };
    match timeout_at(deadline, opening).await {
        Ok(Ok(channel)) => ask_and_close(channel, request, deadline).await,
        Ok(Err(error)) => Err(CallFault::Broker(error)),
        Err(_elapsed) => Err(CallFault::Silent),
    }
}

/// Opens a channel.
///
/// A number whose channel the broker has closed can never be used again on the connection: the library (lapin 4.12)
/// answers the next one who is given it with the error of the channel before, once, and then passes it over. A
/// connection has 2,047 numbers as a rule, which are given out in turns.
pub(super) async fn open_channel(connection: &Connection) -> lapin::Result<Channel> {
    for _ in 0..u16::MAX {
        match connection.create_channel().await {
            Err(error) if connection.status().connected() && !is_out_of_numbers(&error) => {
                tracing::debug!("a channel number that cannot be used again: {error}");
                // So that a limit of time holds also where the library answers at once.
                yield_now().await;
            }
            opened => return opened,
        }
    }
    Err(ErrorKind::ChannelsLimitReached.into())
}

/// Whether the connection has no number for another channel.
pub(super) fn is_out_of_numbers(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ChannelsLimitReached)
}

async fn ask_and_close<T, R>(
    channel: Channel,
    request: impl FnOnce(Channel) -> R,
    deadline: Instant,
) -> Result<T, CallFault>
where
    T: Send + 'static,
    R: Future<Output = lapin::Result<T>> + Send + 'static,
{
    let answer = request(channel.clone());
    let whole = async move {
        let answer = answer.await?;
        channel.close(REPLY_SUCCESS, "OK".into()).await?;
        Ok(answer)
    };
    ask(whole, deadline).await
}

/// Waits for a request until `deadline`, and then lets it go on without the caller.
///
/// A channel must not be closed, nor dropped, while a request on it is unanswered. If the broker answers by closing the
/// channel at the same moment, the library (lapin 4.12) takes one of the two closes for a fault of the whole
/// connection, and all that others do on the connection is lost. So the request is a task of its own, which
/// ends with the answer, also where the caller's own future is dropped.
pub(super) async fn ask<T: Send + 'static>(
    request: impl Future<Output = lapin::Result<T>> + Send + 'static,
    deadline: Instant,
) -> Result<T, CallFault> {
    match timeout_at(deadline, tokio::spawn(timeout(LATE_ANSWER, request))).await {
        Ok(Ok(Ok(answer))) => answer.map_err(CallFault::Broker),
        // The runtime ends, or nobody has waited for so long.
        Ok(Ok(Err(_)) | Err(_)) | Err(_) => Err(CallFault::Silent),
    }
}
