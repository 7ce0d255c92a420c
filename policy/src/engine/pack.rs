//! Which `from` records leave together: the choice that decides how many requests a backlog costs.
//!
//! A request is capped twice: by its distinct `from` records, and by its pairs. If groups were taken in the order of
//! arrival, some requests would reach one cap and some the other, and both kinds would waste room. So three quarters of
//! a request are taken in the order of arrival, and the last quarter is chosen by size, so that the request gets as
//! many pairs as the lane's average. Then every request reaches the cap that is scarce, and what stays behind is no
//! harder to pack than what has left.
//!
//! A group that is split counts as a record in two requests. So a group that does not fit is passed over rather than
//! split, unless it is the oldest, or the request would have too few pairs without it.

/// How large a request may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caps {
    /// Unique `from` records, at least 1.
    pub from: usize,
    /// Pairs, at least 1.
    pub pairs: usize,
}

/// How many of the oldest groups there are to choose from, as a multiple of what a request of average groups holds.
const OLDEST_IN_SIGHT: usize = 6;

/// How many of the newest groups there are to choose from, as a multiple of the same number: they may differ in size.
const NEWEST_IN_SIGHT: usize = 2;

/// Where a request holds fewer groups than this, the multiples are of this number, so that there is a choice.
const LEAST_IN_SIGHT: usize = 4;

/// All that waits in the lane, of which only a part is in sight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Supply {
    pub groups: usize,
    pub pairs: usize,
}

impl Supply {
    /// Groups in a request, if all requests of the lane were alike.
    fn slots(self, caps: Caps) -> usize {
        let (groups, pairs) = (self.groups.max(1), self.pairs.max(1));
        caps.from.min((caps.pairs * groups).div_ceil(pairs)).max(1)
    }

    /// How many of the oldest groups, and how many of the newest besides, are to be offered to [`choose`].
    pub fn in_sight(self, caps: Caps) -> (usize, usize) {
        if self.groups == self.pairs {
            // All groups are of one pair: there is nothing to choose.
            return (self.groups.min(self.slots(caps)), 0);
        }
        let unit = self.slots(caps).max(LEAST_IN_SIGHT);
        let oldest = self.groups.min(unit * OLDEST_IN_SIGHT);
        (oldest, (self.groups - oldest).min(unit * NEWEST_IN_SIGHT))
    }
}

/// One chosen group: its index in the list that was offered and how many of its pairs to take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pick {
    pub index: usize,
    pub pairs: usize,
}

/// Chooses from groups of the given sizes (pairs each, oldest first, none empty).
///
/// The result is never empty for a non-empty list, stays within both caps, names no group twice and always has
/// the oldest; three quarters of it are the oldest groups that fit, so none waits for ever.
pub fn choose(sizes: &[usize], supply: Supply, caps: Caps) -> Vec<Pick> {
    let everything: usize = sizes.iter().sum();
    if sizes.len() <= caps.from && everything <= caps.pairs {
        return sizes.iter().enumerate().map(|(index, &pairs)| Pick { index, pairs }).collect();
    }
    let mut request = Request::new(sizes, supply, caps);
    let in_order = (request.slots - request.slots / STEERED).max(1);
    let mut passed_over = Vec::new();
    let mut ahead = 0..sizes.len();
    while request.picks.len() < in_order
        && request.has_room()
        && let Some(index) = ahead.next()
    {
        if !request.take_whole(index) {
            passed_over.push(index);
        }
    }
    let mut by_size: Vec<usize> = passed_over.into_iter().chain(ahead).collect();
    by_size.sort_unstable_by_key(|&index| (sizes[index], index));
    while !by_size.is_empty() && request.has_room() {
        let rank = request.next_rank(&by_size);
        request.take(by_size.remove(rank));
    }
    request.picks
}

/// This share of a request, a quarter, is chosen by size.
const STEERED: usize = 4;

/// A request being filled.
struct Request<'a> {
    sizes: &'a [usize],
    caps: Caps,
    /// Groups and pairs it would have if all requests of this lane were alike.
    slots: usize,
    pairs: usize,
    /// How many pairs the n smallest groups in sight have. This much is kept free for the n slots that are still to be
    /// filled, so that one huge group does not take all pairs. Empty where `slots` is less than half of `caps.from`:
    /// there records are far from scarce.
    smallest: Vec<usize>,
    /// If this request had fewer pairs, the rest would need one request more.
    least: usize,
    /// There are slots to spare: a split group, which takes one more, does not lead to one more request.
    may_split: bool,
    taken: usize,
    picks: Vec<Pick>,
}

impl<'a> Request<'a> {
    fn new(sizes: &'a [usize], supply: Supply, caps: Caps) -> Self {
        let (groups, pairs) = (supply.groups.max(1), supply.pairs.max(1));
        let fewest = groups.div_ceil(caps.from).max(pairs.div_ceil(caps.pairs));
        let least = pairs.saturating_sub(caps.pairs.saturating_mul(fewest - 1));
        let may_split = fewest.saturating_mul(caps.from) > groups;
        let slots = supply.slots(caps);
        let smallest = if slots * 2 >= caps.from { sums_of_smallest(sizes, slots) } else { Vec::new() };
        let pairs = caps.pairs.min((caps.from * pairs).div_ceil(groups));
        Self { sizes, caps, slots, pairs, smallest, least, may_split, taken: 0, picks: Vec::with_capacity(slots) }
    }

    fn has_room(&self) -> bool {
        self.picks.len() < self.caps.from && self.taken < self.caps.pairs
    }

