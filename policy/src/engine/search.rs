//! Which pairs of a refused batch are at fault.
//!
//! HubSpot refuses a request as a whole and often does not say which pair it minds. The suspects are halved, and the
//! first half is tried. If it is refused, it holds a bad pair and is halved in its turn. Nothing is known then of the
//! second half, its sibling, which is tried as a whole. If the first half is archived, the bad pair must be in the
//! sibling, which is halved at once. A suspect is tried alone before it is refused, so that the refusal it gets is its
//! own. Only when a search has used up its allowance are suspects refused together, as `UNATTRIBUTED`. ARCHITECTURE.md
//! has an example.
//!
//! Nothing is sent here: a search says in a list of [`Next`] what is to be done with the pairs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::backlog::{LaneKey, NodeKey};
use super::batch::Batch;
use super::clock::Tick;
use super::command::CallResult;
use super::verdict::PairVerdict;
use crate::contract::refusal::{Refusal, WorkerCategory};

/// What makes a batch a trial: it is sent to find out which pair is at fault.
#[derive(Debug)]
pub struct Trial {
    allowance: Allowance,
    /// The other half of a set that is known to hold a bad pair: if this half is good, that one is bad.
    sibling: Option<Suspects>,
}

/// The extra requests that one refused batch may cost. All parts of its search share it.
#[derive(Clone, Debug)]
struct Allowance {
    left: Arc<AtomicU32>,
    /// When the search began.
    begun: Tick,
}

/// Pairs among which at least one is at fault.
#[derive(Debug)]
pub struct Suspects {
    pub nodes: Vec<NodeKey>,
    /// The answer that put them under suspicion.
    pub refusal: Arc<Refusal>,
}

/// What is to be done next with pairs that have no verdict yet.
#[derive(Debug)]
pub enum Next {
    /// Send these suspects as a trial, if the allowance permits.
    Try(Attempt),
    /// Send this batch again at once.
    Return(Batch),
    /// Send this batch again after a back-off: it failed for a transient reason.
    Repeat(Batch, Arc<Refusal>),
}

/// A trial whose request has not been taken from the allowance yet.
#[derive(Debug)]
pub struct Attempt {
    lane: LaneKey,
    suspects: Suspects,
    trial: Trial,
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

impl Allowance {
    fn new(requests: u32, begun: Tick) -> Self {
        Self { left: Arc::new(AtomicU32::new(requests)), begun }
    }

