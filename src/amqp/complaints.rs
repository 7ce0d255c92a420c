//! What is said in the log of messages that cannot be published: a line when it begins, one a minute while it lasts,
//! and one at its end. The publishing tasks share this, so one line counts the messages of all of them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::blocked::Unpublished;
use super::route::Route;

/// Between two lines about the same trouble.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<HashMap<Route, ByCause>>);

/// A queue that is gone is other news than one that was full a moment ago.
type ByCause = HashMap<Unpublished, Trouble>;

#[derive(Debug)]
struct Trouble {
    since: Instant,
    told: Option<Instant>,
    in_vain: usize,
    over: bool,
}

/// What there is to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Said {
    /// Tries in vain since it began.
    pub(super) in_vain: usize,
    pub(super) lasting: Duration,
}

impl Complaints {
    /// This many messages could not be published. `Some`: a log line is due.
    pub(super) fn failed(&self, route: Route, why: Unpublished, messages: usize, now: Instant) -> Option<Said> {
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_route = troubles.entry(route).or_default();
        let trouble = of_route.entry(why).or_insert(Trouble { since: now, told: None, in_vain: 0, over: false });
        if std::mem::take(&mut trouble.over) {
            (trouble.since, trouble.in_vain) = (now, 0);
        }
        trouble.in_vain += messages;
        if trouble.told.is_some_and(|told| now < told + REPEAT_AFTER) {
            return None;
        }
        trouble.told = Some(now);
        Some(trouble.said(now))
    }

    /// Nothing waits for this route any more. `Some`: a log line is due, since one has told of the trouble.
    pub(super) fn mended(&self, route: Route, now: Instant) -> Option<Said> {
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lasted = troubles.get_mut(&route)?.values_mut().filter(|trouble| !trouble.over);
        let ended = lasted.filter_map(|trouble| {
            trouble.over = true;
            trouble.told.is_some_and(|told| told >= trouble.since).then(|| trouble.said(now))
        });
        // One after the other they kept messages back: together, since the first began.
        ended.reduce(|a, b| Said { in_vain: a.in_vain + b.in_vain, lasting: a.lasting.max(b.lasting) })
    }
}

impl Trouble {
    fn said(&self, now: Instant) -> Said {
        Said { in_vain: self.in_vain, lasting: now.saturating_duration_since(self.since) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_when_it_begins_once_a_minute_and_when_it_ends() {
        let complaints = Complaints::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let said = |in_vain, seconds| Some(Said { in_vain, lasting: Duration::from_secs(seconds) });
        assert_eq!(complaints.failed(Route::Results, Unpublished::Refused, 1_000, start), said(1_000, 0));
        assert_eq!(
            complaints.failed(Route::DeadLetters, Unpublished::Refused, 2, after(1)),
            said(2, 0),
            "each route by itself"
        );
        for second in 1..60 {
            assert_eq!(complaints.failed(Route::Results, Unpublished::Refused, 1, after(second)), None);
        }
        assert_eq!(complaints.failed(Route::Results, Unpublished::Refused, 1, after(60)), said(1_060, 60));
        assert_eq!(complaints.mended(Route::Results, after(90)), said(1_060, 90));
        assert_eq!(complaints.mended(Route::Results, after(91)), None);
        assert_eq!(
            complaints.failed(Route::Results, Unpublished::Refused, 5, after(92)),
            None,
            "a queue at its limit is full every moment"
        );
        assert_eq!(complaints.mended(Route::Results, after(93)), None);
        assert_eq!(
            complaints.failed(Route::Results, Unpublished::Refused, 5, after(120)),
            said(5, 0),
            "it begins anew"
        );
    }
    /// The results queue was full, and a moment later it was deleted.
    #[test]
    fn another_cause_is_told_at_once() {
        let complaints = Complaints::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let said = |in_vain, seconds| Some(Said { in_vain, lasting: Duration::from_secs(seconds) });
        assert_eq!(complaints.failed(Route::Results, Unpublished::Refused, 3, start), said(3, 0));
        assert_eq!(complaints.mended(Route::Results, after(2)), said(3, 2));
        assert_eq!(complaints.failed(Route::Results, Unpublished::Returned, 100, after(5)), said(100, 0));
        assert_eq!(complaints.failed(Route::Results, Unpublished::Refused, 7, after(6)), None, "told a moment ago");
        assert_eq!(complaints.mended(Route::Results, after(8)), said(100, 3));
        assert_eq!(complaints.mended(Route::Results, after(9)), None);
    }
}
