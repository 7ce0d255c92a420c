//! The broker's edges: the only place that knows the AMQP library. They move messages and decide nothing about them.
//!
//! The modules stand in the order in which a job passes them: in from the jobs queue, out with its answer, and
//! acknowledged at the end.

// The line to the broker: connections, what is read from them, and the queues that must exist.
pub mod backoff;
pub mod connection;
pub mod greeting;
mod legible;
pub mod link;
pub mod lost_queues;
pub mod pipeline;
mod request;
pub mod topology;
mod transport;
mod valve;

// Jobs come in: a subscription, how many deliveries it asks for, and what must not be taken for a job.
pub mod consumer;
pub mod echo;
pub mod prefetch;
pub mod silence;
mod subscription;

// A message on its way: what is in it, where it goes, and the right to settle the delivery that it answers.
pub mod message;
pub mod receipt;
pub mod route;

// Answers go out, and each comes with a proof that the broker has it.
pub mod barrier;
mod blocked;
mod complaints;
pub mod publisher;
mod publishing_task;
mod reports;

// Deliveries are acknowledged.
pub mod ack_window;
pub mod acknowledge;

// The edges as a whole, and how they are doing.
mod depths;
pub mod deserted;
pub mod edges;
pub mod health;

// The lease: which of several workers may send.
pub mod lease;

// The journal, where it is a stream.
pub mod journal;

// For commands, which look into queues, or publish once.
pub mod browser;
pub mod death;
pub mod export;
pub mod follower;
pub mod inspection;
pub mod permissions;
pub mod sender;
pub mod takers;
