//! The parts of the benchmark: what is sent, where, who is measured and how it is told.
//!
//! - [`workload`]: the jobs of a case, the same at every run
//! - [`arena`]: the throwaway broker and its freshly filled queues
//! - [`contestant`]: the programs that empty them
//! - [`measure`]: one contestant, one run
//! - [`duel`]: contestants in turns, again and again
//! - [`ceiling`]: the worker under a rate limit
//! - [`idle`]: what the worker costs when it has nothing to do
//! - [`echo`], [`lone`], [`half_load`]: how long jobs take
//! - [`forwarding`]: jobs moved to the queues of their accounts
//! - [`growth`]: the cost of a job in many portals and many lanes, as a picture
//! - [`allocations`]: allocations a job
//! - [`pinning`]: cores of their own, where there are enough
//! - [`steady`]: the engine alone at a constant load
//! - [`bound`], [`standards`]: what must hold
//! - [`spread`], [`table`], [`report`]: medians, what a person reads, what another run compares with

pub mod allocations;
pub mod arena;
pub mod bound;
pub mod ceiling;
pub mod contestant;
pub mod duel;
pub mod echo;
pub mod forwarding;
pub mod growth;
pub mod half_load;
pub mod idle;
pub mod lone;
pub mod measure;
pub mod pinning;
pub mod report;
pub mod spread;
pub mod standards;
pub mod steady;
pub mod table;
pub mod workload;
