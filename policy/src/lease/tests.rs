#![expect(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::memory::{AccountMemory, DayMemory, Memory, PauseMemory};
use super::message::{Claim, LeaseMessage, TenureId};
use super::*;
use crate::engine::clock::Now;
use crate::engine::pace::Recent;

const TIME: Duration = Duration::from_secs(12);

fn at(seconds: f64) -> Now {
    let span = Duration::from_secs_f64(seconds);
    Now { tick: Tick::ZERO + span, wall: Timestamp::from_second(1_795_000_000).unwrap() + span }
}

fn lease() -> Lease {
    Lease::new(LeasePolicy { time: TIME, tenure: TenureId::new(1), holder: "this-worker".to_owned() })
}

fn foreign(tenure: u64, number: u64, sequence: u64, claim: Claim) -> LeaseMessage {
    LeaseMessage::new(TenureId::new(tenure), number, sequence, format!("worker-{tenure}"), claim, counted(40))
}

fn counted(used: u64) -> Memory {
    let mut memory = Memory::default();
    let day = Some(DayMemory { ends: Timestamp::from_second(1_795_080_000).unwrap(), used });
    memory.set(None, AccountMemory::new(day, None, PauseMemory::default(), Vec::new()));
    memory
}

fn used(memory: &Memory) -> u64 {
    memory.of(None).and_then(|account| account.day).map_or(0, |day| day.used)
}

fn commands(lease: &mut Lease) -> Vec<LeaseCommand> {
    std::iter::from_fn(|| lease.next_command()).collect()
}

fn commands_exactly<const N: usize>(lease: &mut Lease) -> [LeaseCommand; N] {
    commands(lease).try_into().unwrap()
}

fn published(command: LeaseCommand) -> Option<LeaseMessage> {
    if let LeaseCommand::Publish { message, .. } = command { Some(message) } else { None }
}

fn keyed(command: LeaseCommand) -> Option<(PublicationKey, LeaseMessage)> {
    if let LeaseCommand::Publish { key, message } = command { Some((key, message)) } else { None }
}

/// The message to publish, of the only command.
fn publication(lease: &mut Lease) -> (PublicationKey, LeaseMessage) {
    let [LeaseCommand::Publish { key, message }] = commands_exactly(lease) else { panic!("it publishes nothing") };
    (key, message)
}

/// A lease held since `seconds` over an empty new queue; its last message has the tag 2 and is confirmed.
fn held(seconds: f64) -> (Lease, LeaseMessage) {
    let mut lease = lease();
    lease.subscribed(at(seconds));
    lease.found_empty(true, 77, at(seconds));
    let (key, seed) = publication(&mut lease);
    lease.published(key, at(seconds));
    lease.delivered(1, Ok(seed), at(seconds));
    let (key, first) = publication(&mut lease);
    lease.delivered(2, Ok(first.clone()), at(seconds));
    lease.published(key, at(seconds));
    let [begin, LeaseCommand::Hold(reach), LeaseCommand::Acknowledge(tags)] = commands_exactly(&mut lease) else {
        panic!("not held")
    };
    assert!(matches!(begin, LeaseCommand::Begin { inheritance: Inheritance::Told(_), predecessor: None, left: 0 }));
    assert_eq!((reach.tick, tags), (at(seconds).tick + TIME, vec![1]));
    (lease, first)
}

#[test]
fn a_new_queue_is_held_at_once_and_renewed_every_third_of_the_time() {
    let (mut lease, _) = held(0.0);
    assert_eq!(lease.standing(), Standing::Held);
    assert_eq!(lease.next_wake(at(0.0)), Some(at(4.0).tick));
    lease.wake(at(4.0));
    let (key, second) = publication(&mut lease);
    lease.published(key, at(5.0));
    assert_eq!(commands(&mut lease), [LeaseCommand::Acknowledge(vec![2])]);
    lease.delivered(3, Ok(second), at(5.0));
    assert_eq!(commands(&mut lease), [LeaseCommand::Hold(Reach::new(at(4.0), TIME))], "counted from the publication");
}

