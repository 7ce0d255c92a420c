//! Since when outcomes have waited in the results queue while nobody was subscribed to it. Whoever fetches them now and then
//! leaves none, so that begins anew.

use std::time::Duration;

use jiff::Timestamp;

/// To be read about once a second.
#[derive(Debug, Default)]
pub struct UnreadResults {
    since: Option<Timestamp>,
}

impl UnreadResults {
    /// From then on it is trouble, as for the alert; before, somebody may just not have fetched them yet.
    pub const LASTS: Duration = Duration::from_secs(60 * 60);

    /// `ready` and `consumers` of the queue; `None` where nobody can say, which changes nothing.
    pub fn note(&mut self, ready: Option<u64>, consumers: Option<u64>, now: Timestamp) -> Option<Timestamp> {
        match (ready, consumers) {
            (Some(1..), Some(0)) => self.since = self.since.or(Some(now)),
            (Some(_), Some(_)) => self.since = None,
            (None, _) | (_, None) => {}
        }
        self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_wait_since_the_queue_was_last_empty_or_read() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap_or_default();
        let mut unread = UnreadResults::default();
        assert_eq!(unread.note(None, None, at(1)), None);
        assert_eq!(unread.note(Some(400), Some(0), at(11)), Some(at(11)));
        assert_eq!(unread.note(Some(900), Some(0), at(60)), Some(at(11)));
        assert_eq!(unread.note(None, None, at(61)), Some(at(11)), "the broker is away");
        assert_eq!(unread.note(Some(0), Some(0), at(62)), None, "somebody has fetched them");
        assert_eq!(unread.note(Some(5), Some(0), at(63)), Some(at(63)));
        assert_eq!(unread.note(Some(5), Some(1), at(64)), None);
    }
}
