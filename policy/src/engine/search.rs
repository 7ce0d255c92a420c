//! Which pairs of a batch are at fault.
//!
//! HubSpot refuses a request as a whole and often does not say which pair it minds. The suspects are halved, and the
//! first half is tried. If it is refused, it holds a bad pair and is halved in its turn. Nothing is known then of the
//! second half, its sibling, which is tried as a whole. If the first half is archived, the bad pair must be in the
//! sibling, which is halved at once. A suspect is tried alone before it is refused, so that the refusal it gets is its
//! own. Only when a search has used up its allowance are suspects refused together, as `UNATTRIBUTED`. ARCHITECTURE.md
//! has an example.
//!
//! Where HubSpot names one bad pair at a time, the others go again without it. After some rounds of that the rest is
//! halved too.
//!
//! A record can also be stuck: every request with it fails as if HubSpot were in trouble. A batch that has failed a few
//! times as a whole is therefore halved, but only if the account was served meanwhile: in an outage every batch fails,
//! and to halve them would find nothing. Where no other request of the account was sent that could tell the two apart,
//! one pair of the batch is sent as a sample. Both halves are tried, since the trouble may be over by then. No pair is
//! refused for this: a single pair that goes on failing is retried by itself.
//!
//! Nothing is sent here: a search says in a list of [`Next`] what is to be done with the pairs.

use std::sync::Arc;
use std::time::Duration;

use super::backlog::{LaneKey, NodeKey};
use super::batch::Batch;
use super::clock::Tick;
use super::command::CallResult;
use super::verdict::{Again, PairVerdict};
use crate::contract::grouped::Grouped;
use crate::contract::refusal::{Refusal, WorkerCategory};

mod failing;
mod halves;
mod sorted;
pub mod trial;

pub use failing::{Circumstances, Failed, failed, named};
pub use halves::{Halves, halve};
pub use trial::Cause;

use halves::in_two;
use sorted::{Failing, Sorted, batches_of};
use trial::{Allowance, Suspected, Suspects, Trial};

/// What is to be done next with pairs that have no verdict yet.
#[derive(Debug)]
pub enum Next {
    /// Send these suspects as a trial, if the allowance permits.
    Try(Attempt),
    /// Send this batch again at once.
    Return(Batch),
    /// Send this batch again after a back-off: it failed for a transient reason.
    Repeat(Batch, Arc<Again>),
    /// The same, where one error of the answer names all of these pairs, as it does by a record that they share.
    RepeatNamed(Batch, Arc<Again>),
}

/// A trial whose request has not been taken from the allowance yet.
#[derive(Debug)]
pub struct Attempt {
    batch: Batch,
    cause: Cause,
    trial: Trial,
    /// HubSpot asked for this wait before the next request.
    wait: Duration,
}

/// What the verdicts on the pairs of one batch come to.
#[derive(Debug)]
pub struct Findings {
    pub result: CallResult,
    pub refused: Vec<(NodeKey, Arc<Refusal>)>,
    pub archived: Vec<NodeKey>,
    /// The number of suspects, if a search begins with this answer.
    pub begins_with: Option<usize>,
    /// In this order.
    pub next: Vec<Next>,
}

/// After this many answers that each name one bad pair, the rest is halved.
const NAMING_ROUNDS: u32 = 5;

impl Attempt {
    /// Takes the trial's request from the allowance. If none is left, nobody will find out: the error holds all
    /// suspects, the sibling's too.
    #[expect(clippy::result_large_err, reason = "it is moved once, and only where the allowance is spent")]
    pub fn begin(self) -> Result<(Batch, Duration), (Batch, Cause)> {
        let Self { mut batch, cause, trial, wait } = self;
        if trial.allowance.spend() {
            batch.trial = Some(trial);
            return Ok((batch, wait));
        }
        batch.nodes.extend(trial.sibling.into_iter().flat_map(|sibling| sibling.nodes));
        Err((batch, cause))
    }
}