    /// Takes one request; `false` if none is left.
    fn spend(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

impl Trial {
    /// When the search began that this trial belongs to.
    pub fn begun(&self) -> Tick {
        self.allowance.begun
    }

    /// The pairs whose trial depends on the answer to this one.
    pub fn sibling_nodes(&self) -> &[NodeKey] {
        self.sibling.as_ref().map(|sibling| sibling.nodes.as_slice()).unwrap_or_default()
    }

    #[cfg(test)]
    pub fn begun_at(begun: Tick) -> Self {
        Self { allowance: Allowance::new(1, begun), sibling: None }
    }
}

impl Attempt {
    /// Takes the trial's request from the allowance. If none is left, the search ends here: the error holds all
    /// suspects, the sibling's too.
    pub fn begin(self) -> Result<Batch, (LaneKey, Suspects)> {
        let Self { lane, mut suspects, trial } = self;
        if trial.allowance.spend() {
            return Ok(Batch { trial: Some(trial), ..Batch::new(lane, suspects.nodes) });
        }
        suspects.nodes.extend(trial.sibling.into_iter().flat_map(|sibling| sibling.nodes));
        Err((lane, suspects))
    }
}

/// Sorts a batch by the verdicts on its pairs and says what follows. `requests`: the allowance of a search that begins
/// with this answer.
pub fn conclude(batch: Batch, verdicts: &[PairVerdict], requests: u32, now: Tick) -> Findings {
    let Batch { lane, nodes, wire: _, failures, trial } = batch;
    let sorted = Sorted::of(&nodes, verdicts);
    let fault_found = !sorted.refused.is_empty() || !sorted.suspects.is_empty();
    let begins = !sorted.suspects.is_empty() && trial.is_none();
    let begins_with = begins.then(|| sorted.suspects.iter().map(|suspects| suspects.nodes.len()).sum());
    let Trial { allowance, mut sibling } =
        trial.unwrap_or_else(|| Trial { allowance: Allowance::new(requests, now), sibling: None });
    let search = Search { lane, allowance };
    let result = sorted.result(nodes.len());
    let mut next = Vec::new();
    // The fault was in this half, so nothing is known of the other.
    if fault_found && let Some(sibling) = sibling.take() {
        next.push(search.attempt(sibling, None));
    }
    next.extend(sorted.suspects.into_iter().map(|suspects| search.split(suspects)));
    if !sorted.untouched.is_empty() {
        let trial = (fault_found || sibling.is_some()).then(|| search.trial(sibling.take()));
        next.push(Next::Return(Batch { failures, trial, ..Batch::new(lane, sorted.untouched) }));
    }
    if let Some(refusal) = sorted.transient {
        let trial = sibling.take().map(|sibling| search.trial(Some(sibling)));
        next.push(Next::Repeat(Batch { failures, trial, ..Batch::new(lane, sorted.again) }, refusal));
    }
    if let Some(sibling) = sibling {
        next.push(search.split(sibling));
    }
    Findings { result, refused: sorted.refused, archived: sorted.archived, begins_with, next }
}

/// All pairs of the batch were archived, so the fault is in the other half, if there is one.
pub fn proved_good(batch: Batch) -> Option<Next> {
    let Trial { allowance, sibling } = batch.trial?;
    Some(Search { lane: batch.lane, allowance }.split(sibling?))
}

/// All jobs of the batch have left, so it is not sent, and no answer to it will tell about the other half. If there is
/// one, it is tried by itself.
pub fn deserted(batch: Batch) -> Option<Next> {
    let Trial { allowance, sibling } = batch.trial?;
    Some(Search { lane: batch.lane, allowance }.attempt(sibling?, None))
}

/// A batch that was too large, in halves.
#[derive(Debug)]
pub struct Halves {
    pub halves: [Batch; 2],
    /// What waited for the answer to the whole, if anything did.
    pub sibling: Option<Batch>,
}

/// Halves a batch that was too large. If it is known to hold a bad pair, this is not known of either half. So each half
/// is sent by itself, and so is the sibling that waited for the answer to the whole.
pub fn halve(batch: Batch) -> Halves {
    let Batch { lane, mut nodes, wire: _, failures, trial } = batch;
    let others = nodes.split_off(nodes.len() / 2);
    let (allowance, sibling) = match trial {
        Some(Trial { allowance, sibling }) => (Some(allowance), sibling),
        None => (None, None),
    };
    let by_itself = |nodes, failures| {
        let trial = allowance.clone().map(|allowance| Trial { allowance, sibling: None });
        Batch { failures, trial, ..Batch::new(lane, nodes) }
    };
    let sibling = sibling.map(|sibling| by_itself(sibling.nodes, 0));
    Halves { halves: [by_itself(nodes, failures), by_itself(others, failures)], sibling }
}

/// The refusal of a pair that may be good, since no request was left to try it by itself.
pub fn unattributed(cause: &Refusal, requests: u32) -> Refusal {
    let message = format!(
        "HubSpot refused requests that carried this pair and others without saying which is at fault, and {requests} \
         further requests (isolation.max_requests) did not find out; it may be good. HubSpot's words: {}",
        cause.message
    );
    Refusal {
        http_status: cause.http_status,
        correlation_id: cause.correlation_id.clone(),
        ..Refusal::worker(WorkerCategory::Unattributed, &message)
    }
}

/// The search that one refused batch began.
struct Search {
    lane: LaneKey,
    allowance: Allowance,
}

impl Search {
    fn trial(&self, sibling: Option<Suspects>) -> Trial {
        Trial { allowance: self.allowance.clone(), sibling }
    }

    fn attempt(&self, suspects: Suspects, sibling: Option<Suspects>) -> Next {
        Next::Try(Attempt { lane: self.lane, suspects, trial: self.trial(sibling) })
    }

    /// Tries the first half of a set that holds a bad pair; the answer also tells something about the second half. A
    /// single pair is tried as it is, so that it gets an answer of its own.
    fn split(&self, mut suspects: Suspects) -> Next {
        if suspects.nodes.len() < 2 {
            return self.attempt(suspects, None);
        }
        let others = suspects.nodes.split_off(suspects.nodes.len() / 2);
        let sibling = Suspects { nodes: others, refusal: Arc::clone(&suspects.refusal) };
        self.attempt(suspects, Some(sibling))
    }
}

/// The pairs of a batch, by their verdict.
#[derive(Default)]
struct Sorted {
    archived: Vec<NodeKey>,
    refused: Vec<(NodeKey, Arc<Refusal>)>,
    /// One group for each error of the answer, since each error is a fault of its own.
    suspects: Vec<Suspects>,
    untouched: Vec<NodeKey>,
    again: Vec<NodeKey>,
    /// Why the last of `again` failed.
    transient: Option<Arc<Refusal>>,
}

impl Sorted {
    fn of(nodes: &[NodeKey], verdicts: &[PairVerdict]) -> Self {
        let mut sorted = Self::default();
        for (&node, verdict) in nodes.iter().zip(verdicts) {
            match verdict {
                PairVerdict::Archived => sorted.archived.push(node),
                PairVerdict::Refused(refusal) => sorted.refused.push((node, Arc::clone(refusal))),
                PairVerdict::Suspect(refusal) => sorted.suspect(node, refusal),
                PairVerdict::Again(refusal) => {
                    sorted.again.push(node);
                    sorted.transient = Some(Arc::clone(refusal));
                }
                PairVerdict::Untouched => sorted.untouched.push(node),
            }
        }
        sorted
    }

    fn suspect(&mut self, node: NodeKey, refusal: &Arc<Refusal>) {
        match self.suspects.iter_mut().find(|group| Arc::ptr_eq(&group.refusal, refusal)) {
            Some(group) => group.nodes.push(node),
            None => self.suspects.push(Suspects { nodes: vec![node], refusal: Arc::clone(refusal) }),
        }
    }

    fn result(&self, pairs: usize) -> CallResult {
        match (self.archived.len(), self.refused.len()) {
            (0, _) => CallResult::Refused,
            (all, 0) if all == pairs => CallResult::Archived,
            _ => CallResult::Partial,
        }
    }
}

#[cfg(test)]
mod tests;
