//! Queues that somebody deleted while the worker ran, and that it has declared again: what was in them is lost.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use jiff::Timestamp;

use crate::contract::grouped::Grouped;

/// Shared by those who look at queues, those who declare them, and those who tell; its locks are held for a moment only.
#[derive(Debug, Default)]
pub struct LostQueues {
    /// The two latest looks at each queue. The latest may have seen the new one already.
    looks: Mutex<HashMap<String, [Option<Counted>; 2]>>,
    lost: Mutex<Vec<LostQueue>>,
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    at: Instant,
    messages: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostQueue {
    pub queue: String,
    /// How often, since the start.
    pub times: u64,
    /// What was in it when last looked at before the latest time; `None` where nobody has looked.
    pub messages: Option<u64>,
    pub last_at: Timestamp,
}

impl LostQueues {
    /// Most queues kept; the one that was lost longest ago is forgotten first.
    const MOST: usize = 20;

    /// A look at a queue that is there.
    pub fn seen(&self, queue: &str, messages: u64, at: Instant) {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let [_, before] = looks.get(queue).copied().unwrap_or_default();
        looks.insert(queue.to_owned(), [before, Some(Counted { at, messages })]);
    }

    /// A queue was gone, and is declared again since some time after `begun`. Returns how many messages were in it, as
    /// far as that is known.
    pub fn declared_again(&self, queue: &str, begun: Instant, now: Timestamp) -> Option<u64> {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner).remove(queue).unwrap_or_default();
        let messages = looks.into_iter().flatten().rfind(|look| look.at < begun).map(|look| look.messages);
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let before = lost.iter().position(|known| known.queue == queue).map(|place| lost.remove(place));
        if lost.len() >= Self::MOST {
            lost.remove(0);
        }
        let times = before.map_or(0, |before| before.times) + 1;
        lost.push(LostQueue { queue: queue.to_owned(), times, messages, last_at: now });
        messages
    }

    /// In the order in which they were lost last.
    pub fn read(&self) -> Vec<LostQueue> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What has become of the messages that were in a queue.
pub fn loss(messages: Option<u64>) -> String {
    match messages {
        None => "the messages that were in it are lost".to_owned(),
        Some(0) => "it was empty when last looked at".to_owned(),
        Some(1) => "about 1 message that was in it when last looked at is lost".to_owned(),
        Some(messages) => {
            format!("about {} messages that were in it when last looked at are lost", Grouped(messages))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_in_a_queue_is_what_was_seen_before_it_was_declared_again() {
        let queues = LostQueues::default();
        let (start, at) = (Instant::now(), |seconds| Timestamp::from_second(seconds).unwrap_or_default());
        let later = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(queues.declared_again("results", start, at(1)), None, "nobody has looked");
        queues.seen("results", 9_000, later(3));
        queues.seen("results", 12_900, later(6));
        // A look at the new queue comes before it is told of.
        queues.seen("results", 0, later(9));
        assert_eq!(queues.declared_again("results", later(8), at(9)), Some(12_900));
        assert_eq!(queues.declared_again("results", later(10), at(10)), None, "of the next one nothing is known");
        let told: Vec<_> = queues.read().into_iter().map(|lost| (lost.times, lost.messages, lost.last_at)).collect();
        assert_eq!(told, [(3, None, at(10))]);
        for number in 0..100 {
            queues.declared_again(&format!("queue {number}"), start, at(11));
        }
        assert_eq!(queues.read().len(), LostQueues::MOST);
        assert_eq!(loss(Some(12_900)), "about 12,900 messages that were in it when last looked at are lost");
    }
}
