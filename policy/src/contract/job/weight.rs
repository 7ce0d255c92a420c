//! What a job takes in memory, in bytes: counted the same wherever what is in hand is held against a limit.

use super::Job;

/// Counted for a job beside its body and its pairs: properties, bookkeeping.
const JOB_BYTES: usize = 600;

/// Counted for each pair in hand, and for each record of which all pairs are asked for.
pub const PAIR_BYTES: usize = 160;

/// A pair takes at least this many bytes of a body, unless its ids have only a few digits.
const SHORTEST_PAIR: usize = 16;

/// The most that `jobs.max_pairs` can allow.
const MOST_PAIRS: usize = 10_000;

impl Job {
    /// What the job takes while it is in hand; `body` is the length of its body.
    pub fn weight(&self, body: usize) -> usize {
        weight(body, self.num_pairs() + self.num_all_of())
    }
}

/// What a body of this length may come to take once it is read: many times its length, if it is full of pairs.
pub fn expected_weight(body: usize) -> usize {
    weight(body, (body / SHORTEST_PAIR).min(MOST_PAIRS))
}

fn weight(body: usize, pairs: usize) -> usize {
    body + JOB_BYTES + pairs * PAIR_BYTES
}
