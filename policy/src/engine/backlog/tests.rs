use super::groups::WALKED;
use super::*;
use crate::contract::association::RecordId;
use crate::engine::pack::Caps;
use proptest::prelude::*;
use std::num::NonZeroU64;

fn pair(from: u64, to: u64) -> Pair {
    let id = |n| RecordId(NonZeroU64::new(n).unwrap_or(NonZeroU64::MIN));
    Pair { from: id(from), to: id(to) }
}

fn keys() -> (LaneKey, Vec<JobKey>) {
    let mut lanes: SlotMap<LaneKey, ()> = SlotMap::with_key();
    let mut jobs: SlotMap<JobKey, ()> = SlotMap::with_key();
    (lanes.insert(()), (0..64).map(|_| jobs.insert(())).collect())
}

#[test]
fn an_equal_pair_joins_until_it_departs_and_again_when_it_comes_back() {
    let (lane, jobs) = keys();
    let (mut backlog, mut queue) = (Backlog::default(), Queue::default());
    let first = backlog.ask(lane, &mut queue, pair(1, 2), jobs[0], Tick::ZERO);
    assert_eq!(backlog.ask(lane, &mut queue, pair(1, 2), jobs[1], Tick::ZERO), first);
    assert_eq!(backlog.gather(&mut queue, Caps { from: 1, pairs: 1 }), [first]);
    let second = backlog.ask(lane, &mut queue, pair(1, 2), jobs[2], Tick::ZERO);
    assert_ne!(second, first, "nothing joins a pair on the wire");
    assert!(!backlog.withdraw(&mut queue, first, jobs[0]), "nothing leaves it either");
    assert_eq!(backlog.take_off_wire(&mut queue, first).as_slice(), [jobs[2]]);
    assert!(queue.is_empty());
    assert_eq!(backlog.ask(lane, &mut queue, pair(1, 2), jobs[3], Tick::ZERO), first);
    backlog.put_on_wire(first);
    assert_ne!(backlog.ask(lane, &mut queue, pair(1, 2), jobs[4], Tick::ZERO), first);
    assert_eq!(backlog.settle(&mut queue, first).len(), 4);
    assert_eq!(queue.pairs(), 1);
}

#[test]
fn of_a_record_with_more_pairs_than_a_request_holds_the_oldest_leave_first() {
    let (lane, jobs) = keys();
    let (mut backlog, mut queue) = (Backlog::default(), Queue::default());
    let ask = |backlog: &mut Backlog, queue: &mut Queue, to| backlog.ask(lane, queue, pair(1, to), jobs[0], Tick::ZERO);
    let first: Vec<NodeKey> = (1..=6).map(|to| ask(&mut backlog, &mut queue, to)).collect();
    let caps = Caps { from: 1, pairs: 2 };
    assert_eq!(backlog.gather(&mut queue, caps), first[..2]);
    let younger = ask(&mut backlog, &mut queue, 7);
    assert!(backlog.withdraw(&mut queue, first[5], jobs[0]));
    assert_eq!(backlog.gather(&mut queue, caps), first[2..4]);
    assert!(backlog.withdraw(&mut queue, first[4], jobs[0]));
    assert_eq!(backlog.gather(&mut queue, caps), [younger]);
    assert!(queue.is_empty());
}

#[test]
fn one_jobs_pairs_may_come_first_and_records_stay_together() {
    let (lane, jobs) = keys();
    let (mut backlog, mut queue) = (Backlog::default(), Queue::default());
    let mut ask = |from, to, job: usize| backlog.ask(lane, &mut queue, pair(from, to), jobs[job], Tick::ZERO);
    let (old, of_two) = ([ask(1, 1, 0), ask(2, 1, 0), ask(2, 2, 0)], [ask(2, 3, 1), ask(3, 1, 1), ask(4, 1, 1)]);
    let gathered = backlog.gather_with(lane, &mut queue, Caps { from: 3, pairs: 3 }, &of_two[..2]);
    assert_eq!(gathered, [old[0], of_two[0], of_two[1]]);
    let gathered = backlog.gather_with(lane, &mut queue, Caps { from: 3, pairs: 1 }, &of_two);
    assert_eq!(gathered, [of_two[2]]);
    assert_eq!(backlog.gather_with(lane, &mut queue, Caps { from: 2, pairs: 9 }, &of_two), old[1..]);
    assert!(queue.is_empty());
}

proptest! {
    /// Whatever is asked, withdrawn and gathered, the nodes and counts agree with a plain model, in groups that are
    /// walked and in larger ones.
    #[test]
    fn nodes_and_counts_agree_with_a_model(
        steps in prop::collection::vec((0u8..9, 1u64..4, 1u64..3 * WALKED as u64, 0usize..8), 1..400),
    ) {
        let (lane, jobs) = keys();
        let (mut backlog, mut queue) = (Backlog::default(), Queue::default());
        let mut asked: Vec<(NodeKey, JobKey, Pair)> = Vec::new();
        for (step, from, to, job) in steps {
            match step {
                0..7 => {
                    let wanted = pair(from, to);
                    if !asked.iter().any(|&(_, j, p)| j == jobs[job] && p == wanted) {
                        let held = asked.iter().find(|&&(_, _, p)| p == wanted).map(|&(k, _, _)| k);
                        let key = backlog.ask(lane, &mut queue, wanted, jobs[job], Tick::ZERO);
                        prop_assert!(held.is_none_or(|held| held == key));
                        asked.push((key, jobs[job], wanted));
                    }
                }
                7 => {
                    if let Some((key, j, _)) = asked.pop() {
                        prop_assert!(backlog.withdraw(&mut queue, key, j));
                    }
                }
                _ => {
                    let caps = Caps { from: 2, pairs: 3 };
                    let gathered = backlog.gather(&mut queue, caps);
                    prop_assert!(gathered.len() <= 3);
                    for key in gathered {
                        let waiters = backlog.settle(&mut queue, key);
                        prop_assert!(!waiters.is_empty());
                        asked.retain(|&(k, _, _)| k != key);
                    }
                }
            }
            let mut pairs: Vec<Pair> = asked.iter().map(|&(_, _, p)| p).collect();
            pairs.sort_unstable();
            pairs.dedup();
            prop_assert_eq!(queue.pairs(), pairs.len());
            pairs.dedup_by_key(|p| p.from);
            prop_assert_eq!(queue.groups(), pairs.len());
            prop_assert_eq!(backlog.waiting(&queue).count(), queue.pairs());
        }
        for (key, job, _) in asked {
            prop_assert!(backlog.withdraw(&mut queue, key, job));
        }
        prop_assert!(backlog.is_empty(), "{:?}", backlog);
    }
}
