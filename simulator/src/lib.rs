//! HubSpot's association endpoints as a plain struct, [`World`], and an HTTP/1.1 server that translates to it.
//!
//! Drive the struct directly where time is virtual, or behind [`Simulator`] where a real client is to be tested:
//! edit it, act, and ask what it now looks like. It never reads a clock and never sleeps: the caller's time since
//! [`World::epoch`] comes in with each request, and waiting is part of the [`Answer`].

pub mod account;
pub mod association;
pub mod association_settings;
mod batch;
pub mod behaviour;
mod control;
mod create;
pub mod definition;
pub mod duration;
mod echo;
pub mod fault;
mod http;
mod identity;
mod inspection;
pub mod inventory;
pub mod label;
mod label_set;
pub mod limits;
pub mod links;
pub mod oauth;
pub mod object_type;
pub mod other_app;
mod read;
pub mod refusal;
pub mod reply;
pub mod request;
pub mod seed;
pub mod server;
pub mod settings;
pub mod sighting;
pub mod state;
mod wire;
pub mod world;

pub use account::Account;
pub use fault::{Effect, Rule, When};
pub use object_type::{Lane, ObjectType};
pub use reply::{Answer, Ending};
pub use request::Request;
pub use server::Simulator;
pub use settings::Settings;
pub use state::State;
pub use world::World;
