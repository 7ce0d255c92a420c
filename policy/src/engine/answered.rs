//! What the answer to a request came to: for the request as a whole, and for each of its pairs.

use super::command::CallResult;
use super::verdict::{Judgement, PairVerdict};
use crate::contract::association::Pair;
use crate::contract::refusal::Refusal;

/// See the module.
#[derive(Debug)]
pub struct Answered {
    pub result: CallResult,
    /// `None`: the engine does not know the request.
    judgement: Option<Judgement>,
}

/// What one answer says of one pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate<'a> {
    Archived,
    Refused(&'a Refusal),
    /// Nothing final: the pair goes on, in another request or outside.
    Open,
}

impl Answered {
    pub(super) fn new(result: CallResult, judgement: Judgement) -> Self {
        Self { result, judgement: Some(judgement) }
    }

    pub(super) fn unknown() -> Self {
        Self { result: CallResult::Unknown, judgement: None }
    }

    /// What the answer says of each of the `pairs` that the request carried, in their order.
    pub fn fates<'a>(&'a self, pairs: &'a [Pair]) -> impl Iterator<Item = (Pair, Fate<'a>)> {
        pairs.iter().enumerate().map(|(index, &pair)| (pair, self.fate(index)))
    }

    fn fate(&self, index: usize) -> Fate<'_> {
        match &self.judgement {
            Some(Judgement::Archived) => Fate::Archived,
            Some(Judgement::Each(verdicts)) => match verdicts.get(index) {
                Some(PairVerdict::Archived) => Fate::Archived,
                Some(PairVerdict::Refused(refusal)) => Fate::Refused(refusal),
                Some(PairVerdict::Suspect(_) | PairVerdict::Again(_) | PairVerdict::Untouched) | None => Fate::Open,
            },
            Some(Judgement::LaneRefused(refusal)) => Fate::Refused(refusal),
            Some(
                Judgement::Suspect(_)
                | Judgement::Again(_)
                | Judgement::Throttled(_)
                | Judgement::PauseLane(_)
                | Judgement::PauseAccount(_),
            )
            | None => Fate::Open,
        }
    }
}
