use slotmap::SlotMap;

use super::*;
use crate::contract::association::Extent;
use crate::contract::object_type::ObjectType;
use crate::engine::course::Course;
use crate::engine::lane_probes::DAY;

const ACCOUNT: AccountIndex = AccountIndex(0);

/// Ten requests a second.
const QUOTA: ProbeQuota = ProbeQuota { per_request: Duration::from_millis(100), daily: None };

fn at(seconds: u64) -> Now {
    let tick = Tick::from_micros(seconds * 1_000_000);
    Now { tick, wall: Timestamp::UNIX_EPOCH + Duration::from_secs(seconds) }
}

/// One account with some lanes, each paused at the start because the token lacks a scope.
fn paused_lanes(lanes: usize, prefetch: usize) -> (Pauses, Vec<LaneKey>, LaneId) {
    let mut keys: SlotMap<LaneKey, ()> = SlotMap::with_key();
    let lanes: Vec<LaneKey> = (0..lanes).map(|_| keys.insert(())).collect();
    let waiting = Waiting::Outside { longest_hold: Duration::from_secs(490), prefetch };
    let mut pauses = Pauses::new(waiting, [false].into_iter(), at(0));
    let contacts = ObjectType::parse("contacts").unwrap();
    let id = LaneId {
        account: ACCOUNT,
        from_type: contacts.clone(),
        to_type: contacts,
        extent: Extent::Whole,
        course: Course::ARCHIVE,
    };
    for &lane in &lanes {
        assert!(pauses.pause_lane(lane, &id, PauseKind::MissingScopes, "a scope".to_owned(), at(0)).is_some());
    }
    (pauses, lanes, id)
}

fn reserve(pauses: &Pauses, lane: LaneKey) -> Option<usize> {
    pauses.surplus_of_lane(lane, 1_000, at(1)).map(|surplus| surplus.reserve)
}

#[test]
fn the_reserves_of_all_that_is_paused_share_a_quarter_of_the_prefetch() {
    for (lanes, expected) in [(1, 10), (2, 5), (5, 2), (40, 1)] {
        let (pauses, lanes, _) = paused_lanes(lanes, 40);
        assert!(lanes.iter().all(|&lane| reserve(&pauses, lane) == Some(expected)), "{} lanes", lanes.len());
    }
}

#[test]
fn a_lane_that_is_closed_or_goes_on_leaves_its_reserve_to_the_others() {
    let (mut pauses, lanes, id) = paused_lanes(4, 40);
    pauses.close_lane(ACCOUNT, lanes[0]);
    assert!(pauses.resume_lane(lanes[1], &id, at(1)).is_some());
    pauses.close_lane(ACCOUNT, lanes[1]);
    assert_eq!(reserve(&pauses, lanes[2]), Some(5));
}

#[test]
fn one_request_at_a_time_finds_out_whether_a_paused_lane_goes_on() {
    let (mut pauses, lanes, id) = paused_lanes(1, 40);
    let due = pauses.probe_of_lane(ACCOUNT, lanes[0], QUOTA, Tick::ZERO).unwrap();
    pauses.lane_sends(ACCOUNT, lanes[0], 1, QUOTA, due);
    assert_eq!(pauses.probe_of_lane(ACCOUNT, lanes[0], QUOTA, due), None, "while one is on the wire");
    pauses.lane_answered(ACCOUNT, lanes[0]);
    assert!(pauses.probe_of_lane(ACCOUNT, lanes[0], QUOTA, due).is_some_and(|next| next > due));
    assert!(pauses.lane_served(lanes[0], due), "a request that was sent since was served");
    assert!(pauses.resume_lane(lanes[0], &id, at(9)).is_some());
    assert_eq!(pauses.uncounted(ACCOUNT, lanes[0], at(20).tick), Duration::from_secs(9));
}

#[test]
fn the_probes_of_all_paused_lanes_share_a_twentieth_of_the_requests_and_of_the_day() {
    for (daily, most) in [(None, 86_400 / 2), (Some(500), 25)] {
        let quota = ProbeQuota { daily, ..QUOTA };
        let (mut pauses, lanes, _) = paused_lanes(300, 10_000);
        let (mut now, mut probes, mut turns) = (Tick::ZERO, 0, BTreeSet::new());
        let end = Tick::ZERO + DAY;
        loop {
            let next = lanes.iter().filter_map(|&lane| Some((pauses.probe_of_lane(ACCOUNT, lane, quota, now)?, lane)));
            let (at, lane) = next.min().unwrap();
            now = now.max(at);
            // A few minutes of the one are enough.
            if now >= end || probes > 1_000 {
                break;
            }
            pauses.lane_sends(ACCOUNT, lane, lanes.len(), quota, now);
            let other = lanes.iter().copied().find(|other| *other != lane).unwrap();
            let of_other = pauses.probe_of_lane(ACCOUNT, other, quota, now).unwrap();
            assert!(of_other >= now + Duration::from_secs(2), "one at a time");
            pauses.lane_answered(ACCOUNT, lane);
            probes += 1;
            turns.insert(lane);
        }
        assert!(probes <= most, "{probes} probes of {daily:?}");
        let lanes = lanes.len().min(probes);
        assert!(turns.len() >= lanes - 1, "{} of {lanes} lanes had a turn", turns.len());
        assert!(probes >= 20);
    }
}

#[test]
fn an_operators_pause_is_ended_by_nobody_else() {
    let (mut pauses, _, _) = paused_lanes(0, 40);
    let mut pause = |kind| pauses.pause_account(ACCOUNT, kind, None, String::new(), at(0)).is_some();
    assert!(pause(PauseKind::Operator));
    assert!(!pause(PauseKind::Outage));
    assert!(!pauses.account_served(ACCOUNT, at(1).tick));
    assert_eq!(pauses.may_send(ACCOUNT, at(1)), Err(None));
    assert!(pauses.resume_account(ACCOUNT, at(2)).is_some());
    assert_eq!(pauses.may_send(ACCOUNT, at(2)), Ok(()));
}
