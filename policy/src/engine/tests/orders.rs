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
