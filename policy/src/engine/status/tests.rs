#![expect(clippy::unwrap_used, clippy::panic)]

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::smallvec;

use super::*;
use crate::contract::action::Action;
use crate::contract::association::{Extent, Label, LabelCategory, Pair, RecordId};
use crate::contract::ids::{AccountIndex, PortalId};
use crate::contract::job::Ask;
use crate::contract::object_type::ObjectType;
use crate::engine::account::AccountPolicy;
use crate::engine::clock::{Now, Tick};
use crate::engine::command::{Carried, Command, NewJob, Notice};
use crate::engine::{Engine, EnginePolicy, Waiting};

#[test]
fn what_is_held_is_told_by_account_and_lane() {
    let mut engine = engine(&[Some(4711), Some(815)]);
    for from in 1..=250 {
        engine.admit(job(0, "contacts", "companies", Extent::Whole, from), at(0));
    }
    let labels = Extent::Labels(Arc::new([Label {
        category: LabelCategory::UserDefined,
        type_id: NonZeroU64::new(37).unwrap(),
    }]));
    engine.admit(job(1, "deals", "0-1", labels, 1), at(2));

    let status = engine.status(at(5));

    assert_eq!((status.held.jobs, status.held.pairs, status.held.lanes), (251, 251, 2));
    assert_eq!(status.lanes_left_out, 0);
    let [first, second] = status.accounts.as_slice() else { panic!("two accounts") };
    assert_eq!((first.portal_id, first.held_jobs, first.held_pairs, first.lanes), (Some(4711), 250, 250, 1));
    assert_eq!((second.index, second.portal_id, second.held_pairs), (1, Some(815), 1));
    assert_eq!(first.drain_seconds, Some(0.3), "250 records are three requests at ten a second");
    assert_eq!(second.drain_seconds, Some(0.1));
    assert_eq!(status.held.drain_seconds, Some(0.3), "accounts drain side by side");
    let [larger, smaller] = status.lanes.as_slice() else { panic!("two lanes") };
    assert_eq!((larger.waiting_pairs, larger.waiting_from, larger.oldest_seconds), (250, 250, Some(5.0)));
    assert_eq!(
        (smaller.kind, smaller.labels.as_slice()),
        (LaneKind::Labels, ["USER_DEFINED 37".to_owned()].as_slice())
    );
    assert_eq!((smaller.from_object_type.as_str(), smaller.to_object_type.as_str()), ("deals", "contacts"));
}

#[test]
fn requests_show_in_rate_day_and_totals() {
    let mut engine = engine(&[None]);
    engine.admit(job(0, "contacts", "companies", Extent::Whole, 1), at(0));
    engine.wake(at(0));
    engine.wake(at(1));

    let status = engine.status(at(1));

    let account = &status.accounts[0];
    assert_eq!(account.portal_id, None);
    assert_eq!((account.rate.requests, account.rate.interval_seconds, account.rate.used), (100, 10.0, 1));
    assert_eq!((account.day.used, account.day.left), (1, None));
    assert_eq!((account.totals.requests, account.in_flight), (1, 1));
    assert_eq!((status.totals.requests, status.held.in_flight, status.lanes[0].in_flight), (1, 1, 1));
    assert_eq!(account.drain_seconds, Some(0.0), "what is on the wire needs no further request");
    assert_eq!(engine.status(at(11)).accounts[0].rate.used, 0);
}

#[test]
fn an_account_that_stands_has_no_drain_time() {
    let mut engine = engine(&[Some(1), Some(2)]);
    engine.admit(job(0, "contacts", "companies", Extent::Whole, 1), at(0));
    engine.pause(AccountIndex(0), at(3));

    let status = engine.status(at(4));

    let pause = status.accounts[0].pause.as_ref().unwrap();
    assert_eq!((pause.scope, pause.kind, pause.since), (PauseScope::Account, PauseKind::Operator, at(3).wall));
    assert_eq!((pause.resume_at, pause.probe_at), (None, None));
    assert_eq!((status.accounts[0].drain_seconds, status.accounts[1].drain_seconds), (None, Some(0.0)));
    assert_eq!(status.paused_accounts, BTreeMap::from([(PauseKind::Operator, 1)]));
    engine.resume(AccountIndex(0), at(5));
    assert!(engine.status(at(5)).paused_accounts.is_empty());
}

/// Ticks are microseconds, and the wall clock is finer.
#[test]
fn a_pause_until_midnight_is_told_as_midnight() {
    let mut engine = engine(&[Some(1)]);
    let now = Now { wall: at(3).wall + Duration::from_nanos(300), ..at(3) };
    let (midnight, soon) = (at(3_600).wall, at(60).wall + Duration::from_millis(1));
    for (until, told) in [(midnight, midnight), (soon, at(61).wall)] {
        engine.pause_account(AccountIndex(0), PauseKind::PortalMoving, Some(until), String::new(), now);
        let pause = engine.status(now).accounts[0].pause.clone().unwrap();
        assert_eq!((pause.resume_at, pause.probe_at), (Some(told), Some(told)));
    }
    // Before the day is over it is only tried: nobody is told that it goes on then.
    engine.pause_account(AccountIndex(0), PauseKind::DaySpent, Some(soon), String::new(), now);
    let pause = engine.status(now).accounts[0].pause.clone().unwrap();
    assert_eq!((pause.resume_at, pause.probe_at), (None, Some(at(61).wall)));
    let told =
        |command| matches!(command, Command::Notice(Notice::Paused { kind: PauseKind::DaySpent, until: None, .. }));
    assert!(std::iter::from_fn(|| engine.next_command()).any(told));
}

