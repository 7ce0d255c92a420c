//! The broker's edges: the only place that knows the AMQP library. They move messages and decide nothing about them.

pub mod ack_window;
pub mod backoff;
pub mod connection;
pub mod publisher;
pub mod receipt;
pub mod route;
pub mod settings;
