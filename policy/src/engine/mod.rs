//! The policy: decides what is sent when and what a reply means; no async, no clock, no I/O, no logging.
//!
//! In the order in which a pair meets them:

pub mod clock;
pub mod command;
pub mod reply;

pub mod access;
pub mod account;
pub mod backlog;
pub mod day;
mod dispatch;
pub mod lane;
pub mod pace;
pub mod pack;
pub mod pause;

mod conclude;
mod operator;
pub mod retry;
mod standstill;
pub mod verdict;

mod departure;
#[expect(clippy::module_inception, reason = "the engine itself, beside the ideas it holds")]
mod engine;
pub mod ledger;

pub mod status;

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic)]
mod tests;

pub use engine::{Counters, Engine, EnginePolicy, Remains, Waiting};
