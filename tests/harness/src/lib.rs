//! What the tests, the demo and the benchmark run the worker against: real processes on throwaway ground.
//!
//! - [`broker`], [`cluster`]: private RabbitMQ nodes that can be killed, frozen and restarted
//! - [`client`] (with `publish` and `collect`), [`message`]: the test's own side of the queues
//! - [`worker`], [`simulator`], [`process`]: the built programs as child processes
//! - [`browser`]: a page in a real browser, at any size
//! - [`raw`]: messages that no AMQP library would write
//! - [`relay`]: a TCP line that can be slowed, cut and silenced
//! - [`job`], [`outcome`], [`tally`]: jobs written, outcomes read, and the tally of a whole run
//! - [`deadline`]: waiting for a condition instead of for a time
//! - [`keeper`]: why nothing stays behind, however a test ends

pub mod broker;
pub mod browser;
pub mod client;
pub mod cluster;
mod collect;
pub mod deadline;
mod family;
pub mod job;
pub mod keeper;
pub mod message;
pub mod metrics;
mod node;
pub mod outcome;
pub mod port;
pub mod process;
mod publish;
pub mod raw;
pub mod relay;
pub mod simulator;
pub mod tally;
pub mod worker;

pub use broker::{Broker, ChannelUse, Options, Rights, Vhost};
pub use browser::{Browser, Scheme};
pub use client::Client;
pub use cluster::Cluster;
pub use collect::Until;
pub use deadline::eventually;
pub use job::{Job, job};
pub use lapin;
pub use message::Message;
pub use outcome::{Outcome, Status};
pub use relay::{Relay, Way};
pub use simulator::SimulatorProcess;
pub use tally::Tally;
pub use worker::Worker;
