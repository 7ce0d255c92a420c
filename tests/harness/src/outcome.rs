//! Outcomes as a consumer reads them.

use anyhow::{Context, Result};
use serde::{Deserialize, Deserializer};

use crate::message::Message;

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    Archived,
    Partial,
    Failed,
    Restored,
    Planned,
    Expired,
    Rejected,
}

/// An outcome message. Every field must be present in the JSON, `null` only where it may be unknown; fields of which
/// this reader knows nothing are allowed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    pub job_id: String,
    #[serde(deserialize_with = "present")]
    pub portal_id: Option<u64>,
    #[serde(deserialize_with = "present")]
    pub from_object_type: Option<String>,
    #[serde(deserialize_with = "present")]
    pub to_object_type: Option<String>,
    pub action: String,
    pub dry_run: bool,
    #[serde(deserialize_with = "present")]
    pub group: Option<String>,
    pub status: Status,
    pub num_pairs: u64,
    pub num_archived: u64,
    pub num_restored: u64,
    pub num_errors: u64,
    pub verified: bool,
    pub journaled: bool,
    /// What would become of each pair; only of a dry run.
    #[serde(deserialize_with = "present")]
    pub plan: Option<Vec<PlanEntry>>,
    pub errors: Vec<PairError>,
    pub attempts: u64,
    pub received_at: String,
    #[serde(deserialize_with = "present")]
    pub started_at: Option<String>,
    pub completed_at: String,
    /// The message it came in; empty for an outcome read from NDJSON.
    #[serde(skip)]
    pub message: Message,
}

/// What a dry run says of one pair.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanEntry {
    pub from: Record,
    pub to: Record,
    pub present: bool,
    pub types: Vec<serde_json::Value>,
    pub more_types: u64,
    pub warnings: Vec<String>,
}

/// Why the job was not done for one pair.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PairError {
    #[serde(deserialize_with = "present")]
    pub from: Option<Record>,
    #[serde(deserialize_with = "present")]
    pub to: Option<Record>,
    #[serde(deserialize_with = "present")]
    pub types: Option<Vec<serde_json::Value>>,
    pub source: Source,
    pub category: String,
    #[serde(deserialize_with = "present")]
    pub sub_category: Option<String>,
    pub message: String,
    #[serde(deserialize_with = "present")]
    pub http_status: Option<u16>,
    #[serde(deserialize_with = "present")]
    pub correlation_id: Option<String>,
    pub retryable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Record {
    pub id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Source {
    Hubspot,
    Worker,
}

impl Outcome {
    /// Reads an outcome from the results queue.
    pub fn from_message(message: &Message) -> Result<Self> {
        let text = String::from_utf8_lossy(&message.body);
        Ok(Self { message: message.clone(), ..Self::from_json(&text)? })
    }

    /// Reads an outcome from a line of NDJSON.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).with_context(|| format!("not an outcome: {text:.500}"))
    }

    /// What it says apart from the times and the number of attempts, which a second try may tell differently.
    pub fn words(&self) -> (Status, u64, u64, &[PairError]) {
        (self.status, self.num_pairs, self.num_archived, &self.errors)
    }
}

/// serde takes a missing `Option` for `None`; a promise that a field is always there needs a stricter reader.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARCHIVED: &str = r#"{"jobId":"a","portalId":null,"fromObjectType":"contacts","toObjectType":"companies",
        "action":"archive","dryRun":false,"group":null,"status":"ARCHIVED","numPairs":1,"numArchived":1,"numRestored":0,"numErrors":0,
        "verified":false,"journaled":false,"plan":null,"errors":[],"attempts":1,
        "receivedAt":"2026-01-01T00:00:00.000Z","startedAt":null,"completedAt":"2026-01-01T00:00:01.000Z"}"#;

    #[test]
    fn null_is_read_and_absence_refused() -> Result<()> {
        assert_eq!(Outcome::from_json(ARCHIVED)?.portal_id, None);
        assert!(Outcome::from_json(&ARCHIVED.replace(r#""portalId":null,"#, "")).is_err());
        Ok(())
    }
}