/// Sorts a batch by the verdicts on its pairs and says what follows. `sent`: when its request left. `requests`: the
/// allowance of a search that begins with this answer.
pub fn conclude(batch: Batch, verdicts: &[PairVerdict], requests: u32, sent: Tick, now: Tick) -> Findings {
    let is_suspect = batch.is_suspect();
    let Batch { lane, nodes, failures, failing_since, rounds: rounds_in_hand, trial, stuck: was_stuck, .. } = batch;
    let sorted = Sorted::of(&nodes, verdicts);
    let result = sorted.result(nodes.len());
    let begins = !sorted.suspects.is_empty() && trial.is_none();
    let begins_with = begins.then(|| sorted.suspects.iter().map(|suspects| suspects.nodes.len()).sum());
    let named = sorted.named();
    let fault_found = !sorted.refused.is_empty() || !sorted.suspects.is_empty();
    // What is named is taken out in any case, so one request for the rest is always allowed.
    let requests = if named.is_some() && !sorted.untouched.is_empty() { requests.max(1) } else { requests };
    let new = || Trial { allowance: Allowance::new(requests, now), sibling: None, of: Suspected::Refused, rounds: 0 };
    let Trial { allowance, mut sibling, of: _, rounds } = trial.unwrap_or_else(new);
    let mut search = Search { lane, allowance, rounds, failing_since };
    let mut next = Vec::new();
    // The fault was in this half, so nothing is known of the other.
    if fault_found && let Some(sibling) = sibling.take() {
        next.push(search.attempt(sibling, None));
    }
    next.extend(sorted.suspects.into_iter().map(|suspects| search.split(suspects)));
    if !sorted.untouched.is_empty() {
        next.push(match named {
            Some(cause) => {
                search.rounds += 1;
                let rest = Suspects { nodes: sorted.untouched, cause };
                match (sibling.take(), search.rounds) {
                    (None, NAMING_ROUNDS..) => search.split(rest),
                    (sibling, _) => search.attempt(rest, sibling),
                }
            }
            None => Next::Return(Batch { failures, failing_since, ..Batch::new(lane, sorted.untouched) }),
        });
    }
    let failing: usize = sorted.failing.iter().map(|failing| failing.nodes.len()).sum();
    let named = is_suspect || was_stuck || failing < nodes.len() || sorted.failing.len() > 1;
    for Failing { again, nodes, together } in batches_of(sorted.failing) {
        let sibling = sibling.take();
        // What is searched goes on at the cost of the same search.
        let is_trial = is_suspect || sibling.is_some();
        let trial = is_trial.then(|| search.trial(Suspected::Failing, sibling));
        let stuck = named && nodes.len() == 1;
        // HubSpot has looked at the records of this very request, so it counts as one that was served.
        let failing_since = failing_since.or(Some(sent));
        let rest = Batch::new(lane, nodes);
        let batch = Batch { failures, failing_since, named, stuck, rounds: rounds_in_hand, trial, ..rest };
        next.push(if together { Next::RepeatNamed(batch, again) } else { Next::Repeat(batch, again) });
    }
    if let Some(sibling) = sibling {
        next.push(search.known_bad(sibling));
    }
    Findings { result, refused: sorted.refused, archived: sorted.archived, begins_with, next }
}

/// All pairs of the batch were archived, so the fault is in the other half, if there is one.
pub fn proved_good(batch: Batch) -> Option<Next> {
    let Batch { lane, failing_since, trial, .. } = batch;
    let Trial { allowance, sibling, of: _, rounds } = trial?;
    Some(Search { lane, allowance, rounds, failing_since }.known_bad(sibling?))
}

/// All jobs of the batch have left, so it is not sent, and no answer to it will tell about the other half. If there is
/// one, it is tried by itself.
pub fn deserted(batch: Batch) -> Option<Next> {
    let Batch { lane, failing_since, trial, .. } = batch;
    let Trial { allowance, sibling, of: _, rounds } = trial?;
    Some(Search { lane, allowance, rounds, failing_since }.attempt(sibling?, None))
}

/// The refusal of a pair that may be good, since no request was left to try it by itself.
pub fn unattributed(cause: &Refusal, requests: u32) -> Refusal {
    let further = if requests == 1 { "request" } else { "requests" };
    let message = format!(
        "HubSpot refused requests that carried this pair and others without saying which is at fault, and {} \
         further {further} (isolation.max_requests) did not find out; it may be good. HubSpot's words: {}",
        Grouped(requests.into()),
        cause.message
    );
    Refusal {
        http_status: cause.http_status,
        correlation_id: cause.correlation_id.clone(),
        ..Refusal::worker(WorkerCategory::Unattributed, &message)
    }
}

/// The search that one batch began.
struct Search {
    lane: LaneKey,
    allowance: Allowance,
    rounds: u32,
    /// Since when the batch has been failing, if it has.
    failing_since: Option<Tick>,
}

impl Search {
    fn trial(&self, of: Suspected, sibling: Option<Suspects>) -> Trial {
        Trial { allowance: self.allowance.clone(), sibling, of, rounds: self.rounds }
    }

    fn attempt(&self, suspects: Suspects, sibling: Option<Suspects>) -> Next {
        let Suspects { nodes, cause } = suspects;
        let of = match &cause {
            Cause::Refused(_) => Suspected::Refused,
            Cause::Failing(_) => Suspected::Failing,
        };
        let batch = Batch { failing_since: self.failing_since, ..Batch::new(self.lane, nodes) };
        Next::Try(Attempt { batch, cause, trial: self.trial(of, sibling), wait: Duration::ZERO })
    }

    /// Tries the first half of a set that holds a bad pair; the answer also tells something about the second half. A
    /// single pair is tried as it is, so that it gets an answer of its own.
    fn split(&self, suspects: Suspects) -> Next {
        if suspects.nodes.len() < 2 {
            return self.attempt(suspects, None);
        }
        let Suspects { nodes, cause } = suspects;
        let (nodes, others) = in_two(nodes);
        let sibling = Suspects { nodes: others, cause: cause.clone() };
        self.attempt(Suspects { nodes, cause }, Some(sibling))
    }

    /// A set of which the other half is good. What only failed may be good too by now: it is tried.
    fn known_bad(&self, suspects: Suspects) -> Next {
        match suspects.cause {
            Cause::Refused(_) => self.split(suspects),
            Cause::Failing(_) => self.attempt(suspects, None),
        }
    }
}

#[cfg(test)]
mod tests;
