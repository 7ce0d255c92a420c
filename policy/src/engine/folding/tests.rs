#![expect(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use proptest::prelude::*;

use super::*;

const CAPS: Caps = Caps { from: 100, pairs: 1_000 };
const FREE: Turning = Turning { proof: 0 };

fn pair(from: u64, to: u64) -> Pair {
    let id = |n| RecordId(NonZeroU64::new(n).unwrap());
    Pair { from: id(from), to: id(to) }
}

/// Requests that it takes to empty a lane, of which the oldest pairs are in sight; each is within the caps.
fn requests_for(mut pairs: Vec<Pair>, caps: Caps) -> usize {
    let (mut requests, mut passes) = (0, 0);
    while !pairs.is_empty() {
        let in_sight = &pairs[..pairs.len().min(MOST_IN_SIGHT)];
        let left: BTreeSet<usize> = match choose(in_sight, caps, FREE, &mut passes) {
            Choice::Plain => plain(in_sight, caps),
            Choice::Straight(picks) => within(in_sight, picks, caps, |pair| pair.from),
            Choice::Turned(picks) => within(in_sight, picks, caps, |pair| pair.to),
        };
        assert!(!left.is_empty(), "something always leaves");
        let mut index = 0;
        pairs.retain(|_| {
            index += 1;
            !left.contains(&(index - 1))
        });
        requests += 1;
    }
    requests
}

/// What the lane would send without folding.
fn plain(pairs: &[Pair], caps: Caps) -> BTreeSet<usize> {
    let mut groups: BTreeMap<RecordId, Vec<usize>> = BTreeMap::new();
    for (index, pair) in pairs.iter().enumerate() {
        groups.entry(pair.from).or_default().push(index);
    }
    let groups: Vec<Vec<usize>> = groups.into_values().collect();
    let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
    let supply = Supply { groups: groups.len(), pairs: pairs.len() };
    let picks = pack::choose(&sizes, supply, caps).into_iter();
    picks.flat_map(|pick| groups[pick.index][..pick.pairs].to_vec()).collect()
}

fn within(pairs: &[Pair], picks: Vec<usize>, caps: Caps, side: impl Fn(&Pair) -> RecordId) -> BTreeSet<usize> {
    let records: BTreeSet<RecordId> = picks.iter().map(|&index| side(&pairs[index])).collect();
    assert!(records.len() <= caps.from && picks.len() <= caps.pairs, "within the caps");
    let number = picks.len();
    let picks: BTreeSet<usize> = picks.into_iter().collect();
    assert_eq!(picks.len(), number, "no pair twice");
    picks
}

/// The size of a minimum vertex cover: that of a maximum matching (König), found by augmenting paths.
fn smallest_cover(pairs: &[Pair]) -> usize {
    let (mut from_of, mut to_of) = (HashMap::new(), HashMap::new());
    let mut tos: Vec<Vec<usize>> = Vec::new();
    for pair in pairs {
        let (from, to) = (number(&mut from_of, pair.from), number(&mut to_of, pair.to));
        tos.resize(tos.len().max(from + 1), Vec::new());
        tos[from].push(to);
    }
    let mut partner: Vec<Option<usize>> = vec![None; to_of.len()];
    let mut matched = 0;
    for from in 0..tos.len() {
        let mut tried = vec![false; to_of.len()];
        matched += usize::from(augments(from, &tos, &mut partner, &mut tried));
    }
    matched
}

fn augments(from: usize, tos: &[Vec<usize>], partner: &mut [Option<usize>], tried: &mut [bool]) -> bool {
    for &to in &tos[from] {
        if !std::mem::replace(&mut tried[to], true)
            && partner[to].is_none_or(|other| augments(other, tos, partner, tried))
        {
            partner[to] = Some(from);
            return true;
        }
    }
    false
}

pub(in crate::engine) fn fewest(pairs: &[Pair], caps: Caps) -> usize {
    smallest_cover(pairs).div_ceil(caps.from).max(pairs.len().div_ceil(caps.pairs))
}

/// A number up to `most`, the smaller ones far more often.
fn zipf(random: &mut fastrand::Rng, sums: &[f64]) -> u64 {
    let drawn = random.f64() * sums.last().copied().unwrap_or_default();
    sums.partition_point(|&sum| sum < drawn) as u64 + 1
}

fn sums(most: usize, power: f64) -> Vec<f64> {
    let weights = (1..=most).scan(0.0, |sum, rank| {
        *sum += (rank as f64).powf(-power);
        Some(*sum)
    });
    weights.collect()
}

