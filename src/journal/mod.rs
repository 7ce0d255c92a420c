//! The journal's edges: records become durable here, and are read again by commands. What a record says is
//! `contract::journal`.
//!
//! `task` takes what the loop wants recorded and says of each whether it is durable; a `store` is a stream of the broker
//! (`amqp::journal`) or a `file` with its earlier `segments`. `reading` reads either.

mod file;
pub mod probe;
pub mod reading;
mod segments;
mod store;
pub mod task;
