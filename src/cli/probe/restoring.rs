//! Putting back what was there, and reading it again to prove it.
//!
//! What is read right after a change may be what was there before it, so that nothing is left undone because a read shows
//! it as it should be: what was there is asked for again in any case, and then read.

use std::time::Duration;

use tokio::time::Instant;

use super::pair::{Between, Direction, Seen};
use super::wire::{Broken, Change, Took, Wire};
use crate::cli::output::remark;
use crate::contract::association::Extent;

/// Time from the last change to the first read that counts.
const SETTLING: Duration = Duration::from_secs(2);
/// This time where a change was refused. It is longer than any lag that was ever seen.
const LONG_SETTLING: Duration = Duration::from_secs(6);
/// How often it is tried; each request of it is repeated by itself while HubSpot is in trouble.
const ROUNDS: usize = 2;

/// How it is in the end.
#[derive(Debug)]
pub enum Restored {
    /// Nothing was changed.
    Untouched,
    AsBefore,
    /// The pair is as before, another association of its records is not; with jobs for what it was.
    Others(String),
    /// The pair is not, or nobody knows.
    Not(String),
}

/// Goes to the end whatever the signals say.
pub async fn restore(wire: &mut Wire, between: &Between, before: &Seen, wait: Duration) -> Restored {
    if wire.changed().is_none() {
        return Restored::Untouched;
    }
    remark("putting back what was there");
    wire.go_to_the_end();
    let mut why = String::new();
    for _ in 0..ROUNDS {
        let settling = match put_back(wire, between, before).await {
            Ok(()) => SETTLING,
            Err(fault) => {
                why = fault;
                LONG_SETTLING
            }
        };
        match proven(wire, between, before, settling, wait).await {
            Ok(Some(now)) => {
                let others = before.jobs_of_others(between, &now);
                return if others.is_empty() { Restored::AsBefore } else { Restored::Others(others) };
            }
            Ok(None) if why.is_empty() => "a read still shows it otherwise".clone_into(&mut why),
            Ok(None) => {}
            Err(broken) => broken.words().clone_into(&mut why),
        }
    }
    Restored::Not(why)
}

async fn put_back(wire: &mut Wire, between: &Between, before: &Seen) -> Result<(), String> {
    let associated = Direction::BOTH.map(|direction| (direction, before.labels(between, direction)));
    let nothing = associated.iter().all(|(_, labels)| labels.is_none());
    let mut fault = None;
    for (direction, labels) in associated {
        let change = match &labels {
            Some(labels) => Change::Create(labels),
            // To archive one direction removes the other as well, where associations are two-way.
            None if nothing => Change::Remove(&Extent::Whole),
            None => continue,
        };
        match wire.change(between, direction, change).await {
            Ok(Took::Done { .. }) => {}
            Ok(Took::Refused(refusal)) => fault = Some(refusal.message.to_string()),
            Err(broken) => fault = Some(broken.words().to_owned()),
        }
    }
    fault.map_or(Ok(()), Err)
}

/// What there is, once the pair is as before; `None` where it does not come to that.
async fn proven(
    wire: &mut Wire,
    between: &Between,
    before: &Seen,
    settling: Duration,
    wait: Duration,
) -> Result<Option<Seen>, Broken> {
    let began = Instant::now();
    wire.wait(settling).await?;
    loop {
        let there = wire.read(between, Direction::There).await?;
        let now = Seen { there, back: wire.read(between, Direction::Back).await? };
        let is_as_before = Direction::BOTH.into_iter().all(|direction| {
            let pair = between.pair(direction);
            now.of(direction).with(pair) == before.of(direction).with(pair)
        });
        let others = before.jobs_of_others(between, &now);
        let over = began.elapsed() >= settling + wait;
        if is_as_before && (others.is_empty() || over) {
            return Ok(Some(now));
        }
        if over {
            return Ok(None);
        }
    }
}
