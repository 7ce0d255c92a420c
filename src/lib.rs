//! Archives HubSpot CRM associations in bulk.
//!
//! The modules stand in groups: what starts the program, what decides, what moves jobs and requests, and what tells
//! people about it. `ARCHITECTURE.md` is the map.

// What starts the program.
pub mod cli;
pub mod config;

// What decides: the crate `policy`.
pub use policy::{background, contract, engine, lease, shards};

// What moves jobs and requests: the edges to the broker, to HubSpot and to the journal, and the loop between them.
pub mod amqp;
pub mod hubspot;
pub mod journal;
pub mod worker;

// What tells people and their tools about it.
pub mod admin;
pub mod telemetry;
