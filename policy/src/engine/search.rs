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
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::backlog::{LaneKey, NodeKey};
use super::batch::Batch;
use super::clock::Tick;
use super::command::CallResult;
use super::verdict::{Again, PairVerdict};
use crate::contract::refusal::{Refusal, WorkerCategory};

/// What makes a batch a trial: it is sent to find out which pair is at fault.
#[derive(Debug)]
pub struct Trial {
    allowance: Allowance,
    /// The other half of a set that is known to hold a bad pair: if this half is good, that one is bad.
    sibling: Option<Suspects>,
    /// What this batch is suspected of.
    of: Suspected,
    /// Answers of this search that named some pairs and left the rest untouched.
    rounds: u32,
}

/// What the pairs of a trial are suspected of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Suspected {
    Refused,
    Failing,
    /// Of nothing: the trial is to find out whether the account is served at all.
    Nothing,
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
    pub cause: Cause,
}

/// The answer that put pairs under suspicion.
#[derive(Clone, Debug)]
pub enum Cause {
    /// A refusal: for good.
    Refused(Arc<Refusal>),
    /// A failure that passes elsewhere.
    Failing(Arc<Again>),
}

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

/// Answers that name one bad pair after the other, before the rest is halved.
const NAMING_ROUNDS: u32 = 5;

/// Tries of a whole batch that fails for a transient reason, before its parts are tried.
const WHOLE_TRIES: u32 = 3;

/// Single pairs of a batch that are tried to find out whether the account is served: the first may be the stuck one.
const MOST_SAMPLES: u32 = 2;

/// The same where a job ends if that is not found out.
const MOST_LAST_SAMPLES: u32 = 5;

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

    /// The batch is a part of one that failed while others were served: that it fails too was to be expected.
    pub fn was_failing(&self) -> bool {
        match self.of {
            Suspected::Failing => true,
            Suspected::Refused | Suspected::Nothing => false,
        }
    }

    #[cfg(test)]
    pub fn begun_at(begun: Tick) -> Self {
        Self { allowance: Allowance::new(1, begun), sibling: None, of: Suspected::Refused, rounds: 0 }
    }
}

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

