//! What is shown of `/status`. A service of another version may leave fields out or have more of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    pub version: String,
    pub started_at: Timestamp,
    pub at: Timestamp,
    pub ready: bool,
    pub draining: bool,
    /// Its address.
    pub runbook: String,
    pub reasons: Vec<String>,
    pub warnings: Vec<String>,
    /// What a worker that stands by says of itself.
    pub standby: Option<String>,
    pub backlog: Backlog,
    pub background: Option<Background>,
    pub requests: Requests,
    pub jobs: Jobs,
    pub totals: Totals,
    pub broker: Broker,
    pub leases: Vec<Lease>,
    pub throughput: Throughput,
    pub paused: Vec<Paused>,
    pub paused_left_out: usize,
    pub failures: Vec<Failure>,
    pub failing_alone: Vec<FailingPair>,
    pub dead_letters: Vec<DeadLetters>,
    pub accounts: Vec<Account>,
    pub lanes: Vec<Lane>,
    pub lanes_left_out: usize,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Backlog {
    pub jobs_held: u64,
    pub bytes_held: u64,
    pub pairs_held: u64,
    /// `None` where nobody can say, as wherever a number may be missing.
    pub jobs_ready: Option<u64>,
    pub background_ready: Option<u64>,
    /// Of those in hand.
    pub background_held: u64,
    pub jobs_parked: Option<u64>,
    pub jobs_unpublished: u64,
    pub drain_seconds: Option<f64>,
    /// Why nobody can tell.
    pub drain_unknown: Option<String>,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Background {
    pub ready: Option<u64>,
    pub parked: Option<u64>,
    pub held: u64,
    pub answered: u64,
    pub jobs_per_second: Option<f64>,
    pub drain_seconds: Option<f64>,
    pub drain_unknown: Option<String>,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Requests {
    pub in_flight: u64,
    pub max_in_flight: u64,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Jobs {
    pub outcomes: BTreeMap<String, u64>,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Totals {
    pub requests: u64,
    pub throttled: u64,
    pub pairs_archived: u64,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Broker {
    /// How many jobs wait in each delay queue.
    pub parked: BTreeMap<String, Option<u64>>,
    /// When those of each are back at the latest.
    pub back_by: BTreeMap<String, Option<Timestamp>>,
    pub results_ready: Option<u64>,
    pub results_consumers: Option<u64>,
    pub dead_letters_ready: Option<u64>,
    /// When the queues were counted last.
    pub counted_at: Option<Timestamp>,
    pub results_unread_since: Option<Timestamp>,
    pub lost_queues: Vec<LostQueue>,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LostQueue {
    pub queue: String,
    pub times: u64,
    pub loss: String,
    pub last_at: Timestamp,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lease {
    pub jobs_queue: String,
    /// `held`, `standingBy`, `notRenewed`, `waiting`, `away`, `left`.
    pub standing: String,
    pub since: Timestamp,
    pub holder: Option<String>,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Throughput {
    pub interval_seconds: f64,
    pub pairs_archived: Vec<u64>,
    pub jobs_ready: Vec<u64>,
    pub jobs_held: Vec<u64>,
    pub jobs_parked: Vec<u64>,
    pub jobs_unpublished: Vec<u64>,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Paused {
    pub account: u64,
    pub portal_id: Option<u64>,
    /// `contacts/companies`; `None` for the whole account.
    pub lane: Option<String>,
    pub kind: String,
    pub detail: String,
    pub since: Timestamp,
    pub resume_at: Option<Timestamp>,
    pub probe_at: Option<Timestamp>,
    pub mend: String,
    pub runbook: String,
    /// The jobs that a guard holds up.
    pub behind: Option<Behind>,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Behind {
    pub jobs: u64,
    pub at_least: bool,
    pub groups: Vec<GroupBehind>,
    pub groups_left_out: u64,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupBehind {
    pub group: Option<String>,
    pub jobs: u64,
    pub job_ids: Vec<String>,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Failure {
    pub source: String,
    pub category: String,
    pub pairs: u64,
    pub pairs_since_start: u64,
    pub message: String,
    pub http_status: Option<u16>,
    pub last_at: Timestamp,
    pub job_ids: Vec<String>,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FailingPair {
    pub portal_id: Option<u64>,
    pub lane: String,
    pub from: String,
    pub to: String,
    pub job_id: String,
    pub tries: u64,
    pub last_at: Timestamp,
    pub next_try_at: Option<Timestamp>,
    pub http_status: Option<u16>,
    pub message: Option<String>,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeadLetters {
    pub category: String,
    pub messages: u64,
    pub message: String,
    pub last_at: Timestamp,
    pub ids: Vec<String>,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Account {
    pub index: u64,
    pub portal_id: Option<u64>,
    pub stands_by: bool,
    pub pause: Option<Pause>,
    pub rate: Rate,
    pub in_flight: u64,
    pub max_in_flight: u64,
    pub day: Day,
    pub guard: Option<Guard>,
    pub safety: Safety,
    pub totals: Totals,
    pub held_jobs: u64,
    pub held_pairs: u64,
    pub paused_lanes: u64,
    pub drain_seconds: Option<f64>,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pause {
    pub scope: String,
    pub kind: String,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rate {
    pub requests: u64,
    pub interval_seconds: f64,
    pub configured_requests: u64,
    pub configured_interval_seconds: f64,
    pub used: u64,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Day {
    pub used: u64,
    pub left: Option<u64>,
    pub budget: Option<u64>,
    pub limit: Option<u64>,
    pub used_by_all: Option<u64>,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Guard {
    pub max_pairs: u64,
    pub window_seconds: f64,
    pub used: u64,
    /// `open`, `waiting`, `approved`, `rejected`.
    pub state: String,
    pub approved_until: Option<Timestamp>,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Safety {
    pub journal: bool,
    pub verify: bool,
}

#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lane {
    pub account: u64,
    pub portal_id: Option<u64>,
    pub from_object_type: String,
    pub to_object_type: String,
    /// `association`, `labels`.
    pub kind: String,
    /// Only pairs of background jobs wait in it.
    pub background: bool,
    pub waiting_pairs: u64,
    pub in_flight: u64,
    pub returned_batches: u64,
    pub pause: Option<Pause>,
    pub oldest_seconds: Option<f64>,
}

impl Status {
    /// `None` where the body is not that of this service.
    pub fn read(body: serde_json::Value) -> Option<Self> {
        serde_json::from_value(body).ok().filter(|status: &Self| !status.version.is_empty())
    }

    /// How many seconds before this status was made.
    pub fn ago(&self, time: Timestamp) -> f64 {
        self.at.duration_since(time).as_secs_f64().max(0.0)
    }

    /// How many seconds after this status was made.
    pub fn ahead(&self, time: Timestamp) -> f64 {
        time.duration_since(self.at).as_secs_f64().max(0.0)
    }
}

impl Account {
    /// Why it stands still as a whole, and not one lane or another.
    pub fn own_pause(&self) -> Option<&Pause> {
        self.pause.as_ref().filter(|pause| pause.scope == "account")
    }
}

impl Guard {
    /// Whether it waits for a person: nothing passes.
    pub fn is_stopped(&self) -> bool {
        matches!(self.state.as_str(), "waiting" | "rejected")
    }
}
