//! The policy: decides what is sent when and what a reply means; no async, no clock, no I/O, no logging.
//!
//! In the order in which a pair meets them:

pub mod clock;
pub mod command;
pub mod reply;

pub mod backlog;
pub mod pack;
pub mod lane;
pub mod pace;
pub mod day;
pub mod access;
pub mod pause;
pub mod account;
mod dispatch;

pub mod refusal;
pub mod verdict;
mod conclude;
pub mod retry;
mod standstill;
mod operator;

pub mod ledger;
mod departure;
mod engine;
pub mod status;

pub use engine::{Counters, Engine, EnginePolicy, Waiting};
