//! What the outside learns of the process: logs, metrics and the snapshot behind the endpoints. Decides nothing.

pub mod log;
pub mod repetition;

pub mod exposition;
mod gauges;
pub mod instrument;
pub mod label;
pub mod metrics;
mod process;

pub mod traces;

pub mod failures;
pub mod heartbeat;
pub mod reporter;
pub mod snapshot;
pub mod throughput;
mod window;
