//! Real things broken on purpose: brokers, connections, queues, rights, the worker, and HubSpot.
//!
//! Each case keeps jobs coming while something breaks, then compares what was published with what was answered and with
//! what HubSpot has seen: nothing may be lost, and a doubled outcome must be a copy that the fault explains. The cases
//! marked `ignored` take long; `make test` runs the others, `make chaos` all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_possible_truncation)]

mod broker_faults;
mod channel_faults;
mod crew;
mod crew_faults;
mod hubspot_faults;
mod ledger;
mod line_faults;
mod marathon;
mod nodes;
mod queue_faults;
mod rights_faults;
mod soak;
mod stage;
mod tls_front;
mod traffic;
mod trend;
mod upheaval;
mod way_back;
mod worker_faults;
