//! Messages that the worker published and that came back to it as jobs, round and round.
//!
//! That happens where the jobs queue is bound to more than its own keys, where the exchange is no direct one, or where
//! another queue or program passes on to the jobs queue what the worker wrote elsewhere. The broker does not tell a
//! client of its bindings, so the worker knows it by its own messages. An answer to one would make the next one, until
//! the broker's disk is full.
//!
//! Only what was published after this process began counts: whoever has mended the cause and starts the worker again is
//! not stopped by what is left of it in the queue.

use jiff::Timestamp;

use super::message::Properties;
use super::route::{BACKGROUND_KEY, JOBS_KEY, is_portal_key};
use crate::config::Exchange;
use crate::contract::message::{DEAD_LETTERED, OUTCOME_TYPE, PARKED, REJECTED_AT};
use crate::contract::time;
use crate::shards::QueueIndex;

/// A dead letter may be put back by hand, and become one again. Where it comes back this many times, a program
/// moves it.
const MOST_RETURNS: i64 = 3;

/// Where a delivery comes from, as the broker tells.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    pub exchange: &'a str,
    pub routing_key: &'a str,
}

/// Knows the worker's own messages.
#[derive(Clone, Debug)]
pub struct Echo {
    exchange: Exchange,
    jobs_queue: String,
    /// The key that leads to the queue besides its name.
    key: &'static str,
    began: Timestamp,
}

impl Echo {
    pub fn new(exchange: Exchange, queue: QueueIndex, jobs_queue: &str, began: Timestamp) -> Self {
        let key = if queue == QueueIndex::BACKGROUND { BACKGROUND_KEY } else { JOBS_KEY };
        Self { exchange, jobs_queue: jobs_queue.to_owned(), key, began }
    }

    /// Why this delivery must end the intake, in a sentence that says how to mend it; `None` for a job.
    pub fn heard(&self, properties: &Properties, origin: Origin<'_>) -> Option<String> {
        let is_of_jobs =
            |key: &str| [JOBS_KEY, BACKGROUND_KEY, self.jobs_queue.as_str()].contains(&key) || is_portal_key(key);
        let astray = origin.exchange == self.exchange.as_str() && !is_of_jobs(origin.routing_key);
        let what = if self.is_outcome(properties) {
            "an outcome"
        } else if self.is_dead_letter(properties) && astray {
            "a dead letter"
        } else if self.is_parked(properties) && astray {
            "a job that was put into a delay queue"
        } else if self.is_dead_letter(properties) && returns(properties) >= MOST_RETURNS {
            return Some(format!(
                "a dead letter has come back to the jobs queue {MOST_RETURNS} times without being redriven: something moves \
                 dead letters there without end; stop it, use the command dead-letters redrive instead, and start the \
                 worker again"
            ));
        } else {
            return None;
        };
        let Origin { exchange, routing_key } = origin;
        let (own, jobs) = (&self.exchange, &self.jobs_queue);
        let unbind = match own {
            Exchange::Default => String::new(),
            Exchange::Named(_) => format!(
                "unbind queue {jobs:?} from all keys of {own} but {:?} and {jobs:?}, see that the exchange is direct, ",
                self.key
            ),
        };
        Some(format!(
            "{what} of this worker has come back as a job, through exchange {exchange:?} with key {routing_key:?}: {unbind}\
             see that nothing passes dead letters or outcomes on to the jobs queue, and start the worker again"
        ))
    }

    fn is_outcome(&self, properties: &Properties) -> bool {
        let published = properties.timestamp().and_then(|seconds| i64::try_from(seconds).ok());
        properties.kind() == Some(OUTCOME_TYPE) && published.is_some_and(|seconds| seconds >= self.began.as_second())
            || properties.kind() == Some(OUTCOME_TYPE) && self.is_dead_letter(properties)
    }

    fn is_dead_letter(&self, properties: &Properties) -> bool {
        let made = properties.text_header(REJECTED_AT).and_then(|text| time::parse(&text));
        made.is_some_and(|made| made >= self.began)
    }

    fn is_parked(&self, properties: &Properties) -> bool {
        properties.integer_header(PARKED).is_some_and(|millis| millis >= self.began.as_millisecond())
    }
}

fn returns(properties: &Properties) -> i64 {
    properties.integer_header(DEAD_LETTERED).unwrap_or(0)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use lapin::BasicProperties;
    use lapin::types::{AMQPValue, FieldTable};

    use super::*;

    const BEGAN: i64 = 1_800_000_000;

    fn heard(properties: BasicProperties, headers: &[(&str, AMQPValue)], exchange: &str, routing_key: &str) -> bool {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert((*name).into(), value.clone());
        }
        let own = Exchange::new("own").unwrap();
        let echo = Echo::new(own, QueueIndex::SHARED, "jobs-queue", Timestamp::from_second(BEGAN).unwrap());
        let properties = Properties::new(properties.with_headers(table));
        echo.heard(&properties, Origin { exchange, routing_key }).is_some()
    }

    fn rejected_at(seconds: i64) -> (&'static str, AMQPValue) {
        let mut text = Vec::new();
        time::write(Timestamp::from_second(seconds).unwrap(), &mut text);
        (REJECTED_AT, AMQPValue::LongString(text.into()))
    }

    #[test]
    fn an_outcome_of_this_process_is_known_wherever_it_comes_from() {
        let outcome = |seconds| BasicProperties::default().with_type(OUTCOME_TYPE.into()).with_timestamp(seconds);
        for (exchange, key) in [("own", "results"), ("own", "jobs-queue"), ("", "jobs-queue"), ("other", "x")] {
            assert!(heard(outcome(1_800_000_000), &[], exchange, key), "{exchange} {key}");
            assert!(!heard(outcome(1_799_999_999), &[], exchange, key), "an older one, from {exchange} {key}");
        }
        let twice = [rejected_at(BEGAN)];
        assert!(heard(outcome(1_799_999_999), &twice, "", "jobs-queue"), "its dead letter comes back too");
    }

    #[test]
    fn a_dead_letter_may_be_put_back_by_hand_and_not_by_a_binding() {
        let plain = BasicProperties::default;
        let count = |times| (DEAD_LETTERED, AMQPValue::LongLongInt(times));
        assert!(!heard(plain(), &[rejected_at(BEGAN), count(1)], "", "jobs-queue"));
        assert!(!heard(plain(), &[rejected_at(BEGAN), count(1)], "own", "jobs"));
        assert!(!heard(plain(), &[rejected_at(BEGAN), count(1)], "own", "jobs.4711"));
        assert!(heard(plain(), &[rejected_at(BEGAN), count(1)], "own", "dead-letters"));
        assert!(!heard(plain(), &[rejected_at(BEGAN - 1), count(1)], "own", "dead-letters"), "of an earlier process");
        assert!(!heard(plain(), &[rejected_at(BEGAN), count(2)], "", "jobs-queue"));
        assert!(heard(plain(), &[rejected_at(BEGAN), count(3)], "", "jobs-queue"));
        assert!(!heard(plain(), &[rejected_at(BEGAN - 1), count(3)], "", "jobs-queue"));
    }

    #[test]
    fn a_parked_job_comes_back_under_the_key_of_the_jobs_queue() {
        let parked = [(PARKED, AMQPValue::LongLongInt(BEGAN * 1_000))];
        assert!(!heard(BasicProperties::default(), &parked, "own", "jobs-queue"));
        assert!(heard(BasicProperties::default(), &parked, "own", "jobs-queue.delay.1m"));
    }
}
