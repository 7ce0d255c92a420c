//! What went wrong lately, by category.

use std::time::Duration;

use serde::Serialize;

use super::window::Window;
use crate::contract::refusal::Refusal;
use crate::contract::time;
use crate::engine::clock::Now;

/// Pairs that were not archived in the last minutes, counted by the category their outcomes gave.
#[derive(Debug, Default)]
pub struct RecentFailures(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    source: &'static str,
    category: Box<str>,
    pairs: Window,
    message: Box<str>,
    http_status: Option<u16>,
    last: Now,
}

/// One category's share.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureCount {
    /// `HUBSPOT` or `WORKER`.
    pub source: &'static str,
    pub category: String,
    /// Pairs within the last [`RecentFailures::MINUTES`].
    pub pairs: u64,
    /// The latest message.
    pub message: String,
    pub http_status: Option<u16>,
    /// RFC 3339.
    pub last_at: String,
}

impl RecentFailures {
    /// Minutes that count as recent.
    pub const MINUTES: usize = 15;

    /// HubSpot's categories are not a closed set: past so many, further ones are counted as one.
    pub const MAX_CATEGORIES: usize = 20;

    /// The category of those further ones.
    pub const FURTHER: &str = "FURTHER_CATEGORIES";

    pub fn note(&mut self, refusal: &Refusal, pairs: u64, now: Now) {
        let entry = self.entry(refusal.source.as_str(), refusal.source.category(), now);
        entry.pairs.add(pairs, now.tick);
        entry.message.clone_from(&refusal.message);
        entry.http_status = refusal.http_status;
        entry.last = now;
    }

    /// The most frequent first.
    pub fn read(&mut self, now: Now) -> Vec<FailureCount> {
        self.forget_old(now);
        let mut counts: Vec<FailureCount> = self.0.iter_mut().map(|entry| entry.read(now)).collect();
        counts.sort_by(|a, b| b.pairs.cmp(&a.pairs).then_with(|| a.category.cmp(&b.category)));
        counts
    }

    fn entry(&mut self, source: &'static str, category: &str, now: Now) -> &mut Entry {
        let place = |entries: &[Entry], category: &str| {
            entries.iter().position(|entry| entry.source == source && *entry.category == *category)
        };
        if self.0.len() >= Self::MAX_CATEGORIES {
            self.forget_old(now);
        }
        let has_room = self.0.len() < Self::MAX_CATEGORIES;
        let category = match place(&self.0, category) {
            Some(_) => category,
            None if has_room => category,
            None => Self::FURTHER,
        };
        let index = place(&self.0, category).unwrap_or_else(|| {
            self.0.push(Entry::new(source, category, now));
            self.0.len() - 1
        });
        &mut self.0[index]
    }

    fn forget_old(&mut self, now: Now) {
        self.0.retain_mut(|entry| entry.pairs.sum(now.tick) > 0);
    }
}

impl Entry {
    fn new(source: &'static str, category: &str, now: Now) -> Self {
        let pairs = Window::new(Duration::from_secs(60), RecentFailures::MINUTES);
        Self { source, category: category.into(), pairs, message: Box::default(), http_status: None, last: now }
    }

    fn read(&mut self, now: Now) -> FailureCount {
        let mut last_at = Vec::new();
        time::write(self.last.wall, &mut last_at);
        FailureCount {
            source: self.source,
            category: self.category.to_string(),
            pairs: self.pairs.sum(now.tick),
            message: self.message.to_string(),
            http_status: self.http_status,
            last_at: String::from_utf8_lossy(&last_at).into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::refusal::WorkerCategory;
    use crate::engine::clock::Tick;
    use jiff::Timestamp;

    fn at(minutes: u32) -> Now {
        let wall = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(minutes.into());
        Now { tick: Tick::from_micros(u64::from(minutes) * 60_000_000), wall }
    }

    #[test]
    fn failures_are_counted_by_category_until_they_are_old() {
        let mut failures = RecentFailures::default();
        failures.note(&Refusal::hubspot("VALIDATION_ERROR", "first", 400), 2, at(0));
        failures.note(&Refusal::hubspot("VALIDATION_ERROR", "second", 400), 3, at(5));
        failures.note(&Refusal::worker(WorkerCategory::Expired, "late"), 7, at(5));

        let counts = failures.read(at(6));
        let (expired, invalid) = (&counts[0], &counts[1]);
        assert_eq!((expired.source, expired.category.as_str(), expired.pairs), ("WORKER", "EXPIRED", 7));
        assert_eq!((invalid.pairs, invalid.message.as_str(), invalid.http_status), (5, "second", Some(400)));
        assert_eq!(invalid.last_at, "1970-01-01T00:05:00.000Z");
        assert_eq!(failures.read(at(15)).iter().map(|count| count.pairs).collect::<Vec<_>>(), [7, 3]);
        assert!(failures.read(at(20)).is_empty());
    }

    #[test]
    fn categories_are_bounded() {
        let mut failures = RecentFailures::default();
        for number in 0..1_000 {
            failures.note(&Refusal::hubspot(&format!("CATEGORY_{number}"), "", 400), 1, at(0));
        }
        let counts = failures.read(at(0));
        assert_eq!(counts.len(), RecentFailures::MAX_CATEGORIES + 1);
        assert_eq!((counts[0].category.as_str(), counts[0].pairs), (RecentFailures::FURTHER, 980));
        failures.note(&Refusal::hubspot("NEW", "", 400), 1, at(30));
        assert_eq!(failures.read(at(30))[0].category, "NEW", "old ones make room");
    }
}
