//! Jobs as lines of text, for the `archive` command: the same loop without a broker.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use super::accounts::Portals;
use crate::contract::ids::{JobId, PortalId};
use crate::contract::job::{Job, Malformed};
use crate::contract::object_type::TypeText;
use crate::contract::outcome::{Ending, Outcome};
use crate::contract::refusal::{Refusal, WorkerCategory};
use crate::engine::command::{Carried, NewJob, Settled};

/// What must be kept of a line until it is answered.
#[derive(Debug)]
pub struct Line {
    pub job_id: JobId,
    pub portal: Option<PortalId>,
    pub from_type: Option<TypeText>,
    pub to_type: Option<TypeText>,
}

/// Takes a job that was written in this many bytes; the error is its answer where no account may do it.
pub fn take(job: Job, bytes: usize, portals: &Portals, now: Timestamp) -> Result<(NewJob, Line), Box<Outcome>> {
    let (from_text, to_text) = (Some(job.from_type.text().clone()), Some(job.to_type.text().clone()));
    let of_line = Line { job_id: job.id.clone(), portal: job.portal, from_type: from_text, to_type: to_text };
    match portals.resolve(job.portal) {
        Ok(account) => {
            let weight = job.weight(bytes);
            let Job { from_type, to_type, asks, not_after, .. } = job;
            let carried = Carried::fresh(now);
            Ok((NewJob { account, from_type, to_type, asks, not_after, weight, carried }, of_line))
        }
        Err(refusal) => Err(Box::new(rejected(of_line, refusal, now))),
    }
}

/// Answers the line with this number, counted from 1, which is no job. Without an id it is answered as `line-<n>`.
pub fn reject(malformed: Malformed, number: u64, now: Timestamp) -> Option<Outcome> {
    let Malformed { job_id, portal, from_type, to_type, message } = malformed;
    let refusal = Refusal::worker(WorkerCategory::MalformedJob, &message);
    let job_id = job_id.or_else(|| JobId::new(&format!("line-{number}")))?;
    Some(rejected(Line { job_id, portal, from_type, to_type }, refusal, now))
}

fn rejected(line: Line, refusal: Refusal, now: Timestamp) -> Outcome {
    let Line { job_id, portal, from_type, to_type } = line;
    Outcome {
        job_id,
        portal,
        from_type,
        to_type,
        ending: Ending::Rejected(Arc::new(refusal)),
        attempts: 0,
        received_at: now,
        started_at: None,
        completed_at: now,
    }
}

/// The outcome of a job that the engine has settled.
pub fn settled(line: Line, settled: Settled, completed: Timestamp) -> Outcome {
    let Line { job_id, portal, from_type, to_type } = line;
    Outcome {
        job_id,
        portal,
        from_type,
        to_type,
        ending: settled.ending,
        attempts: settled.carried.attempts,
        received_at: settled.carried.received,
        started_at: settled.carried.started,
        completed_at: completed,
    }
}

/// Reads one line into `line`, at most `limit` bytes of it kept: a longer one keeps one byte more, so that it is refused
/// as too long. `false` at the end.
pub async fn next_line(
    input: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    limit: usize,
) -> std::io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let available = input.fill_buf().await?;
        if available.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = available.iter().position(|&byte| byte == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        let room = (limit + 1).saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        let consumed = end.map_or(available.len(), |end| end + 1);
        input.consume(consumed);
        if end.is_some() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_cut_at_the_limit_and_the_next_one_is_whole() {
        let mut input = &b"abcdef\n\nxy"[..];
        let mut line = Vec::new();
        let mut read = Vec::new();
        while next_line(&mut input, &mut line, 3).await.unwrap() {
            read.push(line.clone());
        }
        assert_eq!(read, [b"abcd".to_vec(), Vec::new(), b"xy".to_vec()]);
    }
}
