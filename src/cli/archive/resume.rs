//! What earlier runs have done, by their outcomes.

use std::path::{Path, PathBuf};

use hashbrown::HashMap;
use jiff::Timestamp;
use tokio::fs::File;
use tokio::io::BufReader;
use uuid::Uuid;

use super::unanswered::is_stdout;
use crate::cli::bar::ReadingBar;
use crate::cli::exit::Failure;
use crate::cli::jobs_file::rows::RowJob;
use crate::cli::jobs_file::source::Source;
use crate::cli::outcome_record::OutcomeRecord;
use crate::contract::job::Job;
use crate::worker::lines::next_line;

/// Longest outcome, in bytes: as many errors as a job may have pairs.
const MAX_OUTCOME_BYTES: usize = 16 * 1024 * 1024;

/// Jobs are left out only where it is certain that they were done. Sending a job again does no harm; leaving one out would.
///
/// An outcome tells the id of its job and little of what the job was: its portal, types, action and number of pairs. That is
/// its key here. An id that several jobs of different keys have tells nothing: a row of `--failed` has the id of its job and
/// one pair of it, so its outcome is under the key of another job. It is taken for granted that each run was given this
/// file, or what `--failed` wrote in a run of it, or one that has no other jobs under these keys.
#[derive(Default, Debug)]
pub struct Resume {
    by_key: HashMap<Uuid, Seen>,
}

/// What one run answered to the jobs of a key.
#[derive(Clone, Copy, Debug)]
struct Answered {
    /// Digest of the jobs' id.
    id: Uuid,
    has_more_pairs: bool,
    done: u32,
    not_done: u32,
}

/// What one file tells.
#[derive(Debug)]
struct Run {
    by_key: HashMap<Uuid, Answered>,
    /// Of the last outcome, by which the runs are put in order.
    ended: Timestamp,
}

/// Keys that were seen for an id.
#[derive(Clone, Copy, Default, Debug)]
enum Keys {
    #[default]
    None,
    One(Uuid),
    Several,
}

impl Keys {
    fn note(&mut self, key: Uuid) {
        *self = match *self {
            Self::None => Self::One(key),
            Self::One(first) if first == key => Self::One(first),
            Self::One(_) | Self::Several => Self::Several,
        };
    }

    fn has_other_than(self, key: Uuid) -> bool {
        match self {
            Self::None => false,
            Self::One(only) => only != key,
            Self::Several => true,
        }
    }
}

/// The keys of an id that was answered.
#[derive(Clone, Copy, Default, Debug)]
struct OfId {
    in_file: Keys,
    /// Those answered for more than one pair: no rows of `--failed`. One that is not in the file shows that the file is not
    /// the one that the run was given, but perhaps what `--failed` wrote there.
    of_more_pairs: Keys,
}

/// What all runs together tell of the jobs of a key.
#[derive(Default, Debug)]
struct Seen {
    /// Digest of their id.
    id: Uuid,
    /// How often a run says that such a job is done.
    done: u32,
    /// Jobs that a run could not do, and that no later run has done.
    open: u32,
    /// The most that one run has answered.
    most_answered: u32,
    /// Such jobs in the file.
    in_file: u32,
    /// What the first of them is, as a whole.
    first: Option<Uuid>,
    /// Another one is something else, under the same id.
    differ: bool,
    /// Outcomes under this key may be of jobs with another key.
    is_mixed: bool,
    /// How many were left out in this reading of the file.
    left_out: u32,
}

impl Seen {
    /// The runs come in the order of time, so that the last word counts.
    fn run(&mut self, Answered { id, has_more_pairs: _, done, not_done }: Answered) {
        self.id = id;
        self.done = self.done.saturating_add(done);
        self.open = self.open.saturating_sub(done).max(not_done);
        self.most_answered = self.most_answered.max(done.saturating_add(not_done));
    }

    fn note(&mut self, body: &[u8]) {
        let content = Uuid::new_v5(&NAMESPACE, body);
        self.differ |= *self.first.get_or_insert(content) != content;
        self.in_file = self.in_file.saturating_add(1);
    }

    /// Whether they are all the same, so that each answer counts for one of them, whichever. Of different ones nobody can
    /// tell which were done, not even by their number: one file may have the outcomes of several runs.
    fn are_equal(&self) -> bool {
        !self.differ && !self.is_mixed && self.most_answered <= self.in_file
    }

    /// How many of them need not be sent.
    fn surely_done(&self) -> u32 {
        if self.are_equal() { self.done.min(self.in_file.saturating_sub(self.open)) } else { 0 }
    }

    /// How many are sent because nobody can tell which of them were done.
    fn in_doubt(&self) -> u32 {
        if self.are_equal() || self.done == 0 { 0 } else { self.in_file }
    }
}

/// Made once at random for digests of ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x93f4_0d52_6f0b_4c1d_a7ce_51b9_08e2_4d67);

