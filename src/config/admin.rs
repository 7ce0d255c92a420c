//! `[admin]`: where the endpoints listen and who may change state through them.

use std::net::{Ipv4Addr, SocketAddr};

use secrecy::SecretString;

use super::section::Section;
use super::{SecretSource, SettingsError};

#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// Port 0 lets the system choose one.
    pub listen: SocketAddr,
    pub token: Option<SecretSource>,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)), token: None }
    }
}

const DEFAULT_PORT: u16 = 9090;

impl AdminSettings {
    /// The token that a request which changes state must carry; `None`: such requests are refused, whoever asks.
    pub fn token(&self) -> Result<Option<SecretString>, SettingsError> {
        self.token.as_ref().map(SecretSource::read).transpose()
    }

    pub(super) fn read(mut section: Section) -> Result<Self, SettingsError> {
        let default = Self::default();
        let settings = Self {
            listen: section
                .parsed("listen", "must be an address with a port such as \"127.0.0.1:9090\" or \"[::]:9090\"")?
                .unwrap_or(default.listen),
            token: section.secret("token")?,
        };
        section.finish()?;
        Ok(settings)
    }
}
