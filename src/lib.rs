//! Archives HubSpot CRM associations in bulk.
//!
//! The modules stand in the order in which a job passes through them; `ARCHITECTURE.md` is the map.

pub mod cli;
pub mod config;

pub use policy::{contract, engine, lease};

pub mod amqp;
pub mod hubspot;
pub mod worker;

pub mod telemetry;

pub mod admin;
