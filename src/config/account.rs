//! One HubSpot account: whose it is, how to sign in, and what is special about it.

use jiff::tz::TimeZone;

use super::section::Section;
use super::{RateLimit, SafetySettings, SecretSource, SettingsError};
use crate::contract::ids::PortalId;

#[derive(Clone, Debug)]
pub struct AccountSettings {
    /// `None` only where this is the only account.
    pub portal_id: Option<PortalId>,
    pub credentials: Credentials,
    /// The account's own values, the rest from `[rate_limit]`.
    pub rate_limit: RateLimit,
    /// The account's own values, the rest from `[safety]`.
    pub safety: SafetySettings,
    /// Where the account's day begins; `None`: learned from HubSpot, else UTC.
    pub time_zone: Option<TimeZone>,
    /// Its jobs wait until the setting is changed.
    pub paused: bool,
}

#[derive(Clone, Debug)]
pub enum Credentials {
    /// A private app's token or a service key.
    AccessToken(SecretSource),
    OAuth(OAuthCredentials),
}

impl Credentials {
    /// What tells HubSpot which portal it is.
    pub fn token(&self) -> &SecretSource {
        match self {
            Self::AccessToken(token) => token,
            Self::OAuth(oauth) => &oauth.refresh_token,
        }
    }
}

#[derive(Clone, Debug)]
pub struct OAuthCredentials {
    pub client_id: String,
    pub client_secret: SecretSource,
    /// Where it comes from a file, a rotated token is written back there.
    pub refresh_token: SecretSource,
}

impl AccountSettings {
    /// An account with a token and nothing else, as the shorthand `hubspot.access_token` makes it.
    pub fn with_token(token: SecretSource, rate_limit: RateLimit) -> Self {
        Self {
            portal_id: None,
            credentials: Credentials::AccessToken(token),
            rate_limit,
            safety: SafetySettings::default(),
            time_zone: None,
            paused: false,
        }
    }

    pub(super) fn read(
        mut section: Section,
        default_limit: &RateLimit,
        default_safety: &SafetySettings,
    ) -> Result<Self, SettingsError> {
        let portal_id = section.parsed("portal_id", "must be a positive integer")?.map(PortalId);
        let access_token = section.secret("access_token")?;
        let oauth = OAuthSection::read(section.section("oauth")?)?;
        let rate_limit = RateLimit::read(section.section("rate_limit")?, default_limit)?;
        let safety = SafetySettings::read(section.section("safety")?, default_safety)?;
        let time_zone = section.converted("time_zone", TIME_ZONE_RULE, |name| TimeZone::get(name).ok())?;
        let paused = section.flag("paused")?.unwrap_or(false);
        let key = section.key();
        section.finish()?;
        let credentials = match (access_token, oauth.complete()?) {
            (Some(token), None) => Credentials::AccessToken(token),
            (None, Some(oauth)) => Credentials::OAuth(oauth),
            (Some(_), Some(_)) => return Err(key.refused("has both an access_token and oauth: keep one of them")),
            (None, None) => {
                return Err(key.refused(
                    "has no credentials: add access_token_file (or access_token), or oauth.client_id, oauth.client_secret_file and oauth.refresh_token_file",
                ));
            }
        };
        Ok(Self { portal_id, credentials, rate_limit, safety, time_zone, paused })
    }

    /// Reads every secret once, so that a missing file is found at the start.
    pub(super) fn try_secrets(&self) -> Result<(), SettingsError> {
        match &self.credentials {
            Credentials::AccessToken(token) => token.read().map(drop),
            Credentials::OAuth(OAuthCredentials { client_id: _, client_secret, refresh_token }) => {
                client_secret.read()?;
                refresh_token.read().map(drop)
            }
        }
    }
}

const TIME_ZONE_RULE: &str = "must be a time zone of the IANA database such as \"Europe/Berlin\"";

struct OAuthSection {
    section_key: super::SettingKey,
    client_id: Option<String>,
    client_secret: Option<SecretSource>,
    refresh_token: Option<SecretSource>,
}

impl OAuthSection {
    fn read(mut section: Section) -> Result<Self, SettingsError> {
        let oauth = Self {
            section_key: section.key(),
            client_id: section.checked_text("client_id", "must not be empty", |text| !text.is_empty())?,
            client_secret: section.secret("client_secret")?,
            refresh_token: section.secret("refresh_token")?,
        };
        section.finish()?;
        Ok(oauth)
    }

    /// `None` where nothing of it is set.
    fn complete(self) -> Result<Option<OAuthCredentials>, SettingsError> {
        match (self.client_id, self.client_secret, self.refresh_token) {
            (None, None, None) => Ok(None),
            (Some(client_id), Some(client_secret), Some(refresh_token)) => {
                Ok(Some(OAuthCredentials { client_id, client_secret, refresh_token }))
            }
            (client_id, client_secret, refresh_token) => {
                let missing = [
                    ("client_id", client_id.is_none()),
                    ("client_secret_file", client_secret.is_none()),
                    ("refresh_token_file", refresh_token.is_none()),
                ];
                let missing: Vec<&str> = missing.iter().filter(|(_, absent)| *absent).map(|(name, _)| *name).collect();
                Err(self.section_key.refused(format!("is incomplete: add {}", missing.join(" and "))))
            }
        }
    }
}
