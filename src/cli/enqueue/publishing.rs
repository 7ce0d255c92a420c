//! Rows onto the queue, with confirms.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::message_id::Run;
use crate::amqp::message::{Envelope, Outgoing, Properties};
use crate::amqp::route::Route;
use crate::amqp::sender::{SendFault, Sender};
use crate::cli::bar::bar;
use crate::cli::exit::Failure;
use crate::cli::jobs_file::rows::{RowFault, RowJob, Rows};
use crate::cli::jobs_file::source::{Input, Source};
use crate::config::Settings;
use crate::contract::grouped::Grouped;
use crate::telemetry::progress;

/// The first message goes alone. Where the user lacks a right, or the exchange is missing, the broker refuses it, and then it
/// is sure that nothing is on the queue.
const FIRST_ROUND: usize = 1;
/// Messages published before their confirms are awaited.
const MAX_ROUND: usize = 1_000;
/// Bytes of bodies published before their confirms are awaited; a larger one goes alone.
const MAX_ROUND_BYTES: usize = 4 * 1024 * 1024;

/// How far it has come, also for whoever ends the command at once.
#[derive(Clone, Debug)]
pub struct Reached(Arc<Mutex<Counts>>);

#[derive(Clone, Copy, Debug)]
struct Counts {
    total: u64,
    enqueued: u64,
    /// Given to the broker, which has not confirmed them yet.
    unconfirmed: u64,
    /// The last line that is surely on the queue.
    last_line: u64,
}

impl Reached {
    pub fn new(total: u64, from_line: u64) -> Self {
        let last_line = from_line.saturating_sub(1);
        Self(Arc::new(Mutex::new(Counts { total, enqueued: 0, unconfirmed: 0, last_line })))
    }

    fn counts(&self) -> Counts {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// As the end of a sentence about what broke it off.
impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { total, enqueued, unconfirmed, last_line } = self.counts();
        if enqueued == total {
            return write!(f, "all {} jobs are enqueued", Grouped(total));
        }
        if enqueued + unconfirmed == 0 {
            return f.write_str("nothing is enqueued: give the same command again");
        }
        write!(f, "{} jobs are enqueued, ", Grouped(enqueued))?;
        if unconfirmed > 0 {
            write!(f, "up to {} more may be, which the broker has not confirmed, ", Grouped(unconfirmed))?;
        }
        write!(f, "go on with --from-line {}", last_line + 1)
    }
}

/// Publishes the rows from `from_line` on, and says how many they were.
pub async fn publish(
    settings: &Settings,
    source: &mut Source,
    run: &Run,
    (route, from_line): (Route, u64),
    reached: &Reached,
    stop: &CancellationToken,
) -> Result<u64, Failure> {
    let sender = Sender::open(&settings.amqp, stop).await.map_err(|fault| Failure::Running(fault.to_string()))?;
    let total = reached.counts().total;
    let bar = bar(total, 0, "jobs");
    let name = source.name.clone();
    let mut rows = source.rows()?;
    let mut most = FIRST_ROUND;
    let done = loop {
        let round = match next_round(&mut rows, (from_line, most), &name).await {
            Ok(round) if round.is_empty() => break Ok(reached.counts().enqueued),
            Ok(round) => round,
            Err(failure) => break Err(failure),
        };
        most = MAX_ROUND;
        let sent = send(&sender, run, route, round, reached).await;
        let enqueued = reached.counts().enqueued;
        bar.set_position(enqueued);
        if let Err(fault) = sent {
            break Err(Failure::Running(format!("{fault}; {reached}")));
        }
        if stop.is_cancelled() && enqueued < total {
            break Err(Failure::Running(format!("stopped by a signal; {reached}")));
        }
    };
    progress::end();
    sender.close().await;
    done
}

type Round = Vec<(u64, RowJob)>;

async fn next_round(rows: &mut Rows<Input>, (from_line, most): (u64, usize), name: &str) -> Result<Round, Failure> {
    let (mut round, mut bytes) = (Round::new(), 0);
    while round.len() < most && bytes < MAX_ROUND_BYTES {
        let Some(row) = rows.next().await.map_err(|fault| Failure::Usage(format!("{name} {fault}")))? else { break };
        if row.line < from_line {
            continue;
        }
        let job = row.job.map_err(|fault| {
            let fault = match fault {
                RowFault::Job(malformed) => malformed.message,
                RowFault::Encoding(fault) => fault,
            };
            Failure::Running(format!("line {} was changed after it was checked: {fault}", row.line))
        })?;
        bytes += job.body.len();
        round.push((row.line, job));
    }
    Ok(round)
}

async fn send(sender: &Sender, run: &Run, route: Route, round: Round, reached: &Reached) -> Result<(), String> {
    let lines: Vec<u64> = round.iter().map(|(line, _)| *line).collect();
    let jobs = round.into_iter().map(|(line, RowJob { body, job: _ })| (run.message_id(line), body));
    reached.note(|counts| counts.unconfirmed = lines.len() as u64);
    let (safe, fault) = send_jobs(sender, route, jobs).await.map_err(|fault| {
        if lines.len() == 1 && fault.refuses() {
            reached.note(|counts| counts.unconfirmed = 0);
        }
        fault.to_string()
    })?;
    reached.note(|counts| {
        counts.unconfirmed = 0;
        counts.enqueued += safe as u64;
        counts.last_line = lines[..safe].last().copied().unwrap_or(counts.last_line);
    });
    fault.map_or(Ok(()), |fault| Err(fault.to_string()))
}

/// Publishes jobs by their message ids, and says how many are surely on the queue before the first that is not.
pub async fn send_jobs(
    sender: &Sender,
    route: Route,
    jobs: impl Iterator<Item = (String, Vec<u8>)>,
) -> Result<(usize, Option<SendFault>), SendFault> {
    let messages = jobs.map(|(message_id, body)| {
        let envelope = Envelope::Copy(Properties::of_job(&message_id));
        Outgoing { route, body: Bytes::from(body), envelope }
    });
    let messages: Vec<Outgoing> = messages.collect();
    let sent = sender.send(&messages).await?;
    // Those behind a gap are published too, and published again when the command is repeated from the gap.
    let safe = sent.proofs.iter().take_while(|proof| proof.is_some()).count();
    Ok((safe, sent.fault))
}
