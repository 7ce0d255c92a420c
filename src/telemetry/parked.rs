//! How many jobs wait in the delay queues right now.
//!
//! The broker is asked every few seconds. What was confirmed there since the last look is added, so that no job is out
//! of sight between leaving the worker and the next look. A job may be counted twice for those seconds, never not at all.

use crate::engine::pause::Tier;

/// A number for each delay queue, in the order of [`Tier::ALL`]; `None` where nobody can say.
pub type ByTier = [Option<u64>; Tier::ALL.len()];

/// Follows the delay queues; to be read about once a second.
#[derive(Debug, Default)]
pub struct ParkedJobs {
    looks: u64,
    tiers: [OfTier; Tier::ALL.len()],
}

#[derive(Clone, Copy, Debug, Default)]
struct OfTier {
    /// Jobs confirmed in the queue since the start, when the last look was noticed, or a reading before it: a
    /// confirmation that is counted between a look and its reading must not be missed.
    before: u64,
    /// The count at the last reading.
    latest: u64,
}

impl ParkedJobs {
    /// `looks` is how often the queues were looked at, `seen` what the latest look showed, `confirmed` how many jobs the
    /// broker has taken for each delay queue since the start.
    pub fn count(&mut self, looks: u64, seen: ByTier, confirmed: [u64; Tier::ALL.len()]) -> ByTier {
        let looked = looks != std::mem::replace(&mut self.looks, looks);
        let mut counted = seen;
        for ((tier, count), confirmed) in self.tiers.iter_mut().zip(&mut counted).zip(confirmed) {
            if looked {
                tier.before = tier.latest;
            }
            tier.latest = confirmed;
            *count = count.map(|seen| seen + confirmed.saturating_sub(tier.before));
        }
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parked_job_is_in_sight_from_its_confirmation_on() {
        let mut parked = ParkedJobs::default();
        let none = [0; 4];
        assert_eq!(parked.count(0, [None; 4], none), [None; 4], "nobody has looked yet");
        assert_eq!(parked.count(1, [Some(0); 4], none), [Some(0); 4]);
        let confirmed = [0, 500, 0, 0];
        assert_eq!(parked.count(1, [Some(0); 4], confirmed)[1], Some(500), "before the next look");
        assert_eq!(parked.count(1, [Some(0); 4], [0, 700, 0, 0])[1], Some(700));
        // The look fell between two readings: the 200 may be in it or not, and so count once more for a while.
        assert_eq!(parked.count(2, [Some(0), Some(650), Some(0), Some(0)], [0, 720, 0, 0])[1], Some(670));
        assert_eq!(parked.count(3, [Some(0), Some(720), Some(0), Some(0)], [0, 720, 0, 0])[1], Some(720));
        assert_eq!(parked.count(4, [Some(0); 4], [0, 720, 0, 0])[1], Some(0), "they have come back");
        assert_eq!(parked.count(5, [Some(0), None, Some(0), Some(0)], [0, 720, 0, 0])[1], None);
    }
}
