//! Whether anybody works on what was enqueued, for `--follow`, which would wait in vain.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::amqp::takers::Takers;
use crate::cli::output::remark;
use crate::config::{AmqpSettings, QueueName};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long the queue must be without a consumer before that is said. A service that was just started, that changes over
/// to another, or that holds as many bytes as it may, has none for some seconds.
const SAID_AFTER: Duration = Duration::from_secs(15);

/// The last look must not keep whoever has interrupted the command.
const LAST_LOOK: Duration = Duration::from_secs(3);

/// Looks at the queue while the outcomes are waited for, and says once if nobody takes from it.
#[derive(Debug)]
pub struct Watch {
    looking: JoinHandle<(Looks, Taken)>,
    stop: CancellationToken,
}

/// Looks at the queue in which the jobs are, and where nobody takes from it, at the jobs queue.
#[derive(Debug)]
struct Looks {
    takers: Takers,
    queue: QueueName,
    jobs_queue: QueueName,
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
        let looks = Looks { takers: Takers::new(settings), queue, jobs_queue: settings.jobs_queue.clone() };
        Self { looking: tokio::spawn(look(looks, stop.clone())), stop }
    }

    /// `is_asked`: whether it must be known how it is now.
    pub async fn end(self, is_asked: bool) -> Taken {
        self.stop.cancel();
        let Ok((mut looks, before)) = self.looking.await else { return Taken::Unknown };
        let taken = match is_asked {
            true => timeout(LAST_LOOK, looks.look()).await.unwrap_or(Taken::Unknown).or(before),
            false => Taken::Unknown,
        };
        looks.takers.close().await;
        taken
    }
}

impl Looks {
    async fn look(&mut self) -> Taken {
        let count = self.takers.count(&self.queue).await;
        let of_jobs = match count {
            Some(0) if self.queue != self.jobs_queue => self.takers.count(&self.jobs_queue).await,
            Some(_) | None => count,
        };
        Taken::of(count, of_jobs)
    }
}

impl Taken {
    /// By the consumers of the queue, and of the jobs queue. A service lets the background queue wait while it takes from
    /// the jobs queue; but one with shards has no background queue at all.
    fn of(takers: Option<u32>, of_jobs: Option<u32>) -> Self {
        match (takers, of_jobs) {
            (Some(0), Some(0)) => Self::No,
            (Some(0), Some(_) | None) | (None, _) => Self::Unknown,
            (Some(_), _) => Self::Yes,
        }
    }

    /// What is known by another look where this one says nothing.
    fn or(self, before: Self) -> Self {
        if self == Self::Unknown { before } else { self }
    }

    /// What becomes of the jobs that are not answered.
    pub fn of_the_rest(self, queue: &QueueName) -> String {
        match self {
            Self::Yes => "they are still worked on".to_owned(),
            Self::No => format!("those that are still in {queue} wait there"),
            Self::Unknown => format!("they stay in {queue} until a service has worked on them"),
        }
    }
}

/// Ends with what was seen last.
async fn look(mut looks: Looks, stop: CancellationToken) -> (Looks, Taken) {
    let (mut last, mut none_since, mut is_said) = (Taken::Unknown, None, false);
    while stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
        let Some(now) = stop.run_until_cancelled(looks.look()).await else { break };
        last = now;
        none_since = none_since.filter(|_| now == Taken::No);
        if now == Taken::No && none_since.get_or_insert_with(Instant::now).elapsed() >= SAID_AFTER && !is_said {
            is_said = true;
            remark(&format!(
                "no service is taking jobs from {} right now; if none runs, start it: `association-archiver run`",
                looks.queue
            ));
        }
        if now == Taken::Yes && is_said {
            is_said = false;
            remark(&format!("jobs are taken from {} now", looks.queue));
        }
    }
    (looks, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_worked_on_only_where_somebody_takes_from_their_own_queue() {
        for (takers, of_jobs, expected) in [
            (Some(1), Some(1), Taken::Yes),
            (Some(0), Some(0), Taken::No),
            // Of the background, which waits for live jobs or belongs to nobody.
            (Some(0), Some(1), Taken::Unknown),
            (Some(0), None, Taken::Unknown),
            (None, None, Taken::Unknown),
        ] {
            assert_eq!(Taken::of(takers, of_jobs), expected, "{takers:?} {of_jobs:?}");
        }
        assert_eq!(Taken::Unknown.or(Taken::No), Taken::No, "the look before");
        assert_eq!(Taken::Yes.or(Taken::No), Taken::Yes);
    }
}
