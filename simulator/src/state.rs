//! What the world has seen, as `GET /_sim/state` shows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::object_type::Lane;
use crate::request::Kind;
use crate::sighting::{Seen, Violation};
use crate::world::World;

/// Pairs archived more than once that are listed for each account.
const MAX_REPEATED_LISTED: usize = 20;

/// Sums over all accounts, and each account by itself.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    pub requests: u64,
    pub requests_by_kind: BTreeMap<Kind, u64>,
    /// Key 0: connections cut instead of an answer.
    pub requests_by_status: BTreeMap<u16, u64>,
    pub throttled: u64,
    /// Each pair as often as it was archived.
    pub pairs_archived_total: u64,
    /// `null` while an account does not record.
    pub pairs_archived_distinct: Option<u64>,
    /// Pairs archived more than once.
    pub pairs_archived_repeatedly: Option<u64>,
    pub labels_removed: u64,
    /// Pairs that requests created or gave other types.
    pub pairs_created: u64,
    /// Pairs that another app made again.
    pub pairs_returned: u64,
    /// Pairs that exist, each counted in both of its directions; `null` while in an account everything exists.
    pub pairs_existing: Option<u64>,
    pub pairs_per_request: PairsPerRequest,
    pub violations: BTreeMap<Violation, u64>,
    pub max_in_flight: u64,
    pub accounts: Vec<AccountState>,
}

/// Over the readable bodies of archive and label requests, whatever the answer.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct PairsPerRequest {
    pub requests: u64,
    pub min: u64,
    pub mean: f64,
    pub max: u64,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountState {
    /// `null`: requests that no account could be found for.
    pub portal_id: Option<u64>,
    pub requests: u64,
    pub requests_by_kind: BTreeMap<Kind, u64>,
    pub requests_by_status: BTreeMap<u16, u64>,
    pub throttled: u64,
    pub pairs_archived_total: u64,
    pub pairs_archived_distinct: Option<u64>,
    pub pairs_archived_repeatedly: Option<u64>,
    /// The first few of them.
    pub repeated: Vec<Repeated>,
    pub labels_removed: u64,
    pub pairs_created: u64,
    pub pairs_returned: u64,
    pub pairs_existing: Option<u64>,
    pub pairs_per_request: PairsPerRequest,
    pub violations: BTreeMap<Violation, u64>,
    /// The first few of them in words.
    pub violations_told: Vec<String>,
    /// Most requests in any rolling interval, those answered 429 included.
    pub max_requests_in_interval: usize,
    pub interval_ms: u64,
    pub requests_today: Option<u64>,
    pub token_refreshes: u64,
    pub max_in_flight: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repeated {
    pub from_object_type: String,
    pub from: String,
    pub to_object_type: String,
    pub to: String,
    pub times: u32,
}

impl World {
    pub fn state(&self) -> State {
        let mut accounts: Vec<_> = self.accounts.iter().map(account_state).collect();
        if self.strangers.requests() > 0 {
            accounts.push(stranger_state(&self.strangers));
        }
        let sum = |of: fn(&AccountState) -> u64| accounts.iter().map(of).sum();
        let sum_known = |of: fn(&AccountState) -> Option<u64>| accounts.iter().map(of).sum();
        State {
            requests: sum(|account| account.requests),
            requests_by_kind: merged(accounts.iter().map(|account| &account.requests_by_kind)),
            requests_by_status: merged(accounts.iter().map(|account| &account.requests_by_status)),
            throttled: sum(|account| account.throttled),
            pairs_archived_total: sum(|account| account.pairs_archived_total),
            pairs_archived_distinct: sum_known(|account| account.pairs_archived_distinct),
            pairs_archived_repeatedly: sum_known(|account| account.pairs_archived_repeatedly),
            labels_removed: sum(|account| account.labels_removed),
            pairs_created: sum(|account| account.pairs_created),
            pairs_returned: sum(|account| account.pairs_returned),
            pairs_existing: sum_known(|account| account.pairs_existing),
            pairs_per_request: pairs_per_request(self.accounts.iter().map(|a| &a.seen).chain([&self.strangers])),
            violations: merged(accounts.iter().map(|account| &account.violations)),
            max_in_flight: self.in_flight.most,
            accounts,
        }
    }
}

fn account_state(account: &Account) -> AccountState {
    let totals = account.associations.totals();
    let recording = account.associations.recording;
    AccountState {
        portal_id: Some(account.portal_id),
        pairs_archived_total: totals.archived,
        pairs_archived_distinct: recording.then_some(totals.distinct),
        pairs_archived_repeatedly: recording.then_some(totals.repeated),
        repeated: if totals.repeated > 0 { repeated(account) } else { Vec::new() },
        labels_removed: totals.labels_removed,
        pairs_created: totals.created,
        pairs_returned: totals.returned,
        pairs_existing: account.associations.count(),
        requests_today: account.limits.daily.as_ref().map(|day| day.used),
        token_refreshes: account.oauth.as_ref().map_or(0, |oauth| oauth.refreshes()),
        ..stranger_state(&account.seen)
    }
}

fn stranger_state(seen: &Seen) -> AccountState {
    AccountState {
        portal_id: None,
        requests: seen.requests(),
        requests_by_kind: seen.by_kind.clone(),
        requests_by_status: seen.by_status.clone(),
        throttled: seen.by_status.get(&429).copied().unwrap_or(0),
        pairs_archived_total: 0,
        pairs_archived_distinct: Some(0),
        pairs_archived_repeatedly: Some(0),
        repeated: Vec::new(),
        labels_removed: 0,
        pairs_created: 0,
        pairs_returned: 0,
        pairs_existing: Some(0),
        pairs_per_request: pairs_per_request([seen].into_iter()),
        violations: seen.violations.clone(),
        violations_told: seen.told.clone(),
        max_requests_in_interval: seen.busiest.most(),
        interval_ms: u64::try_from(seen.busiest.interval().as_millis()).unwrap_or(u64::MAX),
        requests_today: None,
        token_refreshes: 0,
        max_in_flight: seen.in_flight.most,
    }
}

fn pairs_per_request<'a>(seen: impl Iterator<Item = &'a Seen>) -> PairsPerRequest {
    let mut all = crate::sighting::Spread::default();
    for spread in seen.map(|seen| seen.batches).filter(|spread| spread.count > 0) {
        all.min = if all.count == 0 { spread.min } else { all.min.min(spread.min) };
        all.max = all.max.max(spread.max);
        all.sum += spread.sum;
        all.count += spread.count;
    }
    PairsPerRequest { requests: all.count, min: all.min, mean: all.mean(), max: all.max }
}

fn repeated(account: &Account) -> Vec<Repeated> {
    let pairs = account.associations.repeated(MAX_REPEATED_LISTED).into_iter();
    pairs.map(|(lane, from, to, times)| archived_pair(lane, from, to, times)).collect()
}

/// One archived pair as it is listed.
pub(crate) fn archived_pair(lane: &Lane, from: u64, to: u64, times: u32) -> Repeated {
    Repeated {
        from_object_type: lane.from.as_str().to_owned(),
        from: from.to_string(),
        to_object_type: lane.to.as_str().to_owned(),
        to: to.to_string(),
        times,
    }
}

fn merged<'a, K: Ord + Copy + 'a>(maps: impl Iterator<Item = &'a BTreeMap<K, u64>>) -> BTreeMap<K, u64> {
    let mut sums = BTreeMap::new();
    for (&key, &count) in maps.flatten() {
        *sums.entry(key).or_default() += count;
    }
    sums
}
