//! The policy: decides what is sent when and what a reply means; no async, no clock, no I/O, no logging.
//!
//! Each idea is a type of its own, which takes inputs and returns what follows. The parts (`holdings`, `turns`,
//! `pauses`, `account`, `search`) know each other's keys and plain values, but no other part's state. Only the
//! conductor has them all.

// What comes in and what goes out.
pub mod answered;
pub mod clock;
pub mod command;
pub mod course;
pub mod reply;
pub mod settings;
pub mod status;

// The conductor.
mod answers;
mod consequences;
mod credentials;
#[expect(clippy::module_inception, reason = "the engine itself, beside the ideas it holds")]
mod engine;
mod expanding;
mod looks;
mod proving;
mod recording;
mod sending;
mod steps;

// What is in hand.
pub mod all;
pub mod backlog;
mod batch;
mod creating;
mod deadlines;
mod expansion;
mod holdings;
mod lane;
pub mod ledger;
pub mod pack;
pub mod proof;
mod sight;
pub mod step;

// Who may send, and how much.
pub mod access;
pub mod account;
pub mod background;
mod calls;
pub mod day;
mod error_share;
pub mod guard;
mod lane_probes;
pub mod pace;
pub mod pause;
mod pauses;
mod tenancy;
mod turns;
pub mod window;

// What a reply means.
mod planning;
mod restoring;
pub mod retry;
mod search;
mod stuck;
pub mod verdict;

mod expected;

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic)]
mod tests;

pub use engine::{Counters, Engine, Remains};
pub use settings::{EnginePolicy, Waiting};
pub use tenancy::Occasion;
