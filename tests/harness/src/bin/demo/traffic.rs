//! What the demo sends, and what ought to come back for it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use harness::{Job, Message, Status, job};

/// The simulated account.
pub const PORTAL: u64 = 4711;
/// HubSpot's caps for a request.
const MOST_FROM: usize = 100;
const MOST_PAIRS: usize = 1_000;

/// Object types as the jobs spell them: the name, its singular and its id mean the same lane.
const SPELLINGS: [[(&str, &str); 2]; 4] = [
    [("contacts", "companies"), ("0-1", "COMPANY")],
    [("contacts", "deals"), ("contact", "0-3")],
    [("companies", "deals"), ("Companies", "deal")],
    [("tickets", "contacts"), ("0-5", "contact")],
];
const RECORDS: usize = 2_460;
const JOBS_PER_RECORD: usize = 8;
/// Jobs that ask for pairs of other jobs, in a message of their own or as the very same message again.
const REPEATED_PAIRS: usize = 180;
const REPEATED_MESSAGES: usize = 120;
const PARTLY_REFUSED: usize = 4;
const EXPIRED: usize = 7;
/// `from` records that HubSpot refuses, and a `to` record that it refuses in whatever pair.
const REFUSED_FROM: [u64; 3] = [100_077, 101_234, 102_345];
const REFUSED_TO: u64 = 13;
const FIRST_FROM: u64 = 100_000;
const FIRST_TO: u64 = 7_000_000;

/// A (from, to) of the lane with this index.
pub type Pair = (usize, u64, u64);

/// One message and the answer it is owed.
#[derive(Clone, Debug)]
pub struct Submission {
    pub body: Vec<u8>,
    /// The property `message_id`; `None` makes a message that cannot be answered, only dead-lettered.
    pub message_id: Option<String>,
    pub answer: Status,
}

/// All of it, in the order in which it is sent.
#[derive(Debug, Default)]
pub struct Traffic {
    pub submissions: Vec<Submission>,
    /// Every pair that must be archived in the end, and no other.
    pub wanted: BTreeSet<Pair>,
    /// Every pair that is sent at all, refused ones included.
    sent: BTreeSet<Pair>,
}

impl Traffic {
    /// The same 20,000 messages at every call.
    pub fn new() -> Result<Self> {
        let mut traffic = Self::default();
        for record in 0..RECORDS {
            for number in 0..JOBS_PER_RECORD {
                traffic.send(&single(record, number), &[pair(record, number)])?;
            }
        }
        traffic.repeat()?;
        for number in 0..PARTLY_REFUSED {
            let (lane, from, to) = pair(number, JOBS_PER_RECORD);
            let both = [(from, to), (from, REFUSED_TO)];
            traffic.send(
                &in_lane(&format!("partly-{number}"), lane, number).pairs(both),
                &[(lane, from, to), (lane, from, REFUSED_TO)],
            )?;
        }
        for number in 0..EXPIRED {
            let (lane, from, to) = pair(number, JOBS_PER_RECORD + 1);
            let late =
                in_lane(&format!("late-{number}"), lane, number).pair(from, to).not_after("2020-01-01T00:00:00Z");
            traffic.add(&late, Status::Expired)?;
        }
        traffic.spoil()?;
        // Mixed by a fixed rule, but records stay together: that is how systems write them.
        let (main, extras) = traffic.submissions.split_at(RECORDS * JOBS_PER_RECORD);
        traffic.submissions = interleaved(main, extras);
        Ok(traffic)
    }

    /// The flags that make the simulator refuse what is to be refused.
    pub fn refused(&self) -> Vec<u64> {
        REFUSED_FROM.into_iter().chain([REFUSED_TO]).collect()
    }

    /// Fewest requests in which all pairs could go, were they all known at once.
    pub fn fewest_requests(&self) -> usize {
        let mut lanes: BTreeMap<usize, (BTreeSet<u64>, usize)> = BTreeMap::new();
        for (lane, from, _) in &self.sent {
            let (records, pairs) = lanes.entry(*lane).or_default();
            records.insert(*from);
            *pairs += 1;
        }
        let fewest =
            lanes.values().map(|(records, pairs)| records.len().div_ceil(MOST_FROM).max(pairs.div_ceil(MOST_PAIRS)));
        fewest.sum()
    }

    fn send(&mut self, job: &Job, pairs: &[Pair]) -> Result<()> {
        let refused = pairs.iter().filter(|pair| is_refused(pair)).count();
        self.sent.extend(pairs);
        self.wanted.extend(pairs.iter().filter(|pair| !is_refused(pair)));
        let answer = match refused {
            0 => Status::Archived,
            all if all == pairs.len() => Status::Failed,
            _ => Status::Partial,
        };
        self.add(job, answer)
    }

    fn add(&mut self, job: &Job, answer: Status) -> Result<()> {
        let message = job.to_message()?;
        self.submissions.push(Submission { message_id: Some(job.id().to_owned()), body: message.body, answer });
        Ok(())
    }

