//! The pairs of an answered batch, sorted by their verdicts.

use std::sync::Arc;

use super::{Cause, Suspects};
use crate::contract::refusal::Refusal;
use crate::engine::backlog::NodeKey;
use crate::engine::command::CallResult;
use crate::engine::verdict::{Again, PairVerdict};

/// The pairs of a batch, by their verdict.
#[derive(Default)]
pub struct Sorted {
    pub archived: Vec<NodeKey>,
    pub refused: Vec<(NodeKey, Arc<Refusal>)>,
    /// One group for each error of the answer, since each error is a fault of its own.
    pub suspects: Vec<Suspects>,
    pub untouched: Vec<NodeKey>,
    /// What failed for a reason that passes, a group for each error.
    pub failing: Vec<Failing>,
}

/// Pairs that failed: those that one error names, or several of which each has an error of its own.
pub struct Failing {
    pub again: Arc<Again>,
    pub nodes: Vec<NodeKey>,
    /// One error names all of them.
    pub together: bool,
}

impl Sorted {
    pub fn of(nodes: &[NodeKey], verdicts: &[PairVerdict]) -> Self {
        let mut sorted = Self::default();
        for (&node, verdict) in nodes.iter().zip(verdicts) {
            match verdict {
                PairVerdict::Archived => sorted.archived.push(node),
                PairVerdict::Refused(refusal) => sorted.refused.push((node, Arc::clone(refusal))),
                PairVerdict::Suspect(refusal) => sorted.suspect(node, refusal),
                PairVerdict::Again(again) => sorted.fail(node, again),
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

    fn fail(&mut self, node: NodeKey, again: &Arc<Again>) {
        match self.failing.iter_mut().find(|failing| Arc::ptr_eq(&failing.again, again)) {
            Some(failing) => failing.nodes.push(node),
            None => self.failing.push(Failing { again: Arc::clone(again), nodes: vec![node], together: true }),
        }
    }

    /// What the reply says of the pairs that it names, if it names any.
    pub fn named(&self) -> Option<Cause> {
        let refused = self.refused.last().map(|(_, refusal)| Cause::Refused(Arc::clone(refusal)));
        let suspected = || self.suspects.last().map(|suspects| suspects.cause.clone());
        let failing = || self.failing.last().map(|failing| Cause::Failing(Arc::clone(&failing.again)));
        refused.or_else(suspected).or_else(failing)
    }

    pub fn result(&self, pairs: usize) -> CallResult {
        let failing = self.failing.last().filter(|_| self.suspects.is_empty());
        let transient = failing.map(|failing| &failing.again);
        match (self.archived.len(), self.refused.len(), transient) {
            (0, 0, Some(again)) => CallResult::Transient(again.cause),
            (0, _, _) => CallResult::Refused,
            (all, 0, _) if all == pairs => CallResult::Archived,
            _ => CallResult::Partial,
        }
    }
}

/// What goes again as one batch: the pairs of an error that names several, and all those that have an error of their
/// own.
pub fn batches_of(failing: Vec<Failing>) -> Vec<Failing> {
    let (mut several, alone): (Vec<Failing>, Vec<Failing>) =
        failing.into_iter().partition(|failing| failing.nodes.len() > 1);
    let again = alone.last().map(|failing| Arc::clone(&failing.again));
    let nodes: Vec<NodeKey> = alone.into_iter().flat_map(|failing| failing.nodes).collect();
    several.extend(again.map(|again| Failing { again, together: nodes.len() == 1, nodes }));
    several
}
