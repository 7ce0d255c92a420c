//! Whether an answer about an account, not about a batch, is worth asking for again.

use crate::engine::reply::{Answer, Body};

/// What an answer's status says about asking once more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Finality {
    /// 2xx with a whole body.
    Success,
    /// The same request may succeed later.
    Passing,
    /// The same request would be answered the same, until somebody mends something.
    Final,
}

impl Finality {
    pub(super) fn of(answer: &Answer) -> Self {
        match (answer.status, &answer.body) {
            (200..=299, Body::Whole(_)) => Self::Success,
            (407 | 408 | 409 | 423 | 425 | 429 | 477, _) => Self::Passing,
            (300..=499 | 501, _) => Self::Final,
            (0..=299 | 500.., _) => Self::Passing,
        }
    }
}
