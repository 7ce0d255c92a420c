//! What earlier runs have done, by their outcomes.

use std::path::{Path, PathBuf};

use hashbrown::HashMap;
use tokio::fs::File;
use tokio::io::BufReader;
use uuid::Uuid;

use super::unanswered::is_stdout;
use crate::cli::exit::Failure;
use crate::cli::jobs_file::rows::RowJob;
use crate::cli::jobs_file::source::Source;
use crate::cli::outcome_record::OutcomeRecord;
use crate::contract::job::Job;
use crate::worker::lines::next_line;

/// Longest outcome, in bytes: as many errors as a job may have pairs.
const MAX_OUTCOME_BYTES: usize = 16 * 1024 * 1024;

/// Jobs are left out only where nothing speaks against it. Sending a job again does no harm; leaving one out would.
#[derive(Default, Debug)]
pub struct Resume {
    by_job: HashMap<Uuid, Seen>,
}

/// What is known of a job id.
#[derive(Debug)]
struct Seen {
    /// What the job was, beside its id.
    shape: Uuid,
    /// Outcomes that say it is done.
    done: u64,
    /// An outcome says something else, or the id was given to different jobs.
    is_doubtful: bool,
    /// Jobs of this id in the file.
    in_file: u64,
}

/// Made once at random for digests of ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x93f4_0d52_6f0b_4c1d_a7ce_51b9_08e2_4d67);

impl Resume {
    /// Reads the outcomes, then the jobs to count those of equal ids.
    pub async fn of(outcomes: &[PathBuf], source: &mut Source) -> Result<Self, Failure> {
        let mut resume = Self::default();
        for path in outcomes {
            resume.read(path).await?;
        }
        let name = source.name.clone();
        let mut rows = source.rows()?;
        while let Some(row) = rows.next().await.map_err(|fault| Failure::Usage(format!("{name} {fault}")))? {
            if let Ok(RowJob { job, .. }) = row.job {
                resume.note(&job);
            }
        }
        Ok(resume)
    }