/// Sorts a batch by the verdicts on its pairs and says what follows. `requests`: the allowance of a search that begins
/// with this answer.
pub fn conclude(batch: Batch, verdicts: &[PairVerdict], requests: u32, now: Tick) -> Findings {
    let is_suspect = batch.is_suspect();
    let Batch { lane, nodes, failures, failing_since, rounds: rounds_in_hand, trial, .. } = batch;
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
    if let Some(again) = sorted.transient {
        let sibling = sibling.take();
        // What is searched goes on at the cost of the same search.
        let is_trial = is_suspect || sibling.is_some();
        let trial = is_trial.then(|| search.trial(Suspected::Failing, sibling));
        let named = is_suspect || sorted.again.len() < nodes.len();
        let (stuck, together) = (named && sorted.again.len() == 1, sorted.again_together);
        let rest = Batch::new(lane, sorted.again);
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

/// What is known when a batch fails for a transient reason.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// A request of the account was served that was sent after the batch had begun to fail.
    pub others_served: bool,
    /// Quick tries of a batch: `retry.max_attempts`.
    pub tries: u32,
    /// What a search may cost that begins here.
    pub requests: u32,
    /// A job that waits for the batch has been failing for too long: what is to be found out must be found out now.
    pub is_last: bool,
    /// HubSpot asked for this wait.
    pub wait: Duration,
    /// In 0.0..1.0.
    pub drawn: f64,
}

/// What follows when a whole batch has failed for a transient reason.
#[derive(Debug)]
pub enum Failed {
    /// It goes again as it is. What waited for its answer no longer waits, where the answer may never come.
    Whole(Batch, Option<Box<Next>>),
    /// Parts of it are tried.
    InParts(Vec<Next>),
}

/// A batch has failed as a whole for a reason that passes. This failure is not yet counted in its `failures`.
pub fn failed(mut batch: Batch, again: &Arc<Again>, known: Circumstances, now: Tick) -> Failed {
    // That the sample failed says nothing of the other pairs: they are one batch again.
    if let Some(Trial { sibling, of: Suspected::Nothing, .. }) = batch.trial.as_mut() {
        let others = sibling.take().map(|sibling| sibling.nodes).unwrap_or_default();
        batch.nodes.extend(others);
        batch.trial = None;
        batch.failures = batch.failures.saturating_sub(1);
    }
    let is_expected = batch.is_suspect() || known.is_last || again.cause.wants_smaller();
    let patience = WHOLE_TRIES.min(known.tries);
    let whole_tries = if is_expected { 1 } else { patience };
    if batch.failures + 1 < whole_tries || !again.cause.may_be_of_a_record() {
        return Failed::Whole(batch, None);
    }
    if batch.nodes.len() < 2 {
        batch.stuck |= known.others_served || known.is_last;
        let waits_in_vain = batch.stuck || batch.failures + 1 >= patience;
        let released = if waits_in_vain { release_sibling(&mut batch) } else { None };
        return Failed::Whole(batch, released.map(Box::new));
    }
    if known.requests == 0 {
        return Failed::Whole(batch, None);
    }
    if known.others_served {
        return Failed::InParts(take_apart(batch, again, known.requests, known.wait, now));
    }
    let most = if known.is_last { MOST_LAST_SAMPLES } else { MOST_SAMPLES };
    if batch.samples >= most || batch.trial.is_some() {
        return Failed::Whole(batch, None);
    }
    Failed::InParts(vec![sample(batch, again, known, now)])
}

/// The other half is tried without the answer that it waited for.
fn release_sibling(batch: &mut Batch) -> Option<Next> {
    let Trial { allowance, sibling, of: _, rounds } = batch.trial.as_mut()?;
    let sibling = sibling.take()?;
    let (lane, allowance, rounds) = (batch.lane, allowance.clone(), *rounds);
    Some(Search { lane, allowance, rounds, failing_since: batch.failing_since }.attempt(sibling, None))
}

/// One error has named all pairs of a batch. They go again by themselves, a few times if nothing was suspected of them
/// before (`tries`: the quick tries of a batch), and are then taken apart. That an answer names a record shows that it is
/// no outage.
pub fn named(batch: Batch, again: &Arc<Again>, tries: u32, requests: u32, wait: Duration, now: Tick) -> Failed {
    let whole_tries = if batch.trial.is_some() { 1 } else { WHOLE_TRIES.min(tries) };
    let goes_again = batch.failures + 1 < whole_tries;
    if goes_again || batch.nodes.len() < 2 || requests == 0 || !again.cause.may_be_of_a_record() {
        return Failed::Whole(batch, None);
    }
    Failed::InParts(take_apart(batch, again, requests, wait, now))
}

fn take_apart(batch: Batch, again: &Arc<Again>, requests: u32, wait: Duration, now: Tick) -> Vec<Next> {
    let Batch { lane, mut nodes, failing_since, trial, .. } = batch;
    let new = || Trial { allowance: Allowance::new(requests, now), sibling: None, of: Suspected::Failing, rounds: 0 };
    let Trial { allowance, sibling, of: _, rounds } = trial.unwrap_or_else(new);
    let search = Search { lane, allowance, rounds, failing_since };
    let others = nodes.split_off(nodes.len() / 2);
    let half = |nodes| {
        let cause = Cause::Failing(Arc::clone(again));
        let batch = Batch { failing_since, ..Batch::new(lane, nodes) };
        Next::Try(Attempt { batch, cause, trial: search.trial(Suspected::Failing, None), wait })
    };
    let sibling = sibling.map(|sibling| search.attempt(sibling, None));
    sibling.into_iter().chain([half(nodes), half(others)]).collect()
}

/// One pair of the batch is tried by itself. If it is archived, the account is served, and the others are tried.
fn sample(batch: Batch, again: &Arc<Again>, known: Circumstances, now: Tick) -> Next {
    let Batch { lane, mut nodes, failures, failing_since, samples, named, rounds, .. } = batch;
    // After a sample that failed, that pair stands first.
    let first = usize::from(samples > 0);
    let among = nodes.len() - first;
    #[expect(clippy::cast_possible_truncation, reason = "a share of a batch's length")]
    let drawn = (among as f64 * known.drawn) as usize;
    let chosen = nodes.remove(first + drawn.min(among - 1));
    let cause = Cause::Failing(Arc::clone(again));
    let search = Search { lane, allowance: Allowance::new(known.requests, now), rounds: 0, failing_since };
    let trial = search.trial(Suspected::Nothing, Some(Suspects { nodes, cause: cause.clone() }));
    let failures = failures + 1;
    let sample = Batch::new(lane, vec![chosen]);
    let batch = Batch { failures, failing_since, samples: samples + 1, named, rounds, ..sample };
    Next::Try(Attempt { batch, cause, trial, wait: known.wait })
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
    let Batch { lane, mut nodes, failures, failing_since, trial, .. } = batch;
    let others = nodes.split_off(nodes.len() / 2);
    let (shared, sibling) = match trial {
        Some(Trial { allowance, sibling, of, rounds }) => (Some((allowance, of, rounds)), sibling),
        None => (None, None),
    };
    let by_itself = |nodes, failures| {
        let trial = shared.clone().map(|(allowance, of, rounds)| Trial { allowance, sibling: None, of, rounds });
        Batch { failures, failing_since, trial, ..Batch::new(lane, nodes) }
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
    fn split(&self, mut suspects: Suspects) -> Next {
        if suspects.nodes.len() < 2 {
            return self.attempt(suspects, None);
        }
        let nodes = suspects.nodes.split_off(suspects.nodes.len() / 2);
        let sibling = Suspects { nodes, cause: suspects.cause.clone() };
        self.attempt(suspects, Some(sibling))
    }

    /// A set of which the other half is good. What only failed may be good too by now: it is tried.
    fn known_bad(&self, suspects: Suspects) -> Next {
        match suspects.cause {
            Cause::Refused(_) => self.split(suspects),
            Cause::Failing(_) => self.attempt(suspects, None),
        }
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
    /// One error names all of `again`.
    again_together: bool,
    /// Why the last of `again` failed.
    transient: Option<Arc<Again>>,
}

impl Sorted {
    fn of(nodes: &[NodeKey], verdicts: &[PairVerdict]) -> Self {
        let mut sorted = Self::default();
        for (&node, verdict) in nodes.iter().zip(verdicts) {
            match verdict {
                PairVerdict::Archived => sorted.archived.push(node),
                PairVerdict::Refused(refusal) => sorted.refused.push((node, Arc::clone(refusal))),
                PairVerdict::Suspect(refusal) => sorted.suspect(node, refusal),
                PairVerdict::Again(again) => {
                    let is_alike = sorted.transient.as_ref().is_none_or(|known| Arc::ptr_eq(known, again));
                    sorted.again_together = is_alike && (sorted.again.is_empty() || sorted.again_together);
                    sorted.again.push(node);
                    sorted.transient = Some(Arc::clone(again));
                }
                PairVerdict::Untouched => sorted.untouched.push(node),
            }
        }
        sorted
    }

    fn suspect(&mut self, node: NodeKey, refusal: &Arc<Refusal>) {
        let of_this = |suspects: &&mut Suspects| match &suspects.cause {
            Cause::Refused(known) => Arc::ptr_eq(known, refusal),
            Cause::Failing(_) => false,
        };
        match self.suspects.iter_mut().find(of_this) {
            Some(suspects) => suspects.nodes.push(node),
            None => self.suspects.push(Suspects { nodes: vec![node], cause: Cause::Refused(Arc::clone(refusal)) }),
        }
    }

    /// What the reply says of the pairs that it names, if it names any.
    fn named(&self) -> Option<Cause> {
        let refused = self.refused.last().map(|(_, refusal)| Cause::Refused(Arc::clone(refusal)));
        let suspected = || self.suspects.last().map(|suspects| suspects.cause.clone());
        let failing = || self.transient.as_ref().map(|again| Cause::Failing(Arc::clone(again)));
        refused.or_else(suspected).or_else(failing)
    }

    fn result(&self, pairs: usize) -> CallResult {
        let transient = self.transient.as_ref().filter(|_| self.suspects.is_empty());
        match (self.archived.len(), self.refused.len(), transient) {
            (0, 0, Some(again)) => CallResult::Transient(again.cause),
            (0, _, _) => CallResult::Refused,
            (all, 0, _) if all == pairs => CallResult::Archived,
            _ => CallResult::Partial,
        }
    }
}

#[cfg(test)]
mod tests;
