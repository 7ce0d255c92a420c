#![expect(clippy::unwrap_used)]

use std::collections::HashSet;
use std::num::NonZeroU64;
use std::sync::Arc;

use super::*;
use crate::contract::association::{Extent, Pair, RecordId};
use crate::contract::ids::AccountIndex;
use crate::contract::object_type::ObjectType;
use crate::engine::command::{CallKey, CallResult, LaneId, Request};
use crate::engine::course::Course;
use crate::engine::verdict::Transient;
use crate::telemetry::snapshot::tests::account;

#[test]
fn the_promised_names_are_there_before_anything_happened() {
    let page = Metrics::new(Timestamp::UNIX_EPOCH).render(&Snapshot::default());
    for line in [
        "# TYPE association_archiver_jobs_received_total counter",
        "association_archiver_jobs_received_total 0",
        r#"association_archiver_outcomes_total{status="ARCHIVED"} 0"#,
        r#"association_archiver_outcomes_total{status="REJECTED"} 0"#,
        r#"association_archiver_http_requests_total{result="archived"} 0"#,
        r#"association_archiver_http_requests_total{result="timed_out"} 0"#,
        r#"association_archiver_http_requests_total{result="token_refresh"} 0"#,
        "association_archiver_pairs_archived_total 0",
        "# TYPE association_archiver_batch_pairs histogram",
        r#"association_archiver_batch_pairs_bucket{le="1000"} 0"#,
        "association_archiver_job_duration_seconds_count 0",
        "association_archiver_http_request_duration_seconds_sum 0",
        "# TYPE association_archiver_jobs_held gauge",
        "association_archiver_jobs_held 0",
        r#"association_archiver_paused_accounts{kind="missing_scopes"} 0"#,
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
}

#[test]
fn what_happens_is_counted() {
    let metrics = Metrics::new(Timestamp::UNIX_EPOCH);
    metrics.sent(&call(Sealed::Full, 0));
    metrics.sent(&call(Sealed::Retry, 2));
    metrics.ended(HttpResult::Batch(CallResult::Transient(Transient::Locked)), Duration::from_millis(80));
    let (account, detail) = (AccountIndex(0), String::new());
    metrics.noticed(&Notice::Paused { account, lane: None, kind: PauseKind::Outage, detail, until: None });
    let (policy, until) = (Policy::Secondly, Timestamp::UNIX_EPOCH);
    metrics.noticed(&Notice::Slowed { account, policy, until, only_tries: false });
    let (pairs_archived, pairs_looked_up, pairs_restored) = (9, 8, 7);
    let (trials, refusals, parked, merged) = (3, 2, 1, 5);
    let (pairs_gone, pairs_not_gone, pairs_reappeared, pairs_journaled) = (6, 5, 4, 3);
    let counted = Counters { pairs_archived, pairs_looked_up, pairs_restored, trials, ..Counters::default() };
    let counted = Counters { pairs_gone, pairs_not_gone, pairs_reappeared, pairs_journaled, ..counted };
    metrics.follow(Counters { refusals, parked, merged, ..counted });

    let page = metrics.render(&Snapshot::default());

    for line in [
        r#"association_archiver_batches_total{sealed="full"} 1"#,
        r#"association_archiver_batches_total{sealed="retry"} 1"#,
        "association_archiver_batch_pairs_sum 4",
        "association_archiver_retries_total 1",
        r#"association_archiver_http_requests_total{result="locked"} 1"#,
        r#"association_archiver_http_request_duration_seconds_bucket{le="0.05"} 0"#,
        r#"association_archiver_http_request_duration_seconds_bucket{le="0.1"} 1"#,
        r#"association_archiver_pauses_total{kind="outage"} 1"#,
        r#"association_archiver_throttled_total{policy="secondly"} 1"#,
        "association_archiver_pairs_archived_total 9",
        "association_archiver_pairs_looked_up_total 8",
        "association_archiver_pairs_restored_total 7",
        r#"association_archiver_pairs_verified_total{result="gone"} 6"#,
        r#"association_archiver_pairs_verified_total{result="not_gone"} 5"#,
        r#"association_archiver_pairs_verified_total{result="reappeared"} 4"#,
        "association_archiver_journal_pairs_total 3",
        "association_archiver_isolation_requests_total 3",
        "association_archiver_refused_requests_total 2",
        "association_archiver_pairs_merged_total 5",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
}

#[test]
fn a_snapshot_shows_in_gauges() {
    let mut snapshot = Snapshot::default();
    snapshot.status.held.jobs = 12;
    (snapshot.broker.jobs_ready, snapshot.broker.own_jobs_ready) = (Some(12), Some(12));
    snapshot.broker.parked = [Some(0), Some(0), Some(24), Some(0)];
    snapshot.broker.unpublished = 7;
    (snapshot.broker.results_ready, snapshot.broker.results_consumers) = (Some(3), Some(1));
    snapshot.broker.publishing = true;
    snapshot.broker.blocked = true;
    snapshot.broker.counts.returned = 4;
    snapshot.status.paused_lanes.insert(PauseKind::MissingScopes, 2);
    snapshot.status.accounts = vec![account(0, Some(4711)), account(1, None)];
    snapshot.status.accounts[0].live_drain_seconds = Some(2.5);

    let page = Metrics::new(Timestamp::UNIX_EPOCH).render(&snapshot);

    for line in [
        "association_archiver_jobs_held 12",
        r#"association_archiver_parked_jobs{tier="10m"} 24"#,
        "association_archiver_unpublished_jobs 7",
        "association_archiver_results_ready 3",
        "association_archiver_results_consumers 1",
        "association_archiver_broker_blocked 1",
        "association_archiver_messages_returned_total 4",
        r#"association_archiver_paused_lanes{kind="missing_scopes"} 2"#,
        "association_archiver_accounts 2",
        "association_archiver_quota_used_highest_ratio 0.25",
        r#"association_archiver_account_quota_used_ratio{portal_id="4711"} 0.25"#,
        r#"association_archiver_account_paused{portal_id="none"} 0"#,
        r#"association_archiver_account_ceiling_requests_per_second{portal_id="4711"} 10"#,
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
    for nobody_said in ["account_day_requests_left{", "dead_letters_ready ", "drain_seconds "] {
        assert!(!page.contains(&format!("\nassociation_archiver_{nobody_said}")), "{nobody_said}");
    }
    snapshot.broker.blocked = false;
    let page = Metrics::new(Timestamp::UNIX_EPOCH).render(&snapshot);
    assert!(page.contains("\nassociation_archiver_drain_seconds 2.6\n"), "hand, queue and delay queue: {page}");
}

#[test]
fn many_accounts_make_no_more_series() {
    let metrics = Metrics::new(Timestamp::UNIX_EPOCH);
    let mut snapshot = Snapshot::default();
    snapshot.status.accounts = (0..=50).map(|index| account(index, Some(index.into()))).collect();
    assert!(!metrics.render(&snapshot).contains("portal_id="));
    snapshot.status.accounts.pop();
    assert!(metrics.render(&snapshot).contains(r#"portal_id="49""#));
}

#[test]
fn every_metric_is_documented_once() {
    let metrics = documented_metrics();
    let names: HashSet<_> = metrics.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), metrics.len());
    for metric in metrics {
        assert!(metric.help.ends_with('.'), "{}", metric.name);
        assert!(metric.name.starts_with("association_archiver_") || metric.name.starts_with("process_"));
    }
}

fn call(sealed: Sealed, failures: u32) -> BatchCall {
    let id = |digits| RecordId(NonZeroU64::new(digits).unwrap());
    let lane = LaneId {
        account: AccountIndex(0),
        from_type: ObjectType::parse("contacts").unwrap(),
        to_type: ObjectType::parse("deals").unwrap(),
        extent: Extent::Whole,
        course: Course::ARCHIVE,
    };
    let pairs = Arc::new([Pair { from: id(1), to: id(2) }, Pair { from: id(1), to: id(3) }]);
    BatchCall { call: CallKey::default(), lane, pairs, request: Request::Archive, sealed, failures }
}
