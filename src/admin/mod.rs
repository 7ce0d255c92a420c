//! The endpoints: what probes, Prometheus, scripts and people ask the worker, and the pauses that an operator orders.
//!
//! They read the latest snapshot and pass orders to the worker's loop; they decide nothing.

mod endpoints;
mod failures;
mod operator;
mod page;
mod readiness;
mod refusal;
mod routes;
mod server;
mod state;
mod status;
mod token;

pub use endpoints::{Endpoints, ListenFault};
pub use readiness::{Paused, Readiness, readiness};
pub use server::serve;
pub use state::AdminState;
