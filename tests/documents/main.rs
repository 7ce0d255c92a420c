//! What the documents say is so, and what there is, is documented.
//!
//! Pages made from the code are compared with it; `UPDATE=1 cargo test --test documents` writes them anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

mod alerts;
mod borders;
mod bugs;
mod circles;
mod commands;
mod corpus;
mod dependencies;
mod endpoints;
mod examples;
mod generated;
mod glossary;
mod links;
mod messages;
mod metrics;
mod node;
mod quick_starts;
mod settings;
#[path = "../blackbox/stage.rs"]
#[allow(dead_code)]
mod stage;
mod validators;
