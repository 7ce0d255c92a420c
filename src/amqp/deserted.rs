//! Queues that are there although no worker of these settings takes from them: the broker confirms to a producer what it
//! sends there, and nobody answers. So it is with a background queue where `amqp.shards` was set later, and with the
//! shards of a setting that was changed.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use lapin::types::ShortString;
use tokio::time::{Instant, sleep};

use super::health::Health;
use super::link::{Depth, Link};
use crate::config::{AmqpSettings, QueueName};
use crate::contract::grouped::Grouped;

/// How often those that are there are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// How often the background queue is looked for while it is not there: the broker logs each such look as an error.
const SEARCH_EVERY: Duration = Duration::from_secs(600);

/// How often the log says so again.
const TELL_EVERY: Duration = Duration::from_secs(600);

/// Shards of one setting were declared one after the other, so where this many are missing the others are, too. A look at
/// a queue that is missing costs a channel number for good.
const MOST_MISSING: usize = 2;

/// Those in which most jobs wait.
const MOST_WATCHED: usize = 100;

/// A queue of which this is so if it is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deserted {
    pub queue: QueueName,
    /// Why nobody takes from it, as half a sentence.
    pub cause: &'static str,
    /// What to do.
    pub mend: &'static str,
}

impl Deserted {
    fn background(settings: &AmqpSettings) -> Option<Self> {
        let cause = settings.background().err()?;
        Some(Self { queue: settings.deserted_background()?, cause, mend: MEND_BACKGROUND })
    }

    fn name(&self) -> ShortString {
        self.queue.as_str().into()
    }

    /// What to say of the queue. `None` where nothing waits in it, or somebody takes from it, such as a worker with other
    /// settings, who will answer.
    fn sentence(&self, depth: Depth) -> Option<String> {
        let Self { queue, cause, mend } = self;
        (depth.ready > 0 && depth.consumers == 0).then(|| {
            let count = Grouped(depth.ready);
            let jobs = if depth.ready == 1 { "1 job waits".to_owned() } else { format!("{count} jobs wait") };
            format!("{jobs} in queue {:?}, from which nobody takes, since {cause}: {mend}", queue.as_str())
        })
    }
}

const MEND_BACKGROUND: &str = "move them to the key \"jobs\" of the exchange, and delete the queue, so that producers are told that no queue takes what they send there";

const MEND_SHARD: &str = "let one worker run with the amqp.shards of before until the queue is empty, or move its messages to the key \"jobs\" of the exchange; then delete the queue and its lease queue";

/// Looks for all of them, with `look`, which tells what lies in a queue if it is there. Returns those that are there.
pub(super) async fn look_for<F: Future<Output = Option<Depth>>>(
    settings: &AmqpSettings,
    look: impl Fn(ShortString) -> F,
) -> Vec<(Deserted, Depth)> {
    let mut found = Vec::new();
    if let Some(background) = Deserted::background(settings)
        && let Some(depth) = look(background.name()).await
    {
        found.push((background, depth));
    }
    found.extend(look_for_shards(settings, look).await);
    found
}

async fn look_for_shards<F: Future<Output = Option<Depth>>>(
    settings: &AmqpSettings,
    look: impl Fn(ShortString) -> F,
) -> Vec<(Deserted, Depth)> {
    let mut found = Vec::new();
    for names in settings.shards.names_elsewhere(settings.jobs_queue.as_str()) {
        let mut missing = 0;
        for queue in names.iter().filter_map(|name| QueueName::new(name)) {
            let shard = Deserted { queue, cause: "it is no shard by the present amqp.shards", mend: MEND_SHARD };
            match look(shard.name()).await {
                Some(depth) => found.push((shard, depth)),
                None => missing += 1,
            }
            if missing >= MOST_MISSING {
                break;
            }
        }
    }
    found
}

/// Warns as long as jobs wait in such a queue and nobody takes them. Shards are searched for once; the background queue,
/// if there must be none, again and again.
pub(super) async fn watch(link: Arc<Link>, settings: &AmqpSettings, health: Arc<Health>) {
    let look = |queue| {
        let link = Arc::clone(&link);
        async move { link.depths(&[queue]).await.pop().flatten() }
    };
    let mut shards = Shards::found(look_for_shards(settings, look).await);
    let background = Deserted::background(settings);
    let mut search_at = Instant::now();
    let mut told: Option<Instant> = None;
    loop {
        let mut sentences = Vec::new();
        if let Some(background) = background.as_ref().filter(|_| search_at <= Instant::now()) {
            let depth = link.depths(&[background.name()]).await.pop().flatten();
            sentences.extend(depth.and_then(|depth| background.sentence(depth)));
            search_at = Instant::now() + if depth.is_some() { Duration::ZERO } else { SEARCH_EVERY };
        }
        shards.look(&link, settings.jobs_queue.as_str().into()).await;
        sentences.extend(shards.sentence());
        if sentences.is_empty() {
            told = None;
            health.deserted.clear();
        } else {
            let sentence = sentences.join("; also, ");
            if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                tracing::warn!("{sentence}");
                told = Some(Instant::now());
            }
            health.deserted.set(sentence);
        }
        if background.is_none() && shards.0.is_empty() {
            return;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Shards that are left from another setting, with what lies in them, and how many looks in a row did not find them.
struct Shards(Vec<(Deserted, Depth, usize)>);

impl Shards {
    fn found(mut found: Vec<(Deserted, Depth)>) -> Self {
        found.sort_by_key(|(_, depth)| Reverse(depth.ready));
        found.truncate(MOST_WATCHED);
        Self(found.into_iter().map(|(shard, depth)| (shard, depth, 0)).collect())
    }

    /// Those that were deleted are looked at no more. While the jobs queue cannot be seen either, nobody can say, and what
    /// was seen last stands.
    async fn look(&mut self, link: &Link, jobs_queue: ShortString) {
        if self.0.is_empty() {
            return;
        }
        let names: Vec<_> = self.0.iter().map(|(shard, ..)| shard.name()).chain([jobs_queue]).collect();
        let depths = link.depths(&names).await;
        if depths.last().is_none_or(Option::is_none) {
            return;
        }
        for ((_, seen, missing), depth) in self.0.iter_mut().zip(depths) {
            *missing = if depth.is_some() { 0 } else { *missing + 1 };
            *seen = depth.unwrap_or(*seen);
        }
        // The first look in vain may be due to a connection that was lost just then.
        self.0.retain(|(.., missing)| *missing < 2);
    }

    /// One sentence for all of them.
    fn sentence(&self) -> Option<String> {
        let mut waiting = self.0.iter().filter_map(|(shard, depth, _)| Some((shard.sentence(*depth)?, depth.ready)));
        let (first, _) = waiting.next()?;
        let others: Vec<u64> = waiting.map(|(_, ready)| ready).collect();
        Some(match (others.len(), Grouped(others.iter().sum())) {
            (0, _) => first,
            (1, jobs) => format!("{first}; and so it is with 1 other queue ({jobs} waiting)"),
            (queues, jobs) => format!("{first}; and so it is with {queues} other queues ({jobs} waiting)"),
        })
    }
}
