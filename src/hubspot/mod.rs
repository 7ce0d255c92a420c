//! HubSpot's API over HTTP: I/O and nothing else. The only place that speaks to HubSpot.

pub mod client;
pub mod request;
mod silence;

pub mod authorisation;
pub mod bearer;
pub mod credentials;
mod grant;
mod locked;
pub mod news;
mod oauth_account;
mod secret_file;
mod static_account;
pub mod watch;

pub mod identity;
pub mod introspection;
mod standing;
pub mod wording;
