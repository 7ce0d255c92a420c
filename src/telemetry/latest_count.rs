//! When the broker's queues were counted last: what was published since then is not in their figures.

use jiff::Timestamp;

/// To be read about once a second.
#[derive(Debug, Default)]
pub struct LatestCount {
    looks: u64,
    at: Option<Timestamp>,
}

impl LatestCount {
    /// `looks` is how often the queues were looked at, `is_known` whether the latest look showed something.
    pub fn note(&mut self, looks: u64, is_known: bool, now: Timestamp) -> Option<Timestamp> {
        if looks != std::mem::replace(&mut self.looks, looks) {
            self.at = Some(now);
        }
        self.at.filter(|_| is_known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_grows_older_until_the_next_one() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap_or_default();
        let mut count = LatestCount::default();
        assert_eq!(count.note(0, false, at(1)), None);
        assert_eq!(count.note(1, true, at(3)), Some(at(3)));
        assert_eq!(count.note(1, true, at(5)), Some(at(3)));
        assert_eq!(count.note(2, true, at(6)), Some(at(6)));
        assert_eq!(count.note(3, false, at(9)), None, "the broker is away");
    }
}