/// Distinct pairs of contacts and Zipf-distributed companies.
pub(in crate::engine) fn zipf_pairs(seed: u64, contacts: u64, companies: usize, power: f64) -> Vec<Pair> {
    let mut random = fastrand::Rng::with_seed(seed);
    let sums = sums(companies, power);
    let (mut seen, mut pairs) = (BTreeSet::new(), Vec::new());
    while pairs.len() < 20_000 {
        let new = pair(random.u64(1..=contacts), zipf(&mut random, &sums));
        if seen.insert(new) {
            pairs.push(new);
        }
    }
    pairs
}

#[test]
fn zipf_distributed_companies_cost_hardly_more_than_the_fewest() {
    for (contacts, companies, power) in [(u64::MAX, 5_000, 1.0), (20_000, 5_000, 1.1), (2_000, 20_000, 0.8)] {
        let pairs = zipf_pairs(1, contacts, companies, power);
        let (spent, bound) = (requests_for(pairs.clone(), CAPS), fewest(&pairs, CAPS));
        println!("{contacts} contacts, {companies} companies, power {power}: {spent} requests, {bound} at best");
        assert!(spent * 10 <= bound * 11, "{spent} requests, {bound} at best");
    }
}

#[test]
fn many_of_one_go_from_the_one() {
    let of_one: Vec<Pair> = (1..=10_000).map(|n| pair(n, 7)).collect();
    assert_eq!(requests_for(of_one.clone(), CAPS), 10);
    let turned: Vec<Pair> = of_one.into_iter().map(Pair::turned).collect();
    assert_eq!(choose(&turned, CAPS, FREE, &mut 0), Choice::Plain, "they do so without being turned");
}

#[test]
fn what_costs_as_many_requests_is_not_turned() {
    let apart: Vec<Pair> = (1..=1_000).map(|n| pair(n, n)).collect();
    assert_eq!(choose(&apart, CAPS, FREE, &mut 0), Choice::Plain);
    let few: Vec<Pair> = (1..=200).map(|n| pair(n, 7)).collect();
    assert!(matches!(choose(&few, CAPS, FREE, &mut 0), Choice::Turned(_)));
    assert_eq!(choose(&few, CAPS, Turning { proof: 1 }, &mut 0), Choice::Plain, "two requests, or one and its proof");
}

#[test]
fn the_oldest_pair_leaves_within_bounded_requests() {
    // Of one contact with many companies, and many contacts with one company; the first is the smaller request.
    let mut pairs: Vec<Pair> = (1..=50).map(|n| pair(1, 100_000 + n)).collect();
    pairs.extend((2..=15_000).map(|n| pair(n, 7)));
    let mut passes = 0;
    let mut requests = 0;
    while let Choice::Turned(picks) = choose(&pairs, CAPS, FREE, &mut passes) {
        assert!(!picks.contains(&0));
        requests += 1;
    }
    assert_eq!(requests, MOST_PASSES as usize);
    assert_eq!(passes, 0);
}

fn some_pairs() -> impl Strategy<Value = Vec<Pair>> {
    let both = (1..60_u64, 1..40_u64).prop_map(|(from, to)| pair(from, to));
    prop::collection::btree_set(both, 1..300).prop_map(|pairs| pairs.into_iter().collect::<Vec<_>>()).prop_shuffle()
}

proptest! {
    #[test]
    fn every_request_is_within_the_caps_and_all_pairs_leave(
        pairs in some_pairs(), from in 1usize..20, most in 1usize..60,
    ) {
        let caps = Caps { from, pairs: most };
        let spent = requests_for(pairs.clone(), caps);
        let bound = fewest(&pairs, caps);
        prop_assert!(spent >= bound);
    }

    #[test]
    fn folding_never_looks_dearer_than_not_folding(pairs in some_pairs(), from in 1usize..20) {
        let caps = Caps { from, pairs: 1_000 };
        let froms: BTreeSet<RecordId> = pairs.iter().map(|pair| pair.from).collect();
        prop_assert!(requests_for(pairs, caps) <= froms.len().div_ceil(from) + 1);
    }

    #[test]
    fn the_cover_is_nearly_the_smallest(pairs in some_pairs()) {
        let mut graph = Graph::new(&pairs);
        graph.cover();
        let owners: BTreeSet<usize> = graph.owners.iter().copied().flatten().collect();
        let loose = graph.owners.iter().filter(|owner| owner.is_none()).count();
        let smallest = smallest_cover(&pairs);
        prop_assert!(owners.len() + loose <= smallest + smallest / 5 + 1, "{} of {smallest}", owners.len() + loose);
    }
}
