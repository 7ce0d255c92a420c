//! The built program from outside: jobs in, outcomes out, against a real RabbitMQ and a simulated HubSpot.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_possible_truncation)]

#[path = "blackbox/background.rs"]
mod background;
#[path = "blackbox/courses.rs"]
mod courses;
#[path = "blackbox/default_exchange.rs"]
mod default_exchange;
#[path = "blackbox/folding.rs"]
mod folding;
#[path = "blackbox/guard.rs"]
mod guard;
#[path = "blackbox/journal.rs"]
mod journal;
#[path = "blackbox/leases.rs"]
mod leases;
#[path = "blackbox/lines.rs"]
mod lines;
#[path = "blackbox/messages.rs"]
mod messages;
#[path = "blackbox/redelivered.rs"]
mod redelivered;
#[path = "blackbox/refusing.rs"]
mod refusing;
#[path = "blackbox/returning.rs"]
mod returning;
#[path = "blackbox/shards.rs"]
mod shards;
#[path = "blackbox/stage.rs"]
#[allow(dead_code, reason = "shared by two programs, each of which uses a part")]
mod stage;
#[path = "blackbox/stopping.rs"]
mod stopping;
#[path = "blackbox/throughput.rs"]
mod throughput;
