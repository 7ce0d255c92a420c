//! Which failures a later attempt of the same job has mended, so that nobody sends them again.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashMap;
use jiff::Timestamp;

use crate::cli::outcome_record::OutcomeRecord;

/// Which run of `enqueue` a job came from, and from which line of its file.
pub type Origin = Option<(String, u64)>;

/// Failures for which later attempts are remembered; of those beyond, none counts as mended.
const MAX_FAILURES: usize = 1_000_000;

/// Told of every outcome, in the order of the queue.
#[derive(Default)]
pub struct Mended {
    hasher: RandomState,
    /// What was done of each job that has failed, since.
    done: HashMap<u64, Vec<Done>>,
}

struct Done {
    at: Timestamp,
    origin: Origin,
    pairs: u64,
}

impl Mended {
    pub fn note(&mut self, outcome: &OutcomeRecord, origin: &Origin) {
        let job = self.job(outcome);
        if !outcome.is_done() {
            if self.done.len() < MAX_FAILURES {
                self.done.entry(job).or_default();
            }
        } else if let Some(done) = self.done.get_mut(&job) {
            let pairs = outcome.num_archived + outcome.num_restored;
            done.push(Done { at: outcome.completed_at, origin: origin.clone(), pairs });
        }
    }

    /// Whether later attempts have done at least as many pairs as failed here. Two lines of one file are two jobs, also
    /// where they have one id.
    pub fn has(&self, failed: &OutcomeRecord, origin: &Origin) -> bool {
        let is_beside = |done: &Done| match (&done.origin, origin) {
            (Some((run, line)), Some((own_run, own_line))) => run == own_run && line != own_line,
            (Some(_) | None, _) => false,
        };
        let later = self.done.get(&self.job(failed)).into_iter().flatten();
        let later = later.filter(|done| done.at > failed.completed_at && !is_beside(done));
        let pairs = failed.errors.iter().filter(|error| error.ends().is_some()).count() as u64;
        pairs > 0 && later.map(|done| done.pairs).sum::<u64>() >= pairs
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
