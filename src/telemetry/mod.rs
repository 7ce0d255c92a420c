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

pub mod dead_letters;
pub mod failures;
pub mod heartbeat;
pub mod mend;
pub mod parked;
pub mod pause_history;
pub mod reporter;
pub mod snapshot;
pub mod throughput;
mod window;
