//! Settings: read in layers, checked once, and handed out section by section.

mod account;
mod admin;
mod amqp;
mod amqp_uri;
mod batch;
mod documented;
mod error;
mod hubspot;
mod isolation;
mod jobs;
mod layers;
mod log;
mod names;
mod node;
mod quantity;
mod rate_limit;
mod retry;
mod secret;
mod section;
mod settings;
mod shutdown;
#[cfg(test)]
mod tests;
mod text_file;

pub use account::{AccountSettings, Credentials, OAuthCredentials};
pub use admin::AdminSettings;
pub use amqp::{AmqpSettings, Broker, ClientIdentity};
pub use amqp_uri::AmqpUri;
pub use batch::BatchSettings;
pub use documented::{SettingDoc, documented_settings};
pub use error::SettingsError;
pub use hubspot::{ApiVersion, HubspotSettings};
pub use isolation::IsolationSettings;
pub use jobs::JobsSettings;
pub use layers::Layers;
pub use log::{LogFormat, LogSettings};
pub use names::{ExchangeName, QueueName};
pub use node::Origin;
pub use rate_limit::RateLimit;
pub use retry::RetrySettings;
pub use secret::SecretSource;
pub use section::SettingKey;
pub use settings::Settings;
pub use shutdown::ShutdownSettings;
