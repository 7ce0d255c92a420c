//! Every answer HubSpot gives and every limit of an account, from outside: the built program against a real RabbitMQ and
//! the simulated HubSpot over real HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_possible_truncation)]

#[path = "accounts/answers.rs"]
mod answers;
#[path = "accounts/credentials.rs"]
mod credentials;
#[path = "accounts/limits.rs"]
mod limits;
#[path = "accounts/proxy.rs"]
mod proxy;
#[path = "accounts/requests.rs"]
mod requests;
#[allow(dead_code, reason = "shared by two programs, each of which uses a part")]
#[path = "blackbox/stage.rs"]
mod stage;
#[path = "accounts/standstill.rs"]
mod standstill;
