//! The shell around the engine: one loop, fed by channels, and the two worlds it serves.
//!
//! `seams` says what goes through the channels; `policy_loop` is the loop. Jobs come from RabbitMQ (`receive`,
//! `delivery`, `answer`) or from lines of text (`lines`); HubSpot is reached through `calls`. `assembly`
//! puts the loop and its calls together, for the service and for the `archive` command alike.

pub mod accounts;
pub mod policy;
pub mod seams;
pub mod tenant;
pub mod wall_clock;

pub mod answer;
pub mod calls;
pub mod delivery;
pub mod departures;
pub mod intake;
pub mod policy_loop;
pub mod receive;
pub mod watching;

pub mod assembly;
pub mod lines;
pub mod service;
pub mod stopping;
