//! What follows when a whole batch fails for a reason that passes elsewhere: it goes again, or parts of it are tried.

use std::sync::Arc;
use std::time::Duration;

use super::halves::in_two;
use super::{Allowance, Attempt, Cause, Next, Search, Suspected, Suspects, Trial};
use crate::engine::batch::Batch;
use crate::engine::clock::Tick;
use crate::engine::keys::NodeKey;
use crate::engine::verdict::Again;

/// A batch that fails for a transient reason is sent this often as a whole before it is halved.
const WHOLE_TRIES: u32 = 3;

/// At most this many single pairs of a batch are sent by themselves to find out whether the account is served. One is
/// not enough: it may be a stuck one.
const MOST_SAMPLES: u32 = 5;

/// What is known when a batch fails for a transient reason.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// HubSpot has served a request of the account that was sent after the batch had begun to fail. So it is no outage,
    /// and the fault is in the batch.
    pub others_served: bool,
    /// Many pairs of the lane are stuck, so this batch most likely holds one.
    pub stuck_are_many: bool,
    /// Quick tries of a batch: `retry.max_attempts`.
    pub tries: u32,
    /// How many requests a search may cost that begins with this failure.
    pub requests: u32,
    /// The account stands still as in an outage, and the batch was to find out whether that is over.
    pub in_outage: bool,
    /// This was the last try for at least one job that waits for the batch, since `retry.max_age` is over. What is not
    /// found out now is not found out in time for that job.
    pub is_last: bool,
    /// HubSpot asked for this wait.
    pub wait: Duration,
}

/// What follows when a whole batch has failed for a transient reason.
#[derive(Debug)]
pub enum Failed {
    /// The batch goes again as it is. Beside it stands what its sibling does next, where the sibling need not wait any
    /// longer for an answer that may never come.
    Whole(Batch, Option<Box<Next>>),
    /// Both halves of it are tried, or one pair by itself.
    InParts(Vec<Next>),
}

/// A batch has failed as a whole for a reason that passes. This failure is not yet counted in its `failures`. `choose`: which
/// of these pairs is best tried by itself to find out whether the account is served.
pub fn failed(
    mut batch: Batch,
    again: &Arc<Again>,
    known: Circumstances,
    choose: impl Fn(&[NodeKey]) -> usize,
    now: Tick,
) -> Failed {
    // That the sample failed says nothing of the other pairs: they are one batch again.
    if let Some(Trial { sibling, of: Suspected::Nothing, .. }) = batch.trial.as_mut() {
        let others = sibling.take().map(|sibling| sibling.nodes).unwrap_or_default();
        batch.nodes.extend(others);
        batch.trial = None;
        batch.failures = batch.failures.saturating_sub(1);
    }
    let is_suspect = batch.is_suspect() || known.stuck_are_many;
    // Where the failure was to be expected, the batch is not tried again as a whole: that would show nothing new.
    let is_expected = is_suspect || known.is_last || known.in_outage || again.cause.wants_smaller();
    let patience = WHOLE_TRIES.min(known.tries);
    let whole_tries = if is_expected { 1 } else { patience };
    if batch.failures + 1 < whole_tries || !again.cause.may_be_of_a_record() {
        return Failed::Whole(batch, None);
    }
    if batch.nodes.len() < 2 {
        // That others are served proves that this pair is stuck. On the last try it counts as stuck without this proof,
        // so that its job first gets the verdicts on its other pairs.
        batch.stuck |= known.others_served || known.is_last;
        let sibling_waits_in_vain = batch.stuck || batch.failures + 1 >= patience;
        let released = if sibling_waits_in_vain { release_sibling(&mut batch) } else { None };
        if batch.stuck && is_suspect {
            // The search has found this pair, so its next request is no trial. The quick tries that it has had were
            // those of the larger batches in which it failed: one is left.
            batch.trial = batch.trial.filter(|trial| !trial.was_failing());
            batch.failures = batch.failures.max(known.tries.saturating_sub(2));
        }
        return Failed::Whole(batch, released.map(Box::new));
    }
    if known.requests == 0 {
        return Failed::Whole(batch, None);
    }
    if known.others_served {
        return Failed::InParts(take_apart(batch, again, known.requests, known.wait, now));
    }
    if batch.samples >= MOST_SAMPLES || batch.trial.is_some() {
        return Failed::Whole(batch, None);
    }
    Failed::InParts(vec![sample(batch, again, known, choose, now)])
}

