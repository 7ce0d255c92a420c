//! The commands as users run them: the built program, a real RabbitMQ, a simulated HubSpot, a running service.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::type_complexity)]

#[path = "commands/archive.rs"]
mod archive;
#[path = "commands/check.rs"]
mod check;
#[path = "commands/contract.rs"]
mod contract;
#[path = "commands/dead_letters.rs"]
mod dead_letters;
#[path = "commands/endpoints.rs"]
mod endpoints;
#[path = "commands/enqueue.rs"]
mod enqueue;
#[path = "commands/following.rs"]
mod following;
#[path = "commands/journal.rs"]
mod journal;
#[path = "commands/probe.rs"]
mod probe;
#[path = "commands/program.rs"]
mod program;
#[path = "commands/terminal.rs"]
mod terminal;
#[path = "commands/top.rs"]
mod top;
#[path = "commands/undo.rs"]
mod undo;
#[path = "commands/usage.rs"]
mod usage;