impl Resume {
    /// Reads the outcomes, in whatever order their files are given, then the jobs to count those of equal ids.
    pub async fn of(outcomes: &[PathBuf], source: &mut Source) -> Result<Self, Failure> {
        let mut runs = Vec::new();
        for path in outcomes {
            runs.push(read(path).await?);
        }
        let (mut resume, mut by_id) = Self::of_runs(runs);
        let name = source.name.clone();
        let mut rows = source.rows()?;
        let bar = ReadingBar::begin(&name, "rows");
        while let Some(row) = rows.next().await.map_err(|fault| Failure::Usage(format!("{name} {fault}")))? {
            bar.one_more();
            if let Ok(RowJob { job, body }) = row.job {
                let key = key_of(&job);
                if let Some(of_id) = by_id.get_mut(&digest_of(job.id.as_str())) {
                    of_id.in_file.note(key);
                }
                if let Some(seen) = resume.by_key.get_mut(&key) {
                    seen.note(&body);
                }
            }
        }
        for (key, seen) in &mut resume.by_key {
            let others = |of_id: &OfId| of_id.in_file.has_other_than(*key) || of_id.of_more_pairs.has_other_than(*key);
            seen.is_mixed = by_id.get(&seen.id).is_some_and(others);
        }
        Ok(resume)
    }

    /// And the ids of what was answered.
    fn of_runs(mut runs: Vec<Run>) -> (Self, HashMap<Uuid, OfId>) {
        runs.sort_by_key(|run| run.ended);
        let (mut by_key, mut by_id): (HashMap<Uuid, Seen>, HashMap<Uuid, OfId>) = Default::default();
        for (key, answered) in runs.into_iter().flat_map(|run| run.by_key) {
            by_key.entry(key).or_default().run(answered);
            let of_id = by_id.entry(answered.id).or_default();
            if answered.has_more_pairs {
                of_id.of_more_pairs.note(key);
            }
        }
        (Self { by_key }, by_id)
    }

    /// Whether the next job of the file need not be sent. Of equal jobs the first ones are left out, as many as were done. A
    /// job that asks for all associations of a record is always sent: there may be new ones.
    pub fn leaves_out(&mut self, job: &Job) -> bool {
        let Some(seen) = self.by_key.get_mut(&key_of(job)).filter(|_| job.num_all_of() == 0) else { return false };
        let is_left_out = seen.left_out < seen.surely_done();
        seen.left_out += u32::from(is_left_out);
        is_left_out
    }

    /// From here on the file is read once more.
    pub fn rewind(&mut self) {
        self.by_key.values_mut().for_each(|seen| seen.left_out = 0);
    }

    /// Jobs that are sent although some of them were done: their id is that of others, and nobody can tell which were.
    pub fn in_doubt(&self) -> u64 {
        self.by_key.values().map(|seen| u64::from(seen.in_doubt())).sum()
    }
}

async fn read(path: &Path) -> Result<Run, Failure> {
    let unreadable = |why: String| Failure::Usage(format!("--resume {}: {why}", path.display()));
    let file = File::open(path).await.map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    if file.metadata().await.is_ok_and(|metadata| is_stdout(&metadata)) {
        return Err(unreadable(
            "stdout goes to the same file, which a shell's `>` empties before it is read: write to another one, as in `> rest.ndjson`".to_owned(),
        ));
    }
    let (mut input, mut line) = (BufReader::new(file), Vec::new());
    let mut run = Run { by_key: HashMap::new(), ended: Timestamp::MIN };
    let mut broken = None;
    let bar = ReadingBar::begin(&path.display().to_string(), "outcomes");
    for number in 1_u64.. {
        let more = next_line(&mut input, &mut line, MAX_OUTCOME_BYTES).await;
        if !more.map_err(|error| unreadable(format!("cannot be read to the end: {error}")))? {
            break;
        }
        bar.one_more();
        // The last line may be cut off, where the run before was killed.
        if let Some(number) = broken {
            return Err(unreadable(format!("line {number} is no outcome; give what `archive` wrote to stdout")));
        }
        match OutcomeRecord::parse(line.trim_ascii()) {
            Some(outcome) => run.outcome(&outcome),
            None if line.trim_ascii().is_empty() => {}
            None => broken = Some(number),
        }
    }
    if run.by_key.is_empty() {
        return Err(unreadable(
            "has no outcomes in it; give what `archive` wrote to stdout, or leave --resume out if nothing was answered"
                .to_owned(),
        ));
    }
    Ok(run)
}

impl Run {
    fn outcome(&mut self, outcome: &OutcomeRecord) {
        let OutcomeRecord { job_id, portal_id, from_object_type, to_object_type, action, dry_run, num_pairs, .. } =
            outcome;
        let types = [from_object_type.as_deref(), to_object_type.as_deref()];
        let answered = self.by_key.entry(key(job_id, *portal_id, types, action, *dry_run, *num_pairs));
        let none = || Answered { id: digest_of(job_id), has_more_pairs: *num_pairs > 1, done: 0, not_done: 0 };
        let answered = answered.or_insert_with(none);
        let count = if outcome.is_done() { &mut answered.done } else { &mut answered.not_done };
        *count = count.saturating_add(1);
        self.ended = self.ended.max(outcome.completed_at);
    }
}

fn digest_of(job_id: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, job_id.as_bytes())
}

fn key_of(job: &Job) -> Uuid {
    let portal = job.portal.map(|portal| portal.0.get());
    let types = [Some(job.from_type.as_written()), Some(job.to_type.as_written())];
    key(job.id.as_str(), portal, types, job.action.as_str(), job.dry_run, job.num_pairs() as u64)
}

fn key(
    job_id: &str,
    portal: Option<u64>,
    types: [Option<&str>; 2],
    action: &str,
    dry_run: bool,
    num_pairs: u64,
) -> Uuid {
    let text = format!("{job_id:?} {portal:?} {types:?} {action} {dry_run} {num_pairs}");
    Uuid::new_v5(&NAMESPACE, text.as_bytes())
}

#[cfg(test)]
mod tests;
