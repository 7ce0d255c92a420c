//! Queues that are there although no worker of these settings takes from them: the broker confirms to a producer what it
//! sends there, and nobody answers. So it is with a background queue where `amqp.shards` was set later, and with the
//! shards of a setting that was changed.

use std::sync::Arc;
use std::time::Duration;

use lapin::types::ShortString;
use tokio::time::{Instant, sleep};

use super::health::Health;
use super::link::{Depth, Link};
use crate::config::{AmqpSettings, QueueName};
use crate::contract::grouped::Grouped;

/// How often the background queue is looked at while it is there.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// How often it is looked for while it is not there: the broker logs each such look as an error.
const SEARCH_EVERY: Duration = Duration::from_secs(600);

/// How often the log says so again.
const TELL_EVERY: Duration = Duration::from_secs(600);

/// Shards of one setting were declared one after the other, so where this many are missing the others are, too. A look at
/// a queue that is missing costs a channel number for good.
const MOST_MISSING: usize = 2;

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

/// Says once of shards that are left from another setting that jobs wait in them. Then watches the background queue, if
/// there must be none; else it ends.
pub(super) async fn watch(link: Arc<Link>, settings: &AmqpSettings, health: Arc<Health>) {
    let look = |queue| {
        let link = Arc::clone(&link);
        async move { link.depths(&[queue]).await.pop().flatten() }
    };
    let shards = look_for_shards(settings, look).await;
    for sentence in shards.iter().filter_map(|(shard, depth)| shard.sentence(*depth)) {
        tracing::warn!("{sentence}");
    }
    let Some(background) = Deserted::background(settings) else { return };
    let queue = [background.name()];
    let mut told: Option<Instant> = None;
    loop {
        let depth = link.depths(&queue).await.into_iter().next().flatten();
        match depth.and_then(|depth| background.sentence(depth)) {
            Some(sentence) => {
                if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                    tracing::warn!("{sentence}");
                    told = Some(Instant::now());
                }
                health.deserted.set(sentence);
            }
            None => {
                told = None;
                health.deserted.clear();
            }
        }
        sleep(if depth.is_some() { LOOK_EVERY } else { SEARCH_EVERY }).await;
    }
}