    fn repeat(&mut self) -> Result<()> {
        for number in 0..REPEATED_PAIRS {
            // 7 and 13 share no factor with the number of records: spread over all of them.
            let (record, of) = (number * 13 % RECORDS, number * 7 % JOBS_PER_RECORD);
            let (lane, from, to) = pair(record, of);
            let again = in_lane(&format!("again-{number}"), lane, number).pair(from, to);
            self.send(&again, &[(lane, from, to)])?;
        }
        for number in 0..REPEATED_MESSAGES {
            let (record, of) = (number * 17 % RECORDS, number * 3 % JOBS_PER_RECORD);
            self.send(&single(record, of), &[pair(record, of)])?;
        }
        Ok(())
    }

    /// Adds messages that are no jobs. Each but the last can be answered by its id.
    fn spoil(&mut self) -> Result<()> {
        let good = |id: &str| in_lane(id, 0, 0).pair(FIRST_FROM, FIRST_TO);
        let wrong = [
            good("unknown-field").field("simulate", true),
            good("wrong-type").types("contacts/batch", "companies"),
            good("wrong-portal").portal(PORTAL + 1),
            good("no-inputs").field("inputs", serde_json::json!([])),
            good("wrong-id").input(serde_json::json!({"from": {"id": "-1"}, "to": [{"id": "2"}]})),
            good("wrong-time").not_after("tomorrow"),
        ];
        for job in &wrong {
            self.add(job, Status::Rejected)?;
        }
        for (id, body) in [("cut-short", &b"{\"portalId\":4711,\"fromObje"[..]), ("no-text", b"\xff\xfe\x00")] {
            let message_id = Some(id.to_owned());
            self.submissions.push(Submission { body: body.to_vec(), message_id, answer: Status::Rejected });
        }
        self.submissions.push(Submission { body: b"hello?".to_vec(), message_id: None, answer: Status::Rejected });
        Ok(())
    }
}

impl Submission {
    pub fn to_message(&self) -> Result<Message> {
        let message = Message::new(self.body.clone());
        match &self.message_id {
            Some(id) => message.id(id),
            None => Ok(message),
        }
    }

    /// The job id in the body, where the body says one.
    pub fn job_id(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        body.get("jobId")?.as_str().map(str::to_owned)
    }
}

/// The canonical names of a lane's object types.
pub fn lane_names() -> impl Iterator<Item = (usize, (&'static str, &'static str))> {
    SPELLINGS.iter().map(|[plain, _]| *plain).enumerate()
}

fn pair(record: usize, number: usize) -> Pair {
    (record % SPELLINGS.len(), FIRST_FROM + record as u64, FIRST_TO + (record * 100 + number) as u64)
}

fn is_refused(&(_, from, to): &Pair) -> bool {
    REFUSED_FROM.contains(&from) || to == REFUSED_TO
}

/// A job of the traffic that goes on after the demo, each a pair of its own; now and then a record is refused.
pub fn going_on(number: usize) -> Result<Message> {
    let (lane, from) = (number % SPELLINGS.len(), from_of(number % RECORDS));
    in_lane(&format!("later-{number}"), lane, number).pair(from, FIRST_TO * 2 + number as u64).to_message()
}

/// The `from` record of this number.
pub fn from_of(record: usize) -> u64 {
    FIRST_FROM + record as u64
}

fn single(record: usize, number: usize) -> Job {
    let (lane, from, to) = pair(record, number);
    in_lane(&format!("sync-{record}-{number}"), lane, number).pair(from, to)
}

fn in_lane(id: &str, lane: usize, spelling: usize) -> Job {
    let spellings = SPELLINGS[lane];
    let (from, to) = spellings[spelling % spellings.len()];
    job(id).portal(PORTAL).types(from, to)
}

/// `extras` spread evenly between `main`.
fn interleaved(main: &[Submission], extras: &[Submission]) -> Vec<Submission> {
    let every = main.len().div_ceil(extras.len() + 1).max(1);
    let mut extras = extras.iter().cloned();
    let mut all = Vec::with_capacity(main.len() + extras.len());
    for chunk in main.chunks(every) {
        all.extend_from_slice(chunk);
        all.extend(extras.next());
    }
    all.extend(extras);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_20_000_messages_of_which_one_cannot_be_answered() -> Result<()> {
        let traffic = Traffic::new()?;
        assert_eq!(traffic.submissions.len(), 20_000);
        let ids = traffic.submissions.iter().filter(|one| one.message_id.is_some() || one.job_id().is_some());
        assert_eq!(ids.count(), 19_999);
        assert_eq!(traffic.fewest_requests(), 28);
        Ok(())
    }

    #[test]
    fn refused_records_are_among_the_sent_and_not_among_the_wanted() -> Result<()> {
        let traffic = Traffic::new()?;
        for id in traffic.refused() {
            let names = |pairs: &BTreeSet<Pair>| pairs.iter().any(|&(_, from, to)| from == id || to == id);
            assert!(names(&traffic.sent) && !names(&traffic.wanted), "{id}");
        }
        Ok(())
    }
}