#[test]
fn past_its_reach_nothing_is_sent_whatever_comes_later() {
    let (mut lease, _) = held(0.0);
    lease.wake(at(4.0));
    let (_, late) = publication(&mut lease);
    assert_eq!(lease.next_wake(at(4.0)), Some(at(12.0).tick));
    lease.wake(at(12.0));
    assert_eq!(commands(&mut lease), [LeaseCommand::StandBy(Lapse::NotRenewed)]);
    // It was published while nobody knows who else was given the queue: a further one must come back.
    lease.delivered(3, Ok(late), at(13.0));
    assert_eq!(commands(&mut lease), []);
    lease.not_published(PublicationKey(3), at(13.0));
    lease.wake(at(14.0));
    let (_, next) = publication(&mut lease);
    lease.delivered(4, Ok(next), at(14.5));
    let [LeaseCommand::Begin { inheritance: Inheritance::Own, .. }, LeaseCommand::Hold(reach)] =
        commands_exactly(&mut lease)
    else {
        panic!("not held")
    };
    assert_eq!(reach, Reach::new(at(14.0), TIME));
}

/// As under a resource alarm of the broker, which takes no message: nobody else can have taken the lease.
#[test]
fn a_worker_that_could_not_renew_knows_of_nobody_else_until_it_is_heard_again() {
    let (mut lease, _) = held(0.0);
    lease.wake(at(4.0));
    let (late, _) = publication(&mut lease);
    lease.wake(at(12.0));
    assert_eq!((commands(&mut lease).len(), lease.standing()), (1, Standing::NotRenewed));
    lease.not_published(late, at(13.0));
    lease.wake(at(14.0));
    let (key, next) = publication(&mut lease);
    assert_eq!(lease.standing(), Standing::NotRenewed);
    lease.published(key, at(14.5));
    assert_eq!(lease.standing(), Standing::StandingBy, "the broker has it, and gives it to somebody else");
    lease.delivered(3, Ok(next), at(14.6));
    assert_eq!(lease.standing(), Standing::Waiting);

    let (mut displaced, _) = held(0.0);
    displaced.delivered(3, Ok(foreign(9, 99, 8, Claim::Held)), at(1.0));
    assert_eq!(displaced.standing(), Standing::Waiting, "another worker's message has come");
}

#[test]
fn a_machine_that_was_suspended_has_lost_its_lease() {
    let (mut lease, _) = held(0.0);
    lease.wake(Now { wall: at(3_600.0).wall, ..at(1.0) });
    assert_eq!(commands(&mut lease)[0], LeaseCommand::StandBy(Lapse::NotRenewed));
}

#[test]
fn another_workers_message_is_waited_out_and_its_memory_taken_over() {
    let mut lease = lease();
    lease.subscribed(at(0.0));
    assert_eq!(lease.waits_until(), None);
    lease.delivered(1, Ok(foreign(9, 3, 8, Claim::Held)), at(100.0));
    assert_eq!((lease.standing(), lease.waits_until()), (Standing::Waiting, Some(at(112.0).tick)));
    let (key, first) = publication(&mut lease);
    assert_eq!((first.number, used(&first.memory)), (4, 40));
    lease.delivered(2, Ok(first), at(100.1));
    lease.published(key, at(100.1));
    assert_eq!(commands(&mut lease), [LeaseCommand::Acknowledge(vec![1])]);
    for (tag, renewal) in (3..).zip([104.0, 108.0]) {
        lease.wake(at(renewal));
        let (key, next) = publication(&mut lease);
        lease.published(key, at(renewal));
        lease.delivered(tag, Ok(next), at(renewal));
        assert!(matches!(commands(&mut lease)[..], [LeaseCommand::Acknowledge(_)]), "not yet at {renewal}");
    }
    assert_eq!(lease.next_wake(at(108.0)), Some(at(112.0).tick));
    lease.wake(at(112.0));
    let commands = commands(&mut lease);
    let LeaseCommand::Begin { inheritance: Inheritance::Unknown(memory), predecessor, left: 0 } = &commands[0] else {
        panic!("{commands:?}")
    };
    assert_eq!((used(memory), predecessor.as_deref()), (40, Some("worker-9")));
    assert_eq!(commands[1], LeaseCommand::Hold(Reach::new(at(108.0), TIME)));
}

#[test]
fn a_released_lease_is_taken_over_at_once() {
    let mut lease = lease();
    lease.subscribed(at(0.0));
    // The message before it, which its writer could not acknowledge any more.
    lease.delivered(1, Ok(foreign(9, 3, 8, Claim::Held)), at(100.0));
    let (_, first) = publication(&mut lease);
    lease.delivered(2, Ok(foreign(9, 3, 9, Claim::Released)), at(100.0));
    assert_eq!((lease.standing(), lease.waits_until()), (Standing::Waiting, None));
    lease.delivered(3, Ok(first), at(100.1));
    let commands = commands(&mut lease);
    assert!(matches!(commands[0], LeaseCommand::Begin { inheritance: Inheritance::Told(_), .. }), "{commands:?}");
}

