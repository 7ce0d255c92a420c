//! What went to the dead letters, by cause, since the start: rejected messages, and jobs whose retries were exhausted.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use crate::contract::text::{MESSAGE_MAX_BYTES, TEXT_MAX_BYTES, cut};
use crate::engine::status::write_time;

/// Shared by those who publish dead letters and those who show them; its lock is held for a moment only.
#[derive(Debug, Default)]
pub struct DeadLetterCauses(Mutex<Vec<Entry>>);

/// The dead letters of one cause.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterCause {
    /// As in the header `x-reject-category`.
    pub category: String,
    /// Since the start.
    pub messages: u64,
    /// The reason given for the latest, as in the header `x-reject-message`.
    pub message: String,
    /// [`LetterIds::shown`] of the latest, at most [`DeadLetterCauses::MAX_IDS`]; the newest last.
    pub ids: Vec<String>,
    #[serde(serialize_with = "write_time")]
    pub last_at: Timestamp,
}

#[derive(Debug)]
struct Entry {
    cause: DeadLetterCause,
    told: Option<Instant>,
    untold: u64,
    /// Of the latest message.
    latest: LetterIds,
}

/// By which a dead letter is found again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LetterIds {
    pub job: Option<String>,
    /// `message_id`, else `correlation_id`.
    pub message: Option<String>,
}

impl LetterIds {
    /// As `dead-letters list` shows it.
    fn shown(&self) -> Option<&String> {
        self.job.as_ref().or(self.message.as_ref())
    }
}

/// The late log line about the latest dead letter of a cause. No line was written about that one when it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Overdue {
    pub category: String,
    pub message: String,
    pub ids: LetterIds,
    /// Those before it that have no line either.
    pub repeated: u64,
}

/// The same cause is logged once in this time.
const TELL_EVERY: Duration = Duration::from_secs(10);

impl DeadLetterCauses {
    /// At most this many ids are kept for each cause, those of its latest dead letters.
    pub const MAX_IDS: usize = 5;

    /// Causes are the worker's own words, a dozen at most. Were there more than this, further
    /// ones would be counted with the last.
    const MAX_CAUSES: usize = 20;

    /// Counts one more dead letter. `Some` where a log line is due; it has the number of dead letters that were not
    /// told since the last line.
    pub fn note(&self, category: &str, message: &str, ids: &LetterIds, at: Timestamp, now: Instant) -> Option<u64> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = entries.iter().position(|entry| entry.cause.category == category);
        let place = known.or_else(|| (entries.len() >= Self::MAX_CAUSES).then(|| entries.len() - 1));
        let place = place.unwrap_or_else(|| {
            entries.push(Entry::new(cut(category, TEXT_MAX_BYTES), at));
            entries.len() - 1
        });
        let Entry { cause, told, untold, latest } = entries.get_mut(place)?;
        cause.messages += 1;
        cause.message = cut(message, MESSAGE_MAX_BYTES).to_owned();
        cause.last_at = at;
        latest.clone_from(ids);
        if let Some(id) = ids.shown() {
            if cause.ids.len() >= Self::MAX_IDS {
                cause.ids.remove(0);
            }
            cause.ids.push(id.clone());
        }
        if told.is_some_and(|told| now.saturating_duration_since(told) < TELL_EVERY) {
            *untold += 1;
            return None;
        }
        *told = Some(now);
        Some(std::mem::take(untold))
    }

    /// The lines that are due although nothing new came. Called once a second, it leaves no dead letter untold for much
    /// longer than [`TELL_EVERY`].
    pub fn overdue(&self, now: Instant) -> Vec<Overdue> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = entries.iter_mut().filter_map(|Entry { cause, told, untold, latest }| {
            let repeated = untold.checked_sub(1)?;
            if told.is_some_and(|told| now.saturating_duration_since(told) < TELL_EVERY) {
                return None;
            }
            (*told, *untold) = (Some(now), 0);
            let (category, message) = (cause.category.clone(), cause.message.clone());
            Some(Overdue { category, message, ids: latest.clone(), repeated })
        });
        due.collect()
    }

    /// The most frequent first.
    pub fn read(&self) -> Vec<DeadLetterCause> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut causes: Vec<DeadLetterCause> = entries.iter().map(|entry| entry.cause.clone()).collect();
        causes.sort_by(|a, b| b.messages.cmp(&a.messages).then_with(|| a.category.cmp(&b.category)));
        causes
    }
}

impl Entry {
    fn new(category: &str, at: Timestamp) -> Self {
        let (category, message) = (category.to_owned(), String::new());
        let cause = DeadLetterCause { category, messages: 0, message, ids: Vec::new(), last_at: at };
        Self { cause, told: None, untold: 0, latest: LetterIds::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(message: Option<&str>) -> LetterIds {
        LetterIds { job: None, message: message.map(str::to_owned) }
    }

    #[test]
    fn each_cause_has_its_count_its_latest_ids_and_a_line_in_a_while() {
        let causes = DeadLetterCauses::default();
        let begun = Instant::now();
        let note = |category, id: &str, seconds| {
            let now = begun + Duration::from_secs(seconds);
            causes.note(category, "jobId is missing", &ids(Some(id)), Timestamp::UNIX_EPOCH, now)
        };
        assert_eq!(note("MALFORMED_JOB", "a", 0), Some(0));
        for id in ["b", "c", "d", "e", "f"] {
            assert_eq!(note("MALFORMED_JOB", id, 1), None);
        }
        assert_eq!(note("UNKNOWN_PORTAL", "x", 1), Some(0), "another cause has lines of its own");
        assert_eq!(note("MALFORMED_JOB", "g", 10), Some(5));

        let read = causes.read();
        assert_eq!((read[0].category.as_str(), read[0].messages), ("MALFORMED_JOB", 7));
        assert_eq!(read[0].ids, ["c", "d", "e", "f", "g"]);
        assert_eq!((read[1].category.as_str(), read[1].messages), ("UNKNOWN_PORTAL", 1));
    }

    #[test]
    fn what_has_no_line_when_it_comes_is_told_soon_after_though_nothing_more_comes() {
        let causes = DeadLetterCauses::default();
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        for id in [Some("a"), Some("b"), None] {
            causes.note("MALFORMED_JOB", "jobId is missing", &ids(id), Timestamp::UNIX_EPOCH, begun);
        }
        causes.note("UNKNOWN_PORTAL", "portalId", &ids(Some("x")), Timestamp::UNIX_EPOCH, begun);
        assert_eq!(causes.overdue(at(9)), []);
        let (category, message) = ("MALFORMED_JOB".to_owned(), "jobId is missing".to_owned());
        let line = Overdue { category, message, ids: LetterIds::default(), repeated: 1 };
        assert_eq!(causes.overdue(at(10)), [line], "the other cause was told when it came");
        assert_eq!(causes.overdue(at(30)), []);
    }

    #[test]
    fn causes_are_bounded() {
        let causes = DeadLetterCauses::default();
        for number in 0..1_000 {
            causes.note(&format!("CAUSE_{number}"), "", &ids(None), Timestamp::UNIX_EPOCH, Instant::now());
        }
        let read = causes.read();
        assert_eq!((read.len(), read[0].messages), (20, 981));
    }
}
