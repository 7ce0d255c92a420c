//! Jobs as lines: each line is read as a whole whatever the pieces it comes in, and each gets an answer.

use association_archiver::contract::job::{JobLimits, JobProperties, parse};
use association_archiver::contract::outcome::Status;
use association_archiver::worker::accounts::Portals;
use association_archiver::worker::lines::{next_line, reject, take};
use jiff::Timestamp;
use tokio::io::BufReader;

use crate::campaign::{self, Taken};

const LIMITS: JobLimits = JobLimits { max_bytes: 600, max_pairs: 20 };

#[test]
fn every_line_is_a_job_or_is_answered() {
    campaign::run("lines", |input| {
        let expected = split(input, LIMITS.max_bytes);
        for capacity in [1, 7, 8192] {
            assert_eq!(lines_of(input, capacity), expected, "read in pieces of {capacity}");
        }
        let portals = Portals::new(vec![None]);
        let mut taken = Taken::Refused;
        for (line, number) in expected.iter().zip(1..) {
            let cut = line.len() > LIMITS.max_bytes;
            let outcome = match parse(line, JobProperties::default(), &LIMITS) {
                Ok(job) => {
                    let account = portals.resolve(job.portal);
                    match take(job, line.len(), account, Timestamp::UNIX_EPOCH) {
                        Ok((job, of_line)) => {
                            assert!(!job.asks.is_empty() && of_line.portal.is_none());
                            assert!(!cut, "the start of a line is taken for the whole");
                            taken = Taken::Accepted;
                            continue;
                        }
                        Err(outcome) => *outcome,
                    }
                }
                Err(malformed) => {
                    reject(malformed, number, Timestamp::UNIX_EPOCH).expect("a line that is no job is answered")
                }
            };
            assert_eq!(outcome.status(), Status::Rejected);
            let mut json = Vec::new();
            outcome.encode(&mut json);
            assert!(!json.contains(&b'\n'), "an answer is one line");
            serde_json::from_slice::<serde_json::Value>(&json).expect("an answer is JSON");
        }
        taken
    });
}

/// The lines as they should be read: at most one byte more than is allowed, so that it is refused.
pub fn split(input: &[u8], max_bytes: usize) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    if lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines.iter_mut().for_each(|line| line.truncate(max_bytes + 1));
    lines
}

fn lines_of(input: &[u8], capacity: usize) -> Vec<Vec<u8>> {
    let mut reader = BufReader::with_capacity(capacity, input);
    at_once(async {
        let (mut line, mut lines) = (Vec::new(), Vec::new());
        while next_line(&mut reader, &mut line, LIMITS.max_bytes).await.unwrap() {
            lines.push(line.clone());
        }
        lines
    })
}

/// What a future gives that need not wait, since all is in memory.
pub fn at_once<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("waits for something"),
    }
}