#[test]
fn what_cannot_be_read_is_waited_out() {
    let mut lease = lease();
    lease.subscribed(at(0.0));
    let fault = LeaseMessage::parse(b"{\"version\": 2}").unwrap_err();
    lease.delivered(1, Err(fault.clone()), at(1.0));
    let first = match <[LeaseCommand; 2]>::try_from(commands(&mut lease)) {
        Ok([LeaseCommand::Warn(warned), LeaseCommand::Publish { message, .. }]) if warned == fault => message,
        other => panic!("{other:?}"),
    };
    lease.delivered(2, Ok(first), at(1.0));
    assert_eq!(commands(&mut lease), []);
    assert_eq!(lease.next_wake(at(1.0)), Some(at(13.0).tick));
}

/// The connection was away for a moment: nobody else was there, or there would be a message of theirs.
#[test]
fn a_worker_that_finds_its_own_message_goes_on() {
    let (mut lease, first) = held(0.0);
    lease.unsubscribed(at(2.0));
    assert_eq!((commands(&mut lease), lease.standing()), (vec![], Standing::Held), "until its reach");
    lease.subscribed(at(3.0));
    lease.delivered(1, Ok(first), at(3.0));
    let (_, next) = publication(&mut lease);
    lease.delivered(2, Ok(next), at(3.1));
    let commands = commands(&mut lease);
    let expected = LeaseCommand::Begin { inheritance: Inheritance::Own, predecessor: None, left: 0 };
    assert_eq!(commands, [expected, LeaseCommand::Hold(Reach::new(at(3.0), TIME))]);
}

/// Another worker may have held the lease since, and its messages have gone with the queue.
#[test]
fn a_worker_that_has_lost_its_lease_waits_although_it_finds_only_its_own_message_in_a_new_queue() {
    let (mut lease, _) = held(0.0);
    lease.wake(at(12.0));
    let [LeaseCommand::StandBy(_), LeaseCommand::Publish { key, message }] = commands_exactly(&mut lease) else {
        panic!("it neither lapses nor publishes")
    };
    lease.published(key, at(13.0));
    // The queue is deleted, and declared by another worker.
    lease.unsubscribed(at(14.0));
    lease.subscribed(at(15.0));
    lease.delivered(1, Ok(message), at(15.0));
    let (_, next) = publication(&mut lease);
    lease.delivered(2, Ok(next), at(15.5));
    assert_eq!((commands(&mut lease), lease.standing()), (vec![], Standing::Waiting));
}

#[test]
fn a_worker_that_finds_anothers_message_behind_its_own_waits() {
    let (mut lease, first) = held(0.0);
    lease.unsubscribed(at(2.0));
    lease.subscribed(at(20.0));
    lease.delivered(1, Ok(first), at(20.0));
    let next = commands(&mut lease).into_iter().find_map(published);
    lease.delivered(2, Ok(foreign(9, 1, 4, Claim::Held)), at(20.0));
    lease.delivered(3, Ok(next.unwrap()), at(20.1));
    assert_eq!(commands(&mut lease), []);
    assert_eq!(lease.standing(), Standing::Waiting);
}

/// Its own message, published while it still waited, must not be taken for a proof that nobody else is there.
#[test]
fn a_wait_that_is_cut_short_begins_again() {
    let mut lease = lease();
    lease.subscribed(at(0.0));
    lease.delivered(1, Ok(foreign(9, 3, 8, Claim::Held)), at(1.0));
    let (key, first) = publication(&mut lease);
    lease.published(key, at(1.0));
    assert_eq!(commands(&mut lease), [LeaseCommand::Acknowledge(vec![1])]);
    lease.unsubscribed(at(2.0));
    lease.subscribed(at(3.0));
    lease.delivered(1, Ok(first), at(3.0));
    let (_, next) = publication(&mut lease);
    lease.delivered(2, Ok(next), at(3.1));
    assert_eq!(commands(&mut lease), []);
    assert_eq!(lease.standing(), Standing::Waiting);
}

/// A broker that was cut in two may have given the queue to another worker without ending this subscription.
#[test]
fn a_successor_displaces_the_holder() {
    let (mut lease, _) = held(0.0);
    lease.delivered(3, Ok(foreign(9, 0, 7, Claim::Held)), at(1.0));
    assert_eq!(commands(&mut lease), [], "a late copy");
    lease.delivered(4, Ok(foreign(8, 5, 1, Claim::Held)), at(1.0));
    assert_eq!(commands(&mut lease)[0], LeaseCommand::StandBy(Lapse::Displaced));
    assert_eq!(lease.standing(), Standing::Waiting);
}

