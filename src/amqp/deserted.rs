//! A background queue that is there although no worker takes from it, as where `amqp.shards` was set later: the broker
//! confirms to a producer what it sends there, and nobody answers.

use std::sync::Arc;
use std::time::Duration;

use lapin::types::ShortString;
use tokio::time::{Instant, sleep};

use super::health::Health;
use super::link::{Depth, Link};
use crate::config::AmqpSettings;
use crate::contract::grouped::Grouped;

/// How often the queue is looked at while it is there.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// How often it is looked for while it is not there: the broker logs each such look as an error.
const SEARCH_EVERY: Duration = Duration::from_secs(600);

/// How often the log says so again.
const TELL_EVERY: Duration = Duration::from_secs(600);

/// Watches the queue, if there must be none; else ends at once.
pub(super) async fn watch(link: Arc<Link>, settings: &AmqpSettings, health: Arc<Health>) {
    let (Some(name), Err(cause)) = (settings.deserted_background(), settings.background()) else { return };
    let queue = [ShortString::from(name.as_str())];
    let mut told: Option<Instant> = None;
    loop {
        let depth = link.depths(&queue).await.into_iter().next().flatten();
        match depth.and_then(|depth| sentence(name.as_str(), cause, depth)) {
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

/// What to say of the queue. `None` where nothing waits in it, or somebody takes from it, such as a worker with other
/// settings, who will answer.
fn sentence(queue: &str, cause: &str, depth: Depth) -> Option<String> {
    (depth.ready > 0 && depth.consumers == 0).then(|| {
        let count = Grouped(depth.ready);
        let jobs = if depth.ready == 1 { "1 job waits".to_owned() } else { format!("{count} jobs wait") };
        format!("{jobs} in queue {queue:?}, from which nobody takes, since {cause}: {MEND}")
    })
}

/// What to do.
pub const MEND: &str = "move them to the key \"jobs\" of the exchange, and delete the queue, so that producers are told that no queue takes what they send there";
