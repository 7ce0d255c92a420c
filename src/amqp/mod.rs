//! The broker's edges: the only place that knows the AMQP library. They move messages and decide nothing about them.

pub mod ack_window;
pub mod acknowledge;
pub mod backoff;
pub mod barrier;
pub mod browser;
pub mod connection;
pub mod consumer;
mod depths;
pub mod edges;
mod export;
pub mod follower;
pub mod greeting;
pub mod health;
pub mod inspection;
mod lane;
mod legible;
pub mod link;
pub mod message;
pub mod pipeline;
pub mod prefetch;
pub mod publisher;
pub mod receipt;
pub mod route;
pub mod sender;
pub mod silence;
pub mod topology;
mod transport;
