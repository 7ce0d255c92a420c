//! Jobs as lines of text, for the `archive` command: the same loop without a broker.

use jiff::Timestamp;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use crate::contract::ids::{AccountIndex, JobId};
use crate::contract::job::{Job, Malformed};
use crate::contract::outcome::{Head, Outcome};
use crate::contract::refusal::{Refusal, WorkerCategory};
use crate::engine::command::{Carried, NewJob};

/// Takes a job that was written in this many bytes. The error is the job's outcome where it has no account.
pub fn take(
    job: Job,
    bytes: usize,
    account: Result<AccountIndex, Refusal>,
    now: Timestamp,
) -> Result<(NewJob, Head), Box<Outcome>> {
    let head = job.head();
    let weight = job.weight(bytes);
    match account.map(|account| NewJob::of(job, account, weight, Carried::fresh(now))) {
        Ok(new) => Ok((new, head)),
        Err(refusal) => Err(Box::new(Outcome::rejected(head, refusal, now))),
    }
}

/// Answers the line with this number, counted from 1, which is no job. Without an id it is answered as `line-<n>`.
pub fn reject(mut malformed: Malformed, number: u64, now: Timestamp) -> Option<Outcome> {
    malformed.job_id = malformed.job_id.or_else(|| JobId::new(&format!("line-{number}")));
    let refusal = Refusal::worker(WorkerCategory::MalformedJob, &malformed.message);
    Some(Outcome::rejected(malformed.head()?, refusal, now))
}

/// Reads one line into `line`. Of a line that is longer than `limit` bytes, one byte more than that is kept, so that it
/// is refused as too long. `false` at the end of the input.
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
