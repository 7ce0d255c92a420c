//! `[hubspot]`: where the API is, and the accounts to work for.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use url::{Host, Url};

use super::section::Section;
use super::{AccountSettings, NamedFile, RateLimit, SafetySettings, SettingKey, SettingsError, secret};
use crate::contract::ids::PortalId;

#[derive(Clone, Debug)]
pub struct HubspotSettings {
    /// Scheme, host and perhaps a prefix; the path ends with a slash, so that [`Url::join`] keeps the prefix.
    pub base_url: Url,
    /// A private certificate authority, in PEM; see [`Self::ca_pem`].
    pub ca_file: Option<NamedFile>,
    pub api_version: ApiVersion,
    pub request_timeout: Duration,
    /// Concurrent requests of one account.
    pub max_in_flight: NonZeroU32,
    /// Concurrent requests of the whole worker.
    pub max_in_flight_total: NonZeroU32,
    accounts: Vec<AccountSettings>,
}

/// The version inside the API's paths; the body is the same in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiVersion {
    V4,
    March2026,
    September2026,
}

impl ApiVersion {
    /// As the setting and the path write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::March2026 => "2026-03",
            Self::September2026 => "2026-09",
        }
    }
}

impl Default for HubspotSettings {
    #[expect(clippy::expect_used, reason = "a constant, read by every test")]
    fn default() -> Self {
        Self {
            base_url: DEFAULT_BASE_URL.parse().expect("the default is a URL"),
            ca_file: None,
            api_version: ApiVersion::V4,
            request_timeout: Duration::from_secs(110),
            max_in_flight: DEFAULT_IN_FLIGHT,
            max_in_flight_total: DEFAULT_IN_FLIGHT_TOTAL,
            accounts: Vec::new(),
        }
    }
}

const DEFAULT_BASE_URL: &str = "https://api.hubapi.com";
const DEFAULT_IN_FLIGHT: NonZeroU32 = NonZeroU32::new(16).unwrap();
const DEFAULT_IN_FLIGHT_TOTAL: NonZeroU32 = NonZeroU32::new(64).unwrap();
const MOST_IN_FLIGHT: NonZeroU32 = NonZeroU32::new(10_000).unwrap();
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(10);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60 * 60);
const MOST_ACCOUNTS: usize = 10_000;

impl HubspotSettings {
    /// The accounts, each with credentials that could be read; the index is their
    /// [`AccountIndex`](crate::contract::ids::AccountIndex).
    ///
    /// An error where there is none: for the commands that talk to HubSpot.
    pub fn accounts(&self) -> Result<&[AccountSettings], SettingsError> {
        if self.accounts.is_empty() {
            return Err(SettingKey::new("hubspot.access_token").refused(
                "is not set, nor is there any [[hubspot.accounts]]: set hubspot.access_token_file, or hubspot.access_token, or list the accounts",
            ));
        }
        for account in &self.accounts {
            account.try_secrets()?;
        }
        Ok(&self.accounts)
    }

    /// The accounts that the settings list, which may be none. Their credentials are not looked at.
    pub fn listed(&self) -> &[AccountSettings] {
        &self.accounts
    }

    /// The portal of each account, in the order of the settings; empty where no account is set.
    pub fn portals(&self) -> Vec<Option<PortalId>> {
        self.accounts.iter().map(|account| account.portal_id).collect()
    }

    /// The private certificate authority, read anew.
    pub fn ca_pem(&self) -> Result<Option<String>, SettingsError> {
        self.ca_file.as_ref().map(secret::read_certificates).transpose()
    }

    pub(super) fn read(
        mut section: Section,
        default_limit: &RateLimit,
        default_safety: &SafetySettings,
    ) -> Result<Self, SettingsError> {
        let default = Self::default();
        let versions = [ApiVersion::V4, ApiVersion::March2026, ApiVersion::September2026].map(|v| (v.as_str(), v));
        let timeouts = SHORTEST_TIMEOUT..=LONGEST_TIMEOUT;
        let in_flight = NonZeroU32::MIN..=MOST_IN_FLIGHT;
        let allow_http = section.flag("allow_http")?.unwrap_or(false);
        let settings = Self {
            base_url: base_url(&mut section, allow_http)?.unwrap_or(default.base_url),
            ca_file: section.file("ca_file")?,
            api_version: section.choice("api_version", &versions)?.unwrap_or(default.api_version),
            request_timeout: section.duration("request_timeout", timeouts)?.unwrap_or(default.request_timeout),
            max_in_flight: section.integer("max_in_flight", in_flight.clone())?.unwrap_or(default.max_in_flight),
            max_in_flight_total: section
                .integer("max_in_flight_total", in_flight)?
                .unwrap_or(default.max_in_flight_total),
            accounts: accounts(&mut section, default_limit, default_safety)?,
        };
        section.finish()?;
        Ok(settings)
    }
}

/// Plain http would send the token in clear text: it needs the loopback or a word of consent.
fn base_url(section: &mut Section, allow_http: bool) -> Result<Option<Url>, SettingsError> {
    const RULE: &str = "must be a URL such as \"https://api.hubapi.com\", without user, password, query or fragment";
    let Some(mut url) = section.converted("base_url", RULE, plain_http_url)? else { return Ok(None) };
    if url.scheme() == "http" && !allow_http && !is_loopback(&url) {
        return Err(section.key_of("base_url").refused(
            "is plain http to another host, which would send the token in clear text: use https, or set hubspot.allow_http = true",
        ));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(Some(url))
}

fn plain_http_url(text: &str) -> Option<Url> {
    let url: Url = text.parse().ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    plain.then_some(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => Ipv4Addr::is_loopback(&address),
        Some(Host::Ipv6(address)) => Ipv6Addr::is_loopback(&address),
        None => false,
    }
}

fn accounts(
    section: &mut Section,
    default_limit: &RateLimit,
    default_safety: &SafetySettings,
) -> Result<Vec<AccountSettings>, SettingsError> {
    let shorthand = section.secret("access_token")?;
    let listed = section.list("accounts", MOST_ACCOUNTS)?;
    if let Some(token) = shorthand {
        if !listed.is_empty() {
            let two = "is given beside [[hubspot.accounts]]: move it into the list and drop it here (unset the variable, or \
                       set it to nothing), or drop the list";
            return Err(token.key().refused(two).beside("hubspot.accounts"));
        }
        let safety = default_safety.clone();
        return Ok(vec![AccountSettings { safety, ..AccountSettings::with_token(token, *default_limit) }]);
    }
    let several = listed.len() > 1;
    let mut portals = BTreeMap::new();
    let mut accounts = Vec::with_capacity(listed.len());
    for account in listed {
        let portal_key = account.key_of("portal_id");
        let account = AccountSettings::read(account, default_limit, default_safety)?;
        let before = account.portal_id.and_then(|portal| portals.insert(portal, portal_key.clone()));
        match (account.portal_id, before) {
            (Some(portal), Some(before)) => {
                let twice = portal_key.refused(format!("is {portal}, as in an account before it: each portal once"));
                return Err(twice.beside_written(before));
            }
            (None, _) if several => {
                return Err(portal_key.refused("is missing: every account needs it where there is more than one"));
            }
            (Some(_) | None, _) => accounts.push(account),
        }
    }
    Ok(accounts)
}
