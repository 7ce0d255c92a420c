//! Which failures a later attempt of the same job has mended or has run into again, so that nobody sends them twice.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashMap;
use jiff::Timestamp;

use crate::cli::outcome_record::{ErrorRecord, OutcomeRecord};

/// Which run of `enqueue` a job came from, and from which line of its file.
pub type Origin = Option<(String, u64)>;

/// Failures for which later attempts are remembered; of those beyond, none counts as mended.
const MAX_FAILURES: usize = 1_000_000;

/// Pairs left undone that are remembered, once for each attempt; of those beyond, none is superseded.
const MAX_UNDONE: usize = 1_000_000;

/// Told of every outcome, in the order of the queue.
#[derive(Default)]
pub struct Mended {
    hasher: RandomState,
    /// What was done of each job that has failed, since.
    done: HashMap<u64, Vec<Attempt>>,
    /// The attempts that left a pair of a job undone.
    undone: HashMap<u64, Vec<Attempt>>,
    num_undone: usize,
}

/// An attempt, and how many pairs it has done, or left undone.
#[derive(Clone, Copy)]
struct Attempt {
    at: Timestamp,
    /// The run of `enqueue` as a hash, and the line.
    origin: Option<(u64, u64)>,
    pairs: u64,
}

impl Attempt {
    /// Two lines of one file are two jobs, also where they have one id.
    fn is_later_than(&self, other: &Self) -> bool {
        let is_beside = match (self.origin, other.origin) {
            (Some((run, line)), Some((other_run, other_line))) => run == other_run && line != other_line,
            (Some(_) | None, _) => false,
        };
        self.at > other.at && !is_beside
    }
}

impl Mended {
    pub fn note(&mut self, outcome: &OutcomeRecord, origin: &Origin) {
        let job = self.job(outcome);
        let attempt = self.attempt(outcome, origin, outcome.num_archived + outcome.num_restored);
        if !outcome.is_done() {
            if self.done.len() < MAX_FAILURES {
                self.done.entry(job).or_default();
            }
        } else if let Some(done) = self.done.get_mut(&job) {
            done.push(attempt);
        }
    }

    /// Told of every failure whose rows are wanted: what is not shown supersedes nothing.
    pub fn note_undone(&mut self, failed: &OutcomeRecord, origin: &Origin) {
        let attempt = self.failure(failed, origin);
        for pair in failed.errors.iter().filter_map(|error| self.pair(failed, error)).collect::<Vec<_>>() {
            if self.num_undone < MAX_UNDONE {
                self.num_undone += 1;
                self.undone.entry(pair).or_default().push(attempt);
            }
        }
    }

    /// Whether later attempts have done at least as many pairs as failed here.
    pub fn has(&self, failed: &OutcomeRecord, origin: &Origin) -> bool {
        self.is_mended(self.job(failed), &self.failure(failed, origin))
    }

    fn is_mended(&self, job: u64, failed: &Attempt) -> bool {
        let later = self.done.get(&job).into_iter().flatten().filter(|done| done.is_later_than(failed));
        failed.pairs > 0 && later.map(|done| done.pairs).sum::<u64>() >= failed.pairs
    }

    /// Whether a later attempt of the same job left the same pair undone too, and is shown: one that counts as mended is not.
    pub fn supersedes(&self, failed: &OutcomeRecord, origin: &Origin, error: &ErrorRecord) -> bool {
        let (job, own) = (self.job(failed), self.failure(failed, origin));
        let attempts = self.pair(failed, error).and_then(|pair| self.undone.get(&pair));
        attempts.into_iter().flatten().any(|other| other.is_later_than(&own) && !self.is_mended(job, other))
    }

    fn failure(&self, failed: &OutcomeRecord, origin: &Origin) -> Attempt {
        self.attempt(failed, origin, failed.errors.iter().filter(|error| error.ends().is_some()).count() as u64)
    }

    fn attempt(&self, outcome: &OutcomeRecord, origin: &Origin, pairs: u64) -> Attempt {
        let origin = origin.as_ref().map(|(run, line)| (self.hasher.hash_one(run), *line));
        Attempt { at: outcome.completed_at, origin, pairs }
    }

    /// Of a job that asks twice for a pair, with other labels, the two are told apart.
    fn pair(&self, outcome: &OutcomeRecord, error: &ErrorRecord) -> Option<u64> {
        let pair = error.ends()?;
        Some(self.hasher.hash_one((self.job(outcome), pair, error.types_in_words())))
    }

