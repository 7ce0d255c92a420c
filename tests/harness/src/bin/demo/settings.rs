//! The worker's settings in the demo.

use std::time::Duration;

use crate::traffic::PORTAL;

/// Requests in every rolling interval. Small, so that there is something to watch: HubSpot's smallest plan allows
/// 100 in 10 s, with which the whole demo would take three seconds.
pub const CEILING: u32 = 30;
pub const INTERVAL: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Settings {
    base_url: String,
}

impl Settings {
    pub fn new(base_url: &str) -> Self {
        Self { base_url: base_url.to_owned() }
    }

    /// Dotted keys and their values; all else stays at its default.
    pub fn pairs(&self) -> [(&'static str, String); 6] {
        [
            ("hubspot.base_url", self.base_url.clone()),
            ("hubspot.accounts.0.portal_id", PORTAL.to_string()),
            ("hubspot.accounts.0.access_token", "pat-demo".to_owned()),
            ("rate_limit.requests", CEILING.to_string()),
            ("rate_limit.interval", format!("{}s", INTERVAL.as_secs())),
            ("log.filter", "warn".to_owned()),
        ]
    }

    /// When a run that has not ended is given up.
    pub fn deadline(&self) -> Duration {
        DEADLINE
    }
}
