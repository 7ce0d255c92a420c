//! What the engine holds and why it waits, as plain values for people, scripts and metrics.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::guard::GuardState;
use super::pause::PauseKind;
use crate::contract::time;

mod survey;

/// The state of the engine at one moment.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub held: InHand,
    pub totals: Totals,
    pub paused_accounts: BTreeMap<PauseKind, usize>,
    pub paused_lanes: BTreeMap<PauseKind, usize>,
    /// In the order of the settings.
    pub accounts: Vec<AccountStatus>,
    /// Those that are paused first, then those with the most pairs; at most [`Status::MAX_LANES`].
    pub lanes: Vec<LaneStatus>,
    pub lanes_left_out: usize,
}

/// What is in hand.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InHand {
    pub jobs: usize,
    /// Of these, jobs of the background.
    pub background_jobs: usize,
    pub bytes: usize,
    /// Distinct pairs.
    pub pairs: usize,
    pub lanes: usize,
    /// Requests on the wire, those about tokens included, and records on their way to the journal.
    pub in_flight: usize,
    pub max_in_flight: usize,
    /// The longest of the accounts' [`AccountStatus::drain_seconds`]; `None` where none of them is known.
    pub drain_seconds: Option<f64>,
}

impl InHand {
    pub fn live_jobs(&self) -> usize {
        self.jobs.saturating_sub(self.background_jobs)
    }
}

/// Counted since the start, over all accounts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    pub requests: u64,
    pub throttled: u64,
    /// Answers 4xx other than 429.
    pub refused: u64,
    pub pairs_archived: u64,
    /// Pairs that joined an equal pair of another job.
    pub pairs_merged: u64,
    /// Requests sent to find the bad pairs of a refused batch.
    pub trials: u64,
    pub parked: u64,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountStatus {
    /// Its index in the settings, from 0.
    pub index: u32,
    /// `None` where the settings name no portal.
    pub portal_id: Option<u64>,
    /// Another worker works on it, or nobody does, so what is said here of its quota and its guard may be out of date.
    pub stands_by: bool,
    /// Why nothing is sent for it. Of an account that another worker works on only a pause by the settings is told:
    /// what else stands still is known there.
    pub pause: Option<PauseStatus>,
    pub rate: RateStatus,
    pub in_flight: usize,
    pub max_in_flight: usize,
    pub day: DayStatus,
    /// `None` where `safety.max_pairs` is not set.
    pub guard: Option<GuardStatus>,
    pub safety: SafetyStatus,
    pub totals: AccountTotalsStatus,
    /// `None` where `background.window` is not set.
    pub background_window: Option<WindowStatus>,
    pub held_jobs: usize,
    pub held_pairs: usize,
    pub lanes: usize,
    pub paused_lanes: usize,
    /// The requests that its waiting pairs need if each leaves full, divided by the ceiling in force.
    ///
    /// Lanes that are paused are left out. `None` while the account is paused, or where the day has fewer requests left
    /// than are needed.
    pub drain_seconds: Option<f64>,
    /// The same without what is of the background.
    pub live_drain_seconds: Option<f64>,
}

impl AccountStatus {
    /// Why the account stands still as a whole. `None` also where each of its lanes in hand is paused for a reason of
    /// its own: there may be only one such lane, and the next job may open another.
    pub fn own_pause(&self) -> Option<&PauseStatus> {
        self.pause.as_ref().filter(|pause| match pause.scope {
            PauseScope::Account => true,
            PauseScope::AllLanes | PauseScope::Lane => false,
        })
    }
}

/// The ceiling of an account, and how much of it is used.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RateStatus {
    /// In force now: the setting, or less once HubSpot said so.
    pub requests: u32,
    pub interval_seconds: f64,
    /// The setting.
    pub configured_requests: u32,
    pub configured_interval_seconds: f64,
    /// Requests sent within the last interval.
    pub used: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DayStatus {
    /// Requests that this service sent on the account's day. Until the first request of a day it is the count of the
    /// day before.
    pub used: u64,
    /// `None` where neither the settings nor HubSpot say.
    pub left: Option<u64>,
    /// The setting `rate_limit.daily`.
    pub budget: Option<u64>,
    /// Requests of a whole day for all apps of the account, as HubSpot said last, and how many of them are used.
    pub limit: Option<u64>,
    pub used_by_all: Option<u64>,
}

