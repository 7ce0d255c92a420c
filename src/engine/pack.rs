//! Which `from` records leave together: the choice that decides how many requests a backlog costs.
//!
//! HubSpot caps a request by its unique `from` records, and a second cap guards its pairs. Taken in the order of
//! arrival, some requests reach one cap and some the other, and both kinds waste room. So the last quarter of a
//! request is chosen by size, to steer its pairs towards the lane's average: then every request reaches the cap
//! that binds, and what stays behind is no harder to pack than what left.

/// How large a request may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caps {
    /// Unique `from` records, at least 1.
    pub from: usize,
    /// Pairs, at least 1.
    pub pairs: usize,
}

/// How many of the oldest groups are offered, as a multiple of the `from` cap ...
pub const OLDEST_IN_SIGHT: usize = 6;

/// ... and how many of the newest, which may be of other sizes.
pub const NEWEST_IN_SIGHT: usize = 2;

/// All that waits in the lane, of which only a part is in sight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiting {
    pub groups: usize,
    pub pairs: usize,
}

/// One chosen group: its place in the list that was offered and how many of its pairs to take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pick {
    pub index: usize,
    pub pairs: usize,
}

/// Chooses from groups of the given sizes (pairs each, oldest first, none empty).
///
/// The result is never empty for a non-empty list, stays within both caps, names each group once and always has
/// the oldest; three quarters of it are the oldest groups, so none waits for ever.
pub fn choose(sizes: &[usize], waiting: Waiting, caps: Caps) -> Vec<Pick> {
    let everything: usize = sizes.iter().sum();
    if sizes.len() <= caps.from && everything <= caps.pairs {
        return sizes.iter().enumerate().map(|(index, &pairs)| Pick { index, pairs }).collect();
    }
    let mut request = Request::new(sizes, waiting, caps);
    let in_order = (request.slots - request.slots / STEERED).max(1).min(sizes.len());
    for index in 0..in_order {
        request.take(index);
    }
    let mut by_size: Vec<usize> = (in_order..sizes.len()).collect();
    by_size.sort_by_key(|&index| (sizes[index], index));
    while !by_size.is_empty() && request.has_room() {
        let rank = request.next_rank(&by_size);
        request.take(by_size.remove(rank));
    }
    request.picks
}

/// One part in so many of a request is chosen by size.
const STEERED: usize = 4;

/// A request being filled.
struct Request<'a> {
    sizes: &'a [usize],
    caps: Caps,
    /// Groups and pairs it would have if all requests of this lane were alike.
    slots: usize,
    pairs: usize,
    /// Pairs kept free for each slot still to be filled, so that one huge group does not take them all.
    reserve: usize,
    taken: usize,
    picks: Vec<Pick>,
}

impl<'a> Request<'a> {
    fn new(sizes: &'a [usize], waiting: Waiting, caps: Caps) -> Self {
        let (groups, pairs) = (waiting.groups.max(1), waiting.pairs.max(1));
        let slots = caps.from.min((caps.pairs * groups).div_ceil(pairs)).max(1);
        let reserve = if slots == caps.from { median(sizes).min(caps.pairs / caps.from) } else { 0 };
        let pairs = caps.pairs.min((caps.from * pairs).div_ceil(groups));
        Self { sizes, caps, slots, pairs, reserve, taken: 0, picks: Vec::with_capacity(slots) }
    }

    fn has_room(&self) -> bool {
        self.picks.len() < self.caps.from && self.taken < self.caps.pairs
    }

    fn take(&mut self, index: usize) {
        if !self.has_room() {
            return;
        }
        let left = self.caps.pairs - self.taken;
        let kept_free = self.reserve * self.slots.saturating_sub(self.picks.len() + 1);
        let pairs = self.sizes[index].min(left.saturating_sub(kept_free).max(1));
        self.taken += pairs;
        self.picks.push(Pick { index, pairs });
    }

    /// Which of the groups, sorted by size, brings the request nearest to what it should have.
    fn next_rank(&self, by_size: &[usize]) -> usize {
        let slots_left = self.slots.saturating_sub(self.picks.len());
        if slots_left == 0 {
            let left = self.caps.pairs - self.taken;
            return by_size.partition_point(|&index| self.sizes[index] <= left).saturating_sub(1);
        }
        let wanted = (self.pairs.saturating_sub(self.taken) / slots_left).max(1);
        let rank = by_size.partition_point(|&index| self.sizes[index] < wanted);
        let above = by_size.get(rank).map(|&index| self.sizes[index] - wanted);
        let below = rank.checked_sub(1).map(|rank| wanted - self.sizes[by_size[rank]]);
        match (below, above) {
            (Some(below), Some(above)) if below <= above => rank - 1,
            (Some(_), None) => rank - 1,
            _ => rank,
        }
    }
}

fn median(sizes: &[usize]) -> usize {
    let mut sorted = sizes.to_vec();
    let middle = sorted.len() / 2;
    *sorted.select_nth_unstable(middle).1
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
            let (oldest, newest) = (caps.from * OLDEST_IN_SIGHT, caps.from * NEWEST_IN_SIGHT);
            let gap = sizes.len().saturating_sub(oldest + newest);
            let in_sight = |index: usize| if index < oldest { index } else { index + gap };
            let offered: Vec<usize> = (0..sizes.len() - gap).map(|index| sizes[in_sight(index)]).collect();
            let waiting = Waiting { groups: sizes.len(), pairs: sizes.iter().sum() };
            let mut picks = choose(&offered, waiting, caps);
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
        for top in [1, 2, 5, 15, 19, 20, 21, 30, 100, 900] {
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
            let picks = choose(&sizes, Waiting { groups: sizes.len(), pairs: sizes.iter().sum() }, Caps { from, pairs });
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
