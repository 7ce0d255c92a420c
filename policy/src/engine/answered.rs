//! What the answer to a request came to: for the request as a whole, and for each of its pairs.

use super::command::CallResult;
use super::step::Step;
use super::verdict::{Judgement, PairVerdict};
use crate::contract::association::Pair;
use crate::contract::refusal::Refusal;

/// See the module.
#[derive(Debug)]
pub struct Answered {
    pub result: CallResult,
    /// `None`: the engine does not know the request.
    judgement: Option<(Judgement, Step)>,
}

/// What one answer says of one pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PairResult<'a> {
    /// What the request was to do for the pair is done.
    Done(Step),
    Refused(&'a Refusal),
    /// Nothing final: the pair goes on, in another request or outside.
    Open,
}

impl Answered {
    pub(super) fn new(result: CallResult, judgement: Judgement, step: Step) -> Self {
        Self { result, judgement: Some((judgement, step)) }
    }

    pub(super) fn unknown() -> Self {
        Self { result: CallResult::Unknown, judgement: None }
    }

    /// What the answer says of each of the `pairs` that the request carried, in their order.
    pub fn results<'a>(&'a self, pairs: &'a [Pair]) -> impl Iterator<Item = (Pair, PairResult<'a>)> {
        pairs.iter().enumerate().map(|(index, &pair)| (pair, self.result_of(index)))
    }

    fn result_of(&self, index: usize) -> PairResult<'_> {
        let Some((judgement, step)) = &self.judgement else { return PairResult::Open };
        match judgement {
            Judgement::Archived => PairResult::Done(*step),
            Judgement::Each(verdicts) => match verdicts.get(index) {
                Some(PairVerdict::Archived) => PairResult::Done(*step),
                Some(PairVerdict::Refused(refusal)) => PairResult::Refused(refusal),
                Some(PairVerdict::Suspect(_) | PairVerdict::Again(_) | PairVerdict::Untouched) | None => {
                    PairResult::Open
                }
            },
            Judgement::LaneRefused(refusal) => PairResult::Refused(refusal),
            Judgement::Suspect(_)
            | Judgement::Again(_)
            | Judgement::Throttled(_)
            | Judgement::PauseLane(_)
            | Judgement::PauseAccount(_) => PairResult::Open,
        }
    }
}
