//! Notices a subscription that is alive by every sign and yet delivers nothing.

/// Looks in a row that must agree before a subscription is taken for dead.
const FIRST_PATIENCE: u32 = 2;
/// Where another consumer rightly gets all the jobs, as with a single active consumer, it does not help to subscribe
/// again. So each time that it was in vain doubles the patience, up to this.
const MAX_PATIENCE: u32 = 64;

/// One look at a subscription.
#[derive(Clone, Copy, Debug)]
pub struct Observation {
    /// Deliveries since the look before.
    pub delivered: u64,
    /// The prefetch is not exhausted: the broker could deliver.
    pub has_room: bool,
    /// Messages ready in the queue, as far as known.
    pub ready: Option<u64>,
}

/// What the looks say of the subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LifeSign {
    Alive,
    /// It delivered, and then no more: it is lost.
    Dead,
    /// It has never delivered anything, so nothing is lost with it. Most likely another consumer is the active one, and
    /// this one stands by; a new consumer in its place does no harm.
    NeverHeard,
}

/// Judges a row of looks.
#[derive(Clone, Copy, Debug)]
pub struct SilenceWatch {
    suspicious: u32,
    patience: u32,
    /// The present subscription has delivered something.
    heard: bool,
}

impl Default for SilenceWatch {
    fn default() -> Self {
        Self { suspicious: 0, patience: FIRST_PATIENCE, heard: false }
    }
}

impl SilenceWatch {
    /// A subscription begins.
    pub fn begin(&mut self) {
        self.heard = false;
    }

    pub fn judge(&mut self, look: Observation) -> LifeSign {
        if look.delivered > 0 {
            *self = Self { heard: true, ..Self::default() };
            return LifeSign::Alive;
        }
        if !look.has_room || look.ready.unwrap_or(0) == 0 {
            self.suspicious = 0;
            return LifeSign::Alive;
        }
        self.suspicious += 1;
        if self.suspicious < self.patience {
            return LifeSign::Alive;
        }
        self.suspicious = 0;
        self.patience = self.patience.saturating_mul(2).min(MAX_PATIENCE);
        if self.heard { LifeSign::Dead } else { LifeSign::NeverHeard }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD: Observation = Observation { delivered: 0, has_room: true, ready: Some(5) };

    fn heard() -> SilenceWatch {
        let mut silence = SilenceWatch::default();
        assert_eq!(silence.judge(Observation { delivered: 1, ..DEAD }), LifeSign::Alive);
        silence
    }

    #[test]
    fn only_unexplained_silence_is_suspicious() {
        let mut silence = heard();
        for innocent in [
            Observation { delivered: 1, ..DEAD },
            Observation { has_room: false, ..DEAD },
            Observation { ready: Some(0), ..DEAD },
            Observation { ready: None, ..DEAD },
        ] {
            assert_eq!(silence.judge(DEAD), LifeSign::Alive);
            assert_eq!(silence.judge(innocent), LifeSign::Alive, "{innocent:?}");
        }
        assert_eq!(silence.judge(DEAD), LifeSign::Alive);
        assert_eq!(silence.judge(DEAD), LifeSign::Dead);
    }

    #[test]
    fn patience_grows_while_it_is_in_vain_and_returns_with_a_delivery() {
        let mut silence = heard();
        let looks = |silence: &mut SilenceWatch| (1..).find(|_| silence.judge(DEAD) == LifeSign::Dead);
        assert_eq!([looks(&mut silence), looks(&mut silence), looks(&mut silence)], [Some(2), Some(4), Some(8)]);
        assert_eq!(silence.judge(Observation { delivered: 9, ..DEAD }), LifeSign::Alive);
        assert_eq!(looks(&mut silence), Some(2));
    }

    /// Beside a single active consumer, also where it was the active one before its connection broke.
    #[test]
    fn a_standby_is_never_taken_for_lost() {
        let mut silence = heard();
        silence.begin();
        let verdicts: Vec<_> = (0..1_000).map(|_| silence.judge(DEAD)).filter(|one| *one != LifeSign::Alive).collect();
        assert!(!verdicts.is_empty() && verdicts.iter().all(|one| *one == LifeSign::NeverHeard), "{verdicts:?}");
    }
}
