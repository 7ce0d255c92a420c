//! The shell around the engine: one loop, fed by channels, and what stands at their other ends.
//!
//! `seams` says what goes through the channels; `policy_loop` is the loop. Jobs come from RabbitMQ (`intake`,
//! `receive`), and answers go back there (`departures`, `answer`); or both are lines of text (`lines`). HubSpot is
//! reached through `calls`. `assembly` puts the loop and its calls together, for the service and for the `archive`
//! command alike.

// What the loop works with.
pub mod accounts;
pub mod policy;
pub mod seams;
pub mod tenant;
pub mod wall_clock;

// The loop, and a job's way into it and out of it.
pub mod answer;
pub mod calls;
pub mod delivery;
pub mod departures;
pub mod intake;
mod lane_news;
pub mod policy_loop;
pub mod receive;
pub mod recorder;
mod relapses;
pub mod watching;

// The loop and what stands around it, as one: for the service, and for lines of text.
pub mod assembly;
pub mod lines;
pub mod service;
pub mod stopping;
