//! The policy: decides what is sent when and what a reply means; no async, no clock, no I/O, no logging.
//!
//! Each idea is a type of its own, which takes inputs and returns what follows. The parts (`holdings`, `turns`,
//! `pauses`, `account`, `search`) know each other's keys and plain values, but no other part's state. Only the
//! conductor has them all.

// What comes in and what goes out.
pub mod answered;
pub mod clock;
pub mod command;
pub mod reply;
pub mod settings;
pub mod status;

// The conductor: what comes in from outside, what leaves, what comes back, and what follows.
mod answers;
mod consequences;
mod credentials;
#[expect(clippy::module_inception, reason = "the engine itself, beside the ideas it holds")]
mod engine;
mod expanding;
mod failures;
mod looks;
mod orders;
mod proving;
mod recording;
mod sending;
mod steps;
mod takeover;
mod turned;

// What is in hand.
pub mod backlog;
mod batch;
mod calls;
mod deadlines;
pub mod folding;
pub mod folds;
mod holdings;
pub mod keys;
mod lane;
pub mod ledger;
pub mod pack;

// Whose turn it is, and what is paused.
mod lane_probes;
pub mod pause;
mod pauses;
mod turns;

// How much an account may send.
pub mod access;
pub mod account;
pub mod background;
pub mod day;
mod error_share;
pub mod guard;
pub mod pace;
mod per_account;
mod tenancy;

// What pairs go through, and what a reply means for them.
pub mod course;
pub mod step;
pub mod verdict;

// What looks have seen, and what follows from it.
pub mod all;
mod creating;
mod either_side;
mod expansion;
pub mod lag;
mod planning;
pub mod proof;
mod restoring;
mod sight;

// Which pairs are at fault, and when to try again.
mod blame;
mod record_set;
pub mod retry;
mod search;
mod stuck;
mod stuck_share;

// What can only be missing where there is a bug.
mod expected;

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic)]
mod tests;

pub use engine::{Counters, Engine, Remains};
pub use settings::{EnginePolicy, Waiting};
pub use takeover::Occasion;
