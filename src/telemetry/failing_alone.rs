//! Pairs whose requests fail again and again though nothing else was in them, while others are served: which they are,
//! so that a person can look at these records in HubSpot long before `retry.max_age` is over.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::contract::association::Pair;
use crate::contract::ids::AccountIndex;
use crate::contract::time::up_to_second;
use crate::engine::pause::Tier;
use crate::engine::status::{AccountStatus, write_time, write_time_or_null};

/// See the module.
#[derive(Debug, Default)]
pub struct FailingAlone {
    pairs: Vec<Entry>,
    /// When an account last did something that it was asked for, since its last outage.
    served: HashMap<AccountIndex, Timestamp>,
}

#[derive(Debug)]
struct Entry {
    account: AccountIndex,
    pair: Pair,
    told: FailingPair,
}

/// As `/status` tells it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailingPair {
    pub portal_id: Option<u64>,
    /// `contacts/companies`
    pub lane: String,
    pub from: String,
    pub to: String,
    /// A job that waits for it.
    pub job_id: String,
    /// Requests with nothing else in them that failed while others were served.
    pub tries: u64,
    #[serde(serialize_with = "write_time")]
    pub since: Timestamp,
    #[serde(serialize_with = "write_time")]
    pub last_at: Timestamp,
    /// When it goes again: in hand after its back-off, parked after the time of its delay queue; `null` where nobody knows.
    #[serde(serialize_with = "write_time_or_null")]
    pub next_try_at: Option<Timestamp>,
    /// `null` where no answer came.
    pub http_status: Option<u16>,
    /// HubSpot's latest words.
    pub message: Option<String>,
}

impl FailingAlone {
    /// Most pairs remembered. Beyond it the one that failed longest ago is forgotten.
    pub const MOST: usize = 20;
    /// One failure is no news: the next try mostly works.
    const TOLD_FROM: u64 = 2;
    /// A pair that was not tried within this time is forgotten: jobs come back from a delay queue after ten minutes at
    /// most.
    const KEPT: Duration = Duration::from_secs(30 * 60);

    /// An account that did something this long before a failure was served then.
    const SERVED_FOR: Duration = Duration::from_secs(30);

    /// HubSpot has done something for this account.
    pub fn served(&mut self, account: AccountIndex, now: Timestamp) {
        self.served.insert(account, now);
    }

    /// An outage of this account begins: what failed before it was part of it, and what fails during it is no fault of
    /// a pair.
    pub fn outage(&mut self, account: AccountIndex) {
        self.pairs.retain(|entry| entry.account != account);
        self.served.remove(&account);
    }

    /// `latest` is told with one try; its time is now. It counts where the account was served shortly before, or since
    /// the pair failed last.
    pub fn note(&mut self, account: AccountIndex, pair: Pair, latest: FailingPair) {
        let is_same = |entry: &Entry| entry.account == account && entry.pair == pair && entry.told.lane == latest.lane;
        let before = self.pairs.iter().position(is_same).map(|place| self.pairs.swap_remove(place).told);
        let served = self.served.get(&account).is_some_and(|&served| {
            before.as_ref().is_some_and(|before| served > before.last_at)
                || latest.last_at.duration_since(served).unsigned_abs() <= Self::SERVED_FOR
        });
        let (tries, since) = match before {
            Some(before) if before.tries > 0 => (before.tries, before.since),
            Some(_) | None => (0, latest.since),
        };
        if self.pairs.len() >= Self::MOST
            && let Some(oldest) = (0..self.pairs.len()).min_by_key(|&index| self.pairs[index].told.last_at)
        {
            self.pairs.swap_remove(oldest);
        }
        self.pairs.push(Entry {
            account,
            pair,
            told: FailingPair { tries: tries + u64::from(served), since, ..latest },
        });
    }

    /// A job goes on in a delay queue, from now on.
    pub fn parked(&mut self, job_id: &str, tier: Tier, now: Timestamp) {
        for Entry { told, .. } in self.pairs.iter_mut().filter(|entry| entry.told.job_id == job_id) {
            told.next_try_at = now.checked_add(tier.wait()).ok().map(up_to_second);
        }
    }

    /// A job has its outcome.
    pub fn settled(&mut self, job_id: &str) {
        if !self.pairs.is_empty() {
            self.pairs.retain(|entry| entry.told.job_id != job_id);
        }
    }

