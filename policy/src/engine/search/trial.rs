//! A trial: a batch that is sent to find out which of its pairs are at fault, and the search that it belongs to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::contract::refusal::Refusal;
use crate::engine::clock::Tick;
use crate::engine::keys::NodeKey;
use crate::engine::verdict::Again;

/// What makes a batch a trial: it is sent to find out which pairs are at fault, or whether the account is served at
/// all.
#[derive(Debug)]
pub struct Trial {
    pub(super) allowance: Allowance,
    /// The other half of a set that is known to hold a bad pair: if this half is good, that one is bad.
    pub(super) sibling: Option<Suspects>,
    /// What this batch is suspected of.
    pub(super) of: Suspected,
    /// Answers of this search that named some pairs and left the rest untouched.
    pub(super) rounds: u32,
}

/// What the pairs of a trial are suspected of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Suspected {
    Refused,
    Failing,
    /// Of nothing: the trial is to find out whether the account is served at all.
    Nothing,
}

/// How many requests the search for the pairs at fault in one batch may cost. All trials of the search share it.
#[derive(Clone, Debug)]
pub struct Allowance {
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

impl Allowance {
    pub fn new(requests: u32, begun: Tick) -> Self {
        Self { left: Arc::new(AtomicU32::new(requests)), begun }
    }

    /// Takes one request; `false` if none is left.
    pub fn spend(&self) -> bool {
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

    /// The pairs of this batch failed in a larger one while others were served: it is to be expected that it fails too.
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
