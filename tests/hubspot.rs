//! The HubSpot edge against real sockets that misbehave in every way a far end can.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

#[path = "hubspot/credentials.rs"]
mod credentials;
#[path = "hubspot/far_end.rs"]
mod far_end;
#[path = "hubspot/looks.rs"]
mod looks;
#[path = "hubspot/replies.rs"]
mod replies;
#[path = "hubspot/simulator.rs"]
mod simulator;
#[path = "hubspot/tls.rs"]
mod tls;
