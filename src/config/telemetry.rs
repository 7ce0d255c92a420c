//! `[telemetry]`: where traces go.

use url::Url;

use super::SettingsError;
use super::section::Section;

#[derive(Clone, Debug, Default)]
pub struct TelemetrySettings {
    /// Base of the collector's OTLP over HTTP, its path ending with a slash; `None`: there are no traces.
    pub otlp_endpoint: Option<Url>,
}

impl TelemetrySettings {
    pub(super) fn read(mut section: Section) -> Result<Self, SettingsError> {
        let settings = Self { otlp_endpoint: section.converted("otlp_endpoint", RULE, base)? };
        section.finish()?;
        Ok(settings)
    }
}

const RULE: &str =
    "must be a URL such as \"http://127.0.0.1:4318\", without user, password, query, fragment or /v1/traces";

fn base(text: &str) -> Option<Url> {
    let mut url: Url = text.parse().ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain || url.path().trim_end_matches('/').ends_with("/v1/traces") {
        return None;
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Some(url)
}
