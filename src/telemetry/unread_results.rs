//! Since when outcomes have waited in the results queue while nobody was subscribed to it. Whoever fetches them now and then
//! leaves none, so that begins anew.

use std::time::Duration;

use jiff::Timestamp;

/// To be read about once a second.
#[derive(Debug, Default)]
pub struct UnreadResults {
    since: Option<Timestamp>,
    /// How many waited, when last counted.
    waiting: u64,
    /// The look that was the first of several in a row to see a consumer.
    read_at: Option<u64>,
    /// Since when how many waited before the queue was counted as empty.
    before_empty: Option<(Timestamp, u64)>,
}

impl UnreadResults {
    /// From then on it is trouble, as for the alert; before, somebody may just not have fetched them yet.
    pub const LASTS: Duration = Duration::from_secs(60 * 60);

    /// The broker counts a queue that has no leader, as after a restart, as empty. Where at least so many wait again at
    /// once, and no fewer than before, it was not.
    const NOT_EMPTIED: u64 = 100;

    /// `looks` is how often the queue was looked at; `ready` and `consumers` are of the latest look, `None` where nobody
    /// can say, which changes nothing.
    pub fn note(
        &mut self,
        looks: u64,
        ready: Option<u64>,
        consumers: Option<u64>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let (Some(ready), Some(consumers)) = (ready, consumers) else { return self.since };
        if consumers > 0 {
            // Who only looks, such as the command `outcomes`, is gone by the next look.
            if *self.read_at.get_or_insert(looks) != looks {
                (self.since, self.before_empty) = (None, None);
            }
            return self.since;
        }
        self.read_at = None;
        if ready == 0 {
            self.before_empty = self.since.take().map(|since| (since, self.waiting)).or(self.before_empty);
        } else {
            let was_not = |(_, before): &(Timestamp, u64)| ready >= Self::NOT_EMPTIED.max(*before);
            let before = self.before_empty.take().filter(was_not).map(|(since, _)| since);
            self.since = self.since.or(before).or(Some(now));
            self.waiting = ready;
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
        assert_eq!(unread.note(0, None, None, at(1)), None);
        assert_eq!(unread.note(1, Some(400), Some(0), at(11)), Some(at(11)));
        assert_eq!(unread.note(2, Some(900), Some(0), at(60)), Some(at(11)));
        assert_eq!(unread.note(3, None, None, at(61)), Some(at(11)), "the broker is away");
        assert_eq!(unread.note(4, Some(0), Some(0), at(62)), None, "somebody has fetched them");
        assert_eq!(unread.note(5, Some(5), Some(0), at(63)), Some(at(63)));
        assert_eq!(unread.note(6, Some(0), Some(0), at(64)), None);
        assert_eq!(unread.note(7, Some(6), Some(0), at(65)), Some(at(65)), "they are few, and may be others");
        assert_eq!(unread.note(8, Some(6), Some(1), at(66)), Some(at(65)));
        assert_eq!(unread.note(9, Some(6), Some(1), at(67)), None, "somebody is subscribed");
    }

    #[test]
    fn a_short_look_and_a_broker_that_starts_again_do_not_set_it_back() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap_or_default();
        let mut unread = UnreadResults::default();
        assert_eq!(unread.note(1, Some(900), Some(0), at(1)), Some(at(1)));
        for again in [2, 3] {
            assert_eq!(unread.note(2, Some(0), Some(1), at(again)), Some(at(1)), "one look only saw the consumer");
        }
        assert_eq!(unread.note(3, Some(900), Some(0), at(4)), Some(at(1)));
        assert_eq!(unread.note(4, Some(900), Some(1), at(5)), Some(at(1)), "another one");
        assert_eq!(unread.note(5, Some(900), Some(0), at(6)), Some(at(1)));
        assert_eq!(unread.note(6, None, None, at(7)), Some(at(1)), "the broker is away");
        for look in [7, 8] {
            assert_eq!(unread.note(look, Some(0), Some(0), at(8)), None, "the queue has no leader yet");
        }
        assert_eq!(unread.note(9, Some(950), Some(0), at(9)), Some(at(1)));
    }
}