#[test]
fn an_account_whose_lanes_all_stand_counts_as_paused() {
    let mut engine = engine(&[Some(1)]);
    engine.admit(job(0, "contacts", "companies", Extent::Whole, 1), at(0));
    engine.admit(job(0, "contacts", "deals", Extent::Whole, 1), at(0));
    let lanes = engine.holdings.lanes().of(AccountIndex(0)).to_vec();
    engine.pause_lane(lanes[0], PauseKind::MissingScopes, "crm.objects.contacts.write".to_owned(), at(1));
    let half = engine.status(at(2));
    assert_eq!((half.accounts[0].pause.as_ref(), half.accounts[0].paused_lanes), (None, 1));
    assert_eq!(half.accounts[0].drain_seconds, Some(0.1), "only the lane that goes on counts");
    assert!(half.lanes[0].pause.is_some(), "what stands is listed first");

    engine.pause_lane(lanes[1], PauseKind::WrongPath, "404".to_owned(), at(2));

    let status = engine.status(at(3));
    let pause = status.accounts[0].pause.as_ref().unwrap();
    assert_eq!((pause.scope, pause.kind), (PauseScope::AllLanes, PauseKind::MissingScopes));
    assert_eq!(pause.probe_at, Some(at(2).wall));
    assert_eq!(status.paused_lanes, BTreeMap::from([(PauseKind::MissingScopes, 1), (PauseKind::WrongPath, 1)]));
    assert_eq!(status.held.drain_seconds, None);
}

#[test]
fn an_account_without_lanes_is_not_paused() {
    assert_eq!(engine(&[None]).status(at(0)).accounts[0].pause, None);
}

#[test]
fn few_of_many_lanes_are_listed_the_largest_first() {
    let mut engine = engine(&[None]);
    for lane in 1..=1_000 {
        for from in 1..=(lane % 7 + 1) {
            let to = format!("2-{lane}");
            engine.admit(job(0, "contacts", &to, Extent::Whole, from), at(0));
        }
    }
    let paused = engine.holdings.lanes().of(AccountIndex(0))[3];
    engine.pause_lane(paused, PauseKind::Forbidden, String::new(), at(0));

    let status = engine.status(at(0));

    assert_eq!((status.lanes.len(), status.lanes_left_out), (Status::MAX_LANES, 900));
    assert!(status.lanes[0].pause.is_some());
    assert!(status.lanes[1..].iter().all(|lane| lane.waiting_pairs == 7), "142 lanes have seven pairs");
}

#[test]
fn the_json_has_the_documented_shape() {
    let mut engine = engine(&[Some(4711)]);
    engine.admit(job(0, "contacts", "companies", Extent::Whole, 1), at(0));
    engine.pause(AccountIndex(0), at(0));
    let json = serde_json::to_value(engine.status(at(1))).unwrap();

    assert_eq!(json["accounts"][0]["pause"]["kind"], "operator");
    assert_eq!(json["accounts"][0]["pause"]["scope"], "account");
    assert_eq!(json["accounts"][0]["pause"]["since"], "2027-01-15T08:00:00.000Z");
    assert!(json["accounts"][0]["pause"]["resumeAt"].is_null());
    assert_eq!(json["accounts"][0]["rate"]["configuredRequests"], 100);
    assert_eq!(json["lanes"][0]["fromObjectType"], "contacts");
    assert_eq!(json["lanes"][0]["kind"], "association");
    assert_eq!(json["pausedAccounts"]["operator"], 1);
    assert!(json["held"]["drainSeconds"].is_null());
}

/// Prints what a status costs at the size the limits allow: `cargo test --lib cost_of -- --ignored --nocapture`.
#[test]
#[ignore = "prints a figure, which depends on the machine"]
fn the_cost_of_a_status_with_a_thousand_accounts_and_a_hundred_thousand_lanes() {
    let portals: Vec<_> = (1..=1_000).map(Some).collect();
    let mut engine = engine(&portals);
    for account in 0..1_000 {
        for lane in 1..=100 {
            engine.admit(job(account, "contacts", &format!("2-{lane}"), Extent::Whole, 1), at(0));
        }
    }
    let begun = Instant::now();
    let status = engine.status(at(1));
    println!("{} lanes, {} accounts: {:?}", status.held.lanes, status.accounts.len(), begun.elapsed());
    assert_eq!(status.lanes_left_out, 99_900);
}

pub fn engine(portals: &[Option<u64>]) -> Engine {
    let waiting = Waiting::InHand { give_up_after: Duration::from_secs(30) };
    let policy = EnginePolicy { waiting, ..EnginePolicy::default() };
    let account = |&portal: &Option<u64>| {
        let portal = portal.and_then(NonZeroU64::new).map(PortalId);
        AccountPolicy { portal, ..AccountPolicy::default() }
    };
    Engine::new(policy, portals.iter().map(account).collect(), 1, at(0))
}

pub fn job(account: u32, from_type: &str, to_type: &str, extent: Extent, from: u64) -> NewJob {
    let id = |digits| RecordId(NonZeroU64::new(digits).unwrap());
    NewJob {
        action: Action::Archive,
        dry_run: false,
        account: AccountIndex(account),
        from_type: ObjectType::parse(from_type).unwrap(),
        to_type: ObjectType::parse(to_type).unwrap(),
        asks: smallvec![Ask { extent, pairs: smallvec![Pair { from: id(from), to: id(9) }], all_of: Vec::new() }],
        expiry: None,
        weight: 100,
        carried: Carried::fresh(at(0).wall),
    }
}

pub fn at(seconds: u32) -> Now {
    let wall = Timestamp::from_second(1_800_000_000 + i64::from(seconds)).unwrap();
    Now { tick: Tick::from_micros(u64::from(seconds) * 1_000_000), wall }
}
