//! Whether anybody works on what was enqueued, for `--follow`, which would wait in vain.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::amqp::takers::Takers;
use crate::cli::output::remark;
use crate::config::{AmqpSettings, QueueName};

/// Time between two looks. A service that was just started, or that changes over to another, has none for a moment, so one
/// look says nothing.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The last look must not keep whoever has interrupted the command.
const LAST_LOOK: Duration = Duration::from_secs(3);

/// Looks at the jobs queue while the outcomes are waited for, and says once if nobody takes from it.
#[derive(Debug)]
pub struct Watch {
    looking: JoinHandle<Takers>,
    stop: CancellationToken,
}

/// Whether somebody takes jobs from the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    Yes,
    No,
    Unknown,
}

impl Watch {
    /// `queue`: in which the jobs are.
    pub fn begin(settings: &AmqpSettings, queue: QueueName) -> Self {
        let stop = CancellationToken::new();
        Self { looking: tokio::spawn(look(Takers::new(settings), queue, stop.clone())), stop }
    }

    /// `is_asked`: whether it must be known how it is now.
    pub async fn end(self, is_asked: bool) -> Taken {
        self.stop.cancel();
        let Ok(mut takers) = self.looking.await else { return Taken::Unknown };
        let taken = match is_asked {
            true => Taken::of(timeout(LAST_LOOK, takers.count()).await.ok().flatten()),
            false => Taken::Unknown,
        };
        takers.close().await;
        taken
    }
}

impl Taken {
    fn of(takers: Option<u32>) -> Self {
        match takers {
            Some(0) => Self::No,
            Some(_) => Self::Yes,
            None => Self::Unknown,
        }
    }

    /// What becomes of the jobs that are not answered.
    pub fn of_the_rest(self, queue: &QueueName) -> String {
        match self {
            Self::Yes => "they are still worked on".to_owned(),
            Self::No => format!("they wait in {queue} until a service takes them (`association-archiver run`)"),
            Self::Unknown => format!("they stay in {queue} until a service has worked on them"),
        }
    }
}

async fn look(mut takers: Takers, queue: QueueName, stop: CancellationToken) -> Takers {
    let (mut before, mut is_said) = (Taken::Unknown, false);
    while stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
        let Some(count) = stop.run_until_cancelled(takers.count()).await else { break };
        let now = Taken::of(count);
        if now == Taken::No && before == Taken::No && !is_said {
            is_said = true;
            remark(&format!(
                "nobody takes jobs from {queue} now: start the service, `association-archiver run`; the jobs wait for it there"
            ));
        }
        if now == Taken::Yes && is_said {
            is_said = false;
            remark(&format!("jobs are taken from {queue} now"));
        }
        before = now;
    }
    takers
}
