//! The whole policy in virtual time: the engine, HubSpot as a struct, a model of the broker, and everything that can go
//! wrong between them, drawn from a seed.
//!
//! `SEEDS=100000 cargo test --release --test simulation -- --nocapture` runs as many; `SEED=123` replays one and
//! prints what happens in it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::wrong_self_convention
)]

mod agenda;
mod broker;
mod calm;
mod ceilings;
mod courses;
mod days;
mod fairness;
mod far_side;
mod guards;
mod life;
mod neighbours;
mod outside;
mod promises;
mod refused;
mod repeats;
mod run;
mod scenario;
mod seeds;
mod smaller;
mod stuck;
mod trace;
mod trouble;
mod upheaval;
mod verity;
