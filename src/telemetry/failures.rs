//! What went wrong, by category: counted since the start and lately, with the latest jobs of each.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::window::Window;
use crate::contract::association::Pair;
use crate::contract::ids::PortalId;
use crate::contract::refusal::Refusal;
use crate::contract::time;
use crate::engine::clock::Now;

/// Pairs that were not archived, by the category that their outcomes gave.
#[derive(Debug, Default)]
pub struct Failures(Vec<Entry>);

/// A job of which some pairs failed for one cause.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailedJob {
    pub at: Timestamp,
    pub job_id: Box<str>,
    pub portal: Option<PortalId>,
    /// The first of its pairs that failed in this way; `None` where the job could not be read as far as its pairs.
    pub pair: Option<Pair>,
    /// How many of its pairs failed in this way.
    pub pairs: u64,
    pub refusal: Arc<Refusal>,
}

#[derive(Debug)]
struct Entry {
    source: &'static str,
    category: Box<str>,
    recent: Window,
    since_start: u64,
    message: Box<str>,
    http_status: Option<u16>,
    last: Now,
    /// Shared with the snapshots, and so copied only where one of those still has it.
    jobs: Arc<VecDeque<FailedJob>>,
}

/// One category's share.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureCount {
    /// `HUBSPOT` or `WORKER`.
    pub source: &'static str,
    pub category: String,
    /// Pairs within the last [`Failures::MINUTES`].
    pub pairs: u64,
    /// Pairs since the start of the process.
    pub pairs_since_start: u64,
    /// The latest message.
    pub message: String,
    pub http_status: Option<u16>,
    /// RFC 3339.
    pub last_at: String,
    /// The latest jobs, at most [`Failures::MAX_JOB_IDS`]; the newest first.
    pub job_ids: Vec<Box<str>>,
    /// The latest jobs with all that is known of each, oldest first.
    #[serde(skip)]
    pub jobs: Arc<VecDeque<FailedJob>>,
}

impl Failures {
    /// Minutes that count as recent.
    pub const MINUTES: usize = 15;

    /// HubSpot's categories are not a closed set. When there are more than this, the one that has been quiet for
    /// longest is counted with the further ones; where none is quiet, the new one is.
    pub const MAX_CATEGORIES: usize = 20;

    /// The category under which the further ones are counted.
    pub const FURTHER: &str = "FURTHER_CATEGORIES";

    /// Most jobs kept of a category.
    pub const MAX_JOBS: usize = 100;

    /// Most job ids shown of a category.
    pub const MAX_JOB_IDS: usize = 3;

    pub fn note(&mut self, job: FailedJob, now: Now) {
        let refusal = &job.refusal;
        let entry = self.entry(refusal.source.as_str(), refusal.source.category(), now);
        entry.recent.add(job.pairs, now.tick);
        entry.since_start += job.pairs;
        entry.message.clone_from(&refusal.message);
        entry.http_status = refusal.http_status;
        entry.last = now;
        let jobs = Arc::make_mut(&mut entry.jobs);
        if jobs.len() >= Self::MAX_JOBS {
            jobs.pop_front();
        }
        jobs.push_back(job);
    }

    /// Those with the most recent pairs first, then those with the most.
    pub fn read(&mut self, now: Now) -> Vec<FailureCount> {
        let mut counts: Vec<FailureCount> = self.0.iter_mut().map(|entry| entry.read(now)).collect();
        counts.sort_by(|a, b| {
            let more = b.pairs.cmp(&a.pairs).then_with(|| b.pairs_since_start.cmp(&a.pairs_since_start));
            more.then_with(|| a.category.cmp(&b.category))
        });
        counts
    }

    fn entry(&mut self, source: &'static str, category: &str, now: Now) -> &mut Entry {
        let known = self.index_of(source, category).is_some();
        if !known && !self.has_room() {
            self.make_room(now);
        }
        let has_room = known || self.has_room();
        self.entry_named(source, if has_room { category } else { Self::FURTHER }, now)
    }

    fn has_room(&self) -> bool {
        self.0.iter().filter(|entry| &*entry.category != Self::FURTHER).count() < Self::MAX_CATEGORIES
    }

    /// The category that has been quiet for longest is counted with the further ones from now on.
    fn make_room(&mut self, now: Now) {
        let quiet = self.0.iter_mut().enumerate().filter(|(_, entry)| &*entry.category != Self::FURTHER);
        let quiet =
            quiet.filter_map(|(index, entry)| (entry.recent.sum(now.tick) == 0).then_some((entry.last.tick, index)));
        let Some((_, index)) = quiet.min() else { return };
        let gone = self.0.swap_remove(index);
        self.entry_named(gone.source, Self::FURTHER, gone.last).since_start += gone.since_start;
    }

