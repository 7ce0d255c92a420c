//! The share of a lane's pairs that are stuck, as its latest searches and successes have it.
//!
//! Where many pairs are stuck, nearly every full batch holds one, and to find them in it takes more requests than to
//! send fewer pairs at a time. For example: of 100 pairs every third one is stuck. Full batches that are halved until
//! each stuck pair stands alone take some 170 requests, batches of two some 120.

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct StuckShare {
    pairs: usize,
    stuck: usize,
}

/// Above this many pairs both counts are halved, so that later pairs weigh more.
const REMEMBERED: usize = 300;

/// Fewer stuck pairs than this say nothing of the others.
const FEW: usize = 3;

/// A search takes the fewest requests where about half of the batches fail: ln 2 stuck pairs a batch, in per cent.
const PERCENT_A_BATCH: usize = 69;

impl StuckShare {
    /// What was asked for these pairs was done.
    pub fn served(&mut self, pairs: usize) {
        if self.stuck > 0 {
            self.count(pairs, 0);
        }
    }

    /// A pair was found to be stuck.
    pub fn found(&mut self) {
        self.count(1, 1);
    }

    /// A pair was not stuck after all, or is not any more, as when requests fail at random for a while.
    pub fn mended(&mut self) {
        self.stuck = self.stuck.saturating_sub(1);
    }

    fn count(&mut self, pairs: usize, stuck: usize) {
        self.pairs += pairs;
        self.stuck += stuck;
        while self.pairs > REMEMBERED {
            self.pairs /= 2;
            self.stuck /= 2;
        }
    }

    /// At least [`FEW`] pairs are stuck: a batch fails for that, rather than because HubSpot is in trouble.
    pub fn is_high(&self) -> bool {
        self.stuck >= FEW
    }

    /// How many pairs a new batch should have; `None`: as many as it may.
    pub fn best_size(&self) -> Option<usize> {
        self.is_high().then(|| (self.pairs * PERCENT_A_BATCH / (100 * self.stuck)).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_pairs_are_stuck_the_smaller_the_batches() {
        let size = |good: usize, stuck: usize| {
            let mut share = StuckShare::default();
            for _ in 0..20 {
                (0..stuck).for_each(|_| share.found());
                share.served(good);
            }
            share.best_size()
        };
        assert_eq!((size(100, 0), size(0, 1)), (None, Some(1)));
        assert!(size(1, 1).is_some_and(|pairs| pairs == 1));
        assert!(size(2, 1).is_some_and(|pairs| (1..=3).contains(&pairs)));
        assert!(size(20, 1).is_some_and(|pairs| (8..=20).contains(&pairs)));
        assert_eq!(size(1_000, 1), None, "one in a thousand");
    }

    #[test]
    fn what_was_stuck_is_forgotten_when_the_others_are_served() {
        let mut share = StuckShare::default();
        (0..200).for_each(|_| share.found());
        assert_eq!(share.best_size(), Some(1));
        (0..3).for_each(|_| share.served(1_000));
        assert!(!share.is_high());
    }
}
