//! Answers whose queue takes nothing just now: full, at fault, or not there.
//!
//! All of them would be refused like the first. So one of them is tried, after waits that grow. Where it is taken,
//! twice as many are tried next, until none is left. Answers for other queues go on meanwhile.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::backoff;
use super::route::Route;

/// Shortest wait where no queue is bound: somebody has to bind one first.
const UNROUTED_DELAY: Duration = Duration::from_secs(1);

/// Longest wait: whoever has made room wants to see it used.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Why an answer must be tried again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Unpublished {
    /// It came back, since no queue is bound to its route.
    Returned,
    Refused,
}

/// What waits, by its route. `T` is an answer.
#[derive(Debug)]
pub(super) struct Blocked<T> {
    routes: HashMap<Route, Line<T>>,
}

#[derive(Debug)]
struct Line<T> {
    answers: VecDeque<T>,
    since: Instant,
    /// Tries in vain, one after the other.
    tries: u32,
    /// This many are tried next.
    allowed: usize,
    /// `None` while some are on the wire.
    next: Option<Instant>,
}

impl<T> Default for Blocked<T> {
    fn default() -> Self {
        Self { routes: HashMap::new() }
    }
}

impl<T> Blocked<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.routes.values().map(|line| line.answers.len()).sum()
    }

    pub(super) fn holds(&self, route: Route) -> bool {
        self.routes.contains_key(&route)
    }

    /// One more for a route that takes nothing.
    pub(super) fn join(&mut self, route: Route, answer: T) {
        if let Some(line) = self.routes.get_mut(&route) {
            line.answers.push_back(answer);
        }
    }

    /// These were tried in vain. They stay before those that wait already.
    pub(super) fn refused(&mut self, route: Route, answers: Vec<T>, why: Unpublished, now: Instant) {
        let line = self.routes.entry(route).or_insert_with(|| Line {
            answers: VecDeque::new(),
            since: now,
            tries: 0,
            allowed: 1,
            next: None,
        });
        line.tries = line.tries.saturating_add(1);
        line.allowed = 1;
        let wait = backoff::wait(line.tries, fastrand::f64()).min(LONGEST_DELAY);
        let wait = match why {
            Unpublished::Returned => wait.max(UNROUTED_DELAY),
            Unpublished::Refused => wait,
        };
        line.next = Some(now + wait);
        for answer in answers.into_iter().rev() {
            line.answers.push_front(answer);
        }
    }

    /// All that was tried of this route was taken. It is open again when nothing more waits.
    pub(super) fn taken(&mut self, route: Route, now: Instant) {
        let Some(line) = self.routes.get_mut(&route) else { return };
        line.tries = 0;
        line.allowed = line.allowed.saturating_mul(2);
        line.next = Some(now);
        if line.answers.is_empty() {
            self.routes.remove(&route);
        }
    }

    /// What is to be tried now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<T> {
        let mut due = Vec::new();
        for line in self.routes.values_mut().filter(|line| line.next.is_some_and(|next| next <= now)) {
            line.next = None;
            due.extend(line.answers.drain(..line.allowed.min(line.answers.len())));
        }
        due
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.routes.values().filter_map(|line| line.next).min()
    }

    /// Since when that route is blocked which was blocked first. The answers that wait for it may have come later.
    pub(super) fn since(&self) -> Option<Instant> {
        self.routes.values().map(|line| line.since).min()
    }

    /// All of them, and nothing waits any more.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.routes).into_values().flat_map(|line| line.answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[test]
    fn one_is_tried_and_twice_as_many_each_time_it_is_taken() {
        let start = Instant::now();
        let mut blocked = Blocked::default();
        blocked.refused(Route::Results, (0..10).collect(), Unpublished::Refused, start);
        assert_eq!(blocked.due(start), Vec::<i32>::new(), "not at once");
        let later = start + LONG;
        assert_eq!(blocked.due(later), [0]);
        assert_eq!(blocked.due(later), Vec::<i32>::new(), "while it is on the wire");
        blocked.refused(Route::Results, vec![0], Unpublished::Refused, later);
        let later = later + LONG;
        assert_eq!(blocked.due(later), [0]);
        blocked.join(Route::Results, 10);
        blocked.taken(Route::Results, later);
        assert_eq!(blocked.due(later), [1, 2]);
        blocked.taken(Route::Results, later);
        assert_eq!(blocked.due(later), [3, 4, 5, 6]);
        blocked.taken(Route::Results, later);
        assert_eq!(blocked.due(later), [7, 8, 9, 10]);
        blocked.taken(Route::Results, later);
        assert!(blocked.is_empty() && !blocked.holds(Route::Results));
    }

    #[test]
    fn a_try_in_vain_begins_with_one_again_and_comes_later() {
        let start = Instant::now();
        let mut blocked = Blocked::default();
        blocked.refused(Route::Results, (0..100).collect(), Unpublished::Refused, start);
        blocked.due(start + LONG);
        blocked.taken(Route::Results, start + LONG);
        let two = blocked.due(start + LONG);
        blocked.refused(Route::Results, two, Unpublished::Returned, start + LONG);
        assert!(blocked.next_due() >= Some(start + LONG + UNROUTED_DELAY), "somebody has to make the queue");
        assert_eq!(blocked.due(start + 2 * LONG), [1], "in their order");
        assert_eq!((blocked.len(), blocked.since()), (98, Some(start)));
    }

    #[test]
    fn room_is_noticed_soon_however_long_there_was_none() {
        let start = Instant::now();
        let mut blocked = Blocked::default();
        for try_in_vain in 0..200 {
            let now = start + try_in_vain * LONG;
            let answers = if try_in_vain == 0 { vec![0] } else { blocked.due(now) };
            blocked.refused(Route::Results, answers, Unpublished::Refused, now);
            assert!(blocked.next_due() <= Some(now + LONGEST_DELAY));
        }
    }

    #[test]
    fn one_route_holds_up_no_other() {
        let start = Instant::now();
        let mut blocked = Blocked::default();
        blocked.refused(Route::Results, vec![1], Unpublished::Refused, start);
        assert!(blocked.holds(Route::Results) && !blocked.holds(Route::DeadLetters));
        blocked.refused(Route::DeadLetters, vec![2], Unpublished::Refused, start);
        let mut due = blocked.due(start + LONG);
        due.sort_unstable();
        assert_eq!(due, [1, 2]);
        blocked.taken(Route::DeadLetters, start);
        assert!(blocked.holds(Route::Results) && !blocked.holds(Route::DeadLetters));
        blocked.join(Route::Results, 3);
        assert_eq!(blocked.take_all().collect::<Vec<i32>>(), [3]);
        assert!(blocked.is_empty());
    }
}
