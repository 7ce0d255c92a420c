//! A backlog that is kept up, and a record of each job's answers that stays small however many jobs there are.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Client, Message, Outcome, Status, Until};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::stage::{JOBS, RESULTS};
use crate::traffic;

/// Jobs published together.
const WAVE: u64 = 2_000;
/// How long the publisher waits where enough jobs wait.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// The longest that one reading of the results queue lasts, so that the record is never far behind.
const READING: Duration = Duration::from_secs(1);
/// Numbers named in a report.
const NAMED: usize = 5;

/// Publishes and reads, each in a task of its own, until it is concluded.
#[derive(Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
    publishing: JoinHandle<Result<u64>>,
    reading: JoinHandle<Result<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    published: AtomicU64,
    /// Jobs with at least one answer.
    answered: AtomicU64,
    enough: AtomicBool,
    all_read: AtomicBool,
    account: Mutex<Account>,
}

#[derive(Debug, Default)]
struct Account {
    /// By number of the job: what its first answer said, as a digest of identity and words.
    first: Vec<Option<u64>>,
    copies: u64,
    contradicting: Vec<u64>,
    not_archived: Vec<u64>,
    strangers: Vec<String>,
}

/// What came of all jobs.
#[derive(Debug)]
pub struct Balance {
    pub published: u64,
    /// Answers beyond the first of each job.
    pub copies: u64,
}

impl Ledger {
    /// At least `backlog` jobs wait for their answers from now on.
    pub fn open(uri: &str, backlog: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let publishing = tokio::spawn(publish(Client::new(uri), backlog, Arc::clone(&shared)));
        let reading = tokio::spawn(read(Client::new(uri), Arc::clone(&shared)));
        Self { shared, publishing, reading }
    }

    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Publishes no more, waits until every job is answered, and says what came of them.
    pub async fn close(self, patience: Duration) -> Result<Balance> {
        let Self { shared, publishing, reading } = self;
        shared.enough.store(true, Ordering::Relaxed);
        let published = publishing.await.context("publishing jobs panicked")??;
        let all = || shared.answered.load(Ordering::Relaxed) >= published;
        let answered = harness::eventually(patience, "an answer to every job", async || Ok(all().then_some(()))).await;
        // Copies come last.
        sleep(READING * 2).await;
        shared.all_read.store(true, Ordering::Relaxed);
        reading.await.context("reading answers panicked")??;
        let account = shared.account.lock().unwrap_or_else(PoisonError::into_inner);
        let lost: Vec<u64> = (0..published).filter(|&number| account.of(number).is_none()).collect();
        let named = |numbers: &[u64]| format!("{} ({:?} …)", numbers.len(), &numbers[..numbers.len().min(NAMED)]);
        ensure!(lost.is_empty(), "{answered:?}; no answer to {} of {published} jobs", named(&lost));
        let Account { first: _, copies, contradicting, not_archived, strangers } = &*account;
        ensure!(contradicting.is_empty(), "answers that disagree: {}", named(contradicting));
        ensure!(not_archived.is_empty(), "not archived: {}", named(not_archived));
        ensure!(strangers.is_empty(), "answers to jobs that nobody published: {strangers:?}");
        Ok(Balance { published, copies: *copies })
    }
}

impl Account {
    fn of(&self, number: u64) -> Option<u64> {
        self.first.get(usize::try_from(number).ok()?).copied().flatten()
    }

    /// True where it is the job's first answer.
    fn enter(&mut self, message: &Message) -> Result<bool> {
        let outcome = Outcome::from_message(message)?;
        let number = outcome.job_id.strip_prefix("job-").and_then(|number| number.parse::<u64>().ok());
        let Some(number) = number else {
            self.strangers.push(outcome.job_id);
            return Ok(false);
        };
        if outcome.status != Status::Archived {
            self.not_archived.push(number);
        }
        let place = usize::try_from(number)?;
        if self.first.len() <= place {
            self.first.resize(place + 1, None);
        }
        let digest = digest(&outcome);
        match self.first[place] {
            None => {
                self.first[place] = Some(digest);
                return Ok(true);
            }
            Some(first) if first == digest => {}
            Some(_) => self.contradicting.push(number),
        }
        self.copies += 1;
        Ok(false)
    }
}

/// Equal for copies of one outcome: one identity, one content apart from times and numbers of attempts.
fn digest(outcome: &Outcome) -> u64 {
    let mut hasher = DefaultHasher::new();
    let (status, pairs, archived, errors) = outcome.words();
    (outcome.message.message_id(), status, pairs, archived, format!("{errors:?}")).hash(&mut hasher);
    hasher.finish()
}

async fn publish(client: Client, backlog: u64, shared: Arc<Shared>) -> Result<u64> {
    let mut published = 0;
    while !shared.enough.load(Ordering::Relaxed) {
        if published >= shared.answered.load(Ordering::Relaxed) + backlog {
            sleep(BETWEEN_LOOKS).await;
            continue;
        }
        client.publish(JOBS, traffic::lone_jobs(published..published + WAVE)?).await?;
        published += WAVE;
        shared.published.store(published, Ordering::Relaxed);
    }
    Ok(published)
}

async fn read(client: Client, shared: Arc<Shared>) -> Result<()> {
    while !shared.all_read.load(Ordering::Relaxed) {
        // Through whatever faults: too few is no error, and the next reading goes on.
        let Ok(messages) = client.collect(RESULTS, Until::Count(usize::MAX), READING).await else { continue };
        let mut account = shared.account.lock().unwrap_or_else(PoisonError::into_inner);
        let mut first = 0;
        for message in &messages {
            first += u64::from(account.enter(message)?);
        }
        drop(account);
        shared.answered.fetch_add(first, Ordering::Relaxed);
    }
    Ok(())
}
