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
    pub again: Vec<NodeKey>,
    /// One error names all of `again`.
    pub again_together: bool,
    /// Why the last of `again` failed.
    pub transient: Option<Arc<Again>>,
}

impl Sorted {
    pub fn of(nodes: &[NodeKey], verdicts: &[PairVerdict]) -> Self {
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
    pub fn named(&self) -> Option<Cause> {
        let refused = self.refused.last().map(|(_, refusal)| Cause::Refused(Arc::clone(refusal)));
        let suspected = || self.suspects.last().map(|suspects| suspects.cause.clone());
        let failing = || self.transient.as_ref().map(|again| Cause::Failing(Arc::clone(again)));
        refused.or_else(suspected).or_else(failing)
    }

    pub fn result(&self, pairs: usize) -> CallResult {
        let transient = self.transient.as_ref().filter(|_| self.suspects.is_empty());
        match (self.archived.len(), self.refused.len(), transient) {
            (0, 0, Some(again)) => CallResult::Transient(again.cause),
            (0, _, _) => CallResult::Refused,
            (all, 0, _) if all == pairs => CallResult::Archived,
            _ => CallResult::Partial,
        }
    }
}
