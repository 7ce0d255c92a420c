//! By when a job must have been sent, and who says so.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

/// The earlier of what the job and its message say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expiry {
    pub at: Timestamp,
    pub given_by: GivenBy,
}

/// Where a producer has given it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GivenBy {
    /// The job's field `notAfter`.
    NotAfter,
    /// The message's property `expiration`, which counts from the first receipt. `None`: a job that waited in a delay
    /// queue no longer says which span that was.
    Expiration(Option<Duration>),
}

impl Expiry {
    /// What a job's `notAfter` says.
    pub fn not_after(at: Timestamp) -> Self {
        Self { at, given_by: GivenBy::NotAfter }
    }
}

/// In the words of whoever gave it; the time as everywhere, in UTC with milliseconds.
impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, given_by } = self;
        match given_by {
            GivenBy::NotAfter => write!(f, "notAfter ({at:.3})"),
            GivenBy::Expiration(Some(span)) => {
                let millis = span.as_millis();
                write!(f, "the property expiration ({millis} ms from the first receipt, until {at:.3})")
            }
            GivenBy::Expiration(None) => write!(f, "the property expiration (until {at:.3})"),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn is_told_in_the_words_of_whoever_gave_it() {
        let at: Timestamp = "2026-11-29T14:24:29.559593621Z".parse().unwrap();
        let told = |given_by| Expiry { at, given_by }.to_string();
        assert_eq!(told(GivenBy::NotAfter), "notAfter (2026-11-29T14:24:29.559Z)");
        let span = Duration::from_secs(4);
        assert_eq!(
            told(GivenBy::Expiration(Some(span))),
            "the property expiration (4000 ms from the first receipt, until 2026-11-29T14:24:29.559Z)"
        );
        assert_eq!(told(GivenBy::Expiration(None)), "the property expiration (until 2026-11-29T14:24:29.559Z)");
        assert_eq!(
            Expiry::not_after(at.round(jiff::Unit::Second).unwrap()).to_string(),
            "notAfter (2026-11-29T14:24:30.000Z)"
        );
    }
}
