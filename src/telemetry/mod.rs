//! What the outside learns of the process: logs, metrics, traces, and the snapshot behind the endpoints. Nothing is
//! decided here.

// Logs, and the progress beside them.
pub mod log;
pub mod progress;
pub mod repetition;
mod sentence;

// Metrics.
pub mod duration_words;
pub mod exposition;
mod gauges;
pub mod instrument;
pub mod label;
pub mod metrics;
mod process;

// Traces.
pub mod traces;

// The snapshot, and what is counted and remembered for it.
pub mod background;
pub mod behind_guards;
pub mod conditions;
pub mod dead_letters;
pub mod failing_alone;
pub mod failures;
pub mod heartbeat;
pub mod latest_count;
pub mod lost_queue;
pub mod mend;
pub mod parked;
pub mod pause_history;
pub mod reporter;
pub mod snapshot;
pub mod throttled;
pub mod throughput;
pub mod unread_results;
mod window;