/// Whether jobs of the background run now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowStatus {
    pub open: bool,
    /// `None` while the account's time zone is being asked for.
    #[serde(serialize_with = "write_time_or_null")]
    pub changes_at: Option<Timestamp>,
}

/// What is done with an account's removals besides sending them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct SafetyStatus {
    /// What is to be removed or restored is recorded before.
    pub journal: bool,
    /// What was removed is read back.
    pub verify: bool,
}

/// What the guard of an account has let through.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GuardStatus {
    pub max_pairs: u64,
    pub window_seconds: f64,
    /// Distinct pairs sent within the window, or since the approval.
    pub used: u64,
    pub state: GuardState,
    /// Since when it is in this state, also where another worker came to it; `None` while it is open.
    #[serde(serialize_with = "write_time_or_null")]
    pub since: Option<Timestamp>,
    /// `None` in every state but `approved`.
    #[serde(serialize_with = "write_time_or_null")]
    pub approved_until: Option<Timestamp>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountTotalsStatus {
    pub requests: u64,
    pub throttled: u64,
    pub refused: u64,
    pub pairs_archived: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PauseStatus {
    pub scope: PauseScope,
    pub kind: PauseKind,
    /// What HubSpot said, or the operator must know.
    pub detail: String,
    #[serde(serialize_with = "write_time")]
    pub since: Timestamp,
    /// `None` where only a probe or an operator can tell.
    #[serde(serialize_with = "write_time_or_null")]
    pub resume_at: Option<Timestamp>,
    /// When a request may find out whether it is over; `None` where none may.
    #[serde(serialize_with = "write_time_or_null")]
    pub probe_at: Option<Timestamp>,
}

/// What is paused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PauseScope {
    Account,
    /// Each lane of the account for a reason of its own; the pause that has lasted longest is told.
    AllLanes,
    Lane,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LaneStatus {
    pub account: u32,
    pub portal_id: Option<u64>,
    pub from_object_type: String,
    pub to_object_type: String,
    pub kind: LaneKind,
    /// What waits in it are pairs of the background only.
    pub background: bool,
    /// The labels that the jobs name, at most [`LaneStatus::MAX_LABELS`] of them; empty for whole associations.
    pub labels: Vec<String>,
    pub waiting_pairs: usize,
    /// Unique `from` records waiting.
    pub waiting_from: usize,
    pub in_flight: usize,
    /// Batches that wait to go again.
    pub returned_batches: usize,
    pub pause: Option<PauseStatus>,
    /// Age of the pair that waits longest.
    pub oldest_seconds: Option<f64>,
}

/// What the requests of a lane do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LaneKind {
    /// They remove whole associations.
    Association,
    /// They remove labels.
    Labels,
    /// They read.
    Look,
    /// They associate again.
    Restore,
}

impl Status {
    /// Most lanes listed, so that a status stays small whatever the jobs name.
    pub const MAX_LANES: usize = 100;
}

impl LaneStatus {
    /// Most labels listed of one lane.
    pub const MAX_LABELS: usize = 8;

    /// `contacts/companies`, as the commands name it.
    pub fn name(&self) -> String {
        format!("{}/{}", self.from_object_type, self.to_object_type)
    }
}

impl Serialize for PauseKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for GuardState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// For `serialize_with`: RFC 3339 with milliseconds, as in outcomes.
pub fn write_time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = Vec::with_capacity(24);
    time::write(*time, &mut text);
    serializer.serialize_str(&String::from_utf8_lossy(&text))
}

/// As [`write_time`], `null` where the time is not known.
pub fn write_time_or_null<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => write_time(time, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
pub(super) mod tests;
