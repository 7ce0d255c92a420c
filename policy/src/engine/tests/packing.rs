//! How near the requests of a backlog in hand come to the fewest that could carry it.

use super::*;
use crate::engine::pack::Caps;

const CAPS: Caps = Caps { from: 100, pairs: 1_000 };

/// The `to` of each `from` of a lane, in order of arrival.
type Sizes = Vec<usize>;

/// No plan can do with fewer: a request has limits for `from` records and for pairs. A group so large that
/// it leaves no room for a pair of each of the other records costs a place besides its own, split or not.
fn fewest(lanes: &[Sizes]) -> usize {
    let of_lane = |sizes: &Sizes| {
        let crowding = sizes.iter().filter(|&&size| size + CAPS.from - 1 > CAPS.pairs).count();
        let pairs: usize = sizes.iter().sum();
        (sizes.len() + crowding).div_ceil(CAPS.from).max(pairs.div_ceil(CAPS.pairs))
    };
    lanes.iter().map(of_lane).sum()
}

/// Sends all of it, a job for each `from`, with everything in hand before the first permit.
fn requests(lanes: &[Sizes]) -> usize {
    let mut bench = Bench::new(policy(), vec![account()], always(204, ""));
    let mut jobs = 0;
    for row in 0..lanes.iter().map(Vec::len).max().unwrap_or(0) {
        for (lane, sizes) in lanes.iter().enumerate() {
            let Some(&size) = sizes.get(row) else { continue };
            let pairs: Vec<Pair> = (1..=size as u64).map(|to| pair(row as u64 + 1, to)).collect();
            bench.admit(("contacts", &format!("2-{}", 1_000 + lane)), &pairs);
            jobs += 1;
        }
    }
    bench.run(Duration::from_secs(480));
    assert_eq!(bench.settled(Status::Archived), jobs, "all of it leaves");
    bench.sent.len()
}

fn within_one_per_cent(what: &str, lanes: &[Sizes]) {
    let (spent, bound) = (requests(lanes), fewest(lanes));
    println!("{what}: {spent} requests, {bound} at best");
    assert!(spent * 100 <= bound * 101, "{what}: {spent} requests, {bound} at best");
}

/// Sizes from 1 to 1,000 of which small ones are the most frequent, as counts in the wild are.
fn zipf(random: &mut fastrand::Rng) -> usize {
    1_000 / random.usize(1..=1_000)
}

#[test]
fn one_lane_of_groups_of_any_sizes() {
    let mut random = fastrand::Rng::with_seed(11);
    for top in [1, 9, 18, 19, 20, 21, 40, 1_000] {
        let groups = if top > 100 { 200 } else { 10_000 };
        let sizes: Sizes = (0..groups).map(|_| random.usize(1..=top)).collect();
        within_one_per_cent(&format!("1 to {top}"), &[sizes]);
    }
    let sizes: Sizes = (0..12_000).map(|_| zipf(&mut random)).collect();
    within_one_per_cent("Zipf sizes", &[sizes]);
}

#[test]
fn the_order_of_arrival_does_not_cost_requests() {
    let mut random = fastrand::Rng::with_seed(12);
    let mut sizes: Sizes = (0..12_000).map(|_| zipf(&mut random)).collect();
    sizes.sort_unstable();
    within_one_per_cent("small ones first", &[sizes.clone()]);
    sizes.reverse();
    within_one_per_cent("large ones first", &[sizes]);
}

#[test]
fn lanes_of_equal_weight() {
    let mut random = fastrand::Rng::with_seed(13);
    let lanes: Vec<Sizes> = (0..20).map(|_| (0..600).map(|_| random.usize(1..=19)).collect()).collect();
    within_one_per_cent("20 lanes", &lanes);
}

#[test]
fn lanes_of_which_few_have_most() {
    let mut random = fastrand::Rng::with_seed(14);
    let lanes: Vec<Sizes> = (1..=100).map(|rank| (0..6_000 / rank).map(|_| zipf(&mut random)).collect()).collect();
    within_one_per_cent("Zipf lanes of Zipf sizes", &lanes);
    let lanes: Vec<Sizes> = (1..=100).map(|rank| (0..6_000 / rank).map(|_| random.usize(1..=19)).collect()).collect();
    within_one_per_cent("Zipf lanes of sizes to 19", &lanes);
}