    fn job(&self, outcome: &OutcomeRecord) -> u64 {
        let OutcomeRecord { job_id, portal_id, from_object_type, to_object_type, action, dry_run, .. } = outcome;
        self.hasher.hash_one((job_id, portal_id, from_object_type, to_object_type, action, dry_run))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    fn outcome(second: u32, action: &str, failed: u64) -> OutcomeRecord {
        let error = |to: u64| {
            json!({
                "from": {"id": "1"}, "to": {"id": to.to_string()}, "types": null, "source": "HUBSPOT", "category": "C",
                "subCategory": null, "message": "m", "httpStatus": 400, "correlationId": null, "retryable": false,
            })
        };
        let errors: Vec<Value> = (1..=failed).map(error).collect();
        let json = json!({
            "jobId": "j", "portalId": 4711, "fromObjectType": "contacts", "toObjectType": "companies", "action": action,
            "status": if failed > 0 { "FAILED" } else { "ARCHIVED" }, "numPairs": failed.max(1),
            "numArchived": u64::from(failed == 0), "errors": errors,
            "completedAt": format!("2026-01-01T00:00:{second:02}.000Z"),
        });
        OutcomeRecord::parse(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn of_several_attempts_that_left_a_pair_undone_the_latest_stands() {
        let line = |run: &str, line| Some((run.to_owned(), line));
        let first = (outcome(1, "archive", 2), line("a", 2));
        let superseded = |later: (OutcomeRecord, Origin)| {
            let mut mended = Mended::default();
            for (outcome, origin) in [&first, &later] {
                mended.note_undone(outcome, origin);
            }
            let of = |(outcome, origin): &(OutcomeRecord, Origin)| {
                let of_pair = |error| mended.supersedes(outcome, origin, error);
                outcome.errors.iter().map(of_pair).collect::<Vec<_>>()
            };
            (of(&first), of(&later))
        };
        for origin in [line("b", 7), line("a", 2), None] {
            let later = superseded((outcome(2, "archive", 1), origin));
            assert_eq!(later, (vec![true, false], vec![false]), "pair by pair");
        }
        for (what, later) in [
            ("at the same time", (outcome(1, "archive", 2), line("b", 2))),
            ("another action", (outcome(2, "restore", 2), line("b", 2))),
            ("another row of the file", (outcome(2, "archive", 2), line("a", 3))),
        ] {
            assert_eq!(superseded(later), (vec![false; 2], vec![false; 2]), "{what}");
        }
        assert_eq!(superseded((outcome(0, "archive", 2), None)), (vec![false; 2], vec![true; 2]), "out of order");

        // A later attempt that counts as mended is not shown: the earlier one is.
        let later = (outcome(2, "archive", 1), line("b", 2));
        let mut mended = Mended::default();
        for (outcome, origin) in [&first, &later, &(outcome(3, "archive", 0), line("c", 2))] {
            mended.note(outcome, origin);
            mended.note_undone(outcome, origin);
        }
        assert!(mended.has(&later.0, &later.1) && !mended.supersedes(&first.0, &first.1, &first.0.errors[0]));
    }

    #[test]
    fn a_failure_is_mended_once_as_many_pairs_were_done_later_by_the_same_job() {
        let line = |run: &str, line| Some((run.to_owned(), line));
        let failed = outcome(1, "archive", 1);
        let with = |failed: &OutcomeRecord, later: &[(OutcomeRecord, Origin)]| {
            let mut mended = Mended::default();
            mended.note(failed, &line("a", 2));
            later.iter().for_each(|(outcome, origin)| mended.note(outcome, origin));
            mended.has(failed, &line("a", 2))
        };
        assert!(with(&failed, &[(outcome(2, "archive", 0), line("b", 2))]));
        assert!(with(&failed, &[(outcome(2, "archive", 0), None)]));
        for (what, later) in [
            ("failed again", (outcome(2, "archive", 1), None)),
            ("before", (outcome(0, "archive", 0), None)),
            ("another action", (outcome(2, "restore", 0), None)),
            ("another row of the file", (outcome(2, "archive", 0), line("a", 3))),
        ] {
            assert!(!with(&failed, &[later]), "{what}");
        }
        let two = outcome(1, "archive", 2);
        let later = [(outcome(2, "archive", 0), line("b", 2)), (outcome(3, "archive", 0), line("b", 3))];
        assert!(!with(&two, &later[..1]), "one of two pairs was sent again");
        assert!(with(&two, &later));
    }
}
