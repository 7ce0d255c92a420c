//! What the worker decides and what it says, without clocks, tasks or sockets.
//!
//! `contract` reads jobs and writes outcomes; `engine` decides what is sent when and what each reply means; `lease`
//! decides which of several workers may send at all; `shards` spreads accounts over queues and workers;
//! `background` is what the settings say of jobs that may wait.
//! Time, randomness and all that happens outside come in as values.

pub mod background;
pub mod contract;
pub mod engine;
pub mod lease;
pub mod shards;
