//! The parts of the benchmark: what is sent, where, who is measured and how it is told.
//!
//! - [`workload`]: the jobs of a case, the same at every run
//! - [`arena`]: the throwaway broker and its freshly filled queues
//! - [`contestant`]: the programs that empty them
//! - [`measure`]: one contestant, one run
//! - [`duel`]: contestants in turns, again and again
//! - [`ceiling`]: the worker under a rate limit
//! - [`spread`], [`table`], [`report`]: medians, what a person reads, what another run compares with

pub mod arena;
pub mod ceiling;
pub mod contestant;
pub mod duel;
pub mod measure;
pub mod report;
pub mod spread;
pub mod table;
pub mod workload;