    /// Those that have failed longest first. Pairs of an account that stands still as a whole are left out: it is not
    /// their fault. Those of an account on which another worker works by now are forgotten: that one knows them.
    pub fn read(&mut self, accounts: &[AccountStatus], now: Timestamp) -> Vec<FailingPair> {
        let of = |index: AccountIndex| accounts.iter().find(|account| account.index == index.0);
        self.pairs.retain(|entry| {
            now.duration_since(entry.told.last_at).unsigned_abs() < Self::KEPT
                && !of(entry.account).is_some_and(|account| account.stands_by)
        });
        let stands = |index| of(index).is_some_and(|account| account.own_pause().is_some());
        let told = self.pairs.iter().filter(|entry| entry.told.tries >= Self::TOLD_FROM && !stands(entry.account));
        let mut told: Vec<FailingPair> = told.map(|entry| entry.told.clone()).collect();
        told.sort_by(|a, b| a.since.cmp(&b.since).then_with(|| a.from.cmp(&b.from)));
        told
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use super::*;
    use crate::contract::association::RecordId;
    use crate::telemetry::snapshot::tests::account;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    /// Fails while others are served.
    fn fails(list: &mut FailingAlone, from: u64, seconds: i64) {
        list.served(AccountIndex(0), at(seconds));
        fails_with_all(list, from, seconds);
    }

    fn fails_with_all(list: &mut FailingAlone, from: u64, seconds: i64) {
        let id = |digits: u64| RecordId(digits.try_into().unwrap());
        let latest = FailingPair {
            portal_id: Some(4711),
            lane: "contacts/companies".to_owned(),
            from: from.to_string(),
            to: "9".to_owned(),
            job_id: format!("job-{from}"),
            tries: 1,
            since: at(seconds),
            last_at: at(seconds),
            next_try_at: Some(at(seconds + 2)),
            http_status: Some(500),
            message: None,
        };
        list.note(AccountIndex(0), Pair { from: id(from), to: id(9) }, latest);
    }

    #[test]
    fn a_pair_is_told_from_its_second_try_on_until_its_job_is_answered() {
        let mut list = FailingAlone::default();
        fails(&mut list, 7, 0);
        assert_eq!(list.read(&[], at(1)), []);
        fails(&mut list, 7, 60);
        let told = list.read(&[], at(61));
        assert_eq!((told[0].tries, told[0].since, told[0].last_at), (2, at(0), at(60)));
        assert_eq!(told[0].next_try_at, Some(at(62)), "in hand");
        list.parked("another", Tier::OneHour, at(61));
        list.parked("job-7", Tier::TenMinutes, at(90));
        assert_eq!(list.read(&[], at(91))[0].next_try_at, Some(at(690)), "in a delay queue");
        list.settled("another");
        assert_eq!(list.read(&[], at(61)).len(), 1);
        list.settled("job-7");
        assert_eq!(list.read(&[], at(61)), []);
    }

    #[test]
    fn what_fails_in_an_outage_does_not_fail_by_itself() {
        let mut list = FailingAlone::default();
        list.served(AccountIndex(0), at(0));
        fails_with_all(&mut list, 7, 1);
        fails_with_all(&mut list, 7, 2);
        list.outage(AccountIndex(0));
        // The trials of the outage.
        fails_with_all(&mut list, 7, 12);
        fails_with_all(&mut list, 7, 25);
        list.served(AccountIndex(0), at(30));
        assert_eq!(list.read(&[], at(30)), []);
        // Now it does: before each try something else was done.
        fails_with_all(&mut list, 7, 31);
        list.served(AccountIndex(0), at(100));
        assert_eq!(list.read(&[], at(100)), []);
        fails_with_all(&mut list, 7, 631);
        assert_eq!(list.read(&[], at(632)).iter().map(|told| (told.tries, told.since)).next(), Some((2, at(31))));
        // Nothing else is asked for: this shows nothing.
        fails_with_all(&mut list, 7, 1_231);
        assert_eq!(list.read(&[], at(1_232))[0].tries, 2);
        list.outage(AccountIndex(1));
        assert_eq!(list.read(&[], at(1_232)).len(), 1, "another account's");
    }

    #[test]
    fn a_worker_that_stands_by_tells_nothing_of_the_time_when_it_worked() {
        let mut list = FailingAlone::default();
        fails(&mut list, 7, 0);
        fails(&mut list, 7, 60);
        let works = account(0, Some(4711));
        assert_eq!(list.read(std::slice::from_ref(&works), at(61)).len(), 1);
        let standby = AccountStatus { stands_by: true, ..account(0, Some(4711)) };
        assert_eq!(list.read(&[standby], at(62)), []);
        assert_eq!(list.read(&[works], at(63)), [], "when it works again, it tells what it then sees");
    }

    #[test]
    fn it_stays_small_and_forgets_what_is_tried_no_more() {
        let mut list = FailingAlone::default();
        for try_number in 0..3 {
            for from in 1..=100 {
                fails(&mut list, from, try_number);
            }
        }
        assert!(list.pairs.len() <= FailingAlone::MOST);
        for _ in 0..3 {
            fails(&mut list, 7, 10);
        }
        assert!(list.read(&[], at(10)).iter().any(|pair| pair.from == "7"));
        assert_eq!(list.read(&[], at(10) + FailingAlone::KEPT), []);
    }
}
