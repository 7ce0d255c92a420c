//! HubSpot's API over HTTP: I/O and nothing else. The only place that speaks to HubSpot.

// Requests, each with one reply.
pub mod client;
pub mod proxy;
pub mod request;
mod silence;

// Credentials: where a token comes from, and how it is kept.
pub mod bearer;
pub mod credentials;
mod grant;
mod locked;
pub mod news;
mod oauth_account;
mod secret_file;
mod static_account;
pub mod watch;

// What HubSpot says of a token and its account.
pub mod authorisation;
mod finality;
pub mod identity;
pub mod introspection;
pub mod wording;
