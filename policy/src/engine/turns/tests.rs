use slotmap::SlotMap;

use super::*;

const ACCOUNT: AccountIndex = AccountIndex(0);
const LINGER: Duration = Duration::from_millis(200);
/// Of the background.
const SHARE: Share = Share::TENTH;

fn at(millis: u64) -> Tick {
    Tick::from_micros(millis * 1_000)
}

/// Turns of one account with some lanes.
fn stage(lanes: usize) -> (Turns, Vec<LaneKey>) {
    let mut keys: SlotMap<LaneKey, ()> = SlotMap::with_key();
    let mut turns = Turns::new(LINGER, SHARE, 1);
    let lanes: Vec<LaneKey> = (0..lanes).map(|_| keys.insert(())).collect();
    for &lane in &lanes {
        turns.open_lane(lane, ACCOUNT, Urgency::Live);
    }
    (turns, lanes)
}

#[test]
fn full_lanes_take_turns_one_request_each() {
    let (mut turns, lanes) = stage(3);
    for &lane in &lanes {
        turns.place(lane, None, || Fill::Full);
    }
    for round in 0..6 {
        let lane = turns.first_in_ring(ACCOUNT, Urgency::Live);
        assert_eq!(lane, Some(lanes[round % 3]));
        if let Some(lane) = lane {
            turns.had_turn(lane, false);
            turns.place(lane, None, || Fill::Full);
        }
    }
}

#[test]
fn a_partial_lane_waits_for_company_and_gets_a_turn_once_it_has_waited_too_long() {
    let (mut turns, lanes) = stage(1);
    turns.place(lanes[0], None, || Fill::Partial { oldest: at(50) });
    assert_eq!(turns.first_lingering(ACCOUNT, Urgency::Live), Some((at(250), lanes[0])));
    assert_eq!(turns.next_look(ACCOUNT, Urgency::Live), Some(at(250)));
    turns.promote(ACCOUNT, Urgency::Live, at(250));
    assert_eq!(turns.first_in_ring(ACCOUNT, Urgency::Live), None, "it uses what the ring leaves over");
    turns.promote(ACCOUNT, Urgency::Live, at(250) + PATIENCE);
    assert_eq!(turns.first_in_ring(ACCOUNT, Urgency::Live), Some(lanes[0]));
    assert_eq!(turns.first_lingering(ACCOUNT, Urgency::Live), None);
}

#[test]
fn a_lane_with_something_to_repeat_has_its_turn_when_that_is_due() {
    let (mut turns, lanes) = stage(1);
    turns.place(lanes[0], Some(at(500)), || Fill::Empty);
    turns.promote(ACCOUNT, Urgency::Live, at(499));
    assert_eq!(
        (turns.first_in_ring(ACCOUNT, Urgency::Live), turns.next_look(ACCOUNT, Urgency::Live)),
        (None, Some(at(500)))
    );
    turns.promote(ACCOUNT, Urgency::Live, at(500));
    assert_eq!(turns.first_in_ring(ACCOUNT, Urgency::Live), Some(lanes[0]));
}

#[test]
fn a_closed_lane_leaves_nothing_that_keeps_its_account_awake() {
    let (mut turns, lanes) = stage(2);
    turns.place(lanes[0], None, || Fill::Partial { oldest: at(0) });
    turns.close_lane(lanes[0]);
    assert_eq!(turns.next_look(ACCOUNT, Urgency::Live), None);
    turns.place(lanes[1], None, || Fill::Full);
    turns.close_lane(lanes[1]);
    turns.pass(ACCOUNT, Urgency::Live);
    assert_eq!(turns.first_in_ring(ACCOUNT, Urgency::Live), None);
}

#[test]
fn every_second_request_may_be_for_the_oldest_job_that_came_back() {
    let mut keys: SlotMap<JobKey, ()> = SlotMap::with_key();
    let jobs = [keys.insert(()), keys.insert(())];
    let (mut turns, _) = stage(1);
    for job in jobs {
        turns.came_back(ACCOUNT, Urgency::Live, job);
    }
    assert_eq!(turns.favourite(ACCOUNT, Urgency::Live, |_| true), Some(jobs[0]));
    turns.sends(ACCOUNT, Urgency::Live, true, Prospect::Open, at(0));
    assert_eq!(turns.favourite(ACCOUNT, Urgency::Live, |_| true), None);
    turns.sends(ACCOUNT, Urgency::Live, false, Prospect::Open, at(0));
    assert_eq!(turns.favourite(ACCOUNT, Urgency::Live, |job| job != jobs[0]), Some(jobs[1]), "the first has left");
}

#[test]
fn accounts_take_turns_and_one_that_is_ready_twice_has_one_turn() {
    let mut turns = Turns::new(LINGER, SHARE, 2);
    let [first, second] = [AccountIndex(0), AccountIndex(1)];
    turns.mark_ready(first);
    turns.mark_ready(second);
    turns.mark_ready(first);
    turns.remind(second, at(90));
    turns.remind(second, at(70));
    assert_eq!([turns.next_account(), turns.next_account(), turns.next_account()], [Some(first), Some(second), None]);
    assert_eq!(turns.next_timer(), Some(at(70)));
    turns.wake(at(70));
    assert_eq!([turns.next_account(), turns.next_account()], [Some(second), None]);
    turns.wake(at(90));
    assert_eq!(turns.next_account(), None, "only the earliest timer of an account counts");
}
