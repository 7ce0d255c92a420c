//! Accounts of which HubSpot serves no request, since it answers each with 429: they are not paused, and get nowhere.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::engine::status::{AccountStatus, RateStatus};

/// An account that is throttled for longer than this is worth a warning. A burst of another app is over sooner.
const WORTH_A_WARNING: Duration = Duration::from_secs(15);

/// One account that gets nowhere.
#[derive(Clone, PartialEq, Debug)]
pub struct Throttled {
    pub index: u32,
    pub portal_id: Option<u64>,
    pub since: Timestamp,
    /// What it may send now.
    pub rate: RateStatus,
}

/// Follows all accounts from snapshot to snapshot.
#[derive(Default, Debug)]
pub struct ThrottledAccounts(HashMap<u32, Last>);

#[derive(Clone, Copy, Default, Debug)]
struct Last {
    served: u64,
    throttled: u64,
    /// The first 429 since a request was served.
    since: Option<Timestamp>,
}

impl ThrottledAccounts {
    /// Those for which it has lasted for long enough.
    pub fn note(&mut self, accounts: &[AccountStatus], now: Timestamp) -> Vec<Throttled> {
        let mut all = Vec::new();
        for AccountStatus { index, portal_id, totals, in_flight, held_jobs, rate, .. } in accounts {
            let last = self.0.entry(*index).or_default();
            // What HubSpot has answered in any other way.
            let served = totals.requests.saturating_sub(totals.throttled).saturating_sub(*in_flight as u64);
            if served > last.served || *held_jobs == 0 {
                last.since = None;
            } else if totals.throttled > last.throttled {
                last.since.get_or_insert(now);
            }
            (last.served, last.throttled) = (served.max(last.served), totals.throttled);
            let lasts = |since: &Timestamp| now.duration_since(*since).unsigned_abs() >= WORTH_A_WARNING;
            if let Some(since) = last.since.filter(lasts) {
                all.push(Throttled { index: *index, portal_id: *portal_id, since, rate: *rate });
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::status::AccountTotalsStatus;
    use crate::telemetry::snapshot::tests::account;

    #[test]
    fn an_account_is_worth_a_warning_when_nothing_was_served_for_long() {
        let mut all = ThrottledAccounts::default();
        let mut at = |second: i64, requests: u64, throttled: u64, in_flight: usize| {
            let totals = AccountTotalsStatus { requests, throttled, ..AccountTotalsStatus::default() };
            let account =
                crate::engine::status::AccountStatus { totals, in_flight, held_jobs: 7, ..account(0, Some(4711)) };
            let warned = all.note(&[account], Timestamp::from_second(second).unwrap_or_default());
            warned.first().map(|warned| warned.since.as_second())
        };
        assert_eq!(at(0, 10, 0, 0), None);
        assert_eq!(at(1, 12, 1, 1), None, "the first 429");
        assert_eq!(at(15, 14, 3, 1), None);
        assert_eq!(at(16, 14, 4, 0), Some(1));
        assert_eq!(at(40, 15, 4, 1), Some(1), "one on the wire is not served");
        assert_eq!(at(41, 15, 4, 0), None, "served");
        assert_eq!(at(80, 16, 5, 0), None, "it begins anew");
    }
}