#[test]
fn a_drained_worker_says_what_it_used_and_leaves() {
    let (mut lease, _) = held(0.0);
    lease.remember(&counted(50), false, at(1.0));
    lease.release(&counted(51), at(2.0));
    let [LeaseCommand::StandBy(Lapse::Drained), LeaseCommand::Publish { key, message }] = commands_exactly(&mut lease)
    else {
        panic!("not released")
    };
    assert_eq!((message.claim, used(&message.memory)), (Claim::Released, 51));
    // It comes back, since this worker is still the one that the broker chose, and must stay in the queue.
    lease.delivered(3, Ok(message), at(2.0));
    lease.published(key, at(2.0));
    assert_eq!(commands(&mut lease), [LeaseCommand::Acknowledge(vec![2]), LeaseCommand::Leave]);
    assert_eq!((lease.next_wake(at(2.0)), lease.standing()), (None, Standing::Left));
}

#[test]
fn a_memory_that_is_waited_for_is_written_at_once() {
    let (mut lease, _) = held(0.0);
    lease.remember(&counted(50), true, at(1.0));
    let (key, message) = publication(&mut lease);
    assert_eq!(used(&message.memory), 50);
    lease.remember(&counted(60), true, at(1.1));
    assert_eq!(commands(&mut lease), [], "one at a time");
    lease.published(key, at(1.2));
    let next = commands(&mut lease).into_iter().find_map(published);
    assert_eq!(used(&next.unwrap().memory), 60);
}

#[test]
fn a_standby_seeds_a_queue_that_has_been_silent_for_ten_times() {
    let mut lease = lease();
    lease.subscribed(at(5.0));
    assert_eq!(lease.seed_due(), Some(at(125.0).tick));
    lease.found_empty(false, 7, at(125.0));
    let (key, seed) = publication(&mut lease);
    lease.not_published(key, at(126.0));
    assert_eq!(lease.next_wake(at(126.0)), Some(at(127.0).tick), "it is tried again");
    lease.wake(at(127.0));
    let (key, again) = publication(&mut lease);
    assert_eq!(seed.tenure, again.tenure);
    lease.published(key, at(127.0));
    assert_eq!(lease.seed_due(), Some(at(245.0).tick));
    lease.delivered(1, Ok(again), at(128.0));
    commands(&mut lease);
    assert_eq!(lease.next_wake(at(128.0)), Some(at(140.0).tick), "nobody knows who was there before");
}

/// A node of the broker dies, and the broker goes on counting who was connected to it.
#[test]
fn consumers_that_dead_holders_left_are_told_from_holder_to_holder() {
    let mut lease = lease();
    lease.subscribed(at(0.0));
    lease.delivered(1, Ok(LeaseMessage { leaves: 2, ..foreign(9, 3, 8, Claim::Held) }), at(1.0));
    let (key, first) = publication(&mut lease);
    lease.published(key, at(1.0));
    lease.delivered(2, Ok(first), at(1.0));
    for (tag, seconds) in (3..).zip([5.0, 9.0]) {
        lease.wake(at(seconds));
        let (key, next) = commands(&mut lease).into_iter().find_map(keyed).unwrap();
        lease.published(key, at(seconds));
        lease.delivered(tag, Ok(next), at(seconds));
    }
    lease.wake(at(13.0));
    let begun = commands(&mut lease);
    assert!(begun.iter().any(|one| matches!(one, LeaseCommand::Begin { left: 2, .. })), "{begun:?}");
    let (key, _) = begun.into_iter().find_map(keyed).unwrap();
    lease.published(key, at(13.0));
    commands(&mut lease);
    // It consumes, and finds that one of the two has gone.
    lease.counts(Consumers { own: 1, left: 1 }, at(13.5));
    let (key, told) = publication(&mut lease);
    assert_eq!(told.leaves, 2, "its own may be left as well");
    lease.published(key, at(13.5));
    commands(&mut lease);
    lease.release(&Memory::default(), at(14.0));
    let last = commands(&mut lease).into_iter().find_map(published).unwrap();
    assert_eq!((last.claim, last.leaves), (Claim::Released, 2), "its own is counted until its last job is settled");
}