    async fn read(&mut self, path: &Path) -> Result<(), Failure> {
        let unreadable = |why: String| Failure::Usage(format!("--resume {}: {why}", path.display()));
        let file = File::open(path).await.map_err(|error| unreadable(format!("cannot be read: {error}")))?;
        if file.metadata().await.is_ok_and(|metadata| is_stdout(&metadata)) {
            return Err(unreadable(
                "stdout goes to the same file, which a shell's `>` empties before it is read: write to another one, as in `> rest.ndjson`".to_owned(),
            ));
        }
        let (mut input, mut line) = (BufReader::new(file), Vec::new());
        let (mut broken, mut outcomes) = (None, 0_u64);
        for number in 1_u64.. {
            let more = next_line(&mut input, &mut line, MAX_OUTCOME_BYTES).await;
            if !more.map_err(|error| unreadable(format!("cannot be read to the end: {error}")))? {
                break;
            }
            // The last line may be cut off, where the run before was killed.
            if let Some(number) = broken {
                return Err(unreadable(format!("line {number} is no outcome; give what `archive` wrote to stdout")));
            }
            match OutcomeRecord::parse(line.trim_ascii()) {
                Some(outcome) => {
                    outcomes += 1;
                    self.outcome(&outcome);
                }
                None if line.trim_ascii().is_empty() => {}
                None => broken = Some(number),
            }
        }
        if outcomes == 0 {
            return Err(unreadable(
                "has no outcomes in it; give what `archive` wrote to stdout, or leave --resume out if nothing was answered"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    fn outcome(&mut self, outcome: &OutcomeRecord) {
        let OutcomeRecord { job_id, portal_id, from_object_type, to_object_type, action, dry_run, num_pairs, .. } =
            outcome;
        let types = [from_object_type.as_deref(), to_object_type.as_deref()];
        let shape = shape(*portal_id, types, action, *dry_run, *num_pairs);
        let seen = self.by_job.entry(digest(job_id)).or_insert(Seen { shape, done: 0, is_doubtful: false, in_file: 0 });
        seen.done += u64::from(outcome.is_done());
        seen.is_doubtful |= !outcome.is_done() || seen.shape != shape;
    }

    fn note(&mut self, job: &Job) {
        if let Some(seen) = self.by_job.get_mut(&digest(job.id.as_str())) {
            seen.in_file += 1;
            seen.is_doubtful |= seen.shape != shape_of(job);
        }
    }

    /// Jobs that were done, and are sent again all the same: one with the same id was not answered, and which of the two that
    /// was nobody knows.
    pub fn sent_again(&self) -> u64 {
        let in_part = |seen: &&Seen| !seen.is_doubtful && seen.done < seen.in_file;
        self.by_job.values().filter(in_part).map(|seen| seen.done).sum()
    }

    /// Whether each job of this id in the file was done, and they are the same as then by all that is known. Of a job
    /// that asks for all associations of a record that is never known.
    pub fn is_done(&self, job: &Job) -> bool {
        let seen = self.by_job.get(&digest(job.id.as_str()));
        job.num_all_of() == 0 && seen.is_some_and(|seen| !seen.is_doubtful && seen.done >= seen.in_file)
    }
}

fn shape_of(job: &Job) -> Uuid {
    let portal = job.portal.map(|portal| portal.0.get());
    let types = [Some(job.from_type.as_written()), Some(job.to_type.as_written())];
    shape(portal, types, job.action.as_str(), job.dry_run, job.num_pairs() as u64)
}

fn shape(portal: Option<u64>, types: [Option<&str>; 2], action: &str, dry_run: bool, num_pairs: u64) -> Uuid {
    digest(&format!("{portal:?} {types:?} {action} {dry_run} {num_pairs}"))
}

fn digest(text: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, text.as_bytes())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;
    use crate::contract::job::{JobLimits, JobProperties, parse};

    fn job(id: &str, to: &str) -> Job {
        let limits = JobLimits { max_bytes: 1_000, max_pairs: 10 };
        let body = format!(
            r#"{{"jobId":"{id}","fromObjectType":"contacts","toObjectType":"{to}","inputs":[{{"from":{{"id":"1"}},"to":[{{"id":"2"}}]}}]}}"#
        );
        parse(body.as_bytes(), JobProperties::default(), &limits).unwrap()
    }

    /// `of`: the status, and fields that earlier versions did not have.
    fn outcome(id: &str, of: &str) -> OutcomeRecord {
        let (status, fields) = of.split_once(' ').unwrap_or((of, ""));
        let json = format!(
            r#"{{"jobId":"{id}","portalId":null,"fromObjectType":"contacts","toObjectType":"companies",{fields}"status":"{status}","numPairs":1,"numArchived":1,"errors":[],"completedAt":"2026-01-01T00:00:00.000Z"}}"#
        );
        OutcomeRecord::parse(json.as_bytes()).unwrap()
    }

    fn resume(outcomes: &[(&str, &str)], jobs: &[Job]) -> Resume {
        let mut resume = Resume::default();
        outcomes.iter().for_each(|(id, status)| resume.outcome(&outcome(id, status)));
        jobs.iter().for_each(|job| resume.note(job));
        resume
    }

    #[test]
    fn only_what_is_surely_done_is_left_out() {
        let same = job("a", "companies");
        assert!(resume(&[("a", "ARCHIVED")], std::slice::from_ref(&same)).is_done(&same));
        assert!(resume(&[("a", "ARCHIVED"); 2], &[same.clone(), same.clone()]).is_done(&same));
        let plan = Job { dry_run: true, ..same.clone() };
        let planned = resume(&[("a", "PLANNED \"dryRun\":true,")], std::slice::from_ref(&plan));
        assert!(planned.is_done(&plan));
        for (outcomes, jobs, why) in [
            (&[("b", "ARCHIVED")][..], vec![same.clone()], "another id"),
            (&[("a", "FAILED")], vec![same.clone()], "it failed"),
            (&[("a", "PLANNED \"dryRun\":true,")], vec![same.clone()], "it was only looked at"),
            (&[("a", "RESTORED \"action\":\"restore\",")], vec![same.clone()], "it was another action"),
            (&[("a", "FAILED"), ("a", "ARCHIVED")], vec![same.clone()], "one of that id failed"),
            (&[("a", "ARCHIVED")], vec![same.clone(), same.clone()], "one of two is not known"),
            (&[("a", "ARCHIVED")], vec![job("a", "deals")], "the id was given to another job"),
        ] {
            let resume = resume(outcomes, &jobs);
            assert!(jobs.iter().all(|job| !resume.is_done(job)), "{why}");
            assert_eq!(resume.sent_again(), u64::from(why == "one of two is not known"), "{why}");
        }
    }
}
