//! Everything that reads what others wrote, fed with what others might write: no panic on any input, and what is
//! accepted keeps the rules.
//!
//! Inputs are those of `corpus/`, as they are and mutated: in an ordinary run the same thousands each time, in
//! `make fuzz EXECUTIONS=10000000` others each time. An input that was found to break something belongs into the corpus,
//! where every run tries it again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

mod campaign;
mod corpus;
mod jobs;
mod lines;
mod looks;
mod mutation;
mod outcomes;
mod replies;
mod rows;
mod settings;
