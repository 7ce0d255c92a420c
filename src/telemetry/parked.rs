//! How many jobs wait in the delay queues right now.
//!
//! The broker is asked every few seconds. What was confirmed there since the last look is added, so that no job is out
//! of sight between leaving the worker and the next look. For those seconds a job may be counted twice, but it is never
//! left out.

use jiff::Timestamp;

use crate::engine::pause::Tier;

/// A number for each delay queue, in the order of [`Tier::ALL`]; `None` where nobody can say.
pub type ByTier = [Option<u64>; Tier::ALL.len()];

/// A time for each delay queue, in the order of [`Tier::ALL`].
pub type BackBy = [Option<Timestamp>; Tier::ALL.len()];

/// Follows the delay queues; to be read about once a second.
#[derive(Debug, Default)]
pub struct ParkedJobs {
    looks: u64,
    tiers: [OfTier; Tier::ALL.len()],
}

#[derive(Clone, Copy, Debug, Default)]
struct OfTier {
    /// How many jobs had been confirmed in the queue since the start, at the reading before the last look was noticed.
    /// It is not the reading at which that was noticed, because a job that was confirmed between the look and this
    /// reading must not be missed.
    before: u64,
    /// The count at the last reading.
    latest: u64,
    /// Whether jobs were there at the last reading.
    occupied: bool,
    /// When this worker was last seen to have parked a job there.
    parked_at: Option<Timestamp>,
}

impl ParkedJobs {
    /// `looks` is how often the queues were looked at, `seen` what the latest look showed, `confirmed` how many jobs the
    /// broker has taken for each delay queue since the start.
    pub fn count(&mut self, looks: u64, seen: ByTier, confirmed: [u64; Tier::ALL.len()], now: Timestamp) -> ByTier {
        let looked = looks != std::mem::replace(&mut self.looks, looks);
        let mut counted = seen;
        for ((tier, count), confirmed) in self.tiers.iter_mut().zip(&mut counted).zip(confirmed) {
            if looked {
                tier.before = tier.latest;
            }
            if confirmed > tier.latest {
                tier.parked_at = Some(now);
            }
            tier.latest = confirmed;
            *count = count.map(|seen| seen + confirmed.saturating_sub(tier.before));
            tier.occupied = count.is_some_and(|jobs| jobs > 0);
        }
        counted
    }

    /// When the jobs that were counted last are back at the latest. While this worker is alone, since `alone_since`, the
    /// last of them was parked by itself, or before that. Else another one may be parking jobs at this moment, and
    /// they wait for the whole time of their queue from now on.
    pub fn back_by(&self, alone_since: Option<Timestamp>, now: Timestamp) -> BackBy {
        let mut back_by = BackBy::default();
        for ((by, tier), of_tier) in back_by.iter_mut().zip(Tier::ALL).zip(&self.tiers) {
            let parked_last = alone_since.map_or(now, |alone| of_tier.parked_at.map_or(alone, |at| at.max(alone)));
            *by = parked_last.checked_add(tier.wait()).ok().filter(|_| of_tier.occupied);
        }
        back_by
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn a_parked_job_is_in_sight_from_its_confirmation_on() {
        let mut parked = ParkedJobs::default();
        let none = [0; 4];
        assert_eq!(parked.count(0, [None; 4], none, NOW), [None; 4], "nobody has looked yet");
        assert_eq!(parked.count(1, [Some(0); 4], none, NOW), [Some(0); 4]);
        let confirmed = [0, 500, 0, 0];
        assert_eq!(parked.count(1, [Some(0); 4], confirmed, NOW)[1], Some(500), "before the next look");
        assert_eq!(parked.count(1, [Some(0); 4], [0, 700, 0, 0], NOW)[1], Some(700));
        // The look fell between two readings: the 200 may be in it or not, and so count once more for a while.
        assert_eq!(parked.count(2, [Some(0), Some(650), Some(0), Some(0)], [0, 720, 0, 0], NOW)[1], Some(670));
        assert_eq!(parked.count(3, [Some(0), Some(720), Some(0), Some(0)], [0, 720, 0, 0], NOW)[1], Some(720));
        assert_eq!(parked.count(4, [Some(0); 4], [0, 720, 0, 0], NOW)[1], Some(0), "they have come back");
        assert_eq!(parked.count(5, [Some(0), None, Some(0), Some(0)], [0, 720, 0, 0], NOW)[1], None);
    }

    #[test]
    fn parked_jobs_are_back_after_the_time_of_their_queue_at_the_latest() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap_or_default();
        let alone = Some(at(1_000));
        let mut parked = ParkedJobs::default();
        let back = |parked: &ParkedJobs, alone, now| parked.back_by(alone, at(now))[3];
        parked.count(1, [Some(0), Some(0), Some(0), Some(7)], [0; 4], at(2_000));
        assert_eq!(back(&parked, alone, 2_000), Some(at(1_000 + 3_600)), "the holder before parks nothing any more");
        parked.count(1, [Some(0), Some(0), Some(0), Some(7)], [0, 0, 0, 1], at(2_001));
        assert_eq!(back(&parked, alone, 2_001), Some(at(2_001 + 3_600)), "all others were parked before this one");
        assert_eq!(back(&parked, None, 2_500), Some(at(2_500 + 3_600)), "another worker may park one right now");
        assert_eq!(back(&parked, Some(at(2_400)), 2_500), Some(at(2_400 + 3_600)), "it may have until then");
        parked.count(2, [None; 4], [0, 0, 0, 1], at(2_600));
        assert_eq!(parked.back_by(alone, at(2_600)), BackBy::default(), "while the broker is away nobody can say");
        parked.count(3, [Some(0), Some(0), Some(0), Some(7)], [0, 0, 0, 1], at(2_700));
        assert_eq!(back(&parked, alone, 2_700), Some(at(2_001 + 3_600)), "they have waited on in the broker");
        parked.count(4, [Some(0); 4], [0, 0, 0, 1], at(6_000));
        assert_eq!(parked.back_by(alone, at(6_000)), BackBy::default());
    }
}
