//! Notices a subscription that is alive by every sign and yet delivers nothing.

/// Looks in a row that must agree before a subscription is taken for dead.
const FIRST_PATIENCE: u32 = 2;
/// Where another consumer rightly gets all the jobs, as with a single active consumer, subscribing anew helps nothing;
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

/// Judges a row of looks.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    suspicious: u32,
    patience: u32,
}

impl Default for Silence {
    fn default() -> Self {
        Self { suspicious: 0, patience: FIRST_PATIENCE }
    }
}

impl Silence {
    /// True: subscribe anew.
    pub fn is_dead(&mut self, look: Look) -> bool {
        if look.delivered > 0 {
            *self = Self::default();
            return false;
        }
        if !look.has_room || look.ready.unwrap_or(0) == 0 {
            self.suspicious = 0;
            return false;
        }
        self.suspicious += 1;
        if self.suspicious < self.patience {
            return false;
        }
        self.suspicious = 0;
        self.patience = self.patience.saturating_mul(2).min(MAX_PATIENCE);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD: Look = Look { delivered: 0, has_room: true, ready: Some(5) };

    #[test]
    fn only_unexplained_silence_is_suspicious() {
        let mut silence = Silence::default();
        for innocent in [
            Look { delivered: 1, ..DEAD },
            Look { has_room: false, ..DEAD },
            Look { ready: Some(0), ..DEAD },
            Look { ready: None, ..DEAD },
        ] {
            assert!(!silence.is_dead(DEAD));
            assert!(!silence.is_dead(innocent), "{innocent:?}");
        }
        assert!(!silence.is_dead(DEAD));
        assert!(silence.is_dead(DEAD));
    }

    #[test]
    fn patience_grows_while_it_is_in_vain_and_returns_with_a_delivery() {
        let mut silence = Silence::default();
        let looks = |silence: &mut Silence| (1..).find(|_| silence.is_dead(DEAD));
        assert_eq!([looks(&mut silence), looks(&mut silence), looks(&mut silence)], [Some(2), Some(4), Some(8)]);
        assert!(!silence.is_dead(Look { delivered: 9, ..DEAD }));
        assert_eq!(looks(&mut silence), Some(2));
    }
}
