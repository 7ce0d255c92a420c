//! What happened, as a hash that two equal runs share, and in words where a person wants to read it.

use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    shown: bool,
}

/// FNV-1a, of 64 bits.
const PRIME: u64 = 0x0000_0100_0000_01b3;
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

impl Trace {
    pub fn new(shown: bool) -> Self {
        Self { hash: BASIS, shown }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// `numbers` go into the hash, `words` are only made where they are shown.
    pub fn note(&mut self, now: Duration, what: &str, numbers: [u64; 2], words: impl FnOnce() -> String) {
        let time = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        for number in [time, what.len() as u64].into_iter().chain(numbers) {
            self.hash = (self.hash ^ number).wrapping_mul(PRIME).rotate_left(17);
        }
        for byte in what.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
        if self.shown {
            println!("{:>14.6} {what:<12} {}", now.as_secs_f64(), words());
        }
    }
}
