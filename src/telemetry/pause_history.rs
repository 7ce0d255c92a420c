//! When accounts and lanes stood still, for as long back as somebody who was woken wants to see.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::engine::pause::PauseKind;
use crate::engine::status::{PauseScope, PauseStatus, Status, write_time, write_time_or_null};

/// Follows the pauses that the snapshots show.
#[derive(Debug, Default)]
pub struct PauseHistory(VecDeque<PauseSpan>);

/// One standstill.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PauseSpan {
    /// The account's index in the settings, from 0.
    pub account: u32,
    pub portal_id: Option<u64>,
    /// `contacts/companies`; `None` where the account as a whole stood.
    pub lane: Option<String>,
    pub kind: PauseKind,
    #[serde(serialize_with = "write_time")]
    pub since: Timestamp,
    /// `None` while it lasts.
    #[serde(serialize_with = "write_time_or_null")]
    pub ended: Option<Timestamp>,
}

impl PauseHistory {
    /// A standstill that has ended is shown for this long.
    pub const SPAN: Duration = Duration::from_secs(6 * 60 * 60);

    /// Most standstills kept; those that ended longest ago go first.
    pub const MAX_SPANS: usize = 200;

    /// A standstill that comes again within this time is the same one.
    pub const RELAPSE: Duration = Duration::from_secs(5);

    /// Takes over what stands still now. An account that stands again for the same reason stands since the first time.
    pub fn note(&mut self, status: &mut Status, at: Timestamp) {
        let standing = standing(status);
        for span in self.0.iter_mut().filter(|span| span.ended.is_none()) {
            if !standing.iter().any(|now| now.is_the_same(span)) {
                span.ended = Some(at);
            }
        }
        for now in standing {
            let relapsed = |span: &PauseSpan| {
                let ended = span.ended.and_then(|ended| Duration::try_from(now.since.duration_since(ended)).ok());
                comes_again(span.kind) && ended.is_some_and(|age| age <= Self::RELAPSE)
            };
            let same =
                self.0.iter_mut().rfind(|span| now.is_the_same(span) && (span.ended.is_none() || relapsed(span)));
            match same {
                Some(span) => span.ended = None,
                None => self.0.push_back(now),
            }
        }
        self.begin_with_the_first(status);
        let old = |span: &PauseSpan| {
            span.ended
                .is_some_and(|ended| Duration::try_from(at.duration_since(ended)).is_ok_and(|age| age > Self::SPAN))
        };
        self.0.retain(|span| !old(span));
        while self.0.len() > Self::MAX_SPANS {
            let ended = self.0.iter().position(|span| span.ended.is_some());
            self.0.remove(ended.unwrap_or(0));
        }
    }

    fn begin_with_the_first(&self, status: &mut Status) {
        for account in &mut status.accounts {
            let of_account = |span: &&PauseSpan| span.account == account.index && span.lane.is_none();
            let mut standing = self.0.iter().filter(|span| span.ended.is_none()).filter(of_account);
            if let Some(pause) = account.pause.as_mut().filter(|pause| pause.scope == PauseScope::Account)
                && let Some(span) = standing.find(|span| span.kind == pause.kind && comes_again(span.kind))
            {
                pause.since = pause.since.min(span.since);
            }
        }
    }

    /// In the order in which they began to be seen.
    pub fn read(&self) -> Vec<PauseSpan> {
        self.0.iter().cloned().collect()
    }
}

/// Whether a pause that comes again within seconds is the same trouble. It is not where a person has spoken, nor where
/// HubSpot asks each time for a wait of its own and serves the account in between.
pub fn comes_again(kind: PauseKind) -> bool {
    match kind {
        PauseKind::Operator | PauseKind::Guard | PauseKind::Throttled | PauseKind::PortalMoving => false,
        PauseKind::Unauthorized
        | PauseKind::RefreshRefused
        | PauseKind::PortalMismatch
        | PauseKind::DaySpent
        | PauseKind::Outage
        | PauseKind::Journal
        | PauseKind::MissingScopes
        | PauseKind::Forbidden
        | PauseKind::WrongPath => true,
    }
}

impl PauseSpan {
    fn is_the_same(&self, other: &Self) -> bool {
        (self.account, self.kind, &self.lane) == (other.account, other.kind, &other.lane)
    }
}