/// A holder is told to pause when the next one has already written a message, and that one dies before its next.
#[test]
fn the_last_order_to_pause_counts_whatever_message_is_newer() {
    let said = |paused, orders| {
        let mut memory = Memory::default();
        memory.set(None, AccountMemory::new(None, None, PauseMemory { paused, since: None, orders }, Vec::new()));
        memory
    };
    let message = |tenure, number, memory| {
        LeaseMessage::new(TenureId::new(tenure), number, 1, format!("worker-{tenure}"), Claim::Held, memory)
    };
    let paused = |older: Memory, newer: Memory| {
        let mut lease = lease();
        lease.subscribed(at(0.0));
        lease.delivered(1, Ok(message(9, 4, newer)), at(1.0));
        let (key, _) = publication(&mut lease);
        lease.published(key, at(1.0));
        lease.delivered(2, Ok(message(8, 3, older)), at(1.0));
        lease.wake(at(6.0));
        let next = commands(&mut lease).into_iter().find_map(published).unwrap();
        next.memory.of(None).is_some_and(|account| account.pause.paused)
    };
    assert!(paused(said(true, 1), said(false, 0)), "it was paused");
    assert!(!paused(said(false, 2), said(true, 1)), "it was resumed");
    assert!(!paused(said(true, 1), said(false, 2)), "the newer message has the later order");
    assert!(paused(said(false, 0), said(true, 0)), "as a version wrote it that did not count");
}

#[test]
fn what_a_later_version_adds_is_kept() {
    let body = br#"{"version":1,"tenure":"abc","number":3,"sequence":4,"holder":"h","claim":"held","shards":[1],
        "accounts":{"4711":{"later":{"pairs":7},"paused":true},"only":{"day":{"ends":"2026-11-29T00:00:00Z","used":5}}}}"#;
    let message = LeaseMessage::parse(body).unwrap();
    let mut memory = message.memory.clone();
    let portal = crate::contract::ids::PortalId(4711.try_into().unwrap());
    let mut own = Memory::default();
    own.set(Some(portal), AccountMemory::default());
    memory.overlay(&own);
    let again = LeaseMessage { memory, ..message };
    let written: serde_json::Value = serde_json::from_slice(&again.encode()).unwrap();
    assert_eq!(written["shards"], serde_json::json!([1]));
    assert_eq!(written["accounts"]["4711"], serde_json::json!({"later": {"pairs": 7}}));
    assert_eq!(written["accounts"]["only"]["day"]["used"], 5);
}

/// What an earlier version writes is read, and what this one writes is read by an earlier one: it keeps what it does not
/// know, and of a guard it drops that.
#[test]
fn since_when_it_is_paused_is_no_condition() {
    let read = |account: &str| {
        let body = format!(
            r#"{{"version":1,"tenure":"abc","number":3,"sequence":4,"holder":"h","claim":"held","accounts":{{"only":{account}}}}}"#
        );
        LeaseMessage::parse(body.as_bytes()).unwrap().memory.of(None).cloned().unwrap()
    };
    let before = read(r#"{"paused":true,"pauseOrders":2,"guard":{"state":"waiting","changes":1,"counted":[]}}"#);
    assert_eq!(before.pause, PauseMemory { paused: true, since: None, orders: 2 });
    assert_eq!(before.guard.unwrap().since, None);
    let now = read(
        r#"{"paused":true,"pausedSince":"2026-11-28T10:00:00Z","guard":{"state":"waiting","since":"2026-11-28T11:00:00Z","changes":1,"counted":[]}}"#,
    );
    assert_eq!(now.pause.since, "2026-11-28T10:00:00Z".parse().ok());
    assert_eq!(now.guard.unwrap().since, "2026-11-28T11:00:00Z".parse().ok());
    assert_eq!(read(r#"{"paused":true,"pausedSince":7}"#).pause.since, None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = LeaseMessage::parse(&body);
    }

    #[test]
    fn what_is_written_is_read(used in any::<u64>(), millis in 0u64..100_000, count in any::<u32>(), paused in any::<bool>(), orders in any::<u64>()) {
        let mut memory = counted(used);
        let recent = vec![Recent { age: Duration::from_millis(millis), count }];
        let portal = crate::contract::ids::PortalId(4711.try_into().unwrap());
        memory.set(Some(portal), AccountMemory::new(None, None, PauseMemory { paused, since: Some(at(1.0).wall), orders }, recent));
        let message = LeaseMessage::new(TenureId::new(3), used, 9, "h".to_owned(), Claim::Released, memory);
        prop_assert_eq!(LeaseMessage::parse(&message.encode()).unwrap(), message);
    }
}