    fn entry_named(&mut self, source: &'static str, category: &str, now: Now) -> &mut Entry {
        let index = self.index_of(source, category).unwrap_or_else(|| {
            self.0.push(Entry::new(source, category, now));
            self.0.len() - 1
        });
        &mut self.0[index]
    }

    fn index_of(&self, source: &'static str, category: &str) -> Option<usize> {
        self.0.iter().position(|entry| entry.source == source && *entry.category == *category)
    }
}

impl Entry {
    fn new(source: &'static str, category: &str, now: Now) -> Self {
        Self {
            source,
            category: category.into(),
            recent: Window::new(Duration::from_secs(60), Failures::MINUTES),
            since_start: 0,
            message: Box::default(),
            http_status: None,
            last: now,
            jobs: Arc::default(),
        }
    }

    fn read(&mut self, now: Now) -> FailureCount {
        let mut last_at = Vec::new();
        time::write(self.last.wall, &mut last_at);
        let newest = self.jobs.iter().rev().take(Failures::MAX_JOB_IDS);
        FailureCount {
            source: self.source,
            category: self.category.to_string(),
            pairs: self.recent.sum(now.tick),
            pairs_since_start: self.since_start,
            message: self.message.to_string(),
            http_status: self.http_status,
            last_at: String::from_utf8_lossy(&last_at).into_owned(),
            job_ids: newest.map(|job| job.job_id.clone()).collect(),
            jobs: Arc::clone(&self.jobs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::refusal::WorkerCategory;
    use crate::engine::clock::Tick;

    fn at(minutes: u32) -> Now {
        let wall = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(minutes.into());
        Now { tick: Tick::from_micros(u64::from(minutes) * 60_000_000), wall }
    }

    fn job(job_id: &str, pairs: u64, refusal: Refusal) -> FailedJob {
        let at = Timestamp::UNIX_EPOCH;
        FailedJob { at, job_id: job_id.into(), portal: None, pair: None, pairs, refusal: Arc::new(refusal) }
    }

    #[test]
    fn failures_are_counted_by_category_lately_and_since_the_start() {
        let mut failures = Failures::default();
        failures.note(job("a", 2, Refusal::hubspot("VALIDATION_ERROR", "first", 400)), at(0));
        failures.note(job("b", 3, Refusal::hubspot("VALIDATION_ERROR", "second", 400)), at(5));
        failures.note(job("c", 7, Refusal::worker(WorkerCategory::Expired, "late")), at(5));

        let counts = failures.read(at(6));
        let (expired, invalid) = (&counts[0], &counts[1]);
        assert_eq!((expired.source, expired.category.as_str(), expired.pairs), ("WORKER", "EXPIRED", 7));
        assert_eq!((invalid.pairs, invalid.message.as_str(), invalid.http_status), (5, "second", Some(400)));
        assert_eq!(invalid.last_at, "1970-01-01T00:05:00.000Z");
        assert_eq!(invalid.job_ids.iter().map(|id| &**id).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(failures.read(at(15)).iter().map(|count| count.pairs).collect::<Vec<_>>(), [7, 3]);
        let old = failures.read(at(1_000));
        let kept: Vec<_> = old.iter().map(|count| (count.pairs, count.pairs_since_start)).collect();
        assert_eq!(kept, [(0, 7), (0, 5)], "none is forgotten");
    }

    #[test]
    fn categories_and_samples_are_bounded() {
        let mut failures = Failures::default();
        for number in 0..1_000 {
            failures.note(job("j", 1, Refusal::hubspot(&format!("CATEGORY_{number}"), "", 400)), at(0));
        }
        let counts = failures.read(at(0));
        assert_eq!(counts.len(), Failures::MAX_CATEGORIES + 1);
        assert_eq!((counts[0].category.as_str(), counts[0].pairs), (Failures::FURTHER, 980));
        assert_eq!((counts[0].jobs.len(), counts[0].job_ids.len()), (Failures::MAX_JOBS, Failures::MAX_JOB_IDS));

        failures.note(job("j", 1, Refusal::hubspot("NEW", "", 400)), at(30));
        let counts = failures.read(at(30));
        assert_eq!((counts[0].category.as_str(), counts.len()), ("NEW", Failures::MAX_CATEGORIES + 1), "it has room");
        assert_eq!(counts.iter().map(|count| count.pairs_since_start).sum::<u64>(), 1_001, "and nothing is forgotten");
    }
}
