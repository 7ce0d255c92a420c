#![expect(clippy::unwrap_used, clippy::panic)]

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::contract::association::{Pair, RecordId};
use crate::contract::refusal::{Source, WorkerCategory};
use crate::engine::reply::{Answer, Body, Headers, Reply, RetryAfter, Silence};

mod creations;
mod errors;
mod looks;
mod properties;
mod seen;
mod statuses;

/// A request of `pairs`, each written `(from, to)`.
fn pairs<const N: usize>(pairs: [(u64, u64); N]) -> Vec<Pair> {
    pairs.into_iter().map(|(from, to)| Pair { from: id(from), to: id(to) }).collect()
}

fn id(number: u64) -> RecordId {
    RecordId(number.try_into().unwrap())
}

/// Three pairs without a record in common.
fn three() -> Vec<Pair> {
    pairs([(101, 901), (102, 902), (103, 903)])
}

fn answer(status: u16, body: impl Into<Bytes>) -> Answer {
    Answer { status, headers: Headers::default(), body: Body::Whole(body.into()) }
}

fn judge_json(status: u16, body: &Value, pairs: &[Pair]) -> Judgement {
    judge_text(status, body.to_string(), pairs)
}

fn judge_text(status: u16, body: impl Into<Bytes>, pairs: &[Pair]) -> Judgement {
    judge(&Reply::Answer(answer(status, body)), pairs)
}

/// One letter a pair: `A`rchived, `R`efused, `S`uspect, `G` (again), `U`ntouched.
fn letters(judgement: &Judgement) -> String {
    let Judgement::Each(verdicts) = judgement else { panic!("not a verdict for each pair: {judgement:?}") };
    let letter = |verdict: &PairVerdict| match verdict {
        PairVerdict::Archived => 'A',
        PairVerdict::Refused(_) => 'R',
        PairVerdict::Suspect(_) => 'S',
        PairVerdict::Again(_) => 'G',
        PairVerdict::Untouched => 'U',
    };
    verdicts.iter().map(letter).collect()
}

/// The refusal of the pair at `index`.
fn refusal_of(judgement: &Judgement, index: usize) -> Refusal {
    let Judgement::Each(verdicts) = judgement else { panic!("not a verdict for each pair: {judgement:?}") };
    match &verdicts[index] {
        PairVerdict::Refused(refusal) | PairVerdict::Suspect(refusal) => Refusal::clone(refusal),
        PairVerdict::Again(again) => Refusal::clone(&again.refusal),
        PairVerdict::Archived | PairVerdict::Untouched => panic!("no refusal: {judgement:?}"),
    }
}

fn cause(judgement: &Judgement) -> Transient {
    let Judgement::Again(again) = judgement else { panic!("not to be sent again: {judgement:?}") };
    assert_eq!(again.refusal.source, Source::Worker(WorkerCategory::RetriesExhausted));
    assert!(again.refusal.retryable);
    again.cause
}
