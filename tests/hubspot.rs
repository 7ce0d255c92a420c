//! The HubSpot edge against real sockets that misbehave in every way a far end can.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "hubspot/credentials.rs"]
mod credentials;
#[path = "hubspot/far_end.rs"]
mod far_end;
#[path = "hubspot/replies.rs"]
mod replies;
#[path = "hubspot/tls.rs"]
mod tls;