/// Accounts that stand as a whole, and lanes that stand for reasons of their own.
fn standing(status: &Status) -> Vec<PauseSpan> {
    let span = |account, portal_id, lane, pause: &PauseStatus| PauseSpan {
        account,
        portal_id,
        lane,
        kind: pause.kind,
        since: pause.since,
        ended: None,
    };
    let accounts = status
        .accounts
        .iter()
        .filter_map(|account| Some(span(account.index, account.portal_id, None, account.own_pause()?)));
    let lanes = status.lanes.iter().filter_map(|lane| {
        let name = format!("{}/{}", lane.from_object_type, lane.to_object_type);
        Some(span(lane.account, lane.portal_id, Some(name), lane.pause.as_ref()?))
    });
    accounts.chain(lanes).take(PauseHistory::MAX_SPANS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(seconds)
    }

    fn status(paused: Option<(PauseKind, PauseScope, i64)>) -> Status {
        let mut account = crate::telemetry::snapshot::tests::account(0, Some(4711));
        account.pause = paused.map(|(kind, scope, since)| PauseStatus {
            scope,
            kind,
            detail: String::new(),
            since: at(since),
            resume_at: None,
            probe_at: None,
        });
        Status { accounts: vec![account], ..Status::default() }
    }

    #[test]
    fn a_standstill_is_kept_until_it_is_old() {
        let mut history = PauseHistory::default();
        let outage = |since| status(Some((PauseKind::Outage, PauseScope::Account, since)));
        history.note(&mut status(None), at(0));
        history.note(&mut outage(10), at(10));
        history.note(&mut outage(10), at(40));
        assert_eq!(history.read().iter().map(|span| (span.since, span.ended)).collect::<Vec<_>>(), [(at(10), None)]);
        history.note(&mut status(None), at(70));
        history.note(&mut outage(100), at(100));
        let spans: Vec<_> = history.read().iter().map(|span| (span.since, span.ended)).collect();
        assert_eq!(spans, [(at(10), Some(at(70))), (at(100), None)]);

        let six_hours_later = at(71 + 6 * 3_600);
        history.note(&mut outage(100), six_hours_later);
        assert_eq!(history.read().len(), 1, "only what is over becomes old");
    }

    #[test]
    fn a_standstill_that_comes_again_within_seconds_is_the_same_one() {
        let mut history = PauseHistory::default();
        let stands = |history: &mut PauseHistory, kind, since| {
            let mut status = status(Some((kind, PauseScope::Account, since)));
            history.note(&mut status, at(since));
            status.accounts[0].pause.as_ref().map(|pause| pause.since)
        };
        assert_eq!(stands(&mut history, PauseKind::Journal, 10), Some(at(10)));
        assert_eq!(stands(&mut history, PauseKind::Journal, 12), Some(at(10)), "it was over in between for a moment");
        history.note(&mut status(None), at(20));
        assert_eq!(stands(&mut history, PauseKind::Journal, 24), Some(at(10)));
        assert_eq!(history.read().len(), 1);
        history.note(&mut status(None), at(30));
        assert_eq!(stands(&mut history, PauseKind::Journal, 36), Some(at(36)), "another one");
        history.note(&mut status(None), at(40));
        assert_eq!(stands(&mut history, PauseKind::Operator, 41), Some(at(41)));
        history.note(&mut status(None), at(42));
        assert_eq!(stands(&mut history, PauseKind::Operator, 43), Some(at(43)), "a person has paused it again");
    }

    #[test]
    fn another_reason_is_another_standstill() {
        let mut history = PauseHistory::default();
        history.note(&mut status(Some((PauseKind::Outage, PauseScope::Account, 10))), at(10));
        history.note(&mut status(Some((PauseKind::Unauthorized, PauseScope::Account, 10))), at(20));
        let spans: Vec<_> = history.read().iter().map(|span| (span.kind, span.ended)).collect();
        assert_eq!(spans, [(PauseKind::Outage, Some(at(20))), (PauseKind::Unauthorized, None)]);
        history.note(&mut status(Some((PauseKind::Forbidden, PauseScope::AllLanes, 30))), at(30));
        assert_eq!(history.read().len(), 2, "the lanes stand, not the account");
    }

    #[test]
    fn standstills_are_bounded() {
        let mut history = PauseHistory::default();
        for second in 0..1_000 {
            let kind = if second % 2 == 0 { PauseKind::Outage } else { PauseKind::Throttled };
            history.note(&mut status(Some((kind, PauseScope::Account, 10 * second))), at(10 * second));
        }
        assert_eq!(history.read().len(), PauseHistory::MAX_SPANS);
    }
}
