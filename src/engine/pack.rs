//! Which `from` records leave together: the choice that decides how many requests a backlog costs.
//!
//! HubSpot caps a request by its unique `from` records, and a second cap guards its pairs. Taking groups
//! in the order of arrival leaves requests full in one measure and half empty in the other, so among the
//! oldest groups in sight the sizes are matched: large ones as long as every remaining slot can still get a
//! pair, then small ones.

/// How large a request may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caps {
    /// Unique `from` records, at least 1.
    pub from: usize,
    /// Pairs, at least 1.
    pub pairs: usize,
}

/// How many groups beyond one request's worth are looked at, as a multiple of the `from` cap.
pub const LOOKAHEAD: usize = 8;

/// One chosen group: its place in the list that was offered and how many of its pairs to take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pick {
    pub index: usize,
    pub pairs: usize,
}

/// Chooses from groups of the given sizes (pairs each, oldest first, none empty).
///
/// The result is never empty for a non-empty list, stays within both caps, names each group once and cuts at
/// most one of them. A quarter of the slots goes to the oldest groups whatever their size, so none waits for ever.
pub fn choose(sizes: &[usize], caps: Caps) -> Vec<Pick> {
    let everything: usize = sizes.iter().sum();
    if sizes.len() <= caps.from && everything <= caps.pairs {
        return sizes.iter().enumerate().map(|(index, &pairs)| Pick { index, pairs }).collect();
    }
    let mut room = Room { from: caps.from, pairs: caps.pairs };
    let mut picks = Vec::with_capacity(caps.from.min(sizes.len()));
    let oldest = caps.from.div_ceil(4).min(sizes.len());
    for (index, &size) in sizes.iter().enumerate().take(oldest) {
        let taken = room.take(size);
        if taken == 0 {
            return picks;
        }
        picks.push(Pick { index, pairs: taken });
    }
    let mut by_size: Vec<usize> = (oldest..sizes.len()).collect();
    by_size.sort_by_key(|&index| (std::cmp::Reverse(sizes[index]), index));
    match_sizes(sizes, &by_size, &mut room, &mut picks);
    picks
}

/// Fills what room is left from groups sorted by size, largest first.
fn match_sizes(sizes: &[usize], by_size: &[usize], room: &mut Room, picks: &mut Vec<Pick>) {
    let mut passed_over = Vec::new();
    for (rank, &index) in by_size.iter().enumerate() {
        if room.from == 0 || room.pairs == 0 {
            return;
        }
        let others = (room.from - 1).min(by_size.len() - rank - 1);
        if sizes[index] + others <= room.pairs {
            room.take(sizes[index]);
            picks.push(Pick { index, pairs: sizes[index] });
        } else {
            passed_over.push(index);
        }
    }
    // Slots and pairs may be left where every group left is larger than the room: one of them is cut to fit.
    for &index in passed_over.iter().rev() {
        let taken = room.take(sizes[index]);
        if taken == 0 {
            return;
        }
        picks.push(Pick { index, pairs: taken });
    }
}

struct Room {
    from: usize,
    pairs: usize,
}

impl Room {
    /// Makes room for as much of a group as fits; 0 when nothing does.
    fn take(&mut self, size: usize) -> usize {
        if self.from == 0 {
            return 0;
        }
        let taken = size.min(self.pairs);
        if taken > 0 {
            self.from -= 1;
            self.pairs -= taken;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAPS: Caps = Caps { from: 100, pairs: 1000 };

    /// Requests needed when `choose` empties a lane that offers `window` groups at a time.
    fn requests_for(mut sizes: Vec<usize>, caps: Caps) -> usize {
        let mut requests = 0;
        while !sizes.is_empty() {
            let window = sizes.len().min(caps.from * LOOKAHEAD);
            let mut picks = choose(&sizes[..window], caps);
            assert!(!picks.is_empty());
            picks.sort_by_key(|pick| std::cmp::Reverse(pick.index));
            for pick in picks {
                sizes[pick.index] -= pick.pairs;
                if sizes[pick.index] == 0 {
                    sizes.remove(pick.index);
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
            let sizes: Vec<usize> = (0..40_000).map(|_| random.usize(1..=top)).collect();
            let (spent, bound) = (requests_for(sizes.clone(), CAPS), fewest(&sizes, CAPS));
            assert!(spent * 100 <= bound * 101, "sizes to {top}: {spent} requests, {bound} at best");
        }
    }

    #[test]
    fn few_large_groups_fill_up_with_many_small_ones() {
        let mut sizes = vec![1; 500];
        sizes.extend(vec![100; 50]);
        assert_eq!(requests_for(sizes, CAPS), 6);
    }

    proptest! {
        #[test]
        fn picks_respect_the_caps(sizes in prop::collection::vec(1usize..50, 1..300), from in 1usize..60, pairs in 1usize..200) {
            let picks = choose(&sizes, Caps { from, pairs });
            prop_assert!(!picks.is_empty());
            prop_assert!(picks.len() <= from);
            prop_assert!(picks.iter().map(|pick| pick.pairs).sum::<usize>() <= pairs);
            let mut seen: Vec<usize> = picks.iter().map(|pick| pick.index).collect();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), picks.len());
            prop_assert!(picks.iter().all(|pick| (1..=sizes[pick.index]).contains(&pick.pairs)));
            prop_assert!(picks.iter().any(|pick| pick.index == 0), "the oldest group always goes");
            prop_assert!(picks.iter().filter(|pick| pick.pairs < sizes[pick.index]).count() <= 1);
        }
    }
}