/// The sibling is tried without the answer to `batch`, for which it waited.
fn release_sibling(batch: &mut Batch) -> Option<Next> {
    let Trial { allowance, sibling, of: _, rounds } = batch.trial.as_mut()?;
    let sibling = sibling.take()?;
    let (lane, allowance, rounds) = (batch.lane, allowance.clone(), *rounds);
    Some(Search { lane, allowance, rounds, failing_since: batch.failing_since }.attempt(sibling, None))
}

/// What follows when one error of an answer has named all pairs of `batch`. They go again as a batch of their own: once
/// if it was a trial, else up to [`WHOLE_TRIES`] times. Then the batch is halved. No other request need be served
/// before that: an answer that names a record shows that there is no outage. `tries` is how many quick tries a batch
/// has.
pub fn named(batch: Batch, again: &Arc<Again>, tries: u32, requests: u32, wait: Duration, now: Tick) -> Failed {
    let whole_tries = if batch.trial.is_some() { 1 } else { WHOLE_TRIES.min(tries) };
    let goes_again = batch.failures + 1 < whole_tries;
    if goes_again || batch.nodes.len() < 2 || requests == 0 || !again.cause.may_be_of_a_record() {
        return Failed::Whole(batch, None);
    }
    Failed::InParts(take_apart(batch, again, requests, wait, now))
}

/// Both halves of a batch that has failed are tried, and so is its sibling, if it has one.
fn take_apart(batch: Batch, again: &Arc<Again>, requests: u32, wait: Duration, now: Tick) -> Vec<Next> {
    let Batch { lane, nodes, failing_since, trial, .. } = batch;
    let new = || Trial { allowance: Allowance::new(requests, now), sibling: None, of: Suspected::Failing, rounds: 0 };
    let Trial { allowance, sibling, of: _, rounds } = trial.unwrap_or_else(new);
    let search = Search { lane, allowance, rounds, failing_since };
    let (nodes, others) = in_two(nodes);
    let half = |nodes| {
        let cause = Cause::Failing(Arc::clone(again));
        let batch = Batch { failing_since, ..Batch::new(lane, nodes) };
        Next::Try(Attempt { batch, cause, trial: search.trial(Suspected::Failing, None), wait })
    };
    let sibling = sibling.map(|sibling| search.attempt(sibling, None));
    sibling.into_iter().chain([half(nodes), half(others)]).collect()
}

/// One pair of the batch is tried by itself. If it is archived, the account is served, and the others are tried.
fn sample(
    batch: Batch,
    again: &Arc<Again>,
    known: Circumstances,
    choose: impl Fn(&[NodeKey]) -> usize,
    now: Tick,
) -> Next {
    let Batch { lane, mut nodes, failures, failing_since, samples, named, rounds, .. } = batch;
    // After a sample that failed, that pair stands first.
    let first = usize::from(samples > 0);
    let chosen = nodes.remove(first + choose(&nodes[first..]).min(nodes.len() - first - 1));
    let cause = Cause::Failing(Arc::clone(again));
    let search = Search { lane, allowance: Allowance::new(known.requests, now), rounds: 0, failing_since };
    let trial = search.trial(Suspected::Nothing, Some(Suspects { nodes, cause: cause.clone() }));
    let failures = failures + 1;
    let sample = Batch::new(lane, vec![chosen]);
    let batch = Batch { failures, failing_since, samples: samples + 1, named, rounds, ..sample };
    Next::Try(Attempt { batch, cause, trial, wait: known.wait })
}