    /// Pairs that the next group may bring.
    fn room(&self) -> usize {
        let slots_after = self.slots.saturating_sub(self.picks.len() + 1);
        let kept_free = self.smallest.get(slots_after).or(self.smallest.last()).copied().unwrap_or(0);
        (self.caps.pairs - self.taken).saturating_sub(kept_free).max(1)
    }

    /// Takes a group if it fits without being split; takes the oldest in any case.
    fn take_whole(&mut self, index: usize) -> bool {
        let fits = index == 0 || self.sizes[index] <= self.room();
        if fits {
            self.take(index);
        }
        fits
    }

    fn take(&mut self, index: usize) {
        let pairs = self.sizes[index].min(self.room());
        self.taken += pairs;
        self.picks.push(Pick { index, pairs });
    }

    /// Which of the groups, sorted by size, brings the request nearest to what it should have. This is one that fits
    /// unsplit, unless none does, or unless the group in the last slot would leave the request short by more than an
    /// average group and splitting pays (`would_be_short`).
    fn next_rank(&self, by_size: &[usize]) -> usize {
        let fitting = by_size.partition_point(|&index| self.sizes[index] <= self.room());
        let Some(largest) = fitting.checked_sub(1) else { return 0 };
        let slots_left = self.slots.saturating_sub(self.picks.len());
        if slots_left == 0 {
            return largest;
        }
        let wanted = (self.pairs.saturating_sub(self.taken) / slots_left).max(1);
        let rank = by_size.partition_point(|&index| self.sizes[index] < wanted).min(largest);
        let distance = |rank: usize| self.sizes[by_size[rank]].abs_diff(wanted);
        if slots_left == 1 && fitting < by_size.len() && self.would_be_short(self.sizes[by_size[rank]], wanted) {
            return fitting;
        }
        match rank.checked_sub(1) {
            Some(below) if distance(below) <= distance(rank) => below,
            _ => rank,
        }
    }

    /// Whether it is worth a slot more to split a larger group, where the one for the last slot has `size` pairs
    /// instead of `wanted`.
    fn would_be_short(&self, size: usize, wanted: usize) -> bool {
        let average = self.pairs / self.slots;
        wanted.saturating_sub(size) > average && (self.may_split || self.taken + size < self.least)
    }
}

/// How many pairs the n smallest groups have, for n up to `most`.
fn sums_of_smallest(sizes: &[usize], most: usize) -> Vec<usize> {
    let mut sorted = sizes.to_vec();
    sorted.sort_unstable();
    let running = sorted.iter().take(most).scan(0, |sum, size| {
        *sum += size;
        Some(*sum)
    });
    std::iter::once(0).chain(running).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAPS: Caps = Caps { from: 100, pairs: 1000 };

    /// Requests needed when `choose` empties a lane of which it sees the oldest and the newest groups.
    fn requests_for(mut sizes: Vec<usize>, caps: Caps) -> usize {
        let mut requests = 0;
        while !sizes.is_empty() {
            let supply = Supply { groups: sizes.len(), pairs: sizes.iter().sum() };
            let (oldest, newest) = supply.in_sight(caps);
            let gap = sizes.len() - oldest - newest;
            let in_sight = |index: usize| if index < oldest { index } else { index + gap };
            let offered: Vec<usize> = (0..oldest + newest).map(|index| sizes[in_sight(index)]).collect();
            let mut picks = choose(&offered, supply, caps);
            picks.sort_by_key(|pick| std::cmp::Reverse(pick.index));
            for pick in picks {
                let index = in_sight(pick.index);
                sizes[index] -= pick.pairs;
                if sizes[index] == 0 {
                    sizes.remove(index);
                }
            }
            requests += 1;
        }
        requests
    }

    fn fewest(sizes: &[usize], caps: Caps) -> usize {
        sizes.len().div_ceil(caps.from).max(sizes.iter().sum::<usize>().div_ceil(caps.pairs))
    }

    #[test]
    fn a_mixed_backlog_costs_at_most_one_per_cent_more_than_the_bound() {
        let mut random = fastrand::Rng::with_seed(7);
        for top in [1, 2, 5, 15, 17, 18, 19, 20, 21, 30, 100, 900] {
            let sizes: Vec<usize> = (0..20_000).map(|_| random.usize(1..=top)).collect();
            let (spent, bound) = (requests_for(sizes.clone(), CAPS), fewest(&sizes, CAPS));
            assert!(spent * 100 <= bound * 101, "sizes to {top}: {spent} requests, {bound} at best");
        }
    }

    #[test]
    fn few_large_groups_fill_up_with_many_small_ones() {
        let mut sizes = vec![1; 500];
        sizes.extend(vec![100; 50]);
        assert_eq!(requests_for(sizes, CAPS), 6);
        let mut sizes = vec![1; 5_000];
        sizes.extend(vec![100; 500]);
        assert!(requests_for(sizes, CAPS) <= 56, "55 at best, though all small ones came first");
    }

    proptest! {
        #[test]
        fn picks_respect_the_caps(sizes in prop::collection::vec(1usize..50, 1..300), from in 1usize..60, pairs in 1usize..200) {
            let picks = choose(&sizes, Supply { groups: sizes.len(), pairs: sizes.iter().sum() }, Caps { from, pairs });
            prop_assert!(!picks.is_empty());
            prop_assert!(picks.len() <= from);
            prop_assert!(picks.iter().map(|pick| pick.pairs).sum::<usize>() <= pairs);
            let mut seen: Vec<usize> = picks.iter().map(|pick| pick.index).collect();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), picks.len());
            prop_assert!(picks.iter().all(|pick| (1..=sizes[pick.index]).contains(&pick.pairs)));
            prop_assert!(picks.iter().any(|pick| pick.index == 0), "the oldest group always goes");
        }
    }
}
