#![expect(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use fastrand::Rng;
use serde_json::json;

use super::*;
use crate::cli::jobs_file::hints::Hints;
use crate::cli::jobs_file::rows::Naming;
use crate::contract::job::JobLimits;

const LIMITS: JobLimits = JobLimits { max_bytes: 1_000, max_pairs: 10 };

/// Rows of a CSV by their job id, which may be empty, and what they ask for.
async fn file(directory: &Path, rows: &[(&str, &str)]) -> Source {
    let mut text = "job_id,from_object_type,from_id,to_object_type,to_id\n".to_owned();
    rows.iter().for_each(|(id, what)| writeln!(text, "{id},contacts,1,{what}").unwrap());
    let path = directory.join("pairs.csv");
    std::fs::write(&path, text).unwrap();
    Source::open(Some(&path), Naming::Required, LIMITS, &Hints::default()).await.unwrap()
}

async fn jobs(source: &mut Source) -> Vec<Job> {
    let mut rows = source.rows().unwrap();
    let mut jobs = Vec::new();
    while let Some(row) = rows.next().await.unwrap() {
        jobs.push(row.job.unwrap().job);
    }
    jobs
}

/// The outcome of a job, of the second in which its run ended.
fn outcome(job: &Job, status: &str, run: usize) -> String {
    let outcome = json!({
        "jobId": job.id.as_str(), "portalId": null, "fromObjectType": job.from_type.as_written(),
        "toObjectType": job.to_type.as_written(), "action": job.action.as_str(), "dryRun": job.dry_run, "status": status,
        "numPairs": job.num_pairs(), "numArchived": 0, "errors": [],
        "completedAt": format!("2026-01-01T00:{:02}:{:02}.000Z", run / 60, run % 60),
    });
    format!("{outcome}\n")
}

/// Which of the jobs are left out, and how many of the others are sent in doubt.
async fn left_out(outcomes: &[PathBuf], source: &mut Source) -> (Vec<bool>, u64) {
    let mut resume = Resume::of(outcomes, source).await.unwrap();
    let jobs = jobs(source).await;
    let first: Vec<bool> = jobs.iter().map(|job| resume.leaves_out(job)).collect();
    resume.rewind();
    let second: Vec<bool> = jobs.iter().map(|job| resume.leaves_out(job)).collect();
    assert_eq!(first, second, "each reading of the file is told the same");
    (first, resume.in_doubt())
}

/// `runs`: for each run its answers, as the number of a job and what it says of that.
async fn left_out_after(rows: &[(&str, &str)], runs: &[&[(usize, &str)]]) -> (Vec<bool>, u64) {
    let directory = tempfile::tempdir().unwrap();
    let mut source = file(directory.path(), rows).await;
    let jobs = jobs(&mut source).await;
    let mut outcomes = Vec::new();
    for (number, answers) in runs.iter().enumerate() {
        let path = directory.path().join(number.to_string());
        let lines: String = answers.iter().map(|(job, status)| outcome(&jobs[*job], status, number)).collect();
        std::fs::write(&path, lines).unwrap();
        outcomes.push(path);
    }
    let told = left_out(&outcomes, &mut source).await;
    outcomes.reverse();
    assert_eq!(left_out(&outcomes, &mut source).await, told, "the order of the files says nothing");
    told
}

#[tokio::test]
async fn what_failed_in_one_run_and_was_done_in_a_later_one_is_done() {
    const A: (&str, &str) = ("", "companies,1");
    const B: (&str, &str) = ("", "companies,2;3");
    for bad in ["FAILED", "PARTIAL", "EXPIRED"] {
        let (told, in_doubt) = left_out_after(&[A, B], &[&[(0, "ARCHIVED"), (1, bad)], &[(1, "ARCHIVED")]]).await;
        assert_eq!((told, in_doubt), (vec![true, true], 0), "{bad}");
        // The last word counts.
        let (told, _) = left_out_after(&[A, B], &[&[(0, "ARCHIVED"), (1, "ARCHIVED")], &[(1, bad)]]).await;
        assert_eq!(told, [true, false], "{bad}");
    }
    // Of equal rows each answer counts for one, in whichever run it came.
    let (told, in_doubt) = left_out_after(&[A, A, A], &[&[(0, "ARCHIVED"), (1, "FAILED")], &[(1, "ARCHIVED")]]).await;
    assert_eq!((told, in_doubt), (vec![true, true, false], 0));
    // Of different ones with the same id nothing tells which were done: one file may have the outcomes of two runs.
    const SHARED: [(&str, &str); 2] = [("s", "companies,1"), ("s", "companies,2")];
    let (told, in_doubt) = left_out_after(&SHARED, &[&[(0, "ARCHIVED")], &[(0, "ARCHIVED")]]).await;
    assert_eq!((told, in_doubt), (vec![false; 2], 2));
    let (told, in_doubt) = left_out_after(&SHARED, &[&[(0, "ARCHIVED"), (0, "ARCHIVED")]]).await;
    assert_eq!((told, in_doubt), (vec![false; 2], 2));
}

