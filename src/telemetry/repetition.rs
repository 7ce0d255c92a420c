//! A gate for log lines: the same kind of trouble is told once in each period, with the number of times that it was not
//! told since.

use std::hash::Hash;
use std::time::Duration;

use hashbrown::HashMap;

use crate::engine::clock::Tick;

/// Lets one line of each kind through per period.
#[derive(Debug)]
pub struct Repetition<Kind> {
    period: Duration,
    told: HashMap<Kind, Told>,
}

#[derive(Debug)]
struct Told {
    at: Tick,
    suppressed: u64,
}

/// Kinds remembered at most. Beyond it the one told longest ago is forgotten, so that its next line is told.
const MAX_KINDS: usize = 256;

impl<Kind: Copy + Eq + Hash> Repetition<Kind> {
    pub fn new(period: Duration) -> Self {
        Self { period, told: HashMap::new() }
    }

    /// Whether a line of this kind may be written now. `Some` has the number of lines that were not written since the
    /// last one.
    pub fn admit(&mut self, kind: Kind, now: Tick) -> Option<u64> {
        if let Some(told) = self.told.get_mut(&kind) {
            if now.since(told.at) < self.period {
                told.suppressed += 1;
                return None;
            }
            told.at = now;
            return Some(std::mem::take(&mut told.suppressed));
        }
        self.make_room();
        self.told.insert(kind, Told { at: now, suppressed: 0 });
        Some(0)
    }

    fn make_room(&mut self) {
        if self.told.len() < MAX_KINDS {
            return;
        }
        let oldest = self.told.iter().min_by_key(|(_, told)| told.at).map(|(&kind, _)| kind);
        if let Some(kind) = oldest {
            self.told.remove(&kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn each_kind_is_told_once_a_period_with_the_count_left_out() {
        let mut gate = Repetition::new(Duration::from_secs(30));
        assert_eq!(gate.admit("outage", at(0)), Some(0));
        assert_eq!(gate.admit("outage", at(1)), None);
        assert_eq!(gate.admit("refused", at(1)), Some(0), "another kind has its own period");
        assert_eq!(gate.admit("outage", at(29)), None);
        assert_eq!(gate.admit("outage", at(30)), Some(2));
        assert_eq!(gate.admit("outage", at(60)), Some(0));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut gate = Repetition::new(Duration::from_secs(30));
        for kind in 0..10_000_u64 {
            assert_eq!(gate.admit(kind, Tick::from_micros(kind)), Some(0));
        }
        assert_eq!(gate.told.len(), MAX_KINDS);
        assert_eq!(gate.admit(9_999, at(1)), None, "the newest are kept");
    }
}
