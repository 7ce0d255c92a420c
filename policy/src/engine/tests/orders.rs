//! What an operator orders for lanes.

use super::*;
use crate::engine::status::tests::{at, engine, job};

const ACCOUNT: AccountIndex = AccountIndex(0);

fn archives(engine: &mut Engine) -> usize {
    std::iter::from_fn(|| engine.next_command()).filter(|command| matches!(command, Command::Send(_))).count()
}

#[test]
fn a_paused_lane_sends_nothing_and_its_neighbour_goes_on() {
    let mut engine = engine(&[None]);
    let parse = |text| ObjectType::parse(text).unwrap();
    let (contacts, companies) = (parse("contacts"), parse("companies"));
    engine.admit(job(0, "contacts", "companies", Extent::Whole, 1), at(0));
    engine.admit(job(0, "contacts", "deals", Extent::Whole, 1), at(0));

    assert_eq!(engine.pause_lanes(ACCOUNT, &contacts, &companies, at(0)), 1);
    engine.wake(at(1));
    engine.wake(at(100));
    assert_eq!(archives(&mut engine), 1, "deals");
    engine.resume(ACCOUNT, at(100));
    engine.wake(at(101));
    assert_eq!(archives(&mut engine), 0, "to resume the account leaves its lanes as they are");

    assert_eq!(engine.resume_lanes(ACCOUNT, &contacts, &companies, at(101)), 1);
    engine.wake(at(102));
    assert_eq!(archives(&mut engine), 1, "companies");
    assert_eq!(engine.pause_lanes(ACCOUNT, &companies, &contacts, at(102)), 0, "the other way is another lane");
    assert_eq!(engine.pause_lanes(AccountIndex(7), &contacts, &companies, at(102)), 0);
}

#[test]
fn a_pause_by_hand_says_where_the_order_came_from() {
    let mut engine = engine(&[None]);
    let detail = |engine: &Engine| engine.status(at(1)).accounts[0].pause.clone().map(|pause| pause.detail);
    engine.pause_by(ACCOUNT, Some("from 10.0.0.7"), at(0));
    assert_eq!(detail(&engine).as_deref(), Some("paused by the operator, from 10.0.0.7"));
    engine.resume(ACCOUNT, at(1));
    engine.pause(ACCOUNT, at(1));
    assert_eq!(detail(&engine).as_deref(), Some("paused by the operator"));
}

/// An answer with what HubSpot says of the day.
fn of_the_day(status: u16, retry_after: Option<u64>, left: Option<u64>) -> Reply {
    let Reply::Answer(plain) = answer(status, "") else { unreachable!() };
    let mut headers = Headers { retry_after: retry_after.map(RetryAfter::Seconds), ..Headers::default() };
    headers.rate.daily_remaining = left;
    let body = match status {
        429 => {
            Body::Whole(Bytes::from_static(br#"{"message":"You have reached your daily limit.","policyName":"DAILY"}"#))
        }
        _ => plain.body,
    };
    Reply::Answer(Answer { status, headers, body })
}

fn in_kathmandu() -> AccountPolicy {
    AccountPolicy { time_zone: Some(jiff::tz::TimeZone::get("Asia/Kathmandu").unwrap()), ..account() }
}

/// All its jobs wait in the broker, so nobody is there to be a probe: the pause ends, and the next job finds out. This
/// is so as well where HubSpot has said when to come back.
#[test]
fn a_day_that_is_spent_is_tried_again_on_order_also_where_no_job_is_in_hand() {
    let raised = Tick::from_micros(60_000_000);
    for retry_after in [None, Some(20_000)] {
        let reply = move |_: &BatchCall, now: Tick| match now < raised {
            true => of_the_day(429, retry_after, None),
            false => answer(204, ""),
        };
        let mut bench = Bench::new(policy(), vec![in_kathmandu()], reply);
        bench.admit(("contacts", "companies"), &[pair(1, 7)]);
        bench.run(Duration::from_secs(120));
        assert!(bench.engine.pauses.account_is_paused_for(ACCOUNT, PauseKind::DaySpent));
        assert_eq!((bench.engine.held_jobs(), bench.sent.len()), (0, 1));
        let only_tries = |notice: &Notice| {
            let Notice::Slowed { only_tries, .. } = notice else { return None };
            Some(*only_tries)
        };
        let told: Vec<bool> = bench.notices.iter().filter_map(only_tries).collect();
        assert_eq!(told, [retry_after.is_some()], "without a time of HubSpot's it goes on at midnight");

        bench.engine.resume(ACCOUNT, bench.now);
        assert!(bench.engine.pauses.of_account(ACCOUNT).is_none());
        let job = bench.admit(("contacts", "companies"), &[pair(1, 7)]);
        bench.run(Duration::from_secs(5));
        assert_eq!(bench.ends[&job].1, End::archived(1), "{retry_after:?}");
    }
}

/// The last job took the last request, so nothing has come yet for which the account would pause.
#[test]
fn an_order_asks_hubspot_anew_for_a_day_that_is_spent_before_anything_pauses_for_it() {
    for raised in [false, true] {
        let mut first = true;
        let reply = move |_: &BatchCall, _: Tick| match (std::mem::take(&mut first), raised) {
            (true, _) => of_the_day(204, None, Some(0)),
            (false, true) => of_the_day(204, None, Some(1_000)),
            (false, false) => of_the_day(429, None, Some(0)),
        };
        let mut bench = Bench::new(policy(), vec![in_kathmandu()], reply);
        bench.admit(("contacts", "companies"), &[pair(1, 7)]);
        bench.run(Duration::from_secs(5));
        assert!(bench.engine.pauses.of_account(ACCOUNT).is_none());
        bench.engine.resume(ACCOUNT, bench.now);
        for n in 1..=1_000 {
            bench.admit(("contacts", "companies"), &[pair(n, 7)]);
        }
        bench.run(Duration::from_secs(5));
        let sent = bench.sent.len();
        assert_eq!(bench.paused(PauseKind::DaySpent), !raised);
        assert!(if raised { sent > 10 } else { sent == 2 }, "one request finds out, not {sent}");
    }
}

#[test]
fn a_budget_of_the_settings_that_is_spent_stays_so_on_order() {
    let mut bench = Bench::new(policy(), vec![AccountPolicy { daily: Some(1), ..account() }], always(204, ""));
    for n in 1..=200 {
        bench.admit(("contacts", "companies"), &[pair(n, 7)]);
    }
    bench.run(Duration::from_secs(30));
    bench.engine.resume(ACCOUNT, bench.now);
    assert!(bench.engine.pauses.account_is_paused_for(ACCOUNT, PauseKind::DaySpent));
    bench.run(Duration::from_secs(30));
    assert_eq!(bench.sent.len(), 1);
}