/// A row of `--failed` has the id of its job and one pair of it.
#[tokio::test]
async fn the_outcomes_of_failed_rows_are_not_taken_for_those_of_another_job() {
    const PAIRS: [(&str, &str); 2] = [("imp", "companies,2"), ("imp", "companies,8;9")];
    const FAILED: [(&str, &str); 2] = [("imp", "companies,8"), ("imp", "companies,9")];
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let written = |name: &str, lines: &[String]| {
        let path = directory.join(name);
        std::fs::write(&path, lines.concat()).unwrap();
        path
    };
    let mut failed = file(directory, &FAILED).await;
    let rows = jobs(&mut failed).await;
    let mut pairs = file(directory, &PAIRS).await;
    let both = jobs(&mut pairs).await;
    let (one, two) = (&both[0], &both[1]);
    // The first run ended before it had answered the first job.
    let first = written("first", &[outcome(two, "FAILED", 0)]);
    let more = written("more", &rows.iter().map(|row| outcome(row, "ARCHIVED", 1)).collect::<Vec<_>>());
    assert_eq!(left_out(&[first, more], &mut pairs).await, (vec![false; 2], 1));
    // The job itself failed, and the run of its rows ended after another one.
    let first = written("first", &[outcome(one, "FAILED", 0), outcome(two, "FAILED", 0)]);
    let more = written("more", &[outcome(&rows[0], "ARCHIVED", 1)]);
    assert_eq!(left_out(&[first, more], &mut pairs).await, (vec![false; 2], 1));
    // The other way round: the rows are not done because another job of one pair was.
    for left in [&FAILED[..1], &FAILED] {
        let lines = [outcome(one, "ARCHIVED", 0), outcome(one, "ARCHIVED", 0), outcome(two, "PARTIAL", 0)];
        let first = written("first", &lines[2 - left.len()..]);
        let mut rest = file(directory, left).await;
        let doubtful = left.len() as u64;
        assert_eq!(left_out(&[first], &mut rest).await, (vec![false; left.len()], doubtful));
    }
    // A job alone under its id is done when it was done as a whole, whatever became of its rows of one pair before.
    let mut alone = file(directory, &PAIRS[1..]).await;
    let first = written("first", &[outcome(two, "FAILED", 0)]);
    let more = written("more", &[outcome(&rows[0], "FAILED", 1), outcome(&rows[1], "ARCHIVED", 1)]);
    assert_eq!(left_out(&[first.clone(), more.clone()], &mut alone).await, (vec![false], 0));
    let third = written("third", &[outcome(two, "ARCHIVED", 2)]);
    assert_eq!(left_out(&[third, first, more], &mut alone).await, (vec![true], 0));
}

#[tokio::test]
async fn another_job_of_the_same_id_says_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut source = file(directory.path(), &[("a", "companies,2")]).await;
    let same = jobs(&mut source).await.remove(0);
    let path = directory.path().join("outcomes");
    for (text, expected, why) in [
        (outcome(&same, "ARCHIVED", 0), true, "it is done"),
        (outcome(&same, "ARCHIVED", 0).replace(",\"dryRun\":false", ""), true, "an earlier version said so"),
        (outcome(&same, "ARCHIVED", 0).replace("\"a\"", "\"b\""), false, "another id"),
        (outcome(&same, "FAILED", 0), false, "it failed"),
        (outcome(&same, "PLANNED", 0).replace("\"dryRun\":false", "\"dryRun\":true"), false, "it was only looked at"),
        (outcome(&same, "RESTORED", 0).replace("\"archive\"", "\"restore\""), false, "it was another action"),
        (outcome(&same, "ARCHIVED", 0).replace("companies", "deals"), false, "it was of other types"),
        (outcome(&same, "ARCHIVED", 0).replace("\"numPairs\":1", "\"numPairs\":2"), false, "it was more than this"),
        (outcome(&same, "FAILED", 0) + &outcome(&same, "ARCHIVED", 0), false, "one of that id failed"),
    ] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(left_out(std::slice::from_ref(&path), &mut source).await.0, [expected], "{why}");
    }
}

/// What a run is given: a row as it is, or one of the several pairs of a row, as `--failed` writes it.
#[derive(Clone, Copy)]
enum Given {
    Row(usize),
    PairOf(usize),
}

