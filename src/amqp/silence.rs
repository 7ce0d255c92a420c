//! Notices a subscription that is alive by every sign and yet delivers nothing.

/// Looks in a row that must agree before a subscription is taken for dead.
const FIRST_PATIENCE: u32 = 2;
/// Where another consumer rightly gets all the jobs, as with a single active consumer, subscribing again helps nothing;
/// so each time in vain doubles the patience, up to this.
const MAX_PATIENCE: u32 = 64;

/// One look at a subscription.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Deliveries since the look before.
    pub delivered: u64,
    /// The prefetch is not exhausted: the broker could deliver.
    pub has_room: bool,
    /// Messages ready in the queue, as far as known.
    pub ready: Option<u64>,
}

/// What the looks say of the subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Alive,
    /// It delivered, and then no more: it is lost.
    Dead,
    /// It has never delivered anything, so nothing is lost with it. Most likely another consumer is the active one, and
    /// this one stands by; a new consumer in its place does no harm.
    NeverHeard,
}

/// Judges a row of looks.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    suspicious: u32,
    patience: u32,
    /// The present subscription has delivered something.
    heard: bool,
}

impl Default for Silence {
    fn default() -> Self {
        Self { suspicious: 0, patience: FIRST_PATIENCE, heard: false }
    }
}

impl Silence {
    /// A subscription begins.
    pub fn begin(&mut self) {
        self.heard = false;
    }

    pub fn judge(&mut self, look: Look) -> Verdict {
        if look.delivered > 0 {
            *self = Self { heard: true, ..Self::default() };
            return Verdict::Alive;
        }
        if !look.has_room || look.ready.unwrap_or(0) == 0 {
            self.suspicious = 0;
            return Verdict::Alive;
        }
        self.suspicious += 1;
        if self.suspicious < self.patience {
            return Verdict::Alive;
        }
        self.suspicious = 0;
        self.patience = self.patience.saturating_mul(2).min(MAX_PATIENCE);
        if self.heard { Verdict::Dead } else { Verdict::NeverHeard }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD: Look = Look { delivered: 0, has_room: true, ready: Some(5) };

    fn heard() -> Silence {
        let mut silence = Silence::default();
        assert_eq!(silence.judge(Look { delivered: 1, ..DEAD }), Verdict::Alive);
        silence
    }

    #[test]
    fn only_unexplained_silence_is_suspicious() {
        let mut silence = heard();
        for innocent in [
            Look { delivered: 1, ..DEAD },
            Look { has_room: false, ..DEAD },
            Look { ready: Some(0), ..DEAD },
            Look { ready: None, ..DEAD },
        ] {
            assert_eq!(silence.judge(DEAD), Verdict::Alive);
            assert_eq!(silence.judge(innocent), Verdict::Alive, "{innocent:?}");
        }
        assert_eq!(silence.judge(DEAD), Verdict::Alive);
        assert_eq!(silence.judge(DEAD), Verdict::Dead);
    }

    #[test]
    fn patience_grows_while_it_is_in_vain_and_returns_with_a_delivery() {
        let mut silence = heard();
        let looks = |silence: &mut Silence| (1..).find(|_| silence.judge(DEAD) == Verdict::Dead);
        assert_eq!([looks(&mut silence), looks(&mut silence), looks(&mut silence)], [Some(2), Some(4), Some(8)]);
        assert_eq!(silence.judge(Look { delivered: 9, ..DEAD }), Verdict::Alive);
        assert_eq!(looks(&mut silence), Some(2));
    }

    /// Beside a single active consumer, also where it was the active one before its connection broke.
    #[test]
    fn a_standby_is_never_taken_for_lost() {
        let mut silence = heard();
        silence.begin();
        let verdicts: Vec<_> = (0..1_000).map(|_| silence.judge(DEAD)).filter(|one| *one != Verdict::Alive).collect();
        assert!(!verdicts.is_empty() && verdicts.iter().all(|one| *one == Verdict::NeverHeard), "{verdicts:?}");
    }
}
