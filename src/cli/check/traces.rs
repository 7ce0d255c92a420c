//! Whether traces reach their collector, where one is named.

use super::finding::Finding;
use crate::config::TelemetrySettings;
use crate::telemetry::traces::exporter;

pub async fn findings(settings: &TelemetrySettings) -> Option<Finding> {
    const SUBJECT: &str = "telemetry.otlp_endpoint";
    let endpoint = settings.otlp_endpoint.as_ref()?;
    Some(match exporter::reach(endpoint).await {
        Ok(()) => Finding::right(SUBJECT, format!("{endpoint} takes traces")),
        // Jobs do not depend on it.
        Err(cause) => Finding::warning(
            SUBJECT,
            format!("{endpoint} does not take traces: {cause}"),
            "name a collector that takes OTLP over HTTP (usually port 4318), or drop the setting",
        ),
    })
}