/// A history of runs, and what it has done in truth.
struct History {
    rows: Vec<(&'static str, &'static str)>,
    jobs: Vec<Job>,
    outcomes: Vec<PathBuf>,
    /// What the last run has written to its file of `--failed`.
    failed: Vec<Given>,
    /// By what a row asks for, and its id: the answers of each run to rows as they are, as done and not done.
    answers: BTreeMap<(&'static str, &'static str), Vec<(usize, usize)>>,
    /// Ids and numbers of pairs of what some outcome says is done.
    done: BTreeSet<(&'static str, usize)>,
}

impl History {
    /// One more run, which is given these jobs.
    fn run(&mut self, rng: &mut Rng, directory: &Path, mut given: Vec<Given>) {
        rng.shuffle(&mut given);
        if rng.bool() {
            // It is interrupted.
            given.truncate(rng.usize(..=given.len()));
        }
        let number = self.outcomes.len();
        let trouble = [0.0, 0.2, 0.8][rng.usize(..3)];
        let mut lines = String::new();
        self.failed.clear();
        self.answers.values_mut().for_each(|runs| runs.push((0, 0)));
        for job in given {
            let (Given::Row(row) | Given::PairOf(row)) = job;
            let is_done = rng.f64() >= trouble;
            let status = if is_done { "ARCHIVED" } else { ["FAILED", "PARTIAL"][rng.usize(..2)] };
            let line = outcome(&self.jobs[row], status, number);
            let pairs = match job {
                Given::Row(_) => pairs(self.rows[row].1),
                Given::PairOf(_) => 1,
            };
            lines += &line.replace("\"numPairs\":2", &format!("\"numPairs\":{pairs}"));
            if is_done {
                self.done.insert((self.rows[row].0, pairs));
            }
            match job {
                Given::Row(_) => {
                    let of_run = self.answers.get_mut(&self.rows[row]).unwrap().last_mut().unwrap();
                    if is_done { of_run.0 += 1 } else { of_run.1 += 1 }
                }
                Given::PairOf(_) => {}
            }
            if !is_done {
                let left = if status == "PARTIAL" { pairs.min(1) } else { pairs };
                let again = if pairs > 1 { Given::PairOf(row) } else { job };
                self.failed.extend(std::iter::repeat_n(again, left));
            }
        }
        if rng.bool() {
            // It was killed in the middle of a line.
            lines += "{\"jobId\":\"cut o";
        }
        let path = directory.join(format!("outcomes-{number}"));
        // A file without outcomes is refused.
        if lines.contains('\n') {
            std::fs::write(&path, lines).unwrap();
            self.outcomes.push(path);
        } else {
            for runs in self.answers.values_mut() {
                runs.pop();
            }
        }
    }

    /// Whether other jobs have its id.
    fn is_shared(&self, (id, what): (&str, &str)) -> bool {
        self.rows.iter().any(|row| !id.is_empty() && row.0 == id && row.1 != what)
    }
}

fn pairs(what: &str) -> usize {
    what.matches(';').count() + 1
}

/// Whatever came before: what was not done is never left out, and what the files can tell is.
#[tokio::test]
async fn after_any_history_of_runs_exactly_what_is_done_is_left_out() {
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let kinds = [
            ("", "companies,1"),
            ("", "companies,2;3"),
            ("own", "companies,4"),
            ("s", "companies,5"),
            ("s", "companies,6"),
            ("sizes", "companies,5"),
            ("sizes", "companies,6;7"),
        ];
        let rows: Vec<_> = (0..rng.usize(1..12)).map(|_| kinds[rng.usize(..kinds.len())]).collect();
        let mut source = file(directory, &rows).await;
        let jobs = jobs(&mut source).await;
        let answers = rows.iter().map(|row| (*row, Vec::new())).collect();
        let (outcomes, failed, done) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut history = History { rows, jobs, outcomes, failed, answers, done };
        // Everybody goes on with all files so far, as they are told to, or each run is given what it may.
        let in_order = rng.bool();
        for _ in 0..rng.usize(1..6) {
            let mut before = history.outcomes.clone();
            if !in_order {
                before.retain(|_| rng.bool());
            }
            rng.shuffle(&mut before);
            let given = if !history.failed.is_empty() && rng.bool() {
                history.failed.clone()
            } else {
                let told = left_out(&before, &mut source).await.0;
                (0..told.len()).filter(|row| !told[*row]).map(Given::Row).collect()
            };
            history.run(&mut rng, directory, given);
        }
        let mut outcomes = history.outcomes.clone();
        rng.shuffle(&mut outcomes);
        let (told, in_doubt) = left_out(&outcomes, &mut source).await;

        let mut doubtful = 0;
        for (row, runs) in &history.answers {
            let of_row: Vec<bool> =
                history.rows.iter().zip(&told).filter(|(other, _)| *other == row).map(|(_, told)| *told).collect();
            let (all, out) = (of_row.len(), of_row.iter().filter(|told| **told).count());
            let context = format!("seed {seed}: {row:?}: {out} of {all} left out after {runs:?}");
            let done: usize = runs.iter().map(|(done, _)| done).sum();
            let last = |is: fn(&(usize, usize)) -> bool| runs.iter().rposition(is);
            let (last_done, last_failed) = (last(|run| run.0 > 0), last(|run| run.1 > 0));
            assert!(out == 0 || done > 0, "never done: {context}");
            assert!(out < all || last_failed < last_done, "the last word is that it failed: {context}");
            if history.is_shared(*row) {
                assert_eq!(out, 0, "nobody can tell which were done: {context}");
                if history.done.contains(&(row.0, pairs(row.1))) {
                    doubtful += all as u64;
                }
            } else if in_order {
                assert_eq!(out, done, "each row is done once: {context}");
            }
        }
        assert_eq!(in_doubt, doubtful, "seed {seed}");
    }
}
