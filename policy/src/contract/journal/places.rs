//! Places of pairs in an entry, kept as ranges: nearly always there is one, of all of them.

/// Sorted, without overlap: each range from its first to its last place.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Places(Vec<(u32, u32)>);

impl Places {
    /// The places may come in any order, and more than once.
    pub fn of(mut places: Vec<u32>) -> Self {
        places.sort_unstable();
        Self::of_ranges(places.into_iter().map(|place| (place, place)).collect())
    }

    /// The ranges may come in any order, and may overlap; a range that ends before it begins is empty.
    pub fn of_ranges(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.retain(|(first, last)| first <= last);
        ranges.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::with_capacity(ranges.len().min(1));
        for (first, last) in ranges {
            match joined.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                Some(_) | None => joined.push((first, last)),
            }
        }
        Self(joined)
    }

    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, place: u32) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= place);
        after.checked_sub(1).is_some_and(|index| place <= self.0[index].1)
    }

    /// The places that are in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self::of_ranges(self.0.iter().chain(&other.0).copied().collect())
    }
}
